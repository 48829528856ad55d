//! Echo: every byte comes back, once and in order, at any speed of either side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen, keeps_all};
use common::nowhere::Nowhere;
use common::stalled::{self};
use common::*;
use edgeloop::codec::Delimited;
use edgeloop::service::{Echo, EchoLines, Framed, handler_fn};
use edgeloop::{Address, BufferPool, CloseReason, Config, ListenOptions, RingBuffer};

/// Debug builds do the same with less.
const SCALE: usize = if cfg!(debug_assertions) { 4 } else { 1 };

// Byte for byte.

#[test]
fn a_hundred_connections_get_back_what_they_sent() {
    let server = start(Config::default(), Echo::new());
    echo_from_many(&server, 100, 4 * MIB / SCALE);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 100)]);
}

#[test]
#[ignore = "6.4 GB: some ten seconds in release, minutes in debug"]
fn a_hundred_connections_get_back_64_mib_each() {
    let server = start(Config::default(), Echo::new());
    echo_from_many(&server, 100, 64 * MIB);
    let stats = server.finish();
    assert_eq!(stats.bytes_received, 100 * 64 * MIB as u64);
    assert_eq!(stats.bytes_sent, stats.bytes_received);
}

/// All at once; half of them write in large pieces and half in small ones.
fn echo_from_many(server: &Server, clients: usize, len: usize) {
    let barrier = Barrier::new(clients);
    thread::scope(|scope| {
        for seed in 0..clients {
            let (stream, barrier) = (server.connect(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                echo_one(&stream, seed, len);
            });
        }
    });
}

#[test]
fn reader_slower_than_its_writer_gets_everything() {
    let server = start(Config::default(), Echo::new());
    let stream = server.connect();
    let len = 16 * MIB;
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&stream, 1, 0, len));
        for at in (0..len).step_by(256 * KIB) {
            thread::sleep(Duration::from_millis(5));
            expect_pattern(&stream, 1, at, 256 * KIB);
        }
    });
    drop(stream);
    server.finish();
}

#[test]
fn writer_slower_than_its_reader_gets_everything() {
    let server = start(Config::default(), Echo::new());
    let stream = server.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for at in (0..200 * 97).step_by(97) {
                send_pattern(&stream, 1, at, 97);
                thread::sleep(Duration::from_millis(1));
            }
        });
        expect_pattern(&stream, 1, 0, 200 * 97);
    });
    drop(stream);
    server.finish();
}

#[test]
fn smallest_read_budgets_lose_nothing() {
    for (read_budget, len) in [(1, 50_000), (7, 200_000), (4096, MIB)] {
        let config = Config { read_budget, ..Config::default() };
        let server = start(config, Echo::new());
        echo_one(&server.connect(), 3, len);
        server.finish();
    }
}

#[test]
fn smallest_limits_lose_nothing() {
    let config = Config {
        output_limit: 1024,
        input_limit: 1,
        events: 1,
        visit_budget: 1,
        accept_budget: 1,
        buffer_reserve: 0,
        ..Config::default()
    };
    let server = start(config, Echo::new());
    echo_from_many(&server, 10, MIB / SCALE);
    server.finish();
}

#[test]
fn strict_drain_changes_nothing() {
    let config = Config { strict_drain: true, ..Config::default() };
    let server = start(config, Echo::new());
    echo_from_many(&server, 10, 4 * MIB / SCALE);
    server.finish();
}

// A client that does not read.

#[test]
fn client_that_never_reads_costs_its_limits_and_gets_everything_once_it_reads() {
    let total = 256 * MIB / SCALE;
    let config = Config { write_timeout: None, ..Config::default() };
    let server = start(config.clone(), Echo::new());
    never_read_then_read(&server.connect(), total, || {
        let stats = server.stats();
        let (input, output) = (stats.bytes_unconsumed(), stats.bytes_waiting());
        assert!(input + output <= config.output_limit as u64, "{input} in, {output} out");
    });
    let stats = server.finish();
    assert_eq!(stats.bytes_sent, total as u64);
}

#[cfg(feature = "cli")]
#[test]
fn client_that_never_reads_costs_the_program_no_memory() {
    never_reading_client_of_the_program(128 * MIB / SCALE);
}

