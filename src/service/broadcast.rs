//! Delivers each message from one client to every other client.

use crate::codec::{Codec, Delimited, FrameError, LengthPrefixed};
use crate::reactor::{
    Context, Handler, ProtocolError, PublishError, RingBuffer, Start, Token, TopicConfig, TopicId,
};

/// How messages are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Ended by `\n`; a `\r` before it stays.
    #[default]
    Lines,
    /// A 4-byte big-endian length in front.
    Length,
}

/// One topic that every connection follows and may publish to.
///
/// Messages arrive whole and in one order everywhere. A client that stops reading changes nothing
/// for the others; a flood of messages slows its senders down to what is delivered.
#[derive(Debug)]
pub struct Broadcast {
    framing: Framing,
    input_limit: usize,
    config: TopicConfig,
    topic: Option<TopicId>,
}

/// What is kept for one client: how far its unfinished message was searched.
#[derive(Debug)]
pub enum BroadcastSession {
    /// Under [`Framing::Lines`].
    Lines(Delimited),
    /// Under [`Framing::Length`].
    Length(LengthPrefixed),
}

impl Broadcast {
    /// A broadcast of messages of at most `input_limit` bytes, on a topic with these limits.
    pub fn new(framing: Framing, input_limit: usize, config: TopicConfig) -> Self {
        Broadcast { framing, input_limit, config, topic: None }
    }

    fn topic(&mut self, cx: &mut Context<'_>) -> TopicId {
        *self.topic.get_or_insert_with(|| cx.create_topic(self.config.clone()))
    }
}

impl Handler for Broadcast {
    type Session = BroadcastSession;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> BroadcastSession {
        let topic = self.topic(cx);
        cx.subscribe(token, topic, Start::Last(self.config.history));
        match self.framing {
            Framing::Lines => BroadcastSession::Lines(Delimited::lines(self.input_limit)),
            Framing::Length => BroadcastSession::Length(LengthPrefixed::new(self.input_limit)),
        }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut BroadcastSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let topic = self.topic(cx);
        while let Some(len) = session.next(input.contiguous())? {
            match cx.publish(topic, Some(token), &input.contiguous()[..len]) {
                Ok(_) => input.consume(len),
                // It stays in the input, and is offered again when there is room.
                Err(PublishError::Full) => break,
                Err(PublishError::TooLong | PublishError::Gone) => return Err(session.too_long()),
            }
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut BroadcastSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if let BroadcastSession::Lines(_) = session
            && !input.is_empty()
        {
            // A last line without a newline is a line all the same.
            let line = [&*input.contiguous(), b"\n"].concat();
            let topic = self.topic(cx);
            match cx.publish(topic, Some(token), &line) {
                // It stays in the input; the end is told again when there is room.
                Err(PublishError::Full) => return Ok(()),
                _ => input.clear(),
            }
        }
        cx.close(token);
        Ok(())
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, _session: &mut BroadcastSession) {
        // Subscribers never finish by themselves. What was published is still delivered.
        cx.close(token);
    }
}

impl BroadcastSession {
    /// The length of the first whole message, with its delimiter or header.
    fn next(&mut self, input: &mut [u8]) -> Result<Option<usize>, FrameError> {
        let found = match self {
            BroadcastSession::Lines(lines) => lines.decode(input),
            BroadcastSession::Length(framing) => framing.decode(input),
        };
        found.map(|found| found.map(|found| found.len))
    }

    fn too_long(&self) -> ProtocolError {
        match self {
            BroadcastSession::Lines(_) => ProtocolError::LineTooLong,
            BroadcastSession::Length(_) => ProtocolError::MessageTooLong,
        }
    }
}
