//! A message on its way to a channel, and to the patterns that match.
//!
//! ```text
//!   match      compare the channel with each pattern; ask whether each that matches has room
//!   price      of all copies together; who is owed too much for another one is cut off
//!   deliver    publish it to each of them
//! ```
//!
//! Nothing is given to anybody before it is known that everybody has room, and memory for all of it is
//! there. Where there are very many patterns this goes on in slices. It is one queue: while a message is
//! on its way, those who want to publish wait, so that every subscriber sees one order. A message that
//! goes on in slices belongs to the server from its first one on, and arrives whatever becomes of the
//! client that published it.

use slab::Slab;

use super::call::{Call, Fault, Flow, Outcome};
use super::channels::{Channel, Feed};
use super::client::Client;
use super::glob::{PASS_WORK, Pattern, TEXT_WORK};
use super::pubsub::{FEED_WORK, Form, MESSAGE_TOO_LONG, encode, encoded_len};
use super::work::TURN_MAX;
use super::{Kv, TRANSACTION_TOO_LONG, TRANSACTION_WORK_MAX};
use crate::codec::resp::Version;
use crate::reactor::{BufferPool, CloseReason, Context, PublishError, Token, TopicId};

/// A message, and how far it has come, between two slices.
#[derive(Debug)]
pub(super) struct Publication {
    publisher: Token,
    client: u32,
    form: Form<'static>,
    channel: Vec<u8>,
    text: Vec<u8>,
    progress: Progress,
    /// Those who wait until it has arrived.
    waiting: Vec<Token>,
}

/// What is published, and as what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) form: Form<'static>,
    pub(super) channel: &'a [u8],
    pub(super) text: &'a [u8],
}

/// How far a message has come. Kept for its storage.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The feeds of its own channel are listed.
    has_begun: bool,
    /// The next pattern to compare, and the next feed to publish to.
    pattern: usize,
    feed: usize,
    feeds: Vec<Target>,
    /// Clients that listen to much, and are to be given some of it; the next one to weigh.
    sharers: Vec<u32>,
    weighed: usize,
    /// Bytes of memory that it takes, and that some of the feeds may have gone since.
    price: usize,
    has_lost_feeds: bool,
    receivers: usize,
}

/// A feed, which is gone when its key has another topic, or none.
#[derive(Clone, Copy, Debug)]
struct Target {
    key: u32,
    version: Version,
    topic: TopicId,
    is_pattern: bool,
}

/// Why a message was given to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A channel is full. The publisher is held.
    Full,
    TooLong,
    NoMemory,
}

/// The work to look after one client that listens to much; and after each of its channels.
const SHARE_WORK: usize = 512;
const OWED_WORK: usize = 64;
/// How much is done in a turn for a message that takes longer: half of what a turn has.
const PUBLICATION_SLICE: usize = TURN_MAX / 2;

impl Message<'_> {
    /// Bytes of a copy for those who listen to a pattern, or to the channel itself.
    fn len(&self, pattern: Option<&[u8]>) -> usize {
        encoded_len(pattern.map_or(self.form, Form::Pattern), self.channel, self.text)
    }
}

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
            cx.check_room(topic, Some(publisher), len).map_err(|error| match error {
                PublishError::Full => Refusal::Full,
                PublishError::TooLong | PublishError::Gone => Refusal::TooLong,
            })?;
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

