//! A reactor and its clients on the test's own thread: the test says when the loop turns, so that
//! nothing depends on which thread runs first, and only the turns are watched.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use edgeloop::{
    Address, CloseReason, Config, Context, Handler, ListenOptions, ProtocolError, Reactor,
    RingBuffer, Token,
};

use super::{wait_at_most, watch};

/// A handler, and an account of which of its connections are open and why the others ended.
#[derive(Debug)]
pub(crate) struct Audit<H> {
    pub(crate) inner: H,
    /// `None` while it is open. A token comes once: its generation tells it from the others of its
    /// slot.
    pub(crate) connections: HashMap<Token, Option<CloseReason>>,
    pub(crate) connect_errors: Vec<i32>,
}

impl<H> Audit<H> {
    pub(crate) fn open(&self) -> usize {
        self.connections.values().filter(|reason| reason.is_none()).count()
    }

    /// The reasons of those that have ended.
    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        self.connections.values().flatten().copied().collect()
    }
}

impl<H: Handler> Handler for Audit<H> {
    type Session = H::Session;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> H::Session {
        assert!(self.connections.insert(token, None).is_none(), "{token} was opened twice");
        self.inner.on_open(cx, token)
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        assert_eq!(self.connections.get(&token), Some(&None), "{token} is not open");
        self.inner.on_data(cx, token, session, input)
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        assert_eq!(self.connections.get(&token), Some(&None), "{token} is not open");
        self.inner.on_end(cx, token, session, input)
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: H::Session,
        reason: CloseReason,
    ) {
        let former = self.connections.insert(token, Some(reason));
        assert_eq!(former, Some(None), "{token} was closed twice, or never opened");
        self.inner.on_close(cx, token, session, reason);
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.inner.on_tidy(cx);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        self.connect_errors.push(error.raw_os_error().unwrap_or(0));
        self.inner.on_connect_error(cx, token, error);
    }
}

/// A reactor that turns when it is told to.
#[derive(Debug)]
pub(crate) struct Stage<H: Handler> {
    pub(crate) reactor: Reactor<Audit<H>>,
    pub(crate) address: SocketAddr,
}

impl<H: Handler> Stage<H> {
    pub(crate) fn new(config: Config, handler: H) -> Self {
        // Long enough to let the processor go, short enough to try again soon.
        wait_at_most(1);
        let inner = Audit { inner: handler, connections: HashMap::new(), connect_errors: vec![] };
        let mut reactor = watch(|| Reactor::new(config, inner)).expect("a reactor");
        let address = listen(&mut reactor);
        Stage { reactor, address }
    }

    pub(crate) fn turn(&mut self) {
        watch(|| self.reactor.turn()).expect("a turn");
    }

    /// Turns until `look` finds what it looks for.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not within 60 s; {:?}",
                self.reactor.stats()
            );
            self.turn();
        }
    }

    /// A client that the reactor may not have accepted yet.
    pub(crate) fn connect(&mut self) -> Client {
        Client::connect(self.address)
    }

    /// A client that the handler has been told of, and its token.
    pub(crate) fn join(&mut self) -> (Client, Token) {
        let before = self.audit().connections.len();
        let client = self.connect();
        let token = self.until("accepted", |stage| {
            let connections = &stage.audit().connections;
            let newest =
                connections.keys().max_by_key(|token| usize::from(mio::Token::from(**token)) >> 32);
            newest.copied().filter(|_| connections.len() > before)
        });
        (client, token)
    }

    /// Sends `bytes` and turns until they have come back, or the connection has ended instead.
    pub(crate) fn echo(&mut self, client: &mut Client, bytes: &[u8]) -> Result<(), Ended> {
        let _ = client.send(bytes);
        let wanted = client.received.len() + bytes.len();
        let outcome = self.until("echoed", |_| match client.fill() {
            Err(ended) => Some(Err(ended)),
            Ok(()) => (client.received.len() >= wanted).then_some(Ok(())),
        });
        if outcome.is_ok() {
            assert!(client.received.ends_with(bytes), "another's bytes, or out of order");
            assert_eq!(client.received.len(), wanted, "more than was sent");
        }
        outcome
    }

    /// Turns until the client's connection has ended.
    pub(crate) fn ended(&mut self, client: &mut Client) -> Ended {
        self.until("ended", |_| client.fill().err())
    }

    /// Every connection is open or was closed once, and both counts agree with the reactor's.
    /// Without connections no byte is left anywhere.
    pub(crate) fn check_books(&mut self) {
        let open = self.audit().open() as u64;
        let stats = self.reactor.stats();
        assert_eq!(stats.open(), open, "{stats}");
        let closed: u64 = stats.closed_by_reason.iter().sum();
        assert_eq!(stats.accepted + stats.dialled, open + closed, "{stats}");
        if open == 0 {
            assert_eq!((stats.bytes_unconsumed(), stats.bytes_waiting()), (0, 0), "{stats}");
        }
    }

    /// Ends the clients, waits until the reactor has seen it, and looks at the books.
    pub(crate) fn wind_up(&mut self, clients: impl IntoIterator<Item = Client>) {
        for client in clients {
            client.leave();
        }
        self.until("all closed", |stage| (stage.reactor.stats().open() == 0).then_some(()));
        self.check_books();
    }

    pub(crate) fn audit(&mut self) -> &mut Audit<H> {
        self.reactor.handler()
    }
}

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    Reset,
}

/// A client that never waits.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) received: Vec<u8>,
    has_sent: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("a connection");
        socket.set_nonblocking(true).expect("non-blocking");
        socket.set_nodelay(true).expect("no delay");
        Client { socket, received: Vec::new(), has_sent: false }
    }

    /// Sends what fits into the kernel's buffers, which must be all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.has_sent = true;
        self.socket.write_all(bytes)
    }

    /// Closes its connection; when it has only listened with a reset, since its end alone may mean
    /// that it listens on.
    fn leave(self) {
        if !self.has_sent {
            let socket = socket2::SockRef::from(&self.socket);
            socket.set_linger(Some(Duration::ZERO)).expect("a reset");
        }
    }

    /// Reads what there is.
    pub(crate) fn fill(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ended::Reset),
            }
        }
    }
}

/// Another listener on a port of its own.
pub(crate) fn listen<H: Handler>(reactor: &mut Reactor<H>) -> SocketAddr {
    let any = "127.0.0.1:0".parse().expect("an address");
    match watch(|| reactor.listen(&any, &ListenOptions::default())).expect("a listener") {
        Address::Tcp(address) => address,
        Address::Unix(_) => unreachable!("asked for TCP"),
    }
}
