//! The head of a request: its first line and its headers.

use std::fmt;

use super::grammar::line_end;
use super::http_error::HttpError;
use super::target::Target;
use super::target::is_host;

/// The head of a request, borrowed from the input. What decides how the connection goes on has been
/// looked at and checked; other headers are found by a search through the lines, which for a head of
/// ordinary size costs less than a table of them.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// As it was sent; methods are case-sensitive.
    pub method: &'a str,
    /// What the request is for.
    pub target: Target<'a>,
    /// Which rules it was sent by.
    pub version: Version,
    /// How the length of the body is known.
    pub framing: Framing,
    /// Whether the client wants to use the connection again: the default of the version, or what
    /// `Connection` says (RFC 9112, 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether there is an `Origin`: a browser tells on behalf of which page it asks (RFC 6454, 7).
    /// Noted while the head is parsed, since every request is asked.
    pub(crate) has_origin: bool,
    lines: &'a [u8],
}

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: one request a connection unless both sides say otherwise, and no chunks.
    Http10,
    /// HTTP/1.1, or a later minor version, which is read as that.
    Http11,
}

/// How the length of a body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes, by `Content-Length`.
    Length(u64),
    /// In chunks, each with its size in front.
    Chunked,
}

impl<'a> Head<'a> {
    /// Every header in order, as name and value. The value is without the white space around it and
    /// may have any byte but control characters; few clients send other than ASCII.
    pub fn headers(&self) -> Headers<'a> {
        Headers { lines: self.lines }
    }

    /// The value of the first header of this name; case makes no difference.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all headers of this name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_named = move |header: &(&'a str, &'a [u8])| header.0.eq_ignore_ascii_case(name);
        self.headers().filter(is_named).map(|(_, value)| value)
    }

    /// Whether a header that is a list, such as `Connection: keep-alive, Upgrade`, has this element,
    /// on any of its lines. Case makes no difference.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(elements)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The host that the request is for: of the target, or else of the header (RFC 9112, 3.2.2).
    pub fn host(&self) -> Option<&'a str> {
        self.target.authority.or_else(|| str::from_utf8(self.header("host")?).ok())
    }

    /// From the lines of a head that was parsed, and the parser's view of them.
    pub(super) fn check(
        lines: &'a [u8],
        request: &httparse::Request<'_, 'a>,
        headers: &[httparse::Header<'a>],
    ) -> Result<Self, HttpError> {
        let method = request.method.ok_or(HttpError::BadMethod)?;
        let raw = request.path.ok_or(HttpError::BadTarget)?;
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let target = Target::parse(method, raw)?;
        let facts = Facts::of(headers)?;
        if facts.host.is_none() && version == Version::Http11 {
            return Err(HttpError::MissingHost);
        }
        let is_kept = facts.keeps || version == Version::Http11;
        Ok(Head {
            method,
            target,
            version,
            framing: facts.framing(version)?,
            keep_alive: is_kept && !facts.closes,
            // RFC 9110, 10.1.1: in HTTP/1.0 there was no such thing.
            expects_continue: facts.expects(version)?,
            has_origin: facts.has_origin,
            lines,
        })
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} {} {:?}", self.method, self.target.raw, self.version)?;
        for (name, value) in self.headers() {
            write!(f, "; {name}: {}", value.escape_ascii())?;
        }
        f.write_str(")")
    }
}

/// The headers of a request, as name and value.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    /// What is left of the lines, each ended by `\r\n`.
    lines: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = line_end(self.lines, 0)?;
        let (line, rest) = self.lines.split_at(end);
        self.lines = rest;
        let colon = line.iter().position(|byte| *byte == b':')?;
        // The parser has seen that a name is a token, which is ASCII.
        let name = str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

/// The elements of a list (RFC 9110, 5.6.1). Empty ones are passed over.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What the headers say that decides how the connection goes on.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    is_encoded: bool,
    /// Whether the last encoding so far is `chunked`.
    is_chunked: bool,
    /// An encoding is empty, or follows `chunked`.
    is_misencoded: bool,
    has_other_encoding: bool,
    closes: bool,
    keeps: bool,
    continues: bool,
    has_other_expectation: bool,
    has_origin: bool,
}

impl<'a> Facts<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Result<Self, HttpError> {
        let mut facts = Facts::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // Most headers are none of these, and their length says so.
            match header.name.len() {
                4 if is("host") => facts.enter_host(header.value)?,
                6 if is("expect") => facts.enter_expectation(header.value),
                6 if is("origin") => facts.has_origin = true,
                10 if is("connection") => facts.enter_connection(header.value),
                14 if is("content-length") => facts.enter_length(header.value)?,
                17 if is("transfer-encoding") => facts.enter_encoding(header.value),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn enter_host(&mut self, value: &'a [u8]) -> Result<(), HttpError> {
        if self.host.replace(value).is_some() {
            return Err(HttpError::DuplicateHost);
        }
        if is_host(value) { Ok(()) } else { Err(HttpError::BadHost) }
    }

    fn enter_length(&mut self, value: &'a [u8]) -> Result<(), HttpError> {
        let former = self.length.replace(value);
        if former.is_some() { Err(HttpError::DuplicateContentLength) } else { Ok(()) }
    }

    fn enter_expectation(&mut self, value: &[u8]) {
        for expectation in elements(value) {
            let is_known = expectation.eq_ignore_ascii_case(b"100-continue");
            self.continues |= is_known;
            self.has_other_expectation |= !is_known;
        }
    }

    fn enter_connection(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.closes |= option.eq_ignore_ascii_case(b"close");
            self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn enter_encoding(&mut self, value: &[u8]) {
        self.is_encoded = true;
        // Not as other lists: an empty element is one that somebody else may read differently.
        for encoding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.is_misencoded |= self.is_chunked || encoding.is_empty();
            self.is_chunked = encoding.eq_ignore_ascii_case(b"chunked");
            self.has_other_encoding |= !self.is_chunked;
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, HttpError> {
        if !self.is_encoded {
            return self
                .length
                .map_or(Ok(Framing::None), |length| Ok(Framing::Length(number(length)?)));
        }
        if version == Version::Http10 {
            return Err(HttpError::EncodingInOldVersion);
        }
        if self.length.is_some() {
            return Err(HttpError::LengthAndEncoding);
        }
        if self.is_misencoded {
            return Err(HttpError::BadTransferEncoding);
        }
        if self.has_other_encoding {
            Err(HttpError::UnsupportedEncoding)
        } else {
            Ok(Framing::Chunked)
        }
    }

    fn expects(&self, version: Version) -> Result<bool, HttpError> {
        match version {
            Version::Http10 => Ok(false),
            Version::Http11 if self.has_other_expectation => Err(HttpError::UnsupportedExpectation),
            Version::Http11 => Ok(self.continues),
        }
    }
}

/// One or more digits and nothing else.
fn number(value: &[u8]) -> Result<u64, HttpError> {
    let digits =
        str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(HttpError::BadContentLength)
}
