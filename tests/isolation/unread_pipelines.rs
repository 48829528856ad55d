//! Clients by the thousand that ask for much, again and again, and read nothing.

use std::rc::Rc;
use std::time::Duration;

use crate::common::PATIENCE;
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech, Waits};
use crate::kv::{Kv, command};
use crate::report::{Table, mebibytes, scenario};
use crate::server::Server;

/// Sends many requests at once and never reads; comes back when it was cut off.
struct Unread(Rc<[u8]>);

impl Client for Unread {
    fn connected(&mut self, link: &mut Link) {
        link.allow(0);
        link.send(&self.0);
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

const GET: &[u8] = b"GET big\r\n";
const PAGE: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

fn crowd(engine: &mut Engine, server: &Server, count: usize, requests: Vec<u8>) {
    let requests: Rc<[u8]> = requests.into();
    for number in 0..count {
        engine.add(Way::hostile(server.address, number).narrow(4096), Unread(requests.clone()));
        // So that no more wait than the backlog has room for.
        if number % 500 == 499 {
            engine.run_for(Duration::from_millis(10));
        }
    }
}

#[test]
fn clients_that_pipeline_and_do_not_read_leave_the_others_their_answers() {
    let short = || {
        let limits = "--buffer-memory 16MiB --output-limit 2MiB";
        let server = Server::start(&format!("kv {limits}"));
        Kv::new(&server).ask(&[b"SET", b"big", &vec![7; 200_000]]);
        hold(&server, Speech::Kv, GET.repeat(800));
        let server = Server::start("web --buffer-memory 16MiB");
        hold(&server, Speech::Web, PAGE.repeat(300));
    };
    scenario("unread_pipelines", short, |table| {
        let server = Server::start("kv");
        Kv::new(&server).tell(&command(&[b"SET", b"big", &vec![7; 200_000]]));
        attack(table, &server, Speech::Kv, 8000, GET, 512 << 20);
        let server = Server::start("web");
        attack(table, &server, Speech::Web, 3000, PAGE, 320 << 20);
        if let Some(server) = Server::nginx() {
            attack(table, &server, Speech::Web, 3000, PAGE, 320 << 20);
        }
    });
}

/// The short form: so many answers while the attackers are there, and memory within 16 MiB of buffers.
fn hold(server: &Server, speech: Speech, requests: Vec<u8>) {
    let honest = Honest::start_some(server.address, speech, 5);
    let mut engine = Engine::new();
    crowd(&mut engine, server, 60, requests);
    engine.connect_all(PATIENCE);
    honest.ask_beside(&mut engine, 15);
    let waits = honest.stop();
    drop(engine);
    assert_answered(&waits);
    let (peak, most) = (server.peak(), (16 << 20) * 115 / 100 + (32 << 20));
    assert!(
        peak <= most,
        "{} are resident, where {} are allowed",
        mebibytes(peak),
        mebibytes(most)
    );
}

#[track_caller]
pub(crate) fn assert_answered(waits: &Waits) {
    let Waits { asked, answered, wrong, cut, .. } = waits;
    assert!(waits.all_answered(), "asked {asked}, answered {answered}, wrong {wrong}, cut {cut}");
}

fn attack(
    table: &mut Table,
    server: &Server,
    speech: Speech,
    count: usize,
    request: &[u8],
    limits: usize,
) {
    let honest = Honest::start(server.address, speech);
    let mut engine = Engine::new();
    crowd(&mut engine, server, count, request.repeat((64 << 10) / request.len()));
    engine.run_for(Duration::from_secs(6));
    let waits = honest.stop();
    let connected = engine.connected();
    drop(engine);
    let what = if speech == Speech::Kv { "GET of 200 KB" } else { "GET /plaintext" };
    let row =
        table.row(&format!("{count} clients that pipeline {what} and do not read"), server.name);
    row.answered_within(&waits, 20, 100);
    row.say(format!("{connected} attackers were connected at the end"));
    row.settle(server, limits * 115 / 100);
}
