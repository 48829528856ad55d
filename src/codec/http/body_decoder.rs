//! The body of a request, piece by piece.

use super::grammar::{is_token, is_token_byte, is_value_byte, line_end};
use super::head::Framing;
use super::http_error::HttpError;
use crate::codec::codec::{Codec, Decoded};

/// Hands out the body behind a head as it arrives, borrowed from the input: a body need not be in
/// memory as a whole.
///
/// Each piece is as long as the input allows; one that is empty took framing only. After the last
/// piece [`is_done`](Self::is_done); what follows is the next request. Extensions of chunks are
/// checked and dropped, and so are trailer fields (RFC 9112, 7.1).
///
/// ```
/// use edgeloop::codec::Codec;
/// use edgeloop::codec::http::{BodyDecoder, Framing};
/// let mut input = b"4\r\nWiki\r\n0\r\n\r\nGET /".to_vec();
/// let mut body = BodyDecoder::new(Framing::Chunked, 1024)?;
/// let mut rest = &mut input[..];
/// let mut whole = Vec::new();
/// while !body.is_done() {
///     let piece = body.decode(rest)?.expect("all of it is there");
///     whole.extend_from_slice(piece.message);
///     let len = piece.len;
///     rest = &mut rest[len..];
/// }
/// assert_eq!((&whole[..], &rest[..]), (&b"Wiki"[..], &b"GET /"[..]));
/// # Ok::<(), edgeloop::codec::http::HttpError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of body that may still come.
    allowed: u64,
    /// Bytes of extensions, or of trailer fields, that may still come.
    overhead: u32,
    /// Bytes of an unfinished line that are known not to end it.
    searched: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes, and then the end.
    Length(u64),
    /// The line with the size of the first chunk, or of another one, before which the line of the
    /// last one ends.
    Size {
        is_first: bool,
    },
    /// So many bytes of a chunk.
    Chunk(u64),
    Trailers,
    Done,
}

