//! What is done to a stream before it is read: looking at its first bytes, the greeting of its layer; and
//! what else only a stream with a layer can do.

use std::io;
use std::os::fd::AsFd;

use super::introduction::Introduction;
use super::layer::Layered;
use super::stream::{Stream, nonblocking};
use crate::structures::tally::Tally;

impl Stream {
    /// In the place of a stream whose socket is on its way to a layer.
    pub(crate) fn gone() -> Self {
        Stream::Layered(Box::new(Layered::gone()))
    }

    /// Looks at what has arrived, from the first byte on, and leaves it there; `None` means that the socket
    /// has nothing now. A layer shows nothing.
    pub(crate) fn peek(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        nonblocking(|| match self {
            Stream::Tcp(socket) => socket.peek(into),
            // The standard library peeks only through a TCP stream: the call is the same.
            Stream::Unix(socket) => {
                std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?).peek(into)
            }
            Stream::Layered(_) => Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Goes on with the greeting of a layer: true once it is done, false when it waits for the peer.
    pub(crate) fn greet(&mut self) -> io::Result<bool> {
        let Stream::Layered(layered) = self else { return Ok(true) };
        Ok(nonblocking(|| layered.touch(|layer| layer.greet()))?.unwrap_or(false))
    }

    /// What the greeting of a layer has found out.
    pub(crate) fn introduction(&mut self) -> io::Result<Introduction> {
        let Stream::Layered(layered) = self else { return Ok(Introduction::default()) };
        layered.call(|layer| Ok(layer.introduction()))
    }

    /// Counts what a layer holds as a part of `all`, from now on.
    pub(crate) fn count_into(&mut self, all: &Tally) {
        if let Stream::Layered(layered) = self {
            layered.count_into(all);
        }
    }

    /// Bytes that a layer holds.
    pub(crate) fn held(&self) -> usize {
        if let Stream::Layered(layered) = self { layered.held() } else { 0 }
    }

    /// The layer has failed, and not its socket.
    pub(crate) fn fail_layer(&mut self) {
        if let Stream::Layered(layered) = self {
            layered.has_failed = true;
        }
    }

    pub(crate) fn has_failed_layer(&self) -> bool {
        matches!(self, Stream::Layered(layered) if layered.has_failed)
    }

    /// From now on the socket is read and not the layer, to drop what comes. False if that was so before.
    pub(crate) fn pass_layer(&mut self) -> bool {
        match self {
            Stream::Layered(layered) => !std::mem::replace(&mut layered.is_passed, true),
            Stream::Tcp(_) | Stream::Unix(_) => true,
        }
    }
}