#[cfg(feature = "cli")]
#[test]
#[ignore = "1 GiB"]
fn client_that_never_reads_1_gib_costs_the_program_no_memory() {
    never_reading_client_of_the_program(1024 * MIB);
}

#[cfg(feature = "cli")]
fn never_reading_client_of_the_program(total: usize) {
    let program = program::Program::start("echo");
    // The first echo touches what any echo needs.
    let stream = program.connect();
    echo_one(&program.connect(), 1, MIB);
    let before = program.memory();
    never_read_then_read(&stream, total, || {
        let grown = program.memory().saturating_sub(before);
        assert!(grown <= 2 * MIB, "it grew by {grown} bytes");
    });
    let grown = program.memory().saturating_sub(before);
    assert!(grown <= 4 * MIB, "it grew by {grown} bytes, once all was read");
}

/// Sends `total` bytes from a thread, reads nothing until that is stuck, then everything.
fn never_read_then_read(stream: &TcpStream, total: usize, while_stuck: impl Fn()) {
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            send_pattern(stream, 5, 0, total);
            end_sending(stream);
        });
        wait_until_stuck(stream);
        assert!(!sender.is_finished(), "the kernel swallowed all of it");
        while_stuck();
        expect_pattern(stream, 5, 0, total);
        expect_eof(stream);
    });
}

/// Waits until nothing more leaves: as many bytes wait to be read by us as half a second ago.
fn wait_until_stuck(stream: &TcpStream) {
    let mut bytes = vec![0; 64 * MIB];
    let deadline = Instant::now() + PATIENCE;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < deadline, "it is never stuck");
        let waiting = stream.peek(&mut bytes).unwrap();
        if waiting != last {
            (last, since) = (waiting, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

// The end of the stream.

#[test]
fn half_close_flushes_pending_output() {
    let server = start(Config::default(), Echo::new());
    let stream = server.connect();
    let len = 50_000_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            send_pattern(&stream, 2, 0, len);
            end_sending(&stream);
        });
        expect_pattern(&stream, 2, 0, len);
        expect_eof(&stream);
    });
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 1)]);
}

#[test]
fn data_and_end_in_one_event_are_both_seen() {
    for strict_drain in [false, true] {
        let config = Config { strict_drain, ..Config::default() };
        let mut server = ByHand::new(config, Echo::new());
        let stream = server.connect();
        // Before the first turn, and again after the connection is known.
        send(&stream, b"data");
        end_sending(&stream);
        let second = server.connect();
        server.turn_until("both are open", |reactor| reactor.stats().accepted == 2);
        send(&second, b"more data");
        end_sending(&second);
        server.turn_until("both are closed", |reactor| reactor.stats().open() == 0);
        expect_last_bytes(&stream, b"data");
        expect_last_bytes(&second, b"more data");
    }
}

#[test]
fn end_while_output_is_blocked_is_seen_once_it_flows_again() {
    let config = Config { output_limit: 64 * KIB, ..Config::default() };
    let server = start(config, Echo::new());
    let stream = server.connect();
    let bytes = pattern(6, 0, MIB);
    let sent = server.send_until_blocked(&stream, bytes);
    end_sending(&stream);
    server.wait_until("output is blocked", |stats| stats.bytes_waiting() > 0);
    for at in (0..sent).step_by(bytes.len()) {
        expect_bytes(&stream, &bytes[..bytes.len().min(sent - at)]);
    }
    expect_eof(&stream);
    server.finish();
}

#[test]
fn connection_without_a_byte_ends_in_good_order() {
    let server = start(Config::default(), Echo::new());
    let stream = server.connect();
    end_sending(&stream);
    expect_eof(&stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 1)]);
}

// Other sockets.

#[test]
fn unix_socket_echoes_and_honours_half_close() {
    let path = std::env::temp_dir().join(format!("edgeloop-echo-{}", std::process::id()));
    let server = start_on(&format!("unix:{}", path.display()), Config::default(), Echo::new());
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            send_pattern(&stream, 4, 0, 16 * MIB);
            stream.shutdown(Shutdown::Write).unwrap();
        });
        expect_pattern(&stream, 4, 0, 16 * MIB);
        expect_eof(&stream);
    });
    server.finish();
    assert!(!path.exists(), "the socket outlived its server");
}

#[test]
fn ipv6_echoes() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let server = start_on("[::1]:0", Config::default(), Echo::new());
    echo_one(&server.connect(), 1, MIB);
    server.finish();
}

