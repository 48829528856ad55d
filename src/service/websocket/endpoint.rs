//! One open WebSocket: from its input to messages, and from messages to its output.

use crate::codec::websocket::{
    Assembler, Frame, Frames, Kind, Message, WebSocketError, close_code, close_frame, frame_head,
};
use crate::codec::{Codec, Decoded};
use crate::reactor::{CloseReason, Context, RingBuffer, Token};

/// What is kept for an open WebSocket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    frames: Frames,
    assembler: Assembler,
    /// A frame at the front of the input that was decoded, but whose message could not be taken.
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    kind: Kind,
    /// Whether the message is in the assembler, or in the frame.
    is_joined: bool,
    frame_len: u32,
    payload_len: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The message was used.
    Taken,
    /// The message could not be used yet; the connection is held, and the message is offered again.
    Held,
    /// The message was used, and nothing more is to be taken from this client.
    Stop,
}

/// Memory for fragments of messages that are not whole, over all connections of a handler.
#[derive(Debug)]
pub(crate) struct Memory {
    used: usize,
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Memory { used: 0 }
    }
}

impl Endpoint {
    /// For messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Endpoint { frames: Frames::new(limit), assembler: Assembler::default(), held: None }
    }

    /// Gives each whole message to `take`, control frames included; then does what these ask for: a
    /// ping is answered, a close frame too, and ends the connection.
    ///
    /// # Errors
    /// When the client breaks the rules. The client has not been told so yet.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        input: &mut RingBuffer,
        memory: &mut Memory,
        take: impl FnMut(&mut Context<'_>, Message<'_>) -> Flow,
    ) -> Result<(), WebSocketError> {
        let outcome = self.receive_all(cx, token, input, memory, take);
        if outcome.is_err() {
            // The end of the connection may take long.
            self.release(memory);
        }
        outcome
    }

    fn receive_all(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        input: &mut RingBuffer,
        memory: &mut Memory,
        mut take: impl FnMut(&mut Context<'_>, Message<'_>) -> Flow,
    ) -> Result<(), WebSocketError> {
        while !cx.is_held(token) {
            let before = self.assembler.memory();
            let Some((held, message)) = self.next(input.contiguous())? else { return Ok(()) };
            cx.charge(FRAME_WORK + held.payload_len as usize / 2);
            let flow = message.map_or(Flow::Taken, |message| {
                let flow = take(cx, message);
                if flow == Flow::Taken {
                    answer(cx, token, message);
                }
                flow
            });
            self.held = (flow == Flow::Held).then_some(held);
            if flow != Flow::Held {
                input.consume(held.frame_len as usize);
                self.assembler.release();
            }
            memory.used = (memory.used + self.assembler.memory()).saturating_sub(before);
            if memory.used > cx.config().buffer_memory && self.assembler.memory() > 0 {
                return Err(WebSocketError::NoMemory);
            }
            if flow != Flow::Taken {
                return Ok(());
            }
        }
        Ok(())
    }

    /// No message becomes whole any more: what its fragments held is free.
    pub(crate) fn release(&mut self, memory: &mut Memory) {
        memory.used = memory.used.saturating_sub(self.assembler.memory());
        self.assembler = Assembler::default();
    }

    /// The frame at the front of the input, and the message that is whole with it.
    fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<Option<(Held, Option<Message<'a>>)>, WebSocketError> {
        if let Some(held) = self.held {
            let end = held.frame_len as usize;
            let payload = input.get(end - held.payload_len as usize..end).unwrap_or_default();
            let message = match held.is_joined {
                true => self.assembler.whole(),
                false => Some(Message::of(held.kind, payload)),
            };
            return Ok(Some((held, message)));
        }
        let Some(Decoded { len, message: frame }) = self.frames.decode(input)? else {
            return Ok(None);
        };
        let Frame { kind, payload, .. } = frame;
        let held = Held {
            kind,
            is_joined: kind == Kind::Continuation,
            frame_len: len as u32,
            payload_len: payload.len() as u32,
        };
        Ok(Some((held, self.assembler.join(frame))))
    }
}

/// A frame is taken apart; its payload is unmasked and checked as text besides.
const FRAME_WORK: usize = 100;

/// What the protocol owes a control frame.
fn answer(cx: &mut Context<'_>, token: Token, message: Message<'_>) {
    match message {
        Message::Ping(payload) => {
            send(cx, token, Message::Pong(payload));
        }
        Message::Close(told) => {
            // The same code comes back, or none.
            cx.unsubscribe_all(token);
            match told {
                Some((code, _)) => cx.send(token, &close_frame(code, "")),
                None => cx.send(token, &frame_head(Kind::Close, 0)),
            };
            cx.close_for(token, CloseReason::PeerClosed);
        }
        Message::Text(_) | Message::Binary(_) | Message::Pong(_) => {}
    }
}

/// Queues a message in one frame. Returns whether it was taken, as
/// [`Context::send`](crate::Context::send) does. A [`Message::Close`] ends its subscriptions, since
/// nothing may follow it, but not the connection: [`close`] does both.
pub fn send(cx: &mut Context<'_>, token: Token, message: Message<'_>) -> bool {
    let (kind, payload) = match message {
        Message::Text(text) => (Kind::Text, text.as_bytes()),
        Message::Binary(bytes) => (Kind::Binary, bytes),
        Message::Ping(payload) => (Kind::Ping, payload),
        Message::Pong(payload) => (Kind::Pong, payload),
        Message::Close(told) => {
            let (code, reason) = told.unwrap_or((close_code::NORMAL, ""));
            // Behind a close frame there must be nothing.
            cx.unsubscribe_all(token);
            return cx.send(token, &close_frame(code, reason));
        }
    };
    cx.send_all(token, &[&frame_head(kind, payload.len()), payload])
}

/// Tells the client why, then ends the connection in good order: what is queued before is flushed,
/// what its topics have not given it yet is not.
/// The codes are those of [`close_code`](crate::codec::websocket::close_code), or 3000 to 4999.
pub fn close(cx: &mut Context<'_>, token: Token, code: u16, reason: &str) {
    send(cx, token, Message::Close(Some((code, reason))));
    cx.close(token);
}
