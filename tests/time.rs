//! Deadlines of a loop that sleeps: within one tick, never early, and only when what they wait for did not
//! happen. `tests/moved_time.rs` has those that need no poll.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen, silent};
use common::scripted::Scripted;
use common::stalled::{self, LONG_REPLY, SHORT, expect_open, replier, turn_for};
use common::*;
use edgeloop::service::{Echo, handler_fn};
use edgeloop::{Address, CloseReason, Config, Context, Handler, Reactor, TimerWheel};

const TICK: Duration = Duration::from_millis(20);

fn config() -> Config {
    Config { tick: TICK, ..Config::default() }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[track_caller]
fn expect_within_a_tick(set: Moment, kept: Moment, span: Duration) {
    expect_on_time(set, kept, span, TICK);
}

/// Turns until the next of all deadlines was acted upon.
#[track_caller]
fn next_deadline<H: Handler>(server: &mut ByHand<H>) -> Moment {
    let before = server.reactor.stats().timers;
    server.turn_across("the deadline is kept", move |reactor| reactor.stats().timers > before)
}

/// The connection was idle, and ends in good order.
#[track_caller]
fn expect_idle_close<H: Handler>(server: &mut ByHand<H>, stream: TcpStream) {
    expect_end(server, stream);
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::IdleTimeout, 1)]);
}

/// The client is told of the end, and has gone, and so is the connection.
#[track_caller]
fn expect_end<H: Handler>(server: &mut ByHand<H>, stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    server.turn_until("its end is told", |_| matches!(stream.peek(&mut [0]), Ok(0)));
    drop(stream);
    server.turn_until("it is gone", |reactor| reactor.stats().open() == 0);
}

#[track_caller]
fn open<H: Handler>(server: &mut ByHand<H>) -> (TcpStream, Moment) {
    let (stream, before) = (server.connect(), server.reactor.stats().accepted);
    let is_open = move |reactor: &mut Reactor<H>| reactor.stats().accepted > before;
    (stream, server.turn_across("it is open", is_open))
}

// Idle.

#[test]
fn connection_that_may_be_silent_is_never_idle_until_that_is_over() {
    let permits = handler_fn(|cx, token, input| {
        input.clear();
        cx.permit_silence(token, false);
        cx.send(token, b"x");
        Ok(())
    });
    let permits = permits.on_open(|cx, token| cx.permit_silence(token, true));
    let config = Config { idle_timeout: Some(ms(100)), ..config() };
    let mut server = ByHand::new(config, permits);
    let (patient, opened) = open(&mut server);
    // Five times as long as it may be idle.
    server.turn_until("time has passed", |_| opened.before.elapsed() > ms(500));
    assert_eq!(server.reactor.stats().timers, 0);
    send(&patient, b"?");
    let answered = server.turn_across("answered", |reactor| reactor.stats().bytes_sent == 1);
    expect_bytes(&patient, b"x");
    let kept = next_deadline(&mut server);
    expect_within_a_tick(answered, kept, ms(100));
    expect_idle_close(&mut server, patient);
}

#[test]
fn bytes_in_one_direction_only_keep_a_connection() {
    // In: a handler that never answers. Out: a handler that sends by timer to a client that only
    // reads.
    let idle = Config { idle_timeout: Some(ms(150)), ..config() };
    let mut server = ByHand::new(idle.clone(), silent());
    let (stream, _) = open(&mut server);
    for count in 1..=10 {
        thread::sleep(ms(50));
        send(&stream, b"x");
        server.turn_until("it comes", |reactor| reactor.stats().bytes_received == count);
    }
    assert_eq!((server.reactor.stats().open(), server.reactor.stats().timers), (1, 0));

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
    let (stream, _) = open(&mut server);
    send(&stream, b"in time");
    thread::sleep(ms(120));
    server.turn_until("it is served", |reactor| reactor.stats().bytes_sent == 7);
    expect_bytes(&stream, b"in time");
    assert_eq!((server.reactor.stats().open(), server.reactor.stats().timers), (1, 0));
}

// Writing.

