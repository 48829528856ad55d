//! One address that takes every place: connections that say nothing, half of something, or that have
//! ended their side; and rooms, all that there may be.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::common::send;
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech};
use crate::report::{Table, millis, scenario};
use crate::server::Server;
use crate::unread_pipelines::assert_answered;

/// Takes a place and keeps it, or comes back for another.
struct Squatter {
    words: &'static [u8],
    ends_sending: bool,
}

impl Client for Squatter {
    fn connected(&mut self, link: &mut Link) {
        link.send(self.words);
        if self.ends_sending {
            link.end_sending();
        }
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

/// A third says nothing, a third half of something, a third ends its side.
fn squatters(engine: &mut Engine, server: &Server, count: usize) {
    let half: &[u8] = b"GET / HTTP/1.1\r\nHo";
    for number in 0..count {
        let words = if number % 3 == 1 { half } else { b"" };
        let way = Way::hostile(server.address, 0);
        engine.add(way, Squatter { words, ends_sending: number % 3 == 2 });
    }
}

const SERVICES: [(&str, Speech); 4] =
    [("echo", Speech::Echo), ("kv", Speech::Kv), ("web", Speech::Web), ("chat", Speech::Chat)];

#[test]
fn address_that_wants_every_place_leaves_some_to_others() {
    let short = || {
        for (service, speech) in SERVICES {
            let server =
                Server::start(&format!("{service} --max-connections 40 --max-per-address 20"));
            let mut engine = Engine::new();
            squatters(&mut engine, &server, 60);
            // Long enough for all of them to have been met.
            engine.run_until(Duration::from_secs(20), || server.counters()("accepted") >= 60);
            let honest = Honest::start_some(server.address, speech, 5);
            honest.ask_beside(&mut engine, 20);
            assert_answered(&honest.stop());
        }
        let server = Server::start("chat --max-rooms 12 --rooms-per-address 6");
        let _squatters = open_rooms(&server, 3);
        enter(&server, "lobby");
        enter(&server, "elsewhere");
    };
    scenario("places", short, |table| {
        for (service, speech) in SERVICES {
            let server =
                Server::start(&format!("{service} --max-connections 1000 --max-per-address 200"));
            attack(table, &server, service, speech);
        }
        let server = Server::start("chat --rooms-per-address 64");
        let _squatters = open_rooms(&server, 32);
        let begin = Instant::now();
        enter(&server, "lobby");
        enter(&server, "elsewhere");
        let row = table.row("32 connections that open every room", server.name);
        row.say(format!("lobby and a new room were opened after {}", millis(begin.elapsed())));
        row.bound("lobby can be opened", true);
        row.settle(&server, 320 << 20);
    });
}

/// Each opens as many rooms as a client may be in.
fn open_rooms(server: &Server, clients: usize) -> Vec<std::net::TcpStream> {
    let open = |client: usize| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let stream = crate::common::patient(socket.into());
        for room in 0..8 {
            send(&stream, format!("/join room{client}x{room}\n").as_bytes());
        }
        send(&stream, b"/ping done\n");
        expect_line(&stream, "* pong done");
        stream
    };
    (0..clients).map(open).collect()
}

#[track_caller]
fn enter(server: &Server, room: &str) {
    let stream = server.connect();
    send(&stream, format!("/join {room}\n").as_bytes());
    expect_line(&stream, &format!("* you are in {room} "));
}

#[track_caller]
fn expect_line(stream: &std::net::TcpStream, begin: &str) {
    let mut lines = BufReader::new(stream).lines();
    let mut seen = Vec::new();
    loop {
        let line = lines.next().and_then(Result::ok);
        let line = line.unwrap_or_else(|| panic!("no {begin:?} came: {seen:?}"));
        if line.starts_with(begin) {
            return;
        }
        seen.push(line);
    }
}

fn attack(table: &mut Table, server: &Server, service: &str, speech: Speech) {
    let mut engine = Engine::new();
    squatters(&mut engine, server, 2000);
    engine.run_for(Duration::from_secs(1));
    let begin = Instant::now();
    let entering = std::thread::scope(|scope| {
        let entering = scope.spawn(|| (Honest::start(server.address, speech), begin.elapsed()));
        engine.run_until(Duration::from_secs(60), || entering.is_finished());
        entering.join()
    });
    let name =
        format!("{service}: 2,000 silent, half-spoken and half-closed connections of one address");
    let Ok((honest, entered)) = entering else {
        table.row(&name, server.name).bound("others get in within 1 s", false);
        return;
    };
    engine.run_for(Duration::from_secs(2));
    let waits = honest.stop();
    drop(engine);
    let row = table.row(&name, server.name);
    row.say(format!("twenty others were in after {}", millis(entered)));
    row.bound("others get in within 1 s", entered <= Duration::from_secs(1));
    row.answered_within(&waits, 20, 100);
    row.settle(server, 512 << 20);
}