impl Kv {
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
        Ok(true)
    }

    /// Finds out what those who listen to much are owed, this message included, and cuts off whoever is
    /// owed more than may be. Says whether all have been looked at.
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
                progress.has_lost_feeds = true;
            }
        }
        true
    }

    /// Sees to it that there is memory for all copies of a message: cuts off those who are owed most of
    /// what there is. Says whether there is.
    fn afford(
        &mut self,
        cx: &mut Context<'_>,
        message: Message<'_>,
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        while *left > 0 {
            if std::mem::take(&mut progress.has_lost_feeds) {
                progress.price = self.price(message, progress);
                *left = left.saturating_sub(progress.feeds.len() * TEXT_WORK);
            }
            let needed = self.used() + cx.topic_memory() + progress.price;
            let mut missing = needed.saturating_sub(self.config.max_memory);
            if missing == 0 {
                return Ok(true);
            }
            while missing > 0 && *left > 0 {
                let Some((listener, owed)) = self.heaviest(cx, left) else { break };
                self.cut_off(cx, listener, left);
                progress.has_lost_feeds = true;
                missing = missing.saturating_sub(owed);
            }
            if !progress.has_lost_feeds {
                return Err(Refusal::NoMemory);
            }
        }
        Ok(false)
    }

    /// The client that is owed most, of those who listen to much.
    fn heaviest(&mut self, cx: &Context<'_>, left: &mut usize) -> Option<(u32, usize)> {
        loop {
            *left = left.saturating_sub(self.clients.len() * PASS_WORK);
            let owed = |client: &Client| client.rare().map_or(0, |rare| rare.owed_at_most);
            let clients = self.clients.iter().map(|(key, client)| (owed(client), key as u32));
            let (at_most, heaviest) = clients.max().filter(|(owed, _)| *owed > 0)?;
            // What was owed at most may have been given long ago.
            let owed = self.owed(cx, heaviest, left);
            if owed > at_most / 2 {
                return Some((heaviest, owed));
            }
        }
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

    /// A feed, if it is still the one that was found.
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
            cx.abort_for(token, CloseReason::OutputLimit);
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
        cx.resume(*publisher);
        self.forget(std::mem::take(progress));
        publication.waiting.drain(..).for_each(|token| cx.resume(token));
    }

    /// How much may be done for a message now. Without a limit, if it has not far to go: there is no
    /// pattern, and no client that listens to much.
    fn slice_to_publish(&mut self, form: Form<'static>) -> Result<usize, Fault> {
        let has_far_to_go = match form {
            Form::Shard => self.shard_channels.has_heavy_listeners(),
            _ => self.patterns.len() > 0 || self.channels.has_heavy_listeners(),
        };
        match (has_far_to_go, self.is_executing) {
            (false, _) => Ok(usize::MAX),
            (true, false) => self.begin_slice(),
            (true, true) => {
                let left = TRANSACTION_WORK_MAX.saturating_sub(self.work.done());
                if left > 0 { Ok(left) } else { Err(TRANSACTION_TOO_LONG) }
            }
        }
    }

    /// Lets a client wait until the message has arrived that is on its way.
    pub(super) fn wait_to_publish(&mut self, cx: &mut Context<'_>, token: Token) -> Flow {
        if let Some(publication) = &mut self.publication {
            publication.waiting.push(token);
            cx.put_off(token);
        }
        Flow::Again
    }
}

/// `PUBLISH`, or one of its kind.
pub(super) fn publish(call: &mut Call<'_, '_, '_>, message: Message<'_>) -> Outcome {
    if let Some(outcome) = call.client().and_then(Client::take_published) {
        return answer(call, outcome);
    }
    if call.kv.publication.is_some() && !call.kv.is_executing {
        return Ok(call.kv.wait_to_publish(call.cx, call.token));
    }
    let slice = call.kv.slice_to_publish(message.form)?;
    let (mut left, mut progress) = (slice, std::mem::take(&mut call.kv.progress));
    let mut outcome = call.kv.carry(call.cx, call.token, message, &mut progress, &mut left);
    if slice < usize::MAX {
        call.kv.work.add(slice - left);
    }
    if outcome == Ok(false) && call.kv.is_executing {
        if progress.feed == 0 {
            call.kv.forget(progress);
            return Err(TRANSACTION_TOO_LONG);
        }
        // Some have been given it, so all are. To find them was the greater part.
        left = usize::MAX;
        outcome = call.kv.carry(call.cx, call.token, message, &mut progress, &mut left);
    }
    if outcome == Ok(false) {
        call.kv.publication = Some(Box::new(Publication {
            publisher: call.token,
            client: call.client,
            form: message.form,
            channel: message.channel.to_vec(),
            text: message.text.to_vec(),
            progress,
            waiting: Vec::new(),
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
