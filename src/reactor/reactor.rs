//! The turn: what the loop does, in the order in which it does it. The module page explains why.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::connection::{Habits, Hold, InputEnd, State};
use super::context::Context;
use super::deadline::Deadline;
use super::handler::Handler;
use super::listener::Listeners;
use super::loop_state::{LoopState, find};
use super::remote::{HandlerRemote, Remote, TaskQueue};
use super::work::{ACCEPT, CLOSE, READ, WAKE, copied};
use crate::sockets::event_list::{Edge, EventList};
use crate::structures::overload_watch::{Overload, Rest};
use crate::structures::sessions::Sessions;
use crate::structures::spare::let_the_heap_shrink;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::config::{Config, EVENTS_MAX, OnPanic};
use crate::vocabulary::log_peer::log_peer;
use crate::vocabulary::protocol_error::ProtocolError;
use crate::vocabulary::stats::Stats;

/// An edge-triggered event loop with its connections and their handler.
///
/// ```
/// use edgeloop::{Address, CloseReason, Config, Context, Handler, ListenOptions, ProtocolError, Reactor, RingBuffer, Token};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Session = ();
///     fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}
///     fn on_data(
///         &mut self, cx: &mut Context<'_>, token: Token, _: &mut (), input: &mut RingBuffer,
///     ) -> Result<(), ProtocolError> {
///         cx.forward(token, input);
///         Ok(())
///     }
/// }
///
/// let mut reactor = Reactor::new(Config::default(), Echo)?;
/// let address = reactor.listen(&"127.0.0.1:0".parse()?, &ListenOptions::default())?;
/// println!("listening on {address}");
/// # reactor.remote().run(|cx| cx.drain())?;
/// let ending = reactor.run()?;
/// assert_eq!(ending.cut_off, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A reactor belongs to one thread and is not `Send`: build it in its thread, and send the configuration
/// and the handler there.
///
/// ```
/// # use edgeloop::{Config, Reactor, service::Echo};
/// let thread = std::thread::spawn(|| {
///     let mut reactor = Reactor::new(Config::default(), Echo::new())?;
///     # reactor.remote().run(|cx| cx.stop()).unwrap();
///     reactor.run()
/// });
/// # thread.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// # use edgeloop::{Config, Reactor, service::Echo};
/// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
/// std::thread::spawn(move || reactor.run()); // It cannot be sent between threads safely.
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Reactor<H: Handler> {
    pub(super) handler: H,
    pub(super) sessions: Sessions<H::Session>,
    pub(super) state: LoopState,
    pub(super) listeners: Listeners,
    tasks: TaskQueue<H>,
    tasks_waiting: bool,
    pub(super) events: EventList,
    pub(super) ending: Ending,
}

/// How [`Reactor::run`] ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Connections that had not finished when the drain timeout ended.
    pub cut_off: u64,
}

impl<H: Handler> Reactor<H> {
    /// Builds a reactor that listens nowhere yet.
    ///
    /// # Errors
    /// `InvalidInput` when a limit makes no sense, otherwise what the system says when it has no
    /// epoll or eventfd to give.
    pub fn new(config: Config, handler: H) -> io::Result<Self> {
        let events = config.events;
        let tasks_max = config.tasks_max;
        let state = LoopState::new(config)?;
        let tasks = TaskQueue::new(state.poll.registry(), tasks_max)?;
        Ok(Reactor {
            handler,
            sessions: Sessions::new(),
            state,
            listeners: Listeners::default(),
            tasks,
            tasks_waiting: false,
            events: EventList::new(events),
            ending: Ending::default(),
        })
    }

    /// A handle with which other threads reach the loop.
    pub fn remote(&self) -> Remote {
        self.tasks.remote()
    }

    /// As [`remote`](Self::remote), for tasks that are given the handler and the sessions as well.
    pub fn handler_remote(&self) -> HandlerRemote<H> {
        self.tasks.handler_remote()
    }

