//! Bugs that were found and are gone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen};
use common::*;
use edgeloop::service::{Broadcast, Echo, Framing};
use edgeloop::{
    Address, BufferPool, CloseReason, Config, Context, Handler, Layer, ListenOptions,
    ProtocolError, PublishError, Reactor, RingBuffer, SlowConsumer, Start, Token, TopicConfig,
    TopicId,
};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn config() -> Config {
    Config { tick: ms(20), ..Config::default() }
}

fn short(drain_timeout: Duration) -> Config {
    Config { drain_timeout, drain_quiet: ms(200), ..config() }
}

// Deadlines.

#[test]
fn regression_idle_timeout_does_not_wait_for_the_deadline_of_the_connect() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    assert!(config.connect_timeout > ms(5000), "the test needs a long one");
    let mut server = ByHand::new(config, reporter);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    let token = server.reactor.with_context(|_, cx| cx.connect(&to, 0)).unwrap();
    let opened = server.turn_across("established", |_| seen.try_recv() == Ok(Seen::Open(token)));
    let kept = server.turn_across("it is closed", |reactor| reactor.stats().timers == 1);
    expect_on_time(opened, kept, ms(100), ms(20));
    drop(listener);
    server.turn_until("it is gone", |reactor| reactor.stats().open() == 0);
    assert_eq!(seen.try_recv(), Ok(Seen::Close(token, CloseReason::IdleTimeout)));
}

#[test]
fn regression_timer_set_before_an_outgoing_connection_is_established_is_in_time() {
    let (reporter, _seen) = Reporter::new(|_, _| {});
    let mut server = ByHand::new(config(), reporter);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    let after = Instant::now();
    server.reactor.with_context(|_, cx| {
        let token = cx.connect(&to, 0).unwrap();
        cx.set_timer(token, ms(100));
    });
    let set = Moment { after, before: Instant::now() };
    let kept = server.turn_across("it fires", |reactor| reactor.stats().timers == 1);
    expect_on_time(set, kept, ms(100), ms(20));
}

#[test]
fn regression_slow_reader_that_makes_progress_is_not_closed() {
    // 16 KiB each 40 ms. The kernel speaks of room only when a third of its buffer, up to a
    // megabyte, is free again: its silence is longer than the timeout, although the peer accepts
    // bytes all the time.
    let config = Config { write_timeout: Some(ms(1500)), ..config() };
    let server = start(config, Echo::new());
    let stream = server.connect();
    let total = 6 * MIB;
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&stream, 1, 0, total));
        // Until it is blocked, and then slowly.
        server.wait_until("output waits", |stats| stats.bytes_waiting() > 0);
        let started = Instant::now();
        let mut at = 0;
        while started.elapsed() < Duration::from_secs(6) && at < total {
            expect_pattern(&stream, 1, at, 16 * KIB);
            at += 16 * KIB;
            thread::sleep(ms(40));
        }
        expect_pattern(&stream, 1, at, total - at);
    });
    drop(stream);
    let stats = server.finish();
    assert_eq!(stats.closed(CloseReason::WriteTimeout), 0);
}

#[test]
fn regression_loop_that_was_stopped_sees_that_its_peer_has_read_before_it_cuts_it_off() {
    let config = Config { write_timeout: Some(ms(200)), output_limit: 64 * MIB, ..config() };
    let (reporter, seen) = Reporter::new(|_, _| {});
    let mut server = ByHand::new(config, reporter);
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    let Ok(Seen::Open(token)) = seen.try_recv() else { panic!("it was not opened") };
    let mut queued = 0;
    while server.reactor.stats().bytes_waiting() == 0 {
        let piece = pattern(1, queued, MIB);
        server.reactor.with_context(|_, cx| assert!(cx.send(token, piece)));
        queued += piece.len();
        server.turn();
    }
    let waiting = server.reactor.stats().bytes_waiting() as usize;
    // The peer reads all there is at once, and the loop sleeps over its deadline.
    expect_pattern(&stream, 1, 0, queued - waiting);
    thread::sleep(ms(300));
    thread::scope(|scope| {
        let reader = scope.spawn(|| expect_pattern(&stream, 1, queued - waiting, waiting));
        server.turn_until("the rest is sent", |_| reader.is_finished());
    });
    assert_eq!(server.reactor.stats().open(), 1);
}

