//! What is measured, as written: an address, or the URL of a page.

use std::str::FromStr;

use crate::cli::endpoint::Endpoint;

/// The target of a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Where to connect to; no wildcard.
    pub(super) endpoint: Endpoint,
    /// The path with its query, if the target is a URL, which makes it HTTP.
    pub(super) path: Option<String>,
    /// As the `Host` field of a request has it.
    pub(super) host: String,
    /// Where TLS is spoken: the name or address that the server's certificate must have.
    pub(super) tls_name: Option<String>,
    /// Whether the target says that Redis's protocol is spoken.
    pub(super) is_redis: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let text = text.trim();
        if let Some(place) = text.strip_prefix("tls:") {
            return server(place.strip_prefix("//").unwrap_or(place)).and_then(Target::with_tls);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        match scheme.to_ascii_lowercase().as_str() {
            "http" => page(text, rest, "http", 80),
            "https" => page(text, rest, "https", 443).and_then(Target::with_tls),
            "redis" => redis(text, rest),
            "rediss" => redis(text, rest).and_then(Target::with_tls),
            scheme @ ("ws" | "wss") => {
                let (place, page) = (authority(rest), scheme.replace("ws", "http"));
                let tls = if scheme == "wss" { "tls:" } else { "" };
                let remedy = format!("write {tls}{place} or {page}://{place}/");
                Err(format!("`{text}`: WebSocket is not spoken; {remedy}"))
            }
            _ => server(text),
        }
    }
}

impl Target {
    /// The same server, to which TLS is spoken.
    fn with_tls(self) -> Result<Target, String> {
        let Endpoint::Host(place) = &self.endpoint else {
            return Err("TLS is for TCP; write tls:host:port".into());
        };
        let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
        let host = without_interface(host);
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Target { tls_name: Some(name), ..self })
    }
}

/// An address.
fn server(text: &str) -> Result<Target, String> {
    let endpoint = from_here(text.parse()?);
    let host = match &endpoint {
        Endpoint::Host(host) => host.clone(),
        _ => "localhost".into(),
    };
    Ok(Target { endpoint, path: None, host, tls_name: None, is_redis: false })
}

/// What follows `redis://`: a host, and perhaps a port. Databases have numbers there, of which the first is
/// the one that is measured.
fn redis(text: &str, rest: &str) -> Result<Target, String> {
    let place = authority(rest);
    let scheme = text.split("://").next().unwrap_or_default();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[..end].contains('@') || !["", "/", "/0"].contains(&&rest[end..]) {
        let text = format!("`{text}` has more than a host and a port, which is not sent");
        return Err(format!("{text}; write {scheme}://{place}"));
    }
    let has_port = !place.ends_with(']') && place.contains(':');
    let place = if has_port { place.to_owned() } else { format!("{place}:6379") };
    Ok(Target { is_redis: true, ..server(&place)? })
}

/// What follows `http://` or `https://`: a host, perhaps a port, and a path.
fn page(text: &str, rest: &str, scheme: &str, port: u16) -> Result<Target, String> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if let Some((_, host)) = host.rsplit_once('@') {
        return Err(format!(
            "`{text}` has a name or password, which is not sent; write {scheme}://{host}{path}"
        ));
    }
    if host.is_empty() || host.strip_prefix(':').is_some_and(|port| !port.contains(':')) {
        return Err(format!("`{text}` lacks a host; write {scheme}://127.0.0.1{host}/"));
    }
    // RFC 6874: the interface of a link is written behind `%25`.
    let place = host.replace("%25", "%");
    let has_port = !host.ends_with(']') && host.contains(':');
    let place = if has_port { place } else { format!("{place}:{port}") };
    let endpoint = from_here(place.parse()?);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (path, host) = (Some(format!("{slash}{path}")), without_interface(host));
    Ok(Target { endpoint, path, host, tls_name: None, is_redis: false })
}

