//! One stretch of one server at one kind of work.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::Contender;
use crate::crowd::{Arrival, Crowd, Ramp};
use crate::figures::{Sample, other_work};
use crate::hall::{self, Hall};
use crate::machine::{CLIENT_CPU, SERVER_CPU};
use crate::probe::{Host, Memory, Usage, canary};
use crate::server::Server;
use crate::workload::{Pace, Work, Workload};
use crate::{Result, load, system};

/// A connect that takes longer has lost its first packet and was saved by a retry after 1 s.
const CONNECT_MAX: Duration = Duration::from_millis(900);
const STORM_DEADLINE: Duration = Duration::from_secs(20);
const STEAL_MAX: f64 = 0.005;
const MESSAGE: usize = 64;
/// Messages on each connection.
const BURST: usize = 10;
/// A share of a CPU that leaves nothing to spare.
const BUSY: f64 = 0.95;
/// Each four times as long as the one before.
const ATTEMPTS: usize = 4;

/// What all samples have in common.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The edgeloop whose `load` drives all servers.
    pub(crate) load: PathBuf,
    /// For files of settings and reports.
    pub(crate) scratch: PathBuf,
    /// Messages a second in the open loop; known once the floor was measured.
    pub(crate) open_loop_rate: f64,
}

impl Bench {
    /// A fresh server under load, in pairs with others.
    pub(crate) fn take(&self, workload: &Workload, contender: &Contender) -> Result<Sample> {
        let mut server = Server::start(contender, &self.scratch)?;
        let (mut canaries_ns, host) = (canary()?, Host::now()?);
        let result = self.until_answered(workload, contender, &server);
        let mut sample = result.map_err(|error| format!("{error}{}", server.last_words()))?;
        let host = Host::now()? - host;
        canaries_ns += canary()?;
        if sample.disturbance.is_none() {
            sample.disturbance = disturbance(host);
        }
        Ok(Sample { canaries_ns, memory_max: memory_max(server.pid())?, ..sample })
    }

    /// On a machine that is busy, the few hundredths of a second of a quick campaign may pass without
    /// an answer.
    fn until_answered(
        &self,
        workload: &Workload,
        contender: &Contender,
        server: &Server,
    ) -> Result<Sample> {
        let mut pace = workload.pace;
        for _ in 0..ATTEMPTS {
            let sample = match &workload.work {
                Work::Broadcast(load) => broadcast(server, contender, *load, pace)?,
                work => self.put_load_on(work, server, pace)?,
            };
            if let Some(sample) = sample {
                return Ok(sample);
            }
            pace.time *= 4;
        }
        Err("nothing was answered in the time that was measured".into())
    }

    fn put_load_on(&self, work: &Work, server: &Server, pace: Pace) -> Result<Option<Sample>> {
        let mut words = work.load_words(server.address).ok_or("not measured in pairs")?;
        if matches!(work, Work::OpenLoop(_)) {
            words.extend(["--rate".to_owned(), format!("{:.0}", self.open_loop_rate)]);
        }
        words.extend(["--warmup".to_owned(), format!("{}ms", pace.warm_up.as_millis())]);
        words.extend(["-d".to_owned(), format!("{}ms", pace.time.as_millis())]);
        Ok(Sample::of(&load::run(&self.load, server, &words, &self.scratch)?)?)
    }

    /// Memory and CPU time of connections that have echoed once, and then do nothing; and their
    /// memory after a burst.
    pub(crate) fn idle(
        &self,
        contender: &Contender,
        (count, size): (usize, usize),
        time: Duration,
    ) -> Result<Values> {
        let server = Server::start(contender, &self.scratch)?;
        let before = touched_memory(&server, size)?;
        let mut crowd = Crowd::new(size)?;
        let arrival = arrive(&mut crowd, &server, count, 256, Duration::from_secs(30))?;
        if arrival.failures > 0 || arrival.slowest_connect > CONNECT_MAX {
            let Arrival { failures, slowest_connect, .. } = arrival;
            let text = format!("{failures} did not get in, a connect took {slowest_connect:?}");
            return Err(text.into());
        }
        // What the ramp left to be done is not idleness.
        thread::sleep(Duration::from_millis(200));
        let (after, used) = (Memory::of(server.pid())?, Usage::of(server.pid(), SERVER_CPU)?);
        let end = Instant::now() + time;
        while Instant::now() < end {
            system::fail_if_interrupted()?;
            thread::sleep(Duration::from_millis(20));
        }
        let used = Usage::of(server.pid(), SERVER_CPU)? - used;
        crowd.burst(BURST)?;
        let burst = Memory::of(server.pid())?;
        let each = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
        Ok(vec![
            (BYTES_EACH, each(before.resident, after.resident)),
            (BYTES_ANONYMOUS, each(before.anonymous, after.anonymous)),
            (BYTES_AFTER_BURST, each(before.resident, burst.resident)),
            (RESIDENT_BEFORE, before.resident as f64),
            (IDLE_CPU, used.cpu_ns as f64 / time.as_nanos() as f64),
            (WAKE_UPS, used.voluntary_switches as f64 / time.as_secs_f64()),
        ])
    }

