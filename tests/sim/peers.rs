//! Who is at the other end: clients that behave, flood, dawdle, half-close, reset and come back, and
//! servers that the program dials. They hold sockets of the simulated kernel without descriptors,
//! act one small step at a time, and check every byte that they are sent.
//!
//! In the last phase of a run all of them behave: they send what they meant to send, read all they
//! are given, end their stream and wait for the program's. Then everything must finish.

use edgeloop::CloseReason;

use crate::NONE;
use crate::clock::MS;
use crate::kernel::Kernel;
use crate::oracles::Oracles;
use crate::random::Random;
use crate::socket::Address;
use crate::stream::{self, Messages};

/// What a peer does; drawn for each, printed with the seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// When it comes.
    pub(crate) starts_ms: u32,
    /// Bytes that it sends on a connection, or about as many in messages.
    pub(crate) bytes: u32,
    /// At most so many at once.
    pub(crate) piece: u32,
    /// How often it reads when it could, in a thousand.
    pub(crate) reads: u16,
    /// How often it stops for a while, in a thousand.
    pub(crate) rests: u16,
    pub(crate) rest_ms: u32,
    /// How often a byte is an urgent one.
    pub(crate) urgent: u16,
    pub(crate) ending: Ending,
    /// So many connections, one after the other.
    pub(crate) rounds: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ends its stream, and reads until the program ends its own.
    HalfClose,
    /// It closes when it has sent everything, whatever it has not read.
    Close,
    /// It resets the connection when it has sent everything.
    Reset,
    /// It stays until the last phase.
    Stay,
}

/// What a peer expects to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Every byte that it sent.
    #[default]
    Echo,
    /// Nothing.
    Silence,
    /// Messages of others.
    Messages,
    /// Full stops, as many as its handler says.
    Dots,
}

#[derive(Debug)]
struct Peer {
    plan: Plan,
    socket: u32,
    rounds_left: u8,
    wake_ns: u64,
    sent: u64,
    has_ended: bool,
    has_failed: bool,
    meeting: u32,
    /// The message that is being sent.
    out: Vec<u8>,
    out_at: usize,
    /// The message that is being received.
    line: Vec<u8>,
    /// It has given up for good: nobody listens any more.
    is_done: bool,
}

/// In the last phase a peer that meant to send much more sends so much: what counts is that it ends.
const CALM_BYTES: u32 = 500;

/// What a greeting is made of, which is sent before a connection is established.
pub(crate) const GREETING: u8 = b'>';

/// One connection as both sides saw it: judged when both have said how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    pub(crate) peer: u32,
    /// So many more bytes the program has sent before it was connected.
    pub(crate) greeting: usize,
    salt: u32,
    sent: u64,
    received: u64,
    /// The last byte sent.
    last_byte: u8,
    saw: Saw,
    messages_received: u64,
    /// Of each room.
    last_sequences: [Option<u64>; stream::ROOMS],
    /// Filled in by the program's side.
    pub(crate) reason: Option<CloseReason>,
    pub(crate) was_cut: bool,
    /// Everything that was queued was sent, and then the peer's end was awaited.
    pub(crate) was_finished: bool,
    /// Full stops queued for it.
    pub(crate) dots: u64,
    pub(crate) consumed: u64,
    pub(crate) messages_expected: Option<u64>,
    /// Messages of others that were published while it was there.
    pub(crate) messages_due: Option<u64>,
    pub(crate) messages_published: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    Nothing,
    End,
    Failure,
    /// It left before anything was to be seen.
    Left,
}

#[derive(Debug)]
pub(crate) struct Peers {
    peers: Vec<Peer>,
    pub(crate) meetings: Vec<Meeting>,
    pub(crate) messages: Messages,
    dialect: Dialect,
    /// Lines are completed by the program.
    pub(crate) completes_lines: bool,
    /// One that ends its stream without a byte may be kept, as one that only listens.
    pub(crate) may_listen: bool,
    /// The program listens on a path: what it aborts looks like any other end.
    pub(crate) is_unix: bool,
    /// Listener of the program.
    listener: usize,
    /// Listener of the simulated servers, if there are any.
    server: Option<usize>,
    random: Random,
    pub(crate) is_calm: bool,
    buffer: Vec<u8>,
    unfinished: usize,
    is_on: bool,
}

impl Default for Peers {
    fn default() -> Self {
        Peers::new(&[], Dialect::Echo, 0)
    }
}

