//! Publishers and subscribers of a broadcast: every line that one client sends must reach every
//! other one, once, whole, and in one order for all.
//!
//! ```text
//!   order:   base .... a b c d e f            what was delivered, in the order of whoever was first
//!                      ^     ^     ^
//!           slowest's next   |     the end: who only receives writes here what comes to him
//!                            next of some member: what comes to him must be this, unless he sent it
//! ```
//!
//! So the order costs one comparison for each delivery and memory for the distance between the
//! fastest and the slowest member only, and nobody has to know beforehand which order is the right
//! one. A message is done when every other member has it; that is when its publisher may send the
//! next one. All of this needs one thread.
//!
//! A line is `pppppp` `ssssssssss` in hexadecimal, publisher and number, then letters that depend
//! on both, and a newline; all lines have the same length.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;

use super::dialler::Dialler;
use super::fault::Fault;
use super::note::{Command, Note};
use super::pacer::Pacer;
use super::pattern::{self, Pattern};
use super::plan::{Mode, Plan};
use super::protocol::Protocol;
use super::share::Share;
use super::tally::Tally;
use super::window::Window;
use super::worker::{Crew, INTERRUPT_PATIENCE, Live, SURPLUS_PATIENCE, end_patience};
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// The members of a broadcast.
pub(super) struct Deliveries {
    plan: Plan,
    pattern: Pattern,
    members: Vec<Member>,
    /// The first so many members send.
    publishers: Vec<Publisher>,
    order: VecDeque<Entry>,
    /// The place of the first entry of `order`, counted from the beginning of the step.
    base: u64,
    dialler: Dialler,
    tally: Tally,
    notes: Sender<Note>,
    stage: Stage,
    pacer: Option<Pacer>,
    /// Messages that are not sent yet; in an open loop, that are not due yet.
    messages_left: u64,
    /// Publishers of which a message has come to everybody.
    done: Vec<usize>,
    /// Deliveries that are still to come.
    in_flight: u64,
    /// Lines sent to find out who is there.
    probes: u64,
    /// When the stage gives up, or looks again.
    stage_ends: u64,
    look_again: u64,
    line: Vec<u8>,
}

/// One connection, which receives.
#[derive(Default)]
struct Member {
    token: Option<Token>,
    /// It has received a line, and so is known to the server.
    is_proved: bool,
    /// The place in `order` of what should come next.
    next: u64,
    /// What was left out, should it still come.
    missed: Vec<Entry>,
    /// What came to a publisher before it had a place in `order`: where it stands among his own
    /// messages, which do not come to him, he cannot know.
    ahead: VecDeque<Ahead>,
}

/// A message whose place in the order is not known yet.
#[derive(Clone, Copy)]
struct Ahead {
    entry: Entry,
    /// When it was sent, or due; unknown for one that nobody waits for any more.
    since: Option<u64>,
    came: u64,
}

/// What one publisher has sent.
#[derive(Default)]
struct Publisher {
    /// The number of its next message.
    number: u64,
    /// The first number of this step: what is older belongs to the one before.
    first: u64,
    /// The number that the next new entry of `order` must have.
    ordered: u64,
    /// Smaller numbers that nobody has received yet.
    skipped: Vec<u64>,
    /// What not everybody has yet, oldest first.
    flights: VecDeque<Flight>,
    /// Of the schedule: sent, and due but not sent.
    taken: u64,
    owed: u64,
}

/// A message on its way.
struct Flight {
    /// When it was sent, or due.
    since: u64,
    sent: u64,
    missing: u64,
    /// Where it stands in `order`, once somebody has it.
    place: Option<u64>,
}

/// A message: publisher and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    publisher: u32,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Gathering,
    /// Everybody is connected, and lines are sent until everybody has received one.
    Proving,
    Running,
    Finishing,
}

