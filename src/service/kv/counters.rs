//! What the server counts of itself, beside what the reactor counts.

use std::hash::{BuildHasher, RandomState};

use crate::reactor::Stats;

/// What the server has counted of itself.
#[derive(Debug)]
pub(super) struct Counters {
    /// Random, and so another one after each start.
    pub(super) run_id: String,
    pub(super) commands: u64,
    pub(super) errors: u64,
    /// The most bytes of memory used after any turn.
    pub(super) peak: usize,
    /// What the reactor had counted when the counters were reset.
    before: Option<Box<Stats>>,
    sample: Sample,
    /// Commands, bytes received and bytes sent in a second, between the last two samples.
    pub(super) rates: [u64; 3],
}

/// Counts at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: u64,
    counts: [u64; 3],
}

/// So often a sample is taken, while there is anything to do.
const SAMPLE_MS: u64 = 1_000;

impl Counters {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        let mut run_id: String =
            (0..3).map(|part: u8| format!("{:016x}", random.hash_one(part))).collect();
        run_id.truncate(40);
        Counters {
            run_id,
            commands: 0,
            errors: 0,
            peak: 0,
            before: None,
            sample: Sample::default(),
            rates: [0; 3],
        }
    }

    /// Counts from 0 again, but for the peak of memory.
    pub(super) fn reset(&mut self, stats: &Stats) {
        (self.commands, self.errors) = (0, 0);
        self.before = Some(Box::new(stats.clone()));
        self.sample.counts = [0, stats.bytes_received, stats.bytes_sent];
    }

    /// After each connection that was served: the memory may be at its peak, or a sample be due.
    pub(super) fn look(&mut self, now_ms: u64, used: usize, stats: &Stats) {
        self.peak = self.peak.max(used);
        let span = now_ms.saturating_sub(self.sample.at_ms);
        if span < SAMPLE_MS {
            return;
        }
        let counts = [self.commands, stats.bytes_received, stats.bytes_sent];
        for ((rate, count), before) in self.rates.iter_mut().zip(counts).zip(self.sample.counts) {
            *rate = count.saturating_sub(before) * 1_000 / span;
        }
        self.sample = Sample { at_ms: now_ms, counts };
    }

    /// What the reactor has counted since the last reset.
    pub(super) fn since(&self, stats: &Stats, count: impl Fn(&Stats) -> u64) -> u64 {
        count(stats) - self.before.as_deref().map_or(0, count)
    }
}
