//! What a message costs in heap allocations once a loop is warm: none, for an echo, for the
//! delivery of a broadcast, for an HTTP request.
//!
//! How it is done: this binary's allocator counts what is asked of it on a thread while that thread
//! is inside a turn of the reactor, which is what `interposed::watch` marks. The clients on the
//! same thread may allocate as they like.

#![expect(unsafe_code, reason = "an allocator is unsafe to write")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod interposed;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edgeloop::codec::Delimited;
use edgeloop::service::{Broadcast, Echo, EchoLines, Framed, Framing, Kv, KvConfig};
use edgeloop::{CloseReason, Config, Handler, SlowConsumer, TopicConfig};

use interposed::stage::{Client, Stage};
use interposed::{is_watched, watch};

/// The system's allocator, counting.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not given back.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn count(size: usize) {
    if is_watched() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get().wrapping_add(size));
    }
}

fn count_back(size: usize) {
    if is_watched() {
        HELD.set(HELD.get().wrapping_sub(size));
    }
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_back(layout.size());
        count(size);
        // SAFETY: the caller's block, which is the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_back(layout.size());
        // SAFETY: the caller's block, which is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts of zero would make every test below pass.
#[test]
fn canary_allocations_of_turns_are_counted_and_no_others() {
    let before = ALLOCATIONS.get();
    drop(Vec::<u8>::with_capacity(100));
    assert_eq!(ALLOCATIONS.get(), before);
    watch(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100))));
    assert_eq!(ALLOCATIONS.get(), before + 1);
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut client, _) = stage.join();
    let before = ALLOCATIONS.get();
    stage.echo(&mut client, b"the first message warms up").unwrap();
    assert!(ALLOCATIONS.get() > before, "the first buffer must come from somewhere");
    stage.wind_up([client]);
}

#[test]
fn echo_in_ping_pong_allocates_nothing() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    ping_pong(&mut stage, 64, 64);
}

#[test]
fn echo_of_lines_allocates_nothing() {
    let mut stage =
        Stage::new(Config::default(), Framed::new(Delimited::lines(4096), EchoLines::new("")));
    ping_pong(&mut stage, 64, 64);
}

#[test]
fn echo_of_64_kib_messages_allocates_nothing() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    ping_pong(&mut stage, 8, 64 << 10);
}

/// A record each way costs rustls two.
#[cfg(feature = "tls")]
#[test]
fn echo_over_tls_allocates_twice_for_a_message() {
    use edgeloop::tls::{Identity, TlsServer, TlsServerConfig};
    use rustls::pki_types::CertificateDer;
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let config = TlsServerConfig { identities: vec![identity], ..TlsServerConfig::default() };
    let tls = TlsServer::new(config).unwrap();
    let mut stage = Stage::new(Config::default(), Echo::new());
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let address = stage.reactor.listen_layered(&anywhere, &Default::default(), tls.wrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(pair.cert.der().to_vec())).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots);
    let client = std::sync::Arc::new(client.with_no_client_auth());
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(client, name).unwrap();
    let mut socket = TcpStream::connect(address.to_string()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut message = [7; 64];
    let mut before = 0;
    for number in 0..1100 {
        // The first ones bring the buffers.
        if number == 100 {
            before = ALLOCATIONS.get();
        }
        session.writer().write_all(&message).unwrap();
        stage.until("the message came back", |_| {
            while session.wants_write() {
                session.write_tls(&mut socket).unwrap();
            }
            while session.read_tls(&mut socket).is_ok() {
                session.process_new_packets().unwrap();
            }
            session.reader().read_exact(&mut message).ok()
        });
    }
    let each = (ALLOCATIONS.get() - before) as f64 / 1000.0;
    assert!(each > 0.0 && each <= 2.0, "{each} allocations for a message");
    drop(socket);
    stage.until("all are gone", |stage| (stage.audit().open() == 0).then_some(()));
}