impl Deliveries {
    pub(super) fn new(plan: &Plan, share: Share) -> io::Result<Self> {
        let publishers = match plan.mode {
            Mode::Broadcast { publishers } => publishers,
            _ => 1,
        };
        Ok(Deliveries {
            pattern: Pattern::text(plan.seed),
            members: Vec::new(),
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
            order: VecDeque::new(),
            base: 0,
            dialler: Dialler::new(plan, share.route.clone())?,
            tally: Tally::new(plan, &share)?,
            notes: share.notes,
            stage: Stage::Idle,
            pacer: None,
            messages_left: u64::MAX,
            done: Vec::new(),
            in_flight: 0,
            probes: 0,
            stage_ends: u64::MAX,
            look_again: u64::MAX,
            line: Vec::with_capacity(plan.size),
            plan: plan.clone(),
        })
    }

    // ---- connecting ----

    fn gather(&mut self, cx: &mut Context<'_>, members: usize) {
        self.stage = Stage::Gathering;
        self.dialler.begin();
        for member in self.members.len()..members {
            self.members.push(Member::default());
            self.dialler.enqueue(member);
        }
        self.dial(cx);
    }

    fn dial(&mut self, cx: &mut Context<'_>) {
        while let Some(member) = self.dialler.next() {
            let now = self.tally.now();
            if let Err(fault) = self.dialler.dial(cx, member, now) {
                self.tally.fault(fault, now);
            }
        }
        if self.stage == Stage::Gathering && self.dialler.is_idle() {
            self.stage = Stage::Proving;
            let now = self.tally.now();
            self.stage_ends = now + self.patience();
            self.probe(cx, now);
        }
    }

    /// Two members send a line, so that each member has one to receive, until all have.
    fn probe(&mut self, cx: &mut Context<'_>, now: u64) {
        let is_over = now >= self.stage_ends;
        if !is_over && self.members.iter().any(|it| it.token.is_some() && !it.is_proved) {
            let present = self.members.iter().filter_map(|it| it.token).take(2);
            for token in present.collect::<Vec<_>>() {
                self.probes += 1;
                let entry = Entry { publisher: PROBE, number: self.probes };
                self.write(entry);
                cx.send(token, &self.line);
            }
            self.look_again = now + PROBE_PAUSE;
            return self.arm(cx);
        }
        for member in 0..self.members.len() {
            if !self.members[member].is_proved {
                self.fail(cx, member, Fault::Timeout);
            }
        }
        self.stage = Stage::Idle;
        self.look_again = u64::MAX;
        self.tally.hand_over();
        let connections = self.members.iter().filter(|it| it.token.is_some()).count();
        self.note(Note::Ready { connections, connects: self.dialler.counts.clone() });
    }

    // ---- publishing ----

    fn start(&mut self, cx: &mut Context<'_>, window: Window, messages: Option<u64>) {
        let now = self.tally.now();
        self.tally.begin(window);
        self.stage = Stage::Running;
        self.messages_left = messages.unwrap_or(u64::MAX);
        self.order.clear();
        self.base = 0;
        for member in &mut self.members {
            member.next = 0;
            member.missed.clear();
            member.ahead.clear();
        }
        for publisher in &mut self.publishers {
            (publisher.first, publisher.ordered) = (publisher.number, publisher.number);
            (publisher.taken, publisher.owed) = (0, 0);
            publisher.skipped.clear();
            publisher.flights.clear();
        }
        self.done.clear();
        self.look_again = now + self.patience() / 4;
        self.pacer = Pacer::new(&self.plan, 0, window, self.publishers.len());
        (0..self.publishers.len()).for_each(|publisher| self.refill(cx, publisher, now));
    }

