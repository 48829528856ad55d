//! Frames of WebSocket: pings by the thousand whose pongs are not read, messages in fragments of no
//! bytes, and messages that never end.

use std::time::Duration;

use crate::common::websocket::{frame, request};
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech};
use crate::report::{Table, scenario};
use crate::server::Server;
use crate::unread_pipelines::assert_answered;

/// Sends the same frames as fast as they are taken, and reads nothing.
struct Frames {
    first: Vec<u8>,
    again: Vec<u8>,
}

impl Client for Frames {
    fn connected(&mut self, link: &mut Link) {
        link.allow(0);
        link.send(request("/ws", "").as_bytes());
        link.send(&self.first);
        link.flood(true);
    }

    fn emptied(&mut self, link: &mut Link) {
        link.send(&self.again);
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

const PING: u8 = 0x89;
const TEXT_BEGINS: u8 = 0x01;
const CONTINUES: u8 = 0x00;

fn attackers(engine: &mut Engine, server: &Server, each: usize) {
    for number in 0..each {
        let way = Way::hostile(server.address, number).narrow(4096);
        let again = frame(PING, &[b'p'; 125]).repeat(100);
        engine.add(way, Frames { first: Vec::new(), again });
        let first = frame(TEXT_BEGINS, b"a");
        // Of no bytes, so that no limit of length ends it.
        engine.add(way, Frames { first: first.clone(), again: frame(CONTINUES, b"").repeat(1000) });
        engine.add(way, Frames { first, again: frame(CONTINUES, &[b'f'; 1000]).repeat(10) });
    }
}

#[test]
fn floods_of_pings_and_fragments_leave_the_room_to_the_others() {
    let short = || {
        let server = Server::start("chat --buffer-memory 16MiB");
        let honest = Honest::start_some(server.address, Speech::Chat, 5);
        let mut engine = Engine::new();
        attackers(&mut engine, &server, 3);
        honest.ask_beside(&mut engine, 40);
        let waits = honest.stop();
        drop(engine);
        assert_answered(&waits);
        let (peak, most) = (server.peak(), (16 << 20) + (32 << 20));
        assert!(peak <= most, "{peak} bytes are resident where the limits allow {most}");
    };
    scenario("frames", short, |table| attack(table, &Server::start("chat")));
}

fn attack(table: &mut Table, server: &Server) {
    let honest = Honest::start(server.address, Speech::Chat);
    let mut engine = Engine::new();
    attackers(&mut engine, server, 30);
    engine.run_for(Duration::from_secs(5));
    let waits = honest.stop();
    drop(engine);
    let row = table.row(
        "30 each: floods of pings, of empty fragments, of a message without an end",
        server.name,
    );
    row.answered_within(&waits, 20, 100);
    row.settle(server, 257 << 20);
}
