//! Clients that say more than they may in a time: they are heard more slowly, and lose nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{
    ByHand, KIB, MIB, PATIENCE, Server, closed, connect_narrow, end_sending, expect_bytes,
    expect_eof, send, start,
};
use edgeloop::service::{Broadcast, Framing, Kv, KvConfig, RATE_MAX};
use edgeloop::{CloseReason, Config, TopicConfig};

/// What passes at once at this rate, and at any lower one.
const BURST: usize = 16;

fn broadcast(rate: u32) -> Broadcast {
    Broadcast::new(Framing::Lines, 1000, TopicConfig::default()).rate(rate)
}

fn start_kv(rate: u32) -> Server {
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let kv = Kv::new(KvConfig { rate, ..KvConfig::default() }, &config).unwrap();
    start(config, kv)
}

fn kv_by_hand(config: Config, limits: KvConfig) -> ByHand<Kv> {
    let kv = Kv::new(limits, &config).unwrap();
    ByHand::new(config, kv)
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
}

#[test]
fn pasted_lines_arrive_slowly_and_all_of_them() {
    let server = start(Config::default(), broadcast(20));
    let (listener, speaker) = (server.connect(), server.connect());
    server.wait_until("both are there", |stats| stats.accepted == 2);
    let begun = Instant::now();
    send(&speaker, &lines(40));
    // The last one without its end, which comes with that of the stream.
    send(&speaker, b"the end");
    end_sending(&speaker);
    expect_bytes(&listener, &[lines(40), b"the end\n".to_vec()].concat());
    // Twenty at once, and one for each fiftieth of a second.
    assert!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
    expect_eof(&speaker);
    drop(listener);
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 2)]);
}

#[test]
fn commands_beyond_the_rate_are_answered_slowly_and_in_order() {
    let server = start_kv(20);
    let client = server.connect();
    let begun = Instant::now();
    send(&client, &b"INCR n\r\n".repeat(40));
    send(&client, b"*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n");
    let answers: String = (1..=40).map(|n| format!(":{n}\r\n")).collect();
    expect_bytes(&client, (answers + "$3\r\nend\r\n").as_bytes());
    assert!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
    // Others have tokens of their own.
    let other = server.connect();
    send(&other, &b"PING\r\n".repeat(BURST));
    expect_bytes(&other, &b"+PONG\r\n".repeat(BURST));
    server.stop();
}

#[test]
fn without_a_rate_nobody_waits() {
    let server = start_kv(0);
    let client = server.connect();
    send(&client, &b"PING\r\n".repeat(1000));
    expect_bytes(&client, &b"+PONG\r\n".repeat(1000));
    assert_eq!(server.stop().timers, 0);
    let server = start(Config::default(), broadcast(0));
    let (listener, speaker) = (server.connect(), server.connect());
    server.wait_until("both are there", |stats| stats.accepted == 2);
    send(&speaker, &lines(1000));
    expect_bytes(&listener, &lines(1000));
    assert_eq!(server.stop().timers, 0);
}

/// That it is not heard is not its silence; what comes afterwards is.
#[test]
fn client_that_is_made_to_wait_is_not_idle_until_all_was_taken() {
    let idle_timeout = Some(Duration::from_millis(1500));
    let server = start(Config { idle_timeout, ..Config::default() }, broadcast(1));
    let (listener, speaker) = (server.connect(), server.connect());
    server.wait_until("both are there", |stats| stats.accepted == 2);
    send(&speaker, &lines(BURST + 3));
    drop(listener);
    let begun = Instant::now();
    server.wait_until("all were taken", |stats| stats.messages_published == BURST as u64 + 3);
    assert!(begun.elapsed() >= Duration::from_millis(2500), "{:?}", begun.elapsed());
    expect_eof(&speaker);
    drop(speaker);
    assert_eq!(server.finish().closed(CloseReason::IdleTimeout), 1);
}

/// The last command's answer is what its client does not take: that it was slowed before is no excuse.
#[test]
fn client_that_was_slowed_down_is_idle_once_it_does_not_read() {
    let config = Config {
        idle_timeout: Some(Duration::from_millis(200)),
        linger_timeout: Duration::from_millis(200),
        write_timeout: None,
        input_limit: MIB,
        output_limit: 8 * MIB,
        ..Config::default()
    };
    let mut server = kv_by_hand(config, KvConfig { rate: 16, ..KvConfig::default() });
    let client = connect_narrow(&server.address, 4 * KIB);
    // More than kernels hold for anybody.
    let large = format!("SETRANGE k {} x\r\n{}", MIB - 1, "PING\r\n".repeat(BURST + 3));
    send(&client, format!("{large}MGET k k k k k\r\n").as_bytes());
    server.turn_until("it is closed", |reactor| {
        closed(reactor.stats()) == [(CloseReason::IdleTimeout, 1)]
    });
    assert!(server.reactor.stats().bytes_dropped > 0, "it was owed an answer");
}

