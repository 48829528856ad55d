//! `edgeloop::testing`: that it shows what sockets show, that faults are true and repeat by their seed,
//! and that handlers which are wrong on purpose are caught.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::scripted::Scripted;
use edgeloop::codec::Delimited;
use edgeloop::service::{Broadcast, Echo, EchoLines, Framed, Framing, Kv, KvConfig, handler_fn};
use edgeloop::testing::{
    Answer, Cuts, Difference, Ended, Faults, Harness, Peer, for_seeds, same_however_cut,
};
use edgeloop::{
    Address, CloseReason, Config, Context, Gate, Handler, RemoteError, RingBuffer, Sessions, Token,
    TopicConfig, WhenFull,
};

fn echo() -> Harness<Echo> {
    Harness::new(Config::default(), Echo::new()).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A handler made of what it does with input.
fn data_only(mut on_data: impl FnMut(&mut Context<'_>, Token, &mut RingBuffer)) -> impl Handler {
    handler_fn(move |cx, token, input| {
        on_data(cx, token, input);
        Ok(())
    })
}

fn on_data(on_data: impl FnMut(&mut Context<'_>, Token, &mut RingBuffer)) -> Harness<impl Handler> {
    Harness::new(Config::default(), data_only(on_data)).unwrap()
}

/// Answers each line in capitals, as a handler should.
fn shout(cx: &mut Context<'_>, token: Token, input: &mut RingBuffer) {
    while let Some(end) = input.contiguous().iter().position(|byte| *byte == b'\n') {
        let line = input.contiguous()[..=end].to_ascii_uppercase();
        cx.send(token, &line);
        input.consume(end + 1);
    }
}

// Peers.

#[test]
fn each_piece_arrives_in_a_turn_of_its_own() {
    let mut pieces = Vec::new();
    let mut server = on_data(|_, _, input| {
        pieces.push(String::from_utf8(input.contiguous().to_vec()).unwrap());
        input.clear();
    });
    let peer = server.connect();
    peer.send_pieces(["one", "two", "", "three"]);
    server.run_until_idle();
    drop(server);
    assert_eq!(pieces, ["one", "two", "three"]);
}

#[test]
fn turn_does_one_thing_after_the_other() {
    let mut server = echo();
    let peer = server.connect();
    peer.send("a");
    peer.send("b");
    assert_eq!((peer.token(), peer.unread()), (None, 2));
    server.turn();
    assert!(peer.token().is_some(), "it is accepted");
    assert_eq!(peer.read(), b"", "what came before is read in the next turn");
    server.turn();
    assert_eq!(peer.read(), b"a");
    server.turn();
    assert_eq!(peer.read(), b"b");
    assert!(server.is_idle());
}

#[test]
fn peer_that_does_not_read_fills_the_buffers_and_gets_all_when_it_reads() {
    let config = Config { output_limit: 4096, ..Config::default() };
    let mut server = Harness::new(config, Echo::new()).unwrap().with_buffers(1000, 700);
    let peer = server.connect();
    peer.stop_reading();
    let sent: Vec<u8> = (0..20_000u32).map(|count| (count / 3) as u8).collect();
    peer.send(&sent);
    server.run_until_idle();
    assert!(server.is_held(&peer), "it is not read");
    assert_eq!(peer.waiting(), 700);
    // The kernel's buffers, and the output up to its mark and a read more.
    let taken = sent.len() - peer.unread();
    assert!((700 + 1024..700 + 1024 + 2048).contains(&taken), "{taken} bytes were read");
    assert_eq!(peer.read(), b"");
    peer.read_slowly(100);
    server.turn();
    assert_eq!(peer.read().len(), 100);
    peer.read_on();
    server.run_until_idle();
    assert_eq!(peer.read(), &sent[100..]);
    server.finish();
}

#[test]
fn half_close_is_answered_in_full_and_in_order() {
    let mut server = echo();
    let peer = server.connect();
    peer.send("last words");
    peer.end_sending();
    peer.send("nothing follows an end");
    server.run_until_idle();
    assert_eq!(peer.read_text(), "last words");
    assert_eq!(peer.ended(), Some(Ended::InOrder));
    assert_eq!(peer.close_reason(), Some(CloseReason::PeerClosed));
    assert_eq!(server.finish().closed(CloseReason::PeerClosed), 1);
}

#[test]
fn reset_is_noticed_behind_what_had_arrived() {
    let mut received = 0;
    let mut server = on_data(|_, _, input| {
        received += input.len();
        input.clear();
    });
    let peer = server.connect();
    server.turn();
    peer.send("arrives");
    server.turn();
    peer.send("is lost");
    peer.reset();
    server.run_until_idle();
    assert_eq!(peer.close_reason(), Some(CloseReason::Reset));
    server.finish();
    assert_eq!(received, 7);
}

#[test]
fn abort_resets_and_a_close_does_not() {
    let mut server = on_data(|cx, token, input| match &*input.contiguous() {
        b"abort" => cx.abort(token),
        _ => {
            input.clear();
            cx.send(token, b"bye");
            cx.close(token);
        }
    });
    let (aborted, closed) = (server.connect(), server.connect());
    aborted.send("abort");
    closed.send("close");
    server.run_until_idle();
    assert_eq!((aborted.ended(), aborted.read_text()), (Some(Ended::Reset), String::new()));
    assert_eq!((closed.ended(), closed.read_text()), (Some(Ended::InOrder), "bye".into()));
    assert_eq!(closed.close_reason(), None, "the server waits for the peer's end");
    closed.close();
    server.run_until_idle();
    assert_eq!(closed.close_reason(), Some(CloseReason::Closed));
    server.finish();
}

#[test]
fn peer_that_closes_without_reading_resets() {
    let mut server = echo();
    let peer = server.connect();
    peer.stop_reading();
    peer.send("unread");
    server.run_until_idle();
    let token = peer.token().unwrap();
    assert_eq!(server.peer(token).unwrap().waiting(), 6);
    peer.close();
    server.run_until_idle();
    assert_eq!(peer.close_reason(), Some(CloseReason::Reset));
    server.finish();
}

#[test]
fn full_table_a_gate_and_a_shutdown_turn_away() {
    struct OnlyPort(u16);
    impl Gate for OnlyPort {
        fn admit(&mut self, peer: &Address, _: std::time::Instant) -> Result<(), CloseReason> {
            match peer {
                Address::Tcp(peer) if peer.port() == self.0 => Ok(()),
                _ => Err(CloseReason::Denied),
            }
        }
        fn release(&mut self, _: &Address, _: std::time::Instant) {}
    }
    let config = Config { connections_max: 1, when_full: WhenFull::Refuse, ..Config::default() };
    let mut server = Harness::new(config, Echo::new()).unwrap();
    server.set_gate(OnlyPort(7));
    let denied = server.connect();
    server.run_until_idle();
    let inside = server.connect_from("203.0.113.5:7".parse().unwrap());
    server.run_until_idle();
    let refused = server.connect();
    server.run_until_idle();
    assert_eq!(denied.ended(), Some(Ended::InOrder));
    assert_eq!(refused.ended(), Some(Ended::InOrder));
    assert_eq!(inside.ended(), None);
    let stats = server.stats();
    assert_eq!((stats.closed(CloseReason::Denied), stats.closed(CloseReason::Refused)), (1, 1));
    server.with_context(|_, cx| cx.drain());
    server.turn();
    let late = server.connect();
    assert_eq!(late.ended(), Some(Ended::Refused));
    server.finish();
}

#[test]
fn server_that_is_full_lets_newcomers_wait() {
    let config = Config { connections_max: 1, ..Config::default() };
    let mut server = Harness::new(config, Echo::new()).unwrap();
    let (first, second) = (server.connect(), server.connect());
    second.send("x");
    server.run_until_idle();
    assert_eq!((second.token(), second.unread()), (None, 1));
    first.close();
    server.run_until_idle();
    assert_eq!(second.read(), b"x");
    server.finish();
}

// Connections that the server begins.

/// What [`proxy`] keeps.
struct Proxy {
    to: Address,
    pair: Vec<Token>,
    errors: Sender<String>,
}

/// Passes bytes on between the one client and a connection to somewhere else; returns where to.
fn proxy(errors: Sender<String>) -> (Harness<impl Handler>, Address) {
    let to: Address = "203.0.113.1:80".parse().unwrap();
    let on_open = |it: &mut Proxy, cx: &mut Context<'_>, token| {
        if it.pair.is_empty() {
            cx.pause(token);
            it.pair = vec![token, cx.connect(&it.to, 0).unwrap()];
        } else {
            cx.resume(it.pair[0]);
        }
    };
    let proxy = Proxy { to: to.clone(), pair: Vec::new(), errors };
    let handler = Scripted::new(proxy, on_open, |it, cx, token, (), input| {
        cx.forward(it.pair[usize::from(token == it.pair[0])], input);
        Ok(())
    })
    .on_connect_error(|it, cx, _, error| {
        it.errors.send(error.kind().to_string()).unwrap();
        cx.close(it.pair[0]);
    });
    (Harness::new(Config::default(), handler).unwrap(), to)
}

#[test]
fn dialled_connection_is_the_tests_other_end() {
    let (errors, _none) = channel();
    let (mut server, _) = proxy(errors);
    let client = server.connect();
    client.send("request");
    server.run_until_idle();
    let upstream = server.dialled().unwrap();
    assert!(server.dialled().is_none());
    assert_eq!(upstream.read_text(), "request");
    upstream.send("answer");
    server.run_until_idle();
    assert_eq!(client.read_text(), "answer");
    let stats = server.finish();
    assert_eq!((stats.accepted, stats.dialled), (1, 1));
}

#[test]
fn dialled_connection_may_be_refused_or_never_answered() {
    for (answer, wait, told) in
        [(Answer::Refuse, 0, "connection refused"), (Answer::Silence, 11, "timed out")]
    {
        let (errors, seen) = channel();
        let (mut server, to) = proxy(errors);
        server.answer(to, answer);
        let client = server.connect();
        server.run_until_idle();
        assert_eq!(client.ended().is_some(), wait == 0, "{answer:?}");
        server.advance(seconds(wait));
        assert_eq!(client.ended(), Some(Ended::InOrder), "{answer:?}");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [told]);
        assert_eq!(server.finish().closed(CloseReason::ConnectFailed), 1);
    }
}

/// Notes what it is told of a connection: whether that was dialled, and what.
fn telling_of_drains() -> (Harness<impl Handler>, Receiver<(bool, &'static str)>, Address) {
    let (told, heard) = channel();
    let (opened, upstream) = (told.clone(), Address::from(SocketAddr::from(([192, 0, 2, 9], 1))));
    let dial = upstream.clone();
    let handler = handler_fn(|_, _, _| Ok(()))
        .on_open(move |cx, token| {
            opened.send((cx.dialled(token).is_some(), "open")).unwrap();
        })
        .on_drain(move |cx, token, ()| {
            let is_dialled = cx.dialled(token).is_some();
            told.send((is_dialled, "drain")).unwrap();
            if !is_dialled {
                cx.connect(&dial, 0).unwrap();
            }
        });
    (Harness::new(Config::default(), handler).unwrap(), heard, upstream)
}

#[test]
fn connection_that_opens_during_a_shutdown_is_told_of_it_once() {
    let (mut server, heard, upstream) = telling_of_drains();
    server.connect();
    server.run_until_idle();
    // This one is on its way when the shutdown begins, the other one is dialled because of it.
    server.with_context(|_, cx| cx.connect(&upstream, 0).unwrap());
    assert_eq!(server.finish().dialled, 2);
    let told: Vec<_> = heard.try_iter().collect();
    let dialled = [(true, "open"), (true, "drain")];
    assert_eq!(told[..2], [(false, "open"), (false, "drain")]);
    assert_eq!(told[2..], [dialled, dialled].concat());
}

// Listeners, and tasks of other threads.

#[test]
fn server_listens_at_several_addresses_and_nowhere_else() {
    let mut server = echo();
    let other: SocketAddr = ([192, 0, 2, 1], 7001).into();
    server.listen(other).unwrap();
    assert_eq!(server.listen(other).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let addresses = server.with_context(|_, cx| cx.addresses().to_vec());
    assert_eq!(addresses, ["192.0.2.1:7000".parse().unwrap(), Address::from(other)]);
    let (first, second) = (server.connect(), server.connect_to(other));
    let nowhere = server.connect_to(([192, 0, 2, 1], 7002).into());
    for peer in [&first, &second, &nowhere] {
        peer.send("hello");
    }
    server.run_until_idle();
    assert_eq!((first.read_text(), second.read_text()), ("hello".into(), "hello".into()));
    assert_eq!((nowhere.read_text(), nowhere.ended()), (String::new(), Some(Ended::Refused)));
    let kept = server.stats().accepted;
    server.with_context(|_, cx| cx.drain());
    server.run_until_idle();
    for late in [server.connect(), server.connect_to(other)] {
        assert_eq!(late.ended(), Some(Ended::Refused), "both listeners are closed");
    }
    assert_eq!((kept, server.finish().accepted), (2, 2));
}

#[test]
fn tasks_of_other_threads_reach_the_handler_and_its_sessions() {
    let handler = Scripted::new(
        String::from("hello"),
        |_, _, _| 0_usize,
        |_, _, _, count, input| {
            *count += input.len();
            input.clear();
            Ok(())
        },
    );
    let config = Config { tasks_max: 2, ..Config::default() };
    let mut server = Harness::new(config, handler).unwrap();
    let peer = server.connect();
    peer.send("12345");
    server.run_until_idle();
    let (remote, token) = (server.handler_remote(), peer.token().unwrap());
    let queue = std::thread::spawn(move || {
        let greet =
            move |it: &mut Scripted<String, usize>, cx: &mut Context<'_>, sessions: &mut _| {
                let count: &mut usize = Sessions::get_mut(sessions, cx, token).unwrap();
                cx.send(token, format!("{} {count}\n", **it).as_bytes());
                (**it).push('!');
            };
        for _ in 0..2 {
            remote.run(greet).unwrap();
        }
        matches!(remote.run(greet), Err(RemoteError::Full(_)))
    });
    assert!(queue.join().unwrap(), "no more than tasks_max wait");
    server.run_until_idle();
    assert_eq!(peer.read_text(), "hello 5\nhello! 5\n");
    server.finish();
}

#[test]
fn closure_for_on_tidy_is_called_a_second_after_it_is_asked_for() {
    let (told, heard) = channel();
    let handler = handler_fn(|_, _, _| Ok(())).on_tidy(move |_| told.send("tidy").unwrap());
    let mut server = Harness::new(Config::default(), handler).unwrap();
    server.with_context(|_, cx| cx.tidy_later());
    server.advance(Duration::from_millis(500));
    assert!(heard.try_recv().is_err());
    server.advance(seconds(1));
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["tidy"]);
}

// Time.

#[test]
fn time_stands_still_until_it_is_moved() {
    let mut server = echo();
    let begin = server.now();
    for _ in 0..100 {
        server.turn();
    }
    assert_eq!(server.now(), begin);
    server.advance(seconds(3600));
    assert_eq!(server.now(), begin + seconds(3600));
    server.stall(seconds(1));
    server.turn();
    assert_eq!(server.now(), begin + seconds(3601));
}

#[test]
fn timeouts_come_in_their_time() {
    let config = Config {
        idle_timeout: Some(seconds(60)),
        write_timeout: Some(seconds(20)),
        ..Config::default()
    };
    let mut server = Harness::new(config, Echo::new()).unwrap().with_buffers(1000, 1000);
    let (idle, stuck) = (server.connect(), server.connect());
    idle.send("x");
    stuck.stop_reading();
    stuck.send([b'x'; 5000]);
    server.run_until_idle();
    let reasons = |server: &mut Harness<Echo>, millis| {
        server.advance(Duration::from_millis(millis));
        (idle.close_reason(), stuck.close_reason())
    };
    // A tick is 100 ms.
    assert_eq!(reasons(&mut server, 19_999), (None, None));
    assert_eq!(reasons(&mut server, 102), (None, Some(CloseReason::WriteTimeout)));
    assert_eq!(stuck.ended(), Some(Ended::Reset));
    assert_eq!(reasons(&mut server, 39_890).0, None);
    server.advance(Duration::from_millis(111));
    assert_eq!(idle.ended(), Some(Ended::InOrder));
    // The server waits for its end, but not for ever.
    assert_eq!(reasons(&mut server, 5_200).0, Some(CloseReason::IdleTimeout));
    server.finish();
}

#[test]
fn every_timer_on_the_way_fires() {
    // Says something every 250 ms.
    let strike = |cx: &mut Context<'_>, token| {
        cx.set_timer(token, Duration::from_millis(250));
        cx.send(token, b".");
    };
    let clock = handler_fn(|_, _, _| Ok(()));
    let clock = clock.on_open(strike).on_timer(move |cx, token, ()| strike(cx, token));
    let config = Config { tick: Duration::from_millis(1), ..Config::default() };
    let mut server = Harness::new(config, clock).unwrap();
    let peer = server.connect();
    // A timer is a millisecond late: points in time are kept as whole ones.
    server.advance(Duration::from_millis(251 * 40));
    assert_eq!(peer.read().len(), 1 + 40);
    assert_eq!(server.next_deadline(), Some(Duration::from_millis(251)));
}

