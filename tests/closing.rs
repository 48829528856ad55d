//! Every way in which a connection ends: what was sent before arrives, and the end is told once.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen, keeps_all};
use common::scripted::Scripted;
use common::stalled::{self, BLOCKED, LONG_REPLY, SHORT, expect_open, replier, send_reply};
use common::*;
use edgeloop::codec::Delimited;
use edgeloop::service::{Echo, EchoLines, Framed, handler_fn};
use edgeloop::{CloseReason, Config, Context, Handler, ProtocolError, Token};

/// More than the kernel's buffers hold for a client that does not read.
const REPLY: usize = 8 * MIB;

fn roomy() -> Config {
    Config { output_limit: 64 * MIB, ..Config::default() }
}

// The last bytes survive.

/// Answers the first data with a long reply and closes, leaving what else was sent unread.
fn reply_and_close(mut error: Option<ProtocolError>) -> impl Handler + Send {
    handler_fn(move |cx, token, input| {
        input.consume(1);
        let mut at = 0;
        while at < REPLY {
            let piece = pattern(1, at, REPLY - at);
            assert!(cx.send(token, piece));
            at += piece.len();
        }
        if error.is_none() {
            cx.close(token);
        }
        error.take().map_or(Ok(()), Err)
    })
}

#[test]
fn reply_survives_a_close_although_the_client_has_sent_more() {
    let server = start(roomy(), reply_and_close(None));
    let stream = server.connect();
    send(&stream, &[b'?'; 100]);
    // Later bytes come while the reply is on its way.
    server.wait_until("the reply is queued", |stats| stats.bytes_queued == REPLY as u64);
    send(&stream, &[b'?'; 100]);
    expect_pattern(&stream, 1, 0, REPLY / 2);
    send(&stream, &[b'?'; 100]);
    expect_pattern(&stream, 1, REPLY / 2, REPLY / 2);
    expect_eof(&stream);
    drop(stream);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::Closed, 1)]);
    assert_eq!((stats.bytes_received, stats.bytes_discarded), (300, 299));
}

#[test]
fn late_byte_after_the_close_destroys_nothing() {
    let server = start(roomy(), reply_and_close(None));
    let stream = connect_narrow(&server.address, 4096);
    send(&stream, b"?");
    // All is with the kernel, our end included, and most of it has not arrived.
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            expect_pattern(&stream, 1, 0, REPLY - 100_000);
            thread::sleep(Duration::from_millis(100));
            send(&stream, b"late");
            expect_pattern(&stream, 1, REPLY - 100_000, 100_000);
            expect_eof(&stream);
        });
        reader.join().unwrap();
    });
    drop(stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::Closed, 1)]);
}

#[test]
fn client_that_streams_on_while_it_reads_gets_the_whole_reply() {
    let server = start(roomy(), reply_and_close(None));
    let stream = server.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                (&stream).write_all(&[0; 10_000]).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
            end_sending(&stream);
        });
        expect_pattern(&stream, 1, 0, REPLY);
        expect_eof(&stream);
    });
    server.finish();
}

#[test]
fn protocol_error_lets_the_replies_before_it_through() {
    for (error, reason) in [
        (ProtocolError::LineTooLong, CloseReason::LineTooLong),
        (ProtocolError::MessageTooLong, CloseReason::MessageTooLong),
        (ProtocolError::malformed("nonsense"), CloseReason::ProtocolError),
    ] {
        let server = start(roomy(), reply_and_close(Some(error)));
        let stream = server.connect();
        send(&stream, &[b'?'; 100]);
        expect_pattern(&stream, 1, 0, REPLY);
        expect_eof(&stream);
        drop(stream);
        assert_eq!(closed(&server.finish()), [(reason, 1)]);
    }
}

#[test]
fn input_that_no_handler_takes_ends_at_its_limit() {
    let server = start(Config::default(), keeps_all());
    let stream = server.connect();
    server.send_until_blocked(&stream, &[0; 64 * KIB]);
    let stats = server.wait_until("it is closed", |stats| stats.open() == 0);
    assert_eq!(closed(&stats), [(CloseReason::MessageTooLong, 1)]);
    server.finish();
}

// Patience has an end.

