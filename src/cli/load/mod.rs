//! `edgeloop load`: measures a server and says what came of it.
//!
//! The measuring is the library's (`edgeloop::load`). Here are its options ([`options`]), what is
//! shown meanwhile ([`progress`]), and the three forms of the report: text ([`table`]), JSON, and a
//! page ([`page`]) with pictures ([`pictures`]).

mod figures;
mod options;
mod page;
mod pictures;
mod progress;
mod table;
mod target;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use edgeloop::load::{Bound, Plan, Report, Stop};
use serde_json::Value;

use self::options::LoadOptions;
use self::progress::Bar;
use super::descriptors::Descriptors;
use super::failure::Failure;
use super::signals;
use super::sources::Sources;

/// Measure a server: how fast it answers, and whether rightly
///
/// Every byte that comes back is compared with what was sent. Try: edgeloop load 127.0.0.1:7000
#[derive(Debug, Args)]
#[command(after_long_help = MORE)]
pub(crate) struct Load {
    #[command(flatten)]
    options: LoadOptions,
}

impl Load {
    /// Measures, or compares what was measured.
    pub(crate) fn run(self, sources: &Sources) -> Result<ExitCode, Failure> {
        let bounds = self.bounds(sources)?;
        if !self.options.compare.is_empty() {
            return self.compare(&bounds);
        }
        let plan = self.options.plan(sources)?;
        require_descriptors(&plan)?;
        let report = measure(&plan, self.options.quiet)?;
        let to_stdout = self.options.json.as_deref() == Some(Path::new("-"));
        if !to_stdout {
            print(&table::of(&report))?;
        }
        if let Some(path) = &self.options.json {
            write_json(path, &report)?;
        }
        if let Some(path) = &self.options.html {
            write(path, &page::of(&[(String::new(), report.clone())]))?;
        }
        Ok(verdict(&bounds, &[(String::new(), report)]))
    }

    fn bounds(&self, sources: &Sources) -> Result<Vec<Bound>, Failure> {
        let wrong = |why: String| sources.blame_value("fail-if", &why);
        self.options.fail_if.iter().map(|text| text.parse().map_err(wrong)).collect()
    }

    fn compare(&self, bounds: &[Bound]) -> Result<ExitCode, Failure> {
        let reports = self.options.compare.iter().map(read_json);
        let reports: Vec<(String, Report)> = reports.collect::<Result<_, _>>()?;
        print(&table::side_by_side(&reports))?;
        if let Some(path) = &self.options.html {
            write(path, &page::of(&reports))?;
        }
        Ok(verdict(bounds, &reports))
    }
}

fn measure(plan: &Plan, is_quiet: bool) -> Result<Report, Failure> {
    let stop = Stop::default();
    let interrupt = stop.clone();
    signals::on_first(move || interrupt.stop())
        .map_err(|error| Failure::System(format!("cannot watch for signals: {error}")))?;
    let mut bar = Bar::new(is_quiet);
    let report = edgeloop::load::run(plan, &stop, |progress| bar.show(progress));
    bar.clear();
    report.map_err(|error| Failure::System(with_remedy(&error.to_string())))
}

/// Who measures a server of their own has signed its certificate, too.
fn with_remedy(text: &str) -> String {
    let remedy = match text.contains("UnknownIssuer") {
        true => ": believe the server with --tls-ca FILE, or whatever it shows with --insecure",
        false => "",
    };
    format!("{text}{remedy}")
}

/// Says which bounds were missed. The exit code: 3 for a bound, 1 for any error, 0 otherwise.
fn verdict(bounds: &[Bound], reports: &[(String, Report)]) -> ExitCode {
    let mut is_missed = false;
    for (name, report) in reports {
        for missed in bounds.iter().flat_map(|bound| bound.missed(report)) {
            is_missed = true;
            let name = if name.is_empty() { String::new() } else { format!(" in {name}") };
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "edgeloop: missed{name}: {missed}");
        }
    }
    let is_right =
        reports.iter().all(|(_, report)| report.errors().is_none() && has_measured(report));
    match (is_missed, is_right) {
        (true, _) => ExitCode::from(3),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

/// Whether there is a figure in each step; idle connections have none to give.
fn has_measured(report: &Report) -> bool {
    let is_idle = report.plan.mode == "idle";
    report.steps.iter().all(|step| is_idle || step.messages > 0 || step.latency.count > 0)
}

fn require_descriptors(plan: &Plan) -> Result<(), Failure> {
    let ceiling = Descriptors::raise().ceiling(Some(plan.connections));
    if ceiling.lowered_from.is_none() {
        ceiling.reserve_table();
        return Ok(());
    }
    Err(Failure::System(format!(
        "{} connections are too many: {} fit ({}; see ulimit -n)",
        plan.connections, ceiling.connections, ceiling.limited_by
    )))
}

fn print(text: &str) -> Result<(), Failure> {
    let printed = io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::System(format!("cannot write to stdout: {error}")))
}

fn write_json(path: &Path, report: &Report) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report);
    let text = text.map_err(|error| Failure::System(format!("cannot write JSON: {error}")))?;
    match path == Path::new("-") {
        true => print(&(text + "\n")),
        false => write(path, &(text + "\n")),
    }
}

fn read_json(path: &PathBuf) -> Result<(String, Report), Failure> {
    let wrong = |why: String| Failure::System(format!("cannot read {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match value.get("schema").and_then(Value::as_u64) {
        Some(SCHEMA) => {}
        Some(other) => return Err(wrong(format!("its schema is {other}, and {SCHEMA} is known"))),
        None => return Err(wrong("it is no report of `edgeloop load --json`".into())),
    }
    let is_old = value.pointer("/steps/0").is_some_and(|it| it.get("errors_before").is_none());
    let report: Report = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    if is_old && !report.errors().is_none() {
        let path = path.display();
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "edgeloop: {path} is of an earlier version: wrong answers are in its rate and latency, \
             and errors of the warm-up among its errors"
        );
    }
    let name = path.file_stem().unwrap_or(path.as_os_str());
    Ok((name.to_string_lossy().into_owned(), report))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::write(path, text);
    written.map_err(|error| Failure::System(format!("cannot write {}: {error}", path.display())))
}

/// Of the reports that are read.
const SCHEMA: u64 = 1;

const MORE: &str = "\
Modes:
  echo       bytes that come back (any echo server)       broadcast  lines that reach all others
  lines      lines that come back, with a prefix          redis      PING, SET, GET, PUBLISH
  stream     large messages, many in flight: throughput   http       GET of a path
  idle       connections that are held                    churn      connect, one message, close

Bounds for --fail-if are METRIC>LIMIT, or with >=, <, <=:
  times (us, ms, s)   min mean p50 p90 p99 p99.9 max connect.p99 connect.max lateness.p99
                      with --pulse: pulse.p99 outside.p99 recovery (the longest)
                      client.cpu server.cpu (for each message)
  numbers (k, M)      rate messages errors errors.KIND unsent unanswered bytes.rate server.rss
                      retransmits overflows

Exit codes: 0 every answer was right, 1 there were errors or there was no answer, 2 usage,
3 a bound was missed. Ctrl-C ends the run and shows what was measured; a second one ends at once.";
