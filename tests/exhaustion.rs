//! When something runs out, descriptors, places or memory: those who are there go on, and those who
//! wait are served as soon as there is room.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

#[cfg(feature = "cli")]
use std::io::Write;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::scripted::Scripted;
use common::*;
use edgeloop::service::{Echo, handler_fn};
#[cfg(feature = "testing")]
use edgeloop::testing::{Harness, Peer};
use edgeloop::{
    CloseReason, Config, Context, Handler, Start, Stats, Token, TopicConfig, TopicId, WhenFull,
};

/// Sends a byte; whether it comes back within `span`.
fn is_served(stream: &TcpStream, span: Duration) -> bool {
    send(stream, b"x");
    stream.set_read_timeout(Some(span)).unwrap();
    let served = matches!((&mut &*stream).read(&mut [0]), Ok(1));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    served
}

/// Sends a byte; whether it has come back after so many turns of the server's: one for each answer to
/// `other`.
fn is_served_beside(stream: &TcpStream, other: &TcpStream) -> bool {
    send(stream, b"x");
    (0..50).for_each(|_| assert!(is_served(other, PATIENCE)));
    stream.set_nonblocking(true).unwrap();
    let served = matches!((&mut &*stream).read(&mut [0]), Ok(1));
    stream.set_nonblocking(false).unwrap();
    served
}

// Descriptors.

#[cfg(feature = "cli")]
mod descriptors {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;
    use common::program::Program;
    use edgeloop::{ListenOptions, Reactor};

    const LIMIT: usize = 64;

    #[test]
    fn program_keeps_within_its_descriptors_and_serves_those_who_wait_later() {
        serve_more_than_fit(&mut Program::start_with_descriptors(LIMIT, "echo"));
    }

    #[test]
    fn library_whose_table_is_larger_than_the_descriptor_limit_survives_it() {
        let mut program = start_library();
        let warnings = serve_more_than_fit(&mut program);
        assert!(!warnings.is_empty(), "the limit was not reached");
    }

    /// This test program again, as a server that believes that it has descriptors for everybody.
    fn start_library() -> Program {
        let this = std::env::current_exe().unwrap();
        let mut shell = Command::new("sh");
        let name = "descriptors::server_for_the_test_above";
        let run = format!(
            "ulimit -n {LIMIT}; exec '{}' --exact {name} --nocapture --test-threads=1",
            this.display()
        );
        shell.arg("-c").arg(run).env(AS_SERVER, "1");
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Program::of(shell.spawn().unwrap())
    }

    const AS_SERVER: &str = "EDGELOOP_TEST_AS_SERVER";

    #[test]
    fn server_for_the_test_above() {
        if std::env::var_os(AS_SERVER).is_none() {
            return;
        }
        env_logger::Builder::new().filter_level(log::LevelFilter::Warn).init();
        let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&address, &ListenOptions::default()).unwrap();
        eprintln!("library listening addr={address}");
        reactor.run().unwrap();
    }

    /// Returns the warnings that it logged.
    fn serve_more_than_fit(program: &mut Program) -> Vec<String> {
        let mut streams: Vec<TcpStream> = (0..200).map(|_| program.connect()).collect();
        assert!(is_served(&streams[0], PATIENCE));
        let mut served = 1;
        while is_served_beside(&streams[served], &streams[0]) {
            served += 1;
            assert!(served < LIMIT, "more are served than there are descriptors");
        }
        assert!(served >= LIMIT / 2, "only {served} are served");

        // At rest, with the limit reached.
        let _ = program.log_so_far();
        let (before, started) = (program.processor_time(), Instant::now());
        thread::sleep(Duration::from_secs(2));
        let used = program.processor_time() - before;
        assert!(used < Duration::from_millis(100), "{used:?} of processor time in 2 s");
        let warnings = program.log_so_far();
        let most = started.elapsed().as_secs() as usize + 1;
        assert!(warnings.len() <= most, "more than one warning a second: {warnings:?}");

        // Those who are there go on.
        for stream in &streams[..served] {
            assert!(is_served(stream, PATIENCE));
        }
        // Those who wait are served once others leave, without anybody new.
        for _ in 0..10 {
            drop(streams.remove(0));
        }
        // The first one that waits has sent its byte long ago.
        expect_bytes(&streams[served - 10], b"x");
        for waiting in &streams[served - 9..served] {
            assert!(is_served(waiting, PATIENCE));
        }
        assert!(program.is_alive());
        // All get their turn in the end.
        let rest = streams.split_off(served);
        drop(streams);
        let mut rest: std::collections::VecDeque<TcpStream> = rest.into();
        while let Some(stream) = rest.pop_front() {
            assert!(is_served(&stream, PATIENCE), "{} wait for ever", rest.len() + 1);
        }
        warnings
    }
}

