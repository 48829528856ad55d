//! Messages with their length in front.

use super::{Codec, TooLong};

/// A 4-byte big-endian length, not counting itself, then so many bytes.
///
/// ```
/// use edgeloop::codec::{Codec, LengthPrefixed};
/// let mut codec = LengthPrefixed::new(1024);
/// assert_eq!(codec.next(b"\0\0\0\x02hi\0\0"), Ok(Some(6)));
/// assert_eq!(codec.next(b"\0\0\0\x02h"), Ok(None));
/// assert!(codec.next(b"\xff\xff\xff\xff").is_err());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    limit: usize,
}

impl LengthPrefixed {
    /// Bytes in front of each message.
    pub const HEADER: usize = 4;

    /// Messages of at most `limit` bytes, not counting the header.
    pub const fn new(limit: usize) -> Self {
        LengthPrefixed { limit }
    }
}

impl Codec for LengthPrefixed {
    fn next(&mut self, input: &[u8]) -> Result<Option<usize>, TooLong> {
        let Some(header) = input.first_chunk::<{ Self::HEADER }>() else { return Ok(None) };
        let len = u32::from_be_bytes(*header) as usize;
        if len > self.limit {
            return Err(TooLong);
        }
        let whole = Self::HEADER + len;
        Ok((input.len() >= whole).then_some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::messages;
    use super::*;

    #[test]
    fn every_split_of_a_stream_gives_the_same_messages() {
        let stream = b"\0\0\0\x03one\0\0\0\0\0\0\0\x05three\0\0\0\x09rest";
        let whole = messages(&mut LengthPrefixed::new(9), [&stream[..]]);
        assert_eq!(whole, [&b"\0\0\0\x03one"[..], b"\0\0\0\0", b"\0\0\0\x05three"]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(messages(&mut LengthPrefixed::new(9), cuts), whole);
            }
        }
    }

    #[test]
    fn length_over_the_limit_is_refused_before_its_bytes_come() {
        assert_eq!(LengthPrefixed::new(8).next(b"\0\0\0\x08"), Ok(None));
        assert_eq!(LengthPrefixed::new(8).next(b"\0\0\0\x09"), Err(TooLong));
        assert_eq!(LengthPrefixed::new(8).next(b"\xff\xff\xff"), Ok(None));
    }
}
