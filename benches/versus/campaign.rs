//! Everything, one after the other: what is possible, what is done already, what is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use crate::catalogue::{Contender, Peer, Programs, Service};
use crate::machine::{CLIENT_CPU, Machine};
use crate::measure::measure;
use crate::page::Page;
use crate::record::{Record, Spread};
use crate::sample::Bench;
use crate::server::Server;
use crate::setting::Setting;
use crate::workload::{Work, Workload};
use crate::{Result, options, system, verify, workload};

/// Descriptors that belong to no connection of a measurement.
pub(crate) const DESCRIPTORS_RESERVED: usize = 200;
/// ncat waits by `select`, which knows no descriptor above 1023; some are its own.
const SELECT_MAX: usize = 1015;
/// The floor's capacity, from which the open loop has its rate, is kept beside the records.
const CAPACITY: &str = "capacity";

/// What a campaign was asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// Tiny measurements, which show that everything works, and nothing else.
    is_quick: bool,
    /// A line `name<TAB>path<TAB>version` for each program, with `-` for the path and a reason in place
    /// of the version where there is none.
    list: PathBuf,
    /// Gets a file for each peer and workload; what has one already is not measured again.
    results: PathBuf,
    only: Option<Regex>,
    /// Where a complete page goes, beside the directory of the results.
    page: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let [kind, list, results, rest @ ..] = words else {
            return Err("all quick|full LIST RESULTS [--only REGEX] [--page FILE]".into());
        };
        let is_quick = match kind.as_str() {
            "quick" => true,
            "full" => false,
            other => return Err(format!("`{other}` is neither quick nor full").into()),
        };
        let mut rest = options::Options::parse(rest)?;
        let only = rest.text("only").map(|pattern| Regex::new(&pattern)).transpose()?;
        let page = rest.text("page").map(PathBuf::from);
        rest.finish()?;
        Ok(Self { is_quick, list: list.into(), results: results.into(), only, page })
    }
}

/// A peer at one kind of work.
#[derive(Debug)]
struct Cell<'a> {
    workload: &'a Workload,
    contender: Contender,
    reference: Contender,
}

pub(crate) fn run(options: &Options) -> Result<()> {
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
    let load = programs.path("edgeloop")?.to_owned();
    let mut bench = Bench { load, scratch, open_loop_rate: 0.0 };
    // Nothing is concluded from the times of a quick campaign, so it leaves the system as it is.
    let settings = if options.is_quick { Vec::new() } else { Setting::all() };
    let mut page = Page::new(options.is_quick, &workloads, &programs, Machine::this());
    let mut failures = verify_all(&bench, &programs)?;
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

/// What can be measured here and was asked for; of all else, the page is told the reason.
fn cells<'a>(
    workloads: &'a [Workload],
    options: &Options,
    programs: &Programs,
    descriptors: usize,
    page: &mut Page,
) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for workload in workloads {
        let mut peers = workload.service.peers().peekable();
        let Some(&reference) = peers.peek() else { continue };
        // The floor is measured against itself as well, which shows the noise. The other
        // references are there to be compared with, and have their row from all their pairs.
        for peer in peers.skip(usize::from(workload.service != Service::Echo)) {
            let label = format!("{} {}", workload.name, peer.name);
            if options.only.as_ref().is_some_and(|only| !only.is_match(&label)) {
                continue;
            }
            match pair_of(workload, [peer, reference], programs, descriptors) {
                Ok([contender, reference]) => cells.push(Cell { workload, contender, reference }),
                Err(reason) => page.skip(&workload.name, peer.name, reason),
            }
        }
    }
    page.print_skipped();
    cells
}

