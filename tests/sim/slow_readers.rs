//! What subscribers that stop, crawl or come back can take from the others: a broadcast as it
//! ships, a publisher that sends whatever is taken, and clients that act once a millisecond of
//! virtual time. So the bounds are exact, and no busy machine blurs them.

use edgeloop::service::{Broadcast, Framing};
use edgeloop::{Config, ListenOptions, Reactor, TopicConfig};

use crate::clock::MS;
use crate::socket::Stage;
use crate::world::{World, enter};

/// In each direction of a connection, in bytes.
const SOCKET: usize = 8 << 10;
const LINE_LEN: usize = 128;
/// The default of a topic.
const PATIENCE_MS: u64 = 1000;
/// What publishers wait for a newcomer.
const IN_HAND_MS: u64 = PATIENCE_MS / 40;
const HONEST: usize = 10;

/// What a client does in each millisecond.
#[derive(Clone, Copy)]
enum Habit {
    /// Takes so many bytes.
    Reads(usize),
    /// Takes everything until then, and nothing later.
    StopsAt(u64),
    /// Takes everything for so long, and nothing for so long, again and again.
    ReadsAndRests { reads_ms: u64, rests_ms: u64 },
    /// Takes everything when its turn comes: one of a crowd, each of which has so long.
    ReadsInTurn { index: u64, of: u64, visit_ms: u64 },
}

struct Client {
    socket: u32,
    habit: Habit,
    is_honest: bool,
    /// How often it was cut off. It comes back at once.
    cuts: u64,
}

struct Theatre {
    world: Box<World>,
    reactor: Option<Reactor<Broadcast>>,
    publisher: u32,
    published: usize,
    clients: Vec<Client>,
    now_ms: u64,
    /// Milliseconds in which the publisher could send nothing, and the most of them in a row.
    held_ms: u64,
    longest_ms: u64,
    held_row_ms: u64,
}

/// Plays everything; says whether each bound held.
pub(crate) fn run() -> bool {
    let mut failures = Vec::new();
    for count in [1, 40] {
        failures.extend(never_reads_and_returns(count));
    }
    for bytes in [40, 200] {
        failures.extend(reads_slowly(bytes));
    }
    failures.extend(stops());
    failures.extend(reads_and_rests());
    failures.extend(crowd());
    for failure in &failures {
        println!("violation: slow readers: {failure}");
    }
    failures.is_empty()
}

fn never_reads_and_returns(count: usize) -> Option<String> {
    let mut theatre = Theatre::open(&[Habit::Reads(SOCKET); HONEST]);
    theatre.play(500);
    // Each comes back a second after it was cut off: not all of them at once.
    for _ in 0..count {
        theatre.join(Habit::Reads(0), 1, false);
        theatre.play(1_000 / count as u64);
    }
    theatre.forget_waits();
    theatre.play(5_000);
    let (held, longest) = (theatre.held_ms, theatre.longest_ms);
    let (honest, others) = theatre.end();
    // What is in hand grows while a newcomer is waited for, and what is delivered first is free.
    let is_bounded = held <= 5_000 / 10 + IN_HAND_MS && longest <= 2 * IN_HAND_MS;
    // Each comes back once a second at most, however fast it is.
    let may_return = 3 * count as u64..=5 * count as u64;
    (honest > 0 || !may_return.contains(&others) || !is_bounded).then(|| {
        format!(
            "{count} that never read and return: publishers were held for {held} ms of 5000, {longest} ms at \
             most, {honest} honest readers and {others} others were cut"
        )
    })
}

fn reads_slowly(bytes: usize) -> Option<String> {
    let mut theatre = Theatre::open(&[Habit::Reads(SOCKET); HONEST]);
    theatre.play(500);
    theatre.join(Habit::Reads(bytes), 3, false);
    theatre.forget_waits();
    theatre.play(5_000);
    let held = theatre.held_ms;
    let (honest, others) = theatre.end();
    (honest > 0 || others < 3 || held > 5_000 * 15 / 100).then(|| {
        format!("{bytes} bytes a ms: publishers were held for {held} ms of 5000, {honest} honest readers and {others} others were cut")
    })
}

/// It has earned a whole patience, once: not for each byte, and not again.
fn stops() -> Option<String> {
    let mut habits = [Habit::Reads(SOCKET); HONEST + 1];
    habits[HONEST] = Habit::StopsAt(8_000);
    let mut theatre = Theatre::open(&habits);
    theatre.clients[HONEST].is_honest = false;
    theatre.play(8_000);
    theatre.forget_waits();
    theatre.play(3_000);
    let (held, longest) = (theatre.held_ms, theatre.longest_ms);
    let (honest, others) = theatre.end();
    let is_bounded =
        longest > IN_HAND_MS && longest <= PATIENCE_MS + IN_HAND_MS && held <= longest + 3_000 / 10;
    (honest > 0 || others == 0 || !is_bounded).then(|| {
        format!(
            "one that stops: publishers were held for {held} ms, {longest} ms at most, {honest} honest readers \
             and {others} others were cut"
        )
    })
}

/// It earns its right anew each time, and the topic remembers what it took.
fn reads_and_rests() -> Option<String> {
    let mut theatre = Theatre::open(&[Habit::Reads(SOCKET); HONEST]);
    theatre.join(Habit::ReadsAndRests { reads_ms: 2_400, rests_ms: 1_100 }, 3, false);
    theatre.play(4_000);
    theatre.forget_waits();
    theatre.play(14_000);
    let held = theatre.held_ms;
    let (honest, others) = theatre.end();
    let most = 14_000 / 10 + 4 * PATIENCE_MS;
    (honest > 0 || others == 0 || held > most).then(|| {
        format!("three that read and rest: publishers were held for {held} ms of 14000, {honest} honest readers and {others} others were cut")
    })
}

