//! What a client has queued since `MULTI`: the bytes of its requests, which are read again when the
//! transaction is carried out.

use super::command::Flags;
use super::fault::Fault;
use crate::codec::resp::{Request, Resp};
use crate::codec::{Codec, Decoded};

/// What a client has queued since `MULTI`.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// The requests one behind the other, each as an array.
    pub(super) requests: Vec<u8>,
    pub(super) count: usize,
    /// What any of them has.
    pub(super) flags: Flags,
    /// One of them was refused, so that none will be carried out.
    pub(super) is_spoilt: bool,
}

/// The work to read a command that is queued, to carry it out, and to answer it.
const COMMAND_COST: usize = 2 << 10;

impl Transaction {
    /// How many commands it has.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The work to carry it out, beside what its commands count themselves.
    pub(super) fn cost(&self) -> usize {
        self.requests.len() + (1 + self.count) * COMMAND_COST
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.requests.capacity()
    }

    /// Why it cannot be carried out.
    pub(super) fn refusal(&self) -> Option<Fault> {
        if self.is_spoilt {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Some(Fault::text(text));
        }
        None
    }

    pub(super) fn add(&mut self, flags: Flags, request: &Request<'_>) {
        self.requests.reserve_exact(self.spare() + self.growth(request.array_len()));
        request.write_array(&mut self.requests);
        self.count += 1;
        self.flags = self.flags.and(flags);
    }

    /// Bytes of memory by which the queue grows for another request: it doubles, at least.
    pub(super) fn growth(&self, len: usize) -> usize {
        let (queued, capacity) = (self.requests.len() + len, self.requests.capacity());
        if queued > capacity { queued.max(2 * capacity) - capacity } else { 0 }
    }

    /// Bytes of memory that it has and does not use.
    pub(super) fn spare(&self) -> usize {
        self.requests.capacity() - self.requests.len()
    }

    pub(super) fn memory_since(&self, before: usize) -> usize {
        self.requests.capacity() - before
    }

    /// Calls `act` with one request after another, and how many come behind it.
    pub(super) fn each(&mut self, mut act: impl FnMut(&Request<'_>, usize)) {
        let (mut codec, mut done, mut left) = (Resp::new(usize::MAX), 0, self.count);
        while let Ok(Some(Decoded { len, message })) = codec.decode(&mut self.requests[done..]) {
            left = left.saturating_sub(1);
            act(&message, left);
            done += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_grows_by_what_was_asked_for_before() {
        let mut transaction = Transaction::default();
        for len in [0, 10, 5_000, 1, 1, 60_000, 100] {
            let mut input = format!("ECHO {}\n", "x".repeat(len)).into_bytes();
            let decoded = Resp::new(usize::MAX).decode(&mut input);
            let Ok(Some(Decoded { message, .. })) = decoded else { panic!("it is a request") };
            let (before, growth) = (transaction.memory(), transaction.growth(message.array_len()));
            transaction.add(Flags::default(), &message);
            assert_eq!(transaction.memory(), before + growth, "for {len} bytes");
        }
    }
}
