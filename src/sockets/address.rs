//! Addresses: where a server listens, and who is at the other end.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens, or a client connects to.
///
/// ```
/// use edgeloop::Address;
/// let tcp: Address = "[::1]:7000".parse()?;
/// let unix: Address = "unix:/run/echo.sock".parse()?;
/// assert_eq!((tcp.to_string(), unix.to_string()), ("[::1]:7000".into(), "unix:/run/echo.sock".into()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 lets the kernel choose when listening. An IPv6 address of
    /// one link only names its interface, by name or number, as in `[fe80::1%eth0]:7000`; it is
    /// printed with the number.
    Tcp(SocketAddr),
    /// A path in the file system; on Linux one that begins with a zero byte is an abstract socket.
    /// Empty for a peer that has none.
    Unix(PathBuf),
}

/// Who is at the other end, in 16 bytes.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
    /// Whom we called: boxed, so that the rare case does not make every connection larger.
    Dialled(Box<Dialled>),
    /// Whom a balancer has introduced.
    Introduced(Box<ByOther>),
}

/// A client, and the balancer by which it came.
#[derive(Clone, Debug)]
pub(crate) struct ByOther {
    pub(crate) client: Address,
    pub(crate) via: Address,
}

/// Where an outgoing connection leads, and what its caller knows it by.
#[derive(Clone, Debug)]
pub(crate) struct Dialled {
    pub(crate) address: Address,
    pub(crate) data: u64,
}

impl Address {
    /// Every address that a name stands for, at least one, each once: `localhost:7000` is often both
    /// `127.0.0.1:7000` and `[::1]:7000`, and a server listens on both. What [parses](str::parse) stands
    /// for itself.
    ///
    /// This asks the system's name service, and blocks until that has answered, for many seconds if the
    /// network is gone. So it is for the time before the loop runs, and never for a callback.
    ///
    /// ```
    /// # use edgeloop::{Address, Config, ListenOptions, Reactor, service::Echo};
    /// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
    /// for address in Address::resolve("localhost:0")? {
    ///     # if address.to_string().starts_with('[') { continue }
    ///     reactor.listen(&address, &ListenOptions::default())?;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the name service says, with the name.
    pub fn resolve(text: &str) -> io::Result<Vec<Address>> {
        match text.parse() {
            Ok(address) => return Ok(vec![address]),
            // An address of which something is wrong, such as its interface, is no name.
            Err(error) if text.starts_with('[') || text.starts_with("unix:") => return Err(error),
            Err(_) => {}
        }
        let fail = |kind, why: &dyn fmt::Display| {
            io::Error::new(kind, format!("cannot resolve {text}: {why}"))
        };
        let found = text.to_socket_addrs().map_err(|error| fail(error.kind(), &error))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        // A name may stand twice in the hosts file.
        addresses.sort();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(fail(io::ErrorKind::NotFound, &"it has no address")),
            false => Ok(addresses.into_iter().map(Address::Tcp).collect()),
        }
    }
}

impl FromStr for Address {
    type Err = io::Error;

    /// `1.2.3.4:port`, `[::1]:port`, `[fe80::1%eth0]:port` or `unix:PATH`; a name is for
    /// [`resolve`](Address::resolve), which may have to wait for an answer.
    fn from_str(text: &str) -> io::Result<Self> {
        let invalid =
            |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} {why}"));
        match text.strip_prefix("unix:") {
            Some("") => return Err(invalid("names no path")),
            Some(path) => return Ok(Address::Unix(path.into())),
            None => {}
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Tcp(address));
        }
        let (ip, zone, port) =
            scoped(text).ok_or_else(|| invalid("is neither IP:PORT nor unix:PATH"))?;
        // The system knows the numbers of its interfaces. An address needs no name service.
        let found = (format!("{ip}%{zone}").as_str(), port).to_socket_addrs();
        let address = found.ok().and_then(|mut found| found.next());
        let unknown = || invalid(&format!("names the interface {zone}, which is not here"));
        address.map(Address::Tcp).ok_or_else(unknown)
    }
}