#[test]
fn write_timeout_fires_within_a_tick_and_never_early() {
    let config = Config { write_timeout: Some(ms(300)), ..config() };
    let mut server = ByHand::new(config, Echo::new());
    let (stream, mut taken) = open(&mut server);
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut after) = (0, Instant::now());
    let kept = loop {
        // It sends all the time, and reads nothing.
        while (&stream).write(pattern(1, 0, 64 * KIB)).is_ok() {}
        let last = std::mem::replace(&mut after, Instant::now());
        server.turn();
        let (stats, before) = (server.reactor.stats(), Instant::now());
        if stats.open() == 0 {
            break Moment { after: last, before };
        }
        if stats.bytes_sent > sent {
            (sent, taken) = (stats.bytes_sent, Moment { after, before });
        }
        assert!(taken.before.elapsed() < PATIENCE, "it is never closed");
    };
    expect_within_a_tick(taken, kept, ms(300));
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::WriteTimeout, 1)]);
}

// Handlers' own.

#[test]
fn alarm_is_as_exact_as_the_poll() {
    #[derive(Default)]
    struct Alarms {
        due: Option<Instant>,
        rung: u32,
    }
    let on_open = |it: &mut Alarms, cx: &mut Context<'_>, _| {
        it.due = Some(cx.now() + ms(33));
        cx.set_alarm(cx.now() + ms(33));
    };
    let alarms = Scripted::new(Alarms::default(), on_open, |_, _, _, (), _| Ok(()));
    let alarms = alarms.on_alarm(|it, cx| {
        let due = it.due.take().expect("it rang twice");
        assert!(cx.now() >= due, "it rang early");
        it.rung += 1;
    });
    let mut server = ByHand::new(config(), alarms);
    for count in 1..=5 {
        let (_stream, set) = open(&mut server);
        let rang = server.turn_across("it rings", |reactor| {
            reactor.with_context(|handler, _| handler.rung == count)
        });
        expect_on_time(set, rang, ms(33), Duration::ZERO);
    }
    // A loop that sleeps is woken by it.
    server.reactor.with_context(|handler, cx| {
        handler.due = Some(cx.now() + ms(33));
        cx.set_alarm(cx.now() + ms(33));
    });
    while server.reactor.with_context(|handler, _| handler.rung) < 6 {
        server.reactor.turn().unwrap();
    }
}

// What is left of timers.

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

// Bugs that were found, each with the schedule that showed it.

// A timer is set between two turns, long after the last one.
#[test]
fn regression_context_between_turns_sees_the_present() {
    let mut server = ByHand::new(stalled::config(), Echo::new());
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
    let config = Config { write_timeout: Some(timeout), ..stalled::config() };
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
        ..stalled::config()
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

// Everybody sends, the loop stands still for longer than the idle timeout, and the list of events
// is too short to say all of it at once.
#[test]
fn regression_nobody_is_idle_whose_event_did_not_fit() {
    let idle = Duration::from_millis(500);
    let config = Config { idle_timeout: Some(idle), events: 2, ..stalled::config() };
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
    let server = start(Config { linger_timeout: 20 * PATIENCE, ..stalled::config() }, handler);
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
    let config = Config { tick, idle_timeout: Some(tick / 20), ..stalled::config() };
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
    let mut server = ByHand::new(stalled::config(), handler);
    let client = server.connect();
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 1);
    send(&client, b"x");
    server.turn_until("handled", |reactor| reactor.stats().bytes_consumed == 1);
    let began = Instant::now();
    server.reactor.turn().unwrap();
    // Counted from the beginning of the turn, the wait would be as long as the work and more.
    assert!(began.elapsed() < work, "waited for {:?}", began.elapsed());
}

// Two timers lie in one tick, and the budget of a turn is spent between them. A shutdown gives the
// second an earlier deadline; set again in the tick that was being swept it came a tick later.
#[test]
fn regression_timer_that_is_due_is_not_put_off_by_an_earlier_deadline() {
    let tick = Duration::from_millis(400);
    let drain_quiet = Duration::from_millis(1);
    let config = Config { tick, visit_budget: 1, drain_quiet, ..stalled::config() };
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
    let queued = server.fill_the_kernel(token);
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
