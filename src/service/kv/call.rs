//! One command being carried out: its arguments, and all that it may use.

use super::client::Client;
use super::command::Commands;
use super::fault::{Fault, Flow, Outcome};
use super::glob::PATTERN_MAX;
use super::store::Store;
use super::work::LOOK_UP_WORK;
use crate::codec::resp::{Arguments, Replies, Request, parse_integer};
use crate::reactor::{Context, Token};

/// The function that does a command.
pub(super) type Run = fn(&mut Call<'_, '_, '_>) -> Outcome;

/// What a command is called with.
pub(super) struct Call<'a, 'k, 'c> {
    pub(super) kv: &'k mut Store,
    /// All commands that there are.
    pub(super) commands: &'k Commands<Run>,
    pub(super) cx: &'k mut Context<'c>,
    pub(super) token: Token,
    /// Whose command it is.
    pub(super) client: u32,
    /// The name of the command, or of the subcommand.
    pub(super) name: &'static str,
    /// All of it, as the client has written it.
    pub(super) request: &'a Request<'a>,
    /// What stands behind its name.
    pub(super) arguments: Arguments<'a>,
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
