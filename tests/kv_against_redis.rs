//! The same requests to this server and to Redis, and the same bytes back: errors, wrong numbers of
//! arguments, numbers out of range, quoting of inline commands, the ends of streams; in both versions
//! of the protocol.
//!
//! How it is done: requests are generated from a seed and sent to both; `KV_SEEDS` says how many
//! seeds. Needs `redis-server` 7.0 and says so where there is none. What differs on purpose is in
//! docs/reference/kv-commands.md and not sent here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Random, Server, start_on, variables};
use edgeloop::Config;
use edgeloop::service::{Kv, KvConfig};

#[test]
fn generated_commands_are_answered_as_redis_answers_them() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let seeds = variables::number("KV_SEEDS").unwrap_or(40);
    for (seed, version) in (0..seeds).flat_map(|seed| [(seed, 2), (seed, 3)]) {
        let (mut theirs, mut ours) = (redis.connect_in(version), ours.connect_in(version));
        for stream in [&mut theirs, &mut ours] {
            stream.ask(&request(&[b"FLUSHALL"]));
        }
        let mut random = Random::new(seed);
        let mut history = String::new();
        for _ in 0..200 {
            let words = generate(&mut random);
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            history.push_str(&format!("{}\n", show(&words)));
            let request = request(&words);
            let (expected, found) = (theirs.ask(&request), ours.ask(&request));
            assert!(
                is_same(words[0], &expected, &found),
                "seed {seed} in version {version}, after\n{history}Redis says {}\nwe say     {}",
                expected.escape_ascii(),
                found.escape_ascii()
            );
        }
    }
}

/// Numbers of every form and size, and some that are none. Both add in the 80-bit format of x86.
#[test]
fn sums_of_numbers_with_a_fraction_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    if cfg!(not(target_arch = "x86_64")) {
        return println!("skipped: the `long double` of Redis is another one here");
    }
    let ours = Ours::start();
    let (mut theirs, mut ours) = (redis.connect(), ours.connect());
    let mut random = Random::new(1);
    for _ in 0..3_000 {
        let (value, by) = (number(&mut random), number(&mut random));
        for words in [[b"SET".as_slice(), b"f", &value], [b"INCRBYFLOAT", b"f", &by]] {
            let request = request(&words);
            let (expected, found) = (theirs.ask(&request), ours.ask(&request));
            assert_eq!(
                found.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{} and {}",
                value.escape_ascii(),
                by.escape_ascii()
            );
        }
    }
}

/// Who says it, in which version, and what; a reply may be an error with the same words.
#[cfg(feature = "identity")]
#[test]
fn passwords_and_users_are_answered_as_redis_answers_them() {
    use edgeloop::service::Users;
    let Some(redis) = Redis::start() else { return };
    let rules = [
        "on >open-sesame ~* &* +@all",
        "on >alice-secret ~a:* %R~r:* %W~w:* &news.* +@all -@dangerous -select",
        "off >carl-secret ~* +@all",
        "on nopass +@connection +acl|whoami +acl|cat",
    ];
    let mut admin = redis.connect();
    let mut file = String::new();
    for (name, rules) in ["default", "alice", "carl", "guest"].into_iter().zip(rules) {
        let rest = if name == "default" { "reset " } else { "" };
        let set = admin.ask(format!("ACL SETUSER {name} {rest}{rules}\r\n").as_bytes());
        assert_eq!(set, b"+OK\r\n");
        file.push_str(&format!("user {name} {rest}{rules}\n"));
    }
    let config = KvConfig { users: Users::parse(&file).unwrap().0, ..KvConfig::default() };
    let ours = Ours::start_with(config);
    for script in IDENTITY_SCRIPTS.split("\n\n") {
        let (mut theirs, mut ours) = (redis.connect(), ours.connect());
        for line in script.lines().filter(|line| !line.is_empty()) {
            let line = format!("{line}\r\n");
            let (expected, found) = (theirs.ask(line.as_bytes()), ours.ask(line.as_bytes()));
            // Each has numbers of its own for its clients.
            let same = [&expected, &found].map(|it| without_id(it).escape_ascii().to_string());
            assert_eq!(same[1], same[0], "{line} of\n{script}");
        }
    }
}

#[cfg(feature = "identity")]
const IDENTITY_SCRIPTS: &str = "\
GET k
nonsense
GET
MULTI
EXEC
PING
SUBSCRIBE c
COMMAND COUNT
CLIENT ID
ACL WHOAMI
HELLO
HELLO 3
HELLO 3 SETNAME x
HELLO 4 AUTH default open-sesame
HELLO 3 AUTH default
RESET
AUTH a b c
AUTH open-sesame
GET k
ACL WHOAMI
ACL USERS
RESET
GET k
QUIT

HELLO 3 AUTH alice alice-secret SETNAME al
ACL WHOAMI
CLIENT GETNAME

AUTH open-sesame
CLIENT KILL USER nobody
ACL CAT nosuch
ACL CAT transaction x
ACL nosuch
ACL
CONFIG GET requirepas

AUTH carl carl-secret

AUTH guest whatever
AUTH default
GET k
CLIENT ID x
ACL WHOAMI x
RESET
GET k

AUTH alice alice-secret
ACL WHOAMI
ACL USERS
SET a:1 1
SET b 1
GET r:1
GET w:1
SET w:1 1
SET w:1 1 GET
SET r:1 1
INCR a:1
INCR w:1
APPEND w:1 x
APPEND r:1 x
STRLEN r:1
STRLEN w:1
STRLEN b
EXISTS r:1 w:1
EXISTS r:1 b
TYPE w:1
TTL w:1
TTL r:1
EXPIRE w:1 100
EXPIRE r:1 100
DEL w:1
DEL r:1
UNLINK w:1 r:1
COPY r:1 w:1
COPY w:1 a:1
COPY a:1 r:1
RENAME a:none w:1
RENAME w:1 a:1
RENAMENX r:1 a:1
BITOP AND w:1 r:1 r:2
BITOP AND r:1 r:1
BITOP NOT w:1 w:2
BITCOUNT r:1
SETRANGE w:1 0 x
GETRANGE w:1 0 1
GETSET w:1 x
GETDEL w:1
GETEX w:1
MGET a:1 r:1
MGET a:1 w:1
MSET a:1 1 w:1 2
MSET a:1 1 r:1 2
MSETNX w:1 1 w:2 2
SETEX w:1 1 x
SETNX r:1 x
PERSIST w:1
LCS r:1 r:2
LCS r:1 w:1
OBJECT ENCODING b
OBJECT REFCOUNT w:none
MEMORY USAGE b
WATCH r:1 w:1
WATCH b
UNWATCH
KEYS *
FLUSHALL
INFO
CONFIG GET maxmemory
CONFIG nosuch
SELECT 1
CLIENT LIST
CLIENT KILL ID 1
DBSIZE
PUBLISH news.a m
PUBLISH x m
SPUBLISH x m
SUBSCRIBE x
SUBSCRIBE news.a x
PSUBSCRIBE news.*
PSUBSCRIBE news.a
SSUBSCRIBE x
PUNSUBSCRIBE news.*
UNSUBSCRIBE x
MULTI
SET a:1 7
SET b 7
EXEC
GET a:1
MULTI
FLUSHALL
EXEC
MULTI
SET a:1 8
AUTH guest x
SET a:1 9
GET a:1
EXEC
GET a:1
";

