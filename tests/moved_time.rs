//! Deadlines by a clock that the test moves: exact to the millisecond, and none waits for it. What the
//! poll adds to that is in `tests/time.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::closed;
use common::handlers::{Reporter, Seen};
use edgeloop::service::Echo;
use edgeloop::testing::{Ended, Harness, Peer};
use edgeloop::{CloseReason, Config, Handler};

const TICK: Duration = Duration::from_millis(20);
/// Points in time are kept as whole milliseconds, so a deadline lies one behind its span.
const STAMP: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config { tick: TICK, ..Config::default() }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn server<H: Handler>(config: Config, handler: H) -> Harness<H> {
    Harness::new(config, handler).unwrap()
}

/// A peer that has been accepted, now.
fn open<H: Handler>(server: &mut Harness<H>) -> Peer {
    let peer = server.connect();
    server.run_until_idle();
    peer
}

/// It comes true within the tick behind a span that begins now, and not before.
#[track_caller]
fn expect_on_time<H: Handler>(
    server: &mut Harness<H>,
    span: Duration,
    is_so: impl Fn(&mut Harness<H>) -> bool,
) {
    server.advance(span);
    assert!(!is_so(server), "early for {span:?}");
    server.advance(STAMP + TICK);
    assert!(is_so(server), "late for {span:?}");
}

#[test]
fn idle_timeout_fires_within_a_tick_and_never_early() {
    for span in [1, 19, 20, 21, 55, 100, 333, 3_600_000] {
        let config = Config { idle_timeout: Some(ms(span)), ..config() };
        let mut server = server(config, Echo::new());
        let peer = open(&mut server);
        expect_on_time(&mut server, ms(span), |_| peer.ended() == Some(Ended::InOrder));
        peer.close();
        server.run_until_idle();
        assert_eq!(peer.close_reason(), Some(CloseReason::IdleTimeout));
        server.finish();
    }
}

/// What it has sent waits for others; from when it goes on, its time begins anew.
#[test]
fn connection_that_is_put_off_is_not_idle_and_one_that_is_paused_is() {
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    let mut server = server(config, Echo::new());
    let (put_off, paused) = (open(&mut server), open(&mut server));
    server.with_context(|_, cx| {
        cx.put_off(put_off.token().unwrap());
        cx.pause(paused.token().unwrap());
    });
    expect_on_time(&mut server, ms(100), |_| paused.ended().is_some());
    server.advance(ms(500));
    assert_eq!(put_off.ended(), None);
    server.with_context(|_, cx| cx.resume(put_off.token().unwrap()));
    expect_on_time(&mut server, ms(100), |_| put_off.ended().is_some());
}

#[test]
fn time_of_a_connection_that_goes_on_before_others_begins_anew_as_well() {
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    let mut server = server(config, Echo::new());
    let peer = open(&mut server);
    server.with_context(|_, cx| cx.put_off(peer.token().unwrap()));
    server.advance(ms(500));
    server.with_context(|_, cx| cx.resume_first(peer.token().unwrap()));
    expect_on_time(&mut server, ms(100), |_| peer.ended().is_some());
}

/// Its message is in flight, however long a shutdown waits; at the end of the time for that it has not
/// finished.
#[test]
fn connection_that_is_put_off_is_not_quiet_in_a_shutdown() {
    for is_resumed in [true, false] {
        let config = Config { drain_quiet: ms(20), drain_timeout: ms(1000), ..config() };
        let mut server = server(config, Echo::new());
        let token = open(&mut server).token().unwrap();
        server.with_context(|_, cx| {
            cx.put_off(token);
            cx.drain();
        });
        server.advance(ms(999));
        assert_eq!(server.stats().open(), 1);
        if is_resumed {
            server.with_context(|_, cx| cx.resume(token));
        }
        let stats = server.finish();
        // Too late to be quiet for long enough, so it is cut off in both cases.
        assert_eq!(closed(&stats), [(CloseReason::DrainTimeout, 1)]);
    }
    let config = Config { drain_quiet: ms(20), drain_timeout: ms(1000), ..config() };
    let mut server = server(config, Echo::new());
    let peer = open(&mut server);
    let token = peer.token().unwrap();
    server.with_context(|_, cx| {
        cx.put_off(token);
        cx.drain();
    });
    server.advance(ms(500));
    server.with_context(|_, cx| cx.resume(token));
    expect_on_time(&mut server, ms(20), |_| peer.ended() == Some(Ended::InOrder));
    assert_eq!(closed(&server.finish()), [(CloseReason::Drained, 1)]);
}

