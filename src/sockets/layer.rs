//! What stands between a connection and its socket, where something does. Its code is the program's: a
//! panic in it ends its connection, and nothing else.

use std::fmt;
use std::io::{self, Read, Write};

use mio::event::Source;

use crate::structures::caught::{Caught, catch};

/// What may stand between a connection and its socket: TLS, compression, a test that tears reads
/// and writes.
///
/// Reads and writes are non-blocking and say `WouldBlock` when the socket below does. A layer may
/// hold bytes of its own in both directions: the reactor reads it until `WouldBlock`, and calls
/// `flush` once its own output is written, until that no longer says `WouldBlock`.
pub trait Layer: Read + Write {
    /// The socket below, for registration with the poll.
    fn source(&mut self) -> &mut dyn Source;

    /// Tells the peer that nothing more will be sent.
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

    /// Makes the coming close a reset, as far as the socket below can: the connection was aborted. By
    /// default the socket is closed as it is.
    fn discard_on_close(&mut self) {}
}

/// A layer of which a panic becomes an error.
pub(crate) struct Layered {
    /// Until it is dropped.
    layer: Option<Box<dyn Layer>>,
    /// The layer may hold output of its own: after every read or write, until a flush says otherwise.
    pub(super) owes_output: bool,
    /// What it has panicked with. It is not called again.
    panic: Option<LayerPanicked>,
}

/// The error of a layer that panicked, or of what was to make one. It is not called again.
#[derive(Clone, Debug)]
pub(crate) struct LayerPanicked(String);

impl Layered {
    pub(super) fn new(layer: Box<dyn Layer>) -> Self {
        Layered { layer: Some(layer), owes_output: true, panic: None }
    }

    /// As [`call`](Self::call), for what may leave output in the layer.
    pub(super) fn touch<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Layer) -> io::Result<T>,
    ) -> io::Result<T> {
        self.owes_output = true;
        self.call(call)
    }

    pub(super) fn discard_on_close(&mut self) {
        // The connection ends in any case.
        let _ = self.call(|layer| {
            layer.discard_on_close();
            Ok(())
        });
    }

    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Layer) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(layer) = self.layer.as_deref_mut().filter(|_| self.panic.is_none()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        catch(|| call(layer)).unwrap_or_else(|panic| {
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
