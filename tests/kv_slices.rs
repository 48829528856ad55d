//! Commands of the key-value store that take long: what others are served meanwhile, what such a command
//! sees of their changes, and what it may take in memory. The reactor is turned by hand, so that turns
//! are counted and nothing depends on time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{ByHand, KIB, MIB, connect_narrow};
use edgeloop::service::{Kv, KvConfig};
use edgeloop::{CloseReason, Config};

const TOO_LONG: &str = "-ERR command takes too long for a transaction\r\n";

/// 70,000 names, patterns that cost much, and more keys than a slice has room for.
#[test]
fn others_are_answered_in_each_turn_that_a_long_command_takes() {
    let mut server = Hand::new(KvConfig::default());
    let (mut busy, mut other) = (server.connect(), server.connect());
    server.fill(&mut busy, "key:", 200_000);
    let names = "x ".repeat(70_000);
    let costly = format!("*{}x ", "[a-z]?*".repeat(140)).repeat(300);
    for (command, end, turns) in [
        ("KEYS nosuch*", "*0\r\n", 4),
        (&format!("PUBSUB NUMSUB {names}"), "$1\r\nx\r\n:0\r\n", 2),
        (&format!("CONFIG GET {costly}"), "*0\r\n", 2),
    ] {
        busy.send(&request(command));
        let answered = server.answers_until(&mut other, &mut busy, end);
        // Slices are not small, either; a long request is read in several turns, too.
        let turns_max = 4 * turns + request(command).len() / (32 * KIB);
        assert!((turns..turns_max).contains(&answered), "{answered} turns, {}", &command[..12]);
        // Whatever its client has sent behind it waits.
        busy.send(&[request(command), request("PING")].concat());
        server.answers_until(&mut other, &mut busy, &format!("{end}+PONG\r\n"));
    }
}

#[test]
fn keys_that_stay_are_listed_once_whatever_comes_and_goes_meanwhile() {
    const STAYING: usize = 150_000;
    let mut server = Hand::new(KvConfig::default());
    let (mut busy, mut other) = (server.connect(), server.connect());
    server.fill(&mut other, "going:", 50_000);
    server.fill(&mut other, "staying:", STAYING);
    server.ask(&mut other, &request(&format!("DEL {}", numbered("going:", 0..10_000))), "\r\n");
    busy.send(&request("KEYS *"));
    let (mut reply, mut turns) = (Vec::new(), 0);
    while !server.is_quiet_after_turn(&mut busy, &mut reply) {
        let at = 10_000 + turns * 1_000;
        let changes = [
            format!("DEL {}", numbered("going:", at..at + 1_000)),
            format!("MSET {}", numbered("new:", at..at + 3_000).replace(' ', " x ") + " x"),
            // Written, given an end and a longer value, which moves its bytes and not its place.
            format!("SET staying:{turns} {}", "x".repeat(1_000)),
            format!("EXPIRE staying:{} 1000", STAYING - 1 - turns),
            // Replaced by keys that came later.
            format!("RENAME new:{at} staying:{}", STAYING - 1_000 - turns),
            format!("COPY new:{} staying:{} REPLACE", at + 1, STAYING - 2_000 - turns),
        ];
        if turns < 30 {
            let changes: Vec<u8> = changes.iter().flat_map(|it| request(it)).collect();
            other.send(&changes);
            server.turn();
            other.read();
        }
        turns += 1;
    }
    assert!(turns >= 2, "{turns} turns, and as many between them");
    // Longer than any other reply may be: it came in parts.
    assert!(reply.len() > 3 * MIB, "{} bytes", reply.len());
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = std::str::from_utf8(&reply).unwrap().split("\r\n");
    let count: usize = lines.next().unwrap()[1..].parse().unwrap();
    let keys: Vec<&str> = lines.filter(|line| line.contains(':')).collect();
    assert_eq!(keys.len(), count, "the head says how many there are");
    keys.iter().for_each(|key| *times.entry(key).or_default() += 1);
    let staying = times.iter().filter(|(key, _)| key.starts_with("staying:"));
    assert_eq!(staying.clone().count(), STAYING);
    assert!(staying.clone().all(|(_, times)| *times == 1), "each of them once");
}

