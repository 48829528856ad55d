//! The HTTP codec on generated input: a grammar of requests, good ones and ones that are broken in
//! one place or several. Whatever comes, it does not crash, does not depend on how the stream is cut,
//! and what it lets through two programs can read in one way only.
//!
//! `FUZZ_INPUTS` says how many streams are generated (default 20,000; in a release build 5 million
//! take some minutes), `FUZZ_SEED` which.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/variables.rs"]
mod variables;

use edgeloop::codec::Decoded;
use edgeloop::codec::http::{
    BodyDecoder, Framing, Head, HeadDecoder, HeadLimits, HttpError, Version,
};
use variables::number;

#[test]
fn generated_streams_are_read_the_same_however_they_are_cut() {
    let (inputs, seed) =
        (number("FUZZ_INPUTS").unwrap_or(20_000), number("FUZZ_SEED").unwrap_or(1));
    let mut random = Random(seed | 1);
    let (mut stream, mut whole, mut pieces) = (Vec::new(), Reader::new(), Reader::new());
    let (mut requests, mut refused) = (0u64, 0u64);
    for _ in 0..inputs {
        random.stream(&mut stream);
        whole.read(&stream, || usize::MAX);
        let step = [1, 2, 7, 40][random.below(4)];
        pieces.read(&stream, || 1 + random.below(step));
        assert_eq!(whole.log, pieces.log, "{}", stream.escape_ascii());
        requests += whole.requests as u64;
        refused += u64::from(whole.error.is_some());
    }
    println!("{inputs} streams: {requests} requests understood, {refused} streams refused");
    // A generator that makes only nonsense, or nothing but sense, would test little.
    assert!(requests > inputs / 4 && refused > inputs / 4, "{requests}, {refused} of {inputs}");
}

/// Reads a stream to its end or its first error, and writes down what it understood.
struct Reader {
    input: Vec<u8>,
    log: Vec<u8>,
    requests: usize,
    error: Option<HttpError>,
}

impl Reader {
    fn new() -> Reader {
        Reader { input: Vec::new(), log: Vec::new(), requests: 0, error: None }
    }

    /// `step` says how many bytes come at a time.
    fn read(&mut self, stream: &[u8], mut step: impl FnMut() -> usize) {
        let limits = HeadLimits { head: 400, request_line: 100, headers: 8 };
        self.input.clear();
        self.log.clear();
        (self.requests, self.error) = (0, None);
        let (mut heads, mut body, mut rest) =
            (HeadDecoder::new(limits), BodyDecoder::none(), stream);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(step().min(rest.len()));
            rest = later;
            self.input.extend_from_slice(now);
            if let Err(error) = self.take(&mut heads, &mut body) {
                self.log.extend_from_slice(error.name().as_bytes());
                self.error = Some(error);
                return;
            }
        }
        // How much is left over must not depend on the cuts, but for framing that waits for more.
        self.log.push(if body.is_done() { b'h' } else { b'b' });
    }

    fn take(&mut self, heads: &mut HeadDecoder, body: &mut BodyDecoder) -> Result<(), HttpError> {
        loop {
            let len = if body.is_done() {
                let Some(Decoded { len, message: head }) = heads.head(&self.input)? else {
                    return Ok(());
                };
                check(&head, &self.input[..len]);
                self.log.extend_from_slice(format!("{head:?}").as_bytes());
                self.requests += 1;
                *body = BodyDecoder::new(head.framing, BODY_MAX)?;
                len
            } else {
                let Some(Decoded { len, message }) = body.piece(&self.input)? else {
                    return Ok(());
                };
                self.log.extend_from_slice(message);
                if body.is_done() {
                    self.log.extend_from_slice(b"<end>");
                }
                len
            };
            assert!((1..=self.input.len()).contains(&len));
            self.input.drain(..len);
        }
    }
}

