//! The clients of one thread that ask and are answered: a handler on the reactor.
//!
//! ```text
//!             dial            open              first answer
//!   Resting --------> Dialling -----> Proving ----------------> Ready
//!      ^                  |              |                        |
//!      +------------------+--------------+------------------------+   closed, failed
//! ```
//!
//! A server may close a connection that is idle, or behind an answer which announces that. Then the client
//! is connected again at once, and asks on the new connection what it had asked on the old one. The latency
//! of such a message goes on from when the message was first sent, or due. The old connection is left to the
//! server, which ends it.
//!
//! After an error, or an answer that says no, a client pauses before it connects again.
//!
//! While the stage is `Running`, an answer is followed by the next message (closed loop), or by the next
//! message that the client owes (open loop). In an open loop the schedule hands out messages that are due,
//! and a client that may send no more owes its message. For each client `in flight = asked - answered <= pipeline`.
//!
//! A message costs one read of the clock, on its answer, which is also when the next one is sent;
//! no allocation, and no change of a timer: a client's timer runs from its first message on and
//! looks at what is overdue when it fires.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::dialect::{Answers, Asker, Dialect};
use super::fault::Fault;
use super::note::Note;
use super::pattern;
use super::plan::{Mode, Plan};
use super::protocol::Protocol;
use super::report::Closes;
use super::run::{Crew, Dues, LINGER, Rest, Run, Stage};
use super::share::Share;
use super::window::Window;
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// Clients that speak one dialect.
pub(super) struct Requests<D: Dialect> {
    run: Run,
    share: Share,
    dialect: D,
    clients: Vec<Client<D::Stream>>,
    /// When each message in flight was sent, or due: a ring of `1 << depth_bits` for each client.
    stamps: Vec<u64>,
    depth_bits: u32,
    /// Clients that lost their connection, and when they come back.
    redials: VecDeque<(u64, usize)>,
    /// Connections whose end the server has announced, and that still wait for it.
    left_behind: usize,
    /// The first answer was of another protocol, and that is told.
    has_heard: bool,
    /// The clients that the schedule counts, in its order.
    scheduled: Vec<usize>,
    /// Messages of this step that had no answer when it was over, and had not waited too long.
    unanswered: u64,
}

/// One client: what it has asked, and what it has seen of the answers.
struct Client<S> {
    token: Option<Token>,
    state: State,
    /// The client has had an answer, on this connection or an earlier one.
    is_proved: bool,
    /// Its timer runs.
    is_timed: bool,
    asked: u64,
    answered: u64,
    /// Messages that were in flight on the connection before and go out first on the next one;
    /// their stamps are the first of its ring.
    asks_again: u64,
    /// The last answer on this connection said no.
    was_refused: bool,
    origin: u64,
    /// Connections that it has had.
    lives: u64,
    /// When it was last answered, or began to wait.
    waiting_since: u64,
    /// When the next messages of a closed loop would have been sent on a connection that stays; 0
    /// when there are none to come.
    resumes_since: u64,
    dues: Dues,
    stream: S,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Without a connection.
    Resting,
    /// The same, until there is something to say: a connection that the server closes unused is not
    /// made again for nothing.
    Dormant,
    Dialling,
    /// Its first answer is awaited.
    Proving,
    Ready,
    /// The end of its connection is known and counted.
    Leaving,
}

impl<D: Dialect> Requests<D> {
    pub(super) fn new(plan: &Plan, share: Share, dialect: D) -> io::Result<Self> {
        Ok(Requests {
            run: Run::new(plan, &share)?,
            dialect,
            clients: Vec::new(),
            stamps: Vec::new(),
            depth_bits: plan.pipeline.next_power_of_two().trailing_zeros(),
            redials: VecDeque::new(),
            left_behind: 0,
            has_heard: false,
            scheduled: Vec::new(),
            unanswered: 0,
            share,
        })
    }

    // ---- connecting ----

    /// Begins as many connects as may be under way.
    fn dial(&mut self, cx: &mut Context<'_>) {
        while let Some(client) = self.run.dialler.next() {
            let now = self.run.tally.now();
            self.clients[client].state = State::Dialling;
            if let Err(fault) = self.run.dialler.dial(cx, client, now) {
                self.forget(client);
                self.lose(cx, client, fault);
            }
        }
        if self.run.stage == Stage::Gathering && self.run.dialler.is_idle() {
            self.run.ready(self.clients.iter().filter(|it| it.is_proved).count());
        }
    }

