//! The report as one page that needs nothing beside it: pictures, the table, and what was run where.

use std::fmt::Write;

use edgeloop::load::{Report, Step};

use super::pictures::{self, Shape};
use super::{figures, table};

/// One report, or several side by side; a name for each, which may be empty if there is one.
pub(super) fn of(reports: &[(String, Report)]) -> String {
    let mut page = String::from(HEAD);
    let titles = reports.iter().map(|(_, report)| table::title(report).trim().to_owned());
    let titles: Vec<String> = titles.collect();
    let (heading, below) = match &titles[..] {
        [title] => (title.clone(), String::new()),
        _ => (format!("{} runs side by side", titles.len()), titles.join("; ")),
    };
    let _ = write!(page, "<title>{0}</title>\n<main>\n<h1>{0}</h1>\n", escaped(&heading));
    if !below.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(&below));
    }
    let rows = pictures::rows_of(reports);
    reports.iter().for_each(|(name, report)| headline(&mut page, name, report, &reports[0].1));
    let runs: Vec<&str> = reports.iter().map(|(name, _)| name.as_str()).collect();
    figure(&mut page, &runs, "Rate by connections", RAMP_RATE, |it| {
        pictures::ramp_rate(reports, it)
    });
    figure(&mut page, &runs, "p99 by connections", RAMP_P99, |it| pictures::ramp_p99(reports, it));
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    figure(&mut page, &names, "Latency by percentile", PERCENTILES, |it| {
        pictures::percentiles(&rows, it)
    });
    figure(&mut page, &names, "Rate over time", RATE, |it| pictures::rate(&rows, it));
    figure(&mut page, &names, "p99 over time", P99, |it| pictures::p99(&rows, it));
    numbers(&mut page, &rows);
    for (name, report) in reports {
        circumstances(&mut page, name, report);
    }
    page.push_str("</main>\n</html>\n");
    page
}

/// What a reader wants to know first: of a ramp where the rate was highest. Beside another run, how
/// much more or less that is than in the first one.
fn headline(page: &mut String, name: &str, report: &Report, first: &Report) {
    let Some(step) = fastest(report) else { return };
    if !name.is_empty() {
        let _ = writeln!(page, "<h2>{}</h2>", escaped(name));
    }
    let other = fastest(first).filter(|_| !std::ptr::eq(report, first));
    let than = |value: f64, of: fn(&Step) -> f64| {
        let base = other.map(of).filter(|base| *base > 0.0);
        base.map_or(String::new(), |base| format!("{:+.1} %", 100.0 * (value / base - 1.0)))
    };
    let at = match report.steps.len() {
        1 => String::new(),
        _ => format!("at {} connections", figures::count(step.connections as u64)),
    };
    let what = if report.plan.mode == "broadcast" { "deliveries/s" } else { "messages/s" };
    let latency = &step.latency;
    let time = |us: f64| if latency.count > 0 { figures::time(us) } else { "unknown".into() };
    let mut cards = Vec::new();
    if report.plan.mode != "idle" {
        let rate = than(step.rate, |step| step.rate);
        cards.push((what, figures::rate(step.rate), join(&at, &rate)));
        cards.push(("p50", time(latency.p50_us), than(latency.p50_us, |it| it.latency.p50_us)));
        cards.push(("p99", time(latency.p99_us), than(latency.p99_us, |it| it.latency.p99_us)));
        cards.push(("longest", time(latency.max_us), String::new()));
    }
    if let Some(pulses) = step.pulses.as_ref().filter(|it| !it.each.is_empty()) {
        let longest = pulses.longest_recovery_us();
        let value = match pulses.usual_us {
            Some(_) => longest.map_or("never".into(), figures::time),
            None => "unknown".into(),
        };
        cards.push(("longest recovery", value, "after bursts".into()));
    }
    if let Some(server) = step.server.as_ref().filter(|_| step.messages > 0) {
        let cpu = |step: &Step| step.server.as_ref().map_or(0.0, |it| it.cpu_us_per_message);
        let us = figures::time(server.cpu_us_per_message);
        cards.push(("server CPU for each", us, than(server.cpu_us_per_message, cpu)));
    }
    let errors = report.errors();
    let kinds = if errors.is_none() { String::new() } else { errors.to_string() };
    cards.push(("errors", figures::count(errors.total()), kinds));
    page.push_str("<div class=\"cards\">\n");
    for (name, value, below) in cards {
        let (name, value, below) = (escaped(name), escaped(&value), escaped(&below));
        let _ = writeln!(page, "<p><span>{name}</span><b>{value}</b><small>{below}</small></p>");
    }
    page.push_str("</div>\n");
}

fn fastest(report: &Report) -> Option<&Step> {
    report.steps.iter().max_by(|one, other| one.rate.total_cmp(&other.rate))
}

fn join(first: &str, second: &str) -> String {
    match first.is_empty() || second.is_empty() {
        true => format!("{first}{second}"),
        false => format!("{first}, {second}"),
    }
}

