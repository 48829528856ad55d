//! Publishers and subscribers of a broadcast: every line that one client sends must reach every
//! other one, once, whole, and in one order for all.
//!
//! What comes to a member is held against an order that all agree on, see `order`. A message is done when
//! every other member has it; that is when its publisher may send the next one. All of this needs one thread.
//!
//! A line is `pppppp` `ssssssssss` in hexadecimal, publisher and number, then letters that depend
//! on both, and a newline; all lines have the same length.

use std::collections::VecDeque;
use std::io;

use super::fault::Fault;
use super::note::Note;
use super::order::{Entry, Followed, Order};
use super::pattern::{self, Pattern};
use super::plan::{Mode, Plan};
use super::protocol::Protocol;
use super::run::{Crew, Dues, Rest, Run, Stage};
use super::share::Share;
use super::window::Window;
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// The members of a broadcast.
pub(super) struct Deliveries {
    run: Run,
    pattern: Pattern,
    members: Vec<Member>,
    /// The first so many members send.
    publishers: Vec<Publisher>,
    order: Order,
    /// Publishers of which a message has come to everybody.
    done: Vec<usize>,
    /// Lines sent to find out who is there.
    probes: u64,
    /// When it is looked again who is there, or what has been on its way for too long.
    look_again: u64,
    line: Vec<u8>,
}

/// One connection, which receives.
#[derive(Default)]
struct Member {
    token: Option<Token>,
    /// The member has received a line, and so is known to the server.
    is_proved: bool,
    /// What came to a publisher before it had a place in `order`: where it stands among his own
    /// messages, which do not come to him, he cannot know.
    ahead: VecDeque<Ahead>,
}

/// A message whose place in the order is not known yet.
#[derive(Clone, Copy)]
struct Ahead {
    entry: Entry,
    /// When the message was sent, or due; unknown once nobody waits for the message any more.
    since: Option<u64>,
    came: u64,
}

/// What one publisher has sent.
#[derive(Default)]
struct Publisher {
    /// The number of its next message.
    number: u64,
    /// The first number of this step: messages with smaller numbers belong to the step before.
    first: u64,
    /// Messages that some subscriber lacks, oldest first.
    flights: VecDeque<Flight>,
    dues: Dues,
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

impl Deliveries {
    pub(super) fn new(plan: &Plan, share: Share) -> io::Result<Self> {
        let publishers = match plan.mode {
            Mode::Broadcast { publishers } => publishers,
            _ => 1,
        };
        Ok(Deliveries {
            run: Run::new(plan, &share)?,
            pattern: Pattern::text(plan.seed),
            members: Vec::new(),
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
            order: Order::new(publishers),
            done: Vec::new(),
            probes: 0,
            look_again: u64::MAX,
            line: Vec::with_capacity(plan.size),
        })
    }

    // ---- connecting ----

    fn dial(&mut self, cx: &mut Context<'_>) {
        while let Some(member) = self.run.dialler.next() {
            let now = self.run.tally.now();
            if let Err(fault) = self.run.dialler.dial(cx, member, now) {
                self.run.tally.fault(fault, now);
            }
        }
        if self.run.stage == Stage::Gathering && self.run.dialler.is_idle() {
            self.run.stage = Stage::Proving;
            let now = self.run.tally.now();
            self.run.ends_at = now + self.patience();
            self.probe(cx, now);
        }
    }

    /// Two members send a line, so that each member has one to receive, until all have.
    fn probe(&mut self, cx: &mut Context<'_>, now: u64) {
        let is_over = now >= self.run.ends_at;
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
        self.look_again = u64::MAX;
        self.run.ready(self.members.iter().filter(|it| it.token.is_some()).count());
    }

    // ---- publishing ----

    /// Publishes what a publisher may send now.
    fn refill(&mut self, cx: &mut Context<'_>, publisher: usize, now: u64) {
        let Some(token) = self.members.get(publisher).and_then(|it| it.token) else { return };
        let receivers = self.members.iter().filter(|it| it.token.is_some()).count() as u64 - 1;
        // With nobody left to receive it nothing would ever come back.
        if receivers == 0 {
            return;
        }
        while self.run.stage == Stage::Running {
            let it = &mut self.publishers[publisher];
            if it.flights.len() >= self.run.plan.pipeline || !self.run.has_more(&it.dues) {
                return;
            }
            let since = self.run.take(&mut it.dues).unwrap_or(now);
            let entry = Entry { publisher: publisher as u32, number: it.number };
            it.number += 1;
            it.flights.push_back(Flight { since, sent: now, missing: receivers, place: None });
            self.run.in_flight += receivers;
            self.write(entry);
            cx.send(token, &self.line);
        }
    }

