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
        let stream = program.connect();
        send_until_blocked(&stream, pattern(1, 0, MIB), Duration::from_millis(300));
        let started = Instant::now();
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(1));
        let waited = started.elapsed();
        let deadline = Duration::from_millis(1500);
        assert!(waited + Duration::from_millis(5) >= deadline, "{waited:?} is early");
        assert!(waited < deadline + Duration::from_millis(250), "{waited:?} is late");
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
        let started = Instant::now();
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
        streams.iter().for_each(|stream| expect_eof(stream));
    }

    #[test]
    fn broadcast_delivers_what_was_published_before_it_ends() {
        let mut program = Program::start("broadcast --slow-consumer wait --drain-timeout 20s");
        let (from, to) = (program.connect(), program.connect());
        let slow = connect_narrow(&program.address, 2048);
        // Everybody is there once everybody has heard something from everybody.
        wait_until_all_hear(&[&from, &to, &slow]);
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

    /// Accepting is not announced; lines are sent until they arrive, then all are read up to one
    /// that is the last.
    fn wait_until_all_hear(streams: &[&TcpStream]) {
        thread::sleep(Duration::from_millis(300));
        for (sender, stream) in streams.iter().enumerate() {
            send(*stream, b"here\n");
            for (receiver, stream) in streams.iter().enumerate() {
                if receiver != sender {
                    expect_bytes(*stream, b"here\n");
                }
            }
        }
    }
}

// The library.

#[test]
fn drain_without_connections_ends_at_once() {
    let started = Instant::now();
    start(Config::default(), Echo::new()).finish();
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn stop_during_a_drain_ends_it() {
    let mut server = start(short(Duration::from_secs(60)), Echo::new());
    let stream = server.connect();
    send_until_blocked(&stream, pattern(1, 0, MIB), Duration::from_millis(200));
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
    send_until_blocked(&stream, pattern(1, 0, MIB), Duration::from_millis(200));
    let started = Instant::now();
    for _ in 0..6 {
        if server.remote.run(|cx| cx.drain()).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(150));
    }
    expect_gone(&stream);
    assert!(started.elapsed() < Duration::from_millis(1300), "it took {:?}", started.elapsed());
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
    server.ask_when_free();
    server.finish();
}

impl Server {
    /// Waits until the queue of tasks has room again.
    fn ask_when_free(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.remote.run(|_| ()).is_err() {
            assert!(Instant::now() < deadline, "the queue stays full");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(20));
    }
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