/// A picture in both shapes; the page shows the shape that fits.
fn figure(
    page: &mut String,
    names: &[&str],
    title: &str,
    caption: &str,
    draw: impl Fn(Shape) -> Option<String>,
) {
    let (Some(wide), Some(narrow)) = (draw(Shape::Wide), draw(Shape::Narrow)) else { return };
    let _ = writeln!(page, "<figure>\n<h2>{title}</h2>");
    if names.len() > 1 {
        page.push_str("<p class=\"legend\">");
        for (index, name) in names.iter().enumerate() {
            let color = pictures::color_name(index);
            let name = escaped(name);
            let _ = write!(page, "<span><i style=\"background:var({color})\"></i>{name}</span> ");
        }
        page.push_str("</p>\n");
    }
    let _ =
        writeln!(page, "<div class=\"wide\">{wide}</div>\n<div class=\"narrow\">{narrow}</div>");
    let _ = writeln!(page, "<figcaption>{caption}</figcaption>\n</figure>");
}

/// A column without a word is left out; on a small screen each row is a list of its own.
fn numbers(page: &mut String, rows: &[(String, &Step)]) {
    let lines: Vec<Vec<String>> =
        rows.iter().map(|(name, step)| table::cells(name, step)).collect();
    let is_told = |column: &usize| lines.iter().any(|line| !line[*column].is_empty());
    let columns: Vec<usize> = (0..table::HEADINGS.len()).filter(is_told).collect();
    page.push_str("<h2>Figures</h2>\n<div class=\"table\"><table>\n<thead><tr>");
    for column in &columns {
        let _ = write!(page, "<th>{}</th>", escaped(table::HEADINGS[*column]));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for line in &lines {
        page.push_str("<tr>");
        for column in &columns {
            let (heading, cell) = (escaped(table::HEADINGS[*column]), escaped(&line[*column]));
            let _ = write!(page, "<td data-name=\"{heading}\">{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    let _ = writeln!(page, "</tbody>\n</table></div>\n<p class=\"small\">{UNITS}</p>");
}

fn circumstances(page: &mut String, name: &str, report: &Report) {
    let (machine, gib) = (&report.machine, report.machine.memory_bytes as f64 / GIB);
    let title = if name.is_empty() { "Where and how" } else { name };
    let rows = [
        ("command", report.command_line.join(" ")),
        ("edgeloop", report.version.clone()),
        ("machine", format!("{} CPUs, {}, {gib:.0} GiB", machine.cpus, machine.cpu_model)),
        ("kernel", machine.kernel.clone()),
        ("congestion control", machine.congestion_control.clone()),
        ("clock", machine.clock_source.clone()),
        ("errors", report.errors().to_string()),
    ];
    let _ = writeln!(page, "<h2>{}</h2>\n<dl>", escaped(title));
    for (name, value) in rows {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    page.push_str("</dl>\n<pre>");
    page.push_str(&escaped(&table::of(report)));
    page.push_str("</pre>\n");
}

/// Command lines and names of files may hold anything.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
    }
    safe
}

const PERCENTILES: &str = "How long the slowest part of the messages took: at 99 % on the axis, all but one \
    of a hundred were answered within the time shown. A closed loop shows service time; an open loop counts from \
    the moment a message was due.";
const RAMP_RATE: &str =
    "Answers a second in each step. Where the line bends, something is exhausted.";
const RAMP_P99: &str = "The 99th percentile of each step.";
const RATE: &str = "Answers in each second of the measurement.";
const P99: &str = "The 99th percentile of the answers of each second: a stall is a peak.";
const UNITS: &str = "CPU time in microseconds for each message; memory is the server's resident memory \
    for each connection.";
const GIB: f64 = 1_073_741_824.0;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root { --paper: #ffffff; --ink: #1d2329; --soft: #5b6570; --axis: #98a2ad; --grid: #e6e9ed; --panel: #f6f7f9;
  --a: #1f6feb; --b: #d1495b; --c: #2a9d6f; --d: #b7791f; --e: #7c4dbd; --f: #0e8a9e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #dfe4ea; --soft: #97a3b0; --axis: #5d6875; --grid: #2a3139; --panel: #1c2229;
    --a: #63a4ff; --b: #ff8090; --c: #5ed3a3; --d: #e8b45c; --e: #b794f4; --f: #56c8dc; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; }
.cards p { margin: 0; padding: .7rem .9rem; background: var(--panel); border-radius: 6px; }
.cards span, .cards small { display: block; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
.cards b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
figure { margin: 0; }
svg { display: block; height: auto; }
svg text { font-family: system-ui, sans-serif; }
.narrow { display: none; }
figcaption, .small { color: var(--soft); font-size: .875rem; max-width: 46rem; }
.legend { margin: 0 0 .25rem; font-size: .9rem; }
.legend span { display: inline-block; margin-right: 1.25rem; overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 1rem; height: .25rem; border-radius: 2px; margin-right: .4rem; vertical-align: middle; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: .35rem .4rem; text-align: right; border-bottom: 1px solid var(--grid); }
td { white-space: nowrap; }
td[data-name="run"] { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 0; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .9rem 1rem; border-radius: 6px; font-size: .82rem; line-height: 1.45;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 62rem) {
  thead { display: none; }
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 0 1.25rem; padding: .5rem 0;
    border-bottom: 1px solid var(--grid); }
  td, td:first-child { display: flex; justify-content: space-between; gap: .5rem; border: 0; padding: .1rem 0; }
  td[data-name="run"] { grid-column: 1 / -1; justify-content: flex-start; font-weight: 600; }
  td:empty { display: none; }
  td::before { content: attr(data-name); color: var(--soft); }
}
@media (max-width: 36rem) {
  .wide { display: none; }
  .narrow { display: block; }
  main { padding: 1.25rem 1rem 3rem; }
  .cards { grid-template-columns: 1fr 1fr; }
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .4rem; }
}
</style>
"#;
