//! A broadcast that costs one copy: a bounded ring of messages, and a cursor for each subscriber.
//!
//! ```text
//!   evicted      first        floor                          head
//!  - - - - - - +------------+-----------------------------+
//!              | may go     | somebody is still owed this |  <- publish appends here
//!  - - - - - - +------------+-----------------------------+
//!        ^           ^              ^          ^        ^
//!     lapped      stalled        reading    reading   reading     cursors: the next message each will be given
//!
//!  first <= head      first <= cursor <= head, or the subscriber has been lapped
//! ```
//!
//! Publishing appends once, whatever the number of subscribers. The flush phase gives each
//! subscriber everything between its cursor and the head in one vectored write; no message is
//! copied, unless a write ends in the middle of one: then the rest of that one message moves to the
//! connection's own output, and the cursor stands on a boundary again.
//!
//! Below the floor lie the messages that may be overwritten. A subscriber holds the floor for as long
//! as it has a right to be waited for (`waiting.rs`); so a flood of messages slows its publishers
//! down to what is delivered, while a subscriber that has stopped reading, or crawls, is lapped.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffer_pool::BufferPool;
use super::ring_buffer::RingBuffer;
use super::token::Token;
use super::waiting::WaitAccount;

/// Names one topic of one reactor; after [`Context::remove_topic`](crate::Context::remove_topic) it
/// names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// The limits of one topic.
#[derive(Clone, Debug)]
pub struct TopicConfig {
    /// The most bytes of messages held, [`TopicConfig::OVERHEAD`] for each included. Default 1
    /// MiB. A topic whose subscribers keep up holds next to nothing.
    pub memory: usize,
    /// How many delivered messages are kept for newcomers. Default 0.
    pub history: usize,
    /// What happens to a subscriber that the ring overtakes. Default: it is disconnected.
    pub slow_consumer: SlowConsumer,
    /// The longest that publishers wait for one subscriber, once the ring is full. Default 1 s:
    /// longer than a busy machine leaves a reading client without the processor. A subscriber earns
    /// it by reading, a newcomer has a twentieth of it, and in sum publishers wait for a tenth of
    /// the time: see *Broadcast* in `docs/architecture.md`. Nobody waits for a message that is older
    /// than [`Config::write_timeout`](crate::Config::write_timeout).
    pub patience: Duration,
    /// The most bytes of messages that all topics together may hold for one subscriber of this one,
    /// if they disconnect who is slow; beyond it the subscriber is disconnected (`slow_consumer`). It
    /// is looked for once topics hold so much and a quarter more, so it may be passed by that. Where
    /// topics differ the largest value counts, and none is below `memory`. Default: as much as
    /// [`Config::output_limit`](crate::Config::output_limit).
    pub subscriber_memory: Option<usize>,
}

/// What happens to a subscriber that a topic's ring overtakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is disconnected (`slow_consumer`).
    #[default]
    Disconnect,
    /// It goes on with the oldest message still held; what it missed is counted.
    Skip,
    /// It is never overtaken: publishers wait for it, until
    /// [`Config::write_timeout`](crate::Config::write_timeout) closes it.
    Wait,
}

/// Where a new subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next message.
    Next,
    /// So many messages back, as far as they are still held.
    Last(usize),
    /// At this sequence number, or the oldest one still held.
    At(u64),
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// There is no room that no subscriber needs. The publishing connection is held until there is,
    /// and its input offered again.
    Full,
    /// The message is longer than half the topic's memory and can never be published.
    TooLong,
    /// There is no such topic.
    Gone,
}

