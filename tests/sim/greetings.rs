//! What comes before a connection is open: prefaces that are cut anywhere, layers that tear, hold back
//! and say `WouldBlock`, and clients that say half of it, something else, or nothing.
//!
//! These schedules are small and have a world of their own, beside those of `schedule`. Clients act
//! between two turns; the network cuts and delays what they send between any two calls. What is asked:
//!
//! - No greeting outlives its deadline, and none has a turn for itself beyond the budget.
//! - `on_open` comes once, behind a greeting that is done; not behind one that failed, nor does `on_close`.
//! - No byte passes a layer before its greeting is done, and none behind its alert.
//! - Whoever greets as it should is served: all that it sent comes back, and then the farewell.
//! - Whoever does not is told so, and not reset; under the reason that it has earned.
//! - The gate is told of an end once for each that it let in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeloop::{
    Address, CloseReason, Config, Context, Gate, Introduction, Layer, LayerSocket, ListenOptions,
    Reactor, Stage, Token,
};
use mio::net::TcpStream;

use crate::NONE;
use crate::faults::{Class, Faults};
use crate::kernel::{Kernel, Weather};
use crate::random::Random;
use crate::scripted::Scripted;
use crate::sealed::{
    ALERT, BEGINNING, BYE, END, HELLO, Habits, STUFFING, Sealed, Via, WELCOME, seal,
};
use crate::world::{World, enter};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Greets, sends, says farewell, and reads until the end.
    Good,
    /// Says so many bytes of its greeting and then nothing.
    Silent(usize),
    /// Says so many bytes of its greeting and then something else.
    Garbage(usize),
    /// Ends its stream after so many bytes of its greeting.
    EndsEarly(usize),
    Resets(usize),
    /// Ends its stream without a farewell.
    Truncates,
    /// Comes from where nobody is let in.
    Unwanted,
}

struct Client {
    kind: Kind,
    socket: u32,
    /// All that it will ever say.
    words: Vec<u8>,
    said: usize,
    piece: usize,
    /// How often it reads when it could, in a thousand.
    reads: u16,
    /// It says no more than this before it was welcomed.
    waits_at: usize,
    ends_stream: bool,
    has_ended: bool,
    heard: Vec<u8>,
    saw: Saw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    Nothing,
    End,
    Failure,
    Left,
}

/// What the program under test has done, and what is wrong with that.
#[derive(Default)]
struct Log {
    violation: Option<String>,
    /// Layers, in the order in which they were made.
    layers: Vec<Progress>,
    greets_in_turn: usize,
    /// By the address of its client.
    opened: HashMap<String, u32>,
    closed: HashMap<String, CloseReason>,
    inside: HashMap<String, u32>,
    begun: HashMap<Token, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Greets,
    Done,
    Failed,
}

type Shared = Rc<RefCell<Log>>;

/// What a seed decides.
struct Scene {
    random: Random,
    has_preface: bool,
    has_layer: bool,
    habits: Habits,
    config: Config,
    clients: Vec<Client>,
    /// After so many turns the program is told to shut down.
    drains_after: Option<usize>,
    memory_is_short: bool,
}

const PAYLOAD_MAX: usize = 1500;
/// Far more than any of these schedules takes.
const TURNS_MAX: usize = 60_000;

/// Plays one seed; says what was wrong.
pub(crate) fn run(seed: u64) -> Option<String> {
    let mut scene = Scene::draw(seed);
    let log = Shared::default();
    let mut world = Box::new(scene.world(seed));
    let played = catch_unwind(AssertUnwindSafe(|| scene.play(&mut world, &log)));
    let text = played.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    });
    let violation = log.borrow_mut().violation.take().or(text)?;
    Some(format!("greetings, seed {seed}: {violation}\n{scene}"))
}

