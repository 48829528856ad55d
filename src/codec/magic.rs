//! Messages behind a magic number and their length.

use super::codec::{Codec, Decoded};
use super::frame_error::FrameError;
use super::length_prefixed::{LengthPrefixed, Width};

/// A magic number of 4 bytes, a length, then so many bytes.
///
/// The magic number tells at once that the peer speaks another protocol, or that the two sides
/// disagree about where a message begins.
///
/// ```
/// use edgeloop::codec::{Codec, FrameError, Magic};
/// let mut codec = Magic::default();
/// let mut input = b"\xAB\xCD\xEF\x00\x00\x02hi".to_vec();
/// let first = codec.decode(&mut input)?.expect("it is whole");
/// assert_eq!((first.len, first.message), (8, &b"hi"[..]));
/// assert_eq!(codec.decode(&mut b"G".to_vec()), Err(FrameError::BadMagic));
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Magic {
    number: [u8; 4],
    length: LengthPrefixed,
}

impl Default for Magic {
    /// `0xABCDEF00` and a length of 2 bytes, both big-endian; messages of up to 65,535 bytes.
    fn default() -> Self {
        Magic::new(0xABCD_EF00_u32.to_be_bytes(), LengthPrefixed::new(0xffff).width(Width::Two))
    }
}

impl Magic {
    /// Messages that begin with these bytes, followed by what `length` describes. A length that
    /// counts itself does not count the magic number.
    pub const fn new(number: [u8; 4], length: LengthPrefixed) -> Self {
        Magic { number, length }
    }

    /// What to send before a message of `len` bytes: the magic number and the length field; or
    /// `None` when that is over the limit or more than the field can say.
    pub fn header(&self, len: usize) -> Option<([u8; 4], super::length_prefixed::Header)> {
        Some((self.number, self.length.header(len)?))
    }
}

impl Codec for Magic {
    type Message<'a> = &'a [u8];
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<&'a [u8]>>, FrameError> {
        let (number, rest) = input.split_at_mut(input.len().min(self.number.len()));
        if !self.number.starts_with(number) {
            return Err(FrameError::BadMagic);
        }
        let found = self.length.decode(rest)?;
        Ok(found.map(|found| Decoded { len: number.len() + found.len, ..found }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::whole_however_cut;
    use super::*;

    fn stream(messages: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for message in messages {
            let (number, length) = Magic::default().header(message.len()).unwrap();
            stream.extend([&number[..], &length, message].concat());
        }
        stream
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_messages() {
        let messages = [&b"one"[..], b"", b"\xAB\xCD\xEF\x00"];
        let mut stream = stream(&messages);
        stream.extend(b"\xAB\xCD");
        assert_eq!(
            whole_however_cut(Magic::default(), &stream),
            (messages.map(<[u8]>::to_vec).into(), None)
        );
    }

    #[test]
    fn another_beginning_is_refused_at_its_first_byte() {
        let mut stream = stream(&[b"one"]);
        stream.extend(b"\xAB\xCE");
        let (messages, error) = whole_however_cut(Magic::default(), &stream);
        assert_eq!((messages.len(), error), (1, Some(FrameError::BadMagic)));
        assert_eq!(Magic::default().decode(&mut b"\xAA".to_vec()), Err(FrameError::BadMagic));
    }

    #[test]
    fn length_over_the_limit_is_refused() {
        let magic = Magic::new(*b"edge", LengthPrefixed::new(8));
        let mut header = b"edge\0\0\0\x09".to_vec();
        assert_eq!(magic.clone().decode(&mut header), Err(FrameError::MessageTooLong));
    }
}