#[test]
fn what_came_while_the_server_stood_still_is_served_before_anybody_is_idle() {
    let config = Config { idle_timeout: Some(seconds(60)), ..Config::default() };
    let mut server = Harness::new(config, Echo::new()).unwrap();
    let peer = server.connect();
    server.run_until_idle();
    peer.send("in time");
    server.stall(seconds(120));
    server.run_until_idle();
    assert_eq!((peer.read_text().as_str(), peer.ended()), ("in time", None));
}

#[test]
fn tasks_of_other_threads_run_in_the_next_turn() {
    let mut server = echo();
    let peer = server.connect();
    server.run_until_idle();
    let (remote, token) = (server.remote(), peer.token().unwrap());
    std::thread::spawn(move || {
        remote.run(move |cx| {
            cx.send(token, b"from elsewhere");
        })
    })
    .join()
    .unwrap()
    .unwrap();
    server.run_until_idle();
    assert_eq!(peer.read_text(), "from elsewhere");
}

// Faults.

/// What happens in a run with faults, told in full.
fn faulty_run(faults: Faults) -> (String, u64) {
    let mut server = echo().with_faults(faults);
    let peers: Vec<Peer> = (0..4).map(|_| server.connect()).collect();
    for round in 0..20u8 {
        for peer in &peers {
            peer.send([round; 50]);
        }
        server.turn();
    }
    server.run_until_idle();
    let reads = peers.iter().map(|peer| (peer.read(), peer.ended()));
    let told = format!("{:?}", reads.collect::<Vec<_>>());
    (told, server.finish().turns)
}

