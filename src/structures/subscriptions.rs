//! Subscriptions: which connection follows which topic, and which topic of a connection is served next.
//!
//! ```text
//!   publish ---> topic.unannounced ---> announce ---> connection.pending ---> gather, write, move_cursor
//!                queued once, however   a subscriber   topics take turns       up to the head, or where
//!                many messages come     is listed      on one connection       the socket is full
//! ```
//!
//! A subscription stands in two lists of its connection. One has all subscriptions of the connection.
//! The other is circular and has those with messages pending: topics of one connection take turns there,
//! so a busy topic starves no other. Both lists run through the subscriptions and need no memory of
//! their own.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;

use slab::Slab;

use super::buffer_pool::BufferPool;
use super::ring_buffer::RingBuffer;
use super::spare::{Spare, is_spacious};
use super::token::Token;
use super::topic::{PublishError, Start, Store, Topic, TopicConfig, TopicId};
use super::waiting::Standing;

/// End of a list through the subscriptions.
pub(crate) const NONE: u32 = u32::MAX;

pub(crate) struct Subscription {
    pub(crate) topic: u32,
    /// The connection's slot. Subscriptions end before the slot of their connection is freed.
    pub(crate) slot: u32,
    /// Sequence number of the next message to deliver.
    pub(crate) cursor: u64,
    /// Exclusive end: `u64::MAX` while the connection is open, the head at the time of `close`. So a
    /// closing connection gets what was published before the close, and no more.
    pub(crate) ends_before: u64,
    /// This subscriber has published no message from this number on, so its own messages need not be
    /// looked for there.
    own_before: u64,
    /// Index in the topic's list of subscribers.
    position: u32,
    /// The connection's next subscription, and the one before.
    pub(crate) next: u32,
    previous: u32,
    /// While pending: the neighbours in the connection's circular list of pending subscriptions.
    next_pending: u32,
    previous_pending: u32,
    is_pending: bool,
    pub(crate) standing: Standing,
    /// The index has this subscription. It has either all subscriptions of a connection, or none.
    is_indexed: bool,
}

/// Messages that one write is to give to a subscriber.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: usize,
    messages: u64,
    /// Where the cursor goes once all of these bytes were taken.
    reach: u64,
    /// The socket took nothing just before this write.
    pub(crate) after_wait: bool,
    pub(crate) now_us: u64,
}

/// The slices of one vectored write.
pub(crate) struct Slices<'a> {
    list: [IoSlice<'a>; SLICES_MAX],
    len: usize,
}

/// All topics of a reactor and all subscriptions to them.
pub(crate) struct Topics {
    topics: Slab<Topic>,
    subscriptions: Slab<Subscription>,
    /// The most subscriptions at once since room was given back last. The capacity of the table does not
    /// tell: one subscription that is left at the end keeps all the room.
    subscriptions_most: usize,
    /// The subscriptions of connections that have many, by the connection's slot and the topic.
    index: BTreeMap<(u32, u32), u32>,
    /// Topics that wait to be announced, in order. A hint: a topic may have been removed.
    unannounced: VecDeque<u32>,
    /// Topics with publishers that wait; the first is looked at next.
    waited_for: VecDeque<u32>,
    store: Store,
    /// The least [`TopicConfig::subscriber_memory`] of all topics until now.
    least_subscriber_memory: usize,
    generation: u32,
}

/// Beyond a few dozen slices the kernel's work for each outweighs the call that is saved.
const SLICES_MAX: usize = 64;

/// Up to so many subscriptions of a connection are searched one by one. More are entered in the index.
const SEARCHED_MAX: usize = 8;

impl<'a> Slices<'a> {
    pub(crate) fn new() -> Self {
        Slices { list: [IoSlice::new(&[]); SLICES_MAX], len: 0 }
    }

    /// Appends up to two pieces; without room for both it appends none and says so.
    pub(crate) fn push(&mut self, (first, second): (&'a [u8], &'a [u8])) -> bool {
        if self.len + 2 > SLICES_MAX {
            return false;
        }
        for piece in [first, second] {
            if !piece.is_empty() {
                self.list[self.len] = IoSlice::new(piece);
                self.len += 1;
            }
        }
        true
    }

    pub(crate) fn as_slice(&self) -> &[IoSlice<'a>] {
        &self.list[..self.len]
    }
}

impl Topics {
    /// `free_max` bytes of storage are kept for reuse.
    pub(crate) fn new(free_max: usize) -> Self {
        Topics {
            topics: Slab::new(),
            subscriptions: Slab::new(),
            subscriptions_most: 0,
            index: BTreeMap::new(),
            unannounced: VecDeque::new(),
            waited_for: VecDeque::new(),
            store: Store { pool: BufferPool::new(free_max), messages: 0 },
            least_subscriber_memory: usize::MAX,
            generation: 0,
        }
    }

    pub(crate) fn create(&mut self, mut config: TopicConfig) -> TopicId {
        let (least, most) = TopicConfig::MEMORY_BOUNDS;
        config.memory = config.memory.clamp(least, most);
        self.generation = self.generation.wrapping_add(1);
        let topic = Topic::new(config, self.generation);
        self.least_subscriber_memory = self.least_subscriber_memory.min(topic.subscriber_memory());
        let slot = self.topics.insert(topic) as u32;
        TopicId { slot, generation: self.generation }
    }

