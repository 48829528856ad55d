//! The head of a response, and chunks of its body.

use std::io::Write;

use super::date::Date;
use super::grammar::{is_token_byte, is_value_byte};
use super::head::Framing;
use super::status::Status;

/// Appends the head of a response to a buffer, line by line.
///
/// No header can end the head, or begin another: a character that may not stand in a name or a value
/// becomes `_` or a space.
///
/// ```
/// use edgeloop::codec::http::{Framing, ResponseHead, Status};
/// let mut out = Vec::new();
/// ResponseHead::new(&mut out, Status::OK)
///     .header("X-Note", b"one\r\nSet-Cookie: two")
///     .framing(Framing::Length(2))
///     .finish();
/// assert_eq!(out, b"HTTP/1.1 200 OK\r\nX-Note: one  Set-Cookie: two\r\nContent-Length: 2\r\n\r\n");
/// ```
#[derive(Debug)]
pub struct ResponseHead<'a> {
    out: &'a mut Vec<u8>,
}

/// Asks the client to go on with its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Ends a body of chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl<'a> ResponseHead<'a> {
    /// Begins with the status line. The version is always 1.1: it says what the server speaks, and
    /// not what the client does (RFC 9110, 6.2).
    pub fn new(out: &'a mut Vec<u8>, status: Status) -> Self {
        if status == Status::OK {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            out.extend_from_slice(b"HTTP/1.1 ");
            push_number(out, u64::from(status.code()));
            out.push(b' ');
            out.extend_from_slice(status.reason().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        ResponseHead { out }
    }

    /// A header.
    pub fn header(self, name: &str, value: &[u8]) -> Self {
        push_header(self.out, name, value);
        self
    }

    /// Headers that have been written before, each with its `\r\n`: with
    /// [`push_header`](Self::push_header), or by hand.
    pub fn lines(self, lines: &[u8]) -> Self {
        self.out.extend_from_slice(lines);
        self
    }

    /// The `Date`.
    pub fn date(self, date: &Date) -> Self {
        self.out.extend_from_slice(b"Date: ");
        self.out.extend_from_slice(date.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// How the client knows where the body ends. `None` says nothing: there is no body, or it ends
    /// with the connection.
    pub fn framing(self, framing: Framing) -> Self {
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                self.out.extend_from_slice(b"Content-Length: ");
                push_number(self.out, length);
                self.out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        self
    }

    /// Ends the head.
    pub fn finish(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Appends one header to a block that is used again and again.
    pub fn push_header(block: &mut Vec<u8>, name: &str, value: &[u8]) {
        push_header(block, name, value);
    }
}

/// The line in front of a chunk of `len` bytes; behind it stand the bytes and [`end_chunk`]. There is
/// no chunk of 0 bytes: that would end the body.
pub fn begin_chunk(out: &mut Vec<u8>, len: usize) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{len:x}\r\n");
}

/// What follows the bytes of a chunk.
pub fn end_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_checked(out, name.as_bytes(), is_token_byte, b'_');
    out.extend_from_slice(b": ");
    push_checked(out, value, is_value_byte, b' ');
    out.extend_from_slice(b"\r\n");
}

/// Appends `bytes`, with `instead` for each that may not stand there.
fn push_checked(out: &mut Vec<u8>, bytes: &[u8], is_good: impl Fn(u8) -> bool, instead: u8) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if !bytes.iter().all(|byte| is_good(*byte)) {
        out[start..].iter_mut().filter(|byte| !is_good(**byte)).for_each(|byte| *byte = instead);
    }
}

fn push_number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_written_line_by_line() {
        let mut out = Vec::new();
        ResponseHead::new(&mut out, Status::METHOD_NOT_ALLOWED)
            .date(&Date::at(0))
            .header("Allow", b"GET")
            .framing(Framing::Length(0))
            .finish();
        let expected = "HTTP/1.1 405 Method Not Allowed\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                        Allow: GET\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn header_cannot_end_the_head() {
        let mut out = Vec::new();
        let head = ResponseHead::new(&mut out, Status::OK);
        head.header("A:\r\nB", b"c\r\n\r\nd\0").finish();
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nA___B: c    d \r\n\r\n");
    }

    #[test]
    fn numbers_of_every_length_are_written() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, value);
            assert_eq!(str::from_utf8(&out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn chunk_is_its_size_and_its_bytes() {
        let mut out = Vec::new();
        begin_chunk(&mut out, 26);
        out.extend_from_slice(&[b'x'; 26]);
        end_chunk(&mut out);
        assert_eq!(out, format!("1a\r\n{}\r\n", "x".repeat(26)).as_bytes());
    }
}