    /// Publishes what a publisher may send now.
    fn refill(&mut self, cx: &mut Context<'_>, publisher: usize, now: u64) {
        let Some(token) = self.members.get(publisher).and_then(|it| it.token) else { return };
        let receivers = self.members.iter().filter(|it| it.token.is_some()).count() as u64 - 1;
        // With nobody left to receive it nothing would ever come back.
        if receivers == 0 {
            return;
        }
        while self.stage == Stage::Running {
            let it = &mut self.publishers[publisher];
            if it.flights.len() >= self.plan.pipeline {
                return;
            }
            let since = match &self.pacer {
                None if self.messages_left == 0 => return,
                None => {
                    self.messages_left -= 1;
                    now
                }
                Some(_) if it.owed == 0 => return,
                Some(pacer) => {
                    (it.owed, it.taken) = (it.owed - 1, it.taken + 1);
                    pacer.due_of(publisher, it.taken - 1)
                }
            };
            let entry = Entry { publisher: publisher as u32, number: it.number };
            it.number += 1;
            it.flights.push_back(Flight { since, sent: now, missing: receivers, place: None });
            self.in_flight += receivers;
            self.write(entry);
            cx.send(token, &self.line);
        }
    }

    fn pace(&mut self, cx: &mut Context<'_>, now: u64) {
        let until = self.tally.window.until.min(now.saturating_add(1));
        while self.messages_left > 0
            && let Some(publisher) = self.pacer.as_mut().and_then(|pacer| pacer.pop(until))
        {
            self.messages_left -= 1;
            let it = &mut self.publishers[publisher];
            it.owed += 1;
            let (taken, was_free) = (it.taken, it.owed == 1);
            self.refill(cx, publisher, now);
            if was_free
                && self.publishers[publisher].taken > taken
                && let Some(pacer) = &self.pacer
            {
                self.tally.record_lateness(pacer.due_of(publisher, taken), now);
            }
        }
    }

    /// Writes a line into `line`.
    fn write(&mut self, entry: Entry) {
        let Deliveries { line, pattern, plan, .. } = self;
        line.clear();
        put_hex(line, u64::from(entry.publisher), PUBLISHER_DIGITS);
        put_hex(line, entry.number, NUMBER_DIGITS);
        pattern.each(position(entry, plan.size), plan.size - HEAD - 1, |piece| {
            line.extend_from_slice(piece);
        });
        line.push(b'\n');
    }

    // ---- delivering ----

    /// One line came to a member.
    fn deliver(&mut self, member: usize, line: &[u8], now: u64) -> Result<(), Fault> {
        let (publisher, number) =
            (hex(&line[..PUBLISHER_DIGITS]), hex(&line[PUBLISHER_DIGITS..HEAD]));
        let (Some(publisher), Some(number)) = (publisher, number) else {
            return Err(Fault::WrongByte);
        };
        let entry = Entry { publisher: publisher as u32, number };
        let (text, end) = line[HEAD..].split_at(line.len() - HEAD - 1);
        if end != b"\n" || !self.pattern.matches(position(entry, self.plan.size), text) {
            return Err(Fault::WrongByte);
        }
        self.members[member].is_proved = true;
        let Some(it) = self.publishers.get(entry.publisher as usize) else {
            let is_probe = entry.publisher == PROBE && entry.number <= self.probes;
            return if is_probe { Ok(()) } else { Err(Fault::WrongByte) };
        };
        if entry.number >= it.number || entry.publisher as usize == member {
            return Err(Fault::SurplusByte);
        }
        if entry.number < it.first {
            // It is of the step before, where it was counted as missed.
            return Ok(());
        }
        let since =
            self.publishers[entry.publisher as usize].flight(entry.number).map(|it| it.since);
        let came = Ahead { entry, since, came: now };
        if member < self.publishers.len() {
            self.catch_up(member);
            if !self.members[member].ahead.is_empty() || !self.has_place(entry) {
                self.members[member].ahead.push_back(came);
                self.land(entry);
                return Ok(());
            }
        }
        if self.judge(member, came) != Some(Fault::Duplicate) {
            self.land(entry);
        }
        Ok(())
    }