#[test]
fn same_seed_makes_the_same_run_and_another_seed_another() {
    let runs: Vec<_> = (0..20).map(|seed| faulty_run(Faults::harsh(seed))).collect();
    for (seed, run) in (0..).zip(&runs) {
        assert_eq!(faulty_run(Faults::harsh(seed)), *run, "seed {seed}");
    }
    assert!(runs.iter().any(|run| run.1 != runs[0].1));
    assert!(runs.iter().any(|run| run.0.contains("Reset")), "connections are lost");
}

#[test]
fn gentle_faults_lose_nothing() {
    for_seeds(50, |seed| {
        let mut server = echo().with_faults(Faults::gentle(seed));
        let peers: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
        let sent: Vec<u8> = (0..2000).map(|at| (at / 7) as u8).collect();
        for piece in sent.chunks(300) {
            peers.iter().for_each(|peer| peer.send(piece));
        }
        peers.iter().for_each(Peer::end_sending);
        server.run_until_idle();
        for peer in &peers {
            assert!(peer.read() == sent, "every byte, in order");
            assert_eq!(peer.close_reason(), Some(CloseReason::PeerClosed));
        }
        server.finish();
    });
}

/// What happens at an echo to a connection that is sent three pieces, beside one that is silent.
fn short_run(faults: Faults) -> (String, Vec<u8>) {
    let mut server = echo().with_buffers(4096, 4096).with_faults(faults);
    let (peer, _silent) = (server.connect(), server.connect());
    peer.send_pieces([[1; 40]; 3]);
    server.run_until_idle();
    (server.trace(), peer.read())
}