    /// Lets the poll end its wait when `source` becomes readable; the reactor does nothing more with
    /// `source`. For programs that own their loop and look at `source` between [turns](Self::turn),
    /// such as the pipe that a signal handler writes to.
    ///
    /// ```
    /// # use edgeloop::{Config, Reactor, service::Echo};
    /// use std::io::Write;
    ///
    /// let (mut bell, mut rope) = mio::net::UnixStream::pair()?;
    /// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
    /// reactor.wake_on(&mut bell)?;
    /// rope.write_all(b"!")?;
    /// reactor.turn()?; // Without the byte it would wait here for ever.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the system says when it does not poll such a source.
    // ET: bytes in `source` are announced once; they may be read at any time, or never.
    pub fn wake_on(&mut self, source: &mut impl mio::event::Source) -> io::Result<()> {
        // The token is that of the doorbell: looking for tasks where there are none costs nothing.
        let registry = self.state.poll.registry();
        registry.register(source, Token::WAKER.into(), mio::Interest::READABLE)
    }

    /// Turn time: when the last wait ended. The clock is not asked.
    pub fn now(&self) -> Instant {
        self.state.clock.now()
    }

    /// What the reactor has done so far.
    pub fn stats(&self) -> &Stats {
        &self.state.stats
    }

    /// Whether the reactor has more to do than it can.
    pub fn overload(&self) -> Option<Overload> {
        self.state.overload()
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Calls `f` with the handler and a context, as if from a callback: to connect or to publish before
    /// the loop runs, or between its turns.
    pub fn with_context<T>(&mut self, f: impl FnOnce(&mut H, &mut Context<'_>) -> T) -> T {
        // Between turns time has passed.
        self.state.clock.read();
        f(&mut self.handler, &mut Context::new(&mut self.state))
    }

    /// Turns until a shutdown that [`Context::drain`] began is complete.
    ///
    /// # Errors
    /// When the poll itself fails; nothing that a peer does ends the loop. And when a panic has unwound
    /// through an earlier turn ([`OnPanic::Unwind`](crate::OnPanic::Unwind)).
    pub fn run(&mut self) -> io::Result<Ending> {
        while !self.is_done() {
            self.turn()?;
        }
        Ok(self.ending)
    }

    /// Whether a shutdown is complete: listeners are closed and the last connection is gone.
    pub fn is_done(&self) -> bool {
        self.state.is_draining && self.state.connections.is_empty()
    }

    /// One turn: one poll and everything that follows from it. For programs that own their loop.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        self.turn_with(timeout, &[])
    }

    /// One turn, with events that somebody tells beside those of the poll.
    pub(super) fn turn_with(
        &mut self,
        timeout: Option<Duration>,
        told: &[(Token, Edge)],
    ) -> io::Result<()> {
        if self.state.is_unwound {
            return Err(io::Error::other(OnPanic::UNWOUND));
        }
        self.poll(timeout)?;
        self.note(told);
        self.state.look_for_overload();
        self.state.begin_phase();
        self.fire_timers();
        self.tidy();
        self.run_tasks();
        self.accept();
        self.read();
        self.greet();
        self.shut_down();
        self.flush();
        self.close();
        self.state.check_arrears();
        self.state.relieve_memory();
        self.state.tidy_after_many_buffers();
        self.state.check();
        Ok(())
    }

    // ---- poll and note ----

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let polled = self.events.poll(&mut self.state.poll, timeout);
        self.state.clock.read();
        self.state.stats.turns += 1;
        match polled {
            // A turn without events: timers are still looked at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// How long the poll may wait: not at all while there is work that no event will announce, else
    /// until the next deadline.
    pub(super) fn timeout(&mut self) -> Option<Duration> {
        if self.has_work() {
            self.state.overload.rest = Rest::None;
            return Some(Duration::ZERO);
        }
        let next = self.next_deadline();
        if next.is_none() && !self.state.overload.asks_for_the_time() {
            self.state.overload.rest = Rest::Unknown;
            return None;
        }
        let wait = self.state.clock.wait_until(next);
        self.state.overload.rest = Rest::Since(self.state.clock.ms(wait.began));
        wait.timeout
    }

    fn has_work(&self) -> bool {
        let state = &self.state;
        let is_shutdown_due = state.drain_until.is_some() && !state.is_draining;
        state.lists.has_work()
            || state.topics.has_unannounced()
            || state.may_relieve()
            || state.arrears.is_under_way()
            || self.tasks_waiting
            || self.listeners.may_accept(state)
            || is_shutdown_due
            || self.is_done()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let state = &self.state;
        let overload_ms = state.overload.due_ms(state.leased());
        let in_ms =
            [state.wheel.next_due(), overload_ms, state.topics_due_ms, state.burst.due_ms()];
        let deadlines = [
            in_ms.into_iter().flatten().min().map(|due_ms| state.clock.instant(due_ms)),
            self.listeners.next_deadline(state),
            state.drain_until,
            state.alarm,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn note(&mut self, told: &[(Token, Edge)]) {
        let mut count = 0;
        for (token, edge) in self.events.iter().chain(told.iter().copied()) {
            count += 1;
            if token == Token::WAKER {
                self.tasks_waiting = true;
            } else if !token.is_connection() {
                self.listeners.note(token.key());
            } else {
                self.state.note(token, edge);
            }
        }
        let is_full = self.events.note_len(count, EVENTS_MAX);
        self.state.stats.events += count as u64;
        self.state.stats.event_list_full += u64::from(is_full);
    }

    // ---- timers, tasks, accept ----

    fn fire_timers(&mut self) {
        if self.state.alarm.is_some_and(|at| at <= self.state.clock.now()) {
            self.state.alarm = None;
            self.state.call(None, |cx| self.handler.on_alarm(cx));
        }
        // An event that did not fit into the list may prove that a connection is active.
        if self.events.may_lack_an_event(self.state.connections.len()) {
            return;
        }
        // Timers beyond the budget stay due, and the next poll does not wait.
        for _ in 0..self.state.config.visit_budget {
            let Some(slot) = self.state.wheel.pop_due(self.state.clock.now_ms()) else { return };
            if let Some(token) = self.state.token_at(slot) {
                self.expire(token);
            }
            self.state.charge(WAKE);
            if self.state.is_phase_over() {
                return;
            }
        }
    }

    /// The wheel came round to this connection: acts on what is due, and puts the connection back for
    /// its next deadline.
    fn expire(&mut self, token: Token) {
        // Several deadlines may be due in one turn. All are acted on now, because the wheel comes back
        // only a tick later. Each is then gone, or lies ahead, because turn time does not move.
        for _ in 0..Deadline::KINDS {
            let Some(deadline) = self.state.due(token) else { break };
            self.state.stats.timers += 1;
            self.act(token, deadline);
        }
        self.state.arm(token);
    }

    fn act(&mut self, token: Token, deadline: Deadline) {
        match deadline {
            Deadline::Connect => self.connect_failed(token, &io::ErrorKind::TimedOut.into()),
            Deadline::Greeting => {
                self.tell_of_failure(token, &io::ErrorKind::TimedOut.into());
                self.state.expire_greeting(token);
            }
            Deadline::Write => self.state.expire_write(token),
            Deadline::Linger => self.state.end_severed(token),
            Deadline::Idle => self.state.close(token, CloseReason::IdleTimeout),
            Deadline::Quiet => self.state.close_quiet(token),
            Deadline::Handler => self.fire_handler_timer(token),
        }
    }

    fn fire_handler_timer(&mut self, token: Token) {
        if let Some(connection) = self.state.find_mut(token) {
            connection.timer_ms = None;
        }
        if let Some(session) = self.sessions.of(token) {
            self.state.call(Some(token), |cx| self.handler.on_timer(cx, token, session));
        }
    }

    fn tidy(&mut self) {
        if !self.state.takes_tidy() {
            return;
        }
        self.sessions.give_back();
        self.state.give_back();
        self.state.call(None, |cx| self.handler.on_tidy(cx));
        let_the_heap_shrink();
    }

    fn run_tasks(&mut self) {
        if !std::mem::take(&mut self.tasks_waiting) {
            return;
        }
        self.tasks.clear_doorbell();
        // A task may queue more tasks: no more than a queue holds run now, the rest in the next turn.
        for _ in 0..self.state.config.tasks_max {
            // One of each kind in turn, so that neither keeps the other waiting.
            let (task, for_handler) = self.tasks.take();
            if task.is_none() && for_handler.is_none() {
                return;
            }
            if let Some(task) = task {
                self.state.run(task);
            }
            if let Some(task) = for_handler {
                let (handler, sessions) = (&mut self.handler, &mut self.sessions);
                self.state.run(|cx: &mut Context<'_>| task(handler, cx, sessions));
            }
            if self.state.is_phase_over() {
                break;
            }
        }
        self.tasks_waiting = true;
    }

    pub(super) fn accept(&mut self) {
        self.listeners.end_pause_if_due(self.state.clock.now());
        for index in 0..self.listeners.len() {
            for _ in 0..self.state.config.accept_budget {
                if !self.listeners.may_accept_from(index, &self.state) {
                    break;
                }
                if let Some(token) = self.listeners.accept_from(index, &mut self.state) {
                    self.open(token);
                }
                self.state.charge(ACCEPT);
                if self.state.is_phase_over() {
                    break;
                }
            }
        }
    }

    pub(super) fn open(&mut self, token: Token) {
        if let Some((peer, via)) = self.state.peer_for_log(token) {
            log_peer!(debug, [connection:% = token, peer:%], via, event = "opened"; "opened");
        }
        self.state.current = Some(token);
        self.state.begin_slice();
        let session = self.state.call(Some(token), |cx| self.handler.on_open(cx, token));
        self.state.current = None;
        // There is none after a panic, and the handler hears of no more than the end.
        self.sessions.put(token, session);
        // What the callback sent waits for the flush phase.
        self.state.change(token, |connection| connection.hold.remove(Hold::SPENT));
        // It was on its way when the others were told.
        self.tell_of_drain(token);
    }

    // ---- read ----

    fn read(&mut self) {
        self.state.begin_phase();
        let listed = self.state.lists.ready.quota(self.state.config.visit_budget);
        let mut left = listed;
        while let Some(token) = self.state.lists.ready.pop(&mut left) {
            self.visit(token);
            if self.state.is_phase_over() {
                break;
            }
        }
        self.state.overload.visited_ready(listed.taken(left));
    }

    fn visit(&mut self, token: Token) {
        let Some(connection) = self.state.find_mut(token) else { return };
        connection.on_ready_list = false;
        match connection.state {
            State::Open | State::Severed => self.serve(token),
            State::Closing | State::Lingering => self.state.discard(token),
            State::Greeting => {
                // It stays listed, elsewhere.
                connection.on_ready_list = true;
                self.state.lists.greeting.push_back(token);
            }
            State::Connecting | State::Closed => {}
        }
    }

    /// One visit: reads, hands the input to the handler, and sends the reply while the bytes are still in
    /// the cache.
    fn serve(&mut self, token: Token) {
        let Some(fill) = self.state.fill(token) else { return };
        if let Some(error) = &fill.error {
            self.state.end_input_on_error(token, error);
        }
        self.state.stats.work += READ + copied(fill.bytes);
        self.state.current = Some(token);
        self.state.begin_slice();
        let outcome = self.hand_over(token, fill.bytes > 0);
        self.state.current = None;
        if let Err(error) = outcome {
            log::debug!(connection:% = token, event = "protocol_error"; "{error}");
            self.state.close(token, error.reason());
        }
        if let Some(connection) = self.state.find_mut(token) {
            let is_finished = !connection.readable && !connection.input_left;
            connection.habits.set(Habits::FINISHED, is_finished);
        }
        // ET: the budget may have ended the read before the socket was empty. No event will come for
        // the rest, so the flush ends with putting the connection back on the list.
        self.state.flush(token);
        self.state.close_if_hung_up(token);
    }

    /// Lends the input to the handler, so that a message may borrow from the input while the handler
    /// sends. Tells the handler of the end once everything before the end was handed over.
    fn hand_over(&mut self, token: Token, has_new: bool) -> Result<(), ProtocolError> {
        let session = self.sessions.of(token);
        let (Some(connection), Some(session)) = (self.state.find_mut(token), session) else {
            return Ok(());
        };
        let is_data_due = (has_new || connection.input_left) && !connection.input.is_empty();
        // A severed connection has failed; there is no end in good order to tell of.
        let is_open = connection.state == State::Open;
        let is_end_due = is_open && connection.input_end == InputEnd::Ended;
        if !connection.is_free() || !(is_data_due || is_end_due) {
            return Ok(());
        }
        let mut input = std::mem::take(&mut connection.input);
        let len = input.len();
        let mut outcome = Ok(());
        let (state, handler) = (&mut self.state, &mut self.handler);
        if is_data_due {
            let on_data = |cx: &mut Context<'_>| handler.on_data(cx, token, session, &mut input);
            outcome = state.call(Some(token), on_data).unwrap_or(Ok(()));
        }
        let tell_end = is_end_due && outcome.is_ok() && !state.is_held(token);
        if tell_end {
            let on_end = |cx: &mut Context<'_>| handler.on_end(cx, token, session, &mut input);
            outcome = state.call(Some(token), on_end).unwrap_or(Ok(()));
        }
        let is_too_long = self.state.return_input(token, input, len, tell_end);
        if outcome.is_ok() && is_too_long { Err(ProtocolError::MessageTooLong) } else { outcome }
    }

    // ---- flush ----

    fn flush(&mut self) {
        self.state.begin_phase();
        self.state.announce_topics();
        let visits = self.state.lists.dirty.len().min(self.state.config.visit_budget);
        for _ in 0..visits {
            let Some(token) = self.state.lists.dirty.pop_front() else { break };
            self.state.overload.visited_dirty();
            let Some(connection) = self.state.find_mut(token) else { continue };
            connection.on_dirty_list = false;
            match connection.state {
                State::Connecting => self.establish(token),
                _ => self.state.flush(token),
            }
            if self.state.is_phase_over() {
                break;
            }
        }
        self.state.look_at_waiting_topics();
    }

    /// A connecting socket is said to be writable: either the connection is established, or it has
    /// failed, or the event came too early and another one follows.
    fn establish(&mut self, token: Token) {
        let now_ms = self.state.clock.stamp();
        let is_dialled = self.state.dialled(token).is_some();
        let LoopState { connections, config, .. } = &mut self.state;
        let Some(connection) = find(connections, token) else { return };
        let established = match is_dialled {
            true => connection.stream.establishment(config.peer_watch()),
            false => Ok(Some(())),
        };
        match established {
            Ok(None) => connection.writable = false,
            Ok(Some(())) if self.state.begins_layered(token) => {}
            Ok(Some(())) => {
                let Some(connection) = self.state.find_mut(token) else { return };
                connection.state = State::Open;
                connection.active_ms = now_ms;
                self.open(token);
                self.state.arm(token);
            }
            Err(error) => self.connect_failed(token, &error),
        }
    }

    fn connect_failed(&mut self, token: Token, error: &io::Error) {
        self.state.call(Some(token), |cx| self.handler.on_connect_error(cx, token, error));
        self.state.retire_for(token, CloseReason::ConnectFailed);
    }

    // ---- close ----

    /// The only place that frees a slot. So a token means the same for a whole turn, and no new
    /// connection takes the slot or the descriptor of a closed one while events of this turn name it.
    fn close(&mut self) {
        self.state.begin_phase();
        // `on_close` may end other connections. Each ends once, so this loop ends too.
        while let Some(token) = self.state.lists.closed.pop_front() {
            let Some(reason) = self.state.log_end(token) else { continue };
            if let Some(session) = self.sessions.take(token) {
                let on_close =
                    |cx: &mut Context<'_>| self.handler.on_close(cx, token, session, reason);
                self.state.call(Some(token), on_close);
            } else if reason == CloseReason::Memory && self.state.dialled(token).is_some() {
                // It was never established, and its caller does not know that it never will be.
                self.connect_failed(token, &io::ErrorKind::OutOfMemory.into());
            }
            self.state.free(token);
            self.listeners.end_pause();
            self.state.charge(CLOSE);
            if self.state.is_phase_over() && !self.is_cut_off() {
                return;
            }
        }
        self.state.leave_topics();
    }

    /// Whether the time of a shutdown is over, in which no connection is left for a later turn.
    pub(super) fn is_cut_off(&self) -> bool {
        self.state.drain_until.is_some_and(|until| until <= self.state.clock.now())
    }
}

impl<H: Handler> fmt::Debug for Reactor<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Reactor({} connections, {} listeners)",
            self.state.connections.len(),
            self.listeners.len()
        )
    }
}
