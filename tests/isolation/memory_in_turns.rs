//! Memory that is filled in turns, each time with something else, and emptied between: what one kind
//! needed at its peak is there for the next, and not kept beside it.

use crate::kv::{Kv, command};
use crate::report::{Table, mebibytes, scenario};
use crate::server::{Server, until};

type Filling = (&'static str, fn(&Server, usize));

/// Each is given the limit, and fills more than that.
const FILLINGS: [Filling; 4] = [
    ("subscriptions", |server, limit| {
        for client in 0..(limit / (1000 * 250)).max(1) {
            let name = |n| format!("{client:08}:{n:08}:{}", "s".repeat(80)).into_bytes();
            let names: Vec<Vec<u8>> = (0..1000).map(name).collect();
            let mut subscriber = Kv::new(server);
            // A full store refuses.
            if !subscriber.subscribe("SUBSCRIBE", &names) {
                break;
            }
            KEPT.with_borrow_mut(|kept| kept.push(subscriber));
        }
    }),
    ("small keys", |server, limit| {
        let set = |n: usize| command(&[b"SET", format!("key:{n}").as_bytes(), b"v"]);
        Kv::new(server).pour((0..limit / 70).map(set));
    }),
    ("keys with an end", |server, limit| {
        let set =
            |n: usize| command(&[b"SET", format!("key:{n}").as_bytes(), b"v", b"EX", b"1000"]);
        Kv::new(server).pour((0..limit / 110).map(set));
    }),
    ("values of 1 MB", |server, limit| {
        let value = vec![1; 1_000_000];
        let set = |n: usize| command(&[b"SET", format!("key:{n}").as_bytes(), &value]);
        Kv::new(server).pour((0..limit / 1_000_000 + 2).map(set));
    }),
];

thread_local! {
    /// Subscribers of the turn.
    static KEPT: std::cell::RefCell<Vec<Kv>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn memory_filled_in_turns_stays_within_its_limit_and_is_given_back() {
    let short = || {
        let server = Server::start_trimming("kv --max-memory 16MiB");
        let calm = server.resident();
        in_turns(&server, 16 << 20, |_| ());
        let (peak, most) = (server.peak(), (16 << 20) * 13 / 10 + (32 << 20));
        assert!(
            peak <= most,
            "{} are resident, where {} are allowed",
            mebibytes(peak),
            mebibytes(most)
        );
        // What the allocator keeps in its heap is not promised; that it is not most of the peak is.
        until("memory to be given back", || {
            (server.resident().saturating_sub(calm) <= 16 << 20).then_some(())
        });
    };
    scenario("memory_in_turns", short, |table| {
        attack(table, &Server::start("kv"));
        if let Some(server) = Server::redis("--maxmemory 256mb") {
            attack(table, &server);
        }
    });
}

fn in_turns(server: &Server, limit: usize, mut after: impl FnMut(&str)) {
    for (name, fill) in FILLINGS {
        fill(server, limit);
        after(name);
        KEPT.take();
        let mut kv = Kv::new(server);
        kv.ask(&[b"FLUSHALL"]);
        until("everything to go", || {
            let is_empty = kv.ask(&[b"DBSIZE"]) == b":0" && kv.info("pubsub_channels") == 0;
            (is_empty && kv.info("lazyfree_pending_objects") == 0).then_some(())
        });
    }
}

fn attack(table: &mut Table, server: &Server) {
    let limit: usize = 256 << 20;
    let mut peaks = Vec::new();
    in_turns(server, limit, |name| peaks.push(format!("{name} {}", mebibytes(server.resident()))));
    let row = table.row("memory filled in turns, emptied between", server.name);
    row.remember(format!("filled: {}", peaks.join(", ")));
    row.come_to_rest(server);
    row.peak_within(server.peak(), limit * 13 / 10 + (32 << 20));
    // What was needed for it all is given back a second later.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = server.resident();
    row.remember(format!("{} after everything was deleted", mebibytes(after)));
    row.bound("≤ 0.3 × the limit after everything was deleted", after <= limit * 3 / 10);
}
