//! `docs/benchmarks.md`, from what the records say.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::catalogue::{PEERS, Peer, Programs, Service};
use crate::figures::Sample;
use crate::machine::Machine;
use crate::picture::{self, Bar};
use crate::record::{NOISE, Record, Spread};
use crate::sample;
use crate::workload::{Work, Workload};

/// All that the page tells beside the records.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    is_quick: bool,
    workloads: &'a [Workload],
    programs: &'a Programs,
    machine: Machine,
    /// By workload and peer, why it cannot be measured here.
    skipped: BTreeMap<(String, &'static str), String>,
}

/// A row of a table in pairs, before it is text.
struct Row<'a> {
    name: String,
    spread: Spread,
    samples: Vec<&'a Sample>,
    pairs: String,
}

impl<'a> Page<'a> {
    pub(crate) fn new(
        is_quick: bool,
        workloads: &'a [Workload],
        programs: &'a Programs,
        machine: Machine,
    ) -> Self {
        Self { is_quick, workloads, programs, machine, skipped: BTreeMap::new() }
    }

    pub(crate) fn skip(&mut self, workload: &str, peer: &'static str, reason: &str) {
        self.skipped.insert((workload.to_owned(), peer), reason.to_owned());
    }

    /// One line for each reason, however many rows it concerns.
    pub(crate) fn print_skipped(&self) {
        for (name, version) in self.programs.versions() {
            if let Err(reason) = version {
                println!("skipped: {name}: {reason}");
            }
        }
        let is_said = |reason: &str| self.programs.versions().any(|(_, v)| v == Err(reason));
        let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.skipped.values().filter(|reason| !is_said(reason)) {
            *rows.entry(reason).or_default() += 1;
        }
        for (reason, count) in rows {
            println!("skipped: {count} measurements: {reason}");
        }
    }

    /// Writes page and pictures into the directory of the results, and to their place in the
    /// documents if nothing is missing. Returns where the page is.
    pub(crate) fn write(&self, results: &Path, place: Option<&Path>) -> Result<PathBuf> {
        let page = results.join("benchmarks.md");
        let is_complete = self.write_to(results, &page)?;
        match place {
            Some(place) if is_complete => {
                self.write_to(results, place)?;
                Ok(place.to_owned())
            }
            Some(place) => {
                println!("{} stays as it is: not everything is measured yet", place.display());
                Ok(page)
            }
            None => Ok(page),
        }
    }

    /// True if every cell is there, failed or known to be impossible.
    fn write_to(&self, results: &Path, page: &Path) -> Result<bool> {
        let pictures = page.with_extension("");
        fs::create_dir_all(&pictures)?;
        let mut out = self.head();
        out += &self.summary(results);
        let mut is_complete = true;
        for workload in self.workloads {
            let records = records_of(workload, results);
            is_complete &= self.is_complete(workload, &records);
            let _ = write!(out, "\n## {}\n\n", workload.title);
            match workload.work {
                Work::Idle(..) => out += &idle_table(&records),
                Work::Storm(_) => out += &storm_table(&records),
                _ => {
                    let rows = rows(workload, &records);
                    out += &paired_table(workload, &rows);
                    if !rows.is_empty() {
                        let file = format!("{}.svg", workload.name);
                        fs::write(pictures.join(&file), picture_of(workload, &rows))?;
                        let folder = pictures.file_name().unwrap_or_default().to_string_lossy();
                        let alt = format!("Ratios of CPU time: {}", workload.title);
                        let _ = write!(out, "\n![{alt}]({folder}/{file})\n");
                    }
                }
            }
            out += &self.absent(workload, &records);
        }
        fs::write(page, out)?;
        Ok(is_complete)
    }

    fn is_complete(&self, workload: &Workload, records: &[Record]) -> bool {
        workload.service.peers().enumerate().all(|(place, peer)| {
            // The yardstick of publishing is measured with each of the others.
            let is_in_all = place == 0 && workload.service != Service::Echo;
            let is_known = self.skipped.contains_key(&(workload.name.clone(), peer.name));
            is_in_all || is_known || records.iter().any(|record| record.peer == peer.name)
        })
    }

