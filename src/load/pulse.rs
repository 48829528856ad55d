//! The bursts of an open loop: when they are, and what became of the messages within and after them.
//!
//! ```text
//!   window.from                                              window.until
//!   |     every      |dur.|                |dur.|                |
//!   |~~~~ usual ~~~~~|####|..... after ....|####|..... after ....|
//! ```
//!
//! A message belongs to the time at which it was due, whenever its answer came. So what a burst does to the
//! messages behind it shows in their latency, which is counted from when they were due. What is usual is
//! measured before the first burst. After each burst time is cut into slices; the server has recovered
//! where, slice after slice, at most half of the messages took longer than is usual. A thread that had too
//! few messages before the first burst does not know what is usual, and says nothing of recovery.

use std::io;

use hdrhistogram::Histogram;

use super::plan::{Plan, Pulse};
use super::report::{Latency, PulseRecovery, Pulses};
use super::window::{Window, histogram};

/// When the bursts of a run are, in nanoseconds since it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct PulseTimes {
    first: u64,
    duration: u64,
    every: u64,
    rate: f64,
}

/// Where a moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before the first pulse.
    Usual,
    Within,
    /// After so many pulses and one more, in such a slice.
    After {
        pulse: usize,
        slice: usize,
    },
}

/// What one thread counted of the bursts of a run; the conductor adds up all threads.
#[derive(Clone, Debug)]
pub(super) struct PulseTally {
    pulse: Pulse,
    times: PulseTimes,
    usual: Box<Histogram<u64>>,
    within: Box<Histogram<u64>>,
    /// What was usual, once the first pulse is over: 99 of 100 messages took no longer. The inner value is
    /// none where there were too few messages to know.
    usual_p99: Option<Option<u64>>,
    /// Some thread knows what is usual.
    is_measured: bool,
    /// [`SLICES`] for each pulse, as far as anything was counted.
    slices: Vec<Slice>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    messages: u64,
    /// Messages that took longer than is usual.
    slow: u64,
}

/// Of the time between the beginnings of two pulses: what recovery is measured in.
const SLICES: usize = 200;
/// The server is back with the first of so many slices in a row, empty ones not counted.
const SLICES_BACK: usize = 5;
/// So many messages of a thread tell what one in a hundred exceeds. Of fewer that would be the slowest one.
const USUAL_LEAST: u64 = 100;

impl PulseTimes {
    /// The first pulse comes once there was as much time without one as lies between the beginnings of
    /// two.
    pub(super) fn new(pulse: &Pulse, window: Window) -> PulseTimes {
        let every = pulse.every.as_nanos() as u64;
        let duration = pulse.duration.as_nanos() as u64;
        PulseTimes { first: window.from.saturating_add(every), duration, every, rate: pulse.rate }
    }

    /// When the message is due that comes behind `number` others of all threads, where the first is due
    /// at `start` and `rate` a second are due outside of pulses.
    pub(super) fn due(&self, number: f64, start: u64, rate: f64) -> u64 {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let before = rate * seconds(self.first.saturating_sub(start));
        if number < before {
            return start + (number / rate * 1e9) as u64;
        }
        let within = self.rate * seconds(self.duration);
        let each = within + rate * seconds(self.every - self.duration);
        let pulses = ((number - before) / each).floor();
        let rest = number - before - pulses * each;
        let offset = match rest < within {
            true => rest / self.rate,
            false => seconds(self.duration) + (rest - within) / rate,
        };
        self.first + pulses as u64 * self.every + (offset * 1e9) as u64
    }

    fn part(&self, at: u64) -> Part {
        let Some(since) = at.checked_sub(self.first) else { return Part::Usual };
        match (since % self.every).checked_sub(self.duration) {
            None => Part::Within,
            Some(after) => Part::After {
                pulse: (since / self.every) as usize,
                slice: (after / self.slice_ns()) as usize,
            },
        }
    }

    fn slice_ns(&self) -> u64 {
        self.every.div_ceil(SLICES as u64)
    }

