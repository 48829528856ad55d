//! The socket of one connection: TCP, Unix, or a layer above one of them.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry};

use super::Token;

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
    /// As the socket says; the reactor then only waits for the peer's end of stream.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed twice, so that the rare case does not make every connection larger.
    Layered(Box<Box<dyn Layer>>),
}

/// What a write did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) bytes: usize,
    /// The socket takes nothing more until an event says so.
    pub(super) blocked: bool,
}

impl Stream {
    /// For reading, writing and urgent data at once, and never again.
    // ET: interests are never changed afterwards; what we do not want to act on yet stays noted in
    // the connection.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest | Interest::PRIORITY;
        let source: &mut dyn Source = match self {
            Stream::Tcp(socket) => socket,
            Stream::Unix(socket) => socket,
            Stream::Layered(layer) => layer.source(),
        };
        registry.register(source, token.into(), interest)
    }

    /// Reads once; `None` means that the socket has nothing now.
    ///
    /// `into` must not be empty: a read into nothing says 0, which is also the end of the stream.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        debug_assert!(!into.is_empty());
        nonblocking(|| match self {
            Stream::Tcp(socket) => socket.read(into),
            Stream::Unix(socket) => socket.read(into),
            Stream::Layered(layer) => layer.read(into),
        })
    }

    /// Writes once. One slice goes out by `send`, which is cheaper than the vectored call that
    /// several need.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        let taken = nonblocking(|| match (&mut *self, slices) {
            (Stream::Tcp(socket), [one]) => socket.write(one),
            (Stream::Tcp(socket), _) => socket.write_vectored(slices),
            (Stream::Unix(socket), [one]) => socket.write(one),
            (Stream::Unix(socket), _) => socket.write_vectored(slices),
            (Stream::Layered(layer), _) => layer.write_vectored(slices),
        })?;
        let bytes = taken.unwrap_or(0);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        // ET: the kernel announces room only after it refused bytes, and a short count of a TCP
        // socket is such a refusal.
        let blocked = bytes == 0 || (bytes < offered && self.short_count_proves());
        Ok(Sent { bytes, blocked })
    }

    /// Lets a layer push out what it holds; `false` means that its socket takes nothing now.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Layered(layer) => Ok(nonblocking(|| layer.flush())?.is_some()),
            Stream::Tcp(_) | Stream::Unix(_) => Ok(true),
        }
    }

    /// Whether a short read or write proves that the socket has no more bytes, or no more room.
    /// True for plain TCP only: Unix sockets also stop at a message boundary, and a layer knows
    /// nothing of the socket below.
    pub(super) fn short_count_proves(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    pub(super) fn is_layered(&self) -> bool {
        matches!(self, Stream::Layered(_))
    }

    /// Says whether an outgoing connection is established: `None` while the kernel is still busy
    /// with it.
    pub(super) fn establishment(&self) -> io::Result<Option<()>> {
        let Stream::Tcp(socket) = self else { return Ok(Some(())) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(Some(())),
            // ET: the first event of a connecting socket may come before it is connected; another
            // one follows.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
            Stream::Layered(layer) => layer.shutdown_write(),
        }
    }

    /// Makes the coming close a reset, so that the kernel frees what the peer did not take instead
    /// of keeping it for minutes.
    pub(super) fn discard_on_close(&self) {
        if let Stream::Tcp(socket) = self {
            // It can only fail on a socket that is already gone, where there is nothing to discard.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Tcp(_) => "tcp",
            Stream::Unix(_) => "unix",
            Stream::Layered(_) => "layered",
        })
    }
}

/// Repeats a call that a signal interrupted, and turns `WouldBlock` into the answer that it is.
fn nonblocking<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