#[test]
fn each_byte_puts_the_idle_timeout_off() {
    let config = Config { idle_timeout: Some(ms(150)), ..config() };
    let mut server = server(config, Echo::new());
    let peer = open(&mut server);
    for _ in 0..10 {
        server.advance(ms(149));
        peer.send("x");
        server.run_until_idle();
        assert_eq!(peer.read(), b"x");
    }
    assert_eq!(server.stats().timers, 0, "it was not idle");
    expect_on_time(&mut server, ms(150), |_| peer.ended().is_some());
    assert_eq!(server.stats().timers, 1);
}

#[test]
fn write_timeout_fires_within_a_tick_of_the_last_byte_and_never_early() {
    let config = Config { write_timeout: Some(ms(300)), ..config() };
    let mut server = server(config, Echo::new()).with_buffers(1000, 1000);
    let peer = open(&mut server);
    peer.stop_reading();
    peer.send([b'x'; 100_000]);
    server.advance(ms(299));
    // One byte more is progress, for which the socket is asked at the deadline: nobody tells of so little.
    peer.read_slowly(1);
    server.turn();
    peer.stop_reading();
    server.advance(STAMP + TICK);
    expect_on_time(&mut server, ms(300), |_| peer.close_reason().is_some());
    assert_eq!(peer.close_reason(), Some(CloseReason::WriteTimeout));
    assert_eq!(peer.ended(), Some(Ended::Reset));
}

#[test]
fn write_timeout_does_not_concern_who_is_owed_nothing() {
    let mut server = server(Config { write_timeout: Some(ms(50)), ..config() }, Echo::new());
    let peer = open(&mut server);
    peer.send("x");
    server.advance(ms(3_600_000));
    assert_eq!((peer.read_text().as_str(), peer.ended()), ("x", None));
    assert_eq!(server.next_deadline(), None, "there is nothing to wake for");
}

#[test]
fn handler_timer_fires_within_a_tick_and_never_early_and_once() {
    let (reporter, seen) = Reporter::new(move |cx, seen| {
        if let Seen::Data(token, bytes) = seen {
            // The first is moved by the second.
            cx.set_timer(*token, ms(1));
            cx.set_timer(*token, ms(u64::from(bytes[0])));
        }
    });
    let mut server = server(config(), reporter);
    let peer = open(&mut server);
    for (count, delay) in (1..).zip([0, 1, 19, 20, 21, 100, 250]) {
        peer.send([delay]);
        server.run_until_idle();
        expect_on_time(&mut server, ms(delay.into()), |server| server.stats().timers == count);
    }
    server.advance(ms(10_000));
    assert_eq!(seen.try_iter().filter(|seen| matches!(seen, Seen::Timer(_))).count(), 7);
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
    let mut server = server(config(), reporter);
    let (cancels, closes) = (open(&mut server), open(&mut server));
    cancels.send("cancel");
    closes.send("close");
    server.run_until_idle();
    closes.close();
    server.advance(ms(3_600_000));
    assert_eq!(server.stats().timers, 0);
    assert!(!seen.try_iter().any(|seen| matches!(seen, Seen::Timer(_))));
}

#[test]
fn no_timer_is_left_when_all_are_closed() {
    let config = Config { idle_timeout: Some(ms(1000)), ..config() };
    let mut server = server(config, Echo::new());
    let peers: Vec<Peer> = (0..50).map(|_| open(&mut server)).collect();
    assert!(server.next_deadline().is_some());
    peers.iter().for_each(Peer::close);
    server.run_until_idle();
    // Most of the connections have ended, which is looked at once.
    server.advance(ms(1000));
    assert_eq!(server.next_deadline(), None, "there is nothing to wake for");
    assert_eq!(server.stats().timers, 0);
}

#[test]
fn traffic_does_not_touch_the_wheel() {
    // An entry comes round once a timeout, not once a message.
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    let mut server = server(config, Echo::new());
    let peer = open(&mut server);
    let due = server.next_deadline().unwrap();
    for sent in 1..=99 {
        server.advance(ms(1));
        peer.send("x");
        server.run_until_idle();
        assert_eq!(server.next_deadline(), Some(due - ms(sent)));
    }
    assert_eq!(server.stats().timers, 0);
}
