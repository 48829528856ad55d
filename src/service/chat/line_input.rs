//! From the bytes of a line client to text.

use std::borrow::Cow;

use super::telnet::Telnet;
use crate::codec::{Codec, Decoded, Delimited, FrameError};
use crate::reactor::RingBuffer;

/// Finds lines, without what telnet puts between and into them.
#[derive(Debug)]
pub(super) struct LineInput {
    lines: Delimited,
    telnet: Telnet,
}

impl LineInput {
    /// For lines of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        LineInput { lines: Delimited::lines(limit), telnet: Telnet::default() }
    }

    /// The first line, if it is whole; the same again until it is [taken](Self::take).
    pub(super) fn next<'a>(
        &mut self,
        input: &'a mut RingBuffer,
    ) -> Result<Option<Decoded<&'a [u8]>>, FrameError> {
        self.telnet.blank(input.contiguous());
        self.lines.decode(input.contiguous())
    }

    /// What is left at the end of the stream: a line all the same.
    pub(super) fn last<'a>(
        &mut self,
        input: &'a mut RingBuffer,
    ) -> Result<Option<&'a [u8]>, FrameError> {
        self.telnet.blank(input.contiguous());
        self.lines.decode_end(input.contiguous())
    }

    /// Takes so many bytes from the front of the input: a whole line, or what stands before one.
    pub(super) fn take(&mut self, input: &mut RingBuffer, len: usize) {
        input.consume(len);
        self.telnet.consumed(len);
        self.lines.restart();
    }

    /// Takes what means nothing in front of a line. Says whether there was any.
    pub(super) fn pass_over(&mut self, input: &mut RingBuffer) -> bool {
        self.telnet.blank(input.contiguous());
        let bytes = input.contiguous();
        let len = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        if len > 0 {
            self.take(input, len);
        }
        len > 0
    }
}

/// A line as text: without the NULs, which in telnet are no characters.
pub(super) fn text_of(line: &[u8]) -> Cow<'_, str> {
    if !line.contains(&0) {
        return String::from_utf8_lossy(line);
    }
    let bytes: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0).collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
