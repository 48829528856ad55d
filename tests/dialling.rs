//! Outgoing connections: the caller knows each of them again, and what is sent before one is established
//! waits for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver, Sender};

use common::nowhere::Nowhere;
use common::{PATIENCE, closed, end_sending, expect_bytes, expect_eof, patient, start};
use edgeloop::service::{HandlerFn, OnData};
use edgeloop::{Address, CloseReason, Config};

/// Reports with which data connections opened, failed and ended.
fn reporting() -> (HandlerFn<(), impl OnData<()>>, Receiver<(&'static str, Option<u64>)>) {
    let (seen, receiver) = mpsc::channel();
    let (failed, ended): (Sender<_>, Sender<_>) = (seen.clone(), seen.clone());
    let handler = HandlerFn::new(
        move |cx, token| drop(seen.send(("opened", cx.dialled(token)))),
        |_, _, (), input| {
            input.clear();
            Ok(())
        },
    )
    .on_connect_error(move |cx, token, _| drop(failed.send(("failed", cx.dialled(token)))))
    .on_close(move |cx, token, (), _| drop(ended.send(("ended", cx.dialled(token)))));
    (handler, receiver)
}

#[test]
fn caller_knows_again_what_it_dialled_and_what_has_failed() {
    let (handler, seen) = reporting();
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    let server = start(Config::default(), handler);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (there, nowhere) = (listener.local_addr().unwrap(), Nowhere::new());
    let absent = nowhere.address;
    server.ask(move |cx| cx.connect(&there.into(), 7)).unwrap();
    assert_eq!(next(), ("opened", Some(7)));
    server.ask(move |cx| cx.connect(&absent.into(), u64::MAX)).unwrap();
    assert_eq!(next(), ("failed", Some(u64::MAX)));
    // One that came to a listener was not dialled.
    let stream = server.connect();
    assert_eq!(next(), ("opened", None));
    end_sending(&stream);
    assert_eq!(next(), ("ended", None));
    drop(listener.accept().unwrap());
    assert_eq!(next(), ("ended", Some(7)));
    server.finish();
}

#[test]
fn what_is_sent_before_a_connection_is_established_comes_first() {
    let (handler, seen) = reporting();
    let handler = handler.on_open(|cx, token| drop(cx.send(token, b"opened")));
    let server = start(Config::default(), handler);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there: Address = listener.local_addr().unwrap().into();
    let queued = server.ask(move |cx| {
        let token = cx.connect(&there, 0).unwrap();
        (cx.send(token, b"one "), cx.send(token, b"two "), cx.output_len(token))
    });
    assert_eq!(queued, (true, true, 8));
    let stream = patient(listener.accept().unwrap().0);
    expect_bytes(&stream, b"one two opened");
    end_sending(&stream);
    expect_eof(&stream);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("ended", Some(0)));
    server.finish();
}

#[test]
fn what_was_sent_to_a_connection_that_is_never_established_is_dropped_and_counted() {
    let (handler, seen) = reporting();
    let server = start(Config::default(), handler);
    let nowhere = Nowhere::new();
    let absent = nowhere.address;
    let queued = server.ask(move |cx| {
        let token = cx.connect(&absent.into(), 0).unwrap();
        cx.send(token, b"in vain")
    });
    assert!(queued);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), ("failed", Some(0)));
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::ConnectFailed, 1)]);
    assert_eq!((stats.bytes_queued, stats.bytes_dropped), (7, 7));
}

#[test]
fn queue_of_a_connection_that_is_not_established_has_the_limit_of_others() {
    let (handler, _seen) = reporting();
    let server = start(Config { output_limit: 1024, ..Config::default() }, handler);
    let nowhere = Nowhere::new();
    let absent = nowhere.address;
    let queued = server.ask(move |cx| {
        let token = cx.connect(&absent.into(), 0).unwrap();
        [cx.send(token, &[0; 1024]), cx.send(token, &[0])]
    });
    assert_eq!(queued, [true, false]);
    assert_eq!(closed(&server.finish()), [(CloseReason::OutputLimit, 1)]);
}
