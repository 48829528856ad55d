//! A reactor without sockets, turned by hand, with a clock that a test moves.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::faults::Faults;
use super::kernel::Shared;
use super::observed::{Journal, Observed};
use super::peer::Peer;
use super::server_end::{Listening, Network};
use super::wire::Answer;
use crate::reactor::{
    Address, Config, Context, Gate, Handler, HandlerRemote, HandlerTask, OnPanic, Overload,
    Reactor, Remote, RemoteError, Stats, Token,
};

/// A handler on a reactor of its own, with peers in memory.
///
/// The reactor is the same that serves sockets, with its lists, budgets, limits, timers and closing. Only
/// the kernel is not there. Nothing happens by itself: peers act between the [turns](Self::turn), time
/// passes when it is [moved](Self::advance), and the same test does the same things on every machine.
///
/// After every turn it checks what must hold whatever the handler does, and panics where it does not:
/// see the page of the [module](super#what-is-checked). A panic prints the last things that happened, and
/// the seed, if there is one.
///
/// ```
/// use std::time::Duration;
/// use edgeloop::testing::Harness;
/// use edgeloop::{CloseReason, Config, service::Echo};
///
/// let config = Config { idle_timeout: Some(Duration::from_secs(60)), ..Config::default() };
/// let mut server = Harness::new(config, Echo::new())?;
/// let peer = server.connect();
/// peer.send("hello");
/// server.run_until_idle();
/// assert_eq!(peer.read_text(), "hello");
///
/// server.advance(Duration::from_secs(59));
/// assert_eq!(peer.close_reason(), None);
/// server.advance(Duration::from_secs(2));
/// peer.close();
/// server.run_until_idle();
/// assert_eq!(peer.close_reason(), Some(CloseReason::IdleTimeout));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Harness<H: Handler> {
    pub(super) reactor: Reactor<Observed<H>>,
    pub(super) kernel: Shared,
    pub(super) journal: Rc<RefCell<Journal>>,
    tasks: Option<Tasks<H>>,
    /// Numbers the ports of peers.
    connected: u16,
}

/// Tasks for the handler. The reactor itself has tasks for the handler that watches this one.
struct Tasks<H: Handler> {
    remote: HandlerRemote<H>,
    /// Gives the reactor what was queued.
    pass_on: Box<dyn FnMut()>,
}

/// Where the server listens, and where its peers come from: addresses for documentation (RFC 5737).
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 7000);
const PEERS: [u8; 4] = [198, 51, 100, 1];
const FIRST_PORT: u16 = 10_000;
/// A server that has not come to rest after so many turns in which no byte got further will not.
const TURNS_MAX: usize = 100_000;

impl<H: Handler> Harness<H> {
    /// Builds a reactor that listens to peers in memory, at 192.0.2.1:7000, and whose clock stands still.
    /// A panic of the handler goes through to the test, whatever [`Config::on_panic`] says.
    ///
    /// # Errors
    /// Those of [`Reactor::new`]: limits that make no sense, or no descriptor for the tasks of
    /// [`Remote`], which are awaited as ever.
    pub fn new(config: Config, handler: H) -> io::Result<Self> {
        let kernel = Shared::default();
        let (observed, journal) = Observed::new(handler, &kernel);
        // A server contains a panic; a test fails by it.
        let config = Config { on_panic: OnPanic::Unwind, ..config };
        let mut reactor = Reactor::new(config, observed)?;
        reactor.stop_clock();
        let server = SocketAddr::from(SERVER).into();
        reactor.listen_to(Box::new(Listening::at(&kernel, server)))?;
        reactor.dial_by(Box::new(Network::new(&kernel)));
        Ok(Harness { reactor, kernel, journal, tasks: None, connected: 0 })
    }

    /// As [`Reactor::listen`]: the server listens at one more address. Nothing but peers in memory comes
    /// there; see [`connect_to`](Self::connect_to).
    ///
    /// # Errors
    /// `AddrInUse` when it listens there already.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<Address> {
        let address = Address::from(address);
        if self.reactor.with_context(|_, cx| cx.addresses().contains(&address)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.reactor.listen_to(Box::new(Listening::at(&self.kernel, address)))
    }

    /// Lets things go wrong from now on, as the seed says.
    pub fn with_faults(self, faults: Faults) -> Self {
        self.kernel.borrow_mut().set_faults(faults);
        self
    }

    /// Gives connections that begin from now on buffers of these sizes, at least a byte: towards the
    /// server and towards the peer. By default 64 KiB each; with faults, what the seed says.
    pub fn with_buffers(self, receive: usize, send: usize) -> Self {
        self.kernel.borrow_mut().buffers = Some((receive.max(1), send.max(1)));
        self
    }

    // ---- peers ----