impl Scene {
    fn draw(seed: u64) -> Scene {
        let mut random = Random::new(seed ^ 0x6772_6565);
        let manner = random.below(4);
        let (has_preface, has_layer) = (manner != 0, manner != 1);
        let memory_is_short = has_layer && random.chance(100);
        let habits = Habits {
            piece: random.pick(&[0, 0, 1, 2, 7]),
            holds_back: random.chance(500),
            stuffs: random.chance(300),
            holds: if memory_is_short { 3000 } else { 0 },
        };
        let ms = |most| Duration::from_millis(most);
        let config = Config {
            connections_max: random.pick(&[3, 64, 64]),
            read_budget: random.pick(&[1, 7, 512, 8192]),
            buffer_memory: if memory_is_short { 4 * 8192 } else { 64 << 20 },
            work_budget: random.pick(&[1, 2_000_000, 2_000_000, 2_000_000]),
            visit_budget: random.magnitude(1, 64),
            accept_budget: random.between(1, 16),
            greeting_budget: random.pick(&[1, 2, 3, 8]),
            greetings_max: random.pick(&[None, None, Some(1), Some(4)]),
            greeting_timeout: ms(random.between(500, 1500) as u64),
            linger_timeout: ms(500),
            drain_timeout: ms(3000),
            drain_quiet: ms(random.between(20, 400) as u64),
            tick: ms(random.magnitude(1, 50) as u64),
            keepalive: None,
            overload_turn: None,
            overload_memory: None,
            ..Config::default()
        };
        let count = random.between(1, 16);
        let clients = (0..count)
            .map(|index| Client::draw(&mut random, index, has_preface, has_layer))
            .collect();
        let drains_after = random.chance(120).then(|| random.magnitude(1, 300));
        Scene {
            random,
            has_preface,
            has_layer,
            habits,
            config,
            clients,
            drains_after,
            memory_is_short,
        }
    }

    fn world(&mut self, seed: u64) -> World {
        let mut world = World::quiet();
        let random = &mut self.random;
        world.kernel.random = Random::new(seed ^ 0x6b65);
        world.kernel.weather = Weather {
            delay: random.pick(&[0, 0, 300, 900]),
            split: random.pick(&[0, 200]),
            reorder: random.pick(&[0, 500]),
            // A preface has to fit into the socket, as it does into those that there are.
            capacity_least: if self.has_preface { 100 } else { 16 },
            capacity_most: random.pick(&[100, 1024, 4096]),
        };
        world.kernel.clock.call_ns = 200;
        let mut rates = [0; Class::ALL.len()];
        for class in [Class::Interrupt, Class::ShortRead, Class::ShortWrite, Class::Spurious] {
            rates[class as usize] = random.pick(&[0, 0, 50, 200]);
        }
        world.faults = Faults::new(rates, seed ^ 0x6661);
        world.pace = random.pick(&[0, 100, 500]);
        world
    }

    fn play(&mut self, world: &mut World, log: &Shared) {
        let mut reactor = enter(world, || self.open(log));
        let mut turns = 0;
        loop {
            let is_over = self.clients.iter().all(|client| client.saw != Saw::Nothing)
                && reactor.stats().open() == 0;
            if is_over || log.borrow().violation.is_some() {
                break;
            }
            if turns == TURNS_MAX {
                log.borrow_mut().violate(format!("it never ends: {}", reactor.stats()));
                break;
            }
            turns += 1;
            let mut is_busy = false;
            for index in 0..self.clients.len() {
                is_busy |= self.act(index, world);
            }
            let most_us = if is_busy { 3_000 } else { 40_000 };
            let wait = Duration::from_micros(self.random.below(most_us) as u64);
            let drains = self.drains_after == Some(turns);
            enter(world, || self.turn(&mut reactor, log, wait, drains));
            if self.drains_after.is_some_and(|after| turns > after) && reactor.is_done() {
                break;
            }
        }
        self.judge(&reactor, log);
        enter(world, || drop(reactor));
        if world.kernel.files_open() > 0 {
            log.borrow_mut().violate("descriptors are left".into());
        }
    }

