//! Broadcast: each line whole, in one order everywhere, to everybody who reads; and whoever does
//! not read changes nothing for the others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen};
use common::scripted::Scripted;
use common::stalled::{self, LONG_REPLY, SHORT, expect_open, turn_for};
use common::*;
use edgeloop::service::{Broadcast, Echo, Framing, HandlerFn};
use edgeloop::{
    CloseReason, Config, Context, Handler, ListenOptions, PublishError, Reactor, SlowConsumer,
    Start, Token, TopicConfig, TopicId,
};

const LINE_MAX: usize = 1000;

fn lines(topic: TopicConfig) -> Broadcast {
    Broadcast::new(Framing::Lines, LINE_MAX, topic)
}

fn start_lines(topic: TopicConfig) -> Server {
    start_narrow(Config::default(), lines(topic))
}

/// As the program does it: what a client falls behind by shows in the topic and not in the kernel.
fn start_narrow<H: Handler + Send + 'static>(config: Config, handler: H) -> Server {
    start_by(config, handler, |reactor| {
        let options = ListenOptions { notsent_lowat: Some(16 << 10), ..ListenOptions::default() };
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
    })
}

/// A client that takes next to nothing that it does not read.
fn connect_stopped(server: &Server) -> TcpStream {
    let before = server.stats().accepted;
    let stream = connect_narrow(&server.address, 2048);
    server.wait_until("it is open", |stats| stats.accepted == before + 1);
    stream
}

/// A client that ends its side as soon as it is connected: it only listens.
fn connect_listener(server: &Server) -> TcpStream {
    let before = server.stats().accepted;
    let stream = server.connect();
    // Later, on a busy machine, it might be taken for one that has left.
    end_sending(&stream);
    server.wait_until("it is open", |stats| stats.accepted == before + 1);
    stream
}

fn connect_many(server: &Server, count: usize) -> Vec<TcpStream> {
    let before = server.stats().accepted;
    let streams = (0..count).map(|_| server.connect()).collect();
    // A line reaches those who are there when it is published.
    server.wait_until("all are open", |stats| stats.accepted == before + count as u64);
    streams
}

/// Waits longer than a busy machine leaves one of many threads without the processor.
fn patient_topic() -> TopicConfig {
    TopicConfig { patience: PATIENCE, ..TopicConfig::default() }
}

/// One line that says who sent it as which.
fn line(sender: usize, number: usize) -> String {
    format!("{sender} {number} {}\n", "abcdefghij".repeat(1 + (sender + number) % 9))
}

/// What one receiver got: whole lines only, those of each sender in order and without a gap.
#[derive(Default)]
struct Received {
    order: Vec<(usize, usize)>,
    next: HashMap<usize, usize>,
}

impl Received {
    fn take(&mut self, text: &str) {
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect(text);
        let (sender, number) = (number(), number());
        assert_eq!(text, line(sender, number), "a line is torn");
        let next = self.next.entry(sender).or_default();
        assert_eq!(number, *next, "a line of {sender} is lost or out of order");
        *next += 1;
        self.order.push((sender, number));
    }

    /// Reads so many lines.
    fn read(&mut self, stream: &TcpStream, count: usize) {
        let mut reader = BufReader::with_capacity(64 * KIB, stream);
        let mut text = String::new();
        for read in 0..count {
            text.clear();
            match reader.read_line(&mut text) {
                Ok(0) => panic!("the stream ended after {read} of {count} lines"),
                Ok(_) => self.take(&text),
                Err(error) => panic!("after {read} of {count} lines: {error}"),
            }
        }
        assert!(reader.buffer().is_empty(), "there is more than was sent");
    }
}

// Everybody gets everything.

#[test]
fn line_reaches_all_but_its_sender() {
    let server = start_lines(TopicConfig::default());
    let streams = connect_many(&server, 5);
    send(&streams[0], b"from 0\r\n");
    for stream in &streams[1..] {
        expect_bytes(stream, b"from 0\r\n");
    }
    send(&streams[4], b"from 4\n");
    // The sender of the first line gets the second one first.
    for stream in &streams[..4] {
        expect_bytes(stream, b"from 4\n");
    }
    drop(streams);
    server.finish();
}

#[test]
fn fifty_senders_at_once_are_heard_whole_and_in_one_order() {
    let (senders, receivers, each) = (50, 5, if cfg!(debug_assertions) { 200 } else { 2000 });
    let server = start_lines(patient_topic());
    let streams = connect_many(&server, senders + receivers);
    let barrier = Barrier::new(senders);
    let orders: Vec<Vec<(usize, usize)>> = thread::scope(|scope| {
        for (sender, stream) in streams[..senders].iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut stream = stream;
                barrier.wait();
                for number in 0..each {
                    stream.write_all(line(sender, number).as_bytes()).unwrap();
                }
            });
            // Senders are receivers too.
            scope.spawn(move || {
                let mut received = Received::default();
                received.read(stream, (senders - 1) * each);
                assert!(!received.next.contains_key(&sender), "it got its own line");
            });
        }
        let read = |stream| {
            move || {
                let mut received = Received::default();
                received.read(stream, senders * each);
                received.order
            }
        };
        let readers: Vec<_> =
            streams[senders..].iter().map(|stream| scope.spawn(read(stream))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "two receivers saw different orders");
    drop(streams);
    let stats = server.finish();
    assert_eq!(stats.messages_published, (senders * each) as u64);
    assert_eq!(stats.messages_skipped, 0);
}

