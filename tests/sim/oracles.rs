//! Who watches: what must hold whatever happens, asked at every call, every callback and every
//! sleep. An oracle knows what the kernel has told the program and what its handlers have done, and
//! nothing of the inside of the reactor.
//!
//! The one that counts is [`Oracles::falls_asleep`]. Idle timers hide lost wake-ups, because they
//! quietly close the connection that was forgotten; so it is not asked whether everybody is served
//! in the end, but whether the loop may sleep *now*.

use edgeloop::{CloseReason, Token};

use crate::clock::MS;
use crate::kernel::Kernel;
use crate::libc_symbols::Call;
use crate::load::Load;
use crate::peers::{Peers, is_closed_by_handler};
use crate::socket::{Socket, Stage};
use crate::stream::{DIGITS, ROOMS, number_of};
use crate::work::{Ledger, Piece};
use crate::{NONE, epoll};

/// What the oracles know of one connection of the program.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The number that its events carry, which is its token.
    data: u64,
    pub(crate) socket: u32,
    pub(crate) meeting: u32,
    pub(crate) is_open: bool,
    pub(crate) is_paused: bool,
    /// It publishes to a topic that had no room.
    pub(crate) waits_for_topic: bool,
    /// Its handler has left input because its slice was over.
    pub(crate) has_input_left: bool,
    /// Its handler has ended it.
    pub(crate) is_closing: bool,
    /// A callback for it has panicked: no other one is called but the last.
    pub(crate) has_panicked: bool,
    /// It was to catch up with a topic, and could not: that may have been more than its limit.
    pub(crate) is_overloaded: bool,
    /// When its side was shut down, and how much it had received by then.
    lingers_since: Option<(u64, u64)>,
    /// Bytes queued for it at the moment when its socket had been given `sent_then`.
    output_then: u64,
    sent_then: u64,
    /// When its timer is due.
    timer_ns: Option<u64>,
    /// The turn in which it was read last, and the one since which it waits to be.
    read_turn: u64,
    waits_since: u64,
    /// What its last visit left, as far as the kernel knows it.
    left: Left,
    /// While it waits, and its last visit left nothing: after so many turns it is visited.
    turns_max: Option<u64>,
    /// Turn time of `on_open`, or of the last visit: as long as a connection waits for its turn, it is
    /// not the peer who is idle.
    visited_ns: u64,
    /// For each room that it follows, the number of the first message after it joined.
    pub(crate) follows: [Option<u64>; ROOMS],
    /// The last message of each room that its socket took, and the last bytes.
    last_sent: [Option<usize>; ROOMS],
    tail: [u8; DIGITS + 1],
    /// Messages published before it came.
    pub(crate) published_before: u64,
    /// Their bytes, and those of the messages that it published itself.
    pub(crate) bytes_before: u64,
    pub(crate) bytes_own: u64,
}

/// What a visit leaves. Who leaves nothing goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// There was none yet, or bytes were there that it did not take.
    Input,
    Nothing,
    /// Its handler may have left something, or it was held since, or its peer does not read.
    Unknown,
}

/// The limits that the oracles measure against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    pub(crate) waits_when_full: bool,
    pub(crate) accept_retry_ns: u64,
    pub(crate) tick_ns: u64,
    pub(crate) idle_ns: Option<u64>,
    pub(crate) write_ns: Option<u64>,
    pub(crate) connect_ns: u64,
    pub(crate) linger_ns: u64,
    pub(crate) linger_limit: u64,
    pub(crate) output_low: u64,
    /// Topics are as many as rooms.
    pub(crate) has_rooms: bool,
    /// Subscribers may be overtaken.
    pub(crate) skips: bool,
    /// Output of topics leaves without passing through a handler.
    pub(crate) has_topics: bool,
    /// Every subscriber of the one topic is given everything.
    pub(crate) loses_nothing: bool,
    /// Subscribers that are overtaken are disconnected, in a while.
    pub(crate) disconnects_slow: bool,
    /// Connections may have to wait for memory.
    pub(crate) memory_is_short: bool,
}

#[derive(Clone, Copy, Debug)]
struct Published {
    number: usize,
    /// The meeting of whoever published it.
    from: u32,
    sequence: u64,
}