#[test]
fn client_that_never_ends_is_cut_after_the_linger_timeout() {
    let config = Config {
        linger_timeout: Duration::from_millis(300),
        tick: Duration::from_millis(20),
        ..Config::default()
    };
    let server = start(config, Framed::new(Delimited::lines(3), EchoLines::new("")));
    let stream = server.connect();
    let started = Instant::now();
    send(&stream, b"too long");
    expect_eof(&stream);
    server.wait_until("it is gone", |stats| stats.open() == 0);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert_eq!(closed(&server.finish()), [(CloseReason::LineTooLong, 1)]);
}

#[test]
fn client_that_sends_on_for_ever_is_cut_at_the_linger_limit() {
    let config = Config { linger_limit: MIB, ..Config::default() };
    let server = start(config, Framed::new(Delimited::lines(3), EchoLines::new("")));
    let stream = server.connect();
    send(&stream, b"too long");
    expect_eof(&stream);
    while (&stream).write(&[0; 64 * KIB]).is_ok() {}
    let stats = server.finish();
    let read = stats.bytes_received;
    assert!(read > MIB as u64 && read < 2 * MIB as u64, "{read} bytes were read");
    assert_eq!(closed(&stats), [(CloseReason::LineTooLong, 1)]);
}

#[test]
fn close_towards_a_non_reader_ends_at_the_write_timeout_and_others_go_on() {
    let config = Config {
        // Longer than a busy machine keeps the one that reads from doing so.
        write_timeout: Some(Duration::from_secs(2)),
        tick: Duration::from_millis(20),
        ..roomy()
    };
    let server = start(config, reply_and_close(None));
    let stream = server.connect();
    send(&stream, b"?");
    let other = server.connect();
    send(&other, b"?");
    expect_pattern(&other, 1, 0, REPLY);
    expect_eof(&other);
    drop(other);
    let stats = server.wait_until("both are gone", |stats| stats.open() == 0);
    // The first reason counts; that somebody did not get everything shows in the bytes.
    assert_eq!(closed(&stats), [(CloseReason::Closed, 2)]);
    assert!(stats.bytes_dropped > 0, "{stats:?}");
    drop(stream);
    server.finish();
}

// Resets.

#[test]
fn reset_in_mid_write_is_counted_as_one() {
    let server = start(Config::default(), Echo::new());
    let stream = server.connect();
    server.send_until_blocked(&stream, pattern(1, 0, MIB));
    reset(stream);
    let stats = server.wait_until("it is gone", |stats| stats.open() == 0);
    assert_eq!(closed(&stats), [(CloseReason::Reset, 1)]);
    assert!(stats.bytes_dropped > 0, "{stats:?}");
    server.finish();
}

#[test]
fn data_before_a_reset_is_delivered_first() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let mut server = ByHand::new(Config::default(), reporter);
    let stream = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().accepted == 1);
    send(&stream, b"last words");
    reset(stream);
    server.turn_until("it is closed", |reactor| reactor.stats().open() == 0);
    let Ok(Seen::Open(token)) = seen.try_recv() else { panic!("it was not opened") };
    let rest: Vec<Seen> = seen.try_iter().collect();
    let data = Seen::Data(token, b"last words".to_vec());
    assert_eq!(rest, [data, Seen::Close(token, CloseReason::Reset)]);
}

#[test]
fn connection_reset_before_it_is_accepted_harms_nobody() {
    let mut server = ByHand::new(Config::default(), Echo::new());
    for _ in 0..10 {
        reset(server.connect());
    }
    let stream = server.connect();
    send(&stream, b"x");
    server.turn_until("one is left", |reactor| {
        reactor.stats().bytes_sent == 1 && reactor.stats().open() == 1
    });
    expect_bytes(&stream, b"x");
}

#[test]
fn reset_of_a_half_closed_connection_is_noticed() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start(Config::default(), reporter);
    let stream = server.connect();
    end_sending(&stream);
    while !matches!(seen.recv_timeout(PATIENCE).unwrap(), Seen::End(_)) {}
    reset(stream);
    let Seen::Close(_, reason) = seen.recv_timeout(PATIENCE).unwrap() else {
        panic!("something else happened")
    };
    assert_eq!(reason, CloseReason::Reset);
    server.finish();
}

// Abort, and who is told.

