//! What was measured, as it is kept: a file for each peer and workload.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;

/// One peer at one kind of work.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Record {
    pub workload: String,
    pub peer: String,
    /// Why it could not be measured. It is tried again when the campaign is.
    pub failure: Option<String>,
    pub pairs: Vec<Pair>,
    /// Figures of work that is not measured in pairs, by name, one for each run.
    pub values: BTreeMap<String, Vec<f64>>,
}

/// Two neighbours in time.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Pair {
    pub peer: Sample,
    pub reference: Sample,
    /// Why it does not count.
    pub disturbance: Option<String>,
}

/// One stretch of one server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Sample {
    /// Microseconds of server CPU time for each unit.
    pub cpu_us: f64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub client_bound: bool,
    pub disturbance: Option<String>,
    pub remark: Option<String>,
    /// Nanoseconds that a fixed piece of work took before and after.
    pub canaries_ns: u64,
    /// The most resident memory that the server had, in bytes.
    pub memory_max: u64,
}

impl Pair {
    pub fn new(peer: Sample, reference: Sample) -> Self {
        let share = peer.canaries_ns as f64 / reference.canaries_ns as f64 - 1.0;
        let moved = || {
            let differs = share.abs() > CANARY_DIFFERENCE_MAX;
            differs.then(|| format!("fixed work differed by {:.1} %", share * 100.0))
        };
        let of_either = || peer.disturbance.clone().or_else(|| reference.disturbance.clone());
        let disturbance = of_either().or_else(moved);
        Self { peer, reference, disturbance }
    }

    pub fn ratio(&self) -> f64 {
        self.peer.cpu_us / self.reference.cpu_us
    }
}

impl Record {
    /// The pairs that count; all of them, if none does.
    pub fn counted(&self) -> Vec<&Pair> {
        let counted: Vec<&Pair> = self.pairs.iter().filter(|p| p.disturbance.is_none()).collect();
        if counted.is_empty() { self.pairs.iter().collect() } else { counted }
    }

    pub fn has_counted(&self) -> bool {
        self.pairs.iter().any(|pair| pair.disturbance.is_none())
    }

    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.counted().iter().map(|pair| pair.ratio()))
    }

    fn path(results: &Path, workload: &str, peer: &str) -> PathBuf {
        results.join(format!("{workload}.{peer}.json"))
    }

    pub fn read(results: &Path, workload: &str, peer: &str) -> Option<Self> {
        let text = fs::read_to_string(Self::path(results, workload, peer)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Written beside and renamed, so that an interruption leaves no half of a record.
    pub fn write(&self, results: &Path) -> Result<()> {
        let path = Self::path(results, &self.workload, &self.peer);
        let draft = path.with_extension("draft");
        fs::write(&draft, serde_json::to_string_pretty(self)?)?;
        Ok(fs::rename(draft, path)?)
    }
}

/// Median and range.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, least, most })
    }
}

/// The fixed work was done as often for both sides; it should have taken as long.
const CANARY_DIFFERENCE_MAX: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_us: f64, canaries_ns: u64, disturbance: Option<&str>) -> Sample {
        let disturbance = disturbance.map(str::to_owned);
        Sample { cpu_us, canaries_ns, disturbance, ..Sample::default() }
    }

    #[test]
    fn spread_of_an_even_count_has_its_median_between_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0, f64::NAN]).unwrap();
        assert_eq!([spread.least, spread.median, spread.most], [1.0, 2.5, 4.0]);
        assert!(Spread::of([]).is_none());
    }

    #[test]
    fn pair_is_disturbed_by_either_side_and_by_a_machine_that_changed() {
        let quiet = || sample(2.0, 1000, None);
        assert_eq!(Pair::new(quiet(), quiet()).disturbance, None);
        assert_eq!(Pair::new(sample(4.0, 1000, None), quiet()).ratio(), 2.0);
        for (peer, reference) in [(Some("x"), None), (None, Some("x"))] {
            let pair = Pair::new(sample(2.0, 1000, peer), sample(2.0, 1000, reference));
            assert_eq!(pair.disturbance.as_deref(), Some("x"));
        }
        let slower = Pair::new(sample(2.0, 1021, None), quiet()).disturbance.unwrap();
        assert_eq!(slower, "fixed work differed by 2.1 %");
    }

    #[test]
    fn disturbed_pairs_count_only_if_there_are_no_others() {
        let pair = |cpu, disturbance| Pair::new(sample(cpu, 1, disturbance), sample(1.0, 1, None));
        let mut record = Record { pairs: vec![pair(9.0, Some("x"))], ..Record::default() };
        assert!(!record.has_counted());
        assert_eq!(record.spread().unwrap().median, 9.0);
        record.pairs.push(pair(2.0, None));
        assert!(record.has_counted());
        assert_eq!(record.spread().unwrap().median, 2.0);
    }
}