#[test]
fn each_fault_is_seen_alone_and_changes_no_answer() {
    let (healthy, answer) = short_run(Faults::none());
    type Kind = fn(&mut Faults) -> &mut u16;
    let kinds: [(&str, Kind); 8] = [
        ("short_read", |faults| &mut faults.short_read),
        ("short_write", |faults| &mut faults.short_write),
        ("would_block", |faults| &mut faults.would_block),
        ("interrupted", |faults| &mut faults.interrupted),
        ("late", |faults| &mut faults.late),
        ("merged", |faults| &mut faults.merged),
        ("spurious", |faults| &mut faults.spurious),
        ("partial", |faults| &mut faults.partial),
    ];
    for (name, kind) in kinds {
        // As often as can be, which is no more than a server can live with.
        let mut faults = Faults { seed: 1, ..Faults::none() };
        *kind(&mut faults) = 1000;
        let (trace, read) = short_run(faults);
        assert_ne!(trace, healthy, "{name} never occurs");
        assert_eq!(read, answer, "{name}");
    }
}

#[test]
fn each_fault_occurs_alone() {
    let none = Faults { seed: 3, ..Faults::none() };
    let baseline = faulty_run(none.clone());
    let alone = [
        Faults { short_read: 500, ..none.clone() },
        Faults { short_write: 500, ..none.clone() },
        Faults { would_block: 500, ..none.clone() },
        Faults { interrupted: 500, ..none.clone() },
        Faults { late: 500, ..none.clone() },
        Faults { merged: 500, ..none.clone() },
        Faults { spurious: 500, ..none.clone() },
        Faults { partial: 500, ..none.clone() },
    ];
    for faults in alone {
        assert_eq!(faulty_run(faults.clone()).0, baseline.0, "{faults:?}");
    }
    let reset = faulty_run(Faults { reset: 50, ..none.clone() });
    assert!(reset.0.contains("Reset"));
    let refused = faulty_run(Faults { accept_error: 700, ..none });
    assert_ne!(refused.0, baseline.0);
}

