//! The stretch of time that counts, and what latencies are counted in.

use std::io;

use hdrhistogram::Histogram;

/// The stretch of time that counts, in nanoseconds since the run began: `from <= t < until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the first message was due.
    pub(super) start: u64,
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Window {
    /// Nothing counts before it is known when the clock starts.
    pub(super) const NONE: Window = Window { start: u64::MAX, from: u64::MAX, until: u64::MAX };

    pub(super) fn contains(&self, at: u64) -> bool {
        self.from <= at && at < self.until
    }

    pub(super) fn part(&self, at: u64) -> Part {
        match at {
            _ if at < self.from => Part::Before,
            _ if at < self.until => Part::Within,
            _ => Part::After,
        }
    }
}

/// Where a moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Before,
    Within,
    After,
}

/// From 100 ns to an hour, to three digits: 200 KB, of which a run touches little.
pub(super) fn histogram() -> io::Result<Box<Histogram<u64>>> {
    let histogram = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3);
    histogram.map(Box::new).map_err(io::Error::other)
}

pub(super) const SECOND: u64 = 1_000_000_000;
const LATENCY_MIN_NS: u64 = 100;
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