    fn head(&self) -> String {
        let Machine { cpu, cpus, is_virtual, memory_gib, kernel, congestion_control, date } =
            &self.machine;
        let kind = if *is_virtual { "virtual machine" } else { "machine" };
        let (campaign, warning) = if self.is_quick {
            (
                "quick",
                "**A quick run: it shows that everything works; its times mean nothing.**\n\n",
            )
        } else {
            ("full", "")
        };
        let mut out = format!(
            "# Benchmarks\n\n\
             {warning}\
             Written by `benches/peers/run.sh {campaign}` on {date}; edits are lost. How it is measured, and how to measure\n\
             it again: [benches/peers/README.md](../benches/peers/README.md).\n\n\
             The figure is the **server's CPU time for a verified message**, as a ratio to a yardstick that was measured\n\
             alternately with it: for echo `floor-c`, the least that an edge-triggered server can do; for the rest\n\
             `edgeloop`. Given is the median of the pairs, and their range. Less is better, and a difference below 2 % is\n\
             noise: how much of that there was, the row of the yardstick against itself shows. Where the client's\n\
             CPU was exhausted before the server's, the rate is a lower bound and says *client-bound*; such rates do not\n\
             rank servers. Latency in a closed loop is service time, which hides stalls; in the open loop it counts from\n\
             when a message was due.\n\n\
             Measured on a {kind} with {cpus} CPUs ({cpu}), {memory_gib:.0} GiB, Linux {kernel}, congestion control\n\
             {congestion_control}. The server has CPU 0 to itself, the client CPU 1.\n\n\
             | program | version |\n| --- | --- |\n"
        );
        for (name, version) in self.programs.versions() {
            let text = version.map_or_else(|reason| format!("not here: {reason}"), str::to_owned);
            let _ = writeln!(out, "| {name} | {text} |");
        }
        out += "\n| row | what it is |\n| --- | --- |\n";
        for peer in PEERS {
            let service = match peer.service {
                Service::Echo => "echo",
                Service::Broadcast => "broadcast",
                Service::Web => "HTTP",
                Service::Kv => "Redis protocol",
            };
            let _ = writeln!(out, "| {}, {service} | {} |", peer.name, peer.about);
        }
        out
    }

    /// For each kind of work: edgeloop, and the cheapest of all others.
    fn summary(&self, results: &Path) -> String {
        let mut out =
            "\n## In short\n\nRatios of CPU time; the lists behind each row are below.\n\n\
                       | work | yardstick | edgeloop | the cheapest other | place of edgeloop |\n\
                       | --- | --- | --- | --- | --- |\n"
                .to_owned();
        for workload in self.workloads {
            let records = records_of(workload, results);
            let rows = rows(workload, &records);
            let reference = reference_of(workload);
            let (ours, others): (Vec<&Row>, Vec<&Row>) = rows
                .iter()
                .filter(|row| is_ours(row) || !row.name.starts_with(reference))
                .partition(|row| is_ours(row));
            let (Some(ours), Some(best)) = (ours.first(), others.first()) else { continue };
            let is_before = |row: &&&Row| row.spread.median < ours.spread.median;
            let place = 1 + others.iter().filter(is_before).count();
            let _ = writeln!(
                out,
                "| {} | {reference} | {:.3} | {} {:.3} | {place} of {} |",
                workload.title,
                ours.spread.median,
                best.name,
                best.spread.median,
                others.len() + 1,
            );
        }
        out
    }

