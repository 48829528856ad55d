//! One connection: its socket, its two rings, and what the kernel has said about it.
//!
//! ```text
//!          accepted, with a preface or a layer
//!                     |
//!   established       v       greeted
//!      +--------> Greeting ------+
//!      |              |          v        close              nothing owed
//!  Connecting --------|------> Open ------------> Closing ---------------> Lingering ----> Closed
//!      |              |          | error           ^  |                        |              ^
//!      |              |          v       layer     |  |                        |              |
//!      |              |       Severed -------------+  |                        |              |
//!      |              |          |      failed     |  |                        |              |
//!      |              +----------|-----------------+  |                        |              |
//!      +--------------+----------+--------------------+------------------------+--------------+
//!               abort, error, deadline; or the peer has ended too and nothing is owed
//!
//!  Connecting  waits for the kernel; never reads     Closing    flushes; reads and drops
//!  Greeting    a balancer introduces its client,     Lingering  has sent its FIN; reads and drops
//!              a layer greets; no handler yet                   until the peer's FIN, a deadline
//!  Open        reads, hands over, sends                         or a byte limit
//!  Severed     sends no more; reads and hands over   Closed     freed at the end of the turn
//!              what the peer sent before the error
//! ```
//!
//! A subscriber that was too slow goes from `Open` to `Lingering` at once, without a FIN (`closing`, `let_go`).
//!
//! `readable` and `writable` are set by an event, and cleared only by a call that proves the opposite:
//!
//! | call | proves that the socket is | therefore |
//! | --- | --- | --- |
//! | read says `WouldBlock`, an error, or 0 | empty for now, or for ever | `readable` is cleared |
//! | read fills a part of the room that it was given | empty, on plain TCP, unless an end or an urgent byte is announced | `readable` is cleared |
//! | the same on a Unix socket or a layer, before an end or an urgent byte, or with `strict_drain` | nothing: the read may have stopped early, and what is left was announced already | `readable` stays |
//! | read fills all the room | nothing | `readable` stays |
//! | write says `WouldBlock`, or takes a part (plain TCP) | full | `writable` is cleared |
//!
//! Every question of scheduling is a function of this state:
//! [`wants_visit`](Connection::wants_visit), [`wants_flush`](Connection::wants_flush).

use std::io;
use std::num::NonZeroU32;

use crate::sockets::address::Peer;
use crate::sockets::event_list::Edge;
use crate::sockets::stream::{Sent, Stream};
use crate::structures::buffer_pool::BufferPool;
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::subscriptions::NONE;
use crate::vocabulary::close_reason::CloseReason;

/// What the loop touches for every message: one cache line, and aligned to be one.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) input: RingBuffer,
    pub(super) output: RingBuffer,
    /// Tells this connection from those that had the slot before.
    pub(super) generation: u32,
    /// Stamp (turn time in wrapping milliseconds): when a byte last moved in either direction, or the
    /// last hold that this server caused was lifted.
    pub(super) active_ms: u32,
    /// Stamp: since when the connection waits for its peer. In `Connecting`, `Greeting` and `Lingering`:
    /// when that state began. In `Open` and `Closing`, while `stalled`: when the socket last took a byte,
    /// or else when it began to take none.
    pub(super) waiting_since_ms: u32,
    /// Stamp at which the handler's timer is due. 0 is left out, because that would be no timer.
    pub(super) timer_ms: Option<NonZeroU32>,
    /// Topics with messages for this connection form a circular list, linked by
    /// `Subscription::next_pending`. Stored here is the tail: the entry after the tail is served next,
    /// so that append and pop both cost one step.
    pub(super) pending: u32,
    pub(super) state: State,
    /// Why the connection ends; meaningful from `Closing` and `Severed` on.
    pub(super) reason: CloseReason,
    pub(super) hold: Hold,
    pub(super) habits: Habits,
    /// The kernel said that a read may succeed, and no read has proved the opposite.
    pub(super) readable: bool,
    /// The kernel said that a write may succeed, and no write has proved the opposite.
    pub(super) writable: bool,
    /// What events said about the end of the stream since a read last said `WouldBlock`.
    pub(super) announced: Announced,
    pub(super) input_end: InputEnd,
    /// The handler left input behind because the connection was held. The input is offered again when
    /// the hold is lifted, although no event comes.
    pub(super) input_left: bool,
    /// The socket refused bytes: output waits for the peer since `waiting_since_ms`.
    pub(super) stalled: bool,
    pub(super) on_ready_list: bool,
    pub(super) on_dirty_list: bool,
}