    /// Holds what came to a publisher against the order, as far as that is known.
    fn catch_up(&mut self, member: usize) {
        while let Some(ahead) = self.members[member].ahead.front().copied() {
            if !self.has_place(ahead.entry) {
                break;
            }
            self.members[member].ahead.pop_front();
            self.judge(member, ahead);
        }
    }

    /// Counts a message that has come to a member: as a delivery, or as a fault.
    fn judge(&mut self, member: usize, ahead: Ahead) -> Option<Fault> {
        let fault = self.follow(member, ahead.entry);
        match (fault, ahead.since) {
            (Some(fault), _) => self.tally.fault(fault, ahead.came),
            (None, Some(since)) => {
                self.tally.record(since, ahead.came);
                self.tally.record_bytes(self.plan.size as u64, ahead.came);
            }
            (None, None) => {}
        }
        fault
    }

    fn has_place(&self, entry: Entry) -> bool {
        self.publishers[entry.publisher as usize].has_place(entry.number)
    }

    /// Moves a member on in the order; a fault if this message should not come to it now.
    fn follow(&mut self, member: usize, entry: Entry) -> Option<Fault> {
        let is_known = self.publishers[entry.publisher as usize].has_place(entry.number);
        let it = &mut self.members[member];
        let own = member as u32;
        while let Some(expected) = self.order.get((it.next - self.base) as usize) {
            if *expected == entry {
                it.next += 1;
                return None;
            }
            let is_own = expected.publisher == own;
            if is_known && !is_own {
                return self.stray(member, entry);
            }
            // Nobody else has this one yet: what they do have was left out.
            if !is_own && it.missed.len() < MISSED_MAX {
                it.missed.push(*expected);
            }
            it.next += 1;
        }
        // The first to have it says where it stands.
        let publisher = &mut self.publishers[entry.publisher as usize];
        let late = publisher.skipped.iter().position(|number| *number == entry.number);
        let fault = match late {
            None if entry.number < publisher.ordered => return self.stray(member, entry),
            None => {
                let skipped = publisher.ordered..entry.number;
                let room = MISSED_MAX.saturating_sub(publisher.skipped.len());
                publisher.skipped.extend(skipped.take(room));
                publisher.ordered = entry.number + 1;
                None
            }
            Some(late) => {
                publisher.skipped.swap_remove(late);
                Some(Fault::OutOfOrder)
            }
        };
        let place = self.base + self.order.len() as u64;
        if let Some(flight) = publisher.flight(entry.number) {
            flight.place = Some(place);
        }
        self.order.push_back(entry);
        it.next = place + 1;
        fault
    }

    /// A message that is not the next one: others were left out, or it came before.
    fn stray(&mut self, member: usize, entry: Entry) -> Option<Fault> {
        let it = &mut self.members[member];
        let from = (it.next - self.base) as usize;
        let ahead = self.order.iter().skip(from).position(|other| *other == entry);
        if let Some(ahead) = ahead {
            let left_out = self.order.iter().skip(from).take(ahead);
            let left_out = left_out.filter(|other| other.publisher != member as u32);
            it.missed.extend(left_out.take(MISSED_MAX.saturating_sub(it.missed.len())));
            it.next += ahead as u64 + 1;
            return None;
        }
        match it.missed.iter().position(|missed| *missed == entry) {
            Some(place) => {
                it.missed.swap_remove(place);
                Some(Fault::OutOfOrder)
            }
            None => Some(Fault::Duplicate),
        }
    }

