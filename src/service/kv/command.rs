//! What is known of a command, and how a command is found by its name. What a command does is a type of
//! its own here, `R`, as this file knows no function that does any.

use std::fmt;

use super::fault::{Fault, QUOTED_MAX, c_string};
use super::user::Access;
use crate::codec::resp::{Arguments, Request};

/// A command, or a subcommand of one.
pub(super) struct Command<R: 'static> {
    /// In lower case; that of a subcommand stands behind its command's and a bar.
    pub(super) name: &'static str,
    /// How many arguments it takes, its name included; at least so many, if negative.
    pub(super) arity: i8,
    pub(super) flags: Flags,
    /// The first argument that is a key, the last one (from the end, if negative), and the step.
    pub(super) keys: (i8, i8, i8),
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) run: R,
    pub(super) subcommands: &'static [Command<R>],
}

/// What is to be known about a command before it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(u16);

impl Flags {
    pub(super) const NONE: Flags = Flags(0);
    pub(super) const WRITE: Flags = Flags(1);
    pub(super) const READONLY: Flags = Flags(2);
    /// Refused while the memory is used up.
    pub(super) const DENYOOM: Flags = Flags(4);
    pub(super) const ADMIN: Flags = Flags(8);
    pub(super) const PUBSUB: Flags = Flags(16);
    pub(super) const LOADING: Flags = Flags(32);
    pub(super) const STALE: Flags = Flags(64);
    pub(super) const FAST: Flags = Flags(128);
    /// Permitted to a client that is subscribed.
    pub(super) const SUBSCRIBED: Flags = Flags(256);
    /// Refused in a transaction.
    pub(super) const NO_MULTI: Flags = Flags(512);
    /// Carried out at once in a transaction, too.
    pub(super) const AT_ONCE: Flags = Flags(1024);
    /// Carried out for a client that has given no password, and that may do nothing else.
    pub(super) const NO_AUTH: Flags = Flags(2048);
    /// Sends a message, and so waits where a channel is full.
    pub(super) const PUBLISHES: Flags = Flags(4096);
    /// May end a subscription, in front of whose end all messages come.
    pub(super) const LEAVES: Flags = Flags(8192);

    const NAMES: [(Flags, &'static str); 10] = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::FAST, "fast"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::NO_AUTH, "no_auth"),
    ];

    pub(super) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn has_all(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// As `COMMAND` tells them.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }

    pub(super) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl<R> Command<R> {
    /// Whether it takes so many arguments, its name included.
    pub(super) fn takes(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= arity } else { count == arity }
    }

    /// The arguments of a request that are keys. Channels of the shard stand where a cluster looks for
    /// keys, and are none.
    pub(super) fn keys_of<'a>(
        &self,
        request: &Request<'a>,
    ) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a, R> {
        let (first, last, step) = if self.flags.has(Flags::PUBSUB) { (0, 0, 1) } else { self.keys };
        let end = match usize::from(last.unsigned_abs()) {
            last if self.keys.1 < 0 => request.len().saturating_sub(last),
            last => last,
        };
        let (first, step) = (usize::from(first.unsigned_abs()), usize::from(step.unsigned_abs()));
        let count = if first == 0 { 0 } else { (end + 1).saturating_sub(first) };
        request.arguments().skip(first).take(count).step_by(step.max(1))
    }

    /// What is done with the key at a place among the keys of a request.
    pub(super) fn access(&self, place: usize, request: &Request<'_>) -> Access {
        match self.name {
            "strlen" | "exists" | "touch" | "type" | "watch" | "memory|usage" => Access::NONE,
            name if name.starts_with("object|") => Access::NONE,
            "bitop" | "copy" | "rename" | "renamenx" => match (self.name, place) {
                ("rename" | "renamenx", 0) => Access::BOTH,
                ("bitop", 0) | ("copy" | "rename" | "renamenx", 1) => Access::WRITE,
                _ => Access::READ,
            },
            "set" if request.arguments().skip(3).any(|it| it.eq_ignore_ascii_case(b"get")) => {
                Access::BOTH
            }
            "append" | "mset" | "msetnx" | "psetex" | "set" | "setex" | "setnx" | "setrange"
            | "del" | "unlink" | "expire" | "expireat" | "pexpire" | "pexpireat" | "persist" => {
                Access::WRITE
            }
            _ if self.flags.has(Flags::READONLY) => Access::READ,
            _ => Access::BOTH,
        }
    }

    /// Whether it is in one of the categories of Redis' access control lists, as far as they follow
    /// from what is known of it here.
    pub(super) fn is_in_category(&self, name: &[u8]) -> bool {
        let has = |flag| self.flags.has(flag);
        match name.to_ascii_lowercase().as_slice() {
            b"write" => has(Flags::WRITE),
            b"read" => has(Flags::READONLY) && self.group != "connection",
            b"fast" => has(Flags::FAST),
            b"slow" => !has(Flags::FAST),
            b"admin" => has(Flags::ADMIN),
            b"dangerous" => {
                has(Flags::ADMIN) || matches!(self.name, "flushall" | "flushdb" | "info" | "keys")
            }
            b"pubsub" => has(Flags::PUBSUB),
            b"keyspace" => {
                let is_own = self.group == "generic" && self.subcommands.is_empty();
                is_own || matches!(self.name, "dbsize" | "flushall" | "flushdb")
            }
            b"transaction" => self.group == "transactions",
            b"string" => self.group == "string",
            b"bitmap" => self.group == "bitmap",
            b"connection" => {
                let is_own = self.group == "connection" && self.subcommands.is_empty();
                is_own || self.name.starts_with("command")
            }
            _ => false,
        }
    }

    /// The subcommand with this name, in any case.
    pub(super) fn subcommand(&self, name: &[u8]) -> Option<&'static Command<R>> {
        let own = self.name.len() + 1;
        self.subcommands.iter().find(|sub| sub.name.as_bytes()[own..].eq_ignore_ascii_case(name))
    }
}

