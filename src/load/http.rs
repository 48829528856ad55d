//! The dialect of an HTTP/1.1 server (RFC 9112): `GET` of one path, with bodies of a known length,
//! chunked (section 7.1), or up to the end of the connection (section 6.3).
//!
//! Where an answer ends is said by all of its fields together. What two clients could read in
//! different ways is wrong: two lengths, a length beside a transfer encoding, an encoding behind
//! `chunked`.

use std::mem::MaybeUninit;

use httparse::{Header, Response, Status};

use super::dialect::{Answers, Asker, Dialect, Refusal};
use super::fault::Fault;
use crate::reactor::{Context, RingBuffer};

/// The same request, over and over.
pub(super) struct Http {
    request: Vec<u8>,
}

/// How far the answers of one connection have come.
#[derive(Debug, Default)]
pub(super) struct HttpStream {
    answered: u64,
    part: Part,
    status: u16,
    /// The server closes behind this answer.
    closes: bool,
    /// Bytes of this answer.
    bytes: u64,
    /// Bytes of this answer that have no end by themselves: interim answers and trailers.
    extras: usize,
    /// Some of the next answer has come, and is too little to be taken.
    has_begun: bool,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Head,
    /// So many bytes are missing.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// Fields behind the last chunk, up to an empty line.
    Trailer,
    UntilClose,
}

/// What to do with the input after one step.
enum Step {
    /// So many bytes belong to the answer, which goes on.
    Took(usize),
    /// So many bytes, and with them the answer is whole.
    Finished(usize),
    /// There is too little yet.
    Wait,
}

/// What the fields of a head say together about the end of the answer.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    /// There is a transfer encoding, and the last of them all is `chunked`.
    encoding: Option<bool>,
    says_close: bool,
    says_keep_alive: bool,
}