    /// The topic must have no subscribers any more. Its waiting publishers come back.
    pub(crate) fn remove(&mut self, key: u32) -> Vec<Token> {
        let Some(mut topic) = self.topics.try_remove(key as usize) else { return Vec::new() };
        debug_assert!(topic.subscribers.is_empty());
        topic.bytes.release(&mut self.store.pool);
        self.store.messages -= topic.messages.len();
        if !topic.waiting.is_empty() {
            self.waited_for.retain(|waited_for| *waited_for != key);
        }
        topic.waiting
    }

    /// The key of a topic that still exists.
    pub(crate) fn find(&self, id: TopicId) -> Option<u32> {
        let topic = self.topics.get(id.slot as usize)?;
        (topic.generation == id.generation).then_some(id.slot)
    }

    pub(crate) fn last_subscriber(&self, key: u32) -> Option<u32> {
        self.topics.get(key as usize)?.subscribers.last().copied()
    }

    pub(crate) fn topic(&self, key: u32) -> Option<&Topic> {
        self.topics.get(key as usize)
    }

    pub(crate) fn topic_mut(&mut self, key: u32) -> Option<&mut Topic> {
        self.topics.get_mut(key as usize)
    }

    pub(crate) fn subscription(&self, key: u32) -> Option<&Subscription> {
        self.subscriptions.get(key as usize)
    }

    /// A topic, and the subscriptions of all topics.
    pub(crate) fn topic_and_subscriptions(
        &mut self,
        key: u32,
    ) -> Option<(&mut Topic, &mut Slab<Subscription>)> {
        Some((self.topics.get_mut(key as usize)?, &mut self.subscriptions))
    }

    /// Bytes of messages that wait for all subscriptions of a connection, the list of which begins at
    /// `front`.
    pub(crate) fn owed_to_all(&self, front: u32) -> usize {
        let (mut owed, mut key) = (0, front);
        while let Some(subscription) = self.subscription(key) {
            owed += self.owed_to(subscription);
            key = subscription.next;
        }
        owed
    }

    /// Bytes of messages between a subscriber's cursor and its end, as far as they are still held.
    fn owed_to(&self, subscription: &Subscription) -> usize {
        let Some(topic) = self.topics.get(subscription.topic as usize) else { return 0 };
        let from = subscription.cursor.max(topic.first);
        let until = topic.head().min(subscription.ends_before).max(from);
        (topic.start_of(until) - topic.start_of(from)) as usize
    }

    /// Bytes that messages take now, in blocks of storage and in what is kept of each.
    pub(crate) fn memory(&self) -> usize {
        self.store.pool.leased() + self.store.messages * TopicConfig::OVERHEAD
    }

    /// Whether there were many more subscriptions than there are.
    pub(crate) fn is_spacious(&self) -> bool {
        is_spacious(self.subscriptions.len(), self.subscriptions_most)
    }

    /// Gives back the room that a burst needed.
    pub(crate) fn give_back(&mut self) {
        self.topics.give_back();
        self.subscriptions_most = self.subscriptions.len();
        self.subscriptions.give_back();
        self.unannounced.give_back();
        self.waited_for.give_back();
        self.store.pool.drop_free();
    }

    /// Whether a topic waits to be announced.
    pub(crate) fn has_unannounced(&self) -> bool {
        !self.unannounced.is_empty()
    }

    /// Appends a message. `by` is the publisher's own subscription, which will pass it over.
    pub(crate) fn publish(
        &mut self,
        key: u32,
        by: Option<u32>,
        origin: Token,
        bytes: &[u8],
        now_ms: u32,
    ) -> Result<u64, PublishError> {
        let topic = self.topics.get_mut(key as usize).ok_or(PublishError::Gone)?;
        let sequence = topic.push(origin, bytes, now_ms, &mut self.store)?;
        topic.has_news = true;
        if !std::mem::replace(&mut topic.unannounced, true) {
            self.unannounced.push_back(key);
        }
        if let Some(subscription) = by.and_then(|by| self.subscriptions.get_mut(by as usize)) {
            subscription.own_before = sequence + 1;
        }
        Ok(sequence)
    }

    /// How many subscribers the next message causes to be told: none, if the topic is to be announced
    /// already.
    pub(crate) fn told_by_next(&self, key: u32) -> usize {
        let topic = self.topics.get(key as usize).filter(|topic| !topic.unannounced);
        topic.map_or(0, |topic| topic.subscribers.len())
    }

    /// Whether a message of `len` bytes would be taken.
    pub(crate) fn check_room(&self, key: u32, len: usize) -> Result<(), PublishError> {
        self.topics.get(key as usize).ok_or(PublishError::Gone)?.check_room(len)
    }

    /// Remembers a publisher that waits for room.
    pub(crate) fn wait_for(&mut self, key: u32, publisher: Token, now_us: u64) {
        if let Some(topic) = self.topics.get_mut(key as usize) {
            if topic.waiting.is_empty() {
                self.waited_for.push_back(key);
                topic.account.begin_hold(now_us);
            }
            topic.waiting.push(publisher);
        }
    }

    /// As [`wait_for`](Self::wait_for), for a publisher that waits for another topic already. The
    /// publisher is released by that other topic, and asks for this topic again.
    pub(crate) fn wait_as_well_for(&mut self, key: u32, now_us: u64) {
        let is_first = |topic: &&Topic| topic.waiting.is_empty();
        if self.topics.get(key as usize).filter(is_first).is_some() {
            self.wait_for(key, Token::WAKER, now_us);
        }
    }

    /// How many topics have publishers that wait.
    pub(crate) fn count_waited_for(&self) -> usize {
        self.waited_for.len()
    }

