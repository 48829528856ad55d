//! Connections that no listener of ours accepted: begun here, or made elsewhere. Whether an outgoing one
//! is established, its stream says later.

use std::io;
use std::os::fd::OwnedFd;

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Socket, Type};

use super::address::{Address, Peer};
use super::peer_watch::{PeerWatch, watch_for_the_peer};
use super::stream::Stream;

/// From where a connection comes that [`Context::adopt`](crate::Context::adopt) takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody called; elsewhere it was accepted.
    Accepted,
    /// It was begun elsewhere, and may not be established yet.
    Dialled {
        /// Whom it calls.
        to: Address,
        /// What its caller knows it by, as for [`Context::connect`](crate::Context::connect).
        data: u64,
    },
}

/// Begins to connect, without waiting.
pub(crate) fn dial(to: &Address) -> io::Result<Stream> {
    match to {
        Address::Tcp(to) => {
            let socket = TcpStream::connect(*to)?;
            socket.set_nodelay(true)?;
            Ok(Stream::Tcp(socket))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
    }
}

/// A connection made elsewhere, and who is at its other end. For one that was accepted that is known, and
/// watched; one that was dialled may not be established.
pub(crate) fn adopt(
    socket: OwnedFd,
    origin: Origin,
    watch: PeerWatch,
) -> io::Result<(Stream, Peer)> {
    take_over(socket.into(), origin, watch).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot take the socket over: {error}"))
    })
}

fn take_over(socket: Socket, origin: Origin, watch: PeerWatch) -> io::Result<(Stream, Peer)> {
    let domain = prepare(&socket)?;
    #[cfg(target_os = "linux")]
    if socket.is_listener()? {
        return Err(invalid("it listens, and is no connection"));
    }
    let peer = match origin {
        Origin::Dialled { to, data } => Peer::dialled(to, data),
        Origin::Accepted => socket.peer_addr()?.as_socket().into(),
    };
    if domain == Domain::UNIX {
        return Ok((Stream::Unix(UnixStream::from_std(socket.into())), peer));
    }
    socket.set_tcp_nodelay(true)?;
    if !matches!(peer, Peer::Dialled(_)) {
        watch_for_the_peer(&socket, watch)?;
    }
    Ok((Stream::Tcp(TcpStream::from_std(socket.into())), peer))
}

/// Makes a socket from elsewhere non-blocking, and tells of which domain it is.
pub(crate) fn prepare(socket: &Socket) -> io::Result<Domain> {
    let address = socket.local_addr().map_err(|error| match error.raw_os_error() {
        Some(ENOTSOCK) => invalid("it is no socket"),
        _ => error,
    })?;
    let domain = address.domain();
    let is_known = matches!(domain, Domain::IPV4 | Domain::IPV6 | Domain::UNIX);
    if !is_known || socket.r#type()? != Type::STREAM {
        return Err(invalid("it is neither a TCP socket nor a Unix socket for streams"));
    }
    socket.set_nonblocking(true)?;
    Ok(domain)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Linux's number.
const ENOTSOCK: i32 = 88;
