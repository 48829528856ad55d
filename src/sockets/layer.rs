//! What stands between a connection and its socket, where something does. Its code is the program's: a
//! panic in it ends its connection, and nothing else.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use socket2::SockRef;

use super::introduction::Introduction;
use crate::structures::caught::{Caught, catch};
use crate::structures::tally::{Share, Tally};
use crate::structures::token::Token;

/// What may stand between a connection and its socket: TLS, compression, a test that tears reads
/// and writes.
///
/// Reads and writes are non-blocking and say `WouldBlock` when the socket below does. A layer may
/// hold bytes of its own in both directions: the reactor reads it until `WouldBlock`, and calls
/// `flush` once its own output is written, until that no longer says `WouldBlock`.
///
/// An error of the layer itself, and not of its socket, is a
/// [`LayerError`](crate::LayerError): the layer has queued what it has to say about that, and takes
/// no more bytes. The reactor hands over what was read before, lets the layer `flush`, ends the stream
/// by [`shutdown_write`](Self::shutdown_write), and drops what the peer still sends.
pub trait Layer: Read + Write {
    /// The socket below: it is registered with the poll, closed by a reset when the connection is
    /// aborted, and read when the layer has failed.
    fn socket(&mut self) -> LayerSocket<'_>;

    /// Goes on with the greeting of the layer, a TLS handshake. True once it is done: then `on_open` is
    /// called, and bytes are read and written. False when it waits for the peer, that is after the socket
    /// has said `WouldBlock`. It is asked once at the beginning, and again whenever bytes arrive, or when
    /// output goes on that was refused. What it has to send it may send itself, or leave for `flush`,
    /// which follows.
    ///
    /// # Errors
    /// Why the greeting failed: a [`LayerError`](crate::LayerError), or an error of the socket. There is
    /// no `on_open` then, and no `on_close`.
    fn greet(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Bytes of memory held for the peer now, input and output: they count for
    /// [`Config::buffer_memory`](crate::Config::buffer_memory).
    fn held(&self) -> usize {
        0
    }

    /// What the greeting has found out about the peer.
    fn introduction(&self) -> Introduction {
        Introduction::default()
    }

    /// Tells the peer that nothing more will be sent. It says `WouldBlock` while its last words do not fit
    /// into the socket, and is called again, once there is room, until it succeeds.
    ///
    /// # Errors
    /// As the socket says; the connection is then closed without waiting for the peer's end.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Whether an outgoing connection is established; asked after each event until it is. A layer on a
    /// socket that was accepted, or is connected already, need not say so.
    ///
    /// # Errors
    /// Why the connection cannot be established.
    fn is_established(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// The connection was aborted, or will be in a moment and is only read until then. The reactor makes the
    /// coming close of a TCP socket a reset; what else there may be below closes as it is, unless the layer
    /// knows better.
    fn discard_on_close(&mut self) {}
}

/// What lies below a [`Layer`]. A layer above another layer gives what that gives.
pub enum LayerSocket<'a> {
    /// A TCP socket.
    Tcp(&'a mut TcpStream),
    /// Whatever else can be registered with the poll.
    Other(&'a mut dyn Source),
}

impl fmt::Debug for LayerSocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayerSocket::Tcp(_) => "tcp",
            LayerSocket::Other(_) => "other",
        })
    }
}

/// A layer of which a panic becomes an error.
pub(crate) struct Layered {
    /// Until it is dropped.
    layer: Option<Box<dyn Layer>>,
    /// The layer may hold output of its own: after every read or write, until a flush says otherwise.
    pub(super) owes_output: bool,
    /// The layer has failed, and not its socket.
    pub(super) has_failed: bool,
    /// The layer reads no more: what the peer still sends is read from the socket below, and dropped.
    pub(super) is_passed: bool,
    /// What it has panicked with. It is not called again.
    panic: Option<LayerPanicked>,
    /// What it holds, as a part of what all layers hold.
    held: Option<Share>,
}