    /// The topic with publishers that wait which was looked at longest ago.
    pub(crate) fn next_waited_for(&mut self) -> Option<u32> {
        self.waited_for.rotate_left(1.min(self.waited_for.len()));
        self.waited_for.back().copied()
    }

    /// The publishers that waited, when there is room for them; of the topic looked at last.
    pub(crate) fn take_waiting(&mut self, key: u32) -> Vec<Token> {
        let Some(topic) = self.topics.get_mut(key as usize).filter(|topic| topic.has_room()) else {
            return Vec::new();
        };
        let last = self.waited_for.pop_back();
        debug_assert_eq!(last, Some(key));
        topic.account.end_hold();
        std::mem::take(&mut topic.waiting)
    }

    /// Takes back the list that [`Self::take_waiting`] gave, or each wait would allocate one.
    pub(crate) fn reuse_waiting(&mut self, key: u32, list: Vec<Token>) {
        if let Some(topic) = self.topics.get_mut(key as usize)
            && topic.waiting.capacity() == 0
        {
            topic.waiting = list;
        }
    }

    /// Adds a subscriber in front of the connection's list `next`; returns its key and the number
    /// it starts with.
    pub(crate) fn subscribe(
        &mut self,
        key: u32,
        slot: u32,
        next: u32,
        start: Start,
    ) -> Option<(u32, u64)> {
        let topic = self.topics.get_mut(key as usize)?;
        let head = topic.head();
        let cursor = match start {
            Start::Next => head,
            Start::Last(count) => head.saturating_sub(count as u64).max(topic.first),
            Start::At(sequence) => sequence.clamp(topic.first, head),
        };
        // The history that this subscriber begins with must not be overwritten before it is delivered.
        topic.floor = topic.floor.min(cursor);
        let position = topic.subscribers.len() as u32;
        let subscription = Subscription {
            topic: key,
            slot,
            cursor,
            ends_before: u64::MAX,
            // The history may have messages that this subscriber has published itself.
            own_before: head,
            position,
            next,
            previous: NONE,
            next_pending: NONE,
            previous_pending: NONE,
            is_pending: false,
            standing: Standing::default(),
            is_indexed: false,
        };
        let subscription = self.subscriptions.insert(subscription) as u32;
        self.subscriptions_most = self.subscriptions_most.max(self.subscriptions.len());
        topic.subscribers.push(subscription);
        if cursor < head {
            topic.has_news = true;
            if !std::mem::replace(&mut topic.unannounced, true) {
                self.unannounced.push_back(key);
            }
        }
        if let Some(next) = self.subscriptions.get_mut(next as usize) {
            next.previous = subscription;
        }
        self.index_if_many(subscription);
        Some((subscription, cursor))
    }

    /// Enters a connection's subscriptions in the index once they are many: only the first of them, where
    /// the index has the others already.
    fn index_if_many(&mut self, front: u32) {
        let of = |key: u32| self.subscriptions.get(key as usize);
        let next = of(front).and_then(|first| of(first.next));
        let mut count = 1;
        if next.is_none_or(|next| !next.is_indexed) {
            let keys = std::iter::successors(Some(front), |key| of(*key).map(|entry| entry.next));
            count = keys.take_while(|key| *key != NONE).count();
            if count <= SEARCHED_MAX {
                return;
            }
        }
        let mut at = front;
        for _ in 0..count {
            let Some(entry) = self.subscriptions.get_mut(at as usize) else { return };
            entry.is_indexed = true;
            self.index.insert((entry.slot, entry.topic), at);
            at = entry.next;
        }
    }

    /// Takes a subscription out of its topic. The caller takes it out of the connection's lists.
    pub(crate) fn unsubscribe(&mut self, key: u32) {
        let Some(subscription) = self.subscriptions.try_remove(key as usize) else { return };
        let Some(topic) = self.topics.get_mut(subscription.topic as usize) else { return };
        topic.subscribers.swap_remove(subscription.position as usize);
        topic.untold = topic.untold.min(topic.subscribers.len() as u32);
        if let Some(moved) = topic.subscribers.get(subscription.position as usize) {
            self.subscriptions[*moved as usize].position = subscription.position;
        }
        if subscription.is_indexed {
            self.index.remove(&(subscription.slot, subscription.topic));
        }
        topic.subscribers.give_back();
        if subscription.is_pending {
            topic.subscriber_is_served(&mut self.store);
        }
    }

    /// Lets a subscription end with the last message published until now. Lists the subscription as
    /// pending behind its connection's `last` if it has not been told of some of these messages.
    pub(crate) fn end_at_head(&mut self, key: u32, last: &mut u32) {
        if let Some(subscription) = self.subscriptions.get_mut(key as usize)
            && let Some(topic) = self.topics.get_mut(subscription.topic as usize)
        {
            subscription.ends_before = topic.head();
            if !subscription.is_pending && subscription.cursor < subscription.ends_before {
                topic.pending += 1;
                append_pending(&mut self.subscriptions, std::mem::replace(last, key), key);
            }
        }
    }

