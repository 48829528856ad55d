//! Where every choice of a run comes from, so that a seed gives the same run again.

/// Splitmix64 (Steele, Lea and Flood, 2014): any seed is good.
#[derive(Clone, Debug, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From 1 to `most`, which must not be 0.
    pub(super) fn up_to(&mut self, most: usize) -> usize {
        1 + self.below(most)
    }

    /// From 1 to 2^`bits`, each power of two as likely as the next: sizes matter by their order of
    /// magnitude.
    pub(super) fn size(&mut self, bits: usize) -> usize {
        1 << self.below(bits + 1)
    }

    /// So many times in a thousand. Without a chance nothing is drawn.
    pub(super) fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < usize::from(per_mille)
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
