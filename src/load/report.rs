//! What was measured. Its JSON form is documented in `docs/reference/load-json.md`; names and units
//! are stable.

use std::collections::BTreeMap;
use std::fs;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::plan::Plan;

/// A whole run: one row for each step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format: 1.
    pub schema: u32,
    /// The version of the program.
    pub version: String,
    /// The command line, as it was given.
    pub command_line: Vec<String>,
    /// Seconds since 1970 when the run began.
    pub started_unix: u64,
    /// Where the clients ran.
    pub machine: Machine,
    /// What was asked for.
    pub plan: Asked,
    /// Somebody ended the run early.
    pub interrupted: bool,
    /// What was measured, step by step.
    pub steps: Vec<Step>,
}

/// The machine of the clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub hostname: String,
    /// The kernel's name and release.
    pub kernel: String,
    /// The model of its CPUs.
    pub cpu_model: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// TCP's congestion control, as new sockets have it.
    pub congestion_control: String,
    /// What the clock is read from.
    pub clock_source: String,
}

/// The plan in plain values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Where the server listens.
    pub target: String,
    /// `echo`, `lines`, `stream`, `broadcast`, `redis`, `http`, `idle` or `churn`.
    pub mode: String,
    /// `closed` or `open`.
    pub r#loop: String,
    /// Connections of the last step.
    pub connections: usize,
    /// Seconds to be measured in each step.
    pub duration_s: Option<f64>,
    /// Seconds of traffic before each of them.
    pub warmup_s: f64,
    /// Messages after which the run ends.
    pub messages: Option<u64>,
    /// Bytes of a message.
    pub size: usize,
    /// Messages in flight on a connection.
    pub pipeline: usize,
    /// Messages due each second, in an open loop.
    pub rate: Option<f64>,
    /// The bursts of an open loop.
    #[serde(default)]
    pub pulse: Option<AskedPulse>,
    /// Threads.
    pub threads: usize,
    /// What chose the bytes.
    pub seed: u64,
    /// Source addresses, as far as they were not left to the system.
    pub sources: Vec<String>,
}

impl Asked {
    /// How many messages are due each second on the average of a step that is measured for so many,
    /// with its bursts; none in a closed loop.
    pub fn due_rate(&self, seconds: f64) -> Option<f64> {
        let (rate, Some(pulse)) = (self.rate?, self.pulse) else { return self.rate };
        // Whole pulses, and the pulse that the end of the step cuts off.
        let pulses = (seconds / pulse.every_s).floor() - 1.0;
        let last = (seconds % pulse.every_s).min(pulse.duration_s);
        let within = if pulses < 0.0 { 0.0 } else { pulses * pulse.duration_s + last };
        Some(rate + (pulse.rate - rate) * if seconds > 0.0 { within / seconds } else { 0.0 })
    }
}

/// Bursts in plain values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedPulse {
    /// Messages due each second in a burst.
    pub rate: f64,
    /// How many seconds a burst is long.
    pub duration_s: f64,
    /// Seconds from the beginning of one to that of the next.
    pub every_s: f64,
}

/// One step: so many connections, measured for so long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Connections that took part.
    pub connections: usize,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Answers (in broadcast: deliveries) received and verified in that time.
    pub messages: u64,
    /// The same for each second.
    pub rate: f64,
    /// Messages of the schedule that were never sent because too many were in flight.
    pub unsent: u64,
    /// Messages (in broadcast: deliveries) that had been sent and were not answered when the run
    /// ended, a second after its time. A message that had waited for
    /// [`Plan::reply_timeout`](super::Plan::reply_timeout) is an error instead.
    #[serde(default)]
    pub unanswered: u64,
    /// Bytes of those messages, one way.
    pub bytes: u64,
    /// The same for each second.
    pub bytes_rate: f64,
    /// In a closed loop from sending to the answer; in an open loop from the moment at which the
    /// message was due.
    pub latency: Latency,
    /// How much later than due messages left by our own doing, in an open loop.
    pub lateness: Option<Latency>,
    /// What bursts did, where the plan has any.
    #[serde(default)]
    pub pulses: Option<Pulses>,
    /// What went wrong in that time, by kind.
    pub errors: Faults,
    /// What went wrong before: while connections were made, and in the warm-up.
    #[serde(default)]
    pub errors_before: Faults,
    /// What went wrong afterwards, while the last answers were awaited.
    #[serde(default)]
    pub errors_after: Faults,
    /// What the wrong answers of that time said: the status of HTTP, as `404`, or the first word of
    /// a Redis error, as `NOAUTH`; and how often.
    #[serde(default)]
    pub wrong_answers: BTreeMap<String, u64>,
    /// What the server speaks, where its first answer is of another protocol than the plan's: `HTTP`,
    /// `RESP`, `TLS`, `SSH` or `SMTP`.
    #[serde(default)]
    pub server_speaks: Option<String>,
    /// Connections that the server closed in that time, as it may.
    #[serde(default)]
    pub closes: Closes,
    /// Times in which a client waited for 100 ms, after an error, before it connected again.
    #[serde(default)]
    pub pauses: u64,
    /// How connections came to be.
    pub connects: Connects,
    /// What the clients used.
    pub client: Client,
    /// What the server used, if it could be seen.
    pub server: Option<Server>,
    /// What the kernel counted meanwhile, on the whole machine.
    pub kernel: Option<Kernel>,
    /// Seconds of CPU time that the kernel's `ksoftirqd` had, by CPU: network work that is in nobody
    /// else's figures. Empty where it cannot be seen.
    #[serde(default)]
    pub ksoftirqd_s: Vec<f64>,
    /// The rate is the client's and not the server's; unknown where the server's CPU time is.
    pub client_bound: Option<bool>,
    /// Little's law on these figures, in a closed loop.
    pub little: Option<Little>,
    /// Second by second.
    pub series: Vec<Sample>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were recorded.
    pub count: u64,
    /// The shortest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The standard deviation.
    pub stdev_us: f64,
    /// Half took no longer.
    pub p50_us: f64,
    /// Nine of ten took no longer.
    pub p90_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
    /// 999 of a thousand.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Pairs of a share between 0 and 1, and the time within which that share was done.
    pub curve: Vec<(f64, f64)>,
}

