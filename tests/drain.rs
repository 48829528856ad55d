//! Ending: what is in flight finishes, nobody new comes in, and it takes no longer than it may. And
//! the door for other threads, by which the end is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::silent;
use common::stalled::{self, BLOCKED, LONG_REPLY, SHORT, replier};
use common::*;
use edgeloop::service::{Broadcast, Echo, Framing, handler_fn};
use edgeloop::{
    Address, CloseReason, Config, Handler, ListenOptions, Reactor, RemoteError, TopicConfig,
};

fn short(drain_timeout: Duration) -> Config {
    let (tick, drain_quiet) = (Duration::from_millis(20), Duration::from_millis(200));
    Config { drain_timeout, tick, drain_quiet, ..Config::default() }
}

// The program.

#[cfg(feature = "cli")]
mod program {
    use rustix::process::Signal;

    use super::*;
    use common::program::Program;

    #[test]
    fn sigterm_lets_an_echo_finish_and_refuses_newcomers() {
        let mut program = Program::start("echo --drain-timeout 60s");
        let stream = program.connect();
        let total = 100 * MIB;
        thread::scope(|scope| {
            scope.spawn(|| {
                send_pattern(&stream, 1, 0, total);
                end_sending(&stream);
            });
            expect_pattern(&stream, 1, 0, total / 10);
            program.signal(Signal::TERM);
            program.expect_line("SIGTERM");
            expect_refused(&program);
            expect_pattern(&stream, 1, total / 10, total - total / 10);
            expect_eof(&stream);
        });
        assert_eq!(program.wait().code(), Some(0));
    }

    #[track_caller]
    fn expect_refused(program: &Program) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(socket_address(&program.address)).is_ok() {
            assert!(Instant::now() < deadline, "it still listens");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn stuck_client_is_cut_off_at_the_deadline() {
        let mut program = Program::start("echo --drain-timeout 1500ms");
        let (stream, other) = (program.connect(), program.connect());
        send_until_blocked(&stream, pattern(1, 0, MIB), || {
            send(&other, b"x");
            expect_bytes(&other, b"x");
        });
        let started = Instant::now();
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(1));
        let waited = started.elapsed();
        let deadline = Duration::from_millis(1500);
        assert!(waited + Duration::from_millis(5) >= deadline, "{waited:?} is early");
        // The one of others is ten seconds.
        assert!(waited < Config::default().drain_timeout, "{waited:?} is late");
        program.expect_line("drain_timeout=1");
    }

    #[test]
    fn idle_clients_do_not_hold_up_the_end() {
        let mut program = Program::start("echo --drain-timeout 60s");
        let streams: Vec<TcpStream> = (0..50).map(|_| program.connect()).collect();
        for stream in &streams {
            send(stream, b"x");
            expect_bytes(stream, b"x");
        }
        program.signal(Signal::TERM);
        // Which waits for less than the drain timeout.
        assert_eq!(program.wait().code(), Some(0));
        streams.iter().for_each(|stream| expect_eof(stream));
    }

    #[test]
    fn broadcast_delivers_what_was_published_before_it_ends() {
        let mut program = Program::start("broadcast --slow-consumer wait --drain-timeout 20s");
        let (from, to) = (program.connect(), program.connect());
        let slow = connect_narrow(&program.address, 2048);
        // Once the last one is heard by the others, all are there.
        send(&slow, b"here\n");
        expect_bytes(&from, b"here\n");
        expect_bytes(&to, b"here\n");
        let text: Vec<u8> = (0..5000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        send(&from, &text);
        expect_bytes(&to, &text);
        program.signal(Signal::TERM);
        program.expect_line("SIGTERM");
        expect_last_bytes(&slow, &text);
        expect_eof(&to);
        drop((from, to, slow));
        assert_eq!(program.wait().code(), Some(0));
    }
}

// The library.

#[test]
fn drain_without_connections_ends_at_once() {
    let config = Config { drain_timeout: 2 * PATIENCE, drain_quiet: PATIENCE, ..Config::default() };
    start(config, Echo::new()).finish();
}

#[test]
fn stop_during_a_drain_ends_it() {
    let mut server = start(short(Duration::from_secs(60)), Echo::new());
    let stream = server.connect();
    server.send_until_blocked(&stream, pattern(1, 0, MIB));
    server.ask(|cx| cx.drain());
    server.ask(|cx| cx.stop());
    let (stats, ending) = server.join();
    assert_eq!(ending.cut_off, 1);
    assert_eq!(closed(&stats), [(CloseReason::DrainTimeout, 1)]);
}

#[test]
fn second_drain_does_not_put_off_the_first() {
    let server = start(short(Duration::from_millis(800)), Echo::new());
    let stream = server.connect();
    server.send_until_blocked(&stream, pattern(1, 0, MIB));
    let deadline = Instant::now() + PATIENCE;
    // Each would put it off again.
    while server.remote.run(|cx| cx.drain()).is_ok() {
        assert!(Instant::now() < deadline, "it never ends");
        thread::sleep(Duration::from_millis(100));
    }
    expect_gone(&stream);
}

// Tasks.

#[test]
fn tasks_of_many_threads_all_run() {
    let server = start(Config { tasks_max: 8, ..Config::default() }, silent());
    let count = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let ran = Arc::clone(&count);
                    let mut outcome = server.remote.run(move |_| {
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                    // Full gives the task back.
                    while let Err(RemoteError::Full(task)) = outcome {
                        thread::yield_now();
                        outcome = server.remote.run(task);
                    }
                    outcome.unwrap();
                }
            });
        }
    });
    server.ask(|_| ());
    assert_eq!(count.load(Ordering::Relaxed), 4000);
    assert!(server.stats().tasks >= 4000);
    server.finish();
}

