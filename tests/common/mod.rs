//! The vocabulary of the behaviour tests: servers on threads, clients that give up after a while,
//! bytes that know their place. Nothing sleeps where an event can be awaited, and nothing waits for
//! ever.

#![allow(dead_code, reason = "each test program uses its own part of the vocabulary")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub(crate) mod directory;
pub(crate) mod handlers;
pub(crate) mod kv;
pub(crate) mod nowhere;
pub(crate) mod processor;
#[cfg(feature = "cli")]
pub(crate) mod program;
pub(crate) mod scripted;
pub(crate) mod stalled;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod variables;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use edgeloop::{
    Address, CloseReason, Config, Context, Ending, Handler, ListenOptions, Reactor, Remote,
    RemoteError, Stats, Token,
};

/// Far more than anything here takes; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

// ---- servers ----

/// A reactor on a thread of its own. A test ends it with [`finish`](Self::finish) or
/// [`stop`](Self::stop); one that fails leaves it behind, told to stop.
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) remote: Remote,
    /// So many of its callbacks are to panic; an assertion of a handler that fails is a panic, too.
    pub(crate) panics: u64,
    thread: Option<JoinHandle<(Stats, Ending)>>,
}

/// Starts a server on a free port of 127.0.0.1.
pub(crate) fn start<H: Handler + Send + 'static>(config: Config, handler: H) -> Server {
    start_on("127.0.0.1:0", config, handler)
}

pub(crate) fn start_on<H: Handler + Send + 'static>(
    address: &str,
    config: Config,
    handler: H,
) -> Server {
    let address: Address = address.parse().unwrap();
    start_by(config, handler, move |reactor| {
        reactor.listen(&address, &ListenOptions::default()).unwrap()
    })
}

/// As [`start`], listening as `listen` does it.
pub(crate) fn start_by<H: Handler + Send + 'static>(
    config: Config,
    handler: H,
    listen: impl FnOnce(&mut Reactor<H>) -> Address + Send + 'static,
) -> Server {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::new(config, handler).unwrap();
        let address = listen(&mut reactor);
        sender.send((address, reactor.remote())).unwrap();
        let ending = reactor.run().expect("nothing a peer does ends the loop");
        (reactor.stats().clone(), ending)
    });
    let (address, remote) = receiver.recv_timeout(PATIENCE).expect("the server did not start");
    Server { address, remote, panics: 0, thread: Some(thread) }
}

impl Server {
    pub(crate) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        socket_address(&self.address)
    }

    /// Runs `ask` on the loop's thread and returns its answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Context<'_>) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        let told = self.tell(move |cx| drop(sender.send(ask(cx))));
        assert!(told, "the loop has ended");
        receiver.recv_timeout(PATIENCE).expect("the loop does not answer")
    }

    pub(crate) fn stats(&self) -> Stats {
        self.ask(|cx| cx.stats().clone())
    }

    /// Asks again and again until the counters say so.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.stats();
            if condition(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "never came true: {what}; {stats:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a counter has stood still for so long.
    #[track_caller]
    pub(crate) fn wait_for_rest(&self, span: Duration, counter: impl Fn(&Stats) -> u64) -> Stats {
        let deadline = Instant::now() + PATIENCE;
        let mut last = counter(&self.stats());
        let mut since = Instant::now();
        while since.elapsed() < span {
            assert!(Instant::now() < deadline, "it never came to rest");
            thread::sleep(span / 10);
            let now = counter(&self.stats());
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        self.stats()
    }

    /// Lets connections finish. Nobody may have been cut off, and the books must balance.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Stats {
        self.tell(|cx| cx.drain());
        let (stats, ending) = self.join();
        assert_eq!(ending.cut_off, 0, "somebody had to be cut off: {stats:?}");
        stats
    }

    /// Cuts off whoever is left. The books must balance.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Stats {
        self.tell(|cx| cx.stop());
        self.join().0
    }

    /// Whether there was a loop to tell. One that the test has told to drain may have ended before;
    /// `join` sees to whatever else ended it. A full queue has room again after a turn.
    fn tell(&self, task: impl FnOnce(&mut Context<'_>) + Send + 'static) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut told = self.remote.run(task);
        while let Err(RemoteError::Full(task)) = told {
            assert!(Instant::now() < deadline, "the loop takes no task");
            thread::sleep(Duration::from_millis(1));
            told = self.remote.run(task);
        }
        told.is_ok()
    }

    /// As [`send_until_blocked`]; the server's own turns are counted.
    pub(crate) fn send_until_blocked(&self, stream: &TcpStream, bytes: &[u8]) -> usize {
        send_until_blocked(stream, bytes, || self.pass_a_turn())
    }

    /// Waits until a turn has ended. Many questions may be answered in one.
    fn pass_a_turn(&self) {
        let turns = self.stats().turns;
        while self.stats().turns == turns {}
    }

    /// Waits for a server that was told to end.
    #[track_caller]
    pub(crate) fn join(&mut self) -> (Stats, Ending) {
        let thread = self.thread.take().expect("joined once");
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "the server does not end");
            thread::sleep(Duration::from_millis(1));
        }
        let (stats, ending) = thread.join().expect("the server panicked");
        expect_balanced(&stats);
        assert_eq!(stats.panics, self.panics, "panics of its handler: {stats:?}");
        (stats, ending)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.remote.run(|cx| cx.stop());
    }
}

