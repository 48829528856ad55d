//! One thread of the load: a reactor with its clients, told by the conductor what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::note::Command;
use super::plan::Plan;
use super::share::Share;
use super::{http, plan};
use crate::reactor::{Config, Context, Handler, OnPanic, Reactor, Remote};

/// The clients of a thread.
pub(super) trait Crew: Handler {
    /// Does what the conductor says; what comes of it is told in notes.
    fn obey(&mut self, cx: &mut Context<'_>, command: Command);

    /// The counts of the moment.
    fn live(&self) -> Live;
}

/// Counts of the moment, since the thread began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live {
    pub(super) answered: u64,
    pub(super) faults: u64,
}

/// The same, where the conductor sees them.
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

/// Builds the reactor of a thread.
pub(super) fn reactor<C: Crew>(plan: &Plan, share: &Share, crew: C) -> io::Result<Reactor<C>> {
    let connections = share.part_of(plan.connections as u64) as usize;
    let in_flight = plan.size.saturating_mul(plan.pipeline);
    let default = Config::default();
    let config = Config {
        // The ends of connections overlap the beginnings of those that follow.
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
pub(super) fn work<C: Crew>(
    mut reactor: Reactor<C>,
    commands: &Receiver<Command>,
    board: &Board,
) -> io::Result<()> {
    while !reactor.is_done() {
        reactor.turn()?;
        while let Ok(command) = commands.try_recv() {
            reactor.with_context(|crew, cx| crew.obey(cx, command));
        }
        let live = reactor.handler().live();
        board.answered.store(live.answered, Ordering::Relaxed);
        board.faults.store(live.faults, Ordering::Relaxed);
    }
    Ok(())
}

/// How long the end of a run waits for what is in flight, in nanoseconds.
pub(super) fn end_patience(plan: &Plan) -> u64 {
    plan.reply_timeout.min(END_PATIENCE).as_nanos() as u64
}

/// Places and bytes beyond what the connections need.
const SPARE: usize = 1024;
/// Input that waits for its rest, and output that a server does not take: a limit for a machine's
/// sake, since what may be in flight has limits of its own.
const BUFFER_MEMORY: usize = 4 << 30;
/// A server that does not close when we do is not waited for any longer.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Answers behind the time are in no rate; they are awaited since they may be wrong. A server that has
/// fallen silent must not make a run last for that, and a lost segment is sent again within a second.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Once all answers are there, so much longer is waited for bytes that nobody asked for.
pub(super) const SURPLUS_PATIENCE: u64 = 10_000_000;
/// An interrupted run waits so long for what is in flight.
pub(super) const INTERRUPT_PATIENCE: u64 = 200_000_000;
const TICK: Duration = Duration::from_millis(20);