    /// What has no row in the table, and why.
    fn absent(&self, workload: &Workload, records: &[Record]) -> String {
        let mut out = String::new();
        for peer in workload.service.peers() {
            let record = records.iter().find(|record| record.peer == peer.name);
            let reason = record.and_then(|record| record.failure.as_ref());
            // In one line, or the list ends there.
            let reason = reason.map(|reason| format!("failed: {}", reason.replace('\n', "; ")));
            let skipped = || self.skipped.get(&(workload.name.clone(), peer.name)).cloned();
            if let Some(reason) = reason.or_else(skipped) {
                let _ = writeln!(out, "- {}: {reason}", peer.name);
            }
        }
        if out.is_empty() { out } else { format!("\nNot measured:\n\n{out}") }
    }
}

fn records_of(workload: &Workload, results: &Path) -> Vec<Record> {
    let read = |peer: &Peer| Record::read(results, &workload.name, peer.name);
    workload.service.peers().flat_map(read).collect()
}

fn reference_of(workload: &Workload) -> &'static str {
    workload.service.peers().next().map_or("", |peer| peer.name)
}

/// The cheapest first. Where the yardstick has no record of its own, its row is what it did beside
/// all the others.
fn rows<'r>(workload: &Workload, records: &'r [Record]) -> Vec<Row<'r>> {
    let reference = reference_of(workload);
    let mut rows = Vec::new();
    for record in records.iter().filter(|record| record.failure.is_none()) {
        let Some(spread) = record.spread() else { continue };
        let counted = record.counted();
        let of = record.pairs.len();
        let pairs = if record.has_counted() {
            format!("{} of {of}", counted.len())
        } else {
            format!("none of {of}: {}", record.pairs[0].disturbance.as_deref().unwrap_or_default())
        };
        let itself = if record.peer == reference { " against itself" } else { "" };
        let samples = counted.iter().map(|pair| &pair.peer).collect();
        rows.push(Row { name: format!("{}{itself}", record.peer), spread, samples, pairs });
    }
    if !rows.is_empty() && records.iter().all(|record| record.peer != reference) {
        let samples =
            records.iter().flat_map(Record::counted).map(|pair| &pair.reference).collect();
        let spread = Spread { median: 1.0, least: 1.0, most: 1.0, half: [1.0; 2] };
        let pairs = if records.iter().any(Record::has_counted) { "of the others" } else { "none" };
        rows.push(Row { name: reference.to_owned(), spread, samples, pairs: pairs.to_owned() });
    }
    rows.sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
    rows
}

fn paired_table(workload: &Workload, rows: &[Row]) -> String {
    let is_broadcast = workload.service == Service::Broadcast;
    let [unit, units] = workload.unit;
    let reference = reference_of(workload);
    let (more, line) = if is_broadcast { (" memory, MiB |", " --- |") } else { ("", "") };
    let mut out = format!(
        "| server | CPU µs for a {unit} | × {reference} | range | pairs that count | {units}/s | p50 µs | p99 µs |{more}\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |{line}\n"
    );
    for row in rows {
        let Row { name, spread, samples, pairs } = row;
        let median = |figure: fn(&Sample) -> f64| {
            Spread::of(samples.iter().map(|sample| figure(sample))).map_or(f64::NAN, |s| s.median)
        };
        let bound = samples.iter().any(|sample| sample.client_bound);
        let bound = if bound { ", client-bound" } else { "" };
        let _ = write!(
            out,
            "| {} | {:.3} | {:.3} | {:.3} to {:.3} | {pairs} | {}{bound} | {:.0} | {:.0} |",
            if is_ours(row) { format!("**{name}**") } else { name.clone() },
            median(|sample| sample.cpu_us),
            spread.median,
            spread.least,
            spread.most,
            grouped(median(|sample| sample.rate)),
            median(|sample| sample.p50_us),
            median(|sample| sample.p99_us),
        );
        if is_broadcast {
            let memory = median(|sample| sample.memory_max as f64) / 1024.0 / 1024.0;
            let _ = write!(out, " {memory:.1} |");
        }
        out.push('\n');
    }
    let remarks = rows.iter().flat_map(|row| {
        let remark = row.samples.iter().rev().find_map(|sample| sample.remark.as_ref());
        remark.map(|remark| format!("- {}: {remark}\n", row.name))
    });
    let remarks: String = remarks.collect();
    if !remarks.is_empty() {
        let _ = write!(out, "\n{remarks}");
    }
    out + &verdict(rows, reference)
}

