//! HTTP/1.1 (RFC 9112, with the semantics of RFC 9110) as seen by a server: heads and bodies of
//! requests come in, heads of responses go out.
//!
//! | file | what it is |
//! | --- | --- |
//! | `head` | the [`Head`] of a request, borrowed from the input |
//! | `head_decoder` | finds it, within limits: [`HeadDecoder`] |
//! | `target` | the four forms of a request's [`Target`], and what a host may be |
//! | `body_decoder` | the body behind a head, piece by piece: [`BodyDecoder`] |
//! | `http_error` | why a request is refused, and with which status |
//! | `status`, `response`, `date` | what goes out |
//!
//! Whatever two programs could read in different ways is refused, since that is how a request is
//! smuggled past the one in front: a bare line feed, a folded header, a space before a colon, two
//! lengths, a length beside a transfer encoding. What is refused ends the connection; where the next
//! request would begin is not known.
//!
//! ```
//! use edgeloop::codec::Codec;
//! use edgeloop::codec::http::{BodyDecoder, HeadDecoder, HeadLimits};
//! let mut stream = b"POST /notes?draft HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello".to_vec();
//! let mut heads = HeadDecoder::new(HeadLimits::default());
//! let decoded = heads.decode(&mut stream)?.expect("the head is whole");
//! let head = decoded.message;
//! assert_eq!((head.method, head.target.path, head.target.query), ("POST", "/notes", Some("draft")));
//! assert_eq!(head.header("host"), Some(&b"a.example"[..]));
//! let mut body = BodyDecoder::new(head.framing, 1024)?;
//! let len = decoded.len;
//! let piece = body.decode(&mut stream[len..])?.expect("all of it is there");
//! assert_eq!((piece.message, body.is_done()), (&b"hello"[..], true));
//! # Ok::<(), edgeloop::codec::http::HttpError>(())
//! ```

mod body_decoder;
mod date;
mod head;
mod head_decoder;
mod http_error;
mod response;
mod status;
mod target;

pub use body_decoder::BodyDecoder;
pub use date::Date;
pub use head::{Framing, Head, Headers, Version};
pub use head_decoder::{HEADERS_MAX, HeadDecoder, HeadLimits};
pub use http_error::HttpError;
pub use response::{CONTINUE, LAST_CHUNK, ResponseHead, begin_chunk, end_chunk};
pub use status::Status;
pub use target::{Form, Target};

/// Whether a byte may stand in a token (RFC 9110, 5.6.2): a method, a header's name.
fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// Whether a byte may stand in a header's value (RFC 9110, 5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

const TOKEN_BYTES: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// A table of the letters, the digits and some others: a look into it is quicker than comparisons.
const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Where the first `\n` at or after `from` ends.
fn line_end(input: &[u8], from: usize) -> Option<usize> {
    use std::io::BufRead;
    // The standard library's search, by way of a reader that cannot fail: a slice.
    let skipped = input.get(from..)?.skip_until(b'\n').unwrap_or(0);
    let end = from + skipped;
    (skipped > 0 && input[end - 1] == b'\n').then_some(end)
}