    /// The first answer is there, or none is asked for.
    fn prove(&mut self, cx: &mut Context<'_>, client: usize) {
        let it = &mut self.clients[client];
        (it.state, it.is_proved) = (State::Ready, true);
        self.run.dialler.settled();
        if self.is_churn() {
            self.part(cx, client);
        } else {
            let now = self.run.tally.now();
            self.ask_again(cx, client, now);
            self.refill(cx, client, now);
            self.clients[client].resumes_since = 0;
        }
        self.dial(cx);
    }

    // ---- asking and being answered ----

    /// Sends what a client may send now.
    #[inline]
    fn refill(&mut self, cx: &mut Context<'_>, client: usize, now: u64) {
        if self.run.stage != Stage::Running {
            return;
        }
        let depth = self.run.plan.pipeline as u64;
        loop {
            let it = &mut self.clients[client];
            let is_free = match it.state {
                State::Ready => it.asked - it.answered < depth,
                // In churn a message begins with its connect.
                State::Resting => self.run.plan.mode == Mode::Churn,
                State::Dormant => true,
                _ => false,
            };
            if !is_free || !self.has_more(client) || self.run.plan.mode == Mode::Idle {
                return;
            }
            let it = &mut self.clients[client];
            if it.state == State::Dormant {
                it.state = State::Dialling;
                return self.run.dialler.enqueue(client);
            }
            let resumes_since = if it.resumes_since > 0 { it.resumes_since } else { now };
            let since = self.run.take(&mut it.dues).unwrap_or(resumes_since);
            if self.run.plan.mode == Mode::Churn {
                it.state = State::Dialling;
                it.waiting_since = since;
                return self.run.dialler.enqueue(client);
            }
            self.ask(cx, client, since, now);
        }
    }

    #[inline]
    fn ask(&mut self, cx: &mut Context<'_>, client: usize, since: u64, now: u64) {
        let number = self.share.number(client);
        let it = &mut self.clients[client];
        let Some(token) = it.token else { return };
        let asker = Asker { token, client: number, origin: it.origin };
        self.dialect.ask(cx, asker, it.asked);
        let place = it.asked & ((1 << self.depth_bits) - 1);
        self.stamps[(client << self.depth_bits) + place as usize] = since;
        if it.asked == it.answered {
            it.waiting_since = now;
        }
        it.asked += 1;
        self.run.in_flight += 1;
        if !it.is_timed {
            it.is_timed = true;
            cx.set_timer(token, self.run.plan.reply_timeout);
        }
    }

    /// Requests that were in flight on the connection before are asked once more. They count as in flight
    /// all the time.
    fn ask_again(&mut self, cx: &mut Context<'_>, client: usize, now: u64) {
        let again = std::mem::take(&mut self.clients[client].asks_again);
        self.run.in_flight -= again;
        for place in 0..again as usize {
            let since = self.stamps[(client << self.depth_bits) + place];
            self.ask(cx, client, since, now);
        }
    }

    #[inline]
    fn answered(&mut self, cx: &mut Context<'_>, client: usize, answers: Answers) {
        let now = self.run.tally.now();
        let it = &mut self.clients[client];
        let is_proving = it.state == State::Proving;
        let is_counted = it.state == State::Ready || self.run.plan.mode == Mode::Churn;
        for _ in 0..answers.right {
            let place = it.answered & ((1 << self.depth_bits) - 1);
            it.answered += 1;
            if is_counted {
                let since = self.stamps[(client << self.depth_bits) + place as usize];
                self.run.tally.record(since, now);
            }
        }
        (it.waiting_since, it.was_refused) = (now, answers.refusal.is_some());
        self.run.in_flight -= answers.right;
        if is_counted {
            self.run.tally.record_bytes(answers.bytes, now);
        }
        if let Some(refusal) = answers.refusal {
            it.answered += 1;
            self.run.in_flight -= 1;
            self.run.tally.refuse(refusal, now);
        }
        if is_proving {
            self.prove(cx, client);
        }
        if answers.is_last {
            self.renew(cx, client, now);
        } else if !is_proving {
            self.refill(cx, client, now);
        }
    }