/// Rules drawn at random: both take them or refuse them, and then both permit the same.
#[cfg(feature = "identity")]
#[test]
fn rules_of_users_permit_what_they_permit_in_redis() {
    use edgeloop::service::Users;
    const RULES: &[&str] = &[
        "~a*",
        "~b?",
        "%R~c*",
        "%W~c*",
        "%RW~[de]",
        "~*",
        "allkeys",
        "resetkeys",
        "&x",
        "&y*",
        "&*",
        "allchannels",
        "resetchannels",
        "+get",
        "-get",
        "+GET",
        "+set",
        "-set",
        "+mget",
        "+config|get",
        "-config|set",
        "+config",
        "-config",
        "+@read",
        "-@read",
        "+@write",
        "+@fast",
        "-@fast",
        "-@slow",
        "+@dangerous",
        "-@DANGEROUS",
        "+@all",
        "-@all",
        "allcommands",
        "nocommands",
        "+@keyspace",
        "+@connection",
        "-@connection",
        "+@transaction",
        "+@pubsub",
        "-@admin",
        "+@string",
        "+@bitmap",
        "+@hash",
        "reset",
        "on",
        "nopass",
        "+nosuch",
        "+@nosuch",
        "+config|nosuch",
        "~",
        "%X~a",
        "nosuch",
        "sanitize-payload",
    ];
    const COMMANDS: &[&str] = &[
        "GET a1",
        "GET b1",
        "GET c1",
        "GET d",
        "SET a1 v",
        "SET c1 v",
        "SET c1 v GET",
        "MGET a1 b1",
        "MGET a1 zz",
        "DEL c1",
        "EXISTS zz",
        "CONFIG GET save",
        "CONFIG SET save x",
        "KEYS *",
        "FLUSHDB",
        "PING",
        "ECHO x",
        "CLIENT ID",
        "CLIENT LIST",
        "PUBLISH x m",
        "PUBLISH y1 m",
        "PUBLISH z m",
        "GETBIT a1 1",
        "TIME",
        "INFO",
        "DBSIZE",
        "COPY a1 b1",
        "COPY c1 c2",
        "RENAME a1 c1",
        "MULTI",
    ];
    let Some(redis) = Redis::start() else { return };
    let mut theirs = redis.connect();
    let (mut random, mut taken) = (Random::new(1), 0);
    for _ in 0..300 {
        let count = random.below(7);
        let rules: Vec<_> = (0..count).map(|_| RULES[random.below(RULES.len())]).collect();
        let rules = rules.join(" ");
        let set = theirs.ask(format!("ACL SETUSER u reset {rules} on nopass\r\n").as_bytes());
        let users = Users::parse(&format!("user u {rules} on nopass\n"));
        assert_eq!(users.is_ok(), set == b"+OK\r\n", "{rules}: {users:?} {}", set.escape_ascii());
        let Ok((users, _)) = users else { continue };
        taken += 1;
        let ours = Ours::start_with(KvConfig { users, ..KvConfig::default() });
        for command in COMMANDS {
            let dry = theirs.ask(format!("ACL DRYRUN u {command}\r\n").as_bytes());
            let mut ours = ours.connect();
            ours.ask(b"AUTH u x\r\n");
            let found = ours.ask(format!("{command}\r\n").as_bytes());
            let is_permitted = !found.starts_with(b"-NOPERM");
            assert_eq!(
                is_permitted,
                dry == b"+OK\r\n",
                "{command} by {rules}: {}",
                dry.escape_ascii()
            );
        }
    }
    assert!(taken > 100, "{taken} rules were taken");
}

#[cfg(feature = "identity")]
#[test]
fn categories_of_commands_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let server = Ours::start();
    let (mut theirs, mut ours) = (redis.connect(), server.connect());
    let names = |reply: &[u8]| -> std::collections::BTreeSet<String> {
        let text = String::from_utf8(reply.to_vec()).unwrap();
        text.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
    };
    let categories = names(&theirs.ask(b"ACL CAT\r\n"));
    assert_eq!(names(&ours.ask(b"ACL CAT\r\n")), categories);
    let own = names(&ours.ask(b"COMMAND LIST\r\n"));
    for category in categories {
        let ask = format!("ACL CAT {category}\r\n");
        let expected = names(&theirs.ask(ask.as_bytes()));
        let expected: Vec<_> = expected.intersection(&own).collect();
        let found = names(&ours.ask(ask.as_bytes()));
        // Two that are newer than 7.0.
        let newer = ["client|no-touch", "client|setinfo"];
        let found: Vec<_> = found.iter().filter(|it| !newer.contains(&it.as_str())).collect();
        assert_eq!(found, expected, "{category}");
    }
}

fn number(random: &mut Random) -> Vec<u8> {
    let digits = |random: &mut Random, most: usize| -> String {
        let count = random.below(most);
        (0..count).map(|_| char::from(b'0' + random.below(10) as u8)).collect()
    };
    let mut text = ["", "", "-", "+"][random.below(4)].to_owned();
    match random.below(12) {
        0 => {
            text.push_str(["inf", "-inf", "nan", "Infinity", "0x", "1e", "", "."][random.below(8)])
        }
        1 => {
            let bits = random.below(usize::MAX);
            text.push_str(&format!(
                "0x{bits:x}.{:x}p{}",
                random.below(999),
                random.below(90) as i32 - 70
            ));
        }
        // Between two numbers of the format, or next to such a place.
        2 => text.push_str(&(u64::MAX - random.below(9) as u64).to_string()),
        form => {
            text.push_str(&digits(random, 20));
            if form > 4 {
                text.push('.');
                text.push_str(&digits(random, 25));
            }
            if form > 8 {
                let far = if random.below(9) == 0 { 5_100 } else { 40 };
                text.push_str(&format!("e{}", random.below(2 * far) as i32 - far as i32));
            }
        }
    }
    let mut text = text.into_bytes();
    if random.below(30) == 0 {
        let at = random.below(text.len() + 1);
        text.insert(at, b" x\0e.-_"[random.below(7)]);
    }
    text
}

#[test]
fn longest_common_subsequence_is_the_one_that_redis_finds() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let (mut theirs, mut ours) = (redis.connect_in(3), ours.connect_in(3));
    let mut random = Random::new(1);
    for _ in 0..300 {
        let letters = 1 + random.below(5);
        let mut value = || -> Vec<u8> {
            let len = random.below(150);
            (0..len).map(|_| b'a' + random.below(letters) as u8).collect()
        };
        let [a, b] = [value(), value()];
        let options = ["", "LEN", "IDX", "IDX WITHMATCHLEN", "IDX MINMATCHLEN 3 WITHMATCHLEN"];
        let set = request(&[b"MSET", b"a", &a, b"b", &b]);
        assert_eq!(ours.ask(&set), theirs.ask(&set));
        for options in options {
            let ask = format!("LCS a b {options}\r\n");
            let (expected, found) = (theirs.ask(ask.as_bytes()), ours.ask(ask.as_bytes()));
            assert_eq!(
                found.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{options} of {} and {}",
                a.escape_ascii(),
                b.escape_ascii()
            );
        }
    }
}

