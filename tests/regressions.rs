//! Bugs that were found and mended, one test each. Every test begins with the schedule that showed
//! the bug.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Write;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{KeepsAll, Reporter, Seen};
use common::*;
use edgeloop::service::{Broadcast, Echo, Framing};
use edgeloop::{
    Address, BufferPool, CloseReason, Config, Context, Handler, ListenOptions, ProtocolError,
    PublishError, Reactor, RingBuffer, SlowConsumer, Start, TimerWheel, Token, TopicConfig,
    TopicId,
};

/// A timeout that a test waits for.
const SHORT: Duration = Duration::from_millis(150);
/// Output is taken to be blocked when nothing was sent for so long. Should the machine have been busy
/// instead, the test shows less but does not fail.
const BLOCKED: Duration = Duration::from_millis(100);
/// More than the kernel holds between our write and a client with a small receive buffer that does
/// not read.
const LONG_REPLY: usize = 16 * MIB;

fn config() -> Config {
    Config { tick: Duration::from_millis(5), output_limit: 4 * LONG_REPLY, ..Config::default() }
}

/// Answers every connection with so many bytes of the pattern, and then does nothing.
fn replier(len: usize) -> (impl Handler<Session = ()> + Send + 'static, Receiver<Seen>) {
    Reporter::new(move |cx, seen| {
        if let Seen::Open(token) = seen {
            send_reply(cx, *token, len);
        }
    })
}

fn send_reply(cx: &mut Context<'_>, token: Token, len: usize) {
    let mut at = 0;
    while at < len {
        let piece = pattern(1, at, len - at);
        assert!(cx.send(token, piece));
        at += piece.len();
    }
}

/// Turns as `run` does it, asleep between events and deadlines, for so long.
fn turn_for<H: Handler>(reactor: &mut Reactor<H>, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        reactor.with_context(|_, cx| cx.set_alarm(end));
        reactor.turn().unwrap();
    }
}

#[track_caller]
fn expect_open(seen: &Receiver<Seen>) -> Token {
    match seen.recv_timeout(PATIENCE) {
        Ok(Seen::Open(token)) => token,
        other => panic!("expected a connection, got {other:?}"),
    }
}

// ---- topics ----

// A connection publishes, then subscribes to the history; its socket cuts the writes.
#[test]
fn regression_own_messages_from_before_a_subscription_are_passed_over() {
    const ROUNDS: u8 = 40;
    let mut topic = None;
    let (handler, _seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Data(token, _) = seen {
            let memory = LONG_REPLY;
            let config = TopicConfig { memory, history: 1000, ..TopicConfig::default() };
            let topic = *topic.get_or_insert_with(|| cx.create_topic(config));
            for round in 0..ROUNDS {
                cx.publish(topic, Some(*token), &[b'x'; 70_001]).unwrap();
                cx.publish(topic, None, &[round; 100_003]).unwrap();
            }
            cx.subscribe(*token, topic, Start::Last(1000));
        }
    });
    let server = start(config(), handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    send(&stream, b"now");
    server.wait_until("it is owed", |stats| stats.messages_published == 2 * u64::from(ROUNDS));
    for round in 0..ROUNDS {
        expect_bytes(&stream, &[round; 100_003]);
    }
    drop(stream);
    server.finish();
}

// Both subscribers publish and neither reads: both are held by the topic, and an idle timeout
// shorter than the write timeout comes round again and again.
#[test]
fn regression_wait_for_a_slow_subscriber_ends_although_there_is_an_idle_timeout() {
    let config = Config { idle_timeout: Some(SHORT), write_timeout: Some(2 * SHORT), ..config() };
    let slow_consumer = SlowConsumer::Wait;
    let topic = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let streams = [server.connect(), server.connect()];
    thread::scope(|scope| {
        for mut stream in &streams {
            // Until the server is stopped: whoever is left alone is held no more.
            scope.spawn(move || while stream.write_all(&line(1000).repeat(100)).is_ok() {});
        }
        server.wait_until("nobody waits for ever", |stats| stats.open() < 2);
        server.stop();
    });
}

