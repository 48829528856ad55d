//! Connections that no listener of ours accepted: begun here, or made elsewhere. Whether an outgoing one
//! is established, its stream says later.

use std::io;
use std::os::fd::OwnedFd;

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Socket, Type};

use super::address::{Address, Peer};
use super::peer_watch::{PeerWatch, watch_for_the_peer};
use super::stream::Stream;

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

/// A connection made elsewhere, established or not.
pub(crate) fn adopt(socket: OwnedFd) -> io::Result<Stream> {
    let socket = Socket::from(socket);
    match prepare(&socket)? {
        Domain::UNIX => Ok(Stream::Unix(UnixStream::from_std(socket.into()))),
        _ => {
            socket.set_tcp_nodelay(true)?;
            Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
        }
    }
}

/// As [`adopt`], for a connection that was accepted: who is there is known, and watched for.
pub(crate) fn adopt_accepted(socket: OwnedFd, watch: PeerWatch) -> io::Result<(Stream, Peer)> {
    let socket = Socket::from(socket);
    let peer = socket.peer_addr()?.as_socket();
    if peer.is_some() {
        watch_for_the_peer(&socket, watch)?;
    }
    Ok((adopt(socket.into())?, peer.into()))
}

/// Makes a socket from elsewhere non-blocking, and tells of which domain it is.
pub(crate) fn prepare(socket: &Socket) -> io::Result<Domain> {
    let domain = socket.local_addr()?.domain();
    let is_known = matches!(domain, Domain::IPV4 | Domain::IPV6 | Domain::UNIX);
    if !is_known || socket.r#type()? != Type::STREAM {
        let text = "it is neither a TCP socket nor a Unix socket for streams";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    socket.set_nonblocking(true)?;
    Ok(domain)
}
