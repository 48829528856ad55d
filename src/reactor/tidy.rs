//! Memory that a burst needed goes back when the burst is over.
//!
//! In steady state nothing is allocated: tables and lists keep the room that they have grown to, and
//! pools their free blocks. When less than a quarter of the connections or of the subscriptions is left,
//! or when a handler asks for it, the reactor looks once, a second later, which tables have far more room
//! than they use. Where no burst ends, nothing looks and nothing wakes the loop.
//!
//! The table of connections itself keeps its room, and so do the tables that are indexed like it.

use super::loop_state::LoopState;
use crate::structures::spare::is_spacious;

impl LoopState {
    /// Lets the reactor look for spare memory in a second, or earlier if it is about to.
    pub(super) fn tidy_later(&mut self) {
        let due_ms = self.clock.now_ms() + TIDY_AFTER_MS;
        self.tidy_due_ms.get_or_insert(due_ms);
    }

    /// A connection has ended, perhaps the last of a burst.
    pub(super) fn tidy_after_many_connections(&mut self) {
        if is_spacious(self.connections.len(), self.connections_most) {
            self.tidy_later();
        }
    }

    /// A subscription has ended, perhaps the last of a burst.
    pub(super) fn tidy_after_many_subscriptions(&mut self) {
        if self.topics.is_spacious() {
            self.tidy_later();
        }
    }

    /// Takes the time to look, if that time has come.
    pub(super) fn takes_tidy(&mut self) -> bool {
        self.tidy_due_ms.take_if(|due_ms| *due_ms <= self.clock.now_ms()).is_some()
    }

    pub(super) fn give_back(&mut self) {
        self.connections_most = self.connections.len();
        self.lists.give_back();
        self.topics.give_back();
        self.pool.drop_free();
    }
}

/// By then a burst is over, or goes on and needs its room.
const TIDY_AFTER_MS: u64 = 1000;
