//! How much does a codec cost for each byte and for each message? A stream of 64 KiB, as one read
//! brings it, taken apart into its messages; small ones show the cost of a message, large ones that
//! of a byte, which only a delimiter has.

mod measure;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use edgeloop::codec::{Codec, Delimited, Fixed, LengthPrefixed, Magic};

const STREAM: usize = 64 << 10;

/// Messages of these lengths, as they are and as so many a stream.
const LENGTHS: [usize; 3] = [16, 100, 4000];

fn frames(c: &mut Criterion) {
    for len in LENGTHS {
        let message = vec![b'm'; len];
        let line = |delimiter: &[u8]| [&message, delimiter].concat();
        let prefixed = LengthPrefixed::new(len);
        let (number, length) = Magic::default().header(len).expect("within two bytes");
        decode(c, "fixed", Fixed::new(len.try_into().expect("more than 0")), len, message.clone());
        decode(c, "lines", Delimited::lines(len), len, line(b"\n"));
        decode(c, "crlf", Delimited::by(b"\r\n", len), len, line(b"\r\n"));
        let header = prefixed.header(len).expect("within the limit");
        decode(c, "length_prefixed", prefixed, len, [&*header, &message].concat());
        decode(c, "magic", Magic::default(), len, [&number, &*length, &message].concat());
    }
}

fn decode<C>(c: &mut Criterion, name: &str, mut codec: C, len: usize, frame: Vec<u8>)
where
    C: for<'a> Codec<Message<'a> = &'a [u8]>,
{
    let count = STREAM / frame.len();
    let mut stream = frame.repeat(count);
    for (unit, throughput) in [
        ("bytes", Throughput::Bytes(stream.len() as u64)),
        ("messages", Throughput::Elements(count as u64)),
    ] {
        let mut group = c.benchmark_group(format!("frames/{unit}"));
        group.throughput(throughput);
        group.bench_function(BenchmarkId::new(name, len), |b| {
            b.iter(|| {
                let mut rest = black_box(&mut stream[..]);
                while let Ok(Some(found)) = codec.decode(rest) {
                    black_box(found.message);
                    let taken = found.len;
                    rest = &mut rest[taken..];
                }
                assert!(rest.is_empty());
            });
        });
        group.finish();
    }
}

criterion_group! { name = benches; config = measure::settings(); targets = frames }
criterion_main!(benches);