#[test]
fn flood_without_pause_slows_its_senders_and_disconnects_no_reader() {
    // Senders write as fast as they are let, in large pieces; the ring is much smaller than what is
    // sent.
    let (senders, readers, each) = (32, 20, if cfg!(debug_assertions) { 1000 } else { 10_000 });
    let config = Config::default();
    let server = start_narrow(config.clone(), lines(patient_topic()));
    let streams = connect_many(&server, senders + readers);
    let (over, total) = (AtomicBool::new(false), senders * each);
    thread::scope(|scope| {
        for (sender, stream) in streams[..senders].iter().enumerate() {
            scope.spawn(move || {
                let text: String = (0..each).map(|number| line(sender, number)).collect();
                send(stream, text.as_bytes());
            });
            scope.spawn(move || Received::default().read(stream, total - each));
        }
        let read = |stream| move || Received::default().read(stream, total);
        let all: Vec<_> = streams[senders..].iter().map(|it| scope.spawn(read(it))).collect();
        let (server, over) = (&server, &over);
        let watch = scope.spawn(move || {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(server.stats().bytes_unconsumed());
                thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let outcomes: Vec<_> = all.into_iter().map(|reader| reader.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "a reader lost something");
        let held = watch.join().unwrap();
        let most = senders * (config.input_limit + 2 * config.read_budget);
        assert!(held <= most as u64, "senders that wait hold {held} bytes of input");
    });
    drop(streams);
    let stats = server.finish();
    assert_eq!(stats.messages_published, total as u64);
    assert_eq!(stats.closed(CloseReason::SlowConsumer), 0);
}

#[test]
fn tiny_ring_and_tiny_budgets_lose_nothing() {
    let topic = TopicConfig { memory: 4096, ..patient_topic() };
    let config = Config {
        read_budget: 100,
        visit_budget: 1,
        events: 1,
        output_limit: 2048,
        input_limit: LINE_MAX,
        ..Config::default()
    };
    let server = start_narrow(config, lines(topic));
    let streams = connect_many(&server, 8);
    thread::scope(|scope| {
        for (sender, stream) in streams.iter().enumerate() {
            scope.spawn(move || {
                (0..200).for_each(|number| send(stream, line(sender, number).as_bytes()));
            });
            scope.spawn(move || Received::default().read(stream, 7 * 200));
        }
    });
    drop(streams);
    server.finish();
}

#[test]
fn narrow_receivers_get_torn_writes_and_whole_lines() {
    let server = start_lines(patient_topic());
    let from = connect_many(&server, 1).remove(0);
    let narrow: Vec<TcpStream> = (0..4).map(|_| connect_stopped(&server)).collect();
    let count = 5000;
    thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|number| send(&from, line(0, number).as_bytes())));
        for stream in &narrow {
            scope.spawn(|| Received::default().read(stream, count));
        }
    });
    drop((from, narrow));
    server.finish();
}

#[test]
fn late_subscriber_gets_what_comes_after_it_or_the_history_first() {
    for (history, expected) in [(0, ""), (2, "two\nthree\n"), (10, "one\ntwo\nthree\n")] {
        let server = start_lines(TopicConfig { history, ..TopicConfig::default() });
        let streams = connect_many(&server, 2);
        for text in ["one\n", "two\n", "three\n"] {
            send(&streams[0], text.as_bytes());
            expect_bytes(&streams[1], text.as_bytes());
        }
        let late = connect_many(&server, 1).remove(0);
        send(&streams[0], b"four\n");
        expect_bytes(&late, format!("{expected}four\n").as_bytes());
        expect_bytes(&streams[1], b"four\n");
        drop((late, streams));
        server.finish();
    }
}

#[test]
fn history_larger_than_the_ring_does_not_stop_publishers() {
    let topic = TopicConfig { memory: 4096, history: usize::MAX, ..patient_topic() };
    let server = start_lines(topic);
    let streams = connect_many(&server, 2);
    thread::scope(|scope| {
        scope.spawn(|| (0..2000).for_each(|n| send(&streams[0], line(0, n).as_bytes())));
        Received::default().read(&streams[1], 2000);
    });
    drop(streams);
    server.finish();
}

