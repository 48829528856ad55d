//! One message for a thousand patterns of each of three subscribers that do not read: a copy for each
//! would be gigabytes.

use std::time::Duration;

use crate::costly_commands::patterns_of_x;
use crate::honest::{Honest, Speech};
use crate::kv::{Kv, command};
use crate::report::{OVERHEAD, Table, mebibytes, scenario};
use crate::server::Server;

#[test]
fn message_for_very_many_patterns_stays_within_the_limits_of_memory() {
    let short = || {
        let server = Server::start("kv --max-memory 16MiB --buffer-memory 32MiB");
        publish(&server, 2, 200, 4);
        let (peak, most) = (server.peak(), (48 << 20) + OVERHEAD);
        assert!(peak <= most, "{peak} bytes are resident where the limits allow {most}");
        assert!(server.is_answering());
    };
    scenario("patterns", short, |table| {
        let most = (512 << 20) + OVERHEAD;
        attack(table, Server::start_within("kv", Some(most)), most);
        if let Some(server) = Server::redis("--maxmemory 256mb") {
            attack(table, server, most);
        }
    });
}

/// Publishes 500 KB to all of them, so many times.
fn publish(server: &Server, clients: usize, patterns: usize, times: usize) {
    let subscribers: Vec<Kv> = (0..clients)
        .map(|client| {
            let mut subscriber = Kv::new(server);
            subscriber.subscribe("PSUBSCRIBE", &patterns_of_x(client, patterns));
            subscriber
        })
        .collect();
    let message = vec![b'm'; 500_000];
    let mut publisher = Kv::new(server);
    for _ in 0..times {
        // Granted or refused, it is answered.
        publisher.tell(&command(&[b"PUBLISH", b"x", &message]));
        publisher.reply();
    }
    drop(subscribers);
}

fn attack(table: &mut Table, mut server: Server, most: usize) {
    let honest = Honest::start(server.address, Speech::Kv);
    // The attack may be over before a question is due: they ask before it, and after it as well.
    std::thread::sleep(Duration::from_secs(1));
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| publish(&server, 3, 1000, 10)));
    std::thread::sleep(Duration::from_secs(1));
    let waits = honest.stop();
    let row = table.row("3 × 1,000 patterns, 10 × PUBLISH of 500 KB", server.name);
    row.answered_within(&waits, 50, 50);
    let is_alive = server.is_alive();
    if server.is_ours() {
        row.bound("not killed in a cgroup of that size", is_alive);
        row.bound("every PUBLISH is answered", result.is_ok());
    }
    if let Some(peak) = server.peak_of_group() {
        row.remember(format!("peak of the cgroup {}", mebibytes(peak)));
    }
    if is_alive {
        row.settle(&server, most - OVERHEAD);
    }
}
