//! A message on its way to a channel, and to the patterns that match.
//!
//! ```text
//!   match      compare the channel with each pattern; ask whether each that matches has room
//!   price      of all copies together; a subscriber that is owed too much already is cut off
//!   deliver    publish it to each of them
//! ```
//!
//! Nothing is delivered before it is known that every channel has room, and that there is memory for all
//! copies. Where there are very many patterns the work goes on in slices. From its first slice on a
//! message belongs to the server, and its publisher may go. (Only if a channel is full then, there is no
//! publisher left to try again.) While a message is on its way, other publishers wait in one queue, so
//! that every subscriber sees one order. A publisher at the head of the queue publishes one message, or
//! one transaction:
//!
//! ```text
//!   A publishes 1                          queue: -
//!   B wants to publish, and C              queue: B C
//!   1 has arrived; A wants to publish 2    queue: B C A
//! ```

use slab::Slab;

use super::call::Call;
use super::channels::{Channel, Feed};
use super::client::Client;
use super::fault::{Fault, Flow, Outcome};
use super::glob::{PASS_WORK, Pattern, TEXT_WORK};
use super::publication::{Debtors, Form, Message, Progress, Publication, Refusal, Target, encode};
use super::store::Store;
use super::work::{TRANSACTION_WORK_MAX, TURN_MAX};
use crate::reactor::{BufferPool, CloseReason, Context, PublishError, Token};

/// The work to look after one client that listens to much; and after each of its channels.
const SHARE_WORK: usize = 512;
const OWED_WORK: usize = 64;
/// So many places for feeds, and for clients, are kept from one message to the next.
const KEPT_MAX: usize = 1024;
/// How much is done in a turn for a message that takes longer: half of what a turn has.
const PUBLICATION_SLICE: usize = TURN_MAX / 2;

/// The work to hand a message to a pattern's subscribers, or to let one go to another feed.
pub(super) const FEED_WORK: usize = 2 << 10;
pub(super) const MESSAGE_TOO_LONG: Fault =
    Fault::text("ERR message is longer than a channel holds");

impl Progress {
    /// Adds the feeds of a channel, or of a pattern, if they have room.
    fn add_feeds(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        (key, own, is_pattern): (u32, &Channel, bool),
        len: usize,
    ) -> Result<(), Refusal> {
        for feed in own.feeds() {
            let Feed { version, topic, .. } = *feed;
            match cx.check_room(topic, Some(publisher), len) {
                Ok(()) => {}
                Err(PublishError::Gone) => continue,
                // The others are asked as well, so that the publisher waits for all that are full at once.
                Err(PublishError::Full) => self.is_full = true,
                Err(PublishError::TooLong) => return Err(Refusal::TooLong),
            }
            self.feeds.push(Target { key, version, topic, is_pattern });
            self.price += BufferPool::capacity_for(len);
        }
        Ok(())
    }

    /// Adds those subscribers of a channel that listen to much. Returns the work that it was.
    fn add_sharers(&mut self, clients: &mut Slab<Client>, own: &Channel, len: usize) -> usize {
        for listener in own.heavy_listeners() {
            let Some(client) = clients.get_mut(listener as usize) else { continue };
            let rare = client.rare_mut();
            if rare.share == 0 {
                self.sharers.push(listener);
            }
            rare.share += len;
        }
        FEED_WORK + SHARE_WORK * own.heavy_listeners().len()
    }
}

impl Store {
    /// Does some of the work to bring a message to all who listen, and takes it away from what is
    /// `left`. Says whether that is done.
    pub(super) fn carry(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        message: Message<'_>,
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        if progress.feed == 0 {
            let is_ready = self.find_feeds(cx, publisher, message, progress, left)?
                && self.weigh(cx, progress, left)
                && self.afford(cx, message, progress, left)?;
            if !is_ready {
                return Ok(false);
            }
        }
        while let Some(target) = progress.feeds.get(progress.feed) {
            if *left == 0 {
                return Ok(false);
            }
            progress.feed += 1;
            let Some((own, feed)) = self.feed(message.form, target) else { continue };
            let pattern = target.is_pattern.then(|| own.name.clone());
            let form = pattern.as_deref().map_or(message.form, Form::Pattern);
            let Feed { version, topic, .. } = *feed;
            self.message.set_version(version);
            encode(&mut self.message, form, message.channel, message.text);
            debug_assert_eq!(self.message.len(), message.len(pattern.as_deref()));
            *left = left.saturating_sub(FEED_WORK + self.message.len());
            // In nobody's name, as a publisher that listens gets its own messages, too.
            match cx.publish(topic, None, self.message.as_bytes()) {
                Ok(_) => progress.receivers += cx.subscribers(topic),
                // It had room, unless another command of the same transaction has taken that.
                Err(_) if self.is_executing => return Err(Refusal::Full),
                Err(_) => {}
            }
        }
        Ok(true)
    }

