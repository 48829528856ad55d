//! What the full form measures, and the page that it writes: `docs/isolation.md`.
//!
//! Each scenario leaves its rows in a file of its own below cargo's folder for tests, and the page is
//! made of all of these, so that one scenario can be measured again alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::honest::Waits;
use crate::server::Server;

/// What the program holds beside what has a limit.
pub(crate) const OVERHEAD: usize = 32 << 20;

/// Edgeloop looks for memory that a burst needed a second after the burst is over. What it has before then is
/// no answer to what stays.
const GIVEN_BACK_AFTER: Duration = Duration::from_millis(1500);

/// Whether this is the full form: `ISOLATION=full`.
pub(crate) fn is_full() -> bool {
    let Some(form) = std::env::var_os("ISOLATION") else { return false };
    // Another word must not pass as the short form.
    assert!(form == "full", "ISOLATION is {form:?}; it is \"full\", or not set");
    true
}

/// A scenario in the form that was asked for. In the full form there is one at a time, and a promise
/// that was missed fails the test, once the page says so.
pub(crate) fn scenario(name: &str, short: impl FnOnce(), full: impl FnOnce(&mut Table)) {
    raise_descriptors();
    if !is_full() {
        return short();
    }
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let order = ORDER.iter().position(|known| *known == name);
    assert!(order.is_some(), "{name} has no place on the page");
    let mut table = Table { rows: Vec::new(), scenario: name.into() };
    // What was measured before something went wrong is worth a row, too.
    let ending = catch_unwind(AssertUnwindSafe(|| full(&mut table)));
    if ending.is_err() {
        table.row(&format!("{name}: the rest of it"), "edgeloop").bound("is carried out", false);
    }
    table.save();
    write_page();
    ending.unwrap_or_else(|panic| resume_unwind(panic));
    let missed = table.rows.iter().filter(|row| row.is_ours() && !row.missed().is_empty()).count();
    assert_eq!(missed, 0, "promises were missed, see docs/isolation.md");
}

/// As many as the system lets one process have: a crowd has thousands of sockets.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The rows of one scenario.
pub(crate) struct Table {
    rows: Vec<Row>,
    scenario: String,
}

/// One attack on one program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    attack: String,
    program: String,
    honest: Vec<String>,
    memory: Vec<String>,
    bounds: Vec<Bound>,
    commit: String,
    date: String,
}

/// One part of a promise.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Bound {
    text: String,
    met: bool,
}

impl Table {
    pub(crate) fn row(&mut self, attack: &str, program: &str) -> &mut Row {
        self.rows.push(Row {
            attack: attack.into(),
            program: program.into(),
            honest: Vec::new(),
            memory: Vec::new(),
            bounds: Vec::new(),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
            date: said_by("date", &["-u", "+%Y-%m-%d"]),
        });
        self.rows.last_mut().unwrap()
    }

    fn save(&self) {
        for row in &self.rows {
            let missed = row.missed();
            let verdict =
                if missed.is_empty() { "met".into() } else { format!("MISSED {missed:?}") };
            let Row { attack, program, honest, memory, .. } = row;
            println!(
                "{program}, {attack}: {}; {}; {verdict}",
                honest.join("; "),
                memory.join("; ")
            );
        }
        fs::create_dir_all(folder()).unwrap();
        let text = serde_json::to_string_pretty(&self.rows).unwrap();
        fs::write(folder().join(format!("{}.json", self.scenario)), text).unwrap();
    }
}

impl Row {
    fn is_ours(&self) -> bool {
        self.program == "edgeloop"
    }

    fn missed(&self) -> Vec<&str> {
        let missed = self.bounds.iter().filter(|bound| !bound.met);
        missed.map(|bound| bound.text.as_str()).collect()
    }

    pub(crate) fn say(&mut self, text: String) -> &mut Row {
        self.honest.push(text);
        self
    }

    /// What honest clients met.
    pub(crate) fn waits(&mut self, waits: &Waits) -> &mut Row {
        self.waits_while("", waits)
    }

    /// What they met at one of several times.
    pub(crate) fn waits_while(&mut self, when: &str, waits: &Waits) -> &mut Row {
        let mut text = format!(
            "{when}p50 {}, p99 {}, longest {}; {} of {} answered",
            millis(waits.quantile(0.5)),
            millis(waits.quantile(0.99)),
            millis(waits.longest()),
            waits.answered,
            waits.asked
        );
        for (count, what) in [(waits.wrong, "wrong"), (waits.cut, "cut off")] {
            if count > 0 {
                write!(text, ", {count} {what}").unwrap();
            }
        }
        self.say(text)
    }

    pub(crate) fn remember(&mut self, text: String) -> &mut Row {
        self.memory.push(text);
        self
    }

    pub(crate) fn bound(&mut self, text: &str, met: bool) -> &mut Row {
        self.bounds.push(Bound { text: text.into(), met });
        self
    }

    pub(crate) fn answered_within(&mut self, waits: &Waits, p99: u64, longest: u64) -> &mut Row {
        self.waits(waits).bounded(waits, p99, longest)
    }

    pub(crate) fn bounded(&mut self, waits: &Waits, p99: u64, longest: u64) -> &mut Row {
        self.bound("all answered, nobody cut off", waits.all_answered());
        let (p99, longest) = (Duration::from_millis(p99), Duration::from_millis(longest));
        if p99 < longest {
            self.bound(&format!("p99 ≤ {}", millis(p99)), waits.quantile(0.99) <= p99);
        }
        self.bound(&format!("longest wait ≤ {}", millis(longest)), waits.longest() <= longest)
    }

    pub(crate) fn peak_within(&mut self, peak: usize, most: usize) -> &mut Row {
        self.remember(format!("peak {}", mebibytes(peak)));
        self.bound(&format!("RSS ≤ {}", mebibytes(most)), peak <= most)
    }

