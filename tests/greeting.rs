//! What comes before a connection is open: a balancer introduces its client, a layer greets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/sealed.rs"]
mod sealed;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen};
use common::{
    ByHand, PATIENCE, Server, closed, connect, end_sending, expect_bytes, expect_eof, expect_gone,
    expect_last_bytes, expect_reset, reset, send, start_by,
};
use edgeloop::service::{Echo, HandlerFn};
use edgeloop::{
    Address, CloseReason, Config, Context, Gate, Handler, Layer, LayerSocket, ListenOptions,
    ProtocolError, Reactor, RingBuffer, Stage, Token, WhenFull,
};
use sealed::{
    ALERT, BEGINNING, BYE, END, HELLO, Habits, READY, STUFFING, Sealed, Via, WELCOME, seal,
};

const LOCALHOST: &str = "127.0.0.1:0";

// ---- a layer that greets ----

#[test]
fn connection_is_opened_when_its_layer_has_greeted_and_loses_nothing_that_came_with_it() {
    for piece in [0, 1, 3] {
        for holds_back in [false, true] {
            let habits = Habits { piece, holds_back, ..Habits::default() };
            let (reporter, seen) = Reporter::new(|cx, seen| {
                if let Seen::Open(token) = seen {
                    assert_eq!(cx.introduction(*token).protocol.as_deref(), Some(&b"boat"[..]));
                }
            });
            let server = start_sealed(quick(), habits, reporter);
            let client = server.connect();
            send(&client, &HELLO[..3]);
            server.wait_until("it greets", |stats| stats.greetings == 1);
            assert!(seen.try_recv().is_err(), "nothing is heard of it");
            send(&client, &HELLO[3..]);
            expect_bytes(&client, WELCOME);
            send(&client, &[READY, &seal(b"with it")].concat());
            let Seen::Open(token) = next(&seen) else { panic!("it is not open") };
            assert_eq!(next(&seen), Seen::Data(token, b"with it".to_vec()));
            drop(client);
            let stats = server.finish();
            assert_eq!((stats.greetings, stats.greetings_failed), (1, 0));
        }
    }
}

#[test]
fn greeting_that_does_not_end_is_over_at_its_deadline_and_the_handler_hears_nothing() {
    let config = Config { greeting_timeout: Duration::from_millis(300), ..quick() };
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start_sealed(config, Habits::default(), reporter);
    let began = Instant::now();
    let beginnings: [&[u8]; 4] = [b"", b"h", HELLO, b"hello\nrea"];
    let clients: Vec<TcpStream> = beginnings.iter().map(|_| server.connect()).collect();
    for (client, beginning) in clients.iter().zip(beginnings) {
        send(client, beginning);
    }
    for client in &clients {
        let mut rest = Vec::new();
        { client }.read_to_end(&mut rest).unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "they had their time");
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::HandshakeTimeout, 4)]);
    assert_eq!(stats.greetings_failed, 4);
    assert!(seen.try_iter().next().is_none());
}

/// Whoever says a byte now and then has the same time as whoever says nothing.
#[test]
fn deadline_of_a_greeting_does_not_move_with_what_the_peer_says() {
    let config = Config { greeting_timeout: Duration::from_millis(200), ..quick() };
    let server = start_sealed(config, Habits::default(), Echo::new());
    let client = server.connect();
    let began = Instant::now();
    // A byte for each look, as long as there is somebody to take it: no word is ever whole.
    let mut bytes = HELLO[..HELLO.len() - 1].iter().copied();
    let mut next_at = began;
    while server.stats().open() > 0 || server.stats().accepted == 0 {
        assert!(began.elapsed() < PATIENCE, "it goes on for ever");
        if Instant::now() >= next_at {
            bytes.next().map(|byte| (&client).write(&[byte]));
            next_at += Duration::from_millis(150);
        }
    }
    assert_eq!(closed(&server.finish()), [(CloseReason::HandshakeTimeout, 1)]);
}

/// Counts how often layers are asked, and does nothing else.
struct Counted(Sealed, Rc<RefCell<u64>>);

