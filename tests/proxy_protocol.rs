//! Clients that balancers introduce by the PROXY protocol: what the server takes for whose.
//!
//! The balancer has the address 127.0.0.2. Its clients have addresses that are for documents.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use common::directory::Directory;
use common::program::Program;
use common::{
    ByHand, Server, connect_from, end_sending, expect_bytes, expect_gone, send, start_by,
};
use edgeloop::service::{AddressLimits, Addresses, Echo, HandlerFn, ProxyProtocol};
use edgeloop::{Address, CloseReason, Config, Context, Handler, ListenOptions, Reactor, Token};

const BALANCER: &str = "127.0.0.2";
const CLIENT: &str = "192.0.2.7:51234";
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// Version 2, LOCAL.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
/// Version 2, of the same client, with a value behind the addresses.
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb\x04\0\x01x";

fn header_of(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 51234 443\r\n").into_bytes()
}

fn listen_options() -> ListenOptions {
    let balancers = ProxyProtocol::new([BALANCER.parse().unwrap()]);
    ListenOptions { preface: Some(Arc::new(balancers)), ..ListenOptions::default() }
}

fn start<H: Handler + Send + 'static>(config: Config, handler: H, limits: AddressLimits) -> Server {
    start_by(config, handler, |reactor| {
        reactor.set_gate(Addresses::new(limits));
        reactor.listen(&"127.0.0.1:0".parse().unwrap(), &listen_options()).unwrap()
    })
}

fn start_echo() -> Server {
    start(Config::default(), Echo::new(), AddressLimits::default())
}

/// Tells each client who it is and by whom it came, and then returns what it says.
fn mirror() -> impl Handler + Send + 'static {
    let tell = |cx: &mut Context<'_>, token: Token| {
        let via = cx.via(token).as_ref().map_or_else(|| "-".into(), ip);
        let peer = cx.peer_address(token).unwrap();
        let peer = if via == "-" { ip(&peer) } else { peer.to_string() };
        cx.send(token, format!("{peer} via {via}\n").as_bytes());
    };
    HandlerFn::new(tell, |cx: &mut Context<'_>, token, (), input| {
        cx.forward(token, input);
        Ok(())
    })
}

/// What the mirror tells a client of this header.
fn told(header: &[u8]) -> String {
    match [LOCAL, UNKNOWN].contains(&header) {
        true => format!("{BALANCER} via -\n"),
        false => format!("{CLIENT} via {BALANCER}\n"),
    }
}

fn ip(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.ip().to_string(),
        Address::Unix(_) => "unix".into(),
    }
}

fn by_hand<H: Handler>(handler: H) -> ByHand<H> {
    let mut reactor = Reactor::new(Config::default(), handler).unwrap();
    let address = reactor.listen(&"127.0.0.1:0".parse().unwrap(), &listen_options()).unwrap();
    ByHand { reactor, address }
}

/// A segment of its own, which is looked at before the next one is sent.
fn send_and_turn<H: Handler>(server: &mut ByHand<H>, client: &TcpStream, bytes: &[u8]) {
    let reads = server.reactor.stats().reads;
    send(client, bytes);
    server.turn_until("it was looked at", |reactor| reactor.stats().reads > reads);
}

// ---- what is a header ----

#[test]
fn header_may_come_byte_by_byte() {
    for header in [HEADER, BINARY, LOCAL, UNKNOWN] {
        let mut server = by_hand(mirror());
        let client = connect_from(BALANCER, &server.address);
        client.set_nodelay(true).unwrap();
        for byte in header {
            assert_eq!(server.reactor.stats().bytes_sent, 0, "it is not open");
            send_and_turn(&mut server, &client, &[*byte]);
        }
        server.turn_until("it is open", |reactor| reactor.stats().bytes_sent > 0);
        send_and_turn(&mut server, &client, b"hello");
        server.turn_until("it is answered", |reactor| reactor.stats().bytes_received == 5);
        expect_bytes(&client, told(header).as_bytes());
        expect_bytes(&client, b"hello");
    }
}

