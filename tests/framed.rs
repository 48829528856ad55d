//! A codec and a service make a server: messages arrive whole, once and in order, however the
//! stream is cut; what breaks the rules ends its sender, after the answers to what came before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use common::{KIB, PATIENCE, closed, end_sending, expect_bytes, expect_last_bytes, send, start};
use edgeloop::codec::{Delimited, Fixed, LengthPrefixed, Magic};
use edgeloop::service::{Framed, Service};
use edgeloop::{CloseReason, Config, Context, ProtocolError, Token};

/// Counts the messages of a connection and answers each with its number and itself; a message
/// `close` ends the connection, `refuse` is an error.
struct Numbered {
    closes: Sender<(usize, CloseReason)>,
}

impl Numbered {
    fn new() -> (Self, Receiver<(usize, CloseReason)>) {
        let (closes, receiver) = mpsc::channel();
        (Numbered { closes }, receiver)
    }
}

impl<C> Service<C> for Numbered
where
    C: for<'a> edgeloop::codec::Codec<Message<'a> = &'a [u8]>,
{
    type Session = usize;

    fn on_open(&mut self, _cx: &mut Context<'_>, _token: Token) -> usize {
        0
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        count: &mut usize,
        message: &[u8],
    ) -> Result<(), ProtocolError> {
        *count += 1;
        cx.send(token, format!("{count}:{};", String::from_utf8_lossy(message)).as_bytes());
        match message {
            b"close" => cx.close(token),
            b"refuse" => return Err(ProtocolError::Malformed("refused")),
            _ => {}
        }
        Ok(())
    }

    fn on_close(
        &mut self,
        _cx: &mut Context<'_>,
        _token: Token,
        count: usize,
        reason: CloseReason,
    ) {
        let _ = self.closes.send((count, reason));
    }
}

fn send_in_pieces(stream: &TcpStream, bytes: &[u8], len: usize) {
    for piece in bytes.chunks(len) {
        send(stream, piece);
        // Lets the server see the pieces apart, most of the time; the answers are the same anyhow.
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_framing_serves_its_messages_in_order_however_they_are_cut() {
    const PREFIXED: &[u8] = b"\0\0\0\x03one\0\0\0\0\0\0\0\x03six";
    const MAGIC: &[u8] = b"\xAB\xCD\xEF\0\0\x03one\xAB\xCD\xEF\0\0\0\xAB\xCD\xEF\0\0\x03six";
    let talk = |server: common::Server, sent: &[u8], expected: &[u8]| {
        for piece in [1, 2, 5, 100] {
            let stream = server.connect();
            send_in_pieces(&stream, sent, piece);
            end_sending(&stream);
            expect_last_bytes(&stream, expected);
        }
        server.finish();
    };
    let (numbered, expected) = (|| Numbered::new().0, b"1:one;2:;3:six;");
    let lines = Framed::new(Delimited::by(b"\r\n", 80), numbered());
    talk(start(Config::default(), lines), b"one\r\n\r\nsix", expected);
    let prefixed = Framed::new(LengthPrefixed::new(80), numbered());
    talk(start(Config::default(), prefixed), PREFIXED, expected);
    talk(start(Config::default(), Framed::new(Magic::default(), numbered())), MAGIC, expected);
    let fixed = Framed::new(Fixed::new(NonZeroUsize::new(3).unwrap()), numbered());
    talk(start(Config::default(), fixed), b"onesixun", b"1:one;2:six;");
}

#[test]
fn broken_stream_ends_its_sender_for_its_reason_after_the_answers_to_what_came_before() {
    let cases: [(&[u8], CloseReason); 2] = [
        (b"\0\0\0\x02ok\0\0\xff\0", CloseReason::MessageTooLong),
        (b"\0\0\0\x02ok\0\0\0\x06refuse\0\0\0\x02no", CloseReason::ProtocolError),
    ];
    for (sent, reason) in cases {
        let (numbered, closes) = Numbered::new();
        let server = start(Config::default(), Framed::new(LengthPrefixed::new(80), numbered));
        let stream = server.connect();
        send(&stream, sent);
        let answers: &[u8] =
            if reason == CloseReason::ProtocolError { b"1:ok;2:refuse;" } else { b"1:ok;" };
        expect_last_bytes(&stream, answers);
        drop(stream);
        assert_eq!(closes.recv_timeout(PATIENCE).unwrap().1, reason);
        assert_eq!(closed(&server.finish()), [(reason, 1)]);
    }
}

#[test]
fn messages_behind_a_close_are_not_served() {
    let (numbered, closes) = Numbered::new();
    let server = start(Config::default(), Framed::new(Delimited::lines(80), numbered));
    let stream = server.connect();
    send(&stream, b"one\nclose\nthree\n");
    expect_last_bytes(&stream, b"1:one;2:close;");
    drop(stream);
    assert_eq!(closes.recv_timeout(PATIENCE).unwrap(), (2, CloseReason::Closed));
    server.finish();
}

#[test]
fn peer_that_reads_nothing_is_served_within_limits_and_gets_every_answer_once_it_reads() {
    let config = Config { write_timeout: None, ..Config::default() };
    let answer = [b'a'; 200];
    let amplify = move |cx: &mut Context<'_>, token: Token, _: &[u8]| {
        cx.send(token, &answer);
    };
    let server = start(config.clone(), Framed::new(LengthPrefixed::new(80), amplify));
    let stream = server.connect();
    let empty = vec![0; 64 * KIB];
    let sent = server.send_until_blocked(&stream, &empty).min(128 * KIB);
    let stats = server.stats();
    assert!(stats.bytes_waiting() <= config.output_limit as u64, "{stats:?}");
    for _ in 0..sent / LengthPrefixed::new(80).header(0).unwrap().len() {
        expect_bytes(&stream, &answer);
    }
    drop(stream);
    server.finish();
}