#[test]
fn flood_of_greetings_is_worked_off_a_few_in_a_turn_and_an_open_connection_is_served_between() {
    const CROWD: usize = 40;
    let config = Config { greeting_budget: 4, ..Config::default() };
    let asked = Rc::new(RefCell::new(0));
    let mut server = by_hand(config, Echo::new(), {
        let asked = asked.clone();
        move |socket| Ok(Box::new(Counted(Sealed::new(socket, Habits::default()), asked.clone())))
    });
    let inside = connect(&server.address);
    send(&inside, BEGINNING);
    server.turn_until("it is open", |_| got(&inside, WELCOME));
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(&server.address)).collect();
    crowd.iter().for_each(|client| send(client, BEGINNING));
    let mut turns = 0;
    while server.reactor.stats().greetings < CROWD as u64 + 1 || is_greeting(&mut server) {
        send(&inside, &seal(b"x"));
        let before = *asked.borrow();
        server.turn();
        turns += 1;
        assert!(*asked.borrow() <= before + 4, "the budget is kept");
        assert!(turns < 1000, "it never ends");
    }
    assert!(turns >= CROWD / 4, "{turns} turns");
    // One answer to each turn, but for the first and the last.
    server.turn();
    server.turn();
    expect_bytes(&inside, &seal(&vec![b'x'; turns - 2]));
    for client in crowd.iter().chain([&inside]) {
        (&*client).write_all(&[END]).unwrap();
    }
    server.turn_until("they are gone", |reactor| reactor.stats().open() == 0);
}

#[test]
fn listener_rests_while_as_many_greet_as_may_and_goes_on_when_one_is_over() {
    let config = Config { greetings_max: Some(2), ..quick() };
    let server = start_sealed(config, Habits::default(), Echo::new());
    let mut silent = vec![server.connect(), server.connect()];
    server.wait_until("two greet", |stats| stats.greetings == 2);
    let third = server.connect();
    send(&third, BEGINNING);
    assert_eq!(server.wait_for_rest(Duration::from_millis(100), |it| it.accepted).accepted, 2);
    drop(silent.pop());
    expect_bytes(&third, WELCOME);
    drop((silent, third));
    server.finish();
}

#[test]
fn newcomer_is_refused_where_it_is_told_to_while_as_many_greet_as_may() {
    let config = Config { greetings_max: Some(2), when_full: WhenFull::Refuse, ..quick() };
    let server = start_sealed(config, Habits::default(), Echo::new());
    let mut silent = vec![server.connect(), server.connect()];
    server.wait_until("two greet", |stats| stats.greetings == 2);
    expect_gone(&server.connect());
    drop(silent.pop());
    server.wait_until("one is gone", |stats| stats.open() == 1);
    let next = server.connect();
    send(&next, BEGINNING);
    expect_bytes(&next, WELCOME);
    drop((silent, next));
    let stats = server.finish();
    assert_eq!((stats.closed(CloseReason::Refused), stats.greetings), (1, 3), "{stats}");
}

#[test]
fn memory_that_layers_hold_counts_and_those_that_hold_most_are_closed() {
    let holds = 1 << 20;
    let config = Config { buffer_memory: 5 << 19, ..quick() };
    let habits = Habits { holds, ..Habits::default() };
    let server = start_sealed(config, habits, Echo::new());
    let clients: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    let stats = server.wait_until("one has to go", |stats| stats.closed(CloseReason::Memory) > 0);
    assert_eq!(stats.closed(CloseReason::Memory), 1, "{stats}");
    drop(clients);
    server.finish();
}

#[test]
fn regression_peer_that_speaks_something_else_is_told_so_and_not_reset() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start_sealed(quick(), Habits::default(), reporter);
    let client = server.connect();
    // Much more than is read before it is known to be wrong.
    send(&client, &[b"GET / HTTP/1.1\r\n", &vec![b'x'; 100 << 10][..]].concat());
    expect_bytes(&client, ALERT);
    expect_eof(&client);
    end_sending(&client);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::HandshakeFailed, 1)]);
    assert!(seen.try_iter().next().is_none(), "neither opened nor closed");
    assert!(stats.bytes_discarded >= 100 << 10, "it was read and dropped: {stats}");
}

