//! What does it cost that a token is checked on every use? A slab whose entries carry a generation,
//! as the reactor's table does, against a bare index into a vector and a hash map, in random order,
//! within the caches and far beyond them.

mod measure;

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use measure::Dice;
use slab::Slab;

/// The size of the reactor's connection: one cache line.
#[derive(Clone)]
struct Entry {
    generation: u32,
    value: u32,
    _rest: [u64; 7],
}

#[derive(Clone, Copy)]
struct Token {
    slot: u32,
    generation: u32,
}

const LOOKUPS: usize = 10_000;

fn lookup(c: &mut Criterion) {
    for (name, count) in [("10k", 10_000), ("1M", 1_000_000)] {
        let entry = |slot: u32| Entry { generation: slot + 1, value: slot, _rest: [0; 7] };
        let mut tokens: Vec<Token> =
            (0..count).map(|slot| Token { slot, generation: slot + 1 }).collect();
        Dice::new(1).shuffle(&mut tokens);
        let mut group = c.benchmark_group("slab_lookup");
        group.throughput(Throughput::Elements(LOOKUPS as u64));

        let slab: Slab<Entry> = (0..count).map(|slot| (slot as usize, entry(slot))).collect();
        let find = |token: Token| {
            let entry = slab.get(token.slot as usize);
            entry
                .filter(|entry| entry.generation == token.generation)
                .map_or(0, |entry| entry.value)
        };
        group.bench_function(BenchmarkId::new("slab and generation", name), |b| {
            let mut order = tokens.chunks_exact(LOOKUPS).cycle();
            b.iter(|| sum(order.next(), find));
        });

        let vector: Vec<Entry> = (0..count).map(entry).collect();
        group.bench_function(BenchmarkId::new("bare index", name), |b| {
            let mut order = tokens.chunks_exact(LOOKUPS).cycle();
            b.iter(|| sum(order.next(), |token| vector[token.slot as usize].value));
        });
        drop(vector);

        let map: HashMap<u64, Entry> = (0..count)
            .map(|slot| (u64::from(slot + 1) << 32 | u64::from(slot), entry(slot)))
            .collect();
        group.bench_function(BenchmarkId::new("hash map", name), |b| {
            let mut order = tokens.chunks_exact(LOOKUPS).cycle();
            let find = |token: Token| {
                let key = u64::from(token.generation) << 32 | u64::from(token.slot);
                map.get(&key).map_or(0, |entry| entry.value)
            };
            b.iter(|| sum(order.next(), find));
        });
        group.finish();
    }
}

/// The sum depends on every lookup, so none can be left out.
fn sum(tokens: Option<&[Token]>, find: impl Fn(Token) -> u32) -> u32 {
    let tokens = black_box(tokens.unwrap_or_default());
    tokens.iter().fold(0_u32, |sum, token| sum.wrapping_add(find(*token)))
}

criterion_group! { name = benches; config = measure::settings(); targets = lookup }
criterion_main!(benches);
