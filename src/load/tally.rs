//! What one thread has counted: latencies, messages, bytes, faults, second by second.
//!
//! A message is recorded once, into the histogram of the running second. When the second is over
//! that goes to the conductor, which adds up all threads; so a run of any length costs a client the
//! same memory, and every percentile comes from one merged histogram and never from averages.
//!
//! Whatever is counted belongs to the window. Faults outside of it are told apart: they are no less
//! faults, but a share of something else.

use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::dialect::Refusal;
use super::fault::Fault;
use super::note::{Incidents, Note, Second};
use super::plan::Plan;
use super::pulse::PulseTally;
use super::report::Closes;
use super::share::Share;
use super::window::{Part, SECOND, Window, histogram};

/// The counts of one thread.
pub(super) struct Tally {
    epoch: Instant,
    pub(super) window: Window,
    /// In an open loop a message belongs to the window in which it was due.
    is_open_loop: bool,
    pulses: Option<Box<PulseTally>>,
    index: u64,
    second_ends: u64,
    messages: u64,
    bytes: u64,
    latency: Box<Histogram<u64>>,
    /// How much later than due messages left, as far as that was our own doing.
    lateness: Box<Histogram<u64>>,
    /// By kind, for each part of the time.
    faults: [[u64; Fault::ALL.len()]; 3],
    incidents: Incidents,
    notes: Sender<Note>,
    /// Since the thread began, whether in the window or not.
    pub(super) answered: u64,
    pub(super) faulty: u64,
    /// When the last message that counts was answered.
    pub(super) last: u64,
}

impl Tally {
    pub(super) fn new(plan: &Plan, share: &Share) -> io::Result<Tally> {
        let notes = share.notes.clone();
        Ok(Tally {
            epoch: share.epoch,
            window: Window::NONE,
            is_open_loop: plan.rate.is_some(),
            pulses: plan.pulse.map(PulseTally::new).transpose()?.map(Box::new),
            index: 0,
            second_ends: u64::MAX,
            messages: 0,
            bytes: 0,
            latency: histogram()?,
            lateness: histogram()?,
            faults: [[0; Fault::ALL.len()]; 3],
            incidents: Incidents::default(),
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
        if let Some(pulses) = &mut self.pulses {
            pulses.begin(window);
        }
    }

    /// A right answer arrived. `since` is when its message was sent, or in an open loop when it was due.
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
            self.record_latency(since, now);
        }
    }

    #[inline]
    fn record_latency(&mut self, since: u64, now: u64) {
        let took = now.saturating_sub(since);
        self.latency.saturating_record(took);
        if let Some(pulses) = &mut self.pulses {
            pulses.record(since, took);
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
            self.record_latency(since, now);
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
        self.faults[self.window.part(now) as usize][fault as usize] += 1;
    }

    /// An answer said no.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: u64) {
        self.fault(refusal.fault(), now);
        if self.window.contains(now) {
            let refusals = &mut self.incidents.refusals;
            let mut name = refusal.to_string();
            if refusals.len() >= REFUSALS_MAX && !refusals.contains_key(&name) {
                name = "others".into();
            }
            *refusals.entry(name).or_default() += 1;
        }
    }

    /// A server closed connections, as it may.
    pub(super) fn closed(&mut self, closes: Closes, now: u64) {
        if now >= self.second_ends {
            self.turn_page(now);
        }
        if self.window.contains(now) {
            self.incidents.closes.merge(closes);
        }
    }

    /// A client waits before it connects again.
    pub(super) fn pause(&mut self, now: u64) {
        self.incidents.pauses += u64::from(self.window.contains(now));
    }

    /// Ends the count: hands over what is left.
    pub(super) fn end(&mut self) {
        self.hand_over();
        if let Some(pulses) = &self.pulses {
            // The conductor goes first only when the whole run has failed.
            let _ = self.notes.send(Note::Pulses(pulses.clone()));
        }
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
        let incidents = self.take_incidents();
        let messages = std::mem::take(&mut self.messages);
        let is_quiet = incidents.is_empty() && self.latency.is_empty();
        if messages == 0 && is_quiet {
            return;
        }
        let lateness = (!self.lateness.is_empty()).then(|| self.lateness.clone());
        let latency = self.latency.clone();
        let bytes = std::mem::take(&mut self.bytes);
        let index = self.index;
        let second = Second { index, messages, bytes, incidents, latency, lateness };
        self.latency.reset();
        self.lateness.reset();
        // The conductor goes first only when the whole run has failed.
        let _ = self.notes.send(Note::Second(second));
    }

    fn take_incidents(&mut self) -> Incidents {
        let mut incidents = std::mem::take(&mut self.incidents);
        let faults = std::mem::take(&mut self.faults);
        for fault in Fault::ALL {
            let count = |part: Part| faults[part as usize][fault as usize];
            incidents.before.add(fault, count(Part::Before));
            incidents.within.add(fault, count(Part::Within));
            incidents.after.add(fault, count(Part::After));
        }
        incidents
    }
}

/// A server may make up words; so many are told apart.
const REFUSALS_MAX: usize = 64;
