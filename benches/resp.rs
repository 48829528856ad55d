//! Requests of the Redis protocol: bytes and messages a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::codec::Codec;
use edgeloop::codec::resp::{Replies, Resp};

mod measure;

const COUNT: usize = 1000;

fn requests(c: &mut Criterion) {
    let value =
        format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$4096\r\n{}\r\n", "x".repeat(4096));
    let mset =
        format!("*21\r\n$4\r\nMSET\r\n{}", "$16\r\nkey:000000000001\r\n$3\r\nxxx\r\n".repeat(10));
    let requests = [
        ("get", "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"),
        ("mset of 10", &mset),
        ("set of 4 KiB", &value),
        ("inline", "GET key:000000000001\r\n"),
        ("inline with quotes", "SET key 'a value' \"\\x00\\xff\"\r\n"),
    ];
    for (name, request) in requests {
        for unit in ["bytes", "messages"] {
            let stream = request.as_bytes().repeat(COUNT);
            let mut group = c.benchmark_group("resp");
            group.throughput(match unit {
                "bytes" => Throughput::Bytes(stream.len() as u64),
                _ => Throughput::Elements(COUNT as u64),
            });
            let mut resp = Resp::new(1 << 20);
            let mut input = stream.clone();
            group.bench_function(format!("{name}, {unit}"), |bencher| {
                bencher.iter(|| {
                    // Inline commands are rewritten in place.
                    input.copy_from_slice(&stream);
                    let mut at = 0;
                    while let Ok(Some(found)) = resp.decode(&mut input[at..]) {
                        at += found.len;
                        found.message.arguments().for_each(|argument| {
                            black_box(argument);
                        });
                    }
                    assert_eq!(at, stream.len());
                });
            });
        }
    }
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("resp");
    group.throughput(Throughput::Elements(COUNT as u64));
    let mut replies = Replies::new(1 << 20);
    group.bench_function("replies", |bencher| {
        bencher.iter(|| {
            for count in 0..COUNT {
                replies.begin();
                replies.bulk(black_box(b"value"));
                replies.integer(count as i64);
                assert!(replies.end());
            }
            black_box(replies.as_bytes());
            replies.clear();
        });
    });
}

criterion_group! {
    name = benches;
    config = measure::settings();
    targets = requests, replies
}
criterion_main!(benches);
