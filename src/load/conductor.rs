//! The run as a whole: starts the threads, tells them what comes next, reads the clocks of the
//! machine at both ends of each measurement, and puts the report together.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::note::{Command, ConnectCounts, Note};
use super::page::Page;
use super::plan::{Mode, Plan};
use super::probe::{self, Counters, Usage};
use super::protocol::Protocol;
use super::report::{Asked, Client, Connects, Kernel, Latency, Little, Report, Server, Step};
use super::route::Route;
use super::run::end_patience;
use super::server_process;
use super::share::{self, Share};
use super::window::{SECOND, Window};
use super::worker::{Board, Worker, hire};
use crate::reactor::Address;

/// Ends a run early; what was measured until then is reported.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to end. May be called from any thread.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How far a run is, some ten times a second.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// The step, counted from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Connections of this step.
    pub connections: usize,
    /// Answers since the run began.
    pub answered: u64,
    /// Faults since the run began.
    pub errors: u64,
    /// Since the phase began.
    pub elapsed: Duration,
    /// How long it will last, where that is known.
    pub lasts: Option<Duration>,
}

/// The phases of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are made, and each has one message answered.
    Connecting,
    /// There is traffic, which does not count yet.
    WarmUp,
    /// Traffic counts.
    Measuring,
    /// What is in flight is awaited.
    Finishing,
}

/// Carries out a plan, and calls `observe` some ten times a second meanwhile.
///
/// ```
/// use std::time::Duration;
/// use edgeloop::load::{Mode, Plan, Stop, run};
/// # use edgeloop::{Config, Reactor, service::Echo};
/// # let (sender, receiver) = std::sync::mpsc::channel();
/// # let server = std::thread::spawn(move || -> std::io::Result<_> {
/// #     let mut server = Reactor::new(Config::default(), Echo::new())?;
/// #     let any = "127.0.0.1:0".parse().expect("an address");
/// #     let _ = sender.send((server.listen(&any, &Default::default())?, server.remote()));
/// #     server.run()
/// # });
/// # let (address, remote) = receiver.recv().expect("the server listens");
///
/// let mut plan = Plan::new(address, Mode::Echo);
/// plan.messages = Some(1000);
/// let report = run(&plan, &Stop::default(), |_| ())?;
/// assert_eq!(report.steps[0].messages, 1000);
/// assert!(report.errors().is_none());
/// # let _ = remote.run(|cx| cx.drain());
/// # let _ = server.join();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` when the plan makes no sense; what the system says when it has no threads or
/// descriptors to give; and when no connection at all gets a first answer, why.
pub fn run(plan: &Plan, stop: &Stop, observe: impl FnMut(&Progress)) -> io::Result<Report> {
    plan.check()?;
    for source in &plan.sources {
        check_source(*source)?;
    }
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut report = Report::new(plan, started.as_secs());
    let mut conductor = Conductor::start(plan, stop, observe)?;
    let steps = plan.steps();
    let outcome = conductor.perform(&steps, &mut report);
    conductor.leave();
    outcome.map(|()| report)
}

/// An address that is not this machine's is a mistake, and no lack of ports.
fn check_source(source: IpAddr) -> io::Result<()> {
    let bound = TcpListener::bind((source, 0));
    bound.map(drop).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot connect from {source}: {error}"))
    })
}

struct Conductor<'a, O> {
    plan: &'a Plan,
    stop: &'a Stop,
    observe: O,
    route: Route,
    /// The server at each address of the route, as it was before the first connection.
    candidates: Vec<Candidate>,
    ksoftirqd: Vec<Option<PathBuf>>,
    epoch: Instant,
    workers: Vec<Worker>,
    notes: Receiver<Note>,
    /// What the observer is told next.
    progress: Progress,
    phase_began: Instant,
    /// The answers when their number last changed, and when that was.
    moved: (u64, Instant),
    page: Page,
}

