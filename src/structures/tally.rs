//! A sum of which each part is kept up to date by whoever has it.

use std::cell::Cell;
use std::rc::Rc;

/// The sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Rc<Cell<usize>>);

/// A part of the sum: nothing at first, and nothing again once it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Tally,
    part: usize,
}

impl Tally {
    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }

    pub(crate) fn share(&self) -> Share {
        Share { of: self.clone(), part: 0 }
    }
}

impl Share {
    pub(crate) fn get(&self) -> usize {
        self.part
    }

    pub(crate) fn set(&mut self, part: usize) {
        // The sum is at least the part.
        self.of.0.set((self.of.get() - self.part).saturating_add(part));
        self.part = part;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn sum_is_that_of_the_parts_that_are_there() {
        let tally = Tally::default();
        let (mut one, mut other) = (tally.share(), tally.share());
        one.set(3);
        other.set(4);
        one.set(1);
        assert_eq!(tally.get(), one.get() + other.get());
        drop(other);
        assert_eq!((tally.get(), one.get()), (1, 1));
        drop(one);
        assert_eq!(tally.get(), 0);
    }
}
