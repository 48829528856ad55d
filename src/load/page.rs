//! What the threads have told in one step: the sum of their notes.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;

use super::note::{ConnectCounts, Incidents, Note, Second};
use super::protocol::Protocol;
use super::pulse::PulseTally;
use super::report::{Latency, Sample};
use super::window::{SECOND, histogram};

/// What the threads have told in one step.
pub(super) struct Page {
    /// Threads that have said what is awaited of them.
    pub(super) heard: usize,
    pub(super) connections: usize,
    pub(super) connects: ConnectCounts,
    pub(super) unsent: u64,
    pub(super) unanswered: u64,
    pub(super) last: u64,
    pub(super) until: u64,
    pub(super) speaks: Option<Protocol>,
    /// Why a layer did not come about.
    pub(super) distrust: Option<String>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) incidents: Incidents,
    pub(super) latency: Box<Histogram<u64>>,
    pub(super) lateness: Box<Histogram<u64>>,
    pub(super) pulses: Option<Box<PulseTally>>,
    /// The latencies of the last few seconds, to which some thread may still add.
    pub(super) open_seconds: BTreeMap<u64, Box<Histogram<u64>>>,
    pub(super) samples: BTreeMap<u64, Sample>,
}

impl Page {
    pub(super) fn new() -> io::Result<Page> {
        Ok(Page {
            heard: 0,
            connections: 0,
            connects: ConnectCounts::new()?,
            unsent: 0,
            unanswered: 0,
            last: 0,
            until: 0,
            speaks: None,
            distrust: None,
            messages: 0,
            bytes: 0,
            incidents: Incidents::default(),
            latency: histogram()?,
            lateness: histogram()?,
            pulses: None,
            open_seconds: BTreeMap::new(),
            samples: BTreeMap::new(),
        })
    }

    pub(super) fn take(&mut self, note: Note) {
        match note {
            Note::Ready { connections, connects } => {
                self.heard += 1;
                self.connections += connections;
                self.connects.merge(&connects);
            }
            Note::Done { last, until, unsent, unanswered, connects } => {
                self.heard += 1;
                self.unanswered += unanswered;
                self.unsent += unsent;
                self.until = self.until.max(until);
                self.last = self.last.max(last);
                self.connects.merge(&connects);
            }
            Note::Second(second) => self.take_second(second),
            Note::Pulses(pulses) => match &mut self.pulses {
                Some(all) => all.merge(&pulses),
                None => self.pulses = Some(pulses),
            },
            Note::Heard(protocol) => self.speaks = Some(protocol),
            Note::Distrust(why) => self.distrust = Some(why),
            // Dealt with where notes are received.
            Note::Failed(_) => {}
        }
    }

    fn take_second(&mut self, second: Second) {
        self.messages += second.messages;
        self.bytes += second.bytes;
        self.incidents.merge(&second.incidents);
        // All histograms have the same bounds, so one fits into the other.
        let _ = self.latency.add(&*second.latency);
        if let Some(lateness) = &second.lateness {
            let _ = self.lateness.add(&**lateness);
        }
        let empty = Sample { second: second.index, ..Sample::default() };
        let sample = self.samples.entry(second.index).or_insert(empty);
        sample.messages += second.messages;
        sample.errors += second.incidents.within.total();
        match self.open_seconds.get_mut(&second.index) {
            Some(open) => drop(open.add(&*second.latency)),
            None => drop(self.open_seconds.insert(second.index, second.latency)),
        }
        self.close_seconds(second.index.saturating_sub(OPEN_SECONDS));
    }

    /// Draws the quantiles of the seconds before `before`.
    pub(super) fn close_seconds(&mut self, before: u64) {
        while let Some((index, latency)) = self.open_seconds.pop_first() {
            if index >= before {
                self.open_seconds.insert(index, latency);
                return;
            }
            if let Some(sample) = self.samples.get_mut(&index).filter(|_| !latency.is_empty()) {
                let latency = Latency::of(&latency);
                sample.p50_us = latency.p50_us;
                sample.p99_us = latency.p99_us;
                sample.max_us = sample.max_us.max(latency.max_us);
            }
        }
    }

    /// Every second of the measurement; what nobody has spoken of was silent.
    pub(super) fn series(&self, span_ns: u64) -> Vec<Sample> {
        let seconds = span_ns.div_ceil(SECOND).min(SERIES_MAX);
        let silent = |second| Sample { second, ..Sample::default() };
        let of = |second| self.samples.get(&second).cloned().unwrap_or_else(|| silent(second));
        let mut series: Vec<Sample> = (0..seconds).map(of).collect();
        if let Some(last) = series.last_mut() {
            // A run that its last message ends notices what is wrong only afterwards.
            last.errors += self.samples.range(seconds..).map(|(_, late)| late.errors).sum::<u64>();
        }
        series
    }
}

/// A thread that is so many seconds behind no longer changes the quantiles of a second.
const OPEN_SECONDS: u64 = 3;
/// A series is no longer than a day.
const SERIES_MAX: u64 = 86_400;