pub(crate) struct Topic {
    pub(crate) config: TopicConfig,
    pub(super) generation: u32,
    pub(super) bytes: RingBuffer,
    pub(super) messages: VecDeque<Message>,
    /// Sequence number of the oldest message held.
    pub(super) first: u64,
    /// Position, in all bytes ever published, of the first byte held.
    pub(super) first_byte: u64,
    /// Messages below may be overwritten.
    pub(crate) floor: u64,
    pub(crate) subscribers: Vec<u32>,
    /// Subscribers on whose connection the topic is listed as pending.
    pub(super) pending: u32,
    /// Subscribers are to be told: of a message, or of the history they begin with. The topic is
    /// listed for it.
    pub(super) unannounced: bool,
    /// There is something of which not all have been told that were told already.
    pub(super) has_news: bool,
    /// Those at places below are still to be told; the last is told first, so that whoever takes the
    /// place of one that leaves is not passed over.
    pub(super) untold: u32,
    /// Publishers held until there is room.
    pub(super) waiting: Vec<Token>,
    pub(crate) account: WaitAccount,
    /// Turn in which the floor was last looked for.
    pub(crate) floor_turn: u64,
    /// Bytes held when everybody had been given everything last: what the next turn will hold.
    usual_len: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Position behind its last byte, in all bytes ever published.
    pub(super) end: u64,
    pub(super) origin: Token,
    published_ms: u32,
}

/// What messages take, of all topics together.
pub(super) struct Store {
    /// Apart from the connections' buffers: a topic has a bound of its own, and must not keep
    /// anybody from being read.
    pub(super) pool: BufferPool,
    /// Messages held. Each costs [`TopicConfig::OVERHEAD`] beside its bytes.
    pub(super) messages: usize,
}

impl TopicConfig {
    /// What each message costs beside its bytes.
    pub const OVERHEAD: usize = size_of::<Message>();

    /// Less memory or more makes no sense: it is brought into these bounds.
    pub(super) const MEMORY_BOUNDS: (usize, usize) = (1 << 10, 1 << 30);

    /// The longest message that a topic with so much memory takes.
    pub fn message_max(&self) -> usize {
        let (least, most) = Self::MEMORY_BOUNDS;
        self.memory.clamp(least, most) / 2 - Self::OVERHEAD
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            memory: 1 << 20,
            history: 0,
            slow_consumer: SlowConsumer::Disconnect,
            patience: Duration::from_secs(1),
            subscriber_memory: None,
        }
    }
}

impl Topic {
    pub(super) fn new(config: TopicConfig, generation: u32) -> Self {
        Topic {
            account: WaitAccount::new(config.patience),
            config,
            generation,
            bytes: RingBuffer::new(),
            messages: VecDeque::new(),
            first: 0,
            first_byte: 0,
            floor: 0,
            subscribers: Vec::new(),
            pending: 0,
            unannounced: false,
            has_news: false,
            untold: 0,
            waiting: Vec::new(),
            floor_turn: 0,
            usual_len: 0,
        }
    }

