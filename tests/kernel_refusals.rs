//! The kernel refuses a call, once, with each errno that its manual page names. At most the
//! connection concerned is lost; the others echo on, whoever waits is served in the end, and the
//! books balance.
//!
//! How it is done: `interposed` makes one call of the reactor's thread fail. The lists below name
//! the pages they follow (man-pages 6.x). `EAGAIN` stands apart, because it can only be injected
//! together with a new edge.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod interposed;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeloop::service::{Broadcast, Echo, Framing, handler_fn};
use edgeloop::{
    Address, CloseReason, Config, Gate, Handler, Layer, LayerSocket, ListenOptions, Reactor, Token,
    TopicConfig,
};
use libc::{
    EACCES, EADDRNOTAVAIL, EAGAIN, EALREADY, EBADF, ECONNABORTED, ECONNREFUSED, ECONNRESET,
    EDESTADDRREQ, EEXIST, EFAULT, EHOSTDOWN, EHOSTUNREACH, EINTR, EINVAL, EIO, EISCONN, EISDIR,
    ELOOP, EMFILE, EMSGSIZE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENOENT, ENOMEM, ENONET,
    ENOPROTOOPT, ENOSPC, ENOSR, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPERM, EPIPE, EPROTO,
    EPROTONOSUPPORT, ESOCKTNOSUPPORT, ETIMEDOUT,
};

use interposed::stage::{Client, Ended, Stage, listen};
use interposed::{Call, counters, refusals_planned, refuse, registered, watch};

/// recv(2), then read(2), then what tcp(7) and ip(7) add.
const RECV: [i32; 19] = [
    EBADF,
    ECONNREFUSED,
    EFAULT,
    EINVAL,
    ENOMEM,
    ENOTCONN,
    ENOTSOCK, //
    EIO,
    EISDIR, //
    ECONNRESET,
    ECONNABORTED,
    EPIPE,
    ETIMEDOUT,
    EHOSTUNREACH,
    ENETUNREACH,
    ENETDOWN,
    EPROTO,
    ENOBUFS,
    EPERM,
];

/// send(2), then what write(2), tcp(7) and ip(7) add.
const SEND: [i32; 24] = [
    EACCES,
    EALREADY,
    EBADF,
    ECONNRESET,
    EDESTADDRREQ,
    EFAULT,
    EINVAL,
    EISCONN,
    EMSGSIZE,
    ENOBUFS,
    ENOMEM,
    ENOTCONN,
    ENOTSOCK,
    EOPNOTSUPP,
    EPIPE, //
    EIO,
    ENOSPC,
    EPERM,
    ETIMEDOUT,
    EHOSTUNREACH,
    ENETUNREACH,
    ENETDOWN,
    ECONNREFUSED,
    ECONNABORTED,
];

/// accept(2), "Error handling": errors of the connection that would have been accepted; and those
/// of the list that concern only it.
const ACCEPT_ONE: [i32; 13] = [
    ENETDOWN,
    EPROTO,
    ENOPROTOOPT,
    EHOSTDOWN,
    ENONET,
    EHOSTUNREACH,
    EOPNOTSUPP,
    ENETUNREACH, //
    ECONNABORTED,
    EINTR,
    EPERM,
    ETIMEDOUT,
    ECONNRESET,
];

/// accept(2): nothing to accept with; then what "various Linux kernels can return", and what cannot
/// happen to mio.
const ACCEPT_EXHAUSTED: [i32; 8] =
    [EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EFAULT];

/// accept(2): the listener is none.
const ACCEPT_LISTENER: [i32; 3] = [EBADF, EINVAL, ENOTSOCK];

/// epoll_ctl(2).
const EPOLL_CTL: [i32; 8] = [EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM];

/// epoll_wait(2), but for `EINTR`.
const EPOLL_WAIT: [i32; 3] = [EBADF, EFAULT, EINVAL];

// ---- canary ----