// A publisher waits for one who does not read, for much longer than the idle timeout.
#[test]
fn regression_held_publisher_does_not_wake_the_loop_with_each_tick() {
    let idle = Duration::from_millis(50);
    let tick = Duration::from_millis(1);
    let config = Config { idle_timeout: Some(idle), write_timeout: None, tick, ..config() };
    let slow_consumer = SlowConsumer::Wait;
    let topic = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let (stream, silent) = (server.connect(), connect_narrow(&server.address, 8 * KIB));
    server.send_until_blocked(&stream, &line(1000).repeat(16));
    let before = server.wait_for_rest(idle, |stats| stats.messages_published);
    thread::sleep(10 * idle);
    let turns = server.stats().turns - before.turns;
    // It is held, so one idle timeout at the most passes; asking for the counters is a turn, too.
    assert!(turns < 100, "{turns} turns in half a second in which nothing happens");
    drop((stream, silent));
    server.stop();
}

// A subscriber that does not read is aborted in the `on_close` of another connection, after the
// flush phase has looked whether there is room for those who publish.
#[test]
fn regression_publishers_go_on_when_the_one_they_wait_for_is_aborted_in_on_close() {
    let server = start(config(), FirstIsSlow::default());
    let slow = connect_narrow(&server.address, 8 * KIB);
    server.wait_until("the slow one is the first", |stats| stats.accepted == 1);
    let partner = server.connect();
    server.wait_until("its partner is the second", |stats| stats.accepted == 2);
    let publisher = server.connect();
    server.send_until_blocked(&publisher, &[b'm'; 100 * KIB]);
    drop(partner);
    // Nothing asks the server for anything from here on: that would wake it.
    send(&publisher, &vec![b'm'; LONG_REPLY]);
    drop((publisher, slow));
    server.stop();
}

/// Every connection publishes messages of 1000 bytes; the first one is the only subscriber, and
/// goes with the next that closes.
#[derive(Default)]
struct FirstIsSlow {
    first: Option<(Token, TopicId)>,
}

impl Handler for FirstIsSlow {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        self.first.get_or_insert_with(|| {
            let slow_consumer = SlowConsumer::Wait;
            let config = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
            let topic = cx.create_topic(config);
            cx.subscribe(token, topic, Start::Next);
            (token, topic)
        });
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let (_, topic) = self.first.unwrap();
        while let Some(message) = input.contiguous().get(..1000) {
            if cx.publish(topic, Some(token), message) == Err(PublishError::Full) {
                break;
            }
            input.consume(1000);
        }
        Ok(())
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: Token, _: (), _: CloseReason) {
        cx.abort(self.first.unwrap().0);
    }
}