/// What a test says that fails with some seed, or with the one that `EDGELOOP_SEED` asks for.
fn told_by_failure(seed: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fails_when_it_is_told_to", "--nocapture"]).env(FAILS, "1");
    if let Some(seed) = seed {
        command.env("EDGELOOP_SEED", seed);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn seed_that_is_no_number_is_an_error_that_names_its_variable() {
    for wrong in ["abc", "", "-1", "18446744073709551616"] {
        let told = told_by_failure(Some(wrong));
        assert!(
            told.contains(&format!("EDGELOOP_SEED is {wrong:?}; a seed is a number")),
            "{told}"
        );
        assert!(!told.contains("the last things that happened"), "no seed is run: {told}");
    }
}

#[test]
fn failure_names_its_seed_and_what_happened_last_and_that_seed_fails_again() {
    let told = told_by_failure(None);
    let (_, seed) = told.split_once("failed with EDGELOOP_SEED=").expect(&told);
    let seed = seed.lines().next().unwrap();
    let (_, last) = told.split_once("the last things that happened\n").expect(&told);
    assert!(last.contains("the network resets peer"), "{told}");
    assert!(last.contains(&format!("Faults {{ seed: {seed},")), "{told}");
    let again = told_by_failure(Some(seed));
    assert!(again.ends_with(last), "{again}");
}

const FAILS: &str = "EDGELOOP_TESTS_FAIL";

/// Run by the tests above, in a process of its own.
#[test]
fn fails_when_it_is_told_to() {
    if std::env::var_os(FAILS).is_none() {
        return;
    }
    for_seeds(100, |seed| {
        let mut server = echo().with_faults(Faults::harsh(seed));
        let peer = server.connect();
        peer.send_pieces(["piece"; 20]);
        server.run_until_idle();
        assert_eq!(peer.ended(), None, "it loses a connection that is expected to stay");
    });
}

// Handlers that are wrong on purpose.

fn difference<F>(wrong: impl Fn() -> F) -> Difference
where
    F: FnMut(&mut Context<'_>, Token, &mut RingBuffer),
{
    let found = Cuts::default().find(
        || data_only(wrong()),
        |server| {
            let peer = server.connect();
            peer.send("hello\n");
            peer.send("world\n");
        },
    );
    found.unwrap_err()
}

#[test]
fn right_handler_is_the_same_however_cut() {
    same_however_cut(
        || data_only(shout),
        |server| {
            let peer = server.connect();
            peer.send("hello\nworld\n");
            peer.send("and an end without a newline");
            peer.end_sending();
        },
    );
    same_however_cut(
        || Framed::new(Delimited::lines(80), EchoLines::new("> ")),
        |server| {
            let (first, second) = (server.connect(), server.connect());
            first.send("one\r\ntwo\n");
            second.send("three");
            second.end_sending();
            server.run_until_idle();
            assert_eq!(second.ended(), Some(Ended::InOrder));
            first.send("four\n");
            server.advance(seconds(10));
        },
    );
}

#[test]
fn handler_that_ignores_half_a_message_is_caught() {
    let found = difference(|| {
        |cx: &mut Context<'_>, token: Token, input: &mut RingBuffer| {
            shout(cx, token, input);
            // What is no whole line yet.
            input.clear();
        }
    });
    assert_eq!(found.received(), b"ELLO\nWORLD\n", "its first byte came alone");
    let text = found.to_string();
    assert!(text.contains("answers otherwise"), "{text}");
    assert!(text.contains(r#""HELLO\nWORLD\n""#), "{text}");
}

#[test]
fn handler_that_leaves_a_complete_message_behind_is_caught() {
    let found = difference(|| {
        |cx: &mut Context<'_>, token: Token, input: &mut RingBuffer| {
            if let Some(end) = input.contiguous().iter().position(|byte| *byte == b'\n') {
                cx.send(token, &input.contiguous()[..=end].to_ascii_uppercase());
                input.consume(end + 1);
            }
        }
    });
    let text = found.to_string();
    assert!(text.contains("leaves a message behind: 6 bytes"), "{text}");
}

#[test]
fn handler_that_takes_a_read_for_a_message_is_caught() {
    let found = difference(|| {
        |cx: &mut Context<'_>, token: Token, input: &mut RingBuffer| {
            let answer = format!("{} bytes\n", input.len());
            input.clear();
            cx.send(token, answer.as_bytes());
        }
    });
    assert_eq!(found.received(), b"12 bytes\n", "two messages in one piece");
}

#[test]
fn handler_that_closes_on_half_a_message_is_caught() {
    let found = difference(|| {
        |cx: &mut Context<'_>, token: Token, input: &mut RingBuffer| {
            if !input.contiguous().ends_with(b"\n") {
                cx.close(token);
            }
            shout(cx, token, input);
        }
    });
    assert!(found.to_string().contains("then an end"), "{found}");
    assert_eq!(found.peer(), 0);
}

#[test]
fn server_that_never_rests_is_caught() {
    let wake = |cx: &mut Context<'_>| cx.set_alarm(cx.now());
    let restless = handler_fn(|_, _, _| Ok(())).on_open(move |cx, _| wake(cx)).on_alarm(wake);
    let mut server = Harness::new(Config::default(), restless).unwrap();
    server.connect();
    let failed = catch_unwind(AssertUnwindSafe(|| server.run_until_idle()));
    let text = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("the server is not idle"), "{text}");
}

