//! A listener: its socket, and what is known about it.

use std::io;

use mio::Interest;
use mio::Registry;

use super::config::Config;
use crate::sockets::address::{Address, Peer};
use crate::sockets::listen_socket::{ListenOptions, ListenSocket};
use crate::sockets::stream::{Layer, Layered, Stream};
use crate::structures::overload_watch::Trickle;
use crate::structures::token::Token;

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
        let socket = ListenSocket::bind(address, options, config.peer_watch())?;
        let trickle = Trickle::new(config.overload_newcomers, config.overload_pause);
        Ok(Listener { socket, wrap, owed: false, trickle })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token.into(), Interest::READABLE)
    }

    /// The descriptor may be shared with another process, in which case closing it would not take
    /// it out of the poll.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(self.socket.source())
    }

    /// Takes one waiting connection.
    pub(super) fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match (self.socket.accept()?, &mut self.wrap) {
            // Whatever is wrong concerns this connection, not the listener.
            ((Stream::Tcp(socket), peer), Some(wrap)) => {
                let layer = wrap(socket).map_err(aborted)?;
                Ok((Stream::Layered(Layered::new(layer)), peer))
            }
            (accepted, _) => Ok(accepted),
        }
    }

    pub(super) fn address(&self) -> io::Result<Address> {
        self.socket.address()
    }
}

fn aborted(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