#[test]
fn thousand_joins_and_leaves_change_nothing_for_the_others() {
    let server = start_lines(patient_topic());
    let streams = connect_many(&server, 3);
    let (count, over) = (2000, AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: Vec<_> = streams[1..]
            .iter()
            .map(|stream| scope.spawn(|| Received::default().read(stream, count)))
            .collect();
        let (streams, over, server) = (&streams, &over, &server);
        scope.spawn(move || {
            for number in 0..count {
                send(&streams[0], line(0, number).as_bytes());
                if number % 10 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let crowd = scope.spawn(move || {
            for round in 0..1000 {
                let stream = server.connect();
                match round % 4 {
                    0 => drop(stream),
                    1 => reset(stream),
                    2 => {
                        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                        let _ = (&stream).read(&mut [0; 100]);
                    }
                    _ => end_sending(&stream),
                }
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        over.store(true, Ordering::Relaxed);
        crowd.join().unwrap();
    });
    drop(streams);
    server.finish();
}

// Ends and limits of lines.

#[test]
fn rest_without_newline_is_delivered_with_one() {
    let server = start_lines(TopicConfig::default());
    let streams = connect_many(&server, 2);
    send(&streams[0], b"whole\nrest");
    end_sending(&streams[0]);
    expect_bytes(&streams[1], b"whole\nrest\n");
    expect_eof(&streams[0]);
    drop(streams);
    server.finish();
}

#[test]
fn line_that_is_too_long_closes_its_sender_and_reaches_nobody() {
    let server = start_lines(TopicConfig::default());
    let streams = connect_many(&server, 3);
    send(&streams[0], b"fine\n");
    send(&streams[0], &[b'x'; LINE_MAX + 1]);
    send(&streams[0], b"yyy\nafter\n");
    expect_eof(&streams[0]);
    send(&streams[1], &[&[b'm'; LINE_MAX][..], b"\n"].concat());
    expect_bytes(&streams[2], &[&b"fine\n"[..], &[b'm'; LINE_MAX], b"\n"].concat());
    drop(streams);
    let stats = server.finish();
    assert_eq!(stats.closed(CloseReason::LineTooLong), 1);
    assert_eq!(stats.messages_published, 2);
}

#[test]
fn messages_with_their_length_in_front_are_kept_apart() {
    let handler = Broadcast::new(Framing::Length, 5, TopicConfig::default());
    let server = start(Config::default(), handler);
    let streams = connect_many(&server, 3);
    let message = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    let (first, second) = (message("a\nb"), message(""));
    send(&streams[0], &first[..2]);
    send(&streams[1], &second);
    send(&streams[0], &first[2..]);
    let mut both = vec![0; first.len() + second.len()];
    (&streams[2]).read_exact(&mut both).unwrap();
    let orders = [[first.as_slice(), &second].concat(), [second.as_slice(), &first].concat()];
    assert!(orders.contains(&both), "{both:?}");
    send(&streams[0], &message("longer"));
    expect_bytes(&streams[0], &second);
    expect_eof(&streams[0]);
    drop(streams);
    assert_eq!(server.finish().closed(CloseReason::MessageTooLong), 1);
}

// Whoever stops reading.

/// A ring that a few hundred lines fill.
fn small(slow_consumer: SlowConsumer) -> TopicConfig {
    let patience = Duration::from_millis(200);
    TopicConfig { memory: 64 * KIB, slow_consumer, patience, ..TopicConfig::default() }
}

/// Sends lines, a few at a time, until the loop says so; a reader must get all of them. Returns how
/// many were sent and how long the slowest were on their way.
fn chat_until(
    server: &Server,
    [from, to]: [&TcpStream; 2],
    done: impl Fn(&edgeloop::Stats) -> bool,
) -> (usize, Duration) {
    let mut received = Received::default();
    let mut slowest = Duration::ZERO;
    let deadline = Instant::now() + PATIENCE;
    const FEW: usize = 50;
    for first in (0..).step_by(FEW) {
        let few: String = (first..first + FEW).map(|number| line(0, number)).collect();
        let started = Instant::now();
        send(from, few.as_bytes());
        received.read(to, FEW);
        slowest = slowest.max(started.elapsed());
        if done(&server.stats()) {
            return (first + FEW, slowest);
        }
        assert!(Instant::now() < deadline, "never came true; {:?}", server.stats());
    }
    unreachable!("the deadline comes first")
}

#[test]
fn stopped_receiver_is_disconnected_and_nobody_else_notices() {
    let server = start_lines(small(SlowConsumer::Disconnect));
    let stopped = connect_stopped(&server);
    let streams = connect_many(&server, 2);
    let gone = |stats: &edgeloop::Stats| stats.closed(CloseReason::SlowConsumer) == 1;
    let (_, slowest) = chat_until(&server, [&streams[0], &streams[1]], gone);
    // The patience is a fraction of that, and a stopped one is waited for once.
    assert!(slowest < PATIENCE / 4, "a line took {slowest:?}");
    expect_gone(&stopped);
    drop(streams);
    server.finish();
}

#[test]
fn stopped_receiver_skips_whole_lines_and_is_counted() {
    let server = start_lines(small(SlowConsumer::Skip));
    let stopped = connect_stopped(&server);
    let streams = connect_many(&server, 2);
    // It is far enough behind once the ring must have gone round a few times.
    let mut sent = 0;
    let published = |stats: &edgeloop::Stats| stats.messages_published > 10_000;
    sent += chat_until(&server, [&streams[0], &streams[1]], published).0;
    send(&streams[0], b"the last one\n");
    expect_bytes(&streams[1], b"the last one\n");
    // What it gets once it reads: lines that are whole, in order, with a gap.
    let mut last = None;
    let mut got = 0;
    for text in BufReader::new(&stopped).lines() {
        let text = text.unwrap() + "\n";
        if text == "the last one\n" {
            break;
        }
        let number: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(text, line(0, number), "a line is torn");
        assert!(last.is_none_or(|last| number > last), "lines are out of order");
        (last, got) = (Some(number), got + 1);
    }
    assert!(got < sent, "nothing was skipped");
    let stats = server.stats();
    assert_eq!(stats.messages_skipped, (sent - got) as u64);
    assert_eq!(stats.open(), 3);
    drop((stopped, streams));
    server.finish();
}

#[test]
fn stopped_receiver_is_waited_for_and_loses_nothing() {
    let server = start_lines(small(SlowConsumer::Wait));
    let slow = connect_stopped(&server);
    let streams = connect_many(&server, 2);
    let count = 10_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            let text: String = (0..count).map(|number| line(0, number)).collect();
            send(&streams[0], text.as_bytes());
        });
        scope.spawn(|| Received::default().read(&streams[1], count));
        // The publisher stops before all is published.
        let stats = server.wait_for_rest(Duration::from_millis(300), |it| it.messages_published);
        assert!(stats.messages_published < count as u64, "nobody waited");
        Received::default().read(&slow, count);
    });
    assert_eq!(server.stats().messages_skipped, 0);
    drop((slow, streams));
    server.finish();
}

#[test]
fn receiver_that_is_waited_for_is_waited_for_no_longer_than_a_write() {
    let config = Config {
        write_timeout: Some(Duration::from_millis(500)),
        tick: Duration::from_millis(20),
        ..Config::default()
    };
    let server = start_narrow(config, lines(small(SlowConsumer::Wait)));
    let _stopped = connect_stopped(&server);
    let from = connect_many(&server, 1).remove(0);
    // More than the ring holds, and less than the kernel does for the one that reads: a busy machine
    // may keep that one from reading.
    let (count, to) = (2500, connect_narrow(&server.address, 200 * KIB));
    server.wait_until("it is open", |stats| stats.accepted == 3);
    thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|n| send(&from, line(0, n).as_bytes())));
        Received::default().read(&to, count);
    });
    assert_eq!(server.stats().closed(CloseReason::WriteTimeout), 1);
    drop((from, to));
    server.finish();
}

/// No questions to the loop here: each would be a turn, and the publishers must go on without one.
#[test]
fn publishers_go_on_when_the_one_they_wait_for_leaves() {
    for leave in [drop, reset] {
        let config = Config { write_timeout: None, ..Config::default() };
        let server = start_narrow(config, lines(small(SlowConsumer::Wait)));
        let stopped = connect_stopped(&server);
        let streams = connect_many(&server, 2);
        thread::scope(|scope| {
            scope.spawn(|| (0..5000).for_each(|n| send(&streams[0], line(0, n).as_bytes())));
            let reader = scope.spawn(|| Received::default().read(&streams[1], 5000));
            server.wait_for_rest(Duration::from_millis(300), |stats| stats.messages_published);
            leave(stopped);
            reader.join().unwrap();
        });
        drop(streams);
        server.finish();
    }
}

