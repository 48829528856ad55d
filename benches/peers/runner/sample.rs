//! One stretch of one server at one kind of work.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::{Peer, Programs};
use crate::crowd::{Arrival, Crowd, Ramp};
use crate::figures::{Totals, Traffic};
use crate::hall::{self, Hall};
use crate::probe::{Host, Memory, Usage, canary};
use crate::record::Sample;
use crate::server::{SERVER_CPU, Server};
use crate::workload::{Pace, Work, Workload};
use crate::{Result, load, system};

/// A connect that takes longer has lost its first packet and was saved by a retry after 1 s.
const CONNECT_MAX: Duration = Duration::from_millis(900);
const STORM_DEADLINE: Duration = Duration::from_secs(20);
const STEAL_MAX: f64 = 0.005;
const MESSAGE: usize = 64;
/// Each four times as long as the one before.
const ATTEMPTS: usize = 4;

/// What all samples of a campaign have in common.
#[derive(Debug)]
pub struct Bench<'a> {
    pub programs: &'a Programs,
    /// For files of settings and reports.
    pub scratch: &'a Path,
    /// Messages a second in the open loop; known once the floor was measured.
    pub open_loop_rate: f64,
}

impl Bench<'_> {
    /// A fresh server under load, in pairs with others.
    pub fn take(&self, workload: &Workload, peer: &Peer) -> Result<Sample> {
        let mut server = self.start(peer)?;
        let (mut canaries_ns, host) = (canary()?, Host::now()?);
        let result = self.until_answered(workload, peer, &server);
        let mut sample = result.map_err(|error| format!("{error}{}", server.last_words()))?;
        let host = Host::now()? - host;
        canaries_ns += canary()?;
        if sample.disturbance.is_none() {
            sample.disturbance = disturbance(host);
        }
        Ok(Sample { canaries_ns, memory_max: memory_max(server.pid())?, ..sample })
    }

    pub fn start(&self, peer: &Peer) -> Result<Server> {
        Server::start(peer, self.programs.path(peer.program)?, self.scratch)
    }

    /// On a machine that is busy, the few hundredths of a second of a quick campaign may pass without
    /// an answer.
    fn until_answered(&self, workload: &Workload, peer: &Peer, server: &Server) -> Result<Sample> {
        let mut pace = workload.pace;
        for _ in 0..ATTEMPTS {
            if let Some(sample) = self.put_load_on(workload, peer, server, pace)? {
                return Ok(sample);
            }
            pace.time *= 4;
        }
        Err("nothing was answered in the time that was measured".into())
    }

    fn put_load_on(
        &self,
        workload: &Workload,
        peer: &Peer,
        server: &Server,
        pace: Pace,
    ) -> Result<Option<Sample>> {
        let target = server.address.to_string();
        match &workload.work {
            Work::Load(words) => self.load(server, &target, words, pace),
            Work::OpenLoop(words) => {
                let rate = ["--rate".to_owned(), format!("{:.0}", self.open_loop_rate)];
                self.load(server, &target, &[&words[..], &rate].concat(), pace)
            }
            Work::Http(words) => {
                self.load(server, &format!("http://{target}/plaintext"), words, pace)
            }
            Work::Broadcast(load) => broadcast(server, peer, *load, pace),
            Work::Idle(_) | Work::Storm(_) => Err("not measured in pairs".into()),
        }
    }

    fn load(
        &self,
        server: &Server,
        target: &str,
        words: &[String],
        pace: Pace,
    ) -> Result<Option<Sample>> {
        let edgeloop = self.programs.path("edgeloop")?;
        load::run(edgeloop, server, target, words, pace, self.scratch)
    }

    /// Memory and CPU time of connections that have echoed once, and then do nothing.
    pub fn idle(&self, peer: &Peer, count: usize, time: Duration) -> Result<Vec<(&str, f64)>> {
        let server = self.start(peer)?;
        let before = touched_memory(&server)?;
        let mut crowd = Crowd::new(MESSAGE, 1)?;
        let arrival = arrive(&mut crowd, &server, count, 256, Duration::from_secs(30))?;
        if arrival.failures > 0 {
            return Err(format!("{} of {count} did not get in", arrival.failures).into());
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
        let each = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
        Ok(vec![
            (BYTES_EACH, each(before.resident, after.resident)),
            (BYTES_ANONYMOUS, each(before.anonymous, after.anonymous)),
            (RESIDENT_BEFORE, before.resident as f64),
            (IDLE_CPU, used.cpu_ns as f64 / time.as_nanos() as f64),
            (WAKE_UPS, used.voluntary_switches as f64 / time.as_secs_f64()),
        ])
    }

    /// Everybody connects at once and has one message echoed.
    pub fn storm(&self, peer: &Peer, count: usize) -> Result<Vec<(&str, f64)>> {
        let server = self.start(peer)?;
        let (host, used) = (Host::now()?, Usage::of(server.pid(), SERVER_CPU)?);
        let mut crowd = Crowd::new(MESSAGE, 1)?;
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

fn broadcast(server: &Server, peer: &Peer, load: hall::Load, pace: Pace) -> Result<Option<Sample>> {
    load.check()?;
    let mut hall = Hall::open(server.address, load, peer.protocol)?;
    let mut totals = Totals::new();
    totals.measure(&mut hall, server.pid(), pace.warm_up, pace.time)?;
    let figures = totals.figures(None);
    if figures.rate == 0.0 {
        return Ok(None);
    }
    Ok(Some(Sample {
        cpu_us: figures.cpu_us,
        rate: figures.rate,
        p50_us: figures.p50_us,
        p99_us: figures.p99_us,
        client_bound: figures.is_client_bound(),
        disturbance: figures.disturbance(),
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
fn touched_memory(server: &Server) -> Result<Memory> {
    let mut crowd = Crowd::new(MESSAGE, 1)?;
    arrive(&mut crowd, server, 8, 8, Duration::from_secs(10))?;
    crowd.burst(Duration::from_millis(100))?;
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

pub const BYTES_EACH: &str = "resident bytes for a connection";
pub const BYTES_ANONYMOUS: &str = "anonymous bytes for a connection";
pub const RESIDENT_BEFORE: &str = "resident bytes before";
pub const IDLE_CPU: &str = "share of a CPU while idle";
pub const WAKE_UPS: &str = "wake-ups a second while idle";
pub const FAILURES: &str = "failures";
pub const ALL_CONNECTED: &str = "seconds until all were connected";
pub const ALL_ECHOED: &str = "seconds until all had echoed";
pub const SLOWEST: &str = "seconds of the slowest connect";
pub const RETRIED: &str = "a connect was retried";
pub const OVERFLOWS: &str = "listen overflows";
pub const CPU_EACH: &str = "CPU time for a connection, in microseconds";
