//! The key-value store over loopback: what its clients see beyond single answers, which
//! `kv_against_redis.rs` compares.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::kv::{Client, kv, kv_with, request};
use common::{
    KIB, MIB, connect, connect_narrow, end_sending, expect_bytes, expect_eof, expect_gone,
    expect_last_bytes, expect_silence, outward_address, send, start, start_by, start_on,
};
use edgeloop::service::{Kv, KvConfig};
use edgeloop::{Address, CloseReason, Config, ListenOptions, Reactor};

// ---- requests and replies ----

#[test]
fn pipeline_cut_anywhere_is_answered_in_order() {
    let server = kv();
    let pipeline = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nINCR n\r\n*0\r\n\r\nECHO 'x y'\r\nNOPE\r\nDEL k n\r\n";
    let answers: &[u8] = b"+OK\r\n$2\r\n\r\n\r\n:1\r\n$3\r\nx y\r\n-ERR unknown command 'NOPE', with args beginning with: \r\n:2\r\n";
    let client = server.connect();
    for cut in 0..pipeline.len() {
        send(&client, &pipeline[..cut]);
        // A turn goes by, so that the parts are read apart.
        server.stats();
        send(&client, &pipeline[cut..]);
        expect_bytes(&client, answers);
    }
    for byte in pipeline {
        send(&client, &[*byte]);
    }
    expect_bytes(&client, answers);
    drop(client);
    server.finish();
}

#[test]
fn batch_is_answered_with_one_write() {
    let server = kv();
    let client = server.connect();
    send(&client, b"PING\r\n");
    expect_bytes(&client, b"+PONG\r\n");
    let before = server.stats();
    send(&client, &b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".repeat(200));
    let expected: String = (1..=200).map(|n| format!(":{n}\r\n")).collect();
    expect_bytes(&client, expected.as_bytes());
    let after = server.stats();
    // As many reads as segments came in, and a write for each; not 200.
    assert_eq!(after.writes - before.writes, after.reads - before.reads);
    assert!(after.writes - before.writes <= 4, "{after:?}");
    server.stop();
}

#[test]
fn half_closed_client_gets_every_answer() {
    let server = kv();
    let client = server.connect();
    send(&client, &b"PING\r\n".repeat(10_000));
    end_sending(&client);
    expect_last_bytes(&client, &b"+PONG\r\n".repeat(10_000));
    assert_eq!(server.finish().closed(CloseReason::PeerClosed), 1);
}

#[test]
fn broken_protocol_is_answered_and_closed_and_what_came_before_counts() {
    let server = kv();
    let client = server.connect();
    send(&client, b"SET a 1\r\n*1\r\n$x\r\nSET a 2\r\n");
    expect_last_bytes(&client, b"+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    let other = server.connect();
    send(&other, b"GET a\r\n");
    expect_bytes(&other, b"$1\r\n1\r\n");
    drop((client, other));
    assert_eq!(server.finish().closed(CloseReason::ProtocolError), 1);
}

#[test]
fn commands_behind_bytes_that_are_no_request_are_never_carried_out() {
    let server = kv();
    // A page may choose some of the bytes that its visitor's browser sends in a handshake of TLS.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\nSET a 1\r\n\x00";
    for (stream, answer) in [
        (&hello[..], "this port has no TLS"),
        (b"\x80\x2e\x01\x03\x01\x00\x15\r\nSET a 1\r\n", "this port has no TLS"),
        (b"\0\r\nSET a 1\r\n", "zero byte in an inline request"),
        (b"PING\0\nSET a 1\n", "zero byte in an inline request"),
        (b"SET a 1\0\n", "zero byte in an inline request"),
    ] {
        for pieces in [stream.chunks(stream.len()), stream.chunks(1)] {
            let client = server.connect();
            for piece in pieces {
                // What was closed takes no more.
                let _ = (&client).write_all(piece);
            }
            expect_last_bytes(&client, format!("-ERR Protocol error: {answer}\r\n").as_bytes());
        }
    }
    let mut client = Client::new(&server);
    assert_eq!(client.ask("DBSIZE"), ":0");
    drop(client);
    assert_eq!(server.finish().closed(CloseReason::ProtocolError), 10);
}

#[test]
fn quit_is_answered_and_what_stands_behind_it_is_not() {
    let server = kv();
    let client = server.connect();
    send(&client, b"PING\r\nQUIT\r\nSET a 1\r\n");
    expect_last_bytes(&client, b"+PONG\r\n+OK\r\n");
    let other = server.connect();
    send(&other, b"EXISTS a\r\n");
    expect_bytes(&other, b":0\r\n");
    drop((client, other));
    server.finish();
}

#[test]
fn client_that_sends_and_never_reads_costs_its_limits() {
    let server = kv();
    let client = server.connect();
    send(&client, &set("big", &[b'x'; 500 * KIB]));
    expect_bytes(&client, b"+OK\r\n");
    server.send_until_blocked(&client, &b"GET big\r\n".repeat(1000));
    let stats = server.wait_for_rest(Duration::from_millis(200), |stats| stats.bytes_queued);
    // The high-water mark, and one reply above it.
    let waiting = stats.bytes_waiting();
    assert!(waiting <= (MIB + 501 * KIB) as u64, "{waiting} bytes wait");
    // Others are served meanwhile.
    let other = server.connect();
    send(&other, b"PING\r\n");
    expect_bytes(&other, b"+PONG\r\n");
    // Once it reads, it gets on.
    let mut value = b"$512000\r\n".to_vec();
    value.resize(value.len() + 500 * KIB, b'x');
    value.extend(b"\r\n");
    (0..20).for_each(|_| expect_bytes(&client, &value));
    server.stop();
}

#[test]
fn value_as_long_as_the_limit_is_taken_and_returned_and_a_longer_one_is_not() {
    let server = kv();
    let client = server.connect();
    let overhead = set("k", b"").len() + 6;
    let value = vec![b'v'; MIB - overhead];
    send(&client, &set("k", &value));
    send(&client, &b"GET k\r\n".repeat(8));
    expect_bytes(&client, b"+OK\r\n");
    let answer = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    (0..8).for_each(|_| expect_bytes(&client, &answer));
    send(&client, b"APPEND k 12345678901234567890123456789012345678901234567890\r\n");
    expect_bytes(&client, b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    send(&client, format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", MIB).as_bytes());
    expect_last_bytes(&client, b"-ERR Protocol error: invalid bulk length\r\n");
    server.stop();
}

#[test]
fn reply_beyond_the_output_limit_is_an_error_and_nothing_else() {
    let server = kv();
    let client = server.connect();
    send(&client, &set("k", &[b'x'; MIB - 100]));
    send(&client, b"PING\r\nMGET k k k\r\nPING\r\nMGET k k\r\nSTRLEN k\r\n");
    expect_bytes(
        &client,
        b"+OK\r\n+PONG\r\n-ERR reply is longer than the output limit allows\r\n+PONG\r\n*2\r\n",
    );
    let value = [b"$1048476\r\n".as_slice(), &[b'x'; MIB - 100], b"\r\n"].concat();
    expect_bytes(&client, &value);
    expect_bytes(&client, &value);
    expect_bytes(&client, b":1048476\r\n");
    server.stop();
}

#[test]
fn limits_that_do_not_fit_each_other_are_refused_at_set_up() {
    let config = Config { input_limit: MIB, output_limit: MIB, ..Config::default() };
    let error = Kv::new(KvConfig::default(), &config).unwrap_err().to_string();
    let text = "output_limit is 1048576; for replies with values of input_limit 1048576 it must be at least ";
    let least: usize = error.strip_prefix(text).expect(&error).parse().unwrap();
    let config = Config { output_limit: least, ..config };
    Kv::new(KvConfig::default(), &config).expect("what it asks for is enough");
    let error = Kv::new(KvConfig { channel_memory: 1, ..KvConfig::default() }, &config);
    assert!(error.unwrap_err().to_string().starts_with("channel_memory is 1; "));
}

// ---- keys ----

#[test]
fn key_that_expires_is_gone_on_time_and_its_memory_soon() {
    let server = kv();
    let mut client = Client::new(&server);
    let begun = Instant::now();
    client.ask("SET short x PX 60");
    client.ask("SET long x EX 1000");
    client.ask("SET stays x");
    while client.ask("EXISTS short") == ":1" {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
    client.ask("SET unseen x PX 1");
    // Nobody looks for it, and it goes all the same.
    while client.ask("DBSIZE") != ":2" {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let left: u64 = client.ask("TTL long")[1..].parse().unwrap();
    assert!((900..=1000).contains(&left), "{left}");
    assert_eq!(client.ask("TTL stays"), ":-1");
    let info = client.bulk("INFO");
    assert!(info.contains("expired_keys:2"), "{info}");
    assert!(info.contains("db0:keys=2,expires=1,avg_ttl="), "{info}");
    server.stop();
}

#[test]
fn scan_returns_every_key_that_stays_once_while_others_come_and_go() {
    let server = kv();
    let mut client = Client::new(&server);
    for number in 0..500 {
        client.ask(&format!("SET stay:{number} x"));
    }
    let (mut cursor, mut seen, mut calls) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = client.list(&format!("SCAN {cursor} COUNT 7 MATCH stay:* TYPE string"));
        cursor = reply[0].clone();
        seen.extend_from_slice(&reply[1..]);
        calls += 1;
        if cursor == "0" {
            break;
        }
        // Growing to several times the size, and back.
        for number in 0..40 {
            match calls / 40 % 2 {
                0 => client.ask(&format!("SET other:{}:{number} x", calls % 40)),
                _ => client.ask(&format!("DEL other:{}:{number}", calls % 40)),
            };
        }
    }
    assert!(calls > 50, "{calls} calls");
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), once.len()), (500, 500));
    server.stop();
}

#[test]
fn scan_looks_at_a_bounded_number_of_keys_whatever_its_count() {
    let server = kv();
    let client = server.connect();
    let mut text = Vec::new();
    for number in 0..30_000 {
        text.extend(format!("SET {number} x\r\n").bytes());
    }
    let mut writer = client.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&text).unwrap());
        expect_bytes(&client, &b"+OK\r\n".repeat(30_000));
    });
    let mut client = Client::of(client);
    let first = client.list("SCAN 0 COUNT 1000000");
    assert!(first[0] != "0" && (1..=10_001).contains(&(first.len() - 1)), "{}", first.len());
    let all = client.list("KEYS *");
    assert_eq!(all.len(), 30_000);
    client.ask("FLUSHALL");
    for number in 0..100 {
        client.ask(&format!("SET {}{number} x", "a".repeat(10_000)));
    }
    // Nor whatever their length, be it that none is returned.
    let first = client.list("SCAN 0 COUNT 1000 MATCH *ab");
    assert!(first[0] != "0" && first.len() == 1, "{first:?}");
    client.ask("FLUSHALL");
    assert_eq!(client.ask("DBSIZE"), ":0");
    server.stop();
}

