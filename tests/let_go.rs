//! The second between the moment in which a subscriber was too slow and its reset: the connection keeps its
//! place, and nothing else; and whatever ends a connection ends this one as well.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::scripted::Scripted;
use common::{KIB, closed};
use edgeloop::testing::{Ended, Harness, Peer};
use edgeloop::{CloseReason, Config, Start, TopicConfig, TopicId};

const SECOND: Duration = Duration::from_secs(1);
/// What was queued for the subscriber itself.
const QUEUED: usize = 100 * KIB;

type Server = Harness<Scripted<Option<TopicId>>>;

fn config() -> Config {
    Config { tick: Duration::from_millis(20), linger_timeout: 5 * SECOND, ..Config::default() }
}

/// Whoever connects subscribes. Whoever says `?` is paused, and his word is left.
fn server(config: Config) -> Server {
    let topic = TopicConfig { memory: 64 * KIB, patience: Duration::ZERO, ..Default::default() };
    let handler = Scripted::new(
        None,
        |topic: &mut Option<TopicId>, cx, token| {
            cx.subscribe(token, topic.unwrap(), Start::Next);
        },
        |_, cx, token, (), input| {
            match &*input.contiguous() {
                b"?" => cx.pause(token),
                _ => input.clear(),
            }
            Ok(())
        },
    );
    let mut server = Harness::new(config, handler).unwrap().with_buffers(4 * KIB, 4 * KIB);
    server.with_context(|handler, cx| **handler = Some(cx.create_topic(topic)));
    server
}

/// A subscriber that does not read, with input that was left and output that was queued.
fn stop_one(server: &mut Server) -> Peer {
    let peer = server.connect();
    peer.stop_reading();
    peer.send("?");
    server.run_until_idle();
    let token = peer.token().unwrap();
    server.with_context(|_, cx| assert!(cx.send(token, &[b'x'; QUEUED])));
    server.run_until_idle();
    assert_eq!(server.input_len(&peer), 1);
    peer
}

/// The ring goes round until it has overtaken whoever does not read.
fn overtake(server: &mut Server, peer: &Peer) {
    for _ in 0..200 {
        server.with_context(|handler, cx| {
            let _ = cx.publish_to_all(handler.unwrap(), None, &[b'm'; KIB]);
        });
        server.turn();
    }
    assert_eq!(peer.close_reason(), None, "its reset comes later");
    assert_eq!(subscribers(server), 0, "it was not overtaken");
}

fn subscribers(server: &mut Server) -> usize {
    server.with_context(|handler, cx| cx.subscribers(handler.unwrap()))
}

/// A subscriber that was let go in this moment.
fn let_one_go(server: &mut Server) -> Peer {
    let peer = stop_one(server);
    overtake(server, &peer);
    peer
}

#[test]
fn subscriber_that_was_too_slow_keeps_no_memory_until_its_reset() {
    let mut server = server(config());
    let peer = let_one_go(&mut server);
    let stats = server.stats();
    assert_eq!((stats.bytes_unconsumed(), stats.bytes_waiting()), (0, 0), "{stats:?}");
    assert!(stats.bytes_dropped > QUEUED as u64 / 2 && stats.bytes_discarded == 1, "{stats:?}");
    assert_eq!(peer.ended(), None);
}

#[test]
fn subscriber_that_was_too_slow_is_reset_a_second_later_whatever_the_linger_timeout() {
    for linger_timeout in [SECOND / 10, 5 * SECOND] {
        let mut server = server(Config { linger_timeout, ..config() });
        let peer = let_one_go(&mut server);
        server.advance(SECOND - SECOND / 20);
        assert_eq!(peer.ended(), None);
        server.advance(SECOND / 10);
        assert_eq!(peer.ended(), Some(Ended::Reset));
        assert_eq!(closed(&server.finish()), [(CloseReason::SlowConsumer, 1)]);
    }
}

#[test]
fn subscriber_that_was_too_slow_and_ends_by_itself_gives_its_place_up_at_once() {
    for act in [Peer::end_sending, Peer::close, Peer::reset] {
        let mut server = server(config());
        let peer = let_one_go(&mut server);
        act(&peer);
        server.run_until_idle();
        assert_eq!(server.stats().open(), 0);
        assert_eq!(closed(&server.finish()), [(CloseReason::SlowConsumer, 1)]);
    }
}

#[test]
fn subscriber_that_was_too_slow_is_aborted_at_once_and_closed_no_later() {
    let mut server = server(config());
    let (aborted, waiting) = (let_one_go(&mut server), let_one_go(&mut server));
    server.with_context(|_, cx| {
        cx.abort(aborted.token().unwrap());
        cx.close(waiting.token().unwrap());
        assert!(!cx.send(waiting.token().unwrap(), b"too late"));
    });
    server.run_until_idle();
    assert_eq!((aborted.ended(), waiting.ended()), (Some(Ended::Reset), None));
    server.advance(SECOND + SECOND / 10);
    assert_eq!(waiting.ended(), Some(Ended::Reset));
    assert_eq!(closed(&server.finish()), [(CloseReason::SlowConsumer, 2)]);
}

#[test]
fn shutdown_waits_for_a_subscriber_that_was_too_slow_no_longer_than_for_a_quiet_one() {
    let quiet = SECOND / 10;
    let mut server = server(Config { drain_quiet: quiet, ..config() });
    let peer = let_one_go(&mut server);
    server.with_context(|_, cx| cx.drain());
    server.advance(quiet + SECOND / 20);
    assert!(server.is_done() && peer.ended() == Some(Ended::Reset));
    assert_eq!(closed(&server.finish()), [(CloseReason::SlowConsumer, 1)]);
}

/// It has been told that it ends, and is flushed; whatever it was to end for stays the reason.
#[test]
fn connection_that_is_being_closed_is_reset_at_once_when_a_topic_overtakes_it() {
    let mut server = server(config());
    let peer = stop_one(&mut server);
    server.with_context(|handler, cx| {
        cx.publish_to_all(handler.unwrap(), None, &[b'm'; KIB]).unwrap();
        cx.close(peer.token().unwrap());
    });
    for _ in 0..200 {
        server.with_context(|handler, cx| {
            let _ = cx.publish_to_all(handler.unwrap(), None, &[b'm'; KIB]);
        });
        server.turn();
    }
    assert_eq!(peer.ended(), Some(Ended::Reset));
    assert_eq!(closed(&server.finish()), [(CloseReason::Closed, 1)]);
}
