//! Channels, or patterns, and the topics behind them.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use crate::reactor::{Context, TopicConfig, TopicId};

/// Names that somebody listens to, with a topic each: it comes to be with the first subscriber, and
/// goes with the last.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_name: HashMap<Arc<[u8]>, u32>,
    channels: Slab<Channel>,
    used: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Arc<[u8]>,
    pub(super) topic: TopicId,
    pub(super) subscribers: usize,
}

/// What a channel costs beside its name: places in two tables, and a topic.
const CHANNEL_OVERHEAD: usize = 512;

impl Channels {
    /// The channel with this name, which has one subscriber more now.
    pub(super) fn join(
        &mut self,
        cx: &mut Context<'_>,
        name: &[u8],
        config: &TopicConfig,
    ) -> (u32, TopicId) {
        let key = match self.by_name.get(name) {
            Some(key) => *key,
            None => {
                let (name, topic) = (Arc::<[u8]>::from(name), cx.create_topic(config.clone()));
                self.used += name.len() + CHANNEL_OVERHEAD;
                let channel = Channel { name: name.clone(), topic, subscribers: 0 };
                let key = self.channels.insert(channel) as u32;
                self.by_name.insert(name, key);
                key
            }
        };
        let channel = &mut self.channels[key as usize];
        channel.subscribers += 1;
        (key, channel.topic)
    }

    /// One subscriber less.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, key: u32) {
        let Some(channel) = self.channels.get_mut(key as usize) else { return };
        channel.subscribers -= 1;
        if channel.subscribers == 0 {
            let channel = self.channels.remove(key as usize);
            self.by_name.remove(&channel.name);
            self.used -= channel.name.len() + CHANNEL_OVERHEAD;
            cx.remove_topic(channel.topic);
        }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<(u32, &Channel)> {
        let key = *self.by_name.get(name)?;
        Some((key, self.channels.get(key as usize)?))
    }

    pub(super) fn channel(&self, key: u32) -> Option<&Channel> {
        self.channels.get(key as usize)
    }

    /// All of them, the order in which a message goes to patterns.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().map(|(_, channel)| channel)
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Bytes of memory, messages not included.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}
