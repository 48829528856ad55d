//! Readiness is state: what the kernel has said once is remembered until a call proves the
//! opposite.
//!
//! A chatty test hides a lost wake-up, since each new byte is a new event. The decisive test is a
//! peer that sends once and waits, and a handler that never answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen, silent};
use common::*;
use edgeloop::service::{Broadcast, Echo, Framing};
use edgeloop::{CloseReason, Config, Handler, Layer, LayerSocket, ListenOptions, TopicConfig};
use socket2::SockRef;

// Budgets end work; no event comes for the rest.

#[test]
fn silent_handler_gets_every_byte_of_a_peer_that_sends_once_and_waits() {
    for (read_budget, len) in [(1, 20_000), (7, 100_000), (4096, MIB)] {
        let server = start(Config { read_budget, ..Config::default() }, silent());
        let stream = server.connect();
        send_pattern(&stream, 1, 0, len);
        server.wait_until("all bytes were read", |stats| stats.bytes_consumed == len as u64);
        drop(stream);
        server.finish();
    }
}

#[test]
fn unread_budget_is_served_next_turn_without_an_event() {
    let mut server = ByHand::new(Config { read_budget: 100, ..Config::default() }, silent());
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    send(&stream, &[7; 1000]);
    server.turn_until("the first bytes are read", |reactor| reactor.stats().bytes_received > 0);
    let mut received = server.reactor.stats().bytes_received;
    while received < 1000 {
        // `turn` itself: if the loop believed that it had nothing to do it would wait for ever.
        server.reactor.turn().unwrap();
        let now = server.reactor.stats().bytes_received;
        assert!(now > received && now - received <= 100, "{received} then {now}");
        received = now;
    }
}

#[test]
fn many_connections_are_all_visited_with_a_visit_budget_of_1() {
    let config = Config { visit_budget: 1, read_budget: 100, events: 1, ..Config::default() };
    let server = start(config, silent());
    let streams: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
    for stream in &streams {
        send(stream, &[1; 1000]);
    }
    server.wait_until("all bytes were read", |stats| stats.bytes_consumed == 50_000);
    drop(streams);
    server.finish();
}

#[test]
fn many_replies_leave_with_a_visit_budget_of_1() {
    let config = Config { visit_budget: 1, events: 1, ..Config::default() };
    let handler = Broadcast::new(Framing::Lines, 80, TopicConfig::default());
    let server = start(config, handler);
    let streams: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.accepted == 50);
    send(&streams[0], b"to all\n");
    for stream in &streams[1..] {
        expect_bytes(stream, b"to all\n");
    }
    drop(streams);
    server.finish();
}

#[test]
fn connects_before_the_first_turn_are_all_accepted_with_an_accept_budget_of_1() {
    let config = Config { accept_budget: 1, events: 1, ..Config::default() };
    let mut server = ByHand::new(config, Echo::new());
    let streams: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for stream in &streams {
        send(stream, b"x");
    }
    server.reactor.turn().unwrap();
    assert_eq!(server.reactor.stats().accepted, 1, "the budget is 1");
    // They were one event; a turn that waited for another one would wait for ever.
    for accepted in 2..=100 {
        server.reactor.turn().unwrap();
        assert_eq!(server.reactor.stats().accepted, accepted);
    }
    server.turn_until("all are answered", |reactor| reactor.stats().bytes_sent == 100);
    for stream in &streams {
        expect_bytes(stream, b"x");
    }
}

#[test]
fn list_of_events_grows_when_it_is_too_short() {
    let config = Config { events: 1, ..Config::default() };
    let server = start(config, Echo::new());
    let streams: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for round in 0..20 {
        for stream in &streams {
            send(stream, &[round]);
        }
        for stream in &streams {
            expect_bytes(stream, &[round]);
        }
    }
    assert!(server.stats().event_list_full >= 2);
    drop(streams);
    server.finish();
}

// Waiting by decision.

