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
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        match scheme.to_ascii_lowercase().as_str() {
            "http" => page(text, rest),
            "https" => {
                Err("https is not spoken: name the server behind the one that ends TLS".into())
            }
            "ws" | "wss" => {
                let place = authority(rest);
                Err(format!("`{text}`: WebSocket is not spoken; write {place} or http://{place}/"))
            }
            "redis" => Err(format!("`{text}` is a URL; write {} --mode redis", authority(rest))),
            _ => {
                let endpoint = from_here(text.parse()?);
                let host = match &endpoint {
                    Endpoint::Host(host) => host.clone(),
                    _ => "localhost".into(),
                };
                Ok(Target { endpoint, path: None, host })
            }
        }
    }
}

/// What follows `http://`: a host, perhaps a port, and a path.
fn page(text: &str, rest: &str) -> Result<Target, String> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if let Some((_, host)) = host.rsplit_once('@') {
        return Err(format!(
            "`{text}` has a name or password, which is not sent; write http://{host}{path}"
        ));
    }
    if host.is_empty() || host.strip_prefix(':').is_some_and(|port| !port.contains(':')) {
        return Err(format!("`{text}` lacks a host; write http://127.0.0.1{host}/"));
    }
    // RFC 6874: the interface of a link is written behind `%25`.
    let place = host.replace("%25", "%");
    let has_port = !host.ends_with(']') && host.contains(':');
    let place = if has_port { place } else { format!("{place}:80") };
    let endpoint = from_here(place.parse()?);
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Target { endpoint, path: Some(format!("{slash}{path}")), host: without_interface(host) })
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
            assert_eq!(text.parse(), Ok(Target { endpoint, path, host }), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_answered_with_what_to_write() {
        for (text, remedy) in [
            ("https://h/", "https is not spoken"),
            ("HTTPS://h/", "https is not spoken"),
            ("ws://u@h:7000/ws", "write h:7000 or http://h:7000/"),
            ("redis://:secret@h:6379/0", "write h:6379 --mode redis"),
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
