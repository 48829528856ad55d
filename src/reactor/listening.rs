//! How a reactor comes to listen, and by whose leave connections come in.

use std::io;
use std::os::fd::OwnedFd;

use super::gate::{Gate, GateBook};
use super::handler::Handler;
use super::loop_state::LoopState;
use super::reactor::Reactor;
use crate::sockets::address::Address;
use crate::sockets::layer::Layer;
use crate::sockets::listen_options::ListenOptions;
use crate::sockets::listen_socket::ListenSocket;
use crate::sockets::manner::{Manner, Wrap};

impl<H: Handler> Reactor<H> {
    /// Listens on an address; may be called several times. Returns the address bound, with the port
    /// the kernel chose.
    ///
    /// # Errors
    /// What the system says, with the address named.
    pub fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<Address> {
        let watch = self.state.config.peer_watch();
        let socket = ListenSocket::bind(address, options, watch, false)?;
        self.add_listener(socket, Manner::new(options.preface.clone(), None))
    }

    /// As [`listen`](Self::listen), with a layer between each accepted TCP socket and its
    /// connection.
    ///
    /// # Errors
    /// As for `listen`, and `InvalidInput` for a Unix socket: layers are for TCP. An error of
    /// `wrap` costs that one connection.
    pub fn listen_layered(
        &mut self,
        address: &Address,
        options: &ListenOptions,
        wrap: impl FnMut(mio::net::TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
    ) -> io::Result<Address> {
        let watch = self.state.config.peer_watch();
        let socket = ListenSocket::bind(address, options, watch, true)?;
        let wrap: Wrap = Box::new(wrap);
        self.add_listener(socket, Manner::new(options.preface.clone(), Some(wrap)))
    }

    /// As [`listen`](Self::listen), on a socket that was made elsewhere: a `TcpListener` or
    /// `UnixListener` of the standard library, a `socket2::Socket`, or a descriptor that another process
    /// has handed over. It is bound; it may listen already, and connections may wait there.
    ///
    /// It is made non-blocking, and of `options` it gets `backlog` and `notsent_lowat`. A Unix socket's
    /// file stays when the reactor ends.
    ///
    /// ```
    /// # use edgeloop::{Config, ListenOptions, Reactor, service::Echo};
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
    /// let address = reactor.listen_on(listener, &ListenOptions::default())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` when it is no TCP or Unix socket for streams, or is connected; otherwise what the
    /// system says.
    pub fn listen_on(
        &mut self,
        socket: impl Into<OwnedFd>,
        options: &ListenOptions,
    ) -> io::Result<Address> {
        let watch = self.state.config.peer_watch();
        let socket = ListenSocket::adopt(socket.into(), options, watch)?;
        self.add_listener(socket, Manner::new(options.preface.clone(), None))
    }

    /// Sets the gate, which decides about each connection that a listener accepts from now on. Without a
    /// gate every connection may stay. Set it before the reactor listens.
    pub fn set_gate(&mut self, gate: impl Gate + 'static) {
        self.state.gate = Some(GateBook::new(Box::new(gate)));
    }

    pub(super) fn add_listener(
        &mut self,
        socket: ListenSocket,
        manner: Manner,
    ) -> io::Result<Address> {
        let LoopState { poll, config, .. } = &self.state;
        let address = self.listeners.add(socket, poll.registry(), config)?;
        self.state.greetings.manners.push(manner);
        self.state.addresses.push(address.clone());
        Ok(address)
    }
}
