//! One end of a TCP connection, as the process that holds it sees it: what has arrived, what is on
//! its way, how it ended, and the state that `tcp_poll` would report.
//!
//! ```text
//!   inbox  [ arrived, may be read | on its way ]      capacity: both buffers and the wire together
//!            ^ urgent mark: a read stops before it
//! ```
//!
//! The two buffers of a direction, the sender's and the receiver's, are one queue here, of which a
//! first part has arrived. What the sender may still send is what is left of the capacity.

use std::collections::VecDeque;

use crate::NONE;
use crate::epoll::{ERR, HUP, IN, OUT, PRI, RDHUP};

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stage: Stage,
    /// The process's descriptor, as an index of the file table; `NONE` for the simulated peers,
    /// which need none, and after a close.
    pub(crate) file: u32,
    /// The other end. For a listener, its place in the table of listeners.
    pub(crate) other: u32,
    pub(crate) inbox: VecDeque<u8>,
    /// So many bytes of the inbox have arrived.
    pub(crate) arrived: u32,
    pub(crate) capacity: u32,
    /// An urgent byte stands before this position of the inbox. It is not in the inbox itself:
    /// nobody here asks for it.
    pub(crate) mark: Option<u32>,
    pub(crate) mark_arrived: bool,
    /// The peer's end of stream.
    pub(crate) fin: Flight,
    /// A reset is on its way here.
    pub(crate) reset_coming: bool,
    /// `sk_err`: told once, by the next call or by `SO_ERROR`.
    pub(crate) error: i32,
    pub(crate) shut_read: bool,
    pub(crate) shut_write: bool,
    /// `SOCK_NOSPACE`: bytes were refused, so an event follows when a third of the room is free.
    pub(crate) refused: bool,
    /// Room there is, but the acknowledgement that says so is on its way.
    pub(crate) room_coming: bool,
    pub(crate) linger_zero: bool,
    /// When its process asked for that.
    pub(crate) linger_zero_ns: u64,
    pub(crate) is_nonblocking: bool,
    /// Closed by its process. It lives on until the other end is closed as well.
    pub(crate) is_released: bool,
    pub(crate) is_on_the_way: bool,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    /// Bytes that its process handed over, and took.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Turn time at which its process last sent or received a byte.
    pub(crate) active_ns: u64,
    /// The longest time for which it did neither.
    pub(crate) quiet_ns: u64,
    pub(crate) sent_at_ns: u64,
    /// When bytes were refused last.
    pub(crate) refused_at_ns: u64,
    /// A fault, or the peer, ended it before its time.
    pub(crate) was_cut: bool,
    /// A read said that the stream is over, or why it failed.
    pub(crate) end_was_told: bool,
    /// For an end that a simulated peer holds: the number of its meeting with the program.
    pub(crate) meeting: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Fresh,
    Listening,
    /// The SYN is on its way to `remote`.
    Connecting,
    Connected,
    /// Reset, refused or timed out.
    Dead,
    /// The place in the table is free.
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flight {
    NotSent,
    Coming,
    Arrived,
}

/// IPv4, both numbers in host order; or [`UNIX`](Self::UNIX).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: u32,
    pub(crate) port: u16,
}

impl Address {
    /// The one path in the file system that anybody listens on.
    pub(crate) const UNIX: Address = Address { ip: u32::MAX, port: 1 };
}

impl Socket {
    /// A Unix socket, as its process holds it, differs in this: a short read or write proves nothing
    /// (M17), and nothing of it is reset.
    pub(crate) fn is_unix(&self) -> bool {
        self.local == Address::UNIX
    }

    pub(crate) fn new() -> Self {
        Socket {
            stage: Stage::Fresh,
            file: NONE,
            other: NONE,
            inbox: VecDeque::new(),
            arrived: 0,
            capacity: 0,
            mark: None,
            mark_arrived: false,
            fin: Flight::NotSent,
            reset_coming: false,
            error: 0,
            shut_read: false,
            shut_write: false,
            refused: false,
            room_coming: false,
            linger_zero: false,
            linger_zero_ns: 0,
            is_nonblocking: false,
            is_released: false,
            is_on_the_way: false,
            local: Address::default(),
            remote: Address::default(),
            sent: 0,
            received: 0,
            active_ns: 0,
            quiet_ns: 0,
            sent_at_ns: 0,
            refused_at_ns: 0,
            was_cut: false,
            end_was_told: false,
            meeting: NONE,
        }
    }

    /// As new, with the storage that its inbox had.
    pub(crate) fn renew(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.clear();
        *self = Socket { inbox, ..Socket::new() };
    }

    /// Bytes that may be read before the urgent mark.
    pub(crate) fn readable_len(&self) -> usize {
        match self.mark {
            Some(mark) if mark > 0 => self.arrived.min(mark) as usize,
            _ => self.arrived as usize,
        }
    }

    /// Whether the next read has something new to say: bytes, the end, or an error.
    pub(crate) fn has_input(&self) -> bool {
        let is_over = self.fin == Flight::Arrived || self.stage == Stage::Dead;
        self.arrived > 0 || (is_over && !self.end_was_told)
    }

    /// Its process moved a byte.
    pub(crate) fn moved(&mut self, now_ns: u64) {
        self.quiet_ns = self.quiet_ns.max(now_ns - self.active_ns);
        self.active_ns = now_ns;
    }

    /// Whether the kernel has promised to say when bytes can be sent again.
    pub(crate) fn owes_room(&self) -> bool {
        self.refused || self.room_coming
    }

    /// What a sender to this socket may still send.
    pub(crate) fn room(&self) -> usize {
        (self.capacity as usize).saturating_sub(self.inbox.len())
    }

    /// `sk_stream_is_writeable`: a third of the buffer is free.
    pub(crate) fn has_a_third_free(&self) -> bool {
        let room = self.room();
        room > 0 && room * 3 >= self.capacity as usize
    }

    /// `tcp_poll`, without what only the other end knows: whether it has room.
    pub(crate) fn state_bits(&self, may_send: bool) -> u32 {
        let ended = self.fin == Flight::Arrived || self.shut_read;
        let mut bits = match self.stage {
            Stage::Connecting | Stage::Listening | Stage::Free => return 0,
            Stage::Fresh => return OUT | HUP,
            Stage::Dead => IN | OUT | RDHUP | HUP,
            Stage::Connected => 0,
        };
        if ended {
            bits |= IN | RDHUP;
        }
        if ended && self.shut_write {
            bits |= HUP;
        }
        if self.arrived > 0 {
            bits |= IN;
        }
        if self.mark.is_some() && self.mark_arrived {
            bits |= PRI;
        }
        if self.shut_write || may_send {
            bits |= OUT;
        }
        if self.error != 0 {
            bits |= ERR;
        }
        bits
    }

    /// Takes what has arrived, up to `into.len()` bytes and not across the urgent mark.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> usize {
        if self.mark == Some(0) && self.mark_arrived {
            // The read begins at the mark and passes it.
            (self.mark, self.mark_arrived) = (None, false);
        }
        let n = self.readable_len().min(into.len());
        let (front, back) = self.inbox.as_slices();
        let from_front = n.min(front.len());
        into[..from_front].copy_from_slice(&front[..from_front]);
        into[from_front..n].copy_from_slice(&back[..n - from_front]);
        self.inbox.drain(..n);
        self.arrived -= n as u32;
        self.mark = self.mark.map(|mark| mark.saturating_sub(n as u32));
        n
    }
}
