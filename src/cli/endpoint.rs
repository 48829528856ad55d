//! Where to listen, as written: a host and a port, or the path of a Unix socket.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use edgeloop::Address;
use serde::Deserialize;

use super::failure::Failure;

/// What `--listen` names. A host name becomes addresses only at start, see
/// [`resolve`](Self::resolve).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Endpoint {
    /// `host:port`, as written; what stands before the last colon is a name or an address.
    Host(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Endpoint {
    /// Every address that it stands for, at least one: `localhost` is often both `127.0.0.1` and
    /// `::1`.
    pub(crate) fn resolve(&self) -> Result<Vec<Address>, Failure> {
        let text = match self {
            Endpoint::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Endpoint::Host(text) => text,
        };
        let fail = |why: String| Failure::System(format!("cannot resolve {text}: {why}"));
        let found = text.to_socket_addrs().map_err(|error| fail(error.to_string()))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        // A name may stand twice in the hosts file, but an address is listened on once.
        addresses.sort();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(fail("it has no address".into())),
            false => Ok(addresses.into_iter().map(Address::Tcp).collect()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("`unix:` lacks the path of the socket".into()),
                _ => Ok(Endpoint::Unix(path.into())),
            };
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
            return Err(format!(
                "`{text}` is no address; write host:port, [::1]:port or unix:PATH"
            ));
        };
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(format!(
                "`{text}` needs brackets around its IPv6 address, as in [::1]:7000"
            ));
        }
        match port.parse::<u16>() {
            Ok(_) => Ok(Endpoint::Host(text.into())),
            Err(_) => Err(format!("`{port}` in `{text}` is no port; ports are 0 to 65535")),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Endpoint, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
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
    fn refuses_what_is_no_address_and_says_so() {
        for text in ["", "7000", ":7000", "localhost", "a:", "a:b", "a:65536", "::1:7000", "unix:"]
        {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
