//! The dialect of an HTTP/1.1 server (RFC 9112): `GET` of one path, with bodies of a known length,
//! chunked (section 7.1), or up to the end of the connection (section 6.3).

use super::Fault;
use super::dialect::{Answers, Asker, Dialect};
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
    /// Of this answer.
    bytes: u64,
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
                Some(field) => Ok(Step::Took(field.len() + 2)),
                None => Ok(Step::Wait),
            },
            Part::UntilClose => Ok(Step::Took(bytes.len())),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let len = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(Step::Wait),
            Err(_) => return Err(Fault::BadReply),
        };
        self.status = response.code.unwrap_or(0);
        let value = |name: &str| {
            let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| field.value.trim_ascii())
        };
        let is_keep_alive = has_token(value("connection"), b"keep-alive");
        let is_old = response.version == Some(0);
        self.closes = has_token(value("connection"), b"close") || (is_old && !is_keep_alive);
        let is_chunked = has_token(value("transfer-encoding"), b"chunked");
        if (100..200).contains(&self.status) {
            // The answer itself follows.
            return Ok(Step::Took(len));
        }
        if matches!(self.status, 204 | 304) {
            return Ok(Step::Finished(len));
        }
        self.part = match value("content-length") {
            _ if is_chunked => Part::ChunkSize,
            Some(digits) => match number(digits, 10)? {
                0 => return Ok(Step::Finished(len)),
                missing => Part::Body(missing),
            },
            None => {
                self.closes = true;
                Part::UntilClose
            }
        };
        Ok(Step::Took(len))
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
        answers.complete += 1;
        answers.bytes += std::mem::take(&mut self.bytes);
        answers.is_last = self.closes;
        if !(200..300).contains(&self.status) {
            let (_, former) = answers.refusals.unwrap_or((Fault::BadStatus, 0));
            answers.refusals = Some((Fault::BadStatus, former + 1));
        }
        self.answered += 1;
        self.part = Part::Head;
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
        while at < bytes.len() && !answers.is_last {
            if stream.answered == asked {
                return Err(Fault::SurplusByte);
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
}

/// The first line of `bytes`, without its end.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Fault> {
    match bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(end) if bytes[..end].ends_with(b"\r") => Ok(Some(&bytes[..end - 1])),
        Some(_) => Err(Fault::BadReply),
        None if bytes.len() >= LINE_MAX => Err(Fault::BadReply),
        None => Ok(None),
    }
}

/// Whether one of the tokens of a list, separated by commas, is this.
fn has_token(value: Option<&[u8]>, token: &[u8]) -> bool {
    let mut tokens = value.unwrap_or_default().split(|byte| *byte == b',');
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token))
}

fn number(digits: &[u8], radix: u32) -> Result<u64, Fault> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    let number = text.and_then(|text| u64::from_str_radix(text, radix).ok());
    number.ok_or(Fault::BadReply)
}

const FIELDS_MAX: usize = 64;
const LINE_MAX: usize = 4096;

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
                let answers = http.answers(asker, &mut stream, 3, &mut ring);
                sum = sum.and_then(|sum| Ok(add(sum, &answers?)));
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
        let refusals = answers.refusals.map_or(0, |(_, count)| count);
        (sum.0 + answers.complete, sum.1 + refusals, sum.2 | answers.is_last)
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
        assert_eq!(read(&[missing, plain, missing].concat(), false), [Ok((3, 2, false))]);
        let last = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(read(&[plain, last].concat(), false), [Ok((2, 0, true))]);
        let whole = "HTTP/1.1 200 OK\r\n\r\nall that comes";
        assert_eq!(read(whole, true), [Ok((1, 0, true))]);
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        assert_eq!(read(&[interim, plain].concat(), false), [Ok((1, 0, false))]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "SSH-2.0-x\r\n",
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