// Lines.

#[test]
fn each_line_is_answered_behind_the_prefix() {
    let server =
        start(Config::default(), Framed::new(Delimited::lines(80), EchoLines::new("echo: ")));
    let stream = server.connect();
    send(&stream, b"one\n\r\n\ntw");
    expect_bytes(&stream, b"echo: one\necho: \r\necho: \n");
    send(&stream, b"o\nrest without newline");
    end_sending(&stream);
    expect_last_bytes(&stream, b"echo: two\necho: rest without newline\n");
    server.finish();
}

#[test]
fn line_that_is_too_long_ends_its_sender_after_the_answers_before_it() {
    let server = start(Config::default(), Framed::new(Delimited::lines(10), EchoLines::new("> ")));
    for line in [&b"12345678901\n"[..], b"12345678901"] {
        let stream = server.connect();
        send(&stream, b"1234567890\n");
        send(&stream, line);
        expect_last_bytes(&stream, b"> 1234567890\n");
    }
    assert_eq!(closed(&server.finish()), [(CloseReason::LineTooLong, 2)]);
}

/// Each newline comes back as so many bytes.
const LONG_PREFIX: usize = 255;

#[test]
fn flood_of_short_lines_towards_a_non_reader_stays_within_limits_and_is_answered_once_it_reads() {
    let config = Config { write_timeout: None, ..Config::default() };
    let server = start(
        config.clone(),
        Framed::new(Delimited::lines(80), EchoLines::new([b'p'; LONG_PREFIX])),
    );
    let stream = server.connect();
    let newlines = vec![b'\n'; 64 * KIB];
    let sent = server.send_until_blocked(&stream, &newlines).min(256 * KIB);
    let stats = server.stats();
    assert!(stats.bytes_waiting() <= config.output_limit as u64, "{stats:?}");
    assert!(stats.bytes_unconsumed() <= input_most(&config), "{stats:?}");
    expect_answers(&stream, sent);
    drop(stream);
    server.finish();
}

#[test]
fn flood_of_short_lines_towards_a_reader_does_not_pile_up_input() {
    let config = Config::default();
    let server = start(
        config.clone(),
        Framed::new(Delimited::lines(80), EchoLines::new([b'p'; LONG_PREFIX])),
    );
    let stream = server.connect();
    let lines = MIB;
    thread::scope(|scope| {
        scope.spawn(|| send(&stream, &vec![b'\n'; lines]));
        for part in 0..8 {
            expect_answers(&stream, lines / 8);
            let stats = server.stats();
            assert!(stats.bytes_unconsumed() <= input_most(&config), "part {part}: {stats:?}");
        }
    });
    drop(stream);
    server.finish();
}

/// What a connection may hold of input that its handler has not taken yet.
fn input_most(config: &Config) -> u64 {
    (config.input_limit + 2 * config.read_budget) as u64
}

fn expect_answers(mut stream: &TcpStream, lines: usize) {
    let answer = [[b'p'; LONG_PREFIX].as_slice(), b"\n"].concat();
    let block = answer.repeat(256);
    let mut buffer = vec![0; block.len()];
    for _ in 0..lines / 256 {
        stream.read_exact(&mut buffer).unwrap();
        assert!(buffer == block, "an answer is torn");
    }
}

// Outgoing connections.

#[test]
fn outgoing_connection_opens_once_it_is_established() {
    let (reporter, seen) = Reporter::new(|cx, seen| match seen {
        Seen::Open(token) => assert!(cx.send(*token, b"hello")),
        Seen::End(token) => cx.close(*token),
        _ => {}
    });
    let server = start(Config::default(), reporter);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    let token = server.ask(move |cx| cx.connect(&to, 0)).unwrap();
    let mut stream = patient(listener.accept().unwrap().0);
    expect_bytes(&stream, b"hello");
    stream.write_all(b"and goodbye").unwrap();
    end_sending(&stream);
    expect_eof(&stream);
    let stats = server.finish();
    assert_eq!((stats.accepted, stats.dialled), (0, 1));
    let seen: Vec<Seen> = seen.iter().collect();
    assert_eq!(
        seen,
        [
            Seen::Open(token),
            Seen::Data(token, b"and goodbye".to_vec()),
            Seen::End(token),
            Seen::Close(token, CloseReason::PeerClosed),
        ]
    );
}

