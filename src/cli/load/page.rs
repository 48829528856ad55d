//! The report as one page that needs nothing beside it: pictures, the table, and what was run where.

use std::fmt::Write;

use edgeloop::load::{Report, Step};

use super::{pictures, table};

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
    figure(&mut page, &rows, "Latency by percentile", PERCENTILES, pictures::percentiles(&rows));
    figure(&mut page, &rows, "Rate over time", RATE, pictures::rate(&rows));
    figure(&mut page, &rows, "p99 over time", P99, pictures::p99(&rows));
    numbers(&mut page, &rows);
    for (name, report) in reports {
        circumstances(&mut page, name, report);
    }
    page.push_str("</main>\n</html>\n");
    page
}

fn figure(
    page: &mut String,
    rows: &[(String, &Step)],
    title: &str,
    caption: &str,
    svg: Option<String>,
) {
    let Some(svg) = svg else { return };
    let _ = writeln!(page, "<figure>\n<h2>{title}</h2>");
    if rows.len() > 1 {
        page.push_str("<p class=\"legend\">");
        for (index, (name, _)) in rows.iter().enumerate() {
            let color = pictures::color_name(index);
            let name = escaped(name);
            let _ = write!(page, "<span><i style=\"background:var({color})\"></i>{name}</span> ");
        }
        page.push_str("</p>\n");
    }
    let _ = writeln!(page, "{svg}\n<figcaption>{caption}</figcaption>\n</figure>");
}

fn numbers(page: &mut String, rows: &[(String, &Step)]) {
    page.push_str("<h2>Figures</h2>\n<div class=\"wide\"><table>\n<tr>");
    table::HEADINGS.iter().for_each(|heading| {
        let _ = write!(page, "<th>{}</th>", escaped(heading));
    });
    page.push_str("</tr>\n");
    for (name, step) in rows {
        page.push_str("<tr>");
        table::cells(name, step).iter().for_each(|cell| {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        });
        page.push_str("</tr>\n");
    }
    let _ = writeln!(page, "</table></div>\n<p class=\"small\">{UNITS}</p>");
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
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; }
figure { margin: 0; }
svg { display: block; height: auto; }
svg text { font-family: system-ui, sans-serif; }
figcaption, .small { color: var(--soft); font-size: .875rem; max-width: 46rem; }
.legend { margin: 0 0 .25rem; font-size: .9rem; }
.legend span { margin-right: 1.25rem; white-space: nowrap; }
.legend i { display: inline-block; width: 1rem; height: .25rem; border-radius: 2px; margin-right: .4rem; vertical-align: middle; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 0; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .9rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .82rem; line-height: 1.45; }
</style>
"#;
