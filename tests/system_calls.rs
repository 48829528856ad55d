//! What a message costs in system calls, counted exactly: the figure that does not depend on the
//! machine.
//!
//! How it is done: `interposed` counts the calls of the reactor's turns; the clients on the same
//! thread are not counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod interposed;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use edgeloop::service::{Broadcast, Echo, Framing, handler_fn};
use edgeloop::{Config, Handler, Reactor, TopicConfig};

use interposed::stage::{Client, Stage, listen};
use interposed::{Call, Counts, counters, watch};

/// Counts of zero would make every test below pass.
#[test]
fn canary_calls_are_counted() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut client, _) = stage.join();
    stage.echo(&mut client, b"counted").unwrap();
    stage.wind_up([client]);
    let mut broadcast = self::broadcast();
    let mut clients: Vec<Client> = (0..3).map(|_| broadcast.join().0).collect();
    broadcast.turn();
    // Each says a line in one turn, so that one of them is given two pieces around its own: a
    // vectored write.
    clients.iter_mut().for_each(|client| client.send(b"line\n").unwrap());
    broadcast.until("two lines each", |_| {
        clients
            .iter_mut()
            .all(|client| client.fill().is_ok() && client.received.len() == 10)
            .then_some(())
    });
    broadcast.wind_up(clients);
    let seen = counters().now();
    use Call::{Accept4, Close, EpollCtl, EpollWait, Recv, Send, Write, Writev};
    for call in [Accept4, Close, EpollCtl, EpollWait, Recv, Send, Writev] {
        assert!(seen.of(call) > 0, "{call:?} was never called: is it still replaced?");
    }
    watch(|| broadcast.reactor.remote().run(|_| {})).unwrap();
    assert_eq!(counters().now().since(seen).of(Write), 1, "the waker rings by write(2)");
}

#[test]
fn echoed_message_costs_one_recv_one_send_and_a_share_of_one_wait() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let mut clients: Vec<Client> = (0..64).map(|_| stage.join().0).collect();
    ping_pong(&mut stage, &mut clients, 10);
    let (calls, turns) = counted(&mut stage, |stage| ping_pong(stage, &mut clients, 100));
    let messages = 64 * 100;
    assert_eq!(calls.of(Call::Recv), messages, "{calls:?}");
    assert_eq!(calls.of(Call::Send), messages, "{calls:?}");
    assert_eq!(calls.of(Call::EpollWait), turns, "{calls:?}");
    assert_eq!(calls.all_but(&[Call::Recv, Call::Send, Call::EpollWait]), 0, "{calls:?}");
    assert!(turns <= messages / 8, "{turns} turns for {messages} messages that came 64 at a time");
    stage.wind_up(clients);
}

/// With timers at work the figures are the same: traffic does not touch the wheel, and the wheel
/// makes no calls.
#[test]
fn timeouts_cost_no_call() {
    let config = Config { idle_timeout: Some(Duration::from_secs(60)), ..Config::default() };
    let mut stage = Stage::new(config, Echo::new());
    let mut clients: Vec<Client> = (0..16).map(|_| stage.join().0).collect();
    ping_pong(&mut stage, &mut clients, 5);
    let (calls, turns) = counted(&mut stage, |stage| ping_pong(stage, &mut clients, 50));
    let expected = (16 * 50, 16 * 50, turns);
    assert_eq!((calls.of(Call::Recv), calls.of(Call::Send), calls.of(Call::EpollWait)), expected);
    assert_eq!(calls.all_but(&[Call::Recv, Call::Send, Call::EpollWait]), 0, "{calls:?}");
    stage.wind_up(clients);
}

