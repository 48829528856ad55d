//! A turn is bounded in work: whoever makes the server work much is served in slices, with others
//! between them, and each phase leaves to the next turn what its budget has no room for. Turns, visits
//! and orders are counted; nothing is timed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod common;

use std::collections::{HashMap, HashSet};
use std::net::TcpStream;
use std::time::Duration;

use common::scripted::Scripted;
use common::{ByHand, end_sending, expect_bytes, expect_eof, reset, send};
use edgeloop::service::{Broadcast, Framing, HandlerFn};
use edgeloop::{Config, Context, Handler, SlowConsumer, Start, Token, TopicConfig, TopicId};

/// Of the configurations here: a slice is a tenth of a budget.
const BUDGET: usize = 1_000_000;
const SLICE: usize = BUDGET / 10;

fn tight() -> Config {
    Config {
        work_budget: BUDGET,
        work_slice: SLICE,
        tick: Duration::from_millis(1),
        ..Config::default()
    }
}

/// Works for a connection, in pieces, and without end until it is told to stop: its input stays where it
/// is. What begins with a question mark costs nothing and is taken at once.
#[derive(Default)]
struct Labourer {
    /// Units of a piece of work.
    piece: usize,
    is_over: bool,
    /// The connections in the order of their visits, each with the pieces done and the turn.
    visits: Vec<(Token, usize, u64)>,
    /// Work of the other callbacks, and the turns in which they came.
    on_open: usize,
    on_timer: usize,
    on_close: usize,
    opened: Vec<u64>,
    fired: Vec<u64>,
    closed: Vec<(Token, u64)>,
    sets_timer: bool,
}

impl Labourer {
    fn at_work(self) -> Scripted<Labourer> {
        let on_open = |it: &mut Labourer, cx: &mut Context<'_>, token| {
            it.opened.push(cx.stats().turns);
            cx.charge(it.on_open);
            if it.sets_timer {
                cx.set_timer(token, Duration::ZERO);
            }
        };
        Scripted::new(self, on_open, |it, cx, token, (), input| {
            let mut pieces = 0;
            let is_question = input.contiguous().starts_with(b"?");
            if is_question {
                input.clear();
            }
            while !cx.is_held(token) && !it.is_over && !is_question {
                pieces += 1;
                assert!(pieces <= SLICE, "it is never held");
                cx.charge(it.piece);
            }
            it.visits.push((token, pieces, cx.stats().turns));
            if it.is_over {
                input.clear();
            }
            Ok(())
        })
        .on_timer(|it, cx, token, ()| {
            it.fired.push(cx.stats().turns);
            cx.charge(it.on_timer);
            if it.sets_timer {
                cx.set_timer(token, Duration::ZERO);
            }
        })
        .on_close(|it, cx, token, (), _| {
            it.closed.push((token, cx.stats().turns));
            cx.charge(it.on_close);
        })
    }
}

fn crowd<H: Handler>(server: &mut ByHand<H>, count: usize) -> Vec<TcpStream> {
    let clients = (0..count).map(|_| server.connect()).collect();
    server.turn_until("all are there", |reactor| reactor.stats().accepted == count as u64);
    clients
}

/// Bytes that wait to be read; some hundred at most.
fn arrived(client: &TcpStream) -> usize {
    client.set_nonblocking(true).unwrap();
    let arrived = client.peek(&mut [0; 512]).unwrap_or(0);
    client.set_nonblocking(false).unwrap();
    arrived
}

/// The most that happened in one turn.
fn most_in_a_turn(turns: impl IntoIterator<Item = u64>) -> usize {
    let mut counts = HashMap::new();
    turns.into_iter().for_each(|turn| *counts.entry(turn).or_insert(0) += 1);
    counts.into_values().max().unwrap_or(0)
}