/// With the routes of the program, two layers, and answers to batches of requests.
#[cfg(feature = "http")]
#[test]
fn http_requests_allocate_nothing() {
    use edgeloop::service::web::{Next, Request, RequestLimit, Response, Router, WebConfig};
    use std::io::Write as _;
    let layer = |request: &Request<'_>, response: &mut Response, next: Next<'_>| {
        next.run(request, response);
        response.header("X-Path", request.path());
    };
    let router = Router::new()
        .get("/plaintext", |_, response| {
            response.header("Content-Type", "text/plain").fixed(b"Hello, World!");
        })
        .get("/hello/:name", |request, response| {
            write!(response, "Hello, {}!", request.param("name").unwrap()).unwrap();
        })
        .post("/length", |request, response| {
            write!(response, "{}", request.body.len()).unwrap();
        })
        .wrap(RequestLimit::new(1_000_000, 1_000_000, 1000))
        .wrap(layer);
    let mut stage = Stage::new(Config::default(), router.serve(WebConfig::default()).unwrap());
    let mut clients: Vec<Client> = (0..16).map(|_| stage.join().0).collect();
    let batch = b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /hello/you?a=b HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\n\r\n\
        POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut round = |stage: &mut Stage<_>| {
        for client in &mut clients {
            client.received.clear();
            client.send(batch).unwrap();
        }
        for client in &mut clients {
            stage.until("answered", |_| {
                client.fill().unwrap();
                client.received.ends_with(b"\r\n\r\nNot Found\n").then_some(())
            });
        }
    };
    (0..20).for_each(|_| round(&mut stage));
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| round(&mut stage));
    assert_eq!(ALLOCATIONS.get() - before, 0, "for {} requests", 100 * 16 * 4);
    stage.wind_up(clients);
}

/// Idle and write deadlines are armed, looked at and moved all the time: a tick is one millisecond.
#[test]
fn timers_allocate_nothing() {
    let config = Config {
        idle_timeout: Some(Duration::from_millis(500)),
        write_timeout: Some(Duration::from_millis(500)),
        tick: Duration::from_millis(1),
        ..Config::default()
    };
    let mut stage = Stage::new(config, Echo::new());
    ping_pong(&mut stage, 32, 1000);
}

/// Clients that write as long as the kernel takes anything, and read a little of it now and then:
/// writes are cut, outputs fill, reading is held at the high-water mark and taken up again.
#[test]
fn echo_to_late_readers_allocates_nothing() {
    let config = Config { buffer_reserve: 64 << 20, ..Config::default() };
    let mut stage = Stage::new(config, Echo::new());
    // Few, so that the pool has soon seen every size of rest that they can leave at the same time.
    let mut clients: Vec<Client> = (0..3).map(|_| stage.join().0).collect();
    let mut moved = 0;
    let mut round = |stage: &mut Stage<Echo>, count: usize| {
        for client in &mut clients {
            push(&mut client.socket, &[9; 32 << 10]);
            // A pull takes more than comes back at times and less at others.
            moved += pull(&mut client.socket, if count % 8 < 5 { 8 << 10 } else { 64 << 10 });
        }
        stage.turn();
    };
    steady(2000, |count| round(&mut stage, count));
    assert!(moved > 100 << 20, "{moved} bytes are no stream");
    stage.wind_up(clients);
}

#[test]
fn broadcast_delivery_allocates_nothing() {
    let mut stage = broadcast(TopicConfig::default());
    let mut clients: Vec<Client> = (0..40).map(|_| stage.join().0).collect();
    let line = [[b'x'; 99].as_slice(), b"\n"].concat();
    let mut round = |stage: &mut Stage<Broadcast>| {
        for client in &mut clients[..8] {
            client.send(&line.repeat(5)).unwrap();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let wanted = if index < 8 { 35 } else { 40 } * line.len();
            client.received.clear();
            stage.until("delivered", |_| {
                client.fill().unwrap();
                (client.received.len() == wanted).then_some(())
            });
        }
    };
    (0..50).for_each(|_| round(&mut stage));
    let (before, delivered) = (ALLOCATIONS.get(), stage.reactor.stats().messages_delivered);
    (0..200).for_each(|_| round(&mut stage));
    let delivered = stage.reactor.stats().messages_delivered - delivered;
    assert_eq!(delivered, 200 * 8 * 5 * 39);
    assert_eq!(ALLOCATIONS.get() - before, 0, "for {delivered} deliveries");
    stage.wind_up(clients);
}

