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
use super::handler::Handler;
use super::loop_state::LoopState;
use super::reactor::Reactor;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;

/// The most connections that are taken out of the backlogs when a shutdown begins: more than backlogs
/// usually hold.
const DRAIN_ACCEPTS_MAX: u64 = 16_384;

impl<H: Handler> Reactor<H> {
    /// Takes the next step of a shutdown, if one was asked for.
    pub(super) fn shut_down(&mut self) {
        if self.state.drain_until.is_none() {
            return;
        }
        if !self.state.is_draining {
            self.begin_drain();
        }
        if self.is_cut_off() {
            self.ending.cut_off += self.state.cut_off();
        }
    }

    /// Accepts the connections that wait already, so that they are served and not reset. Then closes the
    /// listeners, and tells the handler.
    fn begin_drain(&mut self) {
        self.listeners.note_all();
        // Bounded, should clients connect faster than we accept.
        let until = self.state.stats.accepted + DRAIN_ACCEPTS_MAX;
        for _ in 0..DRAIN_ACCEPTS_MAX {
            if !self.listeners.may_accept(&self.state) || self.state.stats.accepted >= until {
                break;
            }
            self.state.begin_phase();
            self.accept();
        }
        self.listeners.close(self.state.poll.registry());
        self.state.is_draining = true;
        for token in self.state.tokens() {
            self.tell_of_drain(token);
            self.state.arm(token);
        }
    }

    /// Once for each connection that is open in a shutdown, if there is one.
    pub(super) fn tell_of_drain(&mut self, token: Token) {
        // The end of a connection that is over is all that its handler still hears of.
        let is_over = self.state.find(token).is_none_or(|it| it.state == State::Closed);
        let is_due = self.state.is_draining && !is_over;
        if let Some(session) = self.sessions.of(token).filter(|_| is_due) {
            self.state.call(Some(token), |cx| self.handler.on_drain(cx, token, session));
        }
    }
}

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