    fn open(&mut self, log: &Shared) -> Reactor<Scripted<Shared, String>> {
        let handler = Scripted::new(log.clone(), on_open, |_, cx, token, _, input| {
            cx.forward(token, input);
            Ok(())
        })
        .on_close(|log, _, _, who, reason| log.borrow_mut().close(who, reason));
        let mut reactor = Reactor::new(self.config.clone(), handler).expect("a reactor");
        reactor.set_gate(Doorkeeper(log.clone(), self.has_preface));
        let balancer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let via: Arc<dyn edgeloop::Preface> = Arc::new(EveryBalancer(Via(balancer)));
        let options =
            ListenOptions { preface: self.has_preface.then_some(via), ..ListenOptions::default() };
        let any = "127.0.0.1:0".parse().expect("an address");
        let (habits, log) = (self.habits, log.clone());
        let wrap = move |socket| Ok(Box::new(Watched::new(socket, habits, &log)) as Box<dyn Layer>);
        match self.has_layer {
            true => reactor.listen_layered(&any, &options, wrap),
            false => reactor.listen(&any, &options),
        }
        .expect("a listener");
        reactor
    }

    fn turn(
        &self,
        reactor: &mut Reactor<Scripted<Shared, String>>,
        log: &Shared,
        wait: Duration,
        drains: bool,
    ) {
        log.borrow_mut().greets_in_turn = 0;
        reactor.with_context(|_, cx| {
            cx.set_alarm(cx.now() + wait);
            if drains {
                cx.drain();
            }
        });
        reactor.turn().expect("a turn");
        let turned = reactor.now();
        let stats = reactor.stats().clone();
        let mut log = log.borrow_mut();
        if log.greets_in_turn > self.config.greeting_budget {
            log.violate("more greetings in a turn than its budget has".into());
        }
        let inside: u64 = log.inside.values().map(|count| u64::from(*count)).sum();
        if inside > stats.open() || (!self.has_preface && inside != stats.open()) {
            log.violate(format!("{inside} are inside for the gate, {} are open", stats.open()));
        }
        let most = self.config.greeting_timeout + self.config.tick + Duration::from_millis(2);
        let mut greeting = 0;
        reactor.with_context(|_, cx| {
            for info in cx.connections(None).filter(|info| info.stage == Stage::Greeting) {
                greeting += 1;
                let began = *log.begun.entry(info.token).or_insert(turned);
                if turned >= began + most {
                    log.violate(format!("the greeting of {} outlives its deadline", info.token));
                }
            }
        });
        let limit = self.config.greetings_most();
        if greeting > limit && self.drains_after.is_none() {
            log.violate(format!("{greeting} greet, {limit} may"));
        }
    }

    // ---- clients ----

    /// One step of a client; says whether there was anything to do.
    fn act(&mut self, index: usize, world: &mut World) -> bool {
        let Scene { clients, random, .. } = self;
        let client = &mut clients[index];
        if client.saw != Saw::Nothing {
            return false;
        }
        let kernel = &mut world.kernel;
        if client.socket == NONE {
            match kernel.dial(0) {
                Some(socket) => client.socket = socket,
                // Nobody listens any more.
                None if kernel.listeners[0].socket == NONE => client.saw = Saw::Left,
                None => return false,
            }
            return true;
        }
        let has_input = kernel.sockets[client.socket as usize].has_input();
        if has_input && random.chance(client.reads) {
            client.read(kernel);
            return true;
        }
        client.speak(kernel) || has_input
    }

    // ---- judging ----

    fn judge(&self, reactor: &Reactor<Scripted<Shared, String>>, log: &Shared) {
        let mut log = log.borrow_mut();
        let stats = reactor.stats();
        if stats.open() == 0 && log.inside.values().any(|count| *count > 0) {
            log.violate("the gate was not told of an end".into());
        }
        let opened: u64 = log.opened.values().map(|count| u64::from(*count)).sum();
        if stats.open() == 0 && (log.opened.len() != log.closed.len() || opened > stats.greetings) {
            let (opens, closes) = (log.opened.len(), log.closed.len());
            log.violate(format!("{opens} were opened, {closes} closed"));
        }
        if stats.open() == 0 && stats.greetings != opened + stats.greetings_failed {
            log.violate(format!("{opened} of the greetings came to their end: {stats}"));
        }
        if self.drains_after.is_some() || self.memory_is_short {
            return;
        }
        for (index, client) in self.clients.iter().enumerate() {
            if let Some(what) = self.judge_client(client, index, &log) {
                log.violate(format!("client {index}, {:?}: {what}; {stats}", client.kind));
            }
        }
        let resets =
            self.clients.iter().filter(|it| matches!(it.kind, Kind::Resets(_))).count() as u64;
        for (reason, count) in self.reasons() {
            // One that resets may have failed before that was noticed.
            let most = count + if reason == CloseReason::HandshakeFailed { resets } else { 0 };
            let closed = stats.closed(reason);
            if closed < count || closed > most {
                log.violate(format!("{closed} ended for the reason {reason}, and not {count}"));
            }
        }
    }

