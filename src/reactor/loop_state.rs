//! Everything a loop holds that does not depend on the type of its handler: the connections, the lists of those that have
//! work, and what is done to one connection.
//!
//! ```text
//!   event ----> note ----> ready list ----> visit ----> handler
//!                 |             ^              |            |
//!                 |             |  still       |            | send, publish, close
//!                 v             +--readable----+            v
//!             dirty list <------------------------------ output, pending
//!                 |
//!                 v
//!               flush ----> Closing and nothing owed ----> closed list ----> on_close, slot freed
//! ```
//!
//! A connection is on the ready list while it may be read, on the dirty list while it has something to flush and its
//! socket takes bytes. An entry of a list is only a hint: whoever takes it off asks the connection again.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::Poll;
use slab::Slab;

use super::connection::{Cold, Connection, Fill, Hold, NONE, Peer, State};
use super::stream::{Sent, Stream};
use super::topic::{Slices, Topics};
use super::{
    Address, BufferPool, CloseReason, Config, PublishError, RingBuffer, SlowConsumer, Start, Stats,
    TimerWheel, Token, TopicId,
};

pub(super) struct LoopState {
    pub(super) config: Config,
    pub(super) poll: Poll,
    pub(super) connections: Slab<Connection>,
    /// Indexed like `connections`.
    pub(super) cold: Vec<Cold>,
    pub(super) ready: VecDeque<Token>,
    pub(super) dirty: VecDeque<Token>,
    pub(super) closed: VecDeque<Token>,
    /// Held for want of buffer memory.
    starved: Vec<Token>,
    pub(super) topics: Topics,
    pub(super) pool: BufferPool,
    pub(super) wheel: TimerWheel,
    pub(super) stats: Stats,
    clock: Clock,
    /// When a topic with waiting publishers must be looked at again although nothing has happened.
    pub(super) topics_due_ms: Option<u64>,
    pub(super) alarm: Option<Instant>,
    pub(super) shutdown: Shutdown,
    /// The connection whose callback runs now; its own output leaves when that returns.
    pub(super) current: Option<Token>,
    generation: u32,
}

/// How far the reactor is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    No,
    /// Asked for; the next turn begins it. Connections have so long to finish.
    Requested(Duration),
    /// Connections finish until then.
    Draining(Instant),
    Done,
}

/// Turn time: the clock is read once a turn.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    now: Instant,
    now_ms: u64,
}

/// What a connection's entry in the timer wheel is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    Connect,
    Write,
    Linger,
    Idle,
    /// Finished, as far as a shutdown is concerned.
    Quiet,
    Handler,
}

/// The table reserves address space for so many connections at once; beyond it grows by copying.
const RESERVED_MAX: usize = 1 << 20;

impl LoopState {
    pub(super) fn new(mut config: Config) -> io::Result<Self> {
        config.check()?;
        // A shutdown that waits less than the quiet period could never tell who has finished.
        config.drain_quiet = config.drain_quiet.min(config.drain_timeout / 2);
        let now = Instant::now();
        Ok(LoopState {
            poll: Poll::new()?,
            connections: Slab::with_capacity(config.connections_max.min(RESERVED_MAX)),
            cold: Vec::with_capacity(config.connections_max.min(RESERVED_MAX)),
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            closed: VecDeque::new(),
            starved: Vec::new(),
            topics: Topics::default(),
            pool: BufferPool::new(config.buffer_reserve),
            wheel: TimerWheel::new(config.tick.as_millis() as u64),
            stats: Stats::default(),
            clock: Clock { started: now, now, now_ms: 0 },
            topics_due_ms: None,
            alarm: None,
            shutdown: Shutdown::No,
            current: None,
            generation: 0,
            config,
        })
    }

    // ---- time ----

    pub(super) fn read_clock(&mut self) {
        self.clock.now = Instant::now();
        self.clock.now_ms = (self.clock.now - self.clock.started).as_millis() as u64;
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms
    }