/// The error of a layer that panicked, or of what was to make one. It is not called again.
#[derive(Clone, Debug)]
pub(crate) struct LayerPanicked(String);

impl Layered {
    pub(super) fn new(layer: Box<dyn Layer>) -> Self {
        let mut layered = Layered::gone();
        layered.layer = Some(layer);
        layered
    }

    /// In the place of a stream whose socket is on its way to a layer.
    pub(super) fn gone() -> Self {
        Layered {
            layer: None,
            owes_output: true,
            has_failed: false,
            is_passed: false,
            panic: None,
            held: None,
        }
    }

    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.call(|layer| match layer.socket() {
            LayerSocket::Tcp(socket) => registry.register(socket, token.into(), interest),
            LayerSocket::Other(source) => registry.register(source, token.into(), interest),
        })
    }

    /// Counts what the layer holds, from now on.
    pub(super) fn count_into(&mut self, all: &Tally) {
        self.held = Some(all.share());
        // Its answer is what is counted.
        let _ = self.call(|_| Ok(()));
    }

    pub(super) fn held(&self) -> usize {
        self.held.as_ref().map_or(0, Share::get)
    }

    /// Reads from the layer, or past it.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.is_passed {
            false => self.touch(|layer| layer.read(into)),
            true => self.call(|layer| match layer.socket() {
                LayerSocket::Tcp(socket) => socket.read(into),
                LayerSocket::Other(_) => layer.read(into),
            }),
        }
    }

    /// The last words of the layer, and then the end of the stream. A layer that has failed may have ended
    /// with its alert.
    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        let said = self.touch(|layer| layer.shutdown_write());
        match said {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) if self.is_passed => self.call(|layer| match layer.socket() {
                LayerSocket::Tcp(socket) => socket.shutdown(Shutdown::Write),
                LayerSocket::Other(_) => Ok(()),
            }),
            said => said,
        }
    }

    /// As [`call`](Self::call), for what may leave output in the layer.
    pub(super) fn touch<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Layer) -> io::Result<T>,
    ) -> io::Result<T> {
        self.owes_output = true;
        self.call(call)
    }

    /// Makes the coming close a reset: the kernel then frees at once what the peer did not take.
    pub(super) fn discard_on_close(&mut self) {
        // The connection ends in any case.
        let _ = self.call(|layer| {
            layer.discard_on_close();
            Ok(())
        });
        // A layer that has panicked still has its socket.
        let Some(layer) = self.layer.as_deref_mut() else { return };
        let reset = catch(|| {
            if let LayerSocket::Tcp(socket) = layer.socket() {
                // It can only fail on a socket that is already gone, where there is nothing to discard.
                let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            }
        });
        if let Err(panic) = reset {
            self.panic.get_or_insert(panic.into());
        }
    }

    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Layer) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(layer) = self.layer.as_deref_mut().filter(|_| self.panic.is_none()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let held = &mut self.held;
        let called = catch(|| {
            let outcome = call(layer);
            held.iter_mut().for_each(|held| held.set(layer.held()));
            outcome
        });
        called.unwrap_or_else(|panic| {
            let panic = self.panic.insert(panic.into());
            Err(io::Error::other(panic.clone()))
        })
    }

    /// Drops the layer, whose destructor is code of the program as well. Returns with what it has
    /// panicked, now or before.
    pub(super) fn end(&mut self) -> Option<LayerPanicked> {
        let layer = self.layer.take();
        let dropped = catch(|| drop(layer));
        self.panic.take().or(dropped.err().map(LayerPanicked::from))
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl LayerPanicked {
    pub(crate) fn error(panic: Caught) -> io::Error {
        io::Error::other(LayerPanicked::from(panic))
    }

    /// Whether that is what an error of a stream is.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|error| error.is::<LayerPanicked>())
    }
}

impl fmt::Display for LayerPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the layer: {}", self.0)
    }
}

impl std::error::Error for LayerPanicked {}

impl From<Caught> for LayerPanicked {
    fn from(panic: Caught) -> Self {
        LayerPanicked(panic.text().to_owned())
    }
}