impl Peers {
    pub(crate) fn new(plans: &[Plan], dialect: Dialect, seed: u64) -> Self {
        let peers = plans.iter().map(|plan| Peer::new(plan.clone())).collect();
        Peers {
            peers,
            meetings: Vec::new(),
            messages: Messages::default(),
            dialect,
            completes_lines: false,
            may_listen: false,
            is_unix: false,
            listener: usize::MAX,
            server: None,
            random: Random::new(seed),
            is_calm: false,
            buffer: vec![0; 4096],
            unfinished: plans.len(),
            is_on: false,
        }
    }

    /// From now on they come.
    pub(crate) fn start(&mut self, kernel: &Kernel, listener: usize) {
        (self.listener, self.is_on) = (listener, true);
        for peer in &mut self.peers {
            peer.wake_ns = kernel.clock.now() + u64::from(peer.plan.starts_ms) * MS;
        }
    }

    /// Serves connections to `address`: the program dials there.
    pub(crate) fn serve(&mut self, kernel: &mut Kernel, address: Address) {
        self.server = Some(kernel.listen_for_peers(address));
    }

    /// Whether the counters of messages agree with what peers were sent: each message was delivered,
    /// or counted as skipped. What a subscriber published itself may be among those, because nobody
    /// knows whose message it was once it is overwritten.
    pub(crate) fn check_messages(&self, delivered: u64, skipped: u64) -> Option<String> {
        let is_whole = |it: &&Meeting| {
            it.reason == Some(CloseReason::PeerClosed) && !it.was_cut && it.saw == Saw::End
        };
        let (mut received, mut missed, mut own) = (0, 0, 0);
        for it in self.meetings.iter().filter(is_whole) {
            received += it.messages_received;
            own += it.messages_published;
            missed += it.messages_due.map_or(0, |due| due - it.messages_received.min(due));
        }
        let is_all = self.meetings.iter().all(|it| is_whole(&it));
        let is_delivered = received == delivered || (received < delivered && !is_all);
        let has_counts = self.meetings.iter().any(|it| it.messages_due.is_some());
        let is_skipped = missed <= skipped && (skipped <= missed + own || !is_all || !has_counts);
        (!is_delivered || !is_skipped).then(|| {
            format!("{received} messages of {delivered} came, {missed} of {skipped} were skipped")
        })
    }

    pub(crate) fn are_done(&self) -> bool {
        self.unfinished == 0
    }

    /// When the next of those who rest wakes up.
    pub(crate) fn next_ns(&self, now_ns: u64) -> Option<u64> {
        let resting = self.peers.iter().filter(|peer| !peer.is_done && peer.wake_ns > now_ns);
        resting.map(|peer| peer.wake_ns).min().filter(|_| self.is_on)
    }

    pub(crate) fn who_waits(&self) -> Option<String> {
        let index = self.peers.iter().position(|peer| !peer.is_done)?;
        let peer = &self.peers[index];
        let meeting = self.meetings.get(peer.meeting as usize);
        (self.is_calm && self.is_on).then(|| format!("peer {index} waits: {meeting:?}"))
    }

    /// From here on everybody behaves.
    pub(crate) fn calm_down(&mut self, now_ns: u64) {
        self.is_calm = true;
        for peer in &mut self.peers {
            let most = peer.sent + u64::from(CALM_BYTES);
            peer.plan.bytes = peer.plan.bytes.min(most.min(u64::from(u32::MAX)) as u32);
            (peer.wake_ns, peer.rounds_left) = (now_ns, peer.rounds_left.min(1));
        }
    }

    /// One of them does something; says whether anybody could.
    pub(crate) fn step(&mut self, kernel: &mut Kernel, oracles: &mut Oracles) -> bool {
        if !self.is_on {
            return false;
        }
        self.welcome(kernel);
        if self.peers.is_empty() {
            return false;
        }
        let first = self.random.below(self.peers.len());
        let order = (first..self.peers.len()).chain(0..first);
        for index in order {
            if self.act(index, kernel, oracles) {
                return true;
            }
        }
        false
    }

    /// Takes those whom the program dialled.
    fn welcome(&mut self, kernel: &mut Kernel) {
        let Some(server) = self.server else { return };
        while let Some(socket) = kernel.listeners[server].backlog.pop_front() {
            let mut peer = Peer::new(Plan::server(&mut self.random));
            peer.rounds_left = 0;
            self.peers.push(peer);
            self.unfinished += 1;
            self.meet(self.peers.len() - 1, socket, kernel);
        }
    }

    fn meet(&mut self, index: usize, socket: u32, kernel: &mut Kernel) {
        let salt = self.random.below(stream::SALTS) as u32;
        let meeting = self.meetings.len() as u32;
        self.meetings.push(Meeting::new(index as u32, salt));
        kernel.sockets[socket as usize].meeting = meeting;
        let peer = &mut self.peers[index];
        (peer.socket, peer.meeting, peer.sent, peer.has_ended) = (socket, meeting, 0, false);
        (peer.out_at, peer.wake_ns, peer.has_failed) = (0, 0, false);
        peer.out.clear();
        peer.line.clear();
    }

