//! Commands that look at everything, as many as fit into one read: 64 KiB of `CLIENT LIST`, `KEYS`,
//! `SCAN`, `PUBSUB CHANNELS`, `PUBLISH` past very many patterns.
//!
//! In the short form the attacker's commands and the honest client's question lie before the server
//! when it wakes up, the attacker's first. How many commands were carried out before the question was
//! answered is what `INFO` says, whatever the machine is doing.

use std::time::Duration;

use crate::engine::{Client, Engine, Link, Way};
use crate::honest::{Honest, Speech};
use crate::kv::{Kv, command, dear_pattern, long_name};
use crate::report::{Table, millis, scenario};
use crate::server::Server;

/// An attack: what is there before, and what is sent again and again.
struct Costly {
    name: &'static str,
    prepare: fn(&Server, usize) -> Vec<Kv>,
    burst: fn() -> Vec<u8>,
    /// How much is prepared in each form.
    short: usize,
    full: usize,
    /// How many commands may come first, in the short form: a fraction of what a read brings, and some
    /// ten milliseconds' work.
    first_max: u64,
}

const COSTLY: [Costly; 7] = [
    Costly {
        name: "CLIENT LIST of clients with long names",
        prepare: named_clients,
        burst: || b"CLIENT LIST\r\n".to_vec(),
        short: 200,
        full: 3500,
        first_max: 60,
    },
    Costly {
        name: "KEYS over keys that do not match",
        prepare: many_keys,
        burst: || b"KEYS nosuch*\r\n".to_vec(),
        short: 10_000,
        full: 200_000,
        first_max: 100,
    },
    Costly {
        name: "KEYS with a costly pattern over long keys",
        prepare: long_keys,
        burst: || command(&[b"KEYS", &dear_pattern()]),
        short: 400,
        full: 2000,
        first_max: 24,
    },
    Costly {
        name: "SCAN with a costly pattern and a large COUNT",
        prepare: long_keys,
        burst: || command(&[b"SCAN", b"0", b"COUNT", b"10000", b"MATCH", &dear_pattern()]),
        short: 400,
        full: 2000,
        first_max: 40,
    },
    Costly {
        name: "SCAN with a costly pattern over short keys",
        prepare: many_keys,
        burst: || {
            let pattern = [b"*[", &[b'b'; 1000][..], b"]?"].concat();
            command(&[b"SCAN", b"0", b"COUNT", b"10000", b"MATCH", &pattern])
        },
        short: 10_000,
        full: 200_000,
        first_max: 40,
    },
    Costly {
        name: "PUBSUB CHANNELS with a costly pattern over long names",
        prepare: long_channels,
        burst: || command(&[b"PUBSUB", b"CHANNELS", &dear_pattern()]),
        short: 400,
        full: 20_000,
        first_max: 24,
    },
    Costly {
        name: "PUBLISH past patterns that match",
        prepare: matching_patterns,
        burst: || command(&[b"PUBLISH", b"x", b"m"]),
        short: 5000,
        full: 100_000,
        first_max: 24,
    },
];

fn named_clients(server: &Server, count: usize) -> Vec<Kv> {
    let name = vec![b'n'; 1024];
    let named = |_| {
        let mut client = Kv::new(server);
        // A server may have a limit for names.
        client.ask(&[b"CLIENT", b"SETNAME", &name]);
        client
    };
    (0..count).map(named).collect()
}

fn many_keys(server: &Server, count: usize) -> Vec<Kv> {
    let set = |n| command(&[b"SET", format!("key:{n}").as_bytes(), b""]);
    assert_eq!(Kv::new(server).ask_all((0..count).map(set)), 0);
    Vec::new()
}

fn long_keys(server: &Server, count: usize) -> Vec<Kv> {
    let set = |n| command(&[b"SET", &long_name(n), b""]);
    assert_eq!(Kv::new(server).ask_all((0..count).map(set)), 0);
    Vec::new()
}

fn long_channels(server: &Server, count: usize) -> Vec<Kv> {
    let subscribed = |client: usize| {
        let mut subscriber = Kv::new(server);
        let names: Vec<Vec<u8>> =
            (0..1000.min(count)).map(|n| long_name(client * 1000 + n)).collect();
        subscriber.subscribe("SUBSCRIBE", &names);
        subscriber
    };
    (0..count.div_ceil(1000)).map(subscribed).collect()
}

fn matching_patterns(server: &Server, count: usize) -> Vec<Kv> {
    let subscribed = |client: usize| {
        let mut subscriber = Kv::new(server);
        subscriber.subscribe("PSUBSCRIBE", &patterns_of_x(client, 1000));
        subscriber
    };
    (0..count.div_ceil(1000)).map(subscribed).collect()
}

/// Different patterns that all match the channel `x`.
pub(crate) fn patterns_of_x(client: usize, count: usize) -> Vec<Vec<u8>> {
    let pattern = |n: usize| {
        let parts = ["a".repeat(n % 30), "b".repeat(n / 30), "c".repeat(client)];
        format!("[x{}]", parts.concat()).into_bytes()
    };
    (0..count).map(pattern).collect()
}

/// As many as 64 KiB hold.
fn read_full(one: &[u8]) -> (Vec<u8>, usize) {
    let count = (64 << 10) / one.len();
    (one.repeat(count), count)
}

#[test]
fn question_is_answered_before_a_read_full_of_costly_commands_is_carried_out() {
    let short = || COSTLY.iter().for_each(answered_early);
    scenario("commands", short, |table| COSTLY.iter().for_each(|costly| attack(table, costly)));
}

fn answered_early(costly: &Costly) {
    let server = Server::start("kv");
    let _there = (costly.prepare)(&server, costly.short);
    let (mut attacker, mut honest) = (Kv::new(&server), Kv::new(&server));
    attacker.ask(&[b"PING"]);
    let before = honest.info("total_commands_processed");
    let (burst, count) = read_full(&(costly.burst)());
    server.while_stopped(|| {
        attacker.tell(&burst);
        honest.tell(b"INFO\r\n");
    });
    let carried_out = Kv::field(&honest.reply(), "total_commands_processed") - before;
    println!("{}: {carried_out} of {count} commands came first", costly.name);
    assert!(
        carried_out <= costly.first_max,
        "{}: {carried_out} of {count} commands came before a question that was asked with them",
        costly.name
    );
}

/// Sends a burst, reads what it is answered, and ends.
struct Burst(Vec<u8>);

impl Client for Burst {
    fn connected(&mut self, link: &mut Link) {
        link.send(&self.0);
        link.end_sending();
    }
}

fn attack(table: &mut Table, costly: &Costly) {
    for server in
        [Some(Server::start("kv --max-memory 1GiB")), Server::redis("")].into_iter().flatten()
    {
        let there = (costly.prepare)(&server, costly.full);
        let honest = Honest::start(server.address, Speech::Kv);
        let (burst, count) = read_full(&(costly.burst)());
        let before = server.processor_time();
        let mut engine = Engine::new();
        engine.add(Way::hostile(server.address, 0), Burst(burst));
        engine.run_for(Duration::from_secs(4));
        let waits = honest.stop();
        let spent = server.processor_time() - before;
        drop(engine);
        let row =
            table.row(&format!("{count} × {}, {} of them", costly.name, costly.full), server.name);
        row.answered_within(&waits, 20, 20);
        row.say(format!("{} of the server's time in the four seconds", millis(spent)));
        drop(there);
        row.settle(&server, (256 << 20) + (1 << 30));
    }
}