#[test]
fn long_conversation_through_small_buffers_is_not_taken_for_restless() {
    let mut server = echo().with_buffers(1, 1);
    let peer = server.connect();
    peer.send([7; 120_000]);
    server.run_until_idle();
    assert_eq!(peer.read().len(), 120_000);
}

#[test]
fn server_that_sends_without_end_is_caught_though_its_peer_is_slow() {
    let follower = Arc::new(OnceLock::new());
    let followed = Arc::clone(&follower);
    let again = move |cx: &mut Context<'_>| {
        if let Some(token) = followed.get().copied() {
            cx.send(token, b"again");
        }
        cx.set_alarm(cx.now());
    };
    let first = again.clone();
    let endless = handler_fn(|_, _, _| Ok(())).on_alarm(again).on_open(move |cx, token| {
        follower.get_or_init(|| token);
        first(cx);
    });
    let mut server = Harness::new(Config::default(), endless).unwrap().with_buffers(8, 8);
    server.connect().read_slowly(7);
    let failed = catch_unwind(AssertUnwindSafe(|| server.run_until_idle()));
    let text = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("the server is not idle"), "{text}");
}

#[test]
fn right_handler_is_not_blamed_for_a_peer_that_closes_on_its_answers() {
    let talks: [fn(&Peer); 2] = [Peer::close, Peer::reset];
    for go in talks {
        same_however_cut(Echo::new, |server| {
            let peer = server.connect();
            peer.send_pieces(["one", "two"]);
            go(&peer);
        });
    }
}

