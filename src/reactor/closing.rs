//! The ways in which a connection ends. Closing is a state, not a loop: each step is taken when
//! the one before is done.

use std::io;

use super::close_reason::CloseReason;
use super::connection::{Announced, Hold, InputEnd, State};
use super::loop_state::{LoopState, find};
use crate::structures::token::Token;

impl LoopState {
    /// Ends an open connection in good order: what is owed is flushed first.
    pub(super) fn close(&mut self, token: Token, reason: CloseReason) {
        let stamp = self.clock.stamp();
        let has_write_timeout = self.config.write_timeout.is_some();
        let Some(connection) = find(&mut self.connections, token) else { return };
        match connection.state {
            State::Open => {}
            // A severed connection has its reason already, and keeps it.
            State::Connecting | State::Severed => return self.retire_for(token, reason),
            State::Closing | State::Lingering | State::Closed => return,
        }
        connection.reason = reason;
        connection.state = State::Closing;
        connection.input_left = false;
        if !has_write_timeout {
            // Only now does its wait for the peer have an end.
            connection.waiting_since_ms = stamp;
        }
        // From here on what the peer still sends is read and dropped, or it might never get to
        // reading our last words.
        self.lists.update(token, connection);
        self.end_subscriptions(token);
        self.arm(token);
    }

    /// Ends a connection at once. What it did not take is dropped, here and in the kernel.
    pub(super) fn abort(&mut self, token: Token, reason: CloseReason) {
        if let Some(connection) = self.find_mut(token)
            && connection.state != State::Closed
        {
            connection.set_reason(reason);
            connection.stream.discard_on_close();
            self.retire(token);
        }
    }

    /// Ends a connection whose socket reported an error, once its handler has been given what the
    /// peer sent before: a client that sends and closes without reading resets its connection, and
    /// what it sent counts all the same.
    pub(super) fn close_on_error(&mut self, token: Token, error: &io::Error) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        let was_open = connection.state == State::Open;
        connection.set_reason(reason_of(error));
        log::debug!(connection:% = token, event = "error"; "{error}");
        if !was_open || (connection.input_has_ended() && !connection.input_left) {
            return self.retire(token);
        }
        connection.state = State::Severed;
        // Whatever arrived before is there, whether or not an event has said so yet.
        connection.readable = !connection.input_has_ended();
        // ET: its event may still be on the way, and that of an urgent byte, at which a read stops
        // short, with it.
        connection.announced = connection.announced.max(Announced::End);
        connection.stalled = false;
        connection.hold.remove(Hold::CONGESTED);
        self.stats.bytes_dropped += connection.output.len() as u64;
        connection.output.release(&mut self.pool);
        self.lists.update(token, connection);
        self.leave_topics_later(token);
        self.arm(token);
    }

    /// As [`close_on_error`](Self::close_on_error), when it was a read that failed: nothing more
    /// will come.
    pub(super) fn end_input_on_error(&mut self, token: Token, error: &io::Error) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        (connection.input_end, connection.readable) = (InputEnd::Ended, false);
        if connection.state == State::Open {
            // What came with the error is about to be handed over.
            connection.input_left = !connection.input.is_empty();
            self.close_on_error(token, error);
        }
    }

    /// Nothing is owed any more: tell the peer, and wait for it to say the same.
    pub(super) fn begin_linger(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        let Some(connection) = find(&mut self.connections, token) else { return };
        // Nothing can arrive after the peer's own end, so there is nothing that could turn our
        // close into a reset.
        if connection.input_has_ended() || connection.stream.shutdown_write().is_err() {
            return self.retire(token);
        }
        if connection.reason == CloseReason::Denied {
            // A stranger, who was to have no place here, keeps none until it goes.
            return self.retire(token);
        }
        connection.state = State::Lingering;
        connection.waiting_since_ms = stamp;
        self.lists.update(token, connection);
        self.leave_topics_later(token);
        self.arm(token);
    }

    /// Hands the connection to the close phase.
    pub(super) fn retire(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token)
            && connection.state != State::Closed
        {
            connection.state = State::Closed;
            connection.input_left = false;
            self.lists.closed.push_back(token);
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

fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => CloseReason::Reset,
        // The kernel gave up; it says why nothing got through, where somebody told it.
        HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut => {
            CloseReason::KeepaliveTimeout
        }
        _ => CloseReason::IoError,
    }
}