    /// Everybody connects at once and has one message echoed.
    pub(crate) fn storm(&self, contender: &Contender, count: usize) -> Result<Values> {
        let server = Server::start(contender, &self.scratch)?;
        let (host, used) = (Host::now()?, Usage::of(server.pid(), SERVER_CPU)?);
        let mut crowd = Crowd::new(MESSAGE)?;
        let arrival = arrive(&mut crowd, &server, count, count, STORM_DEADLINE)?;
        let (host, used) = (Host::now()? - host, Usage::of(server.pid(), SERVER_CPU)? - used);
        let slow = f64::from(u8::from(arrival.slowest_connect > CONNECT_MAX));
        Ok(vec![
            (FAILURES, arrival.failures as f64),
            (ALL_CONNECTED, arrival.all_connected.as_secs_f64()),
            (ALL_ECHOED, arrival.all_echoed.as_secs_f64()),
            (SLOWEST, arrival.slowest_connect.as_secs_f64()),
            (RETRIED, slow),
            (OVERFLOWS, host.listen_overflows as f64),
            (CPU_EACH, used.cpu_and_deferred_ns() as f64 / 1000.0 / count as f64),
        ])
    }
}

/// Figures that are not measured in pairs, by name.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// `None` if nothing was delivered in the time.
fn broadcast(
    server: &Server,
    contender: &Contender,
    load: hall::Load,
    pace: Pace,
) -> Result<Option<Sample>> {
    let mut hall = Hall::open(server.address, load, contender.peer.protocol)?;
    hall.start()?;
    hall.turn_for(pace.warm_up)?;
    hall.latency().reset();
    let usages = || -> Result<[Usage; 2]> {
        let client = Usage::of(std::process::id(), CLIENT_CPU)?;
        Ok([Usage::of(server.pid(), SERVER_CPU)?, client])
    };
    let (before, deliveries, start) = (usages()?, hall.deliveries(), Instant::now());
    hall.turn_for(pace.time)?;
    let (after, deliveries) = (usages()?, hall.deliveries() - deliveries);
    let wall_ns = start.elapsed().as_nanos() as f64;
    let us = |share| hall.latency().value_at_quantile(share) as f64 / 1000.0;
    let [p50_us, p99_us] = [0.5, 0.99].map(us);
    hall.settle()?;
    let used = [after[0] - before[0], after[1] - before[1]];
    let [server, client] = used.map(|used| used.cpu_and_deferred_ns() as f64 / wall_ns);
    let waited = used[0].waited_for_others_ns().max(used[1].waited_for_others_ns());
    Ok((deliveries > 0).then(|| Sample {
        cpu_us: used[0].cpu_and_deferred_ns() as f64 / 1000.0 / deliveries as f64,
        rate: deliveries as f64 / wall_ns * 1e9,
        p50_us,
        p99_us,
        client_bound: client >= BUSY && server < BUSY,
        disturbance: other_work(waited as f64 / wall_ns),
        remark: hall.remark(),
        ..Sample::default()
    }))
}

fn arrive(
    crowd: &mut Crowd,
    server: &Server,
    connections: usize,
    in_flight_max: usize,
    deadline: Duration,
) -> Result<Arrival> {
    crowd.arrive(server.address, Ramp { connections, in_flight_max, deadline })
}

/// Memory once the code has run and its first buffers exist: those belong to nobody's connection.
fn touched_memory(server: &Server, size: usize) -> Result<Memory> {
    let mut crowd = Crowd::new(size)?;
    arrive(&mut crowd, server, 8, 8, Duration::from_secs(10))?;
    crowd.burst(BURST)?;
    drop(crowd);
    thread::sleep(Duration::from_millis(200));
    Memory::of(server.pid())
}

fn disturbance(host: Host) -> Option<String> {
    if host.steal_share() > STEAL_MAX {
        return Some(format!("{:.1} % of the time stolen", host.steal_share() * 100.0));
    }
    (host.retransmits > 0).then(|| format!("{} retransmits", host.retransmits))
}

/// The most that a process ever had resident, in bytes.
fn memory_max(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("no VmHWM in the status of the server")? * 1024)
}

pub(crate) const BYTES_EACH: &str = "resident bytes for a connection";
pub(crate) const BYTES_ANONYMOUS: &str = "anonymous bytes for a connection";
pub(crate) const BYTES_AFTER_BURST: &str = "resident bytes for a connection after a burst";
pub(crate) const RESIDENT_BEFORE: &str = "resident bytes before";
pub(crate) const IDLE_CPU: &str = "share of a CPU while idle";
pub(crate) const WAKE_UPS: &str = "wake-ups a second while idle";
pub(crate) const FAILURES: &str = "failures";
pub(crate) const ALL_CONNECTED: &str = "seconds until all were connected";
pub(crate) const ALL_ECHOED: &str = "seconds until all had echoed";
pub(crate) const SLOWEST: &str = "seconds of the slowest connect";
pub(crate) const RETRIED: &str = "a connect was retried";
pub(crate) const OVERFLOWS: &str = "listen overflows";
pub(crate) const CPU_EACH: &str = "CPU time for a connection, in microseconds";
