//! How a connection with a layer parts from its peer: the farewell of a layer, and the alert of one that
//! has failed.

use super::connection::{InputEnd, State};
use super::loop_state::{LoopState, find};
use crate::sockets::stream::Sent;
use crate::structures::token::Token;

impl LoopState {
    /// Everything that a severed connection had received is handed over, or its time is up.
    pub(super) fn end_severed(&mut self, token: Token) {
        match self.find(token).is_some_and(|connection| connection.stream.has_failed_layer()) {
            true => self.end_behind_layer(token),
            false => self.retire(token),
        }
    }

    /// Ends a connection whose layer failed, and whose socket did not: the alert of the layer is flushed,
    /// then comes a FIN, and what the peer still sends is dropped. A close with unread bytes would be a
    /// reset, which destroys the alert on its way.
    pub(super) fn end_behind_layer(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        let Some(connection) = find(&mut self.connections, token) else { return };
        if connection.state == State::Closed || !connection.stream.pass_layer() {
            // It has failed before.
            return self.retire(token);
        }
        if connection.state != State::Lingering {
            connection.state = State::Closing;
            connection.waiting_since_ms = stamp;
        }
        // What the layer ended goes on below it.
        (connection.input_end, connection.readable) = (InputEnd::Flowing, true);
        self.drop_buffers(token);
        // Nothing that topics have for it can be sent, and the alert waits for nothing.
        self.drop_subscriptions(token);
        self.arm(token);
    }

    /// The farewell of a layer, as far as it fits: the connection is closed without waiting.
    pub(super) fn part(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token)
            && connection.stream.is_layered()
        {
            // The connection ends in any case.
            let _ = connection.stream.shutdown_write();
        }
    }

    /// The last words of a layer do not fit into the socket.
    pub(super) fn wait_for_room(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        // ET: the socket has refused bytes, so an event follows, and then the flush says them once more.
        self.change(token, |connection| connection.took(Sent { bytes: 0, blocked: true }, stamp));
        self.arm(token);
    }
}