// Places.

#[test]
fn full_table_lets_newcomers_wait_until_somebody_leaves() {
    let config = Config { connections_max: 3, ..Config::default() };
    let server = start(config, Echo::new());
    let mut streams: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    for stream in &streams[..3] {
        assert!(is_served(stream, PATIENCE));
    }
    assert!(!is_served_beside(&streams[3], &streams[0]));
    let before = server.stats();
    assert_eq!(before.open(), 3);
    thread::sleep(Duration::from_millis(300));
    assert!(server.stats().turns - before.turns <= 2, "a full table spins");
    for _ in 0..3 {
        streams.remove(0);
        expect_bytes(&streams[2], b"x");
        if let Some(next) = streams.get(3) {
            send(next, b"x");
        }
    }
    drop(streams);
    server.finish();
}

#[test]
fn full_table_refuses_newcomers_where_it_is_told_to() {
    let config = Config { connections_max: 3, when_full: WhenFull::Refuse, ..Config::default() };
    let server = start(config, Echo::new());
    let mut streams: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for stream in &streams {
        assert!(is_served(stream, PATIENCE));
    }
    for _ in 0..5 {
        expect_gone(&server.connect());
    }
    streams.pop();
    server.wait_until("there is a place", |stats| stats.open() == 2);
    streams.push(server.connect());
    streams.iter().for_each(|stream| assert!(is_served(stream, PATIENCE)));
    drop(streams);
    let stats = server.finish();
    assert_eq!(stats.closed(CloseReason::Refused), 5);
    assert_eq!(stats.accepted, 9);
}

// Memory.

#[test]
fn spent_memory_closes_the_largest_output_and_the_others_go_on() {
    // Room for one blocked client with all that it may have, not for two and more.
    let config = Config {
        buffer_memory: MIB,
        output_limit: 2 * MIB,
        write_timeout: None,
        ..Config::default()
    };
    let server = start(config.clone(), Echo::new());
    let small = server.connect();
    assert!(is_served(&small, PATIENCE));
    let blocked: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for stream in &blocked {
            scope.spawn(|| server.send_until_blocked(stream, pattern(1, 0, MIB)));
        }
    });
    let stats = server.stats();
    let waiting = stats.bytes_waiting();
    assert!(waiting <= config.buffer_memory as u64, "{waiting} bytes wait");
    let lost = stats.closed(CloseReason::Memory);
    assert!((1..=5).contains(&lost), "{lost} were closed: {:?}", closed(&stats));
    assert!(is_served(&small, PATIENCE), "the one that holds nothing suffers");
    drop(blocked);
    server.wait_until("only the small one is left", |stats| stats.open() == 1);
    assert!(is_served(&small, PATIENCE));
    drop(small);
    server.finish();
}

/// Answers each byte with a kibibyte, and leaves in its input what it may not answer yet.
fn answers() -> impl Handler {
    handler_fn(|cx, token, input| {
        while !input.is_empty() && !cx.is_held(token) {
            input.consume(1);
            cx.send(token, &[b'x'; KIB]);
        }
        Ok(())
    })
}

