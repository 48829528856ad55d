//! One thread of the load: a reactor with its clients, told by the conductor what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::deliveries::Deliveries;
use super::echo::Echo;
use super::http::{self, Http};
use super::lines::Lines;
use super::note::{Command, Note};
use super::plan::{self, Mode, Plan};
use super::probe;
use super::redis::Redis;
use super::requests::Requests;
use super::run::{Crew, LINGER};
use super::share::Share;
use crate::reactor::{Config, OnPanic, Reactor, Remote};

/// Counts of the moment, since the thread began.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) answered: AtomicU64,
    pub(super) faults: AtomicU64,
}

/// The conductor's end of a thread.
pub(super) struct Worker {
    pub(super) commands: Sender<Command>,
    pub(super) remote: Remote,
    pub(super) board: Arc<Board>,
    /// The kernel's name of the thread, where its CPU time is counted.
    pub(super) task: Option<PathBuf>,
    pub(super) handle: thread::JoinHandle<()>,
}

impl Worker {
    /// Gives a command and wakes the thread, which sees it after its turn.
    pub(super) fn command(&self, command: Command) {
        // A thread that is gone has said so in a note.
        let _ = self.commands.send(command);
        let _ = self.remote.run(|_| ());
    }
}

/// Starts a thread with the clients that the mode asks for.
pub(super) fn hire(plan: &Plan, share: Share) -> io::Result<Worker> {
    match &plan.mode {
        Mode::Echo | Mode::Stream | Mode::Idle | Mode::Churn => {
            let echo = Echo::new(plan.size.max(1), plan.seed);
            employ(plan, share, move |plan, share| Requests::new(plan, share, echo))
        }
        Mode::Lines { prefix } => {
            let lines = Lines::new(prefix, plan.size, plan.seed);
            employ(plan, share, move |plan, share| Requests::new(plan, share, lines))
        }
        Mode::Redis(command) => {
            let redis = Redis::new(*command, plan.size, plan.seed);
            employ(plan, share, move |plan, share| Requests::new(plan, share, redis))
        }
        Mode::Http { host, path } => {
            let http = Http::new(host, path);
            employ(plan, share, move |plan, share| Requests::new(plan, share, http))
        }
        Mode::Broadcast { .. } => employ(plan, share, Deliveries::new),
    }
}

fn employ<C: Crew>(
    plan: &Plan,
    share: Share,
    crew: impl FnOnce(&Plan, Share) -> io::Result<C> + Send + 'static,
) -> io::Result<Worker> {
    let board = Arc::new(Board::default());
    let (commands, orders) = channel();
    let (introduce, introduction) = channel();
    let (plan, seen) = (plan.clone(), Arc::clone(&board));
    let body = move || {
        let notes = share.notes.clone();
        if let Err(error) = serve(&plan, share, crew, &introduce, &orders, &seen) {
            // Nobody listens only when the run has failed already.
            let _ = notes.send(Note::Failed(error));
        }
    };
    let handle = thread::Builder::new().name("load".into()).spawn(body)?;
    match introduction.recv() {
        Ok((remote, task)) => Ok(Worker { commands, remote, board, task, handle }),
        Err(_) => Err(io::Error::other("a thread of the load could not start its event loop")),
    }
}

fn serve<C: Crew>(
    plan: &Plan,
    share: Share,
    crew: impl FnOnce(&Plan, Share) -> io::Result<C>,
    introduce: &Sender<(Remote, Option<PathBuf>)>,
    orders: &Receiver<Command>,
    board: &Board,
) -> io::Result<()> {
    let crew = crew(plan, share.clone())?;
    let reactor = reactor(plan, &share, crew)?;
    let _ = introduce.send((reactor.remote(), probe::this_task()));
    work(reactor, orders, board)
}

/// Builds the reactor of a thread.
fn reactor<C: Crew>(plan: &Plan, share: &Share, crew: C) -> io::Result<Reactor<C>> {
    let connections = share.part_of(plan.connections as u64) as usize;
    let in_flight = plan.size.saturating_mul(plan.pipeline);
    let default = Config::default();
    let config = Config {
        // A connection may still be ending when the connection that takes its place begins.
        connections_max: 2 * connections + SPARE,
        // Reading must not wait for what is sent, or two full sides wait for each other.
        output_limit: default.output_limit.max(8 * in_flight.min(plan::IN_FLIGHT_MAX) + SPARE),
        input_limit: default.input_limit.max(2 * plan.size + SPARE).max(2 * http::HEAD_MAX),
        buffer_memory: BUFFER_MEMORY,
        write_timeout: Some(plan.reply_timeout),
        // A peer that is gone answers nothing in time, and each connect is spared five calls.
        keepalive: None,
        // A panic is a mistake of ours, which must not look like a measurement.
        on_panic: OnPanic::Unwind,
        // A client has no newcomers to put off.
        overload_turn: None,
        overload_memory: None,
        connect_timeout: plan.connect_timeout,
        // A handshake is a part of the connect.
        greeting_timeout: plan.connect_timeout,
        linger_timeout: LINGER,
        drain_timeout: LINGER,
        drain_quiet: LINGER / 4,
        // A timeout is late by a tick at most.
        tick: TICK.min(plan.reply_timeout).min(plan.connect_timeout),
        ..default
    };
    Reactor::new(config, crew)
}

/// Turns until the connections are closed, and passes on what the conductor says.
fn work<C: Crew>(
    mut reactor: Reactor<C>,
    commands: &Receiver<Command>,
    board: &Board,
) -> io::Result<()> {
    while !reactor.is_done() {
        reactor.turn()?;
        while let Ok(command) = commands.try_recv() {
            reactor.with_context(|crew, cx| crew.obey(cx, command));
        }
        let tally = &reactor.handler().run().tally;
        board.answered.store(tally.answered, Ordering::Relaxed);
        board.faults.store(tally.faulty, Ordering::Relaxed);
    }
    Ok(())
}

/// Places and bytes beyond what the connections need.
const SPARE: usize = 1024;
/// Input that waits for its rest, and output that a server does not take: a limit for a machine's
/// sake, since what may be in flight has limits of its own.
const BUFFER_MEMORY: usize = 4 << 30;
const TICK: Duration = Duration::from_millis(20);
