//! A key-value store that speaks the Redis protocol: strings, expiry, publish and subscribe.
//!
//! | file | what it is |
//! | --- | --- |
//! | `table`, `database`, `keyspace` | keys and values; when they end; all of them, and what they cost |
//! | `channels`, `client` | who listens to what; what is known about a connection |
//! | `publication` | a message on its way to those who listen |
//! | `transaction`, `watches` | commands that are queued; keys that are watched |
//! | `command`, `call` | the table of all commands; one of them being carried out |
//! | `work`, `list` | what commands cost, and whose turn it is; those that go on in slices |
//! | `strings`, `bits`, `lcs`, `keys`, `connection`, `server`, `pubsub` | what the commands do, by group |
//! | `extended`, `natural` | sums of numbers with a fraction, as Redis has them |
//! | `info`, `settings` | what is told of the server; what can be set |
//! | `glob` | patterns |
//!
//! What it answers, errors included, is what Redis 7.0 answers, in either version of the protocol;
//! `docs/reference/kv-commands.md` lists the commands and every difference. Nothing is written to
//! disk.

mod bits;
mod call;
mod channels;
mod client;
mod command;
mod connection;
mod database;
mod extended;
mod glob;
mod info;
mod keys;
mod keyspace;
mod lcs;
mod list;
mod natural;
mod publication;
mod pubsub;
mod server;
mod settings;
mod strings;
mod table;
mod transaction;
mod watches;
mod work;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use self::call::{Call, Fault, Flow, Outcome, QUOTED_MAX, c_string};
use self::channels::Channels;
use self::client::{Answers, Client, Rare};
use self::command::{Command, CommandIndex, Flags};
use self::database::Now;
use self::info::Counters;
use self::keyspace::{Keyspace, KeyspaceStats};
use self::publication::{Progress, Publication, PublishQueue};
use self::work::Work;
use super::rate::RATE_MAX;
use super::throttle::{self, Throttle};
use super::wall_clock::WallClock;
use crate::codec::resp::{Arguments, Replies, Request, Resp, RespError, Version};
use crate::codec::{Codec, Decoded};
use crate::reactor::{
    Address, CloseReason, Config, Context, Handler, ProtocolError, RingBuffer, Token, TopicConfig,
};
use crate::structures::spare::Spare;

/// The limits of a [`Kv`] beside those of the reactor. Of these,
/// [`input_limit`](Config::input_limit) is the longest request and so the longest value, and
/// [`output_limit`](Config::output_limit) bounds a reply: to three quarters of it, less 16 KiB.
#[derive(Clone, Debug)]
pub struct KvConfig {
    /// The most bytes of memory for keys, values, the names of channels and the subscriptions to them,
    /// the commands that are queued, the keys that are watched and the names of clients, with what
    /// each of them costs beside its bytes. Default 256 MiB, as much as the reactor's buffers may take.
    /// Above it, commands that add data are refused with Redis's error; nothing is evicted.
    pub max_memory: usize,
    /// The most channels and patterns that one client may listen to. Default 1024. A subscription
    /// beyond it is refused with an error.
    pub subscriptions_max: usize,
    /// The most bytes of messages that one channel or pattern holds for its subscribers, and once
    /// more if they speak both versions of the protocol. Default 1 MiB. A subscriber that stops
    /// reading is disconnected when a channel is full of what it is owed. A message may be as long as
    /// half of it.
    pub channel_memory: usize,
    /// The most bytes of messages that wait for one client in all channels and patterns together. A
    /// client for which a message would make it more is disconnected (`slow_consumer`), and others are not. Default
    /// 32 MiB, as in Redis. What waits in one channel is bounded by
    /// [`channel_memory`](Self::channel_memory), too; so this is for those who listen to very many.
    pub subscriber_memory: usize,
    /// The most bytes of commands that one client may queue between `MULTI` and `EXEC`. Default
    /// 8 MiB. They are carried out while nobody else is served; the work of them that is counted takes
    /// some twenty-five milliseconds at most. A command beyond it is refused, and the transaction
    /// discarded.
    pub transaction_memory: usize,
    /// Whether clients of other machines are answered with an error and closed (`denied`), since there
    /// is no password. Default: they are, as in Redis. Clients on a Unix socket, or whose address is a
    /// loopback one, are on this machine.
    pub protected_mode: bool,
    /// The most commands a second that are taken from one client, and as many at once, or 16 if that is
    /// more. Default 0: any number; at most [`RATE_MAX`]. Beyond it a client is read more slowly, and
    /// loses nothing.
    pub rate: u32,
}

