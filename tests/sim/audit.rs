//! Stands between the reactor and a handler: tells the oracles what the handler was told and what it
//! did, and asks at once what can be asked in a callback. The handler below is not changed by it.

use std::io;
use std::panic::resume_unwind;

use edgeloop::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

use crate::oracles::Account;
use crate::peers::Dialect;
use crate::random::Random;
use crate::schedule::Schedule;
use crate::socket::{Flight, Stage};
use crate::work::Piece;
use crate::world::{World, with};

#[derive(Debug)]
pub(crate) struct Audit<H> {
    inner: H,
    rules: Rules,
    /// What a callback was lent, to be compared with what it left.
    before: Vec<u8>,
    /// The reactor's count of work at that moment.
    work_before: u64,
    /// Have ended their side, and were not closed for it.
    listening: Vec<Token>,
    /// Decides which callbacks panic, and how many of a thousand do.
    panics: (Random, u16),
}

/// What the service and its configuration allow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) dialect: Dialect,
    pub(crate) disconnects_slow: bool,
    pub(crate) counts_messages: bool,
    pub(crate) memory_is_short: bool,
    /// Everybody follows the one topic from the beginning.
    pub(crate) follows_all: bool,
    /// What a subscriber is not given is counted as skipped.
    pub(crate) skips: bool,
    /// The handler ends connections itself.
    pub(crate) closes: bool,
}

impl<H> Audit<H> {
    pub(crate) fn new(inner: H, rules: Rules, schedule: &Schedule) -> Self {
        let panics = (Random::new(schedule.seed ^ 0x7061_6e69), schedule.panics);
        Audit { inner, rules, before: Vec::new(), work_before: 0, listening: Vec::new(), panics }
    }

    /// At the end of a callback, when all that it did was noted: now and then it panics, in silence.
    fn may_panic(&mut self, token: Token) {
        if self.draws_panic() {
            with(|world| world.oracles.panics(token));
            resume_unwind(Box::new("on purpose"));
        }
    }

    fn draws_panic(&mut self) -> bool {
        self.panics.0.chance(self.panics.1)
    }

    /// The end of a connection of which its handler is, or would have been, told.
    fn note_close(&self, world: &mut World, account: &Account, reason: CloseReason) {
        let is_finished = world.oracles.check_farewell(&world.kernel, account, reason);
        let was_cut = world.kernel.sockets[account.socket as usize].was_cut;
        world.peers.closed(account.meeting, was_cut, reason, is_finished);
        world.peers.judge(account.meeting as usize, &mut world.oracles);
    }

    /// Looks at what is lent: it is what the peer sent, from where the handler left off.
    fn lend(&mut self, cx: &Context<'_>, token: Token, input: &mut RingBuffer, what: &str) {
        self.before.clear();
        self.before.extend_from_slice(input.contiguous());
        self.work_before = cx.stats().work;
        let most = cx.config().input_limit + 2 * cx.config().read_budget;
        let (before, dialect) = (&self.before, self.rules.dialect);
        with(|world| {
            world.oracles.begins(Piece::Read, token);
            world.oracles.visited(&world.kernel, token);
            let Some(account) = world.oracles.expect_open(token, what) else { return };
            (account.waits_for_topic, account.has_input_left) = (false, false);
            let (is_paused, meeting) = (account.is_paused, account.meeting);
            if is_paused {
                world.oracles.violate(format!("{what} of {token}, which is paused"));
            }
            if before.len() > most {
                world.oracles.violate(format!("{} bytes of input of {token}", before.len()));
            }
            let Some(it) = world.peers.meetings.get(meeting as usize) else { return };
            if dialect != Dialect::Messages && !it.sent_these(it.consumed, before) {
                world
                    .oracles
                    .violate(format!("{token} was given bytes that its peer did not send"));
            }
        });
    }