/// What must be true of every head that is let through.
fn check(head: &Head<'_>, bytes: &[u8]) {
    let text = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("every line ends with both");
        assert!(!line.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"));
    }
    let count = |name: &str| head.all(name).count();
    let (lengths, encodings) = (count("content-length"), count("transfer-encoding"));
    match head.framing {
        Framing::None => assert_eq!((lengths, encodings), (0, 0)),
        Framing::Chunked => {
            assert_eq!((lengths, encodings), (0, 1));
            assert!(head.header("Transfer-Encoding").unwrap().eq_ignore_ascii_case(b"chunked"));
            assert_eq!(head.version, Version::Http11);
        }
        Framing::Length(length) => {
            assert_eq!((lengths, encodings), (1, 0));
            let text = str::from_utf8(head.header("Content-Length").unwrap()).unwrap();
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()));
            assert_eq!(text.parse(), Ok(length));
        }
    }
    assert!(count("host") <= 1 && (count("host") == 1 || head.version == Version::Http10));
    let line = text.split(|byte| *byte == b'\r').next().unwrap();
    let (minor, rest) = line.split_last().unwrap();
    assert_eq!(rest, format!("{} {} HTTP/1.", head.method, head.target.raw).as_bytes());
    assert!(minor.is_ascii_digit() && (*minor == b'0') == (head.version == Version::Http10));
}

const BODY_MAX: u64 = 64;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A choice that is sensible most of the time.
    fn mostly<'a>(&mut self, usual: &'a str, others: &[&'a str]) -> &'a str {
        if self.below(40) == 0 { self.pick(others) } else { usual }
    }

    fn stream(&mut self, out: &mut Vec<u8>) {
        out.clear();
        for _ in 0..1 + self.below(3) {
            self.request(out);
        }
        // Sometimes a byte is changed, lost or put in.
        if self.below(3) == 0 && !out.is_empty() {
            let at = self.below(out.len());
            let byte = [b'\r', b'\n', 0, b' ', b':', b',', 0xff, self.next() as u8][self.below(8)];
            match self.below(3) {
                0 => out[at] = byte,
                1 => drop(out.remove(at)),
                _ => out.insert(at, byte),
            }
        }
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let end = if self.below(20) == 0 {
            self.pick(&["\n", "\r", "\r\n\r\n", "\r\n ", ""])
        } else {
            "\r\n"
        };
        let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
        put(self.mostly("", &["\r\n", "\n", " "]));
        put(self.mostly("GET", &["POST", "OPTIONS", "CONNECT", "G(", ""]));
        put(self.mostly(" ", &["  ", "\t", ""]));
        let long = "x".repeat(90);
        put(self.mostly("/a", &["*", "/%41?b", "/%4", "a:1", "http://a/b", "http://", "/#", &long]));
        put(self.mostly(" ", &["  ", ""]));
        put(self.mostly("HTTP/1.1", &["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]));
        put("\r\n");
        put(self
            .mostly("Host: a\r\n", &["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "host:\r\n"]));
        for _ in 0..self.below(3) {
            put(self.mostly(
                "X: y\r\n",
                &[
                    "X : y\r\n",
                    " X: y\r\n",
                    ": y\r\n",
                    "X\r\n",
                    "X: \t y \t\r\n",
                    "Connection: close, x\r\n",
                    "Expect: 100-continue\r\n",
                    "Expect: x\r\n",
                ],
            ));
        }
        let length = ["0", "3", "5", "3, 3", "+3", "65", "18446744073709551616", "", "3 "];
        match self.below(4) {
            0 => put(end),
            1 => {
                let value = if self.below(4) == 0 { self.pick(&length) } else { "3" };
                put(&format!("Content-Length: {value}\r\n"));
                put(self.mostly("", &["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"]));
                put(end);
                put("abc");
            }
            _ => {
                put(self.mostly(
                    "Transfer-Encoding: chunked\r\n",
                    &[
                        "Transfer-Encoding: gzip, chunked\r\n",
                        "Transfer-Encoding: chunked,\r\n",
                        "Transfer-Encoding:\r\n",
                        "Transfer-encoding: CHUNKED\r\n",
                    ],
                ));
                put(end);
                for _ in 0..self.below(3) {
                    put(self.mostly(
                        "3",
                        &["03", "3;a", "3 ", "4", "g", "", "41", "ffffffffffffffff0", "-3"],
                    ));
                    put(self.mostly("\r\n", &["\n", "\r", ""]));
                    put(self.mostly("abc", &["ab", "abcd"]));
                    put(self.mostly("\r\n", &["\n", "\r", "", "\r\n\r\n"]));
                }
                put(self.mostly(
                    "0\r\n\r\n",
                    &["0\r\nT: u\r\n\r\n", "0\r\nT u\r\n\r\n", "0\n\n", "0;x\r\n\r\n", ""],
                ));
            }
        }
    }
}