impl Default for KvConfig {
    fn default() -> Self {
        KvConfig {
            max_memory: 256 << 20,
            subscriptions_max: 1024,
            channel_memory: 1 << 20,
            subscriber_memory: 32 << 20,
            transaction_memory: 8 << 20,
            protected_mode: true,
            rate: 0,
        }
    }
}

/// A key-value store that speaks the Redis protocol.
///
/// ```no_run
/// use edgeloop::service::{Kv, KvConfig};
/// use edgeloop::{Config, ListenOptions, Reactor};
/// let config = Config { output_limit: 4 << 20, ..Config::default() };
/// let kv = Kv::new(KvConfig::default(), &config)?;
/// let mut reactor = Reactor::new(config, kv)?;
/// reactor.listen(&"127.0.0.1:6379".parse()?, &ListenOptions::default())?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Kv {
    config: KvConfig,
    /// As it was before any client changed it.
    at_start: KvConfig,
    topic: TopicConfig,
    commands: CommandIndex,
    started: Instant,
    wall_clock: WallClock,
    keyspace: Keyspace,
    clients: Slab<Client>,
    clients_ever: u64,
    /// Clients that were closed and whose own end is awaited.
    clients_closing: usize,
    channels: Channels,
    patterns: Channels,
    shard_channels: Channels,
    /// Answers to the requests that are being handled.
    replies: Replies,
    /// The message that is being published, and how far it has come.
    message: Replies,
    progress: Progress,
    /// One that takes more than a turn.
    publication: Option<Box<Publication>>,
    to_publish: PublishQueue,
    request_max: usize,
    value_max: usize,
    /// Bytes of answers after which they are sent, and it is asked whether there may be more.
    batch_max: usize,
    counters: Counters,
    work: Work,
    /// When this turn began.
    turn: Instant,
    /// Bytes of memory of what clients have queued, and of their names.
    held_by_clients: usize,
    /// The most that was used since memory was given back last.
    used_most: usize,
    /// Bytes of memory of lists that are made in slices, or sent in parts.
    lists_held: usize,
    /// A transaction is being carried out, whose reply is sent as a whole.
    is_executing: bool,
    /// The client that is being served does not want every answer.
    is_choosy: bool,
    is_draining: bool,
    throttle: Throttle,
}

/// What is kept for a connection.
#[derive(Debug)]
pub struct KvSession {
    resp: Resp,
    client: u32,
}

impl KvConfig {
    /// Checks the limits that have bounds of their own, or another limit for one.
    fn check(&self) -> Result<(), String> {
        let KvConfig { channel_memory, subscriber_memory, transaction_memory, rate, .. } = *self;
        if !(CHANNEL_MEMORY_MIN..=CHANNEL_MEMORY_MAX).contains(&channel_memory) {
            return Err(format!(
                "channel_memory is {channel_memory}; it must be between {CHANNEL_MEMORY_MIN} and {CHANNEL_MEMORY_MAX}"
            ));
        }
        if !(1..=TRANSACTION_MEMORY_MAX).contains(&transaction_memory) {
            return Err(format!(
                "transaction_memory is {transaction_memory}; it must be between 1 and {TRANSACTION_MEMORY_MAX}"
            ));
        }
        if rate > RATE_MAX {
            return Err(format!("rate is {rate}; it must be between 0 and {RATE_MAX}"));
        }
        if subscriber_memory < channel_memory {
            return Err(format!(
                "subscriber_memory is {subscriber_memory}; it must be at least channel_memory, {channel_memory}"
            ));
        }
        Ok(())
    }
}