#[test]
fn abort_resets_and_drops_what_is_queued() {
    let (reporter, _seen) = Reporter::new(|cx, seen| {
        if let Seen::Data(token, _) = seen {
            cx.send(*token, b"never sent");
            cx.abort(*token);
            assert!(!cx.send(*token, b"refused"), "it is over");
        }
    });
    let server = start(Config::default(), reporter);
    let stream = server.connect();
    send(&stream, b"x");
    assert_eq!(expect_reset(&stream), 0);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::Aborted, 1)]);
    assert_eq!(stats.bytes_dropped, 10);
}

#[test]
fn output_limit_ends_who_is_sent_too_much() {
    let (reporter, _seen) = Reporter::new(|cx, seen| {
        if let Seen::Data(token, _) = seen {
            assert!(cx.send(*token, &[0; 1024]), "that fits");
            assert!(!cx.send(*token, &[0; 1]), "that does not");
            assert!(!cx.send(*token, &[0; 1]), "it is over");
        }
    });
    let config = Config { output_limit: 1024, ..Config::default() };
    let server = start(config, reporter);
    let stream = server.connect();
    send(&stream, b"x");
    expect_reset(&stream);
    assert_eq!(closed(&server.finish()), [(CloseReason::OutputLimit, 1)]);
}

/// Counts what is opened and closed, and the sessions that exist.
struct Ledger {
    alive: Arc<AtomicI64>,
    open: HashMap<Token, ()>,
    limits: Config,
}

struct Session(Arc<AtomicI64>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ledger {
    fn kept(self) -> Scripted<Ledger, Session> {
        Scripted::new(self, Ledger::open, |it, cx, token, _, input| {
            match input.contiguous()[0] {
                b'c' => cx.close(token),
                b'a' => cx.abort(token),
                b'b' => {
                    cx.close(token);
                    cx.abort(token);
                    cx.close(token);
                }
                b'e' => return Err(ProtocolError::malformed("asked for")),
                b'o' => drop(cx.send(token, &vec![0; it.limits.output_limit + 1])),
                b't' => cx.set_timer(token, Duration::from_millis(1)),
                b'w' => drop(cx.send(token, &vec![0; it.limits.output_limit])),
                _ => {}
            }
            input.clear();
            Ok(())
        })
        .on_timer(|_, cx, token, _| cx.close(token))
        .on_close(|it, cx, token, _, _| {
            assert!(it.open.remove(&token).is_some(), "closed twice, or never opened");
            // All of this is about somebody who is gone.
            assert!(!cx.send(token, b"x"));
            cx.close(token);
            cx.abort(token);
            cx.set_timer(token, Duration::ZERO);
            cx.pause(token);
            cx.resume(token);
        })
    }

    fn open(&mut self, cx: &mut Context<'_>, token: Token) -> Session {
        assert!(self.open.insert(token, ()).is_none(), "opened twice");
        self.alive.fetch_add(1, Ordering::Relaxed);
        if self.open.len() % 16 == 7 {
            cx.abort(token);
        }
        if self.open.len() % 16 == 8 {
            cx.close(token);
        }
        Session(Arc::clone(&self.alive))
    }
}

#[test]
fn every_way_to_end_calls_on_close_exactly_once_and_drops_the_session() {
    let alive = Arc::new(AtomicI64::new(0));
    let limits = Config {
        tick: Duration::from_millis(5),
        idle_timeout: Some(Duration::from_millis(300)),
        write_timeout: Some(Duration::from_millis(100)),
        linger_timeout: Duration::from_millis(100),
        output_limit: 16 * MIB,
        ..Config::default()
    };
    let handler =
        Ledger { alive: Arc::clone(&alive), open: HashMap::new(), limits: limits.clone() };
    let server = start(limits, handler.kept());
    let mut kept = Vec::new();
    for round in 0..20 {
        for what in b"cabeotwxir" {
            let stream = server.connect();
            // Some are closed as soon as they are opened.
            let _ = (&stream).write_all(&[*what]);
            match what {
                b'x' => drop(stream),
                b'r' => reset(stream),
                _ => kept.push(stream),
            }
        }
        if round == 10 {
            kept.truncate(40);
        }
    }
    let stats =
        server.wait_until("all are gone", |stats| (stats.accepted, stats.open()) == (200, 0));
    assert_eq!(alive.load(Ordering::Relaxed), 0, "sessions are left");
    for reason in [
        CloseReason::Closed,
        CloseReason::Aborted,
        CloseReason::IdleTimeout,
        CloseReason::WriteTimeout,
        CloseReason::OutputLimit,
        CloseReason::ProtocolError,
        CloseReason::PeerClosed,
    ] {
        assert!(stats.closed(reason) > 0, "{reason} did not happen: {:?}", closed(&stats));
    }
    server.finish();
}

#[test]
fn stop_closes_everybody_once() {
    let alive = Arc::new(AtomicI64::new(0));
    let handler =
        Ledger { alive: Arc::clone(&alive), open: HashMap::new(), limits: Config::default() };
    let server = start(Config::default(), handler.kept());
    let streams: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.open() == 6);
    let stats = server.stop();
    assert_eq!(closed(&stats), [(CloseReason::DrainTimeout, 6)]);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    drop(streams);
}