    fn judge_client(&self, client: &Client, index: usize, log: &Log) -> Option<String> {
        let who = introduced(index);
        let opened = log.opened.get(&who).copied().unwrap_or(0);
        let greets = matches!(client.kind, Kind::Good | Kind::Truncates);
        if self.has_preface && opened != u32::from(greets) {
            return Some(format!("it was opened {opened} times"));
        }
        // What filled a socket on purpose means nothing.
        let unstuffed: Vec<u8> =
            client.heard.iter().copied().filter(|byte| *byte != STUFFING).collect();
        let heard = String::from_utf8_lossy(&unstuffed);
        match client.kind {
            Kind::Good if client.saw != Saw::End => Some(format!("it saw {:?}", client.saw)),
            Kind::Good => (unstuffed != self.answer(client)).then(|| format!("it heard {heard:?}")),
            Kind::Garbage(_) if client.saw != Saw::End => {
                Some(format!("it saw {:?}, having heard {heard:?}", client.saw))
            }
            Kind::Garbage(cut) if self.has_layer && cut >= self.preface_len(index) => {
                (!unstuffed.ends_with(ALERT)).then(|| format!("it heard {heard:?}"))
            }
            _ => None,
        }
    }

    /// What a client is told that does all as it should.
    fn answer(&self, client: &Client) -> Vec<u8> {
        let from = self.preface_len(self.index_of(client));
        let payload = &client.words[from..];
        if !self.has_layer {
            return payload.to_vec();
        }
        let sealed = &payload[BEGINNING.len()..payload.len() - 1];
        [WELCOME, sealed, BYE].concat()
    }

    fn index_of(&self, client: &Client) -> usize {
        self.clients.iter().position(|it| std::ptr::eq(it, client)).unwrap_or(0)
    }

    fn preface_len(&self, index: usize) -> usize {
        if self.has_preface { preface(index).len() } else { 0 }
    }

    /// How many end for the reasons of greetings.
    fn reasons(&self) -> Vec<(CloseReason, u64)> {
        let mut counts = HashMap::new();
        let (timeout, bad) = (CloseReason::HandshakeTimeout, CloseReason::BadProxyHeader);
        let (failed, unwanted) = (CloseReason::HandshakeFailed, CloseReason::AddressLimit);
        for reason in [timeout, bad, failed, unwanted] {
            counts.insert(reason, 0);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let len = self.preface_len(index);
            let reason = match client.kind {
                Kind::Silent(_) => timeout,
                Kind::Garbage(cut) if cut < len => bad,
                Kind::EndsEarly(cut) if (1..len).contains(&cut) => bad,
                Kind::EndsEarly(0) if len > 0 => continue,
                Kind::Garbage(_) | Kind::EndsEarly(_) => failed,
                Kind::Unwanted => unwanted,
                Kind::Good | Kind::Resets(_) | Kind::Truncates => continue,
            };
            counts.entry(reason).and_modify(|count| *count += 1);
        }
        counts.into_iter().collect()
    }
}

impl std::fmt::Display for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (preface, layer) = (self.has_preface, self.has_layer);
        writeln!(f, "  preface {preface}, layer {layer}, {:?}", self.habits)?;
        writeln!(f, "  drains after {:?}, {:?}", self.drains_after, self.config)?;
        for (index, client) in self.clients.iter().enumerate() {
            let (kind, saw, said) = (client.kind, client.saw, client.said);
            writeln!(f, "  client {index}: {kind:?}, has said {said}, has seen {saw:?}")?;
        }
        Ok(())
    }
}

impl Client {
    fn read(&mut self, kernel: &mut Kernel) {
        let mut bytes = [0; 512];
        match kernel.receive(self.socket, &mut [&mut bytes[..]]) {
            Ok(0) => self.saw = Saw::End,
            Ok(n) => self.heard.extend_from_slice(&bytes[..n]),
            Err(libc::EAGAIN) => {}
            Err(_) => self.saw = Saw::Failure,
        }
        if self.saw != Saw::Nothing {
            kernel.release(self.socket);
        }
    }

