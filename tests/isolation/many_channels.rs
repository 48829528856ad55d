//! Very many clients on the same channels, who all leave at once: each subscription is found without a
//! search, and those who remain are served between.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Honest, Speech};
use crate::kv::{Kv, command};
use crate::report::{Table, millis, scenario};
use crate::server::{Server, until};

/// Subscribes to all of them, and reads what it is told.
struct Subscriber {
    names: usize,
    left: Rc<RefCell<usize>>,
    told: usize,
}

fn subscribe(names: usize) -> Vec<u8> {
    let names: Vec<String> = (0..names).map(|n| format!("channel:{n}")).collect();
    let mut parts: Vec<&[u8]> = vec![b"SUBSCRIBE"];
    parts.extend(names.iter().map(String::as_bytes));
    command(&parts)
}

impl Client for Subscriber {
    fn connected(&mut self, link: &mut Link) {
        link.send(&subscribe(self.names));
    }

    fn received(&mut self, _: &mut Link, bytes: &[u8]) {
        // Each confirmation ends with the only integer in it.
        let before = self.told;
        self.told += bytes.iter().filter(|byte| **byte == b':').count();
        // A name has one of its own.
        let all = 2 * self.names;
        if before < all && self.told >= all {
            *self.left.borrow_mut() -= 1;
        }
    }

    fn ended(&mut self, _: &mut Link, end: End) {
        panic!("a subscriber was cut off: {end:?}");
    }
}

/// All subscribe; how long that takes, or how many have not after a while.
fn gather(
    engine: &mut Engine,
    server: &Server,
    clients: usize,
    names: usize,
) -> Result<Duration, usize> {
    let left = Rc::new(RefCell::new(clients));
    let begin = Instant::now();
    for number in 0..clients {
        let left = left.clone();
        engine.add(Way::hostile(server.address, number), Subscriber { names, left, told: 0 });
    }
    let all = engine.run_until(Duration::from_secs(40), || *left.borrow() == 0);
    if all { Ok(begin.elapsed()) } else { Err(*left.borrow()) }
}

#[test]
fn clients_of_very_many_channels_leave_at_once_and_nothing_of_them_is_left() {
    let short = || {
        let server = Server::start("kv");
        let mut engine = Engine::new();
        gather(&mut engine, &server, 60, 512).unwrap();
        let mut honest = Kv::new(&server);
        assert_eq!(honest.info("pubsub_channels"), 512);
        let sent = honest.ask(&[b"PUBLISH", b"channel:7", b"m"]);
        assert_eq!(sent, b":60");
        server.while_stopped(|| drop(engine));
        assert_eq!(honest.ask(&[b"PING"]), b"+PONG");
        until("all channels to go", || (honest.info("pubsub_channels") == 0).then_some(()));
        let counters = server.counters();
        assert_eq!(counters("accepted") - 60, counters("open"), "who left is counted");
    };
    scenario("channels", short, |table| {
        let redis = Server::redis("").and_then(|server| attack(table, server, None));
        attack(table, Server::start("kv --max-memory 1GiB"), redis);
    });
}

fn attack(table: &mut Table, server: Server, of_redis: Option<Duration>) -> Option<Duration> {
    let mut engine = Engine::new();
    let honest = Honest::start(server.address, Speech::Kv);
    let subscribing = gather(&mut engine, &server, 1200, 1024);
    let come = honest.stop();
    let honest = Honest::start(server.address, Speech::Kv);
    drop(engine);
    std::thread::sleep(Duration::from_secs(4));
    let leave = honest.stop();
    let row = table.row("1,200 clients on the same 1,024 channels, then all leave", server.name);
    match subscribing {
        Ok(time) => row.say(format!("subscribing takes {}", millis(time))),
        Err(left) => row.say(format!("after 40 s {left} have not subscribed")),
    };
    if let Some(redis) = of_redis {
        let is_faster = subscribing.is_ok_and(|time| time <= redis);
        row.bound(&format!("no longer than Redis ({})", millis(redis)), is_faster);
    }
    row.waits_while("while they come ", &come).waits_while("while they leave ", &leave);
    row.bounded(&leave, 20, 20);
    row.settle(&server, (256 << 20) + (1 << 30));
    subscribing.ok()
}