    /// Whether the first answer on a connection is of another protocol.
    #[cold]
    fn overhear(&mut self, client: usize, input: &mut RingBuffer) {
        let is_first = self.clients[client].answered == 0 && !self.has_heard;
        let heard = Protocol::of(input.contiguous()).filter(|_| is_first);
        if let Some(protocol) =
            heard.filter(|it| Protocol::of_mode(&self.run.plan.mode) != Some(*it))
        {
            self.has_heard = true;
            self.run.note(Note::Heard(protocol));
        }
    }

    // ---- ends ----

    /// Ends a connection in good order, as both sides expect.
    fn part(&mut self, cx: &mut Context<'_>, client: usize) {
        let it = &mut self.clients[client];
        if let Some(token) = it.token {
            it.state = State::Leaving;
            cx.close(token);
        }
    }

    /// The server has announced the end of the connection: the client goes on over another one.
    fn renew(&mut self, cx: &mut Context<'_>, client: usize, now: u64) {
        let Some(token) = self.clients[client].token else { return };
        // The end that closes first keeps the port in TIME_WAIT, so the server is given time to be first.
        self.left_behind += 1;
        match self.left_behind > self.clients.len() {
            true => cx.abort(token),
            false => cx.set_timer(token, LINGER),
        }
        self.clients[client].resumes_since = now;
        let asked_again = self.carry_over(client);
        self.run.tally.closed(Closes { announced: 1, idle: 0, asked_again }, now);
        match self.clients[client].was_refused {
            true => self.come_back_later(cx, client),
            false => self.come_back(cx, client),
        }
        self.dial(cx);
    }

    /// Whether a server may end a connection in this way: no answer was owed on the connection, or earlier
    /// messages were answered and no byte of the next answer has come.
    fn is_idle_close(&self, client: usize, reason: CloseReason) -> bool {
        let it = &self.clients[client];
        let may_ask_again = self.dialect.may_ask_again(&it.stream);
        let is_close = match reason {
            CloseReason::PeerClosed => true,
            // A message that crosses the server's close is answered by a reset.
            CloseReason::Reset => may_ask_again,
            _ => false,
        };
        let is_right = match it.asked > it.answered {
            true => may_ask_again && it.answered > 0,
            false => self.run.plan.mode != Mode::Idle,
        };
        it.state == State::Ready && is_close && is_right
    }

    /// The server closed an idle connection. A connection that was of use is made again at once.
    fn replace(&mut self, cx: &mut Context<'_>, client: usize) {
        let it = &self.clients[client];
        let (was_used, was_refused) = (it.answered > 0, it.was_refused);
        let asked_again = self.carry_over(client);
        self.run.tally.closed(Closes { announced: 0, idle: 1, asked_again }, self.run.tally.now());
        match (was_used, was_refused) {
            (_, true) => self.come_back_later(cx, client),
            (true, false) => self.come_back(cx, client),
            (false, false) => self.clients[client].state = State::Dormant,
        }
    }

    /// Keeps what is in flight on a connection that is over for the next one, as far as somebody
    /// still wants it; how much that is.
    fn carry_over(&mut self, client: usize) -> u64 {
        let is_wanted = matches!(self.run.stage, Stage::Running | Stage::Finishing);
        let it = &self.clients[client];
        let (first, open) = (it.answered, it.asked - it.answered);
        if !is_wanted || open == 0 {
            self.forget(client);
            return 0;
        }
        let depth = 1 << self.depth_bits;
        let stamps = &mut self.stamps[client << self.depth_bits..][..depth];
        stamps.rotate_left(first as usize & (depth - 1));
        let it = &mut self.clients[client];
        it.asks_again = open;
        (it.answered, it.token, it.state) = (it.asked, None, State::Resting);
        open
    }

    /// Something is wrong with a connection: it is counted and ended.
    fn fail(&mut self, cx: &mut Context<'_>, client: usize, fault: Fault) {
        let now = self.run.tally.now();
        self.run.tally.fault(fault, now);
        if fault == Fault::Timeout {
            self.record_waits(client, now);
        }
        if self.clients[client].state == State::Proving {
            self.despair(fault);
        }
        self.cut(cx, client);
    }

    /// Ends a connection at once.
    fn cut(&mut self, cx: &mut Context<'_>, client: usize) {
        let it = &mut self.clients[client];
        if it.state == State::Proving {
            self.run.dialler.settled();
        }
        if let Some(token) = it.token {
            it.state = State::Leaving;
            cx.abort(token);
        }
    }

