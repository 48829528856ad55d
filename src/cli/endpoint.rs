//! Where to listen or what to connect to, as people write it: a host and a port, a port alone, or
//! the path of a Unix socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use edgeloop::Address;

use super::failure::Failure;

/// What `--listen` names. A host name becomes addresses only at start, see
/// [`resolve`](Self::resolve).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `host:port`, as written; what stands before the last colon is a name or an address.
    Host(String),
    /// `:port` or `*:port`: every address of this machine, of both families.
    Everywhere(u16),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Endpoint {
    /// A port of this machine alone.
    pub(crate) fn loopback(port: u16) -> Endpoint {
        Endpoint::Host(format!("127.0.0.1:{port}"))
    }

    /// The name or address that people connect to, as it was written, with its port.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Endpoint::Host(text) => Some(text),
            Endpoint::Everywhere(_) | Endpoint::Unix(_) => None,
        }
    }

    /// Whether it stands for all addresses of this machine.
    pub(crate) fn is_everywhere(&self) -> bool {
        match self {
            Endpoint::Everywhere(_) => true,
            Endpoint::Host(text) => {
                text.parse().is_ok_and(|it: SocketAddr| it.ip().to_canonical().is_unspecified())
            }
            Endpoint::Unix(_) => false,
        }
    }

    /// Every address that it stands for, at least one: `localhost` is often both `127.0.0.1` and
    /// `::1`.
    pub(crate) fn resolve(&self) -> Result<Vec<Address>, Failure> {
        let text = match self {
            Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Endpoint::Everywhere(port) => {
                let hosts = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
                return Ok(hosts.map(|host| SocketAddr::new(host, *port).into()).into());
            }
            Endpoint::Host(text) => text,
        };
        Address::resolve(text).map_err(|error| match text.starts_with('[') {
            true => Failure::System(error.to_string()),
            false => Failure::System(format!("{error}; write an address, or check the name")),
        })
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        // After a comma people put a space.
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        let place = without_scheme(text)?;
        if is_number(place) {
            return port(place, text).map(Endpoint::loopback);
        }
        let (host, digits) = split(place).ok_or_else(|| lacks_port(place))?;
        let number = port(digits, text)?;
        match host {
            "" | "*" => Ok(Endpoint::Everywhere(number)),
            _ => check_host(host, number).map(|()| Endpoint::Host(place.into())),
        }
    }
}

fn unix(path: &str) -> Result<Endpoint, String> {
    match path {
        "" => Err("`unix:` lacks the path of the socket".into()),
        // As in a URL: two slashes before a path that begins with the third.
        _ if path.starts_with("///") => Ok(Endpoint::Unix(path[2..].into())),
        _ => Ok(Endpoint::Unix(path.into())),
    }
}

/// `tcp://` says no more than the address does; any other scheme is somebody else's business.
fn without_scheme(text: &str) -> Result<&str, String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(text) };
    let place = rest.strip_suffix('/').unwrap_or(rest);
    if scheme.eq_ignore_ascii_case("tcp") {
        return Ok(place);
    }
    let place = place.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit('@').next().unwrap_or_default();
    match place.parse::<Endpoint>() {
        Ok(_) => Err(format!("`{text}` is a URL and no address; write {place}")),
        Err(_) => {
            Err(format!("`{text}` is a URL and no address; write host:port, as 127.0.0.1:7000"))
        }
    }
}

/// Host and port. The colons of an IPv6 address without brackets part nothing.
fn split(place: &str) -> Option<(&str, &str)> {
    let ends_with_host = place.contains(']') && !place.contains("]:");
    let lacks_port = ends_with_host || with_brackets(place).is_some();
    place.rsplit_once(':').filter(|_| !lacks_port)
}

/// How an IPv6 address is to be written that lacks a bracket or two: what may be a port is one.
fn with_brackets(place: &str) -> Option<String> {
    let bare = place.trim_start_matches('[').trim_end_matches(']');
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let is_whole = place.starts_with('[') && place.contains(']');
    match bare.rsplit_once(':').map(|(host, port)| (host.trim_end_matches(']'), port)) {
        _ if is_whole && !place.ends_with(']') => None,
        Some((host, port)) if is_address(host) && port.len() > 1 && is_number(port) => {
            Some(format!("[{host}]:{port}"))
        }
        _ => is_address(bare).then(|| format!("[{bare}]:7000")),
    }
}

