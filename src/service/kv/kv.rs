//! The handler: from requests to commands, and from commands to replies.

use std::fmt;
use std::io;

use super::call::{Call, Run};
use super::client::{Answers, Client, is_local};
use super::command::{Command, Commands, Flags};
use super::commands::COMMANDS;
use super::config::KvConfig;
use super::fault::{Fault, Flow, Outcome, REPLY_TOO_LONG};
use super::keyspace::KeyspaceStats;
use super::store::Store;
use super::transactions;
use crate::codec::resp::{Request, Resp, RespError};
use crate::codec::{Codec, Decoded};
use crate::reactor::{CloseReason, Config, Context, Handler, ProtocolError, RingBuffer, Token};
use crate::structures::spare::Spare;

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
    store: Store,
    commands: Commands<Run>,
}

/// What is kept for a connection.
#[derive(Debug)]
pub struct KvSession {
    resp: Resp,
    client: u32,
}

impl Kv {
    /// An empty store, for a reactor with these limits.
    ///
    /// # Errors
    /// `InvalidInput`, when the limits do not fit each other, with a sentence that names the field.
    pub fn new(config: KvConfig, reactor: &Config) -> io::Result<Self> {
        Ok(Kv { store: Store::new(config, reactor)?, commands: Commands::new(COMMANDS) })
    }

