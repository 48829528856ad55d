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
//! | `grammar` | which bytes may stand where |
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
mod grammar;
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