    /// Looks at what came back.
    fn take_back(&mut self, cx: &mut Context<'_>, token: Token, input: &RingBuffer) {
        let consumed = self.before.len() - input.len();
        let (before, dialect) = (&self.before[..consumed], self.rules.dialect);
        let is_spent = cx.stats().work - self.work_before >= cx.config().work_slice as u64;
        // Where there are topics it may wait for one as well.
        let is_held = cx.is_held(token) && (dialect == Dialect::Messages || !is_spent);
        let output = cx.output_len(token);
        // Takes bytes while the connection is open, and changes nothing.
        let is_closing = !cx.send(token, &[]);
        let is_over = output > cx.config().output_limit;
        let is_congested = output > cx.config().output_low();
        with(|world| {
            world.oracles.output(&world.kernel, token, output);
            if is_over {
                world.oracles.violate(format!("{output} bytes of output of {token}"));
            }
            if (is_spent || is_held) && !input.is_empty() {
                world.oracles.leaves_input(token);
            }
            let Some(account) = world.oracles.account(token) else { return };
            let socket = &world.kernel.sockets[account.socket as usize];
            // A connection that failed takes no bytes either, and yet is read and served.
            let is_closing = is_closing && socket.stage == Stage::Connected && !socket.was_cut;
            account.is_closing |= is_closing;
            let by_itself = is_congested && dialect != Dialect::Messages;
            account.waits_for_topic = is_held && !account.is_paused && !is_closing && !by_itself;
            account.has_input_left = is_spent && dialect == Dialect::Silence && !input.is_empty();
            account.bytes_own += consumed as u64;
            let meeting = account.meeting;
            world.oracles.published_bytes += consumed as u64;
            if let Some(it) = world.peers.meetings.get_mut(meeting as usize) {
                it.consumed += consumed as u64;
            }
            if dialect == Dialect::Messages {
                world.note_published(meeting, before);
            }
        });
    }

    /// A subscriber that has ended its side may listen on, and is owed what is published until it is
    /// closed: by its own end, by that of another one, or by the drain.
    fn note_ends(&mut self, cx: &mut Context<'_>) {
        let mut ended = Vec::new();
        // Takes bytes while the connection is open, and changes nothing.
        self.listening.retain(|token| {
            cx.send(*token, &[]) || {
                ended.push(*token);
                false
            }
        });
        ended.into_iter().for_each(|token| self.note_expected(token));
    }

    /// When it is closed a subscriber has been published to so many times by others.
    fn note_expected(&self, token: Token) {
        if !self.rules.counts_messages && !self.rules.skips {
            return;
        }
        let is_exact = self.rules.counts_messages;
        with(|world| {
            let Some(account) = world.oracles.account(token) else { return };
            let (meeting, first) = (account.meeting as usize, account.published_before);
            let published = world.oracles.published;
            if let Some(it) = world.peers.meetings.get_mut(meeting) {
                let due = Some(published - first - it.messages_published);
                it.messages_due = due;
                it.messages_expected = due.filter(|_| is_exact);
            }
        });
    }

    fn note_output(&self, cx: &Context<'_>, token: Token) {
        let output = cx.output_len(token);
        with(|world| world.oracles.output(&world.kernel, token, output));
    }

    fn check_reason(
        &self,
        world: &mut World,
        account: &Account,
        token: Token,
        reason: CloseReason,
    ) {
        let it = &world.kernel.sockets[account.socket as usize];
        let has_failed = it.was_cut || it.stage != Stage::Connected;
        let is_right = match reason {
            // The peer must not take what came before the panic for all that there was to say.
            CloseReason::PeerClosed | CloseReason::Closed | CloseReason::ProtocolError
                if account.has_panicked =>
            {
                false
            }
            CloseReason::PeerClosed => it.fin == Flight::Arrived,
            CloseReason::Reset | CloseReason::KeepaliveTimeout | CloseReason::IoError => has_failed,
            CloseReason::IdleTimeout => world.oracles.limits.idle_ns.is_some(),
            CloseReason::WriteTimeout => true,
            CloseReason::SlowConsumer => self.rules.disconnects_slow,
            CloseReason::OutputLimit => account.is_overloaded,
            CloseReason::Memory => self.rules.memory_is_short,
            CloseReason::Drained | CloseReason::DrainTimeout => world.oracles.is_draining,
            CloseReason::Aborted | CloseReason::ProtocolError => self.rules.closes,
            CloseReason::Closed => self.rules.closes || world.oracles.is_draining,
            CloseReason::HandlerPanicked => account.has_panicked,
            _ => false,
        };
        if !is_right {
            world.oracles.violate(format!("{token} ended for the reason {reason}"));
        }
    }
}