impl Http {
    pub(super) fn new(host: &str, path: &str) -> Http {
        let version = env!("CARGO_PKG_VERSION");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: edgeloop/{version}\r\n\
             Accept: */*\r\n\r\n"
        );
        Http { request: request.into_bytes() }
    }
}

impl HttpStream {
    fn step(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let len = bytes.len() as u64;
        match self.part {
            Part::Head => self.head(bytes),
            Part::Body(missing) if len >= missing => Ok(Step::Finished(missing as usize)),
            Part::Body(missing) => {
                self.part = Part::Body(missing - len);
                Ok(Step::Took(bytes.len()))
            }
            Part::ChunkSize => self.chunk_size(bytes),
            Part::Chunk(missing) if len >= missing => {
                self.part = Part::ChunkEnd;
                Ok(Step::Took(missing as usize))
            }
            Part::Chunk(missing) => {
                self.part = Part::Chunk(missing - len);
                Ok(Step::Took(bytes.len()))
            }
            Part::ChunkEnd => match line(bytes)? {
                Some(b"") => {
                    self.part = Part::ChunkSize;
                    Ok(Step::Took(2))
                }
                Some(_) => Err(Fault::BadReply),
                None => Ok(Step::Wait),
            },
            Part::Trailer => match line(bytes)? {
                Some(b"") => Ok(Step::Finished(2)),
                Some(field) => self.extra(field.len() + 2),
                None => Ok(Step::Wait),
            },
            Part::UntilClose => Ok(Step::Took(bytes.len())),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let parsed = match parse::<FIELDS>(bytes) {
            Err(httparse::Error::TooManyHeaders) => parse::<FIELDS_MAX>(bytes),
            parsed => parsed,
        };
        let (len, version, status, framing) = match parsed {
            // Whether or not its end came in the same read.
            Ok(Status::Complete((head, _))) if head.len > HEAD_MAX => {
                return Err(Fault::ClientLimit);
            }
            Ok(Status::Complete((head, framing))) => {
                (head.len, head.version, head.status, framing?)
            }
            Ok(Status::Partial) if bytes.len() >= HEAD_MAX => return Err(Fault::ClientLimit),
            Ok(Status::Partial) => return Ok(Step::Wait),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::ClientLimit),
            Err(_) => return Err(Fault::BadReply),
        };
        // Nobody has asked for another protocol.
        if !(100..600).contains(&status) || status == SWITCHING_PROTOCOLS {
            return Err(Fault::BadReply);
        }
        if status < 200 {
            // The answer itself follows.
            return self.extra(len);
        }
        let is_old = version == 0;
        self.status = status;
        self.closes = framing.says_close || (is_old && !framing.says_keep_alive);
        if matches!(status, 204 | 304) {
            return Ok(Step::Finished(len));
        }
        self.part = match (framing.encoding, framing.length) {
            (Some(_), Some(_)) => return Err(Fault::BadReply),
            (Some(_), _) if is_old => return Err(Fault::BadReply),
            (Some(true), None) => Part::ChunkSize,
            (None, Some(0)) => return Ok(Step::Finished(len)),
            (None, Some(missing)) => Part::Body(missing),
            (Some(false) | None, None) => {
                self.closes = true;
                Part::UntilClose
            }
        };
        Ok(Step::Took(len))
    }

    /// A part of the answer that may be followed by any number of its kind.
    fn extra(&mut self, len: usize) -> Result<Step, Fault> {
        self.extras += len;
        match self.extras > HEAD_MAX {
            true => Err(Fault::ClientLimit),
            false => Ok(Step::Took(len)),
        }
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let Some(text) = line(bytes)? else { return Ok(Step::Wait) };
        let digits = text.split(|byte| *byte == b';').next().unwrap_or_default();
        self.part = match number(digits.trim_ascii(), 16)? {
            0 => Part::Trailer,
            size => Part::Chunk(size),
        };
        Ok(Step::Took(text.len() + 2))
    }

    /// The answer is whole.
    fn finish(&mut self, answers: &mut Answers) {
        let bytes = std::mem::take(&mut self.bytes);
        match self.status {
            200..300 => {
                answers.right += 1;
                answers.bytes += bytes;
            }
            status => answers.refusal = Some(Refusal::Status(status)),
        }
        answers.is_last = self.closes;
        self.answered += 1;
        (self.part, self.extras) = (Part::Head, 0);
    }
}

impl Framing {
    fn of(fields: &[Header<'_>]) -> Result<Framing, Fault> {
        let mut framing = Framing::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let mut lengths = field.value.split(|byte| *byte == b',');
                lengths.try_for_each(|digits| framing.add_length(digits.trim_ascii()))?;
            } else if is("transfer-encoding") {
                elements(field.value).try_for_each(|coding| framing.add_encoding(coding))?;
            } else if is("connection") {
                elements(field.value).for_each(|option| framing.add_option(option));
            }
        }
        Ok(framing)
    }

    /// Any number of equal lengths is one (RFC 9110, 8.6).
    fn add_length(&mut self, digits: &[u8]) -> Result<(), Fault> {
        let length = number(digits, 10)?;
        match self.length.replace(length) {
            Some(other) if other != length => Err(Fault::BadReply),
            _ => Ok(()),
        }
    }

    /// What is chunked is encoded no further (RFC 9112, 6.1).
    fn add_encoding(&mut self, coding: &[u8]) -> Result<(), Fault> {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        match self.encoding.replace(is_chunked) {
            Some(true) => Err(Fault::BadReply),
            _ => Ok(()),
        }
    }

    fn add_option(&mut self, option: &[u8]) {
        self.says_close |= option.eq_ignore_ascii_case(b"close");
        self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
}

impl Dialect for Http {
    type Stream = HttpStream;

    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, _number: u64) {
        cx.send(asker.token, &self.request);
    }

    fn answers(
        &mut self,
        _asker: Asker,
        stream: &mut HttpStream,
        asked: u64,
        input: &mut RingBuffer,
    ) -> Result<Answers, Fault> {
        let mut answers = Answers::default();
        let bytes = input.contiguous();
        let mut at = 0;
        // Ends: each round takes bytes, or leaves.
        while at < bytes.len() && !answers.is_last && answers.refusal.is_none() {
            if stream.answered == asked {
                match farewell(&bytes[at..]) {
                    Farewell::Whole => (answers.is_last, at) = (true, bytes.len()),
                    Farewell::Partial => {}
                    Farewell::None => return Err(Fault::SurplusByte),
                }
                break;
            }
            let (len, is_finished) = match stream.step(&bytes[at..])? {
                Step::Took(len) => (len, false),
                Step::Finished(len) => (len, true),
                Step::Wait => break,
            };
            at += len;
            stream.bytes += len as u64;
            if is_finished {
                stream.finish(&mut answers);
            }
        }
        stream.has_begun = at < bytes.len();
        input.consume(at);
        Ok(answers)
    }

    fn ended(&mut self, stream: &mut HttpStream) -> Answers {
        let mut answers = Answers::default();
        if matches!(stream.part, Part::UntilClose) {
            stream.finish(&mut answers);
        }
        answers
    }

    /// `GET` is idempotent (RFC 9112, 9.3.1).
    fn may_ask_again(&self, stream: &HttpStream) -> bool {
        stream.bytes == 0 && !stream.has_begun
    }
}

/// The parts of a head that count.
struct Head {
    len: usize,
    version: u8,
    status: u16,
}

type Parsed = Result<Status<(Head, Result<Framing, Fault>)>, httparse::Error>;

/// Reads a head with up to `N` fields. The table is not cleared first, which would cost more than
/// the reading.
fn parse<const N: usize>(bytes: &[u8]) -> Parsed {
    let mut fields = [const { MaybeUninit::uninit() }; N];
    let mut response = Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields)?;
    Ok(match parsed {
        Status::Partial => Status::Partial,
        Status::Complete(len) => {
            let (version, status) = (response.version.unwrap_or(1), response.code.unwrap_or(0));
            Status::Complete((Head { len, version, status }, Framing::of(response.headers)))
        }
    })
}

/// What a server says that closes a connection since nothing was asked on it for too long.
#[derive(Debug, PartialEq, Eq)]
enum Farewell {
    Whole,
    Partial,
    None,
}

/// Some send an answer to nobody before they close an idle connection: 408 (RFC 9110, 15.5.9).
fn farewell(bytes: &[u8]) -> Farewell {
    let is_alike = |text: &[u8]| bytes.iter().zip(text).all(|(byte, other)| byte == other);
    match FAREWELLS.iter().find(|text| is_alike(text)) {
        Some(text) if bytes.len() >= text.len() => Farewell::Whole,
        Some(_) => Farewell::Partial,
        None => Farewell::None,
    }
}

/// The first line of `bytes`, without its end.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Fault> {
    match bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(end) if bytes[..end].ends_with(b"\r") => Ok(Some(&bytes[..end - 1])),
        Some(_) => Err(Fault::BadReply),
        None if bytes.len() >= LINE_MAX => Err(Fault::ClientLimit),
        None => Ok(None),
    }
}

/// The elements of a list, separated by commas.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

fn number(digits: &[u8], radix: u32) -> Result<u64, Fault> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    let number = text.and_then(|text| u64::from_str_radix(text, radix).ok());
    number.ok_or(Fault::BadReply)
}

/// Bytes of a head; also of all interim answers or trailers of one answer. As much as browsers take.
pub(super) const HEAD_MAX: usize = 256 << 10;
/// Fields of nearly every answer.
const FIELDS: usize = 64;
/// Fields of any answer: as many as a head of that size has in practice. The table is 128 KiB.
const FIELDS_MAX: usize = 4096;
/// A line between chunks, or of a trailer.
const LINE_MAX: usize = 16 << 10;
const SWITCHING_PROTOCOLS: u16 = 101;
const FAREWELLS: [&[u8]; 2] = [b"HTTP/1.1 408", b"HTTP/1.0 408"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::BufferPool;

    /// Feeds the answers to three requests in pieces that end at every place, and says how many
    /// answers there were, how many of them were refusals, and whether the last one closes.
    fn read(text: &str, ended: bool) -> Vec<Result<(u64, u64, bool), Fault>> {
        let mut outcomes = Vec::new();
        let asker = Asker { token: edge_token(), client: 0, origin: 0 };
        for cut in 0..=text.len() {
            let mut http = Http::new("h", "/");
            let (mut stream, mut pool) = (HttpStream::default(), BufferPool::new(0));
            let mut ring = RingBuffer::new();
            let mut sum = Ok((0, 0, false));
            for piece in [&text[..cut], &text[cut..]] {
                ring.extend(piece.as_bytes(), &mut pool);
                while let Ok(so_far) = sum {
                    match http.answers(asker, &mut stream, 3, &mut ring) {
                        Ok(answers) if answers.is_empty() => break,
                        answers => sum = answers.map(|answers| add(so_far, &answers)),
                    }
                }
            }
            if ended {
                sum = sum.map(|sum| add(sum, &http.ended(&mut stream)));
            }
            outcomes.push(sum);
        }
        outcomes.dedup();
        outcomes
    }

    fn add(sum: (u64, u64, bool), answers: &Answers) -> (u64, u64, bool) {
        let refusals = u64::from(answers.refusal.is_some());
        (sum.0 + answers.right, sum.1 + refusals, sum.2 | answers.is_last)
    }

    fn edge_token() -> crate::reactor::Token {
        crate::reactor::Token::from(mio::Token(1 << 32))
    }

    #[test]
    fn answers_are_found_wherever_they_are_cut() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n\
            5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(&[plain, chunked, empty].concat(), false), [Ok((3, 0, false))]);
        assert_eq!(read(&[missing, plain, missing].concat(), false), [Ok((1, 2, false))]);
        let last = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(read(&[plain, last].concat(), false), [Ok((2, 0, true))]);
        let whole = "HTTP/1.1 200 OK\r\n\r\nall that comes";
        assert_eq!(read(whole, true), [Ok((1, 0, true))]);
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        assert_eq!(read(&[interim, plain].concat(), false), [Ok((1, 0, false))]);
    }

    fn with(fields: &str, body: &str) -> Vec<Result<(u64, u64, bool), Fault>> {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"), false)
    }

    #[test]
    fn framing_is_what_all_fields_say_together() {
        let body = "2\r\nok\r\n0\r\n\r\n";
        for fields in
            ["Content-Length: 2\r\nX: y\r\ncontent-length: 2\r\n", "Content-Length: 2, 2\r\n"]
        {
            assert_eq!(with(fields, "ok"), [Ok((1, 0, false))], "{fields}");
        }
        let chunked = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(with(chunked, body), [Ok((1, 0, false))]);
        let closing = "Content-Length: 2\r\nConnection: x\r\nConnection: y, Close\r\n";
        assert_eq!(with(closing, "ok"), [Ok((1, 0, true))]);
        for fields in [
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "Content-Length: 2, 3\r\n",
            "Content-Length: \r\n",
            "Content-Length: +2\r\n",
            "Content-Length: -2\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(with(fields, body), [Err(Fault::BadReply)], "{fields}");
        }
    }

    #[test]
    fn answer_may_have_many_fields_and_what_is_larger_than_our_limits_is_named_so() {
        let read = |text: &str| {
            let mut ring = RingBuffer::new();
            ring.extend(text.as_bytes(), &mut BufferPool::new(0));
            let asker = Asker { token: edge_token(), client: 0, origin: 0 };
            let mut stream = HttpStream::default();
            let answers = Http::new("h", "/").answers(asker, &mut stream, 1, &mut ring);
            answers.map(|answers| answers.right)
        };
        let fields = |count: usize| "X: y\r\n".repeat(count);
        let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
        for count in [0, 63, 64, 65, 100, FIELDS_MAX - 1] {
            assert_eq!(read(&format!("{start}{}\r\n", fields(count))), Ok(1), "{count}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for text in [
            format!("{start}{}\r\n", fields(FIELDS_MAX)),
            format!("{start}X: {}", "y".repeat(HEAD_MAX)),
            // The same, whole in one read.
            format!("{start}X: {}\r\n\r\n", "y".repeat(HEAD_MAX)),
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_MAX / 20),
            format!("{chunked}0\r\n{}", fields(HEAD_MAX / 5)),
            format!("{chunked}5;{}", "x".repeat(LINE_MAX)),
            format!("{chunked}{}", "0".repeat(LINE_MAX)),
        ] {
            assert_eq!(read(&text), Err(Fault::ClientLimit), "{:.60}", text);
        }
    }

    #[test]
    fn timeout_that_nobody_asked_for_announces_the_end_of_an_idle_connection() {
        let plain = "HTTP/1.1 204 No Content\r\n\r\n".repeat(3);
        let farewell = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";
        assert_eq!(read(&[&plain, farewell].concat(), false).first(), Some(&Ok((3, 0, true))));
        assert_eq!(read(&[&plain, "HTTP/1.1 200"].concat(), false), [Err(Fault::SurplusByte)]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 999 Many\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        ] {
            assert_eq!(read(text, false), [Err(Fault::BadReply)], "{text}");
        }
        let plain = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(&plain.repeat(4), false), [Err(Fault::SurplusByte)]);
    }
}