impl<R> fmt::Debug for Command<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The categories of Redis, some of which have no command here.
pub(super) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Finds a command by its name in a few steps: a table with open addressing, filled once.
#[derive(Debug)]
pub(super) struct Commands<R: 'static> {
    all: &'static [Command<R>],
    pub(super) places: [u8; PLACES],
}

/// More than four times as many as there are commands, so that nearly each has a place of its own.
const PLACES: usize = 512;
const VACANT: u8 = u8::MAX;

impl<R> Commands<R> {
    /// Each has a number that fits a byte, and few share a place.
    pub(super) const MOST: usize =
        if PLACES / 4 < VACANT as usize { PLACES / 4 } else { VACANT as usize };

    /// A table of these, of which there are fewer than [`MOST`](Self::MOST).
    pub(super) fn new(all: &'static [Command<R>]) -> Self {
        let mut places = [VACANT; PLACES];
        for (index, command) in all.iter().enumerate() {
            let mut place = Self::hash(command.name.as_bytes());
            while places[place] != VACANT {
                place = (place + 1) % PLACES;
            }
            places[place] = index as u8;
        }
        Commands { all, places }
    }

    pub(super) fn all(&self) -> &'static [Command<R>] {
        self.all
    }

    /// The command with this name, in any case.
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static Command<R>> {
        let mut place = Self::hash(name);
        loop {
            let command = self.all.get(usize::from(self.places[place]))?;
            if command.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            place = (place + 1) % PLACES;
        }
    }

    /// As [`find`](Self::find), and subcommands by their full names.
    pub(super) fn find_full(&self, name: &[u8]) -> Option<&'static Command<R>> {
        match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => self.find(&name[..bar])?.subcommand(&name[bar + 1..]),
            None => self.find(name),
        }
    }

    /// The command that a request names; its arguments are what is left of `arguments`. Inlined, as
    /// every request comes by here, and transactions call it as well.
    #[inline(always)]
    pub(super) fn named_by(
        &self,
        arguments: &mut Arguments<'_>,
        request: &Request<'_>,
    ) -> Result<&'static Command<R>, Fault> {
        let name = arguments.next().unwrap_or_default();
        let mut command = self.find(name).ok_or_else(|| unknown(request))?;
        if !command.subcommands.is_empty()
            && let Some(name) = arguments.next()
        {
            command =
                command.subcommand(name).ok_or_else(|| unknown_subcommand(command.name, name))?;
        }
        if !command.takes(request.len()) {
            let name = command.name;
            return Err(Fault::of(format!("ERR wrong number of arguments for '{name}' command")));
        }
        Ok(command)
    }

    /// Three letters and the length, with factors that were tried until few of the names collide.
    pub(super) fn hash(name: &[u8]) -> usize {
        let letter = |at: usize| usize::from(name.get(at).map_or(0, |byte| byte | 0x20));
        let (len, last) = (name.len(), name.len().saturating_sub(1));
        (len + 3 * letter(0) + 35 * letter(len / 2) + 19 * letter(last)) % PLACES
    }
}

fn unknown(request: &Request<'_>) -> Fault {
    let mut arguments = request.arguments();
    let shown = |bytes: &[u8], most: usize| {
        let bytes = c_string(bytes);
        bytes[..bytes.len().min(most)].to_vec()
    };
    let name = shown(arguments.next().unwrap_or_default(), QUOTED_MAX);
    let mut listed = Vec::new();
    while listed.len() < QUOTED_MAX
        && let Some(argument) = arguments.next()
    {
        let argument = shown(argument, QUOTED_MAX - listed.len());
        listed.extend([b"'", &argument[..], b"' "].concat());
    }
    let parts: [&[u8]; 4] =
        [b"ERR unknown command '", &name, b"', with args beginning with: ", &listed];
    Fault::Text(parts.concat().into())
}

fn unknown_subcommand(command: &str, name: &[u8]) -> Fault {
    let command = command.to_ascii_uppercase();
    let text = format!("ERR unknown subcommand '{{}}'. Try {command} HELP.");
    Fault::quoting(&text, &name[..name.len().min(QUOTED_MAX)])
}
