//! `edgeloop load`: measures a server and says what came of it.

mod options;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use edgeloop::load::{Report, Stop};

use self::options::LoadOptions;
use super::descriptors::Descriptors;
use super::failure::Failure;

/// Measure a server: how fast it answers, and whether rightly
///
/// Every byte that comes back is compared with what was sent. Try: edgeloop load 127.0.0.1:7000
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    options: LoadOptions,
}

impl Load {
    /// Measures, or compares what was measured.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let plan = self.options.plan()?;
        Descriptors::raise();
        let stop = Stop::default();
        let report = edgeloop::load::run(&plan, &stop, |_| ())
            .map_err(|error| Failure::System(error.to_string()))?;
        if let Some(path) = &self.options.json {
            write_json(path, &report)?;
        }
        Ok(if report.errors().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn write_json(path: &Path, report: &Report) -> Result<(), Failure> {
    let cannot =
        |error: io::Error| Failure::System(format!("cannot write {}: {error}", path.display()));
    let mut text =
        serde_json::to_string_pretty(report).map_err(io::Error::other).map_err(cannot)?;
    text.push('\n');
    if path == Path::new("-") {
        return io::stdout().write_all(text.as_bytes()).map_err(cannot);
    }
    fs::write(path, text).map_err(cannot)
}