// Ending each other.

#[test]
fn closing_others_from_any_callback_is_safe() {
    // Whoever sends anything takes everybody else along; whoever is closed takes one more.
    let mut open: Vec<Token> = Vec::new();
    let (reporter, seen) = Reporter::new(move |cx, seen| match seen {
        Seen::Open(token) => open.push(*token),
        Seen::Data(token, _) => {
            for other in open.iter().filter(|other| *other != token) {
                cx.send(*other, b"bye");
                cx.close(*other);
            }
        }
        Seen::Close(token, _) => {
            open.retain(|other| other != token);
            if let Some(other) = open.first() {
                cx.abort(*other);
            }
        }
        _ => {}
    });
    let server = start(Config::default(), reporter);
    let streams: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    server.wait_until("all are open", |stats| stats.open() == 20);
    for stream in &streams {
        // Some are gone already.
        let _ = (&mut &*stream).write_all(b"all of you");
    }
    for stream in &streams {
        expect_gone(stream);
    }
    server.finish();
    let seen: Vec<Seen> = seen.iter().collect();
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Close(..))).count(), 20);
}

// Names that outlive their connection.

#[test]
fn send_to_a_closed_token_reaches_nobody_and_is_counted() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start(Config::default(), reporter);
    reset(server.connect());
    let Ok(Seen::Open(stale)) = seen.recv_timeout(PATIENCE) else { panic!("it was not opened") };
    server.wait_until("it is gone", |stats| stats.open() == 0);
    let stream = server.connect();
    server.wait_until("the next one is open", |stats| stats.open() == 1);
    let before = server.stats().stale;
    let taken = server.ask(move |cx| {
        cx.close(stale);
        cx.abort(stale);
        cx.pause(stale);
        cx.set_timer(stale, Duration::ZERO);
        assert_eq!(cx.peer_address(stale), None);
        cx.send(stale, b"to whom?")
    });
    assert!(!taken);
    assert_eq!(server.stats().stale, before + 1);
    expect_silence(&stream, Duration::from_millis(200));
    drop(stream);
    server.stop();
}

#[test]
fn slot_that_is_taken_again_at_once_is_another_connection() {
    // Within one batch: A is reset, B connects, and both have events.
    let (reporter, seen) = Reporter::new(|cx, seen| match seen {
        Seen::Data(token, bytes) => drop(cx.send(*token, bytes)),
        Seen::End(token) => cx.close(*token),
        _ => {}
    });
    let mut server = ByHand::new(Config::default(), reporter);
    let mut tokens: Vec<Token> = Vec::new();
    let mut current = server.connect();
    server.turn_until("it is open", |reactor| reactor.stats().open() == 1);
    for round in 0..100u32 {
        let next = server.connect();
        send(&next, &round.to_be_bytes());
        send(&current, b"to the one that is going");
        reset(std::mem::replace(&mut current, next));
        let accepted = u64::from(round) + 2;
        server.turn_until("they have changed places", |reactor| {
            let stats = reactor.stats();
            (stats.accepted, stats.open()) == (accepted, 1)
        });
        // Everybody who was there before is spoken to.
        server.reactor.with_context(|_, cx| {
            tokens.iter().for_each(|token| assert!(!cx.send(*token, b"stale")));
        });
        server.turn();
        server.turn();
        let opened = seen.try_iter().filter_map(|seen| match seen {
            Seen::Open(token) => Some(token),
            _ => None,
        });
        tokens.extend(opened);
        // The last one is the one that is there now.
        let alive = tokens.pop().unwrap();
        expect_bytes(&current, &round.to_be_bytes());
        assert!(!tokens.contains(&alive), "a token came back");
        tokens.push(alive);
        server.reactor.with_context(|_, cx| assert!(cx.peer_address(alive).is_some()));
        tokens.retain(|token| *token != alive);
    }
    expect_silence(&current, Duration::from_millis(50));
}

