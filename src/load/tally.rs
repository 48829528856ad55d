//! What one thread has counted: latencies, messages, bytes, faults, second by second.
//!
//! A message is recorded once, into the histogram of the running second. When the second is over
//! that goes to the conductor, which adds up all threads; so a run of any length costs a client the
//! same memory, and every percentile comes from one merged histogram and never from averages.

use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::worker::Note;
use super::{Fault, Faults};

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
}

/// What one thread counted in one second of the window.
#[derive(Debug)]
pub(super) struct Second {
    /// Counted from the start of the window.
    pub(super) index: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) faults: Faults,
    pub(super) latency: Box<Histogram<u64>>,
    pub(super) lateness: Option<Box<Histogram<u64>>>,
}

/// The counts of one thread.
pub(super) struct Tally {
    epoch: Instant,
    pub(super) window: Window,
    /// In an open loop a message belongs to the window in which it was due.
    is_open_loop: bool,
    index: u64,
    second_ends: u64,
    messages: u64,
    bytes: u64,
    latency: Box<Histogram<u64>>,
    /// How much later than due messages left, as far as that was our own doing.
    lateness: Box<Histogram<u64>>,
    faults: [u64; Fault::ALL.len()],
    notes: Sender<Note>,
    /// Since the thread began, whether in the window or not.
    pub(super) answered: u64,
    pub(super) faulty: u64,
    /// When the last message that counts was answered.
    pub(super) last: u64,
}

impl Tally {
    pub(super) fn new(
        epoch: Instant,
        is_open_loop: bool,
        notes: Sender<Note>,
    ) -> io::Result<Tally> {
        Ok(Tally {
            epoch,
            window: Window::NONE,
            is_open_loop,
            index: 0,
            second_ends: u64::MAX,
            messages: 0,
            bytes: 0,
            latency: histogram()?,
            lateness: histogram()?,
            faults: [0; Fault::ALL.len()],
            notes,
            answered: 0,
            faulty: 0,
            last: 0,
        })
    }

    /// Nanoseconds since the run began.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.epoch + Duration::from_nanos(at)
    }

    /// Begins to count.
    pub(super) fn begin(&mut self, window: Window) {
        self.window = window;
        self.index = 0;
        self.second_ends = window.from.saturating_add(SECOND);
    }

    /// An answer arrived. `since` is when its message was sent, or in an open loop when it was due.
    #[inline]
    pub(super) fn record(&mut self, since: u64, now: u64) {
        self.answered += 1;
        if now >= self.second_ends {
            self.turn_page(now);
        }
        if self.window.contains(now) {
            self.messages += 1;
            self.last = now;
        }
        if self.window.contains(if self.is_open_loop { since } else { now }) {
            self.latency.saturating_record(now.saturating_sub(since));
        }
    }

    /// Answers came in so many bytes.
    #[inline]
    pub(super) fn record_bytes(&mut self, bytes: u64, now: u64) {
        if self.window.contains(now) {
            self.bytes += bytes;
        }
    }

    /// A message that was due in the window was not answered, or not even sent, up to now: it took
    /// at least so long.
    pub(super) fn record_unanswered(&mut self, since: u64, now: u64) {
        if self.is_open_loop && self.window.contains(since) {
            self.latency.saturating_record(now.saturating_sub(since));
        }
    }

    /// A message left, so much later than it was due.
    pub(super) fn record_lateness(&mut self, due: u64, now: u64) {
        if self.window.contains(due) {
            self.lateness.saturating_record(now.saturating_sub(due));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault, now: u64) {
        self.faulty += 1;
        if now >= self.second_ends {
            self.turn_page(now);
        }
        self.faults[fault as usize] += 1;
    }

    /// Ends the count: hands over what is left.
    pub(super) fn end(&mut self) {
        self.hand_over();
        self.second_ends = u64::MAX;
        self.window = Window::NONE;
    }

    #[cold]
    fn turn_page(&mut self, now: u64) {
        self.hand_over();
        self.index = (now - self.window.from) / SECOND;
        self.second_ends = self.window.from + (self.index + 1) * SECOND;
    }

    /// Sends what was counted since the last time.
    pub(super) fn hand_over(&mut self) {
        let mut faults = Faults::default();
        for fault in Fault::ALL {
            faults.add(fault, std::mem::take(&mut self.faults[fault as usize]));
        }
        let messages = std::mem::take(&mut self.messages);
        if messages == 0 && self.latency.is_empty() && faults.is_none() {
            return;
        }
        let lateness = (!self.lateness.is_empty()).then(|| self.lateness.clone());
        let latency = self.latency.clone();
        let bytes = std::mem::take(&mut self.bytes);
        let index = self.index;
        let second = Second { index, messages, bytes, faults, latency, lateness };
        self.latency.reset();
        self.lateness.reset();
        // The conductor goes first only when the whole run has failed.
        let _ = self.notes.send(Note::Second(second));
    }
}

/// From 100 ns to an hour, to three digits: 200 KB, of which a run touches little.
pub(super) fn histogram() -> io::Result<Box<Histogram<u64>>> {
    let histogram = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3);
    histogram.map(Box::new).map_err(io::Error::other)
}

const LATENCY_MIN_NS: u64 = 100;
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