    /// A server that has not answered anybody in the time for an answer is not asked by all the
    /// others: with thousands of them that would take the time many times over.
    fn despair(&mut self, fault: Fault) {
        let is_timeout = matches!(fault, Fault::Timeout | Fault::ConnectTimeout);
        if self.run.stage == Stage::Gathering
            && is_timeout
            && !self.clients.iter().any(|it| it.is_proved)
        {
            self.run.dialler.clear_queue();
        }
    }

    /// What is in flight on a connection has waited in vain up to now; how much that is. The message
    /// that proves a client is no part of the measurement, except in churn.
    fn record_waits(&mut self, client: usize, now: u64) -> u64 {
        let it = &self.clients[client];
        let first = u64::from(it.lives == 1 && !self.is_churn());
        let (again, open) = (0..it.asks_again, it.answered.max(first)..it.asked);
        let count = again.clone().count() + open.clone().count();
        for number in again.chain(open) {
            let place = number & ((1 << self.depth_bits) - 1);
            let since = self.stamps[(client << self.depth_bits) + place as usize];
            self.run.tally.record_unanswered(since, now);
        }
        count as u64
    }

    /// A client is without a connection because of a fault.
    fn lose(&mut self, cx: &mut Context<'_>, client: usize, fault: Fault) {
        self.run.tally.fault(fault, self.run.tally.now());
        self.come_back_later(cx, client);
    }

    /// A server that is in trouble is not asked again at once.
    fn come_back_later(&mut self, cx: &mut Context<'_>, client: usize) {
        let is_awaited = match self.run.stage {
            Stage::Running => true,
            Stage::Finishing => self.clients[client].asks_again > 0,
            Stage::Gathering | Stage::Proving | Stage::Idle => false,
        };
        if is_awaited {
            let now = self.run.tally.now();
            self.run.tally.pause(now);
            // The pause is the client's own doing.
            self.clients[client].resumes_since = 0;
            self.redials.push_back((now + REDIAL_PAUSE, client));
            self.arm(cx);
        }
    }

    /// The connection ended as was expected, and the next one follows.
    fn come_back(&mut self, cx: &mut Context<'_>, client: usize) {
        let asks_again = self.clients[client].asks_again > 0;
        match self.run.stage {
            Stage::Running | Stage::Finishing if asks_again => self.run.dialler.enqueue(client),
            Stage::Running if self.run.messages_left == 0 && !self.has_more(client) => {}
            Stage::Running if self.is_churn() => {
                let now = self.run.tally.now();
                self.refill(cx, client, now);
            }
            Stage::Running => self.run.dialler.enqueue(client),
            Stage::Gathering | Stage::Proving | Stage::Finishing | Stage::Idle => {}
        }
    }

    /// These clients are not connected again.
    fn stay_away(&mut self, stays_away: impl Fn(&Client<D::Stream>) -> bool) {
        let clients = &self.clients;
        self.redials.retain(|(_, client)| !stays_away(&clients[*client]));
        for client in self.run.dialler.keep_queued(|client| !stays_away(&clients[client])) {
            self.clients[client].state = State::Resting;
        }
    }

    /// The run is over: what a client has in flight is late only if it has waited too long.
    fn give_up(&mut self, cx: &mut Context<'_>, client: usize, now: u64) {
        let it = &self.clients[client];
        let is_connecting = self.is_churn() && it.state == State::Dialling;
        let is_open = it.asked > it.answered || it.asks_again > 0 || is_connecting;
        if !is_open || it.state == State::Leaving {
            return;
        }
        let waited = Duration::from_nanos(now.saturating_sub(it.waiting_since));
        if is_connecting {
            self.run.tally.record_unanswered(it.waiting_since, now);
            self.unanswered += 1;
        } else if waited >= self.run.plan.reply_timeout {
            self.fail(cx, client, Fault::Timeout);
        } else {
            self.unanswered += self.record_waits(client, now);
            self.cut(cx, client);
        }
        self.drop_asks(client);
    }

    fn has_more(&self, client: usize) -> bool {
        self.run.has_more(&self.clients[client].dues)
    }

    fn is_churn(&self) -> bool {
        self.run.plan.mode == Mode::Churn
    }

    /// A connection is gone, or could not be had: what it still owed will not come.
    fn forget(&mut self, client: usize) {
        self.drop_asks(client);
        let it = &mut self.clients[client];
        self.run.in_flight -= it.asked - it.answered;
        (it.answered, it.token, it.state) = (it.asked, None, State::Resting);
    }