/// What the program asked to be told of.
#[derive(Clone, Copy, Debug)]
struct Registration {
    /// The number that its events carry, which is its token.
    data: u64,
    socket: u32,
    at_ns: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Oracles {
    /// Nobody watches outside a run.
    pub(crate) is_on: bool,
    pub(crate) limits: Limits,
    pub(crate) ledger: Ledger,
    pub(crate) load: Load,
    /// By slot.
    pub(crate) accounts: Vec<Option<Account>>,
    registrations: Vec<Registration>,
    /// The first violation; what follows from it is of no interest.
    pub(crate) violation: Option<String>,
    /// Greetings sent before their connection was established, by socket.
    greetings: Vec<(u32, usize)>,
    /// Panics that handlers were made to have.
    pub(crate) panics: u64,
    pub(crate) tasks_queued: u64,
    pub(crate) tasks_run: u64,
    exhausted_ns: Option<u64>,
    /// When `accept` said that something had run out; nothing was closed since.
    pub(crate) accept_refused_ns: Option<u64>,
    /// The connection that was closed last.
    stale: Option<Token>,
    turn: u64,
    /// Turn time, once the turn has looked at the clock.
    turn_ns: Option<u64>,
    /// The last turns that looked at timers, by their time.
    looked_ns: Looked,
    looked_last_ns: u64,
    longest_turn_ns: u64,
    /// Events seen since the list was full, while it goes on being full: until everybody's may have
    /// been seen nobody is idle.
    events_behind: usize,
    is_behind: bool,
    /// Progress of the turn: calls other than the wait, callbacks, events.
    calls: u64,
    callbacks: u64,
    events: usize,
    timeout_ms: i32,
    idle_turns: u64,
    /// The latest earlier turn in which somebody was read who was read again in this one.
    reread_since: u64,
    pub(crate) published: u64,
    /// The last message of each room, and the last that somebody else published.
    last_published: [[Option<Published>; 2]; ROOMS],
    pub(crate) published_bytes: u64,
    pub(crate) is_draining: bool,
    /// When whoever has not finished is cut off.
    pub(crate) drains_until: Option<u64>,
}

/// What is told of each connection, however it ends.
const THE_CLOSE: &str = "the close";

/// Ticks of the reactor's timer wheel, and a little less.
const ROUND: u64 = 1_000;

#[derive(Debug)]
struct Looked([u64; TURNS_KEPT]);

/// More than any budget here makes a timer wait.
const TURNS_KEPT: usize = 64;

impl Default for Looked {
    fn default() -> Self {
        Looked([0; TURNS_KEPT])
    }
}

impl Limits {
    /// Which topic a message is for.
    fn room_of(&self) -> impl Fn(usize) -> usize + use<> {
        let rooms = if self.has_rooms { ROOMS } else { 1 };
        move |number| number % rooms
    }
}

impl Oracles {
    pub(crate) fn new(limits: Limits, ledger: Ledger, load: Load) -> Self {
        Oracles { is_on: true, limits, ledger, load, ..Oracles::default() }
    }

    pub(crate) fn violate(&mut self, what: String) {
        if self.is_on && self.violation.is_none() {
            self.violation = Some(what);
        }
    }

    // ---- what the kernel tells ----

    pub(crate) fn called(&mut self, call: Call) {
        if call == Call::EpollWait {
            // Also when it is interrupted.
            self.ledger.turn_begins();
        } else {
            self.calls += 1;
        }
    }

    pub(crate) fn registered(&mut self, kernel: &Kernel, socket: u32, data: u64) {
        // The listeners and the waker have no generation.
        if data >> 32 != 0 {
            let slot = data as u32 as usize;
            if slot >= self.registrations.len() {
                let none = Registration { data: 0, socket: NONE, at_ns: 0 };
                self.registrations.resize(slot + 1, none);
            }
            let at_ns = kernel.clock.told();
            self.registrations[slot] = Registration { data, socket, at_ns };
        }
    }

    fn registration(&self, token: Token) -> Option<Registration> {
        let data = usize::from(mio::Token::from(token)) as u64;
        let found = self.registrations.get(data as u32 as usize).copied();
        found.filter(|registration| registration.data == data)
    }

    /// M26: at the limit every `accept` fails, whether or not somebody waits. Whoever asks again before
    /// a descriptor was closed or a little time has passed burns a processor for as long as it lasts.
    pub(crate) fn accepts(&mut self, turn_ns: u64, ran_out: bool) {
        if let Some(at) =
            self.accept_refused_ns.filter(|at| turn_ns < at + self.limits.accept_retry_ns)
        {
            let rested = (turn_ns - at) / 1000;
            self.violate(format!("accept is asked again {rested} us after something ran out"));
        }
        self.accept_refused_ns = ran_out.then_some(turn_ns);
    }

    /// Descriptors or memory ran out: listeners may rest.
    pub(crate) fn exhausted(&mut self, turn_ns: u64) {
        self.exhausted_ns = Some(turn_ns);
    }

    /// The program ends its side of a connection, and from here on closes it.
    pub(crate) fn shut_down(&mut self, kernel: &Kernel, fd: i32, succeeded: bool) {
        let Ok(socket) = kernel.socket_of(fd) else { return };
        if let Some(account) = kernel.data_of(socket).and_then(|data| self.account_of(data)) {
            account.is_closing = true;
            let received = kernel.sockets[socket as usize].received;
            // When it failed there is nothing to wait for.
            let since = if succeeded { kernel.clock.told() } else { 0 };
            account.lingers_since = Some((since, received));
        }
    }

