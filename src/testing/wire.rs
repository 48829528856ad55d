//! One connection in memory: a buffer of a chosen size in each direction, and who is at its ends.
//!
//! ```text
//!   peer                                                            server
//!   send ----> flight, in pieces ---- one a turn ----> arrived ----> read
//!   inbox <--------------------- as it reads ------------ sent <---- write
//! ```
//!
//! Nothing here is drawn: the kernel says how many pieces arrive, and how much a call may move.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::reactor::{CloseReason, Token};
use crate::sockets::event_list::Edge;

pub(super) struct Wire {
    pub(super) address: SocketAddr,
    /// How the reactor calls it, once it is registered.
    pub(super) token: Option<Token>,
    pub(super) stage: Stage,
    /// Sizes of the buffers `arrived` and `sent`.
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,

    flight: VecDeque<Vec<u8>>,
    /// The peer ends, or resets, behind what is in flight.
    flight_end: InputEnd,
    arrived: VecDeque<u8>,
    /// What lies behind what has arrived.
    input_end: InputEnd,
    /// Whether the server was told of that by a read.
    end_read: bool,

    sent: VecDeque<u8>,
    output_end: OutputEnd,
    /// The server has closed its socket.
    is_closed: bool,
    /// The server wants to be told of room.
    is_awaited: bool,
    reads: Reads,
    inbox: Vec<u8>,

    /// An event is due.
    pub(super) edge_due: bool,
    /// Turns in which that is not told yet.
    pub(super) edge_late: usize,
    /// A fault holds back, for this turn, what has arrived; and what room there is.
    hides_input: bool,
    hides_room: bool,
    /// No fault comes twice in a row, or a server would wait for ever: the last call was interrupted; the
    /// last input, and room, was held back.
    was_interrupted: bool,
    spares_input: bool,
    spares_room: bool,

    /// All that the peer has sent.
    pub(super) pieces: Vec<Vec<u8>>,
    /// All that it has read.
    pub(super) transcript: Vec<u8>,
    /// Bytes that the server has read.
    pub(super) taken: u64,
    pub(super) reason: Option<CloseReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The server dials, and gets this answer with the next turn.
    Dialled(Answer),
    /// The server has not accepted it yet.
    Waiting,
    /// The server did not accept it.
    Refused,
    Established,
}

/// What becomes of connections that the server begins to an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// They are established in the next turn.
    #[default]
    Accept,
    /// They are refused in the next turn.
    Refuse,
    /// Nobody answers.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum InputEnd {
    Open,
    Ended,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputEnd {
    Open,
    /// The server has ended its direction.
    Ended,
    /// The server, or the network, has reset the connection: the peer has lost what it had not read.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    All,
    /// So many bytes a turn.
    AtMost(usize),
    Nothing,
    /// The peer is gone. Bytes that come now are answered by a reset.
    Gone,
}

/// How a connection ended, as its peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server ended its stream, and the peer has read all that came before.
    InOrder,
    /// The connection was reset.
    Reset,
    /// Nobody listened.
    Refused,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::InOrder => "an end",
            Ended::Reset => "a reset",
            Ended::Refused => "nobody who listens",
        })
    }
}

impl Wire {
    pub(super) fn new(address: SocketAddr, stage: Stage, buffers: (usize, usize)) -> Self {
        Wire {
            address,
            token: None,
            stage,
            receive_buffer: buffers.0,
            send_buffer: buffers.1,
            flight: VecDeque::new(),
            flight_end: InputEnd::Open,
            arrived: VecDeque::new(),
            input_end: InputEnd::Open,
            end_read: false,
            sent: VecDeque::new(),
            output_end: OutputEnd::Open,
            is_closed: false,
            is_awaited: false,
            reads: Reads::All,
            inbox: Vec::new(),
            edge_due: true,
            edge_late: 0,
            hides_input: false,
            hides_room: false,
            was_interrupted: false,
            spares_input: false,
            spares_room: false,
            pieces: Vec::new(),
            transcript: Vec::new(),
            taken: 0,
            reason: None,
        }
    }

    // ---- the peer ----

    pub(super) fn send(&mut self, piece: &[u8]) {
        // Nothing follows an end; and an empty piece would arrive as nothing.
        if self.flight_end == InputEnd::Open && !piece.is_empty() {
            self.flight.push_back(piece.to_vec());
            self.pieces.push(piece.to_vec());
        }
    }

    pub(super) fn end_sending(&mut self) {
        if self.flight_end == InputEnd::Open {
            self.flight_end = InputEnd::Ended;
        }
    }