#[test]
fn peer_that_ends_or_resets_in_the_middle_of_a_greeting_is_gone_at_once() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start_sealed(quick(), Habits::default(), reporter);
    let ending = server.connect();
    send(&ending, b"hel");
    end_sending(&ending);
    expect_last_bytes(&ending, ALERT);
    let resetting = server.connect();
    send(&resetting, HELLO);
    expect_bytes(&resetting, WELCOME);
    reset(resetting);
    let stats =
        server.wait_until("both are gone", |stats| stats.closed_by_reason.iter().sum::<u64>() == 2);
    assert_eq!(closed(&stats), [(CloseReason::Reset, 1), (CloseReason::HandshakeFailed, 1)]);
    server.finish();
    assert!(seen.try_iter().next().is_none());
}

#[test]
fn layer_that_fails_later_says_why_behind_all_that_came_before() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start_sealed(quick(), Habits { piece: 4, ..Habits::default() }, reporter);
    let client = server.connect();
    let garbage = vec![b'x'; 50 << 10];
    send(&client, &[BEGINNING, &seal(b"good"), &garbage].concat());
    expect_bytes(&client, &[WELCOME, ALERT].concat());
    expect_eof(&client);
    end_sending(&client);
    let Seen::Open(token) = next(&seen) else { panic!("it is open") };
    assert_eq!(next(&seen), Seen::Data(token, b"good".to_vec()));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::TlsError));
    server.finish();
}

#[test]
fn stream_without_a_farewell_is_truncated_and_its_end_is_not_told() {
    let (reporter, seen) = Reporter::new(|_, _| {});
    let server = start_sealed(quick(), Habits::default(), reporter);
    let client = server.connect();
    send(&client, &[BEGINNING, &seal(b"half a li")].concat());
    end_sending(&client);
    expect_last_bytes(&client, WELCOME);
    let Seen::Open(token) = next(&seen) else { panic!("it is open") };
    assert_eq!(next(&seen), Seen::Data(token, b"half a li".to_vec()));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::TlsTruncated));
    server.finish();
}

#[test]
fn regression_farewell_is_said_to_a_peer_that_has_ended_first() {
    let server = start_sealed(quick(), Habits::default(), Echo::new());
    let client = server.connect();
    send(&client, &[BEGINNING, &seal(b"x"), &[END]].concat());
    expect_last_bytes(&client, &[WELCOME, &seal(b"x"), BYE].concat());
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 1)]);
}

#[test]
fn regression_last_words_that_do_not_fit_are_said_once_there_is_room() {
    for ends_first in [true, false] {
        let handler = HandlerFn::new(
            |_, _| (),
            |cx, token, (), input| {
                cx.forward(token, input);
                cx.close(token);
                Ok(())
            },
        );
        let server = start_sealed(quick(), Habits { stuffs: true, ..Habits::default() }, handler);
        let client = server.connect();
        send(&client, &[BEGINNING, &seal(b"x")].concat());
        if ends_first {
            send(&client, &[END]);
        }
        expect_bytes(&client, &[WELCOME, &seal(b"x")].concat());
        server.wait_for_rest(Duration::from_millis(50), |stats| stats.turns.min(1));
        let mut rest = Vec::new();
        (&client).read_to_end(&mut rest).unwrap();
        let stuffing = rest.iter().take_while(|byte| **byte == STUFFING).count();
        assert!(stuffing > 4096, "the socket was full");
        assert_eq!(&rest[stuffing..], BYE);
        drop(client);
        let stats = server.finish();
        assert_eq!(stats.closed(CloseReason::Closed) + stats.closed(CloseReason::PeerClosed), 1);
    }
}

#[test]
fn regression_abort_of_a_connection_with_a_layer_is_a_reset() {
    let handler = HandlerFn::new(
        |_, _| (),
        |cx, token, (), _| {
            cx.abort(token);
            Ok(())
        },
    );
    let server = start_sealed(quick(), Habits::default(), handler);
    let client = server.connect();
    send(&client, &[BEGINNING, &seal(b"x")].concat());
    assert!(expect_reset(&client) <= WELCOME.len());
    assert_eq!(closed(&server.finish()), [(CloseReason::Aborted, 1)]);
}

