//! Requests of HTTP that never end, or are too long: heads a byte at a time, heads of a megabyte,
//! bodies that do not come.

use std::io::Read;
use std::time::Duration;

use crate::common::send;
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech};
use crate::report::{Table, scenario};
use crate::server::Server;
use crate::unread_pipelines::assert_answered;

/// A byte of a head each tenth of a second.
struct Dawdler(usize);

impl Client for Dawdler {
    fn connected(&mut self, link: &mut Link) {
        link.alarm_in(Duration::from_millis(100));
    }

    fn alarm(&mut self, link: &mut Link) {
        let head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ";
        link.send(&[*head.get(self.0).unwrap_or(&b'x')]);
        self.0 += 1;
        link.alarm_in(Duration::from_millis(100));
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        self.0 = 0;
        link.come_back();
    }
}

/// A head that does not end, as fast as it is taken.
struct Endless;

impl Client for Endless {
    fn connected(&mut self, link: &mut Link) {
        link.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ");
        link.flood(true);
    }

    fn emptied(&mut self, link: &mut Link) {
        link.send(&[b'x'; 16 << 10]);
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

/// Announces a body, and sends half of it.
struct HalfBody;

impl Client for HalfBody {
    fn connected(&mut self, link: &mut Link) {
        link.send(b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n");
        link.send(&vec![b'b'; 500_000]);
        link.allow(0);
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

fn attackers(engine: &mut Engine, server: &Server, each: usize) {
    for number in 0..each {
        let way = Way::hostile(server.address, number);
        engine.add(way, Dawdler(0));
        engine.add(way.narrow(4096), HalfBody);
        if number % 10 == 0 {
            engine.add(way, Endless);
        }
    }
}

#[test]
fn requests_that_never_end_are_told_so_and_hold_nobody_up() {
    let short = || {
        let server = Server::start("web --head-timeout 500ms");
        let honest = Honest::start_some(server.address, Speech::Web, 5);
        let mut engine = Engine::new();
        attackers(&mut engine, &server, 20);
        expect_status(&server, b"GET / HTTP/1.1\r\nX: ", b"HTTP/1.1 408 ");
        let long = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 20_000][..]].concat();
        expect_status(&server, &long, b"HTTP/1.1 431 ");
        honest.ask_beside(&mut engine, 40);
        assert_answered(&honest.stop());
        assert!(server.counters()("request_timeout") > 0, "no dawdler was ended");
    };
    scenario("requests", short, |table| {
        attack(table, &Server::start("web"));
        if let Some(server) = Server::nginx() {
            attack(table, &server);
        }
    });
}

#[track_caller]
fn expect_status(server: &Server, head: &[u8], status: &[u8]) {
    let mut stream = server.connect();
    send(&stream, head);
    let mut answer = vec![0; status.len()];
    stream.read_exact(&mut answer).expect("no answer");
    assert_eq!(String::from_utf8_lossy(&answer), String::from_utf8_lossy(status));
}

fn attack(table: &mut Table, server: &Server) {
    let honest = Honest::start(server.address, Speech::Web);
    let mut engine = Engine::new();
    attackers(&mut engine, server, 1000);
    engine.run_for(Duration::from_secs(5));
    let waits = honest.stop();
    drop(engine);
    let attack = "1,000 heads a byte at a time, 100 heads without an end, 1,000 halves of bodies";
    let row = table.row(attack, server.name);
    row.answered_within(&waits, 20, 100);
    row.settle(server, 320 << 20);
}
