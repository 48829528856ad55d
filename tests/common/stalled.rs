//! Connections whose peer takes nothing, and what is too long for a socket.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use edgeloop::{Config, Context, Handler, Reactor, Token};

use super::handlers::{Reporter, Seen};
use super::{MIB, PATIENCE, pattern};

/// A timeout that a test waits for.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// Output is taken to be blocked when nothing was sent for so long. Should the machine have been busy
/// instead, the test shows less but does not fail.
pub(crate) const BLOCKED: Duration = Duration::from_millis(100);

/// More than the kernel holds between our write and a client with a small receive buffer that does
/// not read.
pub(crate) const LONG_REPLY: usize = 16 * MIB;

/// A short tick, and room for long replies.
pub(crate) fn config() -> Config {
    Config { tick: Duration::from_millis(5), output_limit: 4 * LONG_REPLY, ..Config::default() }
}

/// Answers every connection with so many bytes of the pattern, and then does nothing.
pub(crate) fn replier(len: usize) -> (impl Handler<Session = ()> + Send + 'static, Receiver<Seen>) {
    Reporter::new(move |cx, seen| {
        if let Seen::Open(token) = seen {
            send_reply(cx, *token, len);
        }
    })
}

pub(crate) fn send_reply(cx: &mut Context<'_>, token: Token, len: usize) {
    let mut at = 0;
    while at < len {
        let piece = pattern(1, at, len - at);
        assert!(cx.send(token, piece));
        at += piece.len();
    }
}

/// Turns as `run` does it, asleep between events and deadlines, for so long.
pub(crate) fn turn_for<H: Handler>(reactor: &mut Reactor<H>, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        reactor.with_context(|_, cx| cx.set_alarm(end));
        reactor.turn().unwrap();
    }
}

#[track_caller]
pub(crate) fn expect_open(seen: &Receiver<Seen>) -> Token {
    match seen.recv_timeout(PATIENCE) {
        Ok(Seen::Open(token)) => token,
        other => panic!("expected a connection, got {other:?}"),
    }
}