/// Some subscribers read slowly: their writes are cut in the middle of a message, all the time; the
/// ring keeps what they have not been given, and publishers wait for it.
#[test]
fn broadcast_to_slow_subscribers_allocates_nothing() {
    for slow_consumer in [SlowConsumer::Wait, SlowConsumer::Skip] {
        let config = TopicConfig {
            memory: 64 << 10,
            slow_consumer,
            patience: Duration::from_millis(20),
            ..TopicConfig::default()
        };
        let mut stage = broadcast(config);
        let mut publishers: Vec<Client> = (0..2).map(|_| stage.join().0).collect();
        let mut readers: Vec<Client> = (0..8).map(|_| stage.join().0).collect();
        for reader in &readers[..3] {
            socket2::SockRef::from(&reader.socket).set_recv_buffer_size(128 << 10).unwrap();
        }
        let mut line = [b'x'; 1000];
        line[999] = b'\n';
        let batch = line.repeat(16);
        let mut round = |stage: &mut Stage<Broadcast>, count: usize| {
            for publisher in &mut publishers {
                // Cut lines would be joined to the next ones; that is nothing to this test.
                push(&mut publisher.socket, &batch);
                pull(&mut publisher.socket, 1 << 20);
            }
            for (index, reader) in readers.iter_mut().enumerate() {
                match index {
                    0..3 if count.is_multiple_of(3) => drop(pull(&mut reader.socket, 24 << 10)),
                    0..3 => {}
                    _ => drop(pull(&mut reader.socket, 1 << 20)),
                }
            }
            stage.turn();
        };
        let stats = stage.reactor.stats().clone();
        steady(1000, |count| round(&mut stage, count));
        let now = stage.reactor.stats();
        let delivered = now.messages_delivered - stats.messages_delivered;
        assert!(delivered > 20_000, "{slow_consumer:?}: {now}");
        if slow_consumer == SlowConsumer::Skip {
            assert!(now.messages_skipped > 0, "nobody was slow: {now}");
        }
        assert_eq!(now.open(), 10, "{now}");
        stage.wind_up(publishers.into_iter().chain(readers));
    }
}

/// Commands that change no key's size: a pipeline of them on each connection, whole and cut.
#[test]
fn kv_commands_allocate_nothing() {
    let config = Config { output_limit: 4 << 20, ..Config::default() };
    let kv = Kv::new(KvConfig::default(), &config).unwrap();
    let mut stage = Stage::new(config, kv);
    let mut clients: Vec<Client> = (0..16).map(|_| stage.join().0).collect();
    let pipeline = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n\
        *2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n\
        *5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n\
        *4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$4\r\nnone\r\n\
        *3\r\n$6\r\nEXPIRE\r\n$1\r\na\r\n$4\r\n1000\r\nSET n '100'\r\nGET none\r\n";
    let answer =
        b"+PONG\r\n+OK\r\n$5\r\nvalue\r\n:101\r\n+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n\
        :1\r\n+OK\r\n$-1\r\n";
    clients[0].send(b"SET n 100\r\n").unwrap();
    let mut round = |stage: &mut Stage<Kv>, count: usize| {
        for (index, client) in clients.iter_mut().enumerate() {
            client.received.clear();
            // Over the rounds each of them is cut everywhere.
            let cut = (count + index * 7) % pipeline.len();
            client.send(&pipeline[..cut]).unwrap();
            stage.turn();
            client.send(&pipeline[cut..]).unwrap();
            stage.until("answered", |_| {
                client.fill().unwrap();
                (client.received.ends_with(&answer[20..])).then_some(())
            });
        }
    };
    (0..50).for_each(|count| round(&mut stage, count));
    let before = ALLOCATIONS.get();
    (0..300).for_each(|count| round(&mut stage, count));
    assert_eq!(ALLOCATIONS.get() - before, 0);
    stage.wind_up(clients);
}

/// Connections come and go: a slot, its buffers and its place in every list are used again.
#[test]
fn short_connection_allocates_nothing() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let round = |stage: &mut Stage<Echo>| {
        let mut client = stage.connect();
        stage.echo(&mut client, b"one message").unwrap();
        drop(client);
        stage.until("closed", |stage| (stage.reactor.stats().open() == 0).then_some(()));
    };
    (0..20).for_each(|_| round(&mut stage));
    let before = ALLOCATIONS.get();
    (0..200).for_each(|_| round(&mut stage));
    let allocated = ALLOCATIONS.get() - before;
    // What the stage itself notes about each connection (a map, a list) grows a few times, and is
    // all there is.
    assert!(allocated <= 8, "{allocated} for 200 connections");
    assert_eq!(stage.reactor.stats().closed(CloseReason::PeerClosed), 220);
    stage.check_books();
}

