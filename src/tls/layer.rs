//! The layer: from records to bytes and back.
//!
//! ```text
//!               socket                     session                                 reactor
//!   recv ---> read_tls ---> part of a record ---> process ---> plaintext ---> read
//!   send <--- write_tls <--- at most 16 KiB of records <------ seal <-------- write, write_vectored
//! ```
//!
//! This is the only file that knows the buffered interface of rustls 0.23.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{Connection, ServerConfig, ServerConnection};

use crate::reactor::{CloseReason, Introduction, Layer, LayerError, LayerSocket};

/// TLS above one socket.
pub(super) struct Tls {
    socket: TcpStream,
    session: Session,
    /// Ciphertext that the socket has not taken, without what records add to their contents.
    unsent: usize,
    /// Plaintext that the reactor has not read.
    undelivered: usize,
    /// Ciphertext of a record that is not whole yet.
    partial: usize,
    /// Ciphertext that the handshake has taken so far.
    greeted: usize,
    /// `close_notify` was said: nothing may follow.
    said_farewell: bool,
    /// Why the session is over. Told once, behind the plaintext that came before.
    failure: Option<io::Error>,
    /// The session is over. What still comes is no TLS, or not to be believed.
    has_failed: bool,
}

enum Session {
    /// The client has said nothing yet.
    Awaited(Arc<ServerConfig>),
    /// Boxed, so that a silent client does not pay for the session.
    Live(Box<Connection>),
}

impl Tls {
    /// The server's side of an accepted socket.
    pub(super) fn server(socket: TcpStream, config: Arc<ServerConfig>) -> Tls {
        Tls::new(socket, Session::Awaited(config))
    }

    /// The client's side of a socket that is dialled.
    pub(super) fn client(socket: TcpStream, session: Connection) -> Tls {
        Tls::new(socket, Session::live(session))
    }

    fn new(socket: TcpStream, session: Session) -> Tls {
        Tls {
            socket,
            session,
            unsent: 0,
            undelivered: 0,
            partial: 0,
            greeted: 0,
            said_farewell: false,
            failure: None,
            has_failed: false,
        }
    }