    pub(crate) fn told(&mut self, bits: u32, data: u64) {
        let turn = self.turn;
        let before = self.accounts.iter().flatten();
        let before = before.filter(|it| it.is_open && it.left != Left::Input).count();
        // One of the others goes after three of them; and some may be listed that are gone.
        let turns_max = self.ledger.turns_max(before * 4 / 3 + 4);
        if let Some(account) = self.account_of(data)
            && bits & (epoll::IN | epoll::HUP | epoll::ERR) != 0
            && account.waits_since == u64::MAX
        {
            account.waits_since = turn;
            account.turns_max = Some(turns_max).filter(|_| account.left == Left::Nothing);
        }
        if let Some(account) = self.account_of(data)
            && bits & !(epoll::IN | epoll::OUT) != 0
        {
            // A short read proves nothing from here on.
            account.left = Left::Unknown;
        }
    }

    pub(crate) fn woke(&mut self, kernel: &Kernel, events: usize, room: usize) {
        self.events = events;
        self.events_behind = if events < room { 0 } else { self.events_behind + events };
        self.is_behind = (1..=kernel.connections_open()).contains(&self.events_behind);
    }

    /// The program looks at the clock: the first time in a turn, that is the turn's.
    pub(crate) fn told_time(&mut self, now_ns: u64) {
        self.turn_ns.get_or_insert(now_ns);
    }

    /// A read was answered; `is_drained` where that proves that there is nothing more.
    pub(crate) fn read(&mut self, kernel: &Kernel, socket: u32, is_drained: bool) {
        let Some(data) = kernel.data_of(socket) else { return };
        let turn = self.turn;
        let Some(account) = self.account_of(data) else { return };
        account.waits_since = u64::MAX;
        account.visited_ns = kernel.clock.told();
        let before = std::mem::replace(&mut account.read_turn, turn);
        let had_left = account.left;
        account.left = match account.left {
            _ if kernel.sockets[socket as usize].has_input() => Left::Input,
            Left::Input | Left::Nothing if is_drained => Left::Nothing,
            _ => Left::Unknown,
        };
        if before < turn && had_left == Left::Input {
            self.reread_since = self.reread_since.max(before);
        }
    }

    // ---- what the program's handlers tell ----

    pub(crate) fn opened(&mut self, kernel: &Kernel, token: Token, is_dialled: bool) {
        self.callbacks += 1;
        let Some(Registration { data, socket, .. }) = self.registration(token) else {
            return self.violate(format!("{token} was opened and never registered"));
        };
        let slot = data as u32 as usize;
        if slot >= self.accounts.len() {
            self.accounts.resize(slot + 1, None);
        }
        if self.accounts[slot].as_ref().is_some_and(|former| former.is_open) {
            return self.violate(format!("{token} was opened in the place of an open connection"));
        }
        if !is_dialled {
            // One to somebody who was not there may be left, from whoever had that socket.
            self.take_greeting(socket);
        }
        let other = kernel.sockets[socket as usize].other;
        let meeting = kernel.sockets.get(other as usize).map_or(NONE, |it| it.meeting);
        let visited_ns = kernel.clock.told();
        self.accounts[slot] = Some(Account { visited_ns, ..Account::new(data, socket, meeting) });
    }

    /// The program sends a greeting to a connection that it has just dialled.
    pub(crate) fn greets(&mut self, token: Token, greeting: usize, is_taken: bool) {
        let Some(Registration { socket, .. }) = self.registration(token).filter(|_| is_taken)
        else {
            return self.violate(format!("{token} takes no greeting"));
        };
        self.take_greeting(socket);
        self.greetings.push((socket, greeting));
    }

    /// The greeting that is due from this socket, asked for once.
    pub(crate) fn take_greeting(&mut self, socket: u32) -> Option<usize> {
        let place = self.greetings.iter().position(|(greeter, _)| *greeter == socket)?;
        Some(self.greetings.swap_remove(place).1)
    }

    /// A connection that the program dialled has failed: nobody was there, or too late. One that is
    /// established and has ended is no failure, however soon that was.
    pub(crate) fn connect_failed(&mut self, kernel: &Kernel, token: Token, is_late: bool) {
        self.callbacks += 1;
        let Some(Registration { socket, at_ns, .. }) = self.registration(token) else {
            return self.violate(format!("{token} failed to connect and never began"));
        };
        if self.account(token).is_some() {
            return self.violate(format!("{token} is open and failed to connect"));
        }
        let it = &kernel.sockets[socket as usize];
        let waited = kernel.clock.told().saturating_sub(at_ns);
        if is_late && waited + MS < self.limits.connect_ns {
            self.violate(format!("{token} had {} us to connect", waited / 1000));
        }
        // Want of memory may end a connection before the program knows that it is established.
        let may_be_cut = it.was_cut || self.limits.memory_is_short;
        if !is_late && it.stage == Stage::Connected && !may_be_cut {
            self.violate(format!("{token} is connected, and failed to connect"));
        }
    }