    /// Takes a subscription out of its connection's list, which begins at `front`.
    pub(crate) fn unlink(&mut self, front: &mut u32, key: u32) {
        let Some(entry) = self.subscriptions.get(key as usize) else { return };
        let (previous, next) = (entry.previous, entry.next);
        match self.subscriptions.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => *front = next,
        }
        if let Some(next) = self.subscriptions.get_mut(next as usize) {
            next.previous = previous;
        }
    }

    /// Takes a subscription out of the circular list of its connection, whose tail is `last`. The
    /// subscription still counts as pending in its topic.
    pub(crate) fn unlink_pending(&mut self, last: &mut u32, key: u32) {
        if !self.is_pending(key) {
            return;
        }
        let entry = &self.subscriptions[key as usize];
        let (before, next) = (entry.previous_pending, entry.next_pending);
        join_pending(&mut self.subscriptions, before, next);
        if *last == key {
            *last = if before == key { NONE } else { before };
        }
    }

    /// The pending subscription of a connection that is served next, found from the tail of its list.
    pub(crate) fn first_pending(&self, last: u32) -> Option<u32> {
        Some(self.subscriptions.get(last as usize)?.next_pending)
    }

    /// After the first pending subscription of a connection was served: the subscription becomes the last
    /// if it still has messages pending, and leaves the list otherwise.
    pub(crate) fn pass_turn(&mut self, last: &mut u32, served: u32) {
        if self.is_pending(served) {
            *last = served;
            return;
        }
        let next = self.subscriptions.get(served as usize).map_or(NONE, |entry| entry.next_pending);
        if *last == served {
            *last = NONE;
        } else {
            join_pending(&mut self.subscriptions, *last, next);
        }
    }

    /// Announces: tells the subscribers of each unannounced topic, by listing their subscriptions as
    /// pending. `link` is given a connection's slot and a subscription, makes that subscription the tail
    /// of the connection's list, and returns the tail before.
    ///
    /// Stops after `most` subscribers; the next call goes on there. Returns how many were told.
    pub(crate) fn announce(&mut self, most: u64, mut link: impl FnMut(u32, u32) -> u32) -> u64 {
        let mut left = most;
        while left > 0
            && let Some(key) = self.unannounced.pop_front()
        {
            let Some(topic) = self.topics.get_mut(key as usize).filter(|topic| topic.unannounced)
            else {
                continue;
            };
            if topic.untold == 0 {
                (topic.untold, topic.has_news) = (topic.subscribers.len() as u32, false);
            }
            let head = topic.head();
            let from = u64::from(topic.untold).saturating_sub(left) as u32;
            for &subscriber in topic.subscribers[from as usize..topic.untold as usize].iter().rev()
            {
                let entry = &self.subscriptions[subscriber as usize];
                if !entry.is_pending && entry.cursor < head.min(entry.ends_before) {
                    topic.pending += 1;
                    let last = link(entry.slot, subscriber);
                    append_pending(&mut self.subscriptions, last, subscriber);
                }
            }
            left -= u64::from(topic.untold - from);
            topic.untold = from;
            if topic.untold > 0 || topic.has_news {
                self.unannounced.push_back(key);
                continue;
            }
            topic.unannounced = false;
            if topic.pending == 0 {
                topic.trim(&mut self.store);
            }
        }
        most - left
    }

    /// The subscription of one connection, the list of which begins at `front`, to one topic.
    pub(crate) fn subscription_of(&self, slot: u32, front: u32, topic: u32) -> Option<u32> {
        let of = |key: u32| self.subscriptions.get(key as usize);
        if of(front)?.is_indexed {
            return self.index.get(&(slot, topic)).copied();
        }
        let mut keys = std::iter::successors(Some(front), |key| of(*key).map(|entry| entry.next));
        keys.find(|key| of(*key).is_none_or(|entry| entry.topic == topic))
            .filter(|key| *key != NONE)
    }

    /// Moves a lapped subscriber on to the oldest message held. Returns how many messages it missed, or
    /// `None` when its topic disconnects slow consumers.
    pub(crate) fn skip_lapped(&mut self, key: u32) -> Option<u64> {
        let subscription = &mut self.subscriptions[key as usize];
        let topic = &self.topics[subscription.topic as usize];
        // Messages published after the end of the subscription are not missed.
        let missed = topic.first.min(subscription.ends_before).saturating_sub(subscription.cursor);
        let is_lapped = subscription.cursor < topic.first;
        subscription.cursor = subscription.cursor.max(topic.first);
        (!is_lapped || !topic.disconnects_slow_consumers()).then_some(missed)
    }

    /// Gathers the messages that a subscriber is to be given, without those that it published itself.
    pub(crate) fn gather<'a>(&'a self, key: u32, me: Token, slices: &mut Slices<'a>) -> Batch {
        let subscription = &self.subscriptions[key as usize];
        let topic = &self.topics[subscription.topic as usize];
        let cursor = subscription.cursor;
        let head = topic.head().min(subscription.ends_before).max(cursor);
        let mut batch = Batch { reach: cursor, ..Batch::default() };
        let mut from = topic.start_of(cursor);
        let mut messages = 0;
        // With no message of its own in the range there is nothing to look for.
        if subscription.own_before > cursor {
            let mut end = from;
            for (message, sequence) in topic
                .messages
                .range((cursor - topic.first) as usize..(head - topic.first) as usize)
                .zip(cursor..)
            {
                if message.origin != me {
                    messages += 1;
                } else if !batch.add(
                    slices.push(topic.slices(from, end)),
                    end - from,
                    messages,
                    sequence + 1,
                ) {
                    return batch;
                } else {
                    (from, messages) = (message.end, 0);
                }
                end = message.end;
            }
        } else {
            messages = head - cursor;
        }
        let end = topic.start_of(head);
        batch.add(slices.push(topic.slices(from, end)), end - from, messages, head);
        batch
    }

    /// Moves a cursor past the `taken` bytes that the subscriber's socket took. The rest of a message that
    /// was cut goes to `output`. Returns how many messages were delivered, and how many bytes went to
    /// `output`.
    pub(crate) fn move_cursor(
        &mut self,
        key: u32,
        me: Token,
        taken: usize,
        batch: Batch,
        output: &mut RingBuffer,
        pool: &mut BufferPool,
    ) -> (u64, usize) {
        let subscription = &mut self.subscriptions[key as usize];
        let topic = &mut self.topics[subscription.topic as usize];
        let (mut messages, mut cut) = (batch.messages, 0);
        if taken == batch.bytes {
            subscription.cursor = batch.reach;
        } else {
            (messages, cut) = cut_at(subscription, topic, me, taken, output, pool);
        }
        let is_served = subscription.cursor >= topic.head().min(subscription.ends_before);
        let subscribers = topic.subscribers.len();
        topic.account.delivered(taken, &subscription.standing, subscribers, batch.now_us);
        let stamp = (batch.now_us / 1000) as u32;
        subscription.standing.took(taken, batch.after_wait && taken > 0, stamp);
        if is_served {
            subscription.standing.catches_up();
            if std::mem::replace(&mut subscription.is_pending, false) {
                topic.subscriber_is_served(&mut self.store);
            }
        }
        (messages, cut)
    }

    /// The length of what [`copy_owed`](Self::copy_owed) would copy.
    pub(crate) fn owed_len(&self, key: u32, me: Token) -> usize {
        let subscription = &self.subscriptions[key as usize];
        let topic = &self.topics[subscription.topic as usize];
        let (mut len, mut from) = (0, topic.start_of(subscription.cursor));
        for message in topic.messages.range((subscription.cursor - topic.first) as usize..) {
            len += if message.origin == me { 0 } else { message.end - from };
            from = message.end;
        }
        len as usize
    }

    /// A copy of all messages that an open subscriber has not been given, without those that it published
    /// itself; and the number of these messages.
    pub(crate) fn copy_owed(&self, key: u32, me: Token) -> (Vec<u8>, u64) {
        let subscription = &self.subscriptions[key as usize];
        let topic = &self.topics[subscription.topic as usize];
        let (mut bytes, mut messages) = (Vec::new(), 0);
        let mut from = topic.start_of(subscription.cursor);
        for message in topic.messages.range((subscription.cursor - topic.first) as usize..) {
            if message.origin != me {
                let (first, second) = topic.slices(from, message.end);
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(second);
                messages += 1;
            }
            from = message.end;
        }
        (bytes, messages)
    }

    /// A subscriber has been given everything. The caller has taken the subscription out of its
    /// connection's list of pending ones.
    pub(crate) fn owe_nothing(&mut self, key: u32) {
        let subscription = &mut self.subscriptions[key as usize];
        let topic = &mut self.topics[subscription.topic as usize];
        subscription.cursor = topic.head();
        subscription.standing.catches_up();
        if std::mem::replace(&mut subscription.is_pending, false) {
            topic.subscriber_is_served(&mut self.store);
        }
    }

    /// For the pending subscriptions of a connection, whose tail is `last`: the bytes that topics hold
    /// for all of them; how many that may be, which is the most that one of the topics permits; and how
    /// many subscriptions were looked at. Only topics count that disconnect slow consumers.
    pub(crate) fn owed_together(&self, last: u32) -> (usize, usize, usize) {
        let (mut owed, mut limit, mut looked_at) = (0, 0, 0);
        let mut at = last;
        while let Some(entry) = self.subscriptions.get(at as usize) {
            looked_at += 1;
            let topic = &self.topics[entry.topic as usize];
            if topic.disconnects_slow_consumers() {
                owed += topic.owed_from(entry.cursor.max(topic.first));
                limit = limit.max(topic.subscriber_memory());
            }
            at = entry.next_pending;
            if at == last {
                break;
            }
        }
        (owed, limit, looked_at)
    }

    /// The least that any topic permits to be held for a subscriber: while all topics together hold less,
    /// no subscriber is owed too much.
    pub(crate) fn least_subscriber_memory(&self) -> usize {
        self.least_subscriber_memory
    }

    pub(crate) fn is_pending(&self, key: u32) -> bool {
        self.subscriptions.get(key as usize).is_some_and(|subscription| subscription.is_pending)
    }
}

