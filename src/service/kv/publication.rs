//! A message, what it is to its subscribers, and how far it has come on its way to them.

use std::collections::{BinaryHeap, VecDeque};

use crate::codec::resp::{Decimal, Replies, Version};
use crate::reactor::{Token, TopicId};

/// A message, and how far it has come, between two slices.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) publisher: Token,
    pub(super) client: u32,
    pub(super) form: Form<'static>,
    pub(super) channel: Vec<u8>,
    pub(super) text: Vec<u8>,
    pub(super) progress: Progress,
}

/// The queue of clients that wait until they may publish. Outlives a message.
#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    pub(super) waiting: VecDeque<(Token, u32)>,
    /// The first one has been told to go on, and was not served yet.
    pub(super) has_called: bool,
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
    pub(super) has_begun: bool,
    /// The next pattern to compare, and the next feed to publish to.
    pub(super) pattern: usize,
    pub(super) feed: usize,
    pub(super) feeds: Vec<Target>,
    /// Clients that listen to much, and are to be given some of it; the next one to weigh.
    pub(super) sharers: Vec<u32>,
    pub(super) weighed: usize,
    /// Bytes of memory that it takes, as far as no feed has gone since.
    pub(super) price: usize,
    pub(super) may_have_lost_feeds: bool,
    pub(super) debtors: Debtors,
    /// Some feed has no room, and the publisher is held.
    pub(super) is_full: bool,
    pub(super) receivers: usize,
}

/// The clients that listen to much and for which much waits.
#[derive(Debug, Default)]
pub(super) struct Debtors {
    /// The next client to look at.
    pub(super) next: usize,
    /// Bytes that wait for each, this message not included; and all of them.
    pub(super) owed: BinaryHeap<(usize, u32)>,
    pub(super) sum: usize,
}

/// A feed, which is gone when its key has another topic, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) key: u32,
    pub(super) version: Version,
    pub(super) topic: TopicId,
    pub(super) is_pattern: bool,
}

/// Why a message was given to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A channel is full. The publisher is held.
    Full,
    TooLong,
    NoMemory,
}

impl Message<'_> {
    /// Bytes of the copy for subscribers of a pattern, or of the channel itself.
    pub(super) fn len(&self, pattern: Option<&[u8]>) -> usize {
        encoded_len(pattern.map_or(self.form, Form::Pattern), self.channel, self.text)
    }
}

impl PublishQueue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Publication {
    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.channel.len() + self.text.len() + self.progress.memory()
    }
}

impl Progress {
    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.feeds.capacity() * size_of::<Target>() + self.sharers.capacity() * size_of::<u32>()
    }
}

/// What a message is to a subscriber: the word at the head of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    Channel,
    Pattern(&'a [u8]),
    Shard,
}

impl<'a> Form<'a> {
    fn name(self) -> &'static [u8] {
        match self {
            Form::Channel => b"message",
            Form::Pattern(_) => b"pmessage",
            Form::Shard => b"smessage",
        }
    }

    fn pattern(self) -> Option<&'a [u8]> {
        if let Form::Pattern(pattern) = self { Some(pattern) } else { None }
    }
}

pub(super) fn encode(to: &mut Replies, form: Form<'_>, channel: &[u8], message: &[u8]) {
    to.clear();
    to.begin();
    to.push(if form.pattern().is_some() { 4 } else { 3 });
    to.bulk(form.name());
    if let Some(pattern) = form.pattern() {
        to.bulk(pattern);
    }
    to.bulk(channel);
    to.bulk(message);
}

/// How long that is, in either version of the protocol.
pub(super) fn encoded_len(form: Form<'_>, channel: &[u8], message: &[u8]) -> usize {
    let bulk_len = |bytes: &[u8]| {
        let digits = Decimal::new(bytes.len() as i64);
        "$\r\n\r\n".len() + digits.as_bytes().len() + bytes.len()
    };
    let pattern_len = form.pattern().map_or(0, bulk_len);
    let head = ">3\r\n".len() + bulk_len(form.name()) + pattern_len;
    head + bulk_len(channel) + bulk_len(message)
}
