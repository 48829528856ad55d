//! What does a turn of a busy broadcast cost? 32 publishers send one line each, or ten, and 200
//! subscribers get them all: one turn, one write each, in processor time of the one thread for each
//! line delivered.

mod measure;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::TopicConfig;
use edgeloop::service::{Broadcast, Framing};
use measure::{crowd, drop_input, send, thread_time};

const PUBLISHERS: usize = 32;
const SUBSCRIBERS: usize = 200;
const LEN: usize = 100;

fn broadcast(c: &mut Criterion) {
    let mut group = c.benchmark_group("broadcast_turn");
    for lines in [1, 10] {
        let said = [[b'x'; LEN - 1].as_slice(), b"\n"].concat().repeat(lines);
        // Publishers follow the topic too, and are given what the others say.
        let delivered = PUBLISHERS * lines * (PUBLISHERS + SUBSCRIBERS - 1);
        group.throughput(Throughput::Elements(delivered as u64));
        group.bench_function(BenchmarkId::new("lines each", lines), |b| {
            let handler = Broadcast::new(Framing::Lines, 64 << 10, TopicConfig::default());
            let (mut reactor, clients) = crowd(handler, PUBLISHERS + SUBSCRIBERS);
            let mut buffer = vec![0; 64 << 10];
            b.iter_custom(|turns| {
                let mut time = Duration::ZERO;
                for _ in 0..turns {
                    clients[..PUBLISHERS].iter().for_each(|client| send(client, &said));
                    let wanted = reactor.stats().messages_delivered + delivered as u64;
                    let began = thread_time();
                    while reactor.stats().messages_delivered < wanted {
                        reactor.turn().expect("a turn");
                    }
                    time += thread_time() - began;
                    clients.iter().for_each(|client| drop_input(client, &mut buffer));
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = measure::settings(); targets = broadcast }
criterion_main!(benches);
