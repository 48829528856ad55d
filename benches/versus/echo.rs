//! The three measurements that echo: CPU time for a message, memory of the idle, a storm of
//! connects.

use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::{Arrival, Crowd, Ramp};
use crate::figures::{Plan, alternate};
use crate::options::Options;
use crate::probe::{Host, Memory, Usage};
use crate::server::{Program, SERVER_CPU, Server};
use crate::setting::Setting;
use crate::{Result, extra_arguments, seconds, system};

/// Descriptors that are none of the crowd's.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Short against the seconds in which the clock of a CPU wanders.
const SLICE: Duration = Duration::from_millis(300);
/// A connect that takes longer has lost its first packet and was saved by a retry after 1 s.
const CONNECT_MAX: Duration = Duration::from_millis(900);
const STORM_DEADLINE: Duration = Duration::from_secs(60);

/// `echo`: pairs of the program and the floor.
pub(crate) fn echo(mut options: Options) -> Result<()> {
    let connections = options.number("connections", 50)?;
    let size: usize = options.number("size", 64)?;
    let depth: usize = options.number("depth", 1)?;
    let pairs = options.number("pairs", 5)?;
    let time = seconds(&mut options, "seconds", 3.0)?;
    let warm_up = seconds(&mut options, "warm-up", 1.0)?;
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    if program == Program::Redis {
        return Err("redis does not echo".into());
    }
    // The floor gives up a connection that does not take its bytes at once.
    if size * depth > 64 * 1024 {
        return Err("size x depth: at most 64 KiB in flight for each connection".into());
    }
    require_descriptors(connections)?;
    let slice = require_descriptors(2 * connections).is_ok().then_some(SLICE);
    println!("echo: {connections} connections, {depth} x {size} bytes in flight each");
    println!("unit: a verified message; latency is service time in a closed loop");
    println!("{}", if slice.is_some() { "sides by turns" } else { "one side after the other" });
    let _cubic = Setting::cubic();
    let programs = [program, Program::Floor];
    let plan = Plan { pairs, warm_up, time, slice };
    alternate([programs[0].name(), "floor"], plan, |side| {
        let extra = if side == 0 { &extra[..] } else { &[] };
        let server = Server::start(&programs[side], "echo", extra)?;
        let mut crowd = Crowd::new(size, depth)?;
        arrive_gently(&mut crowd, &server, connections)?;
        Ok((crowd, server))
    })
}

/// `idle`: what a connection costs that does nothing, before and after a burst of traffic.
pub(crate) fn idle(mut options: Options) -> Result<()> {
    let connections = options.number("connections", 19_000)?;
    let burst_size = options.number("size", 4096)?;
    let time = seconds(&mut options, "seconds", 5.0)?;
    let program = Program::named(options.text("program"))?;
    let mut extra = extra_arguments(&mut options);
    options.finish()?;
    require_descriptors(connections)?;
    extra.extend(["--idle-timeout".to_owned(), "10m".to_owned()]);
    let _cubic = Setting::cubic();
    for (program, extra) in [(program, &extra[..]), (Program::Floor, &[])] {
        let server = Server::start(&program, "echo", extra)?;
        let before = touched_memory(&server, burst_size)?;
        println!("{}: {} KiB resident before", program.name(), before.resident / 1024);
        let mut crowd = Crowd::new(burst_size, 1)?;
        arrive_gently(&mut crowd, &server, connections)?;
        report_memory("once echoed", before, Memory::of(server.pid())?, connections);
        report_idleness(&server, time)?;
        let echoed = crowd.burst(Duration::from_secs(2))?;
        println!("  a burst of {echoed} messages of {burst_size} bytes on all of them");
        report_memory("after it", before, Memory::of(server.pid())?, connections);
    }
    Ok(())
}

/// `storm`: everybody at once.
pub(crate) fn storm(mut options: Options) -> Result<()> {
    let connections = options.number("connections", 19_000)?;
    let size = options.number("size", 64)?;
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    require_descriptors(connections)?;
    let _cubic = Setting::cubic();
    for (program, extra) in [(program, &extra[..]), (Program::Floor, &[])] {
        let server = Server::start(&program, "echo", extra)?;
        let mut crowd = Crowd::new(size, 1)?;
        let before = Host::now()?;
        let ramp = Ramp { connections, in_flight_max: connections, deadline: STORM_DEADLINE };
        let arrival = crowd.arrive(server.address, ramp)?;
        println!("{}: {connections} connects at once", program.name());
        report_storm(&arrival, Host::now()? - before);
    }
    Ok(())
}

/// As a careful operator would: few connects at a time, and no retry hidden in the figures.
fn arrive_gently(crowd: &mut Crowd, server: &Server, connections: usize) -> Result<()> {
    let before = Host::now()?;
    let deadline = Duration::from_secs(30);
    let arrival =
        crowd.arrive(server.address, Ramp { connections, in_flight_max: 256, deadline })?;
    let host = Host::now()? - before;
    if arrival.failures > 0 {
        return Err(format!("{} of {connections} did not get in", arrival.failures).into());
    }
    if arrival.slowest_connect > CONNECT_MAX || host.listen_overflows > 0 {
        let slowest = arrival.slowest_connect;
        return Err(format!("the ramp was not clean: a connect took {slowest:?}, {host:?}").into());
    }
    Ok(())
}

/// Memory once the code has run and its first buffers exist: those belong to nobody's connection.
fn touched_memory(server: &Server, size: usize) -> Result<Memory> {
    let mut crowd = Crowd::new(size, 1)?;
    arrive_gently(&mut crowd, server, 8)?;
    crowd.burst(Duration::from_millis(200))?;
    drop(crowd);
    thread::sleep(Duration::from_millis(200));
    Memory::of(server.pid())
}

fn report_memory(when: &str, before: Memory, after: Memory, connections: usize) {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
    println!(
        "  {connections} connections, {when}: {} KiB resident, {:.1} bytes each ({:.1} anonymous)",
        after.resident / 1024,
        each(before.resident, after.resident),
        each(before.anonymous, after.anonymous),
    );
}

fn report_idleness(server: &Server, time: Duration) -> Result<()> {
    // What the ramp left to be done is not idleness.
    thread::sleep(Duration::from_millis(200));
    let before = Usage::of(server.pid(), SERVER_CPU)?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        system::fail_if_interrupted()?;
        thread::sleep(Duration::from_millis(50));
    }
    let used = Usage::of(server.pid(), SERVER_CPU)? - before;
    println!(
        "  {:.1} s idle: {:.3} ms CPU time, {} wake-ups",
        time.as_secs_f64(),
        used.cpu_ns as f64 / 1e6,
        used.voluntary_switches,
    );
    Ok(())
}

fn report_storm(arrival: &Arrival, host: Host) {
    println!(
        "  {} failures; all connected after {:.3} s, slowest connect {:.3} s, all echoed {:.3} s",
        arrival.failures,
        arrival.all_connected.as_secs_f64(),
        arrival.slowest_connect.as_secs_f64(),
        arrival.all_echoed.as_secs_f64(),
    );
    println!(
        "  ListenOverflows +{}  ListenDrops +{}  TCPTimeouts +{}  retransmits +{}",
        host.listen_overflows, host.listen_drops, host.tcp_timeouts, host.retransmits,
    );
}

fn require_descriptors(connections: usize) -> Result<()> {
    let limit = system::raise_descriptor_limit()?;
    if connections as u64 + DESCRIPTORS_RESERVED > limit {
        return Err(format!("{connections} connections need more than {limit} descriptors").into());
    }
    Ok(())
}