    /// When each pulse begins that does so before `until`.
    fn beginnings(self, until: u64) -> impl Iterator<Item = u64> {
        (0..).map(move |pulse| self.first + pulse * self.every).take_while(move |at| *at < until)
    }
}

impl PulseTally {
    pub(super) fn new(pulse: Pulse) -> io::Result<PulseTally> {
        Ok(PulseTally {
            pulse,
            times: PulseTimes::new(&pulse, Window::NONE),
            usual: histogram()?,
            within: histogram()?,
            usual_p99: None,
            is_measured: false,
            slices: Vec::new(),
        })
    }

    /// Begins to count anew.
    pub(super) fn begin(&mut self, window: Window) {
        self.times = PulseTimes::new(&self.pulse, window);
        self.usual.reset();
        self.within.reset();
        (self.usual_p99, self.is_measured) = (None, false);
        self.slices.clear();
    }

    /// A message that was due in the window took so long, or was not answered for so long.
    pub(super) fn record(&mut self, due: u64, took: u64) {
        match self.times.part(due) {
            Part::Usual => self.usual.saturating_record(took),
            Part::Within => self.within.saturating_record(took),
            Part::After { pulse, slice } => {
                let Some(limit) = self.limit().filter(|_| pulse < Plan::PULSES_MAX) else { return };
                let index = pulse * SLICES + slice;
                if index >= self.slices.len() {
                    self.slices.resize((pulse + 1) * SLICES, Slice::default());
                }
                let slice = &mut self.slices[index];
                slice.messages += 1;
                slice.slow += u64::from(took > limit);
            }
        }
    }

    /// How long a message may take and be no slower than usual.
    fn limit(&mut self) -> Option<u64> {
        let usual = &self.usual;
        let limit = *self.usual_p99.get_or_insert_with(|| {
            (usual.len() >= USUAL_LEAST).then(|| usual.value_at_quantile(USUAL_SHARE))
        });
        self.is_measured |= limit.is_some();
        limit
    }

    /// Adds the figures of another thread.
    pub(super) fn merge(&mut self, other: &PulseTally) {
        // All histograms have the same bounds, so one fits into the other.
        let _ = self.usual.add(&*other.usual);
        let _ = self.within.add(&*other.within);
        self.is_measured |= other.is_measured;
        let most = self.slices.len().max(other.slices.len());
        self.slices.resize(most, Slice::default());
        for (slice, other) in self.slices.iter_mut().zip(&other.slices) {
            slice.messages += other.messages;
            slice.slow += other.slow;
        }
    }

    /// The figures of a run that lasted until then and had these latencies in all.
    pub(super) fn figures(&self, window: Window, all: &Histogram<u64>) -> Pulses {
        let mut outside = all.clone();
        // What is within is part of all.
        let _ = outside.subtract(&*self.within);
        let recovery = |(pulse, at): (usize, u64)| PulseRecovery {
            at_s: (at - window.from) as f64 / 1e9,
            recovery_s: self.recovery_ns(pulse).map(|ns| ns as f64 / 1e9),
        };
        Pulses {
            usual_us: self.is_measured.then(|| Latency::of(&self.usual).p99_us),
            within: Latency::of(&self.within),
            outside: Latency::of(&outside),
            each: self
                .times
                .beginnings(window.until)
                .take(Plan::PULSES_MAX)
                .enumerate()
                .map(recovery)
                .collect(),
        }
    }

    /// The time from the end of a pulse until the server had recovered; none if the next pulse, or the end
    /// of the run, came first.
    fn recovery_ns(&self, pulse: usize) -> Option<u64> {
        let slices = self.slices.get(pulse * SLICES..(pulse + 1) * SLICES)?;
        let told = slices.iter().enumerate().filter(|(_, slice)| slice.messages > 0);
        let told: Vec<(usize, bool)> =
            told.map(|(index, slice)| (index, 2 * slice.slow <= slice.messages)).collect();
        // All that there are, where a pulse leaves time for fewer.
        let mut runs = told.windows(SLICES_BACK.min(told.len()).max(1));
        let first = runs.position(|run| run.iter().all(|(_, is_back)| *is_back))?;
        // What lies before it holds no message that says otherwise.
        let from = if first == 0 { 0 } else { told[first].0 as u64 };
        Some(from * self.times.slice_ns())
    }
}

