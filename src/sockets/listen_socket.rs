//! Listening sockets: how they are bound, and what the ways in which `accept` fails mean.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, Socket, Type};

use super::address::Address;
use super::dial::prepare;
use super::listen_options::ListenOptions;
use super::manner::{Accepted, Awaited, Manner};
use super::peer_watch::{PeerWatch, watch_for_the_peer};
use super::socket_file::SocketFile;
use super::stand_in::Backlog;
use super::stream::Stream;
use crate::structures::token::Token;

pub(crate) enum ListenSocket {
    Tcp(TcpListener),
    /// With the file that goes when the socket does.
    Unix(UnixListener, SocketFile),
    /// What is no socket of the kernel.
    StandIn(Box<dyn Backlog>),
}

/// What a failed `accept` means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFault {
    /// It concerns the one connection that would have been accepted; the next one may be fine.
    Connection,
    /// Descriptors or memory have run out: rest, and try again when a connection closes or a little
    /// time has passed.
    Exhausted,
    /// The listener itself is no longer usable.
    Listener,
}

impl ListenSocket {
    /// Binds and listens. Errors name the address.
    pub(crate) fn bind(
        address: &Address,
        options: &ListenOptions,
        watch: PeerWatch,
        is_layered: bool,
    ) -> io::Result<Self> {
        let bound = match address {
            Address::Tcp(address) => bind_tcp(*address, options, watch),
            Address::Unix(_) if is_layered => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a layer needs TCP"))
            }
            Address::Unix(path) => bind_unix(path, options),
        };
        bound.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })
    }

    /// As [`bind`](Self::bind), with a socket that is bound, and may listen, already.
    pub(crate) fn adopt(
        socket: OwnedFd,
        options: &ListenOptions,
        watch: PeerWatch,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let domain = adopt(&socket, options, watch).map_err(|error| {
            let text = format!("cannot listen on the socket that was given: {error}");
            io::Error::new(error.kind(), text)
        })?;
        if domain != Domain::UNIX {
            return Ok(ListenSocket::Tcp(TcpListener::from_std(socket.into())));
        }
        let file = SocketFile::of_another(&socket.local_addr()?);
        Ok(ListenSocket::Unix(UnixListener::from_std(socket.into()), file))
    }

    /// Takes one waiting connection, for which a preface or a layer may come first. The peer's address
    /// is the one that `accept` told: the socket may be dead already.
    pub(crate) fn accept(&mut self, manner: &mut Manner) -> io::Result<Accepted> {
        match self {
            ListenSocket::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                manner.accept_tcp(socket, Some(address).into())
            }
            ListenSocket::Unix(listener, _) => {
                let (socket, _) = listener.accept()?;
                manner.accept_unix(Stream::Unix(socket))
            }
            ListenSocket::StandIn(backlog) => {
                let (layer, address) = backlog.accept()?;
                let (stream, peer) = (Stream::layered(layer), (&address).into());
                Ok(Accepted { stream, peer, awaited: Awaited::Nothing })
            }
        }
    }

    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            ListenSocket::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            ListenSocket::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
            ListenSocket::StandIn(backlog) => Ok(backlog.address()),
        }
    }

    /// For connections that wait, and never again.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token.into(), Interest::READABLE)
    }

    /// The descriptor may be shared with another process, in which case closing it would not take
    /// it out of the poll.
    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(self.source())
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            ListenSocket::Tcp(listener) => listener,
            ListenSocket::Unix(listener, _) => listener,
            ListenSocket::StandIn(backlog) => backlog.source(),
        }
    }
}

impl Drop for ListenSocket {
    fn drop(&mut self) {
        // The socket is closed only after this.
        if let ListenSocket::Unix(_, file) = self {
            file.remove();
        }
    }
}

impl fmt::Debug for ListenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListenSocket({:?})", self.address())
    }
}

impl AcceptFault {
    /// accept(2), "Error handling": errors of the new connection's network come out of `accept`.
    /// The numbers are Linux's; an unknown error rests the listener, which neither spins nor
    /// loses it.
    pub(crate) fn of(error: &io::Error) -> Self {
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
    watch: PeerWatch,
) -> io::Result<ListenSocket> {
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
    set_what_is_inherited(&socket, options, watch)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(options))?;
    Ok(ListenSocket::Tcp(TcpListener::from_std(socket.into())))
}

/// Sets what every accepted socket inherits.
fn set_what_is_inherited(
    socket: &Socket,
    options: &ListenOptions,
    watch: PeerWatch,
) -> io::Result<()> {
    // Without it a small reply may wait 40 ms for a delayed acknowledgement.
    socket.set_tcp_nodelay(true)?;
    watch_for_the_peer(socket, watch)?;
    #[cfg(target_os = "linux")]
    if let Some(bytes) = options.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}

fn adopt(socket: &Socket, options: &ListenOptions, watch: PeerWatch) -> io::Result<Domain> {
    let domain = prepare(socket)?;
    if domain != Domain::UNIX {
        set_what_is_inherited(socket, options, watch)?;
    }
    // One that listens already gets the backlog.
    socket.listen(backlog(options))?;
    Ok(domain)
}

fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<ListenSocket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let file = SocketFile::listen(&socket, path, options, backlog(options))?;
    Ok(ListenSocket::Unix(UnixListener::from_std(socket.into()), file))
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
