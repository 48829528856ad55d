//! One question from the command line: two programs at one kind of work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::campaign::DESCRIPTORS_RESERVED;
use crate::catalogue::{Contender, Programs, Service};
use crate::machine::CLIENT_CPU;
use crate::measure::measure;
use crate::options::Options;
use crate::record::{Record, Spread};
use crate::sample::Bench;
use crate::setting::Setting;
use crate::workload::{Pace, Work, Workload, of_connections, words};
use crate::{Result, calls, hall, system};

/// The kinds of work that can be asked about.
pub(crate) const WORDS: [&str; 8] =
    ["echo", "stream", "churn", "web", "kv", "broadcast", "idle", "storm"];

/// Measured one after the other, and not in pairs.
const ALONE: [&str; 2] = ["idle", "storm"];
const FEW: usize = 1000;
/// What a floor or a small socket keeps for a client that does not read.
const IN_FLIGHT_MAX: usize = 64 * 1024;
const COMMANDS: &str = "ping,set,get,incr,mset";

pub(crate) fn ask(word: &str, rest: &[String]) -> Result<()> {
    let mut options = Options::parse(rest)?;
    let scratch = Scratch::new()?;
    let results = options.text("results").map(PathBuf::from);
    let load = options.text("load").map_or_else(built, |path| Ok(fs::canonicalize(path)?))?;
    let program = options.text("program").unwrap_or_else(|| "edgeloop".to_owned());
    let against = options.text("against");
    let extra = words(&options.text("with").unwrap_or_default());
    let workloads = workloads(word, &mut options)?;
    let is_open = matches!(workloads[0].work, Work::OpenLoop(_));
    let open_loop_rate = if is_open { options.number("rate", 1.0)? } else { 0.0 };
    let has_ratio = !ALONE.contains(&word);
    let at_most = if has_ratio { options.number("at-most", f64::INFINITY)? } else { f64::INFINITY };
    options.finish()?;
    let service = workloads[0].service;
    let against = against.unwrap_or_else(|| service.rival().to_owned());
    let mut contender = contender(&program, service, &scratch.0)?;
    contender.extra = extra;
    let reference = self::contender(&against, service, &scratch.0)?;
    let bench = Bench { load, scratch: scratch.0.clone(), open_loop_rate };
    system::pin(CLIENT_CPU)
        .map_err(|error| format!("the client needs a CPU of its own, the second one: {error}"))?;
    let _settings = Setting::all();
    let mut worst = 0.0_f64;
    for workload in &workloads {
        check(workload, [&contender, &reference])?;
        println!("{}: {} against {}", workload.title, contender.name, reference.name);
        let records = answer(&bench, workload, [&contender, &reference])?;
        for record in &records {
            if let Some(results) = &results {
                fs::create_dir_all(results)?;
                record.write(results)?;
            }
            worst = worst.max(record.spread().map_or(0.0, |spread| spread.median));
        }
    }
    if worst > at_most {
        return Err(format!("{worst:.3} × is more than {at_most} ×").into());
    }
    Ok(())
}

/// Measures and prints. Work that has no pairs is measured for both, one after the other.
fn answer(bench: &Bench, workload: &Workload, both: [&Contender; 2]) -> Result<Vec<Record>> {
    let finished = |record: Record| -> Result<Record> {
        match &record.failure {
            // Whatever a server says that was ended by Ctrl-C, it has not failed.
            Some(failure) => {
                system::fail_if_interrupted()?;
                Err(format!("{}: {failure}", record.peer).into())
            }
            None => Ok(record),
        }
    };
    let mut record = finished(measure(bench, workload, both[0], both[1]))?;
    if record.pairs.is_empty() {
        let beside = finished(measure(bench, workload, both[1], both[0]))?;
        print_values(&record, &beside);
        return Ok(vec![record, beside]);
    }
    if let (Some(own), Some(beside)) = (
        calls::for_a_message(bench, workload, both[0])?,
        calls::for_a_message(bench, workload, both[1])?,
    ) {
        record.calls = Some([own, beside]);
    }
    print!("{}", record.table());
    for remark in record.pairs.iter().flat_map(|pair| &pair.peer.remark) {
        println!("{remark}");
    }
    println!("{} / {}: {}\n", record.peer, record.reference, record.outcome());
    Ok(vec![record])
}

