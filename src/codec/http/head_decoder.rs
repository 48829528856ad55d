//! Finds the head of a request.

use std::mem::MaybeUninit;

use super::grammar::{is_token, is_token_byte, line_end};
use super::head::Head;
use super::http_error::HttpError;
use crate::codec::codec::{Codec, Decoded};

/// Finds the head of each request: everything up to and with the first empty line. It is parsed once
/// that is there, and searched once, however it is cut.
///
/// One empty line before a request is passed over: old clients send one behind a body (RFC 9112,
/// 2.2).
#[derive(Clone, Copy, Debug)]
pub struct HeadDecoder {
    head_max: u32,
    request_line_max: u32,
    headers_max: u32,
    /// Where the request line begins: 0, or behind an empty line.
    start: u32,
    /// Where the line begins whose end is looked for.
    line: u32,
    /// Bytes that are known not to end it.
    searched: u32,
}

/// The limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The longest head, in bytes, from the request line to the empty line, both included. Default
    /// 16 KiB: room for cookies, and what a client that sends half a head may cost. Beyond it: 431.
    /// At most 1 GiB.
    pub head: usize,
    /// The longest request line, in bytes. Default 8 KiB, which RFC 9112 asks for at least. Beyond
    /// it: 414.
    pub request_line: usize,
    /// The most headers. Default 100; at most [`HEADERS_MAX`]. Beyond it: 431.
    pub headers: usize,
}

/// The most headers that a head can have at all: a table of so many stands on the stack while a head
/// is parsed.
pub const HEADERS_MAX: usize = 128;

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head: 16 << 10, request_line: 8 << 10, headers: 100 }
    }
}

impl HeadDecoder {
    /// A decoder for the requests of one connection.
    pub fn new(limits: HeadLimits) -> Self {
        let head_max = limits.head.min(1 << 30) as u32;
        HeadDecoder {
            head_max,
            request_line_max: limits.request_line.min(head_max as usize) as u32,
            headers_max: limits.headers.min(HEADERS_MAX) as u32,
            start: 0,
            line: 0,
            searched: 0,
        }
    }

    /// Whether a request has begun of which the head is not there yet.
    pub fn is_within(&self) -> bool {
        self.searched > self.start
    }

    /// As [`Codec::decode`], for a caller that looks at what follows the head while it has it: a head
    /// changes nothing in the input.
    ///
    /// # Errors
    /// As for `decode`.
    pub fn head<'a>(&mut self, input: &'a [u8]) -> Result<Option<Decoded<Head<'a>>>, HttpError> {
        let Some(end) = self.find_end(input)? else { return Ok(None) };
        let head = &input[self.start as usize..end];
        (self.start, self.line, self.searched) = (0, 0, 0);
        Ok(Some(Decoded { len: end, message: parse(head, self.headers_max as usize)? }))
    }

    /// Where the head ends.
    fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, HttpError> {
        // Ends: each round finds the end of another line within the input.
        loop {
            self.check_first_byte(input)?;
            let found = line_end(input, self.searched as usize);
            let searched = found.unwrap_or(input.len());
            self.check_len(searched)?;
            self.searched = searched as u32;
            let Some(end) = found else { return Ok(None) };
            let line = &input[self.line as usize..end];
            match line {
                b"\r\n" if self.line > self.start => return Ok(Some(end)),
                b"\r\n" if self.start == 0 => self.start = end as u32,
                b"\r\n" => return Err(HttpError::BadMethod),
                [b' ' | b'\t', ..] if self.line > self.start => {
                    return Err(HttpError::FoldedHeader);
                }
                line if !line.ends_with(b"\r\n") => return Err(HttpError::BareLineFeed),
                _ => {}
            }
            self.line = end as u32;
        }
    }

    /// What is no HTTP at all, such as the first bytes of TLS, may never have an end of line.
    fn check_first_byte(&self, input: &[u8]) -> Result<(), HttpError> {
        match input.get(self.start as usize) {
            Some(b'\r' | b'\n') | None => Ok(()),
            Some(byte) if is_token_byte(*byte) => Ok(()),
            // It is no character of any text, so that the first byte tells.
            Some(&TLS_HANDSHAKE) => Err(HttpError::Tls),
            Some(_) => Err(HttpError::BadMethod),
        }
    }

    fn check_len(&self, len: usize) -> Result<(), HttpError> {
        let len = len - self.start as usize;
        if self.line == self.start && len > self.request_line_max as usize {
            return Err(HttpError::TargetTooLong);
        }
        if len > self.head_max as usize { Err(HttpError::HeadTooLong) } else { Ok(()) }
    }
}

