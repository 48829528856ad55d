//! The commands of publish and subscribe. A channel is a topic of the reactor, and so is a pattern:
//! a message is encoded once for each of them, however many listen.

use super::call::{Call, Fault, Flow, Outcome};
use super::channels::Channel;
use super::client::{Publishing, Rare};
use super::glob::{self, PATTERN_MAX};
use super::{Kv, channels::Channels};
use crate::codec::resp::{Arguments, Replies};
use crate::reactor::{Context, PublishError, Start, Token};

pub(super) fn subscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    begin_listening(call, &CHANNELS)
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

pub(super) fn punsubscribe(call: &mut Call<'_, '_, '_>) -> Outcome {
    end_listening(call, &PATTERNS)
}

pub(super) fn publish(call: &mut Call<'_, '_, '_>) -> Outcome {
    let channel = call.argument();
    let message = call.argument();
    let most = call.kv.topic.message_max();
    if channel.len() + message.len() + PATTERN_MAX + MESSAGE_OVERHEAD > most {
        return Err(Fault::text("ERR message is longer than a channel holds"));
    }
    let begun = call.client().filter(|client| client.rare().is_some());
    let begun = begun.and_then(|client| client.rare_mut().publishing.take());
    let used = call.kv.used() + call.cx.topic_memory();
    if begun.is_none() && used > call.kv.config.max_memory {
        return Err(Fault::OUT_OF_MEMORY);
    }
    let mut publishing = begun.unwrap_or_default();
    match call.kv.publish(call.cx, call.token, channel, message, &mut publishing) {
        Ok(()) => call.answer(publishing.receivers as i64),
        Err(_) => {
            if let Some(client) = call.client() {
                client.rare_mut().publishing = Some(publishing);
            }
            Ok(Flow::Again)
        }
    }
}

pub(super) fn channels(call: &mut Call<'_, '_, '_>) -> Outcome {
    let pattern = if call.arguments.len() > 0 { call.pattern()? } else { b"*" };
    if call.arguments.len() > 0 {
        return Err(Fault::of(
            "ERR unknown subcommand or wrong number of arguments for 'channels'. Try PUBSUB HELP."
                .into(),
        ));
    }
    let kv = &mut *call.kv;
    let array = kv.replies.open_array();
    let mut count = 0;
    for channel in kv.channels.iter().filter(|it| glob::matches(pattern, &it.name, false)) {
        kv.replies.bulk(&channel.name);
        count += 1;
    }
    kv.replies.close_array(array, count);
    Ok(Flow::Next)
}

pub(super) fn numsub(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    kv.replies.array(2 * call.arguments.len());
    for name in &mut call.arguments {
        let count = kv.channels.find(name).map_or(0, |(_, channel)| channel.subscribers);
        kv.replies.bulk(name);
        kv.replies.integer(count as i64);
    }
    Ok(Flow::Next)
}

pub(super) fn numpat(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.answer(call.kv.patterns.len() as i64)
}

impl Kv {
    /// Hands a message to its channel and to the patterns that match, each at most once: those that
    /// `publishing` lists have it already. `Full` when one of them has no room now.
    fn publish(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        channel: &[u8],
        message: &[u8],
        publishing: &mut Publishing,
    ) -> Result<(), PublishError> {
        let own = self.channels.find(channel).map(|(_, own)| own);
        let patterns = self.patterns.iter().filter(|it| glob::matches(&it.name, channel, false));
        let own = own.into_iter().map(|own| (own, None));
        let patterns = patterns.map(|pattern| (pattern, Some(&*pattern.name)));
        for (to, pattern) in own.chain(patterns) {
            if !publishing.taken.is_empty() && publishing.taken.contains(&to.topic) {
                continue;
            }
            encode(&mut self.message, pattern, channel, message);
            match cx.publish(to.topic, Some(token), self.message.as_bytes()) {
                Err(PublishError::Full) => {
                    return Err(PublishError::Full);
                }
                // It cannot be too long, which was asked before, nor gone, as it has subscribers.
                Err(PublishError::TooLong | PublishError::Gone) => continue,
                Ok(_) => publishing.receivers += cx.subscribers(to.topic),
            }
            // Only what may have to be called again needs to know; most messages have one topic.
            if self.patterns.len() > 0 {
                publishing.taken.push(to.topic);
            }
        }
        Ok(())
    }