    /// A message was published.
    pub(crate) fn published(&mut self, from: u32, line: &[u8]) {
        let sequence = self.published;
        self.published += 1;
        let Some(number) = number_of(line) else { return };
        let [last, other] = &mut self.last_published[self.limits.room_of()(number)];
        if last.is_some_and(|last| last.from != from) {
            *other = *last;
        }
        *last = Some(Published { number, from, sequence });
    }

    /// A socket took these bytes of what topics had for it.
    pub(crate) fn sent_messages(&mut self, kernel: &Kernel, socket: u32, bytes: &[u8]) {
        let room_of = self.limits.room_of();
        let Some(account) = kernel.data_of(socket).and_then(|data| self.account_of(data)) else {
            return;
        };
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (end, _) in ends {
            let line = &bytes[..=end];
            let number = match line.len().checked_sub(account.tail.len()) {
                Some(from) => number_of(&line[from..]),
                None => number_of(&account.tail_with(line)),
            };
            if let Some(number) = number {
                account.last_sent[room_of(number)] = Some(number);
            }
        }
        account.tail = account.tail_with(bytes);
    }

    /// A message that the connection follows and was not given.
    fn undelivered(&self, account: &Account) -> Option<usize> {
        for (room, since) in account.follows.iter().enumerate() {
            let Some(since) = since else { continue };
            // Behind what it published itself the messages before may have been overwritten.
            let kept = if self.limits.skips { 1 } else { 2 };
            let published = self.last_published[room].iter().take(kept).flatten();
            let others = published.filter(|it| it.from != account.meeting && it.sequence >= *since);
            let last = others.max_by_key(|it| it.sequence);
            if let Some(last) = last.filter(|it| account.last_sent[room] != Some(it.number)) {
                return Some(last.number);
            }
        }
        None
    }

    /// The account of an open connection; that there is none is a violation.
    pub(crate) fn expect_open(&mut self, token: Token, what: &str) -> Option<&mut Account> {
        self.callbacks += 1;
        match self.account(token) {
            None => self.violate(format!("{what} of {token}, which is not open")),
            Some(account) if account.has_panicked && what != THE_CLOSE => {
                self.violate(format!("{what} of {token}, whose handler has panicked"));
            }
            Some(_) => {}
        }
        self.account(token)
    }

    /// A callback begins. Only a shutdown does without budgets.
    pub(crate) fn begins(&mut self, piece: Piece, token: Token) {
        if let Some(what) = self.ledger.begins(piece, token).filter(|_| !self.is_draining) {
            self.violate(what);
        }
    }

    /// A connection is visited: with what it has, if not with a read.
    pub(crate) fn visited(&mut self, kernel: &Kernel, token: Token) {
        let turn = self.turn;
        let Some(account) = self.account(token) else { return };
        account.visited_ns = kernel.clock.told();
        if account.waits_since != u64::MAX {
            account.waits_since = turn;
            // More was told since its last read: it waits in the lane of those that leave something.
            (account.turns_max, account.left) = (None, Left::Unknown);
        }
    }

    /// A handler has left input behind: the connection goes to the lane of those that do.
    pub(crate) fn leaves_input(&mut self, token: Token) {
        if let Some(account) = self.account(token) {
            (account.turns_max, account.left) = (None, Left::Unknown);
        }
    }

    pub(crate) fn account(&mut self, token: Token) -> Option<&mut Account> {
        self.account_of(usize::from(mio::Token::from(token)) as u64)
    }

    fn account_of(&mut self, data: u64) -> Option<&mut Account> {
        let account = self.accounts.get_mut(data as u32 as usize)?.as_mut()?;
        (account.data == data && account.is_open).then_some(account)
    }

    /// So many bytes wait in the connection's output now.
    pub(crate) fn output(&mut self, kernel: &Kernel, token: Token, len: usize) {
        if let Some(account) = self.account(token) {
            account.output_then = len as u64;
            account.sent_then = kernel.sockets[account.socket as usize].sent;
        }
    }

    /// A token that names nothing any more, and a number that says what to do with it.
    pub(crate) fn stale_token(&self) -> Option<(Token, u64)> {
        self.stale.map(|token| (token, self.tasks_queued))
    }

    pub(crate) fn callback(&mut self) {
        self.callbacks += 1;
    }

    pub(crate) fn timer_set(&mut self, token: Token, due_ns: u64) {
        if let Some(account) = self.account(token) {
            account.timer_ns = Some(due_ns);
        }
    }