#[test]
fn visit_ends_with_the_slice_and_the_rest_of_the_input_is_offered_again() {
    let handler = Labourer { piece: SLICE / 4, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, 1);
    send(&clients[0], b"work");
    server.turn_until("ten visits", |reactor| reactor.handler().visits.len() == 10);
    let visits = std::mem::take(&mut server.reactor.handler().visits);
    assert!(visits.iter().all(|(_, pieces, _)| *pieces == 4), "{visits:?}");
    assert_eq!(most_in_a_turn(visits.iter().map(|visit| visit.2)), 1, "once a turn");
    server.reactor.handler().is_over = true;
    server.turn_until("all is taken", |reactor| reactor.stats().bytes_consumed == 4);
}

#[test]
fn those_who_have_work_without_end_are_served_in_a_round_and_a_turn_ends_with_its_budget() {
    let handler = Labourer { piece: SLICE, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, 25);
    clients.iter().for_each(|client| send(client, b"work"));
    server.turn_until("everybody is at work", |reactor| {
        let visits = &reactor.handler().visits;
        visits.iter().map(|visit| visit.0).collect::<HashSet<_>>().len() == 25
    });
    server.reactor.handler().visits.clear();
    server.turn_until("ten rounds", |reactor| reactor.handler().visits.len() >= 250);
    let visits = std::mem::take(&mut server.reactor.handler().visits);
    for (visit, again) in visits.iter().zip(&visits[25..]) {
        assert_eq!(visit.0, again.0, "everybody else comes in between");
    }
    // The reactor's own work is in it as well.
    let most = most_in_a_turn(visits.iter().map(|visit| visit.2));
    assert!((9..=10).contains(&most), "{most} slices in a turn");
}

#[test]
fn who_leaves_nothing_behind_is_served_before_those_whose_work_has_no_end() {
    const CROWD: usize = 200;
    let handler = Labourer { piece: SLICE, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, CROWD);
    let asker = server.connect();
    // Each visit tells how many there were before it.
    let visits_until_answered = |server: &mut ByHand<Scripted<Labourer>>| {
        server.reactor.handler().visits.clear();
        send(&asker, b"?");
        let answered = |visits: &[(Token, usize, u64)]| visits.iter().position(|it| it.1 == 0);
        server.turn_until("the question is taken", |reactor| {
            answered(&reactor.handler().visits).is_some()
        });
        answered(&server.reactor.handler().visits).unwrap()
    };
    visits_until_answered(&mut server);
    clients.iter().for_each(|client| send(client, b"work"));
    server.turn_until("everybody is at work", |reactor| {
        let visits = &reactor.handler().visits;
        visits.iter().map(|visit| visit.0).collect::<HashSet<_>>().len() > CROWD
    });
    for _ in 0..20 {
        let before = visits_until_answered(&mut server);
        // Of the turn in which the question comes in, at most, and one of the next.
        assert!(before <= 11, "{before} others of {CROWD} are visited first");
    }
}

#[test]
fn timers_that_are_due_at_once_do_not_keep_others_from_being_read_nor_from_coming_in() {
    let handler =
        Labourer { piece: SLICE, on_timer: BUDGET, sets_timer: true, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    // Each fires over and over, and uses up the whole budget each time.
    let clients = crowd(&mut server, 20);
    server.turn_until("timers fire", |reactor| reactor.handler().fired.len() >= 40);
    send(&clients[0], b"work");
    let late = server.connect();
    server.turn_until("it is read, and the other one is let in", |reactor| {
        !reactor.handler().visits.is_empty() && reactor.stats().accepted == 21
    });
    let fired = std::mem::take(&mut server.reactor.handler().fired);
    assert_eq!(most_in_a_turn(fired), 1, "one for each budget");
    drop(late);
}

#[test]
fn tasks_and_new_connections_are_left_to_the_next_turn_beyond_the_budget() {
    let handler = Labourer { on_open: BUDGET, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, 10);
    let opened = std::mem::take(&mut server.reactor.handler().opened);
    assert_eq!(most_in_a_turn(opened), 1, "one for each budget");
    let (sender, ran) = std::sync::mpsc::channel();
    for number in 0..10 {
        let sender = sender.clone();
        let task = move |cx: &mut Context<'_>| {
            sender.send((number, cx.stats().turns)).unwrap();
            cx.charge(BUDGET);
        };
        server.reactor.remote().run(task).unwrap();
    }
    let mut seen: Vec<(i32, u64)> = Vec::new();
    while seen.len() < 10 {
        server.turn();
        seen.extend(ran.try_iter());
    }
    assert!(seen.iter().map(|it| it.0).eq(0..10), "in their order: {seen:?}");
    assert_eq!(most_in_a_turn(seen.iter().map(|it| it.1)), 1, "one for each budget");
    drop(clients);
}

