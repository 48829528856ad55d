//! The ways in which a connection ends. Closing is a state, not a loop: each step is taken when the step
//! before is done. The drawing of the states stands in `connection`.
//!
//! | call | what is queued for the peer | what the peer sent |
//! | --- | --- | --- |
//! | `close` | is flushed; then a FIN, and the peer's end is awaited | is read and dropped |
//! | `abort` | is dropped; a TCP peer sees a reset | is dropped |
//! | `close_on_error` | is dropped: the socket takes no more | is read and handed over first |
//! | the same, by an error of the layer | is dropped, but for the alert of the layer; then a FIN | as above, then dropped |
//! | `let_go` | is dropped; a TCP peer sees a reset, a second later | is dropped |
//!
//! A half-close: the peer sends its FIN and goes on reading. A read of 0 makes the input `Ended`. Once the
//! connection is free, and everything before the end was handed over, `on_end` is called; so a connection
//! that is congested is told of the end after its output has sunk to the low-water mark. The handler's
//! default is to `close`, by which the output that still waits is flushed first, for as long as the peer
//! takes bytes. Then the socket is closed without lingering; a layer says its farewell before.

use std::io;

use super::connection::{Announced, Hold, InputEnd, State};
use super::loop_state::{LoopState, find};
use crate::sockets::layer::LayerPanicked;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::layer_error::LayerError;

impl LoopState {
    /// Ends an open connection in good order: what is queued is flushed first.
    pub(super) fn close(&mut self, token: Token, reason: CloseReason) {
        let stamp = self.clock.stamp();
        let has_write_timeout = self.config.write_timeout.is_some();
        let Some(connection) = find(&mut self.connections, token) else { return };
        match connection.state {
            State::Open => {}
            // A severed connection has its reason already, and keeps it.
            State::Connecting | State::Greeting | State::Severed => {
                return self.retire_for(token, reason);
            }
            State::Closing | State::Lingering | State::Closed => return,
        }
        connection.reason = reason;
        connection.state = State::Closing;
        connection.input_left = false;
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        if !has_write_timeout {
            // A close has a deadline, even without a write timeout: the wait for the peer counts from now.
            connection.waiting_since_ms = stamp;
        }
        // What the peer still sends is read and dropped from now on: a peer that is blocked in a write
        // would never read our last words.
        self.lists.update(token, connection);
        self.end_subscriptions(token);
        self.arm(token);
    }

    /// Ends a connection at once. What the peer did not take is dropped, here and in the kernel.
    pub(super) fn abort(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) = self.find_mut(token) else { return };
        if connection.state != State::Closed {
            connection.set_reason(reason);
            connection.stream.discard_on_close();
            self.retire(token);
        }
    }

    /// Ends a connection whose socket reported an error. The handler is first given what the peer sent
    /// before: a client that sends, and closes without reading, resets its connection, and what this
    /// client sent counts all the same.
    pub(super) fn close_on_error(&mut self, token: Token, error: &io::Error) {
        if LayerPanicked::is(error) {
            // It is told of when the slot is freed, as is one that nobody waits for.
            return self.abort(token, CloseReason::HandlerPanicked);
        }
        let Some(connection) = find(&mut self.connections, token) else { return };
        let was_open = connection.state == State::Open;
        connection.set_reason(CloseReason::of_stream(error));
        log::debug!(connection:% = token, event = "error"; "{error}");
        // A layer that failed has a socket that did not.
        let is_by_layer = LayerError::reason_of(error).is_some();
        if !was_open || (connection.input_has_ended() && !connection.input_left) {
            return if is_by_layer { self.end_behind_layer(token) } else { self.retire(token) };
        }
        if is_by_layer {
            connection.stream.fail_layer();
        }
        connection.state = State::Severed;
        // What arrived before the error can be read, whether or not an event has said so yet.
        connection.readable = !connection.input_has_ended();
        // ET: the event for the last bytes may not have been delivered yet, and may announce an urgent
        // byte, at which a read stops early: a short read proves nothing.
        connection.announced = connection.announced.max(Announced::End);
        connection.stalled = false;
        connection.hold.remove(Hold::CONGESTED);
        self.drop_output(token);
        self.leave_topics_later(token);
        self.arm(token);
    }

    /// As [`close_on_error`](Self::close_on_error), for a read that failed: nothing more will come.
    pub(super) fn end_input_on_error(&mut self, token: Token, error: &io::Error) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        (connection.input_end, connection.readable) = (InputEnd::Ended, false);
        if connection.state == State::Open {
            // The bytes that the same fill has read are handed over next.
            connection.input_left = !connection.input.is_empty();
            self.close_on_error(token, error);
        }
    }

    /// Everything queued was flushed: tells the peer so by a FIN, and waits for the peer's own.
    pub(super) fn begin_linger(&mut self, token: Token) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        let has_ended = connection.input_has_ended();
        // A close says the same as a FIN. A layer has a farewell of its own, for a peer that waits for it.
        if has_ended && !connection.stream.is_layered() {
            return self.retire(token);
        }
        let said = connection.stream.shutdown_write();
        if matches!(said, Ok(None)) {
            return self.wait_for_room(token);
        }
        // Bytes that arrive after our close would turn the close into a reset. After the peer's own end
        // none can arrive.
        if has_ended || said.is_err() {
            return self.retire(token);
        }
        if connection.reason == CloseReason::Denied {
            // A stranger whom the service refused does not keep a place until it goes.
            return self.retire(token);
        }
        self.linger(token);
    }

    /// Sends nothing more, and drops what still arrives, until the peer's end or a deadline.
    pub(super) fn linger(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        self.change(token, |it| (it.state, it.waiting_since_ms) = (State::Lingering, stamp));
        self.leave_topics_later(token);
        self.arm(token);
    }

    /// Hands the connection to the close phase.
    pub(super) fn retire(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else { return };
        if connection.state != State::Closed {
            let was = std::mem::replace(&mut connection.state, State::Closed);
            connection.input_left = false;
            self.lists.closed.push_back(token);
            if matches!(was, State::Connecting | State::Greeting) {
                self.end_greeting(token, was);
            }
        }
    }

    /// As [`retire`](Self::retire), for a reason, unless it has one.
    pub(super) fn retire_for(&mut self, token: Token, reason: CloseReason) {
        if let Some(connection) = self.find_mut(token) {
            connection.set_reason(reason);
        }
        self.retire(token);
    }
}
