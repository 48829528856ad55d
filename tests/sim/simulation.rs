//! One schedule from beginning to end: build the program, let it run while everything goes wrong,
//! then while nothing does, then shut it down, and look at what is left.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use edgeloop::codec::Delimited;
use edgeloop::service::{Broadcast, Echo, EchoLines, Framed, Framing};
use edgeloop::{
    Address, Context, Handler, ListenOptions, Reactor, Remote, SlowConsumer, Token, TopicConfig,
    WhenFull,
};

use crate::audit::{Audit, Rules};
use crate::clock::MS;
use crate::faults::{Class, Faults};
use crate::gate::{self, Doorkeeper};
use crate::kernel::{Kernel, Weather};
use crate::libc_symbols::Call;
use crate::load::Load;
use crate::oracles::{Limits, Oracles};
use crate::peers::{Dialect, Peers};
use crate::schedule::{Schedule, Service};
use crate::services::{Leaver, Pauser, Rooms, Ticker, Worker, dialler, silent};
use crate::socket;
use crate::trace::Trace;
use crate::work::Ledger;
use crate::world::{World, enter, with};

/// What became of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) faults: u64,
    pub(crate) hash: u64,
    pub(crate) by_call: Vec<u64>,
    /// The first of them, in order.
    pub(crate) order: Vec<Call>,
    pub(crate) violation: Option<String>,
    /// The last calls, when there was a violation.
    pub(crate) trace: String,
}

/// Where the simulated servers are, and where nobody is.
const SERVERS: [socket::Address; 2] =
    [socket::Address { ip: 0xc000_0201, port: 7 }, socket::Address { ip: 0xc000_0201, port: 9 }];

/// Runs a schedule.
pub(crate) fn run(schedule: &Schedule) -> Outcome {
    run_with(schedule, None)
}

/// Runs a schedule in which one call fails.
pub(crate) fn run_with(schedule: &Schedule, planned: Option<(u64, i32)>) -> Outcome {
    let seed = schedule.seed;
    match schedule.service {
        Service::Echo => drive(schedule, planned, Echo::new(), Rules::default()),
        Service::Silent => drive(
            schedule,
            planned,
            silent(),
            Rules { dialect: Dialect::Silence, ..Rules::default() },
        ),
        Service::Lines => {
            let limit = schedule.config.input_limit;
            let lines = Framed::new(Delimited::lines(limit), EchoLines::new(""));
            drive(schedule, planned, lines, Rules::default())
        }
        Service::Pauser(pauses) => {
            drive(schedule, planned, Pauser::new(seed, pauses), Rules::default())
        }
        Service::Ticker(delay_ms) => {
            let rules = Rules { dialect: Dialect::Dots, ..Rules::default() };
            drive(schedule, planned, Ticker::new(seed, delay_ms), rules)
        }
        Service::Worker(most) => {
            let rules = Rules { dialect: Dialect::Silence, closes: true, ..Rules::default() };
            drive(schedule, planned, Worker::new(seed, most), rules)
        }
        Service::Leaver => {
            let rules = Rules { dialect: Dialect::Dots, closes: true, ..Rules::default() };
            drive(schedule, planned, Leaver::new(seed), rules)
        }
        Service::Dialler(dials) => {
            drive(schedule, planned, dialler(seed, SERVERS.map(public), dials), Rules::default())
        }
        Service::Broadcast { policy, memory, history, patience_ms } => {
            let patience = Duration::from_millis(patience_ms);
            let topic = TopicConfig {
                memory,
                history,
                slow_consumer: policy,
                patience,
                subscriber_memory: None,
            };
            let rules = Rules {
                dialect: Dialect::Messages,
                disconnects_slow: policy == SlowConsumer::Disconnect,
                follows_all: true,
                skips: policy == SlowConsumer::Skip && history == 0,
                counts_messages: policy != SlowConsumer::Skip && history == 0,
                ..Rules::default()
            };
            let limit = schedule.config.input_limit;
            drive(schedule, planned, Broadcast::new(Framing::Lines, limit, topic), rules)
        }
        Service::Rooms { policy, memory } => {
            let topic = TopicConfig { memory, slow_consumer: policy, ..TopicConfig::default() };
            let rules = Rules {
                dialect: Dialect::Messages,
                disconnects_slow: policy == SlowConsumer::Disconnect,
                ..Rules::default()
            };
            drive(schedule, planned, Rooms::new(seed, topic), rules)
        }
    }
}

