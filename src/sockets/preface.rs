//! What a balancer says of its client before the client's own bytes.

use std::borrow::Cow;
use std::fmt;

use super::address::Address;

/// What a balancer says of its client before the client's own bytes, such as the header of the PROXY
/// protocol; see [`ListenOptions::preface`](crate::ListenOptions::preface).
///
/// The reactor looks at the bytes that have arrived, and takes exactly those of the preface out of the
/// socket. What follows belongs to the layer, if there is one, and to the handler.
pub trait Preface: fmt::Debug + Send + Sync + 'static {
    /// Whether connections from this address begin with a preface. The address decides, never the
    /// bytes: from others a preface is data. A peer on a Unix socket has an empty path.
    fn is_expected(&self, from: &Address) -> bool;

    /// Reads the preface from the bytes that have arrived, all from the first one; `None` when more are
    /// needed. It is asked again, with more bytes, until it answers.
    ///
    /// # Errors
    /// The bytes are no preface, and never will be: the connection ends (`bad_proxy_header`).
    fn parse(&self, bytes: &[u8]) -> Result<Option<Introduced>, BadPreface>;

    /// The most bytes that a preface may have; no more are offered, and
    /// [`PREFACE_MAX`] at most.
    fn longest(&self) -> usize {
        PREFACE_MAX
    }
}

/// A preface that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// How many bytes the preface has.
    pub len: usize,
    /// Who the client is. `None` is whoever called: the balancer itself, which asks whether the server is
    /// there. No [`Gate`](crate::Gate) is asked for it.
    pub client: Option<Address>,
}

/// What is wrong with a preface, in one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPreface(Cow<'static, str>);

impl BadPreface {
    /// The text should not quote the peer, or only escaped.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        BadPreface(what.into())
    }
}

impl fmt::Display for BadPreface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadPreface {}

/// The most bytes of a preface: as in nginx, enough for what a balancer tells of a TLS client.
pub const PREFACE_MAX: usize = 4096;