impl World {
    /// Lines that a handler took are messages that it published, in this order.
    fn note_published(&mut self, meeting: u32, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let sequence = self.oracles.published;
            self.oracles.published(meeting, line);
            if let Some(it) = self.peers.meetings.get_mut(meeting as usize) {
                it.messages_published += 1;
            }
            if let Some(what) = self.peers.messages.published(line, sequence) {
                self.oracles.violate(format!("the program published {what}"));
            }
        }
    }
}

impl<H: Handler> Handler for Audit<H> {
    type Session = H::Session;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> H::Session {
        let is_dialled = cx.dialled(token).is_some();
        with(|world| {
            world.oracles.begins(Piece::Open, token);
            world.oracles.opened(&world.kernel, token, is_dialled);
            let published = (world.oracles.published, world.oracles.published_bytes);
            if let Some(account) = world.oracles.account(token) {
                (account.published_before, account.bytes_before) = published;
                if self.rules.follows_all {
                    account.follows[0] = Some(published.0);
                }
            }
        });
        let session = self.inner.on_open(cx, token);
        self.note_output(cx, token);
        if self.draws_panic() {
            // There is no session, so nobody will be told of the end.
            with(|world| {
                world.oracles.panics(token);
                let Some(account) = world.oracles.closed(token) else { return };
                self.note_close(world, &account, CloseReason::HandlerPanicked);
            });
            resume_unwind(Box::new("on purpose"));
        }
        session
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.lend(cx, token, input, "data");
        if self.before.is_empty() {
            with(|world| world.oracles.violate(format!("no data of {token}")));
        }
        let outcome = self.inner.on_data(cx, token, session, input);
        self.take_back(cx, token, input);
        self.may_panic(token);
        outcome
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.lend(cx, token, input, "the end");
        let outcome = self.inner.on_end(cx, token, session, input);
        self.take_back(cx, token, input);
        self.may_panic(token);
        if input.is_empty() {
            self.listening.push(token);
        }
        self.note_ends(cx);
        outcome
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut H::Session) {
        with(|world| {
            world.oracles.begins(Piece::Timer, token);
            world.oracles.timer_fired(&world.kernel, token);
        });
        self.inner.on_timer(cx, token, session);
        self.note_output(cx, token);
        self.may_panic(token);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        with(|world| world.oracles.callback());
        self.inner.on_alarm(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut H::Session) {
        with(|world| world.oracles.expect_open(token, "the drain").map(drop));
        self.inner.on_drain(cx, token, session);
        self.note_ends(cx);
        self.note_output(cx, token);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: H::Session,
        reason: CloseReason,
    ) {
        with(|world| {
            world.oracles.begins(Piece::Close, token);
            let Some(account) = world.oracles.closed(token) else { return };
            self.check_reason(world, &account, token, reason);
            world.oracles.check_time(&world.kernel, &account, reason);
            world.oracles.check_linger(&world.kernel, &account, reason);
            // An echo leaves its input behind when there is nobody to send it to.
            if self.rules.dialect != Dialect::Echo || world.peers.completes_lines {
                world.oracles.check_severed(&world.kernel, &account, reason);
            }
            self.note_close(world, &account, reason);
        });
        self.inner.on_close(cx, token, session, reason);
        self.may_panic(token);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        let is_late = error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
        with(|world| world.oracles.connect_failed(&world.kernel, token, is_late));
        self.inner.on_connect_error(cx, token, error);
    }
}
