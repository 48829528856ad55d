//! A list of connections in two lanes: those who leave nothing behind go before those who do.

use std::collections::VecDeque;

use super::spare::Spare;
use super::token::Token;

/// A list in two lanes. In the first are connections that leave nothing behind: those that ask, are
/// answered, and read the answer. Work that is left over, answers that are not read, and newcomers
/// wait in the second, so that whoever makes work for many visits does not stand before those who
/// want one. Each lane is first in, first out.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    prompt: VecDeque<Token>,
    others: VecDeque<Token>,
    /// Taken from the first lane since one was taken from the second.
    run: usize,
}

/// How many of a list may be taken, in all and of each lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    all: usize,
    prompt: usize,
    others: usize,
}

impl Quota {
    /// How many were taken of a quota of which this is left, in each lane.
    pub(crate) fn taken(self, left: Quota) -> [usize; 2] {
        [self.prompt - left.prompt, self.others - left.others]
    }
}

/// So many from the first lane go before one from the second: nobody there waits for more than four
/// times as many visits as there are connections.
const PROMPT_RUN: usize = 3;

impl Lanes {
    pub(crate) fn push(&mut self, token: Token, is_prompt: bool) {
        let lane = if is_prompt { &mut self.prompt } else { &mut self.others };
        lane.push_back(token);
    }

    /// Before all others of the first lane.
    pub(crate) fn push_first(&mut self, token: Token) {
        self.prompt.push_front(token);
    }

    /// All that are listed now, and at most so many. Who is listed meanwhile has had a visit, or can
    /// wait until the next turn.
    pub(crate) fn quota(&self, most: usize) -> Quota {
        let [prompt, others] = self.lens();
        Quota { all: most.min(prompt + others), prompt, others }
    }

    /// The next one, if the quota has a place for it.
    pub(crate) fn pop(&mut self, quota: &mut Quota) -> Option<Token> {
        quota.all = quota.all.checked_sub(1)?;
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
    pub(crate) fn lens(&self) -> [usize; 2] {
        [self.prompt.len(), self.others.len()]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.others.is_empty()
    }

    pub(crate) fn give_back(&mut self) {
        self.prompt.give_back();
        self.others.give_back();
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
                let (mut quota, before) = (lanes.quota(most), order.len());
                while let Some(token) = lanes.pop(&mut quota) {
                    order.push(token.slot);
                }
                assert!(order.len() - before <= most, "of both lanes together");
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
