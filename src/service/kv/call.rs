//! One command being carried out: its arguments, and all that it may use.

use std::borrow::Cow;

use super::Kv;
use super::client::Client;
use super::command::Command;
use super::glob::PATTERN_MAX;
use crate::codec::resp::{Arguments, Replies, Request, parse_integer};
use crate::reactor::{Context, Token};

/// What a command is called with.
pub(super) struct Call<'a, 'k, 'c> {
    pub(super) kv: &'k mut Kv,
    pub(super) cx: &'k mut Context<'c>,
    pub(super) token: Token,
    /// Whose command it is.
    pub(super) client: u32,
    /// The command, or the subcommand.
    pub(super) command: &'static Command,
    /// All of it, as the client has written it.
    pub(super) request: &'a Request<'a>,
    /// What stands behind its name.
    pub(super) arguments: Arguments<'a>,
}

/// What becomes of the connection after a command that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It goes on.
    Next,
    /// The command could not be finished, and is to be called again when the reactor releases the
    /// connection. It has answered nothing.
    Again,
    /// It is closed behind the reply.
    Close,
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text of an error, which begins with its kind.
    Text(Cow<'static, [u8]>),
    /// It is never told: the command is to be carried out in the next turn.
    NotNow,
}

pub(super) type Outcome = Result<Flow, Fault>;

impl Fault {
    pub(super) const SYNTAX: Fault = Fault::text("ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Fault =
        Fault::text("ERR value is not an integer or out of range");
    pub(super) const PATTERN_TOO_LONG: Fault = Fault::text("ERR pattern is too long");
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

impl<'a> Call<'a, '_, '_> {
    /// The next argument. That it is there was checked before the call.
    pub(super) fn argument(&mut self) -> &'a [u8] {
        self.arguments.next().unwrap_or_default()
    }

    /// The next argument as a number.
    pub(super) fn integer(&mut self) -> Result<i64, Fault> {
        parse_integer(self.argument()).ok_or(Fault::NOT_AN_INTEGER)
    }

    /// The next argument as a pattern.
    pub(super) fn pattern(&mut self) -> Result<&'a [u8], Fault> {
        let pattern = self.argument();
        if pattern.len() > PATTERN_MAX { Err(Fault::PATTERN_TOO_LONG) } else { Ok(pattern) }
    }

    /// Counts the work of a command that looks up very many keys. A few cost no more than others do.
    pub(super) fn charge_keys(&mut self) -> Result<(), Fault> {
        match self.arguments.len() {
            ..=KEYS_FREE => Ok(()),
            count => self.kv.charge_work(count * LOOK_UP_WORK),
        }
    }

    pub(super) fn replies(&mut self) -> &mut Replies {
        &mut self.kv.replies
    }

    pub(super) fn ok(&mut self) -> Outcome {
        self.kv.replies.simple("OK");
        Ok(Flow::Next)
    }

    pub(super) fn answer(&mut self, value: i64) -> Outcome {
        self.kv.replies.integer(value);
        Ok(Flow::Next)
    }

    /// Selects a database for this command and all that follow on the connection.
    pub(super) fn select(&mut self, database: usize) {
        self.kv.keyspace.select(database);
        if let Some(client) = self.client() {
            client.database = database as u8;
        }
    }

    /// Whether the command has begun in an earlier turn.
    pub(super) fn goes_on(&mut self) -> bool {
        self.client().and_then(|client| client.rare()).is_some_and(|rare| rare.list.is_some())
    }

    pub(super) fn client(&mut self) -> Option<&mut Client> {
        self.kv.clients.get_mut(self.client as usize)
    }
}

/// So many keys of one command are not counted as work.
const KEYS_FREE: usize = 64;
/// The work to look a key up, or to set or delete it.
const LOOK_UP_WORK: usize = 512;
pub(super) const REPLY_TOO_LONG: &str = "ERR reply is longer than the output limit allows";
/// As much of a name that is unknown is told back.
pub(super) const QUOTED_MAX: usize = 128;

/// Bytes up to the first zero, which is all that Redis shows of them.
pub(super) fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
