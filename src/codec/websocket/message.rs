//! Frames become messages.

use super::frame::{Frame, Kind};

/// A whole message, or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// Wants a pong with the same payload.
    Ping(&'a [u8]),
    /// Answers a ping, or is a sign of life.
    Pong(&'a [u8]),
    /// The peer closes, perhaps with a code and a reason; it wants a close frame in return.
    Close(Option<(u16, &'a str)>),
}

impl<'a> Message<'a> {
    /// What a frame says by itself, of which [`Frames`](super::Frames) has seen that it is right.
    pub fn of(kind: Kind, payload: &'a [u8]) -> Self {
        // The text was checked as it arrived, so that the empty one never stands in for it.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        match kind {
            Kind::Text => Message::Text(text(payload)),
            Kind::Binary | Kind::Continuation => Message::Binary(payload),
            Kind::Ping => Message::Ping(payload),
            Kind::Pong => Message::Pong(payload),
            Kind::Close => {
                let told = payload.split_first_chunk();
                Message::Close(told.map(|(code, reason)| (u16::from_be_bytes(*code), text(reason))))
            }
        }
    }
}

/// Joins the fragments of one message. One that came in a single frame is passed on where it lies.
///
/// It trusts [`Frames`](super::Frames) for the order of frames, for UTF-8 and for the limit, which
/// is also the most that it holds.
///
/// ```
/// use edgeloop::codec::websocket::{Assembler, Frame, Kind, Message};
/// let mut assembler = Assembler::default();
/// let begin = Frame { kind: Kind::Text, is_final: false, payload: b"he" };
/// let end = Frame { kind: Kind::Continuation, is_final: true, payload: b"llo" };
/// assert_eq!(assembler.join(begin), None);
/// assert_eq!(assembler.join(end), Some(Message::Text("hello")));
/// ```
#[derive(Debug, Default)]
pub struct Assembler {
    /// Boxed, because hardly any connection has one: an idle one pays for a null pointer.
    begun: Option<Box<Begun>>,
}

#[derive(Debug)]
struct Begun {
    kind: Kind,
    bytes: Vec<u8>,
    is_whole: bool,
}

impl Assembler {
    /// Takes a frame. Returns the message that it completes, or the control frame that it is.
    pub fn join<'a>(&'a mut self, frame: Frame<'a>) -> Option<Message<'a>> {
        if self.begun.as_ref().is_some_and(|begun| begun.is_whole) {
            self.begun = None;
        }
        if frame.kind.is_control() || (frame.is_final && self.begun.is_none()) {
            return Some(Message::of(frame.kind, frame.payload));
        }
        let begun = self.begun.get_or_insert_with(|| {
            Box::new(Begun { kind: frame.kind, bytes: Vec::new(), is_whole: false })
        });
        begun.bytes.extend_from_slice(frame.payload);
        begun.is_whole = frame.is_final;
        self.whole()
    }

    /// The message that the last fragment completed, until the next frame is taken: for whoever
    /// could not use it at once.
    pub fn whole(&self) -> Option<Message<'_>> {
        let begun = self.begun.as_ref().filter(|begun| begun.is_whole)?;
        Some(Message::of(begun.kind, &begun.bytes))
    }

    /// Drops a message that was whole, and its memory.
    pub fn release(&mut self) {
        self.begun.take_if(|begun| begun.is_whole);
    }

    /// Bytes of memory held for fragments.
    pub fn memory(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.bytes.capacity())
    }
}