    /// A message is no longer on its way to one of its receivers.
    fn land(&mut self, entry: Entry) {
        let publisher = &mut self.publishers[entry.publisher as usize];
        let Some(flight) = publisher.flight(entry.number) else { return };
        flight.missing = flight.missing.saturating_sub(1);
        if flight.missing == 0 {
            self.done.push(entry.publisher as usize);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Publishers whose oldest messages everybody has may send again.
    fn go_on(&mut self, cx: &mut Context<'_>, now: u64) {
        while let Some(publisher) = self.done.pop() {
            let flights = &mut self.publishers[publisher].flights;
            while flights.front().is_some_and(|flight| flight.missing == 0) {
                flights.pop_front();
            }
            self.refill(cx, publisher, now);
        }
        self.trim();
    }

    /// Messages that have been on their way for too long are not waited for any more.
    fn give_up(&mut self, cx: &mut Context<'_>, now: u64) {
        if now < self.look_again {
            return;
        }
        self.look_again = now + self.patience() / 4;
        let overdue = now.saturating_sub(self.patience());
        for publisher in 0..self.publishers.len() {
            let flights = self.publishers[publisher].flights.iter_mut();
            for flight in flights.take_while(|flight| flight.sent < overdue) {
                let missing = std::mem::take(&mut flight.missing);
                (0..missing).for_each(|_| self.tally.fault(Fault::Missed, now));
                self.in_flight = self.in_flight.saturating_sub(missing);
                self.done.push(publisher);
            }
        }
        self.go_on(cx, now);
        self.rest(cx);
    }

    fn patience(&self) -> u64 {
        self.plan.reply_timeout.as_nanos() as u64
    }

    /// Forgets the part of the order that everybody has behind him.
    fn trim(&mut self) {
        if self.order.len() < TRIM {
            return;
        }
        (0..self.publishers.len()).for_each(|member| self.catch_up(member));
        let present = self.members.iter().filter(|it| it.token.is_some());
        let slowest = present.map(|it| it.next).min().unwrap_or(self.base);
        let done = (slowest.saturating_sub(self.base) as usize).min(self.order.len());
        self.order.drain(..done);
        self.base += done as u64;
    }

    // ---- ends ----

    /// Something is wrong with a member: it is counted and takes part no more. Nobody waits for
    /// what it has not received.
    fn fail(&mut self, cx: &mut Context<'_>, member: usize, fault: Fault) {
        let Some(token) = self.members[member].token else { return };
        self.tally.fault(fault, self.tally.now());
        self.part(member);
        cx.abort(token);
    }

    fn part(&mut self, member: usize) {
        let next = self.members[member].next;
        self.members[member].token = None;
        for (publisher, it) in self.publishers.iter_mut().enumerate() {
            for flight in it.flights.iter_mut().filter(|_| publisher != member) {
                if flight.missing > 0 && flight.place.is_none_or(|place| place >= next) {
                    flight.missing -= 1;
                    self.in_flight = self.in_flight.saturating_sub(1);
                    self.done.push(publisher);
                }
            }
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>, now: u64) {
        if self.stage == Stage::Running {
            self.pace(cx, now);
            self.stage = Stage::Finishing;
            self.stage_ends = now + end_patience(&self.plan);
            self.rest(cx);
        }
    }

    /// Nothing is in flight: whether that is the end.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if self.in_flight > 0 {
            return;
        }
        let now = self.tally.now();
        match self.stage {
            Stage::Running if self.messages_left == 0 => self.finish(cx, now),
            Stage::Finishing => self.stage_ends = self.stage_ends.min(now + SURPLUS_PATIENCE),
            _ => return,
        }
        self.arm(cx);
    }

    /// All is there, or what is missing will never come.
    fn settle(&mut self, now: u64) {
        (0..self.publishers.len()).for_each(|member| self.catch_up(member));
        let (mut unsent, mut unanswered) = (0, 0);
        let patience = self.patience();
        for (place, publisher) in self.publishers.iter_mut().enumerate() {
            for flight in publisher.flights.drain(..) {
                match now.saturating_sub(flight.sent) >= patience {
                    true => (0..flight.missing).for_each(|_| self.tally.fault(Fault::Missed, now)),
                    false => unanswered += flight.missing,
                }
                self.tally.record_unanswered(flight.since, now);
            }
            for number in publisher.taken..publisher.taken + publisher.owed {
                if let Some(pacer) = &self.pacer {
                    self.tally.record_unanswered(pacer.due_of(place, number), now);
                }
            }
            unsent += std::mem::take(&mut publisher.owed);
        }
        self.in_flight = 0;
        self.stage = Stage::Idle;
        let until = self.tally.window.until;
        self.tally.end();
        let connects = self.dialler.counts.clone();
        let last = self.tally.last;
        self.note(Note::Done { last, until, unsent, unanswered, connects });
    }

    fn arm(&self, cx: &mut Context<'_>) {
        let at = match self.stage {
            Stage::Proving => self.look_again.min(self.stage_ends),
            Stage::Running => {
                let due = match &self.pacer {
                    Some(_) if self.messages_left == 0 => u64::MAX,
                    Some(_) if self.plan.spin => 0,
                    Some(pacer) => pacer.next_due(),
                    None => u64::MAX,
                };
                due.min(self.look_again).min(self.tally.window.until)
            }
            Stage::Finishing => self.stage_ends,
            Stage::Idle | Stage::Gathering => return,
        };
        if at < u64::MAX {
            cx.set_alarm(self.tally.instant(at));
        }
    }

    fn note(&self, note: Note) {
        // The conductor goes first only when the whole run has failed.
        let _ = self.notes.send(note);
    }
}

impl Publisher {
    /// Whether a message is known to stand somewhere in the order.
    fn has_place(&self, number: u64) -> bool {
        number < self.ordered && !self.skipped.contains(&number)
    }

