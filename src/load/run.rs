//! The run of one thread, from the first connect to the last answer: the stages that all kinds of clients
//! pass, the schedule, and what the conductor is told.
//!
//! ```text
//!         Gather               connected          Start           all sent, or time over
//!   Idle --------> Gathering --> (Proving) --> Idle ------> Running -----------> Finishing --> Idle
//! ```
//!
//! A [`Crew`] is a kind of clients. The crew says what is special in each stage; when a stage begins and ends is
//! said here, once for all kinds.

use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::dialler::Dialler;
use super::fault::Fault;
use super::note::{Command, Note};
use super::pacer::Pacer;
use super::plan::Plan;
use super::share::Share;
use super::tally::Tally;
use super::window::Window;
use crate::reactor::{Context, Handler};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Between two steps, or at the end.
    Idle,
    /// Clients connect.
    Gathering,
    /// All are connected, and it is found out whether each of them is known to the server. Only where a
    /// client cannot find that out alone.
    Proving,
    Running,
    /// Nothing new is sent; what is in flight is awaited.
    Finishing,
}

/// What the clients of a thread have in common.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) dialler: Dialler,
    pub(super) tally: Tally,
    pub(super) stage: Stage,
    /// Messages that are not sent yet; in an open loop, that are not due yet.
    pub(super) messages_left: u64,
    /// Answers, or deliveries, that are still to come.
    pub(super) in_flight: u64,
    /// It was told why a layer did not come about.
    has_distrusted: bool,
    /// When the stages `Proving` and `Finishing` give up, or are over.
    pub(super) ends_at: u64,
    /// In an open loop.
    pacer: Option<Pacer>,
    notes: Sender<Note>,
}

/// What the schedule wants of one sender.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dues {
    /// Its place in the schedule.
    place: usize,
    /// Messages of the schedule that it has sent.
    taken: u64,
    /// Messages that were due and are not sent yet.
    owed: u64,
}

impl Dues {
    pub(super) fn at(place: usize) -> Dues {
        Dues { place, taken: 0, owed: 0 }
    }

    /// One more message is due.
    pub(super) fn owe(&mut self) {
        self.owed += 1;
    }
}

impl Run {
    pub(super) fn new(plan: &Plan, share: &Share) -> io::Result<Run> {
        Ok(Run {
            plan: plan.clone(),
            dialler: Dialler::new(plan, share.route.clone())?,
            tally: Tally::new(plan, share)?,
            stage: Stage::Idle,
            messages_left: u64::MAX,
            in_flight: 0,
            has_distrusted: false,
            ends_at: u64::MAX,
            pacer: None,
            notes: share.notes.clone(),
        })
    }

    pub(super) fn note(&self, note: Note) {
        // The conductor goes first only when the whole run has failed.
        let _ = self.notes.send(note);
    }

    /// What a connect failed by. If that was its layer, the first of them tells why.
    pub(super) fn connect_fault(&mut self, error: &io::Error) -> Fault {
        let fault = Fault::of_connect(error);
        if fault == Fault::Tls && !std::mem::replace(&mut self.has_distrusted, true) {
            self.note(Note::Distrust(error.to_string()));
        }
        fault
    }

    /// Begins to connect clients: those from `present` on are new.
    pub(super) fn gather(&mut self, present: usize, clients: usize) {
        self.stage = Stage::Gathering;
        self.dialler.begin();
        (present..clients).for_each(|client| self.dialler.enqueue(client));
    }

    /// So many connections may be used: the clock can start.
    pub(super) fn ready(&mut self, connections: usize) {
        self.stage = Stage::Idle;
        self.tally.hand_over();
        self.note(Note::Ready { connections, connects: self.dialler.counts.clone() });
    }

    /// Begins to send, in an open loop by the schedule of a thread with so many senders.
    pub(super) fn start(
        &mut self,
        window: Window,
        messages: Option<u64>,
        thread: usize,
        senders: usize,
    ) {
        self.tally.begin(window);
        self.stage = Stage::Running;
        self.messages_left = messages.unwrap_or(u64::MAX);
        self.pacer = Pacer::new(&self.plan, thread, window, senders);
    }