#[test]
fn strict_drain_costs_the_one_recv_more_that_it_says() {
    let mut stage = Stage::new(Config { strict_drain: true, ..Config::default() }, Echo::new());
    let mut clients: Vec<Client> = (0..16).map(|_| stage.join().0).collect();
    ping_pong(&mut stage, &mut clients, 5);
    let (calls, _) = counted(&mut stage, |stage| ping_pong(stage, &mut clients, 20));
    assert_eq!((calls.of(Call::Recv), calls.of(Call::Send)), (2 * 16 * 20, 16 * 20));
    stage.wind_up(clients);
}

#[test]
fn short_connection_costs_accept_register_two_recv_send_and_close() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let short = |stage: &mut Stage<Echo>| {
        let (mut client, _) = stage.join();
        stage.echo(&mut client, b"one message").unwrap();
        client.socket.shutdown(Shutdown::Write).unwrap();
        stage.ended(&mut client);
    };
    short(&mut stage);
    let (calls, _) = counted(&mut stage, |stage| (0..50).for_each(|_| short(stage)));
    // One accept that succeeds, and the one that finds the backlog empty again.
    assert_eq!(calls.of(Call::Accept4), 100, "{calls:?}");
    assert_eq!(calls.of(Call::EpollCtl), 50, "{calls:?}");
    assert_eq!(calls.of(Call::Recv), 100, "{calls:?}");
    assert_eq!(calls.of(Call::Send), 50, "{calls:?}");
    assert_eq!(calls.of(Call::Close), 50, "{calls:?}");
    use Call::{Accept4, Close, EpollCtl, EpollWait, Recv, Send};
    let other = calls.all_but(&[Accept4, Close, EpollCtl, EpollWait, Recv, Send]);
    assert_eq!(other, 0, "no option is set on an accepted socket, none is shut down: {calls:?}");
    stage.wind_up([]);
}

#[test]
fn many_waiting_connects_cost_one_accept_each_and_one_that_finds_none() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let mut clients = Vec::new();
    let (calls, _) = counted(&mut stage, |stage| {
        clients = (0..200).map(|_| stage.connect()).collect();
        stage.until("accepted", |stage| (stage.audit().open() == 200).then_some(()));
        stage.turn();
    });
    assert_eq!((calls.of(Call::Accept4), calls.of(Call::EpollCtl)), (201, 200), "{calls:?}");
    stage.wind_up(clients);
}

/// Everything that a client sent at once and half-closed behind: no call more than a short
/// connection's.
#[test]
fn data_and_end_in_one_event_cost_two_recv() {
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (calls, _) = counted(&mut stage, |stage| {
        let mut client = stage.connect();
        client.send(b"all there is").unwrap();
        client.socket.shutdown(Shutdown::Write).unwrap();
        stage.ended(&mut client);
        assert_eq!(client.received, b"all there is");
    });
    let (recv, send, close) = (calls.of(Call::Recv), calls.of(Call::Send), calls.of(Call::Close));
    assert_eq!((recv, send, close), (2, 1, 1), "{calls:?}");
    stage.wind_up([]);
}

#[test]
fn broadcast_of_many_messages_in_one_turn_costs_one_write_a_subscriber() {
    let mut stage = broadcast();
    let mut clients: Vec<Client> = (0..40).map(|_| stage.join().0).collect();
    let line = b"a line that everybody else is given\n";
    for senders in [1, 8] {
        settle(&mut stage);
        let received = clients.iter().map(|client| client.received.len()).max().unwrap();
        for client in &mut clients[..senders] {
            client.send(&line.repeat(50)).unwrap();
        }
        let before = counters().now();
        stage.turn();
        let calls = counters().now().since(before);
        assert_eq!(calls.of(Call::Recv), senders as u64, "{calls:?}");
        // A lone sender is given nothing; of several, each is given what the others sent.
        let readers = if senders == 1 { 39 } else { 40 };
        assert_eq!(calls.of(Call::Send) + calls.of(Call::Writev), readers, "{senders}: {calls:?}");
        assert_eq!(calls.all_but(&[Call::Recv, Call::Send, Call::Writev, Call::EpollWait]), 0);
        stage.until("delivered", |_| {
            let last = clients.last_mut().unwrap();
            last.fill().unwrap();
            (last.received.len() >= received + senders * 50 * line.len()).then_some(())
        });
        clients.iter_mut().for_each(|client| client.fill().unwrap());
    }
    stage.wind_up(clients);
}

