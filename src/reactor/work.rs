//! What a turn may cost. Budget is counted where it is done, in units, and each phase of a turn ends
//! when its budget of them is used up: what is left stays on its list, for the next turn.
//!
//! A unit is about a nanosecond of a processor of today. No clock is read: what a turn leaves for
//! the next one depends on what came and not on the machine, so that a simulation repeats it.

use super::config::Config;
use super::connection::Hold;
use super::loop_state::{LoopState, find};

/// A call that reads, and what goes with it.
pub(super) const READ: u64 = 1_000;
/// A call that writes.
pub(super) const WRITE: u64 = 1_500;
/// A connection accepted: two calls, and a place in the tables.
pub(super) const ACCEPT: u64 = 5_000;
/// A connection closed.
pub(super) const CLOSE: u64 = 3_000;
/// A timer that came round, or a task from another thread.
pub(super) const WAKE: u64 = 100;
/// A message appended to a topic, but for its bytes.
pub(super) const PUBLISH: u64 = 50;
/// A subscriber told that its topic has more.
pub(super) const ANNOUNCE: u64 = 20;
/// A subscriber looked at, whether publishers have to wait for it.
pub(super) const LOOK: u64 = 20;
/// A subscription begun or ended: it is found in the tables, which are seldom in the cache.
pub(super) const SUBSCRIPTION: u64 = 200;

/// The part of a slice that one piece of work takes which is caused now and done later.
const CAUSED_PARTS: u64 = 16;

/// More than anything takes, so that neither a handler that charges the largest number there is nor a
/// budget of that size makes the counter run over.
pub(super) const CHARGE_MAX: u64 = 1 << 40;

/// Bytes copied, by us or by the kernel: eight for a unit.
pub(super) fn copied(bytes: usize) -> u64 {
    bytes as u64 / 8
}

/// How far the counter may go.
#[derive(Debug)]
pub(super) struct Budget {
    budget: u64,
    slice: u64,
    phase_end: u64,
    visit_end: u64,
}

impl Budget {
    pub(super) fn new(config: &Config) -> Self {
        let bounded = |units: usize| (units as u64).min(CHARGE_MAX);
        let (budget, slice) = (bounded(config.work_budget), bounded(config.work_slice));
        Budget { budget, slice, phase_end: 0, visit_end: 0 }
    }

    /// Of a phase.
    pub(super) fn budget(&self) -> u64 {
        self.budget
    }
}

impl LoopState {
    /// A phase of the turn begins, with its whole budget.
    pub(super) fn begin_phase(&mut self) {
        self.budget.phase_end = self.stats.work + self.budget.budget;
    }

    /// The end of a phase begins, for which half a budget is set aside.
    pub(super) fn begin_last_part(&mut self) {
        self.budget.phase_end = self.stats.work + self.budget.budget / 2;
    }

    /// Whether the phase has used up its budget. Asked after a piece of work and not before, so that
    /// each phase gets on in every turn.
    pub(super) fn is_phase_over(&self) -> bool {
        self.stats.work >= self.budget.phase_end
    }

    /// The handler is about to be called for the current connection, which has a slice of its own.
    pub(super) fn begin_slice(&mut self) {
        self.budget.visit_end = self.slice_end();
    }

    /// The connection whose callback runs has caused work that is done and counted elsewhere. It pays
    /// with some of its slice, or whoever publishes to many large topics would fill the queue of those
    /// to be announced; and never with much, or a visit would end with one message to a large crowd.
    pub(super) fn shorten_slice(&mut self, units: u64) {
        let paid = units.min(self.budget.slice / CAUSED_PARTS);
        self.budget.visit_end = self.budget.visit_end.saturating_sub(paid);
    }

    /// Where a slice ends that begins now.
    pub(super) fn slice_end(&self) -> u64 {
        self.stats.work + self.budget.slice
    }

    /// Counts work that the phase has room for beside its budget.
    pub(super) fn charge_apart(&mut self, units: u64) {
        self.budget.phase_end += units;
        self.charge(units);
    }

    /// Counts work. The connection whose callback runs is held, for the rest of that, once its slice
    /// is used up.
    pub(super) fn charge(&mut self, units: u64) {
        self.stats.work += units;
        if self.stats.work >= self.budget.visit_end {
            self.end_visit();
        }
    }

    /// Holds the connection whose callback runs, for the rest of that.
    pub(super) fn end_visit(&mut self) {
        if let Some(token) = self.current
            && let Some(connection) = find(&mut self.connections, token)
        {
            connection.hold.insert(Hold::SPENT);
        }
    }
}
