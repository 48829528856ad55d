//! Is the ring buffer faster than `VecDeque<u8>`, by how much, and for which sizes? A write and a
//! consume of a chunk, with some bytes always left over so that the ring wraps; and lines parsed
//! from one contiguous slice.

mod measure;

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::{BufferPool, RingBuffer};

/// Stays behind after each consume, as the beginning of a message does.
const REST: usize = 40;

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring_buffer/chunk");
    for len in [64, 1 << 10, 64 << 10] {
        let chunk = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("RingBuffer", len), |b| {
            let mut pool = BufferPool::new(4 << 20);
            let mut ring = RingBuffer::new();
            ring.extend(&[1; REST], &mut pool);
            b.iter(|| {
                ring.extend(black_box(&chunk), &mut pool);
                black_box(ring.as_slices());
                ring.consume(len);
            });
            ring.release(&mut pool);
        });
        group.bench_function(BenchmarkId::new("VecDeque", len), |b| {
            let mut deque = VecDeque::from([1; REST]);
            b.iter(|| {
                deque.extend(black_box(&chunk));
                black_box(deque.as_slices());
                deque.drain(..len);
            });
        });
    }
    group.finish();
}

/// What a handler of lines does with 4 KiB from the socket, the last line of which is cut.
fn parse(c: &mut Criterion) {
    const LEN: usize = 4096;
    let text: Vec<u8> = (0..LEN).map(|at| if at % 100 == 99 { b'\n' } else { b'x' }).collect();
    let mut group = c.benchmark_group("ring_buffer/lines");
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("RingBuffer", |b| {
        let mut pool = BufferPool::new(4 << 20);
        let mut ring = RingBuffer::new();
        b.iter(|| {
            ring.extend(black_box(&text), &mut pool);
            while let Some(len) = line(ring.contiguous()) {
                black_box(&ring.contiguous()[..len]);
                ring.consume(len);
            }
        });
        ring.release(&mut pool);
    });
    group.bench_function("VecDeque", |b| {
        let mut deque = VecDeque::new();
        b.iter(|| {
            deque.extend(black_box(&text));
            while let Some(len) = line(deque.make_contiguous()) {
                black_box(&deque.make_contiguous()[..len]);
                deque.drain(..len);
            }
        });
    });
    group.finish();
}

fn line(input: &[u8]) -> Option<usize> {
    input.iter().position(|byte| *byte == b'\n').map(|end| end + 1)
}

criterion_group! { name = benches; config = measure::settings(); targets = chunks, parse }
criterion_main!(benches);
