//! What a reactor holds that does not depend on the type of its handler; first of all the table of
//! connections.
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
//! What is done to one connection stands in files of its own: `input` and `output`, `closing`,
//! `deadline`, `delivery` (topics).

use std::io;
use std::time::Instant;

use mio::Poll;
use slab::Slab;

use super::connection::{Connection, Details, Hold, State};
use super::gate::GateBook;
use super::lists::Lists;
use crate::sockets::address::{Address, Peer};
use crate::sockets::event_list::Edge;
use crate::sockets::greetings::Greetings;
use crate::sockets::stand_in::Dialler;
use crate::sockets::stream::Stream;
use crate::structures::arrears::Arrears;
use crate::structures::budget::Budget;
use crate::structures::buffer_pool::BufferPool;
use crate::structures::burst::Burst;
use crate::structures::clock::Clock;
use crate::structures::looks::Looks;
use crate::structures::overload_watch::Watch;
use crate::structures::places::Places;
use crate::structures::rate_limit::RateLimit;
use crate::structures::subscriptions::{NONE, Topics};
use crate::structures::tally::Tally;
use crate::structures::timer_wheel::TimerWheel;
use crate::structures::token::Token;
use crate::vocabulary::close_log::CloseLog;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::config::Config;
use crate::vocabulary::stats::Stats;

/// Everything of a reactor but its handler, the sessions and the listeners.
pub(super) struct LoopState {
    pub(super) config: Config,
    pub(super) poll: Poll,
    pub(super) connections: Slab<Connection>,
    /// Indexed like `connections`.
    pub(super) details: Vec<Details>,
    /// The slots that are taken: `connections` keeps the room that a burst needed.
    pub(super) places: Places,
    /// Who begins connections in the kernel's place.
    pub(super) dialler: Option<Box<dyn Dialler>>,
    pub(super) gate: Option<GateBook>,
    pub(super) turned_away_warning: RateLimit,
    pub(super) lists: Lists,
    pub(super) topics: Topics,
    pub(super) arrears: Arrears,
    pub(super) pool: BufferPool,
    /// Bytes that layers hold.
    pub(super) layers: Tally,
    pub(super) greetings: Greetings,
    pub(super) wheel: TimerWheel,
    pub(super) stats: Stats,
    pub(super) closes: CloseLog,
    pub(super) clock: Clock,
    pub(super) overload: Watch,
    /// When topics with waiting publishers are looked at again, whether or not anything has happened.
    pub(super) topics_due_ms: Option<u64>,
    pub(super) looks: Looks,
    /// When the reactor looks for memory that is not needed any more.
    pub(super) burst: Burst,
    pub(super) alarm: Option<Instant>,
    /// Where the reactor listens, or has listened.
    pub(super) addresses: Vec<Address>,
    /// A shutdown was asked for, and its time is over then.
    pub(super) drain_until: Option<Instant>,
    /// The shutdown has begun: listeners are closed, connections finish.
    pub(super) is_draining: bool,
    /// The connection whose callback runs now. Its own output leaves when the callback returns.
    pub(super) current: Option<Token>,
    pub(super) budget: Budget,
    /// A panic has unwound through a turn, which is half done for ever.
    pub(super) is_unwound: bool,
    generation: u32,
}

/// For so many connections the table reserves address space at once; beyond that it grows by copying.
const RESERVED_MAX: usize = 1 << 20;

impl LoopState {
    pub(super) fn new(config: Config) -> io::Result<Self> {
        config.check()?;
        let reserved = config.connections_max.min(RESERVED_MAX);
        Ok(LoopState {
            poll: Poll::new()?,
            connections: Slab::with_capacity(reserved),
            details: Vec::with_capacity(reserved),
            places: Places::default(),
            dialler: None,
            gate: None,
            turned_away_warning: RateLimit::default(),
            lists: Lists::default(),
            topics: Topics::new(config.buffer_reserve),
            arrears: Arrears::default(),
            pool: BufferPool::new(config.buffer_reserve),
            layers: Tally::default(),
            greetings: Greetings::default(),
            wheel: TimerWheel::new(config.tick.as_millis() as u64),
            stats: Stats::default(),
            closes: CloseLog::new(config.log_closes),
            clock: Clock::new(),
            overload: Watch::new(&config.overload_limits()),
            topics_due_ms: None,
            looks: Looks::default(),
            burst: Burst::default(),
            alarm: None,
            addresses: Vec::new(),
            drain_until: None,
            is_draining: false,
            current: None,
            budget: Budget::new(config.work_budget, config.work_slice),
            is_unwound: false,
            generation: 0,
            config,
        })
    }

