//! Topics meet connections: subscriptions of a connection, what topics hold for it, and publishers that
//! are held until there is room.

use super::connection::{Hold, State};
use super::loop_state::{LoopState, find};
use super::work::{ANNOUNCE, LOOK, PUBLISH, SUBSCRIPTION, copied};
use crate::structures::floor::Follower;
use crate::structures::subscriptions::{NONE, Topics};
use crate::structures::token::Token;
use crate::structures::topic::{PublishError, Start, TopicId};
use crate::vocabulary::close_reason::CloseReason;

impl LoopState {
    /// Appends a message for every subscriber but `author`. Without room for it `from` is held.
    pub(super) fn publish(
        &mut self,
        id: TopicId,
        from: Option<Token>,
        author: Option<Token>,
        bytes: &[u8],
    ) -> Result<u64, PublishError> {
        let key = self.topics.find(id).ok_or(PublishError::Gone)?;
        let by = author.and_then(|token| self.subscription_of(token, key));
        // A message without an author has the waker's token, which no subscriber has.
        let origin = author.unwrap_or(Token::WAKER);
        let stamp = self.clock.stamp();
        let told = self.topics.told_by_next(key) as u64;
        let sequence =
            self.with_room(key, from, |topics| topics.publish(key, by, origin, bytes, stamp))?;
        self.stats.messages_published += 1;
        self.shorten_slice(told * ANNOUNCE);
        self.charge(PUBLISH + copied(bytes.len()));
        Ok(sequence)
    }

    /// What `publish` would say of a message of `len` bytes.
    pub(super) fn check_room(
        &mut self,
        id: TopicId,
        from: Option<Token>,
        len: usize,
    ) -> Result<(), PublishError> {
        let key = self.topics.find(id).ok_or(PublishError::Gone)?;
        self.with_room(key, from, |topics| topics.check_room(key, len))
    }

    /// Tries what needs room in a topic. Without room `from` is held.
    fn with_room<T>(
        &mut self,
        key: u32,
        from: Option<Token>,
        mut attempt: impl FnMut(&mut Topics) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let mut outcome = attempt(&mut self.topics);
        let is_full = |outcome: &Result<T, _>| matches!(outcome, Err(PublishError::Full));
        // Much may have been delivered since the floor was last looked for. Once a turn is enough.
        if is_full(&outcome) && self.find_floor_once_a_turn(key) {
            outcome = attempt(&mut self.topics);
        }
        if is_full(&outcome) {
            self.hold_publisher(key, from);
        }
        outcome
    }

    fn hold_publisher(&mut self, key: u32, from: Option<Token>) {
        let Some(token) = from else { return };
        if let Some(connection) = self.find_mut(token) {
            let waits = connection.hold.has(Hold::TOPIC);
            connection.hold.insert(Hold::TOPIC);
            let now_us = self.clock.now_us();
            match waits {
                false => self.topics.wait_for(key, token, now_us),
                // A publisher that waits for several full topics waits for all of them at once: the time of
                // each topic runs from now on.
                true => self.topics.wait_as_well_for(key, now_us),
            }
            // The next flush phase looks whether there is room.
            self.topics_due_ms = Some(self.clock.now_ms());
        }
    }

    pub(super) fn subscribe(&mut self, token: Token, id: TopicId, start: Start) -> Option<u64> {
        let key = self.topics.find(id)?;
        let is_open = self.find(token)?.state == State::Open;
        let is_new = self.subscription_of(token, key).is_none();
        let details = self.details.get_mut(token.key()).filter(|_| is_open && is_new)?;
        let front = &mut details.subscriptions;
        let (subscription, first) = self.topics.subscribe(key, token.slot, *front, start)?;
        *front = subscription;
        self.charge(SUBSCRIPTION);
        Some(first)
    }

    pub(super) fn unsubscribe(&mut self, token: Token, id: TopicId) -> bool {
        let key = self.topics.find(id).and_then(|key| self.subscription_of(token, key));
        match key {
            Some(key) => self.drop_subscription(token, key),
            // Looking for a subscription that does not exist is work, too.
            None => self.charge(SUBSCRIPTION),
        }
        key.is_some()
    }

    pub(super) fn catch_up(&mut self, token: Token, id: TopicId) -> bool {
        let subscription = self.topics.find(id).and_then(|key| self.subscription_of(token, key));
        let is_open = self.find(token).is_some_and(|connection| connection.state == State::Open);
        let Some(key) = subscription.filter(|_| is_open) else { return false };
        let Some(missed) = self.topics.skip_lapped(key) else {
            self.let_go(token);
            return false;
        };
        self.stats.messages_skipped += missed;
        // Asked before the copy: a topic may hold much more than may be queued for a connection.
        let waiting = self.find(token).map_or(0, |connection| connection.output.len());
        if waiting + self.topics.owed_len(key, token) > self.config.output_limit {
            self.abort(token, CloseReason::OutputLimit);
            return false;
        }
        let (bytes, messages) = self.topics.copy_owed(key, token);
        if !bytes.is_empty() && !self.send(token, &bytes) {
            return false;
        }
        self.stats.messages_delivered += messages;
        self.charge(messages + copied(bytes.len()));
        self.end_pending(token, key);
        self.topics.owe_nothing(key);
        self.look_soon();
        true
    }

