//! Messages with their length in front.

use std::ops::Deref;

use super::codec::{Codec, Decoded};
use super::frame_error::FrameError;

/// A length, then so many bytes.
///
/// By default the length is 4 bytes, big-endian, and does not count itself.
///
/// ```
/// use edgeloop::codec::{Codec, Endian, LengthPrefixed, Width};
/// let mut codec = LengthPrefixed::new(1024);
/// let mut input = b"\0\0\0\x02hi\0\0".to_vec();
/// let first = codec.decode(&mut input)?.expect("it is whole");
/// assert_eq!((first.len, first.message), (6, &b"hi"[..]));
/// assert!(codec.decode(&mut [0xff; 4]).is_err());
///
/// let codec = LengthPrefixed::new(80).width(Width::Two).endian(Endian::Little).counting_itself();
/// assert_eq!(codec.header(2).as_deref(), Some(&[4, 0][..]));
/// # Ok::<(), edgeloop::codec::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    limit: usize,
    width: Width,
    endian: Endian,
    counts_itself: bool,
}

/// Bytes of a length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Width {
    One = 1,
    Two = 2,
    Four = 4,
    Eight = 8,
}

/// The order of a length field's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The most significant byte first: network order.
    Big,
    /// The least significant byte first.
    Little,
}

/// The bytes in front of a message, at most 8; read them as a slice.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; 8],
    start: u8,
    end: u8,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

impl LengthPrefixed {
    /// Messages of at most `limit` bytes, not counting the header.
    pub const fn new(limit: usize) -> Self {
        LengthPrefixed { limit, width: Width::Four, endian: Endian::Big, counts_itself: false }
    }

    /// With a length of so many bytes.
    pub const fn width(self, width: Width) -> Self {
        LengthPrefixed { width, ..self }
    }

    /// With a length in this byte order.
    pub const fn endian(self, endian: Endian) -> Self {
        LengthPrefixed { endian, ..self }
    }

    /// With a length that counts its own bytes too.
    pub const fn counting_itself(self) -> Self {
        LengthPrefixed { counts_itself: true, ..self }
    }

    /// What to send before a message of `len` bytes, or `None` when that is over the limit or more
    /// than the length field can say.
    pub fn header(&self, len: usize) -> Option<Header> {
        let width = self.width as usize;
        let value = (len as u64).checked_add(if self.counts_itself { width as u64 } else { 0 })?;
        if len > self.limit || value.checked_shr(8 * width as u32).is_some_and(|high| high > 0) {
            return None;
        }
        let (bytes, start) = match self.endian {
            Endian::Big => (value.to_be_bytes(), 8 - width),
            Endian::Little => (value.to_le_bytes(), 0),
        };
        Some(Header { bytes, start: start as u8, end: (start + width) as u8 })
    }

    /// The length of the message behind this length field.
    fn length(&self, field: &[u8]) -> Result<usize, FrameError> {
        let mut bytes = [0; 8];
        let value = match self.endian {
            Endian::Big => {
                bytes[8 - field.len()..].copy_from_slice(field);
                u64::from_be_bytes(bytes)
            }
            Endian::Little => {
                bytes[..field.len()].copy_from_slice(field);
                u64::from_le_bytes(bytes)
            }
        };
        let itself = if self.counts_itself { field.len() as u64 } else { 0 };
        let len = value.checked_sub(itself).ok_or(FrameError::BadLength)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= self.limit);
        len.ok_or(FrameError::MessageTooLong)
    }
}

impl Codec for LengthPrefixed {
    type Message<'a> = &'a [u8];
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<&'a [u8]>>, FrameError> {
        let Some((field, rest)) = input.split_at_checked(self.width as usize) else {
            return Ok(None);
        };
        let len = self.length(field)?;
        Ok(rest.get(..len).map(|message| Decoded { len: field.len() + len, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::whole_however_cut;
    use super::*;

    const WIDTHS: [Width; 4] = [Width::One, Width::Two, Width::Four, Width::Eight];

    fn variants(limit: usize) -> impl Iterator<Item = LengthPrefixed> {
        let endians = [Endian::Big, Endian::Little];
        WIDTHS.into_iter().flat_map(move |width| {
            endians.into_iter().flat_map(move |endian| {
                let codec = LengthPrefixed::new(limit).width(width).endian(endian);
                [codec, codec.counting_itself()]
            })
        })
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_messages_in_every_variant() {
        for codec in variants(9) {
            let messages = [&b"one"[..], b"", b"three", b"123456789"];
            let mut stream = Vec::new();
            for message in messages {
                stream.extend_from_slice(&codec.header(message.len()).unwrap());
                stream.extend_from_slice(message);
            }
            stream.extend_from_slice(&codec.header(4).unwrap());
            stream.extend_from_slice(b"cut");
            let (found, error) = whole_however_cut(codec, &stream);
            assert_eq!(found, messages, "{codec:?}");
            assert_eq!(error, None);
        }
    }

    #[test]
    fn bytes_of_the_header_are_as_documented() {
        let codec = LengthPrefixed::new(usize::MAX);
        assert_eq!(*codec.header(0x0102_0304).unwrap(), [1, 2, 3, 4]);
        assert_eq!(*codec.endian(Endian::Little).header(0x0102_0304).unwrap(), [4, 3, 2, 1]);
        assert_eq!(*codec.counting_itself().header(1).unwrap(), [0, 0, 0, 5]);
        assert_eq!(*codec.width(Width::Eight).header(7).unwrap(), [0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn length_over_the_limit_is_refused_before_its_bytes_come() {
        for codec in variants(8) {
            let mut within = codec.header(8).unwrap().to_vec();
            assert_eq!(codec.clone().decode(&mut within), Ok(None));
            let mut over = { LengthPrefixed { limit: 9, ..codec } }.header(9).unwrap().to_vec();
            assert_eq!(codec.clone().decode(&mut over), Err(FrameError::MessageTooLong));
            assert_eq!(codec.header(9).as_deref(), None);
            let mut hostile = vec![0xff; codec.width as usize];
            assert_eq!(codec.clone().decode(&mut hostile), Err(FrameError::MessageTooLong));
            hostile.pop();
            assert_eq!(codec.clone().decode(&mut hostile), Ok(None));
        }
    }

    #[test]
    fn length_that_does_not_fit_its_field_has_no_header() {
        for (width, most) in [(Width::One, 0xff), (Width::Two, 0xffff), (Width::Four, 0xffff_ffff)]
        {
            let codec = LengthPrefixed::new(usize::MAX).width(width);
            assert!(codec.header(most).is_some() && codec.header(most + 1).is_none());
            let codec = codec.counting_itself();
            let most = most - width as usize;
            assert!(codec.header(most).is_some() && codec.header(most + 1).is_none());
        }
    }

    #[test]
    fn length_less_than_its_own_header_is_refused() {
        for width in WIDTHS {
            let codec = LengthPrefixed::new(8).width(width).counting_itself();
            let field = LengthPrefixed::new(8).width(width).header(width as usize - 1).unwrap();
            assert_eq!(codec.clone().decode(&mut field.to_vec()), Err(FrameError::BadLength));
        }
    }
}