#[test]
fn greeting_is_listed_and_can_be_ended_by_its_token() {
    for aborts in [true, false] {
        let server = start_sealed(quick(), Habits::default(), Echo::new());
        let client = server.connect();
        server.wait_until("it greets", |stats| stats.greetings == 1);
        server.ask(move |cx| {
            let info: Vec<_> = cx.connections(None).collect();
            assert_eq!(info.len(), 1);
            assert_eq!(info[0].stage, Stage::Greeting);
            assert!(!cx.send(info[0].token, b"too early"));
            if aborts {
                cx.abort(info[0].token);
            } else {
                cx.close(info[0].token);
            }
        });
        expect_gone(&client);
        let stats = server.finish();
        let reason = if aborts { CloseReason::Aborted } else { CloseReason::Closed };
        assert_eq!(closed(&stats), [(reason, 1)]);
        assert_eq!((stats.greetings, stats.greetings_failed), (1, 1));
    }
}

#[test]
fn shutdown_waits_for_a_greeting_that_goes_on_and_not_for_one_that_says_nothing() {
    let drains: Arc<Mutex<Vec<Token>>> = Arc::default();
    let config = Config { drain_quiet: Duration::from_millis(300), ..quick() };
    let told = drains.clone();
    let handler = HandlerFn::new(|_, _| (), swallow).on_drain(move |cx, token, ()| {
        told.lock().unwrap().push(token);
        cx.send(token, b"so soon");
        cx.close(token);
    });
    let mut server = start_sealed(config, Habits::default(), handler);
    let (silent, slow) = (server.connect(), server.connect());
    send(&slow, HELLO);
    expect_bytes(&slow, WELCOME);
    server.wait_until("both greet", |stats| stats.greetings == 2);
    server.ask(|cx| cx.drain());
    send(&slow, READY);
    // It is told of the shutdown as all others are, and says so.
    expect_last_bytes(&slow, &[seal(b"so soon"), BYE.to_vec()].concat());
    expect_gone(&silent);
    drop((silent, slow));
    let (stats, ending) = server.join();
    assert_eq!(ending.cut_off, 0);
    assert_eq!(drains.lock().unwrap().len(), 1);
    assert_eq!(closed(&stats), [(CloseReason::Closed, 1), (CloseReason::Drained, 1)]);
}

#[test]
fn panic_of_a_greeting_ends_its_connection_and_nothing_else() {
    struct Panics(mio::net::TcpStream);
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("it is not open")
        }
    }
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            unreachable!("it is not open")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Layer for Panics {
        fn socket(&mut self) -> LayerSocket<'_> {
            LayerSocket::Tcp(&mut self.0)
        }
        fn greet(&mut self) -> io::Result<bool> {
            panic!("on purpose")
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut server = start_by(quick(), Echo::new(), |reactor| {
        let mut first = true;
        let wrap = move |socket| match std::mem::take(&mut first) {
            true => Ok(Box::new(Panics(socket)) as Box<dyn Layer>),
            false => Sealed::boxed(socket, Habits::default()),
        };
        let any = LOCALHOST.parse().unwrap();
        reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap()
    });
    server.panics = 1;
    expect_reset(&server.connect());
    let client = server.connect();
    send(&client, BEGINNING);
    expect_bytes(&client, WELCOME);
    drop(client);
    assert_eq!(server.finish().closed(CloseReason::HandlerPanicked), 1);
}

// ---- a preface ----

#[test]
fn client_is_known_by_what_the_balancer_says_however_that_is_cut() {
    let preface = b"via 192.0.2.7:4321\n";
    let (known, knows) = mpsc::channel();
    let server = start_preface(quick(), None, whoami(known));
    for cut in 0..=preface.len() {
        let client = server.connect();
        send(&client, &preface[..cut]);
        // Each part is an event of its own.
        let count = cut as u64 + 1;
        server.wait_until("it is there", |stats| stats.greetings == count);
        send(&client, &[&preface[cut..], b"first"].concat());
        expect_bytes(&client, b"first");
        let (peer, via) = knows.recv_timeout(PATIENCE).unwrap();
        assert_eq!(peer, "192.0.2.7:4321");
        assert_eq!(via, Some(client.local_addr().unwrap().to_string()));
    }
    // Of which nothing more is read than there is.
    let stats = server.finish();
    assert_eq!(stats.bytes_received, 5 * (preface.len() as u64 + 1));
}