/// What clients have sent is in flight as long as the work for others comes first.
#[test]
fn client_that_waits_for_the_work_of_others_is_not_idle() {
    const CLIENTS: usize = 100;
    let idle_timeout = Some(Duration::from_millis(20));
    let config =
        Config { idle_timeout, input_limit: MIB, output_limit: 4 * MIB, ..Config::default() };
    let mut server = kv_by_hand(config, KvConfig::default());
    let first = server.connect();
    send(&first, format!("SETRANGE k {} x\r\n", MIB - 1).as_bytes());
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| send(client, b"BITCOUNT k\r\n"));
    let answers = ":1048576\r\n".len() + CLIENTS * ":4\r\n".len();
    server.turn_until("all are answered", |reactor| {
        // Each time longer than any of them may be idle.
        thread::sleep(Duration::from_millis(50));
        reactor.stats().bytes_sent == answers as u64
    });
    clients.iter().for_each(|client| expect_bytes(client, b":4\r\n"));
}

/// In a shutdown, who waits for a token has not finished.
#[test]
fn commands_that_wait_for_their_rate_are_in_flight_in_a_shutdown() {
    const MORE: usize = 4;
    let config = Config {
        drain_quiet: Duration::from_millis(10),
        drain_timeout: PATIENCE,
        output_limit: 4 * MIB,
        ..Config::default()
    };
    let mut server = kv_by_hand(config, KvConfig { rate: 4, ..KvConfig::default() });
    let client = server.connect();
    send(&client, &b"PING\r\n".repeat(BURST + MORE));
    let pongs = |count: usize| 7 * count as u64;
    server.turn_until("the first", |reactor| reactor.stats().bytes_sent >= pongs(BURST));
    server.reactor.with_context(|_, cx| cx.drain());
    server.turn_until("the rest", |reactor| reactor.stats().bytes_sent == pongs(BURST + MORE));
    expect_bytes(&client, &b"+PONG\r\n".repeat(BURST + MORE));
    drop(client);
    server.turn_until("it is over", |reactor| reactor.stats().open() == 0);
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::Closed, 1)]);
}

/// The loop stands still, as a stopped process does, right behind a turn in which somebody spoke.
#[test]
fn time_in_which_the_server_stood_still_is_the_clients() {
    const STILL: Duration = Duration::from_secs(2);
    // As many as the time is worth, less the quarter of a second after which it counts.
    const MORE: usize = 28;
    let mut server = ByHand::new(Config::default(), broadcast(16));
    let speaker = server.connect();
    send(&speaker, &lines(BURST));
    server.turn_until("the first", |reactor| reactor.stats().messages_published == BURST as u64);
    send(&speaker, &lines(MORE));
    thread::sleep(STILL);
    let all = (BURST + MORE) as u64;
    server.turn_until("the rest", |reactor| reactor.stats().messages_published == all);
    assert_eq!(server.reactor.stats().timers, 0, "nobody had to wait");

    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let mut server = kv_by_hand(config, KvConfig { rate: 16, ..KvConfig::default() });
    let client = server.connect();
    // A key that ends meanwhile has an alarm, too.
    send(&client, b"SET key value PX 100\r\n");
    send(&client, &b"PING\r\n".repeat(BURST - 1));
    let sent = 5 + 7 * (BURST as u64 - 1);
    server.turn_until("the first", |reactor| reactor.stats().bytes_sent == sent);
    send(&client, &b"PING\r\n".repeat(MORE));
    thread::sleep(STILL);
    let sent = sent + 7 * MORE as u64;
    server.turn_until("the rest", |reactor| reactor.stats().bytes_sent == sent);
    assert_eq!(server.reactor.stats().timers, 0, "nobody had to wait");
}

#[test]
fn rate_that_no_client_could_have_is_refused() {
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let kv = Kv::new(KvConfig { rate: RATE_MAX + 1, ..KvConfig::default() }, &config);
    assert!(kv.unwrap_err().to_string().starts_with("rate is 1000001;"));
}
