//! What the reactor holds of a connection in memory: a layer whose socket is no socket.

use std::io::{self, IoSlice, Read, Write};

use mio::event::Source;
use mio::{Interest, Registry};

use super::kernel::Shared;
use crate::reactor::{Address, Layer, LayerSocket, Token};
use crate::sockets::stand_in::{Backlog, Dialler};

/// The server's end of one connection.
pub(super) struct ServerEnd {
    kernel: Shared,
    index: usize,
    /// The coming close is a reset.
    is_aborted: bool,
}

impl ServerEnd {
    fn boxed(kernel: &Shared, index: usize) -> Box<dyn Layer> {
        Box::new(ServerEnd { kernel: kernel.clone(), index, is_aborted: false })
    }
}

impl Read for ServerEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().read(self.index, into)
    }
}

impl Write for ServerEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().write(self.index, bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.write(&bytes)
    }

    /// This layer holds no bytes of its own.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layer for ServerEnd {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Other(self)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.kernel.borrow_mut().shut_down(self.index);
        Ok(())
    }

    fn is_established(&mut self) -> io::Result<bool> {
        self.kernel.borrow_mut().establishment(self.index)
    }

    fn discard_on_close(&mut self) {
        self.is_aborted = true;
    }
}

/// Registers with nothing; the kernel in memory learns how the reactor calls it.
impl Source for ServerEnd {
    fn register(&mut self, _: &Registry, token: mio::Token, _: Interest) -> io::Result<()> {
        self.kernel.borrow_mut().register(self.index, token.into());
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: mio::Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.kernel.borrow_mut().close(self.index, self.is_aborted);
    }
}

/// Where connections in memory come from: one of the places at which the server listens.
pub(super) struct Listening {
    kernel: Shared,
    listener: usize,
}

impl Listening {
    pub(super) fn at(kernel: &Shared, address: Address) -> Self {
        let listener = kernel.borrow_mut().add_listener(address);
        Listening { kernel: kernel.clone(), listener }
    }
}

impl Backlog for Listening {
    fn accept(&mut self) -> io::Result<(Box<dyn Layer>, Address)> {
        let index = self.kernel.borrow_mut().accept(self.listener)?;
        let address = self.kernel.borrow().wires[index].address;
        Ok((ServerEnd::boxed(&self.kernel, index), address.into()))
    }

    fn address(&self) -> Address {
        self.kernel.borrow().listener_address(self.listener)
    }

    fn source(&mut self) -> &mut dyn Source {
        self
    }
}

impl Source for Listening {
    fn register(&mut self, _: &Registry, token: mio::Token, _: Interest) -> io::Result<()> {
        self.kernel.borrow_mut().listen(self.listener, Token::from(token));
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: mio::Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        self.kernel.borrow_mut().stop_listening(self.listener);
        Ok(())
    }
}

/// Where connections go that the server begins.
pub(super) struct Network {
    kernel: Shared,
}

impl Network {
    pub(super) fn new(kernel: &Shared) -> Self {
        Network { kernel: kernel.clone() }
    }
}

impl Dialler for Network {
    fn dial(&mut self, to: &Address) -> io::Result<Box<dyn Layer>> {
        let index = self.kernel.borrow_mut().dial(to);
        Ok(ServerEnd::boxed(&self.kernel, index))
    }
}
