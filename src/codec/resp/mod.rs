//! The Redis serialization protocol, versions 2 and 3: requests as a server reads them, replies as
//! it writes them.
//!
//! A request is an array of bulk strings, `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, or an *inline* command, which
//! is a line of words that a person can type: `GET k`. Nothing nests: an argument is bytes and never
//! an array, so no depth has to be limited. The specification is
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>; where it is silent, this does what
//! Redis 7.0 does, and its errors have the texts of Redis.
//!
//! [`Resp`] finds requests and checks them once. A [`Request`] is then its own index: the lengths
//! stand in front of the arguments, so walking over them costs a few nanoseconds each, and no list of
//! positions is kept for a connection. [`Replies`] collects the answers to a batch of requests.

mod error;
mod inline;
mod number;
mod replies;
mod request;

pub use error::RespError;
pub use number::{Decimal, parse_integer};
pub use replies::{Part, Replies, Version};
pub use request::{Arguments, Request, Resp};
