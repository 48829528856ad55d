//! The kinds of work, each at its sizes: those of a full campaign and those of a quick one.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::catalogue::Service;
use crate::hall;

/// One table of the page.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) title: String,
    /// What is counted: one, and many.
    pub(crate) unit: [&'static str; 2],
    pub(crate) service: Service,
    pub(crate) work: Work,
    pub(crate) pace: Pace,
    /// Descriptors that one process needs for it.
    pub(crate) descriptors: usize,
    /// Bytes in flight on a connection, where a server may have to keep them.
    pub(crate) in_flight: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// `edgeloop load` with these arguments.
    Load(Vec<String>),
    /// The same, with messages due at half the rate that the floor can do.
    OpenLoop(Vec<String>),
    /// `edgeloop load` for a path by HTTP.
    Http(Vec<String>),
    /// Publishers and subscribers.
    Broadcast(hall::Load),
    /// Memory and CPU time of so many connections that do nothing, before and after a burst of
    /// messages of this size.
    Idle(usize, usize),
    /// So many connects at once.
    Storm(usize),
}

impl Work {
    /// What `edgeloop load` is asked to do with a server, where the work is its.
    pub(crate) fn load_words(&self, server: SocketAddrV4) -> Option<Vec<String>> {
        let (target, words) = match self {
            Work::Load(words) | Work::OpenLoop(words) => (server.to_string(), words),
            Work::Http(words) => (format!("http://{server}/plaintext"), words),
            Work::Broadcast(_) | Work::Idle(..) | Work::Storm(_) => return None,
        };
        Some([&[target], &words[..]].concat())
    }
}

/// How long a peer is measured at one kind of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    /// Pairs are added until this is used up.
    pub(crate) budget: Duration,
    /// Of work that is not in pairs, so many runs.
    pub(crate) pairs_min: usize,
    pub(crate) pairs_max: usize,
    /// What comes on top of the budget, since the last pair begins within it: for the estimate.
    pub(crate) beyond: Duration,
}

/// All that is measured, in the order of the page.
pub(crate) fn all(is_quick: bool) -> Vec<Workload> {
    let mut list = Vec::new();
    let pace = if is_quick { QUICK } else { FULL };
    list.extend(ping_pongs(is_quick, pace));
    let few = if is_quick { 4 } else { 50 };
    list.push(echo(
        "pipeline-16".into(),
        format!("Pipelined: 16 × 64 bytes in flight on each of {few} connections"),
        Work::Load(words(&format!("-c {few} --size 64 --pipeline 16"))),
        few,
        pace,
    ));
    list.push(echo(
        "stream-16k".into(),
        format!("Streaming: messages of 16 KiB, 4 in flight on each of {few} connections"),
        Work::Load(words(&format!("--mode stream -c {few} --size 16384 --pipeline 4"))),
        few,
        pace,
    ));
    list.push(echo(
        "open-loop".into(),
        format!("Open loop: half the floor's rate, 64 bytes, {few} connections"),
        Work::OpenLoop(words(&format!("-c {few} --size 64"))),
        few,
        pace,
    ));
    list.push(Workload {
        unit: ["connection", "connections"],
        ..echo(
            "churn".into(),
            format!("Churn: connect, one echo of 64 bytes, close; {few} at a time"),
            Work::Load(words(&format!("--mode churn -c {few} --size 64"))),
            few,
            pace,
        )
    });
    list.extend([storm(is_quick), idle(is_quick)]);
    for subscribers in if is_quick { [8, 16, 24] } else { [100, 1000, 10_000] } {
        list.extend([0, 1].map(|percent| broadcast(subscribers, percent, is_quick)));
    }
    list.push(Workload {
        unit: REQUEST,
        service: Service::Web,
        ..echo(
            "http".into(),
            format!("HTTP: GET /plaintext, {few} connections"),
            Work::Http(words(&format!("--mode http -c {few}"))),
            few,
            pace,
        )
    });
    list.push(Workload {
        unit: REQUEST,
        service: Service::Kv,
        ..echo(
            "kv-get".into(),
            format!("Redis protocol: GET, 16 in flight on each of {few} connections"),
            Work::Load(words(&format!("--mode redis --command get -p 16 -c {few}"))),
            few,
            pace,
        )
    });
    list
}