impl Batch {
    /// Counts a run of bytes in, if the run has found room among the slices. After it the cursor may go
    /// to `reach`.
    fn add(&mut self, fits: bool, bytes: u64, messages: u64, reach: u64) -> bool {
        if fits {
            self.bytes += bytes as usize;
            self.messages += messages;
            self.reach = reach;
        }
        fits
    }
}

/// Steps over the messages that `taken` bytes cover, and moves the rest of the last message to
/// `output`.
fn cut_at(
    subscription: &mut Subscription,
    topic: &Topic,
    me: Token,
    mut taken: usize,
    output: &mut RingBuffer,
    pool: &mut BufferPool,
) -> (u64, usize) {
    let mut delivered = 0;
    while taken > 0 {
        let start = topic.start_of(subscription.cursor);
        let message = topic.messages[(subscription.cursor - topic.first) as usize];
        subscription.cursor += 1;
        if message.origin == me {
            continue;
        }
        delivered += 1;
        let len = (message.end - start) as usize;
        if taken < len {
            let (first, second) = topic.slices(start + taken as u64, message.end);
            output.extend(first, pool);
            output.extend(second, pool);
            return (delivered, len - taken);
        }
        taken -= len;
    }
    (delivered, 0)
}

/// Marks a subscription as pending and puts it behind the one that was the last of its
/// connection's ring, or makes it a ring of its own.
fn append_pending(subscriptions: &mut Slab<Subscription>, last: u32, key: u32) {
    let first = subscriptions.get(last as usize).map_or(key, |last| last.next_pending);
    subscriptions[key as usize].is_pending = true;
    join_pending(subscriptions, if last == NONE { key } else { last }, key);
    join_pending(subscriptions, key, first);
}