#[test]
fn memory_above_the_limit_refuses_what_adds_and_permits_what_takes_away() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
    let server = kv_with(KvConfig { max_memory: 100 * KIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    let mut count = 0;
    let refused = loop {
        match client.ask(&format!("SET {count} {}", "x".repeat(1000))).as_str() {
            "+OK" => count += 1,
            other => break other.to_owned(),
        }
    };
    assert_eq!(refused, OOM);
    assert!((80..=100).contains(&count), "{count} values of 1,000 bytes");
    for command in ["APPEND 0 x", "INCR n", "MSET a 1", "SUBSCRIBE a"] {
        assert_eq!(client.ask(command), OOM, "{command}");
    }
    // It goes to nobody, and takes nothing.
    assert_eq!(client.ask("PUBLISH a b"), ":0");
    assert_eq!(client.ask("GET none"), "$-1");
    assert_eq!(client.ask("EXPIRE 0 100"), ":1");
    assert_eq!(client.ask("DEL 0 1 2"), ":3");
    assert_eq!(client.ask("SET a 1"), "+OK");
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    assert!(client.bulk("INFO memory").contains("used_memory:0\r\n"));
    server.stop();
}

/// One command of a few bytes that would take a megabyte, be it for a moment only.
#[test]
fn growth_is_refused_before_it_begins_where_there_is_no_memory_for_it() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
    let server = kv_with(KvConfig { max_memory: 280 * KIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    let mut ask = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        send(&client.stream, &request(&words));
        client.line()
    };
    ask(&format!("SET value {}", "x".repeat(100_000)));
    ask(&format!("SET other {}", "x".repeat(100_000)));
    ask("SET small x");
    ask(&format!("SET a {}", "ab".repeat(1_000)));
    let before = ask("MEMORY USAGE value");
    let long = "k".repeat(200_000);
    for command in [
        "SETRANGE new 400000 x",
        "SETRANGE small 400000 x",
        "SETBIT new 4000000 1",
        "SETBIT small 4000000 0",
        // It would double.
        &format!("APPEND value {}", "x".repeat(60_000)),
        &format!("RENAME small {long}"),
        &format!("RENAMENX small {long}"),
        &format!("COPY value {long}"),
    ] {
        assert_eq!(ask(command), OOM, "{}", &command[..command.len().min(30)]);
    }
    assert_eq!(ask("MEMORY USAGE value"), before);
    assert_eq!([ask("EXISTS new"), ask("STRLEN small"), ask("DBSIZE")], [":0", ":1", ":4"]);
    assert_eq!(ask("DEL other"), ":1");
    assert_eq!(ask("COPY value copy"), ":1");
    assert_eq!(ask("COPY value copy2"), OOM);
    assert_eq!(ask("COPY value copy REPLACE"), ":1");
    assert_eq!(ask("BITOP NOT inverse value"), OOM);
    assert_eq!(ask("BITOP NOT copy value"), ":100000");
    // Two thousand rows of two thousand bits.
    assert_eq!(ask("LCS a a"), OOM);
    assert_eq!(ask("LCS a a LEN"), ":2000");
    server.stop();
}

const LCS_TOO_LONG: &str = "-ERR LCS takes values whose lengths multiply to at most 67108864";

#[test]
fn work_of_one_command_is_bounded() {
    let server = kv();
    let mut client = Client::new(&server);
    client.ask("SETRANGE a 8191 x");
    client.ask("SETRANGE b 8192 x");
    client.ask("SETRANGE long 1000000 x");
    assert_eq!(client.ask("LCS a a LEN"), ":8192");
    assert_eq!(client.ask("LCS a b LEN"), LCS_TOO_LONG);
    assert_eq!(client.ask("LCS long long LEN"), LCS_TOO_LONG);
    assert_eq!(client.ask("LCS long none LEN"), ":0");
    let keys = " long".repeat(67);
    assert_eq!(client.ask(&format!("BITOP OR to{}", &keys[5..])), ":1000001");
    let refused = "-ERR BITOP takes at most 67108864 bytes in all keys";
    assert_eq!(client.ask(&format!("BITOP OR to{keys} long")), refused);
    server.stop();
}

/// Each of them takes much time and few bytes. Counted, since a turn has no length that a test could
/// know: there are as many turns as it takes, and somebody else is answered in them.
#[test]
fn commands_that_take_long_take_turns_with_those_of_others() {
    let server = kv();
    let (busy, mut other) = (server.connect(), Client::new(&server));
    other.ask("SETRANGE a 8191 x");
    other.ask("SETRANGE long 1000000 x");
    let keys: String = (0..5_000).map(|number| format!(" key:{number} x")).collect();
    assert_eq!(other.ask(&format!("MSET{keys}")), "+OK");
    let mut idle: Vec<Client> = (0..40).map(|_| Client::new(&server)).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "+PONG"));
    // Patterns that nothing tells from what is published before its end.
    let mut listener = Client::new(&server);
    let costly: String = (0..20).map(|n| format!(" *{}{n}", "a".repeat(900))).collect();
    send(&listener.stream, format!("PSUBSCRIBE{costly}\r\n").as_bytes());
    while listener.line() != ":20" {}
    let publish = &format!("PUBLISH {} x", "a".repeat(1_000));
    for (command, answer, count, turns) in [
        ("LCS a a LEN", ":8192\r\n", 12, 12),
        ("MULTI\r\nLCS a a LEN\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n:8192\r\n", 12, 12),
        ("COPY long to REPLACE", ":1\r\n", 1_000, 29),
        ("KEYS nosuch*", "*0\r\n", 400, 7),
        ("SCAN 0 COUNT 10000 MATCH nosuch*", "*2\r\n$1\r\n0\r\n*0\r\n", 400, 7),
        ("CLIENT LIST ID 99", "$0\r\n\r\n", 1_000, 5),
        ("CLIENT KILL ID 99", ":0\r\n", 3_000, 7),
        ("INFO nosuch", "$0\r\n\r\n", 2_000, 15),
        ("COMMAND LIST FILTERBY PATTERN x", "*0\r\n", 3_000, 9),
        ("INCRBYFLOAT f 1e-4900", "$1\r\n0\r\n", 400, 9),
        (publish, ":0\r\n", 60, 8),
    ] {
        // By itself, so that nobody else's turns are counted.
        let before = server.stats().turns;
        send(&busy, format!("{command}\r\n").repeat(count).as_bytes());
        expect_bytes(&busy, answer.repeat(count).as_bytes());
        let taken = server.stats().turns - before;
        assert!(taken >= turns, "{command}: {taken} turns");
        // One that is answered behind all of it is answered once, however often that is tried; on a
        // busy machine it may ask too late now and then.
        let is_served_meanwhile = (0..20).any(|_| {
            send(&busy, format!("{command}\r\n").repeat(count).as_bytes());
            let mut asked = 0;
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| expect_bytes(&busy, answer.repeat(count).as_bytes()));
                while !reader.is_finished() {
                    assert_eq!(other.ask("STRLEN a"), ":8192");
                    asked += 1;
                }
            });
            asked > 1
        });
        assert!(is_served_meanwhile, "{command}: nobody else is answered");
    }
    // Nor are answers free that nobody wants.
    let before = server.stats().turns;
    send(&busy, b"CLIENT REPLY OFF\r\n");
    send(&busy, &b"GET long\r\n".repeat(600));
    send(&busy, b"CLIENT REPLY ON\r\n");
    expect_bytes(&busy, b"+OK\r\n");
    assert!(server.stats().turns - before >= 17);
    // Whatever had to wait is counted once.
    let hits = |client: &mut Client| {
        let info = client.bulk("INFO stats");
        let line = info.lines().find_map(|line| line.strip_prefix("keyspace_hits:"));
        line.unwrap().parse::<usize>().unwrap()
    };
    let before = hits(&mut other);
    // In the order in which they came, with what takes no time between them.
    send(&busy, &b"LCS a a LEN\r\nPING\r\n".repeat(5));
    end_sending(&busy);
    expect_last_bytes(&busy, &b":8192\r\n+PONG\r\n".repeat(5));
    assert_eq!(hits(&mut other) - before, 2 * 5);
    server.stop();
}