#[test]
fn regression_loop_that_was_stopped_sees_that_its_connect_has_succeeded() {
    let config = Config { connect_timeout: ms(50), ..config() };
    let (reporter, seen) = Reporter::new(|_, _| {});
    let mut server = ByHand::new(config, reporter);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Address::Tcp(listener.local_addr().unwrap());
    let token = server.reactor.with_context(|_, cx| cx.connect(&to, 0)).unwrap();
    thread::sleep(ms(150));
    server.turn();
    server.turn();
    assert_eq!(seen.try_recv(), Ok(Seen::Open(token)));
}

// Ends.

#[test]
fn regression_lines_of_a_client_that_closes_without_reading_are_still_delivered() {
    // It is owed other lines, so its close is a reset; what it sent before lies in our kernel all
    // the same.
    let config = Config { read_budget: 1000, ..Config::default() };
    let mut server =
        ByHand::new(config, Broadcast::new(Framing::Lines, 80, TopicConfig::default()));
    let (leaver, other, reader) = (server.connect(), server.connect(), server.connect());
    server.turn_until("all are open", |reactor| reactor.stats().accepted == 3);
    send(&other, b"unread by the leaver\n");
    server.turn_until("it is delivered", |reactor| reactor.stats().messages_delivered == 2);
    let lines: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    send(&leaver, &lines);
    drop(leaver);
    // While it is being read, more is sent to it.
    send(&other, b"to a dead one\n");
    server.turn_until("the leaver is gone", |reactor| reactor.stats().open() == 2);
    server.turn();
    let published = server.reactor.stats().messages_published;
    assert_eq!(published, 1002, "lines that had arrived were dropped");
    drop(reader);
}

#[test]
fn regression_connection_that_was_blocked_and_is_quiet_now_does_not_hold_up_the_end() {
    let mut server = start(short(2 * PATIENCE), Echo::new());
    let stream = server.connect();
    let bytes = pattern(1, 0, MIB);
    let sent = server.send_until_blocked(&stream, bytes);
    server.wait_until("output waits", |stats| stats.bytes_waiting() > 0);
    server.ask(|cx| cx.drain());
    // It reads everything, and stays.
    for at in (0..sent).step_by(bytes.len()) {
        expect_bytes(&stream, &bytes[..bytes.len().min(sent - at)]);
    }
    expect_eof(&stream);
    let (stats, ending) = server.join();
    assert_eq!((closed(&stats), ending.cut_off), (vec![(CloseReason::Drained, 1)], 0));
}

#[test]
fn regression_everybody_who_waits_in_the_backlog_is_served_before_the_listener_closes() {
    let config = Config { accept_budget: 1, ..short(Duration::from_secs(5)) };
    let mut server = ByHand::new(config, Echo::new());
    let streams: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &streams {
        send(stream, b"x");
        end_sending(stream);
    }
    server.reactor.with_context(|_, cx| cx.drain());
    assert_eq!(server.reactor.run().unwrap().cut_off, 0);
    for stream in &streams {
        expect_last_bytes(stream, b"x");
    }
}

#[test]
fn regression_line_that_had_arrived_when_the_end_was_asked_for_is_delivered() {
    let handler = Broadcast::new(Framing::Lines, 80, TopicConfig::default());
    let mut server = ByHand::new(short(Duration::from_secs(5)), handler);
    let (from, to) = (server.connect(), server.connect());
    server.turn_until("both are open", |reactor| reactor.stats().accepted == 2);
    server.turn();
    // One batch: the line, and the task that ends.
    send(&from, b"the last one\n");
    server.reactor.remote().run(|cx| cx.drain()).unwrap();
    server.reactor.turn().unwrap();
    end_sending(&from);
    end_sending(&to);
    server.reactor.run().unwrap();
    expect_last_bytes(&to, b"the last one\n");
}

#[cfg(feature = "cli")]
#[test]
fn regression_idle_subscribers_do_not_hold_up_the_end() {
    let mut program = common::program::Program::start("broadcast --drain-timeout 60s");
    let streams: Vec<TcpStream> = (0..5).map(|_| program.connect()).collect();
    // Once the last one is heard by the first, all are open.
    send(&streams[4], b"here\n");
    expect_bytes(&streams[0], b"here\n");
    program.signal(rustix::process::Signal::TERM);
    // They are told, and like many a client they do not close their side for that.
    for (index, stream) in streams.iter().enumerate() {
        let heard = if index == 4 { &b""[..] } else { b"here\n" };
        expect_last_bytes(stream, if index == 0 { b"" } else { heard });
    }
    // Which waits for less than the drain timeout.
    assert_eq!(program.wait().code(), Some(0));
}

// Publishers that wait.

