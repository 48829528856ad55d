//! Everything a loop holds that does not depend on the type of its handler: the connections, the
//! lists of those that have work, and what is done to one connection.
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
//! A connection is on the ready list while it may be read, on the dirty list while it has something
//! to flush and its socket takes bytes. An entry of a list is only a hint: whoever takes it off
//! asks the connection again.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::Poll;
use slab::Slab;

use super::clock::Clock;
use super::connection::{Cold, Connection, Hold, NONE, Peer, State};
use super::stream::Stream;
use super::topic::Topics;
use super::{Address, BufferPool, Config, Stats, TimerWheel, Token};

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
    pub(super) starved: Vec<Token>,
    pub(super) topics: Topics,
    pub(super) pool: BufferPool,
    pub(super) wheel: TimerWheel,
    pub(super) stats: Stats,
    pub(super) clock: Clock,
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

/// The table reserves address space for so many connections at once; beyond it grows by copying.
const RESERVED_MAX: usize = 1 << 20;

impl LoopState {
    pub(super) fn new(mut config: Config) -> io::Result<Self> {
        config.check()?;
        // A shutdown that waits less than the quiet period could never tell who has finished.
        config.drain_quiet = config.drain_quiet.min(config.drain_timeout / 2);
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
            clock: Clock::new(),
            topics_due_ms: None,
            alarm: None,
            shutdown: Shutdown::No,
            current: None,
            generation: 0,
            config,
        })
    }

    /// Puts a connection into the table once the poll knows it; a descriptor that the poll refuses
    /// is closed.
    pub(super) fn admit(
        &mut self,
        mut stream: Stream,
        peer: Peer,
        state: State,
    ) -> io::Result<Token> {
        let stamp = self.clock.stamp();
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
        let Some(mut connection) = self.connections.try_remove(token.key()) else { return };
        self.stats.bytes_discarded += connection.input.len() as u64;
        self.stats.bytes_dropped += connection.output.len() as u64;
        self.stats.closed_by_reason[connection.reason as usize] += 1;
        connection.input.release(&mut self.pool);
        connection.output.release(&mut self.pool);
    }

    /// Puts the connection on the ready list if the read phase has something to do there.
    pub(super) fn list_ready(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else { return };
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push_back(token);
        }
    }

    /// Puts the connection on the dirty list if the flush phase has something to do there.
    pub(super) fn list_dirty(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else { return };
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
}

#[cfg(debug_assertions)]
impl LoopState {
    /// Every byte and every connection is accounted for. Small tables are counted after every turn,
    /// large ones now and then.
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