    /// A timer fires in [T, T + tick]: not before it is due, and in the first turn that begins a tick
    /// later, if not in an earlier one. That is exact: what stamps cut off at whole milliseconds is
    /// what the wheel's ticks are shorter by. Nobody promises when that turn begins, because handlers
    /// take their time; that the loop does not sleep any longer is asked when it goes to sleep.
    pub(crate) fn timer_fired(&mut self, kernel: &Kernel, token: Token) {
        let (now, tick) = (kernel.clock.told(), self.limits.tick_ns);
        let Some(account) = self.expect_open(token, "a timer") else { return };
        match account.timer_ns.take() {
            None => self.violate(format!("a timer of {token} that was not set")),
            Some(due) if now < due => {
                self.violate(format!("the timer of {token} is {} us early", (due - now) / 1000));
            }
            Some(due) if self.was_passed_over(due + tick) => {
                self.violate(format!("the timer of {token} is {} us late", (now - due) / 1000));
            }
            Some(_) => {}
        }
    }

    /// Whether earlier turns could have dealt with a deadline of which the last moment is `latest`.
    /// Each looks at as many timers as its budget allows: one for each connection, and one more where
    /// what was due was put off to a tick that a clock which jumped has passed as well.
    fn was_passed_over(&self, latest_ns: u64) -> bool {
        // The turn that runs now began with the wait before; it is not among them.
        let turns = self.looked_ns.0.iter().filter(|told_ns| **told_ns >= latest_ns).count();
        let timers = self.ledger.timers_least() as usize;
        let most = (2 * self.registrations.len()).div_ceil(timers);
        // After a jump over a round of the wheel those that are due are met in no order.
        let is_in_order = self.longest_turn_ns < ROUND * self.limits.tick_ns;
        turns >= most && turns > 0 && (is_in_order || most == 1)
    }

    pub(crate) fn closed(&mut self, token: Token) -> Option<Account> {
        let account = self.expect_open(token, THE_CLOSE)?;
        account.is_open = false;
        let account = account.clone();
        self.stale = Some(token);
        // M25: with a descriptor free again the listeners are asked at once.
        self.exhausted_ns = None;
        Some(account)
    }

    /// Whether a connection may end for a reason at which a clock was looked.
    pub(crate) fn check_time(&mut self, kernel: &Kernel, account: &Account, reason: CloseReason) {
        let socket = &kernel.sockets[account.socket as usize];
        let now = kernel.clock.told();
        let quiet_ns = match reason {
            // It may have been flushed, and read and dropped, between the decision and now.
            CloseReason::IdleTimeout => {
                let quiet = socket.quiet_ns.max(now - socket.active_ns);
                Some(quiet).zip(self.limits.idle_ns)
            }
            CloseReason::WriteTimeout => {
                Some(now.saturating_sub(socket.sent_at_ns)).zip(self.limits.write_ns)
            }
            _ => return,
        };
        if let Some((quiet, limit)) = quiet_ns.filter(|(quiet, limit)| quiet < limit) {
            self.violate(format!("{reason} after {} us of {}", quiet / 1000, limit / 1000));
        }
    }

    /// T2, T3: a close before the peer's end, or before it has had time for one, may answer what the
    /// peer still sends with a reset, which destroys the last words on their way to it.
    pub(crate) fn check_linger(&mut self, kernel: &Kernel, account: &Account, reason: CloseReason) {
        let socket = &kernel.sockets[account.socket as usize];
        let has_ended = socket.end_was_told || socket.was_cut || socket.stage != Stage::Connected;
        let is_ours = reason == CloseReason::IdleTimeout && !self.is_draining;
        // An abort cannot be told from a close there.
        let may_be_aborted = socket.linger_zero || socket.is_unix();
        if !is_ours || has_ended || may_be_aborted {
            return;
        }
        let Some((since, received)) = account.lingers_since else {
            return self.violate(format!("{reason}, and closed without a shutdown"));
        };
        let waited = kernel.clock.told().saturating_sub(since);
        let dropped = socket.received - received;
        // Stamps are cut to whole milliseconds.
        if waited + MS < self.limits.linger_ns && dropped <= self.limits.linger_limit {
            self.violate(format!("{reason}, and lingered for {} us only", waited / 1000));
        }
    }

    /// M20: what arrived before a reset is the handler's, if it takes all that it is given.
    pub(crate) fn check_severed(
        &mut self,
        kernel: &Kernel,
        account: &Account,
        reason: CloseReason,
    ) {
        let socket = &kernel.sockets[account.socket as usize];
        let is_gone = matches!(reason, CloseReason::Reset | CloseReason::KeepaliveTimeout);
        let is_severed = is_gone && socket.stage == Stage::Dead;
        let may_wait = account.is_paused || account.waits_for_topic || self.limits.memory_is_short;
        let is_over = kernel.clock.told() >= socket.active_ns + self.limits.linger_ns;
        let is_other = account.is_closing || self.is_draining || socket.end_was_told;
        if is_severed && socket.arrived > 0 && !(may_wait || is_over || is_other) {
            let unread = socket.arrived;
            self.violate(format!("closed after a reset with {unread} bytes unread"));
        }
    }

