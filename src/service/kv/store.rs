//! All that commands work on: keys and values, clients, channels, and the accounts of memory and work.

use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use super::channels::Channels;
use super::client::{Client, Rare};
use super::config::KvConfig;
use super::counters::Counters;
use super::database::Now;
use super::fault::Fault;
use super::keyspace::Keyspace;
use super::publication::{Progress, Publication, PublishQueue};
use super::work::{IN_A_UNIT, LOOK_UP_WORK, TRANSACTION_WORK_MAX, Work};
use crate::codec::resp::{Replies, Version};
use crate::reactor::{CloseReason, Config, Context, Token, TopicConfig};
use crate::service::throttle::{self, Throttle};
use crate::service::wall_clock::WallClock;

/// What there is, beside the table of commands.
pub(super) struct Store {
    pub(super) config: KvConfig,
    /// As it was before any client changed it.
    pub(super) at_start: KvConfig,
    pub(super) topic: TopicConfig,
    pub(super) started: Instant,
    pub(super) wall_clock: WallClock,
    pub(super) keyspace: Keyspace,
    pub(super) clients: Slab<Client>,
    pub(super) clients_ever: u64,
    /// Clients that were closed and whose own end is awaited.
    pub(super) clients_closing: usize,
    pub(super) channels: Channels,
    pub(super) patterns: Channels,
    pub(super) shard_channels: Channels,
    /// Answers to the requests that are being handled.
    pub(super) replies: Replies,
    /// The message that is being published, and how far it has come.
    pub(super) message: Replies,
    pub(super) progress: Progress,
    /// The publication that takes more than a turn, if there is one.
    pub(super) publication: Option<Box<Publication>>,
    pub(super) to_publish: PublishQueue,
    pub(super) request_max: usize,
    pub(super) value_max: usize,
    /// Bytes of answers after which they are sent, and it is asked whether there may be more.
    pub(super) batch_max: usize,
    pub(super) counters: Counters,
    pub(super) work: Work,
    /// When this turn began.
    pub(super) turn: Instant,
    /// Bytes of memory of what clients have queued, and of their names.
    pub(super) held_by_clients: usize,
    /// The most that was used since memory was given back last.
    pub(super) used_most: usize,
    /// Bytes of memory of lists that are made in slices, or sent in parts.
    pub(super) lists_held: usize,
    /// A transaction is being carried out, whose reply is sent as a whole.
    pub(super) is_executing: bool,
    /// The client that is being served has given a password, right or wrong.
    pub(super) has_guessed: bool,
    /// The client that is being served does not want every answer.
    pub(super) is_choosy: bool,
    /// The client that is being served has failed: nobody reads an answer.
    pub(super) is_unheard: bool,
    pub(super) is_draining: bool,
    pub(super) throttle: Throttle,
}