    /// The time on this loop's clock, in milliseconds, as an instant.
    pub(super) fn instant(&self, at_ms: u64) -> Instant {
        self.clock.started + Duration::from_millis(at_ms)
    }

    /// Turn time as connections store it.
    pub(super) fn stamp(&self) -> u32 {
        self.clock.now_ms as u32
    }

    /// Milliseconds since a stamp.
    fn age(&self, stamp: u32) -> u64 {
        u64::from(self.stamp().wrapping_sub(stamp))
    }

    /// When `span` after a stamp is certainly over. A stamp is cut to whole milliseconds, hence the one more.
    fn after(&self, stamp: u32, span: Duration) -> u64 {
        (self.now_ms() + span.as_millis() as u64 + 1).saturating_sub(self.age(stamp))
    }

    /// The connection's next deadline, and what it means.
    pub(super) fn deadline(&self, connection: &Connection) -> Option<(u64, Deadline)> {
        let config = &self.config;
        let open = connection.state == State::Open;
        let write_timeout = match connection.state {
            State::Connecting => {
                return Some((
                    self.after(connection.active_ms, config.connect_timeout),
                    Deadline::Connect,
                ));
            }
            State::Lingering => {
                return Some((
                    self.after(connection.progress_ms, config.linger_timeout),
                    Deadline::Linger,
                ));
            }
            State::Closed => return None,
            State::Open => config.write_timeout,
            // A close has a deadline even where writes have none.
            State::Closing => Some(config.write_timeout.unwrap_or(config.linger_timeout)),
        };
        let draining = matches!(self.shutdown, Shutdown::Draining(_));
        let write = write_timeout.filter(|_| connection.stalled);
        let idle = config.idle_timeout.filter(|_| open);
        let quiet = Some(config.drain_quiet).filter(|_| open && draining && !connection.stalled);
        let handler = connection.timer_ms.filter(|_| open).map(|timer| {
            let remaining = timer.get().wrapping_sub(self.stamp()) as i32;
            (self.now_ms() + u64::try_from(remaining).unwrap_or(0), Deadline::Handler)
        });
        [
            write.map(|span| (self.after(connection.progress_ms, span), Deadline::Write)),
            idle.map(|span| (self.after(connection.active_ms, span), Deadline::Idle)),
            quiet.map(|span| (self.after(connection.active_ms, span), Deadline::Quiet)),
            handler,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Makes sure that the wheel comes round in time for this connection. A later entry is left alone: when it fires, the
    /// deadline is asked for again.
    pub(super) fn arm(&mut self, token: Token) {
        let Some(connection) = self.find(token) else {
            return;
        };
        let Some((due, _)) = self.deadline(connection) else {
            return;
        };
        if self.wheel.deadline(token.slot).is_none_or(|armed| due < armed) {
            self.wheel.schedule(token.slot, due);
        }
    }

    // ---- the table ----

    /// Puts a connection into the table once the poll knows it; a descriptor that the poll refuses is closed.
    pub(super) fn admit(
        &mut self,
        mut stream: Stream,
        peer: Peer,
        state: State,
    ) -> io::Result<Token> {
        let stamp = self.stamp();
        let entry = self.connections.vacant_entry();
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let token = Token { slot: entry.key() as u32, generation: self.generation };
        stream.register(self.poll.registry(), token)?;
        entry.insert(Connection::new(stream, token.generation, state, stamp));
        let cold = Cold { peer, subscriptions: NONE, discarded: 0 };
        match self.cold.get_mut(token.key()) {
            Some(former) => *former = cold,
            None => self.cold.push(cold),
        }
        self.arm(token);
        Ok(token)
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= self.config.connections_max
    }

    pub(super) fn find(&self, token: Token) -> Option<&Connection> {
        self.connections
            .get(token.key())
            .filter(|connection| connection.generation == token.generation)
    }

    pub(super) fn find_mut(&mut self, token: Token) -> Option<&mut Connection> {
        self.connections
            .get_mut(token.key())
            .filter(|connection| connection.generation == token.generation)
    }

    /// The token of the connection in a slot.
    pub(super) fn token_at(&self, slot: u32) -> Option<Token> {
        let generation = self.connections.get(slot as usize)?.generation;
        Some(Token { slot, generation })
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.connections.iter().map(|(slot, connection)| Token {
            slot: slot as u32,
            generation: connection.generation,
        })
    }

    pub(super) fn peer_address(&self, token: Token) -> Option<Address> {
        self.find(token)?;
        self.cold.get(token.key()).map(|cold| (&cold.peer).into())
    }

    /// Frees the slot of a closed connection and enters what it leaves behind into the books.
    pub(super) fn free(&mut self, token: Token) {
        while let Some(key) =
            self.cold.get(token.key()).map(|cold| cold.subscriptions).filter(|key| *key != NONE)
        {
            self.drop_subscription(token, key);
        }
        self.wheel.cancel(token.slot);
        let Some(mut connection) = self.connections.try_remove(token.key()) else {
            return;
        };
        self.stats.bytes_discarded += connection.input.len() as u64;
        self.stats.bytes_dropped += connection.output.len() as u64;
        self.stats.closed_by_reason[connection.reason as usize] += 1;
        connection.input.release(&mut self.pool);
        connection.output.release(&mut self.pool);
    }

    // ---- lists ----

    /// Puts the connection on the ready list if the read phase has something to do there.
    pub(super) fn list_ready(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else {
            return;
        };
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push_back(token);
        }
    }

    /// Puts the connection on the dirty list if the flush phase has something to do there.
    pub(super) fn list_dirty(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else {
            return;
        };
        let can_act = connection.writable || connection.state == State::Closing;
        if can_act
            && connection.wants_flush()
            && !std::mem::replace(&mut connection.on_dirty_list, true)
        {
            self.dirty.push_back(token);
        }
    }

    /// Whether the next turn has work that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        !(self.ready.is_empty() && self.dirty.is_empty() && self.closed.is_empty())
            || self.topics.has_fresh()
    }