    /// A connection that the program ends lasts until the peer has ended too (T2, T3): a socket that
    /// is closed earlier may lose its last words. Says whether it did last; that it did not needs a
    /// reason.
    pub(crate) fn check_farewell(
        &mut self,
        kernel: &Kernel,
        account: &Account,
        reason: CloseReason,
    ) -> bool {
        let socket = &kernel.sockets[account.socket as usize];
        let has_failed = socket.was_cut || socket.stage != Stage::Connected;
        let is_orderly = is_closed_by_handler(reason) || reason == CloseReason::PeerClosed;
        let has_ended = account.lingers_from().is_some() || socket.shut_write;
        if socket.end_was_told && has_ended && !has_failed && !socket.linger_zero {
            return true;
        }
        let now = kernel.clock.told();
        let waits_since = socket.sent_at_ns;
        let patience = self.limits.write_ns.unwrap_or(self.limits.linger_ns);
        let is_justified = match account.lingers_since {
            Some((since, received)) => {
                now >= since + self.limits.linger_ns
                    || socket.received - received > self.limits.linger_limit
            }
            // Nothing can follow the peer's end, so that nothing is waited for.
            None => socket.end_was_told || now >= waits_since + patience,
        };
        let is_cut_short = self.is_draining || self.limits.memory_is_short;
        if is_orderly && !has_failed && !is_cut_short && !is_justified {
            let slot = account.data as u32;
            self.violate(format!("slot {slot} ended ({reason}) before its peer did"));
        }
        // With the peer's end read before, the last words were sent and nothing can undo them.
        socket.end_was_told && !has_failed && !socket.linger_zero && !socket.is_unix()
    }

    /// The handler panics now: its connection is aborted, and nobody else notices.
    pub(crate) fn panics(&mut self, token: Token) {
        self.panics += 1;
        self.ledger.panicked();
        if let Some(account) = self.account(token) {
            (account.has_panicked, account.is_closing) = (true, true);
        }
    }

    // ---- turns ----

    pub(crate) fn turn_begins(&mut self, kernel: &Kernel, timeout_ms: i32) {
        if !self.is_on {
            return;
        }
        self.check_progress();
        self.check_fairness(kernel);
        if self.drains_until.zip(self.turn_ns).is_some_and(|(until, turn_ns)| turn_ns >= until) {
            self.violate("the shutdown goes on after its time".into());
        }
        self.turn += 1;
        if let Some(told_ns) = self.turn_ns.take().filter(|_| !self.is_behind) {
            if self.looked_last_ns > 0 {
                let took_ns = told_ns - self.looked_last_ns;
                self.longest_turn_ns = self.longest_turn_ns.max(took_ns);
            }
            self.looked_last_ns = told_ns;
            self.looked_ns.0[self.turn as usize % TURNS_KEPT] = told_ns;
        }
        (self.calls, self.callbacks, self.events) = (0, 0, 0);
        self.timeout_ms = timeout_ms;
        self.reread_since = 0;
    }

    /// A turn that neither waited nor did anything was asked for by a list with nothing on it. Once
    /// for each connection that may be: an entry of a list is a hint, and a deadline may have moved.
    /// With the smallest budget each topic whose publishers wait takes a turn to be looked at, too.
    fn check_progress(&mut self) {
        if self.timeout_ms != 0 || self.calls + self.callbacks + self.events as u64 > 0 {
            self.idle_turns = 0;
            return;
        }
        self.idle_turns += 1;
        let most = 4 + 4 * self.accounts.len() as u64;
        if self.idle_turns > most {
            self.violate(format!("{} turns without a wait and without progress", self.idle_turns));
        }
    }

    /// The ready list is first come, first served in each of its lanes: nobody whose visit left input
    /// is read twice while another such connection waits that was not read since before the first
    /// time. And whoever left nothing waits for others like it, and for one more after three of them.
    fn check_fairness(&mut self, kernel: &Kernel) {
        let (turn, reread) = (self.turn, self.reread_since);
        // Those that were there before may be listed still, beside those that have their slots.
        let turns_max = self.ledger.turns_max(4 * 2 * self.accounts.len());
        let (mut starved, mut late) = (None, None);
        for account in self.accounts.iter_mut().flatten().filter(|account| account.is_open) {
            let socket = &kernel.sockets[account.socket as usize];
            if account.may_be_held(socket) || account.is_closing || !socket.has_input() {
                account.waits_since = u64::MAX;
                account.left = match account.left {
                    Left::Nothing if !account.may_be_held(socket) => Left::Nothing,
                    Left::Nothing => Left::Unknown,
                    left => left,
                };
            } else if account.waits_since < reread && account.left == Left::Input {
                starved = Some((account.data as u32, turn - account.waits_since));
            } else if account.waits_since != u64::MAX
                && turn - account.waits_since > account.turns_max.unwrap_or(turns_max)
            {
                late = Some((account.data as u32, turn - account.waits_since));
            }
        }
        if let Some((slot, turns)) = late.filter(|_| !self.limits.memory_is_short) {
            self.violate(format!("slot {slot} waits for {turns} turns, which is too long"));
        }
        if let Some((slot, turns)) = starved.filter(|_| !self.limits.memory_is_short) {
            self.violate(format!(
                "slot {slot} waits for {turns} turns while others are read twice"
            ));
        }
    }

