//! A layer that is to TLS what a paper boat is to a ship: it greets, seals bytes, holds some of them, and
//! ends with a farewell. And a preface in one word, as of the PROXY protocol.
//!
//! ```text
//!   client   hello\n            ready\n   sealed bytes ...   END
//!   server           welcome\n            sealed bytes ...   bye      or at any time: no!
//! ```
//!
//! Used by tests over loopback and by the simulation.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{self, Read, Write};
use std::net::Shutdown;

use edgeloop::{
    Address, BadPreface, CloseReason, Introduced, Introduction, Layer, LayerError, LayerSocket,
    Preface,
};
use mio::net::TcpStream;

pub(crate) const HELLO: &[u8] = b"hello\n";
pub(crate) const WELCOME: &[u8] = b"welcome\n";
pub(crate) const READY: &[u8] = b"ready\n";
/// What a client says before its sealed bytes.
pub(crate) const BEGINNING: &[u8] = b"hello\nready\n";
/// The farewell of a client.
pub(crate) const END: u8 = 0;
/// The farewell of a server.
pub(crate) const BYE: &[u8] = b"bye";
/// The alert of a server.
pub(crate) const ALERT: &[u8] = b"no!";
/// Stands in a socket that was filled on purpose.
pub(crate) const STUFFING: u8 = b'.';

/// Every sealed byte has its highest bit set.
pub(crate) fn seal(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x80).collect()
}

/// How a layer behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Reads and writes so many bytes at once, if not 0.
    pub(crate) piece: usize,
    /// Leaves what its greeting has to say for `flush`.
    pub(crate) holds_back: bool,
    /// Fills the socket before its last words, so that these do not fit.
    pub(crate) stuffs: bool,
    /// Says that it holds so much memory.
    pub(crate) holds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AwaitsHello,
    AwaitsReady,
    Open,
    Failed,
    Over,
}

pub(crate) struct Sealed {
    socket: TcpStream,
    habits: Habits,
    stage: Stage,
    /// Of the word that is awaited, so much has come.
    word: usize,
    outgoing: Vec<u8>,
    /// The peer has said its farewell.
    has_ended: bool,
    is_stuffed: bool,
}

impl Sealed {
    pub(crate) fn new(socket: TcpStream, habits: Habits) -> Self {
        Sealed {
            socket,
            habits,
            stage: Stage::AwaitsHello,
            word: 0,
            outgoing: Vec::new(),
            has_ended: false,
            is_stuffed: false,
        }
    }

    pub(crate) fn boxed(socket: TcpStream, habits: Habits) -> io::Result<Box<dyn Layer>> {
        Ok(Box::new(Sealed::new(socket, habits)))
    }

    fn piece(&self, len: usize) -> usize {
        if self.habits.piece == 0 { len } else { len.min(self.habits.piece) }
    }

    fn expect(&mut self, word: &[u8]) -> io::Result<()> {
        let mut bytes = [0; 8];
        while self.word < word.len() {
            let len = self.piece(word.len() - self.word);
            let read = self.socket.read(&mut bytes[..len])?;
            if read == 0 {
                return Err(self.fail(CloseReason::HandshakeFailed, "it ends"));
            }
            if word[self.word..self.word + read] != bytes[..read] {
                return Err(self.fail(CloseReason::HandshakeFailed, "it says something else"));
            }
            self.word += read;
        }
        self.word = 0;
        Ok(())
    }

    fn fail(&mut self, reason: CloseReason, what: &'static str) -> io::Error {
        if !self.has_ended {
            self.outgoing.extend_from_slice(ALERT);
        }
        self.stage = Stage::Failed;
        LayerError::new(reason, what)
    }

    fn go_on(&mut self) -> io::Result<()> {
        if self.stage == Stage::AwaitsHello {
            self.expect(HELLO)?;
            self.outgoing.extend_from_slice(WELCOME);
            self.stage = Stage::AwaitsReady;
        }
        if self.stage == Stage::AwaitsReady {
            self.expect(READY)?;
            self.stage = Stage::Open;
        }
        Ok(())
    }
}

impl Read for Sealed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        let len = self.piece(into.len());
        let read = self.socket.read(&mut into[..len])?;
        if read == 0 {
            self.has_ended = true;
            return Err(self.fail(CloseReason::TlsTruncated, "no farewell"));
        }
        let sealed = into[..read].iter().take_while(|byte| **byte >= 0x80).count();
        into[..sealed].iter_mut().for_each(|byte| *byte ^= 0x80);
        match into[..read].get(sealed) {
            None => {}
            Some(&END) => self.has_ended = true,
            Some(_) => return Err(self.fail(CloseReason::TlsError, "not sealed")),
        }
        Ok(sealed)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stage != Stage::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // It takes no more while it cannot get rid of what it holds.
        self.flush()?;
        let len = self.piece(bytes.len()).min(4096);
        self.outgoing.extend(seal(&bytes[..len]));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let len = self.piece(self.outgoing.len());
            let taken = self.socket.write(&self.outgoing[..len])?;
            self.outgoing.drain(..taken);
        }
        Ok(())
    }
}

impl Layer for Sealed {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Tcp(&mut self.socket)
    }

    fn greet(&mut self) -> io::Result<bool> {
        let outcome = self.go_on();
        if !self.habits.holds_back {
            // What the socket refuses is for the flush.
            let _ = self.flush();
        }
        outcome.map(|()| true)
    }

    fn held(&self) -> usize {
        self.outgoing.len() + self.habits.holds
    }

    fn introduction(&self) -> Introduction {
        Introduction { protocol: Some(b"boat".to_vec()), ..Introduction::default() }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        while self.habits.stuffs && !self.is_stuffed {
            match self.socket.write(&[STUFFING; 4096]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_stuffed = true;
                    return Err(error);
                }
                stuffed => stuffed.map(drop)?,
            }
        }
        if self.stage == Stage::Open {
            self.outgoing.extend_from_slice(BYE);
            self.stage = Stage::Over;
        }
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }
}

/// `via ADDRESS\n`, or `via -\n` from the balancer itself; from those at the IP address that is listed.
#[derive(Clone, Debug)]
pub(crate) struct Via(pub(crate) std::net::IpAddr);

impl Preface for Via {
    fn is_expected(&self, from: &Address) -> bool {
        match from {
            Address::Tcp(from) => from.ip() == self.0,
            Address::Unix(_) => true,
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Introduced>, BadPreface> {
        let start = b"via ";
        let len = bytes.len().min(start.len());
        if bytes[..len] != start[..len] {
            return Err(BadPreface::new("it does not begin so"));
        }
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[len..end]).unwrap_or_default();
        let client = match text {
            "-" => None,
            text => Some(text.parse().map_err(|_| BadPreface::new("no address"))?),
        };
        Ok(Some(Introduced { len: end + 1, client }))
    }

    fn longest(&self) -> usize {
        64
    }
}
