//! The report as text: what a person reads first, and below it all that he should know before he
//! believes it.

use std::fmt::Write;

use edgeloop::load::{Latency, Report, Step};

use super::figures::{bytes, count, rate, share, time};

/// A whole report.
pub(super) fn of(report: &Report) -> String {
    let mut text = title(report);
    text.push('\n');
    match &report.steps[..] {
        [step] => details(&mut text, report, step),
        steps => {
            let rows = steps.iter().map(|step| (String::new(), step));
            text.push_str(&grid(&rows.collect::<Vec<_>>()));
        }
    }
    for step in &report.steps {
        for note in notes(report, step) {
            let _ = match report.steps.len() {
                1 => writeln!(text, "note: {note}"),
                _ => writeln!(text, "note, {} connections: {note}", count(step.connections as u64)),
            };
        }
    }
    if report.interrupted {
        text.push_str("note: interrupted; these are the figures up to then\n");
    }
    text
}

/// What was measured, in a line.
pub(super) fn title(report: &Report) -> String {
    let plan = &report.plan;
    let mut text = format!("{} {}, {} loop", plan.mode, plan.target, plan.r#loop);
    if let Some(asked) = plan.rate {
        let _ = write!(text, " at {} messages/s", rate(asked));
    }
    let connections = count(plan.connections as u64);
    let _ = write!(text, ", {connections} connections, {} in flight on each", plan.pipeline);
    if plan.size > 0 && plan.mode != "http" {
        let _ = write!(text, ", messages of {}", bytes(plan.size as f64));
    }
    text.push('\n');
    text
}

/// Several reports side by side, a row for each step.
pub(super) fn side_by_side(reports: &[(String, Report)]) -> String {
    let mut rows = Vec::new();
    for (name, report) in reports {
        rows.extend(report.steps.iter().map(|step| (name.clone(), step)));
    }
    grid(&rows)
}

fn details(text: &mut String, report: &Report, step: &Step) {
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<10} {words}");
    };
    let latency = &step.latency;
    let throughput = bytes(step.bytes_rate);
    let messages = count(step.messages);
    let what = if report.plan.mode == "broadcast" { "deliveries" } else { "messages" };
    let rate = rate(step.rate);
    if report.plan.mode != "idle" {
        let seconds = step.seconds;
        line("rate", format!("{rate} {what}/s, {throughput}/s; {messages} in {seconds:.1} s"));
        line("latency", percentiles(latency));
    }
    if let Some(lateness) = &step.lateness {
        let (p50, p99) = (time(lateness.p50_us), time(lateness.p99_us));
        line("pacing", format!("sent later than due by p50 {p50}, p99 {p99}"));
    }
    line("errors", step.errors.to_string());
    let connects = &step.connects;
    let (established, attempted) = (count(connects.established), count(connects.attempted));
    let (p99, max) = (time(connects.latency.p99_us), time(connects.latency.max_us));
    line("connects", format!("{established} of {attempted}, p99 {p99}, max {max}"));
    match &step.server {
        Some(server) => {
            line("server", cpu(server.cpu_us_per_message, server.utilisation, step));
            let each = bytes(server.rss_per_connection_bytes);
            let (slept, lost) =
                (count(server.voluntary_switches), count(server.involuntary_switches));
            line(
                "",
                format!("{} resident, {each} for each connection", bytes(server.rss_bytes as f64)),
            );
            line(
                "",
                format!(
                    "{slept} times asleep, {lost} times without CPU ({}, pid {})",
                    server.name,
                    pids(&server.pids)
                ),
            );
        }
        None => {
            line("server", "on another machine, or not to be seen: no CPU time, no memory".into())
        }
    }
    line("client", cpu(step.client.cpu_us_per_message, step.client.utilisation, step));
}

fn percentiles(latency: &Latency) -> String {
    if latency.count == 0 {
        return "unknown: nothing was answered in that time".into();
    }
    let named = [
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p99_9_us),
        ("max", latency.max_us),
        ("mean", latency.mean_us),
    ];
    named.map(|(name, us)| format!("{name} {}", time(us))).join(", ")
}

fn cpu(us: f64, utilisation: f64, step: &Step) -> String {
    match step.messages {
        0 => format!("{} of a CPU", share(utilisation)),
        _ => format!("{us:.2} us CPU for each message, {} of a CPU", share(utilisation)),
    }
}