// A subscriber stops reading under a patience that no clock can add to the time.
#[test]
fn regression_patience_may_be_endless() {
    let config = Config { write_timeout: None, ..config() };
    let patience = Duration::MAX;
    let topic = TopicConfig { memory: 64 * KIB, patience, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let slow = connect_narrow(&server.address, 8 * KIB);
    let publisher = server.connect();
    server.send_until_blocked(&publisher, &line(1000));
    let stats = server.stats();
    assert_eq!((stats.open(), stats.messages_skipped), (2, 0), "{stats}");
    drop((publisher, slow));
    server.stop();
}

// A topic holds more for newcomers than all connections may have in buffers.
#[test]
fn regression_history_of_a_topic_starves_no_reader() {
    const LINES: usize = 900;
    let config = Config { buffer_memory: 256 * KIB, ..config() };
    let topic = TopicConfig { history: 100_000, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let stream = server.connect();
    send(&stream, &line(1000).repeat(LINES));
    server.wait_until("all is read", |stats| stats.messages_published == LINES as u64);
    drop(stream);
    server.finish();
}

fn line(len: usize) -> Vec<u8> {
    let mut line = vec![b'l'; len];
    line[len - 1] = b'\n';
    line
}

// A write is refused between two messages, so that nothing is owed but what the topic holds; then
// the connection unsubscribes.
#[test]
fn regression_no_write_timeout_once_an_unsubscribe_left_nothing_owed() {
    let config = Config { write_timeout: Some(SHORT), ..config() };
    let mut blocked = Blocked::new("unsubscribe", config);
    let (token, topic) = (blocked.token, blocked.topic);
    blocked.reactor.with_context(|_, cx| cx.unsubscribe(token, topic));
    turn_for(&mut blocked.reactor, 2 * SHORT);
    assert_eq!(blocked.reactor.stats().open(), 1, "{}", blocked.reactor.stats());
}

// ---- the end of a stream, closes and shutdowns ----

// `on_end` sends more than the high-water mark, and the peer takes all of it.
#[test]
fn regression_on_end_is_called_once_however_much_it_sends() {
    let (handler, seen) = Reporter::new(|cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::End(token) = seen {
            send_reply(cx, *token, MIB);
        }
    });
    let config = Config { output_limit: 2 * MIB, ..config() };
    let mut server = ByHand::new(config, handler);
    let stream = server.connect();
    end_sending(&stream);
    thread::scope(|scope| {
        scope.spawn(|| expect_pattern(&stream, 1, 0, MIB));
        server.turn_until("all is sent", |reactor| reactor.stats().bytes_sent == MIB as u64);
    });
    (0..10).for_each(|_| server.turn());
    assert_eq!(seen.try_iter().filter(|seen| matches!(seen, Seen::End(_))).count(), 1);
}

// Output waits for a peer that reads nothing, there is no write timeout, and the handler closes.
#[test]
fn regression_close_of_a_stalled_connection_ends_without_a_write_timeout() {
    let config = Config { write_timeout: None, linger_timeout: SHORT, ..config() };
    let (handler, seen) = replier(LONG_REPLY);
    let server = start(config, handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    let token = expect_open(&seen);
    let stats = server.wait_for_rest(BLOCKED, |stats| stats.bytes_sent);
    assert_ne!(stats.bytes_waiting(), 0);
    server.ask(move |cx| cx.close(token));
    server.wait_until("it is closed", |stats| stats.open() == 0);
    drop(stream);
    server.finish();
}

// Output waits for the peer when the shutdown begins; then the peer takes all of it, and is quiet.
#[test]
fn regression_shutdown_closes_a_quiet_connection_that_was_stalled_when_it_began() {
    let config = Config { drain_quiet: SHORT, drain_timeout: 2 * PATIENCE, ..config() };
    let (handler, _seen) = replier(LONG_REPLY);
    let mut server = start(config, handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    server.wait_for_rest(BLOCKED, |stats| stats.bytes_sent);
    server.remote.run(|cx| cx.drain()).unwrap();
    expect_pattern(&stream, 1, 0, LONG_REPLY);
    expect_eof(&stream);
    drop(stream);
    let (stats, ending) = server.join();
    assert_eq!((ending.cut_off, stats.closed(CloseReason::Drained)), (0, 1), "{stats}");
}

// `on_drain` sends to more connections than one flush phase visits, and all have been quiet long
// enough to be closed.
#[test]
fn regression_what_on_drain_sends_arrives_beyond_the_visit_budget() {
    let soon = Duration::from_millis(1);
    let config = Config { visit_budget: 1, drain_quiet: soon, tick: soon, ..config() };
    let mut server = start(config, SaysBye);
    let streams: Vec<_> = (0..200).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.accepted == 200);
    server.remote.run(|cx| cx.drain()).unwrap();
    streams.iter().for_each(|stream| expect_last_bytes(stream, &GOODBYE));
    drop(streams);
    assert_eq!(server.join().1.cut_off, 0);
}

struct SaysBye;

/// So long that the last one leaves after the first timer.
static GOODBYE: [u8; 20_000] = [b'b'; 20_000];

impl Handler for SaysBye {
    type Session = ();

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}

    fn on_data(
        &mut self,
        _: &mut Context<'_>,
        _: Token,
        _: &mut (),
        _: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        cx.send(token, &GOODBYE);
    }
}

/// The kernel takes all that is sent.
fn listen_for_all<H: Handler>(reactor: &mut Reactor<H>) -> Address {
    let options = ListenOptions { notsent_lowat: None, ..ListenOptions::default() };
    reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
}

// In a shutdown a quiet connection is closed while our kernel still holds most of what was sent,
// and the peer sends one more byte before it reads: if the socket is gone by then, that byte makes
// a reset of all the rest.
#[test]
fn regression_last_bytes_survive_the_close_of_a_quiet_connection() {
    let config = Config { drain_quiet: 4 * SHORT, ..config() };
    let (handler, _seen) = replier(MIB);
    let mut server = start_by(config, handler, listen_for_all);
    let stream = connect_narrow(&server.address, 8 * KIB);
    server.wait_until("the kernel has all of it", |stats| stats.bytes_sent == MIB as u64);
    server.remote.run(|cx| cx.drain()).unwrap();
    // The end of the stream cannot be seen before what is in front of it is read.
    server.wait_until("it is closed as quiet", |stats| stats.timers > 0);
    send(&stream, b"late");
    server.wait_until("that is dropped", |stats| stats.bytes_discarded == 4);
    expect_pattern(&stream, 1, 0, MIB);
    expect_eof(&stream);
    drop(stream);
    server.join();
}

// As above, and the peer goes on sending for longer than a quiet connection is waited for.
#[test]
fn regression_last_bytes_survive_a_shutdown_although_the_peer_is_still_sending() {
    let config = Config { drain_quiet: 4 * SHORT, ..config() };
    let (handler, _seen) = replier(MIB);
    let mut server = start_by(config, handler, listen_for_all);
    let stream = connect_narrow(&server.address, 8 * KIB);
    server.wait_until("the kernel has all of it", |stats| stats.bytes_sent == MIB as u64);
    server.remote.run(|cx| cx.drain()).unwrap();
    server.wait_until("it is closed as quiet", |stats| stats.timers > 0);
    for _ in 0..18 {
        send(&stream, b"late");
        thread::sleep(SHORT / 3);
    }
    expect_pattern(&stream, 1, 0, MIB);
    expect_eof(&stream);
    drop(stream);
    server.join();
}

// ---- time ----

// A timer is set between two turns, long after the last one.
#[test]
fn regression_context_between_turns_sees_the_present() {
    let mut server = ByHand::new(config(), Echo::new());
    server.turn();
    let before = Instant::now();
    let now = server.reactor.with_context(|_, cx| cx.now());
    assert!(now >= before, "the time is {:?} old", before - now);
}

// Output waits for the peer, the loop stands still for longer than the write timeout, and meanwhile
// the peer reads.
#[test]
fn regression_write_timeout_is_not_early_when_the_loop_stood_still() {
    let timeout = Duration::from_secs(1);
    let config = Config { write_timeout: Some(timeout), ..config() };
    let (handler, _seen) = replier(LONG_REPLY);
    let mut server = ByHand::new(config, handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    server.turn_until("the socket takes bytes", |reactor| reactor.stats().bytes_sent > 0);
    turn_for(&mut server.reactor, timeout / 20);
    let sent = server.reactor.stats().bytes_sent;
    expect_pattern(&stream, 1, 0, sent as usize);
    thread::sleep(timeout);
    server.turn();
    let stats = server.reactor.stats();
    assert!(stats.open() == 1 && stats.bytes_sent > sent, "{sent} and then {stats}");
}

// An outgoing connection is established long before its connect timeout, and then idle.
#[test]
fn regression_idle_timeout_of_a_dialled_connection_does_not_wait_for_its_connect_timeout() {
    let config = Config {
        idle_timeout: Some(SHORT),
        linger_timeout: SHORT / 3,
        connect_timeout: 2 * PATIENCE,
        ..config()
    };
    let (handler, seen) = Reporter::new(|_: &mut Context<'_>, _: &Seen| ());
    let server = start(config, handler);
    let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap().into();
    let dialled = server.ask(move |cx| cx.connect(&address, 0).unwrap());
    assert_eq!(expect_open(&seen), dialled);
    let closed = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(closed, Seen::Close(dialled, CloseReason::IdleTimeout));
    server.finish();
}

// Timers of two rounds share a bucket: those of the later one were walked over for each that was
// due.
#[test]
fn regression_timers_of_a_later_round_cost_those_that_are_due_nothing() {
    const TIMERS: u32 = 10_000;
    const ROUND_MS: u64 = 1024 * 100;
    let time = |later: u32| {
        let mut wheel = TimerWheel::new(100);
        (0..TIMERS).for_each(|key| wheel.schedule(key, 1000));
        (TIMERS..TIMERS + later).for_each(|key| wheel.schedule(key, 1000 + ROUND_MS));
        let begun = Instant::now();
        assert_eq!(std::iter::from_fn(|| wheel.pop_due(1000)).count(), TIMERS as usize);
        begun.elapsed()
    };
    // The fastest of many: whoever else uses the processor makes a run longer, and none shorter.
    let fastest = |later| (0..20).map(|_| time(later)).min().unwrap();
    let (alone, shared) = (fastest(0), fastest(TIMERS));
    // Walking would be 10,000 steps for each.
    assert!(shared < 30 * alone, "{shared:?} beside {alone:?}");
}

// ---- sockets and buffers ----

// The function that puts a layer on accepted sockets fails, with a number that as accept's own
// error would mean the loss of the listener.
#[test]
fn regression_error_of_wrap_costs_one_connection() {
    let server = start_by(config(), Echo::new(), |reactor| {
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
    let server = start(config(), Composer { pool: BufferPool::new(MIB) });
    let stream = server.connect();
    for _ in 0..18 {
        send(&stream, b"?");
        expect_bytes(&stream, &[b'!'; 200_000]);
    }
    drop(stream);
    server.finish();
}

struct Composer {
    pool: BufferPool,
}

impl Handler for Composer {
    type Session = ();

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let mut reply = RingBuffer::new();
        reply.extend(&[b'!'; 200_000], &mut self.pool);
        input.clear();
        cx.forward(token, &mut reply);
        Ok(())
    }
}

// The beginning of a long message fills nearly a whole block, and the rest comes byte by byte.
#[test]
fn regression_long_message_is_not_copied_with_each_byte_that_arrives() {
    const BEGINNING: usize = 16 * MIB - 3000;
    let config = Config { input_limit: 64 * MIB, ..config() };
    let mut server = ByHand::new(config, KeepsAll);
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

// ---- found with the tests above ----

// One subscriber publishes; in the same turn, behind it, the other one is closed because its peer
// has ended.
#[test]
fn regression_message_of_this_turn_reaches_a_subscriber_that_is_closed_in_this_turn() {
    let mut topic = None;
    let (handler, _seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        let topic = *topic.get_or_insert_with(|| cx.create_topic(TopicConfig::default()));
        match seen {
            Seen::Open(token) => drop(cx.subscribe(*token, topic, Start::Next)),
            Seen::Data(token, bytes) => drop(cx.publish(topic, Some(*token), bytes).unwrap()),
            Seen::End(token) => cx.close(*token),
            _ => {}
        }
    });
    let mut server = ByHand::new(config(), handler);
    let (publisher, leaving) = (server.connect(), server.connect());
    server.turn_until("both are open", |reactor| reactor.stats().accepted == 2);
    (0..5).for_each(|_| server.turn());
    send(&publisher, b"message");
    end_sending(&leaving);
    server.turn_until("one is closed", |reactor| reactor.stats().open() == 1);
    expect_last_bytes(&leaving, b"message");
}

// As above, nothing is owed after an unsubscribe; then something is sent, and the peer still reads
// nothing.
#[test]
fn regression_write_timeout_counts_again_for_what_is_sent_after_an_unsubscribe() {
    for is_closed in [false, true] {
        let config = Config { write_timeout: Some(SHORT), ..config() };
        let mut blocked = Blocked::new("send", config);
        let (token, topic) = (blocked.token, blocked.topic);
        blocked.reactor.with_context(|_, cx| {
            cx.unsubscribe(token, topic);
            assert!(cx.send(token, b"more"));
            if is_closed {
                cx.close(token);
            }
        });
        turn_for(&mut blocked.reactor, 3 * SHORT);
        assert_eq!(blocked.reactor.stats().open(), 0, "{}", blocked.reactor.stats());
    }
}

// A shutdown begins while a topic has messages for a peer that reads nothing; then it is
// unsubscribed.
#[test]
fn regression_shutdown_closes_a_connection_to_which_nothing_is_owed_since_an_unsubscribe() {
    let config = Config { drain_quiet: SHORT, linger_timeout: SHORT, ..config() };
    let mut blocked = Blocked::new("drain", config);
    blocked.reactor.with_context(|_, cx| cx.drain());
    blocked.reactor.turn().unwrap();
    let (token, topic) = (blocked.token, blocked.topic);
    blocked.reactor.with_context(|_, cx| cx.unsubscribe(token, topic));
    let begun = Instant::now();
    blocked.reactor.run().unwrap();
    assert!(begun.elapsed() < Config::default().drain_timeout);
}

/// A connection whose socket refused bytes between two messages of a topic, so that nothing else is
/// owed. A write of one small message to a Unix socket is taken whole or not at all.
struct Blocked {
    reactor: Reactor<Reporter<Decide>>,
    token: Token,
    topic: TopicId,
    _stream: std::os::unix::net::UnixStream,
}

type Decide = fn(&mut Context<'_>, &Seen);

impl Blocked {
    fn new(name: &str, config: Config) -> Self {
        let decide: Decide = |_, _| ();
        let (handler, seen) = Reporter::new(decide);
        let mut reactor = Reactor::new(config, handler).unwrap();
        let path = std::env::temp_dir().join(format!("edgeloop-{name}-{}", std::process::id()));
        let address = format!("unix:{}", path.display()).parse().unwrap();
        reactor.listen(&address, &ListenOptions::default()).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        reactor.turn().unwrap();
        let token = expect_open(&seen);
        let topic = reactor.with_context(|_, cx| {
            let topic = cx.create_topic(TopicConfig::default());
            cx.subscribe(token, topic, Start::Next);
            topic
        });
        while reactor.stats().messages_published == reactor.stats().messages_delivered {
            reactor.with_context(|_, cx| cx.publish(topic, None, &[1; 1000]).unwrap());
            reactor.turn().unwrap();
        }
        reactor.with_context(|_, cx| assert_eq!(cx.output_len(token), 0, "no message was cut"));
        Blocked { reactor, token, topic, _stream: stream }
    }
}

// More than a topic holds is published in one call, and nobody follows it.
#[test]
fn regression_topic_that_nobody_follows_is_never_full() {
    let mut server = ByHand::new(config(), Echo::new());
    server.reactor.with_context(|_, cx| {
        let memory = 64 * KIB;
        let config = TopicConfig { memory, history: 10, ..TopicConfig::default() };
        let topic = cx.create_topic(config);
        for sequence in 0..1000 {
            assert_eq!(cx.publish(topic, None, &[1; 1000]), Ok(sequence));
        }
    });
}

// Everybody sends, the loop stands still for longer than the idle timeout, and the list of events
// is too short to say all of it at once.
#[test]
fn regression_nobody_is_idle_whose_event_did_not_fit() {
    let idle = Duration::from_millis(500);
    let config = Config { idle_timeout: Some(idle), events: 2, ..config() };
    let mut server = ByHand::new(config, Echo::new());
    let streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    server.turn_until("all are open", |reactor| reactor.stats().accepted == 8);
    (0..10).for_each(|_| server.turn());
    streams.iter().for_each(|stream| send(stream, b"x"));
    thread::sleep(idle + SHORT);
    server.turn_until("all are served, or closed", |reactor| {
        reactor.stats().bytes_sent == 8 || reactor.stats().timers > 0
    });
    assert_eq!(closed(server.reactor.stats()), []);
}

// A paused connection fails when something is sent to it; what the peer sent before is to be read
// when the handler goes on, and that is a matter of its timer.
#[test]
fn regression_timer_of_a_paused_connection_fires_although_its_socket_has_failed() {
    let (handler, seen) = Reporter::new(|cx: &mut Context<'_>, seen: &Seen| match seen {
        Seen::Data(token, bytes) if bytes == b"first" => {
            cx.pause(*token);
            // By then the reset has come.
            cx.set_timer(*token, Duration::from_secs(1));
        }
        Seen::Timer(token) => cx.resume(*token),
        _ => {}
    });
    let server = start(Config { linger_timeout: 20 * PATIENCE, ..config() }, handler);
    let stream = server.connect();
    let token = expect_open(&seen);
    send(&stream, b"first");
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Data(token, b"first".to_vec())));
    send(&stream, b"second");
    reset(stream);
    // The first write fails: the reset has arrived, loopback delivers at once.
    server.ask(move |cx| assert!(cx.send(token, b"answer")));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Timer(token)));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Data(token, b"second".to_vec())));
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(Seen::Close(token, CloseReason::Reset)));
    server.finish();
}