#[test]
fn header_may_be_cut_anywhere_and_is_no_part_of_what_follows() {
    for header in [HEADER, BINARY, LOCAL, UNKNOWN] {
        let mut server = by_hand(mirror());
        let segments = [header, b"GET / HTTP/1.1\r\n"].concat();
        for cut in 1..segments.len() {
            let client = connect_from(BALANCER, &server.address);
            client.set_nodelay(true).unwrap();
            send_and_turn(&mut server, &client, &segments[..cut]);
            send_and_turn(&mut server, &client, &segments[cut..]);
            let answered = 16 * cut as u64;
            server.turn_until("it is answered", |it| it.stats().bytes_received == answered);
            expect_bytes(&client, told(header).as_bytes());
            expect_bytes(&client, b"GET / HTTP/1.1\r\n");
        }
    }
}

#[test]
fn header_and_first_request_may_be_one_segment_and_a_second_header_is_data() {
    let server = start(Config::default(), mirror(), AddressLimits::default());
    for header in [HEADER, BINARY, LOCAL, UNKNOWN] {
        let second = header_of("203.0.113.9");
        let client = connect_from(BALANCER, &server.address);
        send(&client, &[header, &second, b"hello"].concat());
        expect_bytes(&client, told(header).as_bytes());
        expect_bytes(&client, &second);
        expect_bytes(&client, b"hello");
    }
    server.stop();
}

#[test]
fn from_an_address_that_is_no_balancer_a_header_is_data() {
    let server = start_echo();
    for header in [HEADER, BINARY, LOCAL, &HEADER[..9]] {
        let client = connect_from("127.0.0.3", &server.address);
        send(&client, header);
        expect_bytes(&client, header);
        let peer = client.local_addr().unwrap();
        let peers = server.ask(|cx| cx.connections(None).map(|it| it.peer).collect::<Vec<_>>());
        assert!(peers.contains(&peer.into()), "{peers:?}");
    }
    server.stop();
}

#[test]
fn balancer_that_sends_something_else_is_closed_and_no_handler_hears_of_it() {
    let server = start(Config::default(), mirror(), AddressLimits::default());
    let (mut spoiled, mut cut) = (BINARY.to_vec(), HEADER.to_vec());
    spoiled[13] = 0x12;
    cut.truncate(20);
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec();
    let many = [HEADER[..40].to_vec(), vec![b'x'; 100_000]].concat();
    let bad = [request, many, spoiled, b"\x16\x03\x01".to_vec(), b"\n".to_vec()];
    for bytes in &bad {
        let client = connect_from(BALANCER, &server.address);
        // It may be gone before all of that is sent.
        let _ = (&client).write_all(bytes);
        expect_nothing(client);
    }
    let client = connect_from(BALANCER, &server.address);
    send(&client, &cut);
    end_sending(&client);
    expect_nothing(client);
    let stats = server.stop();
    assert_eq!((stats.closed(CloseReason::BadProxyHeader), stats.bytes_sent), (6, 0));
}

/// Nothing but an end, or a reset.
#[track_caller]
fn expect_nothing(mut client: TcpStream) {
    let mut byte = [0];
    assert!(client.read(&mut byte).unwrap_or(0) == 0, "{byte:?}");
    expect_gone(client);
}

#[test]
fn balancer_that_says_nothing_has_so_long_as_a_handshake() {
    let greeting_timeout = Duration::from_millis(50);
    let config = Config { greeting_timeout, ..Config::default() };
    let server = start(config, Echo::new(), AddressLimits::default());
    let stranger = connect_from("127.0.0.3", &server.address);
    for beginning in [&b""[..], &HEADER[..30], &BINARY[..20]] {
        let client = connect_from(BALANCER, &server.address);
        send(&client, beginning);
        expect_gone(client);
    }
    // Of whom no header is expected has no such deadline.
    send(&stranger, b"hello");
    expect_bytes(&stranger, b"hello");
    assert_eq!(server.stop().closed(CloseReason::HandshakeTimeout), 3);
}

// ---- whose address counts ----