    // ---- the schedule ----

    /// Whether there is something to send, or in an open loop something that is due.
    #[inline]
    pub(super) fn has_more(&self, dues: &Dues) -> bool {
        match self.pacer {
            Some(_) => dues.owed > 0,
            None => self.messages_left > 0,
        }
    }

    /// Takes the next message; in an open loop, when it was due.
    #[inline]
    pub(super) fn take(&mut self, dues: &mut Dues) -> Option<u64> {
        let Some(pacer) = &self.pacer else {
            self.messages_left -= 1;
            return None;
        };
        (dues.owed, dues.taken) = (dues.owed - 1, dues.taken + 1);
        Some(pacer.due_of(dues.place, dues.taken - 1))
    }

    /// The place of the sender of which a message is due now, if one is.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<usize> {
        if self.messages_left == 0 {
            return None;
        }
        let until = self.tally.window.until.min(now.saturating_add(1));
        let place = self.pacer.as_mut()?.pop(until)?;
        self.messages_left -= 1;
        Some(place)
    }

    /// Counts how late a message left. A message that had to wait for an answer is late by the server's doing.
    pub(super) fn count_lateness(&mut self, before: Dues, after: Dues, now: u64) {
        if before.owed == 1
            && after.taken > before.taken
            && let Some(pacer) = &self.pacer
        {
            self.tally.record_lateness(pacer.due_of(before.place, before.taken), now);
        }
    }

    /// What was due and could never be sent has waited up to now; how much that is.
    pub(super) fn count_unsent(&mut self, dues: &mut Dues, now: u64) -> u64 {
        for number in dues.taken..dues.taken + dues.owed {
            if let Some(pacer) = &self.pacer {
                self.tally.record_unanswered(pacer.due_of(dues.place, number), now);
            }
        }
        std::mem::take(&mut dues.owed)
    }

    // ---- the end ----

    /// The run is over; this is what became of its last messages.
    fn done(&mut self, Rest { unsent, unanswered }: Rest) {
        self.stage = Stage::Idle;
        let until = self.tally.window.until;
        self.tally.end();
        let (last, connects) = (self.tally.last, self.dialler.counts.clone());
        self.note(Note::Done { last, until, unsent, unanswered, connects });
    }

    /// When the stage wants to go on.
    fn next_at(&self) -> u64 {
        match self.stage {
            Stage::Running => {
                let due = match &self.pacer {
                    Some(_) if self.messages_left == 0 => u64::MAX,
                    // The poll's own clock is too coarse, so it is not asked.
                    Some(_) if self.plan.spin => 0,
                    Some(pacer) => pacer.next_due(),
                    None => u64::MAX,
                };
                due.min(self.tally.window.until)
            }
            Stage::Proving | Stage::Finishing => self.ends_at,
            Stage::Gathering | Stage::Idle => u64::MAX,
        }
    }
}

/// What a run leaves behind.
pub(super) struct Rest {
    /// Messages that were due and could not be sent in time.
    pub(super) unsent: u64,
    /// Messages that had no answer when it was over, and had not waited too long.
    pub(super) unanswered: u64,
}

/// The clients of a thread.
pub(super) trait Crew: Handler {
    fn run(&self) -> &Run;
    fn run_mut(&mut self) -> &mut Run;

