//! The loop of a campaign: pairs of two contenders, or runs of one.

use std::time::{Duration, Instant};

use crate::Result;
use crate::catalogue::Contender;
use crate::figures::Sample;
use crate::record::{Pair, Record};
use crate::sample::{Bench, Values};
use crate::workload::{Pace, Work, Workload};

/// Measures one kind of work in pairs, or the contender alone where the work has no pairs. What was
/// measured before a failure is in the record as well.
pub(crate) fn measure(
    bench: &Bench,
    workload: &Workload,
    contender: &Contender,
    reference: &Contender,
) -> Record {
    let mut record = Record {
        workload: workload.name.clone(),
        peer: contender.name.clone(),
        reference: reference.name.clone(),
        ..Record::default()
    };
    let outcome = match workload.work {
        Work::Idle(count, size) => {
            let run = |time| bench.idle(contender, (count, size), time);
            by_itself(&mut record, workload.pace, run)
        }
        Work::Storm(count) => {
            by_itself(&mut record, workload.pace, |_| bench.storm(contender, count))
        }
        _ => in_pairs(&mut record, bench, workload, [contender, reference]),
    };
    record.failure = outcome.err().map(|error| error.to_string());
    record
}

/// A B, B A, A B and so on: what changes slowly, like the clock of the CPU, comes upon both alike.
fn in_pairs(
    record: &mut Record,
    bench: &Bench,
    workload: &Workload,
    [contender, reference]: [&Contender; 2],
) -> Result<()> {
    let pace = workload.pace;
    let begin = Instant::now();
    while record.pairs.len() < pace.pairs_max {
        // A server that is very slow is not given more than thrice its time.
        let enough = if record.pairs.len() < pace.pairs_min { 3 } else { 1 };
        if !record.pairs.is_empty() && begin.elapsed() > pace.budget.saturating_mul(enough) {
            break;
        }
        let of_contender = || bench.take(workload, contender);
        let of_reference = || -> Result<Sample> {
            let sample = bench.take(workload, reference);
            Ok(sample.map_err(|error| format!("the reference: {error}"))?)
        };
        let (sample, beside) = if record.pairs.len().is_multiple_of(2) {
            (of_contender()?, of_reference()?)
        } else {
            let beside = of_reference()?;
            (of_contender()?, beside)
        };
        let pair = Pair::new(sample, beside);
        println!("  {pair}");
        record.pairs.push(pair);
    }
    Ok(())
}

fn by_itself(
    record: &mut Record,
    pace: Pace,
    run: impl Fn(Duration) -> Result<Values>,
) -> Result<()> {
    for _ in 0..pace.pairs_max {
        for (name, value) in run(pace.time)? {
            record.values.entry(name.to_owned()).or_default().push(value);
        }
    }
    Ok(())
}
