//! What was measured, as it is kept: a file for each peer and workload.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::figures::Sample;

/// One peer at one kind of work.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) workload: String,
    pub(crate) peer: String,
    /// What it was measured against, where the work is measured in pairs.
    #[serde(default)]
    pub(crate) reference: String,
    /// Why it could not be measured. It is tried again when the campaign is.
    pub(crate) failure: Option<String>,
    pub(crate) pairs: Vec<Pair>,
    /// System calls for a message of the peer and of the reference, where they could be counted.
    #[serde(default)]
    pub(crate) calls: Option<[f64; 2]>,
    /// Figures of work that is not measured in pairs, by name, one for each run.
    pub(crate) values: BTreeMap<String, Vec<f64>>,
}

/// Two neighbours in time.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pair {
    pub(crate) peer: Sample,
    pub(crate) reference: Sample,
    /// Why it does not count.
    pub(crate) disturbance: Option<String>,
}

impl Pair {
    pub(crate) fn new(peer: Sample, reference: Sample) -> Self {
        let share = peer.canaries_ns as f64 / reference.canaries_ns as f64 - 1.0;
        let moved = || {
            let differs = share.abs() > CANARY_DIFFERENCE_MAX;
            differs.then(|| format!("fixed work differed by {:.1} %", share * 100.0))
        };
        let of_either = || peer.disturbance.clone().or_else(|| reference.disturbance.clone());
        let disturbance = of_either().or_else(moved);
        Self { peer, reference, disturbance }
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.peer.cpu_us / self.reference.cpu_us
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, reference, disturbance } = self;
        let (cpu_us, beside_us, ratio) = (peer.cpu_us, reference.cpu_us, self.ratio());
        write!(out, "{cpu_us:.3} µs beside {beside_us:.3} µs of CPU time: {ratio:.3} ×")?;
        match disturbance {
            Some(reason) => write!(out, " (does not count: {reason})"),
            None => Ok(()),
        }
    }
}

impl Record {
    /// In one line, what the pairs agree on, or the medians of the runs.
    pub(crate) fn outcome(&self) -> String {
        if let Some(failure) = &self.failure {
            return format!("FAILED: {failure}");
        }
        if let Some(spread) = self.spread() {
            let Spread { median, least, most, half: [low, high] } = spread;
            let (of, equal) = (self.pairs.len(), if spread.is_noise() { "equal, " } else { "" });
            let counted = self.pairs.iter().filter(|pair| pair.disturbance.is_none()).count();
            let half = match of {
                ..4 => String::new(),
                _ => format!(", half of them {low:.3} to {high:.3}"),
            };
            return format!(
                "{median:.3} × ({least:.3} to {most:.3}{half}), {equal}{counted} of {of} pairs count"
            );
        }
        let values = self.values.iter().flat_map(|(name, values)| {
            Spread::of(values.iter().copied()).map(|spread| format!("{name}: {:.3}", spread.median))
        });
        values.collect::<Vec<_>>().join(", ")
    }

    /// The medians of both sides of the pairs that count, a line for each figure.
    pub(crate) fn table(&self) -> String {
        let counted = self.counted();
        let calls = self.calls.map(|calls| calls.map(|calls| format!("{calls:.3}")));
        let row = |name: &str, digits: usize, figure: fn(&Sample) -> f64| {
            let median = |side: fn(&Pair) -> &Sample| {
                let values = counted.iter().map(|pair| figure(side(pair)));
                let median = Spread::of(values).map_or(f64::NAN, |spread| spread.median);
                format!("{median:.digits$}")
            };
            line(name, &[median(|pair| &pair.peer), median(|pair| &pair.reference)])
        };
        let mut out = line("", &[self.peer.clone(), self.reference.clone()]);
        out += &row("CPU time, µs", 3, |sample| sample.cpu_us);
        if let Some(calls) = calls {
            out += &line("system calls", &calls);
        }
        out += &row("rate, 1/s", 0, |sample| sample.rate);
        out += &row("p50, µs", 0, |sample| sample.p50_us);
        out += &row("p99, µs", 0, |sample| sample.p99_us);
        out += &row("memory, MiB", 1, |sample| sample.memory_max as f64 / 1024.0 / 1024.0);
        if counted.iter().any(|pair| pair.peer.client_bound || pair.reference.client_bound) {
            out += "client-bound: the rate is the client's\n";
        }
        out
    }

    /// The pairs that count; all of them, if none does.
    pub(crate) fn counted(&self) -> Vec<&Pair> {
        let counted: Vec<&Pair> = self.pairs.iter().filter(|p| p.disturbance.is_none()).collect();
        if counted.is_empty() { self.pairs.iter().collect() } else { counted }
    }

    pub(crate) fn has_counted(&self) -> bool {
        self.pairs.iter().any(|pair| pair.disturbance.is_none())
    }

    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.counted().iter().map(|pair| pair.ratio()))
    }

    fn path(results: &Path, workload: &str, peer: &str) -> PathBuf {
        results.join(format!("{workload}.{peer}.json"))
    }

    pub(crate) fn read(results: &Path, workload: &str, peer: &str) -> Option<Self> {
        let text = fs::read_to_string(Self::path(results, workload, peer)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Written beside and renamed, so that an interruption leaves no half of a record.
    pub(crate) fn write(&self, results: &Path) -> Result<()> {
        let path = Self::path(results, &self.workload, &self.peer);
        let draft = path.with_extension("draft");
        fs::write(&draft, serde_json::to_string_pretty(self)?)?;
        Ok(fs::rename(draft, path)?)
    }
}

fn line(name: &str, [left, right]: &[String; 2]) -> String {
    format!("{name:<14}{left:>16}{right:>16}\n")
}

/// Median and range, and where the half lies that is nearest to the median.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) half: [f64; 2],
}

impl Spread {
    /// Whether a ratio says nothing.
    pub(crate) fn is_noise(self) -> bool {
        (self.median - 1.0).abs() < NOISE
    }

    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        let half = [sorted[sorted.len() / 4], sorted[sorted.len() * 3 / 4]];
        Some(Self { median, least, most, half })
    }
}

/// What is smaller than this is noise, in either direction.
pub(crate) const NOISE: f64 = 0.02;
/// The fixed work was done as often for both sides; it should have taken as long.
const CANARY_DIFFERENCE_MAX: f64 = 0.02;
