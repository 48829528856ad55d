//! Transactions of the key-value store over loopback: what they hold, what limits them, and what is
//! left of them. Single answers are compared with those of Redis in `kv_against_redis.rs`.

mod common;

use std::io::{Read, Write};
use std::time::Instant;

use common::kv::{Client, kv, kv_with};
use common::{KIB, MIB, PATIENCE, connect_narrow, expect_bytes, send};
use edgeloop::service::KvConfig;

#[test]
fn transaction_is_carried_out_in_one_go_between_the_commands_of_others() {
    let server = kv();
    let rounds = 300;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::new(&server);
                for _ in 0..rounds {
                    for line in ["MULTI", "INCR a", "INCR b", "INCR a"] {
                        client.ask(line);
                    }
                    client.list("EXEC");
                }
            });
        }
        let mut reader = Client::new(&server);
        loop {
            let [a, b] = reader.list("MGET a b").try_into().unwrap();
            let number = |text: String| text.parse::<i64>().unwrap_or(0);
            let (a, b) = (number(a), number(b));
            assert_eq!(a, 2 * b, "seen within a transaction");
            if b == 3 * rounds {
                break;
            }
        }
    });
    server.stop();
}

#[test]
fn change_by_anybody_of_a_watched_key_undoes_the_transaction() {
    let server = kv();
    let mut other = Client::new(&server);
    let changes = [
        ("SET k 1", false),
        ("SET k 2 NX", true),
        ("APPEND k x", false),
        ("DEL k", false),
        ("GETDEL k", false),
        ("MSET x 1 k 2", false),
        ("MSETNX x 1 k 2", true),
        ("EXPIRE k 100", false),
        ("EXPIRE k 100 XX", true),
        ("EXPIRE k -1", false),
        ("PERSIST k", true),
        ("FLUSHDB", false),
        ("FLUSHALL", false),
        ("GET k", true),
        ("TTL k", true),
    ];
    for (change, is_carried_out) in changes {
        other.ask("FLUSHALL");
        other.ask("SET k 0");
        let mut client = Client::new(&server);
        client.ask("WATCH nothing k other");
        other.ask(change);
        client.ask("MULTI");
        assert_eq!(client.ask("PING"), "+QUEUED");
        let expected = if is_carried_out { "*1" } else { "*-1" };
        assert_eq!(client.ask("EXEC"), expected, "after {change}");
    }
    server.stop();
}

#[test]
fn watched_key_that_ends_undoes_the_transaction_whoever_notices() {
    let server = kv();
    for is_looked_for in [true, false] {
        let mut client = Client::new(&server);
        // In one write, so that the key is still there when it is watched.
        send(&client.stream, b"SET k x PX 40\r\nWATCH k\r\n");
        (0..2).for_each(|_| assert_eq!(client.line(), "+OK"));
        let mut other = Client::new(&server);
        let deadline = Instant::now() + PATIENCE;
        // Removed by a look-up, or by the timer alone.
        let look = if is_looked_for { "EXISTS k" } else { "DBSIZE" };
        while other.ask(look) != ":0" {
            assert!(Instant::now() < deadline);
        }
        for line in ["MULTI", "PING"] {
            client.ask(line);
        }
        assert_eq!(client.ask("EXEC"), "*-1");
    }
    // Nobody at all looks at it before EXEC.
    let mut client = Client::new(&server);
    send(&client.stream, b"SET k x PX 1\r\nWATCH k\r\nSET gone x PX 1\r\n");
    (0..3).for_each(|_| assert_eq!(client.line(), "+OK"));
    let deadline = Instant::now() + PATIENCE;
    while client.ask("EXISTS gone") != ":0" {
        assert!(Instant::now() < deadline);
    }
    client.ask("MULTI");
    assert_eq!(client.ask("EXEC"), "*-1");
    server.stop();
}

#[test]
fn what_a_client_has_queued_and_watches_is_freed_however_it_ends() {
    let server = kv();
    let mut other = Client::new(&server);
    let before = other.used();
    for ending in ["DISCARD", "EXEC", "NOSUCH\r\nEXEC", "RESET", "QUIT", ""] {
        let mut client = Client::new(&server);
        client.ask(&format!("WATCH {} b c", "key".repeat(1000)));
        for line in ["MULTI", &format!("ECHO {}", "x".repeat(10_000))] {
            client.ask(line);
        }
        assert!(other.used() > before + 13_000, "it counts");
        if ending.is_empty() {
            drop(client);
        } else {
            send(&client.stream, format!("{ending}\r\n").as_bytes());
        }
        let deadline = Instant::now() + PATIENCE;
        while other.used() != before {
            assert!(Instant::now() < deadline, "{ending:?} leaves {}", other.used() - before);
        }
    }
    server.stop();
}