#[test]
fn balancer_that_looks_whether_the_server_is_there_is_a_client_of_its_own() {
    let (known, knows) = mpsc::channel();
    let server = start_preface(quick(), None, whoami(known));
    let client = server.connect();
    send(&client, b"via -\n");
    end_sending(&client);
    expect_eof(&client);
    let own = client.local_addr().unwrap().to_string();
    assert_eq!(knows.recv_timeout(PATIENCE).unwrap(), (own, None));
    // Or it says nothing at all.
    end_sending(&server.connect());
    let stats =
        server.wait_until("both are gone", |stats| stats.closed(CloseReason::PeerClosed) == 2);
    assert_eq!(stats.greetings_failed, 1);
    server.finish();
}

#[test]
fn preface_of_somebody_who_is_not_listed_is_data() {
    let server = start_by(quick(), Echo::new(), |reactor| {
        let via = Via("127.0.0.2".parse().unwrap());
        let options = ListenOptions { preface: Some(Arc::new(via)), ..ListenOptions::default() };
        reactor.listen(&LOCALHOST.parse().unwrap(), &options).unwrap()
    });
    let client = server.connect();
    send(&client, b"via 192.0.2.7:4321\nx");
    expect_bytes(&client, b"via 192.0.2.7:4321\nx");
    drop(client);
    assert_eq!(server.finish().greetings, 0);
}

#[test]
fn preface_that_is_none_or_ends_too_early_or_is_too_long_is_bad() {
    let server = start_preface(quick(), None, Echo::new());
    let endless = [b"via ".to_vec(), vec![b'1'; 100]].concat();
    let bad: [&[u8]; 4] = [b"hello", b"via nobody\n", b"via 192.0.2.7:43", &endless];
    for (count, bytes) in (1..).zip(bad) {
        let client = server.connect();
        send(&client, bytes);
        if count == 3 {
            end_sending(&client);
        }
        expect_eof(&client);
        let _ = client.shutdown(Shutdown::Write);
        server.wait_until("it is counted", |stats| {
            stats.closed(CloseReason::BadProxyHeader) == count
        });
    }
    server.finish();
}

#[test]
fn layer_greets_behind_the_preface_with_the_bytes_that_came_with_it() {
    let (known, knows) = mpsc::channel();
    let server = start_preface(quick(), Some(Habits::default()), whoami(known));
    let client = server.connect();
    send(&client, &[b"via [2001:db8::1]:7\n", BEGINNING, &seal(b"x"), &[END]].concat());
    expect_last_bytes(&client, &[WELCOME, &seal(b"x"), BYE].concat());
    assert_eq!(knows.recv_timeout(PATIENCE).unwrap().0, "[2001:db8::1]:7");
    server.finish();
}

#[test]
fn preface_comes_over_a_unix_socket_too() {
    let directory = common::directory::Directory::new();
    let path = directory.path("socket");
    let (known, knows) = mpsc::channel();
    let listen = Address::Unix(path.clone());
    let server = start_by(quick(), whoami(known), move |reactor| {
        let via = Via("127.0.0.1".parse().unwrap());
        let options = ListenOptions { preface: Some(Arc::new(via)), ..ListenOptions::default() };
        reactor.listen(&listen, &options).unwrap()
    });
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"via 192.0.2.7").unwrap();
    server.wait_until("it is there", |stats| stats.greetings == 1);
    client.write_all(b":1\nover there").unwrap();
    expect_bytes(&client, b"over there");
    assert_eq!(knows.recv_timeout(PATIENCE).unwrap(), ("192.0.2.7:1".into(), Some("unix:".into())));
    drop(client);
    server.finish();
}

/// Lets in whom it does not know yet, and tells what it was asked.
struct Doorkeeper(mpsc::Sender<(bool, String)>, Vec<Address>);