/// What bursts did. A message belongs to where it was due, whenever its answer came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulses {
    /// What was usual before the first burst: 99 of 100 messages took no longer. None where no thread
    /// had a hundred messages then; recovery is not measured there.
    pub usual_us: Option<f64>,
    /// Latency of messages that were due in bursts.
    pub within: Latency,
    /// Of all others, those before the first burst included.
    pub outside: Latency,
    /// Burst by burst.
    pub each: Vec<PulseRecovery>,
}

/// What the server did after one burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PulseRecovery {
    /// When it began, in seconds since the start of the step's measurement.
    pub at_s: f64,
    /// How many seconds after its end at least half of the messages took no longer again than was
    /// usual; null if they did not before the next burst, or the end, or if it is not known what is usual.
    pub recovery_s: Option<f64>,
}

/// Ends of connections that a server may choose, and which are no errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closes {
    /// The server announced the end with an answer (`Connection: close`).
    pub announced: u64,
    /// It closed a connection on which nothing was owed, or not a byte of the next answer had come.
    pub idle: u64,
    /// Messages that were in flight on either, and were sent again on the next connection.
    pub asked_again: u64,
}

/// How the connections of a step came to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connects {
    /// Connects begun, up to the end of the step.
    pub attempted: u64,
    /// Connects that succeeded.
    pub established: u64,
    /// Connects that took more than 900 ms: their first packet was lost.
    pub slow: u64,
    /// How long they took.
    pub latency: Latency,
    /// Seconds until all connections had their first answer.
    pub seconds: f64,
}

/// What the clients used while they were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    /// Seconds of CPU time.
    pub cpu_s: f64,
    /// Microseconds of CPU time for each message.
    pub cpu_us_per_message: f64,
    /// CPU time of its threads as a share of the time they had.
    pub utilisation: f64,
    /// The share of the time for which the busiest thread was ready and had no CPU.
    pub waited: f64,
    /// The same for the thread that waited longest.
    #[serde(default)]
    pub waited_longest: f64,
}

/// What the server used while it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Its processes.
    pub pids: Vec<u32>,
    /// The name of the first.
    pub name: String,
    /// Seconds of CPU time, over all threads.
    pub cpu_s: f64,
    /// Microseconds of CPU time for each message.
    pub cpu_us_per_message: f64,
    /// CPU time of its busiest thread as a share of the time.
    pub utilisation: f64,
    /// The share of the time for which that thread was ready and had no CPU.
    pub waited: f64,
    /// The same for the thread that waited longest.
    #[serde(default)]
    pub waited_longest: f64,
    /// Resident memory before the first connection, in bytes.
    pub rss_before_bytes: u64,
    /// Resident memory at the end of the step.
    pub rss_bytes: u64,
    /// The difference for each connection.
    pub rss_per_connection_bytes: f64,
    /// Times it slept of its own accord.
    pub voluntary_switches: u64,
    /// Times it lost the CPU.
    pub involuntary_switches: u64,
}

/// What the kernel counted during a step, connects included.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Kernel {
    /// Connects that found the backlog full.
    pub listen_overflows: u64,
    /// Connects dropped, for that reason or another.
    pub listen_drops: u64,
    /// Retransmission timers that fired.
    pub tcp_timeouts: u64,
    /// Segments sent again.
    pub retransmits: u64,
}

/// Little's law: what is in flight is the rate times the mean latency.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Little {
    /// Messages in flight, as the plan has it.
    pub in_flight: f64,
    /// The rate times the mean latency.
    pub product: f64,
    /// They agree within 5 %.
    pub holds: bool,
}