    /// A client connects. It is accepted in the next turn, unless a limit or a gate is against that.
    pub fn connect(&mut self) -> Peer {
        self.connect_to(SERVER.into())
    }

    /// As [`connect`](Self::connect), to another address at which the server was made to
    /// [listen](Self::listen). Where it does not listen the connection is refused.
    pub fn connect_to(&mut self, server: SocketAddr) -> Peer {
        let port = FIRST_PORT.wrapping_add(self.connected);
        self.connected = self.connected.wrapping_add(1);
        self.connect_between((PEERS, port).into(), server)
    }

    /// As [`connect`](Self::connect), from an address of the test's choice.
    pub fn connect_from(&mut self, address: SocketAddr) -> Peer {
        self.connect_between(address, SERVER.into())
    }

    fn connect_between(&mut self, from: SocketAddr, to: SocketAddr) -> Peer {
        let index = self.kernel.borrow_mut().connect(from, &to.into());
        Peer::new(&self.kernel, index)
    }

    /// The next of the connections that the handler has begun ([`Context::connect`]), as its other end
    /// sees it; each is returned once.
    pub fn dialled(&mut self) -> Option<Peer> {
        let index = self.kernel.borrow_mut().dialled.pop_front()?;
        Some(Peer::new(&self.kernel, index))
    }

    /// Says what becomes of connections that the handler begins to an address. Without a word they are
    /// established.
    pub fn answer(&mut self, address: impl Into<Address>, answer: Answer) {
        self.kernel.borrow_mut().set_answer(address.into(), answer);
    }

    // ---- turns and time ----

    /// One turn: pieces arrive, events are told, the reactor does what it does in a turn, and the peers
    /// read.
    #[track_caller]
    pub fn turn(&mut self) {
        self.turn_after(Duration::ZERO);
    }

    #[track_caller]
    fn turn_after(&mut self, wait: Duration) {
        if let Some(tasks) = &mut self.tasks {
            (tasks.pass_on)();
        }
        let events = self.kernel.borrow_mut().begin_turn(self.reactor.events_max());
        if let Err(error) = self.reactor.turn_after(wait, &events) {
            panic!("the turn failed: {error}");
        }
        self.kernel.borrow_mut().end_turn();
        self.check_turn();
        if self.is_idle() {
            self.check_rest();
        }
    }

    /// Turns until nothing is left to do before time passes or a peer acts: nothing is on its way, no
    /// event is due, and the reactor would wait. At least one turn.
    ///
    /// # Panics
    /// When the server is busy for 100,000 turns in which it takes nothing from its peers, and owes them
    /// no less.
    #[track_caller]
    pub fn run_until_idle(&mut self) {
        let mut fruitless = 0;
        let (mut taken, mut owed) = self.progress();
        while fruitless < TURNS_MAX {
            self.turn();
            if self.is_idle() {
                return;
            }
            let before = (taken, owed);
            (taken, owed) = self.progress();
            fruitless += usize::from(taken == before.0 && owed >= before.1);
        }
        panic!(
            "after {TURNS_MAX} turns without progress the server is not idle: {:?}",
            self.reactor
        );
    }

    /// Bytes that the server has taken from its peers, and that it still owes them. Peers send only
    /// between turns, so the first cannot grow for ever.
    fn progress(&self) -> (u64, u64) {
        let wires = &self.kernel.borrow().wires;
        let taken = wires.iter().map(|wire| wire.taken).sum();
        let waiting: u64 = wires.iter().map(|wire| wire.waiting() as u64).sum();
        (taken, waiting + self.stats().bytes_waiting())
    }

    /// Whether nothing is left to do before time passes or a peer acts.
    pub fn is_idle(&mut self) -> bool {
        let waits = self.reactor.would_wait() != Some(Duration::ZERO) || self.reactor.is_done();
        waits && !self.kernel.borrow().is_moving()
    }

