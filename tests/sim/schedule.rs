//! What a seed decides: the program, its limits, the network, the faults and the peers. A schedule
//! is plain data, so that a failing one can be made smaller and printed.

use std::fmt;
use std::time::Duration;

use edgeloop::{CloseReason, Config, OnPanic, SlowConsumer, WhenFull};

use crate::faults::{Class, Rates};
use crate::kernel::Weather;
use crate::peers::{Ending, Plan};
use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) service: Service,
    /// The program listens on a path.
    pub(crate) is_unix: bool,
    pub(crate) config: Config,
    pub(crate) weather: Weather,
    pub(crate) rates: Rates,
    pub(crate) plans: Vec<Plan>,
    /// How often the world moves before a call, in a thousand.
    pub(crate) pace: u16,
    /// What a call takes; 0 lets time stand still while there is work.
    pub(crate) call_ns: u64,
    /// After so many calls everybody behaves.
    pub(crate) calls: u64,
    /// After so many calls the program is told to shut down.
    pub(crate) drains_after: Option<u64>,
    /// Descriptors that the process may have.
    pub(crate) files_max: usize,
    pub(crate) backlog: u32,
    /// So many callbacks of a thousand panic.
    pub(crate) panics: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Echo,
    Silent,
    /// Lines, answered one by one.
    Lines,
    /// Pauses so often, in a thousand.
    Pauser(u16),
    /// Timers of at most so many milliseconds.
    Ticker(usize),
    /// Works, up to so many units at once.
    Worker(usize),
    /// Closes first, aborts, and talks to peers that have ended.
    Leaver,
    /// Dials for so many of those who come, in a thousand.
    Dialler(u16),
    Broadcast {
        policy: SlowConsumer,
        memory: usize,
        history: usize,
        patience_ms: u64,
    },
    /// Several topics for each connection.
    Rooms {
        policy: SlowConsumer,
        memory: usize,
    },
}

impl Schedule {
    pub(crate) fn draw(seed: u64) -> Schedule {
        let random = &mut Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let service = Service::draw(random);
        let config = draw_config(random, service);
        let weather = draw_weather(random);
        // A stream is so long that each of its limits is met often, and no longer.
        let step = config.read_budget.min(weather.capacity_most as usize).max(16);
        let bytes_max = (step * 50).min(30_000);
        let peers = random.magnitude(1, 24);
        let mut plans: Vec<_> = (0..peers).map(|_| Plan::draw(random, bytes_max)).collect();
        let is_unix = random.chance(150);
        if is_unix {
            plans.iter_mut().for_each(|plan| plan.urgent = 0);
        }
        Schedule {
            seed,
            service,
            is_unix,
            weather,
            rates: draw_rates(random),
            plans,
            pace: random.pick(&[0, 20, 100, 300, 700]),
            call_ns: random.pick(&[0, 200, 200, 2_000, 100_000]),
            calls: random.magnitude(300, 5000) as u64,
            drains_after: random.chance(100).then(|| random.magnitude(1, 3000) as u64),
            files_max: if random.chance(200) { random.between(6, 12) } else { usize::MAX },
            backlog: random.magnitude(1, 64) as u32,
            // Another random number would give every seed another schedule.
            panics: [0, 0, 0, 5, 0, 0, 50, 0][seed as usize % 8],
            config,
        }
    }

    /// Smaller schedules of the same kind, boldest first.
    pub(crate) fn smaller(&self) -> Vec<Schedule> {
        let mut smaller = Vec::new();
        let half = self.plans.len() / 2;
        if half > 0 {
            smaller.push(Schedule { plans: self.plans[..half].to_vec(), ..self.clone() });
            smaller.push(Schedule { plans: self.plans[half..].to_vec(), ..self.clone() });
        }
        if self.rates.iter().any(|rate| *rate > 0) {
            smaller.push(Schedule { rates: Default::default(), ..self.clone() });
        }
        for index in 0..self.plans.len() {
            let mut plans = self.plans.clone();
            plans.remove(index);
            smaller.push(Schedule { plans, ..self.clone() });
        }
        for class in (0..self.rates.len()).filter(|class| self.rates[*class] > 0) {
            let mut schedule = self.clone();
            schedule.rates[class] = 0;
            smaller.push(schedule);
        }
        self.simplify_world(&mut smaller);
        self.simplify_plans(&mut smaller);
        smaller
    }

