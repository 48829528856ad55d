//! A shutdown that loses nothing: who waits in the backlogs is still taken, everybody is told, and each
//! connection ends when nothing has moved on it for a while. What is left when the time is over is cut
//! off, and counted.
//!
//! ```text
//!   Context::drain     backlogs are emptied, listeners closed, on_drain     drain_timeout
//!         |                              |                                       |
//!         v                              v                                       v
//!      asked for ---- same turn ----> draining ---- each is closed when quiet ---> cut off
//! ```

use std::time::Duration;

use super::close_reason::CloseReason;
use super::connection::{Hold, State};
use super::loop_state::LoopState;
use crate::structures::token::Token;

impl LoopState {
    /// A shutdown that waits less than the quiet period could never tell who has finished.
    pub(super) fn drain_quiet(&self) -> Duration {
        self.config.drain_quiet.min(self.config.drain_timeout / 2)
    }

    /// Ends a connection on which nothing moves any more, in a shutdown. One that has been quiet
    /// for as long as it would linger has lingered.
    pub(super) fn close_quiet(&mut self, token: Token) {
        let Some(connection) = self.find(token) else { return };
        let lingered = self.clock.after(connection.active_ms, self.config.linger_timeout);
        if lingered <= self.clock.now_ms() && !connection.owes_anything() {
            self.retire_for(token, CloseReason::Drained);
        } else {
            self.close(token, CloseReason::Drained);
        }
    }

    /// Ends everything that is left when a shutdown has waited long enough; returns how many had
    /// not finished.
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
                State::Connecting => self.abort(token, CloseReason::DrainTimeout),
                // Nothing is owed to these any more.
                State::Severed | State::Lingering | State::Closed => {}
            }
            self.retire(token);
        }
        unfinished
    }
}
