//! A panic in code of the program ends the connection that the call was about: it is logged, counted and
//! told to the handler as any other end, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use common::handlers::{Reporter, Seen};
use common::nowhere::Nowhere;
use common::{
    PATIENCE, Server, closed, end_sending, expect_bytes, expect_gone, send, start, start_by,
};
use edgeloop::service::{Echo, HandlerFn};
use edgeloop::{
    Address, CloseReason, Config, Context, Gate, Layer, LayerSocket, ListenOptions, OnPanic,
    Reactor,
};

/// Echoes, sets a timer when told, and panics in the callback that `wrong` points out.
fn faulty(config: Config, wrong: fn(&Seen) -> bool) -> (Server, std::sync::mpsc::Receiver<Seen>) {
    let (handler, seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| {
        if let Seen::Data(token, bytes) = seen {
            cx.send(*token, bytes);
            if bytes.as_slice() == b"timer" {
                cx.set_timer(*token, Duration::from_millis(1));
            }
        }
        if let Seen::End(token) = seen {
            cx.close(*token);
        }
        assert!(!wrong(seen), "on purpose");
    });
    (start(config, handler), seen)
}

/// Lets a callback panic and looks at who notices: `cause` makes it happen on a fresh connection.
#[track_caller]
fn expect_contained(wrong: fn(&Seen) -> bool, cause: &[u8], closes: &[CloseReason]) {
    let (mut server, seen) = faulty(Config::default(), wrong);
    server.panics = 1;
    let bystander = server.connect();
    send(&bystander, b"before");
    expect_bytes(&bystander, b"before");
    let victim = server.connect();
    let _ = (&victim).write_all(cause);
    let _ = victim.shutdown(Shutdown::Write);
    expect_gone(&victim);
    send(&bystander, b"after");
    expect_bytes(&bystander, b"after");
    drop(bystander);
    server.wait_until("both have ended", |stats| stats.open() == 0);
    let stats = server.finish();
    assert_eq!(stats.panics, 1);
    let told = seen.try_iter().filter_map(|seen| match seen {
        Seen::Close(_, reason) => Some(reason),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), closes);
}

#[test]
fn panic_on_data_ends_its_connection_and_is_told_to_on_close() {
    let wrong = |seen: &Seen| matches!(seen, Seen::Data(_, bytes) if bytes == b"panic");
    expect_contained(wrong, b"panic", &[CloseReason::HandlerPanicked, CloseReason::PeerClosed]);
}

#[test]
fn panic_on_end_ends_its_connection() {
    let (mut server, seen) = faulty(Config::default(), |seen| matches!(seen, Seen::End(_)));
    server.panics = 1;
    let victim = server.connect();
    end_sending(&victim);
    expect_gone(&victim);
    assert_eq!(closed(&server.finish()), [(CloseReason::HandlerPanicked, 1)]);
    let told = seen.try_iter().filter(|seen| matches!(seen, Seen::Close(..))).count();
    assert_eq!(told, 1);
}

#[test]
fn panic_on_timer_ends_its_connection() {
    let (mut server, _seen) = faulty(Config::default(), |seen| matches!(seen, Seen::Timer(_)));
    server.panics = 1;
    let (bystander, victim) = (server.connect(), server.connect());
    send(&victim, b"timer");
    expect_gone(&victim);
    send(&bystander, b"after");
    expect_bytes(&bystander, b"after");
    drop(bystander);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 1), (CloseReason::HandlerPanicked, 1)]);
}

#[test]
fn panic_on_open_leaves_no_session_and_nobody_is_told_of_its_end() {
    let mut first = true;
    let (handler, seen) = Reporter::new(move |cx: &mut Context<'_>, seen: &Seen| match seen {
        Seen::Open(_) => assert!(!std::mem::take(&mut first), "on purpose"),
        Seen::End(token) => cx.close(*token),
        _ => {}
    });
    let mut server = start(Config::default(), handler);
    server.panics = 1;
    expect_gone(&server.connect());
    // The next one has the place of the first, and is served.
    let next = server.connect();
    send(&next, b"served");
    drop(next);
    server.wait_until("both have ended", |stats| stats.open() == 0 && stats.accepted == 2);
    server.finish();
    let seen: Vec<Seen> = seen.try_iter().collect();
    let token = match &seen[..] {
        [Seen::Open(token), ..] => *token,
        _ => panic!("{seen:?}"),
    };
    let about_it = |seen: &Seen| match seen {
        Seen::Open(it) | Seen::End(it) | Seen::Timer(it) => *it == token,
        Seen::Data(it, _) | Seen::Close(it, _) | Seen::ConnectError(it, _) => *it == token,
    };
    assert!(seen.iter().all(about_it), "{seen:?}");
    assert!(matches!(seen.last(), Some(Seen::Close(..))), "{seen:?}");
}

