//! The figures of one stretch of one server, and what the machine says against them.

use edgeloop::load::{Little, Report, Step};
use serde::{Deserialize, Serialize};

use crate::machine::{CLIENT_CPU, SERVER_CPU};

/// One stretch of one server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// Microseconds of server CPU time for each unit, with those of `ksoftirqd` on its CPU.
    pub(crate) cpu_us: f64,
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) client_bound: bool,
    pub(crate) disturbance: Option<String>,
    pub(crate) remark: Option<String>,
    /// Nanoseconds that a fixed piece of work took before and after.
    pub(crate) canaries_ns: u64,
    /// The most resident memory that the server had, in bytes.
    pub(crate) memory_max: u64,
}

impl Sample {
    /// What `edgeloop load` has reported. `None` if nothing was answered in the time, and nothing went
    /// wrong either: the time was too short.
    ///
    /// # Errors
    /// A report without steps, of a run that was cut short, or one that could not see the server.
    pub(crate) fn of(report: &Report) -> Result<Option<Self>, &'static str> {
        // Ctrl-C reaches the load generator as well, which ends in order and may do so first.
        if report.interrupted {
            return Err("the load was interrupted");
        }
        let step = report.steps.first().ok_or("the report has no step")?;
        if step.messages == 0 && step.all_errors().total() == 0 {
            return Ok(None);
        }
        let server = step.server.as_ref().ok_or("the report does not know the server")?;
        let cpu_s = server.cpu_s + deferred_s(step, SERVER_CPU);
        Ok(Some(Self {
            cpu_us: cpu_s * 1e6 / step.messages.max(1) as f64,
            rate: step.rate,
            p50_us: step.latency.p50_us,
            p99_us: step.latency.p99_us,
            client_bound: step.client_bound == Some(true),
            disturbance: contradiction(step).or_else(|| other_work(waited(step))),
            ..Self::default()
        }))
    }
}

/// In a closed loop, rate times mean latency is what is in flight, or the counting is wrong.
fn contradiction(step: &Step) -> Option<String> {
    let Little { in_flight, product, holds } = step.little?;
    (!holds).then(|| format!("{product:.2} in flight where {in_flight:.0} were meant to be"))
}

/// The share of the time for which a side waited for work that was none of its own. A side also
/// waits for what the kernel has deferred, and for its other threads.
fn waited(step: &Step) -> f64 {
    let side = |cpu, cpu_s: f64, utilisation: f64, waited: f64| {
        let seconds = step.seconds.max(f64::MIN_POSITIVE);
        let threads = (cpu_s / seconds - utilisation).max(0.0);
        waited - deferred_s(step, cpu) / seconds - threads
    };
    let client = &step.client;
    let client = side(CLIENT_CPU, client.cpu_s, client.utilisation, client.waited);
    step.server.as_ref().map_or(client, |server| {
        client.max(side(SERVER_CPU, server.cpu_s, server.utilisation, server.waited))
    })
}

/// Why a stretch does not count in which one side waited for this share of it.
pub(crate) fn other_work(waited: f64) -> Option<String> {
    (waited > WAITED_MAX).then(|| format!("other work had {:.1} % of a CPU", waited * 100.0))
}

/// What `ksoftirqd` did on a CPU that only one of both sides is on, and so for that side.
fn deferred_s(step: &Step, cpu: usize) -> f64 {
    step.ksoftirqd_s.get(cpu).copied().unwrap_or(0.0)
}

/// Where one side waited for longer than this share of the time, the machine was not quiet. A small
/// virtual machine comes to 1 or 2 % by itself; and what is compared is CPU time, to which other
/// work only costs caches.
const WAITED_MAX: f64 = 0.05;