#[test]
fn reads_are_counted_as_in_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let (mut theirs, mut ours) = (redis.connect(), ours.connect());
    for line in [
        "SET a 1",
        "GETEX a",
        "GETEX none",
        "GETRANGE a 0 1",
        "SUBSTR none 0 1",
        "GETBIT a 1",
        "GETBIT none 1",
        "BITCOUNT a",
        "BITPOS none 1",
        "BITOP OR to a none a",
        "LCS a none",
        "COPY a b",
        "COPY none b",
        "COPY a b",
        "COPY a b REPLACE",
        "RENAME b c",
        "RENAME none c",
        "SETBIT a 1 1",
        "SETBIT none 1 1",
        "SETRANGE a 1 x",
        "INCRBYFLOAT f 1",
        "OBJECT ENCODING a",
        "OBJECT ENCODING no",
        "OBJECT REFCOUNT a",
        "OBJECT FREQ a",
        "MEMORY USAGE a",
        "RANDOMKEY",
        "STRLEN a",
        "TYPE a",
        "TTL a",
        "TTL none",
        "EXPIRETIME a",
        "MGET a none",
        "EXISTS a none",
        "TOUCH a none",
        "GETDEL c",
        "GETDEL c",
        "GETSET a x",
        "GETSET none2 x",
        "SET a y GET",
        "APPEND a x",
        "INCR n",
        "EXPIRE a 100",
        "PERSIST a",
        "DEL a",
        "UNLINK none",
        "SETNX a 1",
        "MSETNX a 1 q 1",
        "SCAN 0 COUNT 100",
        "KEYS *",
        "WATCH a none",
    ] {
        let [expected, found] = [&mut theirs, &mut ours].map(|peer| {
            peer.ask(format!("{line}\r\n").as_bytes());
            let stats = peer.ask(b"INFO stats\r\n");
            let stats = String::from_utf8(stats).unwrap();
            let counts = stats.lines().filter(|line| line.starts_with("keyspace_"));
            counts.map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "after `{line}`");
    }
}

/// Those flags are compared that mean something here.
#[test]
fn commands_take_what_they_take_in_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let (mut theirs, mut ours) = (redis.connect(), ours.connect());
    let names = elements(&ours.ask(b"COMMAND LIST\r\n"));
    assert!(names.len() > 90, "{names:?}");
    // Redis has the first two since 7.2, and clients ask for them; the last is refused in a transaction.
    let differ = ["client|setinfo", "client|no-touch", "client|reply"];
    for name in names.iter().filter(|name| !differ.contains(&name.as_str())) {
        let ask = format!("COMMAND INFO {name}\r\n");
        let [expected, found] =
            [&mut theirs, &mut ours].map(|peer| what_it_takes(&peer.ask(ask.as_bytes())));
        assert_eq!(found, expected, "{name}");
    }
    // Of the categories those that follow from what is known here.
    for category in [
        "write",
        "read",
        "fast",
        "slow",
        "admin",
        "dangerous",
        "pubsub",
        "keyspace",
        "transaction",
        "string",
        "bitmap",
        "connection",
        "nope",
    ] {
        let ask = format!("COMMAND LIST FILTERBY ACLCAT {category}\r\n");
        let [expected, found] = [&mut theirs, &mut ours].map(|peer| {
            let mut listed = elements(&peer.ask(ask.as_bytes()));
            listed.retain(|name| names.contains(name) && !differ.contains(&name.as_str()));
            listed.sort();
            listed
        });
        assert_eq!(found, expected, "{category}");
    }
}

/// The first seven elements that tell of a command, the flags in order.
fn what_it_takes(reply: &[u8]) -> Vec<String> {
    const KNOWN: [&str; 9] =
        ["write", "readonly", "denyoom", "admin", "pubsub", "loading", "stale", "fast", "no_multi"];
    let parts = elements(reply);
    let flags: usize = parts.iter().skip(2).take_while(|part| part.parse::<i64>().is_err()).count();
    let mut told: Vec<String> =
        parts[2..2 + flags].iter().filter(|flag| KNOWN.contains(&flag.as_str())).cloned().collect();
    told.sort();
    told.extend(parts[..2].iter().chain(&parts[2 + flags..5 + flags]).cloned());
    told
}

/// Texts and numbers of a reply without the arrays that they stand in.
fn elements(reply: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(reply);
    let lines = text.lines().filter(|line| !line.starts_with(['*', '$']));
    lines.map(|line| line.trim_start_matches([':', '+']).to_owned()).collect()
}

#[test]
fn options_and_errors_of_commands_that_are_asked_for_once_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    for version in [2, 3] {
        let (mut theirs, mut ours) = (redis.connect_in(version), ours.connect_in(version));
        let mut ask = |line: &str| {
            let request = format!("{line}\r\n");
            let (expected, found) = (theirs.ask(request.as_bytes()), ours.ask(request.as_bytes()));
            let name = line.split(' ').next().unwrap();
            assert!(
                is_same(name.as_bytes(), &expected, &found),
                "`{line}` in version {version}: Redis says {}, we say {}",
                expected.escape_ascii(),
                found.escape_ascii()
            );
        };
        ask("FLUSHALL");
        // Some of the cases change the version.
        for line in CASES.lines().filter(|line| !line.is_empty()) {
            ask(line);
            ask(&format!("HELLO {version}"));
        }
        ask("RESET");
        ask("GET nokey");
    }
}

/// Whole streams, until the server ends them.
#[test]
fn streams_end_as_they_end_in_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let long = "x".repeat(70_000);
    let streams: [&[u8]; 36] = [
        b"",
        b"PING",
        b"PING\r\nPING\n\r\n\nPING\r\n",
        b"*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n*1\r\n$4\r\nping\r\n",
        b"*1\r\n$4\r\nPI",
        b"*x\r\n",
        b"PING\r\n*1x\r\nPING\r\n",
        b"*1048577000000\r\n",
        b"*1\r\n:4\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\n\r\n",
        b"*2\r\n$4\r\nECHO\r\n$x\r\n",
        b"*2\r\n$4\r\nECHO\r\n$-1\r\n",
        b"*2\r\n$4\r\nECHO\r\n$999999999999\r\n",
        b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        b"*2\r\n$4\r\nECHO\r\n$6\r\na\r\nb\r\n\r\n",
        b"*2\r\n$4\r\nECHO\r\n$4\r\n\0\xff\x80\n\r\n",
        b"ECHO \"a b\"\r\n",
        b"ECHO \"\\x41\\n\\\\\\q\"\r\nECHO 'it\\'s'\r\n",
        b"ECHO \"unbalanced\r\nPING\r\n",
        b"ECHO 'a'b\r\n",
        b"ECHO \"\"\r\nECHO ''\r\n",
        b"ECHO pre\"fix ed\"\r\n",
        b"  ECHO \t tab\r\n",
        b"ECHO \x0bv\x0bt\x0c\r\n",
        b"QUIT\r\nPING\r\n",
        b"*1\r\n$4\r\nquit\r\n*1\r\n$4\r\nPING\r\n",
        long.as_bytes(),
        b"CLIENT REPLY SKIP\r\nPING 1\r\nPING 2\r\n",
        b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING 1\r\nPING 2\r\n",
        b"CLIENT REPLY SKIP\r\nNOPE\r\nPING 2\r\n",
        b"CLIENT REPLY OFF\r\nPING 1\r\nCLIENT REPLY SKIP\r\nPING 2\r\nGET\r\nCLIENT REPLY ON\r\nPING 3\r\n",
        b"CLIENT REPLY SKIP\r\nCLIENT REPLY OFF\r\nPING 1\r\nCLIENT REPLY ON\r\nPING 2\r\n",
        b"CLIENT REPLY OFF\r\nPING 1\r\nRESET\r\nPING 2\r\n",
        b"CLIENT REPLY OFF\r\nMULTI\r\nPING 1\r\nEXEC\r\nSUBSCRIBE a\r\nPING 2\r\nUNSUBSCRIBE\r\nPING 3\r\nQUIT\r\n",
        b"MULTI\r\nCLIENT REPLY x y\r\nEXEC\r\n",
    ];
    for stream in streams {
        let [expected, found] = [redis.connect(), ours.connect()].map(|mut peer| {
            // A server that has closed takes no more.
            let _ = peer.0.write_all(stream);
            let _ = peer.0.shutdown(Shutdown::Write);
            peer.read_to_end()
        });
        let start = &stream[..stream.len().min(60)];
        assert_eq!(
            found.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "after `{}`",
            start.escape_ascii()
        );
    }
}