    fn act(&mut self, index: usize, kernel: &mut Kernel, oracles: &mut Oracles) -> bool {
        let peer = &mut self.peers[index];
        if peer.is_done || peer.wake_ns > kernel.clock.now() {
            return false;
        }
        if peer.socket == NONE {
            return self.come(index, kernel);
        }
        let (rests, rest_ms) = (peer.plan.rests, peer.plan.rest_ms);
        if !self.is_calm && self.random.chance(rests) {
            let ms = self.random.below(rest_ms as usize + 1) as u64;
            self.peers[index].wake_ns = kernel.clock.now() + ms * MS + 1;
            return true;
        }
        let reads_first = self.random.chance(500);
        (reads_first && self.read(index, kernel, oracles))
            || self.send(index, kernel)
            || (!reads_first && self.read(index, kernel, oracles))
            || self.stop_listening(index, kernel)
    }

    /// In the last phase one that has only listened is gone, which a reset tells.
    fn stop_listening(&mut self, index: usize, kernel: &mut Kernel) -> bool {
        let Peer { has_ended, sent, plan, .. } = &self.peers[index];
        let listens = self.may_listen && *has_ended && *sent == 0 && plan.bytes == 0;
        if !listens || !self.is_calm {
            return false;
        }
        self.leave(index, kernel, true);
        true
    }

    fn come(&mut self, index: usize, kernel: &mut Kernel) -> bool {
        if self.peers[index].rounds_left == 0 || kernel.listeners[self.listener].socket == NONE {
            self.peers[index].is_done = true;
            self.unfinished -= 1;
            return true;
        }
        let Some(socket) = kernel.dial(self.listener) else { return false };
        self.peers[index].rounds_left -= 1;
        self.meet(index, socket, kernel);
        true
    }

    // ---- sending ----

    fn send(&mut self, index: usize, kernel: &mut Kernel) -> bool {
        let peer = &self.peers[index];
        if peer.has_ended {
            return false;
        }
        let is_over = peer.sent >= u64::from(peer.plan.bytes) && peer.out_at >= peer.out.len();
        if is_over {
            return self.end(index, kernel);
        }
        self.write_piece(index);
        let peer = &mut self.peers[index];
        let piece = &peer.out[peer.out_at..];
        let len = piece.len().min(self.random.between(1, peer.plan.piece as usize));
        let before = peer.out_at;
        match kernel.send(peer.socket, &[&piece[..len]], usize::MAX, false) {
            Ok(n) => {
                peer.out_at += n;
                peer.sent += n as u64;
                let meeting = &mut self.meetings[peer.meeting as usize];
                meeting.sent += n as u64;
                meeting.last_byte = peer.out[before + n - 1];
                let urgent = peer.plan.urgent;
                self.send_urgent(index, urgent, kernel);
                true
            }
            Err(libc::EAGAIN) => false,
            // What it was sent before is still to be read. An error is told once: the read that
            // comes to the end will not tell it again.
            Err(_) => {
                (peer.has_ended, peer.has_failed) = (true, true);
                true
            }
        }
    }

    /// An urgent byte between the others. It is no part of the stream, and one at a time is under
    /// way: a second would take the place of the first.
    fn send_urgent(&mut self, index: usize, urgent: u16, kernel: &mut Kernel) {
        let socket = self.peers[index].socket;
        let other = kernel.sockets[socket as usize].other;
        let is_free = kernel.sockets[other as usize].mark.is_none();
        if is_free && self.random.chance(urgent) {
            let _ = kernel.send(socket, &[b"!"], usize::MAX, true);
        }
    }

    /// Has something ready to be sent.
    fn write_piece(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.out_at < peer.out.len() {
            return;
        }
        (peer.out_at, _) = (0, peer.out.clear());
        let left = (u64::from(peer.plan.bytes) - peer.sent) as usize;
        let meeting = &self.meetings[peer.meeting as usize];
        if self.dialect == Dialect::Messages {
            let len = self.random.between(0, (peer.plan.piece as usize).min(200));
            self.messages.write(peer.meeting, len, &mut peer.out);
        } else {
            let len = left.min(peer.plan.piece as usize).min(stream::PIECE_MAX);
            peer.out.extend_from_slice(stream::part(meeting.salt, meeting.sent, len));
        }
    }

