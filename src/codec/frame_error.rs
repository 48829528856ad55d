//! Why a stream of frames is given up.

use std::fmt;

/// A stream that breaks the rules of its frames, or their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No delimiter within the limit.
    LineTooLong,
    /// The length in a header is over the limit.
    MessageTooLong,
    /// The length in a header, which counts the header too, is less than the header.
    BadLength,
    /// A message does not begin with the magic number.
    BadMagic,
}

impl FrameError {
    /// A name that stays the same from version to version.
    pub const fn name(self) -> &'static str {
        match self {
            FrameError::LineTooLong => "line_too_long",
            FrameError::MessageTooLong => "message_too_long",
            FrameError::BadLength => "bad_length",
            FrameError::BadMagic => "bad_magic",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::LineTooLong => "the line is longer than the limit",
            FrameError::MessageTooLong => "the message is longer than the limit",
            FrameError::BadLength => "the length is less than that of its own header",
            FrameError::BadMagic => "the message does not begin with the magic number",
        })
    }
}

impl std::error::Error for FrameError {}