    /// What is in flight is lost. What has arrived can still be read, as on Linux.
    pub(super) fn reset_by_peer(&mut self) {
        self.flight.clear();
        (self.flight_end, self.input_end) = (InputEnd::Reset, InputEnd::Reset);
        self.reads = Reads::Gone;
        self.sent.clear();
        (self.end_read, self.edge_due) = (false, true);
    }

    /// As if both ends had been reset.
    pub(super) fn reset_by_network(&mut self) {
        self.reset_by_peer();
        self.output_end = OutputEnd::Reset;
    }

    pub(super) fn close_by_peer(&mut self) {
        // What it was sent and has not read makes a close a reset.
        if !self.sent.is_empty() {
            return self.reset_by_peer();
        }
        self.end_sending();
        self.reads = Reads::Gone;
    }

    pub(super) fn stop_reading(&mut self) {
        self.set_reads(Reads::Nothing);
    }

    pub(super) fn read_on(&mut self) {
        self.set_reads(Reads::All);
    }

    pub(super) fn read_at_most(&mut self, bytes: usize) {
        self.set_reads(Reads::AtMost(bytes.max(1)));
    }

    fn set_reads(&mut self, reads: Reads) {
        if self.reads != Reads::Gone {
            self.reads = reads;
        }
    }

    pub(super) fn take_inbox(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// Whether the peer has closed its socket, or the connection was reset from its side.
    pub(super) fn is_gone(&self) -> bool {
        self.reads == Reads::Gone
    }

    /// Bytes that the peer sent and the server has not read.
    pub(super) fn unread(&self) -> usize {
        self.arrived.len() + self.flight.iter().map(Vec::len).sum::<usize>()
    }

    /// Bytes that the server sent and the peer has not read.
    pub(super) fn waiting(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        match self.output_end {
            _ if self.stage == Stage::Refused => Some(Ended::Refused),
            OutputEnd::Reset => Some(Ended::Reset),
            OutputEnd::Ended if self.sent.is_empty() => Some(Ended::InOrder),
            _ => None,
        }
    }

    // ---- the network, before and after a turn ----

    /// Ends what faults held back. So many pieces arrive, as far as there is room; with more than one
    /// the end comes with them.
    pub(super) fn arrive(&mut self, pieces: usize) {
        let was_hidden = self.hides_input || self.hides_room;
        (self.hides_input, self.hides_room) = (false, false);
        self.edge_due |= was_hidden;
        // Before a connection is accepted, pieces arrive only if they are to meet.
        if !(self.stage == Stage::Established || self.stage == Stage::Waiting && pieces > 1) {
            return;
        }
        if self.is_closed {
            return self.reject();
        }
        let was_empty = self.flight.is_empty();
        for _ in 0..pieces.min(self.flight.len()) {
            self.arrive_piece();
        }
        let is_alone = was_empty || pieces > 1;
        if self.flight.is_empty() && self.input_end < self.flight_end && is_alone {
            (self.input_end, self.edge_due) = (self.flight_end, true);
        }
    }

    /// Bytes for a socket that is closed are answered by a reset.
    fn reject(&mut self) {
        if !self.flight.is_empty() {
            self.flight.clear();
            self.output_end = OutputEnd::Reset;
        }
    }

    fn arrive_piece(&mut self) {
        let room = self.receive_buffer.saturating_sub(self.arrived.len());
        let Some(piece) = self.flight.front_mut().filter(|_| room > 0) else { return };
        let rest = piece.split_off(room.min(piece.len()));
        self.arrived.extend(piece.drain(..));
        match rest.is_empty() {
            true => drop(self.flight.pop_front()),
            false => *piece = rest,
        }
        self.edge_due = true;
    }

    /// The peer reads.
    pub(super) fn depart(&mut self) {
        let most = match self.reads {
            Reads::All => usize::MAX,
            Reads::AtMost(bytes) => bytes,
            Reads::Nothing => 0,
            Reads::Gone if self.sent.is_empty() => 0,
            Reads::Gone => return self.reset_by_peer(),
        };
        let bytes: Vec<u8> = self.sent.drain(..most.min(self.sent.len())).collect();
        self.inbox.extend(&bytes);
        self.transcript.extend(&bytes);
        self.announce_room();
    }

    /// The kernel announces room only to a server whose bytes it refused, and only when a third is free.
    // So a server that was not refused, and waits, waits for ever.
    fn announce_room(&mut self) {
        if self.is_awaited && self.room() * 3 >= self.send_buffer {
            (self.is_awaited, self.edge_due) = (false, true);
        }
    }

    /// Whether the next turn brings something without the server's doing.
    pub(super) fn is_moving(&self) -> bool {
        if self.stage == Stage::Refused || self.is_over() {
            return false;
        }
        let arrives = match self.flight.is_empty() {
            true => self.input_end < self.flight_end,
            false => self.arrived.len() < self.receive_buffer,
        };
        let departs = !self.sent.is_empty() && self.reads != Reads::Nothing;
        let is_answered = matches!(self.stage, Stage::Dialled(Answer::Accept | Answer::Refuse));
        let is_told = self.edge_due && self.token.is_some();
        arrives && self.stage == Stage::Established
            || departs
            || is_told
            || is_answered
            || self.hides_input
            || self.hides_room
    }

    /// Whether the server has closed its socket and nothing is on its way to the peer.
    fn is_over(&self) -> bool {
        self.is_closed && (self.sent.is_empty() || self.reads == Reads::Nothing)
    }

    // ---- the server's socket ----

    /// Reads at most so many bytes as `into` has room for, at least one.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(self.arrived.len());
        if self.hides_input {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if len > 0 {
            self.spares_input = false;
            into.iter_mut().zip(self.arrived.drain(..len)).for_each(|(to, byte)| *to = byte);
            self.taken += len as u64;
            return Ok(len);
        }
        match self.input_end {
            InputEnd::Open => Err(io::ErrorKind::WouldBlock.into()),
            // The error is told once, and behind it the end.
            InputEnd::Reset if !std::mem::replace(&mut self.end_read, true) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            InputEnd::Ended | InputEnd::Reset => {
                self.end_read = true;
                Ok(0)
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.input_end == InputEnd::Reset || self.output_end != OutputEnd::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(self.room());
        // The kernel remembers that it refused, and tells of room for that reason only.
        self.is_awaited |= len < bytes.len();
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.spares_room = false;
        self.sent.extend(&bytes[..len]);
        Ok(len)
    }

    pub(super) fn room(&self) -> usize {
        if self.hides_room { 0 } else { self.send_buffer.saturating_sub(self.sent.len()) }
    }

    /// Whether the next call may be interrupted. To be asked once for each call.
    pub(super) fn may_interrupt(&mut self) -> bool {
        !std::mem::take(&mut self.was_interrupted)
    }

    pub(super) fn interrupt(&mut self) -> io::Error {
        self.was_interrupted = true;
        io::ErrorKind::Interrupted.into()
    }

    pub(super) fn may_hide_input(&self) -> bool {
        self.has_input() && !self.spares_input
    }

    /// What has arrived comes a turn later, with an event.
    pub(super) fn hide_input(&mut self) {
        (self.hides_input, self.spares_input) = (true, true);
    }

    pub(super) fn may_hide_room(&self) -> bool {
        !self.spares_room
    }

    /// The socket takes nothing before the next turn, and then there is an event.
    pub(super) fn hide_room(&mut self) {
        (self.hides_room, self.spares_room) = (true, true);
    }

    pub(super) fn shut_down(&mut self) {
        if self.output_end == OutputEnd::Open {
            self.output_end = OutputEnd::Ended;
        }
    }

    /// The server closed its socket: with unread bytes, or on purpose, that is a reset.
    pub(super) fn close(&mut self, is_reset: bool) {
        let is_lost = is_reset || !self.arrived.is_empty() || self.input_end == InputEnd::Reset;
        if is_lost {
            self.sent.clear();
        }
        self.output_end = if is_lost { OutputEnd::Reset } else { OutputEnd::Ended };
        self.is_closed = true;
    }

    /// The connection was refused, or lost before it was accepted.
    pub(super) fn refuse(&mut self) {
        (self.stage, self.output_end) = (Stage::Refused, OutputEnd::Reset);
    }

    /// Whether there is something that a read would bring.
    pub(super) fn has_input(&self) -> bool {
        !self.arrived.is_empty() || (self.input_end != InputEnd::Open && !self.end_read)
    }

    /// Whether a write would be taken, and the server knows.
    pub(super) fn takes_output(&self) -> bool {
        let is_open = self.stage == Stage::Established && self.output_end == OutputEnd::Open;
        is_open && self.room() > 0 && !self.is_awaited
    }

    /// All that is true now, as an event says it.
    pub(super) fn level(&self) -> Edge {
        let is_established = self.stage == Stage::Established;
        let is_refused = self.stage == Stage::Refused;
        let is_reset = self.input_end == InputEnd::Reset || is_refused;
        let is_ended = self.input_end != InputEnd::Open;
        Edge {
            readable: !self.arrived.is_empty() || is_ended || is_reset,
            writable: is_established && self.room() * 3 >= self.send_buffer || is_reset,
            read_closed: is_ended || is_reset,
            write_closed: is_reset || (is_ended && self.output_end != OutputEnd::Open),
            error: is_reset,
            urgent: false,
        }
    }
}