impl Kv {
    /// An empty store, for a reactor with these limits.
    ///
    /// # Errors
    /// `InvalidInput`, when the limits do not fit each other, with a sentence that names the field.
    pub fn new(config: KvConfig, reactor: &Config) -> io::Result<Self> {
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
        Ok(Kv {
            throttle: Throttle::new(config.rate),
            commands: CommandIndex::new(),
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
            is_choosy: false,
            is_draining: false,
            topic,
            at_start: config.clone(),
            config,
        })
    }

    /// Keys held in all databases, those included that have expired and were not removed yet.
    pub fn len(&self) -> usize {
        self.keyspace.len_of_all()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn used(&self) -> usize {
        let listened = [&self.channels, &self.patterns, &self.shard_channels];
        let keys = self.keyspace.used() + self.keyspace.used_by_watches();
        let publication = self.publication.as_ref().map_or(0, |it| it.memory());
        let held = self.held_by_clients + self.lists_held + publication;
        listened.iter().fold(keys + held, |used, it| used + it.used())
    }

    /// Sees to it that memory is given back when much less is used than before.
    fn watch_use(&mut self, cx: &mut Context<'_>, used: usize) {
        self.used_most = self.used_most.max(used);
        if self.used_most > TIDY_LEAST && used < self.used_most / 2 {
            self.used_most = used;
            cx.tidy_later();
        }
    }

    /// Whether so many bytes more may be taken. Asked before the work begins, by whatever takes more
    /// than its request is long.
    fn check_memory(&self, bytes: usize) -> Result<(), Fault> {
        let is_room = bytes == 0 || self.used() + bytes <= self.config.max_memory;
        if is_room { Ok(()) } else { Err(Fault::OUT_OF_MEMORY) }
    }

    /// Counts the work of a command before it does anything: the bytes of values that it is about to go
    /// over, or what takes as long. When there was enough of that in this turn, the command waits for
    /// the next one; in a transaction, which nobody can interrupt, there is an end to it.
    fn charge_work(&mut self, amount: usize) -> Result<(), Fault> {
        if amount == 0 {
            return Ok(());
        }
        if self.is_executing {
            if self.work.done().saturating_add(amount) > TRANSACTION_WORK_MAX {
                return Err(TRANSACTION_TOO_LONG);
            }
        } else if !self.work.may_do(amount) {
            return Err(Fault::NotNow);
        }
        self.work.add(amount);
        Ok(())
    }

    /// How much of a command that goes on in slices may be done now.
    fn begin_slice(&mut self) -> Result<usize, Fault> {
        if self.is_executing {
            self.charge_work(1)?;
            return Ok(self.work.slice_of_transaction());
        }
        Some(self.work.slice()).filter(|slice| *slice > 0).ok_or(Fault::NotNow)
    }

    /// Bytes of memory that one list more may take: what one reply may have, as long as nobody else
    /// has it, or what is left.
    fn room_for_lists(&self) -> usize {
        let reserved = self.replies.limit().saturating_sub(self.lists_held);
        reserved.max(self.config.max_memory.saturating_sub(self.used()))
    }

    /// Lets the client that is being served go on in the next turn, when others have had theirs.
    #[cold]
    fn put_off(&mut self, cx: &mut Context<'_>, token: Token, client: u32) {
        cx.put_off(token);
        cx.set_alarm(cx.now());
        if let Some(client) = self.clients.get_mut(client as usize) {
            client.ticket = Some(self.work.wait());
        }
    }

    /// What time it is in this turn, for all that follows.
    fn look_at_the_clocks(&mut self, now: Instant) -> Now {
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

    /// Handles the whole requests in `input`; returns how many bytes they took.
    fn serve(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut KvSession,
        input: &mut [u8],
    ) -> (usize, Result<Flow, RespError>) {
        let mut done = 0;
        loop {
            if self.replies.len() > self.batch_max {
                self.send_replies(cx, token);
            }
            // A command may have sent something, too.
            if cx.is_held(token) {
                return (done, Ok(Flow::Again));
            }
            if self.is_choosy && !self.work.may_do(1) {
                if done < input.len() {
                    self.put_off(cx, token, session.client);
                }
                return (done, Ok(Flow::Again));
            }
            match session.resp.decode(&mut input[done..]) {
                Ok(Some(Decoded { len, message })) => {
                    if self.throttle.is_on() && !self.may_go_on(cx, token, session.client) {
                        session.resp.keep(&message, len);
                        return (done, Ok(Flow::Again));
                    }
                    let flow = self.execute(cx, token, session.client, &message);
                    self.charge(cx, len);
                    match flow {
                        Flow::Next => done += len,
                        Flow::Close => return (done + len, Ok(Flow::Close)),
                        Flow::Again => {
                            session.resp.keep(&message, len);
                            if let Some(client) = self.clients.get_mut(session.client as usize) {
                                self.throttle.give_back(&mut client.throttled);
                            }
                            return (done, Ok(Flow::Again));
                        }
                    }
                }
                Ok(None) => return (done, Ok(Flow::Next)),
                Err(error) => return (done, Err(error)),
            }
        }
    }

    /// Tells the reactor of the work of a request with so many bytes.
    #[inline(always)]
    fn charge(&mut self, cx: &mut Context<'_>, len: usize) {
        let costly = self.work.take_uncharged();
        if costly > 0 {
            self.charge_costly(cx, costly);
        }
        cx.charge(COMMAND_WORK + len / 8);
    }

    #[cold]
    fn charge_costly(&mut self, cx: &mut Context<'_>, units: usize) {
        cx.charge_apart(units);
        // A client that was called came before all others; now the others have their turn.
        if self.work.has_been_served() {
            cx.end_visit();
        }
    }

    /// Whether a client is within its rate. If not, it waits.
    #[cold]
    fn may_go_on(&mut self, cx: &mut Context<'_>, token: Token, client: u32) -> bool {
        let Some(client) = self.clients.get_mut(client as usize) else { return true };
        self.throttle.admit(cx, token, &mut client.throttled)
    }

    fn execute(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: u32,
        request: &Request<'_>,
    ) -> Flow {
        if request.is_empty() {
            return Flow::Next;
        }
        self.replies.begin();
        let KeyspaceStats { hits, misses, .. } = self.keyspace.stats;
        let flow = match self.dispatch(cx, token, client, request) {
            Ok(flow) => flow,
            Err(Fault::NotNow) => {
                // It will look its keys up again.
                (self.keyspace.stats.hits, self.keyspace.stats.misses) = (hits, misses);
                self.put_off(cx, token, client);
                Flow::Again
            }
            Err(Fault::Text(text)) => {
                self.counters.errors += 1;
                self.replies.retract();
                self.replies.error(text);
                Flow::Next
            }
        };
        self.counters.commands += u64::from(flow != Flow::Again);
        if self.is_choosy && flow != Flow::Again {
            self.withhold_unwanted(client);
        }
        if !self.replies.end() {
            self.replies.error(call::REPLY_TOO_LONG);
        }
        flow
    }

    /// Takes the answer to a command back, if its client does not want it.
    #[cold]
    fn withhold_unwanted(&mut self, client: u32) {
        let Some(client) = self.clients.get_mut(client as usize) else { return };
        let listens = Flags::PUBSUB.and(Flags::SUBSCRIBED);
        // That a subscription begins or ends is a message rather than an answer.
        let is_message = client.last.is_some_and(|command| command.flags.has_all(listens));
        let answers = client.next_answers();
        self.is_choosy = client.wants() != Answers::All;
        if matches!(answers, Answers::None | Answers::NotThis) && !is_message {
            // Nobody takes it, so that no output above its mark holds the client.
            let len = self.replies.len();
            self.replies.retract();
            self.work.add(len - self.replies.len());
        }
    }

    fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: u32,
        request: &Request<'_>,
    ) -> Outcome {
        let mut arguments = request.arguments();
        let command = match self.command(&mut arguments, request) {
            Ok(command) => command,
            Err(_) if is_of_http(request) => return Ok(Flow::Close),
            Err(fault) => return Err(self.refuse(client, request, fault)),
        };
        if !self.is_admitted(client, command) {
            match self.admit(client, command) {
                Ok(Admission::Now) => {}
                Ok(Admission::Queue) => {
                    let queued = self.queue(client, command.flags, request);
                    return queued.map_err(|fault| self.refuse(client, request, fault));
                }
                Err(fault) => return Err(self.refuse(client, request, fault)),
            }
        }
        (command.run)(&mut Call { kv: self, cx, token, client, command, request, arguments })
    }

    /// The command that a request names; its arguments are what is left of `arguments`. Inlined, as
    /// every request comes by here, and transactions call it as well.
    #[inline(always)]
    fn command(
        &self,
        arguments: &mut Arguments<'_>,
        request: &Request<'_>,
    ) -> Result<&'static Command, Fault> {
        let name = arguments.next().unwrap_or_default();
        let mut command = self.commands.find(name).ok_or_else(|| unknown(request))?;
        if !command.subcommands.is_empty()
            && let Some(name) = arguments.next()
        {
            command = command.subcommand(name).ok_or_else(|| unknown_subcommand(command, name))?;
        }
        if !command.takes(request.len()) {
            let name = command.name;
            return Err(Fault::of(format!("ERR wrong number of arguments for '{name}' command")));
        }
        Ok(command)
    }

