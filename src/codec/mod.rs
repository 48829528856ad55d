//! Codec: where a message ends in a stream of bytes, and what it says. Pure functions over bytes,
//! without I/O and without a clock.
//!
//! A codec is given everything received and not yet consumed, and finds the first message in it,
//! borrowed from those bytes. It remembers how far it has looked, so that a message which arrives
//! byte by byte costs linear time; it never believes a length field before the bytes are there, and
//! refuses a length over its limit at once.
//!
//! | file | messages |
//! | --- | --- |
//! | [`fixed`](Fixed) | of one length |
//! | [`delimited`](Delimited) | ended by a delimiter: `\n`, `\r\n`, any |
//! | [`length_prefixed`](LengthPrefixed) | behind their length: 1, 2, 4, 8 bytes, either byte order, with or without itself |
//! | [`magic`](Magic) | behind a magic number and their length |
//! | `http` | HTTP/1.1: heads and bodies of requests (feature `http`) |
//! | [`resp`] | requests and replies of the Redis protocol |
//! | `websocket` | frames of a WebSocket client, with the feature `websocket` |
//!
//! [`Framed`](crate::service::Framed) makes a server of any of them.

mod client_hello;
mod delimited;
mod fixed;
mod frame_error;
#[cfg(feature = "http")]
pub mod http;
mod length_prefixed;
mod magic;
mod request_line;
pub mod resp;
#[cfg(feature = "websocket")]
pub mod websocket;

pub(crate) use client_hello::{NO_TLS, begins_tls};
pub use delimited::Delimited;
pub use fixed::Fixed;
pub use frame_error::FrameError;
pub use length_prefixed::{Endian, Header, LengthPrefixed, Width};
pub use magic::Magic;
pub(crate) use request_line::{NO_HTTP, is_request_line};

/// Finds the messages of a stream, one at a time.
pub trait Codec {
    /// What a message is: bytes, or what they say, borrowed from the input.
    type Message<'a>;

    /// Why a stream is given up.
    type Error: std::error::Error;

    /// The first message in `input`, or `None` while it is incomplete.
    ///
    /// `input` begins where the last message ended: the caller takes [`Decoded::len`] bytes away
    /// before it asks again. Until there is a message, each call sees at least the bytes of the call
    /// before. A codec may change the bytes in place (a WebSocket frame is unmasked so), but no
    /// byte behind the message it returns.
    ///
    /// # Errors
    /// As soon as it is certain that the stream breaks the rules or a limit. The stream cannot be
    /// decoded further.
    fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<Decoded<Self::Message<'a>>>, Self::Error>;

    /// What the rest of a stream means that ended within a message. By default nothing: the rest
    /// is dropped.
    ///
    /// # Errors
    /// When the rest breaks the rules.
    fn decode_end<'a>(
        &mut self,
        rest: &'a mut [u8],
    ) -> Result<Option<Self::Message<'a>>, Self::Error> {
        let _ = rest;
        Ok(None)
    }
}

/// A message, and how many bytes of the stream it took with its header or delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<M> {
    /// Bytes to take from the front of the input; at least 1.
    pub len: usize,
    /// The message.
    pub message: M,
}

#[cfg(test)]
mod tests {
    use super::{Codec, Decoded, FrameError};

    /// The messages of a stream that arrives in pieces, and the error that ended it.
    pub(super) fn messages<'a, C>(
        codec: &mut C,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Vec<u8>>, Option<FrameError>)
    where
        C: for<'m> Codec<Message<'m> = &'m [u8], Error = FrameError>,
    {
        let (mut found, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match codec.decode(&mut input) {
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                    Ok(Some(Decoded { len, message })) => {
                        found.push(message.to_vec());
                        input.drain(..len);
                    }
                }
            }
        }
        (found, None)
    }

    /// Every cut of a stream into three pieces, and its cut into single bytes, gives what the whole
    /// gives.
    pub(super) fn whole_however_cut<C>(
        codec: C,
        stream: &[u8],
    ) -> (Vec<Vec<u8>>, Option<FrameError>)
    where
        C: for<'m> Codec<Message<'m> = &'m [u8], Error = FrameError> + Clone,
    {
        let whole = messages(&mut codec.clone(), [stream]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(messages(&mut codec.clone(), cuts), whole, "cut at {first}, {second}");
            }
        }
        assert_eq!(messages(&mut codec.clone(), stream.chunks(1)), whole, "byte by byte");
        whole
    }
}