impl Codec for HeadDecoder {
    type Message<'a> = Head<'a>;
    type Error = HttpError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<Head<'a>>>, HttpError> {
        self.head(input)
    }
}

/// The type of the record that TLS begins with (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// A whole head, every line of which ends as it should.
fn parse(head: &[u8], headers_max: usize) -> Result<Head<'_>, HttpError> {
    let mut table = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let table = &mut table[..headers_max];
    let first_line = line_end(head, 0).unwrap_or(head.len());
    match request.parse_with_uninit_headers(head, table) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {
            // Without the empty line at the end.
            Head::check(&head[first_line..head.len() - 2], &request, request.headers)
        }
        // An empty line stands nowhere but at the end, so the parser finds its end there too.
        Ok(_) => Err(HttpError::BadHeaderValue),
        Err(error) => match name(error, &head[..first_line.saturating_sub(2)]) {
            HttpError::UnsupportedVersion if is_first_major(&head[..first_line]) => {
                parse_later_minor(head, first_line, headers_max)
            }
            error => Err(error),
        },
    }
}

fn is_first_major(request_line: &[u8]) -> bool {
    matches!(request_line, [.., b'/', b'1', b'.', _, b'\r', b'\n'])
}

/// A head of HTTP/1.2 or later, which the parser does not take, means what it would in 1.1 (RFC 9110,
/// 2.5).
fn parse_later_minor(
    head: &[u8],
    first_line: usize,
    headers_max: usize,
) -> Result<Head<'_>, HttpError> {
    let (request_line, lines) = head.split_at(first_line);
    let request_line = str::from_utf8(request_line).map_err(|_| HttpError::BadTarget)?;
    let mut parts = request_line.split(' ');
    let mut table = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(lines, &mut table[..headers_max]);
    let parsed = parsed.map_err(|error| header_error(error).unwrap_or(HttpError::BadHeaderName))?;
    let mut request = httparse::Request::new(&mut []);
    (request.method, request.path, request.version) = (parts.next(), parts.next(), Some(1));
    match parsed {
        httparse::Status::Complete((len, headers)) if len == lines.len() => {
            Head::check(&lines[..len - 2], &request, headers)
        }
        _ => Err(HttpError::BadHeaderValue),
    }
}

/// The parser's error under our name for it.
fn name(error: httparse::Error, request_line: &[u8]) -> HttpError {
    let mut parts = request_line.splitn(3, |byte| *byte == b' ');
    let (method, version) = (parts.next().unwrap_or_default(), parts.nth(1));
    header_error(error).unwrap_or(match version {
        _ if !is_token(method) => HttpError::BadMethod,
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let is_spoken = *major == b'1' && *minor <= b'1';
            if is_spoken { HttpError::BadTarget } else { HttpError::UnsupportedVersion }
        }
        _ => HttpError::BadVersion,
    })
}