    fn speak(&mut self, kernel: &mut Kernel) -> bool {
        let is_welcome = self.heard.starts_with(WELCOME);
        let until = if is_welcome { self.words.len() } else { self.waits_at };
        if self.said < until {
            let len = self.piece.min(until - self.said);
            let words = &self.words[self.said..self.said + len];
            match kernel.send(self.socket, &[words], usize::MAX, false) {
                Ok(n) => self.said += n,
                Err(libc::EAGAIN) => return false,
                // What it was told before is still to be read.
                Err(_) => self.said = self.words.len(),
            }
            return true;
        }
        if self.said < self.words.len() || std::mem::replace(&mut self.has_ended, true) {
            return false;
        }
        if matches!(self.kind, Kind::Resets(_)) {
            kernel.sockets[self.socket as usize].linger_zero = true;
            kernel.release(self.socket);
            self.saw = Saw::Left;
        } else if self.ends_stream {
            let _ = kernel.shutdown(self.socket, libc::SHUT_WR);
        }
        true
    }

    fn draw(random: &mut Random, index: usize, has_preface: bool, has_layer: bool) -> Client {
        let mut words = if has_preface { preface(index) } else { Vec::new() };
        let len = words.len();
        if has_layer {
            words.extend_from_slice(BEGINNING);
        }
        let cut = random.below(words.len());
        let kind = match random.below(12) {
            0 => Kind::Silent(cut),
            1 | 2 => Kind::Garbage(cut),
            3 => Kind::EndsEarly(cut),
            4 => Kind::Resets(cut),
            5 if has_layer => Kind::Truncates,
            6 if has_preface => Kind::Unwanted,
            _ => Kind::Good,
        };
        let mut waits_at = usize::MAX;
        match kind {
            Kind::Good | Kind::Truncates => {
                if has_layer && random.chance(400) {
                    waits_at = len + HELLO.len();
                }
                let payload: Vec<u8> = (0..random.below(PAYLOAD_MAX))
                    .map(|at| b'a' + ((at + index) % 26) as u8)
                    .collect();
                words.extend(if has_layer { seal(&payload) } else { payload });
                if has_layer && kind == Kind::Good {
                    words.push(END);
                }
            }
            Kind::Unwanted => words.splice(..len, unwanted().bytes()).for_each(drop),
            Kind::Garbage(_) => {
                words.truncate(cut);
                // No byte of it is what comes next.
                words.extend(vec![b'?'; random.between(100, 2000)]);
            }
            Kind::Silent(_) | Kind::EndsEarly(_) | Kind::Resets(_) => words.truncate(cut),
        }
        let waits_at = waits_at.min(words.len());
        let ends_stream = match kind {
            Kind::Good => !has_layer || random.chance(500),
            Kind::EndsEarly(_) | Kind::Truncates => true,
            _ => false,
        };
        Client {
            kind,
            socket: NONE,
            words,
            said: 0,
            piece: random.pick(&[1, 3, 50, 2000, 2000]),
            reads: random.pick(&[1000, 1000, 300]),
            waits_at,
            ends_stream,
            has_ended: false,
            heard: Vec::new(),
            saw: Saw::Nothing,
        }
    }
}

/// How a client is known where a balancer introduces it.
fn introduced(index: usize) -> String {
    format!("192.0.2.1:{}", 1000 + index)
}

fn preface(index: usize) -> Vec<u8> {
    format!("via {}\n", introduced(index)).into_bytes()
}

/// Nobody is let in from there.
fn unwanted() -> String {
    "via 198.51.100.1:1\n".into()
}

