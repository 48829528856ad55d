//! Delivers each message from one client to every other client.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rate::RATE_MAX;
use super::throttle::{Throttle, Throttled};
use crate::codec::{
    Codec, Delimited, FrameError, LengthPrefixed, NO_HTTP, NO_TLS, begins_tls, is_request_line,
};
use crate::reactor::{
    CloseReason, Context, Handler, ProtocolError, PublishError, RingBuffer, Start, Token,
    TopicConfig, TopicId,
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
///
/// A client that ends its side is given what was published until then, and closed. But a client that ends
/// its side within a second, without having sent a byte, has no input at all, such as `nc` in a script
/// with `/dev/null`: it listens on. A client that has gone altogether looks the same until something is
/// sent to it. So the places of such listeners are limited, while no message comes, to a quarter of
/// [`Config::connections_max`](crate::Config::connections_max), and to 1024. Beyond that the listener
/// that ended its side first is closed.
///
/// Lines that are the greeting of TLS, or a request of HTTP, are published to nobody.
#[derive(Debug)]
pub struct Broadcast {
    framing: Framing,
    input_limit: usize,
    config: TopicConfig,
    topic: Option<TopicId>,
    /// Clients that have ended their side and listen on, if no message was published since. Numbered in
    /// the order in which they ended: the longest first.
    unproven: BTreeMap<u64, Token>,
    listeners_ended: u64,
    throttle: Throttle,
}

/// What is kept for one client.
#[derive(Debug)]
pub struct BroadcastSession {
    /// How far its unfinished message was searched.
    messages: Messages,
    /// When it came, in milliseconds of the throttle's clock.
    opened_ms: u32,
    has_sent: bool,
    throttled: Throttled,
    /// The client has ended its side, and listens on: its number in `unproven`.
    ended: Option<u64>,
}

#[derive(Debug)]
enum Messages {
    Lines(Delimited),
    Length(LengthPrefixed),
}

/// A client that ends its side without a byte does so at once when it has no input, and later when
/// it is told to go.
const LISTENER_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Listeners that have ended their side and were sent nothing since: the check of a balancer that
/// connects each second leaves so many in a quarter of an hour, and `--keepalive` finds them sooner.
const UNPROVEN_MAX: usize = 1024;

/// The share of all connections that such listeners may have: one in so many.
const UNPROVEN_SHARE: usize = 4;

impl Broadcast {
    /// A broadcast of messages of at most `input_limit` bytes, on a topic with these limits.
    pub fn new(framing: Framing, input_limit: usize, config: TopicConfig) -> Self {
        Broadcast {
            framing,
            input_limit,
            config,
            topic: None,
            unproven: BTreeMap::new(),
            listeners_ended: 0,
            throttle: Throttle::new(0),
        }
    }

    /// Takes at most `rate` messages a second from each client, and as many at once, or 16 if that is
    /// more; 0 is any number, and [`RATE_MAX`] the most. Beyond it a client is read more slowly, and loses
    /// nothing.
    pub fn rate(mut self, rate: u32) -> Self {
        self.throttle = Throttle::new(rate.min(RATE_MAX));
        self
    }

    fn topic(&mut self, cx: &mut Context<'_>) -> TopicId {
        *self.topic.get_or_insert_with(|| cx.create_topic(self.config.clone()))
    }

    /// Whether a client that has ended its side came only to listen.
    fn listens(&self, cx: &Context<'_>, session: &BroadcastSession) -> bool {
        let age_ms = self.throttle.clock_ms(cx).wrapping_sub(session.opened_ms);
        !session.has_sent && u128::from(age_ms) <= LISTENER_ENDS_WITHIN.as_millis()
    }

    /// A client that has ended its side listens on. Nothing tells that it has not gone altogether.
    /// Returns its place among those.
    fn keep_listening(&mut self, cx: &mut Context<'_>, token: Token) -> u64 {
        self.listeners_ended += 1;
        self.unproven.insert(self.listeners_ended, token);
        let most = (cx.config().connections_max / UNPROVEN_SHARE).clamp(1, UNPROVEN_MAX);
        if self.unproven.len() > most
            && let Some((_, longest)) = self.unproven.pop_first()
        {
            cx.close(longest);
        }
        self.listeners_ended
    }

    /// Publishes a message to all others. A client that has gone answers the message with a reset.
    fn publish(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        message: &[u8],
    ) -> Result<(), PublishError> {
        let topic = self.topic(cx);
        cx.publish(topic, Some(token), message)?;
        self.unproven.clear();
        Ok(())
    }
}

impl Handler for Broadcast {
    type Session = BroadcastSession;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> BroadcastSession {
        let topic = self.topic(cx);
        cx.subscribe(token, topic, Start::Last(self.config.history));
        let messages = match self.framing {
            Framing::Lines => Messages::Lines(Delimited::lines(self.input_limit)),
            Framing::Length => Messages::Length(LengthPrefixed::new(self.input_limit)),
        };
        BroadcastSession {
            messages,
            opened_ms: self.throttle.clock_ms(cx),
            has_sent: false,
            throttled: self.throttle.client(cx),
            ended: None,
        }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut BroadcastSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        session.refuse_tls(input)?;
        // Each message counts as work, and beyond its share the client is held.
        while !cx.is_held(token) {
            let Some(len) = session.messages.next(input.contiguous())? else { break };
            session.refuse_http(input, len)?;
            if !self.throttle.admit(cx, token, &mut session.throttled) {
                return Ok(());
            }
            match self.publish(cx, token, &input.contiguous()[..len]) {
                Ok(()) => {
                    input.consume(len);
                    session.has_sent = true;
                }
                // It stays in the input, and is offered again when there is room.
                Err(PublishError::Full) => {
                    self.throttle.give_back(&mut session.throttled);
                    return Ok(());
                }
                Err(PublishError::TooLong | PublishError::Gone) => {
                    return Err(session.messages.too_long());
                }
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
        if input.is_empty() && self.listens(cx, session) {
            session.ended = Some(self.keep_listening(cx, token));
            return Ok(());
        }
        if let Messages::Lines(_) = session.messages
            && !input.is_empty()
        {
            session.refuse_http(input, input.len())?;
            if !self.throttle.admit(cx, token, &mut session.throttled) {
                return Ok(());
            }
            // A last line without a newline is a line all the same.
            let line = [&*input.contiguous(), b"\n"].concat();
            match self.publish(cx, token, &line) {
                // It stays in the input; the end is told again when there is room.
                Err(PublishError::Full) => {
                    self.throttle.give_back(&mut session.throttled);
                    return Ok(());
                }
                _ => input.clear(),
            }
        }
        cx.close(token);
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _session: &mut BroadcastSession) {
        // There is a token for its next message.
        cx.resume(token);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.throttle.on_alarm(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, _session: &mut BroadcastSession) {
        // Subscribers never finish by themselves. What was published is still delivered.
        cx.close(token);
    }

    fn on_close(
        &mut self,
        _cx: &mut Context<'_>,
        _token: Token,
        session: BroadcastSession,
        _reason: CloseReason,
    ) {
        if let Some(place) = session.ended {
            self.unproven.remove(&place);
        }
    }
}

impl BroadcastSession {
    /// Before its first line is taken, looks whether that is one.
    fn refuse_tls(&self, input: &mut RingBuffer) -> Result<(), ProtocolError> {
        let is_line = matches!(self.messages, Messages::Lines(_));
        if is_line && !self.has_sent && begins_tls(input.contiguous()) {
            input.clear();
            return Err(ProtocolError::malformed(NO_TLS));
        }
        Ok(())
    }

    /// Before its first line, of `len` bytes, is published, looks whether a browser sends it.
    fn refuse_http(&self, input: &mut RingBuffer, len: usize) -> Result<(), ProtocolError> {
        let is_line = matches!(self.messages, Messages::Lines(_));
        if is_line && !self.has_sent && is_request_line(&input.contiguous()[..len]) {
            input.clear();
            return Err(ProtocolError::malformed(NO_HTTP));
        }
        Ok(())
    }
}

impl Messages {
    /// The length of the first whole message, with its delimiter or header.
    fn next(&mut self, input: &mut [u8]) -> Result<Option<usize>, FrameError> {
        let found = match self {
            Messages::Lines(lines) => lines.decode(input),
            Messages::Length(framing) => framing.decode(input),
        };
        found.map(|found| found.map(|found| found.len))
    }

    fn too_long(&self) -> ProtocolError {
        match self {
            Messages::Lines(_) => ProtocolError::LineTooLong,
            Messages::Length(_) => ProtocolError::MessageTooLong,
        }
    }
}
