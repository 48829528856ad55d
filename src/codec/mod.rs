//! Codec: where a message ends in a stream of bytes, and what it says. Pure functions over bytes,
//! without I/O and without a clock.
//!
//! A codec is given everything received and not yet consumed, and finds the first message in it,
//! borrowed from those bytes. It remembers how far it has looked, so that a message which arrives
//! byte by byte costs linear time; it never believes a length field before the bytes are there, and
//! refuses a length over its limit at once.
//!
//! | file | messages |
//! | --- | --- |
//! | [`fixed`](Fixed) | of one length |
//! | [`delimited`](Delimited) | ended by a delimiter: `\n`, `\r\n`, any |
//! | [`length_prefixed`](LengthPrefixed) | behind their length: 1, 2, 4, 8 bytes, either byte order, with or without itself |
//! | [`magic`](Magic) | behind a magic number and their length |
//! | `http` | HTTP/1.1: heads and bodies of requests (feature `http`) |
//! | [`resp`] | requests and replies of the Redis protocol |
//! | `websocket` | frames of a WebSocket client, with the feature `websocket` |
//!
//! [`ProxyHeader`] is what a balancer says of its client, once, before the client's bytes.
//!
//! [`Framed`](crate::service::Framed) makes a server of any of them.

mod client_hello;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod codec;
mod delimited;
mod fixed;
mod frame_error;
#[cfg(feature = "http")]
pub mod http;
mod length_prefixed;
mod magic;
mod proxy;
mod request_line;
pub mod resp;
#[cfg(feature = "websocket")]
pub mod websocket;

pub(crate) use client_hello::{NO_TLS, begins_tls};
pub use codec::{Codec, Decoded};
pub use delimited::Delimited;
pub use fixed::Fixed;
pub use frame_error::FrameError;
pub use length_prefixed::{Endian, Header, LengthPrefixed, Width};
pub use magic::Magic;
pub use proxy::{ProxyError, ProxyHeader};
pub(crate) use request_line::{NO_HTTP, is_request_line};