#[test]
fn panic_on_close_still_frees_the_connection() {
    let (mut server, seen) = faulty(Config::default(), |seen| matches!(seen, Seen::Close(..)));
    server.panics = 3;
    for _ in 0..3 {
        let stream = server.connect();
        end_sending(&stream);
        expect_gone(&stream);
    }
    assert_eq!(closed(&server.finish()), [(CloseReason::PeerClosed, 3)]);
    assert_eq!(seen.try_iter().filter(|seen| matches!(seen, Seen::Close(..))).count(), 0);
}

#[test]
fn panic_on_connect_error_frees_the_connection() {
    let (mut server, _seen) =
        faulty(Config::default(), |seen| matches!(seen, Seen::ConnectError(..)));
    server.panics = 1;
    let nowhere = Nowhere::new();
    let address = nowhere.address.into();
    server.ask(move |cx| cx.connect(&address, 0).unwrap());
    server.wait_until("it has failed", |stats| stats.dialled == 1 && stats.open() == 0);
    assert_eq!(closed(&server.finish()), [(CloseReason::HandlerPanicked, 1)]);
}

#[test]
fn panics_of_tasks_alarms_and_drains_end_nobody_else() {
    let handler = HandlerFn::new(
        |_, _| (),
        |cx, token, (), input| {
            cx.forward(token, input);
            Ok(())
        },
    )
    .on_alarm(|_| panic!("on purpose"))
    .on_drain(|_, _, ()| panic!("on purpose"));
    let mut server = start(Config::default(), handler);
    server.panics = 3;
    let stream = server.connect();
    server.remote.run(|_| panic!("on purpose")).unwrap();
    server.ask(|cx| cx.set_alarm(cx.now()));
    server.wait_until("the alarm has gone off", |stats| stats.panics == 2);
    send(&stream, b"still here");
    expect_bytes(&stream, b"still here");
    // The drain is about a connection.
    assert_eq!(closed(&server.finish()), [(CloseReason::HandlerPanicked, 1)]);
}

/// Panics where nobody has come before.
struct Panicky;

impl Gate for Panicky {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        panic!("on purpose");
    }
    fn release(&mut self, _: &Address, _: Instant) {}
}

#[test]
fn panic_of_a_gate_turns_its_connection_away() {
    let mut server = start_by(Config::default(), Echo::new(), |reactor| {
        reactor.set_gate(Panicky);
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    });
    server.panics = 2;
    expect_gone(&server.connect());
    expect_gone(&server.connect());
    assert_eq!(closed(&server.finish()), [(CloseReason::HandlerPanicked, 2)]);
}

/// Panics when it has to read a `!`.
struct Fragile(mio::net::TcpStream);

impl Read for Fragile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        assert!(!into[..read].contains(&b'!'), "on purpose");
        Ok(read)
    }
}

impl Write for Fragile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layer for Fragile {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Tcp(&mut self.0)
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

#[test]
fn panic_of_a_layer_or_of_what_makes_it_ends_its_connection() {
    let mut server = start_by(Config::default(), Echo::new(), |reactor| {
        let mut made = 0;
        let wrap = move |socket| {
            made += 1;
            assert!(made != 2, "on purpose");
            Ok(Box::new(Fragile(socket)) as Box<dyn Layer>)
        };
        let any = "127.0.0.1:0".parse().unwrap();
        reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap()
    });
    server.panics = 2;
    let bystander = server.connect();
    send(&bystander, b"first");
    expect_bytes(&bystander, b"first");
    expect_gone(&server.connect());
    let victim = server.connect();
    send(&victim, b"!");
    expect_gone(&victim);
    send(&bystander, b"last");
    expect_bytes(&bystander, b"last");
    drop(bystander);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 1), (CloseReason::HandlerPanicked, 1)]);
    assert_eq!(stats.accept_errors, 1);
}