/// On its own thread, with nothing that cuts its waits short.
#[test]
fn idle_server_makes_no_call() {
    for idle_timeout in [None, Some(Duration::from_secs(60))] {
        let (tell, told) = mpsc::channel();
        let server = std::thread::spawn(move || {
            let config = Config { idle_timeout, ..Config::default() };
            let mut reactor = Reactor::new(config, Echo::new()).unwrap();
            let address = listen(&mut reactor);
            tell.send((address, counters(), reactor.remote())).unwrap();
            watch(|| reactor.run()).unwrap();
        });
        let (address, counters, remote) = told.recv().unwrap();
        let mut clients: Vec<TcpStream> =
            (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
            client.read_exact(&mut [0; 5]).unwrap();
        }
        let quiet = quiet_for(counters, Duration::from_millis(400));
        assert!(quiet, "an idle server with idle timeout {idle_timeout:?} goes on making calls");
        drop(clients);
        remote.run(|cx| cx.stop()).unwrap();
        server.join().unwrap();
    }
}

/// Half-closed and idle: the end of a stream is told once, and must not be asked about again.
#[test]
fn held_connection_whose_peer_has_ended_makes_no_call() {
    let (tell, told) = mpsc::channel();
    let server = std::thread::spawn(move || {
        // Reads, says nothing, and stays when its peer has ended.
        let silent = handler_fn(|_, _, input| {
            input.clear();
            Ok(())
        });
        let silent = silent.on_end(|_, _, (), _| Ok(()));
        let mut reactor = Reactor::new(Config::default(), silent).unwrap();
        let address = listen(&mut reactor);
        tell.send((address, counters(), reactor.remote())).unwrap();
        watch(|| reactor.run()).unwrap();
    });
    let (address, counters, remote) = told.recv().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"the last word").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(quiet_for(counters, Duration::from_millis(400)), "it spins on an end of stream");
    remote.run(|cx| cx.stop()).unwrap();
    server.join().unwrap();
}

// ---- vocabulary ----

fn broadcast() -> Stage<Broadcast> {
    let handler = Broadcast::new(Framing::Lines, 64 << 10, TopicConfig::default());
    Stage::new(Config::default(), handler)
}

/// The calls, and the turns, of what `f` does.
fn counted<H: Handler>(stage: &mut Stage<H>, f: impl FnOnce(&mut Stage<H>)) -> (Counts, u64) {
    settle(stage);
    let (calls, turns) = (counters().now(), stage.reactor.stats().turns);
    f(stage);
    (counters().now().since(calls), stage.reactor.stats().turns - turns)
}

/// Takes the events that every new socket makes.
fn settle<H: Handler>(stage: &mut Stage<H>) {
    stage.turn();
    stage.turn();
}

/// All send at once, then all wait for their answer.
fn ping_pong(stage: &mut Stage<Echo>, clients: &mut [Client], rounds: u8) {
    for round in 0..rounds {
        for client in &mut *clients {
            client.received.clear();
            client.send(&[round; 64]).unwrap();
        }
        for client in &mut *clients {
            stage.until("answered", |_| {
                client.fill().unwrap();
                (client.received.len() == 64).then_some(())
            });
            assert_eq!(client.received, [round; 64]);
        }
    }
}

/// Whether the thread makes no call at all for so long, once it has finished what it was at: on a
/// busy machine that may take a while.
fn quiet_for(counters: &interposed::Counters, span: Duration) -> bool {
    (0..20).any(|_| {
        let before = counters.now();
        std::thread::sleep(span);
        counters.now() == before
    })
}
