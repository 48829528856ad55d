//! One run's figures, and what may be concluded from several pairs of runs.

use std::fmt;
use std::process;
use std::time::{Duration, Instant};

use crate::Result;
use crate::probe::{Host, Usage, canary};
use crate::server::{CLIENT_CPU, SERVER_CPU, Server};

/// Where one side waited for longer than this share of the time for work that was none of its own,
/// the machine was not quiet. A small virtual machine comes to 1 or 2 % by itself; and what is
/// compared is CPU time, to which other work only costs caches.
pub(crate) const WAITED_MAX: f64 = 0.05;

/// Latencies in nanoseconds, to three per cent: 32 steps for each power of two.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
}

impl Histogram {
    const STEPS: u64 = 32;
    const BUCKETS: usize = 1920;

    pub(crate) fn new() -> Self {
        Self { counts: vec![0; Self::BUCKETS], total: 0, sum: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        let shift = u64::from(58 - (ns | 63).leading_zeros());
        self.counts[(shift * Self::STEPS + (ns >> shift)) as usize] += 1;
        self.total += 1;
        self.sum += ns;
    }

    fn clear(&mut self) {
        *self = Self::new();
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.sum += other.sum;
    }

    fn mean_ns(&self) -> f64 {
        self.sum as f64 / self.total.max(1) as f64
    }

    /// The middle of the bucket that holds the value at this share of the whole.
    fn quantile_ns(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= rank.max(1)
        };
        let index = self.counts.iter().position(reached).unwrap_or(0) as u64;
        if index < 2 * Self::STEPS {
            return index as f64;
        }
        let shift = index / Self::STEPS - 1;
        ((index - shift * Self::STEPS) as f64 + 0.5) * (1_u64 << shift) as f64
    }
}

/// A client's load on a server, which can be on for a while, rest, and be on again.
pub(crate) trait Traffic {
    /// Puts the load on.
    fn start(&mut self) -> Result<()>;
    fn turn_for(&mut self, time: Duration) -> Result<()>;
    /// Takes the load off, and fails if anything is still owed.
    fn finish(&mut self) -> Result<()>;
    /// What the server has delivered so far, each verified or counted by the client.
    fn units(&self) -> u64;
    fn latency(&mut self) -> &mut Histogram;
    /// What a closed loop keeps in flight, where exactly that many units are timed.
    fn in_flight(&self) -> Option<u64>;
    /// What else is to be said when all is over.
    fn remark(&mut self) -> Option<String> {
        None
    }
}

/// The sum of all stretches in which one server was measured.
#[derive(Debug)]
pub(crate) struct Totals {
    wall_ns: u64,
    units: u64,
    server: Usage,
    client: Usage,
    host: Host,
    latency: Histogram,
    canaries_ns: u64,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Self {
            wall_ns: 0,
            units: 0,
            server: Usage::default(),
            client: Usage::default(),
            host: Host::default(),
            latency: Histogram::new(),
            canaries_ns: 0,
        }
    }

    /// Adds one stretch of the server with this process number: the load comes on, settles during
    /// `lead`, and is measured for `time`.
    pub(crate) fn measure(
        &mut self,
        traffic: &mut impl Traffic,
        server: u32,
        lead: Duration,
        time: Duration,
    ) -> Result<()> {
        let own = process::id();
        self.canaries_ns += canary()?;
        traffic.start()?;
        traffic.turn_for(lead)?;
        traffic.latency().clear();
        let (host, used, client) =
            (Host::now()?, Usage::of(server, SERVER_CPU)?, Usage::of(own, CLIENT_CPU)?);
        let (units, start) = (traffic.units(), Instant::now());
        traffic.turn_for(time)?;
        self.wall_ns += start.elapsed().as_nanos() as u64;
        self.units += traffic.units() - units;
        self.server = self.server + (Usage::of(server, SERVER_CPU)? - used);
        self.client = self.client + (Usage::of(own, CLIENT_CPU)? - client);
        self.host = self.host + (Host::now()? - host);
        self.latency.add(traffic.latency());
        traffic.finish()?;
        self.canaries_ns += canary()?;
        Ok(())
    }

    pub(crate) fn figures(&self, in_flight: Option<u64>) -> Figures {
        let share = |ns: u64| ns as f64 / self.wall_ns as f64;
        let rate = self.units as f64 / self.wall_ns as f64 * 1e9;
        Figures {
            cpu_us: self.server.cpu_and_deferred_ns() as f64 / 1000.0 / self.units.max(1) as f64,
            rate,
            server_busy: share(self.server.cpu_and_deferred_ns()),
            client_busy: share(self.client.cpu_and_deferred_ns()),
            sleeps: self.server.voluntary_switches,
            p50_us: self.latency.quantile_ns(0.5) / 1000.0,
            p99_us: self.latency.quantile_ns(0.99) / 1000.0,
            waited: share(
                self.server.waited_for_others_ns().max(self.client.waited_for_others_ns()),
            ),
            host: self.host,
            canaries_ns: self.canaries_ns,
            miscounted: in_flight
                .map(|meant| (rate * self.latency.mean_ns() / 1e9, meant))
                .filter(|(found, meant)| (found / *meant as f64 - 1.0).abs() > 0.05),
        }
    }
}