#[test]
fn crowd_that_leaves_at_once_is_seen_off_in_slices_and_everybody_once() {
    let handler = Labourer { on_close: BUDGET / 4, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, 40);
    clients.into_iter().for_each(reset);
    server.turn_until("all have gone", |reactor| reactor.stats().open() == 0);
    let closed = std::mem::take(&mut server.reactor.handler().closed);
    let most = most_in_a_turn(closed.iter().map(|it| it.1));
    assert!(most <= 4, "{most} quarters of a budget in a turn");
    let tokens: HashSet<Token> = closed.iter().map(|it| it.0).collect();
    assert_eq!((closed.len(), tokens.len()), (40, 40));
}

#[test]
fn shutdown_that_is_over_closes_everybody_in_its_last_turn() {
    let handler = Labourer { on_close: BUDGET, ..Labourer::default() };
    let mut server = ByHand::new(tight(), handler.at_work());
    let clients = crowd(&mut server, 40);
    server.reactor.with_context(|_, cx| cx.stop());
    server.turn();
    assert!(server.reactor.is_done());
    drop(clients);
}

/// Lets a connection follow so many topics, which are created with the first one.
fn follow_all(topics: &mut Vec<TopicId>, count: usize, cx: &mut Context<'_>, token: Token) {
    topics.resize_with(count.max(topics.len()), || cx.create_topic(TopicConfig::default()));
    for topic in topics {
        assert!(cx.subscribe(token, *topic, Start::Next).is_some());
    }
}

/// As an `on_open` whose sessions are the topics.
fn following_all(count: usize) -> impl FnMut(&mut Context<'_>, Token) -> Vec<TopicId> {
    let mut topics = Vec::new();
    move |cx, token| {
        follow_all(&mut topics, count, cx, token);
        topics.clone()
    }
}

#[test]
fn connection_with_messages_of_many_topics_is_written_to_in_slices() {
    const TOPICS: usize = 500;
    // Whatever is sent is published to all of them.
    let handler = HandlerFn::new(following_all(TOPICS), |cx, _, topics, input| {
        for topic in topics {
            cx.publish(*topic, None, input.contiguous()).unwrap();
        }
        input.clear();
        Ok(())
    });
    let mut server = ByHand::new(tight(), handler);
    let clients = crowd(&mut server, 2);
    send(&clients[0], b"m");
    let (mut before, mut most) = (server.reactor.stats().writes, 0);
    let wanted = 2 * TOPICS as u64;
    while server.reactor.stats().messages_delivered < wanted {
        server.turn();
        let writes = server.reactor.stats().writes;
        most = most.max(writes - before);
        before = writes;
    }
    // A write is about a thousand units, and there are two connections.
    assert!((2..=2 * SLICE as u64 / 1000).contains(&most), "{most} writes in a turn");
    for client in &clients {
        expect_bytes(client, &[b'm'; TOPICS]);
    }
}