    /// Whether nothing stands in the way of a command: there is memory, and the client has nothing that
    /// few have. Every other command is looked at by [`admit`](Self::admit).
    #[inline(always)]
    fn is_admitted(&mut self, client: u32, command: &'static Command) -> bool {
        let is_room = !command.flags.has(Flags::DENYOOM) || self.used() <= self.config.max_memory;
        let Some(client) = self.clients.get_mut(client as usize) else { return is_room };
        client.last = Some(command);
        is_room && client.rare().is_none()
    }

    /// Whether a client may have a command carried out.
    #[inline(never)]
    fn admit(&mut self, client: u32, command: &'static Command) -> Result<Admission, Fault> {
        if command.flags.has(Flags::DENYOOM) && self.used() > self.config.max_memory {
            return Err(Fault::OUT_OF_MEMORY);
        }
        let Some(client) = self.clients.get_mut(client as usize) else { return Ok(Admission::Now) };
        if client.only_listens() && !command.flags.has(Flags::SUBSCRIBED) {
            let name = command.name;
            return Err(Fault::of(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context"
            )));
        }
        if client.transaction().is_none() || command.flags.has(Flags::AT_ONCE) {
            return Ok(Admission::Now);
        }
        if command.flags.has(Flags::NO_MULTI) {
            return Err(Fault::text("ERR Command not allowed inside a transaction"));
        }
        Ok(Admission::Queue)
    }

    /// What a request is answered that is not even begun. A transaction that it belongs to is lost.
    #[cold]
    fn refuse(&mut self, client: u32, request: &Request<'_>, fault: Fault) -> Fault {
        self.spoil_transaction(client);
        let name = request.arguments().next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"exec") {
            return fault;
        }
        self.end_transaction(client);
        self.unwatch(client);
        transaction::aborted_by(&fault)
    }

    fn send_replies(&mut self, cx: &mut Context<'_>, token: Token) {
        if !self.replies.is_empty() && !self.is_executing {
            cx.send(token, self.replies.as_bytes());
            self.replies.clear();
        }
    }

    /// Closes a connection behind its answers. It listens to nothing any more.
    fn close(&mut self, cx: &mut Context<'_>, client: u32, reason: CloseReason) {
        if let Some(token) = self.part_with(cx, client) {
            cx.close_for(token, reason);
        }
    }

    /// Ends all that a client has here, before its connection ends.
    fn part_with(&mut self, cx: &mut Context<'_>, key: u32) -> Option<Token> {
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
    fn release(
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
        rare.watched.into_keys().for_each(|watched| self.keyspace.unwatch(watched));
    }

    /// Whether there is something to do in the next turn.
    fn is_pressed(&self) -> bool {
        self.work.anybody_waits() || self.publication.is_some() || self.to_publish.len() > 0
    }

    /// Removes keys that have ended, and what was flushed; some of them.
    fn remove_what_has_ended(&mut self, cx: &mut Context<'_>) {
        let entries = |it: &Keyspace| it.len_of_all() + it.entries_to_free();
        let before = entries(&self.keyspace);
        let due_ms = self.keyspace.tidy(TIDY_BUDGET);
        cx.charge(before.saturating_sub(entries(&self.keyspace)) * TIDY_WORK);
        if let Some(due_ms) = due_ms {
            self.set_alarm(cx, due_ms);
        }
    }

    /// Sees to it that the next key which ends is removed.
    fn set_alarm(&self, cx: &mut Context<'_>, due_ms: u64) {
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

/// When a command is carried out.
enum Admission {
    Now,
    /// With the others of its transaction.
    Queue,
}

impl Handler for Kv {
    type Session = KvSession;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> KvSession {
        self.clients_ever += 1;
        let now = self.look_at_the_clocks(cx.now());
        let throttled = self.throttle.client(cx);
        let client = Client::new(token, self.clients_ever, now.steady_ms, throttled);
        let client = self.clients.insert(client) as u32;
        if self.config.protected_mode && !is_local(cx, token) {
            cx.send(token, PROTECTED);
            self.close(cx, client, CloseReason::Denied);
        }
        KvSession { resp: Resp::new(self.request_max), client }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut KvSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let now = self.look_at_the_clocks(cx.now());
        if let Some(client) = self.clients.get_mut(session.client as usize) {
            client.active_ms = now.steady_ms;
            self.keyspace.select(client.database.into());
            self.replies.set_version(client.version);
            self.is_choosy = client.wants() != Answers::All;
            self.work.begin(session.client, client.ticket.take());
        }
        let (done, outcome) = self.serve(cx, token, session, input.contiguous());
        input.consume(done);
        self.work.end();
        self.end_visit_to_publish(token, session.client);
        let used = self.used();
        self.counters.look(now.steady_ms, used, cx.stats());
        self.watch_use(cx, used);
        cx.report_memory(used, self.config.max_memory);
        if let Err(error) = outcome {
            self.replies.error(format!("ERR {error}"));
        }
        self.send_replies(cx, token);
        if let Some(due_ms) = self.keyspace.due_earlier() {
            self.set_alarm(cx, due_ms);
        }
        let is_finished = self.is_draining && input.is_empty();
        if outcome == Ok(Flow::Close) || is_finished {
            self.close(cx, session.client, CloseReason::Closed);
        }
        outcome.map_err(|error| ProtocolError::Malformed(error.name())).map(drop)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _session: &mut KvSession) {
        // There is a token for its next command.
        cx.resume(token);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.look_at_the_clocks(cx.now());
        self.work.clear();
        self.go_on_publishing(cx);
        cx.charge_apart(self.work.take_uncharged());
        let called = self.work.call(|client| {
            let Some(client) = self.clients.get(client as usize) else { return false };
            cx.resume_first(client.token);
            !cx.is_held(client.token)
        });
        self.call_to_publish(cx);
        cx.charge(called * COMMAND_WORK);
        self.remove_what_has_ended(cx);
        // Keys that have expired may end an overload.
        cx.report_memory(self.used(), self.config.max_memory);
        self.throttle.on_alarm(cx);
        if self.keyspace.entries_to_free() > 0 {
            cx.tidy_later();
        }
        self.watch_use(cx, self.used());
        if self.is_pressed() {
            cx.set_alarm(cx.now());
        }
    }

    fn on_tidy(&mut self, _: &mut Context<'_>) {
        self.replies.release();
        self.message.release();
        self.clients.give_back();
        for channels in [&mut self.channels, &mut self.patterns, &mut self.shard_channels] {
            channels.give_back();
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut KvSession) {
        self.is_draining = true;
        let client = self.clients.get(session.client as usize);
        if client.is_some_and(|client| client.subscriptions() > 0) {
            // Subscribers never finish by themselves. What was published is still delivered.
            cx.close(token);
        }
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: KvSession,
        _reason: CloseReason,
    ) {
        let Some(mut client) = self.clients.try_remove(session.client as usize) else { return };
        self.clients_closing -= usize::from(client.is_closed);
        self.work.forget(session.client, client.ticket);
        if let Some(rare) = client.take_rare() {
            self.release(cx, token, session.client, client.version, *rare);
        }
        // Whatever it had may have been what an overload was about.
        cx.report_memory(self.used(), self.config.max_memory);
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kv({:?}, {} clients)", self.keyspace, self.clients.len())
    }
}

/// Whether a client is on this machine.
fn is_local(cx: &Context<'_>, token: Token) -> bool {
    match cx.peer_address(token) {
        Some(Address::Tcp(address)) => address.ip().to_canonical().is_loopback(),
        Some(Address::Unix(_)) => true,
        None => false,
    }
}

/// Whether this, which is no command, is the first line of a request of HTTP, or its header `Host`: a
/// browser sends such wherever a page asks it to, with commands in the body.
fn is_of_http(request: &Request<'_>) -> bool {
    let mut arguments = request.arguments();
    let name = arguments.next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"POST")
        || name.eq_ignore_ascii_case(b"Host:")
        || arguments.last().is_some_and(|version| version.starts_with(b"HTTP/"))
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

fn unknown_subcommand(command: &Command, name: &[u8]) -> Fault {
    let command = command.name.to_ascii_uppercase();
    let text = format!("ERR unknown subcommand '{{}}'. Try {command} HELP.");
    Fault::quoting(&text, &name[..name.len().min(QUOTED_MAX)])
}

/// What clients of other machines are told in protected mode.
const PROTECTED: &[u8] = b"-DENIED this server is in protected mode: it has no password, and takes \
    connections from its own machine only. To let others in, who may then read and change everything, \
    start it with --protected-mode no, or send CONFIG SET protected-mode no from that machine.\r\n";
/// Below so much use there is not much to give back.
const TIDY_LEAST: usize = 1 << 20;
/// Large enough that a send is a small part of the work, small enough to stay in the cache.
const BATCH_MAX: usize = 16 << 10;
/// What surrounds a value in a reply.
const REPLY_OVERHEAD: usize = 64;
/// The most work of one transaction, some twenty-five milliseconds of what is counted, as nobody else
/// is served meanwhile.
const TRANSACTION_WORK_MAX: usize = 96 << 20;
const TRANSACTION_TOO_LONG: Fault = Fault::text("ERR transaction takes too long");
/// What a request costs that is short and costs nothing by itself, in units of the reactor: to find it,
/// to look a key up, and to answer.
const COMMAND_WORK: usize = 100;
/// And an entry that is removed.
const TIDY_WORK: usize = 250;
/// Keys that are removed in one turn because they have ended, and entries freed that were flushed:
/// about a millisecond's work.
const TIDY_BUDGET: usize = 4096;
/// Room for a message that is worth sending, behind the longest pattern.
const CHANNEL_MEMORY_MIN: usize = 8 << 10;
const CHANNEL_MEMORY_MAX: usize = 1 << 30;
const TRANSACTION_MEMORY_MAX: usize = 1 << 30;