#[test]
fn pause_keeps_what_was_told_and_resume_needs_no_event() {
    // Pauses with each piece of data and resumes by timer; the peer is silent by then.
    let (reporter, seen) = Reporter::new(|cx, seen| match seen {
        Seen::Data(token, _) => {
            cx.pause(*token);
            cx.set_timer(*token, Duration::from_millis(1));
        }
        Seen::Timer(token) => cx.resume(*token),
        Seen::End(token) => cx.close(*token),
        _ => {}
    });
    let config = Config { read_budget: 1000, tick: Duration::from_millis(1), ..Config::default() };
    let server = start(config, reporter);
    let stream = server.connect();
    send_pattern(&stream, 1, 0, 100_000);
    end_sending(&stream);
    expect_eof(&stream);
    server.finish();
    let mut at = 0;
    for seen in seen.iter() {
        if let Seen::Data(_, bytes) = seen {
            assert!(bytes.len() <= 1000);
            check_pattern(&bytes, 1, at);
            at += bytes.len();
        }
    }
    assert_eq!(at, 100_000);
}

#[test]
fn paused_connection_is_not_read_and_wakes_nobody() {
    let (reporter, seen) = Reporter::new(|cx, seen| {
        if let Seen::Open(token) = seen {
            cx.pause(*token);
        }
    });
    let server = start(Config::default(), reporter);
    let stream = server.connect();
    let Ok(Seen::Open(token)) = seen.recv_timeout(PATIENCE) else { panic!("it was not opened") };
    send(&stream, b"waits");
    expect_rest(&server);
    assert_eq!(server.stats().bytes_received, 0);
    server.ask(move |cx| cx.resume(token));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Data(token, b"waits".to_vec())));
    drop(stream);
    server.stop();
}

#[test]
fn event_that_says_readable_and_writable_serves_both() {
    let (reporter, seen) = Reporter::new(|cx, seen| {
        if let Seen::Data(token, _) = seen {
            assert!(cx.send(*token, b"!"));
        }
    });
    let config = Config { output_limit: 64 * MIB, ..Config::default() };
    let mut server = ByHand::new(config, reporter);
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    let Ok(Seen::Open(token)) = seen.try_recv() else { panic!("it was not opened") };
    let queued = server.fill_the_kernel(token);
    // Between two turns there come both a byte from the peer and room for ours.
    send(&stream, b"?");
    let in_kernel = queued - server.reactor.stats().bytes_waiting() as usize;
    expect_pattern(&stream, 1, 0, in_kernel);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            expect_pattern(&stream, 1, in_kernel, queued - in_kernel);
            expect_bytes(&stream, b"!");
        });
        server.turn_until("both are served", |_| reader.is_finished());
    });
}

// Urgent data cuts the stream.

#[test]
fn urgent_byte_in_mid_stream_stalls_nothing() {
    for strict_drain in [false, true] {
        let config = Config { strict_drain, ..Config::default() };
        let mut server = ByHand::new(config, silent());
        let stream = server.connect();
        let raw = SockRef::from(&stream);
        // All there before the connection is known; then all there before one more event; then in
        // three.
        for round in 1..=3 {
            send(&stream, &[1; 10]);
            if round == 3 {
                server.turn_until("10", |it| it.stats().bytes_received == 50);
            }
            raw.send_out_of_band(b"!").unwrap();
            if round == 3 {
                server.turn();
            }
            send(&stream, &[2; 10]);
            server.turn_until("all 20 arrive", |it| it.stats().bytes_received == 20 * round);
        }
    }
}

#[test]
fn flood_of_urgent_bytes_is_survived() {
    let server = start(Config::default(), silent());
    let stream = server.connect();
    for _ in 0..1000 {
        send(&stream, b"0123456789");
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    }
    end_sending(&stream);
    expect_eof(&stream);
    // Of urgent bytes that overtake each other all but the last fall back into the stream (tcp(7)).
    let stats = server.finish();
    assert!(stats.bytes_received >= 10_000, "{stats:?}");
}

// Nobody waits for the busy ones.