fn public(address: socket::Address) -> Address {
    Address::Tcp((std::net::Ipv4Addr::from(address.ip), address.port).into())
}

fn drive<H: Handler>(
    schedule: &Schedule,
    planned: Option<(u64, i32)>,
    handler: H,
    mut rules: Rules,
) -> Outcome {
    rules.memory_is_short = schedule.config.buffer_memory < 64 << 20;
    let mut world = Box::new(build(schedule, rules, planned));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        enter(&mut world, || live(schedule, Audit::new(handler, rules, schedule)));
    }));
    REMOTE.set(None);
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.oracles.violate(format!("panic: {}", text.unwrap_or_default()));
    }
    let violation = world.oracles.violation.take();
    Outcome {
        calls: world.trace.calls,
        faults: world.faults.count,
        hash: world.trace.hash,
        by_call: world.trace.by_call.to_vec(),
        order: std::mem::take(&mut world.trace.order),
        trace: violation.as_ref().map(|_| world.trace.to_string()).unwrap_or_default(),
        violation,
    }
}

fn build(schedule: &Schedule, rules: Rules, planned: Option<(u64, i32)>) -> World {
    let seed = schedule.seed;
    let mut kernel = Kernel::new(seed ^ 0x6b65_726e);
    kernel.weather = schedule.weather;
    kernel.clock.call_ns = schedule.call_ns;
    kernel.files_max = schedule.files_max;
    let mut faults = Faults::new(schedule.rates, seed ^ 0x0666);
    faults.planned = planned;
    faults.is_off = planned.is_none();
    let mut peers = Peers::new(&schedule.plans, rules.dialect, seed ^ 0x7065);
    peers.is_unix = schedule.is_unix;
    peers.completes_lines = schedule.service == Service::Lines;
    peers.may_listen = matches!(schedule.service, Service::Broadcast { .. });
    let config = &schedule.config;
    let ledger = Ledger::new(config.work_budget, config.work_slice, config.visit_budget);
    let oracles = Oracles::new(limits(schedule), ledger, Load::new(config));
    World {
        kernel,
        faults,
        peers,
        oracles,
        trace: Trace::default(),
        pace: schedule.pace,
        interlude: None,
        is_still: false,
    }
}

fn limits(schedule: &Schedule) -> Limits {
    let config = &schedule.config;
    let ns = |span: Duration| span.as_nanos() as u64;
    Limits {
        connections_max: config.connections_max,
        waits_when_full: config.when_full == WhenFull::Wait,
        accept_retry_ns: ns(config.accept_retry),
        tick_ns: ns(config.tick),
        idle_ns: config.idle_timeout.map(ns),
        write_ns: config.write_timeout.map(ns),
        connect_ns: ns(config.connect_timeout),
        linger_ns: ns(config.linger_timeout),
        linger_limit: config.linger_limit as u64,
        output_low: config.output_low() as u64,
        has_topics: matches!(schedule.service, Service::Broadcast { .. } | Service::Rooms { .. }),
        has_rooms: matches!(schedule.service, Service::Rooms { .. }),
        skips: matches!(
            schedule.service,
            Service::Broadcast { policy: SlowConsumer::Skip, .. }
                | Service::Rooms { policy: SlowConsumer::Skip, .. }
        ),
        loses_nothing: match schedule.service {
            Service::Broadcast { policy, .. } => policy != SlowConsumer::Skip,
            _ => false,
        },
        disconnects_slow: match schedule.service {
            Service::Broadcast { policy, .. } | Service::Rooms { policy, .. } => {
                policy == SlowConsumer::Disconnect
            }
            _ => false,
        },
        memory_is_short: config.buffer_memory < 64 << 20,
    }
}