#[test]
fn random_lives_and_deaths_give_nobody_anothers_bytes() {
    let mut server = ByHand::new(Config { events: 3, ..Config::default() }, Echo::new());
    let mut random = Random::new(7);
    let mut streams: Vec<(TcpStream, usize, usize)> = Vec::new();
    let mut seed = 0;
    for _ in 0..if cfg!(debug_assertions) { 3000 } else { 15_000 } {
        match random.below(6) {
            0 | 1 if streams.len() < 20 => {
                seed += 1;
                streams.push((server.connect(), seed, 0));
            }
            2 if !streams.is_empty() => {
                let (stream, ..) = streams.swap_remove(random.below(streams.len()));
                if random.below(2) == 0 { reset(stream) } else { drop(stream) }
            }
            3 | 4 if !streams.is_empty() => {
                let count = streams.len();
                let (stream, seed, at) = &mut streams[random.below(count)];
                let len = 1 + random.below(2000);
                send_pattern(&*stream, *seed, *at, len);
                *at += len;
            }
            _ => server.turn(),
        }
    }
    for (stream, ..) in &streams {
        end_sending(stream);
    }
    server.turn_until("all are closed", |reactor| reactor.stats().open() == 0);
    for (stream, seed, at) in &streams {
        expect_pattern(stream, *seed, 0, *at);
        expect_eof(stream);
    }
    expect_balanced(server.reactor.stats());
}

// Bugs that were found, each with the schedule that showed it.

// `on_end` sends more than the high-water mark, and the peer takes all of it.
#[test]
fn regression_on_end_is_called_once_however_much_it_sends() {
    let (handler, seen) = Reporter::new(|cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::End(token) = seen {
            send_reply(cx, *token, MIB);
        }
    });
    let config = Config { output_limit: 2 * MIB, ..stalled::config() };
    let mut server = ByHand::new(config, handler);
    let stream = server.connect();
    end_sending(&stream);
    thread::scope(|scope| {
        scope.spawn(|| expect_pattern(&stream, 1, 0, MIB));
        server.turn_until("all is sent", |reactor| reactor.stats().bytes_sent == MIB as u64);
    });
    (0..10).for_each(|_| server.turn());
    assert_eq!(seen.try_iter().filter(|seen| matches!(seen, Seen::End(_))).count(), 1);
}

// Output waits for a peer that reads nothing, there is no write timeout, and the handler closes.
#[test]
fn regression_close_of_a_stalled_connection_ends_without_a_write_timeout() {
    let config = Config { write_timeout: None, linger_timeout: SHORT, ..stalled::config() };
    let (handler, seen) = replier(LONG_REPLY);
    let server = start(config, handler);
    let stream = connect_narrow(&server.address, 8 * KIB);
    let token = expect_open(&seen);
    let stats = server.wait_for_rest(BLOCKED, |stats| stats.bytes_sent);
    assert_ne!(stats.bytes_waiting(), 0);
    server.ask(move |cx| cx.close(token));
    server.wait_until("it is closed", |stats| stats.open() == 0);
    drop(stream);
    server.finish();
}

// A paused connection is told of the peer's end and of its reset before it is read. The read says
// that the stream has ended and nothing more, and the handler keeps its side open.
#[test]
fn regression_reset_that_came_before_the_end_was_read_is_not_forgotten() {
    let (handler, seen) = Reporter::new(|cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Open(token) = seen {
            cx.pause(*token);
        }
    });
    let mut server = ByHand::new(stalled::config(), handler);
    let client = server.connect();
    server.turn_until("accepted", |reactor| reactor.stats().accepted == 1);
    let token = expect_open(&seen);
    drop(client);
    // Nobody is there any more: loopback answers with a reset at once.
    server.reactor.with_context(|_, cx| assert!(cx.send(token, b"answer")));
    server.turn_until("sent", |reactor| reactor.stats().bytes_sent == 6);
    server.turn();
    server.reactor.with_context(|_, cx| cx.resume(token));
    server.turn_until("closed", |reactor| reactor.stats().open() == 0);
    assert_eq!(seen.try_recv(), Ok(Seen::End(token)));
    assert_eq!(seen.try_recv(), Ok(Seen::Close(token, CloseReason::Reset)));
}