/// A broadcast of pieces of up to 100 bytes that their authors get as well.
fn to_all() -> impl Handler + Send {
    let mut topic = None;
    let on_open = move |cx: &mut Context<'_>, token: Token| {
        let topic = *topic.get_or_insert_with(|| cx.create_topic(small(SlowConsumer::Wait)));
        cx.subscribe(token, topic, Start::Next);
        topic
    };
    HandlerFn::new(on_open, |cx, token, topic, input| {
        while !cx.is_held(token) && !input.is_empty() {
            let len = input.len().min(100);
            match cx.publish_to_all(*topic, Some(token), &input.contiguous()[..len]) {
                Ok(_) => input.consume(len),
                Err(error) => assert_eq!((error, cx.is_held(token)), (PublishError::Full, true)),
            }
        }
        Ok(())
    })
}

#[test]
fn author_gets_what_is_published_to_all_and_is_held_while_there_is_no_room() {
    let server = start_narrow(Config::default(), to_all());
    let slow = connect_stopped(&server);
    let author = server.connect();
    server.wait_until("all are open", |stats| stats.accepted == 2);
    let len = 1_000_000;
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&author, 1, 0, len));
        scope.spawn(|| expect_pattern(&author, 1, 0, len));
        let stats = server.wait_for_rest(Duration::from_millis(300), |it| it.messages_published);
        assert!(stats.bytes_consumed < len as u64, "nobody waited");
        expect_pattern(&slow, 1, 0, len);
    });
    drop((slow, author));
    server.finish();
}

/// Lets a connection follow two topics, which are created with the first one.
fn follow_both(
    topics: &mut Option<[TopicId; 2]>,
    cx: &mut Context<'_>,
    token: Token,
) -> [TopicId; 2] {
    let create = |cx: &mut Context<'_>| cx.create_topic(TopicConfig::default());
    let both = *topics.get_or_insert_with(|| [(); 2].map(|()| create(cx)));
    for topic in both {
        cx.subscribe(token, topic, Start::Next);
    }
    both
}

#[test]
fn whoever_follows_nothing_any_more_gets_nothing_behind_its_farewell() {
    let mut topics = None;
    let on_open = move |cx: &mut Context<'_>, token| follow_both(&mut topics, cx, token);
    let farewell = HandlerFn::new(on_open, |cx, token, topics, input| {
        for topic in topics {
            cx.publish_to_all(*topic, Some(token), input.contiguous()).unwrap();
        }
        input.clear();
        cx.unsubscribe_all(token);
        cx.send(token, b"farewell");
        cx.close(token);
        Ok(())
    });
    let server = start(Config::default(), farewell);
    let streams = connect_many(&server, 2);
    send(&streams[0], b"news");
    expect_bytes(&streams[1], b"newsnews");
    expect_bytes(&streams[0], b"farewell");
    expect_eof(&streams[0]);
    drop(streams);
    server.finish();
}

/// What [`catch_up`] keeps.
#[derive(Default)]
struct Members {
    topics: Option<[TopicId; 2]>,
    all: Vec<Token>,
}

/// Everybody follows two topics. Whoever writes publishes to both, and leaves the second; then all
/// catch up with the first and are told so.
fn catch_up() -> Scripted<Members, [TopicId; 2]> {
    let on_open = |it: &mut Members, cx: &mut Context<'_>, token| {
        it.all.push(token);
        follow_both(&mut it.topics, cx, token)
    };
    Scripted::new(Members::default(), on_open, |it, cx, token, topics, input| {
        input.clear();
        let [first, second] = *topics;
        cx.publish(second, None, b"[second]").unwrap();
        for (from, message) in [(Some(token), b"[own]"), (None, b"[all]"), (Some(token), b"[end]")]
        {
            cx.publish(first, from, message).unwrap();
        }
        cx.unsubscribe(token, second);
        assert!(!cx.catch_up(token, second), "it follows that no more");
        for member in &it.all {
            for _ in 0..2 {
                assert!(cx.catch_up(*member, first));
            }
            cx.send(*member, b"[told]");
        }
        cx.publish(first, None, b"[later]").unwrap();
        Ok(())
    })
}

#[test]
fn what_was_published_comes_before_what_is_sent_to_those_who_caught_up() {
    let server = start(Config::default(), catch_up());
    let streams = connect_many(&server, 2);
    send(&streams[0], b"!");
    expect_bytes(&streams[0], b"[all][told][later]");
    let mut bytes = [0; b"[own][all][end][told][later][second]".len()];
    (&streams[1]).read_exact(&mut bytes).unwrap();
    let text = str::from_utf8(&bytes).unwrap();
    assert!(text.starts_with("[own][all][end][told]"), "{text}");
    assert!(text.contains("[later]") && text.contains("[second]"), "{text}");
    expect_silence(&streams[0], Duration::from_millis(100));
    let stats = server.finish();
    assert_eq!(stats.messages_delivered, 1 + 3 + 2 + 1);
}

/// What [`relief`] keeps.
struct Relief {
    followed: Option<(TopicId, Token)>,
    published: Arc<AtomicUsize>,
}

/// The first to come follows the topic and nobody else does; when somebody goes it catches up.
fn relief(published: &Arc<AtomicUsize>) -> Scripted<Relief> {
    let on_open = |it: &mut Relief, cx: &mut Context<'_>, token| {
        it.followed.get_or_insert_with(|| {
            let topic = cx.create_topic(small(SlowConsumer::Wait));
            cx.subscribe(token, topic, Start::Next);
            (topic, token)
        });
    };
    let state = Relief { followed: None, published: Arc::clone(published) };
    Scripted::new(state, on_open, |it, cx, token, (), input| {
        let (topic, _) = it.followed.unwrap();
        while !cx.is_held(token) && !input.is_empty() {
            let len = input.len().min(100);
            if cx.publish(topic, Some(token), &input.contiguous()[..len]).is_ok() {
                input.consume(len);
                it.published.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })
    .on_close(|it, cx, _, (), _| {
        let (topic, subscriber) = it.followed.unwrap();
        cx.catch_up(subscriber, topic);
    })
}

#[test]
fn publisher_that_waited_goes_on_once_the_subscriber_has_caught_up() {
    let published = Arc::default();
    let server = start_narrow(Config::default(), relief(&published));
    let slow = connect_stopped(&server);
    let [author, other] = [server.connect(), server.connect()];
    server.wait_until("all are open", |stats| stats.accepted == 3);
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&author, 1, 0, MIB));
        server.wait_for_rest(Duration::from_millis(300), |it| it.messages_published);
        let before = published.load(Ordering::Relaxed);
        drop(other);
        // The server is not asked: that alone would wake it.
        let deadline = Instant::now() + PATIENCE;
        while published.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < deadline, "nobody goes on");
            thread::sleep(Duration::from_millis(2));
        }
        expect_pattern(&slow, 1, 0, MIB);
    });
    drop((slow, author));
    server.finish();
}

