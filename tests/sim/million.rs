//! More connections than one machine has descriptors for: the same reactor with a million simulated
//! ones. What each costs in memory, and whether a turn costs what is active in it or what there is.
//!
//! Rates are in processor time of this thread and include the simulated kernel, which is cheaper than
//! the real one and touches memory of its own for each socket. Turns are compared without it.

#![expect(unsafe_code, reason = "the thread's processor time is asked of the real kernel")]

use std::time::{Duration, Instant};

use edgeloop::{CloseReason, Config, Context, ListenOptions, Reactor, Start, Token, TopicConfig};

use crate::allocator::live;
use crate::clock::MS;
use crate::scripted::Scripted;
use crate::stopwatch::program_cycles;
use crate::world::{World, enter, with};

/// The crowd of a run that is part of every test, and of the one that is asked for.
pub(crate) const SMALL: usize = 20_000;
pub(crate) const MILLION: usize = 1_000_000;

const ACTIVE: usize = 1_000;
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Debug builds carry mio's registration checks in every socket.
const BYTES_MAX: f64 = if cfg!(debug_assertions) { 256.0 } else { 128.0 };
/// Turns with many idle connections against turns with few.
const RATIO_MAX: f64 = 1.2;
const ROUNDS: usize = 101;
const BACKLOG: u32 = 4096;

/// An echo whose connections can be found again.
struct Crowd {
    tokens: Vec<Token>,
    closed: usize,
}

impl Crowd {
    fn new(tokens: Vec<Token>) -> Scripted<Crowd> {
        let on_open = |it: &mut Crowd, _: &mut Context<'_>, token| it.tokens.push(token);
        Scripted::new(Crowd { tokens, closed: 0 }, on_open, |_, cx, token, (), input| {
            cx.forward(token, input);
            Ok(())
        })
        .on_close(|it, _, _, (), reason| {
            it.closed += usize::from(reason == CloseReason::IdleTimeout)
        })
    }
}

/// A machine of its own with a server and its clients.
struct Stage {
    world: Box<World>,
    reactor: Option<Reactor<Scripted<Crowd>>>,
    clients: Vec<u32>,
    /// Bytes that the reactor has allocated for each connection.
    bytes_each: f64,
}

/// Measures; says whether every figure is what it should be.
pub(crate) fn run(count: usize) -> bool {
    let mut few = Stage::open(ACTIVE + 1_000);
    let began = cpu();
    let mut many = Stage::open(ACTIVE + count);
    let seconds = (cpu() - began).as_secs_f64();
    println!("{count} idle connections: {:.0} accepted a second", count as f64 / seconds);
    println!("  memory of the reactor: {:.1} bytes each", many.bytes_each);
    let ratio = compare(&mut few, &mut many);
    many.broadcast();
    let all_fired = many.time_out();
    few.close();
    many.close();
    // The time of a debug build says nothing, and a busy machine has a cache to share.
    let is_flat = cfg!(debug_assertions) || ratio <= RATIO_MAX || count < MILLION;
    many.bytes_each <= BYTES_MAX && is_flat && all_fired
}

impl Stage {
    fn open(count: usize) -> Stage {
        let mut world = Box::new(World::quiet());
        (world.kernel.weather.capacity_least, world.kernel.weather.capacity_most) = (4096, 4096);
        let tokens = Vec::with_capacity(count);
        let before = live();
        let config = Config {
            connections_max: count,
            idle_timeout: Some(IDLE_TIMEOUT),
            ..Config::default()
        };
        let (reactor, clients) = enter(&mut world, || {
            let mut reactor = Reactor::new(config, Crowd::new(tokens)).expect("a reactor");
            let any = "127.0.0.1:0".parse().expect("an address");
            let options = ListenOptions { backlog: BACKLOG, ..ListenOptions::default() };
            reactor.listen(&any, &options).expect("a listener");
            let clients = connect(&mut reactor, count);
            (reactor, clients)
        });
        // What the clients are remembered by is not the reactor's.
        let clients_bytes = (clients.capacity() * size_of::<u32>()) as f64;
        let bytes_each = ((live() - before) as f64 - clients_bytes) / count as f64;
        Stage { world, reactor: Some(reactor), clients, bytes_each }
    }

    /// So many clients, each the `step`th of all there are, send and are answered; returns the cycles
    /// that the turns took, without the simulated kernel's.
    fn round(&mut self, step: usize) -> u64 {
        let active: Vec<u32> = self.clients.iter().step_by(step).take(ACTIVE).copied().collect();
        let kernel = &mut self.world.kernel;
        for client in &active {
            kernel.send(*client, &[&[b'x'; 64]], usize::MAX, false).expect("room");
        }
        let reactor = self.reactor.as_mut().expect("it is there until the end");
        let spent = enter(&mut self.world, || {
            let until = reactor.stats().bytes_sent + 64 * ACTIVE as u64;
            program_cycles(|| {
                while reactor.stats().bytes_sent < until {
                    reactor.turn().expect("a turn");
                }
            })
        });
        let mut answer = [0; 64];
        for client in active {
            let n = self.world.kernel.receive(client, &mut [&mut answer]);
            assert_eq!((n, answer), (Ok(64), [b'x'; 64]));
        }
        spent
    }