    /// Registers a socket with the poll, and puts its connection into the table. A socket that the poll
    /// refuses is closed.
    pub(super) fn admit(
        &mut self,
        mut stream: Stream,
        peer: Peer,
        state: State,
    ) -> io::Result<Token> {
        let entry = self.connections.vacant_entry();
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let token = Token { slot: entry.key() as u32, generation: self.generation };
        stream.register(self.poll.registry(), token)?;
        stream.count_into(&self.layers);
        entry.insert(Connection::new(stream, token.generation, state, self.clock.stamp()));
        let details = Details { peer, subscriptions: NONE, discarded: 0 };
        match self.details.get_mut(token.key()) {
            Some(former) => *former = details,
            None => self.details.push(details),
        }
        self.places.take(token.key());
        self.closes.traffic.begin(token.key(), self.clock.now_ms());
        self.burst.note_connections(self.connections.len());
        self.arm(token);
        Ok(token)
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= self.config.connections_max
    }

    pub(super) fn find(&self, token: Token) -> Option<&Connection> {
        let connection = self.connections.get(token.key())?;
        (connection.generation == token.generation).then_some(connection)
    }

    pub(super) fn find_mut(&mut self, token: Token) -> Option<&mut Connection> {
        find(&mut self.connections, token)
    }

    /// Whether a connection is not to be handled further for now, or is gone.
    pub(super) fn is_held(&self, token: Token) -> bool {
        self.find(token).is_none_or(|connection| !connection.is_free())
    }

    /// Changes a connection, and then puts it on the lists on which it has something to do now. `None`
    /// when the token is stale.
    pub(super) fn change<T>(
        &mut self,
        token: Token,
        change: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let connection = find(&mut self.connections, token)?;
        let outcome = change(connection);
        self.lists.update(token, connection);
        Some(outcome)
    }

    /// Remembers what an event said about a connection, and lists the connection.
    pub(super) fn note(&mut self, token: Token, edge: Edge) {
        let Some(connection) = find(&mut self.connections, token) else {
            self.stats.stale += 1;
            return;
        };
        connection.note(edge);
        self.lists.update(token, connection);
        self.close_if_hung_up(token);
    }

    /// Closes a half-closed connection that was reset: there is nothing left to read that would say so.
    pub(super) fn close_if_hung_up(&mut self, token: Token) {
        if self.find(token).is_some_and(Connection::is_hung_up) {
            self.close_on_error(token, &io::ErrorKind::ConnectionReset.into());
        }
    }

    /// Lifts a hold. The connection goes on, unless another hold is left.
    pub(super) fn lift(&mut self, token: Token, hold: Hold) {
        let now_ms = self.clock.stamp();
        self.change(token, |connection| connection.lift(hold, now_ms));
        // Idle and quiet deadlines stood still meanwhile.
        self.arm(token);
    }

    /// Lifts the holds that the handler set; the next read phase begins with this connection.
    pub(super) fn lift_first(&mut self, token: Token) {
        let now_ms = self.clock.stamp();
        let Some(connection) = find(&mut self.connections, token) else { return };
        connection.lift(Hold::BY_HANDLER, now_ms);
        self.lists.update_first(token, connection);
        self.arm(token);
    }

    /// The token of the connection in a slot.
    pub(super) fn token_at(&self, slot: u32) -> Option<Token> {
        let generation = self.connections.get(slot as usize)?.generation;
        Some(Token { slot, generation })
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        self.connections.iter().filter_map(|(slot, _)| self.token_at(slot as u32)).collect()
    }

    /// Enters the end of a connection into the books.
    pub(super) fn count_end(&mut self, reason: CloseReason) {
        self.stats.closed_by_reason[reason as usize] += 1;
    }

    /// What an outgoing connection was begun with.
    pub(super) fn dialled(&self, token: Token) -> Option<u64> {
        self.find(token)?;
        match &self.details.get(token.key())?.peer {
            Peer::Dialled(dialled) => Some(dialled.data),
            Peer::V4(_) | Peer::V6(_) | Peer::Unix | Peer::Introduced(_) => None,
        }
    }

    /// Logs how a connection ends. Returns why it does, unless it is gone.
    pub(super) fn log_end(&mut self, token: Token) -> Option<CloseReason> {
        let connection = find(&mut self.connections, token)?;
        let (reason, queued) = (connection.reason, connection.output.len());
        let peer = &self.details.get(token.key())?.peer;
        self.closes.note(token, reason, queued, peer, &self.clock);
        Some(reason)
    }

    /// Frees the slot of a closed connection and enters what it leaves behind into the books.
    pub(super) fn free(&mut self, token: Token) {
        self.drop_subscriptions(token);
        self.wheel.cancel(token.slot);
        let Some(mut connection) = self.connections.try_remove(token.key()) else { return };
        self.places.free(token.key());
        self.stats.bytes_discarded += connection.input.len() as u64;
        self.stats.bytes_dropped += connection.output.len() as u64;
        self.count_end(connection.reason);
        self.leave_gate(token);
        connection.input.release(&mut self.pool);
        connection.output.release(&mut self.pool);
        self.tidy_after_many_connections();
        if let Some(panic) = connection.stream.end_layer() {
            self.note_panic(Some(token), &panic.to_string());
        }
    }
}

/// The connection that a token names, for callers that have borrowed the table alone.
pub(super) fn find(connections: &mut Slab<Connection>, token: Token) -> Option<&mut Connection> {
    let connection = connections.get_mut(token.key())?;
    (connection.generation == token.generation).then_some(connection)
}
