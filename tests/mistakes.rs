//! A hundred mistakes that people make on the command line, in variables and in files. Each is
//! answered with one line that names the culprit, where it stands, and what to write instead.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::directory::Directory;

/// What is typed; what the answer has to say, part by part.
type Mistake = (&'static str, &'static [&'static str]);

/// Command lines. The exit code is 2.
const FLAGS: &[Mistake] = &[
    // Commands and options that there are not.
    ("ehco", &["'ehco'", "similar subcommand exists: 'echo'"]),
    ("serve", &["'serve'", "edgeloop alone lists them all"]),
    ("--listen 7000", &["'--listen'"]),
    ("echo --lisen 7000", &["'--lisen'", "'--listen'"]),
    ("echo --idle-timout 5s", &["'--idle-timout'", "'--idle-timeout'"]),
    ("echo --history 1", &["'--history'"]),
    ("load h:1 --listen 7000", &["'--listen'"]),
    ("load", &["<TARGET>", "as in edgeloop load 127.0.0.1:7000"]),
    // A value that stands alone.
    ("echo 7000", &["'7000'", "write --listen 7000"]),
    ("echo :7000", &["':7000'", "write --listen :7000"]),
    ("chat 0.0.0.0:7000", &["'0.0.0.0:7000'", "write --listen 0.0.0.0:7000"]),
    ("echo extra", &["'extra'", "--help lists what there is"]),
    ("echo -x", &["'-x'", "--help lists what there is"]),
    ("echo --listen", &["--listen"]),
    ("echo --backlog 1 --backlog 2", &["--backlog", "multiple times"]),
    // Ports.
    ("echo -p 99999", &["--port: `99999`", "ports are 0 to 65535"]),
    ("echo --port http", &["--port: `http`", "ports are 0 to 65535"]),
    ("echo -p -1", &["--port: `-1`", "ports are 0 to 65535"]),
    ("echo -p :7000", &["--port: `:7000`", "write --listen :7000"]),
    ("kv --port 127.0.0.1:6379", &["--port: `127.0.0.1:6379`", "write --listen 127.0.0.1:6379"]),
    ("echo -p 7000 -l 0.0.0.0:7000", &["--port is short for", "--listen"]),
    // Addresses.
    ("echo -l 99999", &["--listen: `99999`", "ports are 0 to 65535"]),
    (
        "echo -l 127.0.0.1:99999",
        &["--listen: `99999` in `127.0.0.1:99999`", "ports are 0 to 65535"],
    ),
    ("echo -l :99999", &["--listen: `99999`", "ports are 0 to 65535"]),
    (
        "echo -l localhost",
        &["--listen: `localhost` is no address: it has no port", "write localhost:7000"],
    ),
    (
        "echo -l 0.0.0.0",
        &["--listen: `0.0.0.0` is no address: it has no port", "write 0.0.0.0:7000"],
    ),
    ("echo -l localhost:", &["--listen: `` in `localhost:`", "ports are 0 to 65535"]),
    ("echo -l localhost:http", &["`http` in `localhost:http`", "ports are 0 to 65535"]),
    ("echo -l ::1:7000", &["`::1:7000` needs brackets", "write [::1]:7000"]),
    ("echo -l ::1", &["`::1` needs brackets", "write [::1]:7000"]),
    ("echo -l [::1", &["`[::1` needs brackets", "write [::1]:7000"]),
    ("echo -l [::1]", &["`[::1]` has no port", "write [::1]:7000"]),
    ("echo -l [::1]7000", &["`[::1]7000`", "write host:port, [::1]:port or unix:PATH"]),
    ("echo -l [localhost]:7000", &["`localhost` is no IPv6 address", "[::1]:7000"]),
    ("echo -l unix:", &["`unix:` lacks the path"]),
    ("echo -l /run/edgeloop.sock", &["`/run/edgeloop.sock`", "write unix:/run/edgeloop.sock"]),
    (
        "echo -l http://127.0.0.1:7000/",
        &["`http://127.0.0.1:7000/` is a URL", "write 127.0.0.1:7000"],
    ),
    ("chat -l ws://0.0.0.0:7000/ws", &["`ws://0.0.0.0:7000/ws` is a URL", "write 0.0.0.0:7000"]),
    ("web -l https://example.org", &["`https://example.org` is a URL", "write host:port"]),
    (
        "echo -l tcp://localhost",
        &["`localhost` is no address: it has no port", "write localhost:7000"],
    ),
    (
        "echo -l 127.0.0.1:0,nowhere",
        &["--listen: `nowhere` is no address: it has no port", "write nowhere:7000"],
    ),
    ("echo -l u:p@h:7000", &["`u:p@h`", "write host:7000"]),
    // Targets.
    ("load localhost", &["`localhost` is no address: it has no port", "write localhost:7000"]),
    ("load h:99999", &["`99999` in `h:99999`", "ports are 0 to 65535"]),
    ("load wss://h/ws", &["WebSocket is not spoken", "write tls:h or https://h/"]),
    ("load https://h:99999/", &["`99999` in `h:99999`", "ports are 0 to 65535"]),
    ("load http://u:p@h/x", &["`http://u:p@h/x`", "write http://h/x"]),
    ("load http://h:99999/", &["`99999` in `h:99999`", "ports are 0 to 65535"]),
    ("load ws://h:7000/ws", &["`ws://h:7000/ws`", "write h:7000 or http://h:7000/"]),
    ("load redis://h:x", &["`x` in `h:x`"]),
    ("load http://", &["`http://` lacks a host", "write http://127.0.0.1/"]),
    ("load h:1 --path /x", &["--path is for another --mode"]),
    // Numbers.
    ("load 7000 -c 10q", &["--connections: `10q`", "write it like 512, 10k or 1M"]),
    ("load 7000 -c 0", &["--connections is 0", "between 1 and 1048576"]),
    ("load 7000 -c -5", &["--connections: `-5`", "negative", "write it like 512"]),
    ("load 7000 -n 0", &["--messages: `0`", "at least 1"]),
    ("load 7000 -n 1.5M", &["--messages: `1.5M`", "write it like"]),
    ("load 7000 -r -1", &["--rate: `-1`", "negative"]),
    ("load 7000 -r 0", &["--rate must be between 0.001"]),
    ("load 7000 --ramp 50", &["--ramp: `50`", "write START:+STEP:DURATION"]),
    ("load 7000 --ramp 50:+50:0", &["--ramp: `50:+50:0`", "write START:+STEP:DURATION"]),
    ("load 7000 --pulse 5k:1s:5s", &["--pulse needs a --rate"]),
    ("load 7000 -r 10 --pulse 5k", &["--pulse: `5k`", "write RATE:DURATION:EVERY"]),
    ("load 7000 -r 10 --pulse 5k:1s:5q", &["--pulse: `5q`", "write it like 500ms"]),
    ("load 7000 -r 10 --pulse x:1s:5s", &["--pulse: `x:1s:5s`", "as 50k:1s:5s"]),
    ("load 7000 -r 10 --pulse 5k:5s:1s", &["--pulse must last for less time"]),
    ("load 7000 -r 10 -n 50 --pulse 5k:1s:5s", &["--pulse would first come when all messages"]),
    ("load 7000 -r 10 --pulse 5k:1s:10s", &["--pulse would first come when the time is over"]),
    ("load 7000 --source localhost", &["--source: `localhost`", "write it like 127.0.0.2"]),
    ("load 7000 --server-pid self", &["--server-pid: `self`", "write it like 512"]),
    ("load 7000 --fail-if p99", &["--fail-if: `p99`", "write METRIC>LIMIT"]),
    ("load 7000 -t 100", &["--threads is 100", "between 1 and 50"]),
    ("echo --backlog 0", &["--backlog: `0`", "at least 1"]),
    ("echo --backlog -5", &["--backlog: `-5`", "negative"]),
    ("echo --backlog 5G", &["--backlog: `5G` is too large"]),
    ("echo --max-connections many", &["--max-connections: `many`", "write it like 512, 10k or 1M"]),
    ("echo --max-connections 0", &["--max-connections is 0", "between 1 and"]),
    ("echo --max-per-address -1", &["--max-per-address: `-1`", "negative"]),
    ("kv --max-per-address x", &["--max-per-address: `x`", "write it like 512, 10k or 1M"]),
    ("web --connect-rate 2M", &["--connect-rate is 2000000", "between 0 and 1000000"]),
    ("web --connect-rate 0.5", &["--connect-rate: `0.5`", "write it like 512"]),
    ("kv --acl-file a --password-file b", &["--password-file is given beside --acl-file"]),
    ("kv --rate 2M", &["--rate is 2000000", "between 0 and 1000000"]),
    ("broadcast --rate 2M", &["--rate is 2000000", "between 0 and 1000000"]),
    ("broadcast --rate -1", &["--rate: `-1`", "negative"]),
    ("echo --connect-burst 0", &["--connect-burst: `0`", "at least 1"]),
    ("chat --rooms-per-address few", &["--rooms-per-address: `few`", "write it like 512"]),
    // Networks.
    (
        "chat --proxy-protocol on",
        &["--proxy-protocol: `on` is no network", "write an address as 10.0.0.1"],
    ),
    ("echo --proxy-protocol 127.0.0.1,", &["--proxy-protocol: `` is no network", "or unix"]),
    ("echo --allow 10.1.2.3/8", &["--allow: `10.1.2.3/8`", "write 10.0.0.0/8, or 10.1.2.3"]),
    ("kv --deny 127.0.0.1,localhost", &["--deny: `localhost` is no network", "as 10.0.0.0/8"]),
    ("web --deny 10.0.0.1:80", &["--deny: `10.0.0.1:80` has a port", "write 10.0.0.1"]),
    // Durations.
    ("echo --idle-timeout -1s", &["--idle-timeout: `-1s`", "negative", "write it like 500ms"]),
    ("echo --idle-timeout 0", &["--idle-timeout: `0`", "write off for none"]),
    ("echo --idle-timeout never", &["--idle-timeout: `never`", "or off"]),
    ("echo --write-timeout 1.5s", &["--write-timeout: `1.5s`", "write it like 500ms"]),
    ("echo --drain-timeout off", &["--drain-timeout: `off`", "write it like 500ms"]),
    ("echo --drain-timeout 0", &["--drain-timeout is 0ms", "between 1ms and 298h"]),
    (
        "echo --drain-timeout 20000m",
        &["--drain-timeout: `20000m` is too long", "the longest is 298h"],
    ),
    ("echo --overload-turn 0", &["--overload-turn: `0`", "write off for none"]),
    ("echo --overload-span off", &["--overload-span: `off`", "write it like 500ms"]),
    ("echo --overload-span 0", &["--overload-span is 0ms", "between 1ms and 298h"]),
    ("echo --overload-memory 0", &["--overload-memory: `0`", "write off for none"]),
    ("echo --overload-memory 90MiB", &["--overload-memory: `90MiB`", "write it like 90%"]),
    ("load 7000 -d -1s", &["--duration: `-1s`", "negative"]),
    ("load 7000 --timeout 0", &["--timeout is 0ms", "1ms and 298h"]),
    // Sizes.
    ("echo --input-limit 12x", &["--input-limit: `12x`", "write it like 512, 64KiB or 1MiB"]),
    ("echo --input-limit 64KB", &["--input-limit: `64KB`", "write it like 512, 64KiB or 1MiB"]),
    ("echo --input-limit -1", &["--input-limit: `-1`", "negative"]),
    ("echo --input-limit 2GiB", &["--input-limit is 2GiB", "between 1 and 1GiB"]),
    ("echo --output-limit 5", &["--output-limit is 5", "between 1KiB and 1GiB"]),
    ("echo --buffer-memory 1k", &["--buffer-memory is 1KiB", "at least 256KiB"]),
    ("broadcast --topic-memory 1k", &["--topic-memory is 1KiB", "--input-limit 64KiB"]),
    (
        "kv --input-limit 8M",
        &["--output-limit, which was not given, is 4MiB", "--input-limit 8MiB"],
    ),
    ("web --max-head 12", &["--max-head is 12", "between 256 and --input-limit, 64KiB"]),
    ("chat --max-message 2M", &["--max-message is 2MiB", "between 1 and 1MiB"]),
    ("web --head-timeout 0", &["--head-timeout is 0ms", "at least 1ms"]),
    ("chat --room-memory 1k", &["--room-memory is 1KiB", "between"]),
    // Words.
    ("echo --when-full maybe", &["--when-full: `maybe`", "[possible values: wait, refuse]"]),
    ("echo --log-format xml", &["--log-format: `xml`", "[possible values: text, json]"]),
    ("broadcast --slow-consumer skp", &["--slow-consumer: `skp`", "disconnect, skip, wait"]),
    ("echo --reuse-port=perhaps", &["--reuse-port: `perhaps`", "true nor false"]),
    ("kv --protected-mode maybe", &["--protected-mode: `maybe`", "true nor false"]),
    ("echo --prefix x", &["--prefix needs --lines"]),
    ("chat --origin example.org", &["--origin has \"example.org\"", "https://example.org"]),
    ("chat --host a.example:7000", &["--host: `a.example:7000`", "write a.example, for any port"]),
    ("web --host https://a.example/", &["--host: `https://a.example/`", "write a.example"]),
    ("web --host *", &["--host: `*` is no name", "example.org"]),
    ("echo --host a.example", &["'--host'"]),
    ("echo --config absent.toml", &["--config: cannot read absent.toml", "No such file"]),
];

/// Variables, as `NAME=VALUE`, for the command in front. The exit code is 2.
const VARIABLES: &[Mistake] = &[
    ("echo EDGELOOP_LISTEN=nowhere", &["EDGELOOP_LISTEN: `nowhere`", "write nowhere:7000"]),
    ("echo EDGELOOP_BACKLOG=many", &["EDGELOOP_BACKLOG: `many`", "write it like 512"]),
    ("echo EDGELOOP_BACKLOG=0", &["EDGELOOP_BACKLOG: `0`", "at least 1"]),
    ("echo EDGELOOP_MAX_CONNECTIONS=0", &["EDGELOOP_MAX_CONNECTIONS is 0", "between 1 and"]),
    ("echo EDGELOOP_INPUT_LIMIT=0", &["EDGELOOP_INPUT_LIMIT is 0", "between 1 and 1GiB"]),
    ("echo EDGELOOP_OUTPUT_LIMIT=5", &["EDGELOOP_OUTPUT_LIMIT is 5", "between 1KiB and 1GiB"]),
    ("echo EDGELOOP_BUFFER_MEMORY=1k", &["EDGELOOP_BUFFER_MEMORY is 1KiB", "at least 256KiB"]),
    ("echo EDGELOOP_IDLE_TIMEOUT=-5", &["EDGELOOP_IDLE_TIMEOUT: `-5`", "negative"]),
    ("echo EDGELOOP_IDLE_TIMEOUT=999h", &["EDGELOOP_IDLE_TIMEOUT: `999h` is too long", "298h"]),
    ("echo EDGELOOP_WRITE_TIMEOUT=999h", &["EDGELOOP_WRITE_TIMEOUT: `999h` is too long", "298h"]),
    ("echo EDGELOOP_DRAIN_TIMEOUT=0", &["EDGELOOP_DRAIN_TIMEOUT is 0ms", "1ms and 298h"]),
    ("echo EDGELOOP_REUSE_PORT=perhaps", &["EDGELOOP_REUSE_PORT: `perhaps`", "true nor false"]),
    ("echo EDGELOOP_WHEN_FULL=no", &["EDGELOOP_WHEN_FULL: `no`", "wait, refuse"]),
    ("echo EDGELOOP_VERBOSE=loud", &["EDGELOOP_VERBOSE: `loud`", "write 0, 1 or 2"]),
    ("echo EDGELOOP_PREFIX=x", &["EDGELOOP_PREFIX needs --lines"]),
    (
        "echo EDGELOOP_CONFIG=absent.toml",
        &["EDGELOOP_CONFIG: cannot read absent.toml", "No such file"],
    ),
    (
        "broadcast EDGELOOP_TOPIC_MEMORY=1k",
        &["EDGELOOP_TOPIC_MEMORY is 1KiB", "--input-limit 64KiB"],
    ),
    (
        "broadcast EDGELOOP_INPUT_LIMIT=1M",
        &["--topic-memory, which was not given,", "EDGELOOP_INPUT_LIMIT 1MiB"],
    ),
    (
        "kv EDGELOOP_CHANNEL_MEMORY=1k",
        &["EDGELOOP_CHANNEL_MEMORY is 1KiB", "between 8KiB and 1GiB"],
    ),
    ("chat EDGELOOP_MAX_ROOMS=0", &["EDGELOOP_MAX_ROOMS is 0", "between 1 and"]),
    ("echo EDGELOOP_MAX_PER_ADDRESS=x", &["EDGELOOP_MAX_PER_ADDRESS: `x`", "write it like 512"]),
    ("chat EDGELOOP_ALLOW=::/129", &["EDGELOOP_ALLOW: `129` in `::/129`", "write 0 to 128"]),
    ("kv EDGELOOP_PROXY_PROTOCOL=1.2.3.4/33", &["EDGELOOP_PROXY_PROTOCOL: `33`", "0 to 32"]),
    ("kv EDGELOOP_CONNECT_RATE=2M", &["EDGELOOP_CONNECT_RATE is 2000000", "0 and 1000000"]),
    ("broadcast EDGELOOP_RATE=2M", &["EDGELOOP_RATE is 2000000", "0 and 1000000"]),
    ("chat EDGELOOP_RATE=0", &["EDGELOOP_RATE is 0", "between 1 and"]),
    ("chat EDGELOOP_ORIGIN=x", &["EDGELOOP_ORIGIN has \"x\"", "https://example.org"]),
    ("chat EDGELOOP_HOST=a:1", &["EDGELOOP_HOST: `a:1`", "write a, for any port"]),
    ("chat EDGELOOP_MAX_MEMBERS=0", &["EDGELOOP_MAX_MEMBERS is 0", "between 1 and"]),
    ("chat EDGELOOP_MAX_MESSAGE=0", &["EDGELOOP_MAX_MESSAGE is 0", "between 1 and 1MiB"]),
    ("kv EDGELOOP_PROTECTED_MODE=x", &["EDGELOOP_PROTECTED_MODE: `x`", "true nor false"]),
    ("web EDGELOOP_MAX_HEADERS=0", &["EDGELOOP_MAX_HEADERS is 0", "between 1 and 128"]),
    ("web EDGELOOP_MAX_REQUEST_LINE=5", &["EDGELOOP_MAX_REQUEST_LINE is 5", "--max-head, 16KiB"]),
];

/// Files, for the command in front of the bar. What begins with a number is the line that is named.
const FILES: &[Mistake] = &[
    (
        "echo|\nidle-timout = '1s'",
        &[":2: unknown key `idle-timout`", "did you mean `idle-timeout`?"],
    ),
    ("echo|histry = 1", &[":1: unknown key `histry`", "did you mean `history` in [broadcast]"]),
    ("echo|[ecko]\nlines = true", &[":1: unknown key `ecko`"]),
    ("echo|[[echo]]\nlines = true", &[":1: echo is a section", "write [echo]"]),
    ("echo|\nchat = 1", &[":2: chat is a section", "write [chat]"]),
    ("echo|a = = b", &[":1: ", "`a = = b`"]),
    ("echo|\n\nidle-timeout = 5m", &[":3: ", "text needs quotes: idle-timeout = \"5m\""]),
    ("echo|listen = 7000x", &[":1: ", "text needs quotes: listen = \"7000x\""]),
    ("echo|listen = 99999", &[":1: listen: `99999`", "ports are 0 to 65535"]),
    ("echo|port = 99999", &[":1: port: `99999`", "ports are 0 to 65535"]),
    ("echo|port = 7000\nlisten = ':7000'", &[":1: port is short for", "--listen"]),
    ("echo|\ninput-limit = '12x'", &[":2: input-limit: `12x`", "write it like 512"]),
    ("echo|input-limit = -5", &[":1: input-limit: `-5`", "negative"]),
    ("echo|input-limit = 0x1000", &[":1: input-limit: `0x1000`", "write it like 512"]),
    ("echo|input-limit = true", &[":1: input-limit: `true`", "write it like 512"]),
    ("echo|input-limit = 1.5", &[":1: input-limit: `1.5`", "write it like 512"]),
    ("echo|input-limit = [1, 2]", &[":1: input-limit is a list", "takes one value"]),
    ("echo|idle-timeout = 2026-01-01", &[":1: idle-timeout is a date"]),
    ("echo|idle-timeout = { s = 1 }", &[":1: idle-timeout is a table", "takes a value"]),
    ("echo|when-full = 1", &[":1: when-full: `1`", "wait, refuse"]),
    ("echo|verbose = 'loud'", &[":1: verbose: `loud`", "write 0, 1 or 2"]),
    ("echo|reuse-port = 'perhaps'", &[":1: reuse-port: `perhaps`", "true nor false"]),
    ("echo|\nmax-connections = 0", &[":2: max-connections is 0", "between 1 and"]),
    ("echo|\n\noutput-limit = 5", &[":3: output-limit is 5", "between 1KiB and 1GiB"]),
    ("echo|buffer-memory = 5", &[":1: buffer-memory is 5", "at least 256KiB"]),
    ("echo|drain-timeout = 0", &[":1: drain-timeout is 0ms", "1ms and 298h"]),
    ("echo|[echo]\nprefix = 'x'", &[":2: prefix needs --lines"]),
    (
        "broadcast|[broadcast]\ntopic-memory = '1k'",
        &[":2: topic-memory is 1KiB", "--input-limit 64KiB"],
    ),
    (
        "broadcast|input-limit = '1M'",
        &["--topic-memory, which was not given,", "input-limit (", ":1) 1MiB"],
    ),
    ("web|[web]\n\nmax-head = 5", &[":3: max-head is 5", "between 256 and --input-limit, 64KiB"]),
    ("web|[web]\nmax-headers = 500", &[":2: max-headers is 500", "between 1 and 128"]),
    ("echo|\nconnect-rate = 2_000_000", &[":2: connect-rate is 2000000", "0 and 1000000"]),
    ("echo|connect-burst = 0", &[":1: connect-burst: `0`", "at least 1"]),
    ("web|proxy-protocol = true", &[":1: proxy-protocol: `true` is no network", "or unix"]),
    ("echo|\ndeny = ['unix', '10.0.0/8']", &[":2: deny: `10.0.0/8` is no network", "or unix"]),
    ("chat|[chat]\nmax-rooms = 0", &[":2: max-rooms is 0", "between 1 and"]),
    (
        "chat|[chat]\norigin = ['https://a.org', 'b.org']",
        &[":2: origin has \"b.org\"", "https://example.org"],
    ),
    ("web|[web]\n\nhost = ['a', 'b c']", &[":3: host: `b c` is no name", "example.org"]),
    (
        "kv|[kv]\nacl-file = 'a'\npassword-file = 'b'",
        &[":3: password-file is given beside acl-file", "write the password into the latter"],
    ),
    ("kv --acl-file /missing|[kv]\npassword-file = 'b'", &["--acl-file: cannot read /missing"]),
    ("kv|[kv]\nrate = 2000000", &[":2: rate is 2000000", "0 and 1000000"]),
    ("kv|[kv]\nprotected-mode = 'x'", &[":2: protected-mode: `x`", "true nor false"]),
    (
        "kv|[kv]\nsubscriber-memory = 5",
        &[":2: subscriber-memory is 5", "at least --channel-memory, 1MiB"],
    ),
    ("kv|[kv]\nchannel-memory = 5", &[":2: channel-memory is 5", "between 8KiB and 1GiB"]),
];

/// What the system refuses. The exit code is 1.
const SYSTEM: &[Mistake] = &[
    ("echo -l no-such-host.invalid:7000", &["no-such-host.invalid:7000", "check the name"]),
    ("echo -l 192.0.2.1:0", &["192.0.2.1:0", "this machine has no such address"]),
    ("echo -p 0 --port-file /absent/ports", &["/absent/ports for --port-file", "No such file"]),
    ("load no-such-host.invalid:7000", &["no-such-host.invalid:7000", "check the name"]),
    ("load --compare absent-a absent-b", &["absent-a", "No such file"]),
];

#[test]
fn wrong_flag_is_named_with_what_to_write() {
    in_parallel(FLAGS, |(typed, parts)| expect(program(typed), 2, parts, typed));
}

#[test]
fn wrong_variable_is_named_with_what_to_write() {
    in_parallel(VARIABLES, |(typed, parts)| {
        let (service, variable) = typed.split_once(' ').unwrap();
        let (name, value) = variable.split_once('=').unwrap();
        let mut command = program(service);
        command.env(name, value);
        expect(command, 2, parts, typed);
    });
}

#[test]
fn wrong_file_is_named_with_its_line_and_what_to_write() {
    let directory = Directory::new();
    let count = AtomicUsize::new(0);
    in_parallel(FILES, |(typed, parts)| {
        let (service, text) = typed.split_once('|').unwrap();
        let path = directory.path(format!("{}.toml", count.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, text).unwrap();
        let mut command = program(service);
        command.arg("--config").arg(&path);
        let name = path.to_str().unwrap();
        // Where the line is named, the file is, too.
        let whole: Vec<String> = parts.iter().map(|part| within(name, part)).collect();
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        expect(command, 2, &whole, typed);
    });
}

#[test]
fn what_the_system_refuses_is_named_with_what_to_do() {
    in_parallel(SYSTEM, |(typed, parts)| expect(program(typed), 1, parts, typed));
}

#[test]
fn text_that_is_no_utf8_is_shown_as_far_as_it_goes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let value = OsStr::from_bytes(b"caf\xe9");
    let mut command = program("echo --prefix");
    command.arg(value);
    expect(command, 2, &["`caf\u{fffd}`", "UTF-8"], "a flag");
    let mut command = program("echo");
    command.env("EDGELOOP_LISTEN", value);
    expect(command, 2, &["EDGELOOP_LISTEN", "`caf\u{fffd}`", "UTF-8"], "a variable");
}

#[test]
fn port_of_root_is_refused_with_a_remedy() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.map_or(1024, |text| text.trim().parse().unwrap()) <= 80 {
        return;
    }
    // Root may do it; who else may run the program where only root gets at it?
    let directory = Directory::new();
    fs::set_permissions(directory.itself(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path("edgeloop");
    // By another process: what a child of this one inherits at the wrong moment could not be run.
    assert!(Command::new("cp").arg(PROGRAM).arg(&copy).status().unwrap().success());
    let mut command = Command::new(&copy);
    clean(&mut command).args(["echo", "-p", "80"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    expect(command, 1, &["127.0.0.1:80", "choose a higher one", "cap_net_bind_service"], "-p 80");
}

/// One line on stderr, nothing on stdout.
#[track_caller]
fn expect(mut command: Command, code: i32, parts: &[&str], typed: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{typed}: {stderr}");
    assert!(stderr.starts_with("edgeloop: ") && stderr.ends_with('\n'), "{typed}: {stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{typed}: {stderr}");
    assert!(stderr.len() < 400, "{typed}: nobody reads so long a line: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{typed}: no {part:?} in {stderr:?}");
    }
    assert!(output.stdout.is_empty(), "{typed}");
}

/// A part that begins with a line's number, behind the name of the file.
fn within(file: &str, part: &str) -> String {
    match part.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        true => format!("{file}{part}"),
        false => part.to_owned(),
    }
}

/// Most of a start is waiting for the system.
fn in_parallel(mistakes: &[Mistake], check: impl Fn(&Mistake) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(mistake) = mistakes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(mistake);
                }
            });
        }
    });
}

fn program(arguments: &str) -> Command {
    let mut command = Command::new(Path::new(PROGRAM));
    clean(&mut command).args(arguments.split_whitespace());
    command
}

/// Without what the tester's own shell says to the program.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EDGELOOP_") {
            command.env_remove(&name);
        }
    }
    command
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_edgeloop");
