//! What may take the place of the kernel: connections that come from, and go to, somewhere else than its
//! sockets. Each is a [`Layer`](super::layer::Layer) above nothing.

use std::io;

use mio::event::Source;

use super::address::Address;
use super::layer::Layer;

/// In the place of a listening socket.
pub(crate) trait Backlog {
    /// Takes one waiting connection, with the address of its peer; `WouldBlock` when none waits.
    fn accept(&mut self) -> io::Result<(Box<dyn Layer>, Address)>;

    /// Where it listens.
    fn address(&self) -> Address;

    /// What is registered. Its events are told by whoever made it.
    fn source(&mut self) -> &mut dyn Source;
}

/// In the place of `connect`.
pub(crate) trait Dialler {
    /// Begins a connection; the layer says when it is established.
    fn dial(&mut self, to: &Address) -> io::Result<Box<dyn Layer>>;
}
