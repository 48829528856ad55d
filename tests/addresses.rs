//! What one address may take of a server, and what is left for the others.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::directory::Directory;
use common::handlers::silent;
use common::program::Program;
use common::{Server, connect_from, end_sending, expect_bytes, expect_gone, send, start_by};
use edgeloop::service::chat::{Chat, ChatOptions};
use edgeloop::service::{AddressLimits, Addresses, Echo};
use edgeloop::{Address, CloseReason, Config, Gate, Handler, ListenOptions};

// ---- the gate ----

/// Lets every second one in, and counts.
#[derive(Default)]
struct Turnstile {
    asked: AtomicU64,
    inside: AtomicU64,
}

struct EverySecond(Arc<Turnstile>);

impl Gate for EverySecond {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        if self.0.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return Err(CloseReason::Denied);
        }
        self.0.inside.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn release(&mut self, _: &Address, _: Instant) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn gate_is_asked_once_for_each_connection_and_told_once_of_the_end_of_each_that_it_let_in() {
    let turnstile = Arc::new(Turnstile::default());
    let gate = EverySecond(Arc::clone(&turnstile));
    let server = start_by(Config::default(), Echo::new(), |reactor| {
        reactor.set_gate(gate);
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    });
    let clients: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    server.wait_until("all were asked for", |stats| stats.accepted == 6);
    for (at, client) in clients.iter().enumerate() {
        if at % 2 == 1 {
            expect_gone(client);
        } else {
            expect_echo(client);
        }
    }
    assert_eq!(turnstile.inside.load(Ordering::Relaxed), 3);
    // They end in three ways: an end, a reset, and the server's.
    let mut clients = clients.into_iter().step_by(2);
    end_sending(&clients.next().unwrap());
    common::reset(clients.next().unwrap());
    server.wait_until("two are gone", |stats| stats.open() == 1);
    let stats = server.stop();
    assert_eq!(turnstile.inside.load(Ordering::Relaxed), 0);
    assert_eq!(turnstile.asked.load(Ordering::Relaxed), 6);
    assert_eq!(stats.closed(CloseReason::Denied), 3);
}

#[test]
fn outgoing_connections_do_not_pass_the_gate() {
    let target = common::start(Config::default(), Echo::new());
    let turnstile = Arc::new(Turnstile::default());
    let gate = EverySecond(Arc::clone(&turnstile));
    let server = start_by(Config::default(), silent(), |reactor| {
        reactor.set_gate(gate);
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    });
    let address = target.address.clone();
    server.ask(move |cx| cx.connect(&address, 0).map(drop)).unwrap();
    target.wait_until("it was dialled", |stats| stats.accepted == 1);
    server.stop();
    assert_eq!(turnstile.asked.load(Ordering::Relaxed), 0);
    assert_eq!(turnstile.inside.load(Ordering::Relaxed), 0);
    target.stop();
}

// ---- limits ----

fn start_limited<H: Handler + Send + 'static>(handler: H, limits: AddressLimits) -> Server {
    start_by(Config::default(), handler, |reactor| {
        reactor.set_gate(Addresses::new(limits));
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    })
}

#[track_caller]
fn expect_echo(client: &TcpStream) {
    send(client, b"hello");
    expect_bytes(client, b"hello");
}

#[test]
fn connections_beyond_the_limit_of_an_address_are_closed_until_one_of_it_has_gone() {
    let limits = AddressLimits { connections: 2, ..AddressLimits::default() };
    let server = start_limited(Echo::new(), limits);
    let (first, second) = (server.connect(), server.connect());
    expect_echo(&first);
    expect_echo(&second);
    expect_gone(server.connect());
    expect_echo(&connect_from("127.0.0.2", &server.address));
    drop(first);
    server.wait_until("one has gone", |stats| stats.closed(CloseReason::PeerClosed) == 2);
    let third = server.connect();
    expect_echo(&third);
    expect_gone(server.connect());
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::AddressLimit), 2);
}

#[test]
fn address_that_connects_faster_than_it_may_is_refused_and_others_are_not() {
    let limits = AddressLimits { rate: 1, burst: 3, ..AddressLimits::default() };
    let server = start_limited(Echo::new(), limits);
    let begun = Instant::now();
    let mut refused = 0;
    for at in 0..20 {
        let client = server.connect();
        server.wait_until("it came", |stats| stats.accepted == at + 1);
        refused = server.stats().closed(CloseReason::AddressRate);
        drop(client);
    }
    let earned = begun.elapsed().as_secs() + 1;
    assert!((17 - earned..=17).contains(&refused), "{refused} of 20, {earned} earned");
    expect_echo(&connect_from("127.0.0.2", &server.address));
    server.stop();
}

