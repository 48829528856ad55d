//! What a connection is owed by all its topics together. Each topic has a bound of its own; a
//! subscriber that reads nothing must not have as much held for it in every one of them.
//!
//! Publishing does not go over the subscribers, so nobody's sum is kept. It is reckoned instead,
//! for those whose sockets take nothing, whenever topics hold more than one connection may be owed
//! and have grown by a part of that: so much must have been published first. A round over the
//! table takes several turns where there are many to look at.

use super::close_reason::CloseReason;
use super::connection::State;
use super::loop_state::LoopState;
use crate::structures::subscriptions::NONE;
use crate::structures::token::Token;

/// How far the reckoning has come.
#[derive(Debug, Default)]
pub(super) struct Arrears {
    /// What topics held when the last round began, or the least since.
    seen: usize,
    /// The slot that is next in the round that is under way.
    next: Option<usize>,
}

impl Arrears {
    /// Whether the next turn goes on with a round.
    pub(super) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }
}

impl LoopState {
    /// At the end of a turn: disconnects those that are owed too much by topics that disconnect who
    /// is slow.
    pub(super) fn check_arrears(&mut self) {
        let Some(first) = self.arrears.next.take().or_else(|| self.begin_round()) else { return };
        let mut steps = 0;
        for slot in first..self.details.len() {
            if steps >= STEPS_MAX {
                self.arrears.next = Some(slot);
                return;
            }
            steps += 1 + self.reckon(slot);
        }
    }

    /// The slot at which a round begins, when it is time for one.
    fn begin_round(&mut self) -> Option<usize> {
        let (held, limit) = (self.topics.memory(), self.topics.least_subscriber_memory());
        let seen = self.arrears.seen.min(held);
        // Nobody can be owed more than there is.
        let is_due = held > limit && held - seen >= limit / ROUND_PARTS;
        self.arrears.seen = if is_due { held } else { seen };
        is_due.then_some(0)
    }

    /// Looks at one connection; returns how many subscriptions that took.
    fn reckon(&mut self, slot: usize) -> usize {
        let Some(connection) = self.connections.get(slot) else { return 0 };
        let is_alive = matches!(connection.state, State::Open | State::Closing);
        if !is_alive || !connection.stalled || connection.pending == NONE {
            return 0;
        }
        let token = Token { slot: slot as u32, generation: connection.generation };
        let (owed, limit, looked_at) = self.topics.owed_together(connection.pending);
        if owed > limit {
            self.abort(token, CloseReason::SlowConsumer);
        }
        looked_at
    }
}

/// A round for each quarter of what one connection may be owed: that much more it may have been owed
/// in between.
const ROUND_PARTS: usize = 4;
/// Connections and subscriptions looked at in one turn: a few tenths of a millisecond's work.
const STEPS_MAX: usize = 4096;
