//! A topic: a bounded ring of messages, which all its subscribers share.
//!
//! ```text
//!   evicted      first        floor                          head
//!  - - - - - - +------------+-----------------------------+
//!              | may be     | a subscriber is waited for  |  <- publish appends here
//!              | overwritten| that lacks some of these    |
//!  - - - - - - +------------+-----------------------------+
//!        ^           ^              ^          ^        ^
//!     lapped    passed over      reading    reading   reading     cursors: the next message of each subscriber
//!
//!  first <= head      first <= cursor <= head, or the subscriber has been lapped
//! ```
//!
//! - **Publishing** appends a message once, whatever the number of subscribers.
//! - **A cursor** is the number of the next message that its subscriber will be given. The flush phase
//!   gives a subscriber everything from its cursor to the head in one vectored write, and copies
//!   nothing. When a write ends in the middle of a message, the rest of that message moves to the
//!   connection's own output. So a cursor always stands between two messages.
//! - **The floor** is the first message that must not be overwritten. Every message below the floor has
//!   been given to each subscriber that publishers wait for (`floor.rs`, `waiting.rs`).
//! - **A full ring** has no room above the floor. Publishers are then held, so a flood slows its own
//!   senders down to what is delivered.
//! - **A subscriber that is passed over** does not hold the floor. Once messages beyond its cursor are
//!   overwritten it is *lapped*: disconnected, or moved on, as the topic's configuration says.

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
    /// longer than a busy machine leaves a reading client without the processor. A subscriber earns this
    /// time by reading. A newcomer has a fortieth of it. For all subscribers together publishers wait
    /// for a tenth of the time: see *Broadcast* in `docs/architecture.md`. A message older than
    /// [`Config::write_timeout`](crate::Config::write_timeout) is not waited for.
    pub patience: Duration,
    /// The most bytes of messages that all topics together may hold for one subscriber of this topic.
    /// A subscriber for which they hold more is disconnected (`slow_consumer`). Only topics count that
    /// disconnect slow consumers. The reactor looks when topics have grown by a quarter of this, so a
    /// subscriber may be owed a quarter more. Where topics differ the largest value counts, and a value
    /// below `memory` counts as `memory`. Default:
    /// [`Config::output_limit`](crate::Config::output_limit).
    pub subscriber_memory: Option<usize>,
}

/// What happens to a subscriber that a topic's ring overtakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is given nothing more, and disconnected (`slow_consumer`) a second later.
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
    /// The ring is full of messages that subscribers have not been given yet. The publishing connection
    /// is held until there is room. Then its input is offered again.
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
    /// Every message below this number has been given to each subscriber that still reads, and may be
    /// overwritten.
    pub(crate) floor: u64,
    pub(crate) subscribers: Vec<u32>,
    /// How many subscribers have messages pending: their connections list this topic.
    pub(super) pending: u32,
    /// Something was published, or a subscriber began in the past, since subscribers were last put on
    /// the dirty list. The topic is queued for an announcement.
    pub(super) unannounced: bool,
    /// Something was published in the middle of an announcement: subscribers that were told already are
    /// told again.
    pub(super) has_news: bool,
    /// Subscribers at places below this are still to be told. The last place is told first: a subscriber
    /// that moves into the place of one that leaves comes from behind, and was told already.
    pub(super) untold: u32,
    /// Publishers that are held until there is room.
    pub(super) waiting: Vec<Token>,
    pub(crate) account: WaitAccount,
    /// The turn in which the floor was last looked for.
    pub(crate) floor_turn: u64,
    /// Bytes held when all subscribers last had everything: about what the next turn will hold.
    usual_len: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Position behind its last byte, in all bytes ever published.
    pub(super) end: u64,
    pub(super) origin: Token,
    published_ms: u32,
}

/// The memory that the messages of all topics take together.
pub(super) struct Store {
    /// Not the pool of the connections: a topic has a limit of its own, and a full topic must not keep
    /// connections from being read.
    pub(super) pool: BufferPool,
    /// Messages held. Each costs [`TopicConfig::OVERHEAD`] beside its bytes.
    pub(super) messages: usize,
}

impl TopicConfig {
    /// What each message costs beside its bytes.
    pub const OVERHEAD: usize = size_of::<Message>();

    /// A configured memory is brought into this range.
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

    /// Whether publishers that wait may go on: half of the memory is free or may be overwritten. Half, so
    /// that a good stretch of work follows each wait.
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

    /// The message that subscribers must reach before publishers that wait may go on: with everything
    /// below it overwritten, [`has_room`](Self::has_room) holds.
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
            // As much at once as a turn usually needs, instead of growing step by step.
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

    /// Drops the messages that all subscribers have been given, except for the history, and gives memory
    /// back.
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

    /// One subscriber less has messages pending. After the last one only the history is kept.
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