    /// Lists the feeds that a message goes to, and looks whether each of them has room; says whether it
    /// has come to the end of the patterns. Without room the publisher is held.
    pub(super) fn find_feeds(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        message: Message<'_>,
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        if !std::mem::replace(&mut progress.has_begun, true) {
            let own =
                if message.form == Form::Shard { &self.shard_channels } else { &self.channels };
            if let Some((key, own)) = own.find(message.channel) {
                let len = message.len(None);
                progress.add_feeds(cx, publisher, (key, own, false), len)?;
                *left = left.saturating_sub(progress.add_sharers(&mut self.clients, own, len));
            }
        }
        while message.form == Form::Channel && progress.pattern < self.patterns.keys_max() {
            if *left == 0 {
                return Ok(false);
            }
            let key = progress.pattern as u32;
            progress.pattern += 1;
            let Some(own) = self.patterns.channel(key) else {
                *left = left.saturating_sub(PASS_WORK);
                continue;
            };
            let mut pattern = Pattern::new(&own.name);
            if pattern.matches(message.channel) {
                let len = message.len(Some(&own.name));
                progress.add_feeds(cx, publisher, (key, own, true), len)?;
                *left = left.saturating_sub(progress.add_sharers(&mut self.clients, own, len));
            }
            *left = left.saturating_sub(TEXT_WORK + pattern.work);
        }
        if progress.is_full { Err(Refusal::Full) } else { Ok(true) }
    }

    /// Finds out what clients that listen to many channels are owed, this message included, and cuts off
    /// the clients that are owed more than they may be. Returns whether all such clients were looked at.
    fn weigh(&mut self, cx: &mut Context<'_>, progress: &mut Progress, left: &mut usize) -> bool {
        while let Some(listener) = progress.sharers.get(progress.weighed).copied() {
            if *left == 0 {
                return false;
            }
            progress.weighed += 1;
            let Some(client) = self.clients.get_mut(listener as usize) else { continue };
            let share = client.rare().map_or(0, |rare| rare.share);
            if share == 0 {
                continue;
            }
            let rare = client.rare_mut();
            rare.owed_at_most += share;
            if rare.owed_at_most > self.config.subscriber_memory
                && self.owed(cx, listener, left) > self.config.subscriber_memory
            {
                self.cut_off(cx, listener, left);
                progress.may_have_lost_feeds = true;
            }
        }
        true
    }

    /// Makes sure that there is memory for all copies of a message, if need be by cutting off the clients
    /// for which most bytes wait. Returns whether there is.
    fn afford(
        &mut self,
        cx: &mut Context<'_>,
        message: Message<'_>,
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        while *left > 0 {
            let needed = self.used() + cx.topic_memory() + progress.memory() + progress.price;
            let missing = needed.saturating_sub(self.config.max_memory);
            if missing == 0 || progress.price == 0 {
                return Ok(true);
            }
            if std::mem::take(&mut progress.may_have_lost_feeds) {
                progress.price = self.price(message, progress);
                *left = left.saturating_sub(progress.feeds.len() * TEXT_WORK);
                continue;
            }
            if !self.find_debtors(cx, &mut progress.debtors, left) {
                return Ok(false);
            }
            self.cut_off_debtors(cx, progress, missing, left)?;
        }
        Ok(false)
    }

    /// Lists the clients that listen to many channels and for which many bytes wait. Returns whether all
    /// clients have been looked at.
    fn find_debtors(&self, cx: &Context<'_>, debtors: &mut Debtors, left: &mut usize) -> bool {
        while debtors.next < self.clients.capacity() {
            if *left == 0 {
                return false;
            }
            let key = debtors.next;
            debtors.next += 1;
            *left = left.saturating_sub(PASS_WORK);
            let Some(owed) = self.waits_for(cx, key as u32, left) else { continue };
            debtors.owed.push((owed, key as u32));
            debtors.sum += owed;
        }
        true
    }

    /// Cuts off the clients for which most bytes wait, until `missing` bytes are free. Cuts off none if the
    /// bytes that wait for all of them are fewer.
    fn cut_off_debtors(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
        mut missing: usize,
        left: &mut usize,
    ) -> Result<(), Refusal> {
        while missing > 0 && *left > 0 {
            if progress.debtors.sum < missing {
                return Err(Refusal::NoMemory);
            }
            let Some((owed, heaviest)) = progress.debtors.owed.pop() else { break };
            progress.debtors.sum -= owed;
            // Some of that may have been given meanwhile.
            let Some(owed) = self.waits_for(cx, heaviest, left) else { continue };
            self.cut_off(cx, heaviest, left);
            progress.may_have_lost_feeds = true;
            missing = missing.saturating_sub(owed);
        }
        Ok(())
    }

