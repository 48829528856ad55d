//! Everything, one after the other: what is possible, what is done already, what is left.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::catalogue::{PEERS, Peer, Programs, Service};
use crate::machine::Machine;
use crate::page::Page;
use crate::record::{Pair, Record, Sample, Spread};
use crate::sample::Bench;
use crate::server::CLIENT_CPU;
use crate::setting::Setting;
use crate::workload::{Pace, Work, Workload};
use crate::{Options, Result, load, system, verify, workload};

/// Descriptors that belong to no connection of a measurement.
const DESCRIPTORS_RESERVED: usize = 200;
/// ncat waits by `select`, which knows no descriptor above 1023; some are its own.
const SELECT_MAX: usize = 1015;
const TIME_WAIT: &str = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
const TIME_WAIT_MAX: &str = "1000";
/// The floor's capacity, from which the open loop has its rate, is kept beside the records.
const CAPACITY: &str = "capacity";

/// A peer at one kind of work.
#[derive(Debug)]
struct Cell<'a> {
    workload: &'a Workload,
    peer: &'a Peer,
    reference: &'a Peer,
}

pub fn run(options: &Options) -> Result<()> {
    system::catch_signals();
    let descriptors = system::raise_descriptor_limit()? as usize;
    if let Err(error) = system::pin(CLIENT_CPU) {
        let reason = format!("server and client need a CPU each, 0 and 1: {error}");
        if !options.is_quick {
            return Err(reason.into());
        }
        println!("skipped: {reason}");
        return Ok(());
    }
    let programs = Programs::read(&options.list)?;
    let workloads = workload::all(options.is_quick);
    let scratch = options.results.join("scratch");
    fs::create_dir_all(&scratch)?;
    let scratch = fs::canonicalize(scratch)?;
    let mut bench = Bench { programs: &programs, scratch: &scratch, open_loop_rate: 0.0 };
    // Nothing is concluded from the times of a quick campaign, so it leaves the system as it is.
    let settings = if options.is_quick { Vec::new() } else { settings() };
    let mut page = Page::new(options.is_quick, &workloads, &programs, Machine::this());
    let mut failures = verify_all(&bench)?;
    let cells = cells(&workloads, options, &programs, descriptors, &mut page);
    let measured = measure_all(&cells, options, &mut bench);
    drop(settings);
    failures += *measured.as_ref().unwrap_or(&0);
    let path =
        page.write(&options.results, options.page.as_deref().filter(|_| measured.is_ok()))?;
    println!("the page is {}", path.display());
    measured?;
    if failures > 0 {
        return Err(format!("{failures} failures; the same command tries these again").into());
    }
    Ok(())
}

/// What the whole system is set to while a full campaign runs.
fn settings() -> Vec<Setting> {
    // A client that closes first leaves its port in TIME_WAIT for a minute, and a campaign closes
    // millions of connections: the next ones would look for a free port for longer and longer.
    let ports = Setting::set(TIME_WAIT, TIME_WAIT_MAX);
    if let Err(error) = &ports {
        println!("free ports will be scarce: {TIME_WAIT}: {error}");
    }
    Setting::cubic().into_iter().chain(ports.ok()).collect()
}

/// What can be measured here and was asked for; of all else, the page is told the reason.
fn cells<'a>(
    workloads: &'a [Workload],
    options: &Options,
    programs: &Programs,
    descriptors: usize,
    page: &mut Page,
) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    let edgeloop = programs.path("edgeloop").ok();
    let has = |service| edgeloop.is_some_and(|path| load::has(path, service));
    let (has_load, has_web) = (has("load"), has("web"));
    for workload in workloads {
        let mut peers = PEERS.iter().filter(|peer| peer.service == workload.service).peekable();
        let Some(&reference) = peers.peek() else { continue };
        // The floor is measured against itself as well, which shows the noise. The other
        // references are there to be compared with, and have their row from all their pairs.
        for peer in peers.skip(usize::from(workload.service != Service::Echo)) {
            let cell = Cell { workload, peer, reference };
            let label = cell.label();
            if options.only.as_ref().is_some_and(|only| !only.is_match(&label)) {
                continue;
            }
            let needs_load =
                !matches!(workload.work, Work::Broadcast(_) | Work::Idle(_) | Work::Storm(_));
            let reason = if needs_load && !has_load {
                Err("this edgeloop has no `load`")
            } else if workload.service == Service::Web && !has_web {
                Err("this edgeloop has no `web`")
            } else {
                cell.is_possible(programs, descriptors)
            };
            match reason {
                Ok(()) => cells.push(cell),
                Err(reason) => page.skip(&workload.name, peer.name, reason),
            }
        }
    }
    page.print_skipped();
    cells
}