    /// Makes the session once a byte is there. Returns whether there is a session.
    fn begin(&mut self) -> io::Result<bool> {
        let Session::Awaited(config) = &self.session else { return Ok(true) };
        match self.socket.peek(&mut [0]) {
            // Balancers look so whether somebody is there.
            Ok(0) => {
                return Err(LayerError::new(CloseReason::PeerClosed, "it ended without a word"));
            }
            Ok(_) => {}
            Err(error) if is_blocked(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        self.session = Session::live(session.into());
        Ok(true)
    }

    /// Reads once from the socket, and takes apart what came. Returns how much that was; `None` if the socket
    /// has nothing now.
    fn pull(&mut self) -> io::Result<Option<usize>> {
        let Session::Live(session) = &mut self.session else { return Ok(None) };
        let is_greeting = session.is_handshaking();
        let bytes = match session.read_tls(&mut self.socket) {
            Ok(0) if is_greeting => return Err(failed("the peer ended within the handshake")),
            Ok(bytes) => bytes,
            Err(error) if is_blocked(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if is_greeting {
            self.greeted += bytes;
        }
        match session.process_new_packets() {
            Ok(state) => {
                let plaintext = state.plaintext_bytes_to_read();
                let partial = (self.partial + bytes).min(RECORD_MAX);
                self.partial = if plaintext > 0 { 0 } else { partial };
                self.undelivered = plaintext;
            }
            Err(error) => {
                // The alert that says why is sealed, and waits for the next flush.
                self.has_failed = true;
                self.failure = Some(LayerError::new(failure_of(is_greeting), error));
            }
        }
        Ok(Some(bytes))
    }

    /// Hands the socket what waits for it. Returns whether the socket took all of it.
    fn push(&mut self) -> io::Result<bool> {
        let Session::Live(session) = &mut self.session else { return Ok(true) };
        while session.wants_write() {
            match session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.unsent = self.unsent.saturating_sub(bytes),
                Err(error) if is_blocked(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent = 0;
        Ok(true)
    }

    /// Seals what `write` takes, and hands that to the socket. What was sealed before goes first: the
    /// socket refuses, and not the session, whose refusal no event would follow.
    fn seal(
        &mut self,
        write: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.said_farewell || self.has_failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.push()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Session::Live(session) = &mut self.session else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let taken = write(&mut session.writer())?;
        if taken == 0 {
            // In TLS 1.2 keys are good for so many records, and cannot be changed.
            return Err(LayerError::new(CloseReason::TlsError, "its keys are used up"));
        }
        self.unsent += taken;
        // What is taken is taken. If the socket has failed, the flush that follows says so.
        let _ = self.push();
        Ok(taken)
    }
}

impl Session {
    fn live(mut session: Connection) -> Session {
        session.set_buffer_limit(Some(UNSENT_MAX));
        Session::Live(Box::new(session))
    }
}

impl Layer for Tls {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Tcp(&mut self.socket)
    }

    fn greet(&mut self) -> io::Result<bool> {
        if !self.begin()? {
            return Ok(false);
        }
        // Ends: each round reads a byte of at most `GREETING_MAX`, or leaves.
        loop {
            // A full socket does not end the round: what the peer says is read all the same.
            self.push()?;
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if matches!(&self.session, Session::Live(session) if !session.is_handshaking()) {
                return Ok(true);
            }
            if self.greeted > GREETING_MAX {
                return Err(failed("the handshake is too long"));
            }
            if self.pull()?.is_none() {
                return Ok(false);
            }
        }
    }

    fn held(&self) -> usize {
        match &self.session {
            Session::Awaited(_) => 0,
            Session::Live(session) if session.is_handshaking() => {
                HANDSHAKE + self.greeted.min(MESSAGE_MAX)
            }
            Session::Live(_) => self.unsent + self.undelivered + self.partial,
        }
    }

    fn introduction(&self) -> Introduction {
        let Session::Live(session) = &self.session else { return Introduction::default() };
        let certificates = session.peer_certificates().unwrap_or_default();
        Introduction {
            is_encrypted: true,
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            server_name: match &**session {
                Connection::Server(session) => session.server_name().map(str::to_owned),
                Connection::Client(_) => None,
            },
            certificates: certificates.iter().map(|it| it.as_ref().to_vec()).collect(),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        if let Session::Live(session) = &mut self.session
            && !std::mem::replace(&mut self.said_farewell, true)
            && !self.has_failed
        {
            session.send_close_notify();
        }
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }
}

impl Read for Tls {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut empty = 0;
        // Ends: each round reads bytes of at most `EMPTY_MAX`, or leaves.
        loop {
            let Session::Live(session) = &mut self.session else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            match session.reader().read(into) {
                // 0 is the peer's `close_notify`.
                Ok(bytes) => {
                    self.undelivered = self.undelivered.saturating_sub(bytes);
                    return Ok(bytes);
                }
                Err(error) if is_blocked(&error) => {}
                Err(_) => return Err(LayerError::new(CloseReason::TlsTruncated, NO_FAREWELL)),
            }
            // Behind the plaintext that came before.
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            empty += self.pull()?.ok_or(io::ErrorKind::WouldBlock)?;
            if empty > EMPTY_MAX {
                let why = "too many records without a byte of data";
                return Err(LayerError::new(CloseReason::TlsError, why));
            }
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seal(|writer| writer.write(bytes))
    }

    /// All that fits into one record becomes one.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.seal(|writer| writer.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.push()? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn failed(why: &str) -> io::Error {
    LayerError::new(CloseReason::HandshakeFailed, why)
}

fn failure_of(is_greeting: bool) -> CloseReason {
    if is_greeting { CloseReason::HandshakeFailed } else { CloseReason::TlsError }
}

const NO_FAREWELL: &str = "the stream was cut: it ended without close_notify";
/// The most plaintext that is sealed before the socket has taken it: the longest record.
const UNSENT_MAX: usize = 16 << 10;
/// The most that a handshake may take: a message of it is at most 64 KiB, and a client's certificates are
/// the longest.
const GREETING_MAX: usize = 256 << 10;
/// What a session holds within a handshake, about, beside a message that is not whole.
const HANDSHAKE: usize = 8 << 10;
/// The longest message of a handshake that rustls collects.
const MESSAGE_MAX: usize = 64 << 10;
/// What a record of 16 KiB may take with all that belongs to it.
const RECORD_MAX: usize = 18 << 10;
/// Records without data, such as padding against those who count bytes, are read so far in one go. More of
/// them would keep the others waiting.
const EMPTY_MAX: usize = 256 << 10;