/// The processes that listen at an address, and their memory.
struct Candidate {
    pids: Vec<u32>,
    rss_before: u64,
}

impl Candidate {
    fn at(address: &Address, plan: &Plan) -> Candidate {
        let pids = match plan.server_pids.is_empty() {
            true => server_process::find(address),
            false => plan.server_pids.clone(),
        };
        let rss_before = probe::resident(&pids).unwrap_or(0);
        Candidate { pids, rss_before }
    }
}

/// The clocks of the machine at one moment.
struct Reading {
    at: u64,
    client: Usage,
    workers: Usage,
    server: Usage,
    ksoftirqd_ns: Vec<u64>,
}

impl<'a, O: FnMut(&Progress)> Conductor<'a, O> {
    fn start(plan: &'a Plan, stop: &'a Stop, observe: O) -> io::Result<Self> {
        let (sender, notes) = channel();
        let route = Route::new(plan);
        let epoch = Instant::now();
        let mut workers = Vec::new();
        for thread in 0..plan.threads {
            let notes = sender.clone();
            let (threads, route) = (plan.threads, route.clone());
            workers.push(hire(plan, Share { thread, threads, epoch, route, notes })?);
        }
        let progress = Progress {
            phase: Phase::Connecting,
            step: 0,
            steps: plan.steps().len(),
            connections: 0,
            answered: 0,
            errors: 0,
            elapsed: Duration::ZERO,
            lasts: None,
        };
        let (page, phase_began) = (Page::new()?, epoch);
        Ok(Conductor {
            plan,
            stop,
            observe,
            candidates: plan.addresses().map(|address| Candidate::at(address, plan)).collect(),
            route,
            ksoftirqd: probe::ksoftirqd_tasks(),
            epoch,
            workers,
            notes,
            progress,
            phase_began,
            moved: (0, epoch),
            page,
        })
    }

    fn perform(&mut self, steps: &[usize], report: &mut Report) -> io::Result<()> {
        for connections in steps {
            self.page = Page::new()?;
            self.progress.step += 1;
            self.progress.connections = *connections;
            let kernel = Counters::now();
            let seconds = self.gather(*connections)?;
            let address = self.route.address();
            report.plan.target = address.to_string();
            report.plan.sources =
                self.plan.sources_towards(address).iter().map(ToString::to_string).collect();
            let is_over = self.stop.is_asked();
            if self.page.connections == 0 && !is_over && report.steps.is_empty() {
                return Err(self.nobody(*connections));
            }
            let (window, readings) = if is_over { self.nothing() } else { self.measure()? };
            let kernel = Counters::now().zip(kernel).map(|(after, before)| after - before);
            let step = self.conclude(window, &readings, kernel, seconds);
            report.steps.push(step);
            report.interrupted = self.stop.is_asked();
            if report.interrupted {
                break;
            }
        }
        Ok(())
    }

    /// Makes the connections of a step; returns how many seconds that took.
    fn gather(&mut self, connections: usize) -> io::Result<f64> {
        self.enter(Phase::Connecting, None);
        for thread in 0..self.workers.len() {
            let connections = share::part_of(connections as u64, thread, self.plan.threads);
            let connections = connections as usize;
            self.workers[thread].command(Command::Gather { connections });
            // The first thread finds the address.
            while self.route.is_open() && self.page.heard == 0 && !self.stop.is_asked() {
                self.listen(OBSERVE_NS)?;
            }
        }
        self.wait(u64::MAX, true)?;
        Ok(self.phase_began.elapsed().as_secs_f64())
    }