/// One second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Counted from the start of the step's measurement.
    pub second: u64,
    /// Answers received and verified.
    pub messages: u64,
    /// Faults of any kind.
    pub errors: u64,
    /// The median of the latencies recorded.
    pub p50_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Report {
    /// An empty report of a plan.
    pub(super) fn new(plan: &Plan, started_unix: u64) -> Report {
        Report {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            command_line: std::env::args().collect(),
            started_unix,
            machine: Machine::this(),
            plan: Asked::from(plan),
            interrupted: false,
            steps: Vec::new(),
        }
    }

    /// Faults over all steps, at any time.
    pub fn errors(&self) -> Faults {
        let mut faults = Faults::default();
        self.steps.iter().for_each(|step| faults.merge(&step.all_errors()));
        faults
    }
}

impl Step {
    /// What went wrong before, in and after the time that was measured.
    pub fn all_errors(&self) -> Faults {
        let mut faults = self.errors_before.clone();
        faults.merge(&self.errors);
        faults.merge(&self.errors_after);
        faults
    }
}

impl Pulses {
    /// The longest recovery of all in microseconds, if the server recovered after each burst.
    pub fn longest_recovery_us(&self) -> Option<f64> {
        let longest = |longest: f64, each: &PulseRecovery| Some(longest.max(each.recovery_s?));
        let seconds = self.each.iter().try_fold(0.0, longest)?;
        (!self.each.is_empty()).then_some(seconds * 1e6)
    }
}

impl Closes {
    /// Adds the closes of another part of the run.
    pub(super) fn merge(&mut self, other: Closes) {
        self.announced += other.announced;
        self.idle += other.idle;
        self.asked_again += other.asked_again;
    }
}

impl Latency {
    /// The figures of a histogram in nanoseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |share: f64| us(histogram.value_at_quantile(share).min(histogram.max()));
        Latency {
            count: histogram.len(),
            min_us: us(histogram.min()),
            mean_us: histogram.mean() / 1e3,
            stdev_us: histogram.stdev() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: us(histogram.max()),
            curve: shares(histogram.len()).map(|share| (share, at(share))).collect(),
        }
    }
}

/// Shares for a curve whose axis counts nines, as far as that many values can tell them apart.
fn shares(count: u64) -> impl Iterator<Item = f64> {
    // Ten points for each further nine.
    let points = 10.0 * (count.max(1) as f64).log10();
    let inner = (0..=points.ceil() as i32).map(|point| 1.0 - 10f64.powf(-f64::from(point) / 10.0));
    inner.chain([1.0])
}

impl Machine {
    fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let release = read("/proc/sys/kernel/osrelease");
        let memory = super::probe::field(&read("/proc/meminfo"), "MemTotal:");
        Machine {
            hostname: read("/proc/sys/kernel/hostname"),
            kernel: format!("{} {release}", read("/proc/sys/kernel/ostype")),
            cpu_model: model.map_or(String::new(), |(_, name)| name.trim().to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or(0) * 1024,
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        }
    }
}

impl From<&Plan> for Asked {
    fn from(plan: &Plan) -> Asked {
        Asked {
            target: plan.target.to_string(),
            mode: plan.mode.name().into(),
            r#loop: if plan.rate.is_some() { "open" } else { "closed" }.into(),
            connections: plan.connections,
            duration_s: plan.duration.map(|span| span.as_secs_f64()),
            warmup_s: plan.warmup.as_secs_f64(),
            messages: plan.messages,
            size: plan.size,
            pipeline: plan.pipeline,
            rate: plan.rate,
            pulse: plan.pulse.map(|pulse| AskedPulse {
                rate: pulse.rate,
                duration_s: pulse.duration.as_secs_f64(),
                every_s: pulse.every.as_secs_f64(),
            }),
            threads: plan.threads,
            seed: plan.seed,
            sources: plan.effective_sources().iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_that_is_due_has_the_bursts_in_it_that_came() {
        let mut plan = Plan::new("127.0.0.1:7000".parse().unwrap(), super::super::Mode::Echo);
        let due = |plan: &Plan, seconds| Asked::from(plan).due_rate(seconds);
        assert_eq!(due(&plan, 10.0), None);
        plan.rate = Some(100.0);
        assert_eq!(due(&plan, 10.0), Some(100.0));
        let duration = std::time::Duration::from_secs;
        plan.pulse =
            Some(super::super::Pulse { rate: 1100.0, duration: duration(2), every: duration(5) });
        for (seconds, within) in
            [(0.0, 0.0), (4.0, 0.0), (5.0, 0.0), (6.0, 1.0), (8.0, 2.0), (10.0, 2.0), (16.0, 5.0)]
        {
            let messages = due(&plan, seconds).unwrap() * seconds;
            let expected = 100.0 * seconds + 1000.0 * within;
            assert!((messages - expected).abs() < 1e-6, "{seconds}: {messages}");
        }
        assert_eq!(due(&plan, 0.0), Some(100.0));
    }
}
