//! An HTTP/1.1 server: routes, handlers, and middleware around them.
//!
//! ```no_run
#![doc = include_str!("../../../docs/code/web.rs")]
//! ```
//!
//! | file | what it is |
//! | --- | --- |
//! | `router` | which handler a request is for: [`Router`] |
//! | `request`, `response` | what a handler is given and what it makes |
//! | `percent` | the one spelling of a path, and what stands behind it |
//! | `middleware` | what stands around every handler: [`Middleware`], [`Next`] |
//! | `access_log`, `body_limit`, `host_check`, `request_limit`, `token_check` | ready ones: [`AccessLog`], [`BodyLimit`], [`Hosts`](super::Hosts), [`RequestLimit`], [`TokenCheck`] |
//! | `body_stream` | bodies handled while they arrive: [`BodyStream`] |
//! | `exchange` | a request that does not fit one call: its body is on its way, or its answer |
//! | `web`, `config` | the handler that joins all this with the reactor: [`Web`]; its limits: [`WebConfig`] |
//!
//! # How a connection goes on
//!
//! Requests are answered in their order, however many arrive at once; the answers to those that
//! arrived together leave in one write. A request stays in the input until its answer is queued; a
//! client that does not read its answers is not served further, and costs its limits.
//!
//! A malformed request is answered with the status of its
//! [`HttpError`](crate::codec::http::HttpError), and the connection closed without a look at what
//! follows. A handler never sees one.
//!
//! # Deadlines
//!
//! A connection has one timer, and traffic does not touch it: it stores a stamp, and when the timer
//! fires the deadline is computed. The whole head has to come within
//! [`head_timeout`](WebConfig::head_timeout) of its first byte, so sending slowly does not stretch
//! it; a body within [`body_timeout`](WebConfig::body_timeout) and a second more for each
//! [`BODY_RATE_MIN`] bytes that have come. Both end with 408. Between requests
//! [`keep_alive`](WebConfig::keep_alive) counts.

mod access_log;
mod body_limit;
mod body_stream;
mod config;
mod exchange;
mod host_check;
mod middleware;
pub(super) mod percent;
mod request;
mod request_limit;
mod response;
mod router;
mod token_check;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod web;

pub use access_log::AccessLog;
pub use body_limit::BodyLimit;
pub use body_stream::{BodyStream, Reply};
pub use config::{BODY_RATE_MIN, WebConfig};
pub use middleware::{Admission, Middleware, Next};
pub use request::Request;
pub use request_limit::RequestLimit;
pub use response::Response;
pub use router::{RouteError, Router};
pub use token_check::TokenCheck;
pub use web::{Web, WebSession};
