//! The commands of publish and subscribe. A channel is a topic of the reactor for each version of the
//! protocol that its subscribers speak, and so is a pattern: a message is encoded once for each of
//! them, however many listen.

use std::collections::BTreeSet;

use super::call::Call;
use super::channels::{Channel, Channels};
use super::client::{Client, Rare};
use super::fault::{Fault, Flow, Outcome};
use super::glob::{PASS_WORK, PATTERN_MAX, Pattern, TEXT_WORK};
use super::list::Head;
use super::publication::{Form, Message};
use super::publish::{self, FEED_WORK, MESSAGE_TOO_LONG};
use super::slices;
use super::store::Store;
use crate::codec::resp::{Arguments, Version};
use crate::reactor::{Context, Start, Token};

pub(super) fn subscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_names(call)?;
    begin_listening(call, &CHANNELS)
}

pub(super) fn ssubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    // As in Redis, which permits the other two.
    if call.kv.is_executing {
        return Err(Fault::text("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    check_names(call)?;
    begin_listening(call, &SHARD_CHANNELS)
}

pub(super) fn psubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.arguments.clone().any(|pattern| pattern.len() > PATTERN_MAX) {
        return Err(Fault::PATTERN_TOO_LONG);
    }
    begin_listening(call, &PATTERNS)
}

pub(super) fn unsubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    end_listening(call, &CHANNELS)
}

pub(super) fn sunsubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    end_listening(call, &SHARD_CHANNELS)
}

pub(super) fn punsubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    end_listening(call, &PATTERNS)
}

pub(super) fn publish(call: &mut Call<'_, '_, '_>) -> Outcome {
    publish_as(call, Form::Channel)
}

/// There is one shard, which has all channels.
pub(super) fn spublish(call: &mut Call<'_, '_, '_>) -> Outcome {
    publish_as(call, Form::Shard)
}

fn publish_as(call: &mut Call<'_, '_, '_>, form: Form<'static>) -> Outcome {
    let channel = call.argument();
    let message = call.argument();
    let most = call.kv.topic.message_max();
    if channel.len() > CHANNEL_MAX {
        return Err(CHANNEL_TOO_LONG);
    }
    if channel.len() + message.len() + PATTERN_MAX + MESSAGE_OVERHEAD > most {
        return Err(MESSAGE_TOO_LONG);
    }
    publish::publish(call, Message { form, channel, text: message })
}

pub(super) fn channels(call: &mut Call<'_, '_, '_>) -> Outcome {
    list_channels(call, &CHANNELS)
}

pub(super) fn shardchannels(call: &mut Call<'_, '_, '_>) -> Outcome {
    list_channels(call, &SHARD_CHANNELS)
}

pub(super) fn numsub(call: &mut Call<'_, '_, '_>) -> Outcome {
    list_counts(call, &CHANNELS)
}

pub(super) fn shardnumsub(call: &mut Call<'_, '_, '_>) -> Outcome {
    list_counts(call, &SHARD_CHANNELS)
}

pub(super) fn numpat(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.answer(call.kv.patterns.len() as i64)
}

fn optional_pattern<'a>(call: &mut Call<'a, '_, '_>) -> Result<&'a [u8], Fault> {
    let pattern = if call.arguments.len() > 0 { call.pattern()? } else { b"*" };
    if call.arguments.len() > 0 {
        let text = "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.";
        return Err(Fault::quoting(text, call.request.arguments().nth(1).unwrap_or_default()));
    }
    Ok(pattern)
}

fn list_channels(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    let mut pattern = Pattern::new(optional_pattern(call)?);
    slices::reply(call, Head::Array, |kv, _, list, left| {
        let channels = (kind.names)(kv);
        while list.at < channels.keys_max() && *left > 0 && list.has_room() {
            let channel = channels.channel(list.at as u32);
            list.at += 1;
            let Some(Channel { name, .. }) = channel else {
                *left = left.saturating_sub(PASS_WORK);
                continue;
            };
            let before = pattern.work;
            if pattern.matches(name) {
                list.bulk(name);
            }
            *left = left.saturating_sub(NAME_WORK + pattern.work - before);
        }
        list.at >= channels.keys_max()
    })
}

