//! The limits of a web server.

use std::time::Duration;

use crate::codec::http::HeadLimits;

/// The limits of a web server.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// The limits of a request's head; beyond them 414 or 431.
    pub head: HeadLimits,
    /// The longest body of a request, in bytes. Default 1 MiB, as nginx's `client_max_body_size`;
    /// beyond it 413.
    pub body_max: u64,
    /// The most bytes of bodies that are being put together, with their heads, on all connections.
    /// Default 64 MiB: they are not part of the reactor's buffers. A request that would exceed it is
    /// answered with 503. Their storage grows by doubling, so at most twice that is leased. Bodies that are
    /// handled piece by piece do not count.
    pub body_memory: usize,
    /// How long a whole head may take from its first byte on, or from the beginning of the
    /// connection. Default 10 s. Then 408.
    pub head_timeout: Duration,
    /// How long a body may take, and a second more for each [`BODY_RATE_MIN`] bytes that have come.
    /// Default 20 s. Then 408.
    pub body_timeout: Duration,
    /// How long a connection is kept between requests. Default 75 s, as nginx's `keepalive_timeout`.
    pub keep_alive: Duration,
    /// The value of the `Server` header.
    pub server: &'static str,
}

impl Default for WebConfig {
    fn default() -> Self {
        WebConfig {
            head: HeadLimits::default(),
            body_max: 1 << 20,
            body_memory: 64 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            keep_alive: Duration::from_secs(75),
            server: "edgeloop",
        }
    }
}

/// A body must not come more slowly, in bytes a second, once [`WebConfig::body_timeout`] is over.
pub const BODY_RATE_MIN: u64 = 500;