    /// Ends everything that a client listens to.
    pub(super) fn end_subscriptions(&mut self, cx: &mut Context<'_>, token: Token, rare: &Rare) {
        for (kind, keys) in [(&CHANNELS, &rare.channels), (&PATTERNS, &rare.patterns)] {
            for key in keys {
                kind.leave(self, cx, token, *key);
            }
        }
    }
}

/// What is different between channels and patterns.
struct Kind {
    begun: &'static str,
    ended: &'static str,
    names: fn(&mut Kv) -> &mut Channels,
    keys: fn(&mut Rare) -> &mut Vec<u32>,
}

const CHANNELS: Kind = Kind {
    begun: "subscribe",
    ended: "unsubscribe",
    names: |kv| &mut kv.channels,
    keys: |rare| &mut rare.channels,
};

const PATTERNS: Kind = Kind {
    begun: "psubscribe",
    ended: "punsubscribe",
    names: |kv| &mut kv.patterns,
    keys: |rare| &mut rare.patterns,
};

impl Kind {
    /// A subscription that the reactor may have ended already, with its connection.
    fn leave(&self, kv: &mut Kv, cx: &mut Context<'_>, token: Token, key: u32) {
        let names = (self.names)(kv);
        if let Some(topic) = names.channel(key).map(|channel: &Channel| channel.topic) {
            cx.unsubscribe(token, topic);
            names.leave(cx, key);
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
    while let Some(name) = call.arguments.next() {
        let known = (kind.names)(call.kv).find(name).map(|(key, _)| key);
        let Some(client) = call.client() else { break };
        let is_new = known.is_none_or(|key| !(kind.keys)(client.rare_mut()).contains(&key));
        if is_new {
            let config = call.kv.topic.clone();
            let (key, topic) = (kind.names)(call.kv).join(call.cx, name, &config);
            call.cx.subscribe(call.token, topic, Start::Next);
            if let Some(client) = call.client() {
                (kind.keys)(client.rare_mut()).push(key);
            }
        }
        confirm(call, kind.begun, Some(name));
    }
    Ok(Flow::Next)
}

fn end_listening(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    if call.arguments.len() == 0 {
        return end_all(call, kind);
    }
    let names: Arguments<'_> = call.arguments.clone();
    for name in names {
        let key = (kind.names)(call.kv).find(name).map(|(key, _)| key);
        let keys = call.client().map(|client| (kind.keys)(client.rare_mut()));
        let place = keys.and_then(|keys| {
            let place = keys.iter().position(|own| Some(*own) == key)?;
            Some(keys.swap_remove(place))
        });
        if let Some(key) = place {
            kind.leave(call.kv, call.cx, call.token, key);
        }
        confirm(call, kind.ended, Some(name));
    }
    Ok(Flow::Next)
}

fn end_all(call: &mut Call<'_, '_, '_>, kind: &Kind) -> Outcome {
    let mut was_listening = false;
    while let Some(key) = call.client().and_then(|client| (kind.keys)(client.rare_mut()).pop()) {
        was_listening = true;
        let name = (kind.names)(call.kv).channel(key).map(|channel| channel.name.clone());
        kind.leave(call.kv, call.cx, call.token, key);
        confirm(call, kind.ended, name.as_deref());
    }
    if !was_listening {
        confirm(call, kind.ended, None);
    }
    Ok(Flow::Next)
}

/// The reply for one channel: how many the client listens to now.
fn confirm(call: &mut Call<'_, '_, '_>, what: &str, name: Option<&[u8]>) {
    let count = call.client().map_or(0, |client| client.subscriptions());
    let replies = call.replies();
    replies.array(3);
    replies.bulk(what.as_bytes());
    match name {
        Some(name) => replies.bulk(name),
        None => replies.null(),
    }
    replies.integer(count as i64);
}

fn encode(to: &mut Replies, pattern: Option<&[u8]>, channel: &[u8], message: &[u8]) {
    to.clear();
    to.begin();
    match pattern {
        Some(pattern) => {
            to.array(4);
            to.bulk(b"pmessage");
            to.bulk(pattern);
        }
        None => {
            to.array(3);
            to.bulk(b"message");
        }
    }
    to.bulk(channel);
    to.bulk(message);
}

/// Heads of an array and of four bulk strings, and a word.
const MESSAGE_OVERHEAD: usize = 128;