#[test]
fn announcement_over_several_turns_loses_nothing_and_keeps_the_order() {
    // One subscriber is told in a turn, and one is written to.
    let config = Config { work_budget: 1, ..tight() };
    let mut server =
        ByHand::new(config, Broadcast::new(Framing::Lines, 100, TopicConfig::default()));
    let clients = crowd(&mut server, 12);
    let mut expected = Vec::new();
    for number in 0..30 {
        let line = format!("line {number}\n");
        send(&clients[0], line.as_bytes());
        expected.extend_from_slice(line.as_bytes());
        // Others come in the middle of it, and leave.
        drop(server.connect());
        server.turn_until("it is published", |reactor| reactor.stats().messages_published > number);
    }
    // Those who left were given messages as well, so that the count of them says nothing.
    server.turn_until("all is delivered", |reactor| {
        let has_all = |client: &TcpStream| arrived(client) >= expected.len();
        reactor.stats().open() == 12 && clients[1..].iter().all(has_all)
    });
    for client in &clients[1..] {
        expect_bytes(client, &expected);
    }
    end_sending(&clients[0]);
    server.turn_until("it has gone", |reactor| reactor.stats().open() == 11);
    expect_eof(&clients[0]);
}

/// Turns that one publisher's lines take, sent at once, with so many subscribers; and how many of them
/// ended with the budget of the read phase.
fn turns_to_publish(lines: u64, subscribers: usize, config: Config) -> u64 {
    let mut server =
        ByHand::new(config, Broadcast::new(Framing::Lines, 100, TopicConfig::default()));
    let clients = crowd(&mut server, subscribers);
    send(&clients[0], &b"l\n".repeat(lines as usize));
    server.turn_until("the first is published", |reactor| reactor.stats().messages_published > 0);
    let before = server.reactor.stats().turns;
    server.turn_until("all are published", |reactor| reactor.stats().messages_published == lines);
    server.reactor.stats().turns - before
}

#[test]
fn publisher_to_a_crowd_gets_on_as_to_a_few() {
    // To tell the crowd costs more than a slice; a line without it costs a tenth of one.
    let config = || Config { work_slice: 500, ..tight() };
    let (few, many) = (turns_to_publish(300, 2, config()), turns_to_publish(300, 60, config()));
    assert!(few > 20, "{few} turns: no slice ends");
    assert!(many <= few + few / 4, "{many} turns with a crowd, {few} without");
}

#[test]
fn publisher_to_many_crowds_is_slowed_to_some_of_them_in_a_visit() {
    const TOPICS: usize = 200;
    // A subscriber costs 20 units, and 20 of them as much as is paid for one topic.
    let config = Config { work_slice: 6_400, ..tight() };
    // Publishes to one topic for each byte.
    let handler = HandlerFn::new(following_all(TOPICS), |cx, token, topics, input| {
        while !input.is_empty() && !cx.is_held(token) {
            cx.publish(topics.pop().unwrap(), None, b"m").unwrap();
            input.consume(1);
        }
        Ok(())
    });
    let mut server = ByHand::new(config, handler);
    let clients = crowd(&mut server, 40);
    send(&clients[0], &[b'p'; TOPICS]);
    let (mut before, mut most) = (0, 0);
    while before < TOPICS as u64 {
        server.turn();
        let published = server.reactor.stats().messages_published;
        most = most.max(published - before);
        before = published;
    }
    assert!((10..=16).contains(&most), "{most} topics in a visit");
}

/// What [`leaving`] keeps.
#[derive(Default)]
struct Left {
    topics: Vec<TopicId>,
    served: usize,
}

/// Everybody follows so many topics. A full stop is to close, a question mark to be counted.
fn leaving<const TOPICS: usize>() -> Scripted<Left> {
    let on_open = |it: &mut Left, cx: &mut Context<'_>, token| {
        follow_all(&mut it.topics, TOPICS, cx, token);
    };
    Scripted::new(Left::default(), on_open, |it, cx, token, (), input| {
        match input.contiguous().last() {
            Some(b'.') => cx.close(token),
            Some(b'?') => it.served += 1,
            _ => {}
        }
        input.clear();
        Ok(())
    })
}

