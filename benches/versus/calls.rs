//! System calls for a message, counted by strace in runs of their own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::Contender;
use crate::sample::Bench;
use crate::server::Server;
use crate::workload::{Work, Workload};
use crate::{Result, load};

/// Of all threads of the server. `None` where there is no strace, or it may not trace, and for work
/// that `edgeloop load` does not do.
///
/// Two runs differ in the number of messages only, so that start, connects and end do not count.
pub(crate) fn for_a_message(
    bench: &Bench,
    workload: &Workload,
    contender: &Contender,
) -> Result<Option<f64>> {
    let mut counts = [0; 2];
    for (count, messages) in counts.iter_mut().zip([FEW, FEW + MORE]) {
        let Some(counted) = of_a_run(bench, &workload.work, contender, messages)? else {
            return Ok(None);
        };
        *count = counted;
    }
    Ok(Some((counts[1] as f64 - counts[0] as f64) / MORE as f64))
}

fn of_a_run(
    bench: &Bench,
    work: &Work,
    contender: &Contender,
    messages: u64,
) -> Result<Option<u64>> {
    let table = bench.scratch.join("strace");
    let _ = fs::remove_file(&table);
    let traced = |command: Command| under_strace(command, &table);
    let Ok(server) = Server::start_as(contender, &bench.scratch, traced) else { return Ok(None) };
    let Some(mut words) = work.load_words(server.address) else { return Ok(None) };
    words.extend(["-n".to_owned(), messages.to_string()]);
    if matches!(work, Work::OpenLoop(_)) {
        words.extend(["--rate".to_owned(), TRACED_RATE.to_owned()]);
    }
    load::run(&bench.load, &server, &words, &bench.scratch)?;
    drop(server);
    // It is no child of ours, and writes its table when the server has ended.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let text = fs::read_to_string(&table).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.ends_with(" total")) {
            return Ok(line.split_whitespace().nth(3).and_then(|word| word.parse().ok()));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

/// As a process beside the server, which stays a child of ours.
fn under_strace(command: Command, table: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-c", "-o"]).arg(table);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

const FEW: u64 = 1000;
const MORE: u64 = 5000;
/// Messages a second that a traced server can answer.
const TRACED_RATE: &str = "2000";
