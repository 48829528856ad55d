//! What another thread, or a page for administrators, can see and change: every connection, every session,
//! and the handler.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::mpsc::{self, Sender};

use common::scripted::Scripted;
use common::{MIB, PATIENCE, expect_bytes, expect_gone, send, start};
use edgeloop::service::{Echo, HandlerFn};
use edgeloop::{
    Address, Config, ConnectionInfo, Context, HandlerRemote, ListenOptions, Reactor, RemoteError,
    Sessions, Stage, Token,
};

fn listed(cx: &mut Context<'_>) -> Vec<ConnectionInfo> {
    cx.connections(None).collect()
}

#[test]
fn connections_are_listed_with_their_peers_and_what_waits() {
    let server = start(
        Config { output_limit: 4 * MIB, ..Config::default() },
        HandlerFn::new(
            |cx, token| {
                if cx.dialled(token).is_none() {
                    cx.pause(token);
                    cx.send(token, &[b'x'; 3 * MIB]);
                }
            },
            |_, _, (), input| {
                input.clear();
                Ok(())
            },
        ),
    );
    assert_eq!(server.ask(listed), []);
    let slow = server.connect();
    server.wait_until("it is open", |stats| stats.accepted == 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let stages = server.ask(move |cx| {
        let dialled = cx.connect(&to.into(), 9).unwrap();
        cx.send(dialled, b"early");
        listed(cx)
    });
    let [accepted, dialled] = &stages[..] else { panic!("{stages:?}") };
    assert_eq!((accepted.stage, accepted.dialled), (Stage::Open, None));
    assert_eq!(accepted.peer, slow.local_addr().unwrap().into());
    assert!(accepted.is_held && accepted.output > MIB, "{accepted:?}");
    assert_eq!((dialled.stage, dialled.dialled), (Stage::Connecting, Some(9)));
    assert_eq!((dialled.peer.clone(), dialled.output), (to.into(), 5));
    assert!(accepted.token.to_string() != dialled.token.to_string());
    server.stop();
}

#[test]
fn list_is_read_in_pages_and_none_is_seen_twice() {
    let server = start(Config::default(), Echo::new());
    let clients: Vec<_> = (0..25).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.open() == 25);
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let page = server.ask(move |cx| cx.connections(last).take(10).collect::<Vec<_>>());
        let Some(end) = page.last() else { break };
        last = Some(end.token);
        seen.extend(page.into_iter().map(|it| it.token));
    }
    assert_eq!(seen.len(), 25);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);
    drop(clients);
    server.finish();
}

#[test]
fn list_of_the_few_that_are_left_of_a_crowd_is_those_few() {
    let server = start(Config::default(), Echo::new());
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.open() == 200);
    let all: Vec<Token> = server.ask(listed).into_iter().map(|it| it.token).collect();
    // Of places all over the table, those of the same word and of others.
    let kept = [3, 63, 64, 130, 199];
    let addresses = kept.map(|index| Address::from(clients[index].local_addr().unwrap()));
    let mut index = 0;
    clients.retain(|_| (kept.contains(&index), index += 1).0);
    server.wait_until("the others are gone", |stats| stats.open() == 5);
    let left = server.ask(listed);
    assert_eq!(left.iter().map(|it| it.peer.clone()).collect::<Vec<_>>(), addresses);
    assert_eq!(left.iter().map(|it| it.token).collect::<Vec<_>>(), kept.map(|index| all[index]));
    // Whoever comes next takes one of the free places.
    clients.push(server.connect());
    server.wait_until("it is open", |stats| stats.open() == 6);
    assert_eq!(server.ask(listed).len(), 6);
    drop(clients);
    server.finish();
}

/// What a [`Counter`] keeps.
struct Greeter {
    greeting: &'static [u8],
    opened: Sender<Token>,
}

/// Greets, and counts what each client has sent.
type Counter = Scripted<Greeter, usize>;

fn counter(greeter: Greeter) -> Counter {
    let on_open = |it: &mut Greeter, cx: &mut Context<'_>, token| {
        cx.send(token, it.greeting);
        let _ = it.opened.send(token);
        0
    };
    Scripted::new(greeter, on_open, |_, _, _, count, input| {
        *count += input.len();
        input.clear();
        Ok(())
    })
}

/// Runs a task on the loop's thread and returns its answer.
fn ask<T: Send + 'static>(
    remote: &HandlerRemote<Counter>,
    task: impl FnOnce(&mut Counter, &mut Context<'_>, &mut Sessions<usize>) -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    remote
        .run(move |handler, cx, sessions| drop(sender.send(task(handler, cx, sessions))))
        .unwrap();
    receiver.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn task_reaches_the_handler_and_the_sessions() {
    let (made, receiver) = mpsc::channel();
    let (opened, tokens) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reactor =
            Reactor::new(Config::default(), counter(Greeter { greeting: b"hello", opened }))
                .unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&any, &ListenOptions::default()).unwrap();
        made.send((address, reactor.handler_remote())).unwrap();
        reactor.run().map(|_| reactor.stats().panics)
    });
    let (address, remote) = receiver.recv_timeout(PATIENCE).unwrap();
    let first = common::connect(&address);
    expect_bytes(&first, b"hello");
    let token = tokens.recv_timeout(PATIENCE).unwrap();
    ask(&remote, |counter, _, _| counter.greeting = b"welcome");
    let second = common::connect(&address);
    expect_bytes(&second, b"welcome");
    send(&first, b"12345");
    let count = move |_: &mut Counter, cx: &mut Context<'_>, sessions: &mut Sessions<usize>| {
        sessions.get_mut(cx, token).copied()
    };
    while ask(&remote, count) != Some(5) {}
    // A session can be changed while the context is used.
    ask(&remote, move |_, cx, sessions| {
        let session = sessions.get_mut(cx, token).unwrap();
        *session += 1;
        cx.abort(token);
    });
    expect_gone(&first);
    while ask(&remote, count).is_some() {}
    // Whoever has the place now is not taken for the one before.
    let heir = common::connect(&address);
    expect_bytes(&heir, b"welcome");
    assert_eq!(ask(&remote, count), None);
    // A panic of a task is contained here, too.
    remote.run(|_, _, _| panic!("on purpose")).unwrap();
    ask(&remote, |_, cx, _| cx.stop());
    assert_eq!(thread.join().unwrap().unwrap(), 1);
    assert!(matches!(remote.run(|_, _, _| ()), Err(RemoteError::Gone(_))));
}
