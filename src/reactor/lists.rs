//! The lists of connections that have work. They replace the events that will not come again.
//!
//! An entry is only a hint: the phase that takes an entry off asks the connection again. So a connection
//! that has nothing to do any more need not be taken off. The opposite must never happen: a connection
//! that has something to do and is on no list hangs. So whatever may change an answer of
//! [`Connection::wants_visit`] or [`Connection::wants_flush`] ends with [`Lists::update`]; `check` looks
//! for omissions after every turn of a debug build.

use std::collections::VecDeque;

use super::connection::Connection;
use crate::structures::spare::Spare;
use crate::structures::token::Token;

/// Each list is served in turn: first in, first out, each connection at most once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The read phase has something to do for these.
    pub(super) ready: Lanes,
    /// The flush phase has something to do for these.
    pub(super) dirty: VecDeque<Token>,
    /// The close phase takes these out of their topics.
    pub(super) leaving: VecDeque<Token>,
    /// The close phase tells the handler that these are over, and frees their slots.
    pub(super) closed: VecDeque<Token>,
    /// Starved: held until there is buffer memory to read into.
    pub(super) starved: Lanes,
}

/// A list in two lanes. In the first are connections that leave nothing behind: those that ask, are
/// answered, and read the answer. Work that is left over, answers that are not read, and newcomers
/// wait in the second, so that whoever makes work for many visits does not stand before those who
/// want one. Each lane is first in, first out.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    prompt: VecDeque<Token>,
    others: VecDeque<Token>,
    /// Taken from the first lane since one was taken from the second.
    run: usize,
}

/// How many of a list may be taken, lane by lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    prompt: usize,
    others: usize,
}

impl Quota {
    /// How many were taken of a quota of which this is left, in each lane.
    pub(super) fn taken(self, left: Quota) -> [usize; 2] {
        [self.prompt - left.prompt, self.others - left.others]
    }
}

/// So many from the first lane go before one from the second: nobody there waits for more than four
/// times as many visits as there are connections.
const PROMPT_RUN: usize = 3;

impl Lanes {
    pub(super) fn push(&mut self, token: Token, is_prompt: bool) {
        let lane = if is_prompt { &mut self.prompt } else { &mut self.others };
        lane.push_back(token);
    }

    /// All that are listed now, and at most so many. Who is listed meanwhile has had a visit, or can
    /// wait until the next turn.
    pub(super) fn quota(&self, most: usize) -> Quota {
        let prompt = self.prompt.len().min(most);
        Quota { prompt, others: self.others.len().min(most) }
    }

    /// The next one, if the quota has a place for it.
    pub(super) fn pop(&mut self, quota: &mut Quota) -> Option<Token> {
        let is_their_turn = self.run >= PROMPT_RUN || quota.prompt == 0;
        if quota.others > 0 && is_their_turn {
            (self.run, quota.others) = (0, quota.others - 1);
            return self.others.pop_front();
        }
        quota.prompt = quota.prompt.checked_sub(1)?;
        self.run = (self.run + 1).min(PROMPT_RUN);
        self.prompt.pop_front()
    }

    /// How many there are in each lane.
    pub(super) fn lens(&self) -> [usize; 2] {
        [self.prompt.len(), self.others.len()]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.others.is_empty()
    }

    fn give_back(&mut self) {
        self.prompt.give_back();
        self.others.give_back();
    }
}

impl Lists {
    /// Puts the connection on each list on which it has something to do.
    // ET: the kernel will not repeat what it said; the lists remember it.
    pub(super) fn update(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push(token, connection.is_prompt());
        }
        if connection.wants_flush() && !std::mem::replace(&mut connection.on_dirty_list, true) {
            self.dirty.push_back(token);
        }
    }

    /// As [`update`](Self::update), but the next read phase begins with this connection.
    pub(super) fn update_first(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.prompt.push_front(token);
        }
        self.update(token, connection);
    }

    /// Gives back the room that a burst needed.
    pub(super) fn give_back(&mut self) {
        self.ready.give_back();
        self.dirty.give_back();
        self.leaving.give_back();
        self.closed.give_back();
        self.starved.give_back();
    }

    /// Whether the next turn has work that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        let is_idle = self.ready.is_empty() && self.dirty.is_empty();
        !(is_idle && self.leaving.is_empty() && self.closed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(slot: u32) -> Token {
        Token { slot, generation: 1 }
    }

    #[test]
    fn three_of_the_first_lane_go_before_one_of_the_second_however_few_are_taken_at_once() {
        for most in [1, 2, 100] {
            let mut lanes = Lanes::default();
            (0..30).for_each(|slot| lanes.push(token(slot), slot < 15));
            let mut order = Vec::new();
            while !lanes.is_empty() {
                let mut quota = lanes.quota(most);
                for _ in 0..most {
                    order.extend(lanes.pop(&mut quota).map(|token| token.slot));
                }
            }
            let expected = (0..5).flat_map(|n| [3 * n, 3 * n + 1, 3 * n + 2, 15 + n]);
            let expected: Vec<u32> = expected.chain(20..30).collect();
            assert_eq!(order, expected, "{most} at once");
        }
    }

    #[test]
    fn who_is_listed_meanwhile_is_not_in_the_quota() {
        let mut lanes = Lanes::default();
        lanes.push(token(1), true);
        let mut quota = lanes.quota(100);
        lanes.push(token(2), true);
        lanes.push(token(3), false);
        assert_eq!(lanes.pop(&mut quota), Some(token(1)));
        assert_eq!(lanes.pop(&mut quota), None);
        assert_eq!(lanes.lens(), [1, 1]);
    }
}
