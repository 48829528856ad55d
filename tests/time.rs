//! Deadlines: within one tick, never early, and only when what they wait for did not happen.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen, Silent};
use common::*;
use edgeloop::service::Echo;
use edgeloop::{CloseReason, Config, Context, Handler, ProtocolError, RingBuffer, Token};

const TICK: Duration = Duration::from_millis(20);

fn config() -> Config {
    Config { tick: TICK, ..Config::default() }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[track_caller]
fn expect_within_a_tick(waited: Duration, span: Duration) {
    expect_on_time(waited, span, TICK);
}

// Idle.

#[test]
fn idle_timeout_fires_within_a_tick_and_never_early() {
    for span in [1, 55, 100, 333] {
        let server = start(Config { idle_timeout: Some(ms(span)), ..config() }, Echo::new());
        // The server's clock begins when it accepts, which is not before we connect.
        let started = Instant::now();
        let stream = server.connect();
        expect_eof(&stream);
        expect_within_a_tick(started.elapsed(), ms(span));
        drop(stream);
        assert_eq!(closed(&server.finish()), [(CloseReason::IdleTimeout, 1)]);
    }
}

#[test]
fn connection_that_may_be_silent_is_never_idle_until_that_is_over() {
    struct Permits;
    impl Handler for Permits {
        type Session = ();
        fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
            cx.permit_silence(token, true);
        }
        fn on_data(
            &mut self,
            cx: &mut Context<'_>,
            token: Token,
            _session: &mut (),
            input: &mut RingBuffer,
        ) -> Result<(), ProtocolError> {
            input.clear();
            cx.permit_silence(token, false);
            cx.send(token, b"x");
            Ok(())
        }
    }
    let server = start(Config { idle_timeout: Some(ms(100)), ..config() }, Permits);
    let patient = server.connect();
    // Five times as long as it may be idle.
    expect_silence(&patient, ms(500));
    send(&patient, b"?");
    let started = Instant::now();
    expect_bytes(&patient, b"x");
    expect_eof(&patient);
    expect_within_a_tick(started.elapsed(), ms(100));
    drop(patient);
    assert_eq!(closed(&server.finish()), [(CloseReason::IdleTimeout, 1)]);
}

#[test]
fn each_byte_puts_the_idle_timeout_off() {
    let server = start(Config { idle_timeout: Some(ms(150)), ..config() }, Echo::new());
    let stream = server.connect();
    let mut last = Instant::now();
    for _ in 0..10 {
        thread::sleep(ms(60));
        last = Instant::now();
        send(&stream, b"x");
        expect_bytes(&stream, b"x");
    }
    expect_eof(&stream);
    expect_within_a_tick(last.elapsed(), ms(150));
    drop(stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::IdleTimeout, 1)]);
}

#[test]
fn bytes_in_one_direction_only_keep_a_connection() {
    // In: a handler that never answers. Out: a handler that sends by timer to a client that only
    // reads.
    let idle = Config { idle_timeout: Some(ms(150)), ..config() };
    let server = start(idle.clone(), Silent);
    let stream = server.connect();
    for _ in 0..10 {
        thread::sleep(ms(50));
        send(&stream, b"x");
    }
    assert_eq!(server.stats().open(), 1);
    drop(stream);
    server.finish();

    let (reporter, _seen) = Reporter::new(|cx, seen| match seen {
        Seen::Open(token) | Seen::Timer(token) => {
            cx.send(*token, b"x");
            cx.set_timer(*token, ms(50));
        }
        Seen::End(token) => cx.close(*token),
        _ => {}
    });
    let server = start(idle, reporter);
    let stream = server.connect();
    expect_bytes(&stream, &[b'x'; 10]);
    drop(stream);
    server.stop();
}

#[test]
fn loop_that_was_stopped_serves_what_arrived_in_time_before_it_calls_anybody_idle() {
    let config = Config { idle_timeout: Some(ms(50)), ..config() };
    let mut server = ByHand::new(config, Echo::new());
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    send(&stream, b"in time");
    thread::sleep(ms(120));
    for _ in 0..3 {
        server.turn();
    }
    expect_bytes(&stream, b"in time");
    assert_eq!(server.reactor.stats().open(), 1);
}

// Writing.

#[test]
fn write_timeout_fires_within_a_tick_and_never_early() {
    let server = start(Config { write_timeout: Some(ms(300)), ..config() }, Echo::new());
    let stream = server.connect();
    let (sender, sent) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            // The last byte that the server's socket takes goes out while we are still sending.
            let mut stream = &stream;
            while let Ok(n) = std::io::Write::write(&mut stream, pattern(1, 0, 64 * KIB)) {
                sender.send((Instant::now(), n)).unwrap();
            }
        });
        let waiting = server.wait_until("output waits", |stats| stats.bytes_waiting() > 0);
        let mut last = (waiting.bytes_sent, Instant::now());
        let mut before = last.1;
        let ended = loop {
            let stats = server.stats();
            let now = Instant::now();
            if stats.open() == 0 {
                break now;
            }
            if stats.bytes_sent > last.0 {
                // It was taken after `before`, when the counter was still lower.
                last = (stats.bytes_sent, before);
            }
            before = now;
            thread::sleep(ms(1));
        };
        expect_within_a_tick(ended - last.1, ms(300));
    });
    drop(sent);
    assert_eq!(closed(&server.finish()), [(CloseReason::WriteTimeout, 1)]);
}

