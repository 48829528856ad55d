//! Which places of a table are taken, a bit for each.
//!
//! A table keeps the room that a burst needed, and the few entries that are left may lie anywhere in it. A
//! walk over the table itself would touch every place. A walk here passes 64 free places in one step: a
//! table that was once a million large costs it 16 thousand steps, some microseconds.

/// The places that are taken.
#[derive(Debug, Default)]
pub(crate) struct Places {
    words: Vec<u64>,
}

impl Places {
    /// Somebody takes a place.
    pub(crate) fn take(&mut self, place: usize) {
        let (index, bit) = split(place);
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        self.words[index] |= bit;
    }

    /// A place becomes free.
    pub(crate) fn free(&mut self, place: usize) {
        let (index, bit) = split(place);
        if let Some(word) = self.words.get_mut(index) {
            *word &= !bit;
        }
    }

    /// The taken places from this one on, in their order.
    pub(crate) fn from(&self, place: usize) -> impl Iterator<Item = usize> {
        let (mut index, bit) = split(place);
        // The bits of places before the first one are left out.
        let mut word = self.words.get(index).map_or(0, |word| word & !(bit - 1));
        std::iter::from_fn(move || {
            while word == 0 {
                index += 1;
                word = *self.words.get(index)?;
            }
            let place = index * WORD + word.trailing_zeros() as usize;
            word &= word - 1;
            Some(place)
        })
    }
}

/// The word of a place, and the bit in it.
fn split(place: usize) -> (usize, u64) {
    (place / WORD, 1 << (place % WORD))
}

/// Places of one word.
const WORD: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn taken_places_are_those_of_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0usize..300), 0..100),
            start in 0usize..400,
        ) {
            let (mut places, mut model) = (Places::default(), BTreeSet::new());
            for (takes, place) in steps {
                if takes {
                    places.take(place);
                    model.insert(place);
                } else {
                    places.free(place);
                    model.remove(&place);
                }
            }
            let expected: Vec<usize> = model.range(start..).copied().collect();
            prop_assert_eq!(places.from(start).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn few_that_are_left_of_a_million_are_a_walk_over_words() {
        let mut places = Places::default();
        (0..1 << 20).for_each(|place| places.take(place));
        assert_eq!(places.words.len(), 16 << 10);
        let left = [5, 63, 64, 700_000, (1 << 20) - 1];
        (0..1 << 20).filter(|place| !left.contains(place)).for_each(|place| places.free(place));
        assert_eq!(places.from(0).collect::<Vec<_>>(), left);
        assert_eq!(places.from(65).collect::<Vec<_>>(), left[3..]);
        assert_eq!(places.from(1 << 20).next(), None);
    }
}
