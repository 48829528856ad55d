//! Measures every peer at every kind of work, and writes the page of the results.
//!
//! `run.sh` builds the peers and calls this with a list of what it built. Echo and HTTP are driven
//! by `edgeloop load`; what needs a client that `edgeloop load` is not (other protocols of
//! publish and subscribe, everybody connecting at once, memory page by page) by the clients of
//! `benches/versus`, which are the very same files.
//!
//! ```text
//! runner quick|full LIST RESULTS [--only REGEX] [--page FILE]
//! ```
//!
//! LIST has a line `name<TAB>path<TAB>version` for each program, with `-` for the path and a
//! reason in place of the version where there is none. RESULTS is a directory that gets a file for
//! each peer and workload; what has one already is not measured again.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../../versus/crowd.rs"]
mod crowd;
#[expect(dead_code, reason = "`benches/versus` uses the rest")]
#[path = "../../versus/figures.rs"]
mod figures;
#[path = "../../versus/hall.rs"]
mod hall;
#[path = "../../versus/probe.rs"]
mod probe;
#[path = "../../versus/setting.rs"]
mod setting;
#[expect(dead_code, reason = "`benches/versus` uses the rest")]
#[path = "../../versus/system.rs"]
mod system;

mod campaign;
mod catalogue;
mod load;
mod machine;
mod page;
mod picture;
mod record;
mod sample;
mod server;
mod verify;
mod workload;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// With nothing moving for so long, an answer was lost.
const STALL_MAX: Duration = Duration::from_secs(5);

/// What this program was asked to do.
#[derive(Debug)]
struct Options {
    /// Tiny measurements, which show that everything works, and nothing else.
    is_quick: bool,
    list: PathBuf,
    results: PathBuf,
    only: Option<regex_lite::Regex>,
    /// Where a complete page goes, beside the directory of the results.
    page: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = parse(std::env::args().skip(1)).and_then(|options| campaign::run(&options));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut word = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
    let is_quick = match word("quick or full")?.as_str() {
        "quick" => true,
        "full" => false,
        other => return Err(format!("`{other}` is neither quick nor full").into()),
    };
    let (list, results) = (word("the list")?.into(), word("the directory of results")?.into());
    let mut options = Options { is_quick, list, results, only: None, page: None };
    while let Ok(name) = word("") {
        let value = word(&format!("the value of {name}"))?;
        match name.as_str() {
            "--only" => options.only = Some(regex_lite::Regex::new(&value)?),
            "--page" => options.page = Some(value.into()),
            _ => return Err(format!("no option `{name}`").into()),
        }
    }
    Ok(options)
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
