//! What comes before the handler hears of a connection that a listener accepts.

use std::io;
use std::sync::Arc;

use mio::net::TcpStream;

use super::address::{Address, Peer};
use super::layer::{Layer, LayerPanicked};
use super::preface::{BadPreface, Introduced, PREFACE_MAX, Preface};
use super::stream::Stream;
use crate::structures::caught::catch;

/// What puts a layer on a socket.
pub(crate) type Wrap = Box<dyn FnMut(TcpStream) -> io::Result<Box<dyn Layer>>>;

/// What comes before the bytes of a connection: a preface, then the greeting of a layer. Either may be
/// absent. All connections of a listener have the same.
#[derive(Default)]
pub(crate) struct Manner {
    preface: Option<Arc<dyn Preface>>,
    wrap: Option<Wrap>,
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    /// What is awaited before the handler hears of the connection.
    pub(crate) awaited: Awaited,
}

/// What is awaited before the handler hears of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Nothing,
    /// The layer that the stream has already is to greet.
    Layer,
    /// A preface; then the layer, if there is one, is put on.
    Preface,
}

/// What the beginning of a connection says.
pub(crate) enum Heard {
    /// Less than a preface has arrived.
    Waits,
    /// The peer has ended, and said nothing.
    Nothing,
    /// The preface is there.
    Client(Introduced),
}

impl Manner {
    pub(crate) fn new(preface: Option<Arc<dyn Preface>>, wrap: Option<Wrap>) -> Self {
        Manner { preface, wrap }
    }

    /// A layer for one connection, without a preface.
    pub(crate) fn once(
        wrap: impl FnOnce(TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
    ) -> Self {
        let mut wrap = Some(wrap);
        let once: Wrap = Box::new(move |socket| match wrap.take() {
            Some(wrap) => wrap(socket),
            None => Err(io::ErrorKind::NotConnected.into()),
        });
        Manner { preface: None, wrap: Some(once) }
    }

    /// Whether a connection may be accepted that is not open at once.
    pub(crate) fn greets(&self) -> bool {
        self.preface.is_some() || self.wrap.is_some()
    }

    /// A TCP connection, with its layer unless a preface comes first. An error of what makes the layer
    /// concerns this connection, not the listener.
    pub(crate) fn accept_tcp(&mut self, socket: TcpStream, peer: Peer) -> io::Result<Accepted> {
        if self.expects(&peer)? {
            let awaited = Awaited::Preface;
            return Ok(Accepted { stream: Stream::Tcp(socket), peer, awaited });
        }
        Ok(match &self.wrap {
            None => Accepted { stream: Stream::Tcp(socket), peer, awaited: Awaited::Nothing },
            Some(_) => {
                let stream = self.put_on(socket).map_err(aborted)?;
                Accepted { stream, peer, awaited: Awaited::Layer }
            }
        })
    }

    pub(crate) fn accept_unix(&self, stream: Stream) -> io::Result<Accepted> {
        let peer = Peer::Unix;
        let awaited = match self.expects(&peer)? {
            true => Awaited::Preface,
            false => Awaited::Nothing,
        };
        Ok(Accepted { stream, peer, awaited })
    }

    /// Looks at what has arrived, and leaves that there. `is_all`: the peer has ended its stream.
    ///
    /// # Errors
    /// A [`BadPreface`], the panic of who reads it, or what the socket says.
    pub(crate) fn hear(&self, stream: &mut Stream, is_all: bool) -> io::Result<Heard> {
        let none = Introduced { len: 0, client: None };
        let Some(preface) = &self.preface else { return Ok(Heard::Client(none)) };
        let mut bytes = [0; PREFACE_MAX];
        let longest = preface.longest().clamp(1, PREFACE_MAX);
        let arrived = match stream.peek(&mut bytes[..longest])? {
            None => return Ok(Heard::Waits),
            Some(0) => return Ok(Heard::Nothing),
            Some(arrived) => arrived,
        };
        let parsed = catch(|| preface.parse(&bytes[..arrived])).map_err(LayerPanicked::error)?;
        match parsed.map_err(invalid)? {
            Some(introduced) if introduced.len <= arrived => Ok(Heard::Client(introduced)),
            _ if is_all => Err(invalid(BadPreface::new("it ends too early"))),
            _ if arrived == longest => Err(invalid(BadPreface::new("it is too long"))),
            _ => Ok(Heard::Waits),
        }
    }

    /// Puts the layer, if there is one, on the socket of a stream that is registered. Returns whether there
    /// is one.
    pub(crate) fn wrap(&mut self, stream: &mut Stream) -> io::Result<bool> {
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

    fn put_on(&mut self, socket: TcpStream) -> io::Result<Stream> {
        let Some(wrap) = &mut self.wrap else { return Ok(Stream::Tcp(socket)) };
        let layer = catch(|| wrap(socket)).map_err(LayerPanicked::error)?;
        Ok(Stream::layered(layer?))
    }
}

/// Takes bytes of a preface out of the socket, and no other; `rest` of them are still there. False when
/// they are to come again, although a look has shown them.
pub(crate) fn skip(rest: &mut usize, stream: &mut Stream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE_MAX];
    // Ends: each round takes a byte, or leaves.
    while *rest > 0 {
        match stream.receive(&mut bytes[..(*rest).min(PREFACE_MAX)])? {
            None => return Ok(false),
            Some(0) => return Err(invalid(BadPreface::new("it is cut"))),
            Some(read) => *rest -= read,
        }
    }
    Ok(true)
}

fn invalid(bad: BadPreface) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, bad)
}

/// An error of this connection and not of the listener, whatever its kind says.
fn aborted(error: io::Error) -> io::Error {
    if LayerPanicked::is(&error) {
        return error;
    }
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