    fn end(&mut self, index: usize, kernel: &mut Kernel) -> bool {
        let (socket, ending) = (self.peers[index].socket, self.peers[index].plan.ending);
        // It may be kept until a probe finds that it has left, and here there are none.
        let is_kept = self.may_listen && self.peers[index].sent == 0;
        match ending {
            Ending::Stay if !self.is_calm => return false,
            Ending::Close if !self.is_calm => self.leave(index, kernel, is_kept),
            Ending::Reset if !self.is_calm => self.leave(index, kernel, true),
            _ => {
                let _ = kernel.shutdown(socket, libc::SHUT_WR);
            }
        }
        self.peers[index].has_ended = true;
        true
    }

    fn leave(&mut self, index: usize, kernel: &mut Kernel, is_reset: bool) {
        let peer = &mut self.peers[index];
        kernel.sockets[peer.socket as usize].linger_zero = is_reset;
        kernel.release(peer.socket);
        peer.socket = NONE;
        let meeting = &mut self.meetings[peer.meeting as usize];
        if meeting.saw == Saw::Nothing {
            meeting.saw = Saw::Left;
        }
    }

    // ---- reading ----

    fn read(&mut self, index: usize, kernel: &mut Kernel, oracles: &mut Oracles) -> bool {
        let peer = &self.peers[index];
        if peer.socket == NONE || !kernel.sockets[peer.socket as usize].has_input() {
            return false;
        }
        if !self.is_calm && !self.random.chance(peer.plan.reads) {
            return false;
        }
        let most = self.random.between(1, self.buffer.len());
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = kernel.receive(peer.socket, &mut [&mut buffer[..most]]);
        let (other, meeting) = (kernel.sockets[peer.socket as usize].other, peer.meeting);
        if let Some(greeting) = oracles.take_greeting(other) {
            self.meetings[meeting as usize].greeting = greeting;
        }
        match outcome {
            Ok(n) if n > 0 => self.check(index, &buffer[..n], oracles),
            Ok(_) => self.over(index, Saw::End, kernel, oracles),
            Err(libc::EAGAIN) => {}
            Err(_) => self.over(index, Saw::Failure, kernel, oracles),
        }
        self.buffer = buffer;
        true
    }

    /// The program has ended its stream, or the connection has failed.
    fn over(&mut self, index: usize, saw: Saw, kernel: &mut Kernel, oracles: &mut Oracles) {
        let meeting = self.peers[index].meeting as usize;
        let saw = if self.peers[index].has_failed { Saw::Failure } else { saw };
        self.meetings[meeting].saw = saw;
        let other = kernel.sockets[self.peers[index].socket as usize].other;
        let was_cut = kernel.sockets[other as usize].was_cut;
        let is_whole = self.peers[index].line.is_empty() || self.is_unix;
        if !is_whole && saw == Saw::End && !was_cut {
            oracles
                .violate(format!("peer {index} was sent the beginning of a message, then the end"));
        }
        self.leave(index, kernel, false);
        self.judge(meeting, oracles);
    }

    fn check(&mut self, index: usize, bytes: &[u8], oracles: &mut Oracles) {
        let peer = &mut self.peers[index];
        let meeting = &mut self.meetings[peer.meeting as usize];
        let (greeting, bytes) = bytes.split_at(meeting.greeting.min(bytes.len()));
        meeting.greeting -= greeting.len();
        if greeting.iter().any(|byte| *byte != GREETING) {
            oracles.violate(format!("peer {index} was not sent its greeting first"));
        }
        let at = meeting.received;
        meeting.received += bytes.len() as u64;
        let wrong = match self.dialect {
            Dialect::Echo => {
                let ours = bytes.len().min(meeting.sent.saturating_sub(at) as usize);
                let is_completed = self.completes_lines && bytes[ours..] == *b"\n";
                let is_over = ours < bytes.len() && !is_completed;
                is_over || !stream::matches(meeting.salt, at, &bytes[..ours])
            }
            Dialect::Silence => true,
            Dialect::Dots => bytes.iter().any(|byte| *byte != b'.'),
            Dialect::Messages => {
                let told = self.messages.read(&mut peer.line, bytes, peer.meeting, meeting);
                return told.into_iter().for_each(|what| {
                    oracles.violate(format!("peer {index} was sent {what}"));
                });
            }
        };
        if wrong {
            oracles.violate(format!("peer {index} was sent wrong bytes from byte {at} on"));
        }
    }

    // ---- judging ----

