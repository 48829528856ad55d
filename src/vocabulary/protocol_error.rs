//! Why a handler gives up on what a peer sent: a reason to count, and a text for the log that no peer can
//! make long or break into lines.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::close_reason::CloseReason;
use crate::sockets::preface::BadPreface;

/// Why a handler gives up on what a peer sent.
///
/// ```
/// use edgeloop::ProtocolError;
/// let fixed = ProtocolError::malformed("no command");
/// let with_a_value = ProtocolError::malformed(format!("no command has the number {}", 7));
/// assert_eq!(with_a_value.to_string(), "no command has the number 7");
/// # assert_ne!(fixed, with_a_value);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line is longer than the limit.
    LineTooLong,
    /// A message is longer than the limit.
    MessageTooLong,
    /// The peer broke the protocol; the text says how, for the log.
    Malformed(Cow<'static, str>),
}

impl ProtocolError {
    /// The peer broke the protocol in the way that `what` says: a text of the program, which costs
    /// nothing, or one made for the occasion. It may quote the peer: shown, it is [one line](#impl-Display-for-ProtocolError).
    pub fn malformed(what: impl Into<Cow<'static, str>>) -> Self {
        ProtocolError::Malformed(what.into())
    }

    /// The close reason under which it is counted.
    pub fn reason(&self) -> CloseReason {
        match self {
            ProtocolError::LineTooLong => CloseReason::LineTooLong,
            ProtocolError::MessageTooLong => CloseReason::MessageTooLong,
            ProtocolError::Malformed(_) => CloseReason::ProtocolError,
        }
    }
}

/// One line of at most [`SHOWN_MAX`] characters, whatever the peer has put into it: control characters
/// are escaped, so that no peer writes lines of its own into a log.
impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::LineTooLong => f.write_str("the line is too long"),
            ProtocolError::MessageTooLong => f.write_str("the message is too long"),
            ProtocolError::Malformed(what) => write_one_line(f, what),
        }
    }
}

fn write_one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for symbol in text.chars().take(SHOWN_MAX) {
        if symbol.is_control() {
            write!(f, "{}", symbol.escape_default())?;
        } else {
            f.write_char(symbol)?;
        }
    }
    if text.chars().nth(SHOWN_MAX).is_some() { f.write_str("...") } else { Ok(()) }
}

impl std::error::Error for ProtocolError {}

impl From<ProtocolError> for BadPreface {
    fn from(error: ProtocolError) -> Self {
        BadPreface::new(error.to_string())
    }
}

/// Characters shown of a text: enough for a sentence with a value in it, too few to fill a log with.
const SHOWN_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::{ProtocolError, SHOWN_MAX};

    #[test]
    fn text_of_an_error_is_one_short_line_whatever_the_peer_put_into_it() {
        let quoted =
            ProtocolError::malformed("can't read \"a\nERROR forged\u{1b}[31m\"".to_owned());
        assert_eq!(quoted.to_string(), "can't read \"a\\nERROR forged\\u{1b}[31m\"");
        let long = ProtocolError::malformed("é".repeat(SHOWN_MAX + 1));
        assert_eq!(long.to_string(), "é".repeat(SHOWN_MAX) + "...");
        let longest = ProtocolError::malformed("é".repeat(SHOWN_MAX));
        assert_eq!(longest.to_string(), "é".repeat(SHOWN_MAX));
    }

    /// A call that succeeds returns as many bytes as one whose error has no text of its own.
    #[test]
    fn owned_text_makes_no_outcome_larger() {
        let with_static_text = size_of::<Result<(), (u64, &'static str)>>();
        assert_eq!(size_of::<Result<(), ProtocolError>>(), with_static_text);
    }
}
