//! Channels, or patterns, and the topics behind them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use crate::codec::resp::Version;
use crate::reactor::{Context, TopicConfig, TopicId};
use crate::structures::spare::{Spare, is_spacious};

/// Names that somebody listens to.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_name: HashMap<Arc<[u8]>, u32>,
    channels: Slab<Channel>,
    used: usize,
    /// Subscriptions of clients that listen to very many channels.
    heavy: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Arc<[u8]>,
    /// By version of the protocol; one of them is there.
    feeds: [Option<Feed>; 2],
    /// The subscribers that listen to very many other channels, too.
    heavy_listeners: BTreeSet<u32>,
}

/// The subscribers of a channel that speak one version of the protocol: a message is the same bytes for
/// all of them. A feed begins with its first subscriber and ends with its last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed {
    pub(super) version: Version,
    pub(super) topic: TopicId,
    subscribers: usize,
}

/// What a feed costs beside the channel's name: places in two tables, and a topic.
const FEED_OVERHEAD: usize = 512;
/// What a subscription costs: the reactor's, and its places in two lists that may be half empty.
const SUBSCRIPTION_OVERHEAD: usize = 80;
/// What it costs beside that if the subscriber listens to very many: its own place in a tree.
const HEAVY_OVERHEAD: usize = 80;

/// So many places are kept where nothing is left in them.
const SPARE_MAX: usize = 64;

impl Channels {
    /// One subscriber more, in one version of the protocol. Returns the channel's key and what is to
    /// be subscribed to.
    pub(super) fn join(
        &mut self,
        cx: &mut Context<'_>,
        name: &[u8],
        version: Version,
        config: &TopicConfig,
    ) -> (u32, TopicId) {
        let key = match self.by_name.get(name) {
            Some(key) => *key,
            None => {
                let name = Arc::<[u8]>::from(name);
                self.used += name.len();
                let key = self.channels.insert(Channel::new(name.clone()));
                self.by_name.insert(name, key as u32);
                key as u32
            }
        };
        self.used += SUBSCRIPTION_OVERHEAD;
        let feed = self.channels[key as usize].feed_mut(version).get_or_insert_with(|| {
            self.used += FEED_OVERHEAD;
            Feed { version, topic: cx.create_topic(config.clone()), subscribers: 0 }
        });
        feed.subscribers += 1;
        (key, feed.topic)
    }

    /// One subscriber less.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, key: u32, version: Version) {
        let Some(channel) = self.channels.get_mut(key as usize) else { return };
        let feed = channel.feed_mut(version);
        let Some(Feed { subscribers, topic, .. }) = feed else { return };
        *subscribers -= 1;
        self.used -= SUBSCRIPTION_OVERHEAD;
        if *subscribers == 0 {
            cx.remove_topic(*topic);
            *feed = None;
            self.used -= FEED_OVERHEAD;
        }
        if channel.feeds().next().is_none() {
            let channel = self.channels.remove(key as usize);
            self.by_name.remove(&channel.name);
            self.used -= channel.name.len();
            self.heavy -= channel.heavy_listeners.len();
            self.give_places_back();
        }
    }

    /// A walk over all channels passes empty places, too.
    fn give_places_back(&mut self) {
        if self.channels.is_empty() && self.channels.capacity() > SPARE_MAX {
            (self.channels, self.by_name) = (Slab::new(), HashMap::new());
        }
    }

    /// Notes whether a subscriber of a channel listens to very many.
    pub(super) fn weigh(&mut self, key: u32, client: u32, is_heavy: bool) {
        let Some(channel) = self.channels.get_mut(key as usize) else { return };
        match is_heavy {
            true if channel.heavy_listeners.insert(client) => self.heavy += 1,
            false if channel.heavy_listeners.remove(&client) => self.heavy -= 1,
            _ => {}
        }
    }

    /// Whether any subscriber of any channel listens to very many.
    pub(super) fn has_heavy_listeners(&self) -> bool {
        self.heavy > 0
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<(u32, &Channel)> {
        let key = *self.by_name.get(name)?;
        Some((key, self.channels.get(key as usize)?))
    }

    pub(super) fn channel(&self, key: u32) -> Option<&Channel> {
        self.channels.get(key as usize)
    }

    pub(super) fn name(&self, key: u32) -> Option<Arc<[u8]>> {
        self.channel(key).map(|channel| channel.name.clone())
    }

    /// Keys are below that. A channel keeps its own for as long as somebody listens to it.
    pub(super) fn keys_max(&self) -> usize {
        if self.channels.is_empty() { 0 } else { self.channels.capacity() }
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Gives back the room that many of them needed.
    pub(super) fn give_back(&mut self) {
        if is_spacious(self.by_name.len(), self.by_name.capacity()) {
            self.by_name.shrink_to(2 * self.by_name.len());
        }
        self.channels.give_back();
    }

    /// Bytes of memory, messages not included.
    pub(super) fn used(&self) -> usize {
        self.used + self.heavy * HEAVY_OVERHEAD
    }
}

impl Channel {
    fn new(name: Arc<[u8]>) -> Self {
        Channel { name, feeds: [None; 2], heavy_listeners: BTreeSet::new() }
    }

    /// The subscribers that listen to very many other channels, too.
    pub(super) fn heavy_listeners(&self) -> impl ExactSizeIterator<Item = u32> {
        self.heavy_listeners.iter().copied()
    }

    pub(super) fn feed(&self, version: Version) -> Option<&Feed> {
        self.feeds().find(|feed| feed.version == version)
    }

    pub(super) fn feeds(&self) -> impl Iterator<Item = &Feed> + Clone {
        self.feeds.iter().flatten()
    }

    pub(super) fn topic(&self, version: Version) -> Option<TopicId> {
        self.feeds().find(|feed| feed.version == version).map(|feed| feed.topic)
    }

    pub(super) fn subscribers(&self) -> usize {
        self.feeds().map(|feed| feed.subscribers).sum()
    }

    fn feed_mut(&mut self, version: Version) -> &mut Option<Feed> {
        let [v2, v3] = &mut self.feeds;
        match version {
            Version::V2 => v2,
            Version::V3 => v3,
        }
    }
}