    /// Lets time pass, while the server waits for it: runs until idle, moves to the next deadline, turns,
    /// and so on. Every timer and timeout on the way comes in its time and order: at the first
    /// [tick](Config::tick) behind its time, so a timer of a second may not have fired after just a second.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) {
        self.run_until_idle();
        let mut left = by;
        while let Some(wait) = self.next_deadline().filter(|wait| *wait <= left) {
            left -= wait;
            self.turn_after(wait);
            self.run_until_idle();
        }
        self.turn_after(left);
        self.run_until_idle();
    }

    /// Lets time pass while the server does nothing, as if the last turn had taken so long, or the
    /// process had been stopped. What came meanwhile comes together.
    pub fn stall(&mut self, by: Duration) {
        self.reactor.delay(by);
    }

    /// How long it is to the next deadline, if the server is idle and has any.
    pub fn next_deadline(&mut self) -> Option<Duration> {
        if !self.is_idle() || self.reactor.is_done() {
            return None;
        }
        self.reactor.would_wait()
    }

    /// Turn time, which is what handlers see.
    pub fn now(&self) -> Instant {
        self.reactor.now()
    }

    // ---- the reactor ----

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.reactor.handler().inner
    }

    /// As [`Reactor::with_context`].
    pub fn with_context<T>(&mut self, f: impl FnOnce(&mut H, &mut Context<'_>) -> T) -> T {
        self.reactor.with_context(|observed, cx| f(&mut observed.inner, cx))
    }

    /// As [`Reactor::set_gate`].
    pub fn set_gate(&mut self, gate: impl Gate + 'static) {
        self.reactor.set_gate(gate);
    }

    /// As [`Reactor::remote`]: what other threads queue is run in the turn after.
    pub fn remote(&self) -> Remote {
        self.reactor.remote()
    }

    /// As [`Reactor::handler_remote`]: what other threads queue is run in the turn after.
    pub fn handler_remote(&mut self) -> HandlerRemote<H>
    where
        H: 'static,
    {
        self.tasks.get_or_insert_with(|| Tasks::of(&mut self.reactor)).remote.clone()
    }

    /// As [`Reactor::stats`].
    pub fn stats(&self) -> &Stats {
        self.reactor.stats()
    }

    /// As [`Reactor::overload`].
    pub fn overload(&self) -> Option<Overload> {
        self.reactor.overload()
    }

    /// As [`Reactor::is_done`].
    pub fn is_done(&self) -> bool {
        self.reactor.is_done()
    }

    /// Bytes that the handler has left in the input of a connection, which are offered again with what
    /// comes behind them.
    pub fn input_len(&self, peer: &Peer) -> usize {
        let standing = peer.token().and_then(|token| self.reactor.standing(token));
        standing.map_or(0, |standing| standing.input_len)
    }

    /// Whether the connection [is held](Context::is_held), and so not read.
    pub fn is_held(&self, peer: &Peer) -> bool {
        let standing = peer.token().and_then(|token| self.reactor.standing(token));
        standing.is_some_and(|standing| standing.is_held)
    }

    /// Shuts the server down, lets as much time pass as it needs, and checks what must hold in the end:
    /// every connection was told of once, nothing is left of any, and the books are balanced. Returns
    /// the books.
    #[track_caller]
    pub fn finish(mut self) -> Stats {
        self.reactor.with_context(|_, cx| cx.drain());
        self.run_until_idle();
        while !self.is_done() {
            match self.next_deadline() {
                Some(wait) => self.advance(wait),
                None => panic!("the shutdown has no end: {:?}", self.reactor),
            }
        }
        self.check_end();
        self.stats().clone()
    }

    /// The peer of a connection that the handler knows by its token.
    pub fn peer(&self, token: Token) -> Option<Peer> {
        let index = self.kernel.borrow().find(token)?;
        Some(Peer::new(&self.kernel, index))
    }

    /// The last 60 things that happened, a line each: what peers did, what events, reads and writes there
    /// were, and what each call of the handler took. A test that fails prints them by itself.
    pub fn trace(&self) -> String {
        self.kernel.borrow().trace.to_string()
    }
}

impl<H: Handler + 'static> Tasks<H> {
    fn of(reactor: &mut Reactor<Observed<H>>) -> Self {
        let tasks_max = reactor.with_context(|_, cx| cx.config().tasks_max);
        let (sender, queued) = sync_channel::<HandlerTask<H>>(tasks_max);
        let (remote, inner) = (reactor.remote_for(sender), reactor.handler_remote());
        let watched = |task: HandlerTask<H>| -> HandlerTask<Observed<H>> {
            Box::new(move |observed, cx, sessions| task(&mut observed.inner, cx, sessions))
        };
        // The reactor may have no room for a task.
        let mut left = None;
        let pass_on = move || {
            while let Some(task) = left.take().or_else(|| queued.try_recv().ok().map(watched)) {
                if let Err(RemoteError::Full(task)) = inner.run(task) {
                    left = Some(task);
                    return;
                }
            }
        };
        Tasks { remote, pass_on: Box::new(pass_on) }
    }
}

impl<H: Handler> Drop for Harness<H> {
    /// A test that fails is told what it needs to find out why.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(kernel) = self.kernel.try_borrow()
        {
            eprintln!("edgeloop::testing: the last things that happened\n{}", kernel.trace);
            if kernel.faults != Faults::none() {
                eprintln!("edgeloop::testing: {:?}", kernel.faults);
            }
        }
    }
}

impl<H: Handler> fmt::Debug for Harness<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Harness({:?})", self.reactor)
    }
}