#[test]
fn limits_count_the_client_and_not_the_balancer() {
    let limits = AddressLimits { connections: 1, ..AddressLimits::default() };
    let server = start(Config::default(), Echo::new(), limits);
    let come = |header: &[u8]| {
        let client = connect_from(BALANCER, &server.address);
        send(&client, &[header, b"hello"].concat());
        client
    };
    // Each client has a place, and the balancer as many as it likes.
    let first = come(HEADER);
    let others = ["192.0.2.8", "192.0.2.9"].map(|client| come(&header_of(client)));
    let own: Vec<TcpStream> = (0..5).map(|at| come([LOCAL, UNKNOWN][at % 2])).collect();
    for client in [&first].into_iter().chain(&others).chain(&own) {
        expect_bytes(client, b"hello");
    }
    expect_gone(come(&header_of("192.0.2.7")));
    expect_gone(come(&header_of("192.0.2.8")));
    // A place is given back once.
    drop(first);
    server.wait_until("it is gone", |stats| stats.closed(CloseReason::PeerClosed) == 1);
    let again = come(BINARY);
    expect_bytes(&again, b"hello");
    expect_gone(come(HEADER));
    assert_eq!(server.stop().closed(CloseReason::AddressLimit), 3);
}

#[test]
fn who_may_connect_is_decided_by_the_client_and_not_by_the_balancer() {
    let networks = |text: &str| vec![text.parse().unwrap()];
    let (allow, deny) = (networks("192.0.2.0/24"), networks("192.0.2.66"));
    let limits = AddressLimits { allow, deny, ..AddressLimits::default() };
    let server = start(Config::default(), Echo::new(), limits);
    for (header, is_let_in) in [
        (&header_of("192.0.2.7")[..], true),
        (&header_of("192.0.2.66"), false),
        (&header_of("198.51.100.7"), false),
        // A balancer that looks whether the server is there is no client.
        (LOCAL, true),
        (UNKNOWN, true),
    ] {
        let client = connect_from(BALANCER, &server.address);
        send(&client, header);
        let _ = (&client).write_all(b"hello");
        match is_let_in {
            true => expect_bytes(&client, b"hello"),
            false => expect_nothing(client),
        }
    }
    expect_gone(connect_from("127.0.0.3", &server.address));
    assert_eq!(server.stop().closed(CloseReason::Denied), 3);
}

#[test]
fn clients_over_unix_sockets_have_addresses_where_a_balancer_names_them() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let (options, address) = ("unix".parse().unwrap(), Address::Unix(path.clone()));
    let options = ListenOptions {
        preface: Some(Arc::new(ProxyProtocol::new([options]))),
        ..ListenOptions::default()
    };
    let server = start_by(Config::default(), mirror(), move |reactor| {
        let limits = AddressLimits { connections: 1, ..AddressLimits::default() };
        reactor.set_gate(Addresses::new(limits));
        reactor.listen(&address, &options).unwrap()
    });
    let come = |header: &[u8]| {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(header).unwrap();
        client
    };
    let client = come(BINARY);
    expect_bytes(&client, format!("{CLIENT} via unix\n").as_bytes());
    expect_gone(come(HEADER));
    expect_bytes(&come(LOCAL), b"unix via -\n");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::AddressLimit), 1);
}

// ---- the program ----

/// A client of the program, by way of the balancer.
fn introduced(program: &Program, header: &[u8]) -> BufReader<TcpStream> {
    let stream = connect_from(BALANCER, &program.address);
    send(&stream, header);
    BufReader::new(stream)
}