#[test]
fn subscriptions_are_answered_as_in_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    for version in [2, 3] {
        let theirs = subscribe_and_publish(redis.connect_in(version), redis.connect(), version);
        let ours = subscribe_and_publish(ours.connect_in(version), ours.connect(), version);
        assert_eq!(ours, theirs, "version {version}");
    }
}

/// Each line is one story, told on a connection of its own.
#[test]
fn transactions_are_answered_as_in_redis() {
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    let stories = |version| TRANSACTIONS.lines().map(move |story| (version, story));
    for (version, story) in [2, 3].into_iter().flat_map(stories) {
        let told = |mut peer: Peer| -> Vec<String> {
            peer.ask(b"FLUSHALL\r\n");
            let lines = story.split(" | ").map(|line| format!("{line}\r\n"));
            let answers = lines.map(|line| without_id(&peer.ask(line.as_bytes())));
            answers.map(|answer| String::from_utf8(answer).unwrap()).collect()
        };
        let (expected, found) = (told(redis.connect_in(version)), told(ours.connect_in(version)));
        assert_eq!(found, expected, "`{story}` in version {version}");
    }
}

/// Two clients that write to the keys which they watch, in turns.
#[test]
fn generated_transactions_are_answered_as_in_redis() {
    const LINES: &[&str] = &[
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH a",
        "WATCH a b",
        "WATCH c",
        "UNWATCH",
        "SET a 1",
        "SET b 2 EX 1000",
        "GET a",
        "DEL a b",
        "INCR c",
        "INCR b",
        "EXPIRE a 1000",
        "PERSIST b",
        "EXPIRE b -1",
        "FLUSHDB",
        "FLUSHALL",
        "SELECT 0",
        "SELECT 0",
        "SELECT 1",
        "MSETNX a 1 c 2",
        "GETDEL c",
        "APPEND a x",
        "SETRANGE a 3 x",
        "SETBIT b 9 1",
        "INCRBYFLOAT c 0.5",
        "RENAME a b",
        "RENAME b a",
        "COPY c a",
        "COPY a b REPLACE DB 1",
        "GETEX b EX 1000",
        "NOPE",
        "GET",
        "RESET",
        "DBSIZE",
    ];
    let Some(redis) = Redis::start() else { return };
    let ours = Ours::start();
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut theirs = [redis.connect(), redis.connect()];
        let mut ours = [ours.connect(), ours.connect()];
        let mut history = String::new();
        theirs[0].ask(b"FLUSHALL\r\n");
        ours[0].ask(b"FLUSHALL\r\n");
        for _ in 0..200 {
            let (peer, line) = (random.below(2), LINES[random.below(LINES.len())]);
            history.push_str(&format!("{peer}: {line}\n"));
            let line = format!("{line}\r\n");
            let (expected, found) =
                (theirs[peer].ask(line.as_bytes()), ours[peer].ask(line.as_bytes()));
            assert_eq!(
                found.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "seed {seed}, after\n{history}"
            );
        }
    }
}

/// All that the listener and the publisher are told.
fn subscribe_and_publish(mut listener: Peer, mut publisher: Peer, version: i32) -> Vec<String> {
    let mut answers = Vec::new();
    let mut ask = |line: &str, count: usize| {
        listener.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        (0..count).for_each(|_| answers.push(listener.reply()));
    };
    ask("UNSUBSCRIBE", 1);
    ask("PUNSUBSCRIBE x", 1);
    ask("SUBSCRIBE a b a", 3);
    ask("PSUBSCRIBE h?llo", 1);
    ask("PING", 1);
    ask("PING text", 1);
    ask("GET a", 1);
    ask("CLIENT GETNAME", 1);
    ask("SUBSCRIBE", 1);
    if version == 2 {
        ask("PUBLISH a b", 1);
        ask("HELLO 3", 1);
    } else {
        ask("PUBLISH nobody b", 1);
        ask("HELLO 4", 1);
    }
    ask("UNSUBSCRIBE b nobody", 2);
    ask("SSUBSCRIBE s a s", 3);
    ask("SUNSUBSCRIBE a nobody", 2);
    ask("SSUBSCRIBE", 1);
    for line in [
        "PUBSUB CHANNELS",
        "PUBSUB NUMSUB a b",
        "PUBSUB NUMPAT",
        "PUBLISH a one",
        "PUBLISH hello two",
        "PUBLISH b three",
        "PUBSUB CHANNELS z*",
        "PUBLISH x",
        "PUBLISH s nobody",
        "SPUBLISH a nobody",
        "SPUBLISH s four",
        "SPUBLISH s",
        "PUBSUB SHARDCHANNELS",
        "PUBSUB SHARDCHANNELS z*",
        "PUBSUB SHARDCHANNELS a b",
        "PUBSUB SHARDNUMSUB s a",
        "PUBSUB SHARDNUMSUB",
    ] {
        answers.push(publisher.ask(format!("{line}\r\n").as_bytes()));
    }
    (0..3).for_each(|_| answers.push(listener.reply()));
    let mut ask = |line: &str, count: usize| {
        listener.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        (0..count).for_each(|_| answers.push(listener.reply()));
    };
    ask("PUNSUBSCRIBE", 1);
    ask("UNSUBSCRIBE", 1);
    ask("PING", 1);
    ask("SUNSUBSCRIBE", 1);
    ask("SUNSUBSCRIBE", 1);
    ask("GET a", 1);
    ask("SUBSCRIBE a", 1);
    ask("SSUBSCRIBE a", 1);
    ask("RESET", 1);
    ask("GET a", 1);
    answers.push(publisher.ask(b"PUBLISH a nobody\r\n"));
    answers.push(publisher.ask(b"SPUBLISH a nobody\r\n"));
    answers.iter().map(|answer| answer.escape_ascii().to_string()).collect()
}

// ---- what is asked ----

