//! Where there is neither epoll nor kqueue mio imitates edges by `poll(2)`, and watches a socket again
//! only after a call on it said `WouldBlock`. The echo example is built so, and talked to.

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use edgeloop::Address;

/// The library alone, and the example by hand: cargo would build for it whatever any test needs.
fn build() -> PathBuf {
    const FORCED: &str = "mio_unsupported_force_poll_poll";
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forced_poll");
    let run = |command: &mut Command| {
        let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(status.is_ok_and(|status| status.success()), "{command:?}");
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--lib", "--locked", "--no-default-features", "--target-dir"]);
    run(cargo.arg(&target).env("RUSTFLAGS", format!("--cfg {FORCED}")));
    let built = target.join("debug");
    let example = built.join("echo");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "docs/code/echo.rs", "-o"]).arg(&example);
    rustc.arg("--extern").arg(format!("edgeloop={}", built.join("libedgeloop.rlib").display()));
    // The example's logger lies among what the library was built of.
    run(rustc.args(["--extern", "env_logger", "-L"]).arg(built.join("deps")));
    example
}

/// The running example; it dies with the test.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "builds the library once more"]
fn echo_over_poll_answers_every_message_and_not_only_the_first() {
    let program = build();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(program);
    let _example = Example(command.arg(free.to_string()).spawn().unwrap());
    let address = Address::Tcp(free);
    let begun = Instant::now();
    while std::net::TcpStream::connect(free).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen");
        thread::sleep(Duration::from_millis(5));
    }

    let streams: Vec<_> = (0..20).map(|_| connect(&address)).collect();
    for round in 0..50 {
        // Shorter than any buffer, and now and then longer than one read.
        let len = if round % 10 == 9 { 100 * KIB } else { 1 + round };
        streams.iter().for_each(|stream| send_pattern(stream, round, 0, len));
        streams.iter().for_each(|stream| expect_pattern(stream, round, 0, len));
    }
    for (seed, stream) in streams.iter().enumerate() {
        echo_one(stream, seed, MIB);
    }
}
