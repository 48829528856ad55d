//! Messages of one length.

use std::num::NonZeroUsize;

use super::codec::{Codec, Decoded};
use super::frame_error::FrameError;

/// Messages of the same number of bytes each, with nothing between them.
///
/// ```
/// use edgeloop::codec::{Codec, Fixed};
/// let mut records = Fixed::new(3.try_into()?);
/// let decoded = records.decode(&mut b"onetwo".to_vec())?.map(|found| found.message.to_vec());
/// assert_eq!(decoded.as_deref(), Some(&b"one"[..]));
/// assert_eq!(records.decode(&mut b"on".to_vec())?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    len: NonZeroUsize,
}

impl Fixed {
    /// Messages of `len` bytes.
    pub const fn new(len: NonZeroUsize) -> Self {
        Fixed { len }
    }
}

impl Codec for Fixed {
    type Message<'a> = &'a [u8];
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<&'a [u8]>>, FrameError> {
        let len = self.len.get();
        Ok(input.get(..len).map(|message| Decoded { len, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::whole_however_cut;
    use super::*;

    #[test]
    fn every_split_of_a_stream_gives_the_same_messages() {
        let codec = Fixed::new(NonZeroUsize::new(3).unwrap());
        let (messages, error) = whole_however_cut(codec, b"onetwosix--");
        assert_eq!(messages, [b"one", b"two", b"six"]);
        assert_eq!(error, None);
    }
}