/// Each of them fills a turn. The order is told by a counter, which both go on with.
#[test]
fn clients_whose_commands_take_long_are_served_one_after_the_other() {
    const ROUNDS: usize = 20;
    let server = kv();
    let mut client = Client::new(&server);
    client.ask("SETRANGE a 5999 x");
    let rivals = [(); 3].map(|()| server.connect());
    // The others come while the first one is at work.
    let round = "LCS a a LEN\r\nINCR n\r\nMULTI\r\nLCS a a LEN\r\nEXEC\r\n";
    for rival in &rivals {
        send(rival, round.repeat(ROUNDS).as_bytes());
    }
    for rival in rivals {
        let mut reader = BufReader::new(rival);
        let (mut before, mut between) = (0, 0);
        for _ in 0..ROUNDS {
            let mut line = || {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                line.trim_end().trim_start_matches(':').to_owned()
            };
            assert_eq!(line(), "6000");
            let number: i64 = line().parse().unwrap();
            assert_eq!([line(), line(), line(), line()].join(" "), "+OK +QUEUED *1 6000");
            between = between.max(number - before - 1);
            before = number;
        }
        assert!(between <= 4, "{between} answers to the two others come between two to this one");
    }
    server.stop();
}

#[test]
fn work_of_a_transaction_on_long_values_is_bounded() {
    const COUNT: usize = 300;
    let server = kv();
    let mut client = Client::new(&server);
    client.ask("SETRANGE long 1000000 x");
    client.ask("MULTI");
    let mut lines = "COPY long to REPLACE\r\n".repeat(COUNT);
    let commands = [
        "BITCOUNT long",
        "BITPOS long 1",
        "RENAME long longer",
        "SETRANGE new 1000000 x",
        "INCRBYFLOAT f 1",
        "STRLEN long",
        "SETBIT long 7 1",
    ];
    commands.iter().for_each(|command| lines.push_str(&format!("{command}\r\n")));
    send(&client.stream, lines.as_bytes());
    (0..COUNT + commands.len()).for_each(|_| assert_eq!(client.line(), "+QUEUED"));
    let answers = client.list("EXEC");
    let refused = "-ERR transaction takes too long";
    let copied = answers.iter().take_while(|answer| *answer == "1").count();
    assert!((90..=100).contains(&copied), "{copied}");
    assert!(answers[copied..COUNT].iter().all(|answer| answer == refused));
    // What takes no time is done all the same.
    assert_eq!(answers[COUNT..COUNT + 4], [refused; 4]);
    assert_eq!(answers[COUNT + 4..], ["1", "1000001", "0"]);
    assert_eq!(client.ask("BITCOUNT long"), ":5", "it is the transaction that ends");
    server.stop();
}