fn print_values(record: &Record, beside: &Record) {
    println!("{:<46}{:>16}{:>16}", "", record.peer, beside.peer);
    for (name, values) in &record.values {
        let median = |values: Option<&Vec<f64>>| {
            let spread = Spread::of(values.into_iter().flatten().copied());
            spread.map_or(f64::NAN, |spread| spread.median)
        };
        let [own, other] = [Some(values), beside.values.get(name)].map(median);
        println!("{name:<46}{own:>16.3}{other:>16.3}");
    }
}

/// What cannot be asked of these programs.
fn check(workload: &Workload, both: [&Contender; 2]) -> Result<()> {
    let limit = system::raise_descriptor_limit()? as usize;
    if workload.descriptors + DESCRIPTORS_RESERVED > limit {
        let count = workload.descriptors;
        return Err(format!("{count} connections need more than {limit} descriptors").into());
    }
    if let Work::Broadcast(load) = &workload.work {
        load.check()?;
    }
    let is_careless = |contender: &&Contender| !contender.peer.keeps_what_is_not_read_yet();
    if workload.in_flight > IN_FLIGHT_MAX && both.iter().any(is_careless) {
        return Err("the floors give up a connection with more than 64 KiB in flight".into());
    }
    Ok(())
}

/// The work of a word, with what the options say about it.
fn workloads(word: &str, options: &mut Options) -> Result<Vec<Workload>> {
    if word == "broadcast" {
        return broadcast(options);
    }
    let is_alone = ALONE.contains(&word);
    let connections: usize = options.number("connections", if is_alone { 19_000 } else { 50 })?;
    let pace = match word {
        "storm" => pace(options, 1, None, None)?,
        "idle" => pace(options, 1, None, Some(5.0))?,
        // A message of each must fit into the time many times over.
        _ if connections > FEW => pace(options, 11, Some(0.5), Some(1.0))?,
        _ => pace(options, 51, Some(0.1), Some(0.2))?,
    };
    let mut workload = Workload {
        name: format!("{word}-{connections}"),
        title: format!("{word}, {connections} connections"),
        unit: ["message", "messages"],
        service: Service::Echo,
        work: Work::Storm(connections),
        pace,
        descriptors: connections,
        in_flight: 0,
    };
    let clients = of_connections(connections);
    match word {
        "echo" | "stream" => {
            let is_stream = word == "stream";
            let size = options.number("size", if is_stream { 16_384 } else { 64 })?;
            let depth: usize = options.number("depth", if is_stream { 4 } else { 1 })?;
            let text = format!("--mode {word} --size {size} --pipeline {depth}{clients}");
            workload.title += &format!(", {depth} × {size} bytes in flight on each");
            workload.in_flight = depth * size;
            workload.work = match options.has("rate") {
                true => Work::OpenLoop(words(&text)),
                false => Work::Load(words(&text)),
            };
        }
        "churn" => {
            let size: usize = options.number("size", 64)?;
            workload.title += &format!(", each for one echo of {size} bytes");
            workload.work = Work::Load(words(&format!("--mode churn --size {size}{clients}")));
        }
        "web" => {
            let depth: usize = options.number("depth", 1)?;
            workload.title += &format!(", {depth} requests in flight on each");
            workload.service = Service::Web;
            workload.work = Work::Http(words(&format!("--mode http -p {depth}{clients}")));
        }
        "kv" => return commands(workload, options),
        "idle" => {
            workload.in_flight = options.number("size", 4096)?;
            workload.title +=
                &format!(", before and after a burst of {} bytes", workload.in_flight);
            workload.work = Work::Idle(connections, workload.in_flight);
        }
        _ => {}
    }
    Ok(vec![workload])
}

/// Each command by itself.
fn commands(workload: Workload, options: &mut Options) -> Result<Vec<Workload>> {
    let depth: usize = options.number("depth", 16)?;
    let size: usize = options.number("size", 3)?;
    let commands = options.text("commands").unwrap_or_else(|| COMMANDS.to_owned());
    let clients = of_connections(workload.descriptors);
    let of = |command: &str| {
        let text = format!("--mode redis --command {command} --size {size} -p {depth}{clients}");
        let title = format!(", {depth} of {} in flight on each", command.to_uppercase());
        Workload {
            name: format!("{}-{command}", workload.name),
            title: workload.title.clone() + &title,
            service: Service::Kv,
            work: Work::Load(words(&text)),
            ..workload
        }
    };
    Ok(commands.split(',').map(of).collect())
}