/// Counted in turns, and in bytes for a turn: how long that takes is the machine's business.
#[test]
fn streams_at_full_speed_leave_ping_pong_and_newcomers_their_turn() {
    let config = Config::default();
    let turn_most = (4 + 20 + 1) * 2 * config.read_budget as u64;
    let mut server = ByHand::new(config, Echo::new());
    let streaming: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    let players: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    server.turn_until("all are open", |reactor| reactor.stats().accepted == 24);
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        for stream in &streaming {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    send_pattern(stream, 1, 0, 256 * KIB);
                }
                end_sending(stream);
            });
            scope.spawn(move || {
                let mut buffer = vec![0; 256 * KIB];
                while (&mut &*stream).read(&mut buffer).unwrap() > 0 {}
            });
        }
        for _ in 0..100 {
            let streamed = server.reactor.stats().bytes_received;
            server.turn_until("they stream", |reactor| {
                reactor.stats().bytes_received > streamed + MIB as u64
            });
            players.iter().for_each(|player| expect_answer_soon(&mut server, player, turn_most));
        }
        let newcomer = server.connect();
        expect_answer_soon(&mut server, &newcomer, turn_most);
        over.store(true, Ordering::Relaxed);
        server.turn_until("the streams end", |reactor| reactor.stats().open() == 21);
    });
}

/// What it sends is read and answered in the first turn; an accept may take another.
#[track_caller]
fn expect_answer_soon(server: &mut ByHand<Echo>, stream: &TcpStream, turn_most: u64) {
    let before = server.reactor.stats().clone();
    send(stream, &[7; 64]);
    stream.set_nonblocking(true).unwrap();
    server.turn_until("answered", |_| matches!(stream.peek(&mut [0; 64]), Ok(64)));
    stream.set_nonblocking(false).unwrap();
    expect_bytes(stream, &[7; 64]);
    let after = server.reactor.stats();
    let (turns, bytes) = (after.turns - before.turns, after.bytes_received - before.bytes_received);
    assert!(turns <= 2, "it took {turns} turns");
    assert!(bytes <= turns * turn_most, "{bytes} bytes were read in {turns} turns");
}

// Nothing happens where nothing is to be done.

#[test]
fn half_closed_idle_peer_makes_no_turns() {
    // This handler keeps half-closed connections.
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start(Config::default(), reporter);
    let stream = server.connect();
    end_sending(&stream);
    while !matches!(seen.recv_timeout(PATIENCE).unwrap(), Seen::End(_)) {}
    expect_rest(&server);
    drop(stream);
    server.stop();
}

#[test]
fn idle_connections_make_no_turns() {
    let server = start(Config::default(), Echo::new());
    let streams: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &streams {
        send(stream, b"x");
        expect_bytes(stream, b"x");
    }
    expect_rest(&server);
    drop(streams);
    server.finish();
}

#[test]
fn blocked_output_makes_no_turns() {
    let server = start(Config { write_timeout: None, ..Config::default() }, Echo::new());
    let stream = server.connect();
    server.send_until_blocked(&stream, pattern(1, 0, MIB));
    expect_rest(&server);
    drop(stream);
    server.stop();
}

/// The loop comes to sleep for a second but for the two questions themselves. What the kernel still
/// does with bytes on their way may wake it before.
#[track_caller]
fn expect_rest(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = server.stats().turns;
        thread::sleep(Duration::from_secs(1));
        let turns = server.stats().turns - before;
        if turns <= 2 {
            return;
        }
        assert!(Instant::now() < deadline, "{turns} turns in an idle second");
    }
}

// Layers.

#[test]
fn torn_layer_beneath_echo_is_byte_exact() {
    for seed in 1..=8 {
        let server = start_torn(seed, Echo::new());
        let streams: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
        thread::scope(|scope| {
            for (seed, stream) in streams.iter().enumerate() {
                scope.spawn(move || {
                    send_pattern(stream, seed, 0, 300_000);
                    end_sending(stream);
                });
                scope.spawn(move || {
                    expect_pattern(stream, seed, 0, 300_000);
                    expect_eof(stream);
                });
            }
        });
        server.finish();
    }
}