#[test]
fn queue_beyond_its_limits_is_refused_and_nothing_of_it_is_carried_out() {
    let abort = "-EXECABORT Transaction discarded because of previous errors.";
    let server =
        kv_with(KvConfig { transaction_memory: 100 * KIB, max_memory: MIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    let text = "x".repeat(40 * KIB);
    client.ask("MULTI");
    assert_eq!(client.ask(&format!("SET a {text}")), "+QUEUED");
    assert_eq!(client.ask(&format!("SET b {text}")), "+QUEUED");
    let refused = client.ask(&format!("SET c {text}"));
    assert_eq!(refused, "-ERR transaction takes more memory than it may");
    assert_eq!(client.ask("PING"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), abort);
    assert_eq!(client.ask("DBSIZE"), ":0");

    // Many clients that queue a little each.
    let mut clients: Vec<Client> = (0..30).map(|_| Client::new(&server)).collect();
    let mut refused = 0;
    for client in &mut clients {
        client.ask("MULTI");
        let reply = client.ask(&format!("ECHO {}", "x".repeat(60 * KIB)));
        refused += usize::from(reply.starts_with("-OOM "));
    }
    // Each takes what its request is long, and all of them together 1 MiB.
    assert_eq!(refused, 30 - 17);
    // What takes away is queued where all memory is used.
    let mut client = Client::new(&server);
    assert_eq!(client.ask("SET z 1").split(' ').next(), Some("+OK"));
    let (mut queued, mut full) = (0, 0);
    for client in &mut clients {
        match client.ask(&format!("ECHO {}", "x".repeat(10 * KIB))).as_str() {
            // Whoever was refused before takes nothing more; and each of the others that is refused
            // leaves room for the next one.
            "+QUEUED" => queued += 1,
            reply => full += usize::from(reply.starts_with("-OOM ")),
        }
    }
    assert_eq!((queued, full), (13 + 8, 9));
    client.ask("MULTI");
    assert_eq!(client.ask("DEL z"), "+QUEUED");
    assert_eq!(client.list("EXEC"), ["1"]);
    server.stop();
}

#[test]
fn keys_that_a_client_watches_are_limited_and_priced_before() {
    let server = kv_with(KvConfig { max_memory: MIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    let many: String = (0..4096).map(|number| format!(" {number}")).collect();
    assert_eq!(client.ask("WATCH x"), "+OK");
    assert_eq!(
        client.ask(&format!("WATCH{many}")),
        "-ERR max number of watched keys of a client reached"
    );
    client.ask("UNWATCH");
    let before = client.used();
    assert_eq!(client.ask(&format!("WATCH{many}")), "+OK");
    let reply = client.ask("WATCH one more");
    assert_eq!(reply, "-ERR max number of watched keys of a client reached");
    assert!(client.used() > before + 4096 * 100);
    let mut other = Client::new(&server);
    let long = "x".repeat(900 * KIB);
    assert!(other.ask(&format!("WATCH {long}")).starts_with("-OOM "));
    // What each costs beside its bytes is asked for before, too.
    client.ask("UNWATCH");
    let many: String = (0..4096).map(|number| format!(" {number:0100}")).collect();
    let words: Vec<&str> = many.split(' ').collect();
    assert!(client.ask(&format!("WATCH{many}")).starts_with("-OOM "), "{} keys", words.len());
    assert_eq!(client.used(), 0);
    server.stop();
}

/// The patterns are those of a stranger, and each message is compared with all of them.
#[test]
fn transaction_whose_messages_meet_too_costly_patterns_is_refused_whole() {
    let server = kv();
    let mut stranger = Client::new(&server);
    let costly: String = (0..50).map(|n| format!(" *{}{n:02}", "a".repeat(900))).collect();
    send(&stranger.stream, format!("PSUBSCRIBE{costly}\r\n").as_bytes());
    while stranger.line() != ":50" {}
    let mut client = Client::new(&server);
    let mut publish = |command: &str, channel: &str, count: usize| {
        client.ask("MULTI");
        client.ask("INCR n");
        (0..count).for_each(|_| drop(client.ask(&format!("{command} {channel} x"))));
        client.list("EXEC")
    };
    let long = "a".repeat(1_000);
    let refused = "-EXECABORT Transaction discarded because of: transaction takes too long";
    assert_eq!(publish("PUBLISH", &long, 30), [refused]);
    assert_eq!(publish("PUBLISH", &long, 1), ["1", "0"]);
    assert_eq!(publish("PUBLISH", "short", 1_000).len(), 1_001);
    // These never meet a pattern.
    assert_eq!(publish("SPUBLISH", &long, 1_000).len(), 1_001);
    assert_eq!(client.ask("GET n"), "$1");
    assert_eq!(client.line(), "3", "what was refused has changed nothing");
    // Nor can a transaction bring the patterns with it.
    client.ask("HELLO 3");
    while client.line() != "modules" {}
    client.line();
    client.ask("MULTI");
    client.ask(&format!("PSUBSCRIBE{}", costly.replace('a', "b")));
    (0..60).for_each(|_| drop(client.ask(&format!("PUBLISH {} x", "b".repeat(1_000)))));
    send(&client.stream, b"EXEC\r\nPING\r\n");
    let answers = std::iter::from_fn(|| Some(client.line()).filter(|line| line != "+PONG"));
    assert!(answers.filter(|line| line == "-ERR transaction takes too long").count() > 10);
    server.stop();
}

#[test]
fn replies_of_a_transaction_share_the_limit_of_one_reply() {
    let server = kv();
    let mut client = Client::new(&server);
    client.ask(&format!("SET k {}", "v".repeat(60_000)));
    client.ask("MULTI");
    for _ in 0..100 {
        client.ask("GET k");
        client.ask("INCR n");
    }
    let replies = client.list("EXEC");
    assert_eq!(replies.len(), 200);
    let whole = replies.iter().filter(|reply| reply.len() == 60_000).count();
    let refused =
        replies.iter().filter(|it| *it == "-ERR reply is longer than the output limit allows");
    assert_eq!((whole + refused.count(), whole), (100, 52));
    // What came behind those that had no room has been carried out and answered.
    assert_eq!(replies[199], "100");
    assert_eq!(client.ask("GET n"), "$3");
    server.stop();
}

#[test]
fn transaction_of_very_many_commands_is_answered_whole_and_one_of_too_many_refused() {
    let server = kv();
    // Room for 3 MiB less 16 KiB, of which 64 bytes are kept for each.
    let most = (3 * MIB - 16 * KIB) / 64 - 1;
    let client = server.connect();
    for count in [most, most + 1] {
        let mut text = b"SET n 0\r\nMULTI\r\n".to_vec();
        (0..count).for_each(|_| text.extend(b"INCR n\r\n"));
        text.extend(b"EXEC\r\nGET n\r\n");
        let mut expected = b"+OK\r\n+OK\r\n".to_vec();
        (0..most).for_each(|_| expected.extend(b"+QUEUED\r\n"));
        if count == most {
            expected.extend(format!("*{most}\r\n").bytes());
            (1..=most).for_each(|number| expected.extend(format!(":{number}\r\n").bytes()));
            expected.extend(format!("${}\r\n{most}\r\n", most.to_string().len()).bytes());
        } else {
            let text = "-ERR transaction has more commands than a reply has room for\r\n\
                -EXECABORT Transaction discarded because of previous errors.\r\n$1\r\n0\r\n";
            expected.extend(text.bytes());
        }
        let mut writer = client.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&text).unwrap());
            expect_bytes(&client, &expected);
        });
    }
    server.stop();
}