impl Store {
    /// As [`Kv::new`](super::Kv::new).
    pub(super) fn new(config: KvConfig, reactor: &Config) -> io::Result<Self> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let (input, output) = (reactor.input_limit, reactor.output_limit);
        let batch_max = BATCH_MAX.min(output / 8);
        let reply_max = output - reactor.output_high() - batch_max;
        if reply_max < input + REPLY_OVERHEAD {
            let least = (input + REPLY_OVERHEAD + BATCH_MAX) * 4 / 3 + 1;
            return invalid(format!(
                "output_limit is {output}; for replies with values of input_limit {input} it must be at least {least}"
            ));
        }
        let topic = TopicConfig {
            memory: config.channel_memory,
            subscriber_memory: Some(config.subscriber_memory),
            ..TopicConfig::default()
        };
        if let Err(text) = config.check() {
            return invalid(text);
        }
        let started = Instant::now();
        let mut wall_clock = WallClock::new(started);
        let mut keyspace = Keyspace::new();
        keyspace.set_now(Now { steady_ms: 0, wall_ms: wall_clock.at(started) });
        Ok(Store {
            throttle: Throttle::new(config.rate),
            started,
            wall_clock,
            keyspace,
            clients: Slab::new(),
            clients_ever: 0,
            clients_closing: 0,
            channels: Channels::default(),
            patterns: Channels::default(),
            shard_channels: Channels::default(),
            replies: Replies::new(reply_max),
            message: Replies::new(topic.message_max()),
            progress: Progress::default(),
            publication: None,
            to_publish: PublishQueue::default(),
            request_max: input,
            value_max: input,
            batch_max,
            counters: Counters::new(),
            work: Work::default(),
            turn: started,
            held_by_clients: 0,
            used_most: 0,
            lists_held: 0,
            is_executing: false,
            has_guessed: false,
            is_choosy: false,
            is_unheard: false,
            is_draining: false,
            topic,
            at_start: config.clone(),
            config,
        })
    }

    pub(super) fn used(&self) -> usize {
        let listened = [&self.channels, &self.patterns, &self.shard_channels];
        let keys = self.keyspace.used() + self.keyspace.used_by_watches();
        let publication = self.publication.as_ref().map_or(0, |it| it.memory());
        let held = self.held_by_clients + self.lists_held + publication;
        listened.iter().fold(keys + held, |used, it| used + it.used())
    }

    /// Sees to it that memory is given back when much less is used than before.
    pub(super) fn watch_use(&mut self, cx: &mut Context<'_>, used: usize) {
        self.used_most = self.used_most.max(used);
        if self.used_most > TIDY_LEAST && used < self.used_most / 2 {
            self.used_most = used;
            cx.tidy_later();
        }
    }

    /// Whether so many bytes more may be taken. Asked before the work begins, by whatever takes more
    /// than its request is long.
    pub(super) fn check_memory(&self, bytes: usize) -> Result<(), Fault> {
        let is_room = bytes == 0 || self.used() + bytes <= self.config.max_memory;
        if is_room { Ok(()) } else { Err(Fault::OUT_OF_MEMORY) }
    }

    /// Counts the work of a command before it does anything: the bytes of values that it is about to go
    /// over, or what takes as long. When there was enough of that in this turn, the command waits for
    /// the next one; in a transaction, which nobody can interrupt, there is an end to it.
    pub(super) fn charge_work(&mut self, amount: usize) -> Result<(), Fault> {
        if amount == 0 {
            return Ok(());
        }
        if self.is_executing {
            if self.work.done().saturating_add(amount) > TRANSACTION_WORK_MAX {
                return Err(Fault::TRANSACTION_TOO_LONG);
            }
        } else if !self.work.may_do(amount) {
            return Err(Fault::NotNow);
        }
        self.work.add(amount);
        Ok(())
    }

    /// How much of a command that goes on in slices may be done now.
    pub(super) fn begin_slice(&mut self) -> Result<usize, Fault> {
        if self.is_executing {
            self.charge_work(1)?;
            return Ok(self.work.slice_of_transaction());
        }
        Some(self.work.slice()).filter(|slice| *slice > 0).ok_or(Fault::NotNow)
    }

    /// Bytes of memory that one list more may take: what one reply may have, as long as nobody else
    /// has it, or what is left.
    pub(super) fn room_for_lists(&self) -> usize {
        let reserved = self.replies.limit().saturating_sub(self.lists_held);
        reserved.max(self.config.max_memory.saturating_sub(self.used()))
    }

    /// Lets the client that is being served go on in the next turn, when others have had theirs.
    #[cold]
    pub(super) fn put_off(&mut self, cx: &mut Context<'_>, token: Token, client: u32) {
        cx.put_off(token);
        cx.set_alarm(cx.now());
        if let Some(client) = self.clients.get_mut(client as usize) {
            client.ticket = Some(self.work.wait());
        }
    }

    /// What time it is in this turn, for all that follows.
    pub(super) fn look_at_the_clocks(&mut self, now: Instant) -> Now {
        if std::mem::replace(&mut self.turn, now) != now {
            self.work.clear();
        }
        let steady_ms = now.saturating_duration_since(self.started).as_millis() as u64;
        let before = self.keyspace.now();
        if steady_ms == before.steady_ms {
            return before;
        }
        let now = Now { steady_ms, wall_ms: self.wall_clock.at(now) };
        self.keyspace.set_now(now);
        now
    }

    pub(super) fn send_replies(&mut self, cx: &mut Context<'_>, token: Token) {
        if !self.replies.is_empty() && !self.is_executing {
            cx.send(token, self.replies.as_bytes());
            self.replies.clear();
        }
    }

    /// Closes a connection behind its answers. It listens to nothing any more.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, client: u32, reason: CloseReason) {
        if let Some(token) = self.part_with(cx, client) {
            cx.close_for(token, reason);
        }
    }

    /// Ends all that a client has here, before its connection ends.
    pub(super) fn part_with(&mut self, cx: &mut Context<'_>, key: u32) -> Option<Token> {
        let client = self.clients.get_mut(key as usize)?;
        if !std::mem::replace(&mut client.is_closed, true) {
            self.clients_closing += 1;
        }
        let (token, version, rare) = (client.token, client.version, client.take_rare());
        if let Some(rare) = rare {
            self.release(cx, token, key, version, *rare);
        }
        Some(token)
    }

    /// Gives back all that few connections have.
    pub(super) fn release(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: u32,
        version: Version,
        rare: Rare,
    ) {
        self.end_subscriptions(cx, token, client, version, &rare);
        self.held_by_clients -= rare.memory();
        self.lists_held -= rare.list.map_or(0, |list| list.held());
        cx.charge(rare.watched.len() * LOOK_UP_WORK / IN_A_UNIT);
        rare.watched.into_keys().for_each(|watched| self.keyspace.unwatch(watched));
    }

    /// Forgets how far a client's command has come, which is not called again: the next command is to
    /// begin with nothing.
    #[cold]
    pub(super) fn drop_list(&mut self, client: u32) {
        let client = self.clients.get_mut(client as usize);
        let list = client.and_then(|client| client.take_list_if(|_| true));
        self.lists_held -= list.map_or(0, |list| list.held());
    }

    /// Whether there is something to do in the next turn.
    pub(super) fn is_pressed(&self) -> bool {
        self.work.anybody_waits() || self.publication.is_some() || self.to_publish.len() > 0
    }

    /// Removes keys that have ended, and what was flushed; some of them.
    pub(super) fn remove_what_has_ended(&mut self, cx: &mut Context<'_>) {
        let entries = |it: &Keyspace| it.len_of_all() + it.entries_to_free();
        let before = entries(&self.keyspace);
        let due_ms = self.keyspace.tidy(TIDY_BUDGET);
        cx.charge(before.saturating_sub(entries(&self.keyspace)) * TIDY_WORK);
        if let Some(due_ms) = due_ms {
            self.set_alarm(cx, due_ms);
        }
    }

    /// Sees to it that the next key which ends is removed.
    pub(super) fn set_alarm(&self, cx: &mut Context<'_>, due_ms: u64) {
        if self.is_pressed() {
            return cx.set_alarm(cx.now());
        }
        let span = Duration::from_millis(due_ms.saturating_sub(self.keyspace.now().steady_ms));
        // What is too far ahead for the clock comes after this server.
        if let Some(at) = cx.now().checked_add(span) {
            throttle::wake_at(cx, at);
        }
    }
}

/// Below so much use there is not much to give back.
const TIDY_LEAST: usize = 1 << 20;
/// Large enough that a send is a small part of the work, small enough to stay in the cache.
const BATCH_MAX: usize = 16 << 10;
/// What surrounds a value in a reply.
const REPLY_OVERHEAD: usize = 64;
/// And an entry that is removed.
const TIDY_WORK: usize = 250;
/// Keys that are removed in one turn because they have ended, and entries freed that were flushed:
/// about a millisecond's work.
const TIDY_BUDGET: usize = 4096;