#[test]
fn held_publisher_that_ends_still_delivers_all_its_lines() {
    let server = start_lines(small(SlowConsumer::Wait));
    let slow = connect_stopped(&server);
    let streams = connect_many(&server, 2);
    let count = 3000;
    thread::scope(|scope| {
        scope.spawn(|| {
            let text: String = (0..count).map(|number| line(0, number)).collect();
            // The last newline is left to the server.
            send(&streams[0], text.trim_end().as_bytes());
            end_sending(&streams[0]);
        });
        scope.spawn(|| Received::default().read(&streams[1], count));
        server.wait_for_rest(Duration::from_millis(300), |it| it.messages_published);
        Received::default().read(&slow, count);
    });
    expect_eof(&streams[0]);
    drop((slow, streams));
    server.finish();
}

#[test]
fn slow_receivers_cost_no_memory_beyond_the_ring() {
    let topic = small(SlowConsumer::Skip);
    let server = start_lines(topic.clone());
    let stopped: Vec<TcpStream> = (0..50).map(|_| connect_stopped(&server)).collect();
    let streams = connect_many(&server, 2);
    let published = |stats: &edgeloop::Stats| stats.messages_published > 5000;
    chat_until(&server, [&streams[0], &streams[1]], published);
    // Each holds at most the rest of one line.
    let waiting = server.stats().bytes_waiting();
    assert!(waiting <= 50 * LINE_MAX as u64, "{waiting} bytes");
    drop((stopped, streams));
    server.stop();
}

// What it costs.

#[test]
fn messages_of_one_turn_leave_in_one_write_for_each_subscriber() {
    let mut server = ByHand::new(Config::default(), lines(TopicConfig::default()));
    let streams: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    server.turn_until("all are open", |reactor| reactor.stats().accepted == 40);
    // The first events say that they are writable.
    server.turn();
    for stream in &streams[..30] {
        send(stream, b"one\ntwo\nthree\n");
    }
    let before = server.reactor.stats().clone();
    server.turn_until("all is published", |it| it.stats().messages_published == 90);
    let after = server.reactor.stats();
    let (writes, turns) = (after.writes - before.writes, after.turns - before.turns);
    assert!(writes <= 40 * turns, "{writes} writes in {turns} turns");
    assert_eq!(after.messages_delivered, 90 * 39 - 90 + 90);
}

// ---- clients that only listen, and such as speak TLS or HTTP ----

/// As `ncat </dev/null` does, from cron or in a container without a terminal.
#[test]
fn client_without_input_listens_on_and_one_that_said_something_is_closed() {
    for framing in [Framing::Lines, Framing::Length] {
        let message: &[u8] = if framing == Framing::Lines { b"news\n" } else { b"\0\0\0\x04news" };
        let handler = Broadcast::new(framing, LINE_MAX, TopicConfig::default());
        let server = start_narrow(Config::default(), handler);
        let listener = connect_listener(&server);
        let speaker = connect_many(&server, 1).remove(0);
        for _ in 0..3 {
            send(&speaker, message);
            expect_bytes(&listener, message);
        }
        let other = connect_many(&server, 1).remove(0);
        send(&other, message);
        end_sending(&other);
        expect_eof(&other);
        // A part of a message was sent, and is none.
        let half = connect_many(&server, 1).remove(0);
        send(&half, &message[..3]);
        server.wait_until("it came", |stats| stats.bytes_received > 4 * message.len() as u64);
        end_sending(&half);
        expect_eof(&half);
        // A listener that is gone is found out by the next message at the latest.
        drop(listener);
        server.wait_until("it is gone", |stats| {
            send(&speaker, message);
            stats.open() == 1
        });
        drop(speaker);
        server.stop();
    }
}

/// A balancer's check connects and closes; nothing tells it from a client that listens on.
#[test]
fn checks_of_a_balancer_take_a_bounded_share_of_an_idle_broadcast() {
    let config = Config { connections_max: 16, keepalive: None, ..Config::default() };
    let server = start_narrow(config, lines(TopicConfig::default()));
    let listener = || connect_listener(&server);
    let first = listener();
    (0..20).for_each(|_| drop(connect_many(&server, 1)));
    expect_eof(&first);
    server.wait_until("a quarter has places", |stats| stats.open() == 4);
    let speaker = connect_many(&server, 1).remove(0);
    send(&speaker, b"news\n");
    server.wait_until("all others were found to be gone", |stats| stats.open() == 1);
    // Whoever takes a message is no check, and keeps its place.
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.extend((0..4).map(|_| listener()));
        send(&speaker, b"news\n");
        listeners.iter().for_each(|listener| expect_bytes(listener, b"news\n"));
    }
    drop((speaker, listeners));
    server.stop();
}

#[test]
fn client_that_ends_its_side_later_has_left() {
    let server = start_lines(TopicConfig::default());
    let client = connect_many(&server, 1).remove(0);
    thread::sleep(Duration::from_millis(1100));
    end_sending(&client);
    expect_eof(&client);
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 1)]);
}

#[test]
fn shutdown_closes_clients_that_only_listen() {
    let server = start_lines(TopicConfig::default());
    let listener = connect_listener(&server);
    let speaker = connect_many(&server, 1).remove(0);
    send(&speaker, b"last\n");
    expect_bytes(&listener, b"last\n");
    server.remote.clone().run(|cx| cx.drain()).unwrap();
    expect_eof(&listener);
    drop(speaker);
    server.finish();
}