    pub(super) fn remove_topic(&mut self, id: TopicId) {
        let Some(key) = self.topics.find(id) else { return };
        while let Some(subscription) = self.topics.last_subscriber(key) {
            let slot = self.topics.subscription(subscription).map_or(NONE, |entry| entry.slot);
            // A subscription never outlives its connection, so this finds the connection.
            let Some(token) = self.token_at(slot) else { break };
            self.drop_subscription(token, subscription);
        }
        for token in self.topics.remove(key) {
            self.lift(token, Hold::TOPIC);
        }
    }

    /// Bytes of messages that topics hold for a connection.
    pub(super) fn owed(&self, token: Token) -> usize {
        let details = self.find(token).and(self.details.get(token.key()));
        details.map_or(0, |details| self.topics.owed_to_all(details.subscriptions))
    }

    fn subscription_of(&self, token: Token, topic: u32) -> Option<u32> {
        self.find(token)?;
        let front = self.details.get(token.key())?.subscriptions;
        self.topics.subscription_of(token.slot, front, topic)
    }

    /// Takes a subscription out of the connection's two lists and out of its topic.
    fn drop_subscription(&mut self, token: Token, key: u32) {
        if let Some(details) = self.details.get_mut(token.key()) {
            self.topics.unlink(&mut details.subscriptions, key);
        }
        self.end_pending(token, key);
        self.topics.unsubscribe(key);
        self.look_soon();
        self.charge(SUBSCRIPTION);
        self.tidy_after_many_subscriptions();
    }

    /// Takes a subscription out of its connection's list of pending ones. After that the connection may
    /// have nothing left to send.
    fn end_pending(&mut self, token: Token, key: u32) {
        if let Some(connection) = find(&mut self.connections, token) {
            self.topics.unlink_pending(&mut connection.pending, key);
        }
        self.owe_less(token);
    }