/// The life of the program.
fn live<H: Handler>(schedule: &Schedule, handler: Audit<H>) {
    let Some(mut reactor) = set_up(schedule, handler) else { return };
    with(|world| world.faults.is_off = false);
    storm(&mut reactor, schedule);
    let mut is_quiet = true;
    if schedule.drains_after.is_none() {
        with(World::calm_down);
        is_quiet = settle(&mut reactor, "everything must finish", |reactor| {
            reactor.stats().open() == 0 && with(|world| world.peers.are_done()) == Some(true)
        });
        // Some may have left while they waited to be accepted.
        is_quiet &= settle(&mut reactor, "with nobody left the loop must rest", |reactor| {
            reactor.stats().open() == 0 && with(|world| world.oracles.is_at_rest()) == Some(true)
        });
    }
    if is_quiet {
        shut_down(&mut reactor);
        check_books(&reactor);
    }
    REMOTE.set(None);
    drop(reactor);
    check_nothing_is_left();
    with(World::see_the_end);
}

/// A reactor that listens; or nothing, when that was made to fail.
fn set_up<H: Handler>(schedule: &Schedule, handler: Audit<H>) -> Option<Reactor<Audit<H>>> {
    let any = if schedule.is_unix { "unix:/nowhere/at/all" } else { "127.0.0.1:0" };
    let any = any.parse().expect("an address");
    let options = ListenOptions { backlog: schedule.backlog, ..ListenOptions::default() };
    let made = Reactor::new(schedule.config.clone(), handler).and_then(|mut reactor| {
        reactor.set_gate(Doorkeeper::new());
        reactor.listen(&any, &options).map(|_| reactor)
    });
    match made {
        Ok(reactor) => {
            REMOTE.set(Some(reactor.remote()));
            with(|world| {
                world.peers.start(&world.kernel, 0);
                world.peers.serve(&mut world.kernel, SERVERS[0]);
            });
            Some(reactor)
        }
        Err(error) => {
            with(|world| {
                if world.faults.count == 0 {
                    world.oracles.violate(format!("set-up failed: {error}"));
                }
            });
            None
        }
    }
}

/// Everything at once, for as many calls as the schedule says.
fn storm<H: Handler>(reactor: &mut Reactor<Audit<H>>, schedule: &Schedule) {
    let calls = schedule.drains_after.map_or(schedule.calls, |after| after.min(schedule.calls));
    while with(|world| world.has_time(calls)) == Some(true) {
        turn(reactor);
    }
}

fn turn<H: Handler>(reactor: &mut Reactor<Audit<H>>) {
    let outcome = reactor.turn();
    with(|world| {
        let oracles = &mut world.oracles;
        // A shutdown takes all who wait.
        if !oracles.is_draining {
            let (now_ns, is_overloaded) = (world.kernel.clock.told(), reactor.overload().is_some());
            let wrong = oracles.load.turned(now_ns, is_overloaded, reactor.stats());
            wrong.into_iter().for_each(|what| oracles.violate(what));
        }
    });
    if let Err(error) = outcome {
        // Only what the wait itself was made to fail with.
        with(|world| {
            if world.faults.planned.is_none() {
                world.oracles.violate(format!("a turn failed: {error}"));
            }
        });
    }
    gate::check(reactor.stats());
}

/// Turns until `is_done`, in a bounded number of turns; says whether it came to that.
fn settle<H: Handler>(
    reactor: &mut Reactor<Audit<H>>,
    what: &str,
    is_done: impl Fn(&Reactor<Audit<H>>) -> bool,
) -> bool {
    for _ in 0..TURNS_MAX {
        if is_done(reactor) {
            return true;
        }
        if with(|world| world.oracles.violation.is_some()) != Some(false) {
            return false;
        }
        turn(reactor);
    }
    let stats = reactor.stats().to_string();
    with(|world| {
        world.oracles.violate(format!("{what}, and has not in {TURNS_MAX} turns: {stats}"));
    });
    false
}

/// A stream of 40,000 bytes, read one byte a turn, and time to spare.
const TURNS_MAX: usize = 400_000;

fn shut_down<H: Handler>(reactor: &mut Reactor<Audit<H>>) {
    let until = reactor.with_context(|_, cx| {
        cx.drain();
        with(|world| world.kernel.clock.told() + cx.config().drain_timeout.as_nanos() as u64)
    });
    with(|world| (world.oracles.is_draining, world.oracles.drains_until) = (true, until));
    settle(reactor, "the shutdown must end", Reactor::is_done);
    with(|world| world.oracles.drains_until = None);
}