fn port(digits: &str, text: &str) -> Result<u16, String> {
    let port = digits.parse().ok().filter(|_| is_number(digits));
    port.ok_or_else(|| format!("`{digits}` in `{text}` is no port; ports are 0 to 65535"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_host(host: &str, port: u16) -> Result<(), String> {
    if let Some(bare) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // What follows a percent sign is an interface, of which the system knows.
        let address = bare.split('%').next().unwrap_or_default();
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`{bare}` is no IPv6 address; write it like [::1]:{port}")),
        };
    }
    match host.contains(|c: char| "/:@[]".contains(c) || c.is_whitespace()) {
        true => Err(format!("`{host}` is neither a name nor an address; write host:{port}")),
        false => Ok(()),
    }
}

fn lacks_port(place: &str) -> String {
    if let Some(whole) = with_brackets(place) {
        let lacks = match place.ends_with(']') {
            true => "has no port",
            false => "needs brackets around its IPv6 address",
        };
        return format!("`{place}` {lacks}; write {whole}");
    }
    if place.contains('/') {
        return format!("`{place}` is no address; for a Unix socket write unix:{place}");
    }
    let is_host = |c: char| c.is_alphanumeric() || ".-_".contains(c);
    match place.starts_with(char::is_alphanumeric) && place.chars().all(is_host) {
        true => format!("`{place}` is no address: it has no port; write {place}:7000"),
        false => format!("`{place}` is no address; write host:port, [::1]:port or unix:PATH"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(text: &str) -> Vec<String> {
        let addresses = text.parse::<Endpoint>().unwrap().resolve().unwrap();
        addresses.iter().map(Address::to_string).collect()
    }

    #[test]
    fn addresses_resolve_to_themselves() {
        for text in ["127.0.0.1:7000", "[::1]:0", "0.0.0.0:65535", "unix:/run/edgeloop.sock"] {
            assert_eq!(resolved(text), [text]);
        }
    }

    #[test]
    fn interface_that_is_not_here_is_named() {
        let error = "[fe80::1%nowhere0]:7000".parse::<Endpoint>().unwrap().resolve().unwrap_err();
        assert!(error.to_string().contains("the interface nowhere0"), "{error}");
    }

    #[test]
    fn short_forms_stand_for_addresses() {
        assert_eq!(resolved("7000"), ["127.0.0.1:7000"]);
        for text in [":7000", "*:7000", "tcp://*:7000"] {
            assert_eq!(resolved(text), ["0.0.0.0:7000", "[::]:7000"], "{text}");
        }
        for text in ["tcp://127.0.0.1:7000", "TCP://127.0.0.1:7000/", " 127.0.0.1:7000"] {
            assert_eq!(resolved(text), ["127.0.0.1:7000"], "{text}");
        }
        assert_eq!(resolved("unix:///run/s"), ["unix:/run/s"]);
    }

    #[test]
    fn refuses_what_is_no_address_and_says_what_to_write() {
        for (text, remedy) in [
            ("", "write host:port"),
            ("localhost", "write localhost:7000"),
            ("127.0.0.1", "write 127.0.0.1:7000"),
            ("a:", "ports are 0 to 65535"),
            ("a:b", "ports are 0 to 65535"),
            ("a:65536", "ports are 0 to 65535"),
            ("99999", "ports are 0 to 65535"),
            ("a:+1", "ports are 0 to 65535"),
            ("::1:7000:", "ports are 0 to 65535"),
            ("::1:7000", "write [::1]:7000"),
            ("2001:db8::5:80", "write [2001:db8::5]:80"),
            ("::ffff:1.2.3.4:7000", "write [::ffff:1.2.3.4]:7000"),
            ("::1", "write [::1]:7000"),
            ("[::1]", "write [::1]:7000"),
            ("[::1", "write [::1]:7000"),
            ("[::1:7000", "write [::1]:7000"),
            ("[::1]7000", "write host:port, [::1]:port"),
            ("::1]:7000", "write [::1]:7000"),
            ("[name]:7000", "`name` is no IPv6 address"),
            ("unix:", "path"),
            ("/run/s", "write unix:/run/s"),
            ("-1", "write host:port"),
            ("a b:7000", "neither a name nor an address"),
            ("http://h:80/x", "write h:80"),
            ("ws://u:p@h:80/x", "write h:80"),
            ("https://h/", "write host:port"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(remedy), "{error}");
            assert!(error.contains('`') && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*", near in "[]\\[:*/@%a1.]{0,12}") {
            let _ = text.parse::<Endpoint>();
            let _ = near.parse::<Endpoint>();
        }
    }
}