    /// When the attackers have left: the server's memory, which has `most` as the sum of its limits, and
    /// its processor time while nobody asks anything.
    pub(crate) fn settle(&mut self, server: &Server, most: usize) -> &mut Row {
        self.come_to_rest(server);
        if server.is_ours() {
            self.peak_within(server.peak(), most + OVERHEAD);
        } else {
            self.remember(format!("peak {}", mebibytes(server.peak())));
        }
        std::thread::sleep(GIVEN_BACK_AFTER);
        self.remember(format!("{} afterwards", mebibytes(server.resident())))
    }

    /// What the attackers have left behind is done, and then nothing.
    pub(crate) fn come_to_rest(&mut self, server: &Server) -> &mut Row {
        let begin = Instant::now();
        let mut share = server.idle_share();
        while share > 0.02 && begin.elapsed() < Duration::from_secs(5) {
            share = server.idle_share();
        }
        let spent = begin.elapsed().as_secs_f64();
        self.remember(format!("CPU at rest {:.1} % after {spent:.1} s", share * 100.0));
        self.bound("at rest (CPU ≤ 2 %) within 5 s", share <= 0.02)
    }
}

pub(crate) fn millis(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    text.unwrap_or_default()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("isolation")
}

/// The scenarios as the page has them.
const ORDER: [&str; 17] = [
    "returning_broadcast",
    "returning_kv",
    "returning_chat",
    "slow_broadcast",
    "slow_kv",
    "slow_chat",
    "crowd",
    "patterns",
    "commands",
    "channels",
    "unread_pipelines",
    "memory_in_turns",
    "places",
    "stopped_server",
    "requests",
    "frames",
    "trickle_and_churn",
];

fn write_page() {
    let mut rows = Vec::new();
    let mut absent = Vec::new();
    for name in ORDER {
        match fs::read_to_string(folder().join(format!("{name}.json"))) {
            Ok(text) => rows.extend(serde_json::from_str::<Vec<Row>>(&text).unwrap_or_default()),
            Err(_) => absent.push(name),
        }
    }
    let page = page(&rows, &absent);
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/isolation.md");
    fs::write(place, page).unwrap();
}

fn page(rows: &[Row], absent: &[&str]) -> String {
    let mut page = format!("{PROMISES}\n{}\n{ATTACKS}", where_and_when(rows));
    if !absent.is_empty() {
        page = page.replace(
            "## The attacks\n",
            &format!("## The attacks\n\nNot measured: {}.\n", absent.join(", ")),
        );
    }
    for row in rows.iter().filter(|row| row.is_ours()) {
        write_row(&mut page, &row.attack, row, true);
    }
    page.push_str(OTHERS);
    for row in rows.iter().filter(|row| !row.is_ours()) {
        write_row(&mut page, &format!("{}: {}", row.program, row.attack), row, false);
    }
    page
}

fn where_and_when(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "Nothing was measured yet.".into();
    }
    let days: BTreeSet<String> =
        rows.iter().map(|row| format!("{} (commit {})", row.date, row.commit)).collect();
    let days: Vec<String> = days.into_iter().collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "Measured on {}, on a machine with {processors} CPUs ({model}), Linux {}.",
        days.join(", "),
        kernel.trim()
    )
}

fn write_row(page: &mut String, first: &str, row: &Row, ours: bool) {
    let bounds: Vec<&str> = row.bounds.iter().map(|bound| bound.text.as_str()).collect();
    let missed = row.missed();
    let verdict = match (missed.is_empty(), ours) {
        (true, true) => "met".to_string(),
        (true, false) => "would meet it".to_string(),
        (false, true) => format!("**missed**: {}", missed.join("; ")),
        (false, false) => format!("would miss: {}", missed.join("; ")),
    };
    let promised = if ours { bounds.join("; ") + " | " } else { String::new() };
    writeln!(
        page,
        "| {first} | {} | {} | {promised}{verdict} |",
        row.honest.join("; "),
        row.memory.join("; ")
    )
    .unwrap();
}

const PROMISES: &str = "\
# Isolation

Written by `ISOLATION=full cargo test --release --test isolation`; edits are lost.

**Whatever one client does, the time, the memory and the order of the others stay within stated bounds.** Each row
below is an attack by clients that do the worst that the protocol allows, beside honest clients: twenty that ask every
50 ms (every 150 ms in a chat, whose limit is ten lines a second) and check every byte, or ten readers of a flood of
1,000-byte messages that check number and order of each.

- **Time.** Others wait for a bounded amount of work, whatever somebody asks for. Whoever reads slowly, not at all, or
  comes back again and again, costs the others of a broadcast, a channel or a room at most about a tenth of the time.
- **Memory.** `--buffer-memory`, `--max-memory` and `--topic-memory` bound what the process holds, with 32 MiB for
  itself, under every attack; what was needed for an attack is given back.
- **Order.** Nothing that honest clients are sent is lost, doubled, mixed up or out of order.
- **Places.** With `--max-per-address` no address can take the places of others.

A wait counts from when a question was due, so a server that stands still cannot hide that. Clients and server share the
machine: figures are of both. The server's column has resident memory at its peak and in the end, and after how long it
was at rest when the attackers had left. `--slow-consumer wait` is left out: it is the operator's choice to do without.
";

const ATTACKS: &str = "
## The attacks

| attack | honest clients | server | promised | |
| --- | --- | --- | --- | --- |
";

const OTHERS: &str = "
## The same attacks on other programs

Where their protocol allows the attack, with their defaults where nothing is said. They promise none of this; the bounds
are ours, and those of memory are ours only.

| program and attack | honest clients | server | held against our bounds |
| --- | --- | --- | --- |
";