/// Counts of zero and refusals that never happen would make every other test here pass.
#[test]
fn canary_every_function_on_the_path_is_seen_called() {
    let mut stage = Stage::new(Config::default(), manners());
    let path = std::env::temp_dir().join(format!("edgeloop-canary-{}", std::process::id()));
    watch(|| stage.reactor.listen(&Address::Unix(path.clone()), &ListenOptions::default()))
        .unwrap();
    let (mut client, _) = stage.join();
    stage.echo(&mut client, b"tcp").unwrap();
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.write_all(b"unix").unwrap();
    unix.set_nonblocking(true).unwrap();
    stage.until("the echo", |_| unix.read(&mut [0; 8]).ok());
    client.send(b"close").unwrap();
    stage.until("shut down", |_| (counters().now().of(Call::Shutdown) > 0).then_some(()));
    let (mut other, _) = stage.join();
    other.send(b"abort").unwrap();
    assert_eq!(stage.ended(&mut other), Ended::Reset);
    let to = Address::Tcp(stage.address);
    watch(|| stage.reactor.with_context(|_, cx| cx.connect(&to, 0))).unwrap();
    stage.until("both ends are open", |stage| (stage.audit().connections.len() == 5).then_some(()));
    watch(|| stage.reactor.remote().run(|cx| cx.stop())).unwrap();
    stage.turn();

    let mut broadcast = broadcast();
    let mut clients = [broadcast.join().0, broadcast.join().0, broadcast.join().0];
    talk_across(&mut broadcast, &mut clients);

    let seen = counters().now();
    for call in Call::ALL {
        match call {
            // Nothing on the reactor's path reads a vector or by read(2). If that changes, refusals
            // of it belong below.
            Call::Readv | Call::Read => assert_eq!(seen.of(call), 0, "{call:?}"),
            _ => assert!(seen.of(call) > 0, "{call:?} was never called: is it still replaced?"),
        }
    }
    drop(unix);
}

/// The descriptors that the tests look for are the ones that std and mio use.
#[test]
fn registered_descriptor_is_the_accepted_one() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (client, token) = stage.join();
    assert_ne!(fd_of(token), client.socket.as_raw_fd());
    stage.wind_up([client]);
}

// ---- recv and send ----

#[test]
fn recv_refused_once_costs_that_connection() {
    for errno in RECV {
        one_is_lost_the_others_echo(Call::Recv, errno);
    }
}

#[test]
fn send_refused_once_costs_that_connection() {
    for errno in SEND {
        one_is_lost_the_others_echo(Call::Send, errno);
    }
}

fn one_is_lost_the_others_echo(call: Call, errno: i32) {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let mut clients = crowd(&mut stage, 4);
    let (mut unlucky, token) = stage.join();
    refuse(call, Some(fd_of(token)), 0, errno);
    for client in &mut clients {
        client.send(b"before").unwrap();
    }
    unlucky.send(b"lost").unwrap();
    stage.ended(&mut unlucky);
    assert_eq!(refusals_planned(), 0, "{call:?} was not called");
    let expected = match errno {
        // Nobody was there any more: retransmissions or probes went unanswered.
        ETIMEDOUT | EHOSTUNREACH | ENETUNREACH | ENETDOWN => CloseReason::KeepaliveTimeout,
        ECONNRESET | ECONNABORTED | EPIPE | ENOTCONN => CloseReason::Reset,
        _ => CloseReason::IoError,
    };
    let reason = stage.audit().connections[&token];
    assert_eq!(reason, Some(expected), "{call:?} {errno}");
    everybody_echoes(&mut stage, &mut clients, b"before");
    let (mut newcomer, _) = stage.join();
    stage.echo(&mut newcomer, b"served").unwrap();
    assert_eq!(stage.audit().reasons().len(), 1, "{call:?} {errno}");
    stage.wind_up(clients.into_iter().chain([newcomer, unlucky]));
}

#[test]
fn interrupted_call_is_repeated_and_nobody_is_lost() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut client, token) = stage.join();
    for call in [Call::Recv, Call::Send] {
        for _ in 0..3 {
            refuse(call, Some(fd_of(token)), 0, EINTR);
        }
        stage.echo(&mut client, b"as if nothing had happened").unwrap();
        assert_eq!(refusals_planned(), 0);
    }
    stage.wind_up([client]);
}