#[test]
fn full_queue_gives_the_task_back() {
    let server = start(Config { tasks_max: 2, ..Config::default() }, silent());
    let (release, wait) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    server
        .remote
        .run(move |_| {
            started.send(()).unwrap();
            wait.recv_timeout(PATIENCE).unwrap();
        })
        .unwrap();
    running.recv_timeout(PATIENCE).unwrap();
    server.remote.run(|_| ()).unwrap();
    server.remote.run(|_| ()).unwrap();
    assert!(matches!(server.remote.run(|_| ()), Err(RemoteError::Full(_))));
    release.send(()).unwrap();
    server.finish();
}

#[test]
fn task_may_queue_a_task() {
    let server = start(Config { tasks_max: 1, ..Config::default() }, silent());
    let (sender, receiver) = mpsc::channel();
    let remote = server.remote.clone();
    server
        .remote
        .run(move |_| {
            let again = remote.clone();
            remote
                .run(move |_| {
                    again.run(move |_| sender.send("third").unwrap()).unwrap();
                })
                .unwrap();
        })
        .unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok("third"));
    server.finish();
}

#[test]
fn remote_outlives_its_reactor() {
    let mut server = start(Config::default(), silent());
    let remote = server.remote.clone();
    server.ask(|cx| cx.drain());
    server.join();
    assert!(matches!(remote.run(|_| ()), Err(RemoteError::Gone(_))));
}

// Bugs that were found, each with the schedule that showed it.

// Output waits for the peer when the shutdown begins; then the peer takes all of it, and is quiet.
#[test]
fn regression_shutdown_closes_a_quiet_connection_that_was_stalled_when_it_began() {
    let config = Config { drain_quiet: SHORT, drain_timeout: 2 * PATIENCE, ..stalled::config() };
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
    let config = Config { visit_budget: 1, drain_quiet: soon, tick: soon, ..stalled::config() };
    let says_bye = handler_fn(|_, _, _| Ok(())).on_drain(|cx, token, ()| {
        cx.send(token, &GOODBYE);
    });
    let mut server = start(config, says_bye);
    let streams: Vec<_> = (0..200).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.accepted == 200);
    server.remote.run(|cx| cx.drain()).unwrap();
    streams.iter().for_each(|stream| expect_last_bytes(stream, &GOODBYE));
    drop(streams);
    assert_eq!(server.join().1.cut_off, 0);
}

// In one turn a callback ends its connection and asks for the shutdown.
#[test]
fn regression_connection_that_is_over_is_not_told_of_the_shutdown() {
    let (told, heard) = mpsc::channel();
    let last = told.clone();
    let handler = handler_fn(|cx, token, input| {
        input.clear();
        cx.abort(token);
        cx.drain();
        Ok(())
    });
    let handler = handler
        .on_drain(move |_, _, ()| told.send("drain").unwrap())
        .on_close(move |_, _, (), _| last.send("close").unwrap());
    let mut server = start(Config::default(), handler);
    send(&server.connect(), b"enough");
    server.join();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["close"]);
}

/// So long that the last one leaves after the first timer.
static GOODBYE: [u8; 20_000] = [b'b'; 20_000];

/// The kernel takes all that is sent.
fn listen_for_all<H: Handler>(reactor: &mut Reactor<H>) -> Address {
    let options = ListenOptions { notsent_lowat: None, ..ListenOptions::default() };
    reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
}

/// A server that shuts down and has closed its quiet connection, of whose mebibyte the client has read
/// nothing: the end of the stream cannot be seen before what is in front of it is read.
fn closed_as_quiet() -> (Server, TcpStream) {
    let config = Config { drain_quiet: 4 * SHORT, ..stalled::config() };
    let (handler, _seen) = replier(MIB);
    let server = start_by(config, handler, listen_for_all);
    let stream = connect_narrow(&server.address, 8 * KIB);
    server.wait_until("the kernel has all of it", |stats| stats.bytes_sent == MIB as u64);
    server.remote.run(|cx| cx.drain()).unwrap();
    server.wait_until("it is closed as quiet", |stats| stats.timers > 0);
    (server, stream)
}

// In a shutdown a quiet connection is closed while our kernel still holds most of what was sent,
// and the peer sends one more byte before it reads: if the socket is gone by then, that byte makes
// a reset of all the rest.
#[test]
fn regression_last_bytes_survive_the_close_of_a_quiet_connection() {
    let (mut server, stream) = closed_as_quiet();
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
    let (mut server, stream) = closed_as_quiet();
    for _ in 0..18 {
        send(&stream, b"late");
        thread::sleep(SHORT / 3);
    }
    expect_pattern(&stream, 1, 0, MIB);
    expect_eof(&stream);
    drop(stream);
    server.join();
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