fn list_counts(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    let names = call.arguments.clone();
    slices::reply(call, Head::Array, |kv, _, list, left| {
        let channels = (kind.names)(kv);
        let from = list.count / 2;
        for name in names.clone().skip(from) {
            if *left == 0 || !list.has_room() {
                return false;
            }
            let count = channels.find(name).map_or(0, |(_, channel)| channel.subscribers());
            list.bulk(name);
            list.integer(count);
            *left = left.saturating_sub(NAME_WORK + 2 * name.len());
        }
        true
    })
}

/// As what a command publishes, if it does.
pub(super) fn form_of(command: &[u8]) -> Option<Form<'static>> {
    match command.to_ascii_lowercase().as_slice() {
        b"publish" => Some(Form::Channel),
        b"spublish" => Some(Form::Shard),
        _ => None,
    }
}

impl Store {
    /// Ends everything that a client listens to.
    pub(super) fn end_subscriptions(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: u32,
        version: Version,
        rare: &Rare,
    ) {
        let keys = [&rare.channels, &rare.patterns, &rare.shard_channels];
        if keys.iter().all(|keys| keys.is_empty()) {
            return;
        }
        cx.charge(keys.iter().map(|keys| keys.len()).sum::<usize>() * LEAVE_WORK);
        // All at once, so that none of them has to be looked for.
        cx.unsubscribe_all(token);
        for (kind, keys) in KINDS.into_iter().zip(keys) {
            for key in keys {
                (kind.names)(self).weigh(*key, client, false);
                kind.leave(self, cx, token, *key, version);
            }
        }
    }

    /// A client has begun to listen to a channel. A client with so many channels that more than permitted
    /// could wait for it in all of them together is listed with each channel.
    fn begin_weight(&mut self, client: u32, kind: &Kind, key: u32) {
        let most = self.config.subscriber_memory / self.config.channel_memory;
        let Some(listener) = self.clients.get(client as usize) else { return };
        match listener.subscriptions() {
            count if count <= most => {}
            count if count == most + 1 => {
                self.weigh_all(client, true);
                // What waits for it already was not counted: it is looked at with the next message.
                if let Some(listener) = self.clients.get_mut(client as usize) {
                    listener.rare_mut().owed_at_most = self.config.subscriber_memory;
                }
            }
            _ => (kind.names)(self).weigh(key, client, true),
        }
    }

    /// A client has ceased to listen to a channel.
    fn end_weight(&mut self, client: u32, kind: &Kind, key: u32) {
        let most = self.config.subscriber_memory / self.config.channel_memory;
        let Some(listener) = self.clients.get(client as usize) else { return };
        let count = listener.subscriptions();
        if count >= most {
            (kind.names)(self).weigh(key, client, false);
        }
        if count == most {
            self.weigh_all(client, false);
        }
    }

    fn weigh_all(&mut self, client: u32, is_heavy: bool) {
        let Some(rare) = self.clients.get(client as usize).and_then(Client::rare) else { return };
        let keys = [&rare.channels, &rare.patterns, &rare.shard_channels];
        let channels = [&mut self.channels, &mut self.patterns, &mut self.shard_channels];
        for (channels, keys) in channels.into_iter().zip(keys) {
            keys.iter().for_each(|key| channels.weigh(*key, client, is_heavy));
        }
    }
}

/// Gives a client all that was published until now.
pub(super) fn catch_up(call: &mut Call<'_, '_, '_>) {
    let Some(client) = listener(call) else { return };
    let version = client.version;
    call.kv.send_replies(call.cx, call.token);
    for kind in KINDS {
        let keys = call.client().map(|client| (kind.keys)(client.rare_mut()).clone());
        keys.into_iter().flatten().for_each(|key| kind.catch_up(call, key, version));
    }
}

/// Counts the work of [`change_version`] before it is done.
pub(super) fn charge_change(call: &mut Call<'_, '_, '_>, version: Version) -> Result<(), Fault> {
    let client = call.client().filter(|client| client.version != version);
    let subscriptions = client.map_or(0, |client| client.subscriptions());
    call.kv.charge_work(subscriptions * 2 * FEED_WORK)
}

