//! Codec: where a message ends in a stream of bytes. Pure functions over bytes, without I/O and
//! without a clock.
//!
//! A codec is asked with everything received and not yet consumed, and says how many of those bytes
//! are the first message. It remembers how far it has looked, so that a message which arrives byte
//! by byte costs linear time; it never believes a length field before the bytes are there.

mod delimited;
mod length_prefixed;

pub use delimited::Lines;
pub use length_prefixed::LengthPrefixed;

/// Finds the first message in a stream.
pub trait Codec {
    /// The length of the first message in `input`, with its delimiter or header, or `None` while it
    /// is incomplete.
    ///
    /// `input` begins where the last message ended, and each call sees at least the bytes of the
    /// call before.
    ///
    /// # Errors
    /// [`TooLong`] as soon as it is certain that the message exceeds the limit.
    fn next(&mut self, input: &[u8]) -> Result<Option<usize>, TooLong>;
}

/// The message is longer than the codec's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the message is longer than the limit")
    }
}

impl std::error::Error for TooLong {}

#[cfg(test)]
mod tests {
    use super::Codec;

    /// The messages of a stream that arrives in pieces.
    pub(super) fn messages<'a>(
        codec: &mut impl Codec,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Vec<u8>> {
        let (mut found, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(len) = codec.next(&input).expect("no message is over the limit") {
                found.push(input.drain(..len).collect());
            }
        }
        found
    }
}