/// The same of an error in a header.
fn header_error(error: httparse::Error) -> Option<HttpError> {
    match error {
        httparse::Error::HeaderName => Some(HttpError::BadHeaderName),
        httparse::Error::HeaderValue => Some(HttpError::BadHeaderValue),
        httparse::Error::TooManyHeaders => Some(HttpError::TooManyHeaders),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Framing, Version};
    use super::*;

    /// How often a head is found in pieces, and what the last one says, or the error.
    fn decode<'a>(
        limits: HeadLimits,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<String>, HttpError> {
        let mut decoder = HeadDecoder::new(limits);
        let (mut found, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(Decoded { len, message }) = decoder.decode(&mut input)? {
                found.push(format!("{message:?}"));
                input.drain(..len);
            }
        }
        assert_eq!(decoder.is_within(), !input.is_empty() && input != b"\r\n");
        Ok(found)
    }

    fn whole_however_cut(stream: &[u8]) -> Result<Vec<String>, HttpError> {
        let limits = HeadLimits::default();
        let whole = decode(limits, [stream]);
        for first in 0..stream.len() {
            let cuts = [&stream[..first], &stream[first..]];
            assert_eq!(decode(limits, cuts), whole, "cut at {first}");
        }
        assert_eq!(decode(limits, stream.chunks(1)), whole, "byte by byte");
        whole
    }

    fn error_of(head: &str) -> Option<HttpError> {
        whole_however_cut(head.as_bytes()).err()
    }

    #[test]
    fn every_split_of_a_stream_gives_the_same_heads() {
        let stream =
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nPUT /b?c HTTP/1.0\r\nX:\r\nY:  z\t \r\n\r\nHEA";
        let found = whole_however_cut(stream);
        assert_eq!(
            found.unwrap(),
            ["Head(GET / Http11; Host: a)", "Head(PUT /b?c Http10; X: ; Y: z)"]
        );
    }

    #[test]
    fn head_says_what_was_sent() {
        let mut stream =
            b"POST http://x.example/p?q HTTP/1.1\r\nhOST: a\r\nConnection: Keep-Alive,\r\n\
            connection: , Upgrade , foo\r\nUpgrade: websocket\r\nTransfer-Encoding: Chunked\r\n\
            Expect: 100-Continue\r\nX: 1\r\nx: \xe9\r\n\r\n"
                .to_vec();
        let decoded = HeadDecoder::new(HeadLimits::default()).decode(&mut stream).unwrap().unwrap();
        let head = decoded.message;
        assert_eq!((head.method, head.version), ("POST", Version::Http11));
        assert_eq!((head.target.form, head.target.path), (Form::Absolute, "/p"));
        assert_eq!(head.host(), Some("x.example"));
        assert_eq!(
            (head.framing, head.keep_alive, head.expects_continue),
            (Framing::Chunked, true, true)
        );
        assert!(
            head.has_token("Connection", "upgrade") && head.has_token("connection", "keep-alive")
        );
        assert!(!head.has_token("connection", "close") && !head.has_token("x", "2"));
        assert_eq!(head.all("X").collect::<Vec<_>>(), [&b"1"[..], b"\xe9"]);
        assert_eq!(head.header("nothing"), None);
        assert_eq!(head.headers().count(), 8);
    }

    #[test]
    fn connection_is_kept_as_version_and_header_say() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost:\r\nConnection: x, CLOSE\r\n\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost:\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ] {
            let mut decoder = HeadDecoder::new(HeadLimits::default());
            let mut input = head.as_bytes().to_vec();
            let decoded = decoder.decode(&mut input).unwrap().unwrap();
            assert_eq!(decoded.message.keep_alive, keep_alive, "{head:?}");
        }
    }

    #[test]
    fn malformed_header_is_refused_under_its_name_however_it_is_cut() {
        use HttpError::*;
        let line = |line: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        for (header, error) in [
            ("Host: a", DuplicateHost),
            ("A : b", BadHeaderName),
            ("A\t: b", BadHeaderName),
            (": b", BadHeaderName),
            ("A", BadHeaderName),
            ("A(: b", BadHeaderName),
            ("A\0: b", BadHeaderName),
            ("\u{e9}: b", BadHeaderName),
            ("A: \0", BadHeaderValue),
            ("A: b\rc", BadHeaderValue),
            ("A: b\u{7f}", BadHeaderValue),
            ("A: \u{1}b", BadHeaderValue),
            ("A: b\r\n c", FoldedHeader),
            ("A: b\r\n\tc", FoldedHeader),
            (" A: b", FoldedHeader),
            ("A: b\nC: d", BareLineFeed),
            ("\n", BareLineFeed),
            ("Content-Length:", BadContentLength),
            ("Content-Length: +1", BadContentLength),
            ("Content-Length: -1", BadContentLength),
            ("Content-Length: 1 1", BadContentLength),
            ("Content-Length: 1,1", BadContentLength),
            ("Content-Length: 0x1", BadContentLength),
            ("Content-Length: 18446744073709551616", BadContentLength),
            ("Content-Length: 1\r\nContent-Length: 1", DuplicateContentLength),
            ("Content-Length: 1\r\nContent-Length: 2", DuplicateContentLength),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", LengthAndEncoding),
            ("Transfer-Encoding:", BadTransferEncoding),
            ("Transfer-Encoding: chunked,", BadTransferEncoding),
            ("Transfer-Encoding: chunked, gzip", BadTransferEncoding),
            ("Transfer-Encoding: chunked, chunked", BadTransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", BadTransferEncoding),
            ("Transfer-Encoding: gzip, chunked", UnsupportedEncoding),
            ("Transfer-Encoding: identity", UnsupportedEncoding),
            ("Transfer-Encoding: xchunked", UnsupportedEncoding),
            ("Transfer-Encoding: \"chunked\"", UnsupportedEncoding),
            ("Expect: 200-ok", UnsupportedExpectation),
            ("Expect: 100-continue, x", UnsupportedExpectation),
        ] {
            assert_eq!(error_of(&line(header)), Some(error), "{header:?}");
        }
    }

    #[test]
    fn malformed_request_line_is_refused_under_its_name_however_it_is_cut() {
        use HttpError::*;
        for (head, error) in [
            ("\x16\x03\x01", Tls),
            ("\x15\x03\x01", BadMethod),
            (" GET / HTTP/1.1\r\n", BadMethod),
            ("\r\n\r\n", BadMethod),
            ("G(T / HTTP/1.1\r\nHost:\r\n\r\n", BadMethod),
            ("GET /a b HTTP/1.1\r\nHost:\r\n\r\n", BadVersion),
            ("GET  / HTTP/1.1\r\nHost:\r\n\r\n", BadVersion),
            ("GET /\r\n\r\n", BadVersion),
            ("GET / HTTP/1.1 \r\nHost:\r\n\r\n", BadVersion),
            ("GET / http/1.1\r\nHost:\r\n\r\n", BadVersion),
            ("GET / HTTP/11\r\nHost:\r\n\r\n", BadVersion),
            ("GET / HTTP/2.0\r\nHost:\r\n\r\n", UnsupportedVersion),
            ("GET / HTTP/0.9\r\nHost:\r\n\r\n", UnsupportedVersion),
            ("GET /\u{1} HTTP/1.1\r\nHost:\r\n\r\n", BadTarget),
            ("GET /\0 HTTP/1.1\r\nHost:\r\n\r\n", BadTarget),
            ("GET /# HTTP/1.1\r\nHost:\r\n\r\n", BadTarget),
            ("GET * HTTP/1.1\r\nHost:\r\n\r\n", BadTarget),
            ("\nGET / HTTP/1.1\r\nHost:\r\n\r\n", BareLineFeed),
            ("GET / HTTP/1.1\nHost:\r\n\r\n", BareLineFeed),
            ("GET / HTTP/1.1\r\n\r\n", MissingHost),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BadHost),
            ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", BadHost),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", EncodingInOldVersion),
        ] {
            assert_eq!(error_of(head), Some(error), "{head:?}");
        }
        assert_eq!(error_of("GET / HTTP/1.0\r\nExpect: x\r\n\r\n"), None, "1.0 expects nothing");
    }

    #[test]
    fn later_minor_version_is_read_as_1_1() {
        let head = |version: &str, lines: &str| format!("GET /a {version}\r\n{lines}\r\n");
        let found = whole_however_cut(head("HTTP/1.2", "Host: a\r\nX:  y\r\n").as_bytes());
        assert_eq!(found.unwrap(), ["Head(GET /a Http11; Host: a; X: y)"]);
        let long = "X: y\r\n".repeat(101);
        for (lines, error) in [
            ("Host: a\r\n", None),
            ("", Some(HttpError::MissingHost)),
            ("A : b\r\n", Some(HttpError::BadHeaderName)),
            ("\rA: b\r\n", Some(HttpError::BadHeaderName)),
            ("A: \0\r\n", Some(HttpError::BadHeaderValue)),
            (&long, Some(HttpError::TooManyHeaders)),
            (
                "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                Some(HttpError::LengthAndEncoding),
            ),
        ] {
            assert_eq!(error_of(&head("HTTP/1.9", lines)), error, "{lines:?}");
        }
        for target in ["", "/\0", "/é", "a", "/\""] {
            let head = format!("GET {target} HTTP/1.2\r\nHost: a\r\n\r\n");
            assert_eq!(error_of(&head), Some(HttpError::BadTarget), "{target:?}");
        }
    }

    #[test]
    fn limits_are_exact_and_the_same_for_every_cut() {
        let limits = HeadLimits { head: 60, request_line: 20, headers: 2 };
        let both = |stream: &str| {
            let whole = decode(limits, [stream.as_bytes()]).err();
            assert_eq!(decode(limits, stream.as_bytes().chunks(1)).err(), whole);
            whole
        };
        let head = |target: usize, value: usize| {
            format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", "t".repeat(target), "h".repeat(value))
        };
        assert_eq!(both(&head(4, 0)), None);
        assert_eq!(both(&head(5, 0)), Some(HttpError::TargetTooLong));
        assert_eq!(both(&format!("\r\n{}", head(4, 0))), None);
        assert_eq!(both(&head(4, 30)), None);
        assert_eq!(both(&head(4, 31)), Some(HttpError::HeadTooLong));
        assert_eq!(both(&"x".repeat(21)), Some(HttpError::TargetTooLong));
        let headers = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "A:\r\n".repeat(count));
        assert_eq!(both(&headers(2)), None);
        assert_eq!(both(&headers(3)), Some(HttpError::TooManyHeaders));
    }

    #[test]
    fn head_that_comes_byte_by_byte_is_searched_once() {
        let mut head = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(30_000)).into_bytes();
        let limits = HeadLimits { head: head.len(), ..HeadLimits::default() };
        let mut decoder = HeadDecoder::new(limits);
        for end in 1..=head.len() {
            assert!(matches!(decoder.decode(&mut head[..end]), Ok(None)));
            assert_eq!(decoder.searched as usize, end);
        }
    }
}