#[test]
fn refused_connection_is_an_error_and_neither_opened_nor_closed() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start(Config::default(), reporter);
    let nowhere = Nowhere::new();
    let to = Address::Tcp(nowhere.address);
    let token = server.ask(move |cx| cx.connect(&to, 0)).unwrap();
    match seen.recv_timeout(PATIENCE) {
        Ok(Seen::ConnectError(failed, error)) => {
            assert_eq!(failed, token);
            assert!(error.contains("refused"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::ConnectFailed, 1)]);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn server_can_dial_itself() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start(Config::default(), reporter);
    let to = server.address.clone();
    let dialled = server.ask(move |cx| cx.connect(&to, 0)).unwrap();
    let opened = [0, 1].map(|_| seen.recv_timeout(PATIENCE).unwrap());
    assert!(opened.contains(&Seen::Open(dialled)), "{opened:?}");
    server.stop();
}

// Bugs that were found, each with the schedule that showed it.

// The function that puts a layer on accepted sockets fails, with a number that as accept's own
// error would mean the loss of the listener.
#[test]
fn regression_error_of_wrap_costs_one_connection() {
    let server = start_by(stalled::config(), Echo::new(), |reactor| {
        let address = "127.0.0.1:0".parse().unwrap();
        let options = ListenOptions::default();
        let wrap = |_| Err(std::io::Error::from_raw_os_error(libc::EINVAL));
        reactor.listen_layered(&address, &options, wrap).unwrap()
    });
    (0..3).for_each(|_| expect_gone(server.connect()));
    assert_eq!(server.stats().accept_errors, 3);
    server.finish();
}

// A handler composes its replies in a ring of a pool of its own and hands them over.
#[test]
fn regression_ring_of_the_handlers_own_pool_upsets_no_count() {
    let mut pool = BufferPool::new(MIB);
    let composer = handler_fn(move |cx, token, input| {
        let mut reply = RingBuffer::new();
        reply.extend(&[b'!'; 200_000], &mut pool);
        input.clear();
        cx.forward(token, &mut reply);
        Ok(())
    });
    let server = start(stalled::config(), composer);
    let stream = server.connect();
    for _ in 0..18 {
        send(&stream, b"?");
        expect_bytes(&stream, &[b'!'; 200_000]);
    }
    drop(stream);
    server.finish();
}

// The beginning of a long message fills nearly a whole block, and the rest comes byte by byte.
#[test]
fn regression_long_message_is_not_copied_with_each_byte_that_arrives() {
    const BEGINNING: usize = 16 * MIB - 3000;
    let config = Config { input_limit: 64 * MIB, ..stalled::config() };
    let mut server = ByHand::new(config, keeps_all());
    let stream = server.connect();
    thread::scope(|scope| {
        scope.spawn(|| send(&stream, &vec![1; BEGINNING]));
        server.turn_until("it is there", |reactor| {
            reactor.stats().bytes_received == BEGINNING as u64
        });
    });
    let fastest = (1..=20).map(|count| {
        send(&stream, &[2]);
        let begun = Instant::now();
        server.turn_until("one more is there", |reactor| {
            reactor.stats().bytes_received == (BEGINNING + count) as u64
        });
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap();
    let (message, mut copy) = (vec![1; BEGINNING], vec![0; BEGINNING]);
    let copying = (0..20).map(|_| {
        let begun = Instant::now();
        std::hint::black_box(&mut copy).copy_from_slice(std::hint::black_box(&message));
        begun.elapsed()
    });
    let copying = copying.min().unwrap();
    assert!(fastest < copying / 2, "{fastest:?}, and {copying:?} for a copy");
}

#[test]
fn regression_ring_with_a_pool_of_its_own_can_be_forwarded() {
    // As the documentation of rings shows it.
    let (mut pool, mut ring) = (BufferPool::new(MIB), RingBuffer::new());
    let handler = handler_fn(move |cx, token, input| {
        ring.extend(input.contiguous(), &mut pool);
        input.clear();
        assert!(cx.forward(token, &mut ring));
        Ok(())
    });
    let server = start(Config::default(), handler);
    echo_one(&server.connect(), 1, MIB);
    echo_one(&server.connect(), 2, MIB);
    server.finish();
}