/// The refused byte count is not in the books as sent, and what a refused write owed is dropped,
/// not kept.
#[test]
fn refused_send_of_a_long_output_leaves_balanced_books() {
    for after in 0..4 {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let (mut client, token) = stage.join();
        // Far more than the kernel takes without the client reading: several sends, some of them
        // cut.
        refuse(Call::Send, Some(fd_of(token)), after, ECONNRESET);
        let chunk = [7; 32 << 10];
        stage.until("refused", |_| {
            let _ = client.socket.write(&chunk);
            let _ = client.fill();
            (refusals_planned() == 0).then_some(())
        });
        stage.until("closed", |stage| (stage.audit().open() == 0).then_some(()));
        stage.check_books();
        assert_eq!(stage.audit().reasons(), [CloseReason::Reset]);
    }
}

/// True only because another edge follows: the next bytes of the peer.
#[test]
fn recv_that_would_block_after_an_event_waits_for_the_next_one() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut client, token) = stage.join();
    refuse(Call::Recv, Some(fd_of(token)), 0, EAGAIN);
    client.send(b"one").unwrap();
    stage.until("refused", |_| (refusals_planned() == 0).then_some(()));
    stage.turn();
    client.send(b"two").unwrap();
    stage.until("both", |_| {
        client.fill().unwrap();
        (client.received == b"onetwo").then_some(())
    });
    stage.wind_up([client]);
}

// ---- writev ----

#[test]
fn writev_refused_once_costs_that_subscriber() {
    for errno in SEND {
        let mut stage = broadcast();
        let (mut clients, mut tokens): (Vec<Client>, Vec<Token>) =
            (0..3).map(|_| stage.join()).unzip();
        // The middle one is the one that passes over a message of its own, and needs two slices for
        // that.
        refuse(Call::Writev, Some(fd_of(tokens[1])), 0, errno);
        send_across(&mut stage, &mut clients);
        stage.ended(&mut clients[1]);
        assert_eq!(refusals_planned(), 0, "writev was not called");
        for (index, expected) in [(0, b"two\nsix\n"), (2, b"one\ntwo\n")] {
            stage.until("the others' lines", |_| {
                clients[index].fill().unwrap();
                (clients[index].received == expected).then_some(())
            });
        }
        let (mut newcomer, _) = stage.join();
        clients[0].send(b"on\n").unwrap();
        stage.until("the newcomer's line", |_| {
            newcomer.fill().unwrap();
            (newcomer.received == b"on\n").then_some(())
        });
        tokens.remove(1);
        assert!(tokens.iter().all(|token| stage.audit().connections[token].is_none()));
        stage.wind_up(clients.into_iter().chain([newcomer]));
    }
}

#[test]
fn interrupted_writev_is_repeated() {
    let mut stage = broadcast();
    let (mut clients, tokens): (Vec<Client>, Vec<Token>) = (0..3).map(|_| stage.join()).unzip();
    refuse(Call::Writev, Some(fd_of(tokens[1])), 0, EINTR);
    talk_across(&mut stage, &mut clients);
    assert_eq!(refusals_planned(), 0);
    stage.wind_up(clients);
}

// ---- accept ----

/// What is served at all was not left until the listener had rested.
fn no_accept_retry() -> Config {
    Config { accept_retry: Duration::from_secs(600), ..Config::default() }
}

#[test]
fn accept_error_of_a_dead_newcomer_is_skipped() {
    for errno in ACCEPT_ONE {
        let mut stage = Stage::new(no_accept_retry(), Echo::new());
        let mut clients = crowd(&mut stage, 3);
        refuse(Call::Accept4, None, 0, errno);
        let waiting: Vec<Client> = (0..3).map(|_| stage.connect()).collect();
        stage.until("accepted", |stage| (stage.audit().open() == 6).then_some(()));
        assert_eq!(refusals_planned(), 0);
        clients.extend(waiting);
        everybody_echoes(&mut stage, &mut clients, b"");
        assert_eq!(stage.audit().reasons(), []);
        stage.wind_up(clients);
    }
}