    /// Sequence number that the next message will get.
    pub(crate) fn head(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// What all topics together may hold for a subscriber of this one.
    pub(super) fn subscriber_memory(&self) -> usize {
        self.config.subscriber_memory.unwrap_or(usize::MAX).max(self.config.memory)
    }

    pub(crate) fn disconnects_slow_consumers(&self) -> bool {
        self.config.slow_consumer == SlowConsumer::Disconnect
    }

    /// When the message with this number was published.
    pub(crate) fn published_ms(&self, sequence: u64) -> Option<u32> {
        let index = sequence.checked_sub(self.first)?;
        self.messages.get(index as usize).map(|message| message.published_ms)
    }

    /// Whether a publisher that waits may go on: half of the memory is free or may be overwritten.
    /// Half, so that each wait is followed by a good stretch of work.
    pub(super) fn has_room(&self) -> bool {
        self.cost_above_floor() <= self.config.memory / 2
    }

    /// What the messages cost that may not be overwritten.
    fn cost_above_floor(&self) -> usize {
        self.cost_from(self.floor.saturating_sub(self.first))
    }

    /// What the messages cost without the first `count`.
    fn cost_from(&self, count: u64) -> usize {
        let count = count.min(self.messages.len() as u64);
        let end = self.start_of(self.first + count);
        let freed = (end - self.first_byte) as usize + count as usize * TopicConfig::OVERHEAD;
        self.cost() - freed
    }

    /// Publishers that wait may go on once every subscriber has been given what comes before this
    /// message.
    pub(crate) fn room_mark(&self) -> u64 {
        let (mut low, mut high) = (0, self.messages.len() as u64);
        while low < high {
            let middle = (low + high) / 2;
            if self.cost_from(middle) <= self.config.memory / 2 {
                high = middle
            } else {
                low = middle + 1
            }
        }
        self.first + low
    }

    /// What [`push`](Self::push) would say of a message of `len` bytes.
    pub(super) fn check_room(&self, len: usize) -> Result<(), PublishError> {
        if len > self.config.message_max() {
            return Err(PublishError::TooLong);
        }
        let needed = self.cost_above_floor() + len + TopicConfig::OVERHEAD;
        let fits = needed <= self.config.memory || self.subscribers.is_empty();
        if fits { Ok(()) } else { Err(PublishError::Full) }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.messages.len() * TopicConfig::OVERHEAD
    }

    pub(super) fn push(
        &mut self,
        origin: Token,
        bytes: &[u8],
        now_ms: u32,
        store: &mut Store,
    ) -> Result<u64, PublishError> {
        if bytes.len() > self.config.message_max() {
            return Err(PublishError::TooLong);
        }
        while self.cost() + bytes.len() + TopicConfig::OVERHEAD > self.config.memory {
            if self.first >= self.floor && !self.subscribers.is_empty() {
                return Err(PublishError::Full);
            }
            self.evict(1, store);
        }
        if self.bytes.capacity() == 0 {
            // At once what a turn usually needs, instead of growing to it step by step.
            self.bytes.reserve(self.usual_len.max(bytes.len()), &mut store.pool);
        }
        self.bytes.extend(bytes, &mut store.pool);
        let end = self.first_byte + self.bytes.len() as u64;
        self.messages.push_back(Message { end, origin, published_ms: now_ms });
        store.messages += 1;
        Ok(self.head() - 1)
    }

    fn evict(&mut self, count: usize, store: &mut Store) {
        let Some(last) = count.checked_sub(1).and_then(|last| self.messages.get(last)) else {
            return;
        };
        let end = last.end;
        self.bytes.consume((end - self.first_byte) as usize);
        self.messages.drain(..count);
        store.messages -= count;
        self.first += count as u64;
        self.first_byte = end;
    }

    /// Drops what everybody has been given, except for the history, and gives memory back.
    pub(super) fn trim(&mut self, store: &mut Store) {
        self.usual_len = self.bytes.len();
        let held = self.messages.len();
        self.evict(held.saturating_sub(self.config.history), store);
        self.bytes.shrink(&mut store.pool);
        // Slowly, so that turns of the same size allocate nothing.
        if self.messages.capacity() > 1024 && held < self.messages.capacity() / 8 {
            self.messages.shrink_to(self.messages.capacity() / 2);
        }
    }

    /// One subscriber less has messages pending; behind the last one nothing but the history is
    /// kept.
    pub(super) fn subscriber_is_served(&mut self, store: &mut Store) {
        self.pending -= 1;
        if self.pending == 0 && !self.unannounced {
            self.trim(store);
        }
    }

    /// Position of the first byte of a message, or of the head.
    pub(super) fn start_of(&self, sequence: u64) -> u64 {
        match (sequence - self.first).checked_sub(1) {
            Some(before) => self.messages[before as usize].end,
            None => self.first_byte,
        }
    }

    /// What the messages cost from this one on.
    pub(super) fn owed_from(&self, sequence: u64) -> usize {
        let end = self.first_byte + self.bytes.len() as u64;
        let messages = (self.head() - sequence) as usize;
        (end - self.start_of(sequence)) as usize + messages * TopicConfig::OVERHEAD
    }

    pub(super) fn slices(&self, from: u64, to: u64) -> (&[u8], &[u8]) {
        self.bytes.range((from - self.first_byte) as usize, (to - from) as usize)
    }
}
