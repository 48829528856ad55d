//! Does the timing wheel stay flat as timers grow, and what would a heap cost instead? 10,000,
//! 100,000 and a million idle timeouts of a minute: set from nothing, moved by traffic, and fired
//! as time goes on.
//!
//! A binary heap cannot move an entry, so it is used as people use it: the moved timer is pushed
//! again, and the old entry is recognised by its deadline and dropped when it comes to the front.

mod measure;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::TimerWheel;
use measure::Dice;

const TICK_MS: u64 = 100;
const TIMEOUT_MS: u64 = 60_000;
/// Timers moved in one tick.
const MOVED: u64 = 1000;
const SIZES: [(&str, u32); 3] = [("10k", 10_000), ("100k", 100_000), ("1M", 1_000_000)];

/// What both sides can do.
trait Timers {
    fn new() -> Self;
    fn schedule(&mut self, key: u32, deadline_ms: u64);
    fn pop_due(&mut self, now_ms: u64) -> Option<u32>;
}

impl Timers for TimerWheel {
    fn new() -> Self {
        TimerWheel::new(TICK_MS)
    }

    fn schedule(&mut self, key: u32, deadline_ms: u64) {
        self.schedule(key, deadline_ms);
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<u32> {
        self.pop_due(now_ms)
    }
}

struct Heap {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Of each key; an entry with another deadline is an old one.
    deadlines: Vec<u64>,
}

impl Timers for Heap {
    fn new() -> Self {
        Heap { heap: BinaryHeap::new(), deadlines: Vec::new() }
    }

    fn schedule(&mut self, key: u32, deadline_ms: u64) {
        let index = key as usize;
        if index >= self.deadlines.len() {
            self.deadlines.resize(index + 1, u64::MAX);
        }
        self.deadlines[index] = deadline_ms;
        self.heap.push(Reverse((deadline_ms, key)));
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<u32> {
        while let Some(Reverse((deadline_ms, key))) = self.heap.peek().copied() {
            if deadline_ms > now_ms {
                return None;
            }
            self.heap.pop();
            if self.deadlines[key as usize] == deadline_ms {
                self.deadlines[key as usize] = u64::MAX;
                return Some(key);
            }
        }
        None
    }
}

fn timers(c: &mut Criterion) {
    for size in SIZES {
        both::<TimerWheel>(c, "wheel", size);
        both::<Heap>(c, "heap", size);
    }
}

fn both<T: Timers>(c: &mut Criterion, who: &str, (name, count): (&str, u32)) {
    let mut group = c.benchmark_group("timer_wheel/set");
    group.throughput(Throughput::Elements(count.into()));
    group.sample_size(10);
    group.bench_function(BenchmarkId::new(who, name), |b| {
        b.iter_batched(
            T::new,
            |mut timers| {
                fill(&mut timers, count);
                timers
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    // One tick: a thousand connections were active, in random order, and their timers move.
    let mut group = c.benchmark_group("timer_wheel/move");
    group.throughput(Throughput::Elements(MOVED));
    group.bench_function(BenchmarkId::new(who, name), |b| {
        let (mut timers, mut dice, mut now) = (T::new(), Dice::new(2), 0);
        fill(&mut timers, count);
        b.iter(|| {
            now += TICK_MS;
            for _ in 0..MOVED {
                timers.schedule(dice.below(count.into()) as u32, now + TIMEOUT_MS);
            }
            fire(&mut timers, now)
        });
    });
    group.finish();

    // One tick in which nothing is active: what is due fires and is set again.
    let mut group = c.benchmark_group("timer_wheel/fire");
    group.throughput(Throughput::Elements(u64::from(count) * TICK_MS / TIMEOUT_MS));
    group.bench_function(BenchmarkId::new(who, name), |b| {
        let (mut timers, mut now) = (T::new(), 0);
        fill(&mut timers, count);
        b.iter(|| {
            now += TICK_MS;
            fire(&mut timers, now)
        });
    });
    group.finish();
}

/// Deadlines spread evenly over the timeout, in random order.
fn fill<T: Timers>(timers: &mut T, count: u32) {
    let mut dice = Dice::new(3);
    for key in 0..count {
        timers.schedule(key, 1 + dice.below(TIMEOUT_MS));
    }
}

fn fire<T: Timers>(timers: &mut T, now: u64) -> u64 {
    let mut fired = 0;
    while let Some(key) = timers.pop_due(now) {
        timers.schedule(key, now + TIMEOUT_MS);
        fired += 1;
    }
    fired
}

criterion_group! { name = benches; config = measure::settings(); targets = timers }
criterion_main!(benches);