/// After the end everything is accounted for.
#[track_caller]
pub(crate) fn expect_balanced(stats: &Stats) {
    assert_eq!(stats.open(), 0, "connections are left: {stats:?}");
    assert_eq!(stats.bytes_unconsumed(), 0, "input is left: {stats:?}");
    assert_eq!(stats.bytes_waiting(), 0, "output is left: {stats:?}");
}

/// Connections that ended for a reason, as a list that reads well when it is not the expected one.
pub(crate) fn closed(stats: &Stats) -> Vec<(CloseReason, u64)> {
    let counts = CloseReason::ALL.map(|reason| (reason, stats.closed(reason)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

// ---- a reactor turned by hand ----

/// A reactor whose turns the test makes itself, so that it decides what falls into one batch of
/// events.
pub(crate) struct ByHand<H: Handler> {
    pub(crate) reactor: Reactor<H>,
    pub(crate) address: Address,
}

impl<H: Handler> ByHand<H> {
    pub(crate) fn new(config: Config, handler: H) -> Self {
        let mut reactor = Reactor::new(config, handler).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&address, &ListenOptions::default()).unwrap();
        ByHand { reactor, address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// One turn that does not wait: a task is there before the poll.
    pub(crate) fn turn(&mut self) {
        self.reactor.remote().run(|_| ()).unwrap();
        self.reactor.turn().unwrap();
    }

    /// Sends a pattern, a mebibyte a turn, until the kernel takes no more. Returns how many bytes were queued.
    pub(crate) fn fill_the_kernel(&mut self, token: Token) -> usize {
        let mut queued = 0;
        while self.reactor.stats().bytes_waiting() == 0 {
            let piece = pattern(1, queued, MIB);
            self.reactor.with_context(|_, cx| assert!(cx.send(token, piece)));
            queued += piece.len();
            self.turn();
        }
        queued
    }

    #[track_caller]
    pub(crate) fn turn_until(&mut self, what: &str, condition: impl Fn(&mut Reactor<H>) -> bool) {
        self.turn_across(what, condition);
    }

    /// As [`turn_until`](Self::turn_until). Returns when it came true.
    #[track_caller]
    pub(crate) fn turn_across(
        &mut self,
        what: &str,
        condition: impl Fn(&mut Reactor<H>) -> bool,
    ) -> Moment {
        let deadline = Instant::now() + PATIENCE;
        let mut began = Instant::now();
        let mut after = began;
        while !condition(&mut self.reactor) {
            assert!(Instant::now() < deadline, "never came true: {what}");
            after = std::mem::replace(&mut began, Instant::now());
            self.turn();
        }
        Moment { after, before: Instant::now() }
    }
}

/// When something happened: in a turn that began after the one and ended before the other. The turn
/// before that one, which did not bring it, began at `after`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) after: Instant,
    pub(crate) before: Instant,
}

/// A deadline is kept in the first turn that begins a tick behind it, and in none that ends before
/// it: a machine that lets the turns wait changes nothing about that.
#[track_caller]
pub(crate) fn expect_on_time(set: Moment, kept: Moment, span: Duration, tick: Duration) {
    let most = kept.before - set.after;
    assert!(most >= span, "{most:?} is early for {span:?}");
    // The last turn without it.
    let least = kept.after.saturating_duration_since(set.before);
    assert!(least <= span + tick + STAMP, "{least:?} is late for {span:?}");
}

/// Points in time are kept as whole milliseconds.
const STAMP: Duration = Duration::from_millis(1);

// ---- clients ----

pub(crate) fn socket_address(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        Address::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

pub(crate) fn connect(address: &Address) -> TcpStream {
    patient(TcpStream::connect(socket_address(address)).expect("cannot connect"))
}

/// From another address of this machine than 127.0.0.1.
pub(crate) fn connect_from(source: &str, address: &Address) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&socket_address(address).into()).unwrap();
    patient(socket.into())
}

/// An address under which other machines would know this one, if it has one. Nothing is sent.
pub(crate) fn outward_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let address = found.ok().map(|address| address.ip()).filter(|address| !address.is_loopback());
    if address.is_none() {
        eprintln!("skipped: this machine has no address but its own");
    }
    address
}

/// A client with small buffers in the kernel, so that it does not take much that it does not read.
pub(crate) fn connect_narrow(address: &Address, receive_buffer: usize) -> TcpStream {
    let address = socket_address(address);
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect(&address.into()).expect("cannot connect");
    patient(socket.into())
}

/// No call on this socket waits for ever.
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn end_sending(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Closes with a reset instead of an end of stream.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[track_caller]
pub(crate) fn send(mut stream: impl Write, bytes: &[u8]) {
    stream.write_all(bytes).expect("cannot send");
}

#[track_caller]
pub(crate) fn expect_bytes(mut stream: impl Read, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    if let Err(error) = stream.read_exact(&mut bytes) {
        panic!("expected {} bytes: {error}", expected.len());
    }
    assert!(bytes == expected, "{} differs from {}", excerpt(&bytes), excerpt(expected));
}

/// Bytes and nothing behind them.
#[track_caller]
pub(crate) fn expect_last_bytes(mut stream: impl Read, expected: &[u8]) {
    expect_bytes(&mut stream, expected);
    expect_eof(stream);
}

#[track_caller]
pub(crate) fn expect_eof(mut stream: impl Read) {
    let mut byte = [0; 64];
    match stream.read(&mut byte) {
        Ok(0) => {}
        Ok(n) => panic!("expected the end of the stream, got {}", excerpt(&byte[..n])),
        Err(error) => panic!("expected the end of the stream: {error}"),
    }
}

/// The connection is gone: the end of the stream, or a reset.
#[track_caller]
pub(crate) fn expect_gone(mut stream: impl Read) {
    let mut bytes = vec![0; 64 * KIB];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => panic!("the connection is still there"),
            Err(_) => return,
        }
    }
}

