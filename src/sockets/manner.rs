//! What comes before the handler hears of a connection that a listener accepts.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use mio::net::TcpStream;

use super::address::{Address, Peer};
use super::layer::{Layer, LayerPanicked};
use super::preface::Preface;
use super::stream::Stream;
use crate::structures::caught::catch;

/// What puts a layer on a socket.
pub(crate) type Wrap = Box<dyn FnMut(TcpStream) -> io::Result<Box<dyn Layer>>>;

/// What comes before the bytes of a connection: a preface, then the greeting of a layer. Either may be
/// absent.
#[derive(Default)]
pub(crate) struct Manner {
    pub(crate) preface: Option<Arc<dyn Preface>>,
    wrap: Option<RefCell<Wrap>>,
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    /// What is awaited before the handler hears of the connection.
    pub(crate) awaited: Awaited,
}

/// What is awaited before the handler hears of a connection.
pub(crate) enum Awaited {
    Nothing,
    /// The layer that the stream has already is to greet.
    Layer,
    /// A preface; then the layer, if there is one, is put on.
    Preface(Rc<Manner>),
}

impl Manner {
    pub(crate) fn new(preface: Option<Arc<dyn Preface>>, wrap: Option<Wrap>) -> Rc<Self> {
        Rc::new(Manner { preface, wrap: wrap.map(RefCell::new) })
    }

    /// A layer for one connection.
    pub(crate) fn once(
        wrap: impl FnOnce(TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
    ) -> Rc<Self> {
        let mut wrap = Some(wrap);
        Manner::new(
            None,
            Some(Box::new(move |socket| match wrap.take() {
                Some(wrap) => wrap(socket),
                None => Err(io::ErrorKind::NotConnected.into()),
            })),
        )
    }

    /// Whether a connection may be accepted that is not open at once.
    pub(crate) fn greets(&self) -> bool {
        self.preface.is_some() || self.wrap.is_some()
    }

    /// A TCP connection, with its layer unless a preface comes first. An error of what makes the layer
    /// concerns this connection, not the listener.
    pub(crate) fn accept_tcp(
        self: &Rc<Self>,
        socket: TcpStream,
        peer: Peer,
    ) -> io::Result<Accepted> {
        if self.expects(&peer)? {
            let awaited = Awaited::Preface(self.clone());
            return Ok(Accepted { stream: Stream::Tcp(socket), peer, awaited });
        }
        Ok(match self.wrap {
            None => Accepted { stream: Stream::Tcp(socket), peer, awaited: Awaited::Nothing },
            Some(_) => {
                let stream = self.put_on(socket).map_err(aborted)?;
                Accepted { stream, peer, awaited: Awaited::Layer }
            }
        })
    }

    pub(crate) fn accept_unix(self: &Rc<Self>, stream: Stream) -> io::Result<Accepted> {
        let peer = Peer::Unix;
        let awaited = match self.expects(&peer)? {
            true => Awaited::Preface(self.clone()),
            false => Awaited::Nothing,
        };
        Ok(Accepted { stream, peer, awaited })
    }

    /// Puts the layer, if there is one, on the socket of a stream that is registered. Returns whether
    /// there is one.
    pub(crate) fn wrap(&self, stream: &mut Stream) -> io::Result<bool> {
        if self.wrap.is_none() {
            return Ok(false);
        }
        let taken = std::mem::replace(stream, Stream::gone());
        match taken {
            Stream::Tcp(socket) => *stream = self.put_on(socket)?,
            other => *stream = other,
        }
        Ok(true)
    }

    fn expects(&self, peer: &Peer) -> io::Result<bool> {
        let Some(preface) = &self.preface else { return Ok(false) };
        catch(|| preface.is_expected(&Address::from(peer))).map_err(LayerPanicked::error)
    }

    fn put_on(&self, socket: TcpStream) -> io::Result<Stream> {
        let Some(wrap) = &self.wrap else { return Ok(Stream::Tcp(socket)) };
        let layer = catch(|| (wrap.borrow_mut())(socket)).map_err(LayerPanicked::error)?;
        Ok(Stream::layered(layer?))
    }
}

/// An error of this connection and not of the listener, whatever its kind says.
fn aborted(error: io::Error) -> io::Error {
    if LayerPanicked::is(&error) {
        return error;
    }
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
