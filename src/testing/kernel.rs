//! The kernel in memory: all connections, the listeners, the events that are due, and the faults.
//!
//! Before a turn pieces arrive and events are collected; during the turn the reactor calls
//! [`read`](Kernel::read), [`write`](Kernel::write) and [`accept`](Kernel::accept) through its streams;
//! behind it the peers read.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::cutting::Cutting;
use super::faults::Faults;
use super::random::Random;
use super::trace::{Shown, Told, Trace};
use super::wire::{Answer, Stage, Wire};
use crate::reactor::{Address, CloseReason, Token};
use crate::sockets::event_list::Edge;

/// Shared by the harness, its peers, and the streams that the reactor holds.
pub(super) type Shared = Rc<RefCell<Kernel>>;

#[derive(Default)]
pub(super) struct Kernel {
    /// Never removed: a peer is read after its connection has ended.
    pub(super) wires: Vec<Wire>,
    /// Their places, as the reactor calls them.
    named: HashMap<Token, usize>,
    listeners: Vec<Listener>,
    answers: Vec<(Address, Answer)>,
    /// Connections that the server began and the test has not looked at.
    pub(super) dialled: VecDeque<usize>,
    pub(super) cutting: Cutting,
    /// Sizes of the buffers of connections to come, towards the server and towards the peer.
    pub(super) buffers: Option<(usize, usize)>,
    /// Where the events of the next turn begin, so that all connections get theirs.
    first: usize,
    pub(super) faults: Faults,
    random: Random,
    pub(super) trace: Trace,
}

/// Where the server listens.
struct Listener {
    address: Address,
    /// As the reactor calls it, until it is closed.
    token: Option<Token>,
    /// Connections that wait to be accepted.
    backlog: VecDeque<usize>,
    edge_due: bool,
}

/// Both buffers of a connection, unless somebody chooses: as much as one read takes.
const BUFFER: usize = 64 << 10;
/// Connections that wait to be accepted; more are refused.
const BACKLOG_MAX: usize = 4096;
/// The most turns that an event is late, and the most pieces that arrive together.
const LATE_MAX: usize = 3;
const MERGED_MAX: usize = 4;
/// No descriptor is left, on every Unix.
const EMFILE: i32 = 24;

