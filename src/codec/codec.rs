//! What a codec is: it finds messages in a stream.

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
pub(super) mod tests {
    use super::super::frame_error::FrameError;
    use super::{Codec, Decoded};

    /// The messages of a stream that arrives in pieces, and the error that ended it.
    pub(in super::super) fn messages<'a, C>(
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
    pub(in super::super) fn whole_however_cut<C>(
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
