//! A peer that vanishes without a word: the kernel is asked to find out, and what it says counts.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::handlers::silent;
use common::scripted::Scripted;
use common::*;
use edgeloop::service::HandlerFn;
use edgeloop::{CloseReason, Config, Context, Handler, ListenOptions, Reactor, RingBuffer};
use socket2::{Domain, SockRef, Socket, Type};

const SECOND: Duration = Duration::from_secs(1);

/// What an accepted socket has: time before the first probe, between two, and their number; and how
/// long what was sent may be unacknowledged.
#[derive(Debug, PartialEq)]
struct Watch {
    idle: Duration,
    interval: Duration,
    probes: u32,
    unacknowledged: Option<Duration>,
}

/// Asks the socket of an accepted connection itself, on which no option was set.
fn accepted_with(config: Config) -> Option<Watch> {
    let (tell, told) = mpsc::channel();
    let mut reactor = Reactor::new(config, silent()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let wrap = move |socket: mio::net::TcpStream| {
        let socket = SockRef::from(&socket);
        let watch = socket.keepalive().unwrap().then(|| Watch {
            idle: socket.tcp_keepalive_time().unwrap(),
            interval: socket.tcp_keepalive_interval().unwrap(),
            probes: socket.tcp_keepalive_retries().unwrap(),
            unacknowledged: socket.tcp_user_timeout().unwrap(),
        });
        tell.send(watch).unwrap();
        Err(std::io::ErrorKind::ConnectionAborted.into())
    };
    let address = reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap();
    let _client = connect(&address);
    reactor.turn().unwrap();
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn accepted_socket_is_watched_as_its_listener_says() {
    let watch = accepted_with(Config::default()).unwrap();
    let (idle, interval) = (150 * SECOND, 50 * SECOND);
    assert_eq!(watch, Watch { idle, interval, probes: 3, unacknowledged: Some(300 * SECOND) });
    assert_eq!(accepted_with(Config { keepalive: None, ..Config::default() }), None);
    // Nothing may end the wait for a peer that takes nothing.
    let config = Config { write_timeout: None, ..Config::default() };
    assert_eq!(accepted_with(config).unwrap().unacknowledged, None);
}

#[test]
fn probes_end_when_the_time_is_over() {
    for seconds in [4, 5, 6, 7, 10, 11, 60, 3600, 43_200] {
        let keepalive = Some(Duration::from_secs(seconds));
        let watch = accepted_with(Config { keepalive, ..Config::default() }).unwrap();
        assert_eq!((watch.idle + 3 * watch.interval).as_secs(), seconds, "{watch:?}");
        assert!(watch.idle <= Duration::from_secs(seconds.div_ceil(2)), "{watch:?}");
        assert_eq!(watch.unacknowledged, Some(Duration::from_secs(seconds)));
    }
    let keepalive = Some(Duration::from_millis(4001));
    let watch = accepted_with(Config { keepalive, ..Config::default() }).unwrap();
    assert_eq!(watch.unacknowledged, Some(5 * SECOND));
}

#[test]
fn time_out_of_range_is_named() {
    for keepalive in [Duration::ZERO, Duration::from_millis(3999), Duration::from_secs(43_201)] {
        let config = Config { keepalive: Some(keepalive), ..Config::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with("keepalive "), "{error}");
    }
}

#[test]
fn dialled_connection_is_watched_too() {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = peer.local_addr().unwrap();
    for (keepalive, timer) in [(Config::default().keepalive, "02"), (None, "00")] {
        let config = Config { keepalive, ..Config::default() };
        let mut reactor = Reactor::new(config, dialler()).unwrap();
        reactor.with_context(|_, cx| cx.connect(&to.into(), 0)).unwrap();
        let (stream, from) = peer.accept().unwrap();
        while !reactor.with_context(|is_connected, _| **is_connected) {
            reactor.turn().unwrap();
        }
        assert_eq!(timer_of(from, to), timer);
        drop(stream);
    }
}

#[test]
fn connect_timeout_is_longer_than_keepalive_if_it_says_so() {
    // One connection is as many as wait here; what the next one sends is dropped.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let to = listener.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(to).unwrap();
    let config =
        Config { keepalive: Some(4 * SECOND), connect_timeout: 5 * SECOND, ..Config::default() };
    let mut reactor = Reactor::new(config, dialler()).unwrap();
    let begun = Instant::now();
    reactor.with_context(|_, cx| cx.connect(&to.into(), 0)).unwrap();
    while reactor.stats().open() > 0 {
        reactor.turn().unwrap();
    }
    assert!(begun.elapsed() >= 5 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(closed(reactor.stats()), [(CloseReason::ConnectFailed, 1)]);
}

/// The timer that runs on a socket, as /proc/net/tcp names it: 02 is the one of keepalive.
fn timer_of(local: SocketAddr, remote: SocketAddr) -> String {
    let name = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let wanted = format!(" {} {} ", name(local), name(remote));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&wanted)).expect("its line");
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields[5].split_once(':').unwrap().0.to_owned()
}

// The link to a network of its own is cut: with nothing under way, and with bytes under way.
#[test]
#[ignore = "needs root, and ten seconds: networks are made and cut off"]
fn peer_that_vanished_is_gone_within_the_time() {
    if let Some(why) = Network::obstacle() {
        return println!("skipped: {why}");
    }
    for talks in [false, true] {
        let network = Network::new(if talks { 1 } else { 2 });
        let config = Config { keepalive: Some(4 * SECOND), ..Config::default() };
        let talker = talker(talks.then_some(SECOND / 5));
        let server = start_on(&format!("{}:0", network.address()), config, talker);
        let address = socket_address(&server.address);
        let _peer = network.peer(address);
        let begun = Instant::now();
        while server.stats().open() == 0 {
            assert!(begun.elapsed() < PATIENCE, "it does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
        network.cut();
        let cut = Instant::now();
        while server.stats().open() > 0 {
            assert!(cut.elapsed() < 3 * 4 * SECOND, "it is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The kernel's timers are late by an eighth, and the last sign of life was a little earlier.
        let took = cut.elapsed();
        assert!((2 * SECOND..7 * SECOND).contains(&took), "{took:?}");
        assert_eq!(closed(&server.stats()), [(CloseReason::KeepaliveTimeout, 1)]);
        server.finish();
    }
}

#[test]
#[ignore = "the process at the other end of the test above"]
fn peer_in_a_network_of_its_own() {
    let Ok(address) = std::env::var("KEEPALIVE_PEER") else { return };
    let stream = TcpStream::connect(address).unwrap();
    println!("it is connected");
    // Until it is killed.
    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
}

/// Knows whether a connection that it dialled is established.
fn dialler() -> Scripted<bool> {
    let on_open = |is_connected: &mut bool, _: &mut Context<'_>, _| *is_connected = true;
    Scripted::new(false, on_open, |_, _, _, (), _| Ok(()))
}

/// Says something again and again, if it has a pause to make in between.
fn talker(pause: Option<Duration>) -> impl Handler + Send {
    let on_open = move |cx: &mut Context<'_>, token| {
        if let Some(pause) = pause {
            cx.set_timer(token, pause);
        }
        pause
    };
    let on_data = |_: &mut Context<'_>, _, _: &mut _, input: &mut RingBuffer| {
        input.clear();
        Ok(())
    };
    HandlerFn::new(on_open, on_data).on_timer(|cx, token, pause| {
        cx.send(token, b"x");
        cx.set_timer(token, pause.expect("it was set with one"));
    })
}

/// Two ends of a cable, the far one in a network namespace.
struct Network {
    number: u8,
}

impl Network {
    fn obstacle() -> Option<&'static str> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|it| {
            use std::os::unix::fs::MetadataExt;
            it.uid() == 0
        });
        let probe = || Command::new("ip").args(["netns", "list"]).output();
        match (is_root, is_root.then(probe)) {
            (false, _) => Some("networks can be made by root only"),
            (true, Some(Ok(output))) if output.status.success() => None,
            _ => Some("`ip netns` does not work here"),
        }
    }

    fn new(number: u8) -> Network {
        let network = Network { number };
        let (space, near, far) = network.names();
        ip(&["netns", "add", &space]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &space]);
        ip(&["addr", "add", &format!("{}/24", network.address()), "dev", &near]);
        ip(&["link", "set", &near, "up"]);
        let there = format!("10.214.{number}.2/24");
        ip(&["-n", &space, "addr", "add", &there, "dev", &far]);
        ip(&["-n", &space, "link", "set", &far, "up"]);
        network
    }

    fn names(&self) -> (String, String, String) {
        let tag = format!("{}{}", std::process::id() % 100_000, self.number);
        (format!("elk{tag}"), format!("eln{tag}"), format!("elf{tag}"))
    }

    fn address(&self) -> String {
        format!("10.214.{}.1", self.number)
    }

    /// A client there, connected.
    fn peer(&self, address: SocketAddr) -> Peer {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names().0]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "peer_in_a_network_of_its_own", "--ignored", "--nocapture"]);
        command.env("KEEPALIVE_PEER", address.to_string()).stdout(Stdio::piped());
        let mut peer = Peer(command.spawn().unwrap());
        let mut lines = BufReader::new(peer.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("it is connected")));
        peer
    }

    fn cut(&self) {
        ip(&["-n", &self.names().0, "link", "set", &self.names().2, "down"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let (space, near, _) = self.names();
        for words in [["link", "del", &near], ["netns", "del", &space]] {
            let _ = Command::new("ip").args(words).status();
        }
    }
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words:?}: {text}");
}
