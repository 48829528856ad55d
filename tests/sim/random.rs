//! Where every choice of a simulation comes from: one small generator, so that a seed gives the same
//! run again, bit for bit.

/// Splitmix64 (Steele, Lea and Flood, 2014): one multiplication chain, any seed is good.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// As [`between`](Self::between), each power of two as likely as the next: sizes and limits
    /// matter by their order of magnitude.
    pub(crate) fn magnitude(&mut self, least: usize, most: usize) -> usize {
        let (low, high) = (least.max(1).ilog2() as usize, most.ilog2() as usize);
        let base = 1usize << self.between(low, high);
        (base + self.below(base)).clamp(least, most)
    }

    /// So many times in a thousand. Without a chance nothing is drawn.
    pub(crate) fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < usize::from(per_mille)
    }

    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}