#[test]
fn handler_that_dials_for_each_read_is_caught() {
    let upstream: Address = local(1).into();
    let make = || {
        data_only(|cx: &mut Context<'_>, _: Token, input: &mut RingBuffer| {
            input.clear();
            let _ = cx.connect(&upstream, 0);
        })
    };
    let found = Cuts::default().find(make, |server| server.connect().send("hello"));
    let text = found.unwrap_err().to_string();
    assert!(text.contains("there are 3 peers, and 2 as it was sent"), "{text}");
}

#[test]
fn handler_that_forgets_to_consume_is_told_so() {
    let found = difference(|| {
        |cx: &mut Context<'_>, token: Token, input: &mut RingBuffer| {
            let seen = input.contiguous().to_vec();
            cx.send(token, &seen);
        }
    });
    assert!(found.to_string().contains("answers what it does not take: 12 bytes stay"), "{found}");
}

#[test]
fn trace_tells_what_each_call_of_the_handler_took() {
    let mut server = on_data(|cx, token, input| {
        input.consume(2);
        cx.set_timer(token, seconds(1));
    });
    let peer = server.connect();
    peer.send("hello");
    server.run_until_idle();
    server.advance(seconds(2));
    peer.reset();
    server.run_until_idle();
    let trace = server.trace();
    for told in ["peer 0: on_open", "on_data took 2 of 5 bytes", "on_timer", "on_close, reset"] {
        assert!(trace.contains(told), "{trace}");
    }
}

