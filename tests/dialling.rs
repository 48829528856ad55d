//! Outgoing connections: the caller knows each of them again, and what is sent before one is established
//! waits for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use common::nowhere::Nowhere;
use common::{
    PATIENCE, closed, end_sending, expect_bytes, expect_eof, patient, send, start, start_by,
};
use edgeloop::service::{Echo, HandlerFn, OnData};
use edgeloop::{Address, CloseReason, Config, Context, Gate, ListenOptions, Origin, Reactor};
use socket2::{Domain, Socket, Type};

/// What was called, and what the connection was dialled with.
type Seen = (&'static str, Option<u64>);

/// Reports with which data connections opened, failed and ended.
fn reporting() -> (HandlerFn<(), impl OnData<()>>, Receiver<Seen>) {
    let (seen, receiver) = mpsc::channel();
    let (failed, ended): (Sender<_>, Sender<_>) = (seen.clone(), seen.clone());
    let handler = HandlerFn::new(
        move |cx, token| seen.send(("opened", cx.dialled(token))).unwrap_or_default(),
        |_, _, (), input| {
            input.clear();
            Ok(())
        },
    )
    .on_connect_error(move |cx, token, _| {
        failed.send(("failed", cx.dialled(token))).unwrap_or_default()
    })
    .on_close(move |cx, token, (), _| ended.send(("ended", cx.dialled(token))).unwrap_or_default());
    (handler, receiver)
}

#[test]
fn caller_knows_again_what_it_dialled_and_what_has_failed() {
    let (handler, seen) = reporting();
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    let server = start(Config::default(), handler);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (there, nowhere) = (listener.local_addr().unwrap(), Nowhere::new());
    let absent = nowhere.address;
    server.ask(move |cx| cx.connect(&there.into(), 7)).unwrap();
    assert_eq!(next(), ("opened", Some(7)));
    server.ask(move |cx| cx.connect(&absent.into(), u64::MAX)).unwrap();
    assert_eq!(next(), ("failed", Some(u64::MAX)));
    // One that came to a listener was not dialled.
    let stream = server.connect();
    assert_eq!(next(), ("opened", None));
    end_sending(&stream);
    assert_eq!(next(), ("ended", None));
    drop(listener.accept().unwrap());
    assert_eq!(next(), ("ended", Some(7)));
    server.finish();
}

#[test]
fn what_is_sent_before_a_connection_is_established_comes_first() {
    let (handler, seen) = reporting();
    let handler = handler.on_open(|cx, token| {
        cx.send(token, b"opened");
    });
    let server = start(Config::default(), handler);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there: Address = listener.local_addr().unwrap().into();
    let queued = server.ask(move |cx| {
        let token = cx.connect(&there, 0).unwrap();
        (cx.send(token, b"one "), cx.send(token, b"two "), cx.output_len(token))
    });
    assert_eq!(queued, (true, true, 8));
    let stream = patient(listener.accept().unwrap().0);
    expect_bytes(&stream, b"one two opened");
    end_sending(&stream);
    expect_eof(&stream);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("ended", Some(0)));
    server.finish();
}

#[test]
fn what_was_sent_to_a_connection_that_is_never_established_is_dropped_and_counted() {
    let (handler, seen) = reporting();
    let server = start(Config::default(), handler);
    let nowhere = Nowhere::new();
    let absent = nowhere.address;
    let queued = server.ask(move |cx| {
        let token = cx.connect(&absent.into(), 0).unwrap();
        cx.send(token, b"in vain")
    });
    assert!(queued);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("failed", Some(0)));
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::ConnectFailed, 1)]);
    assert_eq!((stats.bytes_queued, stats.bytes_dropped), (7, 7));
}

#[test]
fn queue_of_a_connection_that_is_not_established_has_the_limit_of_others() {
    let (handler, _seen) = reporting();
    let server = start(Config { output_limit: 1024, ..Config::default() }, handler);
    let nowhere = Nowhere::new();
    let absent = nowhere.address;
    let queued = server.ask(move |cx| {
        let token = cx.connect(&absent.into(), 0).unwrap();
        [cx.send(token, &[0; 1024]), cx.send(token, &[0])]
    });
    assert_eq!(queued, [true, false]);
    assert_eq!(closed(&server.finish()), [(CloseReason::OutputLimit, 1)]);
}

// ---- made elsewhere ----

fn dialled(to: SocketAddr) -> Origin {
    Origin::Dialled { to: to.into(), data: 3 }
}

#[test]
fn connection_that_is_on_its_way_is_adopted_and_opens_once_it_is_established() {
    let (handler, seen) = reporting();
    let server = start(Config::default(), handler);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    // From an address that the program chose.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.9:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _in_progress = socket.connect(&to.into());
    let token = server.ask(move |cx| {
        let token = cx.adopt(socket, dialled(to)).unwrap();
        assert!(cx.send(token, b"early"));
        token
    });
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("opened", Some(3)));
    let (stream, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    expect_bytes(&stream, b"early");
    assert_eq!(server.ask(move |cx| cx.peer_address(token)), Some(to.into()));
    drop(stream);
    assert_eq!(server.finish().dialled, 1);
}

#[test]
fn connection_that_fails_on_its_way_is_told_as_one_that_was_dialled_here() {
    let (handler, seen) = reporting();
    let server = start(Config::default(), handler);
    let nowhere = Nowhere::new();
    let to = nowhere.address;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _in_progress = socket.connect(&to.into());
    server.ask(move |cx| cx.adopt(socket, dialled(to)).unwrap());
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("failed", Some(3)));
    assert_eq!(closed(&server.finish()), [(CloseReason::ConnectFailed, 1)]);
}