    /// Traffic, from the warm-up to the last answer.
    fn measure(&mut self) -> io::Result<(Window, [Reading; 2])> {
        let start = self.now();
        let nanos = |span: Duration| span.as_nanos() as u64;
        let warmup = if self.plan.messages.is_some() { 0 } else { nanos(self.plan.warmup) };
        let from = start + warmup;
        let until = self.plan.duration.map_or(u64::MAX, |span| from + nanos(span));
        let window = Window { start, from, until };
        self.page.heard = 0;
        self.page.connects = ConnectCounts::new()?;
        for (thread, worker) in self.workers.iter().enumerate() {
            let part = |all| share::part_of(all, thread, self.plan.threads);
            worker.command(Command::Start { window, messages: self.plan.messages.map(part) });
        }
        self.enter(Phase::WarmUp, Some(Duration::from_nanos(warmup)));
        self.wait(from, false)?;
        let before = self.read();
        self.enter(Phase::Measuring, self.plan.duration);
        self.wait(until, true)?;
        let after = self.read();
        let is_early = after.at < until;
        if is_early && self.page.heard < self.workers.len() {
            self.workers.iter().for_each(|worker| worker.command(Command::Stop));
        }
        self.enter(Phase::Finishing, None);
        self.finish()?;
        let until = match is_early {
            // It ended with its last message, or when somebody ended it.
            true if self.plan.messages.is_some() && !self.stop.is_asked() => self.page.last,
            // A thread that had ended before knows of no end.
            true if self.page.until > self.now() => after.at,
            true => self.page.until,
            false => until,
        };
        Ok((Window { until, ..window }, [before, after]))
    }

    fn nothing(&mut self) -> (Window, [Reading; 2]) {
        let reading = || Reading {
            at: 0,
            client: Usage::default(),
            workers: Usage::default(),
            server: Usage::default(),
            ksoftirqd_ns: Vec::new(),
        };
        (Window::NONE, [reading(), reading()])
    }

    /// Why there is nothing to measure.
    fn nobody(&self, connections: usize) -> io::Error {
        let addresses: Vec<String> = self.plan.addresses().map(Address::to_string).collect();
        let tried = &addresses[..=self.route.place()];
        let (target, faults) = (tried.join(", "), &self.page.incidents.before);
        let text = match self.page.connects.established {
            0 => format!("none of {connections} connections to {target} was established"),
            _ => format!("none of {connections} connections to {target} got a right first answer"),
        };
        let hint = self.page.speaks.map_or("", Protocol::hint);
        let why = self.page.distrust.as_ref().map_or(String::new(), |why| format!("; {why}"));
        io::Error::other(format!("{text}: {faults}{why}{hint}"))
    }

    // ---- waiting ----

    /// Takes notes until `until`, until every thread has said what is awaited of it (if that ends
    /// the wait), or until the run is to stop.
    fn wait(&mut self, until: u64, for_all: bool) -> io::Result<()> {
        while !(self.stop.is_asked() || (for_all && self.page.heard == self.workers.len())) {
            let left = until.saturating_sub(self.now());
            if left == 0 || (until == u64::MAX && self.is_stuck()) {
                break;
            }
            self.listen(left)?;
        }
        Ok(())
    }

    /// Whether a run that only messages end has not got an answer for longer than any timeout.
    fn is_stuck(&mut self) -> bool {
        if self.moved.0 != self.progress.answered {
            self.moved = (self.progress.answered, Instant::now());
        }
        let patience = self.plan.reply_timeout + self.plan.connect_timeout + OBSERVE;
        self.progress.phase == Phase::Measuring && self.moved.1.elapsed() > patience
    }

    /// Waits for the last answers; the threads give up by themselves.
    fn finish(&mut self) -> io::Result<()> {
        let limit = self.now() + end_patience(self.plan) + FINISH_PATIENCE;
        while self.page.heard < self.workers.len() {
            let left = limit.saturating_sub(self.now());
            if left == 0 {
                return Err(io::Error::other("a thread of the load does not answer"));
            }
            self.listen(left)?;
        }
        Ok(())
    }

