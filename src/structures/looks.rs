//! Rounds of looks at all topics with publishers that wait, each of which may take several turns.

/// A round. It goes on in the next turn if nothing was done meanwhile; otherwise a new one begins.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Topics that were not looked at yet.
    left: usize,
    /// When the first right to be waited for ends, of the topics that were looked at.
    due_ms: Option<u64>,
    /// All work that had been done when the round was broken off.
    work: u64,
}

impl Looks {
    /// Goes on with a round that was broken off, or begins one over so many topics.
    pub(crate) fn begin_or_go_on(&mut self, work: u64, topics: usize) {
        if self.left == 0 || self.work != work {
            *self = Looks { left: topics, ..Looks::default() };
        }
    }

    /// Takes one of the topics that are left; none when the round is over.
    pub(crate) fn take(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// A topic is to be looked at again by then.
    pub(crate) fn note_due(&mut self, due_ms: Option<u64>) {
        self.due_ms = self.due_ms.into_iter().chain(due_ms).min();
    }

    /// Breaks the round off, after so much work.
    pub(crate) fn break_off(&mut self, work: u64) {
        self.work = work;
    }

    /// Ends the round. Returns when the first topic is to be looked at again.
    pub(crate) fn end(&mut self) -> Option<u64> {
        std::mem::take(self).due_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_goes_on_unless_something_was_done_meanwhile() {
        let mut looks = Looks::default();
        looks.begin_or_go_on(0, 3);
        looks.take();
        looks.note_due(Some(9));
        looks.break_off(7);
        looks.begin_or_go_on(7, 3);
        assert!(looks.take().is_some() && looks.take().is_some() && looks.is_over());
        looks.note_due(Some(12));
        assert_eq!((looks.take(), looks.end()), (None, Some(9)));
        looks.begin_or_go_on(7, 2);
        looks.take();
        looks.note_due(Some(9));
        looks.break_off(7);
        looks.begin_or_go_on(8, 1);
        assert_eq!((looks.take(), looks.take(), looks.end()), (Some(()), None, None));
    }
}
