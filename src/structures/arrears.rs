//! When it is time to look whether topics together hold too much for one connection, and how far
//! that look has come.
//!
//! Publishing does not go over the subscribers, so no sum is kept for each of them. The sums are made in
//! a round over all connections. A round begins when topics hold more than one connection may be owed,
//! and have grown by a part of that since the last round.

/// The rounds.
#[derive(Debug, Default)]
pub(crate) struct Arrears {
    /// What topics held when the last round began, or the least since.
    seen: usize,
    /// The slot that is next in the round that is under way.
    next: Option<usize>,
}

impl Arrears {
    /// Whether the next turn goes on with a round.
    pub(crate) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }

    /// The slot at which a round goes on or begins, if it is time for that: topics hold `held` bytes,
    /// and the least that all of them may hold for one connection is `limit`.
    pub(crate) fn begin_or_go_on(&mut self, held: usize, limit: usize) -> Option<usize> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        let seen = self.seen.min(held);
        // Nobody can be owed more than there is.
        let is_due = held > limit && held - seen >= limit / ROUND_PARTS;
        self.seen = if is_due { held } else { seen };
        is_due.then_some(0)
    }

    /// The round goes on at this slot in the next turn.
    pub(crate) fn stop_at(&mut self, slot: usize) {
        self.next = Some(slot);
    }
}

/// A round for each quarter of what one connection may be owed: by that much more it may have been
/// owed in between.
const ROUND_PARTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_begins_with_each_quarter_of_the_limit_that_is_held_beyond_it() {
        let mut arrears = Arrears::default();
        assert_eq!(arrears.begin_or_go_on(100, 100), None, "nobody can be owed more than there is");
        assert_eq!(arrears.begin_or_go_on(101, 100), Some(0));
        assert_eq!(arrears.begin_or_go_on(125, 100), None);
        assert_eq!(arrears.begin_or_go_on(126, 100), Some(0));
        assert_eq!(arrears.begin_or_go_on(101, 100), None);
        assert_eq!(arrears.begin_or_go_on(126, 100), Some(0), "it fell and has grown again");
    }

    #[test]
    fn round_that_was_stopped_goes_on_where_it_was() {
        let mut arrears = Arrears::default();
        arrears.stop_at(7);
        assert!(arrears.is_under_way());
        assert_eq!(arrears.begin_or_go_on(0, 100), Some(7));
        assert!(!arrears.is_under_way());
    }
}