fn pids(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// What the figures are worth.
fn notes(report: &Report, step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    if step.client_bound == Some(true) {
        notes.push("client-bound: the clients had no CPU time left and the server had, so the rate is theirs".into());
    } else if step.client_bound.is_none() && step.client.utilisation >= 0.95 {
        notes.push(
            "the clients had no CPU time left; the rate may be theirs and not the server's".into(),
        );
    }
    if let Some(little) = step.little.filter(|little| !little.holds) {
        let (product, in_flight) = (little.product, little.in_flight);
        notes.push(format!("rate x mean latency is {product:.1}, but {in_flight:.0} were in flight: these figures do not add up"));
    }
    if report.plan.rate.is_some_and(|asked| step.seconds > 0.0 && step.rate < asked * 0.99)
        && report.plan.mode != "broadcast"
    {
        notes.push("fewer messages were answered than were due: the server, or the pipeline, does not keep up".into());
    }
    if step.unsent > 0 {
        let unsent = count(step.unsent);
        notes.push(format!("{unsent} messages were due and never sent, since answers were missing; they count in the latency"));
    }
    if let Some(lateness) = step
        .lateness
        .as_ref()
        .filter(|late| late.p99_us > 0.1 * step.latency.p99_us && late.p99_us > 100.0)
    {
        let late = time(lateness.p99_us);
        notes.push(format!("1 % of the messages left {late} later than due by the clients' own doing: see --spin, or leave them more CPU"));
    }
    if step.connects.slow > 0 {
        let slow = count(step.connects.slow);
        notes.push(format!("{slow} connects took more than 900 ms: their first packet was lost"));
    }
    let deferred: f64 = step.ksoftirqd_s.iter().sum();
    if step.server.as_ref().is_some_and(|server| deferred > DEFERRED_SHARE * server.cpu_s) {
        notes.push(format!("{deferred:.2} s of network work went to ksoftirqd, a thread of the kernel, and are in the CPU time of neither side"));
    }
    if let Some(kernel) = step.kernel {
        let counted = [
            (kernel.listen_overflows, "connects found the backlog full"),
            (kernel.listen_drops.saturating_sub(kernel.listen_overflows), "connects were dropped"),
            (kernel.tcp_timeouts, "retransmission timers fired"),
            (kernel.retransmits, "segments were sent again"),
        ];
        let counted = counted.iter().filter(|(number, _)| *number > 0);
        notes.extend(
            counted.map(|(number, what)| {
                format!("on this machine {} {what} meanwhile", count(*number))
            }),
        );
    }
    notes
}

/// Rows under headings, each column as wide as its widest cell.
fn grid(rows: &[(String, &Step)]) -> String {
    let is_named = rows.iter().any(|(name, _)| !name.is_empty());
    let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|(name, step)| cells(name, step)));
    let first = usize::from(!is_named);
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        for column in first..line.len() {
            let (cell, width) = (&line[column], widths[column]);
            let gap = if column > first { "  " } else { "" };
            let _ = match column {
                0 => write!(text, "{gap}{cell:<width$}"),
                _ => write!(text, "{gap}{cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// One step, as wide as `HEADINGS`.
pub(super) fn cells(name: &str, step: &Step) -> Vec<String> {
    let latency = &step.latency;
    let server = step.server.as_ref();
    let bound = if step.client_bound == Some(true) { "client-bound" } else { "" };
    vec![
        name.to_owned(),
        count(step.connections as u64),
        rate(step.rate),
        time(latency.p50_us),
        time(latency.p90_us),
        time(latency.p99_us),
        time(latency.p99_9_us),
        time(latency.max_us),
        server.map_or("-".into(), |it| format!("{:.2}", it.cpu_us_per_message)),
        format!("{:.2}", step.client.cpu_us_per_message),
        server.map_or("-".into(), |it| bytes(it.rss_per_connection_bytes)),
        count(step.errors.total()),
        bound.to_owned(),
    ]
}

/// What is less is lost in the noise.
const DEFERRED_SHARE: f64 = 0.02;

/// CPU in microseconds for a message, memory for a connection.
pub(super) const HEADINGS: [&str; 13] = [
    "run",
    "connections",
    "rate/s",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "server us",
    "client us",
    "memory",
    "errors",
    "",
];
