//! Topics and connections together: who follows what, who is owed what, and who waits for whom.

use super::connection::{Hold, NONE, State};
use super::loop_state::LoopState;
use super::{CloseReason, PublishError, SlowConsumer, Start, Token, TopicId};

impl LoopState {
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
        let stamp = self.clock.stamp();
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
        let Some(key) = self.topics.find(id) else { return };
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
    pub(super) fn drop_subscription(&mut self, token: Token, key: u32) {
        let Some(entry) = self.topics.subscription(key) else { return };
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

    /// Puts the subscribers of every topic that was published to on the dirty list, once each
    /// however many messages came.
    pub(super) fn announce_topics(&mut self) {
        let (connections, dirty) = (&mut self.connections, &mut self.dirty);
        self.topics.announce(&mut self.pool, |slot, subscription| {
            let Some(connection) = connections.get_mut(slot as usize) else { return NONE };
            if connection.writable && !std::mem::replace(&mut connection.on_dirty_list, true) {
                dirty.push_back(Token { slot, generation: connection.generation });
            }
            std::mem::replace(&mut connection.pending, subscription)
        });
    }

    /// Before a delivery: a subscriber that the ring has lapped skips what it missed, or is
    /// disconnected, which says `false`.
    pub(super) fn catch_up(&mut self, token: Token, subscription: u32) -> bool {
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

    /// For topics that are getting full: finds out what may be overwritten, disconnects whom the
    /// ring has lapped, and lets publishers go on where there is room again.
    pub(super) fn settle_topics(&mut self) {
        self.topics_due_ms = None;
        for key in self.topics.take_crowded() {
            let survey = self.survey(key);
            for token in survey.lapped {
                self.abort(token, CloseReason::SlowConsumer);
            }
            let Some(topic) = self.topics.topic_mut(key) else { continue };
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
        let Some(topic) = self.topics.topic(key) else { return Survey::default() };
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
            let until = match topic.config.slow_consumer {
                _ if connection.writable => None,
                SlowConsumer::Wait => None,
                SlowConsumer::Disconnect | SlowConsumer::Skip => {
                    let patience = self.clock.after(connection.progress_ms, topic.config.patience);
                    // However steadily it goes on reading, nobody waits for it for longer than a
                    // write may take.
                    let published =
                        topic.published_ms(subscription.cursor).zip(self.config.write_timeout);
                    Some(published.map_or(patience, |(stamp, span)| {
                        patience.min(self.clock.after(stamp, span))
                    }))
                }
            };
            if until.is_none_or(|until| until > self.clock.now_ms()) {
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
}

/// What a look at a topic's subscribers found.
#[derive(Default)]
struct Survey {
    floor: u64,
    lapped: Vec<Token>,
    /// When somebody stops holding the floor.
    due_ms: Option<u64>,
}