/// The parts of `[IP%ZONE]:PORT`.
fn scoped(text: &str) -> Option<(Ipv6Addr, &str, u16)> {
    let (host, port) = text.strip_prefix('[')?.split_once("]:")?;
    let (ip, zone) = host.split_once('%')?;
    Some((ip.parse().ok()?, zone, port.parse().ok()?))
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            // As the tools of Linux show an abstract socket.
            Address::Unix(path) => {
                write!(f, "unix:{}", path.display().to_string().replace('\0', "@"))
            }
        }
    }
}

impl Peer {
    pub(crate) fn dialled(address: Address, data: u64) -> Self {
        Peer::Dialled(Box::new(Dialled { address, data }))
    }

    /// This is a balancer, which has said of whom the connection is.
    pub(crate) fn introduces(&self, client: Address) -> Self {
        // An IPv4 client is shown as what it is.
        let client = Address::from(&Peer::from(&client));
        Peer::Introduced(Box::new(ByOther { client, via: self.into() }))
    }

    /// The balancer by which the client came.
    pub(crate) fn via(&self) -> Option<&Address> {
        if let Peer::Introduced(introduced) = self { Some(&introduced.via) } else { None }
    }
}

impl From<Option<SocketAddr>> for Peer {
    fn from(address: Option<SocketAddr>) -> Self {
        match address {
            Some(SocketAddr::V4(address)) => Peer::V4(address),
            Some(SocketAddr::V6(address)) => Peer::V6(Box::new(address)),
            None => Peer::Unix,
        }
    }
}

impl From<&Address> for Peer {
    fn from(address: &Address) -> Self {
        match address {
            Address::Tcp(address) => Some(*address).into(),
            Address::Unix(_) => Peer::Unix,
        }
    }
}

impl From<&Peer> for Address {
    /// An IPv4 peer of a dual-stack listener is shown as what it is.
    fn from(peer: &Peer) -> Self {
        match peer {
            Peer::V4(address) => Address::Tcp((*address).into()),
            Peer::V6(address) => Address::Tcp(match address.ip().to_ipv4_mapped() {
                Some(ip) => SocketAddr::new(ip.into(), address.port()),
                // With its interface, without which an address of one link names nobody.
                None => SocketAddr::V6(**address),
            }),
            Peer::Unix => Address::Unix(PathBuf::new()),
            Peer::Dialled(dialled) => dialled.address.clone(),
            Peer::Introduced(introduced) => introduced.client.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_of_an_ipv6_address_is_named_or_numbered() {
        let address = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(address("[fe80::1%2]:7000").unwrap(), "[fe80::1%2]:7000");
        #[cfg(target_os = "linux")]
        assert_eq!(address("[fe80::1%lo]:7000").unwrap(), "[fe80::1%1]:7000");
        let error = address("[fe80::1%nowhere0]:7000").unwrap_err().to_string();
        assert!(error.contains("the interface nowhere0, which is not here"), "{error}");
        for text in ["[fe80::1%]:7000", "fe80::1%lo:7000", "[127.0.0.1%lo]:7000", "[::1%lo]:x"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn name_stands_for_all_its_addresses_and_an_address_for_itself() {
        let resolve = |text: &str| {
            let addresses = Address::resolve(text).map_err(|error| error.to_string())?;
            Ok::<_, String>(addresses.iter().map(Address::to_string).collect::<Vec<_>>())
        };
        assert!(resolve("localhost:7").unwrap().contains(&"127.0.0.1:7".into()));
        assert_eq!(resolve("[::1]:7").unwrap(), ["[::1]:7"]);
        assert_eq!(resolve("unix:/a").unwrap(), ["unix:/a"]);
        assert!(resolve("[::1%nowhere0]:7").unwrap_err().contains("nowhere0"));
        let error = resolve("localhost").unwrap_err();
        assert!(error.contains("cannot resolve localhost: "), "{error}");
    }

    #[test]
    fn peer_is_shown_as_what_it_is_and_where() {
        for (peer, shown) in [
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("[::ffff:127.0.0.1]:7", "127.0.0.1:7"),
            ("[::1]:7", "[::1]:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
        ] {
            let peer = Peer::from(Some(peer.parse().expect("an address")));
            assert_eq!(Address::from(&peer).to_string(), shown);
        }
    }
}