/// Panics where `wrong` says, and nowhere else.
struct Faulty {
    socket: mio::net::TcpStream,
    wrong: &'static str,
}

impl Faulty {
    fn pass(&self, place: &str) {
        assert!(self.wrong != place, "on purpose");
    }
}

impl Read for Faulty {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(into)?;
        if read == 0 {
            self.pass("end");
        }
        Ok(read)
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass("write");
        self.socket.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.pass("flush");
        Ok(())
    }
}

impl Layer for Faulty {
    fn socket(&mut self) -> LayerSocket<'_> {
        self.pass("source");
        LayerSocket::Tcp(&mut self.socket)
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.pass("shutdown");
        self.socket.shutdown(Shutdown::Write)
    }
    fn discard_on_close(&mut self) {
        self.pass("discard");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.pass("drop");
    }
}

/// A client says `x` and is answered and closed, or is aborted for `a`; whatever its layer does then,
/// the next client is served.
#[test]
fn panic_anywhere_in_a_layer_is_counted_once_and_ends_its_connection_alone() {
    let places = ["source", "write", "flush", "shutdown", "end", "discard", "drop"];
    for wrong in places {
        let handler = HandlerFn::new(
            |_, _| (),
            |cx, token, (), input| {
                if input.contiguous() == b"a" {
                    cx.abort(token);
                }
                cx.forward(token, input);
                cx.close(token);
                Ok(())
            },
        );
        let mut server = start_by(Config::default(), handler, move |reactor| {
            let mut wrongs = [wrong].into_iter();
            let wrap = move |socket| {
                let wrong = wrongs.next().unwrap_or("nowhere");
                Ok(Box::new(Faulty { socket, wrong }) as Box<dyn Layer>)
            };
            let any = "127.0.0.1:0".parse().unwrap();
            reactor.listen_layered(&any, &ListenOptions::default(), wrap).unwrap()
        });
        server.panics = 1;
        let victim = server.connect();
        let _ = (&victim).write_all(if wrong == "discard" { b"a" } else { b"x" });
        // Whose peer has ended already is not told of our end.
        if wrong != "shutdown" {
            let _ = victim.shutdown(Shutdown::Write);
        }
        expect_gone(&victim);
        let next = server.connect();
        send(&next, b"next");
        expect_bytes(&next, b"next");
        drop(next);
        let stats = server.finish();
        assert_eq!((stats.panics, stats.accept_pauses), (1, 0), "{wrong}");
    }
}

#[test]
fn panic_unwinds_through_run_where_the_configuration_says_so() {
    let config = Config { on_panic: OnPanic::Unwind, ..Config::default() };
    let handler = HandlerFn::new(|_, _| (), |_, _, (), _| panic!("on purpose"));
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reactor = Reactor::new(config, handler).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        sender.send(reactor.listen(&any, &ListenOptions::default()).unwrap()).unwrap();
        reactor.run()
    });
    let address = receiver.recv_timeout(PATIENCE).unwrap();
    let stream = common::connect(&address);
    send(&stream, b"x");
    expect_gone(&stream);
    let panic = thread.join().unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn turn_behind_a_panic_that_unwound_is_refused_in_words() {
    let config = Config { on_panic: OnPanic::Unwind, ..Config::default() };
    for at_open in [true, false] {
        let handler = HandlerFn::new(
            move |_, _| assert!(!at_open, "on purpose"),
            |_, _, (), _| panic!("on purpose"),
        );
        let mut reactor = Reactor::new(config.clone(), handler).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&any, &ListenOptions::default()).unwrap();
        send(&common::connect(&address), b"x");
        let run = |reactor: &mut Reactor<_>| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reactor.run()))
        };
        assert!(run(&mut reactor).is_err(), "the handler panics");
        for _ in 0..2 {
            let error = reactor.turn().unwrap_err().to_string();
            assert!(
                error.contains("OnPanic::Unwind") && error.contains("another reactor"),
                "{error}"
            );
        }
        assert!(run(&mut reactor).unwrap().is_err(), "it does not panic, it says so");
    }
}