    /// Keys held in all databases, those included that have expired and were not removed yet.
    pub fn len(&self) -> usize {
        self.store.keyspace.len_of_all()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let is_open = self.store.config.users.let_anybody_in();
        loop {
            if self.store.replies.len() > self.store.batch_max {
                self.store.send_replies(cx, token);
            }
            // A command may have sent something, too.
            if cx.is_held(token) {
                return (done, Ok(Flow::Again));
            }
            if self.store.is_choosy && !self.store.work.may_do(1) {
                if done < input.len() {
                    self.store.put_off(cx, token, session.client);
                }
                return (done, Ok(Flow::Again));
            }
            if !is_open {
                session.resp.restrict(self.is_stranger(session.client));
            }
            match session.resp.decode(&mut input[done..]) {
                Ok(Some(Decoded { len, message })) => {
                    if self.store.throttle.is_on() && !self.may_go_on(cx, token, session.client) {
                        session.resp.keep(&message, len);
                        return (done, Ok(Flow::Again));
                    }
                    let flow = self.execute(cx, token, session.client, &message);
                    self.charge(cx, len, message.arguments().len());
                    match flow {
                        Flow::Next => done += len,
                        Flow::Close => return (done + len, Ok(Flow::Close)),
                        Flow::Again => {
                            session.resp.keep(&message, len);
                            if let Some(client) =
                                self.store.clients.get_mut(session.client as usize)
                            {
                                self.store.throttle.give_back(&mut client.throttled);
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

    /// Tells the reactor of the work of a request with so many bytes and arguments.
    #[inline(always)]
    fn charge(&mut self, cx: &mut Context<'_>, len: usize, arguments: usize) {
        let costly = self.store.work.take_uncharged();
        if costly > 0 {
            self.charge_costly(cx, costly);
        }
        cx.charge(
            COMMAND_WORK + len / 8 + arguments.saturating_sub(ARGUMENTS_FREE) * ARGUMENT_WORK,
        );
    }

    #[cold]
    fn charge_costly(&mut self, cx: &mut Context<'_>, units: usize) {
        cx.charge_apart(units);
        // A client that was called came before all others; now the others have their turn.
        if self.store.work.has_been_served() {
            cx.end_visit();
        }
    }

    /// Whether a client is within its rate. If not, it waits.
    #[cold]
    fn may_go_on(&mut self, cx: &mut Context<'_>, token: Token, client: u32) -> bool {
        let Some(client) = self.store.clients.get_mut(client as usize) else { return true };
        self.store.throttle.admit(cx, token, &mut client.throttled)
    }

    /// Whether a client has not said who it is.
    #[cold]
    fn is_stranger(&self, client: u32) -> bool {
        let client = self.store.clients.get(client as usize);
        client.is_some_and(|client| !client.standing.is_in)
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
        self.store.replies.begin();
        let KeyspaceStats { hits, misses, .. } = self.store.keyspace.stats;
        let flow = match self.dispatch(cx, token, client, request) {
            Ok(flow) => flow,
            Err(Fault::NotNow) => {
                // It will look its keys up again.
                (self.store.keyspace.stats.hits, self.store.keyspace.stats.misses) = (hits, misses);
                self.store.put_off(cx, token, client);
                Flow::Again
            }
            Err(Fault::Text(text)) => {
                self.store.counters.errors += 1;
                self.store.replies.retract();
                self.store.replies.error(text);
                Flow::Next
            }
        };
        self.store.counters.commands += u64::from(flow != Flow::Again);
        if self.store.is_choosy && flow != Flow::Again {
            self.withhold_unwanted(client);
        }
        if !self.store.replies.end() {
            self.store.replies.error(REPLY_TOO_LONG);
        }
        flow
    }

    /// Takes the answer to a command back, if its client does not want it.
    #[cold]
    fn withhold_unwanted(&mut self, client: u32) {
        let Some(client) = self.store.clients.get_mut(client as usize) else { return };
        let listens = Flags::PUBSUB.and(Flags::SUBSCRIBED);
        // That a subscription begins or ends is a message rather than an answer.
        let last = client.last.and_then(|name| self.commands.find_full(name.as_bytes()));
        let is_message = last.is_some_and(|command| command.flags.has_all(listens));
        let answers = client.next_answers();
        self.store.is_choosy = client.wants() != Answers::All;
        if matches!(answers, Answers::None | Answers::NotThis) && !is_message {
            // Nobody takes it, so that no output above its mark holds the client.
            let len = self.store.replies.len();
            self.store.replies.retract();
            self.store.work.add(len - self.store.replies.len());
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
        let command = match self.commands.named_by(&mut arguments, request) {
            Ok(command) => command,
            Err(_) if is_of_http(request) => return Ok(Flow::Close),
            Err(fault) => return Err(self.refuse(client, request, fault)),
        };
        if !self.is_admitted(client, command) {
            match self.admit(client, command, request) {
                Ok(Admission::Now) => {}
                Ok(Admission::Queue) => {
                    let queued = self.store.queue(client, command.flags, request);
                    return queued.map_err(|fault| self.refuse(client, request, fault));
                }
                Err(Fault::NotNow) => return Err(Fault::NotNow),
                Err(fault) => return Err(self.refuse(client, request, fault)),
            }
        }
        if self.store.is_unheard && command.flags.has(Flags::READONLY) {
            // What it has pipelined may take minutes to read.
            self.store.drop_list(client);
            return Ok(Flow::Next);
        }
        let Kv { store: kv, commands } = self;
        let name = command.name;
        (command.run)(&mut Call { kv, commands, cx, token, client, name, request, arguments })
    }

    /// Whether nothing stands in the way of a command: there is memory, and the client has nothing that
    /// few have. Every other command is looked at by [`admit`](Self::admit).
    #[inline(always)]
    fn is_admitted(&mut self, client: u32, command: &'static Command<Run>) -> bool {
        let is_room =
            !command.flags.has(Flags::DENYOOM) || self.store.used() <= self.store.config.max_memory;
        let Some(client) = self.store.clients.get_mut(client as usize) else { return is_room };
        client.last = Some(command.name);
        is_room && client.rare().is_none() && client.standing.is_free
    }

    /// Whether a client may have a command carried out.
    #[inline(never)]
    fn admit(
        &mut self,
        client: u32,
        command: &'static Command<Run>,
        request: &Request<'_>,
    ) -> Result<Admission, Fault> {
        let permitted = self.store.permit(client, command, request);
        permitted.map_err(|denial| denial.fault(command.name))?;
        if command.flags.has(Flags::DENYOOM) && self.store.used() > self.store.config.max_memory {
            return Err(Fault::OUT_OF_MEMORY);
        }
        let Some(client) = self.store.clients.get_mut(client as usize) else {
            return Ok(Admission::Now);
        };
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
        self.store.spoil_transaction(client);
        let name = request.arguments().next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"exec") {
            return fault;
        }
        self.store.end_transaction(client);
        self.store.unwatch(client);
        transactions::aborted_by(&fault)
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
        self.store.clients_ever += 1;
        let now = self.store.look_at_the_clocks(cx.now());
        let throttled = self.store.throttle.client(cx);
        let users = &self.store.config.users;
        let (standing, is_open) = (users.newcomer(), users.let_anybody_in());
        let id = self.store.clients_ever;
        let client = Client::new(token, id, now.steady_ms, throttled, standing);
        let client = self.store.clients.insert(client) as u32;
        if self.store.config.protected_mode && is_open && !is_local(cx, token) {
            cx.send(token, PROTECTED);
            self.store.close(cx, client, CloseReason::Denied);
        }
        KvSession { resp: Resp::new(self.store.request_max), client }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut KvSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let now = self.store.look_at_the_clocks(cx.now());
        self.store.is_unheard = cx.has_failed(token);
        if let Some(client) = self.store.clients.get_mut(session.client as usize) {
            client.active_ms = now.steady_ms;
            self.store.keyspace.select(client.database.into());
            self.store.replies.set_version(client.version);
            self.store.is_choosy = client.wants() != Answers::All;
            self.store.work.begin(session.client, client.ticket.take());
        }
        let (done, outcome) = self.serve(cx, token, session, input.contiguous());
        input.consume(done);
        self.store.work.end();
        self.store.end_visit_to_publish(token, session.client);
        let used = self.store.used();
        self.store.counters.look(now.steady_ms, used, cx.stats());
        self.store.watch_use(cx, used);
        cx.report_memory(used, self.store.config.max_memory);
        if let Err(error) = outcome {
            self.store.replies.error(format!("ERR {error}"));
        }
        self.store.send_replies(cx, token);
        if let Some(due_ms) = self.store.keyspace.due_earlier() {
            self.store.set_alarm(cx, due_ms);
        }
        let is_finished = self.store.is_draining && input.is_empty();
        if outcome == Ok(Flow::Close) || is_finished {
            self.store.close(cx, session.client, CloseReason::Closed);
        }
        outcome.map_err(|error| ProtocolError::malformed(error.name())).map(drop)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _session: &mut KvSession) {
        // There is a token for its next command.
        cx.resume(token);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.store.look_at_the_clocks(cx.now());
        self.store.work.clear();
        self.store.go_on_publishing(cx);
        cx.charge_apart(self.store.work.take_uncharged());
        let called = self.store.work.call(|client| {
            let Some(client) = self.store.clients.get(client as usize) else { return false };
            cx.resume_first(client.token);
            !cx.is_held(client.token)
        });
        self.store.call_to_publish(cx);
        cx.charge(called * COMMAND_WORK);
        self.store.remove_what_has_ended(cx);
        // Keys that have expired may end an overload.
        cx.report_memory(self.store.used(), self.store.config.max_memory);
        self.store.throttle.on_alarm(cx);
        if self.store.keyspace.entries_to_free() > 0 {
            cx.tidy_later();
        }
        self.store.watch_use(cx, self.store.used());
        if self.store.is_pressed() {
            cx.set_alarm(cx.now());
        }
    }

    fn on_tidy(&mut self, _: &mut Context<'_>) {
        self.store.replies.release();
        self.store.message.release();
        self.store.clients.give_back();
        for channels in
            [&mut self.store.channels, &mut self.store.patterns, &mut self.store.shard_channels]
        {
            channels.give_back();
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut KvSession) {
        self.store.is_draining = true;
        let client = self.store.clients.get(session.client as usize);
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
        let Some(mut client) = self.store.clients.try_remove(session.client as usize) else {
            return;
        };
        self.store.clients_closing -= usize::from(client.is_closed);
        self.store.work.forget(session.client, client.ticket);
        if let Some(rare) = client.take_rare() {
            self.store.release(cx, token, session.client, client.version, *rare);
        }
        // Whatever it had may have been what an overload was about.
        cx.report_memory(self.store.used(), self.store.config.max_memory);
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kv({:?}, {} clients)", self.store.keyspace, self.store.clients.len())
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

/// What clients of other machines are told in protected mode.
const PROTECTED: &[u8] = b"-DENIED this server is in protected mode: it has no password, and takes \
    connections from its own machine only. To let others in, who may then read and change everything, \
    start it with --protected-mode no, or send CONFIG SET protected-mode no from that machine.\r\n";
/// What a request costs that is short and costs nothing by itself, in units of the reactor: to find it,
/// to look a key up, and to answer.
const COMMAND_WORK: usize = 100;
/// So many arguments are part of that.
const ARGUMENTS_FREE: usize = 8;
/// What each further argument costs: to find it, to compare it with the names of options, and to copy it
/// into an answer. It may be one byte long.
const ARGUMENT_WORK: usize = 25;
