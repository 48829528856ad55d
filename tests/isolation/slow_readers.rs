//! Subscribers that read steadily, but little: one, ten; 40 and 200 KB a second.

use crate::feed::{Attack, Wire};
use crate::report::scenario;

use crate::server::Server;
use crate::subscribers::{attack_feed, attack_room, pass, talk};

const ATTACKS: [Attack; 4] = [
    Attack::Slow(1, 40_000),
    Attack::Slow(1, 200_000),
    Attack::Slow(10, 40_000),
    Attack::Slow(10, 200_000),
];

/// In the short form the flood would take minutes at the attacker's pace.
#[test]
fn flood_of_broadcast_does_not_take_the_pace_of_a_slow_reader() {
    let short =
        || pass(&Server::start("broadcast"), &Wire::LONG_LINES, Attack::Slow(1, 200_000), 5000);
    scenario("slow_broadcast", short, |table| {
        for attack in ATTACKS {
            attack_feed(table, &Server::start("broadcast"), &Wire::LINES, attack, "");
        }
        let others = [(Server::ncat_broker(), Wire::LINES), (Server::nats(), Wire::NATS)];
        for (server, wire) in others.into_iter().filter_map(|(server, wire)| Some((server?, wire)))
        {
            attack_feed(table, &server, &wire, ATTACKS[3], "");
        }
    });
}

#[test]
fn publications_of_kv_do_not_take_the_pace_of_a_slow_reader() {
    let short = || {
        pass(
            &Server::start("kv --channel-memory 64KiB"),
            &Wire::LONG_REDIS,
            Attack::Slow(1, 200_000),
            6000,
        )
    };
    scenario("slow_kv", short, |table| {
        for attack in ATTACKS {
            attack_feed(table, &Server::start("kv"), &Wire::REDIS, attack, "");
        }
        if let Some(server) = Server::redis("") {
            attack_feed(table, &server, &Wire::REDIS, ATTACKS[3], "");
        }
    });
}

#[test]
fn room_does_not_take_the_pace_of_a_slow_reader() {
    let short = || talk(&Server::start("chat --rate 1000"), Attack::Slow(1, 200_000));
    scenario("slow_chat", short, |table| {
        for attack in ATTACKS {
            attack_room(table, &Server::start("chat"), attack);
        }
    });
}