#[test]
fn transaction_that_publishes_waits_for_a_full_channel_before_it_begins() {
    let server = kv_with(KvConfig { channel_memory: 8 * KIB, ..KvConfig::default() });
    let listener = connect_narrow(&server.address, 4 * KIB);
    send(&listener, b"SUBSCRIBE c\r\n");
    expect_bytes(&listener, b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    let client = server.connect();
    let message = "m".repeat(2 * KIB);
    let rounds = 2_000;
    let mut text = Vec::new();
    for _ in 0..rounds {
        text.extend(format!("MULTI\r\nINCR n\r\nPUBLISH c {message}\r\nEXEC\r\n").bytes());
    }
    let mut writer = client.try_clone().unwrap();
    let whole = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2048\r\n{message}\r\n");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&text).unwrap());
        // A listener that reads loses nothing, and nothing is carried out twice.
        scope.spawn(|| (0..rounds).for_each(|_| expect_bytes(&listener, whole.as_bytes())));
        for number in 1..=rounds {
            let reply = format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:{number}\r\n:1\r\n");
            expect_bytes(&client, reply.as_bytes());
        }
    });
    server.stop();
}

#[test]
fn messages_come_before_the_reply_to_a_transaction_that_leaves_their_channel() {
    let server = kv();
    let listener = server.connect();
    send(&listener, b"HELLO 3\r\nSUBSCRIBE c\r\n");
    let mut reader = Client::of(listener);
    while reader.line() != "subscribe" {}
    while reader.line() != ":1" {}
    let mut other = Client::new(&server);
    for line in ["MULTI", "UNSUBSCRIBE c", "PING"] {
        reader.ask(line);
    }
    assert_eq!(other.ask("PUBLISH c hello"), ":1");
    send(&reader.stream, b"EXEC\r\n");
    let expected = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n\
        *2\r\n>3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n+PONG\r\n";
    let mut found = vec![0; expected.len()];
    reader.reader.read_exact(&mut found).unwrap();
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    server.stop();
}

#[test]
fn write_to_a_key_that_many_watch_undoes_the_transaction_of_each() {
    let server = kv();
    let watchers: Vec<Client> = (0..500)
        .map(|_| {
            let mut client = Client::new(&server);
            client.ask("WATCH k");
            client
        })
        .collect();
    let mut other = Client::new(&server);
    assert_eq!(other.ask("INCR k"), ":1");
    for mut client in watchers {
        client.ask("MULTI");
        assert_eq!(client.ask("EXEC"), "*-1");
        client.ask("MULTI");
        assert_eq!(client.ask("EXEC"), "*0");
    }
    server.stop();
}
