//! What a page can do whose own name was pointed at this machine, to the servers that speak HTTP.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Write};

use common::program::Program;

/// The status of an answer.
fn ask(program: &Program, head: &str) -> String {
    let mut stream = program.connect();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// As a browser does it for a page of this origin, which knows the server under this name.
fn open_websocket(program: &Program, host: &str, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\n") };
    ask(
        program,
        &format!(
            "GET /ws HTTP/1.1\nHost: {host}\n{origin}Upgrade: websocket\nConnection: Upgrade\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n"
        ),
    )
}

/// The page's own origin is `host`.
fn open_as(program: &Program, host: &str) -> String {
    open_websocket(program, host, &format!("http://{host}"))
}

fn post_as(program: &Program, host: &str) -> String {
    let origin = format!("Origin: http://{host}");
    ask(program, &format!("POST /echo HTTP/1.1\nHost: {host}\n{origin}\nContent-Length: 2\n\nhi"))
}

#[test]
fn page_of_a_rebound_name_does_not_reach_a_server_on_loopback() {
    for (service, open) in [("chat", open_as as fn(&Program, &str) -> String), ("web", post_as)] {
        let program = Program::start(service);
        for host in ["evil.example:7000", "evil.example", "localhost.evil.example", "192.0.2.1:7"] {
            assert_eq!(open(&program, host), "421", "{service} as {host}");
        }
        let good = if service == "chat" { "101" } else { "200" };
        for host in ["localhost:7000", "127.0.0.1:7000", "127.0.0.1", "[::1]:7000", "LOCALHOST"] {
            assert_eq!(open(&program, host), good, "{service} as {host}");
        }
    }
}

#[test]
fn who_is_no_page_may_call_a_server_as_he_likes() {
    let program = Program::start("chat");
    assert_eq!(open_websocket(&program, "evil.example", ""), "101");
    assert_eq!(ask(&program, "GET / HTTP/1.1\nHost: evil.example\n\n"), "200");
    let program = Program::start("web");
    assert_eq!(ask(&program, "GET /json HTTP/1.1\nHost: evil.example\n\n"), "200");
}

#[test]
fn page_whose_origin_is_allowed_may_come_by_its_own_name() {
    let program = Program::start("chat --origin https://chat.example.org,http://b.example:81");
    for (host, origin, status) in [
        ("chat.example.org", "https://chat.example.org", "101"),
        ("localhost:7000", "http://b.example:81", "101"),
        ("b.example:81", "http://b.example:81", "101"),
        ("b.example:81", "http://localhost", "403"),
        ("evil.example", "https://chat.example.org", "421"),
    ] {
        assert_eq!(open_websocket(&program, host, origin), status, "{host} from {origin}");
    }
    let program = Program::start("chat --origin *");
    assert_eq!(open_as(&program, "evil.example"), "101");
}

#[test]
fn server_that_was_given_names_answers_to_no_other() {
    for service in ["chat", "web"] {
        let program = Program::start(&format!("{service} --host a.example,b.example --host [::1]"));
        for (host, status) in [
            ("a.example", "200"),
            ("B.example:7000", "200"),
            ("[::1]:7000", "200"),
            ("localhost", "421"),
            ("127.0.0.1:7000", "421"),
            ("c.a.example", "421"),
        ] {
            let head = format!("GET / HTTP/1.1\nHost: {host}\n\n");
            assert_eq!(ask(&program, &head), status, "{service} as {host}");
        }
    }
    let program = Program::start("chat --host a.example");
    assert_eq!(open_as(&program, "a.example:7000"), "101");
    assert_eq!(open_websocket(&program, "a.example", "http://evil.example"), "403");
    assert_eq!(open_as(&program, "evil.example"), "421");
}

#[test]
fn server_on_all_addresses_has_names_that_nobody_told_it() {
    for (service, open, good) in
        [("chat", open_as as fn(&Program, &str) -> String, "101"), ("web", post_as, "200")]
    {
        for everywhere in ["0.0.0.0:0", ":0"] {
            let program = Program::start(&format!("{service} -l {everywhere}"));
            assert_eq!(open(&program, "whatever.example"), good, "{service}");
        }
    }
}
