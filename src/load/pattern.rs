//! Bytes that tell by their value where they belong.
//!
//! The byte at position `p` of a stream is taken from a table whose length is prime, so that it has
//! no common divisor with any message or buffer size; each connection begins at a place of its own.
//! A byte that is lost, doubled, moved, or that belongs to somebody else differs from what is
//! expected there.

/// A table of bytes that is read as an endless stream.
#[derive(Debug)]
pub(super) struct Pattern(Box<[u8]>);

impl Pattern {
    /// Any byte may occur.
    pub(super) fn binary(seed: u64) -> Self {
        Pattern::new(seed, |byte| byte)
    }

    /// Letters and digits only, for protocols to which some bytes mean something.
    pub(super) fn text(seed: u64) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
        Pattern::new(seed, |byte| ALPHABET[usize::from(byte & 63)])
    }

    fn new(seed: u64, shape: impl Fn(u8) -> u8) -> Self {
        let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shape((state >> 56) as u8)
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        // Longer than the period, so that a piece that begins near its end has no seam.
        Pattern(period.iter().copied().cycle().take(period.len() + PIECE).collect())
    }

    /// The stream from a position on, at most `len` bytes and never more than 64 KiB of them: ask
    /// again for the rest.
    #[inline]
    pub(super) fn at(&self, position: u64, len: usize) -> &[u8] {
        let start = (position % PERIOD) as usize;
        &self.0[start..start + len.min(PIECE)]
    }

    /// Whether these are the bytes of the stream from a position on.
    #[inline]
    pub(super) fn matches(&self, mut position: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(position, bytes.len());
            let (piece, rest) = bytes.split_at(expected.len());
            if piece != expected {
                return false;
            }
            (position, bytes) = (position + piece.len() as u64, rest);
        }
        true
    }

    /// Calls `emit` with the stream from a position on, in pieces, `len` bytes in all.
    #[inline]
    pub(super) fn each(&self, mut position: u64, mut len: usize, mut emit: impl FnMut(&[u8])) {
        while len > 0 {
            let piece = self.at(position, len);
            emit(piece);
            (position, len) = (position + piece.len() as u64, len - piece.len());
        }
    }
}

/// Where a connection begins in the table: neighbours far apart, and a client that comes again
/// somewhere else than before.
pub(super) fn origin(client: usize, life: u64) -> u64 {
    client as u64 * 4099 + life * 10_007
}

const PERIOD: u64 = 65_521;
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(pattern: &Pattern, position: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        pattern.each(position, len, |piece| bytes.extend_from_slice(piece));
        bytes
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_is_the_stream(position in 0u64..200_000, len in 0usize..200_000, cut in 0usize..200_000) {
            let pattern = Pattern::binary(7);
            let whole = stream(&pattern, position, len);
            let cut = cut.min(len);
            prop_assert!(pattern.matches(position, &whole));
            prop_assert!(pattern.matches(position + cut as u64, &whole[cut..]));
        }

        #[test]
        fn one_wrong_lost_or_doubled_byte_is_noticed(position in 0u64..200_000, at in 0usize..1000) {
            let pattern = Pattern::binary(7);
            let whole = stream(&pattern, position, 1100);
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            prop_assert!(!pattern.matches(position, &wrong));
            let mut lost = whole.clone();
            lost.remove(at);
            prop_assert!(!pattern.matches(position, &lost));
            let mut doubled = whole;
            doubled.insert(at, doubled[at]);
            prop_assert!(!pattern.matches(position, &doubled));
        }
    }

    #[test]
    fn text_has_no_byte_that_a_line_or_a_protocol_ends_with() {
        let pattern = Pattern::text(3);
        assert!(stream(&pattern, 0, 70_000).iter().all(|byte| byte.is_ascii_graphic()));
        assert_ne!(stream(&pattern, 0, 64), stream(&Pattern::text(4), 0, 64), "the seed counts");
    }
}