#[track_caller]
fn ask(client: &mut BufReader<TcpStream>, question: &str) -> String {
    client.get_mut().write_all(question.as_bytes()).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

#[test]
fn log_has_the_client_and_the_balancer_beside_it() {
    let program = Program::start("echo -v --proxy-protocol 127.0.0.2");
    let mut client = introduced(&program, HEADER);
    assert_eq!(ask(&mut client, "hello\n"), "hello\n");
    let opened = program.expect_line("opened");
    let port = client.get_ref().local_addr().unwrap().port();
    let addresses = format!("peer={CLIENT} via={BALANCER}:{port}");
    assert!(opened.contains(&addresses), "{opened}");
    drop(client);
    let closed = program.expect_line("closed");
    assert!(closed.contains(&addresses) && closed.contains("peer_closed"), "{closed}");
}

#[test]
fn client_that_is_turned_away_is_named_with_its_balancer() {
    let program = Program::start("kv --proxy-protocol 127.0.0.0/30 --deny 192.0.2.7");
    expect_gone(introduced(&program, HEADER));
    let line = program.expect_line("closed as soon as it came");
    let port = |text: &str| line.contains(text) && line.contains("denied");
    assert!(port("peer=192.0.2.7:51234 via=127.0.0.2:"), "{line}");
}

#[test]
fn bad_header_is_a_warning_with_the_address_of_the_balancer() {
    let program = Program::start("web --proxy-protocol 127.0.0.2,unix");
    let bad = introduced(&program, b"GET / HTTP/1.1\r\n\r\n");
    let address = bad.get_ref().local_addr().unwrap();
    let line = program.expect_line("bad_proxy_header");
    assert!(line.contains("WARN") && line.contains(&format!("peer={address} ")), "{line}");
    assert!(line.contains("it does not begin as a PROXY header"), "{line}");
    expect_gone(bad);
}

#[test]
fn looking_whether_the_server_is_there_leaves_no_line_in_the_log() {
    for service in ["echo", "broadcast", "chat", "kv", "web"] {
        let program = Program::start(&format!("{service} --proxy-protocol 127.0.0.2"));
        for check in [LOCAL, UNKNOWN, b""] {
            let client = connect_from(BALANCER, &program.address);
            send(&client, check);
            common::reset(client);
            let client = connect_from(BALANCER, &program.address);
            send(&client, check);
            end_sending(&client);
            // A client that says nothing and ends may be there to listen.
            if service != "broadcast" {
                expect_gone(client);
            }
        }
        program.signal(rustix::process::Signal::TERM);
        let (first, last) = (program.expect_line(""), program.expect_line(""));
        assert!(first.contains("SIGTERM") && last.contains(" accepted="), "{first}\n{last}");
    }
}

#[test]
fn kv_knows_its_clients_by_their_own_addresses() {
    let options = "--protected-mode no --proxy-protocol 127.0.0.2";
    let program = Program::start(&format!("kv {options}"));
    let mut other = introduced(&program, &header_of("192.0.2.8"));
    assert_eq!(ask(&mut other, "PING\r\n"), "+PONG\r\n");
    let mut client = introduced(&program, HEADER);
    ask(&mut client, "CLIENT LIST\r\n");
    let mut list = [String::new(), String::new()];
    list.iter_mut().for_each(|line| drop(client.read_line(line)));
    let expected = ["192.0.2.8", "192.0.2.7"].map(|client| format!(" addr={client}:51234 "));
    let has = |at: usize| list[at].contains(&expected[at]);
    assert!(has(0) && has(1) && !list.concat().contains(BALANCER), "{list:?}");
    client.read_line(&mut String::new()).unwrap();
    // A kick meets the client, and nobody else who comes by the same balancer.
    assert_eq!(ask(&mut client, "CLIENT KILL ADDR 192.0.2.8:51234 TYPE normal\r\n"), ":1\r\n");
    expect_gone(other);
    assert_eq!(ask(&mut client, "PING\r\n"), "+PONG\r\n");
}

#[test]
fn protected_kv_takes_a_client_of_another_machine_for_one_although_its_balancer_is_here() {
    let program = Program::start("kv --proxy-protocol 127.0.0.2");
    let denied = ask(&mut introduced(&program, HEADER), "PING\r\n");
    assert!(denied.starts_with("-DENIED"), "{denied}");
    let here = header_of("127.0.0.1");
    for header in [LOCAL, UNKNOWN, &here] {
        assert_eq!(ask(&mut introduced(&program, header), "PING\r\n"), "+PONG\r\n");
    }
}

#[test]
fn access_log_has_the_client_and_the_balancer_beside_it() {
    let program = Program::start("web --access-log --proxy-protocol 127.0.0.2");
    let mut client = introduced(&program, HEADER);
    let request = "GET /plaintext HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    assert_eq!(ask(&mut client, request), "HTTP/1.1 200 OK\r\n");
    let line = program.expect_line("/plaintext");
    assert!(line.contains(" peer=192.0.2.7 via=127.0.0.2 "), "{line}");
    // What a header of HTTP says is nobody's address.
    assert!(!line.contains("203.0.113.9"), "{line}");
    let mut client = introduced(&program, HEADER);
    ask(&mut client, "GET / HTTP/9\r\n\r\n");
    let line = program.expect_line("refused");
    assert!(line.contains(" peer=192.0.2.7 via=127.0.0.2 "), "{line}");
    let own = connect_from("127.0.0.3", &program.address);
    send(&own, request.as_bytes());
    let line = program.expect_line("/plaintext");
    assert!(line.contains(" peer=127.0.0.3 ") && !line.contains("via="), "{line}");
}