#[test]
fn accept_without_descriptors_or_memory_is_tried_again_without_a_new_connect() {
    for errno in ACCEPT_EXHAUSTED {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let mut clients = crowd(&mut stage, 3);
        refuse(Call::Accept4, None, 0, errno);
        let waiting = stage.connect();
        stage.until("refused", |_| (refusals_planned() == 0).then_some(()));
        let accepts = counters().now().of(Call::Accept4);
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.until("accepted", |stage| (stage.audit().open() == 4).then_some(()));
        // One for the connection, one that finds the backlog empty: resting means not to ask.
        assert!(counters().now().of(Call::Accept4) - accepts <= 2, "{errno}");
        clients.push(waiting);
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.wind_up(clients);
    }
}

#[test]
fn accept_without_descriptors_is_tried_again_as_soon_as_a_connection_closes() {
    let mut stage = Stage::new(no_accept_retry(), Echo::new());
    let (leaver, _) = stage.join();
    refuse(Call::Accept4, None, 0, EMFILE);
    let mut waiting = stage.connect();
    stage.until("refused", |_| (refusals_planned() == 0).then_some(()));
    drop(leaver);
    stage.until("accepted", |stage| (stage.audit().open() == 1).then_some(()));
    stage.echo(&mut waiting, b"at last").unwrap();
    stage.wind_up([waiting]);
}

/// accept(2) says so of a descriptor that is no listener: that one is given up (facts.md M27), and
/// nothing else is.
#[test]
fn accept_that_says_the_listener_is_gone_costs_that_listener_only() {
    for errno in ACCEPT_LISTENER {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let second = listen(&mut stage.reactor);
        let mut clients = crowd(&mut stage, 3);
        refuse(Call::Accept4, None, 0, errno);
        let mut unserved = stage.connect();
        stage.until("refused", |_| (refusals_planned() == 0).then_some(()));
        everybody_echoes(&mut stage, &mut clients, b"");
        let mut other = Client::connect(second);
        stage.echo(&mut other, b"by the other door").unwrap();
        assert_eq!(stage.audit().reasons(), []);
        // Its door is closed, not just unattended: who waited there is told.
        assert_eq!(stage.ended(&mut unserved), Ended::Reset);
        stage.wind_up(clients.into_iter().chain([other]));
    }
}

/// True only because another edge follows: the next connect.
#[test]
fn accept_that_would_block_after_an_event_waits_for_the_next_one() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    refuse(Call::Accept4, None, 0, EAGAIN);
    let first = stage.connect();
    stage.until("refused", |_| (refusals_planned() == 0).then_some(()));
    let second = stage.connect();
    let mut clients = vec![first, second];
    stage.until("both", |stage| (stage.audit().open() == 2).then_some(()));
    everybody_echoes(&mut stage, &mut clients, b"");
    stage.wind_up(clients);
}

// ---- epoll_ctl and layers ----

#[test]
fn registration_refused_once_costs_that_connection() {
    for errno in EPOLL_CTL {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let inside = Rc::new(Cell::new(0));
        stage.reactor.set_gate(Doorkeeper(Rc::clone(&inside)));
        let mut clients = crowd(&mut stage, 3);
        refuse(Call::EpollCtl, None, 0, errno);
        let mut refused = stage.connect();
        let mut behind = stage.connect();
        assert_eq!(stage.ended(&mut refused), Ended::Closed, "errno {errno}");
        stage.echo(&mut behind, b"next").unwrap();
        clients.push(behind);
        everybody_echoes(&mut stage, &mut clients, b"");
        assert_eq!(stage.reactor.stats().closed(CloseReason::SetupFailed), 1, "errno {errno}");
        assert_eq!(stage.audit().reasons(), [], "it was never opened");
        assert_eq!(inside.get(), 4, "the gate was told that it is over");
        stage.wind_up(clients);
        assert_eq!(inside.get(), 0);
    }
}

/// Counts who is inside.
struct Doorkeeper(Rc<Cell<u32>>);

