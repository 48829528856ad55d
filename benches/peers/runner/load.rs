//! One run of `edgeloop load`, and what its report says.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::WAITED_MAX;
use crate::record::Sample;
use crate::server::{CLIENT_CPU, SERVER_CPU, Server};
use crate::workload::Pace;
use crate::{Result, system};

/// Beyond warm-up and measurement: connects, answers that are late, the report.
const GRACE: Duration = Duration::from_secs(40);

/// Whether this build of edgeloop has a service.
pub fn has(edgeloop: &Path, service: &str) -> bool {
    let mut command = Command::new(edgeloop);
    command.args([service, "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs it against the server; what it could not verify is an error. `None` if nothing was answered
/// in the time, which no connection was lost in either: it was too short.
pub fn run(
    edgeloop: &Path,
    server: &Server,
    target: &str,
    words: &[String],
    pace: Pace,
    scratch: &Path,
) -> Result<Option<Sample>> {
    let (report, stderr) = (scratch.join("load.json"), scratch.join("load.stderr"));
    // A report of the run before must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let mut command = Command::new(edgeloop);
    command.args(["load", target]).args(words).arg("--json").arg(&report);
    command.arg("--warmup").arg(format!("{}ms", pace.warm_up.as_millis()));
    command.arg("-d").arg(format!("{}ms", pace.time.as_millis()));
    command.arg("--server-pid").arg(server.pid().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
    system::tie_child(&mut command, CLIENT_CPU);
    let mut child = command.spawn().map_err(|error| format!("edgeloop load: {error}"))?;
    let deadline = Instant::now() + pace.warm_up + pace.time + GRACE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
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
    };
    let report = fs::read_to_string(&report).ok();
    let report = report.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if report.as_ref().is_some_and(is_silent) {
        return Ok(None);
    }
    if !status.success() {
        let text = fs::read(&stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("edgeloop load: {status}: {}", line.trim()).into());
    }
    parse(&report.ok_or("edgeloop load has left no report")?).map(Some)
}

/// No answer, and no error.
fn is_silent(report: &Value) -> bool {
    let step = report.pointer("/steps/0");
    step.is_some_and(|step| step["messages"] == 0 && step["errors"] == serde_json::json!({}))
}

/// The last step of a report is the only one, since there is no ramp.
fn parse(report: &Value) -> Result<Sample> {
    let number = |path: &str| {
        let value = report.pointer(&format!("/steps/0/{path}")).and_then(Value::as_f64);
        value.ok_or_else(|| format!("the report of edgeloop load lacks `{path}`"))
    };
    Ok(Sample {
        cpu_us: number("server/cpu_us_per_message")?
            + deferred_s(report, SERVER_CPU) * 1e6 / number("messages")?.max(1.0),
        rate: number("rate")?,
        p50_us: number("latency/p50_us")?,
        p99_us: number("latency/p99_us")?,
        client_bound: report.pointer("/steps/0/client_bound") == Some(&Value::Bool(true)),
        disturbance: disturbance(report),
        ..Sample::default()
    })
}

/// What the report itself says against its figures.
fn disturbance(report: &Value) -> Option<String> {
    let step = report.pointer("/steps/0")?;
    if let Some(little) = step.get("little").filter(|little| little["holds"] == false) {
        let of = |name: &str| little[name].as_f64().unwrap_or(0.0);
        let (found, meant) = (of("product"), of("in_flight"));
        return Some(format!("{found:.2} in flight where {meant:.0} were meant to be"));
    }
    let seconds = step["seconds"].as_f64().filter(|seconds| *seconds > 0.0).unwrap_or(1.0);
    // A side also waits for its own work: what the kernel has deferred, and other threads.
    let waited = |side: &str, cpu| {
        let of = |name: &str| step[side][name].as_f64().unwrap_or(0.0);
        let others = (of("cpu_s") / seconds - of("utilisation")).max(0.0);
        of("waited") - deferred_s(report, cpu) / seconds - others
    };
    let waited = waited("server", SERVER_CPU).max(waited("client", CLIENT_CPU));
    (waited > WAITED_MAX).then(|| format!("other work had {:.1} % of a CPU", waited * 100.0))
}

/// What `ksoftirqd` did on a CPU that only one of both sides is on, and so for it.
fn deferred_s(report: &Value, cpu: usize) -> f64 {
    report.pointer(&format!("/steps/0/ksoftirqd_s/{cpu}")).and_then(Value::as_f64).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(little_holds: bool, waited: f64) -> Value {
        serde_json::json!({ "steps": [{
            "messages": 1000, "errors": {}, "rate": 500.0, "client_bound": true,
            "latency": { "p50_us": 10.0, "p99_us": 20.0 },
            "little": { "in_flight": 50.0, "product": 40.0, "holds": little_holds },
            "server": { "cpu_us_per_message": 1.5, "cpu_s": 1.2, "utilisation": 0.6, "waited": waited },
            "client": { "waited": 0.0 }, "seconds": 2.0, "ksoftirqd_s": [0.0, 0.0],
        }] })
    }

    #[test]
    fn figures_of_the_report_are_found() {
        let sample = parse(&report(true, 0.0)).unwrap();
        assert_eq!((sample.cpu_us, sample.rate, sample.p50_us), (1.5, 500.0, 10.0));
        assert!(sample.client_bound && sample.disturbance.is_none());
    }

    #[test]
    fn report_that_lacks_a_figure_is_an_error_and_one_without_answers_is_silent() {
        let mut lacking = report(true, 0.0);
        lacking["steps"][0]["server"] = Value::Null;
        assert!(parse(&lacking).unwrap_err().to_string().contains("server/cpu_us_per_message"));
        let mut empty = report(true, 0.0);
        assert!(!is_silent(&empty));
        empty["steps"][0]["messages"] = 0.into();
        assert!(is_silent(&empty));
        empty["steps"][0]["errors"]["timeout"] = 1.into();
        assert!(!is_silent(&empty));
    }

    #[test]
    fn contradiction_and_other_work_are_disturbances() {
        let disturbance = |report: &Value| parse(report).unwrap().disturbance.unwrap();
        let text = disturbance(&report(false, 0.0));
        assert_eq!(text, "40.00 in flight where 50 were meant to be");
        assert_eq!(disturbance(&report(true, 0.06)), "other work had 6.0 % of a CPU");
    }

    #[test]
    fn work_of_its_own_that_a_server_waits_for_is_no_disturbance() {
        let mut report = report(true, 0.1);
        report["steps"][0]["ksoftirqd_s"][0] = 0.2.into();
        let sample = parse(&report).unwrap();
        assert!(sample.disturbance.is_none());
        assert_eq!(sample.cpu_us, 1.5 + 200.0);
        report["steps"][0]["ksoftirqd_s"][0] = 0.0.into();
        assert!(parse(&report).unwrap().disturbance.is_some());
        report["steps"][0]["server"]["cpu_s"] = 1.4.into();
        assert!(parse(&report).unwrap().disturbance.is_none());
    }
}