    fn drop_asks(&mut self, client: usize) {
        self.run.in_flight -= std::mem::take(&mut self.clients[client].asks_again);
    }
}

impl<D: Dialect> Crew for Requests<D> {
    fn run(&self) -> &Run {
        &self.run
    }

    fn run_mut(&mut self) -> &mut Run {
        &mut self.run
    }

    fn gather(&mut self, cx: &mut Context<'_>, clients: usize) {
        self.run.gather(self.clients.len(), clients);
        self.clients.resize_with(clients.max(self.clients.len()), Client::new);
        self.stamps.resize(clients << self.depth_bits, 0);
        self.run.dialler.set_limit(self.run.plan.connects_in_flight);
        self.dial(cx);
    }

    fn start(&mut self, cx: &mut Context<'_>, window: Window, messages: Option<u64>) {
        self.unanswered = 0;
        self.scheduled.clear();
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.dues = Dues::at(self.scheduled.len());
            // What was before is in no latency: connections were gathered meanwhile.
            (client.resumes_since, client.waiting_since) = (0, window.start);
            if client.is_proved {
                self.scheduled.push(index);
            }
        }
        self.run.start(window, messages, self.share.thread, self.scheduled.len());
        if self.is_churn() {
            self.run.dialler.set_limit(usize::MAX);
        }
        let now = self.run.tally.now();
        for place in 0..self.scheduled.len() {
            let client = self.scheduled[place];
            match self.clients[client].state {
                // The server has closed it since, as one does that closes behind each answer.
                State::Resting => self.come_back(cx, client),
                _ => self.refill(cx, client, now),
            }
        }
        self.dial(cx);
        // More threads than messages.
        self.rest(cx);
    }

    fn pace(&mut self, cx: &mut Context<'_>, now: u64) {
        while let Some(place) = self.run.pop_due(now) {
            let client = self.scheduled[place];
            let dues = &mut self.clients[client].dues;
            dues.owe();
            let before = *dues;
            self.refill(cx, client, now);
            self.run.count_lateness(before, self.clients[client].dues, now);
        }
        self.dial(cx);
    }

    /// Clients whose pause is over connect again.
    fn look(&mut self, cx: &mut Context<'_>, now: u64) {
        // In the order of their times.
        while self.redials.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, client)) = self.redials.pop_front() else { break };
            self.come_back(cx, client);
        }
        self.dial(cx);
    }

    fn looks_at(&self) -> u64 {
        self.redials.front().map_or(u64::MAX, |(at, _)| *at)
    }

    fn is_busy(&self) -> bool {
        match self.run.stage {
            // In churn a message begins with its connect.
            Stage::Finishing => self.is_churn() && !self.run.dialler.is_idle(),
            // Who comes back from a pause sends what was due meanwhile.
            _ => {
                let has_more = |(_, client): &(u64, usize)| self.has_more(*client);
                !self.run.dialler.is_idle() || self.redials.iter().any(has_more)
            }
        }
    }

    fn stop_sending(&mut self) {
        self.stay_away(|it| it.asks_again == 0);
    }

    fn settle(&mut self, cx: &mut Context<'_>, now: u64) -> Rest {
        (0..self.clients.len()).for_each(|client| self.give_up(cx, client, now));
        self.stay_away(|_| true);
        let mut unsent = 0;
        for client in &self.scheduled {
            unsent += self.run.count_unsent(&mut self.clients[*client].dues, now);
        }
        Rest { unsent, unanswered: self.unanswered }
    }

    /// All is said. A reset leaves no port behind in TIME_WAIT, which the next run would find taken
    /// for a minute; where the end of a connection is part of what is measured, it is an orderly one.
    fn leave(&mut self, cx: &mut Context<'_>) {
        for client in 0..self.clients.len() {
            let it = &self.clients[client];
            match it.token.filter(|_| it.state == State::Ready && it.asked == it.answered) {
                Some(token) => cx.abort(token),
                None => self.part(cx, client),
            }
        }
    }
}