    fn listen(&mut self, left: u64) -> io::Result<()> {
        let patience = Duration::from_nanos(left).min(OBSERVE);
        match self.notes.recv_timeout(patience) {
            Ok(Note::Failed(error)) => return Err(error),
            Ok(note) => self.page.take(note),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the threads of the load are gone"));
            }
        }
        self.observe();
        Ok(())
    }

    fn enter(&mut self, phase: Phase, lasts: Option<Duration>) {
        self.phase_began = Instant::now();
        self.moved.1 = self.phase_began;
        (self.progress.phase, self.progress.lasts) = (phase, lasts);
        self.observe();
    }

    fn observe(&mut self) {
        let sum = |of: fn(&Board) -> u64| self.workers.iter().map(|it| of(&it.board)).sum();
        self.progress.answered = sum(|board| board.answered.load(Ordering::Relaxed));
        self.progress.errors = sum(|board| board.faults.load(Ordering::Relaxed));
        self.progress.elapsed = self.phase_began.elapsed();
        (self.observe)(&self.progress);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn read(&self) -> Reading {
        let tasks: Vec<PathBuf> = self.workers.iter().flat_map(|it| it.task.clone()).collect();
        Reading {
            at: self.now(),
            client: Usage::of(&[std::process::id()]),
            workers: Usage::of_tasks(&tasks),
            server: Usage::of(&server_process::with_children(&self.candidate().pids)),
            ksoftirqd_ns: probe::cpu_ns_each(&self.ksoftirqd),
        }
    }

    /// The server at the address that is measured.
    fn candidate(&self) -> &Candidate {
        &self.candidates[self.route.place()]
    }

    /// Closes all connections and waits for the threads.
    fn leave(&mut self) {
        self.workers.iter().for_each(|worker| worker.command(Command::Leave));
        for worker in self.workers.drain(..) {
            // Its failure has been told in a note.
            let _ = worker.handle.join();
        }
    }

    // ---- the report ----

    fn conclude(
        &mut self,
        window: Window,
        readings: &[Reading; 2],
        kernel: Option<Counters>,
        connect_seconds: f64,
    ) -> Step {
        self.page.close_seconds(u64::MAX);
        let page = &self.page;
        let span_ns = window.until.saturating_sub(window.from);
        let seconds = span_ns as f64 / SECOND as f64;
        let rate = if seconds > 0.0 { page.messages as f64 / seconds } else { 0.0 };
        let latency = Latency::of(&page.latency);
        let client = self.client(readings);
        let server = self.server(readings);
        let ksoftirqd_ns = readings[1].ksoftirqd_ns.iter().zip(&readings[0].ksoftirqd_ns);
        let ksoftirqd_s =
            ksoftirqd_ns.map(|(after, before)| after.saturating_sub(*before) as f64 / 1e9);
        let due = Asked::from(self.plan).due_rate(seconds);
        let is_short = due.is_none_or(|due| rate < due * 0.99);
        let client_bound = server.as_ref().map(|server| {
            is_short && client.utilisation >= SATURATED && server.utilisation < SATURATED
        });
        Step {
            connections: page.connections,
            seconds,
            messages: page.messages,
            rate,
            unsent: page.unsent,
            unanswered: page.unanswered,
            bytes: page.bytes,
            bytes_rate: if seconds > 0.0 { page.bytes as f64 / seconds } else { 0.0 },
            lateness: (!page.lateness.is_empty()).then(|| Latency::of(&page.lateness)),
            pulses: page.pulses.as_ref().map(|pulses| pulses.figures(window, &page.latency)),
            errors: page.incidents.within.clone(),
            errors_before: page.incidents.before.clone(),
            errors_after: page.incidents.after.clone(),
            server_speaks: page.speaks.map(|protocol| protocol.name().to_owned()),
            wrong_answers: page.incidents.refusals.clone(),
            closes: page.incidents.closes,
            pauses: page.incidents.pauses,
            connects: Connects {
                attempted: page.connects.attempted,
                established: page.connects.established,
                slow: page.connects.slow,
                latency: Latency::of(&page.connects.took),
                seconds: connect_seconds,
            },
            client,
            server,
            kernel: kernel.map(Kernel::from),
            ksoftirqd_s: ksoftirqd_s.collect(),
            client_bound,
            little: self.little(seconds, rate, &latency),
            series: page.series(span_ns),
            latency,
        }
    }

    fn client(&self, [before, after]: &[Reading; 2]) -> Client {
        let used = after.client.since(&before.client);
        let workers = after.workers.since(&before.workers);
        let span = (after.at - before.at).max(1) as f64;
        Client {
            cpu_s: used.cpu_ns as f64 / 1e9,
            cpu_us_per_message: per(used.cpu_ns as f64 / 1e3, self.page.messages),
            utilisation: workers.cpu_ns as f64 / (span * self.plan.threads as f64),
            waited: workers.waited_ns as f64 / span,
            waited_longest: workers.longest_ns as f64 / span,
        }
    }

    fn server(&self, [before, after]: &[Reading; 2]) -> Option<Server> {
        if !after.server.is_known() {
            return None;
        }
        let used = after.server.since(&before.server);
        let time = (after.at - before.at).max(1) as f64;
        let Candidate { pids, rss_before } = self.candidate();
        let rss = probe::resident(&server_process::with_children(pids)).unwrap_or(0);
        let name = std::fs::read_to_string(format!("/proc/{}/comm", pids[0]));
        Some(Server {
            pids: pids.clone(),
            name: name.unwrap_or_default().trim().to_owned(),
            cpu_s: used.cpu_ns as f64 / 1e9,
            cpu_us_per_message: per(used.cpu_ns as f64 / 1e3, self.page.messages),
            utilisation: used.busiest_ns as f64 / time,
            waited: used.waited_ns as f64 / time,
            waited_longest: used.longest_ns as f64 / time,
            rss_before_bytes: *rss_before,
            rss_bytes: rss,
            rss_per_connection_bytes: per(
                rss as f64 - *rss_before as f64,
                self.page.connections as u64,
            ),
            voluntary_switches: used.voluntary,
            involuntary_switches: used.involuntary,
        })
    }

    fn little(&self, seconds: f64, rate: f64, latency: &Latency) -> Option<Little> {
        let is_apt = match self.plan.mode {
            // One message has many deliveries; and a churning client waits for the close as well.
            Mode::Broadcast { .. } | Mode::Churn | Mode::Idle => false,
            // A connection that is lost comes back after a pause, in which it has nothing in flight.
            _ => {
                let is_calm = self.page.incidents.is_calm() && self.page.unanswered == 0;
                self.plan.rate.is_none() && latency.count > 0 && is_calm
            }
        };
        // At both ends of the time some messages count only partly.
        let is_long_enough = latency.mean_us * 1e-6 * LITTLE_ROUNDS <= seconds;
        let in_flight = self.plan.in_flight(self.page.connections) as f64;
        let product = rate * latency.mean_us / 1e6;
        let holds = (product - in_flight).abs() <= in_flight * LITTLE_TOLERANCE;
        (is_apt && is_long_enough).then_some(Little { in_flight, product, holds })
    }
}

impl From<Counters> for Kernel {
    fn from(counters: Counters) -> Kernel {
        Kernel {
            listen_overflows: counters.listen_overflows,
            listen_drops: counters.listen_drops,
            tcp_timeouts: counters.tcp_timeouts,
            retransmits: counters.retransmits,
        }
    }
}

fn per(amount: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount / count as f64 }
}

const OBSERVE: Duration = Duration::from_millis(100);
const OBSERVE_NS: u64 = OBSERVE.as_nanos() as u64;
/// After the threads should have given up by themselves.
const FINISH_PATIENCE: u64 = 5_000_000_000;
/// Of a CPU.
const SATURATED: f64 = 0.95;
const LITTLE_TOLERANCE: f64 = 0.05;
/// Mean latencies that a run must last for the law to be held against it.
const LITTLE_ROUNDS: f64 = 50.0;