/// A broadcast in which whoever says `x` is closed and takes the first connection along as it goes.
struct Vindictive {
    topic: Option<TopicId>,
    config: TopicConfig,
    first: Option<Token>,
    unsubscribe: bool,
}

impl Handler for Vindictive {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        let topic = *self.topic.get_or_insert_with(|| cx.create_topic(self.config.clone()));
        self.first.get_or_insert(token);
        cx.subscribe(token, topic, Start::Next);
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if input.contiguous() == b"x" {
            input.clear();
            cx.abort(token);
        }
        while input.len() >= 100 {
            match cx.publish(self.topic.unwrap(), Some(token), &input.contiguous()[..100]) {
                Ok(_) => input.consume(100),
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: Token, (): (), reason: CloseReason) {
        if reason == CloseReason::Aborted
            && let (Some(first), Some(topic)) = (self.first.take(), self.topic)
        {
            match self.unsubscribe {
                true => assert!(cx.unsubscribe(first, topic)),
                false => cx.abort(first),
            }
        }
    }
}

#[test]
fn regression_publishers_go_on_when_the_one_they_wait_for_is_ended_in_the_close_phase() {
    for unsubscribe in [false, true] {
        let config = Config { write_timeout: None, ..Config::default() };
        let handler = Vindictive {
            topic: None,
            config: TopicConfig {
                memory: 64 * KIB,
                slow_consumer: SlowConsumer::Wait,
                ..TopicConfig::default()
            },
            first: None,
            unsubscribe,
        };
        let server = start_by(config, handler, |reactor| {
            let lowat = Some(16 << 10);
            let options = ListenOptions { notsent_lowat: lowat, ..ListenOptions::default() };
            reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
        });
        let stopped = connect_narrow(&server.address, 2048);
        server.wait_until("the first is open", |stats| stats.accepted == 1);
        let streams: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
        server.wait_until("all are open", |stats| stats.accepted == 4);
        thread::scope(|scope| {
            scope.spawn(|| send_pattern(&streams[0], 1, 0, 1_000_000));
            let reader = scope.spawn(|| expect_pattern(&streams[1], 1, 0, 1_000_000));
            server.wait_for_rest(Duration::from_millis(300), |stats| stats.messages_published);
            send(&streams[2], b"x");
            reader.join().unwrap();
        });
        drop((stopped, streams));
        server.stop();
    }
}

// What handlers and layers may hand in.

/// Answers from a ring with a pool of its own, as the documentation of rings shows it.
struct OwnPool {
    pool: BufferPool,
    ring: RingBuffer,
}

impl Handler for OwnPool {
    type Session = ();

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.ring.extend(input.contiguous(), &mut self.pool);
        input.clear();
        assert!(cx.forward(token, &mut self.ring));
        Ok(())
    }
}

#[test]
fn regression_ring_with_a_pool_of_its_own_can_be_forwarded() {
    let handler = OwnPool { pool: BufferPool::new(MIB), ring: RingBuffer::new() };
    let server = start(Config::default(), handler);
    echo_one(&server.connect(), 1, MIB);
    echo_one(&server.connect(), 2, MIB);
    server.finish();
}

#[test]
fn regression_unix_listener_with_a_layer_is_refused_and_not_served_without_it() {
    let path = std::env::temp_dir().join(format!("edgeloop-layer-{}", std::process::id()));
    let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
    let wrap = |_| -> io::Result<Box<dyn Layer>> { Err(io::ErrorKind::Other.into()) };
    let outcome = reactor.listen_layered(&Address::Unix(path), &ListenOptions::default(), wrap);
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

// Memory.

#[test]
fn regression_memory_that_a_topic_holds_costs_no_connection_that_holds_none() {
    // The ring may grow beyond all the memory there is; a stopped client keeps it full for a while.
    let config = Config { buffer_memory: 256 * KIB, ..Config::default() };
    let patience = Duration::from_secs(2);
    let topic = TopicConfig { memory: MIB, patience, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 1000, topic));
    let stopped = connect_narrow(&server.address, 2048);
    let (from, to) = (server.connect(), server.connect());
    server.wait_until("all are open", |stats| stats.accepted == 3);
    // More than the kernel takes for the stopped one.
    let text = [&[b'x'; 999][..], b"\n"].concat().repeat(6000);
    thread::scope(|scope| {
        scope.spawn(|| send(&from, &text));
        expect_bytes(&to, &text);
    });
    let stats = server.stats();
    assert!(stats.closed(CloseReason::Memory) <= 1, "{:?}", closed(&stats));
    drop((stopped, from, to));
    server.stop();
}