    // ---- sleep ----

    /// The loop is about to wait, and no event is ready.
    pub(crate) fn falls_asleep(&mut self, kernel: &Kernel, timeout_ms: i32) {
        if !self.is_on {
            return;
        }
        let wakes_ns =
            u64::try_from(timeout_ms).map_or(u64::MAX, |ms| kernel.clock.told() + ms * MS);
        if self.drains_until.is_some_and(|until| wakes_ns > until + MS) {
            self.violate("the shutdown ends before the wait".into());
        }
        if self.tasks_run < self.tasks_queued {
            self.violate(format!("asleep with {} tasks", self.tasks_queued - self.tasks_run));
        }
        let found = self.accounts.iter().flatten().filter(|account| account.is_open);
        let found = found
            .filter_map(|account| {
                let awake = self.reason_to_be_awake(kernel, account);
                awake.or_else(|| self.sleeps_too_long(kernel, account, wakes_ns))
            })
            .next();
        if let Some(what) = found {
            self.violate(format!("asleep while {what}"));
        }
        self.check_listeners(kernel, timeout_ms);
    }

    fn reason_to_be_awake(&self, kernel: &Kernel, account: &Account) -> Option<String> {
        let socket = &kernel.sockets[account.socket as usize];
        let slot = account.data as u32;
        if socket.has_input() && !self.is_held(kernel, account) {
            let ended = if socket.arrived == 0 { ", its end" } else { "" };
            return Some(format!("slot {slot} has {} bytes unread{ended}", socket.arrived));
        }
        if account.has_input_left && !account.is_closing {
            return Some(format!("slot {slot} has input left of its last slice"));
        }
        // One that is not read, for whatever reason, notices a reset when it is read again.
        if socket.stage == Stage::Dead && !self.is_held(kernel, account) {
            return Some(format!("slot {slot} has failed and was not closed"));
        }
        let owed = account.owed(socket);
        if owed > 0 && !self.limits.has_topics && is_sendable(socket) {
            return Some(format!(
                "slot {slot} has {owed} bytes to send and a socket that takes them"
            ));
        }
        // One that was too slow is given nothing more. Nothing tells it apart on a Unix socket.
        let is_let_go = socket.linger_zero || socket.is_unix() && self.limits.disconnects_slow;
        let may_get_more = is_sendable(socket) && !account.is_closing && !is_let_go;
        if let Some(number) = self.undelivered(account).filter(|_| may_get_more) {
            return Some(format!("slot {slot} was not given message {number}, the last one"));
        }
        if self.limits.loses_nothing && may_get_more {
            let published = self.published_bytes - account.bytes_before - account.bytes_own;
            if socket.sent < published {
                let missing = published - socket.sent;
                return Some(format!("slot {slot} is owed {missing} bytes of its topic"));
            }
        }
        None
    }

    /// Each deadline is dealt with at the latest a tick after it, in a turn whose time is that or
    /// later; and the wait ends then, counted from the program's last look at the clock. mio rounds
    /// it up to whole milliseconds, so it may take one more. What the clock jumped over counts from
    /// where it went on: who seemed to have bytes then is looked at again a tick later.
    fn sleeps_too_long(&self, kernel: &Kernel, account: &Account, wakes_ns: u64) -> Option<String> {
        let (now, slot) = (kernel.clock.told(), account.data as u32);
        for (name, due_ns) in self.deadlines(kernel, account) {
            let seen_ns = due_ns.map(|due_ns| due_ns.max(kernel.clock.jumped()));
            let latest_ns = seen_ns.map_or(u64::MAX, |seen_ns| seen_ns + self.limits.tick_ns);
            if now >= latest_ns {
                return Some(format!("the {name} of slot {slot} is over"));
            }
            if wakes_ns > latest_ns.saturating_add(MS) {
                return Some(format!("the {name} of slot {slot} ends before the wait"));
            }
        }
        None
    }

    fn deadlines(&self, kernel: &Kernel, account: &Account) -> [(&str, Option<u64>); 5] {
        let socket = &kernel.sockets[account.socket as usize];
        let owed = account.owed(socket);
        // One that is flushed before it is closed is not idle any more, and the handler is not told.
        let is_ending = account.is_closing || socket.linger_zero;
        let may_be_closing = is_ending || owed > 0 || socket.owes_room();
        let has_failed = socket.stage == Stage::Dead || socket.was_cut;
        let is_idle = !may_be_closing && !account.waits_for_topic && !has_failed;
        let active_ns = socket.active_ns.max(account.visited_ns);
        let idle = self.limits.idle_ns.filter(|_| is_idle).map(|span| active_ns + span);
        let waits_since = socket.sent_at_ns.max(socket.refused_at_ns);
        let is_stalled = owed > 0 && !self.limits.has_topics && socket.refused && !has_failed;
        let write = self.limits.write_ns.filter(|_| is_stalled).map(|span| waits_since + span);
        let timer = account.timer_ns.filter(|_| !may_be_closing);
        let linger = account.lingers_from().map(|since| since + self.limits.linger_ns);
        let reset = socket.linger_zero.then(|| socket.linger_zero_ns + 1000 * MS);
        [
            ("idle timeout", idle),
            ("write timeout", write),
            ("timer", timer),
            ("linger timeout", linger),
            ("reset that was put off", reset),
        ]
    }