#[test]
fn peers_on_a_unix_socket_have_no_limit() {
    let limits = AddressLimits { connections: 1, rate: 1, burst: 1, ..AddressLimits::default() };
    let directory = Directory::new();
    let path = directory.path("socket");
    let address = Address::Unix(path.clone());
    let server = start_by(Config::default(), Echo::new(), move |reactor| {
        reactor.set_gate(Addresses::new(limits));
        reactor.listen(&address, &ListenOptions::default()).unwrap()
    });
    let clients: Vec<_> =
        (0..20).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    for mut client in &clients {
        client.write_all(b"x").unwrap();
        expect_bytes(client, b"x");
    }
    server.stop();
}

#[test]
fn clients_of_networks_that_may_not_connect_are_closed_as_they_come() {
    let limits = AddressLimits {
        allow: ["127.0.0.0/30", "127.0.0.9"].map(|network| network.parse().unwrap()).into(),
        deny: vec!["127.0.0.3".parse().unwrap()],
        connections: 1,
        ..AddressLimits::default()
    };
    let server = start_limited(Echo::new(), limits);
    let _inside = ["127.0.0.1", "127.0.0.2", "127.0.0.9"].map(|source| {
        let client = connect_from(source, &server.address);
        expect_echo(&client);
        client
    });
    for source in ["127.0.0.3", "127.0.0.4", "127.0.0.8", "127.0.0.10"] {
        // Each time, as a connection that was refused holds no place.
        (0..2).for_each(|_| expect_gone(connect_from(source, &server.address)));
    }
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::Denied), 8);
}

#[test]
fn list_of_clients_has_those_on_unix_sockets_only_if_it_says_so() {
    let directory = Directory::new();
    let socket = directory.path("socket");
    for (options, is_let_in) in [
        ("--allow 127.0.0.1", false),
        ("--allow 127.0.0.1,unix", true),
        ("--deny 127.0.0.0/8", true),
        ("--deny unix", false),
        ("--allow unix --deny unix", false),
    ] {
        let options = format!("echo {options} -l unix:{}", socket.display());
        let program = Program::start(&options);
        let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let _ = client.write_all(b"x");
        match is_let_in {
            true => expect_bytes(&client, b"x"),
            false => expect_gone(client),
        }
        drop(program);
        let _ = std::fs::remove_file(&socket);
    }
}

#[test]
fn client_that_may_not_connect_is_a_line_of_the_log_whichever_service_it_wants() {
    for service in ["echo", "broadcast", "chat", "kv", "web"] {
        let options = "--allow 127.0.0.1 --allow 127.0.0.2,127.0.0.3 --deny 127.0.0.2";
        let program = Program::start(&format!("{service} {options}"));
        expect_gone(connect_from("127.0.0.2", &program.address));
        let line = program.expect_line("closed as soon as it came");
        assert!(line.contains("denied") && line.contains("peer=127.0.0.2:"), "{line}");
        let question = match service {
            "kv" => "PING\r\n",
            "web" => "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            _ => "hello\n",
        };
        let client = connect_from("127.0.0.3", &program.address);
        send(&client, question.as_bytes());
        if service != "broadcast" {
            assert!(BufReader::new(client).read_line(&mut String::new()).unwrap() > 0);
        }
    }
}

/// However many it has, and whatever they do or leave undone.
#[test]
fn connections_of_one_address_do_not_keep_others_out_of_any_server() {
    let servers = [
        ("echo", "hal", "hello\n", "hello\n"),
        ("broadcast", "hal", "hello\n", "hello\n"),
        ("chat", "/ni", "/ping x\n", "* "),
        ("kv", "*1\r\n$4\r\nPI", "PING\r\n", "+PONG\r\n"),
        ("web", "GET / HT", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
    ];
    for (service, half, question, answer) in servers {
        let program =
            Program::start(&format!("{service} --max-per-address 30 --max-connections 64"));
        let mut attackers = Vec::new();
        for at in 0..300 {
            let attacker = program.connect();
            // Of those that were closed as they came, some say so already.
            if at % 3 > 0 {
                let _ = (&attacker).write_all(half.as_bytes());
            }
            if at % 3 > 1 {
                let _ = attacker.shutdown(std::net::Shutdown::Write);
            }
            attackers.push(attacker);
        }
        let [one, two] =
            ["127.0.0.2", "127.0.0.3"].map(|source| connect_from(source, &program.address));
        send(&two, question.as_bytes());
        // Of attackers that ended their side a broadcast delivers what they had said.
        hear(&mut BufReader::new(if service == "broadcast" { one } else { two }), answer);
        let line = program.expect_line("closed as soon as it came");
        assert!(line.contains("address_limit") && line.contains("127.0.0.1:"), "{line}");
        drop(attackers);
    }
}

/// Passes over lines until one begins so.
#[track_caller]
fn hear(lines: &mut BufReader<TcpStream>, beginning: &str) {
    let mut line = String::new();
    while !line.starts_with(beginning) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no {beginning}");
    }
}

