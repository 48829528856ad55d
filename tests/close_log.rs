//! How connections ended, as the log tells it: which ends, with what, and how often.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::program::Program;
use common::{PATIENCE, connect, end_sending, expect_bytes, expect_eof, reset, send};
use rustix::process::Signal;

#[test]
fn end_that_is_not_orderly_is_logged_with_what_is_asked_about_later() {
    let server = Program::start("echo --log-closes disorderly");
    let orderly = served(&server);
    end_sending(&orderly);
    expect_eof(&orderly);
    // As a balancer looks whether the server is there.
    reset(connect(&server.address));
    let broken = served(&server);
    let peer = broken.local_addr().unwrap();
    reset(broken);
    // The first line about an end: nothing is said of the connection before.
    let line = server.expect_line(" closed ");
    for part in
        ["INFO", "reason=reset", "in=5 out=5 queued=0 suppressed=0", &format!("peer={peer} ")]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line.contains(" age_ms=") && line.contains(" connection="), "{line}");
}

#[test]
fn chosen_reasons_are_logged_and_no_others() {
    for (choice, reasons) in [
        ("peer_closed,memory", &["peer_closed"][..]),
        ("all", &["peer_closed", "reset"]),
        ("none", &[]),
        ("disorderly", &["reset"]),
        ("idle_timeout", &[]),
    ] {
        let server = Program::start(&format!("echo --log-closes {choice}"));
        let orderly = served(&server);
        end_sending(&orderly);
        expect_eof(&orderly);
        reset(served(&server));
        let lines = lines_to_the_end(&server);
        // When the server is told to end it may not have noticed the reset, which is then the same end.
        let mut logged: Vec<&str> = lines.iter().filter_map(|line| reason(line)).collect();
        logged.sort_unstable();
        assert_eq!(logged, reasons, "{choice}: {lines:#?}");
    }
}

#[test]
fn verbose_log_has_every_end_with_its_bytes() {
    let server = Program::start("echo -v");
    for _ in 0..3 {
        let client = served(&server);
        end_sending(&client);
        expect_eof(&client);
    }
    for _ in 0..3 {
        let line = server.expect_line(" closed ");
        assert!(line.contains("DEBUG") && line.contains("reason=peer_closed"), "{line}");
        assert!(line.contains(" in=5 out=5 queued=0 suppressed=0"), "{line}");
    }
}

#[test]
fn output_that_was_not_taken_is_told_of() {
    for (arguments, reason) in [("--write-timeout 3s", "write_timeout"), ("", "reset")] {
        let server = Program::start(&format!("echo --log-closes disorderly {arguments}"));
        let client = server.connect();
        // Nothing is read of what comes back, until the server reads no more.
        send_until_output_waits(&server, &client);
        if reason == "reset" {
            reset(client);
        }
        let line = server.expect_line(" closed ");
        assert!(line.contains(&format!("reason={reason} ")), "{line}");
        let (received, sent, queued) =
            (number(&line, "in="), number(&line, "out="), number(&line, "queued="));
        assert!(queued > 0 && sent + queued <= received, "{line}");
    }
}

#[test]
fn client_that_comes_again_and_again_does_not_fill_the_log() {
    let server = Program::start("echo --log-closes reset");
    let began = Instant::now();
    let (mut made, mut lines, mut suppressed) = (0, 0, 0);
    // Ends with a line that tells of all that were left out.
    while made < 200 || lines + suppressed < made {
        assert!(began.elapsed() < PATIENCE, "{made} made, {lines} logged, {suppressed} suppressed");
        reset(served(&server));
        made += 1;
        if made >= 200 {
            thread::sleep(Duration::from_millis(50));
        }
        for line in server.log_so_far().iter().filter(|line| reason(line) == Some("reset")) {
            lines += 1;
            suppressed += number(line, "suppressed=");
        }
    }
    let seconds = began.elapsed().as_secs();
    assert!(lines <= seconds + 2, "{lines} lines in {seconds} s");
    assert!(suppressed > 100, "{made} made, {lines} logged, {suppressed} suppressed");
}

#[test]
fn connection_that_finds_no_place_is_told_of() {
    let server = Program::start("echo --max-connections 1 --when-full refuse");
    let _first = served(&server);
    let second = server.connect();
    common::expect_gone(&second);
    let line = server.expect_line("reason=refused");
    assert!(line.contains("WARN") && line.contains("closed as soon as it came"), "{line}");
}

/// A connection that was answered.
fn served(server: &Program) -> TcpStream {
    let client = server.connect();
    send(&client, b"hello");
    expect_bytes(&client, b"hello");
    client
}

/// Sends until the server has more to send than the client's side takes.
fn send_until_output_waits(server: &Program, mut client: &TcpStream) {
    let deadline = Instant::now() + PATIENCE;
    client.set_nonblocking(true).unwrap();
    loop {
        assert!(Instant::now() < deadline, "the server does not fall behind");
        while client.write(&[b'x'; 64 << 10]).is_ok() {}
        server.signal(Signal::USR1);
        let books = server.expect_line("counters ");
        if number(&books, "bytes_in=") > number(&books, "bytes_out=") {
            return;
        }
    }
}

/// What is logged until the books are closed.
fn lines_to_the_end(server: &Program) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    server.signal(Signal::TERM);
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("finished")) {
        assert!(Instant::now() < deadline, "the books are not closed: {lines:#?}");
        lines.extend(server.log_so_far());
        thread::sleep(Duration::from_millis(1));
    }
    lines
}

fn reason(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" closed ")?.1.split_once("reason=")?;
    rest.split(' ').next()
}

#[track_caller]
fn number(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!(" {name}")).expect(line);
    rest.split(' ').next().unwrap().parse().expect(line)
}
