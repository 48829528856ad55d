//! The report as text: what a person reads first, and below it all that he should know before he
//! believes it.

use std::fmt::Write;

use edgeloop::load::{AskedPulse, Fault, Latency, Pulses, Report, Step};

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
    if let Some(pulse) = plan.pulse {
        let _ = write!(text, " with bursts of {}", burst(pulse));
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
    if let (Some(pulses), Some(pulse)) = (&step.pulses, report.plan.pulse) {
        for (name, words) in pulse_lines(pulses, pulse) {
            line(name, words);
        }
    }
    line("errors", errors(step));
    for (when, faults) in [("before", &step.errors_before), ("after", &step.errors_after)] {
        if !faults.is_none() {
            line("", format!("{when} that time: {faults}"));
        }
    }
    let connects = &step.connects;
    let (established, attempted) = (count(connects.established), count(connects.attempted));
    let (p99, max) = (time(connects.latency.p99_us), time(connects.latency.max_us));
    line("connects", format!("{established} of {attempted}, p99 {p99}, max {max}"));
    let closes = &step.closes;
    if closes.announced + closes.idle > 0 {
        let (announced, idle) = (count(closes.announced), count(closes.idle));
        line("closes", format!("by the server: {announced} announced, {idle} of idle connections"));
        if closes.asked_again > 0 {
            let again = count(closes.asked_again);
            line("", format!("{again} messages that were under way, and were asked again"));
        }
    }
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

/// What bursts did to those within and to the others, and how long the server took to recover.
fn pulse_lines(pulses: &Pulses, pulse: AskedPulse) -> Vec<(&'static str, String)> {
    let number = pulses.each.len();
    let head = ("pulses", format!("{number} of {}", burst(pulse)));
    if number == 0 {
        // It ended before the first.
        return vec![head];
    }
    let recoveries: Vec<String> = pulses
        .each
        .iter()
        .take(RECOVERIES_SHOWN)
        .map(|it| it.recovery_s.map_or("never".into(), |seconds| time(seconds * 1e6)))
        .collect();
    let more = match pulses.each.len().saturating_sub(RECOVERIES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let recoveries = recoveries.join(", ");
    let recovery = match pulses.usual_us.map(time) {
        Some(usual) => format!("{recoveries}{more} until latency was usual again (p99 {usual})"),
        None => {
            "not measured: no thread had 100 messages before the first to tell what is usual".into()
        }
    };
    vec![
        head,
        ("  within", percentiles(&pulses.within)),
        ("  outside", percentiles(&pulses.outside)),
        ("  recovery", recovery),
    ]
}

fn burst(AskedPulse { rate: asked, duration_s, every_s }: AskedPulse) -> String {
    format!("{} messages/s for {duration_s} s, every {every_s} s", rate(asked))
}

/// What went wrong in the time that was measured, and what the wrong answers said.
fn errors(step: &Step) -> String {
    let said: Vec<String> = step
        .wrong_answers
        .iter()
        .map(|(name, times)| format!("{}x {name}", count(*times)))
        .collect();
    match said.is_empty() {
        true => step.errors.to_string(),
        false => format!("{} ({})", step.errors, said.join(", ")),
    }
}

fn percentiles(latency: &Latency) -> String {
    if latency.count == 0 {
        return "unknown: nothing was answered rightly in that time".into();
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
    let due = report.plan.due_rate(step.seconds);
    if due.is_some_and(|due| step.seconds > 0.0 && step.rate < due * 0.99)
        && report.plan.mode != "broadcast"
    {
        notes.push("fewer messages were answered rightly than were due: see the errors, or the server does not keep up, or the pipeline".into());
    }
    if step.unsent > 0 {
        let unsent = count(step.unsent);
        notes.push(format!("{unsent} messages were due and never sent, since answers were missing; they count in the latency"));
    }
    if step.unanswered > 0 {
        notes.push(unanswered(report, step));
    }
    if let Some(lateness) = step
        .lateness
        .as_ref()
        .filter(|late| late.p99_us > 0.1 * step.latency.p99_us && late.p99_us > 100.0)
    {
        let late = time(lateness.p99_us);
        notes.push(format!("1 % of the messages left {late} later than due by the clients' own doing: see --spin, or leave them more CPU"));
    }
    notes.extend(disturbances(step));
    if step.connects.slow > 0 {
        let slow = count(step.connects.slow);
        notes.push(format!("{slow} connects took more than 900 ms: their first packet was lost"));
    }
    let deferred: f64 = step.ksoftirqd_s.iter().sum();
    if step.server.as_ref().is_some_and(|server| deferred > DEFERRED_SHARE * server.cpu_s) {
        notes.push(format!("{deferred:.2} s of network work went to ksoftirqd, a thread of the kernel, and are in the CPU time of neither side"));
    }
    if step.pauses > 0 {
        let pauses = count(step.pauses);
        notes.push(format!("{pauses} times a client paused for 100 ms after an error, as it does before it connects again: the rate has these pauses in it"));
    }
    if step.all_errors().count(Fault::ClientLimit) > 0 {
        notes.push("client_limit: an answer was larger than the clients take in; that is a limit of theirs and no fault of the server".into());
    }
    if let Some(protocol) = &step.server_speaks {
        let mode = &report.plan.mode;
        notes.push(format!("the server speaks {protocol}, and was asked in the mode {mode}"));
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

/// What the server still owed at the end.
fn unanswered(report: &Report, step: &Step) -> String {
    let number = count(step.unanswered);
    let (what, state) = match &report.plan.mode[..] {
        "broadcast" => ("deliveries", "were still to come"),
        _ => ("messages", "had been sent and were not answered"),
    };
    format!("{number} {what} {state} when the run ended: the server had fallen silent, or is slow")
}

/// What kept the clients, or the server, from doing as well as they could.
fn disturbances(step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    let server = step.server.as_ref().map(|server| ("server", server.waited_longest));
    let sides = [Some(("clients", step.client.waited_longest)), server];
    for (side, waited) in sides.into_iter().flatten().filter(|(_, waited)| *waited > WAITED_SHARE) {
        notes.push(format!("others had the CPU for {} of the time, while a thread of the {side} was ready to run: the figures are worse for that", share(waited)));
    }
    notes
}

/// Rows under headings: how fast, and below that at what price. Each column is as wide as its widest
/// cell, and all of them together fit a terminal of 80 columns.
fn grid(rows: &[(String, &Step)]) -> String {
    let lines: Vec<Vec<String>> = rows.iter().map(|(name, step)| cells(name, step)).collect();
    let (names, key) = names(&lines);
    let mut text = String::new();
    for columns in [SPEED, PRICE] {
        let headings = columns.iter().map(|column| HEADINGS[*column].to_owned());
        let mut table: Vec<Vec<String>> = vec![headings.collect()];
        for (line, name) in lines.iter().zip(&names) {
            let cells = columns.iter().map(|column| match column {
                0 => name.clone(),
                column => line[*column].clone(),
            });
            table.push(cells.collect());
        }
        if !text.is_empty() {
            text.push('\n');
        }
        aligned(&mut text, &table);
    }
    text + &key
}

/// The names of the rows as the tables have them, and a key to the names that are too long for a table.
fn names(lines: &[Vec<String>]) -> (Vec<String>, String) {
    let widest = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0).max(HEADINGS[column].len())
    };
    let taken = |columns: &[usize]| columns[1..].iter().map(|it| widest(*it) + GAP).sum::<usize>();
    let room = WIDTH.saturating_sub(taken(SPEED).max(taken(PRICE)));
    let names: Vec<String> = lines.iter().map(|line| line[0].clone()).collect();
    if names.iter().all(|name| name.chars().count() <= room) {
        return (names, String::new());
    }
    let mut known: Vec<&String> = names.iter().collect();
    known.dedup();
    let number = |name| known.iter().position(|it| *it == name).map_or(0, |place| place + 1);
    let short = names.iter().map(|name| number(name).to_string()).collect();
    let key = known.iter().enumerate().map(|(place, name)| format!("{}  {name}\n", place + 1));
    (short, format!("\n{}", key.collect::<String>()))
}

/// Lines of cells, those of the first column to the left. A column without a word is left out.
fn aligned(text: &mut String, table: &[Vec<String>]) {
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max();
    let is_told = |column: &usize| table[1..].iter().any(|line| !line[*column].is_empty());
    let columns: Vec<usize> = (0..table[0].len()).filter(is_told).collect();
    for line in table {
        let mut words = String::new();
        for column in &columns {
            let (cell, width) = (&line[*column], width(*column).unwrap_or(0));
            let gap = if words.is_empty() { 0 } else { GAP };
            let _ = match column {
                0 => write!(words, "{cell:<width$}"),
                _ => write!(words, "{:gap$}{cell:>width$}", ""),
            };
        }
        text.push_str(words.trim_end());
        text.push('\n');
    }
}

/// One step, as wide as `HEADINGS`.
pub(super) fn cells(name: &str, step: &Step) -> Vec<String> {
    let latency = &step.latency;
    let server = step.server.as_ref();
    let bound = if step.client_bound == Some(true) { "client" } else { "" };
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
        count(step.all_errors().total()),
        bound.to_owned(),
    ]
}

/// What is less is lost in the noise.
const DEFERRED_SHARE: f64 = 0.02;

/// Of the time. Less is what any machine takes.
const WAITED_SHARE: f64 = 0.05;
/// Bursts of which the table tells one by one.
const RECOVERIES_SHOWN: usize = 8;
/// Of a terminal, in characters.
const WIDTH: usize = 80;
const GAP: usize = 2;

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
    "limit",
];
/// The headings of the table that says how fast, and of that which says at what price.
const SPEED: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];
const PRICE: &[usize] = &[0, 1, 8, 9, 10, 11, 12];

#[cfg(test)]
mod tests {
    use edgeloop::load::PulseRecovery;

    use super::*;

    #[test]
    fn bursts_say_only_what_is_known_of_them() {
        let lines = |usual_us, recoveries: &[Option<f64>]| {
            let each = recoveries.iter().map(|it| PulseRecovery { at_s: 5.0, recovery_s: *it });
            let (within, outside) = (Latency::default(), Latency::default());
            let pulses = Pulses { usual_us, within, outside, each: each.collect() };
            pulse_lines(&pulses, AskedPulse { rate: 50_000.0, duration_s: 1.0, every_s: 5.0 })
        };
        let head = |number| ("pulses", format!("{number} of 50,000 messages/s for 1 s, every 5 s"));
        assert_eq!(lines(Some(100.0), &[]), [head(0)]);
        let measured = lines(Some(100.0), &[Some(0.5), None]);
        assert_eq!(measured[0], head(2));
        assert!(measured[3].1.starts_with("500 ms, never until latency was usual again (p99 100"));
        assert!(lines(None, &[None])[3].1.starts_with("not measured: "));
    }
}