impl Gate for Doorkeeper {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }

    fn release(&mut self, _: &Address, _: Instant) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn layer_that_cannot_be_made_costs_that_connection_whatever_its_error_says() {
    use io::ErrorKind::{InvalidInput, Other, PermissionDenied, UnexpectedEof, WouldBlock};
    for kind in [Other, InvalidInput, WouldBlock, PermissionDenied, UnexpectedEof] {
        let mut stage = Stage::new(no_accept_retry(), Echo::new());
        let mut refusals = 1;
        let wrap = move |socket: mio::net::TcpStream| -> io::Result<Box<dyn Layer>> {
            if refusals > 0 {
                refusals -= 1;
                return Err(kind.into());
            }
            Ok(Box::new(Plain(socket)))
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let options = ListenOptions::default();
        let layered = watch(|| stage.reactor.listen_layered(&any, &options, wrap)).unwrap();
        let Address::Tcp(layered) = layered else { unreachable!("asked for TCP") };
        let mut refused = Client::connect(layered);
        let mut behind = Client::connect(layered);
        assert_eq!(stage.ended(&mut refused), Ended::Closed, "{kind}");
        stage.echo(&mut behind, b"next").unwrap();
        assert_eq!(stage.audit().reasons(), [], "{kind}");
        let stats = stage.reactor.stats();
        assert_eq!((stats.accepted, stats.accept_errors), (1, 1), "{kind}: {stats}");
        stage.wind_up([behind]);
    }
}

// ---- epoll_wait ----

#[test]
fn interrupted_wait_is_an_empty_turn_in_which_timers_still_run() {
    let config = Config {
        idle_timeout: Some(Duration::from_millis(20)),
        tick: Duration::from_millis(1),
        ..Config::default()
    };
    let mut stage = Stage::new(config, Echo::new());
    let (mut client, token) = stage.join();
    let deadline = Instant::now() + Duration::from_secs(60);
    while stage.reactor.stats().timers == 0 {
        assert!(Instant::now() < deadline, "the idle timeout never fired");
        refuse(Call::EpollWait, None, 0, EINTR);
        stage.turn();
    }
    assert_eq!((refusals_planned(), stage.audit().connections[&token]), (0, None));
    assert_eq!(stage.ended(&mut client), Ended::Closed);
    stage.wind_up([client]);
}

#[test]
fn interrupted_wait_loses_no_event() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let mut clients = crowd(&mut stage, 8);
    for round in 0..50_u8 {
        refuse(Call::EpollWait, None, u64::from(round % 3), EINTR);
        for client in &mut clients {
            stage.echo(client, &[round; 10]).unwrap();
        }
    }
    stage.wind_up(clients);
}

/// Without a poll there is no loop: nothing better can be done than to say so, and that is no
/// panic.
#[test]
fn wait_that_fails_for_good_ends_the_run_with_its_error() {
    for errno in EPOLL_WAIT {
        let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
        listen(&mut reactor);
        refuse(Call::EpollWait, None, 0, errno);
        let error = watch(|| reactor.run()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno));
    }
}

#[test]
fn reactor_without_a_poll_or_a_waker_is_an_error_at_set_up() {
    for errno in EPOLL_CTL {
        // The first registration is the waker's.
        refuse(Call::EpollCtl, None, 0, errno);
        let error = watch(|| Reactor::new(Config::default(), Echo::new())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno));
        let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
        refuse(Call::EpollCtl, None, 0, errno);
        let any = "127.0.0.1:0".parse().unwrap();
        assert!(watch(|| reactor.listen(&any, &ListenOptions::default())).is_err());
    }
}

// ---- close, shutdown, setsockopt ----

/// close(2): EBADF aside, which would be ours; Linux frees the descriptor in any case.
#[test]
fn close_that_reports_an_error_changes_nothing() {
    for errno in [EINTR, EIO, ENOSPC] {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let mut clients = crowd(&mut stage, 3);
        let (mut leaver, token) = stage.join();
        stage.echo(&mut leaver, b"so long").unwrap();
        refuse(Call::Close, Some(fd_of(token)), 0, errno);
        drop(leaver);
        stage.until("closed", |stage| (stage.audit().open() == 3).then_some(()));
        stage.turn();
        assert_eq!(refusals_planned(), 0);
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.wind_up(clients);
    }
}