    /// Whether the connection's input may lie unread: its handler paused it, the peer does not take
    /// its answers, or a topic has no room for it because somebody does not read.
    fn is_held(&self, kernel: &Kernel, account: &Account) -> bool {
        let socket = &kernel.sockets[account.socket as usize];
        if account.is_closing {
            return false;
        }
        if account.is_paused {
            return true;
        }
        let is_congested = self.limits.has_topics || account.owed(socket) > self.limits.output_low;
        if is_congested && socket.owes_room() && socket.stage == Stage::Connected {
            return true;
        }
        account.waits_for_topic && self.somebody_does_not_read(kernel)
    }

    fn somebody_does_not_read(&self, kernel: &Kernel) -> bool {
        let open = self.accounts.iter().flatten().filter(|account| account.is_open);
        open.into_iter().any(|account| kernel.sockets[account.socket as usize].owes_room())
    }

    /// Nobody waits in a backlog who could be accepted.
    fn check_listeners(&mut self, kernel: &Kernel, timeout_ms: i32) {
        let waiting = |it: &&crate::kernel::Listener| {
            let socket = kernel.sockets.get(it.socket as usize);
            !it.backlog.is_empty() && socket.is_some_and(|socket| socket.file != NONE)
        };
        let Some(listener) = kernel.listeners.iter().find(waiting) else { return };
        let count = listener.backlog.len();
        if self.limits.waits_when_full && kernel.connections_open() >= self.limits.connections_max {
            return;
        }
        let now = kernel.clock.told();
        let retry = self.exhausted_ns.map(|at| at + self.limits.accept_retry_ns);
        let wakes = u64::try_from(timeout_ms).map(|ms| now + ms * MS);
        match (retry, wakes) {
            (Some(retry), Ok(wakes)) if now < retry && wakes <= retry + MS => {}
            (_, wakes) if !self.is_draining && self.load.may_wait(now, wakes.ok()) => {}
            _ => self.violate(format!("asleep while {count} connections wait to be accepted")),
        }
    }

    /// Whether the last wait had no end: no deadline is left.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.timeout_ms < 0
    }

    /// Nothing will ever happen again.
    pub(crate) fn sleeps_for_ever(&mut self, peers: &Peers) {
        if let Some(who) = peers.who_waits() {
            self.violate(format!("asleep for ever while {who}"));
        }
    }
}

fn is_sendable(socket: &Socket) -> bool {
    socket.stage == Stage::Connected && !socket.owes_room() && !socket.was_cut
}

impl Account {
    fn new(data: u64, socket: u32, meeting: u32) -> Self {
        Account {
            data,
            socket,
            meeting,
            is_open: true,
            is_paused: false,
            waits_for_topic: false,
            has_input_left: false,
            is_closing: false,
            has_panicked: false,
            is_overloaded: false,
            lingers_since: None,
            output_then: 0,
            sent_then: 0,
            timer_ns: None,
            read_turn: 0,
            waits_since: u64::MAX,
            left: Left::Input,
            turns_max: None,
            visited_ns: 0,
            follows: [None; ROOMS],
            last_sent: [None; ROOMS],
            tail: [0; DIGITS + 1],
            published_before: 0,
            bytes_before: 0,
            bytes_own: 0,
        }
    }

    /// When it began to wait for the peer's end, if it could.
    fn lingers_from(&self) -> Option<u64> {
        self.lingers_since.map(|(since, _)| since).filter(|since| *since > 0)
    }

    /// The end of what was sent, once these bytes were sent too.
    fn tail_with(&self, bytes: &[u8]) -> [u8; DIGITS + 1] {
        let mut tail = self.tail;
        let len = bytes.len().min(tail.len());
        tail.rotate_left(len);
        let keep = tail.len() - len;
        tail[keep..].copy_from_slice(&bytes[bytes.len() - len..]);
        tail
    }

    /// Bytes queued for the peer and not taken by the socket.
    fn owed(&self, socket: &Socket) -> u64 {
        self.output_then.saturating_sub(socket.sent - self.sent_then)
    }

    fn may_be_held(&self, socket: &Socket) -> bool {
        self.is_paused || self.waits_for_topic || socket.owes_room() || self.owed(socket) > 0
    }
}