    fn simplify_world(&self, into: &mut Vec<Schedule>) {
        let weather = self.weather;
        let calm = [
            Weather { delay: 0, ..weather },
            Weather { split: 0, ..weather },
            Weather { reorder: 0, ..weather },
            Weather { capacity_least: weather.capacity_most, ..weather },
        ];
        into.extend(calm.map(|weather| Schedule { weather, ..self.clone() }));
        if self.pace > 0 {
            into.push(Schedule { pace: 0, ..self.clone() });
        }
        if self.calls > 100 {
            into.push(Schedule { calls: self.calls / 2, ..self.clone() });
        }
        if self.panics > 0 {
            into.push(Schedule { panics: 0, ..self.clone() });
        }
        if self.drains_after.is_some() {
            into.push(Schedule { drains_after: None, ..self.clone() });
        }
        if self.files_max < usize::MAX {
            into.push(Schedule { files_max: usize::MAX, ..self.clone() });
        }
    }

    fn simplify_plans(&self, into: &mut Vec<Schedule>) {
        for index in 0..self.plans.len() {
            let plan = &self.plans[index];
            let simpler = [
                Plan { bytes: plan.bytes / 2, ..plan.clone() },
                Plan { rounds: 1, ..plan.clone() },
                Plan { rests: 0, ..plan.clone() },
                Plan { urgent: 0, ..plan.clone() },
                Plan { reads: 1000, ..plan.clone() },
                Plan { starts_ms: 0, ..plan.clone() },
            ];
            for simpler in simpler {
                let mut plans = self.plans.clone();
                plans[index] = simpler;
                into.push(Schedule { plans, ..self.clone() });
            }
        }
    }

    /// How much there is of it: what shrinking makes less.
    pub(crate) fn size(&self) -> u64 {
        let plans: u64 = self.plans.iter().map(Plan::size).sum();
        let rates: u64 = self.rates.iter().map(|rate| u64::from(*rate > 0) * 50).sum();
        let weather = self.weather;
        let spread = u64::from(weather.capacity_least != weather.capacity_most);
        let weather = [weather.delay, weather.split, weather.reorder, self.pace];
        let weather: u64 = weather.iter().map(|rate| u64::from(*rate > 0) * 20).sum();
        let drains = u64::from(self.drains_after.is_some()) * 50;
        plans
            + rates
            + weather
            + spread
            + drains
            + u64::from(self.panics)
            + self.calls
            + u64::from(self.files_max < usize::MAX)
    }
}

impl Service {
    fn draw(random: &mut Random) -> Service {
        let policies = [SlowConsumer::Disconnect, SlowConsumer::Skip, SlowConsumer::Wait];
        match random.below(15) {
            0 | 1 => Service::Echo,
            2 | 3 => Service::Silent,
            4 => Service::Lines,
            5 => Service::Pauser(random.pick(&[20, 200, 600])),
            6 => Service::Ticker(random.magnitude(1, 2000)),
            7 => Service::Dialler(random.pick(&[200, 1000])),
            8 | 9 => Service::Leaver,
            14 => Service::Worker(random.magnitude(1, 1_000_000)),
            10 => Service::Rooms {
                policy: random.pick(&policies),
                memory: random.magnitude(1024, 16_384),
            },
            _ => Service::Broadcast {
                policy: random.pick(&policies),
                memory: random.magnitude(1024, 16_384),
                history: random.pick(&[0, 0, 1, 10]),
                patience_ms: random.magnitude(1, 1000) as u64,
            },
        }
    }
}

fn draw_config(random: &mut Random, service: Service) -> Config {
    let ms = |random: &mut Random, least, most| {
        Duration::from_millis(random.magnitude(least, most) as u64)
    };
    let read_budget = random.magnitude(1, 8192);
    let output_limit = random.magnitude(1024, 32_768);
    let is_short = random.chance(100);
    let input_limit = match service {
        // So that a line always fits among the answers to others.
        Service::Lines => output_limit / 4,
        _ => random.magnitude(300, 32_768),
    };
    let read_size = read_budget.min(output_limit / 2);
    // Another random number would give every seed another schedule.
    let overload_ms = 1 + input_limit as u64 % 50;
    Config {
        connections_max: random.magnitude(1, 40),
        when_full: random.pick(&[WhenFull::Wait, WhenFull::Wait, WhenFull::Refuse]),
        input_limit,
        output_limit,
        buffer_memory: if is_short { 4 * read_size.max(64) } else { 64 << 20 },
        buffer_reserve: random.pick(&[0, 4096, 1 << 20]),
        read_budget,
        work_budget: random.magnitude(1, 4_000_000),
        work_slice: random.magnitude(1, 400_000),
        visit_budget: random.magnitude(1, 128),
        accept_budget: random.magnitude(1, 32),
        greeting_budget: 16,
        greetings_max: None,
        accept_retry: ms(random, 1, 200),
        tasks_max: random.magnitude(1, 32),
        events: random.magnitude(1, 64),
        overload_turn: (input_limit % 3 != 0).then_some(Duration::from_millis(overload_ms)),
        // Not reached where memory is not short: it closes connections.
        overload_memory: (input_limit % 3 != 1).then_some(10 + (output_limit % 91) as u8),
        overload_span: Duration::from_millis(4 * overload_ms),
        overload_newcomers: 1 + output_limit % 4,
        overload_pause: Duration::from_millis(1 + output_limit as u64 % 100),
        idle_timeout: random.chance(400).then(|| ms(random, 5, 5000)),
        write_timeout: random.chance(700).then(|| ms(random, 5, 5000)),
        // The kernel's business: here it never finds that a peer is gone, but faults say so.
        keepalive: Some(Duration::from_secs(300)),
        connect_timeout: ms(random, 5, 2000),
        // Nobody greets in these schedules; `greetings.rs` has others.
        greeting_timeout: Duration::from_secs(10),
        linger_timeout: ms(random, 5, 2000),
        linger_limit: random.magnitude(64, 1 << 20),
        drain_timeout: ms(random, 5, 2000),
        drain_quiet: ms(random, 1, 500),
        tick: ms(random, 1, 100),
        on_panic: OnPanic::Close,
        // Nothing is logged here, but the accounts are kept for half of the seeds.
        log_closes: CloseReason::ALL
            .into_iter()
            .filter(|_| output_limit.is_multiple_of(2))
            .collect(),
        strict_drain: random.chance(200),
    }
}