#[test]
fn rename_and_copy_take_time_to_live_and_memory_with_them() {
    let server = kv();
    let mut client = Client::new(&server);
    client.ask("SET a value EX 1000");
    let cost = client.ask("MEMORY USAGE a");
    assert_eq!(client.ask("RENAME a b"), "+OK");
    assert_eq!(client.ask("MEMORY USAGE b"), cost);
    assert_eq!(client.ask("COPY b c"), ":1");
    assert_eq!(client.ask("MEMORY USAGE c"), cost);
    let ttl: u64 = client.ask("TTL c")[1..].parse().unwrap();
    assert!((990..=1000).contains(&ttl), "{ttl}");
    assert_eq!([client.ask("PERSIST b"), client.ask("TTL b")], [":1", ":-1"]);
    assert_eq!(client.ask("DEL b c"), ":2");
    assert!(client.bulk("INFO memory").contains("used_memory:0\r\n"));
    server.stop();
}

// ---- publish and subscribe ----

#[test]
fn messages_reach_channels_and_patterns_behind_the_confirmation() {
    let server = kv();
    let (listener, mut publisher) = (server.connect(), Client::new(&server));
    send(&listener, b"SUBSCRIBE news\r\nPSUBSCRIBE n*\r\n");
    expect_bytes(
        &listener,
        b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n",
    );
    assert_eq!(publisher.ask("PUBLISH news hello"), ":2");
    assert_eq!(publisher.ask("PUBLISH nothing hello"), ":1");
    assert_eq!(publisher.ask("PUBLISH other hello"), ":0");
    let expected = [
        "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n",
        "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n",
        "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$7\r\nnothing\r\n$5\r\nhello\r\n",
    ];
    let mut messages = vec![0; expected.iter().map(|message| message.len()).sum()];
    (&listener).read_exact(&mut messages).unwrap();
    let messages = String::from_utf8(messages).unwrap();
    assert!(expected.iter().all(|message| messages.contains(message)), "{messages}");
    send(&listener, b"UNSUBSCRIBE\r\nPUNSUBSCRIBE n*\r\nGET x\r\n");
    expect_bytes(
        &listener,
        b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n$-1\r\n",
    );
    assert_eq!(publisher.ask("PUBLISH news again"), ":0");
    assert_eq!(publisher.ask("PUBSUB NUMPAT"), ":0");
    expect_silence(&listener, Duration::from_millis(50));
    server.stop();
}

#[test]
fn channels_of_the_shard_are_a_world_of_their_own() {
    let server = kv();
    let (listener, mut publisher) = (server.connect(), Client::new(&server));
    send(&listener, b"SSUBSCRIBE news\r\nPSUBSCRIBE *\r\n");
    expect_bytes(
        &listener,
        b"*3\r\n$10\r\nssubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n",
    );
    assert_eq!(publisher.ask("SPUBLISH news hello"), ":1");
    expect_bytes(&listener, b"*3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    assert_eq!(publisher.ask("SPUBLISH nothing hello"), ":0");
    assert_eq!(publisher.list("PUBSUB SHARDCHANNELS"), ["news"]);
    assert_eq!(publisher.list("PUBSUB CHANNELS"), [""; 0]);
    let list = publisher.bulk("CLIENT LIST TYPE pubsub");
    assert!(list.contains(" flags=P ") && list.contains(" sub=0 psub=1 ssub=1 "), "{list}");
    assert!(publisher.bulk("INFO stats").contains("pubsubshard_channels:1\r\n"));
    send(&listener, b"PUNSUBSCRIBE\r\nSUNSUBSCRIBE\r\nGET x\r\n");
    expect_bytes(
        &listener,
        b"*3\r\n$12\r\npunsubscribe\r\n$1\r\n*\r\n:0\r\n*3\r\n$12\r\nsunsubscribe\r\n$4\r\nnews\r\n:0\r\n$-1\r\n",
    );
    server.stop();
}

#[test]
fn channel_goes_with_its_last_subscriber_however_that_leaves() {
    let server = kv();
    let mut asker = Client::new(&server);
    for leave in ["UNSUBSCRIBE a\r\nSUNSUBSCRIBE\r\n", "RESET\r\n", "QUIT\r\n", ""] {
        let mut listeners: Vec<Client> = (0..3).map(|_| Client::new(&server)).collect();
        listeners[0].list("HELLO 3");
        for listener in &mut listeners {
            send(&listener.stream, b"SUBSCRIBE a\r\nPSUBSCRIBE p*\r\nSSUBSCRIBE a\r\n");
            (0..18).for_each(|_| drop(listener.line()));
        }
        assert_eq!(asker.ask("PUBLISH a x"), ":3");
        assert_eq!(asker.ask("SPUBLISH a x"), ":3");
        for listener in &listeners {
            send(&listener.stream, leave.as_bytes());
        }
        drop(listeners);
        let begun = Instant::now();
        while asker.list("PUBSUB CHANNELS") != Vec::<String>::new()
            || asker.list("PUBSUB SHARDCHANNELS") != Vec::<String>::new()
            || asker.ask("PUBSUB NUMPAT") != ":0"
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "after {leave:?}");
        }
        assert_eq!(asker.ask("PUBLISH a x"), ":0");
        assert!(asker.bulk("INFO memory").contains("used_memory:0\r\n"), "after {leave:?}");
    }
    server.stop();
}

#[test]
fn numsub_counts_who_listens_to_each_channel_by_its_name() {
    let server = kv();
    let (first, second) = (server.connect(), server.connect());
    let mut asker = Client::new(&server);
    assert_eq!(asker.ask("PUBSUB NUMSUB"), "*0");
    for (stream, line) in [
        (&first, "SUBSCRIBE a b\r\nPSUBSCRIBE a*\r\nSSUBSCRIBE s a\r\nSUBSCRIBE a\r\nGET x\r\n"),
        (&second, "SUBSCRIBE a\r\nGET x\r\n"),
    ] {
        send(stream, line.as_bytes());
        // The one command that a subscriber may not give comes behind all others.
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with("-ERR Can't execute 'get'")));
    }
    // In the order of the question, a name as often as it is asked for, patterns and the shard left out.
    let names = ["b", "1", "a", "2", "none", "0", "s", "0", "a", "2"];
    assert_eq!(asker.list("PUBSUB NUMSUB b a none s a"), names);
    assert_eq!(asker.list("PUBSUB SHARDNUMSUB s a b"), ["s", "1", "a", "1", "b", "0"]);
    send(&first, b"UNSUBSCRIBE a\r\n");
    drop(second);
    let begun = Instant::now();
    while asker.list("PUBSUB NUMSUB a b") != ["a", "0", "b", "1"] {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    server.stop();
}

