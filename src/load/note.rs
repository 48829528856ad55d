//! What the conductor and its threads say to each other: commands to a thread, and its notes.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;

use super::fault::Faults;
use super::protocol::Protocol;
use super::pulse::PulseTally;
use super::report::Closes;
use super::window::{Window, histogram};

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
    /// Why a layer did not come about, as for the first connection of a thread.
    Distrust(String),
    /// The thread has failed.
    Failed(io::Error),
}

/// What happened beside answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Incidents {
    pub(super) before: Faults,
    pub(super) within: Faults,
    pub(super) after: Faults,
    /// What the wrong answers of the window said.
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) closes: Closes,
    pub(super) pauses: u64,
}

/// What one thread counted in one second of the window.
#[derive(Debug)]
pub(super) struct Second {
    /// Counted from the start of the window.
    pub(super) index: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) incidents: Incidents,
    pub(super) latency: Box<Histogram<u64>>,
    pub(super) lateness: Option<Box<Histogram<u64>>>,
}

/// What became of the connects of one thread.
#[derive(Clone, Debug)]
pub(super) struct ConnectCounts {
    pub(super) attempted: u64,
    pub(super) established: u64,
    /// Took more than [`SLOW_NS`].
    pub(super) slow: u64,
    pub(super) took: Box<Histogram<u64>>,
}

impl ConnectCounts {
    pub(super) fn new() -> io::Result<Self> {
        Ok(ConnectCounts { attempted: 0, established: 0, slow: 0, took: histogram()? })
    }

    /// Adds what another thread has counted.
    pub(super) fn merge(&mut self, other: &ConnectCounts) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.slow += other.slow;
        // The same bounds, so it fits.
        let _ = self.took.add(&*other.took);
    }
}

impl Incidents {
    pub(super) fn is_empty(&self) -> bool {
        let faults = [&self.before, &self.within, &self.after];
        faults.iter().all(|faults| faults.is_none())
            && self.closes == Closes::default()
            && self.pauses == 0
    }

    /// Whether every client has had its messages in flight all the time.
    pub(super) fn is_calm(&self) -> bool {
        self.before.is_none() && self.within.is_none() && self.after.is_none() && self.pauses == 0
    }

    /// Adds the incidents of another thread, or of another second.
    pub(super) fn merge(&mut self, other: &Incidents) {
        self.before.merge(&other.before);
        self.within.merge(&other.within);
        self.after.merge(&other.after);
        for (name, count) in &other.refusals {
            *self.refusals.entry(name.clone()).or_default() += count;
        }
        self.closes.merge(other.closes);
        self.pauses += other.pauses;
    }
}
