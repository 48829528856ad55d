//! The names under which a server of HTTP is asked: `--host`, and what is right without it.

use std::net::{IpAddr, Ipv6Addr};

use edgeloop::service::Hosts;

use super::endpoint::Endpoint;

/// Reads a name or an address, without a port.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let name = text.trim();
    let place = name.split_once("://").map_or(name, |(_, rest)| rest);
    let place = place.split(['/', '?', '#']).next().unwrap_or_default();
    let address = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, rest) = match address {
        Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => (address, rest),
        _ if place.parse::<Ipv6Addr>().is_ok() => (place, ""),
        _ => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(is_part));
    match (is_host, rest.is_empty() && place == name) {
        (true, true) => Ok(host.into()),
        (true, false) => Err(format!("`{text}` is more than a name; write {host}, for any port")),
        (false, _) => Err(format!("`{text}` is no name of a host; write it like example.org")),
    }
}

/// What a server that listens there answers to. Without names, pages may reach a loopback address by
/// the names of this machine, by those that were listened on, and by those of their allowed origins.
pub(crate) fn hosts(names: Option<&[String]>, origins: &[String], endpoints: &[Endpoint]) -> Hosts {
    if let Some(names) = names {
        return Hosts::named(names);
    }
    let is_everywhere = endpoints.iter().any(Endpoint::is_everywhere);
    if is_everywhere || origins.iter().any(|origin| origin == "*") {
        return Hosts::any();
    }
    let of_origins = origins.iter().filter_map(|origin| Some(origin.split_once("://")?.1));
    Hosts::on_loopback(endpoints.iter().filter_map(Endpoint::host).chain(of_origins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_or_address_is_taken_without_a_port() {
        for (text, name) in [
            ("example.org", "example.org"),
            (" Example.ORG. ", "Example.ORG."),
            ("my_host-1", "my_host-1"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(name));
        }
        for (text, remedy) in [
            ("example.org:7000", "write example.org,"),
            ("https://example.org/x", "write example.org,"),
            ("[::1]:7000", "write ::1,"),
            ("example.org/", "write example.org,"),
            ("", "like example.org"),
            ("*", "like example.org"),
            ("*.example.org", "like example.org"),
            ("a b", "like example.org"),
            ("[::1", "like example.org"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("`{text}` ")) && error.contains(remedy), "{error}");
        }
    }
}
