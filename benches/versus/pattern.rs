//! Bytes that tell by their value where they belong.
//!
//! The byte at a position of a stream is taken from a table whose length is prime, at a place that
//! depends on the connection. A byte that is lost, doubled, moved or that belongs to another
//! connection therefore differs from what is expected.

/// The longest piece that can be taken at once.
pub(crate) const PIECE_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// Prime, and so without a common divisor with any message or buffer size.
    const PERIOD: u64 = 65_521;

    /// `shape` turns a random byte into one that the protocol can carry.
    pub(crate) fn new(shape: fn(u8) -> u8) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let period: Vec<u8> = (0..Self::PERIOD)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shape((state >> 56) as u8)
            })
            .collect();
        // Longer than the period, so that a slice that begins near its end has no seam.
        Self(period.iter().copied().cycle().take(period.len() + PIECE_MAX).collect())
    }

    /// At most `PIECE_MAX` bytes of the endless stream, from this position on.
    #[inline]
    pub(crate) fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = (position % Self::PERIOD) as usize;
        &self.0[start..start + length]
    }
}
