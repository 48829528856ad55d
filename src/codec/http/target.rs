//! What a request is for: the four forms of a request target (RFC 9112, 3.2).

use super::grammar::alphanumeric_and;
use super::http_error::HttpError;

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// As it was sent.
    pub raw: &'a str,
    /// Which form it has.
    pub form: Form,
    /// The host, with a port if there is one: of an absolute or an authority form. It overrules
    /// the `Host` header.
    pub authority: Option<&'a str>,
    /// From the first `/` up to the query; percent-encoding is left as it is. `/` where an absolute
    /// form has none, `*` in asterisk form, empty in authority form.
    pub path: &'a str,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
}

/// The form of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`: what is sent to a server.
    Origin,
    /// `http://host/path?query`: what is sent to a proxy, and must be understood by a server.
    Absolute,
    /// `host:port`, of `CONNECT` only.
    Authority,
    /// `*`, of `OPTIONS` only: the server as a whole.
    Asterisk,
}

impl<'a> Target<'a> {
    pub(super) fn parse(method: &str, raw: &'a str) -> Result<Self, HttpError> {
        if !is_well_encoded(raw.as_bytes()) {
            return Err(HttpError::BadTarget);
        }
        let whole = Target { raw, form: Form::Origin, authority: None, path: raw, query: None };
        match raw.as_bytes() {
            _ if method == "CONNECT" => whole.authority_form(),
            b"*" if method == "OPTIONS" => Ok(Target { form: Form::Asterisk, ..whole }),
            [b'/', ..] => Ok(whole.split_query()),
            _ => whole.absolute_form(),
        }
    }

    fn authority_form(self) -> Result<Self, HttpError> {
        let (_, port) = self.raw.rsplit_once(':').ok_or(HttpError::BadTarget)?;
        if port.is_empty() || !is_host(self.raw.as_bytes()) || self.raw.starts_with(':') {
            return Err(HttpError::BadTarget);
        }
        Ok(Target { form: Form::Authority, authority: Some(self.raw), path: "", ..self })
    }

    fn absolute_form(self) -> Result<Self, HttpError> {
        let (scheme, rest) = self.raw.split_once("://").ok_or(HttpError::BadTarget)?;
        let is_known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !is_known || authority.is_empty() || !is_host(authority.as_bytes()) {
            return Err(HttpError::BadTarget);
        }
        let target = Target { form: Form::Absolute, authority: Some(authority), path, ..self };
        let target = target.split_query();
        Ok(Target { path: if target.path.is_empty() { "/" } else { target.path }, ..target })
    }

    fn split_query(self) -> Self {
        match self.path.split_once('?') {
            Some((path, query)) => Target { path, query: Some(query), ..self },
            None => self,
        }
    }
}

/// Whether all characters may stand in a target, and each `%` begins two hexadecimal digits. What
/// browsers leave as it is in a query (`{`, `|`, `^` …) is let through; a fragment, a quote, a
/// backslash, or what is not ASCII is not.
fn is_well_encoded(raw: &[u8]) -> bool {
    let mut rest = raw;
    // Most targets have no percent-encoding at all.
    while let Some(at) = rest.iter().position(|byte| !TARGET_BYTES[usize::from(*byte)]) {
        match &rest[at..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => return false,
        }
        rest = &rest[at + 3..];
    }
    !raw.is_empty()
}

/// What may stand in a target as it is.
const TARGET_BYTES: [bool; 256] = alphanumeric_and(b"!$&'()*+,-./:;=?@[]^_`{|}~");

/// What may stand in the name of a host.
const NAME_BYTES: [bool; 256] = alphanumeric_and(b"-._~%!$&'()*+;=");

/// Whether this is a host (a name or an address), with or without a port (RFC 3986, 3.2.2). Nothing
/// at all is one too: a request may have an empty `Host`.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if end == 0 || !rest[..end].iter().all(is_address) {
                return false;
            }
            (&b""[..], &rest[end + 1..])
        }
        host => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port && name.iter().all(|byte| NAME_BYTES[usize::from(*byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_taken_apart() {
        let target = |method, raw| {
            let target = Target::parse(method, raw).unwrap();
            (target.form, target.authority, target.path, target.query)
        };
        assert_eq!(target("GET", "/a/b?c=d?e"), (Form::Origin, None, "/a/b", Some("c=d?e")));
        assert_eq!(target("GET", "//a"), (Form::Origin, None, "//a", None));
        assert_eq!(
            target("GET", "HTTP://a.b:80/c?d"),
            (Form::Absolute, Some("a.b:80"), "/c", Some("d"))
        );
        assert_eq!(target("GET", "https://[::1]"), (Form::Absolute, Some("[::1]"), "/", None));
        assert_eq!(target("GET", "http://a?b"), (Form::Absolute, Some("a"), "/", Some("b")));
        assert_eq!(target("OPTIONS", "*"), (Form::Asterisk, None, "*", None));
        assert_eq!(target("CONNECT", "a:1"), (Form::Authority, Some("a:1"), "", None));
    }

    #[test]
    fn malformed_target_is_refused() {
        for (method, raw) in [
            ("GET", ""),
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "a:1"),
            ("GET", "?a"),
            ("GET", "ftp://a/"),
            ("GET", "http:///"),
            ("GET", "http://a@b/"),
            ("GET", "http://a b/"),
            ("GET", "/#a"),
            ("GET", "/\""),
            ("GET", "/a\\b"),
            ("GET", "/é"),
            ("GET", "/%"),
            ("GET", "/%4"),
            ("GET", "/%4g"),
            ("GET", "/\u{7f}"),
            ("OPTIONS", "**"),
            ("CONNECT", "/"),
            ("CONNECT", "a"),
            ("CONNECT", "a:"),
            ("CONNECT", ":1"),
            ("CONNECT", "http://a:1"),
        ] {
            assert_eq!(Target::parse(method, raw), Err(HttpError::BadTarget), "{method} {raw}");
        }
    }

    #[test]
    fn host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in
            ["", "a", "a.example", "a:80", "a:", "127.0.0.1:7000", "[::1]", "[::1]:80", "%C3"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a,b", "a/b", "a@b", "a:b", "a:1:2", "a:123456", "[::1", "[]", "[g]", "[::1]80",
            "é",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
