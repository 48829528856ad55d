//! The properties of `tests/fuzz/` on the stable toolchain: on inputs made from seeds, and on the
//! corpus that the fuzzer collected.
//!
//! `FUZZ_INPUTS=5000000 cargo test --release --test cuts` tries more of them.

#[path = "fuzz/properties.rs"]
#[allow(unreachable_pub, missing_docs, reason = "the fuzz targets share this file")]
mod properties;
#[path = "common/variables.rs"]
mod variables;

use std::fs;
use std::path::Path;

use properties::{ALL, Random};

/// Inputs of each property, unless `FUZZ_INPUTS` says otherwise.
const INPUTS: u64 = 2_000;

#[test]
fn results_do_not_depend_on_the_cuts_and_structures_equal_their_models() {
    let inputs = variables::number("FUZZ_INPUTS").unwrap_or(INPUTS);
    for (name, property) in ALL.iter().copied() {
        for seed in 0..inputs {
            let input = generate(name, seed);
            let outcome = std::panic::catch_unwind(|| property(&input));
            assert!(outcome.is_ok(), "{name} fails with seed {seed}: {input:?}");
        }
    }
}

#[test]
fn corpus_of_the_fuzzer_passes() {
    for (name, property) in ALL.iter().copied() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&directory).expect("a corpus for each property") {
            let path = entry.expect("an entry").path();
            property(&fs::read(&path).expect("a readable input"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", directory.display());
    }
}

/// Noise alone seldom makes a message: what follows the parameters and the seed of the cuts is
/// drawn from the bytes that mean something to the decoder.
fn generate(name: &str, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let parameters = if name == "proxy" { 1 } else { 12 };
    let mut input: Vec<u8> = (0..parameters).map(|_| random.next() as u8).collect();
    let alphabet: &[&[u8]] = match name {
        "delimited" => &[b"a", b"ab", b"-", b"\n", b"\r\n", b"--a--", b"aab", b"a line of text"],
        "magic" => &[b"\xAB\xCDab", b"\0\0\0\0\0\0\0\x02hi", b"\0\x05hello", b"\x03", b"\0", b"x"],
        "length_prefixed" => &[b"\0\0\0\x02hi", b"\x02\0\0\0hi", b"\0", b"\x01x", b"\x05", b"four"],
        "proxy" => &[
            b"192.0.2.7",
            b"2001:db8::1",
            b" ",
            b"51234",
            b"\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.8 51234 443\r\n",
            b"\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\xc8\x22\x01\xbb",
            b"\x11\0\x13\xc0\0\x02\x07\xc0\0\x02\x08\xc8\x22\x01\xbb\x03\0\x04",
            b"\x04\0\x01x",
        ],
        "resp" => &[
            b"*1\r\n$4\r\nPING\r\n",
            b"*2\r\n",
            b"$3\r\nabc\r\n",
            b"$-1\r\n",
            b"*0\r\n",
            b"get 'a b' \"\\x41\"\r\n",
            b"\r\n",
            b"'",
            b"$",
        ],
        "websocket" => &[
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            b"\x01\x81\0\0\0\0\xc3",
            b"\x80\x81\0\0\0\0\xa4",
            b"\x89\x80\0\0\0\0",
            b"\x88\x82\0\0\0\0\x03\xe8",
            b"\x82\xfe\x00\x7e\x01\x02\x03\x04",
            b"\x82\x83abcdabc",
        ],
        "http_head" => &[
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /a?b HTTP/1.1\r\nHost: a\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close, te\r\n",
            b"\r\n",
            b"\n",
            b" x",
        ],
        "http_body" => &[
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"0\r\nA: b\r\n\r\n",
            b"a;x=y\r\n",
            b"0123456789\r\n",
            b"\r\n",
            b"\n",
            b"ffffffffffffffff1\r\n",
        ],
        _ => &[],
    };
    for _ in 0..random.below(24) {
        match alphabet.get(random.below(alphabet.len() + 1)) {
            Some(piece) => input.extend_from_slice(piece),
            None => input.extend((0..random.below(8)).map(|_| random.next() as u8)),
        }
    }
    input
}
