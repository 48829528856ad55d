//! A codec and a service make a server: messages arrive whole, once and in order, however the
//! stream is cut; what breaks the rules ends its sender, after the answers to what came before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use common::nowhere::Nowhere;
use common::{
    ByHand, KIB, PATIENCE, closed, end_sending, expect_bytes, expect_last_bytes, send, start,
};
use edgeloop::codec::{Codec, Delimited, Fixed, LengthPrefixed, Magic};
use edgeloop::service::{Framed, Service};
use edgeloop::{Address, CloseReason, Config, Context, ProtocolError, Token};

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
    C: for<'a> Codec<Message<'a> = &'a [u8]>,
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
            b"refuse" => return Err(ProtocolError::malformed(format!("refused number {count}"))),
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

// What a service may do beside answering.

/// Does what a line asks for, and tells the connection of every callback that follows from it.
#[derive(Default)]
struct Obedient {
    /// Who asked for what belongs to no connection.
    asker: Option<Token>,
}

impl<C: for<'a> Codec<Message<'a> = &'a [u8]>> Service<C> for Obedient {
    type Session = Vec<u8>;

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) -> Vec<u8> {
        Vec::new()
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        last: &mut Vec<u8>,
        message: &[u8],
    ) -> Result<(), ProtocolError> {
        self.asker = Some(token);
        *last = message.to_vec();
        match message {
            b"timer" => cx.set_timer(token, Duration::ZERO),
            b"alarm" => cx.set_alarm(cx.now()),
            b"tidy" => cx.tidy_later(),
            b"drain" => cx.drain(),
            _ => {
                let port = std::str::from_utf8(message).unwrap().parse().unwrap();
                cx.connect(&Address::Tcp(([127, 0, 0, 1], port).into()), 0).unwrap();
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, last: &mut Vec<u8>) {
        cx.send_all(token, &[b"on_timer after ", last, b"\n"]);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        cx.send(self.asker.unwrap(), b"on_alarm\n");
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        cx.send(self.asker.unwrap(), b"on_tidy\n");
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, _: Token, error: &std::io::Error) {
        let kind = format!("on_connect_error {:?}\n", error.kind());
        cx.send(self.asker.unwrap(), kind.as_bytes());
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, last: &mut Vec<u8>) {
        cx.send_all(token, &[b"on_drain after ", last, b"\n"]);
        cx.close(token);
    }
}

#[test]
fn service_is_told_of_timers_alarms_failed_connects_and_shutdowns_with_its_session() {
    let nowhere = Nowhere::new();
    let mut server =
        start(Config::default(), Framed::new(Delimited::lines(80), Obedient::default()));
    let stream = server.connect();
    let dial = format!("{}\n", nowhere.address.port());
    let cases: [(&[u8], &[u8]); 4] = [
        (b"timer\n", b"on_timer after timer\n"),
        (b"alarm\n", b"on_alarm\n"),
        (dial.as_bytes(), b"on_connect_error ConnectionRefused\n"),
        (b"tidy\n", b"on_tidy\n"),
    ];
    for (asked, told) in cases {
        send(&stream, asked);
        expect_bytes(&stream, told);
    }
    send(&stream, b"drain\n");
    expect_last_bytes(&stream, b"on_drain after drain\n");
    drop(stream);
    assert_eq!(server.join().1.cut_off, 0);
}

/// Answers the end of a stream with what was left over, and keeps the connection until the timer.
struct LastWords;

impl<C: for<'a> Codec<Message<'a> = &'a [u8]>> Service<C> for LastWords {
    type Session = ();

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        message: &[u8],
    ) -> Result<(), ProtocolError> {
        cx.send_all(token, &[b"<", message, b">"]);
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        rest: &[u8],
    ) -> Result<(), ProtocolError> {
        if rest == b"\0\0\0\x03no" {
            return Err(ProtocolError::malformed(format!("{} bytes too few", 1)));
        }
        cx.send_all(token, &[b"end, rest: ", rest]);
        cx.set_timer(token, Duration::ZERO);
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        cx.send(token, b"; later");
        cx.close(token);
    }
}