const CASES: &str = r#"
CLIENT
CLIENT nope
CLIENT ID x
CLIENT SETNAME
CLIENT SETNAME "a b"
CLIENT GETNAME
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME ""
CLIENT GETNAME
CLIENT KILL
CLIENT KILL 1.2.3.4:5
CLIENT KILL ID x
CLIENT KILL ID 0
CLIENT KILL ID 999999
CLIENT KILL TYPE x
CLIENT KILL TYPE pubsub
CLIENT KILL ID 5 x
CLIENT KILL ADDR x:1
CLIENT KILL USER nobody
CLIENT KILL SKIPME maybe
CLIENT KILL foo x
CLIENT LIST TYPE foo
CLIENT LIST TYPE pubsub
CLIENT LIST ID x
CLIENT LIST ID 999999
CLIENT LIST x
CLIENT NO-EVICT on
CLIENT NO-EVICT x
CONFIG
CONFIG foo
CONFIG GET
CONFIG GET nope
CONFIG GET save
CONFIG GET appendonly
CONFIG GET SAV[E]
CONFIG SET
CONFIG SET a
CONFIG SET a b c
CONFIG SET nope x
CONFIG SET maxmemory 1 nope x
CONFIG SET maxmemory x
CONFIG SET maxmemory -1
CONFIG SET maxmemory 1kbb
CONFIG SET maxmemory 1mb maxmemory 1
CONFIG SET databases 3
CONFIG SET databases 16
CONFIG SET maxmemory-policy noeviction
CONFIG SET maxmemory-POLICY NoEviction SAVE "" appendonly no
CONFIG SET maxmemory 100mb
CONFIG GET maxmemory
CONFIG SET MAXMEMORY 20M
CONFIG GET maxmemory
CONFIG SET maxmemory 0
CONFIG RESETSTAT
CONFIG RESETSTAT x
PUBSUB
PUBSUB x
PUBSUB NUMPAT x
COMMAND foo
COMMAND COUNT x
COMMAND INFO nope
COMMAND DOCS nope
COMMAND GETKEYS
COMMAND GETKEYS GET
COMMAND GETKEYS GET a
COMMAND GETKEYS PING
COMMAND GETKEYS foo bar
COMMAND GETKEYS mset a 1 b 2
COMMAND GETKEYS CLIENT ID
COMMAND GETKEYS CLIENT nope x
COMMAND GETKEYS MGET a b c
COMMAND GETKEYS SET a
COMMAND GETKEYS ECHO x
COMMAND GETKEYS WATCH a b
COMMAND LIST x
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY PATTERN
COMMAND LIST FILTERBY x y
COMMAND LIST FILTERBY PATTERN xx*
COMMAND LIST FILTERBY PATTERN MUL*
COMMAND LIST FILTERBY pattern client|re*
COMMAND LIST FILTERBY MODULE x
COMMAND LIST FILTERBY ACLCAT nope
COMMAND LIST FILTERBY ACLCAT transaction
CLIENT REPLY
CLIENT REPLY x
CLIENT REPLY on
COMMAND INFO nope nope
CONFIG GET save appendonly
PUBSUB CHANNELS
PUBSUB NUMSUB a b
HELLO 3x
HELLO 3 x
HELLO 3 SETNAME "x y"
HELLO 3 AUTH u x
HELLO 1
HELLO 4
HELLO 2 x
HELLO 2 SETNAME
HELLO 2 SETNAME "x y"
HELLO 2 AUTH u x
HELLO 2 AUTH u
AUTH x
AUTH default x
AUTH u x
AUTH a b c
SELECT
SELECT x
SELECT 0
SELECT 1
SET only here
DBSIZE
SELECT 15
DBSIZE
SELECT 16
SELECT 1
GET only
SELECT 2
SET other there
FLUSHDB
SELECT 1
GET only
SELECT 0
GET only
SELECT -1
SELECT 99999999999
PING a
PING a b
ECHO
ECHO a b
DBSIZE x
DBSIZE
SET one 1
SET two 2
DBSIZE
SCAN x
SCAN 0 COUNT 0
SCAN 0 COUNT -1
SCAN 0 COUNT x
SCAN 0 foo
SCAN 0 foo bar
SCAN 0 MATCH
SCAN 0 TYPE hash
SCAN 0 MATCH none* COUNT 100
SCAN " 0"
SCAN "0 "
SCAN 18446744073709551616
SCAN ""
SCAN -
EXPIRE a x
EXPIRE a 1 zz
EXPIRE a 1 nx xx
EXPIRE a 1 gt lt
EXPIRE a 1 "z\r\nz"
FLUSHALL x
FLUSHALL ASYNC x
FLUSHALL ASYNC
FLUSHDB SYNC
INFO nope
RESET x
TIME x
nope
nope a "b c" "\r\n" "\x00"
"\r\n"
TTL
TYPE nokey
MSET a
MSET a b c
MSETNX a b c
"GET " a
FLUSHALL
RANDOMKEY
RANDOMKEY x
SET one hello
RANDOMKEY
RENAME
RENAME none two
RENAME none none
RENAME one one
RENAMENX one one
RENAMENX none none
EXPIRE one 100000
RENAME one "a longer name"
TTL one
TTL "a longer name"
RENAME "a longer name" one
SET two x
RENAMENX one two
RENAME one two
TTL two
MGET one two
COPY
COPY none one
COPY none none
COPY two two
COPY two two REPLACE
COPY two one
COPY two one
COPY two one REPLACE
COPY two one replace REPLACE DB 0
COPY two one DB
COPY two one DB x
COPY two one DB 99999999999
COPY two one DB -1
COPY two one DB 0 foo
COPY two one DB 16
COPY two two DB 3
COPY two two DB 3
EXPIRE two 100000
COPY two two DB 3 REPLACE
SELECT 3
TTL two
RENAME two other
COPY other two DB 0
COPY other two DB 3
FLUSHDB
SELECT 0
COPY none one foo
TTL one
GETEX
GETEX none
GETEX none EX x
GETEX none foo
GETEX one EX
GETEX one EX 0
GETEX one EX x
GETEX one PX -1
GETEX one EX 9223372036854775807
GETEX one EX 100 PX 100
GETEX one EX 100 PERSIST
GETEX one PERSIST PERSIST
TTL one
GETEX one KEEPTTL
GETEX one NX
GETEX one EX 50 ex 200000
TTL one
GETEX one PXAT 4102444800000
PEXPIRETIME one
GETEX one EXAT 1
EXISTS one
INCRBYFLOAT
INCRBYFLOAT f 10.50
INCRBYFLOAT f 0.1
INCRBYFLOAT f -5
INCRBYFLOAT f 5.0e3
INCRBYFLOAT f inf
INCRBYFLOAT f -inf
INCRBYFLOAT f nan
INCRBYFLOAT f " 1"
INCRBYFLOAT f "1 "
INCRBYFLOAT f ""
INCRBYFLOAT f 1.7e4932
INCRBYFLOAT f 1.7e4932
INCRBYFLOAT f -1.1e4932
INCRBYFLOAT two 1
GET two
GETRANGE
GETRANGE two 0
GETRANGE two 0 x
GETRANGE none 0 x
GETRANGE none 0 -1
SUBSTR two 1 2
GETRANGE two -100 -99
GETRANGE two -99 -100
SETRANGE two x y
SETRANGE two -1 y
SETRANGE none -1 y
SETRANGE none 10 ""
EXISTS none
SETRANGE two 10 ""
SETRANGE two 10 end
GET two
SETRANGE big 1048575 x
STRLEN big
SETRANGE big 1048575 xy
SETRANGE big 9223372036854775807 x
SETRANGE big 9223372036854775807 ""
SETRANGE none 1048576 x
SETRANGE none 9223372036854775807 ""
SETBIT two x 1
SETBIT two -1 1
SETBIT two 0 x
SETBIT two 0 2
SETBIT two 0 01
SETBIT two 8388608 1
SETBIT two 4294967296 1
SETBIT two 9223372036854775807 1
GETBIT two 8388608
GETBIT two 8388607
SETBIT big 8388607 1
BITCOUNT big
BITPOS big 1
BITPOS big 0 1048575
BITCOUNT
BITCOUNT two x
BITCOUNT two 0
BITCOUNT two 0 x
BITCOUNT two -1 -2 foo
BITCOUNT two 0 1 foo
BITCOUNT two 0 1 BIT x
BITCOUNT none 0
BITCOUNT none x y z
BITPOS two
BITPOS two x
BITPOS two 2
BITPOS two 1 x
BITPOS two 1 0 x
BITPOS two 1 0 1 foo
BITPOS two 1 0 x foo
BITPOS two 1 x 1 foo
BITPOS two 1 0 1 BIT x
BITPOS none 0 x
BITPOS none 1
BITPOS none 2
BITPOS two 0 -1 -100
SET empty ""
BITPOS empty 0
BITPOS empty 1
BITPOS empty 0 0
BITPOS empty 0 0 -1
BITCOUNT empty
BITCOUNT empty 0 -1
BITOP
BITOP AND to
BITOP FOO to two
BITOP NOT to two two
BITOP not to two
GET to
BITOP XOR to none
EXISTS to
BITOP OR to none empty
EXISTS to
LCS
LCS one
LCS none two
LCS none two IDX
LCS two two LEN IDX
LCS two two foo
LCS two two MINMATCHLEN
LCS two two MINMATCHLEN x
LCS two two LEN MINMATCHLEN -5
LCS two two IDX MINMATCHLEN -5
MSET a ohmytext b mynewtext
LCS a b
LCS a b LEN
LCS a b IDX
LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
LCS a b WITHMATCHLEN
OBJECT
OBJECT ENCODING
OBJECT ENCODING none
OBJECT REFCOUNT none
OBJECT FREQ none
OBJECT FREQ a
OBJECT REFCOUNT a
OBJECT ENCODING a
SET n 12345678901234567890
OBJECT ENCODING n
SET n -9223372036854775808
OBJECT ENCODING n
SET n 12345678901234567890123456789012345678901234
OBJECT ENCODING n
SET n 123456789012345678901234567890123456789012345
OBJECT ENCODING n
MEMORY
MEMORY foo
MEMORY USAGE
MEMORY USAGE none
MEMORY USAGE a
MEMORY USAGE a SAMPLES
MEMORY USAGE a SAMPLES x
MEMORY USAGE a SAMPLES -1
MEMORY USAGE a SAMPLES 0
MEMORY USAGE a foo 1
COMMAND GETKEYS BITOP AND to a b
COMMAND GETKEYS BITOP AND to
COMMAND GETKEYS COPY a b DB 1
COMMAND GETKEYS RENAME a b
COMMAND GETKEYS LCS a b IDX
COMMAND GETKEYS SETRANGE a 1 b
COMMAND GETKEYS MEMORY USAGE a SAMPLES 1
COMMAND GETKEYS OBJECT ENCODING a
COMMAND GETKEYS OBJECT FOO a
COMMAND GETKEYS RANDOMKEY
COMMAND GETKEYS SPUBLISH a b
COMMAND GETKEYS SSUBSCRIBE a b
COMMAND GETKEYS SUNSUBSCRIBE
COMMAND GETKEYS SUNSUBSCRIBE a
"#;

