//! The kinds of work, each at its sizes: those of a full campaign and those of a quick one.

use std::time::Duration;

use crate::catalogue::Service;
use crate::hall;

/// One table of the page.
#[derive(Debug)]
pub struct Workload {
    pub name: String,
    pub title: String,
    /// What is counted: one, and many.
    pub unit: [&'static str; 2],
    pub service: Service,
    pub work: Work,
    pub pace: Pace,
    /// Descriptors that one process needs for it.
    pub descriptors: usize,
}

#[derive(Clone, Debug)]
pub enum Work {
    /// `edgeloop load` with these arguments.
    Load(Vec<String>),
    /// The same, with messages due at half the rate that the floor can do.
    OpenLoop(Vec<String>),
    /// `edgeloop load` for a path by HTTP.
    Http(Vec<String>),
    /// Publishers and subscribers.
    Broadcast(hall::Load),
    /// Memory and CPU time of so many connections that do nothing.
    Idle(usize),
    /// So many connects at once.
    Storm(usize),
}

/// How long a peer is measured at one kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub warm_up: Duration,
    pub time: Duration,
    /// Pairs are added until this is used up.
    pub budget: Duration,
    /// Of work that is not in pairs, so many runs.
    pub pairs_min: usize,
    pub pairs_max: usize,
    /// What comes on top of the budget, since the last pair begins within it: for the estimate.
    pub beyond: Duration,
}

/// All that is measured, in the order of the page.
pub fn all(is_quick: bool) -> Vec<Workload> {
    let mut list = Vec::new();
    let pace = if is_quick { QUICK } else { FULL };
    for connections in if is_quick { [1, 4, 8, 16, 32] } else { [1, 50, 1000, 10_000, 19_000] } {
        let title = format!("Ping-pong, 64 bytes, {}", counted(connections, "connection"));
        let mut words = words(&format!("-c {connections} --size 64"));
        let mut pace = pace;
        if connections > CONNECTIONS_PER_SOURCE {
            words.extend(["--source".to_owned(), SOURCES.to_owned()]);
            // So many connections take longer to make than they are measured.
            pace.beyond = Duration::from_secs(8);
        }
        list.push(echo(format!("echo-{connections}"), title, Work::Load(words), connections, pace));
    }
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
        name: "http".into(),
        title: format!("HTTP: GET /plaintext, {few} connections"),
        unit: ["request", "requests"],
        service: Service::Web,
        work: Work::Http(words(&format!("--mode http -c {few}"))),
        pace,
        descriptors: few,
    });
    list
}

fn echo(name: String, title: String, work: Work, connections: usize, pace: Pace) -> Workload {
    let (service, descriptors) = (Service::Echo, connections);
    let unit = ["message", "messages"];
    Workload { name, title, unit, service, work, pace, descriptors }
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
    echo("idle".into(), title, Work::Idle(connections), connections, pace)
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
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A source address has 28,232 ports by default, and looking for a free one slows down early.
const CONNECTIONS_PER_SOURCE: usize = 5000;
const SOURCES: &str = "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5";

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