#[test]
fn many_who_pipeline_and_do_not_read_keep_within_the_memory_and_the_others_are_served() {
    let config = Config { buffer_memory: MIB, output_limit: 256 * KIB, ..Config::default() };
    let most = (config.buffer_memory + config.read_budget) as u64;
    let mut server = ByHand::new(config, answers());
    let small = server.connect();
    let silent: Vec<TcpStream> =
        (0..100).map(|_| connect_narrow(&server.address, 4 * KIB)).collect();
    // Each asks for more than the kernel holds for it, and for more than its share.
    silent.iter().for_each(|stream| send(stream, &[b'?'; 16 * KIB]));
    let mut held_most = 0;
    while server.reactor.stats().closed(CloseReason::Memory) < 50 {
        server.turn();
        let stats = server.reactor.stats();
        let held = stats.bytes_waiting() + stats.bytes_unconsumed();
        assert!(held <= most, "{held} bytes are held: {stats:?}");
        held_most = held_most.max(held);
    }
    // What lies in a block is at least a quarter of it.
    assert!(held_most > most / 4, "it was never short: {held_most} bytes");
    send(&small, b"?");
    small.set_nonblocking(true).unwrap();
    server.turn_until("it is answered", |_| matches!(small.peek(&mut [0; KIB]), Ok(KIB)));
    expect_bytes(&small, &[b'x'; KIB]);
    let reasons: Vec<_> = closed(server.reactor.stats()).into_iter().map(|(why, _)| why).collect();
    assert_eq!(reasons, [CloseReason::Memory]);
}

/// Hundreds wait for memory, of which there is enough for a few. Who asks, is answered and reads waits
/// with them where there is none, but not behind them.
#[cfg(feature = "testing")]
#[test]
fn client_that_leaves_nothing_behind_waits_for_memory_before_those_that_do() {
    const SILENT: u64 = 300;
    // A turn visits eight of them.
    let config = Config {
        buffer_memory: MIB,
        output_limit: 256 * KIB,
        visit_budget: 8,
        write_timeout: None,
        overload_memory: None,
        ..Config::default()
    };
    let mut server = Harness::new(config, answers()).unwrap().with_buffers(64 * KIB, KIB);
    let asker = server.connect();
    let silent: Vec<Peer> = (0..SILENT).map(|_| server.connect()).collect();
    server.run_until_idle();
    let (mut longest, mut asked) = (0, 0);
    let ask = |server: &mut Harness<_>| {
        asker.send("?");
        let asked = server.stats().turns;
        while asker.read().is_empty() {
            server.turn();
        }
        server.stats().turns - asked
    };
    ask(&mut server);
    for peer in &silent {
        peer.stop_reading();
        peer.send([b'?'; 16 * KIB]);
    }
    // Half of them are closed for want of memory. Until then there is never enough for those that are left.
    while server.stats().closed(CloseReason::Memory) < SILENT / 2 {
        longest = longest.max(ask(&mut server));
        asked += 1;
    }
    assert!(asked > 50, "memory was short for {asked} questions only");
    assert!(longest <= 6, "it waits for {longest} turns");
}

#[test]
fn client_that_asks_without_reading_costs_no_more_than_a_visit() {
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let high = config.output_high();
    let mut server = ByHand::new(config, answers());
    let silent = connect_narrow(&server.address, 4 * KIB);
    send(&silent, &[b'?'; 16 * KIB]);
    server.turn_until("it is answered", |reactor| reactor.stats().bytes_queued > 0);
    server.turn();
    let first = server.reactor.stats().clone();
    assert!(first.bytes_waiting() <= (high + KIB) as u64, "{first:?}");
    // What it takes, what the kernel may hold unsent, and a segment.
    #[cfg(target_os = "linux")]
    assert!(first.bytes_sent <= (8 + 16 + 64 + 8) * KIB as u64, "{first:?}");
    (0..100).for_each(|_| server.turn());
    let later = server.reactor.stats();
    let work = |stats: &Stats| (stats.reads, stats.writes, stats.bytes_consumed);
    assert_eq!(work(later), work(&first));
}