#[test]
fn accepted_connections_of_both_kinds_are_adopted_and_served() {
    let server = start(Config::default(), Echo::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, from) = listener.accept().unwrap();
    send(&tcp, b"sent before");
    let token = server.ask(move |cx| cx.adopt(accepted, Origin::Accepted).unwrap());
    expect_bytes(&tcp, b"sent before");
    assert_eq!(server.ask(move |cx| cx.peer_address(token)), Some(from.into()));
    let (unix, accepted) = UnixStream::pair().unwrap();
    server.ask(move |cx| cx.adopt(accepted, Origin::Accepted).unwrap());
    send(&unix, b"hello");
    expect_bytes(&unix, b"hello");
    drop((tcp, unix));
    let stats = server.finish();
    assert_eq!((stats.accepted, stats.dialled), (2, 0));
}

/// Lets so many in.
struct Places(usize);

impl Gate for Places {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        self.0 = self.0.checked_sub(1).ok_or(CloseReason::AddressLimit)?;
        Ok(())
    }
    fn release(&mut self, _: &Address, _: Instant) {
        self.0 += 1;
    }
}

#[test]
fn gate_is_asked_for_adopted_connections_and_told_of_their_end() {
    let server = start_by(Config::default(), Echo::new(), |reactor| {
        reactor.set_gate(Places(1));
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    });
    let adopt = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let adopted =
            server.ask(move |cx| cx.adopt(theirs, Origin::Accepted).map_err(|error| error.kind()));
        (ours, adopted)
    };
    let (first, adopted) = adopt();
    adopted.unwrap();
    assert_eq!(adopt().1, Err(io::ErrorKind::PermissionDenied));
    // Nor may somebody come in by the listener.
    expect_eof(&server.connect());
    drop(first);
    server.wait_until("it has gone", |stats| stats.open() == 0);
    adopt().1.unwrap();
    let stats = server.finish();
    assert_eq!(closed(&stats)[..1], [(CloseReason::PeerClosed, 2)]);
    assert_eq!(stats.closed(CloseReason::AddressLimit), 2);
}

#[test]
fn connection_that_memory_ends_before_it_is_established_is_told_as_a_failure() {
    let (handler, seen) = reporting();
    let config = Config { buffer_memory: 1 << 20, output_limit: 4 << 20, ..Config::default() };
    let server = start(config, handler);
    // Nobody accepts: the backlog is full, so this one stays on its way.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let there = listener.local_addr().unwrap().as_socket().unwrap();
    let _inside = TcpStream::connect(there).unwrap();
    server.ask(move |cx| {
        let token = cx.connect(&there.into(), 5).unwrap();
        assert!(cx.send(token, &vec![0; 3 << 20]));
    });
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("failed", Some(5)));
    assert_eq!(closed(&server.finish()), [(CloseReason::Memory, 1)]);
}

#[test]
fn what_is_no_stream_of_this_kind_is_refused_in_words() {
    let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
    let datagrams = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let packets = || OwnedFd::from(Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let listening = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let connected = || OwnedFd::from(TcpStream::connect(there).unwrap());
    for (socket, words) in [
        (datagrams(), "neither a TCP socket nor a Unix socket"),
        (packets(), "neither a TCP socket nor a Unix socket"),
        (file(), "it is no socket"),
        (connected(), "cannot listen on the socket that was given: "),
    ] {
        let error = reactor.listen_on(socket, &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().starts_with("cannot listen on the socket"), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    for origin in [Origin::Accepted, dialled(there)] {
        for (socket, words) in [
            (datagrams(), "neither a TCP socket nor a Unix socket"),
            (packets(), "neither a TCP socket nor a Unix socket"),
            (file(), "it is no socket"),
            (listening(), "it listens"),
        ] {
            let adopt = |cx: &mut Context<'_>| cx.adopt(socket, origin.clone()).unwrap_err();
            let error = reactor.with_context(|_, cx| adopt(cx));
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().starts_with("cannot take the socket over"), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    assert_eq!((reactor.stats().accepted, reactor.stats().dialled), (0, 0));
}

#[test]
fn adopted_connection_needs_a_place_in_the_table() {
    let config = Config { connections_max: 1, ..Config::default() };
    let mut reactor = Reactor::new(config, Echo::new()).unwrap();
    let [first, second] = [0; 2].map(|_| UnixStream::pair().unwrap());
    let (first, second) = reactor.with_context(|_, cx| {
        (cx.adopt(first.1, Origin::Accepted), cx.adopt(second.1, Origin::Accepted))
    });
    assert!(first.is_ok());
    assert!(second.unwrap_err().to_string().contains("full"));
}

#[test]
fn listener_made_elsewhere_serves_those_who_wait_there_already() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let early = TcpStream::connect(address).unwrap();
    send(&early, b"early");
    let server = start_by(Config::default(), Echo::new(), move |reactor| {
        reactor.listen_on(listener, &ListenOptions::default()).unwrap()
    });
    assert_eq!(server.address, address.into());
    expect_bytes(&early, b"early");
    // Options that accepted sockets inherit are set there, too.
    let late = server.connect();
    send(&late, b"late");
    expect_bytes(&late, b"late");
    drop((early, late));
    server.finish();
}

#[test]
fn file_of_a_unix_listener_made_elsewhere_stays() {
    let path = std::env::temp_dir().join(format!("edgeloop-adopted-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = start_by(Config::default(), Echo::new(), move |reactor| {
        reactor.listen_on(listener, &ListenOptions::default()).unwrap()
    });
    assert_eq!(server.address, Address::Unix(path.clone()));
    let client = UnixStream::connect(&path).unwrap();
    send(&client, b"hello");
    expect_bytes(&client, b"hello");
    drop(client);
    server.finish();
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
    assert!(!path.with_extension("lock").exists());
}