/// What is usual: the time that so large a share of the messages does not exceed.
const USUAL_SHARE: f64 = 0.99;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: u64 = 1_000_000;
    const WINDOW: Window = Window { start: 500 * MS, from: 1000 * MS, until: 10_000 * MS };

    fn pulse() -> Pulse {
        Pulse {
            rate: 4000.0,
            duration: Duration::from_millis(500),
            every: Duration::from_millis(2000),
        }
    }

    #[test]
    fn messages_are_due_at_the_rate_of_where_they_lie() {
        let times = PulseTimes::new(&pulse(), WINDOW);
        let due = |number| times.due(f64::from(number), WINDOW.start, 1000.0);
        let all: Vec<u64> = (0..20_000).map(due).collect();
        assert!(all.is_sorted());
        let count = |from: u64, until: u64| {
            all.iter().filter(|at| (from * MS..until * MS).contains(at)).count()
        };
        // The warm-up, and what is usual.
        assert_eq!((count(500, 1000), count(1000, 3000)), (500, 2000));
        // Pulses, and what lies between them.
        for at in [3000, 5000, 7000] {
            assert!(count(at, at + 500).abs_diff(2000) <= 1, "{at}");
            assert!(count(at + 500, at + 2000).abs_diff(1500) <= 1, "{at}");
        }
        assert_eq!(due(0), WINDOW.start);
    }

    #[test]
    fn moment_belongs_to_what_is_before_within_or_after_a_pulse() {
        let times = PulseTimes::new(&pulse(), WINDOW);
        for (ms, part) in [
            (1000, Part::Usual),
            (2999, Part::Usual),
            (3000, Part::Within),
            (3499, Part::Within),
            (3500, Part::After { pulse: 0, slice: 0 }),
            (3510, Part::After { pulse: 0, slice: 1 }),
            (4999, Part::After { pulse: 0, slice: 149 }),
            (5000, Part::Within),
            (5500, Part::After { pulse: 1, slice: 0 }),
        ] {
            assert_eq!(times.part(ms * MS), part, "{ms}");
        }
    }

    /// A server that works off what a burst has left behind at such a pace.
    fn counted(work_off_ms: u64) -> PulseTally {
        let mut tally = PulseTally::new(pulse()).unwrap();
        tally.begin(WINDOW);
        for ms in 1000..10_000 {
            let since_pulse = (ms - 1000) % 2000;
            let took = match ms {
                // One in a hundred is slow at any time.
                _ if ms % 100 == 7 => 80,
                _ if ms < 3000 => 2,
                _ if since_pulse < 500 => since_pulse,
                _ => work_off_ms.saturating_sub(since_pulse - 500).max(2),
            };
            tally.record(ms * MS, took * MS);
        }
        tally
    }

    #[test]
    fn recovery_is_the_time_from_the_end_of_a_pulse_until_latency_is_usual_again() {
        for (work_off_ms, recovery_s) in
            [(0, Some(0.0)), (300, Some(0.3)), (1400, Some(1.4)), (5000, None)]
        {
            let tally = counted(work_off_ms);
            let figures = tally.figures(WINDOW, &tally.usual);
            assert_eq!(figures.each.len(), 4);
            for (place, each) in figures.each.iter().enumerate() {
                assert_eq!(each.at_s, 2.0 * (place + 1) as f64);
            }
            // Some slow messages are usual, so a server that is as slow as these counts as recovered.
            let usual_s = figures.usual_us.unwrap() / 1e6;
            let recovery = recovery_s.map(|seconds: f64| (seconds - usual_s).max(0.0));
            match (figures.each[0].recovery_s, recovery) {
                (Some(measured), Some(expected)) => {
                    assert!((measured - expected).abs() <= 0.02, "{measured} {expected}");
                }
                (measured, expected) => assert_eq!(measured, expected),
            }
        }
    }

    #[test]
    fn pulse_at_whose_end_the_run_is_over_has_no_recovery() {
        let tally = counted(0);
        let early = Window { until: 9200 * MS, ..WINDOW };
        let mut cut = PulseTally::new(pulse()).unwrap();
        cut.begin(early);
        (1000..9200).for_each(|ms| cut.record(ms * MS, 2 * MS));
        let figures = cut.figures(early, &cut.usual);
        let recovered: Vec<bool> = figures.each.iter().map(|it| it.recovery_s.is_some()).collect();
        assert_eq!(recovered, [true, true, true, false]);
        assert!(tally.recovery_ns(7).is_none());
    }

    #[test]
    fn recovery_is_not_measured_where_hardly_anything_came_before_the_first_pulse() {
        for (usual, is_measured) in [(0, false), (USUAL_LEAST - 1, false), (USUAL_LEAST, true)] {
            let mut tally = PulseTally::new(pulse()).unwrap();
            tally.begin(WINDOW);
            (0..usual).for_each(|ms| tally.record((1000 + ms) * MS, 2 * MS));
            (3500..5000).for_each(|ms| tally.record(ms * MS, 2 * MS));
            // One thread that knows what is usual is enough; a thread that does not changes nothing.
            let mut all = PulseTally::new(pulse()).unwrap();
            all.begin(WINDOW);
            all.merge(&tally);
            for tally in [&tally, &all] {
                let figures = tally.figures(WINDOW, &tally.usual);
                assert_eq!(figures.usual_us.is_some(), is_measured, "{usual}");
                assert_eq!(figures.each[0].recovery_s, is_measured.then_some(0.0), "{usual}");
            }
        }
    }

    #[test]
    fn server_is_not_back_with_the_last_message_alone() {
        let slow_until = |until: u64| {
            let mut tally = PulseTally::new(pulse()).unwrap();
            tally.begin(WINDOW);
            (1000..3000).for_each(|ms| tally.record(ms * MS, 2 * MS));
            let took = |ms| if ms < until { 50 } else { 2 };
            (3500..5000).for_each(|ms| tally.record(ms * MS, took(ms) * MS));
            tally.recovery_ns(0)
        };
        // A slice is 10 ms long.
        assert_eq!(slow_until(4950), Some(1450 * MS));
        for until in [4960, 4990, 4999, 5000] {
            assert_eq!(slow_until(until), None, "{until}");
        }
    }

    #[test]
    fn few_slices_have_to_agree_all_of_them() {
        let recovery = |took: [u64; 3]| {
            let mut tally = PulseTally::new(pulse()).unwrap();
            tally.begin(WINDOW);
            (1000..3000).for_each(|ms| tally.record(ms * MS, 2 * MS));
            let due = [3500, 4000, 4500];
            due.iter().zip(took).for_each(|(ms, took)| tally.record(ms * MS, took * MS));
            tally.recovery_ns(0)
        };
        assert_eq!(recovery([2, 2, 2]), Some(0));
        assert_eq!(recovery([50, 2, 2]), None);
    }

    #[test]
    fn pulses_that_are_too_many_to_be_told_apart_cost_no_memory() {
        let mut tally = PulseTally::new(pulse()).unwrap();
        let endless = Window { until: u64::MAX, ..WINDOW };
        tally.begin(endless);
        (1000..3000).for_each(|ms| tally.record(ms * MS, 2 * MS));
        let pulses = [0, 1, Plan::PULSES_MAX as u64, 1 << 20];
        pulses.iter().for_each(|pulse| tally.record((3500 + pulse * 2000) * MS, 2 * MS));
        assert_eq!(tally.slices.len(), 2 * SLICES);
        assert_eq!(tally.figures(endless, &tally.usual).each.len(), Plan::PULSES_MAX);
    }

    #[test]
    fn threads_are_added_up() {
        let (mut one, other) = (counted(300), counted(300));
        one.merge(&other);
        assert_eq!(one.within.len(), 2 * other.within.len());
        assert_eq!(one.recovery_ns(0), other.recovery_ns(0));
        assert_eq!(one.slices[0].messages, 2 * other.slices[0].messages);
    }
}