/// Both, or why the first cannot do this work.
fn pair_of<'p>(
    workload: &Workload,
    peers: [&'static Peer; 2],
    programs: &'p Programs,
    descriptors: usize,
) -> std::result::Result<[Contender; 2], &'p str> {
    let program = programs.path(peers[0].program)?;
    let beside = programs.path(peers[1].program).map_err(|_| "nothing to compare it with")?;
    if workload.descriptors + DESCRIPTORS_RESERVED > descriptors {
        return Err("more connections than descriptors");
    }
    // Where lines are spoken, publishers are among the subscribers.
    if let Work::Broadcast(load) = &workload.work
        && peers[0].program == "ncat"
        && load.subscribers + load.stopped > SELECT_MAX
    {
        return Err("ncat waits by select, which ends at 1024 descriptors");
    }
    Ok([Contender::of(peers[0], program), Contender::of(peers[1], beside)])
}

impl Cell<'_> {
    fn label(&self) -> String {
        format!("{} {}", self.workload.name, self.contender.name)
    }
}

/// Every byte comes back, or there is no use in measuring.
fn verify_all(bench: &Bench, programs: &Programs) -> Result<usize> {
    let mut failures = 0;
    for peer in Service::Echo.peers() {
        system::fail_if_interrupted()?;
        let Ok(program) = programs.path(peer.program) else { continue };
        let is_patient = peer.keeps_what_is_not_read_yet();
        let server = Server::start(&Contender::of(peer, program), &bench.scratch);
        match server.and_then(|server| verify::echo(server.address, is_patient)) {
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
        let record = Record::read(results, &cell.workload.name, &cell.contender.name);
        record.is_none_or(|record| record.failure.is_some())
    };
    let to_do: Vec<&Cell> = cells.iter().filter(is_done).collect();
    let budget = |cell: &&Cell| cell.workload.pace.budget + cell.workload.pace.beyond;
    let mut left: Duration = to_do.iter().map(budget).sum();
    println!("{} measurements, about {:.0} min", to_do.len(), left.as_secs_f64() / 60.0);
    let mut failures = 0;
    for (index, cell) in to_do.iter().enumerate() {
        let record = measure_one(cell, results, bench);
        // A server that was ended by Ctrl-C has not failed.
        system::fail_if_interrupted()?;
        record.write(results)?;
        left = left.saturating_sub(budget(cell));
        failures += usize::from(record.failure.is_some());
        let (place, count, minutes) = (index + 1, to_do.len(), left.as_secs_f64() / 60.0);
        let (label, outcome) = (cell.label(), record.outcome());
        println!("[{place}/{count}, {minutes:.0} min left] {label}: {outcome}");
    }
    Ok(failures)
}

fn measure_one(cell: &Cell, results: &Path, bench: &mut Bench) -> Record {
    match set_rate(cell, results, bench) {
        Ok(()) => measure(bench, cell.workload, &cell.contender, &cell.reference),
        Err(error) => Record {
            workload: cell.workload.name.clone(),
            peer: cell.contender.name.clone(),
            failure: Some(error.to_string()),
            ..Record::default()
        },
    }
}

/// Half of what the floor can do with the same connections, measured once in a campaign.
fn set_rate(cell: &Cell, results: &Path, bench: &mut Bench) -> Result<()> {
    let Work::OpenLoop(words) = &cell.workload.work else { return Ok(()) };
    let name = &cell.reference.name;
    let known =
        Record::read(results, CAPACITY, name).and_then(|mut record| record.values.remove(RATE));
    let rates = match known {
        Some(rates) => rates,
        None => {
            let work = Work::Load(words.clone());
            let closed =
                Workload { work, title: String::new(), name: CAPACITY.into(), ..*cell.workload };
            let rate = |_| Ok(bench.take(&closed, &cell.reference)?.rate);
            let rates = (0..3).map(rate).collect::<Result<Vec<f64>>>()?;
            let values = [(RATE.to_owned(), rates.clone())].into();
            let (workload, peer) = (CAPACITY.to_owned(), name.clone());
            Record { workload, peer, values, ..Record::default() }.write(results)?;
            rates
        }
    };
    bench.open_loop_rate = Spread::of(rates).map_or(0.0, |spread| spread.median / 2.0);
    Ok(())
}

const RATE: &str = "messages a second in a closed loop";