    /// Writes a line into `line`.
    fn write(&mut self, entry: Entry) {
        let Deliveries { line, pattern, run, .. } = self;
        let size = run.plan.size;
        line.clear();
        put_hex(line, u64::from(entry.publisher), PUBLISHER_DIGITS);
        put_hex(line, entry.number, NUMBER_DIGITS);
        pattern.each(position(entry, size), size - HEAD - 1, |piece| {
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
        if end != b"\n" || !self.pattern.matches(position(entry, self.run.plan.size), text) {
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
            if !self.members[member].ahead.is_empty() || !self.order.has_place(entry) {
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
            if !self.order.has_place(ahead.entry) {
                break;
            }
            self.members[member].ahead.pop_front();
            self.judge(member, ahead);
        }
    }

    /// Counts a message that has come to a member: as a delivery, or as a fault.
    fn judge(&mut self, member: usize, ahead: Ahead) -> Option<Fault> {
        let Followed { fault, place } = self.order.follow(member, ahead.entry);
        let publisher = &mut self.publishers[ahead.entry.publisher as usize];
        if place.is_some()
            && let Some(flight) = publisher.flight(ahead.entry.number)
        {
            flight.place = place;
        }
        match (fault, ahead.since) {
            (Some(fault), _) => self.run.tally.fault(fault, ahead.came),
            (None, Some(since)) => {
                self.run.tally.record(since, ahead.came);
                self.run.tally.record_bytes(self.run.plan.size as u64, ahead.came);
            }
            (None, None) => {}
        }
        fault
    }

    /// A message is no longer on its way to one of its receivers.
    fn land(&mut self, entry: Entry) {
        let publisher = &mut self.publishers[entry.publisher as usize];
        let Some(flight) = publisher.flight(entry.number) else { return };
        flight.missing = flight.missing.saturating_sub(1);
        if flight.missing == 0 {
            self.done.push(entry.publisher as usize);
        }
        self.run.in_flight = self.run.in_flight.saturating_sub(1);
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
                (0..missing).for_each(|_| self.run.tally.fault(Fault::Missed, now));
                self.run.in_flight = self.run.in_flight.saturating_sub(missing);
                self.done.push(publisher);
            }
        }
        self.go_on(cx, now);
        self.rest(cx);
    }

    fn patience(&self) -> u64 {
        self.run.plan.reply_timeout.as_nanos() as u64
    }

    /// Forgets the part of the order that everybody has behind him.
    fn trim(&mut self) {
        if self.order.len() < TRIM {
            return;
        }
        (0..self.publishers.len()).for_each(|member| self.catch_up(member));
        let present = self.members.iter().enumerate().filter(|(_, it)| it.token.is_some());
        self.order.trim(present.map(|(member, _)| member));
    }

    // ---- ends ----

    /// Something is wrong with a member: it is counted and takes part no more. Nobody waits for
    /// what it has not received.
    fn fail(&mut self, cx: &mut Context<'_>, member: usize, fault: Fault) {
        let Some(token) = self.members[member].token else { return };
        self.run.tally.fault(fault, self.run.tally.now());
        self.part(member);
        cx.abort(token);
    }

    fn part(&mut self, member: usize) {
        self.catch_up(member);
        let next = self.order.next(member);
        let it = &mut self.members[member];
        it.token = None;
        // Nobody can say any more where these stand; they have come, and are no longer on their way.
        let ahead = std::mem::take(&mut it.ahead);
        for (publisher, it) in self.publishers.iter_mut().enumerate().filter(|it| it.0 != member) {
            let oldest = it.number - it.flights.len() as u64;
            for (number, flight) in (oldest..).zip(&mut it.flights) {
                let entry = Entry { publisher: publisher as u32, number };
                let is_due = flight.place.is_none_or(|place| place >= next);
                if flight.missing > 0 && is_due && !ahead.iter().any(|it| it.entry == entry) {
                    flight.missing -= 1;
                    self.run.in_flight = self.run.in_flight.saturating_sub(1);
                    self.done.push(publisher);
                }
            }
        }
    }
}

impl Publisher {
    /// The message of a number, if not everybody has it.
    fn flight(&mut self, number: u64) -> Option<&mut Flight> {
        let oldest = self.number - self.flights.len() as u64;
        self.flights.get_mut(number.checked_sub(oldest)? as usize)
    }
}

impl Crew for Deliveries {
    fn run(&self) -> &Run {
        &self.run
    }

    fn run_mut(&mut self) -> &mut Run {
        &mut self.run
    }

    fn gather(&mut self, cx: &mut Context<'_>, members: usize) {
        self.run.gather(self.members.len(), members);
        while self.members.len() < members {
            self.members.push(Member::default());
            self.order.join();
        }
        self.dial(cx);
    }

    fn start(&mut self, cx: &mut Context<'_>, window: Window, messages: Option<u64>) {
        let now = self.run.tally.now();
        self.run.start(window, messages, 0, self.publishers.len());
        self.members.iter_mut().for_each(|member| member.ahead.clear());
        for (place, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.first = publisher.number;
            publisher.dues = Dues::at(place);
            publisher.flights.clear();
        }
        self.order.begin(self.publishers.iter().map(|publisher| publisher.first));
        self.done.clear();
        self.look_again = now + self.patience() / 4;
        (0..self.publishers.len()).for_each(|publisher| self.refill(cx, publisher, now));
    }