fn draw_weather(random: &mut Random) -> Weather {
    let (a, b) = (random.magnitude(16, 4096) as u32, random.magnitude(16, 4096) as u32);
    Weather {
        delay: random.pick(&[0, 0, 100, 400, 900]),
        split: random.pick(&[0, 0, 200]),
        reorder: random.pick(&[0, 500]),
        capacity_least: a.min(b),
        capacity_most: a.max(b),
    }
}

/// Most seeds meet a few classes of faults, some none.
fn draw_rates(random: &mut Random) -> Rates {
    let share = random.pick(&[0, 300, 600, 900]);
    let mut rates = Rates::default();
    for class in Class::ALL {
        let often = match class {
            Class::Cut => &[1, 3, 10],
            Class::Jump => &[1, 2, 5],
            Class::Ghost => &[50, 200, 500],
            Class::ShortRead | Class::ShortWrite => &[50, 150, 400],
            Class::Interrupt => &[30, 100, 300],
            _ => &[10, 50, 200],
        };
        if random.chance(share) {
            rates[class as usize] = random.pick(often);
        }
    }
    rates
}

impl Plan {
    fn draw(random: &mut Random, bytes_max: usize) -> Plan {
        let kind = random.below(8);
        Plan {
            starts_ms: if random.chance(300) { random.magnitude(1, 500) as u32 } else { 0 },
            bytes: if kind == 0 { 0 } else { random.magnitude(1, bytes_max) as u32 },
            piece: random.magnitude(1, 2048) as u32,
            // One kind never reads before the last phase, one seldom.
            reads: match kind {
                1 => 0,
                2 => 20,
                _ => 1000,
            },
            rests: random.pick(&[0, 0, 5, 50]),
            rest_ms: random.magnitude(1, 400) as u32,
            urgent: random.pick(&[0, 0, 0, 100]),
            ending: random.pick(&[
                Ending::HalfClose,
                Ending::HalfClose,
                Ending::HalfClose,
                Ending::Close,
                Ending::Reset,
                Ending::Stay,
            ]),
            rounds: random.pick(&[1, 1, 2, 5]),
        }
    }

    fn size(&self) -> u64 {
        let habits = [self.rests, self.urgent, 1000 - self.reads];
        let habits: u64 = habits.iter().map(|rate| u64::from(*rate > 0) * 10).sum();
        let starts = u64::from(self.starts_ms > 0);
        100 + u64::from(self.bytes) + 50 * u64::from(self.rounds) + habits + starts
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unix = if self.is_unix { ", on a Unix socket" } else { "" };
        writeln!(f, "seed {}: {:?}{unix}", self.seed, self.service)?;
        writeln!(f, "  {:?}", self.config)?;
        writeln!(f, "  {:?}", self.weather)?;
        let (pace, call_ns, calls) = (self.pace, self.call_ns, self.calls);
        writeln!(f, "  pace {pace}, a call takes {call_ns} ns, calm after {calls} calls")?;
        if let Some(calls) = self.drains_after {
            writeln!(f, "  shut down after {calls} calls")?;
        }
        let (files, backlog) = (self.files_max, self.backlog);
        writeln!(f, "  {files} descriptors at most, backlog {backlog}")?;
        for class in Class::ALL.into_iter().filter(|class| self.rates[*class as usize] > 0) {
            writeln!(f, "  fault {class:?}: {} in 1000", self.rates[class as usize])?;
        }
        for (index, plan) in self.plans.iter().enumerate() {
            writeln!(f, "  peer {index}: {plan:?}")?;
        }
        Ok(())
    }
}