/// What the echo of a message does not touch, kept out of the cache line above.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) peer: Peer,
    /// The first of the connection's subscriptions; the others follow by `Subscription::next`.
    pub(super) subscriptions: u32,
    /// Bytes dropped while lingering.
    pub(super) discarded: u32,
}

/// What lies behind the bytes that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Announced {
    Nothing,
    /// The stream ends, or an urgent byte cuts the stream: a short read proves nothing.
    End,
    /// The socket takes no more bytes either. A read says 0 here too, and does not say why.
    HangUp,
}

/// How far the end of the peer's stream has come. Behind the end nothing is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InputEnd {
    Flowing,
    /// A read returned 0, or failed. The handler has not been told.
    Ended,
    /// `on_end` was called.
    Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    /// Established, and not open yet: a balancer introduces its client, or a layer greets.
    Greeting,
    Open,
    /// The socket failed. What the peer sent before that is still read and handed over.
    Severed,
    Closing,
    Lingering,
    Closed,
}

/// Why a connection is not read although it could be: a set of reasons, of which one is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold(u8);

impl Hold {
    /// The handler paused it.
    pub(super) const PAUSED: Hold = Hold(1);
    /// The handler lets it wait for other connections.
    pub(super) const PUT_OFF: Hold = Hold(2);
    /// Its output is above the high-water mark.
    pub(super) const CONGESTED: Hold = Hold(4);
    /// It publishes to a topic that has no room.
    pub(super) const TOPIC: Hold = Hold(8);
    /// The buffer memory is spent.
    pub(super) const MEMORY: Hold = Hold(16);
    /// The slice of its visit is spent. Set only while its callback runs.
    pub(super) const SPENT: Hold = Hold(32);

    /// The holds that a handler sets.
    pub(super) const BY_HANDLER: Hold = Hold(Hold::PAUSED.0 | Hold::PUT_OFF.0);
    /// The holds that this server caused. While one is set the peer does not count as idle.
    pub(super) const OURS: Hold = Hold(Hold::TOPIC.0 | Hold::MEMORY.0 | Hold::PUT_OFF.0);

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one of these is set.
    pub(super) fn has(self, any: Hold) -> bool {
        self.0 & any.0 != 0
    }

    pub(super) fn insert(&mut self, hold: Hold) {
        self.0 |= hold.0;
    }

    pub(super) fn remove(&mut self, hold: Hold) {
        self.0 &= !hold.0;
    }
}

/// How a connection is used: a set, because a byte for each would not fit into the cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Habits(u8);

impl Habits {
    /// Silence is what the connection is there for: the idle timeout does not run.
    pub(super) const SILENT: Habits = Habits(1);
    /// Its last visit left nothing to be read or handled. A newcomer has had none.
    pub(super) const FINISHED: Habits = Habits(2);

    pub(super) fn has(self, habit: Habits) -> bool {
        self.0 & habit.0 != 0
    }

    pub(super) fn set(&mut self, habit: Habits, is_so: bool) {
        self.0 = if is_so { self.0 | habit.0 } else { self.0 & !habit.0 };
    }
}

// mio's sockets carry a registration check in debug builds, so only a release build has the real
// size.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Connection>() <= 64 && size_of::<Details>() <= 24);