#[test]
fn write_timeout_does_not_concern_who_is_owed_nothing() {
    let server = start(Config { write_timeout: Some(ms(50)), ..config() }, Echo::new());
    let stream = server.connect();
    send(&stream, b"x");
    expect_bytes(&stream, b"x");
    expect_silence(&stream, ms(300));
    drop(stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 1)]);
}

// Handlers' own.

#[test]
fn handler_timer_fires_within_a_tick_and_never_early_and_once() {
    let (sender, receiver) = mpsc::channel();
    let mut set = None;
    let (reporter, seen) = Reporter::new(move |cx, seen| match seen {
        Seen::Data(token, bytes) => {
            let delay = ms(u64::from(bytes[0]));
            // The first is moved by the second.
            cx.set_timer(*token, ms(1));
            cx.set_timer(*token, delay);
            set = Some((cx.now(), delay));
        }
        Seen::Timer(_) => {
            let (at, delay) = set.take().expect("it fired twice");
            sender.send((cx.now() - at, delay)).unwrap();
        }
        _ => {}
    });
    let server = start(config(), reporter);
    let stream = server.connect();
    for delay in [0, 1, 19, 20, 21, 100, 250] {
        send(&stream, &[delay]);
        let (waited, delay) = receiver.recv_timeout(PATIENCE).unwrap();
        expect_within_a_tick(waited, delay);
    }
    thread::sleep(ms(100));
    drop(stream);
    server.stop();
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Timer(_))).count(), 7);
}

#[test]
fn cancelled_timer_and_timer_of_a_closed_connection_do_not_fire() {
    let (reporter, seen) = Reporter::new(|cx, seen| {
        if let Seen::Data(token, bytes) = seen {
            cx.set_timer(*token, ms(50));
            match bytes.as_slice() {
                b"cancel" => cx.cancel_timer(*token),
                _ => cx.close(*token),
            }
        }
    });
    let server = start(config(), reporter);
    let streams = [server.connect(), server.connect()];
    send(&streams[0], b"cancel");
    send(&streams[1], b"close");
    expect_eof(&streams[1]);
    thread::sleep(ms(200));
    drop(streams);
    let stats = server.stop();
    assert_eq!(stats.timers, 0);
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Timer(_))));
}

#[test]
fn alarm_is_as_exact_as_the_poll() {
    struct Alarms(mpsc::Sender<Duration>, Option<Instant>);
    impl Handler for Alarms {
        type Session = ();
        fn on_open(&mut self, cx: &mut Context<'_>, _: Token) {
            self.1 = Some(cx.now() + ms(33));
            cx.set_alarm(cx.now() + ms(33));
        }
        fn on_data(
            &mut self,
            _: &mut Context<'_>,
            _: Token,
            _: &mut (),
            _: &mut RingBuffer,
        ) -> Result<(), ProtocolError> {
            Ok(())
        }
        fn on_alarm(&mut self, cx: &mut Context<'_>) {
            let due = self.1.take().expect("it rang twice");
            self.0.send(cx.now().checked_duration_since(due).expect("it rang early")).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    let server = start(config(), Alarms(sender, None));
    for _ in 0..5 {
        let stream = server.connect();
        let late = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(late < SLACK, "{late:?} late");
        drop(stream);
    }
    server.finish();
}

// What is left of timers.

#[test]
fn no_timer_is_left_when_all_are_closed() {
    let config = Config { idle_timeout: Some(ms(200)), ..config() };
    let server = start(config, Echo::new());
    for _ in 0..50 {
        let stream = server.connect();
        send(&stream, b"x");
        expect_bytes(&stream, b"x");
    }
    server.wait_until("all are closed", |stats| stats.open() == 0);
    // The loop has nothing to wake for.
    let before = server.stats();
    thread::sleep(ms(500));
    let after = server.stats();
    assert!(after.turns - before.turns <= 2, "{} turns", after.turns - before.turns);
    assert_eq!(after.timers, 0);
    server.finish();
}

#[test]
fn traffic_does_not_touch_the_wheel() {
    // An entry comes round once a timeout, not once a message.
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    let mut server = ByHand::new(config, Echo::new());
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    for _ in 0..50 {
        send(&stream, b"x");
        server.turn();
        expect_bytes(&stream, b"x");
        thread::sleep(ms(10));
    }
    assert_eq!(server.reactor.stats().timers, 0, "it was not idle");
    server.reactor.turn().unwrap();
}

#[test]
fn many_deadlines_at_once_are_all_met() {
    let config = Config { idle_timeout: Some(ms(300)), ..config() };
    let server = start(config, Echo::new());
    let streams: Vec<TcpStream> = (0..500).map(|_| server.connect()).collect();
    for mut stream in &streams {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    drop(streams);
    assert_eq!(closed(&server.finish()), [(CloseReason::IdleTimeout, 500)]);
}