impl Cell<'_> {
    fn label(&self) -> String {
        format!("{} {}", self.workload.name, self.peer.name)
    }

    fn is_possible<'p>(
        &self,
        programs: &'p Programs,
        descriptors: usize,
    ) -> std::result::Result<(), &'p str> {
        programs.path(self.peer.program)?;
        programs.path(self.reference.program).map_err(|_| "nothing to compare it with")?;
        if self.workload.descriptors + DESCRIPTORS_RESERVED > descriptors {
            return Err("more connections than descriptors");
        }
        // Where lines are spoken, publishers are among the subscribers.
        if let Work::Broadcast(load) = &self.workload.work
            && self.peer.program == "ncat"
            && load.subscribers + load.stopped > SELECT_MAX
        {
            return Err("ncat waits by select, which ends at 1024 descriptors");
        }
        Ok(())
    }
}

/// Every byte comes back, or there is no use in measuring.
fn verify_all(bench: &Bench) -> Result<usize> {
    let mut failures = 0;
    for peer in PEERS.iter().filter(|peer| peer.service == Service::Echo) {
        system::fail_if_interrupted()?;
        if bench.programs.path(peer.program).is_err() {
            continue;
        }
        let is_patient = peer.keeps_what_is_not_read_yet();
        let outcome = bench.start(peer).and_then(|server| verify::echo(server.address, is_patient));
        match outcome {
            Ok(()) => println!("{} returns every byte", peer.name),
            Err(error) => {
                failures += 1;
                println!("FAILED: {} does not echo: {error}", peer.name);
            }
        }
    }
    Ok(failures)
}

/// Returns how many cells failed.
fn measure_all(cells: &[Cell], options: &Options, bench: &mut Bench) -> Result<usize> {
    let results = &options.results;
    let is_done = |cell: &&Cell| {
        let record = Record::read(results, &cell.workload.name, cell.peer.name);
        record.is_none_or(|record| record.failure.is_some())
    };
    let to_do: Vec<&Cell> = cells.iter().filter(is_done).collect();
    let budget = |cell: &&Cell| cell.workload.pace.budget + cell.workload.pace.beyond;
    let mut left: Duration = to_do.iter().map(budget).sum();
    println!("{} measurements, about {:.0} min", to_do.len(), left.as_secs_f64() / 60.0);
    let mut failures = 0;
    for (index, cell) in to_do.iter().enumerate() {
        let record = measure(cell, results, bench);
        // A server that was ended by Ctrl-C has not failed.
        system::fail_if_interrupted()?;
        record.write(results)?;
        left = left.saturating_sub(budget(cell));
        failures += usize::from(record.failure.is_some());
        let (place, count, minutes) = (index + 1, to_do.len(), left.as_secs_f64() / 60.0);
        let (label, outcome) = (cell.label(), outcome(&record));
        println!("[{place}/{count}, {minutes:.0} min left] {label}: {outcome}");
    }
    Ok(failures)
}