#[test]
fn end_of_a_stream_is_told_behind_its_last_message_with_what_was_none_and_may_leave_it_half_closed()
{
    let talk = |server: common::Server, sent: &[u8], expected: &[u8]| {
        let stream = server.connect();
        send(&stream, sent);
        end_sending(&stream);
        expect_last_bytes(&stream, expected);
        drop(stream);
        server.finish()
    };
    let lines = || start(Config::default(), Framed::new(Delimited::lines(80), LastWords));
    talk(lines(), b"one\ntwo", b"<one><two>end, rest: ; later");
    talk(lines(), b"", b"end, rest: ; later");
    let prefixed = || start(Config::default(), Framed::new(LengthPrefixed::new(80), LastWords));
    talk(prefixed(), b"\0\0\0\x03one\0\0", b"<one>end, rest: \0\0; later");
    let stats = talk(prefixed(), b"\0\0\0\x03one\0\0\0\x03no", b"<one>");
    assert_eq!(closed(&stats), [(CloseReason::ProtocolError, 1)]);
}

/// Answers each message by its timer, and reads nothing until then.
struct Later;

impl<C: for<'a> Codec<Message<'a> = &'a [u8]>> Service<C> for Later {
    type Session = Vec<u8>;

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) -> Vec<u8> {
        Vec::new()
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        asked: &mut Vec<u8>,
        message: &[u8],
    ) -> Result<(), ProtocolError> {
        *asked = message.to_vec();
        cx.put_off(token);
        cx.set_timer(token, Duration::ZERO);
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, asked: &mut Vec<u8>) {
        cx.send_all(token, &[b"<", asked, b">"]);
        cx.resume(token);
    }
}

#[test]
fn messages_that_are_answered_later_are_all_answered_the_one_that_the_end_makes_included() {
    let server = start(Config::default(), Framed::new(Delimited::lines(80), Later));
    for (sent, expected) in [(&b"one\ntwo"[..], &b"<one><two>"[..]), (b"x", b"<x>"), (b"\n", b"<>")]
    {
        let stream = server.connect();
        send(&stream, sent);
        end_sending(&stream);
        expect_last_bytes(&stream, expected);
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 3)]);
    assert_eq!((stats.bytes_consumed, stats.bytes_discarded), (7 + 1 + 1, 0));
}

#[test]
fn parts_of_an_answer_are_queued_and_counted_as_one_message_or_not_at_all() {
    let config = Config { output_limit: KIB, ..Config::default() };
    let mut server = ByHand::new(config, Framed::new(Delimited::lines(80), Obedient::default()));
    let stream = server.connect();
    send(&stream, b"timer\n");
    server.turn_until("it is known", |reactor| reactor.handler().service_mut().asker.is_some());
    server.turn_until("its timer fired", |reactor| reactor.stats().bytes_sent > 0);
    expect_bytes(&stream, b"on_timer after timer\n");

    let (header, body) = ([b'h'; 4], [b'b'; 400]);
    let parts: [&[u8]; 4] = [&header, &body, b"", b"\n"];
    let writes = server.reactor.stats().writes;
    server.reactor.with_context(|handler, cx| {
        let token = handler.service_mut().asker.unwrap();
        let mut work = cx.stats().work;
        let mut spent =
            |cx: &mut Context<'_>| cx.stats().work - std::mem::replace(&mut work, cx.stats().work);
        assert!(cx.send(token, &parts.concat()));
        let in_one_piece = spent(cx);
        assert!(in_one_piece > 0 && cx.send_all(token, &parts));
        assert_eq!(spent(cx), in_one_piece);
        assert_eq!(cx.output_len(token), 2 * 405);
        // None of them goes beyond the limit by itself.
        assert!(!cx.send_all(token, &[&body[..200], &[0; 15]]));
        assert_eq!(cx.output_len(token), 2 * 405);
    });
    server.turn();
    let stats = server.reactor.stats();
    assert_eq!(closed(stats), [(CloseReason::OutputLimit, 1)]);
    assert_eq!((stats.writes, stats.bytes_dropped), (writes, 2 * 405));
}

#[test]
fn parts_of_an_answer_arrive_in_order_in_one_write() {
    let mut server = ByHand::new(Config::default(), Framed::new(Delimited::lines(80), LastWords));
    let stream = server.connect();
    send(&stream, b"one\ntwo\n");
    server.turn_until("both are answered", |reactor| reactor.stats().bytes_sent > 0);
    expect_bytes(&stream, b"<one><two>");
    assert_eq!(server.reactor.stats().writes, 1);
}