    /// Connects until there are so many connections in all, each of them proved by an answered message.
    fn gather(&mut self, cx: &mut Context<'_>, connections: usize);
    /// Begins to send.
    fn start(&mut self, cx: &mut Context<'_>, window: Window, messages: Option<u64>);
    /// Hands out messages that are due to their senders.
    fn pace(&mut self, cx: &mut Context<'_>, now: u64);
    /// Does what has its own time beside the stage's, which [`Crew::looks_at`] tells.
    fn look(&mut self, cx: &mut Context<'_>, now: u64);
    /// When that is, in nanoseconds since the run began.
    fn looks_at(&self) -> u64;
    /// Whether a message may still come to be in flight without being sent anew.
    fn is_busy(&self) -> bool;
    /// Nothing new is sent from here on.
    fn stop_sending(&mut self);
    /// Every answer is there, or the missing ones will never come.
    fn settle(&mut self, cx: &mut Context<'_>, now: u64) -> Rest;
    /// Closes everything.
    fn leave(&mut self, cx: &mut Context<'_>);

    /// Does what the conductor says; what comes of it is told in notes.
    fn obey(&mut self, cx: &mut Context<'_>, command: Command) {
        match command {
            Command::Gather { connections } => self.gather(cx, connections),
            Command::Start { window, messages } => self.start(cx, window, messages),
            Command::Stop => {
                let now = self.run().tally.now();
                let until = &mut self.run_mut().tally.window.until;
                *until = now.min(*until);
                self.finish(cx, now);
                // A user who interrupts does not want to wait.
                let run = self.run_mut();
                run.ends_at = run.ends_at.min(now + INTERRUPT_PATIENCE);
            }
            Command::Leave => {
                self.run_mut().stage = Stage::Idle;
                self.leave(cx);
                cx.drain();
            }
        }
        self.arm(cx);
    }

    /// Goes on with the stage at its time.
    fn wake(&mut self, cx: &mut Context<'_>) {
        let now = self.run().tally.now();
        match self.run().stage {
            Stage::Proving => self.look(cx, now),
            Stage::Running => {
                self.look(cx, now);
                self.pace(cx, now);
                if now >= self.run().tally.window.until {
                    self.finish(cx, now);
                }
            }
            Stage::Finishing => {
                self.look(cx, now);
                if now >= self.run().ends_at {
                    let rest = self.settle(cx, now);
                    self.run_mut().done(rest);
                }
            }
            Stage::Gathering | Stage::Idle => {}
        }
        self.arm(cx);
    }

    /// The time is over, or all is sent.
    fn finish(&mut self, cx: &mut Context<'_>, now: u64) {
        if self.run().stage != Stage::Running {
            return;
        }
        self.pace(cx, now);
        let run = self.run_mut();
        run.stage = Stage::Finishing;
        run.ends_at = now + end_patience(&run.plan);
        self.stop_sending();
        self.rest(cx);
    }

    /// Where nothing is in flight: whether that is the end.
    #[inline]
    fn rest(&mut self, cx: &mut Context<'_>) {
        if self.run().in_flight > 0 {
            return;
        }
        let now = self.run().tally.now();
        match self.run().stage {
            Stage::Running if self.run().messages_left == 0 && !self.is_busy() => {
                self.finish(cx, now);
            }
            Stage::Finishing if !self.is_busy() => {
                let run = self.run_mut();
                run.ends_at = run.ends_at.min(now + SURPLUS_PATIENCE);
            }
            _ => return,
        }
        self.arm(cx);
    }

    /// Sets the one alarm to what comes first.
    fn arm(&self, cx: &mut Context<'_>) {
        let run = self.run();
        let at = match run.stage {
            Stage::Gathering | Stage::Idle => u64::MAX,
            _ => run.next_at().min(self.looks_at()),
        };
        if at < u64::MAX {
            cx.set_alarm(run.tally.instant(at));
        }
    }
}

/// How long the end of a run waits for what is in flight, in nanoseconds.
pub(super) fn end_patience(plan: &Plan) -> u64 {
    plan.reply_timeout.min(END_PATIENCE).as_nanos() as u64
}

/// A server that does not close when we do is not waited for any longer.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Answers behind the time are in no rate; they are awaited since they may be wrong. A server that has
/// fallen silent must not make a run last for that, and a lost segment is sent again within a second.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Once all answers are there, so much longer is waited for bytes that nobody asked for.
const SURPLUS_PATIENCE: u64 = 10_000_000;
/// An interrupted run waits so long for what is in flight.
const INTERRUPT_PATIENCE: u64 = 200_000_000;