/// Makes one subscription follow another in the ring of pending ones.
fn join_pending(subscriptions: &mut Slab<Subscription>, before: u32, next: u32) {
    subscriptions[before as usize].next_pending = next;
    subscriptions[next as usize].previous_pending = before;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGINS: [Token; 3] = [
        Token { slot: 0, generation: 1 },
        Token { slot: 1, generation: 2 },
        Token { slot: 2, generation: 3 },
    ];

    struct Fixture {
        topics: Topics,
        pool: BufferPool,
        key: u32,
    }

    impl Fixture {
        fn new(config: TopicConfig) -> Self {
            let mut topics = Topics::new(1 << 20);
            let key = topics.create(config).slot;
            Fixture { topics, pool: BufferPool::new(1 << 20), key }
        }

        fn subscribe(&mut self, slot: u32) -> u32 {
            self.topics.subscribe(self.key, slot, NONE, Start::Next).unwrap().0
        }

        fn publish(
            &mut self,
            by: Option<u32>,
            origin: Token,
            bytes: &[u8],
        ) -> Result<u64, PublishError> {
            self.topics.publish(self.key, by, origin, bytes, 0)
        }

        fn announce(&mut self) {
            self.topics.announce(u64::MAX, |_, _| NONE);
        }

        /// One write of which the socket takes at most `room` bytes: what it took, then the rest
        /// that was cut.
        fn deliver(&mut self, key: u32, me: Token, room: usize) -> Vec<u8> {
            let mut slices = Slices::new();
            let batch = self.topics.gather(key, me, &mut slices);
            let mut sent: Vec<u8> =
                slices.as_slice().iter().flat_map(|slice| slice.iter().copied()).collect();
            assert_eq!(sent.len(), batch.bytes);
            sent.truncate(room);
            let mut output = RingBuffer::new();
            let taken = sent.len();
            self.topics.move_cursor(key, me, taken, batch, &mut output, &mut self.pool);
            sent.extend_from_slice(output.contiguous());
            output.release(&mut self.pool);
            sent
        }
    }

    proptest! {
        #[test]
        fn each_subscriber_gets_every_foreign_message_whole_and_in_order_however_writes_are_cut(
            steps in proptest::collection::vec((0usize..3, 1usize..90, 0usize..200), 1..150),
        ) {
            let mut f = Fixture::new(TopicConfig::default());
            let subscriptions: Vec<u32> = (0..3).map(|slot| f.subscribe(slot)).collect();
            let mut expected = vec![Vec::<u8>::new(); 3];
            let mut received = vec![Vec::new(); 3];
            for (count, (who, len, room)) in steps.into_iter().enumerate() {
                let message = vec![count as u8; len];
                f.publish(Some(subscriptions[who]), ORIGINS[who], &message).unwrap();
                (0..3).filter(|other| *other != who).for_each(|other| expected[other].extend(&message));
                f.announce();
                let reader = count % 3;
                received[reader].extend(f.deliver(subscriptions[reader], ORIGINS[reader], room));
            }
            for reader in 0..3 {
                while f.topics.is_pending(subscriptions[reader]) {
                    received[reader].extend(f.deliver(subscriptions[reader], ORIGINS[reader], usize::MAX));
                }
                prop_assert_eq!(&received[reader], &expected[reader]);
            }
            prop_assert_eq!(f.topics.store.pool.leased(), 0, "a topic whose subscribers have everything holds nothing");
        }
    }

    proptest! {
        #[test]
        fn room_is_there_exactly_when_a_message_is_taken(
            steps in proptest::collection::vec((0usize..600, 0u64..4, any::<bool>()), 1..200),
        ) {
            let mut f = Fixture::new(TopicConfig { memory: 1024, ..TopicConfig::default() });
            let mut subscriber = None;
            for (len, served, listens) in steps {
                let topic = f.topics.topic_mut(f.key).unwrap();
                // What was delivered may be overwritten, and be it more than is held.
                topic.floor = (topic.floor + served).min(topic.head());
                match (listens, subscriber) {
                    (true, None) => subscriber = Some(f.subscribe(0)),
                    (false, Some(key)) if len % 16 == 0 => {
                        f.topics.unsubscribe(key);
                        subscriber = None;
                    }
                    _ => {}
                }
                let room = f.topics.check_room(f.key, len);
                prop_assert_eq!(room, f.publish(None, ORIGINS[1], &vec![7; len]).map(drop));
            }
        }
    }

    #[test]
    fn ring_without_room_refuses_until_the_floor_rises_and_then_overwrites_the_oldest() {
        let mut f = Fixture::new(TopicConfig { memory: 1024, ..TopicConfig::default() });
        let subscriber = f.subscribe(0);
        let mut held = 0;
        while f.publish(None, ORIGINS[1], &[7; 100]).is_ok() {
            held += 1;
        }
        assert_eq!(held, 1024 / (100 + TopicConfig::OVERHEAD));
        assert_eq!(f.publish(None, ORIGINS[1], &[7; 600]), Err(PublishError::TooLong));
        f.topics.topic_mut(f.key).unwrap().floor = 3;
        assert!(f.publish(None, ORIGINS[1], &[8; 100]).is_ok());
        assert_eq!(f.topics.topic(f.key).unwrap().first(), 1);
        assert_eq!(f.topics.skip_lapped(subscriber), None, "disconnected, not skipped");
    }

    #[test]
    fn history_is_kept_for_newcomers_and_nothing_more() {
        let mut f = Fixture::new(TopicConfig { history: 2, ..TopicConfig::default() });
        for message in [b"one", b"two", b"six"] {
            f.publish(None, ORIGINS[0], message).unwrap();
        }
        f.announce();
        let (late, start) = f.topics.subscribe(f.key, 5, NONE, Start::Last(9)).unwrap();
        assert_eq!(start, 1);
        f.announce();
        assert_eq!(f.deliver(late, ORIGINS[2], usize::MAX), b"twosix");
    }

    #[test]
    fn unsubscribing_in_any_order_leaves_no_pending_count() {
        let mut f = Fixture::new(TopicConfig::default());
        let subscribers: Vec<u32> = (0..20).map(|slot| f.subscribe(slot)).collect();
        f.publish(None, ORIGINS[0], b"message").unwrap();
        f.announce();
        for index in [3, 19, 0, 7, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
            f.topics.unsubscribe(subscribers[index]);
        }
        assert_eq!(f.topics.store.pool.leased(), 0);
    }

    #[test]
    fn own_messages_from_before_the_subscription_are_passed_over_however_the_write_is_cut() {
        for room in 0..40 {
            let mut f = Fixture::new(TopicConfig { history: 10, ..TopicConfig::default() });
            for _ in 0..3 {
                f.publish(None, ORIGINS[0], b"mine").unwrap();
                f.publish(None, ORIGINS[1], b"theirs").unwrap();
            }
            let (me, _) = f.topics.subscribe(f.key, 0, NONE, Start::Last(10)).unwrap();
            f.announce();
            let mut received = f.deliver(me, ORIGINS[0], room);
            received.extend(f.deliver(me, ORIGINS[0], usize::MAX));
            assert_eq!(received, b"theirstheirstheirs", "cut at {room}");
        }
    }

    #[test]
    fn subscription_that_ends_at_the_head_is_given_nothing_later() {
        let mut f = Fixture::new(TopicConfig::default());
        let leaving = f.subscribe(0);
        f.publish(None, ORIGINS[1], b"last").unwrap();
        f.announce();
        f.topics.end_at_head(leaving, &mut { NONE });
        f.publish(None, ORIGINS[1], b"later").unwrap();
        f.announce();
        assert_eq!(f.deliver(leaving, ORIGINS[0], usize::MAX), b"last");
        assert!(!f.topics.is_pending(leaving));
        assert_eq!(f.topics.store.pool.leased(), 0);
    }

    #[test]
    fn busy_topic_does_not_starve_another_topic_of_the_same_connection() {
        let mut f = Fixture::new(TopicConfig::default());
        let busy = f.subscribe(0);
        let (busy_topic, quiet_topic) = (f.key, f.topics.create(TopicConfig::default()).slot);
        f.topics.publish(quiet_topic, None, ORIGINS[1], b"early", 0).unwrap();
        let quiet = f.topics.subscribe(quiet_topic, 0, busy, Start::Last(1)).unwrap().0;
        let mut last = NONE;
        let mut served = Vec::new();
        for _ in 0..6 {
            f.topics.publish(busy_topic, None, ORIGINS[1], &[b'b'; 500], 0).unwrap();
            f.topics.publish(quiet_topic, None, ORIGINS[1], b"q", 0).unwrap();
            f.topics.announce(9, |_, subscription| std::mem::replace(&mut last, subscription));
            let first = f.topics.first_pending(last).unwrap();
            // The socket takes a little of what it is offered, so the busy one is always owed more.
            f.deliver(first, ORIGINS[0], 100);
            f.topics.pass_turn(&mut last, first);
            served.push(first);
        }
        let turns_of_quiet = served.iter().filter(|served| **served == quiet).count();
        assert_eq!(turns_of_quiet, 3, "{served:?}, busy is {busy}");
    }

    proptest! {
        #[test]
        fn pending_subscriptions_of_a_connection_take_turns_however_they_come_and_go(
            steps in proptest::collection::vec((0u8..4, 0usize..6), 1..100),
        ) {
            let mut f = Fixture::new(TopicConfig::default());
            let mut front = NONE;
            let keys: Vec<u32> = (0..6)
                .map(|_| {
                    let topic = f.topics.create(TopicConfig::default()).slot;
                    let key = f.topics.subscribe(topic, 0, front, Start::Next).unwrap().0;
                    front = key;
                    key
                })
                .collect();
            let (mut last, mut model) = (NONE, VecDeque::new());
            for (step, index) in steps {
                let key = keys[index];
                let topic = f.topics.subscription(key).unwrap().topic;
                match step {
                    0 if !model.contains(&key) => {
                        f.topics.publish(topic, None, ORIGINS[1], b"message", 0).unwrap();
                        f.topics.announce(9, |_, key| std::mem::replace(&mut last, key));
                        model.push_back(key);
                    }
                    1 | 2 => if let Some(first) = f.topics.first_pending(last) {
                        prop_assert_eq!(model.pop_front(), Some(first));
                        if step == 1 {
                            f.deliver(first, ORIGINS[0], usize::MAX);
                        } else {
                            model.push_back(first);
                        }
                        f.topics.pass_turn(&mut last, first);
                    },
                    3 => {
                        let was = model.contains(&key);
                        f.topics.unlink_pending(&mut last, key);
                        model.retain(|pending| *pending != key);
                        if was {
                            // As if it had been unsubscribed: it is pending no more.
                            f.topics.subscriptions[key as usize].is_pending = false;
                            f.topics.topics[topic as usize].pending -= 1;
                            let head = f.topics.topics[topic as usize].head();
                            f.topics.subscriptions[key as usize].cursor = head;
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(f.topics.first_pending(last), model.front().copied());
                prop_assert_eq!(f.topics.subscription(last).map(|_| last), model.back().copied());
            }
            for key in keys {
                let topic = f.topics.subscription(key).unwrap().topic;
                prop_assert_eq!(f.topics.subscription_of(0, front, topic), Some(key));
                prop_assert_eq!(f.topics.subscription_of(1, NONE, topic), None);
            }
        }
    }

    proptest! {
        #[test]
        fn subscription_is_found_however_many_a_connection_has_and_had(
            steps in proptest::collection::vec((0u32..2, 0usize..30), 1..200),
        ) {
            let mut f = Fixture::new(TopicConfig::default());
            let topics: Vec<u32> =
                (0..30).map(|_| f.topics.create(TopicConfig::default()).slot).collect();
            let (mut fronts, mut model) = ([NONE; 2], BTreeMap::new());
            for (slot, index) in steps {
                let (topic, front) = (topics[index], &mut fronts[slot as usize]);
                let found = f.topics.subscription_of(slot, *front, topic);
                prop_assert_eq!(found, model.get(&(slot, topic)).copied());
                match found {
                    Some(key) => {
                        f.topics.unlink(front, key);
                        f.topics.unsubscribe(key);
                        model.remove(&(slot, topic));
                    }
                    None => {
                        *front = f.topics.subscribe(topic, slot, *front, Start::Next).unwrap().0;
                        model.insert((slot, topic), *front);
                    }
                }
                let mut listed = 0;
                let mut at = fronts[slot as usize];
                while let Some(entry) = f.topics.subscription(at) {
                    listed += 1;
                    prop_assert_eq!(model.get(&(slot, entry.topic)), Some(&at));
                    let few = listed <= SEARCHED_MAX;
                    prop_assert!(few || entry.is_indexed, "it would be searched one by one");
                    at = entry.next;
                }
                let own = model.range((slot, 0)..=(slot, u32::MAX)).count();
                prop_assert_eq!(listed, own);
            }
            let indexed = |key: &&u32| f.topics.subscription(**key).unwrap().is_indexed;
            prop_assert_eq!(f.topics.index.len(), model.values().filter(indexed).count());
        }
    }

    proptest! {
        #[test]
        fn announcement_in_slices_tells_everybody_whoever_comes_and_goes_and_whatever_is_published(
            steps in proptest::collection::vec((0u8..6, 0usize..40), 1..150),
        ) {
            let mut f = Fixture::new(TopicConfig::default());
            let mut present = Vec::new();
            for (count, (step, index)) in steps.into_iter().enumerate() {
                match step {
                    0 => drop(f.publish(None, ORIGINS[0], b"message")),
                    1 | 2 => present.push(f.subscribe(count as u32)),
                    3 if !present.is_empty() => {
                        let leaving: u32 = present.swap_remove(index % present.len());
                        f.topics.unsubscribe(leaving);
                    }
                    4 => drop(f.topics.announce(1 + index as u64 / 8, |_, _| NONE)),
                    5 if !present.is_empty() => {
                        let reader = present[index % present.len()];
                        if f.topics.is_pending(reader) {
                            f.deliver(reader, ORIGINS[1], usize::MAX);
                        }
                    }
                    _ => {}
                }
            }
            // It ends, and by then everybody knows of what they have not been given.
            for _ in 0..2 * present.len() + 3 {
                f.topics.announce(1, |_, _| NONE);
            }
            prop_assert!(!f.topics.has_unannounced());
            let head = f.topics.topic(f.key).unwrap().head();
            for reader in present {
                let owed = f.topics.subscription(reader).unwrap().cursor < head;
                prop_assert_eq!(f.topics.is_pending(reader), owed);
            }
        }
    }

    #[test]
    fn burst_of_subscriptions_is_tidied_up_once_although_a_late_one_is_left() {
        let mut f = Fixture::new(TopicConfig::default());
        let mut keys: Vec<u32> = (0..5000).map(|slot| f.subscribe(slot)).collect();
        keys.pop();
        keys.into_iter().for_each(|key| f.topics.unsubscribe(key));
        assert!(f.topics.is_spacious());
        f.topics.give_back();
        assert!(f.topics.subscriptions.capacity() >= 5000, "the last keeps its key");
        // Whatever ends from now on was no burst.
        let key = f.subscribe(1);
        f.topics.unsubscribe(key);
        assert!(!f.topics.is_spacious());
    }

    #[test]
    fn more_own_messages_than_slices_take_several_writes() {
        let mut f = Fixture::new(TopicConfig::default());
        let me = f.subscribe(0);
        let mut expected = Vec::new();
        for count in 0..100u8 {
            f.publish(Some(me), ORIGINS[0], b"mine").unwrap();
            f.publish(None, ORIGINS[1], &[count; 3]).unwrap();
            expected.extend([count; 3]);
        }
        f.announce();
        let first = f.deliver(me, ORIGINS[0], usize::MAX);
        assert!(first.len() < expected.len());
        let mut received = first;
        while f.topics.is_pending(me) {
            received.extend(f.deliver(me, ORIGINS[0], usize::MAX));
        }
        assert_eq!(received, expected);
    }
}