/// What one run showed.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Microseconds of server CPU time for each unit: the figure this program exists for.
    pub(crate) cpu_us: f64,
    pub(crate) rate: f64,
    pub(crate) server_busy: f64,
    pub(crate) client_busy: f64,
    sleeps: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The share of time in which one of both would have run, but something else did.
    waited: f64,
    host: Host,
    canaries_ns: u64,
    /// In a closed loop, rate times mean latency is what is in flight, or the counting is wrong:
    /// found and meant, where they differ.
    miscounted: Option<(f64, u64)>,
}

impl Figures {
    /// The server had time to spare and the client had none: the rate is then the client's.
    pub(crate) fn is_client_bound(&self) -> bool {
        self.client_busy >= 0.95 && self.server_busy < 0.95
    }

    pub(crate) fn disturbance(&self) -> Option<String> {
        if let Some((found, meant)) = self.miscounted {
            return Some(format!("{found:.1} in flight where {meant} were meant to be"));
        }
        if self.host.steal_share() > 0.005 {
            return Some(format!("{:.1} % of the time stolen", self.host.steal_share() * 100.0));
        }
        if self.waited > WAITED_MAX {
            return Some(format!("other work had {:.1} % of a CPU", self.waited * 100.0));
        }
        let retransmits = self.host.retransmits;
        (retransmits > 0).then(|| format!("{retransmits} retransmits"))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:8.4} µs CPU {:>10.0}/s  p50 {:7.0} µs  p99 {:7.0} µs  server {:5.1} %  \
             client {:5.1} %  sleeps {:6}",
            self.cpu_us,
            self.rate,
            self.p50_us,
            self.p99_us,
            self.server_busy * 100.0,
            self.client_busy * 100.0,
            self.sleeps,
        )?;
        if self.is_client_bound() { write!(out, "  client-bound") } else { Ok(()) }
    }
}

/// The first side's figures divided by the second's.
#[derive(Clone, Copy, Debug)]
struct Pair {
    cpu: f64,
    rate: f64,
    is_client_bound: bool,
}

/// How pairs are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) pairs: usize,
    pub(crate) warm_up: Duration,
    /// For each side of a pair.
    pub(crate) time: Duration,
    /// Both servers run, and take turns of about this length; without it each has one turn, and
    /// the other is not there at all.
    pub(crate) slice: Option<Duration>,
}

