//! Listening sockets: how they are bound, and what the ways in which `accept` fails mean.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::Peer;
use super::overload::Trickle;
use super::socket_file::SocketFile;
use super::stream::{self, Layered, Stream};
use super::{Config, Layer, Token};

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

/// How a listener is set up. What accepted sockets inherit is set once, here.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that wait in the kernel to be accepted. Default 4096; the kernel silently cuts
    /// it to `somaxconn`.
    pub backlog: u32,
    /// Lets several processes share the port (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
    /// The most unsent bytes the kernel takes for one connection (`TCP_NOTSENT_LOWAT`), and a
    /// segment of up to 64 KiB beyond. Default 16 KiB: a peer that does not read shows in our
    /// queues, where limits apply, and costs the kernel no megabytes. What is on its way to a peer
    /// that reads does not count, so that a long and fast path is still filled. `None` is as the
    /// system has it, usually megabytes. Linux only.
    pub notsent_lowat: Option<u32>,
    /// The rights of a Unix socket's file, as for `chmod`, such as `0o660`: whoever may write to it
    /// may connect. Default: what the umask of the process leaves; `0o660` where there is a
    /// [`socket_group`](Self::socket_group).
    pub socket_mode: Option<u32>,
    /// The number of the group that owns a Unix socket's file. Default: the group of the process. A
    /// process that is not root may name the groups that it is in.
    pub socket_group: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 4096,
            reuse_port: false,
            notsent_lowat: Some(16 << 10),
            socket_mode: None,
            socket_group: None,
        }
    }
}

/// What puts a layer on each accepted socket of a listener.
pub(super) type Wrap = Box<dyn FnMut(mio::net::TcpStream) -> io::Result<Box<dyn Layer>>>;

pub(super) struct Listener {
    socket: ListenSocket,
    wrap: Option<Wrap>,
    /// Connections may be waiting.
    // ET: five connects are one event; it stays owed until `accept` says `WouldBlock`.
    pub(super) owed: bool,
    /// Connections that were let in while the server was overloaded.
    pub(super) trickle: Trickle,
    /// A Unix socket's, removed with the listener.
    file: Option<SocketFile>,
}

enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a failed `accept` means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptFault {
    /// It concerns the one connection that would have been accepted; the next one may be fine.
    Connection,
    /// Descriptors or memory have run out: rest, and try again when a connection closes or a little
    /// time has passed.
    Exhausted,
    /// The listener itself is no longer usable.
    Listener,
}

impl Listener {
    /// Binds and listens. Errors name the address.
    pub(super) fn bind(
        address: &Address,
        options: &ListenOptions,
        config: &Config,
        wrap: Option<Wrap>,
    ) -> io::Result<Self> {
        if wrap.is_some() && matches!(address, Address::Unix(_)) {
            let text = format!("cannot listen on {address} with a layer: it needs TCP");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let bound = match address {
            Address::Tcp(address) => bind_tcp(*address, options, config),
            Address::Unix(path) => bind_unix(path, options),
        };
        let (socket, file) = bound.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        Ok(Listener { socket, wrap, owed: false, trickle: Trickle::default(), file })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token.into(), Interest::READABLE)
    }

    /// The descriptor may be shared with another process, in which case closing it would not take
    /// it out of the poll.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(self.source())
    }

    /// Takes one waiting connection. The peer's address is the one that `accept` told: the socket
    /// may be dead already.
    pub(super) fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListenSocket::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                let stream = match &mut self.wrap {
                    // Whatever is wrong concerns this connection, not the listener.
                    Some(wrap) => Stream::Layered(Layered::new(wrap(socket).map_err(aborted)?)),
                    None => Stream::Tcp(socket),
                };
                Ok((stream, Some(address).into()))
            }
            ListenSocket::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                Ok((Stream::Unix(socket), None.into()))
            }
        }
    }

    pub(super) fn address(&self) -> io::Result<Address> {
        match &self.socket {
            ListenSocket::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            ListenSocket::Unix(_) => {
                let path = self.file.as_ref().map(|file| file.path.clone());
                Ok(Address::Unix(path.unwrap_or_default()))
            }
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            ListenSocket::Tcp(listener) => listener,
            ListenSocket::Unix(listener) => listener,
        }
    }
}

fn aborted(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The socket is closed only after this.
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:?}, owed: {})", self.address(), self.owed)
    }
}

impl AcceptFault {
    /// accept(2), "Error handling": errors of the new connection's network come out of `accept`.
    /// The numbers are Linux's; an unknown error rests the listener, which neither spins nor
    /// loses it.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().unwrap_or(ECONNABORTED) {
            EPERM | EINTR | ECONNABORTED | ECONNRESET | ETIMEDOUT => AcceptFault::Connection,
            EPROTO | ENOPROTOOPT | EOPNOTSUPP | ENONET => AcceptFault::Connection,
            ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH => AcceptFault::Connection,
            EBADF | EINVAL | ENOTSOCK => AcceptFault::Listener,
            _ => AcceptFault::Exhausted,
        }
    }
}

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ENONET: i32 = 64;
const EPROTO: i32 = 71;
const ENOTSOCK: i32 = 88;
const ENOPROTOOPT: i32 = 92;
const EOPNOTSUPP: i32 = 95;
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;

fn bind_tcp(
    address: SocketAddr,
    options: &ListenOptions,
    config: &Config,
) -> io::Result<(ListenSocket, Option<SocketFile>)> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Lets us bind while connections of an earlier run linger, not while another listener is alive.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    if address.is_ipv6() {
        // Explicit, because the system's default differs and decides whether 0.0.0.0 can be bound
        // beside it.
        socket.set_only_v6(true)?;
    }
    // Inherited by every accepted socket, as all that follows. Without it a small reply may wait
    // 40 ms for a delayed acknowledgement.
    socket.set_tcp_nodelay(true)?;
    stream::watch_for_the_peer(&socket, config)?;
    #[cfg(target_os = "linux")]
    if let Some(bytes) = options.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog(options))?;
    Ok((ListenSocket::Tcp(TcpListener::from_std(socket.into())), None))
}

fn bind_unix(
    path: &Path,
    options: &ListenOptions,
) -> io::Result<(ListenSocket, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let file = SocketFile::listen(&socket, path, options, backlog(options))?;
    let listener = UnixListener::from_std(socket.into());
    Ok((ListenSocket::Unix(listener), Some(file)))
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

impl FromStr for Address {
    type Err = io::Error;

    /// `1.2.3.4:port`, `[::1]:port`, `[fe80::1%eth0]:port` or `unix:PATH`; names of hosts are not
    /// resolved.
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
    fn no_accept_error_is_mistaken_for_the_end_of_the_listener() {
        let fault = |number| AcceptFault::of(&io::Error::from_raw_os_error(number));
        for (name, number) in [("EMFILE", 24), ("ENFILE", 23), ("ENOBUFS", 105), ("ENOMEM", 12)] {
            assert_eq!(fault(number), AcceptFault::Exhausted, "{name}");
        }
        for number in [4, 103, 1, 100, 71, 92, 112, 64, 113, 95, 101, 104, 110] {
            assert_eq!(fault(number), AcceptFault::Connection, "errno {number}");
        }
        for (name, number) in [("EBADF", 9), ("EINVAL", 22), ("ENOTSOCK", 88)] {
            assert_eq!(fault(number), AcceptFault::Listener, "{name}");
        }
        assert_eq!(fault(4095), AcceptFault::Exhausted, "an error that does not exist yet");
    }
}