    /// Bytes that wait for a client, if it listens to much and that is more than a client has to be
    /// ready for that listens to one channel.
    fn waits_for(&self, cx: &Context<'_>, client: u32, left: &mut usize) -> Option<usize> {
        let client = self.clients.get(client as usize)?;
        let floor = self.config.channel_memory;
        client.rare().filter(|rare| rare.owed_at_most >= floor)?;
        *left = left.saturating_sub(client.subscriptions() * OWED_WORK);
        Some(cx.owed(client.token)).filter(|owed| *owed >= floor)
    }

    /// What is owed to a client that listens to much, with what it is to be given.
    fn owed(&mut self, cx: &Context<'_>, client: u32, left: &mut usize) -> usize {
        let Some(client) = self.clients.get_mut(client as usize) else { return 0 };
        *left = left.saturating_sub(client.subscriptions() * OWED_WORK);
        let (token, rare) = (client.token, client.rare_mut());
        rare.owed_at_most = cx.owed(token) + rare.share;
        rare.owed_at_most
    }

    /// What a message takes in the feeds that are still there.
    fn price(&self, message: Message<'_>, progress: &Progress) -> usize {
        let feeds = progress.feeds.iter();
        let found = feeds.filter_map(|it| Some((it, self.feed(message.form, it)?.0)));
        let lens = found.map(|(it, own)| message.len(it.is_pattern.then_some(&*own.name)));
        lens.map(BufferPool::capacity_for).sum()
    }

    /// The feed of a target, unless another feed has taken its place since it was found.
    fn feed(&self, form: Form<'static>, target: &Target) -> Option<(&Channel, &Feed)> {
        let channels = match (target.is_pattern, form) {
            (true, _) => &self.patterns,
            (false, Form::Shard) => &self.shard_channels,
            (false, _) => &self.channels,
        };
        let own = channels.channel(target.key)?;
        let feed = own.feed(target.version)?;
        (feed.topic == target.topic).then_some((own, feed))
    }

    /// Disconnects a client that is owed more messages than there is memory for.
    fn cut_off(&mut self, cx: &mut Context<'_>, client: u32, left: &mut usize) {
        let subscriptions = self.clients.get(client as usize).map_or(0, Client::subscriptions);
        *left = left.saturating_sub(subscriptions * FEED_WORK);
        if let Some(token) = self.part_with(cx, client) {
            cx.abort_for(token, CloseReason::SlowConsumer);
        }
    }

    /// Forgets a message that has been given to all, or to nobody.
    pub(super) fn forget(&mut self, progress: Progress) {
        let Progress { mut feeds, mut sharers, .. } = progress;
        for listener in sharers.drain(..) {
            let client = self.clients.get_mut(listener as usize);
            if let Some(client) = client.filter(|client| client.rare().is_some()) {
                client.rare_mut().share = 0;
            }
        }
        feeds.clear();
        feeds.shrink_to(KEPT_MAX);
        sharers.shrink_to(KEPT_MAX);
        self.progress = Progress { feeds, sharers, ..Progress::default() };
    }

    /// Goes on with a message that began in an earlier turn.
    pub(super) fn go_on_publishing(&mut self, cx: &mut Context<'_>) {
        let Some(mut publication) = self.publication.take() else { return };
        let Publication { publisher, client, form, channel, text, progress, .. } =
            &mut *publication;
        let mut left = PUBLICATION_SLICE;
        let message = Message { form: *form, channel, text };
        let outcome = self.carry(cx, *publisher, message, progress, &mut left);
        self.work.spend(PUBLICATION_SLICE - left);
        if outcome == Ok(false) {
            self.publication = Some(publication);
            return;
        }
        let client = self.clients.get_mut(*client as usize).filter(|it| it.token == *publisher);
        // Without room it is tried again from the beginning, once there is some.
        if let Some(client) = client
            && outcome != Err(Refusal::Full)
        {
            client.rare_mut().published = Some(outcome.map(|_| progress.receivers));
        }
        // It takes its answer. What it publishes next has to wait for others.
        cx.resume(*publisher);
        self.forget(std::mem::take(progress));
    }

    /// How much may be done for a message now. Without a limit, if it has not far to go: there is no
    /// pattern, and no client that listens to much.
    fn slice_to_publish(&mut self, form: Form<'static>) -> Result<Option<usize>, Fault> {
        let has_far_to_go = match form {
            Form::Shard => self.shard_channels.has_heavy_listeners(),
            _ => self.patterns.len() > 0 || self.channels.has_heavy_listeners(),
        };
        match (has_far_to_go, self.is_executing) {
            (false, _) => Ok(None),
            (true, false) => self.begin_slice().map(Some),
            (true, true) => {
                let left = TRANSACTION_WORK_MAX.saturating_sub(self.work.done());
                if left > 0 { Ok(Some(left)) } else { Err(Fault::TRANSACTION_TOO_LONG) }
            }
        }
    }

