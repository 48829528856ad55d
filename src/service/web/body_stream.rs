//! A body that is handled while it arrives.

use std::fmt;

use crate::codec::http::{LAST_CHUNK, begin_chunk, end_chunk};
use crate::reactor::{Context, Token};

/// Is given a body piece by piece, and may answer as it goes. A client that does not read its answer
/// is not read further.
pub trait BodyStream: Send {
    /// The next bytes of the body.
    fn on_piece(&mut self, piece: &[u8], reply: &mut Reply<'_, '_>);

    /// The body has ended. A body that breaks off ends without this call.
    fn on_end(&mut self, reply: &mut Reply<'_, '_>) {
        let _ = reply;
    }

    /// The length of the answer's body, if it is known from the head; else it is sent in chunks. An
    /// answer that turns out shorter ends with the connection.
    fn reply_len(&self) -> Option<u64> {
        None
    }
}

/// How the body of a streamed answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Chunks,
    /// So many bytes more, as the head said.
    Exactly(u64),
    /// Up to the end of the connection.
    ToTheEnd,
    /// Not at all: of an answer that has none.
    Nothing,
}

/// Takes the body of a streamed answer.
pub struct Reply<'a, 'cx> {
    pub(super) cx: &'a mut Context<'cx>,
    pub(super) token: Token,
    pub(super) sending: &'a mut Sending,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Reply<'_, '_> {
    /// Queues bytes for the client; those beyond [`BodyStream::reply_len`] are dropped. More than
    /// [`Config::output_limit`](crate::Config::output_limit) at once closes the connection.
    pub fn write(&mut self, bytes: &[u8]) {
        match self.sending {
            _ if bytes.is_empty() => {}
            Sending::Nothing => {}
            Sending::Chunks => self.write_chunk(bytes),
            Sending::ToTheEnd => drop(self.cx.send(self.token, bytes)),
            Sending::Exactly(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= len as u64;
                self.cx.send(self.token, &bytes[..len]);
            }
        }
    }

    fn write_chunk(&mut self, bytes: &[u8]) {
        self.scratch.clear();
        begin_chunk(self.scratch, bytes.len());
        let head_len = self.scratch.len();
        end_chunk(self.scratch);
        let (head, end) = self.scratch.split_at(head_len);
        self.cx.send_all(self.token, &[head, bytes, end]);
    }

    /// Ends the body. Says whether the client has all that the head promised.
    pub(super) fn finish(&mut self) -> bool {
        if *self.sending == Sending::Chunks {
            self.cx.send(self.token, LAST_CHUNK);
        }
        !matches!(self.sending, Sending::Exactly(1..))
    }
}

impl fmt::Debug for Reply<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {:?})", self.token, self.sending)
    }
}