#[test]
fn torn_layer_beneath_broadcast_tears_no_line() {
    for seed in 1..=8 {
        let handler = Broadcast::new(Framing::Lines, 1000, TopicConfig::default());
        let server = start_torn(seed, handler);
        let (from, to) = (server.connect(), server.connect());
        server.wait_until("both are open", |stats| stats.accepted == 2);
        let mut random = Random::new(seed);
        let lines: Vec<u8> = (0..2000)
            .flat_map(|n| format!("{n} {}\n", "x".repeat(random.below(200))).into_bytes())
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| send(&from, &lines));
            expect_bytes(&to, &lines);
        });
        drop((from, to));
        server.finish();
    }
}

#[test]
fn layer_that_cannot_be_built_costs_its_connection_and_not_the_listener() {
    use io::ErrorKind::{InvalidInput, Other, OutOfMemory, WouldBlock};
    let server = start_by(Config::default(), Echo::new(), |reactor| {
        let mut kinds = vec![Other, InvalidInput, WouldBlock, OutOfMemory];
        reactor
            .listen_layered(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default(), move |it| {
                match kinds.pop() {
                    Some(kind) => Err(io::Error::new(kind, "no layer today")),
                    None => Ok(Box::new(Torn::new(it, 1)) as Box<dyn Layer>),
                }
            })
            .unwrap()
    });
    let streams: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    for stream in &streams[..4] {
        expect_gone(stream);
    }
    send(&streams[4], b"still here");
    expect_bytes(&streams[4], b"still here");
    assert_eq!(server.stats().accept_pauses, 0, "the listener had no reason to rest");
    drop(streams);
    server.finish();
}

#[test]
fn error_of_a_layer_ends_its_connection_only() {
    struct Broken(Torn);
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::InvalidData, "no such cipher"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Layer for Broken {
        fn socket(&mut self) -> LayerSocket<'_> {
            self.0.socket()
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            self.0.shutdown_write()
        }
    }
    let server = start_by(Config::default(), Echo::new(), |reactor| {
        let wrap = |it| Ok(Box::new(Broken(Torn::new(it, 1))) as Box<dyn Layer>);
        let address = "127.0.0.1:0".parse().unwrap();
        reactor.listen_layered(&address, &ListenOptions::default(), wrap).unwrap()
    });
    let stream = server.connect();
    send(&stream, b"x");
    expect_gone(&stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::IoError, 1)]);
}

fn start_torn<H: Handler + Send + 'static>(seed: u64, handler: H) -> Server {
    let config = Config { output_limit: 4096, read_budget: 1 << (seed + 2), ..Config::default() };
    start_by(config, handler, move |reactor| {
        let mut count = seed << 32;
        let wrap = move |socket| {
            count += 1;
            Ok(Box::new(Torn::new(socket, count)) as Box<dyn Layer>)
        };
        let address = "127.0.0.1:0".parse().unwrap();
        reactor.listen_layered(&address, &ListenOptions::default(), wrap).unwrap()
    })
}

/// Cuts reads and writes in pieces, and holds bytes back until it is flushed, as an encrypting
/// layer does.
///
/// It says `WouldBlock` only when its socket does: a lie would be a lost edge.
struct Torn {
    socket: mio::net::TcpStream,
    random: Random,
    held: Vec<u8>,
}

impl Torn {
    fn new(socket: mio::net::TcpStream, seed: u64) -> Self {
        Torn { socket, random: Random::new(seed), held: Vec::new() }
    }

    fn piece(&mut self, len: usize) -> usize {
        (1 + self.random.below(500)).min(len)
    }
}

impl Read for Torn {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.piece(into.len());
        self.socket.read(&mut into[..len])
    }
}

impl Write for Torn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It takes no more while it cannot get rid of what it holds.
        if self.held.len() > 1000 {
            self.flush()?;
        }
        let len = self.piece(bytes.len());
        self.held.extend(&bytes[..len]);
        Ok(len)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        first.map_or(Ok(0), |slice| self.write(slice))
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.held.is_empty() {
            let len = self.piece(self.held.len());
            let n = self.socket.write(&self.held[..len])?;
            self.held.drain(..n);
        }
        Ok(())
    }
}

impl Layer for Torn {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Tcp(&mut self.socket)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }
}