#[test]
fn one_channel_has_subscribers_in_either_version_of_the_protocol() {
    const HELLO: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:2\r\n";
    let server = kv();
    let (old, new, mut publisher) = (server.connect(), server.connect(), Client::new(&server));
    send(&old, b"SUBSCRIBE a\r\n");
    expect_bytes(&old, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    send(&new, b"HELLO 3\r\nSUBSCRIBE a\r\n");
    expect_bytes(&new, HELLO);
    expect_bytes(
        &new,
        b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    );
    assert_eq!(publisher.list("PUBSUB NUMSUB a"), ["a", "2"]);
    assert_eq!(publisher.list("PUBSUB CHANNELS"), ["a"]);
    assert_eq!(publisher.ask("PUBLISH a x"), ":2");
    expect_bytes(&old, b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    expect_bytes(&new, b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    // In version 3 a subscriber may do anything, and hears itself.
    send(&new, b"GET none\r\nPUBLISH a y\r\n");
    expect_bytes(&new, b"_\r\n:2\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n");
    expect_bytes(&old, b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n");
    // Whoever changes the version keeps its subscriptions; from then on messages come in that.
    send(&new, b"PSUBSCRIBE b*\r\nHELLO 2\r\n");
    expect_bytes(&new, b">3\r\n$10\r\npsubscribe\r\n$2\r\nb*\r\n:2\r\n*14\r\n$6\r\nserver\r\n");
    assert_eq!(publisher.ask("PUBLISH b z"), ":1");
    let mut rest = BufReader::new(new.try_clone().unwrap()).lines().map(Result::unwrap);
    assert!(rest.any(|line| line == "modules") && rest.next().unwrap() == "*0");
    let message: Vec<String> = rest.by_ref().take(9).collect();
    assert_eq!(message, ["*4", "$8", "pmessage", "$2", "b*", "$1", "b", "$1", "z"]);
    assert_eq!(publisher.list("PUBSUB NUMSUB a"), ["a", "2"]);
    send(&new, b"GET none\r\n");
    assert!(rest.next().unwrap().starts_with("-ERR Can't execute 'get'"));
    drop((old, new, rest));
    let begun = Instant::now();
    while publisher.list("PUBSUB CHANNELS") != Vec::<String>::new() {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(publisher.ask("PUBSUB NUMPAT"), ":0");
    server.stop();
}

#[test]
fn subscriptions_count_as_memory() {
    let limits = KvConfig { max_memory: 20 * KIB, ..KvConfig::default() };
    let server = kv_with(limits);
    let names: String = (0..20).map(|number| format!(" channel:{number}")).collect();
    let clients: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    let refused = clients.iter().position(|client| {
        send(client, format!("SUBSCRIBE{names}\r\n").as_bytes());
        let mut first = [0; 1];
        (&*client).read_exact(&mut first).unwrap();
        first == *b"-"
    });
    // The channels themselves take 10 KiB and some.
    assert!(refused.is_some_and(|refused| refused > 2), "{refused:?}");
    server.stop();
}

/// The channel is full as long as one who reads is owed its messages: the publisher waits, its
/// pipeline stays in order, and no message is published twice.
#[test]
fn publisher_that_outruns_its_subscribers_is_slowed_down_and_loses_and_doubles_nothing() {
    const COUNT: usize = 3_000;
    let server = kv_with(KvConfig { channel_memory: 16 * KIB, ..KvConfig::default() });
    let listeners: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for (index, listener) in listeners.iter().enumerate() {
        // One of them listens to a pattern, and one in another version of the protocol, so that a
        // message goes to three topics; the pattern is long, so that the last is full first.
        let pattern = format!("PSUBSCRIBE a{}\r\n", "*".repeat(100));
        let request = [&pattern, "HELLO 3\r\nSUBSCRIBE a\r\n", "SUBSCRIBE a\r\n"][index];
        send(listener, request.as_bytes());
    }
    let mut asker = Client::new(&server);
    let begun = Instant::now();
    while asker.ask("PUBLISH a x") != ":3" {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let publisher = server.connect();
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                let mut next = 0;
                for line in BufReader::new(listener).lines() {
                    let line = line.unwrap();
                    let Some(number) = line.strip_prefix("number ") else { continue };
                    assert_eq!(number.split(' ').next().unwrap().parse(), Ok(next));
                    next += 1;
                    if next == COUNT {
                        break;
                    }
                }
                assert_eq!(next, COUNT);
            });
        }
        scope.spawn(|| {
            let mut text = Vec::new();
            for number in 0..COUNT {
                let message = format!("number {number} {}", "x".repeat(500));
                match number % 2 {
                    // A line that is rewritten where it stands, and is to be read again.
                    0 => text.extend(format!("PUBLISH 'a' \"{message}\"\r\n").bytes()),
                    _ => text.extend(request(&["PUBLISH", "a", &message])),
                }
            }
            (&publisher).write_all(&text).unwrap();
        });
        expect_bytes(&publisher, &b":3\r\n".repeat(COUNT));
    });
    server.stop();
}

// A page may let a browser post whatever it likes to whatever listens on this machine.
#[test]
fn browser_is_disconnected_before_it_comes_to_the_body() {
    let server = kv();
    for head in [
        "POST / HTTP/1.1",
        "GET / HTTP/1.1\r\nhost: localhost",
        // What is before the host may be a page's choice.
        "PUT / HTTP/1.1\r\nX-Header: y\r\nSET key page",
        "GET / HTTP/1.0\r\nSET key page",
        "OPTIONS /a b HTTP/2.0\r\nSET key page",
    ] {
        let browser = server.connect();
        send(&browser, format!("{head}\r\n\r\nSET key page\r\n").as_bytes());
        expect_gone(&mut &browser);
    }
    assert_eq!(Client::new(&server).ask("GET key"), "$-1");
    server.stop();
}

// ---- who may come ----

#[test]
fn client_of_another_machine_is_denied_until_protected_mode_is_switched_off() {
    let Some(outside) = outward_address() else { return };
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let kv = Kv::new(KvConfig::default(), &config).unwrap();
    let server = start_on("0.0.0.0:0", config, kv);
    let Address::Tcp(mut address) = server.address else { panic!("{:?}", server.address) };
    address.set_ip([127, 0, 0, 1].into());
    let mut local = Client::of(connect(&address.into()));
    assert_eq!(local.list("CONFIG GET protected-mode"), ["protected-mode", "yes"]);
    address.set_ip(outside);
    for first in ["", "PING\r\n", "*1\r\n"] {
        let mut stranger = connect(&address.into());
        // It may be closed before it has said anything.
        let _ = stranger.write_all(first.as_bytes());
        let mut told = String::new();
        let _ = stranger.read_to_string(&mut told);
        assert!(told.starts_with("-DENIED ") && told.ends_with(".\r\n"), "{told:?}");
        assert_eq!(told.lines().count(), 1, "{told:?}");
    }
    assert_eq!(local.ask("CONFIG SET protected-mode maybe"), NO_SWITCH);
    assert_eq!(local.ask("CONFIG SET protected-mode NO"), "+OK");
    let mut stranger = Client::of(connect(&address.into()));
    assert_eq!(stranger.ask("SET key value"), "+OK");
    // Or it could keep all others out.
    let refused = stranger.ask("CONFIG SET protected-mode yes");
    assert!(refused.ends_with("it can only be set from the server's own machine"), "{refused}");
    assert_eq!(local.ask("CONFIG SET protected-mode yes"), "+OK");
    assert_eq!(stranger.bulk("GET key"), "value", "whoever is in stays in");
    assert_eq!(server.stop().closed(CloseReason::Denied), 3);
}

#[test]
fn client_that_was_denied_keeps_no_place_however_long_it_stays() {
    let Some(outside) = outward_address() else { return };
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let kv = Kv::new(KvConfig::default(), &config).unwrap();
    let mut reactor = Reactor::new(config, kv).unwrap();
    let any = "0.0.0.0:0".parse().unwrap();
    let Address::Tcp(mut address) = reactor.listen(&any, &ListenOptions::default()).unwrap() else {
        panic!("it is no Unix socket")
    };
    address.set_ip(outside);
    let mut stranger = connect(&address.into());
    // Far fewer turns than a client that is closed would be waited for.
    for _ in 0..100 {
        reactor.remote().run(|_| ()).unwrap();
        reactor.turn().unwrap();
    }
    assert_eq!((reactor.stats().accepted, reactor.stats().open()), (1, 0));
    let mut told = String::new();
    stranger.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("-DENIED ") && told.ends_with(".\r\n"), "{told:?}");
}

