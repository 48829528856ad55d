//! A server that stands still, as when a machine is suspended, while people in a room go on talking at
//! seven of ten lines a second: what they say then is handled all at once, and is not held against them.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{PATIENCE, expect_eof, send};
use crate::engine::Engine;
use crate::report::{Table, scenario};
use crate::server::Server;
use crate::speakers::{INTERVAL, Speakers};

#[test]
fn people_who_talk_while_the_server_stands_still_are_heard() {
    let short = || {
        let server = Server::start("chat --rate 50");
        let people: Vec<_> = (0..3).map(|_| server.connect()).collect();
        // As much as six seconds bring at seven tenths of the rate.
        let lines: String = (0..210).map(|n| format!("/ping {n}\n")).collect();
        server.while_stopped(|| people.iter().for_each(|person| send(person, lines.as_bytes())));
        for person in people {
            let mut reader = std::io::BufReader::new(person.try_clone().unwrap());
            let mut line = String::new();
            let mut next = 0;
            while next < 210 {
                line.clear();
                let len = std::io::BufRead::read_line(&mut reader, &mut line).expect("no answer");
                assert!(len > 0, "closed after {next} answers");
                next += usize::from(line == format!("* pong {next}\n"));
            }
            send(&person, b"/quit\n");
            expect_eof(skip_words(reader));
        }
    };
    scenario("stopped_server", short, |table| stand_still(table, &Server::start("chat")));
}

/// What is said to one who goes.
fn skip_words(mut reader: impl std::io::BufRead) -> impl std::io::Read {
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut reader, &mut line).is_ok_and(|len| len > 0) {
        assert!(line.starts_with('*'), "{line}");
        line.clear();
    }
    reader
}

fn stand_still(table: &mut Table, server: &Server) {
    let mut engine = Engine::new();
    let speakers = Speakers::start(&mut engine, server.address, 20, 50, INTERVAL, u64::MAX);
    speakers.speak(u64::MAX);
    engine.run_for(Duration::from_secs(2));
    speakers.take();
    server.signal(Signal::STOP);
    engine.run_for(Duration::from_secs(6));
    server.signal(Signal::CONT);
    engine.run_for(Duration::from_secs(3));
    speakers.speak(0);
    engine.run_until(PATIENCE, || speakers.is_silent());
    let waits = speakers.take();
    drop(engine);
    let row =
        table.row("stopped for 6 s (SIGSTOP) while 20 say 7 of 10 lines a second", server.name);
    row.waits(&waits);
    row.bound("all lines come back in order, nobody is closed", waits.all_answered());
    row.settle(server, 257 << 20);
}
