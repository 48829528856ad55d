//! Memory that a burst needed goes back when the burst is over.
//!
//! In steady state nothing is allocated: tables and lists keep the room that they have grown to, and
//! pools their free blocks. When less than a quarter of the connections, subscriptions or buffers is left,
//! or when a handler asks for it, the reactor looks once, a second later, which tables have far more room
//! than they use. Where no burst ends, nothing looks and nothing wakes the loop.
//!
//! The table of connections itself keeps its room, and so do the tables that are indexed like it.

use super::loop_state::LoopState;

impl LoopState {
    /// Lets the reactor look for spare memory in a second, or earlier if it is about to.
    pub(super) fn tidy_later(&mut self) {
        self.burst.look_later(self.clock.now_ms());
    }

    /// A connection has ended, perhaps the last of a burst.
    pub(super) fn tidy_after_many_connections(&mut self) {
        self.burst.connection_ended(self.connections.len(), self.clock.now_ms());
    }

    /// A subscription has ended, perhaps the last of a burst.
    pub(super) fn tidy_after_many_subscriptions(&mut self) {
        if self.topics.is_spacious() {
            self.tidy_later();
        }
    }

    /// At the end of a turn: most of the buffers that were held between turns may have come back,
    /// from few connections with much in them as well.
    pub(super) fn tidy_after_many_buffers(&mut self) {
        self.burst.note_buffers(self.pool.leased(), self.clock.now_ms());
    }

    /// Takes the time to look, if that time has come.
    pub(super) fn takes_tidy(&mut self) -> bool {
        self.burst.takes_look(self.clock.now_ms())
    }

    pub(super) fn give_back(&mut self) {
        self.burst.begin_anew(self.connections.len(), self.pool.leased());
        self.lists.give_back();
        self.topics.give_back();
        self.pool.drop_free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::config::Config;

    #[test]
    fn buffers_of_few_connections_are_looked_for_once_most_have_come_back() {
        let mut state = LoopState::new(Config::default()).expect("a poll");
        let blocks: Vec<_> = (0..8).map(|_| state.pool.lease(4 << 20)).collect();
        state.tidy_after_many_buffers();
        assert_eq!(state.burst.due_ms(), None, "they are in use");
        blocks.into_iter().for_each(|block| state.pool.give(block));
        state.tidy_after_many_buffers();
        let due_ms = state.burst.due_ms().expect("most are back");
        assert!(state.burst.takes_look(due_ms) && state.pool.free() > 0);
        state.give_back();
        state.tidy_after_many_buffers();
        assert_eq!((state.burst.due_ms(), state.pool.free()), (None, 0), "once for a burst");
    }
}
