//! Why a stream of requests is given up.

use std::fmt;

use crate::codec::client_hello::NO_TLS;

/// A stream that breaks the rules of the protocol, or a limit. As text it is what Redis answers,
/// behind `-ERR `, before it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// The number of arguments is no number, or above the limit.
    InvalidMultibulkLength,
    /// The length of an argument is no number, is negative, or makes the request longer than the
    /// limit.
    InvalidBulkLength,
    /// More arguments than a client may send that has not said who it is: ten.
    UnauthenticatedMultibulkLength,
    /// A longer argument than such a client may send: 16 KiB.
    UnauthenticatedBulkLength,
    /// Where an argument was to begin stood this byte.
    ExpectedDollar(u8),
    /// An argument is not followed by `\r\n`. (Redis does not look, and so takes two bytes of
    /// anything.)
    UnendedBulk,
    /// An inline command of more than 64 KiB.
    TooBigInlineRequest,
    /// An inline command with a quote that is not closed, or closed within a word.
    UnbalancedQuotes,
    /// An inline command with a zero byte. (Redis waits behind it for ever.)
    ZeroByte,
    /// The first message of TLS, in whose random bytes there may be lines that somebody put there.
    TlsHello,
}

impl RespError {
    /// A name that stays the same from version to version.
    pub const fn name(self) -> &'static str {
        match self {
            RespError::InvalidMultibulkLength => "invalid_multibulk_length",
            RespError::InvalidBulkLength => "invalid_bulk_length",
            RespError::UnauthenticatedMultibulkLength => "unauthenticated_multibulk_length",
            RespError::UnauthenticatedBulkLength => "unauthenticated_bulk_length",
            RespError::ExpectedDollar(_) => "expected_dollar",
            RespError::UnendedBulk => "unended_bulk",
            RespError::TooBigInlineRequest => "too_big_inline_request",
            RespError::UnbalancedQuotes => "unbalanced_quotes",
            RespError::ZeroByte => "zero_byte",
            RespError::TlsHello => "tls_hello",
        }
    }
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            RespError::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            RespError::InvalidBulkLength => f.write_str("invalid bulk length"),
            RespError::UnauthenticatedMultibulkLength => {
                f.write_str("unauthenticated multibulk length")
            }
            RespError::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
            // A line of an answer cannot hold a line feed; what is not ASCII is shown escaped.
            RespError::ExpectedDollar(b'\r' | b'\n') => f.write_str("expected '$', got ' '"),
            RespError::ExpectedDollar(byte) if byte.is_ascii_graphic() || *byte == b' ' => {
                write!(f, "expected '$', got '{}'", char::from(*byte))
            }
            RespError::ExpectedDollar(byte) => {
                write!(f, "expected '$', got '{}'", byte.escape_ascii())
            }
            RespError::UnendedBulk => f.write_str("expected CRLF after a bulk string"),
            RespError::TooBigInlineRequest => f.write_str("too big inline request"),
            RespError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            RespError::ZeroByte => f.write_str("zero byte in an inline request"),
            RespError::TlsHello => f.write_str(NO_TLS),
        }
    }
}

impl std::error::Error for RespError {}