impl Kernel {
    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.random = Random::new(faults.seed);
        self.faults = faults;
    }

    // ---- peers ----

    /// A peer begins a connection, which is refused where nobody listens.
    pub(super) fn connect(&mut self, from: SocketAddr, to: &Address) -> usize {
        let buffers = self.draw_buffers();
        let mut wire = Wire::new(from, Stage::Waiting, buffers);
        let index = self.wires.len();
        let has_room = |it: &&mut Listener| it.token.is_some() && it.backlog.len() < BACKLOG_MAX;
        let listener = self.listeners.iter_mut().find(|listener| listener.address == *to);
        if let Some(listener) = listener.filter(has_room) {
            listener.backlog.push_back(index);
            listener.edge_due = true;
        } else {
            wire.refuse();
        }
        self.trace.note(format_args!("peer {index} connects from {from} to {to}"));
        self.wires.push(wire);
        index
    }

    fn draw_buffers(&mut self) -> (usize, usize) {
        let is_faultless = self.faults == Faults { seed: self.faults.seed, ..Faults::none() };
        match self.buffers {
            Some(buffers) => buffers,
            None if is_faultless => (BUFFER, BUFFER),
            None => (self.random.size(16), self.random.size(16)),
        }
    }

    pub(super) fn send(&mut self, index: usize, bytes: &[u8]) {
        let Kernel { wires, cutting, random, .. } = self;
        let wire = &mut wires[index];
        for piece in cutting.cut(bytes, random) {
            wire.send(piece);
        }
        self.trace.note(format_args!("peer {index} sends {}", Shown(bytes)));
    }

    // ---- the turn ----

    /// What happens before a turn; returns its events, at most so many.
    pub(super) fn begin_turn(&mut self, events_max: usize) -> Vec<(Token, Edge)> {
        self.trace.begin_turn();
        let Kernel { wires, random, faults, cutting, .. } = self;
        for (index, wire) in wires.iter_mut().enumerate() {
            if let Stage::Dialled(answer) = wire.stage {
                answer_dial(wire, answer);
            }
            let is_merged = random.chance(faults.merged);
            let drawn = if is_merged { 1 + random.up_to(MERGED_MAX - 1) } else { 1 };
            wire.arrive(if cutting.joins() { usize::MAX } else { drawn });
            if random.chance(faults.reset) && wire.is_moving() {
                self.trace.note(format_args!("the network resets peer {index}"));
                wire.reset_by_network();
            }
        }
        self.collect(events_max)
    }

    fn collect(&mut self, events_max: usize) -> Vec<(Token, Edge)> {
        let mut events = Vec::new();
        for listener in &mut self.listeners {
            if let Some(token) = listener.token.filter(|_| std::mem::take(&mut listener.edge_due)) {
                events.push((token, Edge { readable: true, ..Edge::default() }));
            }
        }
        let (begin, count) = (self.first, self.wires.len());
        for step in 0..count {
            if events.len() == events_max {
                break;
            }
            let index = (begin + step) % count;
            self.first = (index + 1) % count;
            if let Some(event) = self.event_of(index) {
                self.trace.note(format_args!("peer {index}: the event{}", Told(event.1)));
                events.push(event);
            }
        }
        if self.faults.late > 0 {
            self.random.shuffle(&mut events);
        }
        events
    }

    fn event_of(&mut self, index: usize) -> Option<(Token, Edge)> {
        let Kernel { wires, random, faults, .. } = self;
        let wire = &mut wires[index];
        let token = wire.token?;
        if !wire.edge_due {
            let is_spurious = random.chance(faults.spurious);
            let edge = Edge { readable: true, writable: true, ..Edge::default() };
            return is_spurious.then_some((token, edge));
        }
        if wire.edge_late == 0 && random.chance(faults.late) {
            wire.edge_late = 1 + random.up_to(LATE_MAX);
        }
        wire.edge_late = wire.edge_late.saturating_sub(1);
        if wire.edge_late > 0 {
            return None;
        }
        let level = wire.level();
        let says_much = level.readable && level.writable;
        if says_much && random.chance(faults.partial) {
            // The rest stays due.
            let readable = random.chance(500);
            return Some((token, Edge { readable, writable: !readable, ..Edge::default() }));
        }
        wire.edge_due = false;
        (level != Edge::default()).then_some((token, level))
    }

    /// What happens behind a turn: peers read.
    pub(super) fn end_turn(&mut self) {
        self.wires.iter_mut().for_each(Wire::depart);
    }

    /// Whether the next turn brings something that nobody has to ask for.
    pub(super) fn is_moving(&self) -> bool {
        let is_due = |listener: &Listener| listener.edge_due && listener.token.is_some();
        self.listeners.iter().any(is_due) || self.wires.iter().any(Wire::is_moving)
    }

    // ---- the server's calls ----

    pub(super) fn read(&mut self, index: usize, into: &mut [u8]) -> io::Result<usize> {
        let Kernel { wires, random, faults, trace, .. } = self;
        let wire = &mut wires[index];
        if wire.may_interrupt() && random.chance(faults.interrupted) {
            trace.note(format_args!("peer {index}: a read is interrupted"));
            return Err(wire.interrupt());
        }
        if wire.may_hide_input() && random.chance(faults.would_block) {
            wire.hide_input();
        }
        let is_short = random.chance(faults.short_read);
        let most = if is_short { random.up_to(into.len().min(SHORT_MAX)) } else { into.len() };
        let done = wire.read(&mut into[..most]);
        match &done {
            Ok(n) => trace.note(format_args!("peer {index}: read {}", Shown(&into[..*n]))),
            Err(error) => trace.note(format_args!("peer {index}: read says {}", error.kind())),
        }
        done
    }

    pub(super) fn write(&mut self, index: usize, bytes: &[u8]) -> io::Result<usize> {
        let Kernel { wires, random, faults, trace, .. } = self;
        let wire = &mut wires[index];
        if wire.may_interrupt() && random.chance(faults.interrupted) {
            trace.note(format_args!("peer {index}: a write is interrupted"));
            return Err(wire.interrupt());
        }
        if wire.may_hide_room() && random.chance(faults.would_block) {
            wire.hide_room();
        }
        let is_short = random.chance(faults.short_write);
        let most = if is_short { random.up_to(bytes.len().min(SHORT_MAX)) } else { bytes.len() };
        let done = wire.write(&bytes[..most]);
        match &done {
            Ok(n) => trace.note(format_args!("peer {index}: wrote {}", Shown(&bytes[..*n]))),
            Err(error) => trace.note(format_args!("peer {index}: write says {}", error.kind())),
        }
        done
    }

    pub(super) fn shut_down(&mut self, index: usize) {
        self.trace.note(format_args!("peer {index}: the server ends its stream"));
        self.wires[index].shut_down();
    }

    pub(super) fn close(&mut self, index: usize, is_reset: bool) {
        let how = if is_reset { "resets the connection" } else { "closes its socket" };
        self.trace.note(format_args!("peer {index}: the server {how}"));
        self.wires[index].close(is_reset);
    }

    pub(super) fn register(&mut self, index: usize, token: Token) {
        let wire = &mut self.wires[index];
        // A socket that is ready when it is registered is told of at once.
        (wire.token, wire.edge_due) = (Some(token), true);
        self.named.insert(token, index);
    }

    // ---- what the handler is told ----

    pub(super) fn find(&self, token: Token) -> Option<usize> {
        self.named.get(&token).copied()
    }

    pub(super) fn note_call(&mut self, token: Token, what: fmt::Arguments<'_>) {
        if let Some(index) = self.find(token) {
            self.trace.note(format_args!("peer {index}: {what}"));
        }
    }

    /// Tells the peer why its connection ended for the server.
    pub(super) fn note_reason(&mut self, token: Token, reason: CloseReason) {
        if let Some(index) = self.find(token) {
            self.wires[index].reason = Some(reason);
        }
    }

    // ---- listeners ----

    /// A place at which the server is about to listen, by its number.
    pub(super) fn add_listener(&mut self, address: Address) -> usize {
        let backlog = VecDeque::new();
        self.listeners.push(Listener { address, token: None, backlog, edge_due: false });
        self.listeners.len() - 1
    }

    pub(super) fn listener_address(&self, listener: usize) -> Address {
        self.listeners[listener].address.clone()
    }

    pub(super) fn listen(&mut self, listener: usize, token: Token) {
        self.listeners[listener].token = Some(token);
    }

    pub(super) fn accept(&mut self, listener: usize) -> io::Result<usize> {
        let is_waited_for = !self.listeners[listener].backlog.is_empty();
        if is_waited_for && self.random.chance(self.faults.accept_error) {
            return Err(self.fail_to_accept(listener));
        }
        let next = self.listeners[listener].backlog.pop_front();
        let index = next.ok_or(io::ErrorKind::WouldBlock)?;
        self.wires[index].stage = Stage::Established;
        Ok(index)
    }

    fn fail_to_accept(&mut self, listener: usize) -> io::Error {
        let is_lost = self.random.chance(500);
        if is_lost && let Some(index) = self.listeners[listener].backlog.pop_front() {
            self.trace.note(format_args!("peer {index} is lost before it is accepted"));
            self.wires[index].refuse();
            return io::ErrorKind::ConnectionAborted.into();
        }
        self.trace.note(format_args!("accept says that descriptors have run out"));
        io::Error::from_raw_os_error(EMFILE)
    }

    pub(super) fn stop_listening(&mut self, listener: usize) {
        let Kernel { listeners, wires, .. } = self;
        listeners[listener].token = None;
        listeners[listener].backlog.drain(..).for_each(|index| wires[index].refuse());
    }

    // ---- connections that the server begins ----

    pub(super) fn set_answer(&mut self, address: Address, answer: Answer) {
        self.answers.retain(|(known, _)| *known != address);
        self.answers.push((address, answer));
    }

    pub(super) fn dial(&mut self, to: &Address) -> usize {
        let answer = self.answers.iter().find(|(known, _)| known == to);
        let answer = answer.map_or(Answer::Accept, |(_, answer)| *answer);
        let buffers = self.draw_buffers();
        let address = match to {
            Address::Tcp(address) => *address,
            Address::Unix(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let index = self.wires.len();
        self.wires.push(Wire::new(address, Stage::Dialled(answer), buffers));
        self.dialled.push_back(index);
        self.trace.note(format_args!("the server dials {to}: peer {index}"));
        index
    }

    /// Whether a dialled connection is established.
    pub(super) fn establishment(&mut self, index: usize) -> io::Result<bool> {
        match self.wires[index].stage {
            Stage::Established => Ok(true),
            Stage::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            Stage::Dialled(_) | Stage::Waiting => Ok(false),
        }
    }
}

/// The most bytes of a call that is cut short: few bytes bring more cases than many.
const SHORT_MAX: usize = 16;

fn answer_dial(wire: &mut Wire, answer: Answer) {
    match answer {
        Answer::Accept => wire.stage = Stage::Established,
        Answer::Refuse => wire.refuse(),
        Answer::Silence => return,
    }
    wire.edge_due = true;
}