// ---- rooms ----

/// Somebody in the chat, over lines.
struct Guest {
    lines: BufReader<TcpStream>,
}

impl Guest {
    fn from(source: &str, server: &Server) -> Guest {
        let mut guest = Guest { lines: BufReader::new(connect_from(source, &server.address)) };
        guest.say("/ping welcome");
        guest.hear("* pong welcome");
        guest
    }

    fn say(&mut self, text: &str) {
        self.lines.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn hear(&mut self, beginning: &str) {
        hear(&mut self.lines, beginning);
    }

    #[track_caller]
    fn join(&mut self, room: &str) {
        self.say(&format!("/join {room}"));
        self.hear(&format!("* you are in {room} as"));
    }

    #[track_caller]
    fn leave(&mut self, room: &str) {
        self.say(&format!("/leave {room}"));
        self.hear(&format!("* you left {room}"));
    }

    #[track_caller]
    fn is_refused(&mut self, room: &str, why: &str) {
        self.say(&format!("/join {room}"));
        self.hear(&format!("! {why}"));
    }
}

fn start_chat(options: ChatOptions) -> Server {
    let addresses = Addresses::new(AddressLimits { connections: 9, ..AddressLimits::default() });
    let gate = addresses.clone();
    let chat = Chat::new(options).with_addresses(addresses);
    start_by(Config::default(), chat, |reactor| {
        reactor.set_gate(gate);
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
    })
}

#[test]
fn address_holds_so_many_rooms_open_and_lobby_beside_them() {
    const OWN: &str = "your address holds 2 rooms open";
    let options = ChatOptions { rooms_per_address: 2, rate: 1000, ..Default::default() };
    let server = start_chat(options);
    let [mut anna, mut alf] = ["127.0.0.2"; 2].map(|source| Guest::from(source, &server));
    let mut bob = Guest::from("127.0.0.3", &server);
    anna.join("one");
    alf.join("two");
    anna.is_refused("three", OWN);
    bob.join("three");
    // What others opened may be entered by anybody.
    anna.join("three");
    alf.join("lobby");
    // A room counts for who opened it as long as anybody is there.
    bob.join("one");
    anna.leave("one");
    anna.is_refused("four", OWN);
    bob.leave("one");
    anna.join("four");
    // An empty one is opened anew by whoever comes first.
    anna.is_refused("one", OWN);
    bob.join("one");
    // Who is gone altogether holds nothing.
    drop((anna, alf));
    server.wait_until("they are gone", |stats| stats.open() == 1);
    let mut again = Guest::from("127.0.0.2", &server);
    again.join("five");
    again.join("six");
    again.is_refused("seven", OWN);
    server.stop();
}

#[test]
fn lobby_can_be_opened_although_every_room_is_taken() {
    let options =
        ChatOptions { rooms_max: 4, rooms_per_client: 2, rate: 1000, ..Default::default() };
    let server = start_chat(options);
    let mut crowd: Vec<Guest> = (0..2).map(|_| Guest::from("127.0.0.2", &server)).collect();
    for (at, guest) in crowd.iter_mut().enumerate() {
        (0..2).for_each(|room| guest.join(&format!("taken{at}{room}")));
    }
    let mut anna = Guest::from("127.0.0.3", &server);
    anna.is_refused("den", "there are as many rooms as there can be");
    anna.join("lobby");
    anna.is_refused("den", "there are as many rooms as there can be");
    let mut bob = Guest::from("127.0.0.3", &server);
    bob.join("lobby");
    server.stop();
}

/// As nginx does it, `--connect-rate` of a server counts what comes, whichever of its ends it meets.
#[test]
fn rate_of_connects_is_an_option_of_the_program() {
    let program = Program::start("echo --connect-rate 1 --connect-burst 2");
    let deadline = Instant::now() + Duration::from_secs(20);
    while program.log_so_far().iter().all(|line| !line.contains("address_rate")) {
        assert!(Instant::now() < deadline, "nobody is turned away");
        drop(program.connect());
    }
    expect_echo(&connect_from("127.0.0.2", &program.address));
}