/// As the server is to read it, to whom the names of our interfaces mean nothing.
fn without_interface(host: &str) -> String {
    match (host.find('%'), host.find(']')) {
        (Some(start), Some(end)) if start < end => host[..start].to_owned() + &host[end..],
        _ => host.into(),
    }
}

/// Host and port of a URL, without a name and a password.
fn authority(rest: &str) -> &str {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest[..end].rsplit('@').next().unwrap_or_default()
}

/// A server that listens on all addresses is met on this machine's own.
fn from_here(endpoint: Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Everywhere(port) => Endpoint::loopback(port),
        endpoint => endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_or_pages() {
        for (text, place, path, host) in [
            ("redis://h", "h:6379", None, "h:6379"),
            ("redis://h:6380/0", "h:6380", None, "h:6380"),
            ("127.0.0.1:7000", "127.0.0.1:7000", None, "127.0.0.1:7000"),
            ("tcp://h:7000", "h:7000", None, "h:7000"),
            ("7000", "127.0.0.1:7000", None, "127.0.0.1:7000"),
            (":7000", "127.0.0.1:7000", None, "127.0.0.1:7000"),
            ("*:7000", "127.0.0.1:7000", None, "127.0.0.1:7000"),
            ("http://h", "h:80", Some("/"), "h"),
            ("HTTP://h:8080/a?b#c", "h:8080", Some("/a?b"), "h:8080"),
            ("http://[::1]?q", "[::1]:80", Some("/?q"), "[::1]"),
            ("http://[::1]:8080/", "[::1]:8080", Some("/"), "[::1]:8080"),
            ("http://[fe80::1%25eth0]:80/", "[fe80::1%eth0]:80", Some("/"), "[fe80::1]:80"),
        ] {
            let endpoint = Endpoint::Host(place.into());
            let (path, host) = (path.map(str::to_owned), host.into());
            let is_redis = text.starts_with("redis");
            let target = Target { endpoint, path, host, tls_name: None, is_redis };
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
    }

    #[test]
    fn target_with_tls_has_the_name_that_the_certificate_must_have() {
        for (text, plain, name) in [
            ("tls:127.0.0.1:7443", "127.0.0.1:7443", "127.0.0.1"),
            ("tls://localhost:7443", "localhost:7443", "localhost"),
            ("tls:7443", "7443", "127.0.0.1"),
            ("tls:[::1]:7443", "[::1]:7443", "::1"),
            ("tls:[fe80::1%eth0]:7443", "[fe80::1%eth0]:7443", "fe80::1"),
            ("https://h:7443/a?b", "http://h:7443/a?b", "h"),
            ("https://[::1]:7443/", "http://[::1]:7443/", "::1"),
            ("rediss://h:6380", "redis://h:6380", "h"),
        ] {
            let plain: Target = plain.parse().unwrap();
            let expected = Target { tls_name: Some(name.into()), ..plain };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let target: Target = "https://h/".parse().unwrap();
        assert_eq!(target.endpoint, Endpoint::Host("h:443".into()));
    }

    #[test]
    fn what_is_no_target_is_answered_with_what_to_write() {
        for (text, remedy) in [
            ("ws://u@h:7000/ws", "write h:7000 or http://h:7000/"),
            ("wss://h:7443/ws", "write tls:h:7443 or https://h:7443/"),
            ("redis://:secret@h:6379/0", "write redis://h:6379"),
            ("rediss://h:6379/1", "write rediss://h:6379"),
            ("tls:unix:/run/s", "TLS is for TCP"),
            ("https://u:p@h/x", "write https://h/x"),
            ("http://u:p@h/x", "write http://h/x"),
            ("http://:8080/", "write http://127.0.0.1:8080/"),
            ("http://h:99999/", "ports are 0 to 65535"),
            ("http://::1/", "write [::1]:7000"),
            ("ftp://h:21/", "write h:21"),
            ("localhost", "write localhost:7000"),
            ("/run/s", "write unix:/run/s"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
