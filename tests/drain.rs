//! Ending: what is in flight finishes, nobody new comes in, and it takes no longer than it may. And
//! the door for other threads, by which the end is asked for.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::Silent;
use common::*;
use edgeloop::service::Echo;
use edgeloop::{CloseReason, Config, RemoteError};

fn short(drain_timeout: Duration) -> Config {
    let (tick, drain_quiet) = (Duration::from_millis(20), Duration::from_millis(200));
    Config { drain_timeout, tick, drain_quiet, ..Config::default() }
}

// The program.

#[cfg(feature = "cli")]
mod program {
    use std::net::TcpStream;

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
    let server = start(Config { tasks_max: 8, ..Config::default() }, Silent);
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
    let server = start(Config { tasks_max: 2, ..Config::default() }, Silent);
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
    let server = start(Config { tasks_max: 1, ..Config::default() }, Silent);
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
    let mut server = start(Config::default(), Silent);
    let remote = server.remote.clone();
    server.ask(|cx| cx.drain());
    server.join();
    assert!(matches!(remote.run(|_| ()), Err(RemoteError::Gone(_))));
}
