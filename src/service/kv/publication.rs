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
//! goes on in slices belongs to the server from its first one on, and arrives whatever becomes of who
//! published it.

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
    message: Vec<u8>,
    progress: Progress,
    /// Those who wait until it has arrived.
    waiting: Vec<Token>,
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
    /// Clients that listen to much, and are to be given some of it; and what they are owed then.
    sharers: Vec<u32>,
    weighed: Vec<(usize, u32)>,
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

impl Progress {
    fn clear(&mut self) {
        let Progress { mut feeds, mut sharers, mut weighed, .. } = std::mem::take(self);
        feeds.clear();
        sharers.clear();
        weighed.clear();
        *self = Progress { feeds, sharers, weighed, ..Progress::default() };
    }
}

impl Kv {
    /// Does some of the work to bring a message to all who listen, and takes it away from what is
    /// `left`. Says whether that is done.
    pub(super) fn carry(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        (form, channel, message): (Form<'static>, &[u8], &[u8]),
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        if progress.feed == 0 {
            let outgoing = (form, channel, message);
            let is_ready = self.find_feeds(cx, publisher, outgoing, progress, left)?
                && self.weigh(cx, progress, left)
                && self.afford(cx, outgoing, progress, left)?;
            if !is_ready {
                return Ok(false);
            }
        }
        while let Some(target) = progress.feeds.get(progress.feed) {
            if *left == 0 {
                return Ok(false);
            }
            progress.feed += 1;
            let is_pattern = target.is_pattern;
            let Some((own, feed)) = self.feed(form, target) else { continue };
            let (name, feed) = (own.name.clone(), *feed);
            let form = if is_pattern { Form::Pattern(&name) } else { form };
            self.message.set_version(feed.version);
            encode(&mut self.message, form, channel, message);
            debug_assert_eq!(self.message.len(), encoded_len(form, channel, message));
            let (topic, len) = (feed.topic, self.message.len());
            // In nobody's name, as a publisher that listens gets its own messages, too.
            match cx.publish(topic, None, self.message.as_bytes()) {
                Ok(_) => progress.receivers += cx.subscribers(topic),
                // It had room, unless another command of the same transaction has taken that.
                Err(_) if self.is_executing => return Err(Refusal::Full),
                Err(_) => {}
            }
            *left = left.saturating_sub(FEED_WORK + len);
        }
        Ok(true)
    }

    /// Lists the feeds that a message goes to, and looks whether each of them has room; says whether it
    /// has come to the end of the patterns. Without room the publisher is held.
    pub(super) fn find_feeds(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        (form, channel, message): (Form<'static>, &[u8], &[u8]),
        progress: &mut Progress,
        left: &mut usize,
    ) -> Result<bool, Refusal> {
        if !std::mem::replace(&mut progress.has_begun, true) {
            let own = if form == Form::Shard { &self.shard_channels } else { &self.channels };
            if let Some((key, _)) = own.find(channel) {
                let len = encoded_len(form, channel, message);
                *left = left.saturating_sub(self.add_feeds(
                    cx,
                    publisher,
                    (form, key),
                    len,
                    progress,
                )?);
            }
        }
        while form == Form::Channel && progress.pattern < self.patterns.keys_max() {
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
            let is_match = pattern.matches(channel);
            *left = left.saturating_sub(TEXT_WORK + pattern.work);
            if is_match {
                let form = Form::Pattern(&own.name);
                let len = encoded_len(form, channel, message);
                // Of a pattern, whichever it is.
                let form = Form::Pattern(b"");
                *left = left.saturating_sub(self.add_feeds(
                    cx,
                    publisher,
                    (form, key),
                    len,
                    progress,
                )?);
            }
        }
        Ok(true)
    }

    /// Adds the feeds of a channel or pattern. Returns the work that it was.
    fn add_feeds(
        &mut self,
        cx: &mut Context<'_>,
        publisher: Token,
        (form, key): (Form<'static>, u32),
        len: usize,
        progress: &mut Progress,
    ) -> Result<usize, Refusal> {
        let Kv { channels, patterns, shard_channels, clients, .. } = self;
        let (own, is_pattern) = match form {
            Form::Channel => (channels, false),
            Form::Pattern(_) => (patterns, true),
            Form::Shard => (shard_channels, false),
        };
        let Some(own) = own.channel(key) else { return Ok(0) };
        for feed in own.feeds() {
            let Feed { version, topic, .. } = *feed;
            cx.check_room(topic, Some(publisher), len).map_err(|error| match error {
                PublishError::Full => Refusal::Full,
                PublishError::TooLong | PublishError::Gone => Refusal::TooLong,
            })?;
            progress.feeds.push(Target { key, version, topic, is_pattern });
            progress.price += BufferPool::capacity_for(len);
        }
        for listener in own.heavy_listeners() {
            let Some(client) = clients.get_mut(listener as usize) else { continue };
            let rare = client.rare_mut();
            if rare.share == 0 {
                progress.sharers.push(listener);
            }
            rare.share += len;
        }
        Ok(FEED_WORK + SHARE_WORK * own.heavy_listeners().len())
    }

    /// Finds out what those who listen to much are owed, this message included, and cuts off whoever is
    /// owed more than may be. Says whether all have been looked at.
    fn weigh(&mut self, cx: &mut Context<'_>, progress: &mut Progress, left: &mut usize) -> bool {
        while *left > 0 {
            let Some(listener) = progress.sharers.pop() else { return true };
            let Some(client) = self.clients.get_mut(listener as usize) else { continue };
            let (token, subscriptions, rare) =
                (client.token, client.subscriptions(), client.rare_mut());
            let share = std::mem::take(&mut rare.share);
            rare.owed_at_most += share;
            if rare.owed_at_most > self.config.subscriber_memory {
                rare.owed_at_most = cx.owed(token) + share;
                *left = left.saturating_sub(subscriptions * OWED_WORK);
            }
            if rare.owed_at_most > self.config.subscriber_memory {
                self.cut_off(cx, listener, left);
                progress.has_lost_feeds = true;
            } else {
                progress.weighed.push((rare.owed_at_most, listener));
            }
        }
        false
    }

    /// Sees to it that there is memory for all copies of a message: cuts off those who are owed most of
    /// what there is. Says whether there is.
    fn afford(
        &mut self,
        cx: &mut Context<'_>,
        message: (Form<'static>, &[u8], &[u8]),
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
            if progress.weighed.is_empty() {
                return Err(Refusal::NoMemory);
            }
            // The last ones are owed most.
            progress.weighed.sort_unstable();
            progress.has_lost_feeds = true;
            while missing > 0
                && *left > 0
                && let Some((owed, listener)) = progress.weighed.pop()
            {
                self.cut_off(cx, listener, left);
                missing = missing.saturating_sub(owed);
            }
        }
        Ok(false)
    }

    /// What a message takes in the feeds that are still there.
    fn price(
        &self,
        (form, channel, message): (Form<'static>, &[u8], &[u8]),
        progress: &Progress,
    ) -> usize {
        let feeds =
            progress.feeds.iter().filter_map(|target| Some((target, self.feed(form, target)?)));
        let len = |(target, (own, _)): (&Target, (&Channel, &Feed))| {
            let form = if target.is_pattern { Form::Pattern(&own.name) } else { form };
            BufferPool::capacity_for(encoded_len(form, channel, message))
        };
        feeds.map(len).sum()
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
        let Some(listener) = self.clients.get_mut(client as usize) else { return };
        if !std::mem::replace(&mut listener.is_closed, true) {
            self.clients_closing += 1;
        }
        *left = left.saturating_sub(listener.subscriptions() * FEED_WORK);
        let (token, rare) = (listener.token, listener.take_rare());
        let version = listener.version;
        if let Some(rare) = rare {
            self.release(cx, token, client, version, *rare);
        }
        cx.abort_for(token, CloseReason::OutputLimit);
    }

    /// Forgets a message that is given to nobody.
    pub(super) fn forget(&mut self, mut progress: Progress) {
        for listener in progress.sharers.drain(..) {
            if let Some(client) = self.clients.get_mut(listener as usize)
                && client.rare().is_some()
            {
                client.rare_mut().share = 0;
            }
        }
        progress.clear();
        self.progress = progress;
    }

    /// Goes on with a message that began in an earlier turn.
    pub(super) fn go_on_publishing(&mut self, cx: &mut Context<'_>) {
        let Some(mut publication) = self.publication.take() else { return };
        let Publication { publisher, client, form, channel, message, progress, .. } =
            &mut *publication;
        let mut left = PUBLICATION_SLICE;
        let outgoing = (*form, &channel[..], &message[..]);
        let outcome = self.carry(cx, *publisher, outgoing, progress, &mut left);
        self.work.add(PUBLICATION_SLICE - left);
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
            cx.pause(token);
        }
        Flow::Again
    }
}

/// `PUBLISH`, or one of its kind.
pub(super) fn publish(
    call: &mut Call<'_, '_, '_>,
    form: Form<'static>,
    channel: &[u8],
    message: &[u8],
) -> Outcome {
    if let Some(outcome) = call.client().and_then(Client::take_published) {
        return answer(call, outcome);
    }
    if call.kv.publication.is_some() && !call.kv.is_executing {
        return Ok(call.kv.wait_to_publish(call.cx, call.token));
    }
    let slice = call.kv.slice_to_publish(form)?;
    let (mut left, mut progress) = (slice, std::mem::take(&mut call.kv.progress));
    let outgoing = (form, channel, message);
    let mut outcome = call.kv.carry(call.cx, call.token, outgoing, &mut progress, &mut left);
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
        outcome = call.kv.carry(call.cx, call.token, outgoing, &mut progress, &mut left);
    }
    if outcome == Ok(false) {
        call.kv.publication = Some(Box::new(Publication {
            publisher: call.token,
            client: call.client,
            form,
            channel: channel.to_vec(),
            message: message.to_vec(),
            progress,
            waiting: Vec::new(),
        }));
        call.cx.pause(call.token);
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
