//! How fast a client's frames are found, checked and unmasked.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::codec::websocket::{Frames, Kind, frame_head};
use edgeloop::codec::{Codec, Decoded};

fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = frame_head(kind, payload.len()).to_vec();
    frame[1] |= 0x80;
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// All frames of `stream`, which is unmasked in its place.
fn decode(stream: &mut [u8]) -> usize {
    let mut frames = Frames::new(1 << 24);
    let (mut at, mut bytes) = (0, 0);
    while let Ok(Some(Decoded { len, message })) = frames.decode(&mut stream[at..]) {
        bytes += black_box(message.payload).len();
        at += len;
    }
    bytes
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (name, kind, payload) in [
        ("text, 40 bytes", Kind::Text, "forty bytes are about what people write.".into()),
        ("text, 4 KiB", Kind::Text, "äbc ".repeat(820)),
        ("binary, 64 KiB", Kind::Binary, "x".repeat(64 << 10)),
    ] {
        let count = 1 + (1 << 16) / payload.len();
        let stream = masked(kind, payload.as_bytes()).repeat(count);
        for (unit, throughput) in [
            ("bytes", Throughput::Bytes(stream.len() as u64)),
            ("messages", Throughput::Elements(count as u64)),
        ] {
            group.throughput(throughput);
            group.bench_function(BenchmarkId::new(name, unit), |bencher| {
                bencher.iter_batched_ref(
                    || stream.clone(),
                    |stream| decode(black_box(stream)),
                    criterion::BatchSize::LargeInput,
                );
            });
        }
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