    pub(super) fn lift(&mut self, token: Token, hold: Hold) {
        if let Some(connection) = self.find_mut(token)
            && connection.hold.has(hold)
        {
            connection.hold.remove(hold);
            self.list_ready(token);
        }
    }

    // ---- input ----

    /// Reads a connection that may be read; says nothing when it has to wait for memory.
    pub(super) fn fill(&mut self, token: Token) -> Option<Fill> {
        let (budget, strict, stamp) =
            (self.config.read_size(), self.config.strict_drain, self.stamp());
        let has_memory = self.has_memory();
        let connection = self.connections.get_mut(token.key())?;
        if !connection.readable || connection.input_ended || !connection.hold.is_free() {
            return Some(Fill::default());
        }
        if !has_memory {
            connection.hold.insert(Hold::MEMORY);
            self.starved.push(token);
            return None;
        }
        let fill = connection.fill(budget, strict, &mut self.pool);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        if fill.bytes > 0 {
            connection.active_ms = stamp;
        } else if connection.input.is_empty() {
            connection.input.release(&mut self.pool);
        }
        Some(fill)
    }

    /// Takes the input back from the handler, and the storage that it does not need.
    pub(super) fn take_back(&mut self, token: Token, mut input: RingBuffer) {
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return;
        };
        let held = !connection.hold.is_free();
        connection.undelivered = held && !input.is_empty();
        // With more to read at once it would only be moved back.
        if input.is_empty() || held || !connection.readable {
            input.shrink(&mut self.pool);
        }
        connection.input = input;
    }

    /// As [`take_back`](Self::take_back) after the end of the stream. A handler that was held is told again; otherwise what
    /// it left behind cannot become a message any more.
    pub(super) fn take_back_end(&mut self, token: Token, mut input: RingBuffer) {
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return;
        };
        connection.end_delivered = connection.state != State::Open || connection.hold.is_free();
        if connection.end_delivered {
            self.stats.bytes_discarded += input.len() as u64;
            input.clear();
        }
        self.take_back(token, input);
    }

    /// The handler leaves more behind than any message may have. Framing knows the exact limit; this is the net below it.
    pub(super) fn is_over_input_limit(&self, token: Token) -> bool {
        let limit = self.config.input_limit + self.config.read_size();
        self.find(token)
            .is_some_and(|connection| connection.hold.is_free() && connection.input.len() > limit)
    }

    // ---- output ----

    /// Appends to a connection's output. Says whether the bytes were taken: not on a connection that is gone or closing, and
    /// not beyond its limit, which ends it.
    pub(super) fn send(&mut self, token: Token, bytes: &[u8]) -> bool {
        if !self.may_queue(token, bytes.len()) {
            return false;
        }
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.output.extend(bytes, &mut self.pool);
        }
        self.queued(token, bytes.len());
        true
    }

    /// As [`send`](Self::send), taking all bytes of `input` and its storage.
    pub(super) fn forward(&mut self, token: Token, input: &mut RingBuffer) -> bool {
        let bytes = input.len();
        if !self.may_queue(token, bytes) {
            return false;
        }
        let is_current = self.current == Some(token);
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.output.append(input, &mut self.pool);
            if !is_current {
                // It waits for the flush phase, and many may: it must not keep the large block it was read into.
                connection.output.shrink(&mut self.pool);
            }
        }
        self.queued(token, bytes);
        true
    }

    fn may_queue(&mut self, token: Token, bytes: usize) -> bool {
        let limit = self.config.output_limit;
        match self.find(token) {
            Some(connection) if connection.state == State::Open => {
                let fits = connection.output.len() + bytes <= limit;
                if !fits {
                    self.abort(token, CloseReason::OutputLimit);
                }
                fits
            }
            Some(_) => false,
            None => {
                self.stats.stale += 1;
                false
            }
        }
    }

    fn queued(&mut self, token: Token, bytes: usize) {
        self.stats.bytes_queued += bytes as u64;
        let high = self.config.output_high();
        if let Some(connection) = self.connections.get_mut(token.key())
            && connection.output.len() > high
        {
            connection.hold.insert(Hold::CONGESTED);
        }
        if self.current != Some(token) {
            self.list_dirty(token);
        }
    }

    /// Hands the socket what is owed, until nothing is or it takes no more.
    pub(super) fn flush(&mut self, token: Token) {
        // Ends: each round hands over bytes, moves a cursor, or finds the socket blocked.
        while let Some(connection) = self.find(token)
            && matches!(connection.state, State::Open | State::Closing)
            && connection.writable
            && connection.owes_output()
        {
            let written = match connection.pending {
                NONE => self.write_output(token),
                subscription => self.write_topic(token, subscription),
            };
            if let Err(error) = written {
                return self.fail(token, &error);
            }
        }
        if let Err(error) = self.flush_layer(token) {
            return self.fail(token, &error);
        }
        self.settle_output(token);
    }

    fn write_output(&mut self, token: Token) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return Ok(());
        };
        self.stats.writes += 1;
        let sent = connection.send_output()?;
        connection.output.consume(sent.bytes);
        self.sent(token, sent.bytes, sent.blocked);
        Ok(())
    }

    /// One vectored write: the rest of what the connection owes by itself, then everything the topic has for it.
    fn write_topic(&mut self, token: Token, subscription: u32) -> io::Result<()> {
        if !self.catch_up(token, subscription) {
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return Ok(());
        };
        let Connection { stream, output, pending, .. } = connection;
        let (topics, pool, stats) = (&mut self.topics, &mut self.pool, &mut self.stats);
        let own = output.len();
        let mut slices = Slices::new();
        slices.push(output.as_slices());
        let delivery = topics.gather(subscription, token, &mut slices);
        let mut sent = Sent { bytes: 0, blocked: false };
        // Nothing to write when all that is new was published by this connection itself.
        if own + delivery.bytes > 0 {
            stats.writes += 1;
            sent = stream.send(slices.as_slice())?;
        }
        output.consume(sent.bytes.min(own));
        let taken = sent.bytes.saturating_sub(own);
        if sent.bytes >= own {
            let next = topics.subscription(subscription).map_or(NONE, |entry| entry.next_pending);
            let (messages, cut) =
                topics.advance(subscription, token, taken, delivery, output, pool);
            stats.messages_delivered += messages;
            stats.bytes_queued += (taken + cut) as u64;
            if !topics.is_pending(subscription) {
                *pending = next;
            }
        }
        self.sent(token, sent.bytes, sent.blocked);
        Ok(())
    }

    fn flush_layer(&mut self, token: Token) -> io::Result<()> {
        if let Some(connection) = self.find_mut(token)
            && connection.stream.is_layered()
            && connection.writable
        {
            connection.writable = connection.stream.flush()?;
            if !connection.writable {
                self.begin_stall(token);
            }
        }
        Ok(())
    }

    fn sent(&mut self, token: Token, bytes: usize, blocked: bool) {
        let stamp = self.stamp();
        self.stats.bytes_sent += bytes as u64;
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.writable &= !blocked;
            if bytes > 0 {
                (connection.active_ms, connection.progress_ms) = (stamp, stamp);
            }
        }
    }

    /// After a flush: buffers, marks, the write deadline, and the next step of a close.
    fn settle_output(&mut self, token: Token) {
        let low = self.config.output_low();
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return;
        };
        // A layer that could not push out what it holds still owes that.
        let layer_owes = connection.stream.is_layered() && !connection.writable;
        let owes = connection.owes_output() || layer_owes;
        if connection.output.is_empty() || !connection.writable {
            connection.output.shrink(&mut self.pool);
        }
        let relieved = connection.output.len() <= low;
        if owes && !connection.writable {
            self.begin_stall(token);
        } else if connection.writable {
            connection.stalled = false;
        }
        if relieved {
            // ET: what the kernel said about this socket while it was held is still noted; no event will come for it.
            self.lift(token, Hold::CONGESTED);
        }
        if !owes {
            self.finish_closing(token);
        }
    }

    fn begin_stall(&mut self, token: Token) {
        let stamp = self.stamp();
        if let Some(connection) = self.find_mut(token)
            && !std::mem::replace(&mut connection.stalled, true)
        {
            connection.progress_ms = stamp;
            self.arm(token);
        }
    }

    // ---- closing ----

    /// Ends an open connection in good order: what is owed is flushed first. Closing is a state, not a loop.
    pub(super) fn close(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) = self.find_mut(token) else {
            return;
        };
        match connection.state {
            State::Open => {
                connection.state = State::Closing;
                connection.reason = reason;
                connection.undelivered = false;
                self.list_dirty(token);
                // What the peer still sends is read and dropped, or it might never get to reading our last words.
                self.list_ready(token);
            }
            State::Connecting => {
                connection.reason = reason;
                self.finish(token);
            }
            State::Closing | State::Lingering | State::Closed => {}
        }
    }

    /// Ends a connection at once. What it did not take is dropped, here and in the kernel.
    pub(super) fn abort(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) =
            self.find_mut(token).filter(|connection| connection.state != State::Closed)
        else {
            return;
        };
        connection.reason = reason;
        connection.stream.discard_on_close();
        self.finish(token);
    }

    /// Ends a connection whose socket reported an error. One that was closing already keeps its reason, unless all that
    /// was left to do was to send, and that failed.
    pub(super) fn fail(&mut self, token: Token, error: &io::Error) {
        let Some(connection) = self.find_mut(token) else {
            return;
        };
        let decided = match connection.state {
            State::Connecting | State::Open => false,
            State::Closing => connection.reason != CloseReason::PeerClosed,
            State::Lingering | State::Closed => true,
        };
        if !decided {
            connection.reason = reason_of(error);
            log::debug!(connection:% = token, event = "error"; "{error}");
        }
        self.finish(token);
    }

    /// Nothing is owed any more: tell the peer, and wait for it to say the same.
    fn finish_closing(&mut self, token: Token) {
        let stamp = self.stamp();
        let Some(connection) =
            self.find_mut(token).filter(|connection| connection.state == State::Closing)
        else {
            return;
        };
        // Nothing can arrive after the peer's own end, so there is nothing that could turn our close into a reset.
        if connection.input_ended || connection.stream.shutdown_write().is_err() {
            return self.finish(token);
        }
        connection.state = State::Lingering;
        connection.progress_ms = stamp;
        self.arm(token);
        self.list_ready(token);
    }

    /// Hands the connection to the close phase.
    pub(super) fn finish(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token)
            && connection.state != State::Closed
        {
            connection.state = State::Closed;
            self.closed.push_back(token);
        }
    }

    /// Ends a connection that has nothing in flight, in a shutdown.
    pub(super) fn close_quiet(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token) {
            connection.reason = CloseReason::Drained;
            self.finish(token);
        }
    }

    /// Ends everything that is left when a shutdown has waited long enough; returns how many had not finished.
    pub(super) fn cut_off(&mut self) -> u64 {
        let tokens: Vec<Token> = self.tokens().collect();
        let mut unfinished = 0;
        for token in tokens {
            match self.find(token).map(|connection| connection.state) {
                // Everything was sent; only the peer's word for it is missing.
                Some(State::Lingering | State::Connecting) => self.finish(token),
                Some(State::Open | State::Closing) => {
                    unfinished += 1;
                    self.abort(token, CloseReason::DrainTimeout);
                }
                Some(State::Closed) | None => {}
            }
        }
        unfinished
    }

    /// Reads and drops what the peer of a closing connection still sends.
    pub(super) fn discard(&mut self, token: Token) {
        let (budget, strict) = (self.config.read_size(), self.config.strict_drain);
        let Some(connection) = self.connections.get_mut(token.key()) else {
            return;
        };
        let fill = connection.fill(budget, strict, &mut self.pool);
        let lingering = connection.state == State::Lingering;
        let over = connection.input_ended || fill.error.is_some();
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        let dropped = self.cold.get_mut(token.key()).map_or(0, |cold| {
            cold.discarded = cold.discarded.saturating_add(fill.bytes as u32);
            cold.discarded as usize
        });
        match fill.error {
            Some(error) if !lingering => self.fail(token, &error),
            _ if lingering && (over || dropped > self.config.linger_limit) => self.finish(token),
            _ => self.list_ready(token),
        }
    }

    // ---- topics ----

    pub(super) fn publish(
        &mut self,
        id: TopicId,
        from: Option<Token>,
        bytes: &[u8],
    ) -> Result<u64, PublishError> {
        let key = self.topics.find(id).ok_or(PublishError::Gone)?;
        let by = from.and_then(|token| self.subscription_of(token, key));
        // A token that names no connection is nobody's own.
        let origin = from.unwrap_or(Token::WAKER);
        let stamp = self.stamp();
        let outcome = self.topics.publish(key, by, origin, bytes, stamp, &mut self.pool);
        match outcome {
            Ok(_) => self.stats.messages_published += 1,
            Err(PublishError::Full) => self.hold_publisher(key, from),
            Err(PublishError::TooLong | PublishError::Gone) => {}
        }
        outcome
    }

    fn hold_publisher(&mut self, key: u32, from: Option<Token>) {
        if let Some(token) = from
            && let Some(connection) = self.find_mut(token)
            && !connection.hold.has(Hold::TOPIC)
        {
            connection.hold.insert(Hold::TOPIC);
            if let Some(topic) = self.topics.topic_mut(key) {
                topic.waiting.push(token);
            }
        }
    }

    pub(super) fn subscribe(&mut self, token: Token, id: TopicId, start: Start) -> Option<u64> {
        let key = self.topics.find(id)?;
        let is_open = self.find(token).is_some_and(|connection| connection.state == State::Open);
        if !is_open || self.subscription_of(token, key).is_some() {
            return None;
        }
        let cold = self.cold.get_mut(token.key())?;
        let (subscription, first) =
            self.topics.subscribe(key, token.slot, cold.subscriptions, start)?;
        cold.subscriptions = subscription;
        Some(first)
    }

    pub(super) fn unsubscribe(&mut self, token: Token, id: TopicId) -> bool {
        let key = self.topics.find(id).and_then(|key| self.subscription_of(token, key));
        key.map(|key| self.drop_subscription(token, key)).is_some()
    }

    pub(super) fn remove_topic(&mut self, id: TopicId) {
        let Some(key) = self.topics.find(id) else {
            return;
        };
        while let Some(subscription) =
            self.topics.topic(key).and_then(|topic| topic.subscribers.last().copied())
        {
            let slot = self.topics.subscription(subscription).map_or(NONE, |entry| entry.slot);
            match self.token_at(slot) {
                Some(token) => self.drop_subscription(token, subscription),
                None => self.topics.unsubscribe(subscription, &mut self.pool),
            }
        }
        for token in self.topics.remove(id, &mut self.pool) {
            self.lift(token, Hold::TOPIC);
        }
    }

    fn subscription_of(&self, token: Token, topic: u32) -> Option<u32> {
        self.find(token)?;
        let mut key = self.cold.get(token.key())?.subscriptions;
        while let Some(subscription) = self.topics.subscription(key) {
            if subscription.topic == topic {
                return Some(key);
            }
            key = subscription.next;
        }
        None
    }

    /// Takes a subscription out of the connection's two lists and out of its topic.
    fn drop_subscription(&mut self, token: Token, key: u32) {
        let Some(entry) = self.topics.subscription(key) else {
            return;
        };
        let (next, next_pending) = (entry.next, entry.next_pending);
        if let Some(cold) = self.cold.get_mut(token.key()) {
            self.topics.unlink(&mut cold.subscriptions, key, next, |entry| &mut entry.next);
        }
        if let Some(connection) = self.connections.get_mut(token.key()) {
            self.topics.unlink(&mut connection.pending, key, next_pending, |entry| {
                &mut entry.next_pending
            });
        }
        self.topics.unsubscribe(key, &mut self.pool);
    }

    /// Puts the subscribers of every topic that was published to on the dirty list, once each however many messages came.
    pub(super) fn announce_topics(&mut self) {
        let (connections, dirty) = (&mut self.connections, &mut self.dirty);
        self.topics.announce(&mut self.pool, |slot, subscription| {
            let Some(connection) = connections.get_mut(slot as usize) else {
                return NONE;
            };
            if connection.writable && !std::mem::replace(&mut connection.on_dirty_list, true) {
                dirty.push_back(Token { slot, generation: connection.generation });
            }
            std::mem::replace(&mut connection.pending, subscription)
        });
    }

    /// Before a delivery: a subscriber that the ring has lapped skips what it missed, or is disconnected, which says `false`.
    fn catch_up(&mut self, token: Token, subscription: u32) -> bool {
        let missed = self.topics.skip_lapped(subscription);
        self.stats.messages_skipped += missed;
        let topic =
            self.topics.subscription(subscription).and_then(|entry| self.topics.topic(entry.topic));
        let disconnect =
            topic.is_some_and(|topic| topic.config.slow_consumer == SlowConsumer::Disconnect);
        if missed > 0 && disconnect {
            self.abort(token, CloseReason::SlowConsumer);
            return false;
        }
        true
    }

    /// For topics that are getting full: finds out what may be overwritten, disconnects whom the ring has lapped, and lets
    /// publishers go on where there is room again.
    pub(super) fn settle_topics(&mut self) {
        self.topics_due_ms = None;
        for key in self.topics.take_crowded() {
            let survey = self.survey(key);
            for token in survey.lapped {
                self.abort(token, CloseReason::SlowConsumer);
            }
            let Some(topic) = self.topics.topic_mut(key) else {
                continue;
            };
            topic.floor = survey.floor;
            if topic.waiting.is_empty() {
                continue;
            }
            if topic.has_room() {
                for token in std::mem::take(&mut topic.waiting) {
                    self.lift(token, Hold::TOPIC);
                }
            } else {
                self.topics.keep_crowded(key);
                self.topics_due_ms = self.topics_due_ms.into_iter().chain(survey.due_ms).min();
            }
        }
    }

    /// Asks every subscriber whether it holds the floor.
    fn survey(&self, key: u32) -> Survey {
        let Some(topic) = self.topics.topic(key) else {
            return Survey::default();
        };
        let mut survey = Survey { floor: topic.head(), ..Survey::default() };
        for subscription in
            topic.subscribers.iter().filter_map(|key| self.topics.subscription(*key))
        {
            let Some(connection) = self.connections.get(subscription.slot as usize) else {
                continue;
            };
            let alive = matches!(connection.state, State::Open | State::Closing);
            if !alive || subscription.cursor >= topic.head() {
                continue;
            }
            let until =
                match topic.config.slow_consumer {
                    _ if connection.writable => None,
                    SlowConsumer::Wait => None,
                    SlowConsumer::Disconnect | SlowConsumer::Skip => {
                        let patience = self.after(connection.progress_ms, topic.config.patience);
                        // However steadily it goes on reading, nobody waits for it for longer than a write may take.
                        let published =
                            topic.published_ms(subscription.cursor).zip(self.config.write_timeout);
                        Some(published.map_or(patience, |(stamp, span)| {
                            patience.min(self.after(stamp, span))
                        }))
                    }
                };
            if until.is_none_or(|until| until > self.now_ms()) {
                survey.floor = survey.floor.min(subscription.cursor);
                survey.due_ms = survey.due_ms.into_iter().chain(until).min();
            } else if subscription.cursor < topic.first()
                && topic.config.slow_consumer == SlowConsumer::Disconnect
            {
                survey.lapped.extend(self.token_at(subscription.slot));
            }
        }
        survey
    }

    // ---- memory ----

    /// Whether another read fits into the buffer memory.
    pub(super) fn has_memory(&self) -> bool {
        self.pool.leased() + self.config.read_size() <= self.config.buffer_memory
    }

    /// At the end of a turn: while the memory is spent, the connection that holds most of it is closed; otherwise those that
    /// were not read for want of it are read again.
    pub(super) fn relieve_memory(&mut self) {
        if self.has_memory() {
            for token in std::mem::take(&mut self.starved) {
                self.lift(token, Hold::MEMORY);
            }
        } else if !self.starved.is_empty() || self.pool.leased() > self.config.buffer_memory {
            // A walk over the whole table, in the one case in which every turn frees a large buffer.
            let largest = self.connections.iter().max_by_key(|(_, connection)| {
                (connection.output.capacity(), connection.input.capacity())
            });
            if let Some(token) = largest.and_then(|(slot, _)| self.token_at(slot as u32)) {
                self.abort(token, CloseReason::Memory);
            }
        }
    }
}

