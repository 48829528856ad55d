//! The floor on bare mio: the echo loop of `floor-c`, as far as mio lets it be written.
//!
//! Connections are kept in a list by descriptor, because mio's sources have owners; that is all
//! the state there is. A connection whose echo the kernel does not take at once is closed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};

const BACKLOG: i32 = 4096;
const BATCH: usize = 1024;
const BUFFER: usize = 64 * 1024;
const LISTENER: Token = Token(usize::MAX);

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(port) = port else {
        return Err(io::Error::other("usage: floor-mio PORT"));
    };
    let mut listener = listen(port)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(BATCH);
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, poll.registry(), &mut connections);
            } else {
                serve(&mut connections[event.token().0], event, &mut buffer);
            }
        }
    }
}

/// Accepted sockets inherit `TCP_NODELAY`.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// ET: one event may stand for many clients, so accept until there are none.
fn accept_all(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Vec<Option<TcpStream>>,
) {
    while let Ok((mut stream, _)) = listener.accept() {
        let place = stream.as_raw_fd() as usize;
        if place >= connections.len() {
            connections.resize_with(place + 1, || None);
        }
        if registry.register(&mut stream, Token(place), Interest::READABLE).is_ok() {
            connections[place] = Some(stream);
        }
    }
}

#[inline]
fn serve(place: &mut Option<TcpStream>, event: &Event, buffer: &mut [u8]) {
    let Some(stream) = place else {
        return;
    };
    loop {
        match stream.read(buffer) {
            Ok(length) if length > 0 => {
                if !matches!(stream.write(&buffer[..length]), Ok(sent) if sent == length) {
                    break;
                }
                // ET: a short read proves the socket empty, unless an end is pending behind it.
                if length < buffer.len() && !event.is_read_closed() && !event.is_error() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => break,
        }
    }
    *place = None;
}
