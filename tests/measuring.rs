//! The arithmetic of `cargo bench --bench versus`: what a report says, which pairs count, what they
//! agree on.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

#[path = "../benches/versus/figures.rs"]
mod figures;
#[expect(dead_code, reason = "the program uses the rest")]
#[path = "../benches/versus/machine.rs"]
mod machine;
#[expect(dead_code, reason = "the program uses the rest")]
#[path = "../benches/versus/options.rs"]
mod options;
#[expect(dead_code, reason = "the program uses the rest")]
#[path = "../benches/versus/record.rs"]
mod record;

use edgeloop::load::{Fault, Little, Report};

use figures::Sample;
use record::{Pair, Record, Spread};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A thousand messages in two seconds, on a machine that does nothing else.
fn report() -> Report {
    let text = include_str!("load_reports/first.json");
    let mut report: Report = serde_json::from_str(text).unwrap();
    let step = &mut report.steps[0];
    (step.messages, step.seconds, step.rate) = (1000, 2.0, 500.0);
    (step.latency.p50_us, step.latency.p99_us) = (10.0, 20.0);
    step.ksoftirqd_s = vec![0.0, 0.0];
    step.little = Some(Little { in_flight: 50.0, product: 50.0, holds: true });
    step.client_bound = Some(true);
    (step.client.waited, step.client.cpu_s, step.client.utilisation) = (0.0, 1.0, 0.5);
    let server = step.server.as_mut().unwrap();
    (server.waited, server.cpu_s, server.utilisation) = (0.0, 1.2, 0.6);
    report
}

fn sample_of(report: &Report) -> Sample {
    Sample::of(report).unwrap().unwrap()
}

fn sample(cpu_us: f64, canaries_ns: u64, disturbance: Option<&str>) -> Sample {
    let disturbance = disturbance.map(str::to_owned);
    Sample { cpu_us, canaries_ns, disturbance, ..Sample::default() }
}

#[test]
fn option_that_is_not_understood_is_an_error_that_names_it() {
    let read = |line: &str| -> Result<u64> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut options = options::Options::parse(&words)?;
        let pairs = options.number("pairs", 7)?;
        options.finish()?;
        Ok(pairs)
    };
    assert_eq!(read("").unwrap(), 7);
    assert_eq!(read("--pairs 3").unwrap(), 3);
    for (line, error) in [
        ("--pairs many", "`--pairs many`: a number above zero is needed"),
        ("--pairs 0", "`--pairs 0`: a number above zero is needed"),
        ("--pairs", "`--pairs` needs a value"),
        ("--pair 3", "unknown option `--pair`"),
        ("--pairs 3 --pairs 4", "`--pairs` is given twice"),
        ("3", "unexpected `3`"),
    ] {
        assert_eq!(read(line).unwrap_err().to_string(), error);
    }
}

#[test]
fn figures_of_a_report_are_those_of_the_server() {
    let sample = sample_of(&report());
    assert_eq!((sample.cpu_us, sample.rate), (1200.0, 500.0));
    assert_eq!((sample.p50_us, sample.p99_us), (10.0, 20.0));
    assert!(sample.client_bound && sample.disturbance.is_none(), "{sample:?}");
}

#[test]
fn report_without_the_server_is_an_error_and_one_without_answers_is_silent() {
    let mut blind = report();
    blind.steps[0].server = None;
    assert_eq!(Sample::of(&blind).unwrap_err(), "the report does not know the server");
    let mut silent = report();
    silent.steps[0].messages = 0;
    assert!(Sample::of(&silent).unwrap().is_none());
    silent.steps[0].errors.add(Fault::Timeout, 1);
    assert!(Sample::of(&silent).unwrap().is_some());
}

#[test]
fn figures_of_a_run_that_was_cut_short_are_none() {
    let mut report = report();
    report.interrupted = true;
    assert_eq!(Sample::of(&report).unwrap_err(), "the load was interrupted");
}

#[test]
fn contradiction_and_other_work_are_disturbances() {
    let mut report = report();
    report.steps[0].client.waited = 0.06;
    let disturbance = |report: &Report| sample_of(report).disturbance.unwrap();
    assert_eq!(disturbance(&report), "other work had 6.0 % of a CPU");
    report.steps[0].little = Some(Little { in_flight: 50.0, product: 40.0, holds: false });
    assert_eq!(disturbance(&report), "40.00 in flight where 50 were meant to be");
}

#[test]
fn work_of_its_own_that_a_server_waits_for_is_no_disturbance() {
    let mut report = report();
    report.steps[0].server.as_mut().unwrap().waited = 0.1;
    assert!(sample_of(&report).disturbance.is_some());
    report.steps[0].ksoftirqd_s[0] = 0.2;
    let sample = sample_of(&report);
    assert!(sample.disturbance.is_none());
    assert_eq!(sample.cpu_us, 1400.0, "what the kernel defers is the server's");
    report.steps[0].ksoftirqd_s[0] = 0.0;
    report.steps[0].server.as_mut().unwrap().cpu_s = 1.4;
    assert!(sample_of(&report).disturbance.is_none(), "another thread of the server had the CPU");
}

#[test]
fn spread_of_an_even_count_has_its_median_between_two() {
    let spread = Spread::of([4.0, 1.0, 3.0, 2.0, f64::NAN]).unwrap();
    assert_eq!([spread.least, spread.median, spread.most], [1.0, 2.5, 4.0]);
    assert!(Spread::of([]).is_none());
    let many = Spread::of((0..=8).map(f64::from)).unwrap();
    assert_eq!((many.median, many.half), (4.0, [2.0, 6.0]));
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

#[test]
fn outcome_says_that_less_than_two_per_cent_is_equal() {
    let outcome = |cpu_us| {
        let pairs = vec![Pair::new(sample(cpu_us, 1, None), sample(1.0, 1, None))];
        Record { pairs, ..Record::default() }.outcome()
    };
    assert_eq!(outcome(1.019), "1.019 × (1.019 to 1.019), equal, 1 of 1 pairs count");
    assert!(!outcome(1.021).contains("equal"));
    assert!(outcome(0.981).contains("equal") && !outcome(0.979).contains("equal"));
}

#[test]
fn dates_follow_the_calendar() {
    for (days, date) in [
        (0, "1970-01-01"),
        (58, "1970-02-28"),
        (59, "1970-03-01"),
        (789, "1972-02-29"),
        (11_016, "2000-02-29"),
        (20_453, "2025-12-31"),
        (20_454, "2026-01-01"),
    ] {
        assert_eq!(machine::date_of(days), date);
    }
}