// Services of this crate.

#[test]
fn broadcast_is_the_same_however_its_lines_are_cut() {
    same_however_cut(
        || Broadcast::new(Framing::Lines, 100, TopicConfig::default()),
        |server| {
            let peers: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
            server.run_until_idle();
            peers[0].send("one\ntwo\n");
            server.run_until_idle();
            peers[1].send("three\r\n");
            server.run_until_idle();
            peers[0].end_sending();
        },
    );
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn keys_and_values_are_the_same_however_commands_are_cut_and_expire_in_their_time() {
    let config = Config::default();
    Cuts::default().seeds(10).check(
        || Kv::new(KvConfig::default(), &config).unwrap(),
        |server| {
            // Strangers are not let in without a password.
            let [client, listener] = [1, 2].map(|port| server.connect_from(local(port)));
            listener.send("SUBSCRIBE news\r\n");
            server.run_until_idle();
            client.send("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n$2\r\nEX\r\n$2\r\n60\r\n");
            client.send("GET k\r\nINCR n\r\nPUBLISH news 'hello there'\r\nNO SUCH\r\n");
            server.advance(seconds(59));
            client.send("GET k\r\n");
            server.advance(seconds(2));
            client.send("GET k\r\nQUIT\r\n");
            server.run_until_idle();
        },
    );
}

#[cfg(feature = "http")]
#[test]
fn web_is_the_same_however_requests_are_cut_and_gives_a_head_its_time() {
    use edgeloop::service::web::{Router, WebConfig};
    let make = || {
        let router = Router::new().post("/length", |request, response| {
            response.text(&format!("{} bytes", request.body.len()));
        });
        router.serve(WebConfig::default()).unwrap()
    };
    let without_date = |text: String| {
        text.lines().filter(|line| !line.starts_with("Date:")).collect::<Vec<_>>().join("\n")
    };
    let talk = |server: &mut Harness<_>| {
        let peer = server.connect();
        peer.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        peer.send("POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer.send("2\r\nab\r\n0\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n");
        server.run_until_idle();
        let answers = without_date(peer.read_text());
        assert!(answers.contains("3 bytes") && answers.contains("404 Not Found"), "{answers}");
    };
    // The date is that of the answer, which may be another second: what was read is compared above.
    talk(&mut Harness::new(Config::default(), make()).unwrap());

    let mut server = Harness::new(Config::default(), make()).unwrap();
    let slow = server.connect();
    for _ in 0..9 {
        slow.send("P");
        server.advance(seconds(1));
        assert_eq!(slow.ended(), None);
    }
    server.advance(seconds(2));
    assert!(slow.read_text().starts_with("HTTP/1.1 408 "));
}