/// How long everything is measured; without a default, that cannot be said.
fn pace(
    options: &mut Options,
    pairs: usize,
    warm_up: Option<f64>,
    time: Option<f64>,
) -> Result<Pace> {
    let pairs = options.number("pairs", pairs)?;
    let mut seconds = |name: &str, default: Option<f64>| -> Result<Duration> {
        let Some(default) = default else { return Ok(Duration::ZERO) };
        let number = options.number(name, default)?;
        Ok(Duration::try_from_secs_f64(number).map_err(|error| format!("`--{name}`: {error}"))?)
    };
    let (warm_up, time) = (seconds("warm-up", warm_up)?, seconds("seconds", time)?);
    Ok(Pace { warm_up, time, pairs_min: pairs, pairs_max: pairs, ..Pace::default() })
}

fn broadcast(options: &mut Options) -> Result<Vec<Workload>> {
    let load = hall::Load {
        publishers: options.number("publishers", 32)?,
        subscribers: options.number("subscribers", 1000)?,
        line: options.number("size", 100)?,
        window: options.number("window", 16)?,
        verify_every: options.number("verify-every", 1)?,
        stopped: options.number("stopped", 0)?,
    };
    let hall::Load { publishers, subscribers, line, window, stopped, .. } = load;
    Ok(vec![Workload {
        name: format!("broadcast-{subscribers}"),
        title: format!(
            "broadcast, {publishers} publishers with {window} lines of {line} bytes each in flight, \
             every line to {subscribers} receivers, beside {stopped} that never read"
        ),
        service: Service::Broadcast,
        unit: ["delivery", "deliveries"],
        work: Work::Broadcast(load),
        pace: pace(options, 5, Some(0.5), Some(1.5))?,
        descriptors: publishers + subscribers + stopped,
        in_flight: 0,
    }])
}

/// Who is meant: a build of edgeloop by its path, or a peer, which is built first.
fn contender(name: &str, service: Service, scratch: &Path) -> Result<Contender> {
    let named = |name: &str| service.peers().find(|peer| peer.name == name);
    if name.contains('/') {
        let peer = named("edgeloop").ok_or("edgeloop does not do this")?;
        let contender = Contender::of(peer, &fs::canonicalize(name)?);
        return Ok(Contender { name: shortened(name), ..contender });
    }
    let peer = named(name).ok_or_else(|| {
        let names: Vec<&str> = service.peers().map(|peer| peer.name).collect();
        format!("`{name}` is none of {}, and not the path of an edgeloop", names.join(", "))
    })?;
    let program = if name == "edgeloop" { built()? } else { build(peer.program, scratch)? };
    Ok(Contender::of(peer, &program))
}

/// The end of a path, as far as a column has room for it.
fn shortened(path: &str) -> String {
    let skipped = path.chars().count().saturating_sub(15);
    path.chars().skip(skipped).collect::<String>().replace('/', "_")
}

/// The program that was built with this bench.
fn built() -> Result<PathBuf> {
    let path = option_env!("CARGO_BIN_EXE_edgeloop");
    Ok(path.ok_or("built without the program: its path is needed")?.into())
}

/// By `run.sh`, which knows how.
fn build(program: &str, scratch: &Path) -> Result<PathBuf> {
    let (script, list) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/run.sh"),
        scratch.join("programs"),
    );
    let mut command = Command::new(&script);
    command.arg("build").arg(&list).arg(program).stdin(Stdio::null());
    let status = command.status().map_err(|error| format!("{}: {error}", script.display()))?;
    if !status.success() {
        return Err(format!("{program} could not be built: {status}").into());
    }
    let programs = Programs::read(&list)?;
    let path = programs.path(program).map_err(|reason| format!("{program}: {reason}"))?;
    Ok(path.to_owned())
}

/// A directory for what servers and clients write, gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("edgeloop-versus-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
