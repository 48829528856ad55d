//! Whole servers, measured from outside: `cargo bench --bench versus -- echo|broadcast|kv|web|idle|storm`.
//!
//! criterion measures the parts of the loop; this program starts the built server as a user would
//! and holds it against two yardsticks: a *floor*, which is the least that an edge-triggered echo
//! server can do (`floor.rs`); `redis-server` for keys, values and channels; and nginx for HTTP.
//!
//! ```text
//! echo       --connections 50 --size 64 --depth 1 --pairs 5 --seconds 3 --warm-up 1
//! broadcast  --publishers 32 --subscribers 1000 --size 100 --window 16 --verify-every 1
//!            --stopped 0 --pairs 3 --seconds 5 --warm-up 1
//! kv         --connections 50 --depth 16 --size 3 --commands ping,set,get,incr,mset
//!            --pairs 5 --seconds 2 --warm-up 0.5 --slice 0.3
//! web        --connections 50 --depth 1 --pairs 5 --seconds 3
//! idle       --connections 19000 --size 4096 --seconds 5
//! storm      --connections 19000 --size 64
//! all of them: --program PATH|floor|redis   what to measure instead of the program built here
//!              --with "ARGUMENTS"           given to it beside the defaults
//! floor PORT [PORT-FILE]                    the floor alone
//! ```
//!
//! `--program floor` with `echo`, or `--program redis` with `broadcast` or `kv`, measures the yardstick
//! against itself: what the ratio then differs from 1 is the noise of the machine.
//!
//! # What keeps the figures honest
//!
//! - **The figure is server CPU time for a message**, taken from the scheduler's own count of
//!   nanoseconds and divided by messages that were verified. On a small machine the client is
//!   exhausted first, and then every server shows the same rate: the client's. A run in which that
//!   happened is marked `client-bound`, and its rate proves nothing.
//! - **It is a ratio to the floor.** Most of an echo is the kernel's loopback path, which costs all
//!   servers the same. What is left for a server to win or lose is what it adds to the floor.
//! - **Pairs, in the order A B B A**, each with fresh servers; the median and the range of the
//!   ratio within a pair. Where descriptors allow it, both servers of a pair are up and take turns
//!   of less than a second, since the clock of a CPU wanders by more than servers differ. A pair
//!   does not count if the hypervisor or another process took time, packets were sent again, or a
//!   fixed piece of work took longer for one side. What is below 2 % is called equal.
//! - **One CPU each**, server 0 and client 1, with cubic on both sides: an algorithm that paces by
//!   timers measures the timers.
//! - **Every byte of an echo is compared** with a pattern that is coded by position; a loss,
//!   surplus, mix-up or missing tail fails the run. In broadcast every frame is compared too, and
//!   at the end each receiver must have exactly what was published.
//! - **The clock starts late**: connects come at most 256 at a time, each connection has one
//!   message returned first, and a connect that needed a retry fails the run.
//! - **Latency here is service time.** A closed loop waits for a slow server instead of queueing up
//!   behind it, so its p99 hides stalls. It shows that two runs were alike, no more. As a check of
//!   the counting itself, rate times mean latency must be what is in flight, within 5 %.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod broadcast;
mod crowd;
mod echo;
mod figures;
mod floor;
mod hall;
mod kv;
mod options;
mod probe;
mod server;
mod setting;
mod system;
mod web;

use options::Options;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// With nothing moving for so long, an answer was lost.
const STALL_MAX: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // cargo adds `--bench` or `--test`, and a filter meant for criterion arrives here as well.
    let cargo = |word: &String| word != "--bench" && word != "--test";
    let words: Vec<String> = std::env::args().skip(1).filter(cargo).collect();
    let result = match words.split_first() {
        Some((word, rest)) if word == "floor" => run_floor(rest),
        Some((word, rest)) if is_measurement(word) => run_measurement(word, rest),
        _ => {
            println!(
                "versus: measures whole servers; \
                 cargo bench --bench versus -- echo|broadcast|kv|web|idle|storm [--option value]..."
            );
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_measurement(word: &str) -> bool {
    ["echo", "broadcast", "kv", "web", "idle", "storm"].contains(&word)
}

fn run_measurement(word: &str, rest: &[String]) -> Result<()> {
    let options = Options::parse(rest)?;
    system::catch_signals();
    system::pin(server::CLIENT_CPU)
        .map_err(|error| format!("the client needs a CPU of its own, the second one: {error}"))?;
    match word {
        "echo" => echo::echo(options),
        "broadcast" => broadcast::broadcast(options),
        "kv" => kv::kv(options),
        "web" => web::web(options),
        "idle" => echo::idle(options),
        _ => echo::storm(options),
    }
}

fn run_floor(rest: &[String]) -> Result<()> {
    let port = rest.first().and_then(|word| word.parse().ok()).ok_or("floor PORT [PORT-FILE]")?;
    Ok(floor::run(port, rest.get(1).map(AsRef::as_ref))?)
}

fn seconds(options: &mut Options, name: &str, default: f64) -> Result<Duration> {
    let number = options.number(name, default)?;
    Ok(Duration::try_from_secs_f64(number).map_err(|error| format!("`--{name}`: {error}"))?)
}

fn extra_arguments(options: &mut Options) -> Vec<String> {
    options.text("with").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Fails when `count` has not moved for too long; `seen` holds its last value and when it moved.
fn stalled(seen: &mut (u64, Instant), count: u64) -> Result<()> {
    if seen.0 != count {
        *seen = (count, Instant::now());
    }
    if seen.1.elapsed() > STALL_MAX {
        return Err("nothing has come back for 5 s: something is lost".into());
    }
    Ok(())
}