impl BodyDecoder {
    /// The body behind a head, of at most `limit` bytes.
    ///
    /// # Errors
    /// `BodyTooLarge` when the head says so already.
    pub fn new(framing: Framing, limit: u64) -> Result<Self, HttpError> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) if length > limit => return Err(HttpError::BodyTooLarge),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { is_first: true },
        };
        Ok(BodyDecoder { state, allowed: limit, overhead: EXTENSIONS_MAX, searched: 0 })
    }

    /// No body at all.
    pub const fn none() -> Self {
        BodyDecoder { state: State::Done, allowed: 0, overhead: 0, searched: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece; `None` when it has not come, or the body is done. A body changes nothing in
    /// the input.
    ///
    /// # Errors
    /// When the framing is malformed, or the body over its limit.
    pub fn piece<'a>(&mut self, input: &'a [u8]) -> Result<Option<Decoded<&'a [u8]>>, HttpError> {
        let (mut len, mut message) = (0, &input[..0]);
        match self.state {
            State::Length(left) => {
                let (left, data) = BodyDecoder::take(left, input);
                self.state = if left == 0 { State::Done } else { State::Length(left) };
                (len, message) = (data.len(), data);
            }
            State::Size { is_first } => len = self.size(input, is_first)?.unwrap_or(0),
            State::Trailers => len = self.trailer(input)?.unwrap_or(0),
            State::Chunk(_) | State::Done => {}
        }
        // The data behind a size comes with it.
        if let State::Chunk(left) = self.state {
            let (left, data) = BodyDecoder::take(left, &input[len..]);
            self.state = match left {
                0 => State::Size { is_first: false },
                left => State::Chunk(left),
            };
            (len, message) = (len + data.len(), data);
        }
        Ok((len > 0).then_some(Decoded { len, message }))
    }

    /// Takes what is there of `left` bytes.
    fn take(left: u64, input: &[u8]) -> (u64, &[u8]) {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        (left - len as u64, &input[..len])
    }

    /// The line from `from` on, with its end, or `None` while that has not come. `len_max` counts
    /// everything in front of it too.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        from: usize,
        len_max: usize,
        too_long: HttpError,
    ) -> Result<Option<&'a [u8]>, HttpError> {
        let found = line_end(input, from.max(self.searched as usize));
        if found.unwrap_or(input.len()) > len_max {
            return Err(too_long);
        }
        self.searched = if found.is_some() { 0 } else { input.len() as u32 };
        let Some(end) = found else { return Ok(None) };
        let line = input[from..end].strip_suffix(b"\r\n").ok_or(HttpError::BareLineFeed)?;
        Ok(Some(line))
    }

    /// The line with the size of a chunk; returns its length and that of what ends the last chunk.
    fn size(&mut self, input: &[u8], is_first: bool) -> Result<Option<usize>, HttpError> {
        let from = if is_first { 0 } else { 2 };
        if !b"\r\n"[..from].starts_with(&input[..from.min(input.len())]) {
            return Err(HttpError::BadChunkEnd);
        }
        if input.len() < from {
            return Ok(None);
        }
        let len_max = from + SIZE_LINE_MAX;
        let Some(line) = self.line(input, from, len_max, HttpError::BadChunkSize)? else {
            return Ok(None);
        };
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (size, extension) = line.split_at(digits);
        self.check_extension(extension)?;
        let size = str::from_utf8(size).ok().filter(|size| size.len() <= SIZE_DIGITS_MAX);
        let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
        let size = size.ok_or(HttpError::BadChunkSize)?;
        self.allowed = self.allowed.checked_sub(size).ok_or(HttpError::BodyTooLarge)?;
        self.state = State::Chunk(size);
        if size == 0 {
            (self.state, self.overhead) = (State::Trailers, TRAILERS_MAX);
        }
        Ok(Some(from + line.len() + 2))
    }

    fn check_extension(&mut self, extension: &[u8]) -> Result<(), HttpError> {
        match extension {
            [] => return Ok(()),
            [b';', ..] if is_chunk_extension(extension) => {}
            [b';', ..] => return Err(HttpError::BadChunkExtension),
            _ => return Err(HttpError::BadChunkSize),
        }
        let left = self.overhead.checked_sub(extension.len() as u32);
        self.overhead = left.ok_or(HttpError::BadChunkExtension)?;
        Ok(())
    }

    /// One line behind the last chunk: a trailer field, or the empty line that ends the body.
    fn trailer(&mut self, input: &[u8]) -> Result<Option<usize>, HttpError> {
        let len_max = self.overhead as usize;
        let Some(line) = self.line(input, 0, len_max, HttpError::TrailersTooLong)? else {
            return Ok(None);
        };
        let len = line.len() + 2;
        self.overhead -= len as u32;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(Some(len));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(HttpError::BadTrailer)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) || !value.iter().all(|byte| is_value_byte(*byte)) {
            return Err(HttpError::BadTrailer);
        }
        Ok(Some(len))
    }
}

/// Whether this is what may follow the size of a chunk (RFC 9112, 7.1.1): names with or without a
/// value, each behind a semicolon. Blanks around semicolon and equals sign are bad style and allowed,
/// but none before the first one, where others have taken them for a part of the size.
fn is_chunk_extension(mut rest: &[u8]) -> bool {
    // Ends: each round takes a semicolon.
    while let Some(behind) = rest.strip_prefix(b";") {
        let Some(behind) = chunk_extension(without_blanks(behind)) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// What follows a name and its value. Blanks stand before another semicolon, and not at the end.
fn chunk_extension(text: &[u8]) -> Option<&[u8]> {
    let (name, mut rest) = token(text);
    if name.is_empty() {
        return None;
    }
    if let Some(value) = without_blanks(rest).strip_prefix(b"=") {
        rest = chunk_extension_value(without_blanks(value))?;
    }
    let next = without_blanks(rest);
    Some(if next.starts_with(b";") { next } else { rest })
}

/// What follows a value: a token, or a string in quotes.
fn chunk_extension_value(text: &[u8]) -> Option<&[u8]> {
    let Some((b'"', mut rest)) = text.split_first() else {
        let (value, rest) = token(text);
        return (!value.is_empty()).then_some(rest);
    };
    // Ends: each round takes a byte.
    loop {
        rest = match rest {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] if is_value_byte(*byte) => behind,
            _ => return None,
        };
    }
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    &text[end.unwrap_or(text.len())..]
}

/// The token at the front, which may be empty, and what follows.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_token_byte(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

impl Codec for BodyDecoder {
    type Message<'a> = &'a [u8];
    type Error = HttpError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<&'a [u8]>>, HttpError> {
        self.piece(input)
    }
}