/// Subscribes everybody to all its topics.
fn follows() -> Scripted<Vec<TopicId>> {
    let on_open = |topics: &mut Vec<TopicId>, cx: &mut Context<'_>, token| {
        for topic in topics {
            cx.subscribe(token, *topic, Start::Next).unwrap();
        }
    };
    Scripted::new(Vec::new(), on_open, |_, _, _, (), _| Ok(()))
}

#[test]
fn what_topics_hold_for_one_subscriber_is_bounded_over_all_of_them_together() {
    const TOPICS: usize = 200;
    const MESSAGE: [u8; 15 * KIB] = [b'm'; 15 * KIB];
    let config = Config { output_limit: 256 * KIB, write_timeout: None, ..Config::default() };
    let limit = config.output_limit;
    let mut server = ByHand::new(config, follows());
    let topic = TopicConfig { memory: 64 * KIB, ..TopicConfig::default() };
    server.reactor.with_context(|handler, cx| {
        **handler = (0..TOPICS).map(|_| cx.create_topic(topic.clone())).collect();
    });
    let reader = server.connect();
    server.turn_until("the reader is there", |reactor| reactor.stats().accepted == 1);
    let silent = connect_narrow(&server.address, 4 * KIB);
    server.turn_until("both are there", |reactor| reactor.stats().accepted == 2);
    for index in 0..TOPICS {
        server.reactor.with_context(|handler, cx| {
            cx.publish(handler[index], None, &MESSAGE).unwrap();
        });
        server.turn();
        expect_delivered(&mut server, &reader, &MESSAGE);
        let held = server.reactor.with_context(|_, cx| cx.topic_memory());
        assert!(held <= 2 * limit, "{held} bytes are held after {index} messages");
    }
    // It is given nothing more at once, and disconnected in a while.
    assert_eq!(server.reactor.with_context(|_, cx| cx.topic_memory()), 0);
    server.turn_until("it is gone", |it| it.stats().closed(CloseReason::SlowConsumer) == 1);
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::SlowConsumer, 1)]);
    drop(silent);
}

#[test]
fn what_is_kept_of_small_messages_counts_as_held_for_a_subscriber() {
    const TOPICS: usize = 100;
    const SMALL: usize = 600;
    let config = Config { output_limit: 256 * KIB, write_timeout: None, ..Config::default() };
    let mut server = ByHand::new(config, follows());
    server.reactor.with_context(|handler, cx| {
        **handler = (0..TOPICS).map(|_| cx.create_topic(TopicConfig::default())).collect();
    });
    let reader = server.connect();
    server.turn_until("the reader is there", |reactor| reactor.stats().accepted == 1);
    let silent = connect_narrow(&server.address, 4 * KIB);
    server.turn_until("both are there", |reactor| reactor.stats().accepted == 2);
    let mut publish = |index: usize, message: &[u8], count: usize| {
        server.reactor.with_context(|handler, cx| {
            for _ in 0..count {
                cx.publish(handler[index], None, message).unwrap();
            }
        });
        server.turn();
        expect_delivered(&mut server, &reader, &message.repeat(count));
    };
    // More than the kernel takes of the silent one, and less than it may be owed.
    (0..10).for_each(|index| publish(index, &[b'm'; 15 * KIB], 1));
    publish(0, b"m", SMALL);
    // A byte of each is 60 KiB in all, what is kept of them more than a MiB.
    (1..TOPICS).for_each(|index| publish(index, b"m", SMALL));
    // It is given nothing more at once, and disconnected in a while.
    assert_eq!(server.reactor.with_context(|_, cx| cx.topic_memory()), 0);
    server.turn_until("it is gone", |it| it.stats().closed(CloseReason::SlowConsumer) == 1);
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::SlowConsumer, 1)]);
    drop(silent);
}