// Two deadlines of one connection lie in the same tick: one entry of the wheel serves both, and the
// second was left to the next tick.
#[test]
fn regression_deadlines_of_one_tick_are_all_met_in_it() {
    let tick = Duration::from_millis(400);
    let config = Config { tick, idle_timeout: Some(tick / 20), ..config() };
    let (handler, seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Open(token) = seen {
            cx.set_timer(*token, tick / 40);
        }
    });
    let mut server = ByHand::new(config, handler);
    let _client = server.connect();
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 1);
    let token = expect_open(&seen);
    thread::sleep(tick);
    server.turn();
    assert_eq!(seen.try_recv(), Ok(Seen::Timer(token)));
    // The connection is idle as well.
    assert_eq!(server.reactor.stats().timers, 2);
}

// A handler works for a while. The wait for the next deadline was counted from the beginning of that
// turn.
#[test]
fn regression_wait_for_a_deadline_does_not_begin_with_the_turn() {
    let work = Duration::from_secs(1);
    let (handler, _seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Data(..) = seen {
            cx.set_alarm(cx.now() + work + SHORT);
            thread::sleep(work);
        }
    });
    let mut server = ByHand::new(config(), handler);
    let client = server.connect();
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 1);
    send(&client, b"x");
    server.turn_until("handled", |reactor| reactor.stats().bytes_consumed == 1);
    let began = Instant::now();
    server.reactor.turn().unwrap();
    // Counted from the beginning of the turn, the wait would be as long as the work and more.
    assert!(began.elapsed() < work, "waited for {:?}", began.elapsed());
}

