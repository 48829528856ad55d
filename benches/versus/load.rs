//! One run of `edgeloop load`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::load::Report;

use crate::machine::CLIENT_CPU;
use crate::server::Server;
use crate::{Result, system};

/// Runs it against the server with these arguments, and has its report. What it could not verify is
/// an error; that nothing was answered is none.
pub(crate) fn run(
    edgeloop: &Path,
    server: &Server,
    words: &[String],
    scratch: &Path,
) -> Result<Report> {
    let (report, stderr) = (scratch.join("load.json"), scratch.join("load.stderr"));
    // A report of the run before must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let mut command = Command::new(edgeloop);
    command.arg("load").args(words).arg("--json").arg(&report);
    command.arg("--server-pid").arg(server.pid().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
    let status = wait(&mut command)?;
    let report: Option<Report> =
        fs::read_to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok());
    match report {
        Some(report) if status.success() || is_silent(&report) => Ok(report),
        _ => {
            let text = fs::read(&stderr).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("edgeloop load: {status}: {}", line.trim()).into())
        }
    }
}

/// Alone on the client's CPU, and not for ever.
fn wait(command: &mut Command) -> Result<ExitStatus> {
    system::tie_child(command, CLIENT_CPU);
    let mut child = command.spawn().map_err(|error| format!("edgeloop load: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let interrupted = system::fail_if_interrupted();
        if interrupted.is_err() || Instant::now() > deadline {
            // Both can only fail for a process that is already gone.
            let _ = child.kill();
            let _ = child.wait();
            interrupted?;
            return Err("edgeloop load has not ended in time".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// No answer, and no error.
fn is_silent(report: &Report) -> bool {
    report.errors().total() == 0 && report.steps.iter().all(|step| step.messages == 0)
}

/// Longer than connects, warm-up, measurement and late answers take together.
const PATIENCE: Duration = Duration::from_secs(150);