/// Thousands of channels, with a name and a topic each, and as many subscriptions.
#[test]
fn what_a_burst_of_subscriptions_and_connections_needed_is_given_back_when_it_is_over() {
    const CLIENTS: usize = 8;
    const CHANNELS: usize = 1000;
    let config = Config { output_limit: 4 << 20, ..Config::default() };
    let kv = Kv::new(KvConfig::default(), &config).unwrap();
    let mut stage = Stage::new(config, kv);
    let round = |stage: &mut Stage<Kv>, count: usize| {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| stage.join().0).collect();
        for (index, client) in clients.iter_mut().enumerate().take(count) {
            let names: String = (0..CHANNELS).map(|name| format!(" {index}:{name}")).collect();
            client.send(format!("SUBSCRIBE{names}\r\n").as_bytes()).unwrap();
            let last = format!(":{CHANNELS}\r\n");
            stage.until("subscribed", |_| {
                client.fill().unwrap();
                client.received.ends_with(last.as_bytes()).then_some(())
            });
        }
        let most = HELD.get();
        stage.wind_up(clients);
        most
    };
    round(&mut stage, 0);
    let before = HELD.get();
    let most = round(&mut stage, CLIENTS);
    assert!(most > before + (2 << 20), "{before} bytes held before, {most} meanwhile");
    stage.until("given back", |_| (HELD.get() < before + (64 << 10)).then_some(()));
    stage.check_books();
}

// ---- vocabulary ----

fn broadcast(config: TopicConfig) -> Stage<Broadcast> {
    Stage::new(Config::default(), Broadcast::new(Framing::Lines, 64 << 10, config))
}

/// Every client sends a line of `len` bytes and reads it back, over and over.
fn ping_pong<H: Handler>(stage: &mut Stage<H>, clients: usize, len: usize) {
    let mut clients: Vec<Client> = (0..clients).map(|_| stage.join().0).collect();
    let mut message = vec![b'x'; len];
    message[len - 1] = b'\n';
    let mut round = |stage: &mut Stage<H>| {
        for client in &mut clients {
            client.received.clear();
            client.send(&message).unwrap();
        }
        for client in &mut clients {
            stage.until("answered", |_| {
                client.fill().unwrap();
                (client.received.len() == len).then_some(())
            });
        }
    };
    (0..50).for_each(|_| round(stage));
    let (before, turns) = (ALLOCATIONS.get(), stage.reactor.stats().turns);
    (0..200).for_each(|_| round(stage));
    let turns = stage.reactor.stats().turns - turns;
    assert_eq!(ALLOCATIONS.get() - before, 0, "in {turns} turns");
    stage.wind_up(clients);
}

/// Goes round until so many rounds have allocated nothing. Where the kernel decides how a write is
/// cut, warm means that the pool has seen every size of rest that so many connections leave at the
/// same time, and nobody can say when that is; but a message that allocates, or a turn, or one turn
/// in a thousand, is never done.
fn steady(rounds: usize, mut round: impl FnMut(usize)) {
    let mut windows = Vec::new();
    while windows.last() != Some(&0) {
        assert!(windows.len() < 12, "allocations in each {rounds} rounds: {windows:?}");
        let before = ALLOCATIONS.get();
        (0..rounds).for_each(&mut round);
        windows.push(ALLOCATIONS.get() - before);
    }
}

/// Writes what the socket takes of `bytes`.
fn push(socket: &mut TcpStream, bytes: &[u8]) -> usize {
    match socket.write(bytes) {
        Ok(n) => n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Reads at most `most` bytes.
fn pull(socket: &mut TcpStream, most: usize) -> usize {
    let mut buffer = [0; 16 << 10];
    let mut read = 0;
    while read < most {
        let room = buffer.len().min(most - read);
        match socket.read(&mut buffer[..room]) {
            Ok(0) => panic!("the connection has ended"),
            Ok(n) => read += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    read
}