/// shutdown(2).
#[test]
fn shutdown_refused_ends_the_connection_that_was_ending_anyway() {
    for errno in [EBADF, EINVAL, ENOTCONN, ENOTSOCK] {
        let mut stage = Stage::new(Config::default(), manners());
        let mut clients = crowd(&mut stage, 3);
        let (mut leaver, token) = stage.join();
        refuse(Call::Shutdown, Some(fd_of(token)), 0, errno);
        leaver.send(b"close").unwrap();
        stage.ended(&mut leaver);
        assert_eq!(leaver.received, b"close", "the last words arrive");
        assert_eq!(refusals_planned(), 0);
        stage.turn();
        assert_eq!(stage.audit().reasons(), [CloseReason::Closed]);
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.wind_up(clients);
    }
}

/// setsockopt(2), on the way to a reset.
#[test]
fn linger_option_refused_still_ends_an_aborted_connection() {
    for errno in [EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK] {
        let mut stage = Stage::new(Config::default(), manners());
        let mut clients = crowd(&mut stage, 3);
        let (mut victim, token) = stage.join();
        refuse(Call::Setsockopt, Some(fd_of(token)), 0, errno);
        victim.send(b"abort").unwrap();
        stage.ended(&mut victim);
        assert_eq!(refusals_planned(), 0);
        assert_eq!(stage.audit().reasons(), [CloseReason::Aborted]);
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.wind_up(clients);
    }
}

// ---- dialling ----

/// getsockopt(2) and getpeername(2) say whether an outgoing connection is established.
#[test]
fn establishment_that_cannot_be_asked_for_is_a_failed_connect() {
    for call in [Call::Getsockopt, Call::Getpeername] {
        for errno in [EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK] {
            let mut stage = Stage::new(Config::default(), Echo::new());
            let mut clients = crowd(&mut stage, 3);
            refuse(call, None, 0, errno);
            let to = Address::Tcp(stage.address);
            watch(|| stage.reactor.with_context(|_, cx| cx.connect(&to, 0))).unwrap();
            stage.until("failed", |stage| {
                stage.audit().connect_errors.pop().filter(|seen| *seen == errno)
            });
            stage.until("its other end closed", |stage| {
                (stage.reactor.stats().open() == 3).then_some(())
            });
            assert_eq!(stage.reactor.stats().closed(CloseReason::ConnectFailed), 1);
            everybody_echoes(&mut stage, &mut clients, b"");
            stage.wind_up(clients);
        }
    }
}

/// connect(2), setsockopt(2), epoll_ctl(2): what fails before there is a connection is told to the
/// caller, and leaves none.
#[test]
fn dialling_that_is_refused_at_once_is_an_error_and_leaves_nothing_behind() {
    let refusals = [
        (Call::Connect, EADDRNOTAVAIL),
        (Call::Connect, ENETUNREACH),
        (Call::Connect, EAGAIN),
        (Call::Connect, EACCES),
        (Call::Setsockopt, ENOPROTOOPT),
        (Call::EpollCtl, ENOSPC),
        (Call::EpollCtl, ENOMEM),
    ];
    for (call, errno) in refusals {
        let mut stage = Stage::new(Config::default(), Echo::new());
        let mut clients = crowd(&mut stage, 3);
        let to = Address::Tcp(stage.address);
        let before = counters().now().of(Call::Close);
        refuse(call, None, 0, errno);
        let outcome = watch(|| stage.reactor.with_context(|_, cx| cx.connect(&to, 0)));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(errno), "{call:?}");
        assert_eq!(counters().now().of(Call::Close) - before, 1, "{call:?}: the socket was kept");
        stage.check_books();
        everybody_echoes(&mut stage, &mut clients, b"");
        stage.wind_up(clients);
    }
}

// ---- vocabulary ----

fn crowd<H: Handler>(stage: &mut Stage<H>, count: usize) -> Vec<Client> {
    (0..count).map(|_| stage.join().0).collect()
}

