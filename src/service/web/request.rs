//! A request as a handler sees it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use super::percent::decode;
use crate::codec::http::Head;
use crate::reactor::Address;

/// A request: its head, the parameters of its route, its body.
#[derive(Debug)]
pub struct Request<'a> {
    /// Method, target, version and headers.
    pub head: Head<'a>,
    /// The whole body; empty while a request is admitted, and for a handler that is given it piece
    /// by piece.
    pub body: &'a [u8],
    /// The client's address; none on a Unix socket. Behind a proxy it is the proxy's, unless that one
    /// [introduces](crate::Preface) its clients.
    pub peer: Option<IpAddr>,
    /// The balancer by which the client came, where one has introduced the client.
    pub via: Option<Address>,
    /// Turn time.
    pub now: Instant,
    pub(super) path: &'a str,
    pub(super) params: matchit::Params<'a, 'a>,
}

impl<'a> Request<'a> {
    /// The method, in capitals as a rule.
    pub fn method(&self) -> &'a str {
        self.head.method
    }

    /// The path without the query, as routes see it: in the one spelling of all that mean the same
    /// (RFC 3986, 6.2.2), so that `/%61dmin` does not get past middleware that looks for `/admin`. As it
    /// was sent: `head.target.path`.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.head.header(name)?).ok()
    }

    /// What stands in the path for `:name` or `*name` of the route, with percent-encoding undone.
    pub fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params.get(name).map(|value| decode(value, false))
    }

    /// The value of the first `name=value` in the query, with percent-encoding undone and each `+`
    /// a space.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.head.target.query?.split('&');
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let found = pairs.into_iter().find(|(key, _)| decode(key, true) == name);
        found.map(|(_, value)| decode(value, true))
    }
}