/// Turns until somebody is served behind a crowd that `leave` makes leave. What of a client it returns
/// is kept open until then.
fn turns_behind_a_crowd(leave: impl FnMut(TcpStream) -> Option<TcpStream>) -> u64 {
    // To leave all of them costs a tenth of a budget, to be told of the end a hundredth.
    let mut server = ByHand::new(tight(), leaving::<500>());
    let mut crowd = crowd(&mut server, 60);
    let behind = crowd.pop().unwrap();
    // That the newest may be written to is told before anybody is told to be readable.
    server.turn();
    let kept: Vec<TcpStream> = crowd.into_iter().filter_map(leave).collect();
    send(&behind, b"?");
    let before = server.reactor.stats().turns;
    server.turn_until("it is served", |reactor| reactor.handler().served > 0);
    let turns = server.reactor.stats().turns - before;
    drop(kept);
    server.turn_until("the crowd has gone", |reactor| reactor.stats().open() == 1);
    server.reactor.with_context(|handler, cx| {
        let mut topics = handler.topics.iter();
        assert!(topics.all(|topic| cx.subscribers(*topic) == 1), "the last one is still there");
    });
    turns
}

#[test]
fn crowd_that_leaves_many_topics_keeps_nobody_from_being_read() {
    let reset_after_a_byte = turns_behind_a_crowd(|client| {
        send(&client, b"!");
        reset(client);
        None
    });
    assert!(reset_after_a_byte <= 2, "{reset_after_a_byte} turns");
    let closed = turns_behind_a_crowd(|client| {
        send(&client, b".");
        Some(client)
    });
    assert!(closed <= 2, "{closed} turns");
}

const STUCK_TOPICS: usize = 20;
/// More than the kernel takes.
const BACKLOG: usize = 24 << 20;

/// Everybody follows all topics. The first to come takes nothing; of the others each publishes to a
/// topic of its own, a message for each byte.
fn stuck() -> impl Handler {
    let config =
        TopicConfig { memory: 1024, slow_consumer: SlowConsumer::Wait, ..Default::default() };
    let (mut topics, mut is_first) = (Vec::new(), true);
    let on_open = move |cx: &mut Context<'_>, token: Token| {
        if std::mem::take(&mut is_first) {
            cx.send(token, &vec![0; BACKLOG]);
            topics.resize_with(STUCK_TOPICS, || cx.create_topic(config.clone()));
        }
        for topic in &topics {
            assert!(cx.subscribe(token, *topic, Start::Next).is_some());
        }
        topics[cx.stats().accepted as usize % STUCK_TOPICS]
    };
    HandlerFn::new(on_open, |cx, token, topic, input| {
        while !input.is_empty() && cx.publish(*topic, Some(token), &[b'm'; 300]).is_ok() {
            input.consume(1);
        }
        Ok(())
    })
}

#[test]
fn looking_whether_publishers_may_go_on_has_a_budget_and_comes_to_every_topic() {
    const MESSAGES: usize = 8;
    // A look at one topic is 420 units, at all of them 8,400. A turn has 2,000 for it.
    let config = Config { work_budget: 4_000, output_limit: 2 * BACKLOG, ..tight() };
    let mut server = ByHand::new(config, stuck());
    let mut clients = crowd(&mut server, 1 + STUCK_TOPICS);
    let first = clients.remove(0);
    clients.iter().for_each(|client| send(client, &[b'm'; MESSAGES]));
    let wanted = STUCK_TOPICS * MESSAGES;
    server.turn_until("all have read what they can", |reactor| {
        reactor.stats().bytes_received == wanted as u64
    });
    (0..100).for_each(|_| server.turn());
    assert!(server.reactor.stats().messages_published < wanted as u64);
    for _ in 0..20 {
        let before = server.reactor.stats().work;
        server.turn();
        let work = server.reactor.stats().work - before;
        assert!((2_000..2_000 + 420 + 200).contains(&work), "{work} units in a turn");
    }
    reset(first);
    server.turn_until("all publishers have gone on", |reactor| {
        reactor.stats().messages_published == wanted as u64
    });
}