/// Every client gets back what it sends now, behind `pending`, which it sent before.
fn everybody_echoes<H: Handler>(stage: &mut Stage<H>, clients: &mut [Client], pending: &[u8]) {
    for (index, client) in clients.iter_mut().enumerate() {
        let message = format!("client {index} goes on");
        client.send(message.as_bytes()).unwrap();
        let expected = [pending, message.as_bytes()].concat();
        stage.until("echoed", |_| {
            client.fill().unwrap();
            client.received.ends_with(&expected).then_some(())
        });
    }
}

/// The descriptor that was registered for a connection last.
fn fd_of(token: Token) -> RawFd {
    let data = usize::from(mio::Token::from(token)) as u64;
    registered().iter().rev().find(|(_, seen)| *seen == data).unwrap().0
}

fn broadcast() -> Stage<Broadcast> {
    let handler = Broadcast::new(Framing::Lines, 64 << 10, TopicConfig::default());
    Stage::new(Config::default(), handler)
}

/// Three clients say a line each, all in one turn and in this order, so that what the second is to
/// be given lies in two pieces around its own.
fn send_across(stage: &mut Stage<Broadcast>, clients: &mut [Client]) {
    // The event that every new socket makes is taken first; then the order of the events is that of
    // the bytes.
    stage.turn();
    stage.turn();
    for (client, line) in clients.iter_mut().zip([b"one\n", b"two\n", b"six\n"]) {
        client.send(line).unwrap();
    }
    stage.turn();
}

fn talk_across(stage: &mut Stage<Broadcast>, clients: &mut [Client]) {
    send_across(stage, clients);
    for (client, expected) in clients.iter_mut().zip([b"two\nsix\n", b"one\nsix\n", b"one\ntwo\n"])
    {
        stage.until("the others' lines", |_| {
            client.fill().unwrap();
            (client.received == expected).then_some(())
        });
    }
}

/// An echo that says good-bye on demand.
fn manners() -> impl Handler {
    handler_fn(|cx, token, input| {
        let (close, abort) = (input.contiguous() == b"close", input.contiguous() == b"abort");
        cx.forward(token, input);
        if close {
            cx.close(token);
        }
        if abort {
            cx.abort(token);
        }
        Ok(())
    })
}

// The eventfd's write is interrupted; the doorbell counts as rung, and nobody else rings it.
#[test]
fn regression_task_is_run_although_a_signal_interrupts_the_wake_up() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let remote = stage.reactor.remote();
    refuse(Call::Write, None, 0, EINTR);
    let (sender, done) = std::sync::mpsc::channel();
    watch(|| remote.run(move |_| sender.send(()).unwrap())).unwrap();
    assert_eq!(refusals_planned(), 0, "the wake-up was not interrupted");
    stage.until("run", |_| done.try_recv().ok());
}

// The read that brings the last bytes says that the socket has failed, the handler pauses and leaves
// them, and another event comes before it goes on.
#[test]
fn regression_failed_connection_is_closed_although_an_event_came_behind_its_end() {
    let linger_timeout = Duration::from_secs(600);
    let config = Config { strict_drain: true, linger_timeout, ..Config::default() };
    let mut has_paused = false;
    let pause_first = handler_fn(move |cx, token, input| {
        if std::mem::replace(&mut has_paused, true) {
            input.clear();
        } else {
            cx.pause(token);
        }
        Ok(())
    });
    let mut stage = Stage::new(config, pause_first);
    let (mut client, token) = stage.join();
    refuse(Call::Recv, None, 1, ECONNRESET);
    client.send(b"first").unwrap();
    stage.until("read", |_| (refusals_planned() == 0).then_some(()));
    let before = stage.reactor.stats().events;
    client.send(b"second").unwrap();
    stage.until("told", |stage| (stage.reactor.stats().events > before).then_some(()));
    stage.reactor.with_context(|_, cx| cx.resume(token));
    stage.until("closed", |stage| (stage.reactor.stats().open() == 0).then_some(()));
    assert_eq!(stage.audit().reasons(), [CloseReason::Reset]);
}

/// A layer that does nothing.
struct Plain(mio::net::TcpStream);

impl Read for Plain {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Plain {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layer for Plain {
    fn socket(&mut self) -> LayerSocket<'_> {
        LayerSocket::Tcp(&mut self.0)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }
}