#[test]
fn gate_is_asked_about_the_client_and_told_of_each_end_once() {
    let (asks, asked) = mpsc::channel();
    let server = start_by(quick(), Echo::new(), move |reactor| {
        reactor.set_gate(Doorkeeper(asks, Vec::new()));
        listen_preface(reactor, Some(Habits::default()))
    });
    let first = server.connect();
    send(&first, b"via 192.0.2.7:1\nhello\n");
    expect_bytes(&first, WELCOME);
    // A second one from there is turned away before its handshake.
    let second = server.connect();
    send(&second, b"via 192.0.2.7:1\n");
    expect_gone(&second);
    // The first fails, and makes room for a third.
    send(&first, b"nothing of the kind\n");
    expect_last_bytes(&first, ALERT);
    drop((first, second));
    server.wait_until("they are gone", |stats| stats.closed_by_reason.iter().sum::<u64>() == 2);
    let third = server.connect();
    send(&third, &[b"via 192.0.2.7:1\n", BEGINNING, &[END]].concat());
    expect_last_bytes(&third, &[WELCOME, BYE].concat());
    // Of whom nothing was heard is nobody to the gate.
    drop(server.connect());
    server.wait_until("all are gone", |stats| stats.closed_by_reason.iter().sum::<u64>() == 4);
    let stats = server.finish();
    let client = || "192.0.2.7:1".to_owned();
    let told: Vec<_> = asked.try_iter().collect();
    let pair = [(true, client()), (false, client())];
    assert_eq!(told, [&pair[..1], &pair[..1], &pair[1..], &pair[..]].concat());
    assert_eq!(stats.closed(CloseReason::AddressLimit), 1);
}

// ---- the other side ----

#[test]
fn outgoing_connection_with_a_layer_is_open_when_that_has_greeted() {
    let listener = std::net::TcpListener::bind(LOCALHOST).unwrap();
    let to: Address = listener.local_addr().unwrap().into();
    let (reporter, seen) = Reporter::new(|_, _| {});
    let mut reactor = Reactor::new(quick(), reporter).unwrap();
    let token = reactor.with_context(|_, cx| {
        let wrap = |socket| Sealed::boxed(socket, Habits::default());
        let token = cx.connect_layered(&to, 5, wrap).unwrap();
        assert!(cx.send(token, b"first"));
        token
    });
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    peer.write_all(HELLO).unwrap();
    turn_until(&mut reactor, || got(&peer, WELCOME));
    assert!(seen.try_recv().is_err());
    peer.write_all(READY).unwrap();
    turn_until(&mut reactor, || got(&peer, &seal(b"first")));
    assert_eq!(seen.try_recv().unwrap(), Seen::Open(token));
    drop(peer);
    reactor.with_context(|_, cx| cx.stop());
    reactor.run().unwrap();
}

#[test]
fn failure_of_the_greeting_of_an_outgoing_connection_is_told_as_an_error_of_the_connect() {
    for says in [Some(&b"nothing of the kind"[..]), None] {
        let listener = std::net::TcpListener::bind(LOCALHOST).unwrap();
        let to: Address = listener.local_addr().unwrap().into();
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = failures.clone();
        let handler =
            HandlerFn::new(|_, _| (), swallow).on_connect_error(move |cx, token, error| {
                assert_eq!(cx.dialled(token), Some(5));
                told.lock().unwrap().push(error.to_string());
            });
        let config = Config { greeting_timeout: Duration::from_millis(200), ..quick() };
        let mut reactor = Reactor::new(config, handler).unwrap();
        reactor.with_context(|_, cx| {
            cx.connect_layered(&to, 5, |socket| Sealed::boxed(socket, Habits::default())).unwrap()
        });
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(says.unwrap_or_default()).unwrap();
        turn_until(&mut reactor, || !failures.lock().unwrap().is_empty());
        drop(peer);
        reactor.with_context(|_, cx| cx.stop());
        reactor.run().unwrap();
        let (text, reason) = match says {
            Some(_) => ("it says something else", CloseReason::HandshakeFailed),
            None => ("timed out", CloseReason::HandshakeTimeout),
        };
        assert_eq!(*failures.lock().unwrap(), [text]);
        assert_eq!(reactor.stats().closed(reason), 1);
    }
}