    /// Everybody follows a topic, and one message goes to all.
    fn broadcast(&mut self) {
        let count = self.clients.len();
        let reactor = self.reactor.as_mut().expect("it is there until the end");
        let spent = enter(&mut self.world, || {
            let topic = reactor.with_context(|crowd, cx| {
                let topic = cx.create_topic(TopicConfig::default());
                for token in &crowd.tokens {
                    cx.subscribe(*token, topic, Start::Next).expect("a subscription");
                }
                topic
            });
            let began = cpu();
            reactor.with_context(|_, cx| cx.publish(topic, None, &[b'm'; 100]).expect("room"));
            while reactor.stats().messages_delivered < count as u64 {
                reactor.turn().expect("a turn");
            }
            cpu() - began
        });
        println!(
            "  broadcast to all: {:.0} deliveries a second",
            count as f64 / spent.as_secs_f64()
        );
        let mut message = [0; 100];
        for client in &self.clients {
            let n = self.world.kernel.receive(*client, &mut [&mut message]);
            assert_eq!((n, message), (Ok(100), [b'm'; 100]));
        }
    }

    /// Every idle timeout is over; says whether everybody is closed for that.
    fn time_out(&mut self) -> bool {
        let count = self.clients.len();
        self.world.kernel.clock.pass(2 * IDLE_TIMEOUT.as_millis() as u64 * MS);
        let reactor = self.reactor.as_mut().expect("it is there until the end");
        let clients = std::mem::take(&mut self.clients);
        let (spent, closed) = enter(&mut self.world, || {
            let began = cpu();
            // Their streams are ended first; then those of the clients.
            for _ in 0..8 + 4 * count / reactor_budget() {
                reactor.turn().expect("a turn");
            }
            let spent = cpu() - began;
            with(|world| clients.iter().for_each(|client| world.kernel.release(*client)));
            for _ in 0..8 + 8 * count / reactor_budget() {
                reactor.with_context(|_, cx| cx.set_alarm(cx.now()));
                reactor.turn().expect("a turn");
            }
            (spent, reactor.handler().closed)
        });
        println!("  all timers fire: {:.0} a second", count as f64 / spent.as_secs_f64());
        closed == count
    }

    fn close(&mut self) {
        let reactor = self.reactor.take();
        enter(&mut self.world, || drop(reactor));
        assert_eq!(self.world.kernel.files_open(), 0);
    }
}

/// Connections visited in a turn, by default.
fn reactor_budget() -> usize {
    Config::default().visit_budget
}

fn connect(reactor: &mut Reactor<Scripted<Crowd>>, count: usize) -> Vec<u32> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let burst = (count - clients.len()).min(BACKLOG as usize);
        with(|world| {
            clients.extend((0..burst).map(|_| world.kernel.dial(0).expect("room in the backlog")));
        });
        while reactor.stats().accepted < clients.len() as u64 {
            reactor.turn().expect("a turn");
        }
    }
    clients
}

/// Turns with few idle connections and with many, alternately; prints and returns the ratio of the
/// medians.
///
/// The clients that are active are neighbours, so that their connections lie side by side in both
/// tables, and what differs is the number of the others. Scattered over the large table each of them
/// lies on a page of its own, which costs what memory costs; that is printed beside it.
fn compare(few: &mut Stage, many: &mut Stage) -> f64 {
    let scattered = many.clients.len() / ACTIVE;
    let mut cycles = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        cycles[0].push(few.round(1));
        cycles[1].push(many.round(1));
    }
    for _ in 0..ROUNDS {
        cycles[2].push(many.round(scattered));
    }
    let [low, high, scattered] = cycles.map(median);
    println!("  {ACTIVE} active: {low:.0} cycles each beside 1000 idle ones, {high:.0} beside all");
    println!("  scattered over the table: {scattered:.0}");
    high / low
}

/// For each of those that are active.
fn median(mut cycles: Vec<u64>) -> f64 {
    cycles.sort_unstable();
    cycles[cycles.len() / 2].max(1) as f64 / ACTIVE as f64
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time; this clock is never simulated.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// As [`run`], with the time that it took.
pub(crate) fn run_timed(count: usize) -> bool {
    let began = Instant::now();
    let is_right = run(count);
    println!("  in {:.1} s", began.elapsed().as_secs_f64());
    is_right
}