/// Turns until all of a message has come.
fn expect_delivered<H: Handler>(server: &mut ByHand<H>, mut stream: &TcpStream, message: &[u8]) {
    let mut received = vec![0; message.len()];
    let mut len = 0;
    stream.set_nonblocking(true).unwrap();
    while len < message.len() {
        match stream.read(&mut received[len..]) {
            Ok(n) => len += n,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        server.turn();
    }
    assert_eq!(received, message);
}

/// Takes nothing, and pauses whoever has sent all that is expected of it.
#[derive(Default)]
struct Hoards {
    small: Option<Token>,
    offers: u32,
    large: usize,
}

fn hoards() -> Scripted<Hoards> {
    Scripted::new(
        Hoards::default(),
        |_, _, _| (),
        |it, cx, token, (), input| {
            match input.len() {
                1 => {
                    it.small = Some(token);
                    it.offers += 1;
                    cx.pause(token);
                }
                LARGE => {
                    it.large += 1;
                    cx.pause(token);
                }
                _ => {}
            }
            Ok(())
        },
    )
}

const LARGE: usize = 32 * KIB;

#[test]
fn input_that_is_owed_waits_for_memory() {
    // Seven large ones and a small one leave less than a read.
    let config = Config { buffer_memory: 8 * LARGE, read_budget: LARGE, ..Config::default() };
    let mut server = ByHand::new(config, hoards());
    let small = server.connect();
    send(&small, b"x");
    server.turn_until("the small one is held", |reactor| {
        reactor.with_context(|handler, _| handler.offers == 1)
    });
    let large: Vec<TcpStream> = (0..7).map(|_| server.connect()).collect();
    large.iter().for_each(|stream| send(stream, &[b'x'; LARGE]));
    server.turn_until("all of them are held", |reactor| {
        reactor.with_context(|handler, _| handler.large == 7)
    });
    assert_eq!(closed(server.reactor.stats()), []);
    server.reactor.with_context(|handler, cx| cx.resume(handler.small.unwrap()));
    server.turn();
    let offers = server.reactor.with_context(|handler, _| handler.offers);
    assert_eq!(offers, 1, "what it makes of its input would have taken more than there is");
    server.turn_until("there is memory", |reactor| {
        reactor.with_context(|handler, _| handler.offers == 2)
    });
    assert_eq!(closed(server.reactor.stats()), [(CloseReason::Memory, 1)]);
}

#[cfg(feature = "cli")]
#[test]
fn buffers_of_a_burst_are_given_back() {
    let program = common::program::Program::start("echo --write-timeout off");
    let streams: Vec<TcpStream> = (0..100).map(|_| program.connect()).collect();
    streams.iter().for_each(|stream| assert!(is_served(stream, PATIENCE)));
    let before = program.memory();
    let other = program.connect();
    let mut sent = vec![0; streams.len()];
    // All at once; each answer to the other one is a turn.
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let mut turns = 0;
    while turns < 100 {
        for (mut stream, sent) in streams.iter().zip(&mut sent) {
            while let Ok(n) = stream.write(pattern(1, 0, MIB)) {
                (*sent, turns) = (*sent + n, 0);
            }
        }
        assert!(is_served(&other, PATIENCE));
        turns += 1;
    }
    streams.iter().for_each(|stream| stream.set_nonblocking(false).unwrap());
    let during = program.memory();
    assert!(during > before + 10 * MIB, "it was no burst: {before} then {during}");
    thread::scope(|scope| {
        for (stream, sent) in streams.iter().zip(sent) {
            scope.spawn(move || {
                let mut buffer = vec![0; MIB];
                let mut left = sent;
                while left > 0 {
                    left -= (&mut &*stream).read(&mut buffer).unwrap();
                }
            });
        }
    });
    streams.iter().for_each(|stream| assert!(is_served(stream, PATIENCE)));
    // 4 MiB are kept for the next turn. The allocator keeps what lies between blocks that are still
    // in use; how much that is differs from run to run, but it must not be most of it.
    let after = program.memory();
    assert!(
        after - before <= (during - before) / 2,
        "{before} before, {during} during, {after} after"
    );
}