fn outcome(record: &Record) -> String {
    if let Some(failure) = &record.failure {
        return format!("FAILED: {failure}");
    }
    if let Some(spread) = record.spread() {
        let Spread { median, least, most } = spread;
        let counted = record.pairs.iter().filter(|pair| pair.disturbance.is_none()).count();
        let pairs = record.pairs.len();
        return format!(
            "{median:.3} × ({least:.3} to {most:.3}), {counted} of {pairs} pairs count"
        );
    }
    let values = record.values.iter().flat_map(|(name, values)| {
        Spread::of(values.iter().copied()).map(|spread| format!("{name}: {:.3}", spread.median))
    });
    values.collect::<Vec<_>>().join(", ")
}

fn measure(cell: &Cell, results: &Path, bench: &mut Bench) -> Record {
    let (workload, peer) = (cell.workload.name.clone(), cell.peer.name.to_owned());
    let mut record = Record { workload, peer, ..Record::default() };
    let outcome = match cell.workload.work {
        Work::Idle(count) => {
            by_itself(&mut record, cell.workload.pace, |time| bench.idle(cell.peer, count, time))
        }
        Work::Storm(count) => {
            by_itself(&mut record, cell.workload.pace, |_| bench.storm(cell.peer, count))
        }
        Work::OpenLoop(_) => {
            set_rate(cell, results, bench).and_then(|()| in_pairs(&mut record, cell, bench))
        }
        _ => in_pairs(&mut record, cell, bench),
    };
    record.failure = outcome.err().map(|error| error.to_string());
    record
}

/// A B, B A, A B and so on: what changes slowly, like the clock of the CPU, comes upon both alike.
fn in_pairs(record: &mut Record, cell: &Cell, bench: &Bench) -> Result<()> {
    let pace = cell.workload.pace;
    let begin = Instant::now();
    while record.pairs.len() < pace.pairs_max {
        // A server that is very slow is not given more than thrice its time.
        let enough = if record.pairs.len() < pace.pairs_min { 3 } else { 1 };
        if !record.pairs.is_empty() && begin.elapsed() > enough * pace.budget {
            break;
        }
        let of_peer = || bench.take(cell.workload, cell.peer);
        let of_reference = || -> Result<Sample> {
            let sample = bench.take(cell.workload, cell.reference);
            Ok(sample.map_err(|error| format!("the reference: {error}"))?)
        };
        let (peer, reference) = if record.pairs.len().is_multiple_of(2) {
            (of_peer()?, of_reference()?)
        } else {
            let reference = of_reference()?;
            (of_peer()?, reference)
        };
        record.pairs.push(Pair::new(peer, reference));
    }
    Ok(())
}

fn by_itself<'n>(
    record: &mut Record,
    pace: Pace,
    run: impl Fn(Duration) -> Result<Vec<(&'n str, f64)>>,
) -> Result<()> {
    for _ in 0..pace.pairs_max {
        for (name, value) in run(pace.time)? {
            record.values.entry(name.to_owned()).or_default().push(value);
        }
    }
    Ok(())
}

/// Half of what the floor can do with the same connections, measured once in a campaign.
fn set_rate(cell: &Cell, results: &Path, bench: &mut Bench) -> Result<()> {
    let Work::OpenLoop(words) = &cell.workload.work else { return Ok(()) };
    let name = cell.reference.name;
    let known =
        Record::read(results, CAPACITY, name).and_then(|mut record| record.values.remove(RATE));
    let rates = match known {
        Some(rates) => rates,
        None => {
            let work = Work::Load(words.clone());
            let closed =
                Workload { work, title: String::new(), name: CAPACITY.into(), ..*cell.workload };
            let rate = |_| Ok(bench.take(&closed, cell.reference)?.rate);
            let rates = (0..3).map(rate).collect::<Result<Vec<f64>>>()?;
            let values = [(RATE.to_owned(), rates.clone())].into();
            let (workload, peer) = (CAPACITY.to_owned(), name.to_owned());
            Record { workload, peer, values, ..Record::default() }.write(results)?;
            rates
        }
    };
    bench.open_loop_rate = Spread::of(rates).map_or(0.0, |spread| spread.median / 2.0);
    Ok(())
}

const RATE: &str = "messages a second in a closed loop";
