//! Connections die and new ones take their slot and descriptor, while events that name the dead
//! ones are still on their way: nobody sees another's bytes, nobody is closed for another, and what
//! was stale is counted.
//!
//! How it is done: `interposed` rewrites what `epoll_wait` reports. An event may come late, twice,
//! out of order, or for no reason and with every bit set; the one thing that never happens is that
//! an event is lost, for an edge is told once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to stop")]

mod interposed;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeloop::service::{Echo, HandlerFn};
use edgeloop::{Config, Context, Handler, Token};
use libc::epoll_event;

use interposed::stage::{Client, Stage};
use interposed::{Call, counters, registered, rewrite_events};

const EVERY_BIT: i32 = libc::EPOLLIN
    | libc::EPOLLOUT
    | libc::EPOLLPRI
    | libc::EPOLLERR
    | libc::EPOLLHUP
    | libc::EPOLLRDHUP;

/// Without this, an event that is "injected" nowhere would pass for one that did no harm.
#[test]
fn canary_the_poll_and_its_registrations_are_replaced() {
    let _alone = alone();
    let injected = inject();
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (client, token) = stage.join();
    injected.borrow_mut().push(event(data(token), libc::EPOLLOUT));
    stage.turn();
    assert!(injected.borrow().is_empty());
    let seen = counters().now();
    assert!([Call::EpollWait, Call::EpollCtl, Call::Accept4].iter().all(|call| seen.of(*call) > 0));
    stage.wind_up([client]);
}

#[test]
fn event_of_the_dead_does_not_reach_who_has_its_slot_and_descriptor_now() {
    let _alone = alone();
    let injected = inject();
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut former, dead) = stage.join();
    stage.echo(&mut former, b"mine").unwrap();
    drop(former);
    stage.until("closed", |stage| (stage.audit().open() == 0).then_some(()));
    let (mut heir, alive) = stage.join();
    assert_eq!(slot(dead), slot(alive), "the case under test");
    assert_eq!(fd_of(dead), fd_of(alive), "the case under test");

    for bits in [libc::EPOLLIN, libc::EPOLLIN | libc::EPOLLRDHUP, EVERY_BIT] {
        let before = stage.reactor.stats().clone();
        let calls = counters().now();
        injected.borrow_mut().extend([event(data(dead), bits); 3]);
        stage.turn();
        let stats = stage.reactor.stats();
        assert_eq!(stats.stale - before.stale, 3);
        assert_eq!(stats.reads, before.reads, "nobody is read for a dead one's event");
        let others = counters().now().since(calls).all_but(&[Call::EpollWait]);
        assert_eq!(others, 0, "no call at all");
        stage.echo(&mut heir, b"undisturbed").unwrap();
    }
    stage.wind_up([heir]);
}

/// A's end, B's beginning on the same slot and descriptor, and A's late events, in the same list
/// and in every order.
#[test]
fn death_birth_and_late_events_in_one_batch() {
    let _alone = alone();
    for order in 0..6 {
        let injected = inject();
        let mut stage = Stage::new(Config::default(), Echo::new());
        let (mut former, dead) = stage.join();
        stage.echo(&mut former, b"mine").unwrap();
        drop(former);
        let mut heir = stage.connect();
        // The end of one and the connect of the other are both waiting; now the order of the batch
        // decides.
        let late = event(data(dead), EVERY_BIT);
        rewrite_events(move |events| {
            events.push(late);
            events.insert(0, late);
            let turn = order % events.len();
            events.rotate_left(turn);
            if order >= 3 {
                events.reverse();
            }
            events.append(&mut injected.borrow_mut());
        });
        stage.turn();
        stage.turn();
        inject();
        stage.echo(&mut heir, b"mine too").unwrap();
        assert_eq!(heir.received, b"mine too");
        assert!(stage.reactor.stats().stale > 0);
        stage.wind_up([heir]);
    }
}

#[test]
fn spurious_event_with_every_bit_set_closes_nobody() {
    let _alone = alone();
    let injected = inject();
    let mut stage = Stage::new(Config::default(), Echo::new());
    let mut clients: Vec<(Client, Token)> = (0..4).map(|_| stage.join()).collect();
    for round in 0..50_u8 {
        for (_, token) in &clients {
            injected.borrow_mut().push(event(data(*token), EVERY_BIT));
        }
        stage.turn();
        for (client, _) in &mut clients {
            stage.echo(client, &[round; 100]).unwrap();
        }
    }
    assert_eq!(stage.audit().reasons(), []);
    assert_eq!(stage.reactor.stats().stale, 0);
    stage.wind_up(clients.into_iter().map(|(client, _)| client));
}

/// The kernel never makes these up, but a descriptor that was handed on can (epoll(7), "event
/// cache").
#[test]
fn event_with_a_number_that_was_never_registered_is_counted_and_ignored() {
    let _alone = alone();
    let injected = inject();
    let mut stage = Stage::new(Config::default(), Echo::new());
    let (mut client, token) = stage.join();
    let slot = u64::from(slot(token));
    let strangers =
        [u64::MAX, 1 << 32 | 0xffff_fffe, 7 << 32 | slot, 0xffff_ffff << 32 | slot, 1 << 32 | 5000];
    injected.borrow_mut().extend(strangers.map(|data| event(data, EVERY_BIT)));
    stage.turn();
    assert_eq!(stage.reactor.stats().stale, strangers.len() as u64);
    // Generation 0 is the reactor's own: a listener that does not exist, one with nobody waiting,
    // the waker.
    injected.borrow_mut().extend([9, 0, 0xffff_ffff].map(|data| event(data, EVERY_BIT)));
    stage.turn();
    stage.turn();
    stage.echo(&mut client, b"undisturbed").unwrap();
    stage.wind_up([client]);
}

