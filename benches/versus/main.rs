//! Whole servers, measured from outside, in pairs: `cargo bench --bench versus -- QUESTION`.
//!
//! criterion measures the parts of the loop. This program starts built servers as a user would and
//! measures one beside another: edgeloop beside the floor (the least that an edge-triggered echo
//! server can do, `benches/peers/floor-c`), beside Redis and nginx, beside the servers of
//! `benches/peers`, and beside another build of itself.
//!
//! ```text
//! echo       --connections 50 --size 64 --depth 1      [--rate N] an open loop
//! stream     --connections 50 --size 16384 --depth 4
//! churn      --connections 50 --size 64                connect, one echo, close
//! web        --connections 50 --depth 1
//! kv         --connections 50 --depth 16 --size 3 --commands ping,set,get,incr,mset
//! broadcast  --publishers 32 --subscribers 1000 --size 100 --window 16 --verify-every 1
//!            --stopped 0 --pairs 5 --seconds 1.5 --warm-up 0.5
//! idle       --connections 19000 --size 4096 --seconds 5 --pairs 1
//! storm      --connections 19000 --pairs 1
//! all of them: --program NAME|PATH     what is measured: edgeloop as built here, a name of
//!                                      catalogue.rs, or the path of another build of edgeloop
//!              --with "ARGUMENTS"      given to it beside the defaults
//!              --against NAME|PATH     what it is measured against: the floor, redis or nginx
//!              --load PATH             whose `load` drives both sides: edgeloop as built here
//!              --pairs 51 --seconds 0.2 --warm-up 0.1; above 1,000 connections 11, 1
//!                                      and 0.5
//!              --at-most RATIO         fail if the median ratio of CPU time is above this
//!              --results DIR           keep what was measured, pair by pair, as JSON
//! all quick|full LIST RESULTS [--only REGEX] [--page FILE]
//!                                      every peer at every kind of work, for benches/peers/run.sh
//! ```
//!
//! Peers are built by `benches/peers/run.sh` when they are named. A server measured against itself
//! (`--program floor-c`) shows the noise of the machine.
//!
//! # What keeps the figures honest
//!
//! - **The figure is server CPU time for a message**: the scheduler's nanoseconds of all threads of
//!   the server, and of `ksoftirqd` on the server's CPU, divided by messages that were verified. On
//!   a small machine the client is exhausted first, and then every server shows the client's rate. A
//!   run in which that happened is marked `client-bound`, and its rate proves nothing.
//! - **It is a ratio.** Most of an echo is the kernel's loopback path, which costs all servers the
//!   same. What is left for a server to win or lose is what it adds to the floor.
//! - **Pairs, in the order A B, B A**, each with fresh servers; the median and the range of the
//!   ratio within a pair. Pairs are many and short, since the clock of a CPU wanders within seconds
//!   by more than servers differ. A pair does not count if the hypervisor or another process took time,
//!   segments were sent again, or a fixed piece of work took longer for one side. What is below 2 %
//!   is called equal.
//! - **One load generator for both sides**: `edgeloop load` of one build, whatever the servers are.
//!   Its own CPU time is never in the figure. What it cannot do has clients of its own: publish and
//!   subscribe in three protocols (`hall.rs`), everybody connecting at once (`crowd.rs`).
//! - **One CPU each**, server 0 and client 1, with cubic on both sides: an algorithm that paces by
//!   timers measures the timers.
//! - **Every byte is compared**; a loss, surplus, mix-up or missing tail fails the run.
//! - **System calls are counted in a run of their own** under `strace`, where that is installed,
//!   since being traced costs time.
//! - **Latency in a closed loop is service time.** A closed loop waits for a slow server instead of
//!   queueing up behind it, so its p99 hides stalls. It shows that two runs were alike, no more.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod calls;
mod campaign;
mod catalogue;
mod crowd;
mod figures;
mod hall;
mod load;
mod machine;
mod measure;
mod options;
mod page;
mod pattern;
mod picture;
mod probe;
mod question;
mod record;
mod sample;
mod server;
mod setting;
mod system;
mod verify;
mod workload;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// With nothing moving for so long, an answer was lost.
const STALL_MAX: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // cargo adds `--bench` or `--test`, and a filter meant for criterion arrives here as well.
    let cargo = |word: &String| word != "--bench" && word != "--test";
    let words: Vec<String> = std::env::args().skip(1).filter(cargo).collect();
    let outcome = match words.split_first() {
        Some((word, rest)) if word == "all" => campaign::Options::parse(rest).and_then(|options| {
            system::catch_signals();
            campaign::run(&options)
        }),
        Some((word, rest)) if question::WORDS.contains(&word.as_str()) => {
            system::catch_signals();
            question::ask(word, rest)
        }
        // A misspelt word that asks for something must not pass as a measurement.
        Some((word, [_, ..])) if !word.starts_with('-') => {
            Err(format!("`{word}` is none of {}", question::WORDS.join(", "),).into())
        }
        _ => {
            println!(
                "versus: measures whole servers; cargo bench --bench versus -- {} [--option value]...",
                question::WORDS.join("|"),
            );
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
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
