//! What one client can take from the others: the whole story of budgets and slices stands here.
//!
//! Bytes and visits do not say what a turn costs: five kilobytes of requests can be a second of work. So
//! work is counted where it is done, in units of about a nanosecond of a processor of today.
//!
//! ```text
//!   a phase ends    with the piece of work that uses up `work_budget`; what is left stays listed
//!   a visit ends    when the connection has had its slice, `work_slice`: it is held (`Hold::SPENT`)
//!                   until its callback returns, and is listed again behind all others
//!   a write ends    for a connection with many topics, in the same way
//!   half a budget   at the end of the flush phase, for looking whether publishers may go on
//! ```
//!
//! - The reactor counts its own work, with the costs below. A handler counts its own by
//!   [`Context::charge`](super::Context::charge), and asks whether it is held between messages.
//! - The budget is asked after a piece of work and not before. So each phase gets on in every turn, and no
//!   phase starves another.
//! - No clock is read. What a turn leaves for the next one depends on what came and not on the machine, so
//!   a simulation repeats it.
//! - Work that is caused now and done later, such as telling subscribers of a message, is counted where it
//!   is done. The connection that causes it pays with a part of its slice
//!   ([`shorten_slice`](LoopState::shorten_slice)).
//!
//! The ready list has two lanes (`structures/lanes.rs`), and a connection is listed behind all others of its
//! lane: with n connections listed, none waits for longer than 4n slices. Connections that cost more than
//! time are the matter of `memory`, `overload` and `delivery` (`check_arrears`).

use super::connection::Hold;
use super::loop_state::{LoopState, find};

/// A call that reads, and what goes with it.
pub(super) const READ: u64 = 1_000;
/// A call that writes.
pub(super) const WRITE: u64 = 1_500;
/// A connection accepted: two calls, and a place in the tables.
pub(super) const ACCEPT: u64 = 5_000;
/// The greeting of a layer goes on by a step: half of a TLS handshake with a key on P-256.
pub(super) const GREET: u64 = 100_000;
/// A connection closed.
pub(super) const CLOSE: u64 = 3_000;
/// A timer that came round, or a task from another thread.
pub(super) const WAKE: u64 = 100;
/// A panic unwound and told: what the standard library prints goes to a terminal or a file.
pub(super) const PANIC: u64 = 50_000;
/// A message appended to a topic, but for its bytes.
pub(super) const PUBLISH: u64 = 50;
/// A subscriber told that its topic has more.
pub(super) const ANNOUNCE: u64 = 20;
/// A look at a subscriber: whether publishers wait for it.
pub(super) const LOOK: u64 = 20;
/// A subscription begun or ended: the tables in which it is found are seldom in the cache.
pub(super) const SUBSCRIPTION: u64 = 200;

/// Bytes copied, by us or by the kernel: eight for a unit.
pub(super) fn copied(bytes: usize) -> u64 {
    bytes as u64 / 8
}

impl LoopState {
    /// A phase of the turn begins, with its whole budget.
    pub(super) fn begin_phase(&mut self) {
        self.budget.begin_phase(self.stats.work);
    }

    /// Whether the phase has used up its budget. To be asked after a piece of work.
    pub(super) fn is_phase_over(&self) -> bool {
        self.budget.is_phase_over(self.stats.work)
    }

    /// The handler is about to be called for the current connection, which gets a whole slice.
    pub(super) fn begin_slice(&mut self) {
        self.budget.begin_slice(self.stats.work);
    }

    /// The connection whose callback runs has caused work that is done and counted later, and pays with a
    /// part of its slice. Without that, a client that publishes to many large topics would fill the queue
    /// of announcements. Only a part, or one message to a large crowd would end the visit.
    pub(super) fn shorten_slice(&mut self, units: u64) {
        self.budget.shorten_slice(units);
    }

    /// Counts work for which the phase has room beside its budget.
    pub(super) fn charge_apart(&mut self, units: u64) {
        self.budget.extend_phase(units);
        self.charge(units);
    }

    /// Counts work. Once the slice is used up, the connection whose callback runs is held for the rest of
    /// the callback.
    pub(super) fn charge(&mut self, units: u64) {
        self.stats.work += units;
        if self.budget.is_slice_over(self.stats.work) {
            self.end_visit();
        }
    }

    /// Holds the connection whose callback runs, for the rest of the callback.
    pub(super) fn end_visit(&mut self) {
        let Some(token) = self.current else { return };
        if let Some(connection) = find(&mut self.connections, token) {
            connection.hold.insert(Hold::SPENT);
        }
    }
}