    /// The message of a number, if not everybody has it.
    fn flight(&mut self, number: u64) -> Option<&mut Flight> {
        let oldest = self.number - self.flights.len() as u64;
        self.flights.get_mut(number.checked_sub(oldest)? as usize)
    }
}

impl Crew for Deliveries {
    fn obey(&mut self, cx: &mut Context<'_>, command: Command) {
        match command {
            Command::Gather { connections } => self.gather(cx, connections),
            Command::Start { window, messages } => self.start(cx, window, messages),
            Command::Stop => {
                let now = self.tally.now();
                self.tally.window.until = self.tally.window.until.min(now);
                self.finish(cx, now);
                self.stage_ends = self.stage_ends.min(now + INTERRUPT_PATIENCE);
            }
            Command::Leave => {
                self.stage = Stage::Idle;
                // As in `requests`: a reset leaves no port in TIME_WAIT.
                let present: Vec<Token> = self.members.iter().filter_map(|it| it.token).collect();
                present.into_iter().for_each(|token| cx.abort(token));
                cx.drain();
            }
        }
        self.arm(cx);
    }

    fn live(&self) -> Live {
        Live { answered: self.tally.answered, faults: self.tally.faulty }
    }
}

impl Handler for Deliveries {
    type Session = usize;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> usize {
        let now = self.tally.now();
        let Some((member, _)) = self.dialler.opened(token, now) else { return usize::MAX };
        self.dialler.settled();
        self.members[member].token = Some(token);
        self.dial(cx);
        member
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        _token: Token,
        member: &mut usize,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let (member, size) = (*member, self.plan.size);
        if self.members.get(member).is_none_or(|it| it.token.is_none()) {
            return Ok(());
        }
        let now = self.tally.now();
        let mut taken = 0;
        let mut fault = None;
        for line in input.contiguous().chunks_exact(size) {
            taken += size;
            fault = self.deliver(member, line, now).err();
            if fault.is_some() {
                break;
            }
        }
        let is_strange = fault.is_some() || !self.members[member].is_proved;
        if let Some(protocol) = Protocol::of(input.contiguous()).filter(|_| is_strange) {
            self.note(Note::Heard(protocol));
        }
        input.consume(taken);
        if let Some(fault) = fault {
            self.fail(cx, member, fault);
        }
        if self.stage == Stage::Proving && self.members.iter().all(|it| it.is_proved) {
            self.probe(cx, now);
        }
        self.go_on(cx, now);
        self.rest(cx);
        Ok(())
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        let now = self.tally.now();
        match self.stage {
            Stage::Proving => self.probe(cx, now),
            Stage::Running => {
                self.pace(cx, now);
                self.give_up(cx, now);
                if now >= self.tally.window.until {
                    self.finish(cx, now);
                }
            }
            Stage::Finishing if now >= self.stage_ends => self.settle(now),
            Stage::Finishing | Stage::Idle | Stage::Gathering => {}
        }
        self.arm(cx);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        _token: Token,
        member: usize,
        reason: CloseReason,
    ) {
        let Some(it) = self.members.get(member).filter(|it| it.token.is_some()) else { return };
        let is_owed = it.next < self.base + self.order.len() as u64 || self.in_flight > 0;
        self.part(member);
        let now = self.tally.now();
        if let Some(fault) = Fault::of_close(reason, is_owed) {
            self.tally.fault(fault, now);
        }
        self.go_on(cx, now);
        self.rest(cx);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        if self.dialler.failed(token).is_some() {
            self.tally.fault(Fault::of_connect(error), self.tally.now());
        }
        self.dial(cx);
    }
}

/// Where the letters of a message begin in the pattern.
fn position(entry: Entry, size: usize) -> u64 {
    pattern::origin(entry.publisher as usize, 0) + entry.number.wrapping_mul(size as u64 | 1) % LAP
}

fn put_hex(line: &mut Vec<u8>, value: u64, digits: usize) {
    line.extend((0..digits).rev().map(|digit| HEX[(value >> (4 * digit)) as usize & 15]));
}

#[inline]
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const PUBLISHER_DIGITS: usize = 6;
const NUMBER_DIGITS: usize = 10;
const HEAD: usize = PUBLISHER_DIGITS + NUMBER_DIGITS;
/// The publisher of the lines that only find out who is there.
const PROBE: u32 = 0xff_ffff;
/// Far enough for any two messages in flight to differ, and no overflow near.
const LAP: u64 = 1 << 40;
/// The order is trimmed when so much of it is held.
const TRIM: usize = 4096;
/// What a member missed is remembered up to here, to tell a late message from a second one.
const MISSED_MAX: usize = 1024;
const PROBE_PAUSE: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::load::route::Route;