fn ping_pongs(is_quick: bool, pace: Pace) -> [Workload; 5] {
    let counts = if is_quick { [1, 4, 8, 16, 32] } else { [1, 50, 1000, 10_000, 19_000] };
    counts.map(|connections| {
        let title = format!("Ping-pong, 64 bytes, {}", counted(connections, "connection"));
        let words = words(&format!("--size 64{}", of_connections(connections)));
        // Many connections take longer to make than they are measured.
        let is_large = connections > CONNECTIONS_PER_SOURCE;
        let beyond = if is_large { Duration::from_secs(8) } else { pace.beyond };
        let (name, pace) = (format!("echo-{connections}"), Pace { beyond, ..pace });
        echo(name, title, Work::Load(words), connections, pace)
    })
}

fn echo(name: String, title: String, work: Work, connections: usize, pace: Pace) -> Workload {
    let (service, descriptors) = (Service::Echo, connections);
    let unit = ["message", "messages"];
    Workload { name, title, unit, service, work, pace, descriptors, in_flight: 0 }
}

fn storm(is_quick: bool) -> Workload {
    let connections = if is_quick { 64 } else { 19_000 };
    let runs = if is_quick { 1 } else { 3 };
    let base = if is_quick { QUICK } else { Pace { budget: STORM_BUDGET, ..FULL } };
    let pace = Pace { pairs_min: runs, pairs_max: runs, ..base };
    let title = format!("Storm: {connections} connects at once");
    echo("storm".into(), title, Work::Storm(connections), connections, pace)
}

fn idle(is_quick: bool) -> Workload {
    let connections = if is_quick { 64 } else { 19_000 };
    let time = Duration::from_millis(if is_quick { 200 } else { 5000 });
    // Memory is no matter of chance, and needs no second run.
    let base = if is_quick { QUICK } else { Pace { budget: IDLE_BUDGET, ..FULL } };
    let pace = Pace { time, pairs_min: 1, pairs_max: 1, ..base };
    let title = format!("Idle: {connections} connections that have echoed once");
    echo("idle".into(), title, Work::Idle(connections, MESSAGE), connections, pace)
}

/// What is in flight is kept in proportion to what the servers can deliver in a second.
fn broadcast(subscribers: usize, percent: usize, is_quick: bool) -> Workload {
    let (publishers, window) =
        if is_quick { (4, 4) } else { (32, (8000 / subscribers).clamp(2, 16)) };
    let stopped = if percent == 0 { 0 } else { (subscribers * percent / 100).max(1) };
    let beside =
        if stopped == 0 { String::new() } else { format!(", {stopped} more that never read") };
    let load = hall::Load {
        publishers,
        subscribers,
        line: 100,
        window: window as u64,
        verify_every: 1,
        stopped,
    };
    Workload {
        name: format!("broadcast-{subscribers}{}", if stopped == 0 { "" } else { "-stopped" }),
        title: format!("Broadcast: {publishers} publishers, {subscribers} subscribers{beside}"),
        unit: ["delivery", "deliveries"],
        service: Service::Broadcast,
        work: Work::Broadcast(load),
        pace: if is_quick { QUICK } else { BROADCAST },
        descriptors: publishers + subscribers + stopped,
        in_flight: 0,
    }
}

/// The words for so many connections, from as many addresses as they need.
pub(crate) fn of_connections(count: usize) -> String {
    let sources = if count > CONNECTIONS_PER_SOURCE { SOURCES } else { "" };
    format!(" -c {count}{sources}")
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A source address has 28,232 ports by default, and looking for a free one slows down early.
const CONNECTIONS_PER_SOURCE: usize = 5000;
const SOURCES: &str = " --source 127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5";

const REQUEST: [&str; 2] = ["request", "requests"];
/// Bytes of a message, where its length is not what is asked about.
const MESSAGE: usize = 64;

impl Default for Pace {
    /// As many pairs as are asked for, however long they take.
    fn default() -> Self {
        Pace { budget: Duration::MAX, ..FULL }
    }
}

const FULL: Pace = Pace {
    warm_up: Duration::from_millis(300),
    time: Duration::from_secs(1),
    budget: Duration::from_secs(18),
    pairs_min: 3,
    pairs_max: 7,
    beyond: Duration::from_secs(2),
};
/// A window of messages to everybody takes a slow server a good part of a second.
const BROADCAST: Pace = Pace {
    warm_up: Duration::from_millis(500),
    time: Duration::from_millis(1500),
    budget: Duration::from_secs(22),
    pairs_min: 2,
    pairs_max: 5,
    beyond: Duration::from_secs(4),
};
const QUICK: Pace = Pace {
    warm_up: Duration::from_millis(20),
    time: Duration::from_millis(50),
    budget: Duration::from_millis(1),
    pairs_min: 1,
    pairs_max: 1,
    beyond: Duration::from_millis(500),
};
const STORM_BUDGET: Duration = Duration::from_secs(6);
const IDLE_BUDGET: Duration = Duration::from_secs(9);
