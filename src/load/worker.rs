//! One thread of the load: a reactor with its clients, told by the conductor what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::dialler::ConnectCounts;
use super::plan::Plan;
use super::protocol::Protocol;
use super::pulse::PulseTally;
use super::route::Route;
use super::tally::{Second, Window};
use super::{http, plan};
use crate::reactor::{Config, Context, Handler, OnPanic, Reactor, Remote};

/// What the conductor asks of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Have so many connections in all, each with one message answered.
    Gather { connections: usize },
    /// Send, from the start of the window to its end, or until so many messages are answered.
    Start { window: Window, messages: Option<u64> },
    /// End now what runs.
    Stop,
    /// Close everything.
    Leave,
}

/// What a thread tells the conductor.
#[derive(Debug)]
pub(super) enum Note {
    /// Nobody is connecting any more; so many connections may be used.
    Ready { connections: usize, connects: ConnectCounts },
    /// A second is over in which something happened.
    Second(Second),
    /// What a run that is over has counted of its bursts; before `Done`.
    Pulses(Box<PulseTally>),
    /// The first answer is of another protocol than the plan's.
    Heard(Protocol),
    /// The run is over, all that was in flight answered or given up.
    Done {
        /// When the last answer that counts arrived.
        last: u64,
        /// The end of what the thread has counted.
        until: u64,
        /// Messages that were due and could not be sent in time.
        unsent: u64,
        /// Messages that were sent and had no answer when it ended, without being late.
        unanswered: u64,
        /// Connects of this step.
        connects: ConnectCounts,
    },
    /// The thread has failed.
    Failed(io::Error),
}

/// Which part of the load is a thread's.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) thread: usize,
    pub(super) threads: usize,
    /// Every time is counted from here.
    pub(super) epoch: Instant,
    pub(super) route: Route,
    pub(super) notes: Sender<Note>,
}

impl Share {
    /// The number of a client over all threads.
    pub(super) fn number(&self, client: usize) -> usize {
        client * self.threads + self.thread
    }

    /// How many of `all` are this thread's.
    pub(super) fn part_of(&self, all: u64) -> u64 {
        part_of(all, self.thread, self.threads)
    }
}

/// How many of `all` are those of one of several threads: as many as any other thread has, or one
/// more.
pub(super) fn part_of(all: u64, thread: usize, threads: usize) -> u64 {
    let (threads, thread) = (threads as u64, thread as u64);
    all / threads + u64::from(thread < all % threads)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_differ_by_one_at_most() {
        for (all, threads) in [(0, 1), (1, 3), (7, 3), (9, 3), (u64::MAX, 2), (50, 256)] {
            let parts = (0..threads).map(|thread| part_of(all, thread, threads));
            assert_eq!(parts.clone().sum::<u64>(), all);
            assert!(parts.clone().max() <= parts.min().map(|least| least + 1), "{all} {threads}");
        }
    }
}