const TRANSACTIONS: &str = r#"EXEC | DISCARD | UNWATCH | EXEC x | DISCARD x | MULTI x | WATCH | UNWATCH x
MULTI | EXEC | EXEC
MULTI | MULTI | SET a 1 | EXEC | GET a
MULTI | WATCH a | GET a | EXEC
MULTI | NOPE | GET a | EXEC | GET a
MULTI | GET | EXEC | EXEC
MULTI | GET a | EXEC x | EXEC
MULTI | GET a | DISCARD x | EXEC
MULTI | GET a | MULTI x | EXEC
MULTI | GET a | WATCH | EXEC
MULTI | SET a 1 | INCR a | INCRBY a x | SET a b XX EX 0 | STRLEN a | EXEC
MULTI | SET a x | INCR a | GET a | EXEC
MULTI | UNWATCH | EXEC
MULTI | SUBSCRIBE c | PING | EXEC | PING | UNSUBSCRIBE
MULTI | SUBSCRIBE c d | PING | GET a | UNSUBSCRIBE c | PING x | EXEC | GET a
MULTI | PSUBSCRIBE c* | PUBLISH nobody x | EXEC | PUNSUBSCRIBE
SUBSCRIBE c | MULTI | UNSUBSCRIBE
MULTI | GET nokey | HELLO 3 | GET nokey | EXEC
MULTI | HELLO 3 | EXEC | GET nokey
MULTI | QUIT
MULTI | GET a | RESET | EXEC
MULTI | SELECT 1 | SET x 1 | EXEC | GET x | SELECT 0 | GET x
MULTI | AUTH x | INCR a | EXEC
MULTI | CLIENT GETNAME | CLIENT FOO | EXEC
MULTI | CLIENT SETNAME me | CLIENT GETNAME | EXEC | CLIENT GETNAME
MULTI | MSET a 1 b 2 | MGET a b c | EXEC
MULTI | KEYS * | DBSIZE | TYPE a | SCAN 0 | ECHO "x y" | ECHO '' | EXEC
SET a 1 | WATCH a | SET a 1 | MULTI | PING | EXEC | MULTI | PING | EXEC
WATCH a | EXPIRE a 100 | MULTI | PING | EXEC
WATCH b | DEL b | MULTI | PING | EXEC
WATCH b | FLUSHALL | MULTI | PING | EXEC
WATCH b | SET b 1 | DEL b | MULTI | PING | EXEC
SET a 1 | WATCH a | FLUSHALL | MULTI | PING | EXEC
SET a 1 | WATCH a | FLUSHALL | SET a 1 | MULTI | PING | EXEC
WATCH a | SET b 1 | FLUSHALL | MULTI | PING | EXEC
SET a 1 | WATCH a | SELECT 1 | SET b 1 | FLUSHDB | SELECT 0 | MULTI | PING | EXEC
SET a 1 | WATCH a | SELECT 1 | SET a 2 | SELECT 0 | MULTI | PING | EXEC
SELECT 1 | WATCH a | SELECT 0 | SET a 1 | SELECT 1 | SET a 2 | SELECT 0 | MULTI | PING | EXEC
SET a 1 | WATCH a | FLUSHDB | UNWATCH | MULTI | PING | EXEC
SET a 1 | WATCH a | DEL a | MULTI | DISCARD | MULTI | PING | EXEC
SET a 1 | WATCH a | DEL a | MULTI | FOO | EXEC | MULTI | PING | EXEC
SET a 1 | WATCH a | SET a 2 | WATCH a | MULTI | PING | EXEC
WATCH a a a a | MULTI | PING | EXEC
SET a 1 | WATCH a | PERSIST a | MULTI | PING | EXEC
SET a 1 EX 100 | WATCH a | PERSIST a | MULTI | PING | EXEC
SET a 1 | WATCH a | APPEND a "" | MULTI | PING | EXEC
SET a 1 | WATCH a | SET a 2 NX | MULTI | PING | EXEC
SET a 1 | WATCH a | GETDEL nokey | MSETNX a 1 b 1 | SETNX a 1 | MULTI | PING | EXEC
SET a 1 | WATCH a | EXPIRE a -1 | MULTI | PING | EXEC
SET a 1 EX 100 | WATCH a | EXPIRE a 50 GT | MULTI | PING | EXEC
SET a 1 | WATCH a | MULTI | SET a 2 | EXEC | MULTI | GET a | EXEC
WATCH a | INCRBYFLOAT a 0.5 | MULTI | PING | EXEC
WATCH a | INCRBYFLOAT a x | MULTI | PING | EXEC
WATCH a | SETRANGE a 2 x | MULTI | PING | EXEC
SET a xy | WATCH a | SETRANGE a 2 "" | MULTI | PING | EXEC
WATCH a | SETBIT a 3 0 | MULTI | PING | EXEC
SET a 1 | WATCH a | SETBIT a 3 1 | MULTI | PING | EXEC
SET a 1 | WATCH a | GETEX a | MULTI | PING | EXEC
SET a 1 | WATCH a | GETEX a PERSIST | MULTI | PING | EXEC
SET a 1 | WATCH a | GETEX a EX 100 | MULTI | PING | EXEC
SET a 1 EX 100 | WATCH a | GETEX a PERSIST | MULTI | PING | EXEC
SET a 1 | WATCH a | GETEX a EXAT 1 | MULTI | PING | EXEC
SET a 1 | WATCH a | RENAME a b | MULTI | PING | EXEC
SET a 1 | WATCH b | RENAME a b | MULTI | PING | EXEC
SET a 1 | WATCH a | RENAME a a | MULTI | PING | EXEC
MSET a 1 b 2 | WATCH a b | RENAMENX a b | MULTI | PING | EXEC
SET a 1 | WATCH a | COPY a b | MULTI | PING | EXEC
SET a 1 | WATCH b | COPY a b | MULTI | PING | EXEC
MSET a 1 b 2 | WATCH b | COPY a b | MULTI | PING | EXEC
SET a 1 | WATCH a | COPY a a DB 1 | MULTI | PING | EXEC | SELECT 1 | WATCH a | SELECT 0 | COPY a a DB 1 REPLACE | MULTI | PING | EXEC
SET a 1 | WATCH a b | BITOP NOT b a | MULTI | PING | EXEC
SET a 1 | WATCH a | BITOP OR a none | MULTI | PING | EXEC
WATCH a | BITOP OR a none | MULTI | PING | EXEC
SET a 1 | WATCH a | GETRANGE a 0 1 | BITCOUNT a | GETBIT a 1 | LCS a a | RANDOMKEY | MULTI | PING | EXEC
MULTI | SETBIT a 7 1 | BITCOUNT a | RENAME a b | COPY b a | LCS a b | LCS a b x | INCRBYFLOAT f 0.1 | PUBSUB SHARDCHANNELS | EXEC
MULTI | SSUBSCRIBE c | PING | EXEC | SUNSUBSCRIBE
MULTI | SPUBLISH nobody x | EXEC
MULTI | SET a | SET a 1 | DISCARD | GET a"#;