impl<D: Dialect> Handler for Requests<D> {
    type Session = usize;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> usize {
        let now = self.run.tally.now();
        let Some((client, _)) = self.run.dialler.opened(token, now) else { return usize::MAX };
        let number = self.share.number(client);
        let it = &mut self.clients[client];
        it.token = Some(token);
        it.state = State::Proving;
        it.lives += 1;
        (it.asked, it.answered, it.is_timed, it.was_refused) = (0, 0, false, false);
        it.origin = pattern::origin(number, it.lives);
        it.stream = D::Stream::default();
        let is_silent = self.run.plan.mode == Mode::Idle && self.run.plan.size == 0;
        // A client that comes back has proved already that it can be answered.
        let is_back = it.is_proved && self.run.plan.mode != Mode::Churn;
        if is_silent || is_back {
            self.prove(cx, client);
        } else {
            // In churn the message began with the connect.
            let since = if self.run.plan.mode == Mode::Churn { it.waiting_since } else { now };
            self.ask(cx, client, since, now);
        }
        self.rest(cx);
        client
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: &mut usize,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let client = *client;
        let number = self.share.number(client);
        loop {
            let Some(it) = self.clients.get_mut(client).filter(|it| it.token == Some(token)) else {
                // Behind the answer that was the last one.
                input.clear();
                break;
            };
            let asker = Asker { token, client: number, origin: it.origin };
            let answers = match self.dialect.answers(asker, &mut it.stream, it.asked, input) {
                Ok(answers) if answers.is_empty() => {
                    self.overhear(client, input);
                    break;
                }
                Ok(answers) => answers,
                Err(fault) => {
                    self.overhear(client, input);
                    self.fail(cx, client, fault);
                    break;
                }
            };
            self.answered(cx, client, answers);
            if answers.refusal.is_none() && !answers.is_last {
                break;
            }
        }
        self.rest(cx);
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: &mut usize,
        _input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let it = self.clients.get_mut(*client).filter(|it| it.token == Some(token));
        if let Some(it) = it {
            let answers = self.dialect.ended(&mut it.stream);
            if !answers.is_empty() {
                self.answered(cx, *client, answers);
                self.rest(cx);
            }
        }
        cx.close(token);
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, client: &mut usize) {
        let client = *client;
        let now = self.run.tally.nanos(cx.now());
        let it = self.clients.get_mut(client).filter(|it| it.token == Some(token));
        // The server has announced an end that does not come.
        let Some(it) = it else { return cx.abort(token) };
        it.is_timed = false;
        if it.asked == it.answered {
            return;
        }
        let waited = Duration::from_nanos(now.saturating_sub(it.waiting_since));
        match self.run.plan.reply_timeout.checked_sub(waited) {
            Some(left) if !left.is_zero() => {
                it.is_timed = true;
                cx.set_timer(token, left);
            }
            _ => self.fail(cx, client, Fault::Timeout),
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.wake(cx);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, token: Token, client: usize, reason: CloseReason) {
        let Some(it) = self.clients.get(client) else { return };
        if it.token != Some(token) {
            self.left_behind -= 1;
            return;
        }
        let (was, owed) = (it.state, it.asked > it.answered);
        if self.is_idle_close(client, reason) {
            self.replace(cx, client);
        } else {
            let fault = Fault::of_close(reason, owed).filter(|_| was != State::Leaving);
            if fault == Some(Fault::Timeout) {
                self.record_waits(client, self.run.tally.now());
            }
            self.forget(client);
            if was == State::Proving {
                self.run.dialler.settled();
            }
            match fault {
                Some(fault) => self.lose(cx, client, fault),
                // Its fault is counted already.
                _ if reason == CloseReason::Aborted => self.come_back_later(cx, client),
                _ => self.come_back(cx, client),
            }
        }
        self.dial(cx);
        self.rest(cx);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        let Some(client) = self.run.dialler.failed(token) else { return self.dial(cx) };
        let (fault, now) = (self.run.connect_fault(error), self.run.tally.now());
        if fault == Fault::ConnectTimeout && self.is_churn() {
            self.run.tally.record_unanswered(self.clients[client].waiting_since, now);
        }
        self.forget(client);
        self.despair(fault);
        self.lose(cx, client, fault);
        self.dial(cx);
        self.rest(cx);
    }
}

impl<S: Default> Client<S> {
    fn new() -> Self {
        Client {
            token: None,
            state: State::Resting,
            is_proved: false,
            is_timed: false,
            asked: 0,
            answered: 0,
            asks_again: 0,
            was_refused: false,
            origin: 0,
            lives: 0,
            waiting_since: 0,
            resumes_since: 0,
            dues: Dues::default(),
            stream: S::default(),
        }
    }
}

/// A lost connection is made again after so long.
const REDIAL_PAUSE: u64 = 100_000_000;
