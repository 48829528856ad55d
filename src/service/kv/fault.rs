//! What becomes of a command: its connection goes on, or why it is not carried out.

use std::borrow::Cow;

/// What becomes of the connection after a command that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The connection goes on.
    Next,
    /// The command could not be finished, and is to be called again when the reactor releases the
    /// connection. The command has answered nothing.
    Again,
    /// The connection is closed behind the reply.
    Close,
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text of an error, which begins with its kind.
    Text(Cow<'static, [u8]>),
    /// No client is told this: the command is to be carried out in the next turn.
    NotNow,
}

pub(super) type Outcome = Result<Flow, Fault>;

impl Fault {
    pub(super) const SYNTAX: Fault = Fault::text("ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Fault =
        Fault::text("ERR value is not an integer or out of range");
    pub(super) const PATTERN_TOO_LONG: Fault = Fault::text("ERR pattern is too long");
    pub(super) const TRANSACTION_TOO_LONG: Fault = Fault::text("ERR transaction takes too long");
    pub(super) const OUT_OF_MEMORY: Fault =
        Fault::text("OOM command not allowed when used memory > 'maxmemory'.");

    pub(super) const fn text(text: &'static str) -> Fault {
        Fault::Text(Cow::Borrowed(text.as_bytes()))
    }

    pub(super) fn of(text: String) -> Fault {
        Fault::Text(Cow::Owned(text.into_bytes()))
    }

    /// A text with a client's bytes in the place of `{}`.
    pub(super) fn quoting(text: &str, bytes: &[u8]) -> Fault {
        let (before, behind) = text.split_once("{}").unwrap_or((text, ""));
        Fault::Text(Cow::Owned([before.as_bytes(), c_string(bytes), behind.as_bytes()].concat()))
    }
}

pub(super) const REPLY_TOO_LONG: &str = "ERR reply is longer than the output limit allows";
/// As much of a name that is unknown is told back.
pub(super) const QUOTED_MAX: usize = 128;

/// Bytes up to the first zero, which is all that Redis shows of them.
pub(super) fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