/// A request that somebody might make, or one that is nothing but words.
fn generate(random: &mut Random) -> Vec<Vec<u8>> {
    let name = NAMES[random.below(NAMES.len())];
    let mut words = vec![name.as_bytes().to_vec()];
    if random.below(4) == 0 {
        for _ in 0..random.below(6) {
            words.push(any(random));
        }
        if name == "SCAN" && words.len() > 1 {
            // Cursors differ, so all at once.
            if words[1].iter().any(u8::is_ascii_digit) {
                words[1] = b"0".to_vec();
            }
            words.extend([b"COUNT".to_vec(), b"1000".to_vec()]);
        }
        return words;
    }
    words.push(pick(random, KEYS));
    match name {
        "SET" => {
            words.push(pick(random, VALUES));
            for _ in 0..random.below(4) {
                words.push(pick(random, SET_OPTIONS));
                if random.below(2) == 0 {
                    words.push(pick(random, SPANS));
                }
            }
        }
        "SETEX" | "PSETEX" => words.extend([pick(random, SPANS), pick(random, VALUES)]),
        "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => {
            words.push(pick(random, SPANS));
            (0..random.below(3)).for_each(|_| words.push(pick(random, CONDITIONS)));
        }
        "INCRBY" | "DECRBY" | "APPEND" | "GETSET" | "SETNX" => words.push(pick(random, VALUES)),
        "MGET" | "DEL" | "EXISTS" | "UNLINK" | "TOUCH" => {
            (0..random.below(4)).for_each(|_| words.push(pick(random, KEYS)));
        }
        "MSET" | "MSETNX" => {
            words.push(pick(random, VALUES));
            if random.below(2) == 0 {
                words.extend([pick(random, KEYS), pick(random, VALUES)]);
            }
        }
        "SELECT" => words[1] = pick(random, DATABASES),
        "FLUSHDB" | "DBSIZE" => words.truncate(1),
        "GETEX" => {
            for _ in 0..random.below(3) {
                words.push(pick(random, GETEX_OPTIONS));
                if random.below(4) > 0 {
                    words.push(pick(random, SPANS));
                }
            }
        }
        "RENAME" | "RENAMENX" => words.push(pick(random, KEYS)),
        "COPY" => {
            words.push(pick(random, KEYS));
            (0..random.below(3)).for_each(|_| words.push(pick(random, COPY_OPTIONS)));
        }
        "INCRBYFLOAT" => words.push(number(random)),
        "GETRANGE" | "SUBSTR" => words.extend([pick(random, PLACES), pick(random, PLACES)]),
        "SETRANGE" => words.extend([pick(random, PLACES), pick(random, VALUES)]),
        "GETBIT" => words.push(pick(random, PLACES)),
        "SETBIT" => words.extend([pick(random, PLACES), pick(random, BITS)]),
        "BITCOUNT" | "BITPOS" => {
            if name == "BITPOS" {
                words.push(pick(random, BITS));
            }
            (0..random.below(3)).for_each(|_| words.push(pick(random, PLACES)));
            if random.below(2) == 0 {
                words.push(pick(random, UNITS));
            }
        }
        "BITOP" => {
            words[1] = pick(random, OPERATIONS);
            (0..2 + random.below(3)).for_each(|_| words.push(pick(random, KEYS)));
        }
        "LCS" => {
            words.push(pick(random, KEYS));
            (0..random.below(4)).for_each(|_| words.push(pick(random, LCS_OPTIONS)));
        }
        "KEYS" => words[1] = pick(random, PATTERNS),
        "SCAN" => {
            words[1] = b"0".to_vec();
            words.extend([b"COUNT".to_vec(), b"1000".to_vec(), b"MATCH".to_vec()]);
            words.push(pick(random, PATTERNS));
        }
        _ => {}
    }
    words
}

const NAMES: &[&str] = &[
    "SET",
    "SET",
    "SET",
    "get",
    "GET",
    "mget",
    "MGET",
    "MSET",
    "MSETNX",
    "GETSET",
    "GETDEL",
    "SETNX",
    "SETEX",
    "PSETEX",
    "APPEND",
    "STRLEN",
    "INCR",
    "INCR",
    "DECR",
    "INCRBY",
    "DECRBY",
    "DEL",
    "UNLINK",
    "EXISTS",
    "TOUCH",
    "TYPE",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "TTL",
    "PTTL",
    "EXPIRETIME",
    "PEXPIRETIME",
    "PERSIST",
    "KEYS",
    "SCAN",
    "PING",
    "ECHO",
    "SELECT",
    "FLUSHDB",
    "DBSIZE",
    "NOPE",
    "GETEX",
    "RENAME",
    "RENAMENX",
    "COPY",
    "RANDOMKEY",
    "INCRBYFLOAT",
    "GETRANGE",
    "SUBSTR",
    "SETRANGE",
    "GETBIT",
    "SETBIT",
    "BITCOUNT",
    "BITPOS",
    "BITOP",
    "LCS",
];
const KEYS: &[&[u8]] = &[b"a", b"b", b"key:1", b"key:2", b"", b"\0\r\n\xff", b"h[a]llo"];
const VALUES: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"10",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"01",
    b"+1",
    b" 1",
    b"1.5",
    b"",
    b"text",
    b"a\r\nb\0\xff",
    b"a text that is longer than the others, so that it is stored otherwise",
];
/// None that ends while the test runs.
const SPANS: &[&[u8]] = &[
    b"100000",
    b"200000",
    b"0",
    b"-1",
    b"x",
    b"1.5",
    b"9223372036854775807",
    b"9223372036854775",
    b"9223372036854776",
    b"-9223372036854775808",
    b"99999999999",
    b"4102444800000",
];
const SET_OPTIONS: &[&[u8]] =
    &[b"EX", b"px", b"EXAT", b"PXAT", b"NX", b"XX", b"GET", b"KEEPTTL", b"nope", b""];
const DATABASES: &[&[u8]] = &[b"0", b"0", b"0", b"0", b"1", b"15", b"16", b"-1", b"x"];
const GETEX_OPTIONS: &[&[u8]] =
    &[b"EX", b"px", b"EXAT", b"PXAT", b"PERSIST", b"persist", b"KEEPTTL", b"nope"];