// A paused connection is told of the peer's end and of its reset before it is read. The read says
// that the stream has ended and nothing more, and the handler keeps its side open.
#[test]
fn regression_reset_that_came_before_the_end_was_read_is_not_forgotten() {
    let (handler, seen) = Reporter::new(|cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Open(token) = seen {
            cx.pause(*token);
        }
    });
    let mut server = ByHand::new(config(), handler);
    let client = server.connect();
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 1);
    let token = expect_open(&seen);
    drop(client);
    // Nobody is there any more: loopback answers with a reset at once.
    server.reactor.with_context(|_, cx| assert!(cx.send(token, b"answer")));
    server.turn_until("sent", |reactor| reactor.stats().bytes_sent == 6);
    server.turn();
    server.reactor.with_context(|_, cx| cx.resume(token));
    server.turn_until("closed", |reactor| reactor.stats().open() == 0);
    assert_eq!(seen.try_recv(), Ok(Seen::End(token)));
    assert_eq!(seen.try_recv(), Ok(Seen::Close(token, CloseReason::Reset)));
}

// Two timers lie in one tick, and the budget of a turn is spent between them. A shutdown gives the
// second an earlier deadline; set again in the tick that was being swept it came a tick later.
#[test]
fn regression_timer_that_is_due_is_not_put_off_by_an_earlier_deadline() {
    let tick = Duration::from_millis(400);
    let drain_quiet = Duration::from_millis(1);
    let config = Config { tick, visit_budget: 1, drain_quiet, ..config() };
    let (handler, seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| match seen {
        Seen::Open(token) => cx.set_timer(*token, tick / 40),
        Seen::Timer(_) => cx.drain(),
        _ => {}
    });
    let mut server = ByHand::new(config, handler);
    let _clients = [server.connect(), server.connect()];
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 2);
    thread::sleep(tick);
    server.turn();
    server.turn();
    assert_eq!(server.reactor.stats().timers, 2);
    drop(seen);
}