#[test]
fn greeting_of_tls_is_published_to_nobody() {
    let server = start_lines(TopicConfig::default());
    let listener = connect_many(&server, 1).remove(0);
    for cut in [0, 1, 2, 6] {
        let greeting = b"\x16\x03\x01\x02\x00\x01\n and lines\nin it\n";
        let client = server.connect();
        let received = server.stats().bytes_received + cut as u64;
        send(&client, &greeting[..cut]);
        server.wait_until("the first part came", |stats| stats.bytes_received >= received);
        let _ = (&client).write_all(&greeting[cut..]);
        expect_eof(&client);
    }
    // Later it is a line as any other: bytes are passed on as they are.
    let speaker = connect_many(&server, 1).remove(0);
    send(&speaker, b"first\n\x16\x03\x01\n");
    expect_bytes(&listener, b"first\n\x16\x03\x01\n");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 4);
}

/// A page may let a browser send one to whatever listens on this machine, with a body of its choice.
#[test]
fn request_of_a_browser_is_published_to_nobody() {
    let server = start_lines(TopicConfig::default());
    let listener = connect_many(&server, 1).remove(0);
    let request = b"POST /a HTTP/1.1\r\nHost: localhost\r\n\r\nwords of a page\n";
    for cut in [0, 1, 5, 17, 18, 30] {
        let browser = server.connect();
        let received = server.stats().bytes_received + cut as u64;
        send(&browser, &request[..cut]);
        server.wait_until("the first part came", |stats| stats.bytes_received >= received);
        let _ = (&browser).write_all(&request[cut..]);
        expect_eof(&browser);
    }
    // A line without its end is one, too.
    let browser = server.connect();
    send(&browser, b"GET / HTTP/1.0");
    end_sending(&browser);
    expect_eof(&browser);
    // Later such a line is as any other: people talk of requests.
    let speaker = connect_many(&server, 1).remove(0);
    send(&speaker, b"it says\nGET / HTTP/1.1\n");
    expect_bytes(&listener, b"it says\nGET / HTTP/1.1\n");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::ProtocolError), 7);
}

// Bugs that were found, each with the schedule that showed it.

// A connection publishes, then subscribes to the history; its socket cuts the writes.
#[test]
fn regression_own_messages_from_before_a_subscription_are_passed_over() {
    const ROUNDS: u8 = 40;
    let mut topic = None;
    let (handler, _seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Data(token, _) = seen {
            let memory = LONG_REPLY;
            let config = TopicConfig { memory, history: 1000, ..TopicConfig::default() };
            let topic = *topic.get_or_insert_with(|| cx.create_topic(config));
            for round in 0..ROUNDS {
                cx.publish(topic, Some(*token), &[b'x'; 70_001]).unwrap();
                cx.publish(topic, None, &[round; 100_003]).unwrap();
            }
            cx.subscribe(*token, topic, Start::Last(1000));
        }
    });
    let server = start(stalled::config(), handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    send(&stream, b"now");
    server.wait_until("it is owed", |stats| stats.messages_published == 2 * u64::from(ROUNDS));
    for round in 0..ROUNDS {
        expect_bytes(&stream, &[round; 100_003]);
    }
    drop(stream);
    server.finish();
}

// Both subscribers publish and neither reads: both are held by the topic, and an idle timeout
// shorter than the write timeout comes round again and again.
#[test]
fn regression_wait_for_a_slow_subscriber_ends_although_there_is_an_idle_timeout() {
    let config =
        Config { idle_timeout: Some(SHORT), write_timeout: Some(2 * SHORT), ..stalled::config() };
    let slow_consumer = SlowConsumer::Wait;
    let topic = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let streams = [server.connect(), server.connect()];
    thread::scope(|scope| {
        for mut stream in &streams {
            // Until the server is stopped: whoever is left alone is held no more.
            scope.spawn(move || while stream.write_all(&line_of(1000).repeat(100)).is_ok() {});
        }
        server.wait_until("nobody waits for ever", |stats| stats.open() < 2);
        server.stop();
    });
}

// A publisher waits for one who does not read, for much longer than the idle timeout.
#[test]
fn regression_held_publisher_does_not_wake_the_loop_with_each_tick() {
    let idle = Duration::from_millis(50);
    let tick = Duration::from_millis(1);
    let config =
        Config { idle_timeout: Some(idle), write_timeout: None, tick, ..stalled::config() };
    let slow_consumer = SlowConsumer::Wait;
    let topic = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let (stream, silent) = (server.connect(), connect_narrow(&server.address, 8 * KIB));
    server.send_until_blocked(&stream, &line_of(1000).repeat(16));
    let before = server.wait_for_rest(idle, |stats| stats.messages_published);
    thread::sleep(10 * idle);
    let turns = server.stats().turns - before.turns;
    // It is held, so one idle timeout at the most passes; asking for the counters is a turn, too.
    assert!(turns < 100, "{turns} turns in half a second in which nothing happens");
    drop((stream, silent));
    server.stop();
}

// A subscriber that does not read is aborted in the `on_close` of another connection, after the
// flush phase has looked whether there is room for those who publish.
#[test]
fn regression_publishers_go_on_when_the_one_they_wait_for_is_aborted_in_on_close() {
    let server = start(stalled::config(), first_is_slow());
    let slow = connect_narrow(&server.address, 8 * KIB);
    server.wait_until("the slow one is the first", |stats| stats.accepted == 1);
    let partner = server.connect();
    server.wait_until("its partner is the second", |stats| stats.accepted == 2);
    let publisher = server.connect();
    server.send_until_blocked(&publisher, &[b'm'; 100 * KIB]);
    drop(partner);
    // Nothing asks the server for anything from here on: that would wake it.
    send(&publisher, &vec![b'm'; LONG_REPLY]);
    drop((publisher, slow));
    server.stop();
}