/// Measures pairs of what `open(0)` and `open(1)` start, and says what the pairs agree on. The
/// traffic comes before its server, so that it also ends before.
///
/// Neighbours in time share the machine's mood, so only the ratio within a pair is used. A pair
/// in which the machine misbehaved is shown but not counted.
pub(crate) fn alternate<T: Traffic>(
    names: [&str; 2],
    plan: Plan,
    mut open: impl FnMut(usize) -> Result<(T, Server)>,
) -> Result<()> {
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    for pair in 1..=plan.pairs {
        let order = if pair % 2 == 1 { [0, 1] } else { [1, 0] };
        let sides = match plan.slice {
            Some(slice) => by_turns(plan, slice, order, &mut open)?,
            None => one_after_the_other(plan, order, &mut open)?,
        };
        for (name, figures) in names.iter().zip(&sides) {
            println!("pair {pair}  {name:<9}{figures}");
        }
        let ratio = Pair {
            cpu: sides[0].cpu_us / sides[1].cpu_us,
            rate: sides[0].rate / sides[1].rate,
            is_client_bound: sides.iter().any(Figures::is_client_bound),
        };
        all.push(ratio);
        print!("pair {pair}  ratio    {:8.4} of CPU, {:.4} of rate", ratio.cpu, ratio.rate);
        match sides[0].disturbance().or(sides[1].disturbance()).or(moved(&sides)) {
            Some(reason) => println!("  (not counted: {reason})"),
            None => {
                println!();
                kept.push(ratio);
            }
        }
    }
    conclude(names, &all, &kept);
    Ok(())
}

/// A B B A A B B A …: what changes slowly, like the clock of the CPU, comes upon both alike.
fn by_turns<T: Traffic>(
    plan: Plan,
    slice: Duration,
    order: [usize; 2],
    open: &mut impl FnMut(usize) -> Result<(T, Server)>,
) -> Result<[Figures; 2]> {
    let (first, second) = (open(order[0])?, open(order[1])?);
    let mut both = if order[0] == 0 { [first, second] } else { [second, first] };
    let mut totals = [Totals::new(), Totals::new()];
    for side in order {
        let traffic = &mut both[side].0;
        traffic.start()?;
        traffic.turn_for(plan.warm_up)?;
        traffic.finish()?;
    }
    // An even number of rounds, so that neither side is the first more often.
    let rounds = (plan.time.as_secs_f64() / slice.as_secs_f64() / 2.0).ceil().max(1.0) as u32 * 2;
    for round in 0..rounds {
        let order = if round % 2 == 0 { order } else { [order[1], order[0]] };
        for side in order {
            let (traffic, server) = &mut both[side];
            totals[side].measure(traffic, server.pid(), slice / 10, plan.time / rounds)?;
        }
    }
    both.iter_mut().flat_map(|(traffic, _)| traffic.remark()).for_each(|text| println!("{text}"));
    Ok([0, 1].map(|side| totals[side].figures(both[side].0.in_flight())))
}

fn one_after_the_other<T: Traffic>(
    plan: Plan,
    order: [usize; 2],
    open: &mut impl FnMut(usize) -> Result<(T, Server)>,
) -> Result<[Figures; 2]> {
    let mut run = |side| -> Result<Figures> {
        let (mut traffic, server) = open(side)?;
        let mut totals = Totals::new();
        totals.measure(&mut traffic, server.pid(), plan.warm_up, plan.time)?;
        Ok(totals.figures(traffic.in_flight()))
    };
    let (first, second) = (run(order[0])?, run(order[1])?);
    Ok(if order[0] == 0 { [first, second] } else { [second, first] })
}

/// The fixed work was done as often for both sides; it should have taken as long.
fn moved(sides: &[Figures; 2]) -> Option<String> {
    let share = sides[0].canaries_ns as f64 / sides[1].canaries_ns as f64 - 1.0;
    (share.abs() > 0.02).then(|| format!("fixed work differed by {:.1} %", share * 100.0))
}

fn conclude(names: [&str; 2], all: &[Pair], kept: &[Pair]) {
    let (title, count) = (format!("{} / {}", names[0], names[1]), all.len());
    let pairs = if kept.is_empty() {
        println!("{title}: none of {count} pairs is worth counting; of all, for what it is worth:");
        all
    } else {
        println!("{title}, median and range of {} of {count} pairs:", kept.len());
        kept
    };
    println!("  CPU time   {}", summary(pairs.iter().map(|pair| pair.cpu)));
    println!("  rate       {}", summary(pairs.iter().map(|pair| pair.rate)));
    if pairs.iter().any(|pair| pair.is_client_bound) {
        println!("  The client was the bound in some runs: the rates do not compare the servers.");
    }
    println!("  Differences under 2 % are noise.");
}

fn summary(values: impl Iterator<Item = f64>) -> String {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    };
    format!("{median:.4}  ({:.4} .. {:.4})", sorted[0], sorted[sorted.len() - 1])
}