    /// Whether it is a client's turn to publish.
    pub(super) fn may_publish(&self, token: Token) -> bool {
        let first = self.to_publish.waiting.front();
        self.publication.is_none() && first.is_none_or(|(first, _)| *first == token)
    }

    /// Lets a client wait until it may publish.
    pub(super) fn wait_to_publish(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: u32,
    ) -> Flow {
        // However often it comes, it has one place.
        if let Some(waiting) = self.clients.get_mut(client as usize)
            && !std::mem::replace(&mut waiting.rare_mut().waits_to_publish, true)
        {
            self.to_publish.waiting.push_back((token, client));
        }
        cx.put_off(token);
        cx.set_alarm(cx.now());
        Flow::Again
    }

    /// A client that may publish does so now: its place is free.
    pub(super) fn leave_publish_queue(&mut self, token: Token) {
        let first = self.to_publish.waiting.front().copied();
        let Some((_, key)) = first.filter(|(first, _)| *first == token) else { return };
        self.to_publish.waiting.pop_front();
        self.to_publish.has_called = false;
        let client = self.clients.get_mut(key as usize).filter(|client| client.token == token);
        if let Some(client) = client.filter(|client| client.rare().is_some()) {
            client.rare_mut().waits_to_publish = false;
        }
    }

    /// A client has been served. If it might have published and did not, its place is free, unless it
    /// waits for its share of the work.
    pub(super) fn end_visit_to_publish(&mut self, token: Token, client: u32) {
        let client = self.clients.get(client as usize);
        if self.to_publish.has_called && client.is_none_or(|client| client.ticket.is_none()) {
            self.leave_publish_queue(token);
        }
    }

    /// Tells the first publisher in the queue to go on. A publisher that is gone, or does not read its
    /// answers, loses its place.
    pub(super) fn call_to_publish(&mut self, cx: &mut Context<'_>) {
        while self.publication.is_none()
            && let Some((token, key)) = self.to_publish.waiting.front().copied()
        {
            let client = self.clients.get(key as usize).filter(|client| client.token == token);
            let ticket = client.and_then(|client| client.ticket);
            if ticket.is_some_and(|ticket| self.work.waits(key, ticket)) {
                return;
            }
            cx.resume(token);
            self.to_publish.has_called = true;
            if !cx.is_held(token) {
                return;
            }
            self.leave_publish_queue(token);
        }
    }
}

/// `PUBLISH`, or one of its kind.
pub(super) fn publish(call: &mut Call<'_, '_, '_>, message: Message<'_>) -> Outcome {
    if let Some(outcome) = call.client().and_then(Client::take_published) {
        return answer(call, outcome);
    }
    if !call.kv.is_executing && !call.kv.may_publish(call.token) {
        return Ok(call.kv.wait_to_publish(call.cx, call.token, call.client));
    }
    let slice = call.kv.slice_to_publish(message.form)?;
    call.kv.leave_publish_queue(call.token);
    let mut left = slice.unwrap_or(usize::MAX);
    let mut progress = std::mem::take(&mut call.kv.progress);
    let mut outcome = call.kv.carry(call.cx, call.token, message, &mut progress, &mut left);
    if let Some(slice) = slice {
        call.kv.work.add(slice - left);
    }
    if outcome == Ok(false) && call.kv.is_executing {
        if progress.feed == 0 {
            call.kv.forget(progress);
            return Err(Fault::TRANSACTION_TOO_LONG);
        }
        // Some have been given it, so all are. To find them was the greater part.
        left = usize::MAX;
        outcome = call.kv.carry(call.cx, call.token, message, &mut progress, &mut left);
    }
    if outcome == Ok(false) {
        // Subscribers may leave between slices. The rest is priced anew once: that may take a whole slice.
        progress.may_have_lost_feeds = true;
        call.kv.publication = Some(Box::new(Publication {
            publisher: call.token,
            client: call.client,
            form: message.form,
            channel: message.channel.to_vec(),
            text: message.text.to_vec(),
            progress,
        }));
        call.cx.put_off(call.token);
        call.cx.set_alarm(call.cx.now());
        return Ok(Flow::Again);
    }
    let receivers = progress.receivers;
    call.kv.forget(progress);
    answer(call, outcome.map(|_| receivers))
}

fn answer(call: &mut Call<'_, '_, '_>, outcome: Result<usize, Refusal>) -> Outcome {
    match outcome {
        Ok(receivers) => call.answer(receivers as i64),
        Err(Refusal::Full) => Ok(Flow::Again),
        Err(Refusal::TooLong) => Err(MESSAGE_TOO_LONG),
        Err(Refusal::NoMemory) => Err(Fault::OUT_OF_MEMORY),
    }
}
