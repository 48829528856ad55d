//! Closures make a handler: each callback is the closure that was given for it, and what the trait does
//! by default where none was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use common::nowhere::Nowhere;
use common::{PATIENCE, closed, end_sending, expect_bytes, expect_last_bytes, send, start};
use edgeloop::service::{HandlerFn, OnData, handler_fn};
use edgeloop::{CloseReason, Config, Handler};

#[test]
fn closure_is_a_whole_echo_server() {
    let server = start(
        Config::default(),
        handler_fn(|cx, token, input| {
            cx.forward(token, input);
            Ok(())
        }),
    );
    let client = server.connect();
    send(&client, b"hello");
    expect_bytes(&client, b"hello");
    // By default a connection is closed when its peer has ended.
    end_sending(&client);
    expect_last_bytes(&client, b"");
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 1)]);
}

/// Counts bytes for each connection, and reports what it was called for.
fn reporting() -> (HandlerFn<usize, impl OnData<usize>>, Receiver<String>) {
    let (seen, receiver) = mpsc::channel();
    let say = move |what: String| drop(seen.send(what));
    let (end, timer, drain, alarm) = (say.clone(), say.clone(), say.clone(), say.clone());
    let (close, error) = (say.clone(), say);
    let handler = HandlerFn::new(
        |_, _| 0,
        |_, _, count, input| {
            *count += input.len();
            input.clear();
            Ok(())
        },
    )
    .on_open(|cx, token| {
        cx.send(token, b"welcome\n");
        100
    })
    .on_end(move |cx, token, count, _| {
        end(format!("end {count}"));
        cx.set_timer(token, Duration::from_millis(1));
        cx.set_alarm(cx.now());
        Ok(())
    })
    .on_timer(move |_, _, count| timer(format!("timer {count}")))
    .on_alarm(move |_| alarm("alarm".into()))
    .on_drain(move |cx, token, count| {
        drain(format!("drain {count}"));
        cx.close(token);
    })
    .on_close(move |_, _, count, reason| close(format!("close {count} {reason}")))
    .on_connect_error(move |_, _, _| error("connect error".into()));
    (handler, receiver)
}

#[test]
fn each_callback_is_the_closure_given_for_it() {
    let (handler, seen) = reporting();
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    let server = start(Config::default(), handler);
    let client = server.connect();
    expect_bytes(&client, b"welcome\n");
    send(&client, b"12345");
    end_sending(&client);
    assert_eq!(next(), "end 105");
    assert_eq!(next(), "alarm");
    assert_eq!(next(), "timer 105");
    let nowhere = Nowhere::new();
    let address = nowhere.address.into();
    server.ask(move |cx| cx.connect(&address, 0).unwrap());
    assert_eq!(next(), "connect error");
    server.remote.run(|cx| cx.drain()).unwrap();
    assert_eq!(next(), "drain 105");
    assert_eq!(next(), "close 105 peer_closed");
    server.finish();
}

#[test]
fn handler_of_closures_can_be_sent_to_the_thread_of_its_reactor() {
    fn is_sent<H: Handler + Send>(_: &H) {}
    let (handler, _seen) = reporting();
    is_sent(&handler);
}