const COPY_OPTIONS: &[&[u8]] = &[b"REPLACE", b"replace", b"DB", b"0", b"1", b"15", b"nope"];
const PLACES: &[&[u8]] = &[
    b"0",
    b"1",
    b"2",
    b"3",
    b"7",
    b"8",
    b"15",
    b"30",
    b"65",
    b"200",
    b"-1",
    b"-2",
    b"-3",
    b"-9",
    b"-100",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"x",
    b"1.5",
];
const BITS: &[&[u8]] = &[b"0", b"1", b"0", b"1", b"2", b"x"];
const UNITS: &[&[u8]] = &[b"BIT", b"bit", b"BYTE", b"nope"];
const OPERATIONS: &[&[u8]] = &[b"AND", b"or", b"XOR", b"NOT", b"nope"];
const LCS_OPTIONS: &[&[u8]] =
    &[b"IDX", b"len", b"WITHMATCHLEN", b"MINMATCHLEN", b"0", b"2", b"nope"];
const CONDITIONS: &[&[u8]] = &[b"NX", b"xx", b"GT", b"LT", b"no"];
const PATTERNS: &[&[u8]] = &[
    b"*", b"", b"a", b"?", b"key:*", b"*:[12]", b"[^a]*", b"[a-", b"h\\[*", b"*[", b"[z-a]", b"\\",
    b"**1", b"[]", b"[^]", b"[\\", b"*\xff",
];

fn any(random: &mut Random) -> Vec<u8> {
    let lists = [KEYS, VALUES, SET_OPTIONS, CONDITIONS, PATTERNS];
    let list = lists[random.below(lists.len())];
    match pick(random, list).as_slice() {
        // As a time to live these would end while the test runs.
        b"1" | b"10" => b"0".to_vec(),
        word => word.to_vec(),
    }
}

fn pick(random: &mut Random, list: &[&[u8]]) -> Vec<u8> {
    list[random.below(list.len())].to_vec()
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    request
}

fn show(words: &[&[u8]]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect();
    words.join(" ")
}

// ---- what is answered ----

/// Byte for byte, but for what depends on the moment or on the order in a hash table.
fn is_same(name: &[u8], expected: &[u8], found: &[u8]) -> bool {
    match name.to_ascii_uppercase().as_slice() {
        b"TTL" | b"PTTL" | b"EXPIRETIME" | b"PEXPIRETIME" => {
            let number = |reply: &[u8]| -> Option<i64> {
                std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim().parse().ok()
            };
            match (number(expected), number(found)) {
                (Some(expected), Some(found)) if expected > 0 => (expected - found).abs() < 5_000,
                _ => expected == found,
            }
        }
        // Some key, some number of bytes, and a number in which keys may count that have ended.
        b"RANDOMKEY" | b"MEMORY" | b"DBSIZE" if !expected.starts_with(b"-") => {
            let is_none = |reply: &[u8]| reply.starts_with(b"$-1") || reply.starts_with(b"_");
            expected[0] == found[0] && is_none(expected) == is_none(found)
        }
        b"KEYS" | b"SCAN" | b"CONFIG" | b"COMMAND" => sorted(expected) == sorted(found),
        // The numbers of connections differ.
        b"HELLO" => without_id(expected) == without_id(found),
        _ => expected == found,
    }
}

/// The reply of `HELLO` with no digit behind the `id`.
fn without_id(reply: &[u8]) -> Vec<u8> {
    let text = reply.escape_ascii().to_string();
    match text.split_once("$2\\r\\nid\\r\\n:") {
        None => text.into_bytes(),
        Some((before, behind)) => {
            [before, behind.trim_start_matches(|it: char| it.is_ascii_digit())]
                .concat()
                .into_bytes()
        }
    }
}

/// Everything in a reply that is no array, and the heads of those that are, in one order.
fn sorted(mut reply: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !reply.is_empty() {
        let len = if matches!(reply[0], b'*' | b'%') {
            reply.iter().position(|byte| *byte == b'\n').map(|end| end + 1)
        } else {
            reply_len(reply)
        };
        let (part, rest) = reply.split_at(len.unwrap());
        parts.push(part);
        reply = rest;
    }
    parts.sort_unstable();
    parts
}

/// The length of the first reply, once it is whole.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let elements = |count| (0..count).try_fold(end, |len, _| Some(len + reply_len(&bytes[len..])?));
    let number = || std::str::from_utf8(&bytes[1..end - 2]).unwrap().parse::<i64>().unwrap();
    match bytes[0] {
        b'$' | b'=' if number() >= 0 => {
            let len = end + number() as usize + 2;
            (bytes.len() >= len).then_some(len)
        }
        b'*' | b'~' | b'>' => elements(number()),
        b'%' => elements(2 * number()),
        _ => Some(end),
    }
}

trait Stream: Read + Write {
    fn shutdown(&self, how: Shutdown) -> std::io::Result<()>;
}

impl Stream for UnixStream {
    fn shutdown(&self, how: Shutdown) -> std::io::Result<()> {
        UnixStream::shutdown(self, how)
    }
}

/// A connection to one of the two.
struct Peer(Box<dyn Stream>, Vec<u8>);

impl Peer {
    fn connect(path: &PathBuf) -> Option<Peer> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        Some(Peer(Box::new(stream), Vec::new()))
    }

    /// Speaks this version of the protocol from now on.
    fn in_version(mut self, version: i32) -> Peer {
        if version != 2 {
            let reply = self.ask(format!("HELLO {version}\r\n").as_bytes());
            assert!(reply.starts_with(b"%7\r\n"), "{}", reply.escape_ascii());
        }
        self
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.write_all(request).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = reply_len(&self.1) {
                return self.1.drain(..len).collect();
            }
            let mut bytes = [0; 4096];
            match self.0.read(&mut bytes).unwrap() {
                0 => return b"(closed)".to_vec(),
                n => self.1.extend(&bytes[..n]),
            }
        }
    }

    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        // A reset, where a server closed with bytes unread, ends it as well.
        while let Ok(n @ 1..) = self.0.read(&mut piece) {
            bytes.extend(&piece[..n]);
        }
        bytes
    }
}

// ---- the two servers ----

struct Ours {
    path: PathBuf,
    _server: Server,
}

impl Ours {
    fn start() -> Ours {
        Ours::start_with(KvConfig::default())
    }

    fn start_with(kv: KvConfig) -> Ours {
        let path = temporary();
        let config = Config { input_limit: 1 << 20, output_limit: 4 << 20, ..Config::default() };
        let kv = Kv::new(kv, &config).unwrap();
        let server = start_on(&format!("unix:{}", path.display()), config, kv);
        Ours { path, _server: server }
    }

    fn connect(&self) -> Peer {
        Peer::connect(&self.path).unwrap()
    }

    fn connect_in(&self, version: i32) -> Peer {
        self.connect().in_version(version)
    }
}

struct Redis {
    path: PathBuf,
    process: Child,
}

impl Redis {
    /// None where there is no `redis-server`.
    fn start() -> Option<Redis> {
        let path = temporary();
        let mut command = Command::new("redis-server");
        // Values may be as long as ours.
        command.args(["--port", "0", "--save", "", "--proto-max-bulk-len", "1mb"]);
        command.arg("--unixsocket").arg(&path);
        command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(process) = command.spawn() else {
            println!("skipped: there is no redis-server");
            return None;
        };
        let redis = Redis { path, process };
        let deadline = Instant::now() + common::PATIENCE;
        while Peer::connect(&redis.path).is_none() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(redis)
    }

    fn connect(&self) -> Peer {
        Peer::connect(&self.path).unwrap()
    }

    fn connect_in(&self, version: i32) -> Peer {
        self.connect().in_version(version)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn temporary() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("edgeloop-kv-{}-{count}.sock", std::process::id()))
}