/// Every connection publishes messages of 1000 bytes; the first one is the only subscriber, and
/// goes with the next that closes.
fn first_is_slow() -> Scripted<Option<(Token, TopicId)>> {
    let on_open = |first: &mut Option<(Token, TopicId)>, cx: &mut Context<'_>, token| {
        first.get_or_insert_with(|| {
            let slow_consumer = SlowConsumer::Wait;
            let config = TopicConfig { memory: 64 * KIB, slow_consumer, ..TopicConfig::default() };
            let topic = cx.create_topic(config);
            cx.subscribe(token, topic, Start::Next);
            (token, topic)
        });
    };
    Scripted::new(None, on_open, |first, cx, token, (), input| {
        let (_, topic) = first.unwrap();
        while let Some(message) = input.contiguous().get(..1000) {
            if cx.publish(topic, Some(token), message) == Err(PublishError::Full) {
                break;
            }
            input.consume(1000);
        }
        Ok(())
    })
    .on_close(|first, cx, _, (), _| cx.abort(first.unwrap().0))
}

// A subscriber stops reading under a patience that no clock can add to the time.
#[test]
fn regression_patience_may_be_endless() {
    let config = Config { write_timeout: None, ..stalled::config() };
    let patience = Duration::MAX;
    let topic = TopicConfig { memory: 64 * KIB, patience, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let slow = connect_narrow(&server.address, 8 * KIB);
    let publisher = server.connect();
    server.send_until_blocked(&publisher, &line_of(1000));
    let stats = server.stats();
    assert_eq!((stats.open(), stats.messages_skipped), (2, 0), "{stats}");
    drop((publisher, slow));
    server.stop();
}

// A topic holds more for newcomers than all connections may have in buffers.
#[test]
fn regression_history_of_a_topic_starves_no_reader() {
    const LINES: usize = 900;
    let config = Config { buffer_memory: 256 * KIB, ..stalled::config() };
    let topic = TopicConfig { history: 100_000, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 64 * KIB, topic));
    let stream = server.connect();
    send(&stream, &line_of(1000).repeat(LINES));
    server.wait_until("all is read", |stats| stats.messages_published == LINES as u64);
    drop(stream);
    server.finish();
}

fn line_of(len: usize) -> Vec<u8> {
    let mut line = vec![b'l'; len];
    line[len - 1] = b'\n';
    line
}

// One subscriber publishes; in the same turn, behind it, the other one is closed because its peer
// has ended.
#[test]
fn regression_message_of_this_turn_reaches_a_subscriber_that_is_closed_in_this_turn() {
    let mut topic = None;
    let (handler, _seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        let topic = *topic.get_or_insert_with(|| cx.create_topic(TopicConfig::default()));
        match seen {
            Seen::Open(token) => drop(cx.subscribe(*token, topic, Start::Next)),
            Seen::Data(token, bytes) => drop(cx.publish(topic, Some(*token), bytes).unwrap()),
            Seen::End(token) => cx.close(*token),
            _ => {}
        }
    });
    let mut server = ByHand::new(stalled::config(), handler);
    let (publisher, leaving) = (server.connect(), server.connect());
    server.turn_until("both are open", |reactor| reactor.stats().accepted == 2);
    (0..5).for_each(|_| server.turn());
    send(&publisher, b"message");
    end_sending(&leaving);
    server.turn_until("one is closed", |reactor| reactor.stats().open() == 1);
    expect_last_bytes(&leaving, b"message");
}

// More than a topic holds is published in one call, and nobody follows it.
#[test]
fn regression_topic_that_nobody_follows_is_never_full() {
    let mut server = ByHand::new(stalled::config(), Echo::new());
    server.reactor.with_context(|_, cx| {
        let memory = 64 * KIB;
        let config = TopicConfig { memory, history: 10, ..TopicConfig::default() };
        let topic = cx.create_topic(config);
        for sequence in 0..1000 {
            assert_eq!(cx.publish(topic, None, &[1; 1000]), Ok(sequence));
        }
    });
}

// A write is refused between two messages, so that nothing is owed but what the topic holds; then
// the connection unsubscribes.
#[test]
fn regression_no_write_timeout_once_an_unsubscribe_left_nothing_owed() {
    let config = Config { write_timeout: Some(SHORT), ..stalled::config() };
    let mut blocked = Blocked::new("unsubscribe", config);
    let (token, topic) = (blocked.token, blocked.topic);
    blocked.reactor.with_context(|_, cx| cx.unsubscribe(token, topic));
    turn_for(&mut blocked.reactor, 2 * SHORT);
    assert_eq!(blocked.reactor.stats().open(), 1, "{}", blocked.reactor.stats());
}

// As above, nothing is owed after an unsubscribe; then something is sent, and the peer still reads
// nothing.
#[test]
fn regression_write_timeout_counts_again_for_what_is_sent_after_an_unsubscribe() {
    for is_closed in [false, true] {
        let config = Config { write_timeout: Some(SHORT), ..stalled::config() };
        let mut blocked = Blocked::new("send", config);
        let (token, topic) = (blocked.token, blocked.topic);
        blocked.reactor.with_context(|_, cx| {
            cx.unsubscribe(token, topic);
            assert!(cx.send(token, b"more"));
            if is_closed {
                cx.close(token);
            }
        });
        turn_for(&mut blocked.reactor, 3 * SHORT);
        assert_eq!(blocked.reactor.stats().open(), 0, "{}", blocked.reactor.stats());
    }
}

// A shutdown begins while a topic has messages for a peer that reads nothing; then it is
// unsubscribed.
#[test]
fn regression_shutdown_closes_a_connection_to_which_nothing_is_owed_since_an_unsubscribe() {
    let config = Config { drain_quiet: SHORT, linger_timeout: SHORT, ..stalled::config() };
    let mut blocked = Blocked::new("drain", config);
    blocked.reactor.with_context(|_, cx| cx.drain());
    blocked.reactor.turn().unwrap();
    let (token, topic) = (blocked.token, blocked.topic);
    blocked.reactor.with_context(|_, cx| cx.unsubscribe(token, topic));
    let begun = Instant::now();
    blocked.reactor.run().unwrap();
    assert!(begun.elapsed() < Config::default().drain_timeout);
}

/// A connection whose socket refused bytes between two messages of a topic, so that nothing else is
/// owed. A write of one small message to a Unix socket is taken whole or not at all.
struct Blocked {
    reactor: Reactor<Reporter<Decide>>,
    token: Token,
    topic: TopicId,
    _stream: std::os::unix::net::UnixStream,
}