// ---- what these tests are made of ----

fn quick() -> Config {
    Config { tick: Duration::from_millis(10), ..Config::default() }
}

fn start_sealed<H: Handler + Send + 'static>(config: Config, habits: Habits, handler: H) -> Server {
    start_by(config, handler, move |reactor| {
        let any = LOCALHOST.parse().unwrap();
        let wrap = move |socket| Sealed::boxed(socket, habits);
        reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap()
    })
}

fn start_preface<H: Handler + Send + 'static>(
    config: Config,
    habits: Option<Habits>,
    handler: H,
) -> Server {
    start_by(config, handler, move |reactor| listen_preface(reactor, habits))
}

/// Everybody on this machine is a balancer.
fn listen_preface<H: Handler>(reactor: &mut Reactor<H>, habits: Option<Habits>) -> Address {
    let via = Via("127.0.0.1".parse().unwrap());
    let options = ListenOptions { preface: Some(Arc::new(via)), ..ListenOptions::default() };
    let any = LOCALHOST.parse().unwrap();
    match habits {
        None => reactor.listen(&any, &options).unwrap(),
        Some(habits) => {
            let wrap = move |socket| Sealed::boxed(socket, habits);
            reactor.listen_layered(&any, &options, wrap).unwrap()
        }
    }
}

fn by_hand<H: Handler>(
    config: Config,
    handler: H,
    wrap: impl FnMut(mio::net::TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
) -> ByHand<H> {
    let mut server = ByHand::new(config, handler);
    let any = LOCALHOST.parse().unwrap();
    server.address = server.reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap();
    server
}

/// Says who came, and echoes.
fn whoami(known: mpsc::Sender<(String, Option<String>)>) -> impl Handler + Send {
    HandlerFn::new(
        move |cx: &mut Context<'_>, token| {
            let via = cx.via(token).map(|via| via.to_string());
            let peer = cx.peer_address(token).unwrap().to_string();
            known.send((peer, via)).unwrap();
        },
        |cx, token, (), input| {
            cx.forward(token, input);
            Ok(())
        },
    )
}

/// Takes all that comes.
fn swallow(
    _: &mut Context<'_>,
    _: Token,
    (): &mut (),
    input: &mut RingBuffer,
) -> Result<(), ProtocolError> {
    input.clear();
    Ok(())
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(PATIENCE).expect("nothing happens")
}

/// Whether these bytes are what has come, all of them and no others; nothing is taken before.
fn got(stream: &TcpStream, bytes: &[u8]) -> bool {
    let mut arrived = vec![0; bytes.len()];
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut arrived);
    stream.set_nonblocking(false).unwrap();
    let is_there = peeked.is_ok_and(|len| len == bytes.len());
    if is_there {
        expect_bytes(stream, bytes);
    }
    is_there
}

fn turn_until<H: Handler>(reactor: &mut Reactor<H>, mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < deadline, "it never came true");
        reactor.with_context(|_, cx| cx.set_alarm(cx.now() + Duration::from_millis(1)));
        reactor.turn().unwrap();
    }
}

fn is_greeting<H: Handler>(server: &mut ByHand<H>) -> bool {
    server
        .reactor
        .with_context(|_, cx| cx.connections(None).any(|info| info.stage == Stage::Greeting))
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Layer for Counted {
    fn socket(&mut self) -> LayerSocket<'_> {
        self.0.socket()
    }
    fn greet(&mut self) -> io::Result<bool> {
        *self.1.borrow_mut() += 1;
        self.0.greet()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.shutdown_write()
    }
}

impl Gate for Doorkeeper {
    fn admit(&mut self, peer: &Address, _: Instant) -> Result<(), CloseReason> {
        self.0.send((true, peer.to_string())).unwrap();
        if self.1.contains(peer) {
            return Err(CloseReason::AddressLimit);
        }
        self.1.push(peer.clone());
        Ok(())
    }

    fn release(&mut self, peer: &Address, _: Instant) {
        self.0.send((false, peer.to_string())).unwrap();
        self.1.retain(|inside| inside != peer);
    }
}