/// The other way in which a token outlives its connection: a handler that kept it.
#[test]
fn send_to_the_dead_reaches_nobody() {
    let _alone = alone();
    let mut stage = Stage::new(Config::default(), grudge());
    let (client, dead) = stage.join();
    drop(client);
    stage.until("closed", |stage| (stage.audit().open() == 0).then_some(()));
    let (mut heir, alive) = stage.join();
    assert_eq!((slot(dead), fd_of(dead)), (slot(alive), fd_of(alive)), "the case under test");
    let stale = stage.reactor.stats().stale;
    // The handler answers with everything it can do to the token it remembers, then with an echo.
    stage.echo(&mut heir, b"anything").unwrap();
    assert!(stage.reactor.stats().stale > stale);
    assert_eq!(stage.audit().open(), 1);
    stage.wind_up([heir]);
}

/// Everything at once, by seed: clients come, talk and go, and a poll that repeats, shuffles and
/// delays what the kernel said and adds what it did not. Every client reads back its own bytes, in
/// order, and nothing else.
#[test]
fn churn_under_a_deranged_poll_mixes_up_nobody() {
    let _alone = alone();
    for seed in 1..=20 {
        churn(seed);
    }
}

fn churn(seed: u64) {
    let mut dice = Dice(seed);
    let mut stage = Stage::new(Config { read_budget: 512, ..Config::default() }, Echo::new());
    derange(Dice(seed + 1000));
    let mut clients: HashMap<u64, (Client, Vec<u8>)> = HashMap::new();
    for serial in 0..400 {
        if clients.len() < 8 || dice.one_in(2) && clients.len() < 24 {
            clients.insert(serial, (stage.connect(), Vec::new()));
        }
        let mut names: Vec<u64> = clients.keys().copied().collect();
        // A hash map's order is not the seed's.
        names.sort_unstable();
        for name in names {
            let (client, sent) = clients.get_mut(&name).unwrap();
            client.fill().unwrap();
            assert!(
                sent.starts_with(&client.received),
                "seed {seed}: client {name} got foreign bytes"
            );
            match dice.below(8) {
                0 => drop(clients.remove(&name)),
                1..4 => {
                    let message =
                        format!("<{name}:{}>", sent.len()).repeat(1 + dice.below(40) as usize);
                    client.send(message.as_bytes()).unwrap();
                    sent.extend_from_slice(message.as_bytes());
                }
                _ => {}
            }
        }
        stage.turn();
    }
    for (name, (client, sent)) in &mut clients {
        stage.until("the rest", |_| {
            client.fill().unwrap();
            (client.received.len() >= sent.len()).then_some(())
        });
        assert_eq!(client.received, *sent, "seed {seed}: client {name}");
    }
    assert!(stage.reactor.stats().stale > 0, "seed {seed} tried nothing");
    stage.wind_up(clients.into_values().map(|(client, _)| client));
}

/// Repeats, shuffles and delays events, and adds spurious ones for tokens of the living and the
/// dead.
fn derange(mut dice: Dice) {
    let mut late: Vec<(u64, epoll_event)> = Vec::new();
    let mut turn = 0;
    rewrite_events(move |events| {
        turn += 1;
        for event in std::mem::take(events) {
            if dice.one_in(4) {
                late.push((turn + dice.below(4), event));
            } else {
                events.push(event);
            }
            // The same again, after its connection may have gone.
            if dice.one_in(4) {
                late.push((turn + dice.below(40), event));
            }
        }
        late.retain(|(due, event)| {
            if *due <= turn {
                events.push(*event);
            }
            *due > turn
        });
        let registered = registered();
        for _ in 0..dice.below(3) {
            let (_, data) = registered[dice.below(registered.len() as u64) as usize];
            events.push(event(data, EVERY_BIT));
        }
        for index in (1..events.len()).rev() {
            events.swap(index, dice.below(index as u64 + 1) as usize);
        }
    });
}

/// Sends to, closes and aborts the first connection, over and over.
fn grudge() -> impl Handler<Session = Token> {
    let mut first = None;
    let on_open = move |_: &mut Context<'_>, token| *first.get_or_insert(token);
    HandlerFn::new(on_open, |cx, token, former, input| {
        let former = *former;
        assert_ne!(former, token);
        assert!(!cx.send(former, b"for the dead"));
        let len = input.len();
        assert!(!cx.forward(former, input), "a stale token took bytes");
        assert_eq!(input.len(), len);
        cx.pause(former);
        cx.set_timer(former, std::time::Duration::from_millis(1));
        cx.close(former);
        cx.abort(former);
        assert_eq!((cx.peer_address(former), cx.output_len(former)), (None, 0));
        cx.forward(token, input);
        Ok(())
    })
}

/// One test at a time: the kernel hands out a descriptor again at once, but to whoever in the
/// process asks first.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that the next poll reports on top of the kernel's.
fn inject() -> Rc<RefCell<Vec<epoll_event>>> {
    let list = Rc::new(RefCell::new(Vec::new()));
    let injected = Rc::clone(&list);
    rewrite_events(move |events| events.append(&mut list.borrow_mut()));
    injected
}

fn event(data: u64, bits: i32) -> epoll_event {
    epoll_event { events: bits as u32, u64: data }
}

fn data(token: Token) -> u64 {
    usize::from(mio::Token::from(token)) as u64
}

fn slot(token: Token) -> u32 {
    data(token) as u32
}

fn fd_of(token: Token) -> i32 {
    registered().iter().rev().find(|(_, seen)| *seen == data(token)).unwrap().0
}

/// splitmix64: a seed is a run.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