/// One that is replaced has the place that it had, wherever the other one comes from.
#[test]
fn key_that_another_one_is_renamed_to_is_met_once_by_a_scan() {
    for [first, last] in [["stays", "goes"], ["goes", "stays"]] {
        for replace in ["RENAME goes stays", "COPY goes stays REPLACE"] {
            let mut server = Hand::new(KvConfig::default());
            let mut client = server.connect();
            let names = numbered("other:", 0..50).replace(' ', " x ");
            let mset = format!("MSET {first} one {names} x {last} two");
            server.ask(&mut client, &request(&mset), "+OK\r\n");
            let (mut cursor, mut met) = ("0".to_owned(), 0);
            loop {
                let scan = request(&format!("SCAN {cursor} COUNT 5"));
                client.send(&scan);
                let mut reply = String::new();
                server.until(|_| {
                    reply.push_str(std::str::from_utf8(&client.read()).unwrap());
                    is_whole_scan(&reply)
                });
                met += reply.split("\r\n").filter(|line| *line == "stays").count();
                let was_first = cursor == "0";
                cursor = reply.split("\r\n").nth(2).unwrap().to_owned();
                if was_first {
                    server.ask(&mut client, &request(replace), "\r\n");
                }
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!(met, 1, "{replace}, {first} first");
        }
    }
}

/// However much each comparison costs.
#[test]
fn scan_with_a_costly_pattern_ends_early_and_its_cursor_comes_to_all_keys() {
    const KEYS: usize = 10_000;
    let mut server = Hand::new(KvConfig::default());
    let mut client = server.connect();
    server.fill(&mut client, "key:", KEYS);
    let pattern = format!("*[{}0-9]", "b".repeat(990));
    let (mut cursor, mut calls, mut found) = ("0".to_owned(), 0, Vec::new());
    loop {
        client.send(&request(&format!("SCAN {cursor} COUNT 10000 MATCH {pattern}")));
        let mut reply = String::new();
        server.until(|_| {
            reply.push_str(std::str::from_utf8(&client.read()).unwrap());
            is_whole_scan(&reply)
        });
        calls += 1;
        let lines: Vec<&str> = reply.split("\r\n").collect();
        found.extend(lines.iter().filter(|line| line.starts_with("key:")).map(|it| it.to_string()));
        cursor = lines[2].to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert!(calls > 20, "{calls} calls");
    found.sort();
    found.dedup();
    assert_eq!(found.len(), KEYS);
}

#[test]
fn list_of_keys_that_are_flushed_meanwhile_comes_to_an_end_and_names_none_twice() {
    let mut server = Hand::new(KvConfig::default());
    let (mut busy, mut other) = (server.connect(), server.connect());
    server.fill(&mut other, "key:", 200_000);
    busy.send(&request("KEYS *"));
    server.turn();
    server.ask(&mut other, &request("FLUSHALL"), "+OK\r\n");
    let (mut reply, mut added) = (Vec::new(), 0);
    while !server.is_quiet_after_turn(&mut busy, &mut reply) {
        if added < 10_000 {
            let mset = numbered("new:", added..added + 1_000).replace(' ', " x ");
            server.ask(&mut other, &request(&format!("MSET {mset} x")), "+OK\r\n");
            added += 1_000;
        }
    }
    let reply = String::from_utf8(reply).unwrap();
    let mut keys: Vec<&str> = reply.split("\r\n").filter(|line| line.contains(':')).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn cursors_of_scan_tell_nothing_of_the_hashes_that_differ_from_server_to_server() {
    let walks = [(); 2].map(|()| {
        let mut server = Hand::new(KvConfig::default());
        let mut client = server.connect();
        server.fill(&mut client, "key:", 1_000);
        let (mut walk, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let scan = request(&format!("SCAN {cursor} COUNT 7"));
            let reply = server.ask(&mut client, &scan, "\r\n");
            let lines: Vec<String> = reply.split("\r\n").map(str::to_owned).collect();
            cursor.clone_from(&lines[2]);
            walk.extend(lines);
            if cursor == "0" {
                return walk;
            }
        }
    });
    assert_eq!(walks[0], walks[1]);
}

#[test]
fn in_a_transaction_what_takes_more_than_a_slice_is_refused_and_the_rest_is_done() {
    let mut server = Hand::new(KvConfig::default());
    let mut client = server.connect();
    server.fill(&mut client, "key:", 1_000);
    let transaction = [request("MULTI"), request("KEYS none*"), request("EXEC")].concat();
    let short = server.ask(&mut client, &transaction, "*0\r\n");
    assert_eq!(short, "+OK\r\n+QUEUED\r\n*1\r\n*0\r\n");
    server.fill(&mut client, "key:", 200_000);
    let commands =
        ["MULTI", "KEYS none*", "INCR n", "SCAN 0 COUNT 1 TYPE set", "FLUSHALL", "DBSIZE"];
    let transaction = commands.into_iter().chain(["EXEC"]).flat_map(request).collect::<Vec<u8>>();
    let long = server.ask(&mut client, &transaction, ":0\r\n");
    let queued = format!("+OK\r\n{}*5\r\n", "+QUEUED\r\n".repeat(5));
    let scanned = "*2\r\n$6\r\n200000\r\n*0\r\n";
    assert_eq!(long, format!("{queued}{TOO_LONG}:1\r\n{scanned}+OK\r\n:0\r\n"));
    assert_eq!(server.ask(&mut client, &request("KEYS *"), "\r\n"), "*0\r\n");
}

#[test]
fn list_that_is_not_read_counts_as_memory_and_goes_with_its_client() {
    let mut server = Hand::new(KvConfig { max_memory: 40 * MIB, ..KvConfig::default() });
    let mut other = server.connect();
    let value = "x".repeat(200);
    for from in (0..80_000).step_by(1_000) {
        let keys = (from..from + 1_000).map(|number| format!("{value}{number} x"));
        let keys: Vec<String> = keys.collect();
        server.ask(&mut other, &request(&format!("MSET {}", keys.join(" "))), "+OK\r\n");
    }
    let before = server.used(&mut other);
    // Some 17 MB, less what is on its way, and of which the second one has no more room.
    let mut lazy: Vec<Hold> = (0..2).map(|_| server.connect_narrow()).collect();
    lazy[0].send(&request("KEYS *"));
    (0..200).for_each(|_| server.turn());
    let held = server.used(&mut other) - before;
    assert!((10 * MIB..18 * MIB).contains(&held), "{held} bytes");
    let refused = server.ask(&mut lazy[1], &request("KEYS *"), "\r\n");
    assert_eq!(refused, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    assert_eq!(server.ask(&mut lazy[1], &request("KEYS none*"), "\r\n"), "*0\r\n");
    drop(lazy.remove(0));
    server.until(|server| server.used(&mut other) == before);
    // In the middle, too.
    lazy[0].send(&request("KEYS *"));
    server.turn();
    drop(lazy);
    server.until(|server| server.used(&mut other) == before);
}

#[test]
fn list_of_clients_with_long_names_is_given_whole() {
    let config = Config { input_limit: 16 * KIB, output_limit: 160 * KIB, ..Config::default() };
    let mut server = Hand::with(KvConfig::default(), config);
    let name = request(&format!("CLIENT SETNAME {}", "n".repeat(1_024)));
    let mut named: Vec<Hold> = (0..150).map(|_| server.connect()).collect();
    for client in &mut named {
        assert_eq!(server.ask(client, &name, "\r\n"), "+OK\r\n");
    }
    for version in [2, 3] {
        server.ask(&mut named[0], &request(&format!("HELLO {version}")), "modules\r\n*0\r\n");
        named[0].send(&request("CLIENT LIST"));
        let mut reply = Vec::new();
        while !server.is_quiet_after_turn(&mut named[0], &mut reply) {}
        let reply = String::from_utf8(reply).unwrap();
        let (head, text) = reply.split_once("\r\n").unwrap();
        assert_eq!(head[1..].parse::<usize>().unwrap(), text.len() - 2, "{head}");
        let text = if version == 3 { text.strip_prefix("txt:").unwrap() } else { text };
        assert_eq!(text.lines().filter(|line| line.starts_with("id=")).count(), 150);
    }
    let too_long = request(&format!("CLIENT SETNAME {}", "n".repeat(1_025)));
    let refused = server.ask(&mut named[0], &too_long, "\r\n");
    assert_eq!(refused, "-ERR Client names cannot be longer than 1024 bytes.\r\n");
}

#[test]
fn clients_that_are_asked_for_by_number_are_listed_in_that_order() {
    let mut server = Hand::new(KvConfig::default());
    let mut clients: Vec<Hold> = Vec::new();
    for _ in 0..3 {
        clients.push(server.connect());
        let client = clients.last_mut().unwrap();
        server.ask(client, b"PING\r\n", "+PONG\r\n");
    }
    for (asked, listed) in [("3 1 3", "313"), ("2 -1 9 0 2 1", "221"), ("9", "")] {
        let ask = request(&format!("CLIENT LIST ID {asked}"));
        let reply = server.ask(&mut clients[0], &ask, "\r\n");
        let lines = reply.split("id=").skip(1);
        let ids: String = lines.map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(ids, listed, "{asked}");
    }
}

/// Ten of a thousand channels each, to leave which takes more than a slice.
#[test]
fn clients_are_all_killed_or_in_a_transaction_none_and_no_newcomer() {
    let mut server = Hand::new(KvConfig::default());
    let mut killer = server.connect();
    let mut listeners: Vec<Hold> = (0..10).map(|_| server.connect()).collect();
    let subscribe = request(&format!("SUBSCRIBE {}", numbered("c", 0..1_000)));
    for listener in &mut listeners {
        server.ask(listener, &subscribe, ":1000\r\n");
    }
    let kill = ["MULTI", "CLIENT KILL TYPE pubsub", "EXEC"].into_iter().flat_map(request);
    let refused = server.ask(&mut killer, &kill.collect::<Vec<u8>>(), "transaction\r\n");
    assert!(refused.ends_with(TOO_LONG), "{refused}");
    let listening = |server: &mut Hand, client: &mut Hold| {
        let reply = server.ask(client, &request("PUBSUB NUMSUB c0"), "\r\n");
        reply.rsplit(':').next().unwrap().trim().parse::<usize>().unwrap()
    };
    assert_eq!(listening(&mut server, &mut killer), 10);
    killer.send(&request("CLIENT KILL SKIPME yes TYPE pubsub"));
    server.turn();
    assert!(killer.read().is_empty(), "one slice is not enough");
    let mut newcomer = server.connect();
    server.ask(&mut newcomer, &request("SUBSCRIBE c0"), ":1\r\n");
    server.until(|_| killer.read() == b":10\r\n");
    assert_eq!(listening(&mut server, &mut killer), 1);
}

// ---- turns ----

/// Cheap requests in flight are work like any other: a turn has room for so many, whoever sends them.
#[test]
fn turn_ends_with_its_budget_however_many_cheap_requests_are_in_flight() {
    const BUDGET: usize = 200_000;
    let mut server = Hand::with(KvConfig::default(), tight(BUDGET));
    let mut crowd: Vec<Hold> = (0..40).map(|_| server.connect()).collect();
    server.until(|server| server.by_hand.reactor.stats().accepted == 40);
    let requests = b"GET k\r\n".repeat(2_000);
    let (mut most, mut before) = (0, server.by_hand.reactor.stats().bytes_consumed);
    for _ in 0..200 {
        for client in &mut crowd {
            client.read();
            client.write(&requests);
        }
        server.turn();
        let consumed = server.by_hand.reactor.stats().bytes_consumed;
        most = most.max((consumed - before) / 6);
        before = consumed;
    }
    // Each is a hundred units, at least; the last visit may be longer by its slice.
    let bound = (BUDGET + BUDGET / 5) as u64 / 100;
    assert!((bound / 20..=bound).contains(&most), "{most} requests in a turn");
}

/// Turns until a costly command of one client is answered, beside a crowd that sends cheap ones without
/// end, for so many turns that the crowd is visited in, and clients that want more work than there is.
fn turns_of_a_costly_command(chatty: usize, greedy: usize) -> Vec<usize> {
    let mut server = Hand::with(KvConfig::default(), tight(100_000));
    let mut honest = server.connect();
    server.ask(&mut honest, &request("SETRANGE k 1000000 x"), ":1000001\r\n");
    let mut crowd: Vec<Hold> = (0..chatty).map(|_| server.connect()).collect();
    let mut hungry: Vec<Hold> = (0..greedy).map(|_| server.connect()).collect();
    hungry.iter_mut().for_each(|it| it.send(&request("BITCOUNT k").repeat(2_000)));
    let (mut turns, mut since) = (Vec::new(), 0);
    honest.send(&request("BITCOUNT k"));
    for turn in 0..500 {
        for client in &mut crowd {
            client.read();
            client.write(&b"SET a b\r\n".repeat(2_000));
        }
        server.turn();
        hungry.iter_mut().for_each(|it| drop(it.read()));
        if !honest.read().is_empty() {
            turns.push(turn - since);
            since = turn + 1;
            honest.send(&request("BITCOUNT k"));
        }
    }
    // Until the crowd has all come.
    turns.drain(..turns.len() / 4);
    turns
}

/// It has asked for a gigabyte, and goes without reading a byte of that.
#[test]
fn what_a_client_that_has_gone_only_wanted_to_read_is_not_looked_up() {
    let mut server = Hand::new(KvConfig::default());
    let (mut honest, mut gone) = (server.connect(), server.connect_narrow());
    let value = "v".repeat(200 * KIB);
    server.ask(&mut honest, &request(&format!("SET big {value}")), "+OK\r\n");
    let requests = [b"GET big\r\n".repeat(6000), b"SET mark left\r\n".to_vec()].concat();
    assert_eq!(gone.write(&requests), requests.len());
    common::reset(gone.0);
    server.until(|server| server.by_hand.reactor.stats().open() == 1);
    // What it changed counts.
    assert_eq!(server.ask(&mut honest, b"GET mark\r\n", "left\r\n"), "$4\r\nleft\r\n");
    let told = server.ask(&mut honest, &request("INFO stats"), "\r\n");
    let hits = told.split("keyspace_hits:").nth(1).unwrap().split("\r\n").next().unwrap();
    let hits: u64 = hits.parse().unwrap();
    assert!(hits < 100, "{hits} values were looked up for nobody");
}

/// Both go on in slices.
#[test]
fn command_behind_one_that_is_given_up_for_its_client_has_gone_begins_at_its_own_beginning() {
    let mut server = Hand::new(KvConfig::default());
    let (mut honest, mut gone) = (server.connect(), server.connect_narrow());
    let value = "v".repeat(MIB / 2);
    server.ask(&mut honest, &request(&format!("SET big {value}")), "+OK\r\n");
    server.fill(&mut honest, "key:", 200_000);
    let mut listener = server.connect();
    server.ask(&mut listener, &request("SUBSCRIBE c"), ":1\r\n");
    let requests = ["GET big", "KEYS nosuch*", "CLIENT KILL TYPE pubsub"].map(request);
    gone.send(&requests.concat());
    // It has a part of the first answer, and the list of keys has begun.
    server.turn();
    common::reset(gone.0);
    server.until(|server| server.by_hand.reactor.stats().open() < 3);
    let listening = server.ask(&mut honest, &request("PUBSUB NUMSUB c"), "\r\n");
    assert!(listening.ends_with(":0\r\n"), "what it has begun to change counts: {listening}");
}

#[test]
fn crowd_that_wants_nothing_costly_does_not_multiply_the_wait_of_those_who_do() {
    let alone = turns_of_a_costly_command(60, 0);
    let round = alone.iter().max().copied().unwrap();
    // A visit of each takes fifteen.
    assert!(round < 4, "who asks for one thing at a time does not wait for the crowd: {alone:?}");
    // Twenty is more than a turn has room for.
    for greedy in [1, 4, 20] {
        let beside = turns_of_a_costly_command(60, greedy);
        let most = beside.iter().max().copied().unwrap();
        assert!(most <= round + 6, "{greedy}: {beside:?} beside {alone:?}");
    }
}

// ---- publishing ----

/// Beside one that has many of them ready, as each takes several turns.
#[test]
fn everybody_who_publishes_has_a_turn() {
    const MANY: usize = 8;
    let mut server = Hand::new(KvConfig::default());
    let mut listeners: Vec<Hold> = (0..8).map(|_| server.connect()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        server.listen_to_patterns(listener, number, 1_000);
    }
    let mut keen = server.connect();
    // The last two come behind one that goes, and one with nothing more to say.
    let mut others: Vec<Hold> = (0..4).map(|_| server.connect()).collect();
    keen.send(&request("PUBLISH x keen").repeat(MANY));
    server.turn();
    for other in &mut others[..3] {
        other.send(&request("PUBLISH x other"));
    }
    others[3].send(&["MULTI", "PUBLISH y z", "EXEC"].map(request).concat());
    server.turn();
    drop(others.remove(0));
    let (mut answered, mut before) = (0, [None; 3]);
    let ends = [":8000\r\n", ":8000\r\n", "*1\r\n:0\r\n"];
    server.until(|_| {
        listeners.iter_mut().for_each(|it| drop(it.read()));
        for (number, other) in others.iter_mut().enumerate() {
            if before[number].is_none() && other.read().ends_with(ends[number].as_bytes()) {
                before[number] = Some(answered);
            }
        }
        answered += String::from_utf8_lossy(&keen.read()).matches(":8000\r\n").count();
        answered == MANY
    });
    assert!(before.iter().all(|before| before.is_some_and(|it| it <= 2)), "{before:?}");
}

/// To price a message for so many feeds takes all of a slice.
#[test]
fn message_that_memory_does_not_suffice_for_is_refused_however_many_patterns_match() {
    let mut server = Hand::new(KvConfig { max_memory: 1 << 30, ..KvConfig::default() });
    let mut listeners: Vec<Hold> = (0..70).map(|_| server.connect()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        server.listen_to_patterns(listener, number, 1_000);
    }
    let (mut publisher, mut other) = (server.connect(), server.connect());
    let most = server.used(&mut other) + 8 * MIB;
    server.ask(&mut other, &request(&format!("CONFIG SET maxmemory {most}")), "+OK\r\n");
    let publish = request(&format!("PUBLISH x {}", "m".repeat(2_000)));
    let refused = server.ask(&mut publisher, &publish, "\r\n");
    assert_eq!(refused, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    // Nobody waits behind it for ever.
    let to_nobody = request("SPUBLISH nobody m");
    assert_eq!(server.ask(&mut other, &to_nobody, "\r\n"), ":0\r\n");
}

#[test]
fn message_on_its_way_counts_as_memory_until_it_has_arrived() {
    let mut server = Hand::new(KvConfig::default());
    let mut listeners: Vec<Hold> = (0..8).map(|_| server.connect()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        server.listen_to_patterns(listener, number, 1_000);
    }
    let (mut publisher, mut other) = (server.connect(), server.connect());
    // Beside what the channels hold of it.
    let used = |server: &mut Hand, other: &mut Hold| {
        let [used, messages] = server.memory(other, ["used_memory", "used_memory_messages"]);
        used - messages
    };
    let before = used(&mut server, &mut other);
    publisher.send(&request("PUBLISH x message"));
    server.turn();
    assert!(used(&mut server, &mut other) > before + 8_000 * 8);
    server.until(|_| publisher.read() == b":8000\r\n");
    assert_eq!(used(&mut server, &mut other), before);
}

#[test]
fn subscribers_that_read_stay_where_keys_take_all_memory() {
    let mut server = Hand::new(KvConfig { max_memory: 4 * MIB, ..KvConfig::default() });
    let (mut heavy, mut light) = (server.connect(), server.connect());
    server.ask(&mut heavy, &request(&format!("SUBSCRIBE {}", numbered("c", 0..40))), ":40\r\n");
    server.ask(&mut light, &request("SUBSCRIBE c1"), ":1\r\n");
    let (mut client, mut count) = (server.connect(), 0);
    let publish = request("PUBLISH c1 hello");
    assert_eq!(server.ask(&mut client, &publish, "\r\n"), ":2\r\n");
    for len in [1_000, 1] {
        let value = "x".repeat(len);
        while server.ask(&mut client, &request(&format!("SET {count} {value}")), "\r\n")
            == "+OK\r\n"
        {
            count += 1;
        }
    }
    let refused = server.ask(&mut client, &publish, "\r\n");
    assert_eq!(refused, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    let to_nobody = request("PUBLISH nobody hello");
    assert_eq!(server.ask(&mut client, &to_nobody, "\r\n"), ":0\r\n");
    server.ask(&mut client, &request("FLUSHALL"), "+OK\r\n");
    assert_eq!(server.ask(&mut client, &publish, "\r\n"), ":2\r\n");
    assert_eq!(server.by_hand.reactor.stats().closed(CloseReason::OutputLimit), 0);
    for listener in [&mut heavy, &mut light] {
        let mut text = Vec::new();
        server.until(|_| {
            text.extend(listener.read());
            String::from_utf8_lossy(&text).matches("hello").count() == 2
        });
    }
}

/// One of them takes several turns. Whoever published it does not wait for the end.
#[test]
fn messages_arrive_in_one_order_and_others_are_answered_while_one_is_on_its_way() {
    let mut server = Hand::new(KvConfig::default());
    let mut listeners: Vec<Hold> = (0..8).map(|_| server.connect()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        server.listen_to_patterns(listener, number, 1_000);
    }
    let (mut first, mut second) = (server.connect(), server.connect());
    let mut other = server.connect();
    first.send(&request("PUBLISH x one"));
    server.turn();
    second.send(&request("PUBLISH x two"));
    let queued = [request("MULTI"), request("PUBLISH y three"), request("EXEC")].concat();
    other.send(&queued);
    server.turn();
    assert_eq!(other.read(), b"+OK\r\n+QUEUED\r\n", "it waits with the others");
    drop(first);
    let mut between = server.connect();
    let answered = server.answers_until(&mut between, &mut second, ":8000\r\n");
    assert!(answered >= 4, "{answered} turns");
    server.until(|_| other.read().ends_with(b"*1\r\n:0\r\n"));
    for (number, listener) in listeners.iter_mut().enumerate() {
        let mut text = Vec::new();
        server.until(|_| {
            text.extend(listener.read());
            let messages = String::from_utf8_lossy(&text).matches("pmessage").count();
            assert!(messages <= 2_000);
            messages == 2_000
        });
        let text = String::from_utf8(text).unwrap();
        // Each of its patterns has given it both, in this order.
        let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let lines: Vec<&str> = text.split("\r\n").collect();
        for message in lines[..lines.len() - 1].chunks(9) {
            given.entry(message[4]).or_default().push(message[8]);
        }
        assert_eq!(given.len(), 1_000, "listener {number}");
        assert!(given.values().all(|messages| messages == &["one", "two"]));
    }
}

#[test]
fn subscribers_that_would_be_owed_too_much_are_cut_off_and_the_message_reaches_the_others() {
    let mut server = Hand::new(KvConfig { max_memory: 64 * MIB, ..KvConfig::default() });
    let mut greedy: Vec<Hold> = (0..3).map(|_| server.connect_narrow()).collect();
    for (number, listener) in greedy.iter_mut().enumerate() {
        server.listen_to_patterns(listener, number, 1_000);
    }
    let (mut modest, mut publisher) = (server.connect(), server.connect());
    server.ask(&mut modest, &request("PSUBSCRIBE x*"), ":1\r\n");
    let publish = request(&format!("PUBLISH x {}", "m".repeat(500_000)));
    for _ in 0..10 {
        // None of them takes 500 MB.
        assert_eq!(server.ask(&mut publisher, &publish, "\r\n"), ":1\r\n");
        assert!(server.topic_memory() <= 2 * MIB, "{}", server.topic_memory());
        let mut given = 0;
        server.until(|_| {
            given += modest.read().len();
            given > 500_000
        });
    }
    assert_eq!(server.by_hand.reactor.stats().closed(CloseReason::SlowConsumer), 3);
}

#[test]
fn what_waits_for_one_client_in_all_its_channels_is_bounded() {
    const LIMIT: usize = 256 * KIB;
    let limits =
        KvConfig { channel_memory: 64 * KIB, subscriber_memory: LIMIT, ..KvConfig::default() };
    for (channels, is_cut_off) in [(4, false), (5, true), (100, true)] {
        let mut server = Hand::new(limits.clone());
        let (mut lazy, mut reader) = (server.connect_narrow(), server.connect());
        let names = numbered("c", 0..channels);
        for listener in [&mut lazy, &mut reader] {
            let end = format!(":{channels}\r\n");
            server.ask(listener, &request(&format!("SUBSCRIBE {names}")), &end);
        }
        let mut publisher = server.connect();
        let (mut most, mut round, mut waits, mut cut_off) = (0, 0, 0, 0);
        // Until it is, or a channel is full and the publisher is held.
        while cut_off == 0 && waits < 20 {
            if waits == 0 {
                let message = "m".repeat(5_000);
                publisher.send(&request(&format!("PUBLISH c{} {message}", round % channels)));
                round += 1;
            }
            server.turn();
            reader.read();
            waits = if publisher.read().is_empty() { waits + 1 } else { 0 };
            most = most.max(server.topic_memory());
            cut_off = server.by_hand.reactor.stats().closed(CloseReason::SlowConsumer);
        }
        assert_eq!(cut_off, u64::from(is_cut_off), "{channels} channels, {round} messages");
        // A ring's storage is a power of two.
        assert!(most <= 2 * LIMIT + 64 * KIB, "{most} bytes");
    }
}

/// With the limits of the program, where a client may be owed more than its own output may be long.
#[test]
fn client_is_owed_as_much_as_it_may_be_in_all_its_channels_and_no_more() {
    const MESSAGE: usize = 100_000;
    for (channels, is_cut_off) in [(20, false), (40, true)] {
        let mut server = Hand::new(KvConfig { subscriber_memory: 24 * MIB, ..KvConfig::default() });
        let (mut lazy, mut publisher) = (server.connect_narrow(), server.connect());
        let subscribe = request(&format!("SUBSCRIBE {}", numbered("c", 0..channels)));
        server.ask(&mut lazy, &subscribe, &format!(":{channels}\r\n"));
        let (mut most, mut received) = (0, 0);
        for round in 0..9 * channels {
            let publish = format!("PUBLISH c{} {}", round % channels, "m".repeat(MESSAGE));
            let reply = server.ask(&mut publisher, &request(&publish), "\r\n");
            received += usize::from(reply == ":1\r\n");
            most = most.max(server.topic_memory());
        }
        let closed = |reason| server.by_hand.reactor.stats().closed(reason);
        let reasons = [CloseReason::SlowConsumer, CloseReason::OutputLimit].map(closed);
        assert_eq!(reasons, [u64::from(is_cut_off), 0], "{channels} channels, {most} bytes");
        // Whatever the socket took beside.
        let least = if is_cut_off { 23 * MIB } else { 9 * channels * MESSAGE };
        assert!(received * MESSAGE >= least, "{received} messages");
    }
}

/// Those who listen to much and do not read, up to what each may be owed, are more than there is memory
/// for.
#[test]
fn messages_that_nobody_reads_do_not_keep_others_from_publishing() {
    let limits = KvConfig {
        max_memory: 4 * MIB,
        channel_memory: 64 * KIB,
        subscriber_memory: MIB,
        ..KvConfig::default()
    };
    let mut server = Hand::new(limits);
    let mut lazy: Vec<Hold> = (0..8).map(|_| server.connect_narrow()).collect();
    for (number, listener) in lazy.iter_mut().enumerate() {
        let names = numbered(&format!("{number}c"), 0..40);
        server.ask(listener, &request(&format!("SUBSCRIBE {names}")), ":40\r\n");
    }
    let (mut modest, mut publisher) = (server.connect(), server.connect());
    server.ask(&mut modest, &request("SUBSCRIBE modest"), ":1\r\n");
    let message = "m".repeat(9_000);
    // Whatever the sockets take, and some more.
    let (mut round, mut rounds) = (0, 20_000);
    while round < rounds {
        let channel = format!("{}c{}", round % 8, round / 8 % 40);
        let publish = request(&format!("PUBLISH {channel} {message}"));
        let reply = server.ask(&mut publisher, &publish, "\r\n");
        assert!([":0\r\n", ":1\r\n"].contains(&reply.as_str()), "{round}: {reply}");
        assert!(server.topic_memory() <= 4 * MIB, "{}", server.topic_memory());
        if server.by_hand.reactor.stats().closed(CloseReason::SlowConsumer) == 1 {
            rounds = rounds.min(round + 100);
        }
        round += 1;
    }
    let publish = request(&format!("PUBLISH modest {message}"));
    assert_eq!(server.ask(&mut publisher, &publish, "\r\n"), ":1\r\n");
    server.until(|_| modest.read().len() > 9_000);
    let cut_off = server.by_hand.reactor.stats().closed(CloseReason::SlowConsumer);
    assert!(cut_off > 0);
}

/// Each topic has an account of how long publishers have waited. A client that is alone on many patterns
/// has as many, and a publisher waits for all of them at once. It is visited when a wait is over; nobody
/// else is meanwhile.
#[test]
fn publisher_waits_for_all_patterns_of_a_client_that_is_behind_at_once() {
    const PATTERNS: usize = 12;
    let limits = KvConfig { channel_memory: 32 * KIB, ..KvConfig::default() };
    let mut server = Hand::new(limits);
    let (mut lazy, mut publisher) = (server.connect_narrow(), server.connect());
    server.listen_to_patterns(&mut lazy, 0, PATTERNS);
    let publish = request(&format!("PUBLISH x {}", "m".repeat(5_000)));
    // So long that topics know at what pace messages usually go.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(60) {
        server.ask(&mut publisher, &publish, &format!(":{PATTERNS}\r\n"));
        let mut given = 0;
        server.until(|_| {
            given += lazy.read().len();
            given > PATTERNS * 5_000
        });
    }
    let mut most = 0;
    while server.by_hand.reactor.stats().closed(CloseReason::SlowConsumer) == 0 {
        publisher.send(&publish);
        let mut visits = 0;
        while publisher.read().is_empty() {
            let before = server.by_hand.reactor.stats().work;
            server.turn();
            // What a read alone is counted as.
            visits += usize::from(server.by_hand.reactor.stats().work - before >= 1_000);
        }
        most = most.max(visits);
    }
    // One for the request, and one for the end of the wait; a clock may tick in between.
    assert!(most <= PATTERNS / 2, "{most} visits");
}

#[test]
fn memory_of_subscriptions_comes_back_however_they_end() {
    let limits = KvConfig { subscriber_memory: 4 * MIB, ..KvConfig::default() };
    let mut server = Hand::new(limits);
    let mut other = server.connect();
    let before = server.used(&mut other);
    for end in ["UNSUBSCRIBE", "HELLO 3", "RESET", "QUIT", ""] {
        let mut listener = server.connect();
        let subscribe = request(&format!("SUBSCRIBE {}", numbered("c", 0..10)));
        server.ask(&mut listener, &subscribe, ":10\r\n");
        server.ask(&mut listener, &request("UNSUBSCRIBE c3 c4 c5 c6 c7 c8 c9"), ":3\r\n");
        server.ask(&mut listener, &subscribe, ":10\r\n");
        assert!(server.used(&mut other) > before + 10 * 500);
        listener.send(&request(end));
        server.turn();
        if end == "HELLO 3" {
            assert!(server.used(&mut other) > before);
        }
        drop(listener);
        server.until(|server| server.used(&mut other) == before);
    }
}

/// Whatever a request says many times, or undoes, is counted as work: 20 units, of about a nanosecond, for
/// the least. So none of these is a way to take more of a turn than its slice.
#[test]
fn work_for_each_word_of_a_request_is_counted() {
    let mut server = Hand::new(KvConfig::default());
    let mut client = server.connect();
    server.ask(&mut client, &request("SET k v"), "\r\n");
    let keys = numbered("k", 0..4_000);
    for (command, end, count, units) in [
        ("COMMAND GETKEYS MGET", "$5\r\nk3999\r\n", &keys, 20),
        ("EXISTS", ":0\r\n", &keys, 100),
        ("EXPIRE k 1000", ":1\r\n", &"NX ".repeat(4_000), 20),
        ("SET k v", "$1\r\nv\r\n", &"GET ".repeat(4_000), 20),
        ("GETEX k", "$1\r\nv\r\n", &"PERSIST ".repeat(4_000), 20),
        ("SCAN 0", "\r\n$1\r\nk\r\n", &"COUNT 1 ".repeat(2_000), 20),
        ("COMMAND DOCS", "*0\r\n", &"nosuch ".repeat(4_000), 200),
        // With its ten subcommands.
        ("COMMAND DOCS", "connection\r\n", &"client ".repeat(40), 2_000),
        ("COMMAND INFO", "*0\r\n", &"client ".repeat(40), 2_000),
        ("WATCH", "+OK\r\n", &keys, 100),
        ("UNWATCH", "+OK\r\n", &String::new(), 100 * 4_000),
    ] {
        let before = server.work();
        server.ask(&mut client, &request(&format!("{command} {count}")), end);
        let (work, words) = (server.work() - before, count.split_whitespace().count().max(1));
        assert!(work >= (words * units) as u64, "{work} units for {words} words of {command}");
    }
}

#[test]
fn work_for_each_subscription_that_ends_with_its_client_is_counted() {
    for end in ["QUIT", "RESET", ""] {
        let mut server = Hand::new(KvConfig::default());
        let mut listener = server.connect();
        let channels = numbered("c", 0..1_000);
        server.ask(&mut listener, &request(&format!("SUBSCRIBE {channels}")), ":1000\r\n");
        let before = server.work();
        listener.send(&request(end));
        if end.is_empty() {
            drop(listener);
        }
        let mut other = server.connect();
        server.until(|server| server.used(&mut other) == 0);
        let work = server.work() - before;
        // As much again is the reactor's own.
        assert!(work >= 1_000 * (100 + 200), "{work} units after {end:?}");
    }
}

// ---- a server that is turned by hand ----

/// With a budget that is used up after few requests.
fn tight(work_budget: usize) -> Config {
    Config {
        input_limit: MIB,
        output_limit: 4 * MIB,
        work_budget,
        work_slice: work_budget / 5,
        ..Config::default()
    }
}

struct Hand {
    by_hand: ByHand<Kv>,
}

/// A client that never waits.
struct Hold(TcpStream);

impl Hand {
    /// With the limits that the program has by default.
    fn new(limits: KvConfig) -> Self {
        let config = Config { input_limit: MIB, output_limit: 4 * MIB, ..Config::default() };
        Hand::with(limits, config)
    }

    fn with(limits: KvConfig, config: Config) -> Self {
        let kv = Kv::new(limits, &config).unwrap();
        Hand { by_hand: ByHand::new(config, kv) }
    }

    fn connect(&mut self) -> Hold {
        Hold::of(self.by_hand.connect())
    }

    fn connect_narrow(&mut self) -> Hold {
        Hold::of(connect_narrow(&self.by_hand.address, 4 * KIB))
    }

    fn turn(&mut self) {
        self.by_hand.turn();
    }

    #[track_caller]
    fn until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if is_so(self) {
                return;
            }
        }
        panic!("not after {TURNS_MAX} turns");
    }

    /// Turns until the client has a reply with this end; returns that reply.
    #[track_caller]
    fn ask(&mut self, client: &mut Hold, request: &[u8], end: &str) -> String {
        let (mut rest, mut reply) = (&request[client.write(request)..], Vec::new());
        self.until(|_| {
            rest = &rest[client.write(rest)..];
            reply.extend(client.read());
            rest.is_empty() && reply.ends_with(end.as_bytes())
        });
        String::from_utf8(reply).unwrap()
    }

    /// Turns until `busy` has a reply with this end, while `other` asks something in each turn. Returns
    /// how often that is answered before the reply begins, which is sent when all of it is known.
    #[track_caller]
    fn answers_until(&mut self, other: &mut Hold, busy: &mut Hold, end: &str) -> usize {
        let (mut reply, mut answered) = (Vec::new(), 0);
        for _ in 0..TURNS_MAX {
            assert_eq!(self.ask(other, b"PING\r\n", "\r\n"), "+PONG\r\n");
            answered += usize::from(reply.is_empty());
            reply.extend(busy.read());
            if reply.ends_with(end.as_bytes()) {
                return answered;
            }
        }
        panic!("not after {TURNS_MAX} turns");
    }

    /// Makes a turn, and takes what has come; whether that is a whole array or text, and all.
    fn is_quiet_after_turn(&mut self, client: &mut Hold, reply: &mut Vec<u8>) -> bool {
        self.turn();
        reply.extend(client.read());
        let Some(head) = reply.iter().position(|byte| *byte == b'\n') else { return false };
        let number = || std::str::from_utf8(&reply[1..head - 1]).unwrap().parse::<usize>().unwrap();
        match reply[0] {
            b'*' => reply.iter().filter(|byte| **byte == b'\n').count() == 1 + 2 * number(),
            _ => reply.len() == head + 1 + number() + 2,
        }
    }

    fn fill(&mut self, client: &mut Hold, prefix: &str, count: usize) {
        for from in (0..count).step_by(5_000) {
            let names = numbered(prefix, from..(from + 5_000).min(count));
            let mset = request(&format!("MSET {} x", names.replace(' ', " x ")));
            self.ask(client, &mset, "+OK\r\n");
        }
    }

    /// All of them match the channel `x`.
    fn listen_to_patterns(&mut self, client: &mut Hold, number: usize, count: usize) {
        let patterns: Vec<String> = (0..count).map(|at| format!("[x{number}-{at}-]")).collect();
        let subscribe = request(&format!("PSUBSCRIBE {}", patterns.join(" ")));
        self.ask(client, &subscribe, &format!(":{count}\r\n"));
    }

    /// Bytes of memory that count.
    fn used(&mut self, client: &mut Hold) -> usize {
        self.memory(client, ["used_memory"])[0]
    }

    /// What `INFO` says, at one moment.
    fn memory<const N: usize>(&mut self, client: &mut Hold, fields: [&str; N]) -> [usize; N] {
        let info = self.ask(client, &request("INFO memory"), "\r\n\r\n");
        fields.map(|field| {
            let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok();
            info.lines().find_map(value).unwrap()
        })
    }

    /// Units of work that were counted.
    fn work(&self) -> u64 {
        self.by_hand.reactor.stats().work
    }

    fn topic_memory(&mut self) -> usize {
        self.by_hand.reactor.with_context(|_, cx| cx.topic_memory())
    }
}

impl Hold {
    fn of(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Hold(stream)
    }

    /// A request that the socket's buffer takes.
    fn send(&mut self, request: &[u8]) {
        self.0.set_nonblocking(false).unwrap();
        self.0.write_all(request).unwrap();
        self.0.set_nonblocking(true).unwrap();
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() { 0 } else { self.0.write(bytes).unwrap_or(0) }
    }

    /// What there is.
    fn read(&mut self) -> Vec<u8> {
        let (mut found, mut part) = (Vec::new(), vec![0; 64 * KIB]);
        loop {
            match self.0.read(&mut part) {
                Ok(0) => return found,
                Ok(len) => found.extend_from_slice(&part[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return found,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// More than anything here takes.
const TURNS_MAX: usize = 100_000;

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut request = format!("*{}\r\n", words.len());
    words.iter().for_each(|it| request.push_str(&format!("${}\r\n{it}\r\n", it.len())));
    request.into_bytes()
}

/// A cursor, and as many keys as are announced.
fn is_whole_scan(reply: &str) -> bool {
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let count = lines.get(3).and_then(|line| line.strip_prefix('*')?.parse::<usize>().ok());
    count.is_some_and(|count| lines.len() == 4 + 2 * count + 1)
}

fn numbered(prefix: &str, numbers: std::ops::Range<usize>) -> String {
    let names: Vec<String> = numbers.map(|number| format!("{prefix}{number}")).collect();
    names.join(" ")
}