    /// Topics hold less for a connection than before.
    fn owe_less(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.connections, token) {
            if connection.stalled && !connection.owes_anything() {
                // The next send asks the socket again, and begins a wait of its own.
                (connection.stalled, connection.writable) = (false, true);
            }
            // A close may have waited for nothing else.
            self.lists.update(token, connection);
            self.arm(token);
        }
    }

    /// A subscriber does not hold the floor any more: publishers may have waited for this one alone.
    fn look_soon(&mut self) {
        if self.topics.count_waited_for() > 0 {
            self.topics_due_ms = Some(self.clock.now_ms());
        }
    }

    /// Ends all subscriptions of a connection at once, without keeping its two lists in order meanwhile.
    pub(super) fn drop_subscriptions(&mut self, token: Token) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        let Some(details) = self.details.get_mut(token.key()) else { return };
        let mut key = std::mem::replace(&mut details.subscriptions, NONE);
        if key == NONE {
            return;
        }
        connection.pending = NONE;
        while let Some(next) = self.topics.subscription(key).map(|entry| entry.next) {
            self.topics.unsubscribe(key);
            self.charge(SUBSCRIPTION);
            key = next;
        }
        self.owe_less(token);
        self.look_soon();
        self.tidy_after_many_subscriptions();
    }

    /// Lets the close phase end the subscriptions of a connection that is given no more messages. This is
    /// work for each topic: connections that wait to be read must not wait for a crowd that leaves.
    pub(super) fn leave_topics_later(&mut self, token: Token) {
        if self.details.get(token.key()).is_some_and(|details| details.subscriptions != NONE) {
            self.lists.leaving.push_back(token);
        }
    }

    /// Ends the subscriptions of the connections that are leaving, within the budget of the phase.
    pub(super) fn leave_topics(&mut self) {
        while let Some(token) = self.lists.leaving.pop_front() {
            self.drop_subscriptions(token);
            if self.is_phase_over() {
                return;
            }
        }
    }

    /// A closing connection is still given what was published until now.
    pub(super) fn end_subscriptions(&mut self, token: Token) {
        let mut key = self.details.get(token.key()).map_or(NONE, |details| details.subscriptions);
        let Some(connection) = find(&mut self.connections, token) else { return };
        while let Some(subscription) = self.topics.subscription(key) {
            let next = subscription.next;
            self.topics.end_at_head(key, &mut connection.pending);
            self.stats.work += ANNOUNCE;
            key = next;
        }
    }

    /// Announces topics: puts their subscribers on the dirty list, once each however many messages came.
    /// Takes half of the phase at most, so that the other half is left for writing.
    pub(super) fn announce_topics(&mut self) {
        let most = (self.budget.phase() / 2 / ANNOUNCE).max(1);
        let (connections, lists) = (&mut self.connections, &mut self.lists);
        let told = self.topics.announce(most, |slot, subscription| {
            let Some(connection) = connections.get_mut(slot as usize) else { return NONE };
            let last = std::mem::replace(&mut connection.pending, subscription);
            let token = Token { slot, generation: connection.generation };
            lists.update(token, connection);
            last
        });
        self.charge(told * ANNOUNCE);
    }

    /// At the end of the flush phase: looks at the topics with publishers that wait whether there is room
    /// for them now. Topics that the budget leaves over come first in the next turn: the round goes on with
    /// them if nothing else was done meanwhile, and otherwise a new round begins with them.
    pub(super) fn look_at_waiting_topics(&mut self) {
        self.topics_due_ms = None;
        self.budget.begin_last_part(self.stats.work);
        self.looks.begin_or_go_on(self.stats.work, self.topics.count_waited_for());
        while self.looks.take().is_some() {
            let Some(key) = self.topics.next_waited_for() else { break };
            self.look_at(key);
            if !self.looks.is_over() && self.is_phase_over() {
                self.look_soon();
                return self.looks.break_off(self.stats.work);
            }
        }
        self.topics_due_ms = self.looks.end();
    }

    /// Lets the publishers of a topic go on, if the topic has room.
    fn look_at(&mut self, key: u32) {
        let due_ms = self.find_floor(key);
        let mut released = self.topics.take_waiting(key);
        if released.is_empty() {
            self.looks.note_due(due_ms);
        }
        for token in released.drain(..) {
            self.lift(token, Hold::TOPIC);
        }
        self.topics.reuse_waiting(key, released);
    }

    fn find_floor_once_a_turn(&mut self, key: u32) -> bool {
        let turn = self.stats.turns;
        let is_new = self.topics.topic_mut(key).is_some_and(|topic| topic.floor_turn != turn);
        if is_new {
            self.find_floor(key);
        }
        is_new
    }

    /// Finds the floor of a topic anew, disconnects the subscribers that the ring has lapped, and
    /// returns when the first right to be waited for ends.
    fn find_floor(&mut self, key: u32) -> Option<u64> {
        let LoopState { topics, connections, clock, config, stats, .. } = self;
        let look = topics.find_floor(key, stats.turns, clock, config.write_timeout, |slot| {
            let connection = connections.get(slot as usize)?;
            let is_given_more = matches!(connection.state, State::Open | State::Closing);
            is_given_more.then_some(Follower {
                token: Token { slot, generation: connection.generation },
                writable: connection.writable,
                waiting_since_ms: connection.waiting_since_ms,
            })
        })?;
        self.charge(look.looked_at * LOOK);
        for token in look.lapped {
            self.let_go(token);
        }
        look.due_ms
    }

    /// Ends a connection that a topic has overtaken, or for which topics hold too much. The connection is given
    /// nothing more, keeps no memory, and is reset a second later (`Config::linger_span`). To be connected, to
    /// subscribe and to be cut off costs the server as much as hundreds of messages: a peer that does not read
    /// and comes back at once would take that from the others, again and again.
    pub(super) fn let_go(&mut self, token: Token) {
        let Some(connection) = self.find_mut(token) else { return };
        connection.set_reason(CloseReason::SlowConsumer);
        if connection.reason != CloseReason::SlowConsumer {
            // The connection was being closed for another reason, and has had its time to be flushed.
            return self.abort(token, CloseReason::SlowConsumer);
        }
        connection.stream.discard_on_close();
        self.linger(token);
        self.drop_buffers(token);
    }

    /// At the end of a turn: disconnects subscribers for which topics together hold too much. Each topic has
    /// a limit of its own, but a subscriber that reads nothing must not have as much held for it in each of
    /// them. Only topics count that disconnect slow consumers.
    pub(super) fn check_arrears(&mut self) {
        let (held, limit) = (self.topics.memory(), self.topics.least_subscriber_memory());
        let Some(first) = self.arrears.begin_or_go_on(held, limit) else { return };
        let mut steps = 0;
        for slot in first..self.details.len() {
            if steps >= ARREARS_STEPS_MAX {
                return self.arrears.stop_at(slot);
            }
            steps += 1 + self.reckon(slot);
        }
    }

    /// Looks at one connection. Returns how many subscriptions were looked at.
    fn reckon(&mut self, slot: usize) -> usize {
        let Some(connection) = self.connections.get(slot) else { return 0 };
        let is_alive = matches!(connection.state, State::Open | State::Closing);
        if !is_alive || !connection.stalled || connection.pending == NONE {
            return 0;
        }
        let token = Token { slot: slot as u32, generation: connection.generation };
        let (owed, limit, looked_at) = self.topics.owed_together(connection.pending);
        if owed > limit {
            self.let_go(token);
        }
        looked_at
    }
}

/// Connections and subscriptions that one turn looks at for [`LoopState::check_arrears`]: a few tenths of
/// a millisecond's work.
const ARREARS_STEPS_MAX: usize = 4096;