const NO_SWITCH: &str = "-ERR CONFIG SET failed (possibly related to argument 'protected-mode') - \
    argument must be 'yes' or 'no'";

#[cfg(feature = "cli")]
#[test]
fn start_says_whether_other_machines_may_come() {
    use common::program::Program;
    for (options, said) in [
        ("kv", None),
        ("kv --protected-mode no", None),
        ("kv -l 0.0.0.0:0", Some("answered -DENIED")),
        ("kv -l 0.0.0.0:0 --protected-mode no", Some("may read and change everything")),
    ] {
        let program = Program::start(options);
        let lines = program.log_before();
        match said {
            Some(said) => assert!(lines.iter().any(|line| line.contains(said)), "{lines:?}"),
            None => assert!(!lines.iter().any(|line| line.contains("WARN")), "{lines:?}"),
        }
    }
}

#[test]
fn what_was_published_before_an_unsubscribe_comes_before_its_reply() {
    // More than the sockets hold, and less than the channel.
    const COUNT: usize = 800;
    let config = Config { input_limit: MIB, output_limit: 16 * MIB, ..Config::default() };
    let kv = KvConfig { channel_memory: 16 * MIB, ..KvConfig::default() };
    let server = start(config.clone(), Kv::new(kv, &config).unwrap());
    let listener = connect_narrow(&server.address, 4096);
    send(&listener, b"SUBSCRIBE a b\r\n");
    expect_bytes(
        &listener,
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
    );
    // It reads nothing.
    let mut publisher = Client::new(&server);
    let message = "x".repeat(10_000);
    for _ in 0..COUNT {
        assert_eq!(publisher.ask(&format!("PUBLISH a {message}")), ":1");
    }
    send(&listener, b"PING\r\nUNSUBSCRIBE b a\r\n");
    let begun = Instant::now();
    while publisher.list("PUBSUB NUMSUB a") != ["a", "0"] {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not heard");
    }
    let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    let left_b = "*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n";
    let left_a = "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n";
    let frame = format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10000\r\n{message}\r\n");
    let mut received = vec![0; COUNT * frame.len() + pong.len() + left_b.len() + left_a.len()];
    (&listener).read_exact(&mut received).unwrap();
    let received = String::from_utf8(received).unwrap();
    // Between channels, and between them and other replies, there is no order.
    assert_eq!(received.matches(&frame).count(), COUNT);
    assert!(received.contains(&format!("{pong}{left_b}")) && received.ends_with(left_a));
    server.stop();
}