#[cfg(debug_assertions)]
impl LoopState {
    /// Every byte and every connection is accounted for. Small tables are counted after every turn, large ones now and then.
    pub(super) fn check_books(&self) {
        let (stats, connections) = (&self.stats, &self.connections);
        debug_assert_eq!(stats.open(), connections.len() as u64, "connections: {stats:?}");
        if connections.len() > 64 && stats.turns % 1024 != 0 {
            return;
        }
        let sum = |len: fn(&Connection) -> usize| {
            connections.iter().map(|(_, entry)| len(entry) as u64).sum::<u64>()
        };
        debug_assert_eq!(
            stats.bytes_unconsumed(),
            sum(|entry| entry.input.len()),
            "input: {stats:?}"
        );
        debug_assert_eq!(
            stats.bytes_waiting(),
            sum(|entry| entry.output.len()),
            "output: {stats:?}"
        );
        debug_assert!(
            !connections.is_empty() || self.wheel.is_empty(),
            "a timer outlived its connection"
        );
    }
}

/// What a look at a topic's subscribers found.
#[derive(Default)]
struct Survey {
    floor: u64,
    lapped: Vec<Token>,
    /// When somebody stops holding the floor.
    due_ms: Option<u64>,
}

fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => CloseReason::Reset,
        HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut => CloseReason::Reset,
        _ => CloseReason::IoError,
    }
}
