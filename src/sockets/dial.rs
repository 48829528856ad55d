//! Outgoing connections: how one is begun. Whether it is established, its stream says later.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::address::Address;
use super::stream::Stream;

/// Begins to connect, without waiting; from an address of this machine, if one is given.
pub(crate) fn dial(to: &Address, source: Option<SocketAddr>) -> io::Result<Stream> {
    match (to, source) {
        (Address::Tcp(to), source) => {
            let socket = match source {
                Some(source) => connect_from(source, *to)?,
                None => TcpStream::connect(*to)?,
            };
            socket.set_nodelay(true)?;
            Ok(Stream::Tcp(socket))
        }
        (Address::Unix(path), None) => Ok(Stream::Unix(UnixStream::connect(path)?)),
        (Address::Unix(_), Some(_)) => {
            let text = "a Unix socket has no source address";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

fn connect_from(source: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    // Otherwise the ports of connections that ended within the last minute count as taken.
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        // Under way, which an event will tell.
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Linux has a number of its own for it.
const EINPROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };
