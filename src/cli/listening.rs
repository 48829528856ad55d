//! What `--listen` names: an address, with TLS on it or without; and what was bound of it.

use std::fmt;
use std::str::FromStr;

use edgeloop::Address;

use super::endpoint::Endpoint;

/// Where to listen, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) endpoint: Endpoint,
    pub(crate) has_tls: bool,
}

/// A listener that is there. It is shown as it would be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) address: Address,
    pub(crate) has_tls: bool,
}

impl Listening {
    /// A port of this machine alone.
    pub(crate) fn loopback(port: u16) -> Listening {
        Listening { endpoint: Endpoint::loopback(port), has_tls: false }
    }
}

impl FromStr for Listening {
    type Err = String;

    fn from_str(text: &str) -> Result<Listening, String> {
        let text = text.trim();
        let Some(place) = text.strip_prefix(TLS) else {
            return Ok(Listening { endpoint: text.parse()?, has_tls: false });
        };
        // As a URL has it.
        let is_url = place.starts_with("//");
        match if is_url { format!("tcp:{place}").parse()? } else { place.parse()? } {
            Endpoint::Unix(_) => {
                Err(format!("`{text}`: TLS is for TCP; write {place}, or tls: before an address"))
            }
            endpoint => Ok(Listening { endpoint, has_tls: true }),
        }
    }
}

impl FromStr for Bound {
    type Err = String;

    /// As a server writes it into its port file.
    fn from_str(text: &str) -> Result<Bound, String> {
        let place = text.strip_prefix(TLS);
        let address = place.unwrap_or(text).parse();
        let address = address.map_err(|error: std::io::Error| error.to_string())?;
        Ok(Bound { address, has_tls: place.is_some() })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.has_tls { TLS } else { "" };
        write!(f, "{scheme}{}", self.address)
    }
}

/// What stands before an address that has TLS.
const TLS: &str = "tls:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_puts_tls_on_an_address() {
        for (text, plain) in [
            ("tls:127.0.0.1:7443", "127.0.0.1:7443"),
            (" tls:7443", "7443"),
            ("tls:[::1]:7443", "[::1]:7443"),
            ("tls:*:7443", ":7443"),
            ("tls:localhost:0", "localhost:0"),
            ("tls://127.0.0.1:7443/", "tcp://127.0.0.1:7443/"),
        ] {
            let expected = Listening { has_tls: true, ..plain.parse().unwrap() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn tls_is_for_tcp_and_what_is_no_address_is_told() {
        for (text, remedy) in [
            ("tls:unix:/run/s", "TLS is for TCP"),
            ("tls:", "write host:port"),
            ("tls:localhost", "write localhost:7000"),
            ("tls:a b:7443", "neither a name nor an address"),
        ] {
            let error = text.parse::<Listening>().unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn what_was_bound_is_shown_as_it_would_be_asked_for() {
        for text in ["tls:127.0.0.1:7443", "127.0.0.1:7000", "unix:/run/s"] {
            let bound: Bound = text.parse().unwrap();
            assert_eq!(bound.to_string(), text);
        }
    }
}