/// After what may still come, a reset and not an end of stream. Returns how many bytes came.
#[track_caller]
pub(crate) fn expect_reset(mut stream: impl Read) -> usize {
    let mut bytes = vec![0; 64 * KIB];
    let mut count = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => panic!("expected a reset, got the end of the stream"),
            Ok(n) => count += n,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return count,
            Err(error) => panic!("expected a reset: {error}"),
        }
    }
}

/// Nothing comes within `span`.
#[track_caller]
pub(crate) fn expect_silence(mut stream: &TcpStream, span: Duration) {
    stream.set_read_timeout(Some(span)).unwrap();
    let mut byte = [0; 64];
    match stream.read(&mut byte) {
        Err(error) if is_timeout(&error) => {}
        other => panic!("expected silence, got {other:?} {}", excerpt(&byte)),
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Sends until the peer reads no more, or has gone; returns how much was taken. A peer that is only
/// late is waited for: nothing is taken through so many of its turns, and `turn` is over after one.
pub(crate) fn send_until_blocked(mut stream: &TcpStream, bytes: &[u8], turn: impl Fn()) -> usize {
    const TURNS: usize = 100;
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut turns) = (0, 0);
    while turns < TURNS {
        match stream.write(&bytes[sent % bytes.len()..]) {
            Ok(n) => (sent, turns) = (sent + n, 0),
            Err(error) if is_timeout(&error) => {
                turn();
                turns += 1;
            }
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_debug().to_string()
}

// ---- bytes that know their place ----

/// A prime, so that no power of two is a multiple of the period.
const PERIOD: usize = 1_048_573;

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..PERIOD).map(byte).collect()
    })
}

/// The stream of bytes with this seed, from `at` on: as many as lie in one piece, at most `len`.
pub(crate) fn pattern(seed: usize, at: usize, len: usize) -> &'static [u8] {
    let start = (seed * 7919 + at) % PERIOD;
    &table()[start..(start + len).min(PERIOD)]
}

#[track_caller]
pub(crate) fn send_pattern(mut stream: impl Write, seed: usize, from: usize, len: usize) {
    let mut at = from;
    while at < from + len {
        let piece = pattern(seed, at, (from + len - at).min(256 * KIB));
        if let Err(error) = stream.write_all(piece) {
            panic!("cannot send the bytes from {at} on: {error}");
        }
        at += piece.len();
    }
}

/// Reads `len` bytes; each must be the one that belongs there.
#[track_caller]
pub(crate) fn expect_pattern(mut stream: impl Read, seed: usize, from: usize, len: usize) {
    let mut buffer = vec![0; 64 * KIB];
    let mut at = from;
    while at < from + len {
        let most = buffer.len().min(from + len - at);
        let n = match stream.read(&mut buffer[..most]) {
            Ok(0) => panic!("the stream ended at {at} of {}", from + len),
            Ok(n) => n,
            Err(error) => panic!("at {at} of {}: {error}", from + len),
        };
        check_pattern(&buffer[..n], seed, at);
        at += n;
    }
}

#[track_caller]
pub(crate) fn check_pattern(mut bytes: &[u8], seed: usize, mut at: usize) {
    while !bytes.is_empty() {
        let piece = pattern(seed, at, bytes.len());
        assert!(
            bytes[..piece.len()] == *piece,
            "wrong bytes between {at} and {}",
            at + piece.len()
        );
        at += piece.len();
        bytes = &bytes[piece.len()..];
    }
}

/// Sends and reads at once, then ends and expects the end.
#[track_caller]
pub(crate) fn echo_one(stream: &TcpStream, seed: usize, len: usize) {
    thread::scope(|scope| {
        scope.spawn(|| {
            send_pattern(stream, seed, 0, len);
            end_sending(stream);
        });
        expect_pattern(stream, seed, 0, len);
        expect_eof(stream);
    });
}

/// Small numbers without a pattern, the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}
