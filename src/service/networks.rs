//! Networks of addresses, as people write them in a list of who may do something.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::reactor::Address;

/// An address (`192.0.2.7`, `::1`), a network in CIDR notation (`10.0.0.0/8`, `2001:db8::/32`), or all
/// peers on Unix sockets, which have no address (`unix`).
///
/// An IPv4 address in the form of IPv6 (`::ffff:10.0.0.1`) is that IPv4 address, in a network and of a
/// peer. No other network of IPv6, such as `::/0`, has an IPv4 address in it.
///
/// ```
/// use edgeloop::service::Network;
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains(&"10.1.2.3:7000".parse()?));
/// assert!(network.contains(&"[::ffff:10.1.2.3]:7000".parse()?));
/// assert!(!network.contains(&"11.0.0.0:7000".parse()?));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The addresses whose first bits are these, and all the other bits zero; those of IPv4 in the form of
    /// IPv6.
    Ip {
        bits: u128,
        prefix: u8,
    },
    Unix,
}

impl Network {
    /// Whether it has the peers on Unix sockets, and no address.
    pub fn is_unix(&self) -> bool {
        self.0 == Kind::Unix
    }

    /// Whether an address is in it, with whatever port.
    pub fn contains(&self, address: &Address) -> bool {
        match (self.0, address) {
            (Kind::Ip { bits, prefix }, Address::Tcp(address)) => {
                let address = in_form_of_v6(address.ip());
                is_v4(address) == is_v4(bits) && beginning(address, prefix) == bits
            }
            (Kind::Unix, Address::Unix(_)) => true,
            (Kind::Ip { .. }, Address::Unix(_)) | (Kind::Unix, Address::Tcp(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Network> {
        // After a comma people put a space.
        let text = text.trim();
        let network = if text == "unix" { Ok(Kind::Unix) } else { ip(text) };
        network.map(Network).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

fn ip(text: &str) -> Result<Kind, String> {
    let (written, prefix) = text.split_once('/').unzip();
    let written = written.unwrap_or(text);
    let address: IpAddr = written.parse().map_err(|_| no_network(text))?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let number = |digits: &str| {
        digits.parse().ok().filter(|it: &u8| *it <= width && it.to_string() == digits)
    };
    let prefix = match prefix {
        None => width,
        Some(digits) => number(digits).ok_or_else(|| {
            format!("`{digits}` in `{text}` is no length of a network; write 0 to {width}")
        })?,
    };
    let (bits, all) = (in_form_of_v6(address), prefix + (128 - width));
    let first = beginning(bits, all);
    if first != bits {
        let first = Ipv6Addr::from_bits(first);
        let first = if address.is_ipv4() { first.to_canonical() } else { first.into() };
        return Err(format!(
            "`{text}` is an address within a network; write {first}/{prefix}, or {address}"
        ));
    }
    Ok(Kind::Ip { bits, prefix: all })
}

fn no_network(text: &str) -> String {
    let address = text.split('/').next().unwrap_or(text);
    let bare = address.trim_start_matches('[').split([']', '%']).next().unwrap_or(address);
    let instead = match (address.parse::<SocketAddr>(), bare.parse::<Ipv6Addr>()) {
        (Ok(address), _) => format!("has a port; write {}", address.ip()),
        (_, Ok(address)) => format!("has more than an address; write {address}"),
        _ if text.starts_with("unix:") => "is one socket; write unix, for all Unix sockets".into(),
        _ => "is no network; write an address as 10.0.0.1, a network as 10.0.0.0/8, or unix".into(),
    };
    format!("`{text}` {instead}")
}

fn in_form_of_v6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == 0xffff
}

/// The first bits, and zeros behind them.
fn beginning(bits: u128, prefix: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn network_has_the_addresses_that_begin_as_it_does() {
        for (text, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["9.255.255.255", "11.0.0.0", "::a00:1"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.5", "192.0.2.8"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
            (
                "2001:db8::/33",
                &["2001:db8::1", "2001:db8:7fff::"],
                &["2001:db8:8000::", "32.1.13.184"],
            ),
            ("::1", &["::1"], &["::", "127.0.0.1"]),
            ("::/0", &["::", "ffff::"], &["127.0.0.1", "::ffff:127.0.0.1"]),
            ("::/80", &["::1"], &["10.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:0:0/96", &["10.1.2.3"], &["::1"]),
            (" ::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            let is_in = |address: &&str| {
                network(text).contains(&SocketAddr::new(address.parse().unwrap(), 7).into())
            };
            assert!(inside.iter().all(is_in), "{text}");
            assert!(!outside.iter().any(is_in), "{text}");
            assert!(!network(text).contains(&Address::Unix("".into())));
        }
        let unix = network(" unix");
        assert!(unix.is_unix() && !network("::/0").is_unix());
        assert!(
            unix.contains(&Address::Unix("".into())) && unix.contains(&Address::Unix("/a".into()))
        );
        assert!(!unix.contains(&"127.0.0.1:7".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_named_with_what_to_write() {
        for (text, remedy) in [
            ("", "write an address as 10.0.0.1"),
            ("localhost", "write an address as 10.0.0.1"),
            ("10.0.0/8", "write an address as 10.0.0.1"),
            ("010.0.0.0/8", "write an address as 10.0.0.1"),
            ("all", "or unix"),
            ("unix:/run/s", "write unix,"),
            ("10.0.0.1:80", "write 10.0.0.1"),
            ("[::1]:80", "write ::1"),
            ("[::1]", "write ::1"),
            ("fe80::1%eth0", "write fe80::1"),
            ("10.0.0.0/33", "`33` in `10.0.0.0/33` is no length of a network; write 0 to 32"),
            ("10.0.0.0/", "write 0 to 32"),
            ("10.0.0.0/+8", "write 0 to 32"),
            ("10.0.0.0/08", "write 0 to 32"),
            ("10.0.0.0/255.0.0.0", "write 0 to 32"),
            ("::/129", "write 0 to 128"),
            ("10.1.2.3/8", "write 10.0.0.0/8, or 10.1.2.3"),
            ("2001:db8::1/32", "write 2001:db8::/32, or 2001:db8::1"),
            ("::ffff:10.0.0.1/104", "write ::ffff:10.0.0.0/104, or ::ffff:10.0.0.1"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains(remedy), "{error}");
        }
    }
}