    fn pace(&mut self, cx: &mut Context<'_>, now: u64) {
        while let Some(publisher) = self.run.pop_due(now) {
            let dues = &mut self.publishers[publisher].dues;
            dues.owe();
            let before = *dues;
            self.refill(cx, publisher, now);
            self.run.count_lateness(before, self.publishers[publisher].dues, now);
        }
    }

    fn look(&mut self, cx: &mut Context<'_>, now: u64) {
        match self.run.stage {
            Stage::Proving => self.probe(cx, now),
            _ => self.give_up(cx, now),
        }
    }

    fn looks_at(&self) -> u64 {
        self.look_again
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn stop_sending(&mut self) {
        self.look_again = u64::MAX;
    }

    fn settle(&mut self, _cx: &mut Context<'_>, now: u64) -> Rest {
        (0..self.publishers.len()).for_each(|member| self.catch_up(member));
        let (mut unsent, mut unanswered) = (0, 0);
        let patience = self.patience();
        for publisher in &mut self.publishers {
            let tally = &mut self.run.tally;
            for flight in publisher.flights.drain(..) {
                match now.saturating_sub(flight.sent) >= patience {
                    true => (0..flight.missing).for_each(|_| tally.fault(Fault::Missed, now)),
                    false => unanswered += flight.missing,
                }
                tally.record_unanswered(flight.since, now);
            }
            unsent += self.run.count_unsent(&mut publisher.dues, now);
        }
        self.run.in_flight = 0;
        Rest { unsent, unanswered }
    }

    fn leave(&mut self, cx: &mut Context<'_>) {
        // As in `requests`: a reset leaves no port in TIME_WAIT.
        self.members.iter().filter_map(|it| it.token).for_each(|token| cx.abort(token));
    }
}

impl Handler for Deliveries {
    type Session = usize;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> usize {
        let now = self.run.tally.now();
        let Some((member, _)) = self.run.dialler.opened(token, now) else { return usize::MAX };
        self.run.dialler.settled();
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
        let (member, size) = (*member, self.run.plan.size);
        if self.members.get(member).is_none_or(|it| it.token.is_none()) {
            return Ok(());
        }
        let now = self.run.tally.now();
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
            self.run.note(Note::Heard(protocol));
        }
        input.consume(taken);
        if let Some(fault) = fault {
            self.fail(cx, member, fault);
        }
        if self.run.stage == Stage::Proving && self.members.iter().all(|it| it.is_proved) {
            self.probe(cx, now);
        }
        self.go_on(cx, now);
        self.rest(cx);
        Ok(())
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.wake(cx);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        _token: Token,
        member: usize,
        reason: CloseReason,
    ) {
        if self.members.get(member).is_none_or(|it| it.token.is_none()) {
            return;
        }
        let is_owed = self.order.is_behind(member) || self.run.in_flight > 0;
        self.part(member);
        let now = self.run.tally.now();
        if let Some(fault) = Fault::of_close(reason, is_owed) {
            self.run.tally.fault(fault, now);
        }
        self.go_on(cx, now);
        self.rest(cx);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        if self.run.dialler.failed(token).is_some() {
            let fault = self.run.connect_fault(error);
            self.run.tally.fault(fault, self.run.tally.now());
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
const PROBE_PAUSE: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::load::route::Route;

    /// Two publishers and two members that only listen; publisher 1 has one message on its way.
    fn deliveries() -> Deliveries {
        let plan = Plan::new("127.0.0.1:7000".parse().unwrap(), Mode::Broadcast { publishers: 2 });
        let (notes, _) = channel();
        let route = Route::new(&plan);
        let share = Share { thread: 0, threads: 1, epoch: Instant::now(), route, notes };
        let mut deliveries = Deliveries::new(&plan, share).unwrap();
        for _ in 0..4 {
            deliveries.members.push(Member::default());
            deliveries.order.join();
        }
        let flight = Flight { since: 0, sent: 0, missing: 3, place: None };
        deliveries.publishers[1].flights.push_back(flight);
        deliveries.publishers[1].number = 1;
        deliveries.run.in_flight = 3;
        deliveries
    }

    #[test]
    fn message_that_had_come_to_a_publisher_is_not_taken_from_what_is_in_flight_again_when_that_parts()
     {
        let mut deliveries = deliveries();
        deliveries.write(Entry { publisher: 1, number: 0 });
        let line = deliveries.line.clone();
        assert_eq!(deliveries.deliver(0, &line, 1), Ok(()));
        assert_eq!((deliveries.run.in_flight, deliveries.members[0].ahead.len()), (2, 1));
        deliveries.part(0);
        assert_eq!((deliveries.run.in_flight, deliveries.members[0].ahead.len()), (2, 0));
        // It still takes two to be done.
        for member in [2, 3] {
            assert!(deliveries.done.is_empty());
            assert_eq!(deliveries.deliver(member, &line, 2), Ok(()));
        }
        assert_eq!((deliveries.run.in_flight, &deliveries.done[..]), (0, &[1][..]));
    }
}
