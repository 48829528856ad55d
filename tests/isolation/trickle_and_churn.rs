//! Clients that send a byte at a time, and clients that connect, say something, and reset, in a loop:
//! on every service.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech, find};
use crate::report::{Table, scenario};
use crate::server::{Server, until};
use crate::unread_pipelines::assert_answered;

/// Asks a byte at a time, and asks again when it was answered.
struct Trickle {
    question: &'static [u8],
    answer: &'static [u8],
    received: Vec<u8>,
    answers: Rc<RefCell<u64>>,
}

impl Client for Trickle {
    fn connected(&mut self, link: &mut Link) {
        link.send_bytewise();
        link.send(self.question);
    }

    fn received(&mut self, link: &mut Link, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        if find(&self.received, self.answer).is_some() {
            self.received.clear();
            *self.answers.borrow_mut() += 1;
            link.send(self.question);
        }
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

/// Connects, says half of something, resets, and comes back.
struct Churn {
    question: &'static [u8],
    rounds: Rc<RefCell<u64>>,
}

impl Client for Churn {
    fn connected(&mut self, link: &mut Link) {
        link.send(self.question);
        link.alarm_in(Duration::from_millis(1));
    }

    fn alarm(&mut self, link: &mut Link) {
        *self.rounds.borrow_mut() += 1;
        link.reset();
        link.come_back();
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

struct Service {
    arguments: &'static str,
    speech: Speech,
    question: &'static [u8],
    answer: &'static [u8],
}

const SERVICES: [Service; 4] = [
    Service {
        arguments: "echo",
        speech: Speech::Echo,
        question: b"bit by bit\n",
        answer: b"bit by bit\n",
    },
    Service {
        arguments: "kv",
        speech: Speech::Kv,
        question: b"*2\r\n$4\r\nECHO\r\n$10\r\nbit by bit\r\n",
        answer: b"$10\r\nbit by bit\r\n",
    },
    Service {
        arguments: "web",
        speech: Speech::Web,
        question: b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        answer: b"Hello, World!",
    },
    // So that a trickle is not slowed down by what it asks.
    Service {
        arguments: "chat --rate 1000",
        speech: Speech::Chat,
        question: b"/ping bits\n",
        answer: b"* pong bits\n",
    },
];

/// How often each kind had its way.
struct Work {
    answers: Rc<RefCell<u64>>,
    rounds: Rc<RefCell<u64>>,
}

fn attackers(engine: &mut Engine, server: &Server, service: &Service, each: usize) -> Work {
    let work = Work { answers: Rc::default(), rounds: Rc::default() };
    let Service { question, answer, .. } = service;
    for number in 0..each {
        let way = Way::hostile(server.address, number);
        let answers = work.answers.clone();
        engine.add(way, Trickle { question, answer, received: Vec::new(), answers });
        engine.add(
            way,
            Churn { question: &question[..question.len() / 2], rounds: work.rounds.clone() },
        );
    }
    work
}

#[test]
fn bytes_one_at_a_time_and_connections_that_reset_leave_nothing_behind() {
    let short = || {
        for service in &SERVICES {
            let server = Server::start(service.arguments);
            let honest = Honest::start_some(server.address, service.speech, 5);
            let descriptors = server.descriptors();
            let mut engine = Engine::new();
            let work = attackers(&mut engine, &server, service, 5);
            let enough = || *work.answers.borrow() >= 50 && *work.rounds.borrow() >= 200;
            let done = engine.run_until(Duration::from_secs(20), enough);
            assert!(done, "{} answers, {} rounds", work.answers.borrow(), work.rounds.borrow());
            honest.ask_beside(&mut engine, 20);
            drop(engine);
            until("the attackers' descriptors to be closed", || {
                (server.descriptors() <= descriptors).then_some(())
            });
            assert_answered(&honest.stop());
        }
    };
    scenario("trickle_and_churn", short, |table| {
        SERVICES
            .iter()
            .for_each(|service| attack(table, &Server::start(service.arguments), service));
        if let Some(server) = Server::redis("") {
            attack(table, &server, &SERVICES[1]);
        }
        if let Some(server) = Server::nginx() {
            attack(table, &server, &SERVICES[2]);
        }
    });
}

fn attack(table: &mut Table, server: &Server, service: &Service) {
    let honest = Honest::start(server.address, service.speech);
    let mut engine = Engine::new();
    let work = attackers(&mut engine, server, service, 200);
    engine.run_for(Duration::from_secs(3));
    let waits = honest.stop();
    drop(engine);
    let name = service.arguments.split(' ').next().unwrap();
    let row = table.row(
        &format!("{name}: 200 that send a byte at a time, 200 that connect and reset"),
        server.name,
    );
    let (answers, rounds) = (work.answers.borrow(), work.rounds.borrow());
    row.say(format!("{answers} answers bit by bit, {rounds} resets"));
    row.answered_within(&waits, 20, 100);
    row.settle(server, 512 << 20);
}