    /// The program's side of a connection is over.
    pub(crate) fn closed(
        &mut self,
        meeting: u32,
        was_cut: bool,
        reason: CloseReason,
        is_finished: bool,
    ) {
        if let Some(it) = self.meetings.get_mut(meeting as usize) {
            (it.reason, it.was_cut) = (Some(reason), it.was_cut || was_cut);
            it.was_finished = is_finished;
        }
    }

    /// Once both sides have ended: a connection that ended in good order has lost nothing, whoever
    /// ended it, and one that was aborted has not ended in good order.
    pub(crate) fn judge(&self, meeting: usize, oracles: &mut Oracles) {
        let Some(it) = self.meetings.get(meeting) else { return };
        let Some(reason) = it.reason.filter(|_| !it.was_cut) else { return };
        if matches!(it.saw, Saw::Nothing | Saw::Left) {
            return;
        }
        let peer = it.peer;
        if reason == CloseReason::Aborted && it.saw == Saw::End && !self.is_unix {
            return oracles.violate(format!("peer {peer} was aborted and saw a proper end"));
        }
        let is_ours = is_closed_by_handler(reason) || reason == CloseReason::Drained;
        if reason != CloseReason::PeerClosed && !(is_ours && it.was_finished) {
            return;
        }
        if it.saw == Saw::Failure {
            return oracles.violate(format!("peer {peer} ended in good order and was reset"));
        }
        let expected = match self.dialect {
            // What came behind our end was not wanted any more.
            Dialect::Echo if is_ours => it.received.max(it.consumed),
            Dialect::Echo => {
                let completes = self.completes_lines && it.sent > 0 && it.last_byte != b'\n';
                it.sent + u64::from(completes)
            }
            Dialect::Silence => 0,
            Dialect::Dots => it.dots,
            Dialect::Messages => it.received,
        };
        if it.greeting > 0 {
            let left = it.greeting;
            oracles.violate(format!("peer {peer} lacks {left} bytes sent before it was connected"));
        }
        if it.received != expected {
            let (got, sent) = (it.received, it.sent);
            oracles
                .violate(format!("peer {peer} was sent {got} of {expected} bytes; it sent {sent}"));
        }
        if self.dialect == Dialect::Silence && !is_ours && it.consumed != it.sent {
            let (got, sent) = (it.consumed, it.sent);
            oracles.violate(format!("the program was given {got} of {sent} bytes of peer {peer}"));
        }
        if let Some(expected) =
            it.messages_expected.filter(|_| !is_ours).filter(|count| *count != it.messages_received)
        {
            let got = it.messages_received;
            oracles.violate(format!("peer {peer} was sent {got} of {expected} messages"));
        }
    }
}

/// A handler said so, or refused what the peer sent: what it had queued is sent all the same.
pub(crate) fn is_closed_by_handler(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Closed | CloseReason::ProtocolError)
}

impl Plan {
    /// A server that the program dials: it sends a little, answers nothing and ends when it likes.
    fn server(random: &mut Random) -> Plan {
        Plan {
            starts_ms: 0,
            bytes: random.magnitude(1, 2000) as u32,
            piece: random.magnitude(1, 500) as u32,
            reads: 700,
            rests: 10,
            rest_ms: 20,
            urgent: 0,
            ending: random.pick(&[
                Ending::HalfClose,
                Ending::HalfClose,
                Ending::Close,
                Ending::Reset,
            ]),
            rounds: 1,
        }
    }
}

impl Peer {
    fn new(plan: Plan) -> Self {
        Peer {
            socket: NONE,
            rounds_left: plan.rounds,
            wake_ns: 0,
            sent: 0,
            has_ended: false,
            has_failed: false,
            meeting: NONE,
            out: Vec::new(),
            out_at: 0,
            line: Vec::new(),
            is_done: false,
            plan,
        }
    }
}

impl Meeting {
    fn new(peer: u32, salt: u32) -> Self {
        Meeting {
            peer,
            greeting: 0,
            salt,
            sent: 0,
            received: 0,
            last_byte: 0,
            saw: Saw::Nothing,
            messages_received: 0,
            last_sequences: [None; stream::ROOMS],
            reason: None,
            was_cut: false,
            was_finished: false,
            dots: 0,
            consumed: 0,
            messages_expected: None,
            messages_due: None,
            messages_published: 0,
        }
    }

    /// A message was received; says whether it comes behind those before.
    pub(crate) fn count_message(&mut self, room: usize, sequence: u64) -> bool {
        self.messages_received += 1;
        self.last_sequences[room].replace(sequence).is_none_or(|last| last < sequence)
    }

    /// Whether these bytes are what its peer sent, from there on.
    pub(crate) fn sent_these(&self, at: u64, bytes: &[u8]) -> bool {
        stream::matches(self.salt, at, bytes)
    }
}
