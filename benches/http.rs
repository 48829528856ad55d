//! How much does HTTP cost for each byte and for each request? Streams of 64 KiB, as one read brings
//! them: heads as a load generator sends them and as a browser does, bodies in chunks; and the
//! response to a request.

mod measure;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::codec::http::{
    BodyDecoder, Date, Framing, HeadDecoder, HeadLimits, ResponseHead, Status,
};

const STREAM: usize = 64 << 10;

const PLAIN: &str = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:7000\r\n\r\n";

const BROWSER: &str = "GET /notes?page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n";

fn heads(c: &mut Criterion) {
    for (name, head) in [("plain", PLAIN), ("browser", BROWSER)] {
        let count = STREAM / head.len();
        let stream = head.repeat(count).into_bytes();
        let mut decoder = HeadDecoder::new(HeadLimits::default());
        measure_both(c, "head", name, stream.len(), count, || {
            let mut rest = black_box(&stream[..]);
            while let Ok(Some(found)) = decoder.head(rest) {
                black_box(found.message);
                rest = &rest[found.len..];
            }
            assert!(rest.is_empty());
        });
    }
}

fn bodies(c: &mut Criterion) {
    for size in [16, 1000] {
        let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        let count = STREAM / chunk.len();
        let stream = [chunk.repeat(count).as_bytes(), b"0\r\n\r\n"].concat();
        measure_both(c, "chunks", &size.to_string(), stream.len(), count, || {
            let mut body = BodyDecoder::new(Framing::Chunked, u64::MAX).expect("no limit");
            let mut rest = black_box(&stream[..]);
            while let Ok(Some(piece)) = body.piece(rest) {
                black_box(piece.message);
                rest = &rest[piece.len..];
            }
            assert!(body.is_done() && rest.is_empty());
        });
    }
}

fn responses(c: &mut Criterion) {
    let (mut out, date) = (Vec::new(), Date::at(0));
    let mut write = || {
        out.clear();
        ResponseHead::new(black_box(&mut out), Status::OK)
            .lines(b"Server: edgeloop\r\n")
            .date(&date)
            .header("Content-Type", b"text/plain")
            .framing(Framing::Length(13))
            .finish();
        out.len()
    };
    let len = write();
    measure_both(c, "response", "plain", len, 1, || {
        black_box(write());
    });
}

/// In bytes a second and in messages a second.
fn measure_both(
    c: &mut Criterion,
    what: &str,
    name: &str,
    bytes: usize,
    count: usize,
    mut run: impl FnMut(),
) {
    for (unit, throughput) in [
        ("bytes", Throughput::Bytes(bytes as u64)),
        ("messages", Throughput::Elements(count as u64)),
    ] {
        let mut group = c.benchmark_group(format!("http/{unit}"));
        group.throughput(throughput);
        group.bench_function(BenchmarkId::new(what, name), |b| b.iter(&mut run));
        group.finish();
    }
}

criterion_group! { name = benches; config = measure::settings(); targets = heads, bodies, responses }
criterion_main!(benches);