    /// Two publishers and two that only listen, 2 and 3.
    fn deliveries() -> Deliveries {
        let plan = Plan::new("127.0.0.1:7000".parse().unwrap(), Mode::Broadcast { publishers: 2 });
        let (notes, _) = channel();
        let route = Route::new(&plan);
        let share = Share { thread: 0, threads: 1, epoch: Instant::now(), route, notes };
        let mut deliveries = Deliveries::new(&plan, share).unwrap();
        deliveries.members.resize_with(4, Member::default);
        deliveries.publishers.iter_mut().for_each(|it| it.number = 10);
        deliveries
    }

    const fn entry(publisher: u32, number: u64) -> Entry {
        Entry { publisher, number }
    }

    #[test]
    fn message_that_overtook_another_is_out_of_order_whoever_is_looked_at_first() {
        for second in [entry(0, 1), entry(1, 0)] {
            let first = entry(0, 0);
            let mut deliveries = deliveries();
            // The one that is wrong comes to the second before anybody else has it.
            let came = [(2, first), (3, second), (3, first), (2, second), (2, entry(1, 1))];
            let faults = came.map(|(member, entry)| deliveries.follow(member, entry));
            assert_eq!(faults, [None, None, Some(Fault::OutOfOrder), None, None], "{second:?}");
            assert_eq!(deliveries.follow(3, entry(1, 1)), None);
            assert_eq!(deliveries.follow(3, first), Some(Fault::Duplicate));
        }
    }
}
