//! What is known about a connection beside its bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::resp::Version;
use crate::reactor::{Address, Context, Token};
use crate::service::throttle::Throttled;

use super::list::List;
use super::publication::Refusal;
use super::transaction::Transaction;
use super::user::Standing;
use super::work::Ticket;

/// A connection, as `CLIENT LIST` shows it. Kept small: most connections are idle.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) token: Token,
    /// Never used again.
    pub(super) id: u64,
    /// By the steady clock, as `active_ms`.
    pub(super) opened_ms: u64,
    pub(super) active_ms: u64,
    /// The name of its last command.
    pub(super) last: Option<&'static str>,
    /// The client was closed, and only its own end is still awaited.
    pub(super) is_closed: bool,
    /// Where its keys are.
    pub(super) database: u8,
    /// In which its replies are written.
    pub(super) version: Version,
    /// Who it is.
    pub(super) standing: Standing,
    /// Since when it waits for its share of the work.
    pub(super) ticket: Option<Ticket>,
    pub(super) throttled: Throttled,
    rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) name: Vec<u8>,
    /// What it has queued since `MULTI`.
    pub(super) transaction: Option<Transaction>,
    /// The keys that it watches, and the version of each that it saw.
    pub(super) watched: BTreeMap<u32, u64>,
    pub(super) answers: Answers,
    /// How far a command has come that goes on in slices.
    pub(super) list: Option<Box<List>>,
    /// How many got the message that it published in slices, or why nobody did.
    pub(super) published: Option<Result<usize, Refusal>>,
    /// The client has a place in the queue of publishers.
    pub(super) waits_to_publish: bool,
    /// Keys of the channels and patterns that it listens to.
    pub(super) channels: BTreeSet<u32>,
    pub(super) patterns: BTreeSet<u32>,
    pub(super) shard_channels: BTreeSet<u32>,
    /// Of a client that listens to very many channels: the most bytes of messages that may wait in all of
    /// these for the client.
    pub(super) owed_at_most: usize,
    /// Bytes of copies for that client of the message which is being published.
    pub(super) share: usize,
}

/// Which answers a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answers {
    #[default]
    All,
    None,
    /// None to the command that is being carried out.
    NotThis,
    /// None to the command behind it.
    NotNext,
}

impl Rare {
    /// Bytes of memory that it takes, but for what is counted elsewhere.
    pub(super) fn memory(&self) -> usize {
        self.name.len() + self.transaction.as_ref().map_or(0, Transaction::memory)
    }
}

impl Client {
    pub(super) fn new(
        token: Token,
        id: u64,
        now_ms: u64,
        throttled: Throttled,
        standing: Standing,
    ) -> Self {
        Client {
            token,
            id,
            opened_ms: now_ms,
            active_ms: now_ms,
            last: None,
            is_closed: false,
            database: 0,
            version: Version::V2,
            standing,
            ticket: None,
            throttled,
            rare: None,
        }
    }

    pub(super) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What it has queued, if it is queueing.
    pub(super) fn transaction(&self) -> Option<&Transaction> {
        self.rare().and_then(|rare| rare.transaction.as_ref())
    }

    pub(super) fn wants(&self) -> Answers {
        self.rare().map_or(Answers::All, |rare| rare.answers)
    }

    /// Which answer the client wants to the command that has been carried out. To the next command it may
    /// want another.
    pub(super) fn next_answers(&mut self) -> Answers {
        let Some(rare) = &mut self.rare else { return Answers::All };
        let next = match rare.answers {
            Answers::NotThis => Answers::All,
            Answers::NotNext => Answers::NotThis,
            same => same,
        };
        std::mem::replace(&mut rare.answers, next)
    }

    pub(super) fn name(&self) -> &[u8] {
        self.rare().map_or(&[], |rare| &rare.name)
    }

    /// Takes away the list of a command that is made in slices, if there is one of which `is_so` is true.
    pub(super) fn take_list_if(&mut self, is_so: impl FnOnce(&List) -> bool) -> Option<Box<List>> {
        let list = &mut self.rare.as_mut()?.list;
        list.take_if(|list| is_so(list))
    }

    /// What has become of the message that it published in slices, if that has come to an end.
    pub(super) fn take_published(&mut self) -> Option<Result<usize, Refusal>> {
        self.rare.as_mut()?.published.take()
    }

    /// Forgets what few connections have, and returns it.
    pub(super) fn take_rare(&mut self) -> Option<Box<Rare>> {
        self.rare.take()
    }

    /// Whether it may say nothing but what is about subscriptions: in version 2 nothing tells a
    /// message from a reply.
    pub(super) fn only_listens(&self) -> bool {
        self.version == Version::V2 && self.subscriptions() > 0
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.rare().map_or(0, |rare| rare.shard_channels.len()) + self.global_subscriptions()
    }

    /// Subscriptions to channels and patterns, but not to channels of the shard.
    pub(super) fn global_subscriptions(&self) -> usize {
        self.rare().map_or(0, |rare| rare.channels.len() + rare.patterns.len())
    }
}

/// Whether a client is on this machine.
pub(super) fn is_local(cx: &Context<'_>, token: Token) -> bool {
    match cx.peer_address(token) {
        Some(Address::Tcp(address)) => address.ip().to_canonical().is_loopback(),
        Some(Address::Unix(_)) => true,
        None => false,
    }
}