fn check_books<H: Handler>(reactor: &Reactor<Audit<H>>) {
    let stats = reactor.stats();
    let closed: u64 = stats.closed_by_reason.iter().sum();
    let is_even = stats.accepted + stats.dialled == closed;
    if !is_even || stats.bytes_unconsumed() + stats.bytes_waiting() > 0 {
        let text = stats.to_string();
        with(|world| world.oracles.violate(format!("the books do not balance: {text}")));
    }
    let panics = stats.panics;
    with(|world| {
        let meant = world.oracles.panics;
        if panics != meant {
            world.oracles.violate(format!("{panics} panics, {meant} of them on purpose"));
        }
    });
    let (delivered, skipped) = (stats.messages_delivered, stats.messages_skipped);
    with(|world| {
        let has_topics = world.oracles.limits.has_topics;
        let wrong = world.peers.check_messages(delivered, skipped).filter(|_| has_topics);
        wrong.into_iter().for_each(|what| world.oracles.violate(what));
    });
}

fn check_nothing_is_left() {
    with(|world| {
        let files = world.kernel.files_open();
        if files > 0 {
            world.oracles.violate(format!("{files} descriptors are left"));
        }
        let open = world.oracles.accounts.iter().flatten().filter(|account| account.is_open);
        let open = open.count();
        if open > 0 {
            world.oracles.violate(format!("on_close was not called for {open} connections"));
        }
    });
}

impl World {
    fn has_time(&self, calls: u64) -> bool {
        let is_over = self.trace.calls >= calls || self.peers.are_done() || self.is_still;
        !is_over && self.oracles.violation.is_none()
    }

    /// What was sent before a shutdown arrives after it.
    fn see_the_end(&mut self) {
        self.calm_down();
        for _ in 0..TURNS_MAX {
            if !self.step() {
                return;
            }
        }
        self.oracles.violate("peers of a program that is gone go on for ever".into());
    }

    fn calm_down(&mut self) {
        self.faults.is_off = true;
        self.kernel.weather = Weather { delay: 0, ..self.kernel.weather };
        self.kernel.clock.call_ns = self.kernel.clock.call_ns.min(200);
        self.kernel.files_max = usize::MAX;
        self.peers.calm_down(self.kernel.clock.now());
        self.kernel.clock.pass(MS);
    }

    /// Whether somebody elsewhere hands the loop a task now.
    pub(crate) fn is_woken(&mut self) -> bool {
        self.faults.strikes(Class::Wake)
    }
}

thread_local! {
    static REMOTE: RefCell<Option<Remote>> = const { RefCell::new(None) };
    static IS_WAKING: Cell<bool> = const { Cell::new(false) };
}

/// What another thread may do between any two calls of the loop: hand it a task.
pub(crate) fn wake_from_elsewhere() {
    if !IS_WAKING.get() && with(World::is_woken) == Some(true) {
        task_from_elsewhere();
    }
}

/// Hands the loop a task, as another thread does.
pub(crate) fn task_from_elsewhere() {
    IS_WAKING.set(true);
    let stale = with(|world| world.oracles.stale_token()).flatten();
    REMOTE.with_borrow(|remote| {
        let task = move |cx: &mut Context<'_>| {
            with(|world| world.oracles.tasks_run += 1);
            if let Some((token, what)) = stale {
                use_stale(cx, token, what);
            }
        };
        if remote.as_ref().is_some_and(|remote| remote.run(task).is_ok()) {
            with(|world| world.oracles.tasks_queued += 1);
        }
    });
    IS_WAKING.set(false);
}

/// Whoever keeps a token for too long does nothing to the connection that has its slot now.
fn use_stale(cx: &mut Context<'_>, token: Token, what: u64) {
    match what % 5 {
        0 => {
            if cx.send(token, b"stale") {
                with(|world| world.oracles.violate(format!("{token} is closed and takes bytes")));
            }
        }
        1 => cx.pause(token),
        2 => cx.set_timer(token, Duration::ZERO),
        3 => cx.close(token),
        _ => cx.abort(token),
    }
}