/// What one [`fill`](Connection::fill) did.
#[derive(Debug, Default)]
pub(super) struct Fill {
    pub(super) bytes: usize,
    pub(super) calls: u64,
    pub(super) error: Option<io::Error>,
}

impl Connection {
    pub(super) fn new(stream: Stream, generation: u32, state: State, now_ms: u32) -> Self {
        Connection {
            stream,
            input: RingBuffer::new(),
            output: RingBuffer::new(),
            generation,
            active_ms: now_ms,
            waiting_since_ms: now_ms,
            timer_ms: None,
            pending: NONE,
            state,
            reason: CloseReason::Closed,
            hold: Hold::default(),
            habits: Habits::default(),
            readable: false,
            writable: false,
            announced: Announced::Nothing,
            input_end: InputEnd::Flowing,
            input_left: false,
            stalled: false,
            on_ready_list: false,
            on_dirty_list: false,
        }
    }

    /// Remembers what an event said. An event only sets bits. Whether anything is done about these bits
    /// now is decided elsewhere.
    pub(super) fn note(&mut self, edge: Edge) {
        let Edge { read_closed: ends, urgent, .. } = edge;
        // ET: an error or a hang-up is told once as well. The next read or write says what happened.
        let broken = edge.error || edge.write_closed;
        let announced = if edge.write_closed {
            Announced::HangUp
        } else if ends || urgent || broken {
            Announced::End
        } else {
            Announced::Nothing
        };
        self.announced = self.announced.max(announced);
        let may_read = edge.readable || ends || urgent || broken;
        self.readable |= may_read && !self.input_has_ended();
        self.writable |= edge.writable || broken;
    }

    /// Whether the read phase has something to do here.
    // ET: no event repeats what is noted here, so `Lists::update` asks this after everything that may
    // have changed the answer.
    pub(super) fn wants_visit(&self) -> bool {
        match self.state {
            State::Open | State::Severed if self.hold.is_empty() => {
                self.readable || self.input_left || self.input_end == InputEnd::Ended
            }
            State::Closing | State::Lingering => self.readable,
            // Holds of the handler are for later.
            State::Greeting if !self.hold.has(Hold::MEMORY) => {
                self.readable || (self.writable && self.stream.owes_output())
            }
            State::Open | State::Severed => false,
            State::Connecting | State::Greeting | State::Closed => false,
        }
    }

    /// Whether it goes before connections that make work for many visits: nothing was left of its last
    /// visit, and nothing waits for its peer to read.
    pub(super) fn is_prompt(&self) -> bool {
        self.habits.has(Habits::FINISHED) && !self.stalled
    }

    /// Whether a read may bring bytes, and the handler may be given them.
    pub(super) fn may_read(&self) -> bool {
        self.readable && self.is_free()
    }

    /// Whether everything that the peer will ever send was read.
    pub(super) fn input_has_ended(&self) -> bool {
        self.input_end != InputEnd::Flowing
    }

