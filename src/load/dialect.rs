//! What a client says and what it accepts as an answer.

use std::fmt;

use super::fault::Fault;
use crate::reactor::{Context, RingBuffer, Token};

/// One protocol of questions and answers, each question answered once and in order.
pub(super) trait Dialect {
    /// What is remembered of a connection from one read to the next.
    type Stream: Default;

    /// Queues message `number` of a connection. Message 0 proves that the connection works.
    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, number: u64);

    /// Takes answers out of `input` and compares every byte: all answers that are there, or those up to the
    /// first answer that says no. `asked` messages were sent on this connection so far.
    ///
    /// # Errors
    /// What is wrong with the answer; the connection is of no more use then.
    fn answers(
        &mut self,
        asker: Asker,
        stream: &mut Self::Stream,
        asked: u64,
        input: &mut RingBuffer,
    ) -> Result<Answers, Fault>;

    /// The server finished sending; whether that completes an answer.
    fn ended(&mut self, stream: &mut Self::Stream) -> Answers {
        let _ = stream;
        Answers::default()
    }

    /// Whether a server may close a connection of this protocol while messages are on their way to
    /// it, so that they are to be sent again: no byte of the next answer has come, and a message that
    /// is carried out twice does what it does once.
    fn may_ask_again(&self, stream: &Self::Stream) -> bool {
        let _ = stream;
        false
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) token: Token,
    /// The number of the client over all threads.
    pub(super) client: usize,
    /// Where its bytes begin in the pattern.
    pub(super) origin: u64,
}

/// What one read completed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Answers that are whole now, and right.
    pub(super) right: u64,
    /// Bytes in which they came.
    pub(super) bytes: u64,
    /// The answer behind them, which says no. There may be more behind it.
    pub(super) refusal: Option<Refusal>,
    /// The server said that it closes the connection behind the last of them.
    pub(super) is_last: bool,
}

impl Answers {
    /// Whether nothing was completed.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.right == 0 && self.refusal.is_none() && !self.is_last
    }
}

/// Takes all of `input`, as answers of which each has `len` bytes and every byte is known; so many bytes were
/// `received` before, and whether some are right from there on is said by `is_right`.
///
/// # Errors
/// There are more bytes than were asked for, or they are not right.
#[inline]
pub(super) fn take_equal(
    len: u64,
    received: &mut u64,
    asked: u64,
    input: &mut RingBuffer,
    is_right: impl Fn(u64, &[u8]) -> bool,
) -> Result<Answers, Fault> {
    let before = *received;
    *received += input.len() as u64;
    if *received > asked * len {
        return Err(Fault::SurplusByte);
    }
    let (first, second) = input.as_slices();
    if !is_right(before, first) || !is_right(before + first.len() as u64, second) {
        return Err(Fault::WrongByte);
    }
    input.clear();
    let right = *received / len - before / len;
    Ok(Answers { right, bytes: right * len, ..Answers::default() })
}

/// An answer that keeps to the protocol, and is not the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Of HTTP: another status than 2xx.
    Status(u16),
    /// Of Redis: the first word of an error, with zeros behind it.
    Error([u8; WORD_MAX]),
}

impl Refusal {
    /// The refusal of an error's line, without its first character: `NOAUTH Authentication required`.
    pub(super) fn of_error(line: &[u8]) -> Refusal {
        let is_letter = |byte: &&u8| byte.is_ascii_uppercase() || **byte == b'_';
        let mut word = [0; WORD_MAX];
        word.iter_mut().zip(line.iter().take_while(is_letter)).for_each(|(to, from)| *to = *from);
        Refusal::Error(word)
    }

    pub(super) fn fault(self) -> Fault {
        match self {
            Refusal::Status(_) => Fault::BadStatus,
            Refusal::Error(_) => Fault::ErrorReply,
        }
    }
}

impl fmt::Display for Refusal {
    /// `404`, `NOAUTH`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Status(status) => write!(f, "{status}"),
            Refusal::Error([0, ..]) => f.write_str("?"),
            Refusal::Error(word) => word
                .iter()
                .take_while(|byte| **byte > 0)
                .try_for_each(|byte| write!(f, "{}", char::from(*byte))),
        }
    }
}

/// Longer than the first word of any error that Redis has.
const WORD_MAX: usize = 16;
