//! A request as a handler sees it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use crate::codec::http::Head;

/// A request: its head, the parameters of its route, its body.
#[derive(Debug)]
pub struct Request<'a> {
    /// Method, target, version and headers.
    pub head: Head<'a>,
    /// The whole body; empty while a request is admitted, and for a handler that is given it piece
    /// by piece.
    pub body: &'a [u8],
    /// The client's address; none on a Unix socket. Behind a proxy it is the proxy's.
    pub peer: Option<IpAddr>,
    /// Turn time.
    pub now: Instant,
    pub(super) params: matchit::Params<'a, 'a>,
}

impl<'a> Request<'a> {
    /// The method, in capitals as a rule.
    pub fn method(&self) -> &'a str {
        self.head.method
    }

    /// The path as it was sent, without the query.
    pub fn path(&self) -> &'a str {
        self.head.target.path
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

/// Undoes percent-encoding. The codec has seen that two digits follow each `%`; what is then not
/// UTF-8 is replaced.
fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => 16 * digit(rest.next()) + digit(rest.next()),
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn digit(byte: Option<u8>) -> u8 {
    byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("plain", true), "plain");
        assert_eq!(decode("a%20b+c", true), "a b c");
        assert_eq!(decode("a+b%2Bc", false), "a+b+c");
        assert_eq!(decode("%C3%a9%FF", false), "é\u{fffd}");
    }
}