/// The longest line with the size of a chunk, its end included.
const SIZE_LINE_MAX: usize = 256;
/// All that fits 64 bits. Zeros in front count.
const SIZE_DIGITS_MAX: usize = 16;
/// Bytes of extensions in all chunks of a body: nobody uses them but those who want a server to work
/// for nothing.
const EXTENSIONS_MAX: u32 = 4 << 10;
/// Bytes of trailer fields, the empty line at the end included.
const TRAILERS_MAX: u32 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, what is left of the stream, and the error that ended it.
    fn collect<'a>(
        framing: Framing,
        limit: u64,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, Vec<u8>, bool), HttpError> {
        let mut body = BodyDecoder::new(framing, limit)?;
        let (mut whole, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(Decoded { len, message }) = body.decode(&mut input)? {
                whole.extend_from_slice(message);
                input.drain(..len);
            }
        }
        Ok((whole, input, body.is_done()))
    }

    fn whole_however_cut(
        framing: Framing,
        limit: u64,
        stream: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>, bool), HttpError> {
        let whole = collect(framing, limit, [stream]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(collect(framing, limit, cuts), whole, "cut at {first}, {second}");
            }
        }
        assert_eq!(collect(framing, limit, stream.chunks(1)), whole, "byte by byte");
        whole
    }

    #[test]
    fn every_split_gives_the_same_body_and_leaves_the_next_request() {
        let done = |body: &[u8], rest: &[u8]| Ok((body.to_vec(), rest.to_vec(), true));
        for (framing, stream) in [
            (Framing::None, &b"GET"[..]),
            (Framing::Length(0), b"GET"),
            (Framing::Chunked, b"0\r\n\r\nGET"),
            (Framing::Chunked, b"000\r\nA: b\r\nC:\r\n\r\nGET"),
        ] {
            assert_eq!(whole_however_cut(framing, 9, stream), done(b"", b"GET"), "{framing:?}");
        }
        for (framing, stream) in [
            (Framing::Length(9), &b"Wikipedia\r\n"[..]),
            (Framing::Chunked, b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n\r\n"),
            (Framing::Chunked, b"9;a=\"b\";c\r\nWikipedia\r\n0;d\r\nE: f\r\n\r\n\r\n"),
        ] {
            assert_eq!(whole_however_cut(framing, 9, stream), done(b"Wikipedia", b"\r\n"));
        }
    }

    #[test]
    fn body_over_the_limit_is_refused_before_it_comes() {
        let refused = Err(HttpError::BodyTooLarge);
        assert_eq!(collect(Framing::Length(10), 9, []), refused);
        assert_eq!(collect(Framing::Length(u64::MAX), 9, []), refused);
        assert_eq!(whole_however_cut(Framing::Chunked, 9, b"a\r\n"), refused);
        assert_eq!(whole_however_cut(Framing::Chunked, 9, b"ffffffffffffffff\r\n"), refused);
        assert_eq!(whole_however_cut(Framing::Chunked, 9, b"5\r\n12345\r\n5\r\n"), refused);
        let endless = b"8000000000000000\r\n";
        assert_eq!(
            collect(Framing::Chunked, u64::MAX, [&endless[..]]).map(|found| found.2),
            Ok(false)
        );
    }

    #[test]
    fn malformed_chunk_is_refused_however_it_is_cut() {
        for (stream, error) in [
            ("\r\n", HttpError::BadChunkSize),
            ("g\r\n", HttpError::BadChunkSize),
            ("-1\r\n", HttpError::BadChunkSize),
            ("+1\r\n", HttpError::BadChunkSize),
            ("0x1\r\n", HttpError::BadChunkSize),
            (" 1\r\n", HttpError::BadChunkSize),
            ("1 \r\n", HttpError::BadChunkSize),
            ("1 ;a\r\n", HttpError::BadChunkSize),
            ("1_0\r\n", HttpError::BadChunkSize),
            (";a\r\n", HttpError::BadChunkSize),
            ("00000000000000001\r\n", HttpError::BadChunkSize),
            ("1\n", HttpError::BareLineFeed),
            ("1;a\n", HttpError::BareLineFeed),
            ("1;\0\r\n", HttpError::BadChunkExtension),
            ("1;\r\r\n", HttpError::BadChunkExtension),
            ("1\r\nab\r\n", HttpError::BadChunkEnd),
            ("1\r\na\n0\r\n", HttpError::BadChunkEnd),
            ("1\r\na\rb", HttpError::BadChunkEnd),
            ("1\r\na0\r\n", HttpError::BadChunkEnd),
            ("0\r\nA\r\n\r\n", HttpError::BadTrailer),
            ("0\r\n: b\r\n\r\n", HttpError::BadTrailer),
            ("0\r\nA : b\r\n\r\n", HttpError::BadTrailer),
            ("0\r\nA: b\r\n c\r\n\r\n", HttpError::BadTrailer),
            ("0\r\nA: \0\r\n\r\n", HttpError::BadTrailer),
            ("0\r\n\n", HttpError::BareLineFeed),
        ] {
            let found = whole_however_cut(Framing::Chunked, 99, stream.as_bytes());
            assert_eq!(found, Err(error), "{stream:?}");
        }
    }

    #[test]
    fn extension_of_a_chunk_is_a_name_with_or_without_a_value() {
        let found = |extension: &str| {
            let chunk = format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n");
            whole_however_cut(Framing::Chunked, 9, chunk.as_bytes()).map(|found| found.0)
        };
        for good in [
            ";a",
            ";a;b=c;d",
            ";a=\"b\"",
            ";a=\"\"",
            ";a=\";=\\\"\\\\ \t\u{e9}\";b",
            "; a = b",
            ";\ta\t=\t\"b\" ; c",
        ] {
            assert_eq!(found(good), Ok(b"x".to_vec()), "{good:?}");
        }
        for bad in [
            ";",
            ";;",
            ";a;",
            ";=",
            ";=x",
            ";a=",
            ";a==b",
            ";a=;b",
            ";a=b=c",
            ";a b",
            ";a=b c",
            ";a ",
            ";a=b ",
            "; ",
            ";a=\"b",
            ";a=\"b\"c",
            ";a=b\"c\"",
            ";a=\"b\\",
            ";\"a\"=b",
            ";a=\"\u{1}\"",
            ";a=\"\\\u{7f}\"",
            ";a@",
            ";\u{e9}",
            ";a=\u{e9}",
            ";\ra",
            ";a\r;b",
        ] {
            assert_eq!(found(bad), Err(HttpError::BadChunkExtension), "{bad:?}");
        }
    }

    #[test]
    fn framing_without_end_is_refused() {
        let extension = format!("1;{}\r\n", "a".repeat(SIZE_LINE_MAX - 4));
        let chunk = format!("{extension}x\r\n");
        let fits = collect(Framing::Chunked, 99, [chunk.as_bytes()]);
        assert!(fits.is_ok(), "{fits:?}");
        let longer = format!("1;{extension}");
        let found = collect(Framing::Chunked, 99, longer.as_bytes().chunks(1));
        assert_eq!(found, Err(HttpError::BadChunkSize));
        let many = collect(Framing::Chunked, 99, [chunk.repeat(17).as_bytes()]);
        assert_eq!(many, Err(HttpError::BadChunkExtension));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(1000));
        for size in [1, 100, 10_000] {
            let found = collect(Framing::Chunked, 99, trailers.as_bytes().chunks(size));
            assert_eq!(found, Err(HttpError::TrailersTooLong));
        }
    }
}