/// Lets a client speak a version of the protocol from now on. Messages come in it as well.
pub(super) fn change_version(call: &mut Call<'_, '_, '_>, version: Version) {
    let Some(client) = call.client() else { return };
    let before = std::mem::replace(&mut client.version, version);
    if before == version || client.subscriptions() == 0 {
        return;
    }
    for kind in KINDS {
        let keys = call.client().map(|client| (kind.keys)(client.rare_mut()).clone());
        for key in keys.into_iter().flatten() {
            let Some(name) = (kind.names)(call.kv).name(key) else { continue };
            // It joins before it leaves, so the channel and its key stay.
            kind.join(call, &name, version);
            kind.leave_in_order(call, key, before);
        }
    }
}

/// What is different between channels, patterns and channels of the shard.
struct Kind {
    begun: &'static str,
    ended: &'static str,
    names: fn(&mut Store) -> &mut Channels,
    keys: fn(&mut Rare) -> &mut BTreeSet<u32>,
    /// How many subscriptions a client is told to have.
    count: fn(&Client) -> usize,
}

const KINDS: [&Kind; 3] = [&CHANNELS, &PATTERNS, &SHARD_CHANNELS];

const CHANNELS: Kind = Kind {
    begun: "subscribe",
    ended: "unsubscribe",
    names: |kv| &mut kv.channels,
    keys: |rare| &mut rare.channels,
    count: Client::global_subscriptions,
};

const PATTERNS: Kind = Kind {
    begun: "psubscribe",
    ended: "punsubscribe",
    names: |kv| &mut kv.patterns,
    keys: |rare| &mut rare.patterns,
    count: Client::global_subscriptions,
};

const SHARD_CHANNELS: Kind = Kind {
    begun: "ssubscribe",
    ended: "sunsubscribe",
    names: |kv| &mut kv.shard_channels,
    keys: |rare| &mut rare.shard_channels,
    count: |client| client.subscriptions() - client.global_subscriptions(),
};

impl Kind {
    /// Subscribes the client whose call it is; returns the channel's key.
    fn join(&self, call: &mut Call<'_, '_, '_>, name: &[u8], version: Version) -> u32 {
        let config = call.kv.topic.clone();
        let (key, topic) = (self.names)(call.kv).join(call.cx, name, version, &config);
        call.cx.subscribe(call.token, topic, Start::Next);
        key
    }

    /// Takes a channel out of the list of those that the client listens to, and returns its key.
    fn take_last(&self, call: &mut Call<'_, '_, '_>) -> Option<u32> {
        let key = (self.keys)(listener(call)?.rare_mut()).pop_last()?;
        call.kv.end_weight(call.client, self, key);
        Some(key)
    }

    /// As [`leave`](Self::leave), but what was published until now comes first, behind the replies to
    /// the requests before and in front of the reply to this one.
    fn leave_in_order(&self, call: &mut Call<'_, '_, '_>, key: u32, version: Version) {
        // No message comes within the reply to a transaction, which caught up before.
        if !call.kv.is_executing {
            call.kv.send_replies(call.cx, call.token);
            self.catch_up(call, key, version);
        }
        self.leave(call.kv, call.cx, call.token, key, version);
    }

    /// Puts what was published until now behind the replies to earlier requests.
    fn catch_up(&self, call: &mut Call<'_, '_, '_>, key: u32, version: Version) {
        let channel = (self.names)(call.kv).channel(key);
        if let Some(topic) = channel.and_then(|channel| channel.topic(version)) {
            call.cx.catch_up(call.token, topic);
        }
    }

    /// A subscription that the reactor may have ended already, with its connection.
    fn leave(
        &self,
        kv: &mut Store,
        cx: &mut Context<'_>,
        token: Token,
        key: u32,
        version: Version,
    ) {
        let names = (self.names)(kv);
        if let Some(topic) = names.channel(key).and_then(|channel| channel.topic(version)) {
            cx.unsubscribe(token, topic);
            names.leave(cx, key, version);
        }
    }
}

fn begin_listening(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    let before = call.client().map_or(0, |client| client.subscriptions());
    // All or nothing, so that nobody has to guess how far it came.
    if before + call.arguments.len() > call.kv.config.subscriptions_max {
        return Err(Fault::text("ERR max number of subscriptions of a client reached"));
    }
    if call.kv.used() > call.kv.config.max_memory {
        return Err(Fault::OUT_OF_MEMORY);
    }
    call.kv.charge_work(call.arguments.len() * LISTEN_WORK)?;
    while let Some(name) = call.arguments.next() {
        let known = (kind.names)(call.kv).find(name).map(|(key, _)| key);
        let Some(client) = call.client() else { break };
        let version = client.version;
        let is_new = known.is_none_or(|key| !(kind.keys)(client.rare_mut()).contains(&key));
        if is_new {
            let key = kind.join(call, name, version);
            if let Some(client) = call.client() {
                (kind.keys)(client.rare_mut()).insert(key);
            }
            call.kv.begin_weight(call.client, kind, key);
        }
        confirm(call, kind, kind.begun, Some(name));
    }
    permit_silence(call);
    Ok(Flow::Next)
}