fn crowd() -> Option<String> {
    let (of, visit_ms) = (100, 3);
    let habits: Vec<Habit> =
        (0..of).map(|index| Habit::ReadsInTurn { index, of, visit_ms }).collect();
    let mut theatre = Theatre::open(&habits);
    theatre.play(5_000);
    let (cuts, _) = theatre.end();
    (cuts > 0).then(|| format!("{cuts} of a crowd of {of} were cut, though all read in their turn"))
}

impl Theatre {
    fn open(habits: &[Habit]) -> Theatre {
        let mut world = Box::new(World::quiet());
        let weather = &mut world.kernel.weather;
        (weather.capacity_least, weather.capacity_most) = (SOCKET as u32, SOCKET as u32);
        let topic = TopicConfig { memory: 8 * SOCKET, ..TopicConfig::default() };
        let reactor = enter(&mut world, || {
            let service = Broadcast::new(Framing::Lines, SOCKET, topic);
            let mut reactor = Reactor::new(Config::default(), service).expect("a reactor");
            let any = "127.0.0.1:0".parse().expect("an address");
            reactor.listen(&any, &ListenOptions::default()).expect("a listener");
            reactor
        });
        let mut theatre = Theatre {
            world,
            reactor: Some(reactor),
            publisher: 0,
            published: 0,
            clients: Vec::new(),
            now_ms: 0,
            held_ms: 0,
            longest_ms: 0,
            held_row_ms: 0,
        };
        theatre.publisher = theatre.dial();
        for habit in habits {
            theatre.join(*habit, 1, true);
        }
        theatre
    }

    fn dial(&mut self) -> u32 {
        let socket = self.world.kernel.dial(0).expect("room in the backlog");
        self.pass_a_millisecond();
        socket
    }

    fn join(&mut self, habit: Habit, count: usize, is_honest: bool) {
        for _ in 0..count {
            let socket = self.dial();
            self.clients.push(Client { socket, habit, is_honest, cuts: 0 });
        }
    }

    fn forget_waits(&mut self) {
        (self.held_ms, self.longest_ms, self.held_row_ms) = (0, 0, 0);
    }

    fn play(&mut self, span_ms: u64) {
        for _ in 0..span_ms {
            for index in 0..self.clients.len() {
                self.act(index);
            }
            self.publish();
            self.pass_a_millisecond();
        }
    }

    fn act(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let kernel = &mut self.world.kernel;
        let client = &mut self.clients[index];
        let bytes = match client.habit {
            Habit::Reads(bytes) => bytes,
            Habit::StopsAt(until_ms) if now_ms < until_ms => SOCKET,
            Habit::StopsAt(_) => 0,
            Habit::ReadsAndRests { reads_ms, rests_ms } => {
                if now_ms % (reads_ms + rests_ms) < reads_ms { SOCKET } else { 0 }
            }
            Habit::ReadsInTurn { index, of, visit_ms } if now_ms / visit_ms % of == index => SOCKET,
            Habit::ReadsInTurn { .. } => 0,
        };
        if bytes > 0 {
            let _ = kernel.receive(client.socket, &mut [&mut [0; SOCKET][..bytes]]);
        }
        if kernel.sockets[client.socket as usize].stage != Stage::Connected {
            client.cuts += 1;
            kernel.release(client.socket);
            client.socket = kernel.dial(0).expect("room in the backlog");
        }
    }

    /// Sends what is taken of an endless stream of lines.
    fn publish(&mut self) {
        let mut lines = [b'x'; SOCKET + LINE_LEN];
        lines.iter_mut().skip(LINE_LEN - 1).step_by(LINE_LEN).for_each(|end| *end = b'\n');
        let from = self.published % LINE_LEN;
        let sent = self.world.kernel.send(self.publisher, &[&lines[from..]], SOCKET, false);
        let sent = sent.unwrap_or(0);
        self.published += sent;
        self.held_row_ms = if sent == 0 { self.held_row_ms + 1 } else { 0 };
        self.held_ms += u64::from(sent == 0);
        self.longest_ms = self.longest_ms.max(self.held_row_ms);
    }

    fn pass_a_millisecond(&mut self) {
        let until = self.world.kernel.clock.now() + MS;
        let reactor = self.reactor.as_mut().expect("it is there until the end");
        enter(&mut self.world, || {
            // What has come is dealt with, and then the loop sleeps until the next millisecond.
            for _ in 0..4 {
                reactor.with_context(|_, cx| cx.set_alarm(cx.now()));
                reactor.turn().expect("a turn");
            }
        });
        let clock = &mut self.world.kernel.clock;
        clock.pass(until.saturating_sub(clock.now()));
        self.now_ms += 1;
    }

    /// How often honest clients were cut, and how often the others.
    fn end(mut self) -> (u64, u64) {
        let reactor = self.reactor.take();
        enter(&mut self.world, || drop(reactor));
        let cuts = |honest: bool| {
            let those = self.clients.iter().filter(|client| client.is_honest == honest);
            those.map(|client| client.cuts).sum()
        };
        (cuts(true), cuts(false))
    }
}