fn on_open(log: &mut Shared, cx: &mut Context<'_>, token: Token) -> String {
    let who = cx.peer_address(token).map_or(String::new(), |peer| peer.to_string());
    let layer = cx.introduction(token).server_name.and_then(|name| name.parse::<usize>().ok());
    let mut log = log.borrow_mut();
    if layer.is_some_and(|layer| log.layers[layer] != Progress::Done) {
        log.violate(format!("{who} was opened, and its greeting is not done"));
    }
    if who.starts_with("192.0.2.") != cx.via(token).is_some() {
        log.violate(format!("{who} came by {:?}", cx.via(token)));
    }
    let opened = log.opened.entry(who.clone()).or_default();
    *opened += 1;
    if *opened > 1 {
        log.violate(format!("{who} was opened twice"));
    }
    who
}

impl Log {
    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn close(&mut self, who: String, reason: CloseReason) {
        if !self.opened.contains_key(&who) {
            self.violate(format!("{who} was closed, and was not open"));
        }
        if self.closed.insert(who.clone(), reason).is_some() {
            self.violate(format!("{who} was closed twice"));
        }
    }
}

/// Counts those inside, by address.
struct Doorkeeper(Shared, bool);

impl Gate for Doorkeeper {
    fn admit(&mut self, peer: &Address, _: Instant) -> Result<(), CloseReason> {
        let mut log = self.0.borrow_mut();
        let who = peer.to_string();
        if self.1 && !who.starts_with("192.0.2.") && !who.starts_with("198.51.100.") {
            log.violate(format!("the gate was asked about the balancer {who}"));
        }
        if who.starts_with("198.51.100.") {
            return Err(CloseReason::AddressLimit);
        }
        *log.inside.entry(who).or_default() += 1;
        Ok(())
    }

    fn release(&mut self, peer: &Address, _: Instant) {
        let mut log = self.0.borrow_mut();
        let inside = log.inside.entry(peer.to_string()).or_default();
        match inside.checked_sub(1) {
            Some(left) => *inside = left,
            None => log.violate(format!("the gate was told of {peer}, which is not inside")),
        }
    }
}

/// Everybody is a balancer.
#[derive(Debug)]
struct EveryBalancer(Via);

impl edgeloop::Preface for EveryBalancer {
    fn is_expected(&self, from: &Address) -> bool {
        matches!(from, Address::Tcp(SocketAddr::V4(_)))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<edgeloop::Introduced>, edgeloop::BadPreface> {
        self.0.parse(bytes)
    }

    fn longest(&self) -> usize {
        self.0.longest()
    }
}

/// A layer under observation.
struct Watched {
    inner: Sealed,
    index: usize,
    log: Shared,
}

impl Watched {
    fn new(socket: TcpStream, habits: Habits, log: &Shared) -> Self {
        let layers = &mut log.borrow_mut().layers;
        layers.push(Progress::Greets);
        Watched { inner: Sealed::new(socket, habits), index: layers.len() - 1, log: log.clone() }
    }

    fn expect_done(&self, what: &str) {
        let mut log = self.log.borrow_mut();
        let progress = log.layers[self.index];
        if progress != Progress::Done {
            log.violate(format!("layer {} was {what}, and its greeting {progress:?}", self.index));
        }
    }

    fn note<T>(&self, outcome: &io::Result<T>) {
        if outcome.as_ref().is_err_and(|error| edgeloop::LayerError::reason_of(error).is_some()) {
            self.log.borrow_mut().layers[self.index] = Progress::Failed;
        }
    }
}

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.expect_done("read");
        let outcome = self.inner.read(into);
        self.note(&outcome);
        outcome
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.expect_done("written to");
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Layer for Watched {
    fn socket(&mut self) -> LayerSocket<'_> {
        self.inner.socket()
    }

    fn greet(&mut self) -> io::Result<bool> {
        let outcome = self.inner.greet();
        self.note(&outcome);
        let mut log = self.log.borrow_mut();
        // A call that a signal interrupted is repeated.
        let is_repeated =
            outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted);
        log.greets_in_turn += usize::from(!is_repeated);
        if log.layers[self.index] == Progress::Done {
            log.violate(format!("layer {} is asked to greet again", self.index));
        }
        if matches!(outcome, Ok(true)) {
            log.layers[self.index] = Progress::Done;
        }
        outcome
    }

    fn held(&self) -> usize {
        self.inner.held()
    }

    fn introduction(&self) -> Introduction {
        Introduction { server_name: Some(self.index.to_string()), ..self.inner.introduction() }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.inner.shutdown_write()
    }
}