fn end_listening(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    if call.arguments.len() == 0 {
        return end_all(call, kind);
    }
    let version = call.client().map_or(Version::V2, |client| client.version);
    let names: Arguments<'_> = call.arguments.clone();
    call.kv.charge_work(names.len() * FEED_WORK)?;
    for name in names {
        let key = (kind.names)(call.kv).find(name).map(|(key, _)| key);
        let key = key.filter(|key| {
            listener(call).is_some_and(|client| (kind.keys)(client.rare_mut()).remove(key))
        });
        if let Some(key) = key {
            call.kv.end_weight(call.client, kind, key);
            kind.leave_in_order(call, key, version);
        }
        confirm(call, kind, kind.ended, Some(name));
    }
    permit_silence(call);
    Ok(Flow::Next)
}

fn end_all(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    let version = call.client().map_or(Version::V2, |client| client.version);
    let count = listener(call).map_or(0, |client| (kind.keys)(client.rare_mut()).len());
    call.kv.charge_work(count * FEED_WORK)?;
    let mut was_listening = false;
    while let Some(key) = kind.take_last(call) {
        was_listening = true;
        let name = (kind.names)(call.kv).name(key);
        kind.leave_in_order(call, key, version);
        confirm(call, kind, kind.ended, name.as_deref());
    }
    if !was_listening {
        confirm(call, kind, kind.ended, None);
    }
    permit_silence(call);
    Ok(Flow::Next)
}

/// Ends all that a client listens to, without a word of it.
pub(super) fn leave_all(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let version = call.client().map_or(Version::V2, |client| client.version);
    let count = listener(call).map_or(0, |client| client.subscriptions());
    call.kv.charge_work(count * FEED_WORK)?;
    for kind in KINDS {
        while let Some(key) = kind.take_last(call) {
            kind.leave_in_order(call, key, version);
        }
    }
    permit_silence(call);
    Ok(())
}

/// The client whose call it is, if it listens to anything.
fn listener<'a>(call: &'a mut Call<'_, '_, '_>) -> Option<&'a mut Client> {
    call.client().filter(|client| client.subscriptions() > 0)
}

/// Waiting for messages is no idleness.
fn permit_silence(call: &mut Call<'_, '_, '_>) {
    let listens = call.client().is_some_and(|client| client.subscriptions() > 0);
    call.cx.permit_silence(call.token, listens);
}

/// The reply for one channel: how many the client listens to now.
fn confirm(call: &mut Call<'_, '_, '_>, kind: &Kind, what: &str, name: Option<&[u8]>) {
    let count = call.client().map_or(0, |client| (kind.count)(client));
    let replies = call.replies();
    replies.push(3);
    replies.bulk(what.as_bytes());
    match name {
        Some(name) => replies.bulk(name),
        None => replies.null(),
    }
    replies.integer(count as i64);
}

fn check_names(call: &Call<'_, '_, '_>) -> Result<(), Fault> {
    let is_too_long = call.arguments.clone().any(|channel| channel.len() > CHANNEL_MAX);
    if is_too_long { Err(CHANNEL_TOO_LONG) } else { Ok(()) }
}

/// The longest name of a channel. It is compared with every pattern, which costs up to the length of
/// the one times that of the other.
const CHANNEL_MAX: usize = 1024;
const CHANNEL_TOO_LONG: Fault = Fault::text("ERR channel name is too long");
/// The work to look a name up, or to come to one, and to write it down.
const NAME_WORK: usize = 2 * TEXT_WORK;
/// What it costs to take a client that has gone out of a channel, in units of the reactor, which counts the
/// end of the subscription itself.
const LEAVE_WORK: usize = 100;
/// The work to begin to listen to a channel.
const LISTEN_WORK: usize = 1 << 10;
/// Heads of an array and of four bulk strings, and a word.
const MESSAGE_OVERHEAD: usize = 128;