    /// Whether the handler is given what arrives.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.state, State::Open | State::Severed)
    }

    /// Whether the handler may be given input now.
    pub(super) fn is_free(&self) -> bool {
        self.is_served() && self.hold.is_empty()
    }

    /// Whether the handler is given input later, when the hold is lifted.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_served() && !self.hold.is_empty()
    }

    /// Whether the flush phase has something to do here.
    pub(super) fn wants_flush(&self) -> bool {
        match self.state {
            State::Connecting => self.writable,
            State::Open => self.writable && self.owes_anything(),
            // With nothing left to send, the next step of the close is due.
            State::Closing => self.writable || !self.owes_anything(),
            State::Greeting | State::Severed | State::Lingering | State::Closed => false,
        }
    }

    /// Whether a half-closed connection was reset: the peer ended, the handler was told, we have not
    /// ended, and the kernel says that the socket takes no more bytes.
    // ET: the hang-up may have been told in one event with the end, before the end was read.
    pub(super) fn is_hung_up(&self) -> bool {
        let is_half_closed = self.state == State::Open && self.input_end == InputEnd::Told;
        is_half_closed && self.announced == Announced::HangUp
    }

    /// Whether bytes wait for the peer, in the output or in a topic.
    pub(super) fn owes_output(&self) -> bool {
        !self.output.is_empty() || self.pending != NONE
    }

    /// Whether bytes wait for the peer, in a layer of the stream included.
    pub(super) fn owes_anything(&self) -> bool {
        self.owes_output() || self.stream.owes_output()
    }

    /// Gives the connection its reason to end, unless it has one: the first reason counts. Only after
    /// `PeerClosed`, while output still waits, may a worse reason take its place.
    pub(super) fn set_reason(&mut self, reason: CloseReason) {
        let undecided = matches!(self.state, State::Connecting | State::Greeting | State::Open);
        let was_in_order = self.state == State::Closing && self.reason == CloseReason::PeerClosed;
        // Whatever was to come of it, this is what did.
        let is_panic = reason == CloseReason::HandlerPanicked;
        if undecided || was_in_order || is_panic {
            self.reason = reason;
        }
    }

    /// Takes holds away. The idle timeout begins anew with the last one that this server caused.
    pub(super) fn lift(&mut self, hold: Hold, now_ms: u32) {
        let was_ours = self.hold.has(Hold::OURS);
        self.hold.remove(hold);
        let is_over = was_ours && !self.hold.has(Hold::OURS);
        // A severed connection has had its time: whoever slows it down must not keep its place.
        if is_over && self.state == State::Open {
            self.active_ms = now_ms;
        }
    }

    /// Enters what one write did.
    pub(super) fn took(&mut self, sent: Sent, now_ms: u32) {
        if sent.bytes > 0 {
            (self.active_ms, self.waiting_since_ms) = (now_ms, now_ms);
        }
        if sent.blocked {
            self.writable = false;
            if !std::mem::replace(&mut self.stalled, true) {
                self.waiting_since_ms = now_ms;
            }
        }
    }

    /// Reads from the socket into `input`: until the socket is empty, the stream ends, or `budget`
    /// bytes were read.
    pub(super) fn fill(&mut self, budget: usize, strict: bool, pool: &mut BufferPool) -> Fill {
        let mut fill = Fill::default();
        // Room for a whole budget. Where the beginning of a long message fills most of the block, what
        // is left of the block is enough, as long as that is worth a call.
        let room = budget.saturating_sub(self.input.len()).max(budget.div_ceil(16));
        self.input.reserve_contiguous(room, pool);
        // Ends: every round reads a byte of the budget or leaves.
        while fill.bytes < budget {
            let vacant = self.input.vacant();
            let offered = vacant.len().min(budget - fill.bytes);
            if offered == 0 {
                break;
            }
            fill.calls += 1;
            match self.stream.receive(&mut vacant[..offered]) {
                Ok(Some(0)) => {
                    (self.input_end, self.readable) = (InputEnd::Ended, false);
                    break;
                }
                Ok(Some(n)) => {
                    self.input.commit(n);
                    fill.bytes += n;
                    // ET: a read that filled its room proves nothing about the socket: it stays readable.
                    if n < offered && self.short_read_drains(strict) {
                        self.readable = false;
                        break;
                    }
                }
                Ok(None) => {
                    (self.readable, self.announced) = (false, Announced::Nothing);
                    break;
                }
                Err(error) => {
                    self.readable = false;
                    fill.error = Some(error);
                    break;
                }
            }
        }
        fill
    }

    // ET: a short read usually means that the socket is empty. Not so before an end or an urgent byte:
    // the read stops there, and the event for what is left was seen already.
    fn short_read_drains(&self, strict: bool) -> bool {
        !strict && self.announced == Announced::Nothing && self.stream.short_count_proves()
    }
}
