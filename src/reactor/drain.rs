//! A shutdown that loses nothing. Connections that wait in the backlogs are still accepted. The handler
//! is told of the shutdown for each connection. A connection ends when nothing has moved on it for the
//! quiet period. Connections that are left when the time is over are cut off, and counted.
//!
//! ```text
//!   Context::drain     backlogs are emptied, listeners closed, on_drain     drain_timeout
//!         |                              |                                       |
//!         v                              v                                       v
//!      asked for ---- same turn ----> draining ---- each is closed when quiet ---> cut off
//! ```

use std::time::Duration;

use super::connection::{Hold, State};
use super::loop_state::LoopState;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;

impl LoopState {
    /// The quiet period. Half of the shutdown's time at most: otherwise no connection could be found quiet
    /// before the time is over.
    pub(super) fn drain_quiet(&self) -> Duration {
        self.config.drain_quiet.min(self.config.drain_timeout / 2)
    }

    /// Ends a connection that is quiet in a shutdown. If nothing has moved for `linger_timeout` already,
    /// lingering would only repeat that wait: the connection is closed at once.
    pub(super) fn close_quiet(&mut self, token: Token) {
        let Some(connection) = self.find(token) else { return };
        let lingered = self.clock.after(connection.active_ms, self.config.linger_timeout);
        if lingered <= self.clock.now_ms() && !connection.owes_anything() {
            self.part(token);
            self.retire_for(token, CloseReason::Drained);
        } else {
            self.close(token, CloseReason::Drained);
        }
    }

    /// Ends all connections that are left when the time of a shutdown is over. Returns how many of them
    /// had not finished.
    pub(super) fn cut_off(&mut self) -> u64 {
        let mut unfinished = 0;
        for token in self.tokens() {
            let Some(connection) = self.find(token) else { continue };
            let quiet_since = self.clock.after(connection.active_ms, self.drain_quiet());
            let is_quiet = !connection.owes_anything()
                && !connection.wants_visit()
                && !connection.hold.has(Hold::OURS)
                && quiet_since <= self.clock.now_ms();
            match connection.state {
                State::Open if is_quiet => self.close_quiet(token),
                State::Open | State::Closing => {
                    unfinished += 1;
                    self.abort(token, CloseReason::DrainTimeout);
                }
                State::Connecting | State::Greeting => {
                    self.abort(token, CloseReason::DrainTimeout);
                }
                // Nothing is queued for these any more.
                State::Severed | State::Lingering | State::Closed => {}
            }
            self.retire(token);
        }
        unfinished
    }
}
