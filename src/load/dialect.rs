//! What a client says and what it accepts as an answer.

use super::Fault;
use crate::reactor::{Context, RingBuffer, Token};

/// One protocol of questions and answers, each question answered once and in order.
pub(super) trait Dialect {
    /// What is remembered of a connection from one read to the next.
    type Stream: Default;

    /// Queues message `number` of a connection; the first one, of number 0, proves that it works.
    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, number: u64);

    /// Takes what is there of answers out of `input` and compares every byte. `asked` messages
    /// were sent on this connection so far.
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
    /// Answers that are whole now.
    pub(super) complete: u64,
    /// Bytes in which they came.
    pub(super) bytes: u64,
    /// Among them those that say no.
    pub(super) refusals: Option<(Fault, u64)>,
    /// The server said that it closes the connection behind the last of them.
    pub(super) is_last: bool,
}