#[test]
fn what_a_client_publishes_to_itself_before_it_leaves_arrives() {
    for (leave, left) in [
        ("UNSUBSCRIBE a\r\nPING", ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n+PONG\r\n"),
        ("RESET", "+RESET\r\n"),
        ("QUIT", "+OK\r\n"),
    ] {
        leave_after_publishing(leave, left);
    }
}

fn leave_after_publishing(leave: &str, left: &str) {
    let server = kv();
    let client = server.connect();
    send(&client, b"HELLO 3\r\nSUBSCRIBE a\r\n");
    let subscribed = b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    let mut reader = BufReader::new(&client);
    while reader.fill_buf().unwrap() != subscribed {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
    }
    send(&client, format!("PUBLISH a x\r\n{leave}\r\n").as_bytes());
    let message = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
    expect_bytes(&client, format!(":1\r\n{message}{left}").as_bytes());
    server.stop();
}

#[test]
fn subscriber_that_stops_reading_is_disconnected_and_the_others_get_everything() {
    let server = kv_with(KvConfig { channel_memory: 64 * KIB, ..KvConfig::default() });
    let (stopped, reading) = (server.connect(), server.connect());
    for listener in [&stopped, &reading] {
        send(listener, b"SUBSCRIBE a\r\n");
        expect_bytes(listener, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    }
    let message = "x".repeat(10_000);
    let frame = format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10000\r\n{message}\r\n");
    let mut publisher = Client::new(&server);
    let mut reached = 2;
    let mut count = 0;
    while reached == 2 {
        reached = publisher.ask(&format!("PUBLISH a {message}"))[1..].parse().unwrap();
        expect_bytes(&reading, frame.as_bytes());
        count += 1;
        assert!(count < 5_000, "it holds more than the kernel and the channel do");
    }
    expect_gone(&stopped);
    assert_eq!(server.stop().closed(CloseReason::SlowConsumer), 1);
}

#[test]
fn subscriptions_and_messages_have_limits() {
    let server =
        kv_with(KvConfig { subscriptions_max: 3, channel_memory: 8 * KIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    let refused = "-ERR max number of subscriptions of a client reached";
    assert_eq!(client.ask("SUBSCRIBE a b c d"), refused);
    assert_eq!(client.ask("PUBSUB NUMPAT"), ":0");
    assert_eq!(client.ask("SUBSCRIBE a b c"), "*3");
    (0..17).for_each(|_| drop(client.line()));
    assert_eq!(client.ask("PSUBSCRIBE d"), refused);
    let mut publisher = Client::new(&server);
    let reply = publisher.ask(&format!("PUBLISH a {}", "x".repeat(4_000)));
    assert_eq!(reply, "-ERR message is longer than a channel holds");
    let channel = "c".repeat(1_025);
    for command in ["PUBLISH", "SUBSCRIBE x"] {
        let reply = publisher.ask(&format!("{command} {channel} {channel}"));
        assert_eq!(reply, "-ERR channel name is too long", "{command}");
    }
    assert_eq!(publisher.ask(&format!("PUBLISH {} x", &channel[1..])), ":0");
    let pattern = "*".repeat(2_000);
    for command in ["KEYS", "PSUBSCRIBE", "PUBSUB CHANNELS", "CONFIG GET", "SCAN 0 MATCH"] {
        let reply = publisher.ask(&format!("{command} {pattern}"));
        assert_eq!(reply, "-ERR pattern is too long", "{command}");
    }
    server.stop();
}

// ---- connections ----

#[test]
fn client_kill_closes_whom_it_names() {
    let server = kv();
    let mut clients: Vec<Client> = (0..5).map(|_| Client::new(&server)).collect();
    let ids: Vec<String> = clients.iter_mut().map(|client| client.ask("CLIENT ID")).collect();
    let mut killer = clients.remove(0);
    clients[0].ask("CLIENT SETNAME first");
    let list = killer.bulk("CLIENT LIST");
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.contains(" name=first "), "{list}");
    assert_eq!(killer.ask(&format!("CLIENT KILL ID {}", &ids[1][1..])), ":1");
    expect_eof(&clients[0].stream);
    let address = clients[1].stream.local_addr().unwrap();
    assert_eq!(killer.ask(&format!("CLIENT KILL {address}")), "+OK");
    expect_eof(&clients[1].stream);
    send(&clients[2].stream, b"SUBSCRIBE a\r\n");
    expect_bytes(&clients[2].stream, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(killer.ask("CLIENT KILL TYPE pubsub"), ":1");
    expect_eof(&clients[2].stream);
    // Whoever is closed is gone, although its own end has not come yet.
    assert_eq!(killer.bulk("CLIENT LIST").lines().count(), 2);
    // The last one kills itself, and hears of it.
    send(&killer.stream, b"CLIENT KILL TYPE normal SKIPME no\r\nPING\r\n");
    expect_last_bytes(&killer.stream, b":2\r\n");
    expect_eof(&clients[3].stream);
    server.finish();
}

#[test]
fn hello_chooses_the_version_and_reset_goes_back_to_2() {
    let server = kv();
    let mut client = Client::new(&server);
    assert_eq!(client.ask("HELLO 4"), "-NOPROTO unsupported protocol version");
    for version in ["2", "3"] {
        let reply = client.list(&format!("HELLO {version} SETNAME me"));
        assert_eq!(reply[..6], ["server", "redis", "version", "7.0.15", "proto", version]);
        assert_eq!(client.bulk("CLIENT GETNAME"), "me");
        let list = client.bulk("CLIENT LIST");
        assert!(list.ends_with(&format!(" resp={version}\n")), "{list}");
    }
    assert_eq!(client.list("CONFIG GET databases"), ["databases", "16"]);
    assert_eq!(client.list("COMMAND DOCS get")[..2], ["get", "summary"]);
    // What is refused changes nothing, and the version of one connection is nobody else's.
    assert_eq!(client.ask("HELLO 2 nope"), "-ERR Syntax error in HELLO option 'nope'");
    let mut other = Client::new(&server);
    assert_eq!((client.ask("GET none").as_str(), other.ask("GET none").as_str()), ("_", "$-1"));
    assert_eq!(client.ask("RESET"), "+RESET");
    assert_eq!(client.ask("GET none"), "$-1");
    // The version counts from the reply on, in the middle of a batch.
    send(&client.stream, b"GET none\r\nHELLO 3\r\nGET none\r\nRESET\r\nGET none\r\n");
    assert_eq!(client.line(), "$-1");
    assert_eq!(client.line(), "%7");
    (0..25).for_each(|_| drop(client.line()));
    assert_eq!([client.line(), client.line(), client.line()], ["_", "+RESET", "$-1"]);
    server.stop();
}

#[test]
fn shutdown_answers_what_was_asked_and_closes_everybody() {
    let server = kv();
    let (busy, idle, listener) = (server.connect(), server.connect(), server.connect());
    send(&listener, b"SUBSCRIBE a\r\n");
    expect_bytes(&listener, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    send(&idle, b"PING\r\n");
    expect_bytes(&idle, b"+PONG\r\n");
    std::thread::scope(|scope| {
        // Goes on asking for as long as it is answered.
        scope.spawn(|| {
            let mut byte = [0; 7];
            while (&busy).write_all(b"PING\r\n").is_ok() && (&busy).read_exact(&mut byte).is_ok() {}
        });
        server.remote.run(|cx| cx.drain()).unwrap();
        expect_eof(&listener);
        expect_eof(&idle);
        drop((listener, idle));
        server.finish();
    });
}

#[test]
fn limits_can_be_changed_while_the_server_runs() {
    let server = kv_with(KvConfig { max_memory: MIB, ..KvConfig::default() });
    let mut client = Client::new(&server);
    assert_eq!(client.ask("CONFIG SET maxmemory 10kb max-subscriptions 2"), "+OK");
    assert_eq!(client.ask(&format!("SET a {}", "x".repeat(11_000))), "+OK");
    assert!(client.ask("SET b x").starts_with("-OOM "));
    assert!(client.ask("SUBSCRIBE a b c").starts_with("-ERR max number of subscriptions "));
    // All of it or nothing.
    let reply = client.ask("CONFIG SET max-subscriptions 1 transaction-memory 2gb");
    let text =
        "(possibly related to argument 'transaction-memory') - argument must be between 1 and";
    assert_eq!(reply, format!("-ERR CONFIG SET failed {text} 1073741824 inclusive"));
    assert_eq!(client.list("CONFIG GET max-sub*"), ["max-subscriptions", "2"]);
    // Whoever is on this machine may have more than was granted at the start.
    assert_eq!(client.ask("CONFIG SET maxmemory 2mb"), "+OK");
    assert_eq!(client.list("CONFIG GET maxmemory"), ["maxmemory", "2097152"]);
    assert_eq!(client.ask("CONFIG SET maxmemory 0 transaction-memory 1kb"), "+OK");
    assert_eq!(client.list("CONFIG GET maxmemory"), ["maxmemory", "1048576"]);
    assert_eq!(client.ask("SET b x"), "+OK");
    client.ask("MULTI");
    assert!(
        client.ask(&format!("ECHO {}", "x".repeat(1024))).starts_with("-ERR transaction takes")
    );
    server.stop();
}

#[test]
fn counters_begin_anew_when_they_are_reset() {
    let server = kv();
    let mut client = Client::new(&server);
    for line in ["SET a 1", "EXISTS a", "GET b"] {
        client.ask(line);
    }
    let field = |client: &mut Client, name: &str| -> u64 {
        let info = client.bulk("INFO stats");
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap().trim().parse().unwrap()
    };
    assert_eq!(field(&mut client, "keyspace_misses"), 1);
    assert!(field(&mut client, "total_net_output_bytes") > 100);
    assert_eq!(client.ask("CONFIG RESETSTAT"), "+OK");
    for name in ["keyspace_hits", "keyspace_misses", "total_connections_received"] {
        assert_eq!(field(&mut client, name), 0, "{name}");
    }
    server.stop();
}

#[test]
fn idle_timeout_spares_those_who_listen() {
    let config = Config {
        idle_timeout: Some(Duration::from_secs(1)),
        tick: Duration::from_millis(20),
        output_limit: 4 * MIB,
        ..Config::default()
    };
    let server = start(config.clone(), Kv::new(KvConfig::default(), &config).unwrap());
    let mut listeners: Vec<Client> = ["SUBSCRIBE a", "PSUBSCRIBE *"]
        .map(|line| {
            let mut client = Client::new(&server);
            client.list(line);
            client
        })
        .into();
    // Who has ceased to listen is idle again.
    let mut ceased = Client::new(&server);
    ceased.list("SUBSCRIBE a");
    ceased.list("UNSUBSCRIBE a");
    expect_eof(&server.connect());
    expect_eof(&ceased.stream);
    assert_eq!(Client::new(&server).ask("PUBLISH a hello"), ":2");
    for client in &mut listeners {
        let head = client.line();
        let mut found = Vec::new();
        client.collect(&head, &mut found);
        assert_eq!(found.last().unwrap(), "hello");
    }
    server.stop();
}

#[test]
fn info_tells_the_port_of_the_first_tcp_listener_and_0_where_there_is_none() {
    for has_tcp in [false, true] {
        let directory = common::directory::Directory::new();
        let path = directory.path("socket");
        let config = Config { output_limit: 4 * MIB, ..Config::default() };
        let handler = Kv::new(KvConfig::default(), &config).unwrap();
        let unix = Address::Unix(path.clone());
        let server = start_by(config, handler, move |reactor| {
            let options = ListenOptions::default();
            let unix = reactor.listen(&unix, &options).unwrap();
            let any = "127.0.0.1:0".parse().unwrap();
            if has_tcp { reactor.listen(&any, &options).unwrap() } else { unix }
        });
        let port = if has_tcp { server.socket_address().port() } else { 0 };
        let client = UnixStream::connect(path).unwrap();
        client.set_read_timeout(Some(common::PATIENCE)).unwrap();
        send(&client, b"INFO server\r\n");
        let mut lines = BufReader::new(&client).lines().map(Result::unwrap);
        let told = lines.find(|line| line.starts_with("tcp_port:")).unwrap();
        assert_eq!(told, format!("tcp_port:{port}"));
        server.stop();
    }
}

#[test]
fn client_that_was_killed_is_no_connected_one_though_it_does_not_go() {
    let server = kv();
    let others = [server.connect(), server.connect()];
    for other in &others {
        send(other, b"PING\r\n");
        expect_bytes(other, b"+PONG\r\n");
    }
    let mut client = Client::new(&server);
    assert_eq!(client.ask("CLIENT KILL SKIPME yes"), ":2");
    assert!(client.bulk("INFO clients").contains("connected_clients:1\r\n"));
    // Their own end is awaited, and counts once.
    others.iter().for_each(expect_eof);
    drop(others);
    assert!(client.bulk("INFO clients").contains("connected_clients:1\r\n"));
    server.stop();
}

#[test]
fn what_programs_that_watch_a_server_compute_with_is_there_and_moves() {
    let server = kv();
    let mut client = Client::new(&server);
    let value = |client: &mut Client, name: &str| -> String {
        let info = client.bulk("INFO");
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
    };
    let number = |client: &mut Client, name: &str| -> f64 { value(client, name).parse().unwrap() };
    assert_eq!(value(&mut client, "blocked_clients"), "0");
    assert_eq!(value(&mut client, "run_id").len(), 40);
    let empty = number(&mut client, "used_memory");
    client.ask(&format!("SET a {}", "x".repeat(50_000)));
    assert!(number(&mut client, "used_memory") > empty + 50_000.0);
    assert!(value(&mut client, "used_memory_human").ends_with('K'));
    client.ask("DEL a");
    assert_eq!(number(&mut client, "used_memory"), empty);
    assert!(number(&mut client, "used_memory_peak") > empty + 50_000.0);
    client.ask("GET a b");
    assert_eq!(number(&mut client, "total_error_replies"), 1.0);
    if cfg!(target_os = "linux") {
        assert!(number(&mut client, "used_memory_rss") > 1_000_000.0);
        assert!(number(&mut client, "used_cpu_user") >= 0.0);
    }
    let deadline = Instant::now() + common::PATIENCE;
    while number(&mut client, "instantaneous_ops_per_sec") < 10.0 {
        assert!(Instant::now() < deadline, "the rate does not rise");
    }
    for name in ["rejected_connections", "instantaneous_input_kbps", "master_repl_offset"] {
        number(&mut client, name);
    }
    server.stop();
}

/// The page is compared with what the server itself tells.
#[test]
fn page_of_commands_lists_each_of_them_with_what_it_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/kv-commands.md");
    let page = std::fs::read_to_string(path).unwrap();
    let page = page.split_once("\n## Limits").unwrap().0;
    let mut listed = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_lowercase().replacen(' ', "|", 1);
        assert!(listed.insert((name, cells[3].to_owned())), "{row}");
    }
    let server = kv();
    let mut client = Client::new(&server);
    let names = client.list("COMMAND LIST");
    let documented = names.into_iter().map(|name| {
        let reply = client.list(&format!("COMMAND DOCS {name}"));
        assert_eq!(reply[1], "summary");
        (name, reply[2].clone())
    });
    assert_eq!(listed, documented.collect());
    server.stop();
}

#[cfg(feature = "cli")]
#[test]
fn program_serves_redis_clients_and_refuses_limits_that_do_not_fit() {
    use std::process::Command;
    let program = common::program::Program::start("kv --max-memory 1MiB");
    let mut client = Client::of(program.connect());
    assert_eq!(client.ask("SET a 1"), "+OK");
    assert_eq!(client.list("CONFIG GET maxmemory"), ["maxmemory", "1048576"]);
    assert_eq!(client.list("CONFIG GET proto-max-bulk-len"), ["proto-max-bulk-len", "1048576"]);
    let mut command = Command::new(common::program::PROGRAM);
    let output = command.args(["kv", "--input-limit", "4MiB"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let start = "edgeloop: --output-limit, which was not given, is 4MiB; for replies with values of \
                 --input-limit 4MiB it must be";
    assert!(text.starts_with(start) && text.lines().count() == 1, "{text}");
}

// ---- vocabulary ----

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
    [head.as_bytes(), value, b"\r\n"].concat()
}