impl Blocked {
    fn new(name: &str, config: Config) -> Self {
        let decide: Decide = |_, _| ();
        let (handler, seen) = Reporter::new(decide);
        let mut reactor = Reactor::new(config, handler).unwrap();
        let path = std::env::temp_dir().join(format!("edgeloop-{name}-{}", std::process::id()));
        let address = format!("unix:{}", path.display()).parse().unwrap();
        reactor.listen(&address, &ListenOptions::default()).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        reactor.turn().unwrap();
        let token = expect_open(&seen);
        let topic = reactor.with_context(|_, cx| {
            let topic = cx.create_topic(TopicConfig::default());
            cx.subscribe(token, topic, Start::Next);
            topic
        });
        while reactor.stats().messages_published == reactor.stats().messages_delivered {
            reactor.with_context(|_, cx| cx.publish(topic, None, &[1; 1000]).unwrap());
            reactor.turn().unwrap();
        }
        reactor.with_context(|_, cx| assert_eq!(cx.output_len(token), 0, "no message was cut"));
        Blocked { reactor, token, topic, _stream: stream }
    }
}

type Decide = fn(&mut Context<'_>, &Seen);

#[test]
fn regression_lines_of_a_client_that_closes_without_reading_are_still_delivered() {
    // It is owed other lines, so its close is a reset; what it sent before lies in our kernel all
    // the same.
    let config = Config { read_budget: 1000, ..Config::default() };
    let mut server =
        ByHand::new(config, Broadcast::new(Framing::Lines, 80, TopicConfig::default()));
    let (leaver, other, reader) = (server.connect(), server.connect(), server.connect());
    server.turn_until("all are open", |reactor| reactor.stats().accepted == 3);
    send(&other, b"unread by the leaver\n");
    server.turn_until("it is delivered", |reactor| reactor.stats().messages_delivered == 2);
    let lines: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    send(&leaver, &lines);
    drop(leaver);
    // While it is being read, more is sent to it.
    send(&other, b"to a dead one\n");
    server.turn_until("the leaver is gone", |reactor| reactor.stats().open() == 2);
    server.turn();
    let published = server.reactor.stats().messages_published;
    assert_eq!(published, 1002, "lines that had arrived were dropped");
    drop(reader);
}

/// A broadcast in which whoever says `x` is closed and takes the first connection along as it goes.
struct Vindictive {
    topic: Option<TopicId>,
    config: TopicConfig,
    first: Option<Token>,
    unsubscribe: bool,
}

impl Vindictive {
    fn at_work(self) -> Scripted<Vindictive> {
        Scripted::new(self, Vindictive::open, |it, cx, token, (), input| {
            if input.contiguous() == b"x" {
                input.clear();
                cx.abort(token);
            }
            while input.len() >= 100 {
                match cx.publish(it.topic.unwrap(), Some(token), &input.contiguous()[..100]) {
                    Ok(_) => input.consume(100),
                    Err(PublishError::Full) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
            Ok(())
        })
        .on_close(|it, cx, _, (), reason| {
            if reason == CloseReason::Aborted
                && let (Some(first), Some(topic)) = (it.first.take(), it.topic)
            {
                match it.unsubscribe {
                    true => assert!(cx.unsubscribe(first, topic)),
                    false => cx.abort(first),
                }
            }
        })
    }

    fn open(&mut self, cx: &mut Context<'_>, token: Token) {
        let topic = *self.topic.get_or_insert_with(|| cx.create_topic(self.config.clone()));
        self.first.get_or_insert(token);
        cx.subscribe(token, topic, Start::Next);
    }
}

#[test]
fn regression_publishers_go_on_when_the_one_they_wait_for_is_ended_in_the_close_phase() {
    for unsubscribe in [false, true] {
        let config = Config { write_timeout: None, ..Config::default() };
        let handler = Vindictive {
            topic: None,
            config: TopicConfig {
                memory: 64 * KIB,
                slow_consumer: SlowConsumer::Wait,
                ..TopicConfig::default()
            },
            first: None,
            unsubscribe,
        };
        let server = start_by(config, handler.at_work(), |reactor| {
            let lowat = Some(16 << 10);
            let options = ListenOptions { notsent_lowat: lowat, ..ListenOptions::default() };
            reactor.listen(&"127.0.0.1:0".parse().unwrap(), &options).unwrap()
        });
        let stopped = connect_narrow(&server.address, 2048);
        server.wait_until("the first is open", |stats| stats.accepted == 1);
        let streams: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
        server.wait_until("all are open", |stats| stats.accepted == 4);
        thread::scope(|scope| {
            scope.spawn(|| send_pattern(&streams[0], 1, 0, 1_000_000));
            let reader = scope.spawn(|| expect_pattern(&streams[1], 1, 0, 1_000_000));
            server.wait_for_rest(Duration::from_millis(300), |stats| stats.messages_published);
            send(&streams[2], b"x");
            reader.join().unwrap();
        });
        drop((stopped, streams));
        server.stop();
    }
}

#[test]
fn regression_memory_that_a_topic_holds_costs_no_connection_that_holds_none() {
    // The ring may grow beyond all the memory there is; a stopped client keeps it full for a while.
    let config = Config { buffer_memory: 256 * KIB, ..Config::default() };
    let patience = Duration::from_secs(2);
    let topic = TopicConfig { memory: MIB, patience, ..TopicConfig::default() };
    let server = start(config, Broadcast::new(Framing::Lines, 1000, topic));
    let stopped = connect_narrow(&server.address, 2048);
    let (from, to) = (server.connect(), server.connect());
    server.wait_until("all are open", |stats| stats.accepted == 3);
    // More than the kernel takes for the stopped one, and never more than the ring holds for the other: a
    // busy machine that does not run the test for a moment makes nobody else fall behind.
    let text = [&[b'x'; 999][..], b"\n"].concat().repeat(500);
    for _ in 0..12 {
        thread::scope(|scope| {
            scope.spawn(|| send(&from, &text));
            expect_bytes(&to, &text);
        });
    }
    let stats = server.stats();
    assert!(stats.closed(CloseReason::Memory) <= 1, "{:?}", closed(&stats));
    drop((stopped, from, to));
    server.stop();
}
