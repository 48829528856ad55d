//! The socket of one connection: TCP, Unix, or a layer above one of them.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry};
use socket2::SockRef;

use super::layer::{Layer, LayerPanicked, Layered};
use super::peer_watch::{PeerWatch, watch_for_the_peer};
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, so that the rare case does not make every connection larger.
    Layered(Box<Layered>),
}

/// What a write did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    /// The socket takes nothing more until an event says so.
    pub(crate) blocked: bool,
}

impl Stream {
    pub(crate) fn layered(layer: Box<dyn Layer>) -> Self {
        Stream::Layered(Box::new(Layered::new(layer)))
    }

    pub(crate) fn is_layered(&self) -> bool {
        matches!(self, Stream::Layered(_))
    }

    /// For reading, writing and urgent data at once, and never again.
    // ET: interests are never changed afterwards. What is not acted on yet stays noted in the
    // connection.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest | Interest::PRIORITY;
        let source: &mut dyn Source = match self {
            Stream::Tcp(socket) => socket,
            Stream::Unix(socket) => socket,
            Stream::Layered(layered) => return layered.register(registry, token, interest),
        };
        registry.register(source, token.into(), interest)
    }

    /// Reads once; `None` means that the socket has nothing now.
    ///
    /// `into` must not be empty: a read into nothing says 0, which is also the end of the stream.
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        debug_assert!(!into.is_empty());
        nonblocking(|| match self {
            Stream::Tcp(socket) => socket.read(into),
            Stream::Unix(socket) => socket.read(into),
            Stream::Layered(layered) => layered.read(into),
        })
    }

    /// One write of all that a ring holds. That is nearly always one piece, for which the plain call is
    /// cheaper than the vectored one.
    pub(crate) fn send_ring(&mut self, ring: &RingBuffer) -> io::Result<Sent> {
        let (first, second) = ring.as_slices();
        if !second.is_empty() {
            return self.send(&[IoSlice::new(first), IoSlice::new(second)]);
        }
        let taken = nonblocking(|| match self {
            Stream::Tcp(socket) => socket.write(first),
            Stream::Unix(socket) => socket.write(first),
            Stream::Layered(layered) => layered.touch(|layer| layer.write(first)),
        })?;
        Ok(self.judge(taken, first.len()))
    }

    /// One vectored write.
    pub(crate) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        let taken = nonblocking(|| match (&mut *self, slices) {
            (Stream::Tcp(socket), [one]) => socket.write(one),
            (Stream::Tcp(socket), _) => socket.write_vectored(slices),
            (Stream::Unix(socket), _) => socket.write_vectored(slices),
            (Stream::Layered(layered), _) => layered.touch(|layer| layer.write_vectored(slices)),
        })?;
        Ok(self.judge(taken, slices.iter().map(|slice| slice.len()).sum()))
    }

    fn judge(&self, taken: Option<usize>, offered: usize) -> Sent {
        let bytes = taken.unwrap_or(0);
        // ET: the kernel announces room only after it has refused bytes. A short count of a TCP socket is
        // such a refusal.
        let blocked = bytes == 0 || (bytes < offered && self.short_count_proves());
        Sent { bytes, blocked }
    }

    /// Lets a layer push out the bytes that it holds. Returns whether the socket took all of them.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Stream::Layered(layered) = self {
            layered.owes_output = nonblocking(|| layered.call(|layer| layer.flush()))?.is_none();
        }
        Ok(!self.owes_output())
    }

    pub(crate) fn owes_output(&self) -> bool {
        matches!(self, Stream::Layered(layered) if layered.owes_output)
    }

    /// Whether a short read or write proves that the socket has no more bytes, or no more room.
    /// True for plain TCP only: Unix sockets also stop at a message boundary, and a layer knows
    /// nothing of the socket below.
    pub(crate) fn short_count_proves(&self) -> bool {
        EDGES_ARE_THE_KERNELS && matches!(self, Stream::Tcp(_))
    }

    /// Whether an outgoing connection is established: `None` while the kernel is still connecting. The
    /// peer is watched only from then on: the time after which a vanished peer is given up must not cut
    /// the wait for an answer short.
    pub(crate) fn establishment(&mut self, watch: PeerWatch) -> io::Result<Option<()>> {
        let socket = match self {
            Stream::Tcp(socket) => socket,
            Stream::Unix(_) => return Ok(Some(())),
            Stream::Layered(layered) => {
                return Ok(layered.call(|layer| layer.is_established())?.then_some(()));
            }
        };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => watch_for_the_peer(&SockRef::from(&*socket), watch).map(Some),
            // ET: the first event of a connecting socket may come before the socket is connected.
            // Another event follows.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the peer that nothing more will be sent. `None` when the last words of a layer wait for room:
    /// it is to be told once more.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<Option<()>> {
        nonblocking(|| match self {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
            Stream::Layered(layered) => layered.shutdown_write(),
        })
    }

    /// Ends a layer. Returns with what it has panicked, now or before.
    pub(crate) fn end_layer(&mut self) -> Option<LayerPanicked> {
        if let Stream::Layered(layered) = self { layered.end() } else { None }
    }

    /// Makes the coming close a reset: the kernel then frees at once what the peer did not take, instead
    /// of keeping that for minutes.
    pub(crate) fn discard_on_close(&mut self) {
        match self {
            Stream::Tcp(socket) => {
                // It can only fail on a socket that is already gone, where there is nothing to discard.
                let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            }
            Stream::Unix(_) => {}
            Stream::Layered(layered) => layered.discard_on_close(),
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

/// Whether edges are the kernel's own, as those of epoll and kqueue are. Where mio imitates edges by
/// `poll(2)`, it watches a source again only after a call on that source said `WouldBlock`. A loop that
/// takes a short count for the last makes no such call, and never hears of the socket again.
// ET: without this the first short read would be the last.
const EDGES_ARE_THE_KERNELS: bool = cfg!(all(
    not(mio_unsupported_force_poll_poll),
    any(
        target_os = "android",
        target_os = "illumos",
        target_os = "linux",
        target_os = "redox",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "tvos",
        target_os = "visionos",
        target_os = "watchos",
    )
));

/// Repeats a call that a signal interrupted, and turns `WouldBlock` into the answer that it is.
pub(super) fn nonblocking<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