fn is_ours(row: &Row) -> bool {
    row.name == "edgeloop"
}

/// Who is cheaper than edgeloop, said as plainly as the opposite.
fn verdict(rows: &[Row], reference: &str) -> String {
    let Some(ours) = rows.iter().find(|row| is_ours(row)) else { return String::new() };
    let mine = ours.spread.median;
    let others = || rows.iter().filter(|row| !is_ours(row) && !row.name.starts_with(reference));
    let named = |found: Vec<&Row>| {
        let each = |row: &&Row| format!("{} ({:.2} ×)", row.name, row.spread.median / mine);
        found.iter().map(each).collect::<Vec<_>>().join(", ")
    };
    let cheaper =
        others().filter(|row| row.spread.median < mine * (1.0 - NOISE)).collect::<Vec<_>>();
    let dearer = others().filter(|row| row.spread.median > mine * (1.0 + NOISE)).count();
    let equal = others().count() - cheaper.len() - dearer;
    let losses = match cheaper.is_empty() {
        true => "none is cheaper".to_owned(),
        false => format!("cheaper: {}", named(cheaper)),
    };
    format!("\nBeside edgeloop: {losses}; {equal} equal within 2 %, {dearer} dearer.\n")
}

fn picture_of(workload: &Workload, rows: &[Row]) -> String {
    let bar = |row: &Row| Bar { name: row.name.clone(), spread: row.spread, is_ours: is_ours(row) };
    let title = format!("{}: CPU time × {}", workload.title, reference_of(workload));
    picture::bars(&title, &rows.iter().map(bar).collect::<Vec<_>>())
}

fn idle_table(records: &[Record]) -> String {
    let columns = [
        (sample::BYTES_EACH, 1.0, 0),
        (sample::BYTES_ANONYMOUS, 1.0, 0),
        (sample::RESIDENT_BEFORE, 1.0 / 1024.0, 0),
        (sample::IDLE_CPU, 100.0, 3),
        (sample::WAKE_UPS, 1.0, 1),
    ];
    let names =
        "bytes for a connection | of these anonymous | KiB before | CPU while idle, % | wake-ups/s";
    plain_table(records, names, &columns)
}

fn storm_table(records: &[Record]) -> String {
    let columns = [
        (sample::ALL_ECHOED, 1.0, 3),
        (sample::ALL_CONNECTED, 1.0, 3),
        (sample::SLOWEST, 1.0, 3),
        (sample::FAILURES, 1.0, 0),
        (sample::OVERFLOWS, 1.0, 0),
        (sample::CPU_EACH, 1.0, 2),
    ];
    let names = "all echoed after, s | all connected, s | slowest connect, s | failures | \
                 listen overflows | CPU µs for a connection";
    plain_table(records, names, &columns)
}

/// Medians of the runs, the row with the least in the first column first.
fn plain_table(records: &[Record], names: &str, columns: &[(&str, f64, usize)]) -> String {
    let value = |record: &Record, name: &str| {
        let values = record.values.get(name).cloned().unwrap_or_default();
        Spread::of(values).map_or(f64::NAN, |spread| spread.median)
    };
    let mut out = format!("| server | {names} |\n| --- |{}\n", " --- |".repeat(columns.len()));
    let mut sorted: Vec<&Record> = records.iter().filter(|r| r.failure.is_none()).collect();
    sorted.sort_by(|a, b| value(a, columns[0].0).total_cmp(&value(b, columns[0].0)));
    for record in sorted {
        let cells = columns.iter().map(|(name, factor, digits)| {
            format!(" {:.*} |", digits, value(record, name) * factor)
        });
        let _ = writeln!(out, "| {} |{}", record.peer, cells.collect::<String>());
    }
    out
}

/// 1234567 as `1,234,567`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
