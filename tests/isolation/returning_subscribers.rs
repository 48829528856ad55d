//! Subscribers that never read, are cut off, and come back at once: one, ten, a hundred.
//!
//! In the short form a server may wait for minutes for a subscriber that has earned it, and for five
//! seconds in sum for those that have not: more than a busy machine keeps the honest from reading, and
//! less than the test waits for the flood to be through.

use crate::feed::{Attack, Wire};
use crate::report::scenario;
use crate::server::{BusyLoops, Server};
use crate::subscribers::{attack_feed, attack_room, pass, talk};

#[test]
fn flood_of_broadcast_passes_subscribers_that_never_read_and_return() {
    let short = || {
        let server = Server::start("broadcast --patience 200s --write-timeout 200s");
        pass(&server, &Wire::LONG_LINES, Attack::Returning(3), 5000);
    };
    scenario("returning_broadcast", short, |table| {
        for count in [1, 10, 100] {
            let server = Server::start("broadcast");
            attack_feed(table, &server, &Wire::LINES, Attack::Returning(count), "");
        }
        let busy = BusyLoops::start();
        let server = Server::start("broadcast");
        attack_feed(table, &server, &Wire::LINES, Attack::Returning(10), " beside two busy loops");
        drop(busy);
        let others = [(Server::ncat_broker(), Wire::LINES), (Server::nats(), Wire::NATS)];
        for (server, wire) in others.into_iter().filter_map(|(server, wire)| Some((server?, wire)))
        {
            attack_feed(table, &server, &wire, Attack::Returning(10), "");
        }
    });
}

#[test]
fn publications_of_kv_pass_subscribers_that_never_read_and_return() {
    let short = || {
        let server = Server::start("kv --channel-memory 64KiB");
        pass(&server, &Wire::LONG_REDIS, Attack::Returning(3), 6000);
    };
    scenario("returning_kv", short, |table| {
        for count in [1, 10, 100] {
            attack_feed(table, &Server::start("kv"), &Wire::REDIS, Attack::Returning(count), "");
        }
        if let Some(server) = Server::redis("") {
            attack_feed(table, &server, &Wire::REDIS, Attack::Returning(10), "");
        }
    });
}

#[test]
fn room_goes_on_beside_members_that_never_read_and_return() {
    let short = || talk(&Server::start("chat --rate 1000"), Attack::Returning(3));
    scenario("returning_chat", short, |table| {
        for count in [1, 10, 100] {
            attack_room(table, &Server::start("chat"), Attack::Returning(count));
        }
    });
}
