//! TLS as a layer of the reactor: every byte, both ends of the stream, and what peers do to a handshake.

#![cfg(feature = "tls")]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use common::tls::{Authority, Client, Pair, TlsStream, VERSIONS};
use common::{
    KIB, MIB, closed, end_sending, expect_bytes, expect_eof, expect_pattern, send_pattern,
    start_by, tls,
};
use edgeloop::service::{Broadcast, Echo, Framing, HandlerFn, ProxyProtocol, handler_fn};
use edgeloop::tls::{Authorities, Identity, TlsServer, TlsServerConfig};
use edgeloop::{CloseReason, Config, Context, ListenOptions, Token, TopicConfig};
use rustls::{HandshakeKind, ProtocolVersion};

/// Sends and reads at once, then says farewell and expects the server's.
fn echo_one(stream: &TlsStream, seed: usize, len: usize) {
    thread::scope(|scope| {
        scope.spawn(|| {
            send_pattern(stream, seed, 0, len);
            stream.end_sending();
        });
        expect_pattern(stream, seed, 0, len);
        expect_eof(stream);
    });
}

#[test]
fn fifty_megabytes_come_back_while_they_are_sent_and_both_sides_say_farewell() {
    let pair = Pair::of(&["localhost"]);
    let server = tls::start(&pair, Config::default(), Echo::new());
    for version in VERSIONS {
        let stream = Client::in_version(&pair.certificate, version).connect(&server.address);
        echo_one(&stream, 1, 50 * MIB);
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 2)]);
}

#[test]
fn server_that_ends_first_says_farewell_and_still_reads() {
    let pair = Pair::of(&["localhost"]);
    let greeter = handler_fn(|cx, token, input| {
        input.clear();
        cx.send(token, b"so long");
        cx.close(token);
        Ok(())
    });
    let server = tls::start(&pair, Config::default(), greeter);
    for version in VERSIONS {
        let stream = Client::in_version(&pair.certificate, version).connect(&server.address);
        (&stream).write_all(b"hello").unwrap();
        expect_bytes(&stream, b"so long");
        expect_eof(&stream);
        // What comes behind the farewell is read and dropped: a reset would be an error here.
        send_pattern(&stream, 2, 0, 64 * KIB);
        stream.end_sending();
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::Closed, 2)]);
}

/// The socket tells a record once. What of it is left in the layer needs no event.
#[test]
fn record_of_16_kib_and_then_silence_comes_back_whole_at_any_read_budget() {
    let pair = Pair::of(&["localhost"]);
    for read_budget in [1, 7, 100] {
        let config = Config { read_budget, ..Config::default() };
        let server = tls::start(&pair, config, Echo::new());
        let stream = Client::of(&pair.certificate).connect(&server.address);
        send_pattern(&stream, 3, 0, 16 * KIB);
        expect_pattern(&stream, 3, 0, 16 * KIB);
        // Three records that arrive together.
        for record in 0..3 {
            let mut session = stream.session();
            session.writer().write_all(&[b'0' + record; 5000]).unwrap();
        }
        stream.push();
        expect_bytes(&stream, &[[b'0'; 5000], [b'1'; 5000], [b'2'; 5000]].concat());
        stream.end_sending();
        expect_eof(&stream);
        server.finish();
    }
}

#[test]
fn keys_are_changed_under_way_by_the_client() {
    let pair = Pair::of(&["localhost"]);
    let server = tls::start(&pair, Config::default(), Echo::new());
    let stream = Client::of(&pair.certificate).connect(&server.address);
    for at in (0..1000).step_by(10) {
        stream.session().refresh_traffic_keys().unwrap();
        send_pattern(&stream, 4, at, 10);
        expect_pattern(&stream, 4, at, 10);
    }
    stream.end_sending();
    expect_eof(&stream);
    server.finish();
}

#[test]
fn slow_reader_gets_four_megabytes_and_the_farewell_behind_them() {
    let pair = Pair::of(&["localhost"]);
    let sender = handler_fn(|cx, token, input| {
        input.clear();
        let bytes: Vec<u8> = (0..4 * MIB).map(|at| common::pattern(5, at, 1)[0]).collect();
        cx.send(token, &bytes);
        cx.close(token);
        Ok(())
    });
    let config = Config { output_limit: 8 * MIB, ..Config::default() };
    let server = tls::start(&pair, config, sender);
    for version in VERSIONS {
        let stream = Client::in_version(&pair.certificate, version).connect(&server.address);
        (&stream).write_all(b"all").unwrap();
        // The farewell, too, has to wait until the client reads.
        server.wait_for_rest(std::time::Duration::from_millis(100), |stats| stats.bytes_sent);
        expect_pattern(&stream, 5, 0, 4 * MIB);
        expect_eof(&stream);
    }
    server.finish();
}

/// Whoever comes too late for a line gets it from the history: in TLS 1.3 a client believes to be inside
/// before the server has looked.
fn with_history() -> Broadcast {
    let topic = TopicConfig { history: 10, ..TopicConfig::default() };
    Broadcast::new(Framing::Lines, 64 * KIB, topic)
}

#[test]
fn stream_that_ends_without_a_farewell_is_cut_and_an_unfinished_line_is_no_message() {
    let pair = Pair::of(&["localhost"]);
    let broadcast = with_history();
    let server = tls::start(&pair, Config::default(), broadcast);
    let client = Client::of(&pair.certificate);
    let listener = client.connect(&server.address);
    let speaker = client.connect(&server.address);
    (&listener).write_all(b"here\n").unwrap();
    expect_bytes(&speaker, b"here\n");
    (&speaker).write_all(b"whole\npart").unwrap();
    expect_bytes(&listener, b"whole\n");
    end_sending(&speaker.socket);
    server.wait_until("the speaker is gone", |stats| stats.open() == 1);
    let other = client.connect(&server.address);
    (&other).write_all(b"next\n").unwrap();
    expect_bytes(&listener, b"next\n");
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::TlsTruncated), 1, "{stats:?}");
}

#[test]
fn certificate_is_chosen_by_the_name_that_is_asked_for() {
    let pairs = ["localhost", "*.example.org", "chat.example.net"].map(|name| Pair::of(&[name]));
    let identities = pairs.iter().map(Pair::identity).collect();
    let tls = TlsServerConfig { identities, ..TlsServerConfig::default() };
    let server = tls::start_with(tls, Config::default(), Echo::new());
    let all: String = pairs.iter().map(|pair| pair.certificate.as_str()).collect();
    for name in ["localhost", "a.example.org", "B.example.org", "chat.example.net"] {
        let stream = Client::of(&all).calling(name).connect(&server.address);
        echo_one(&stream, 6, 10);
    }
    // The first one is shown for a name that none of them has, and to those that ask for an address.
    for name in ["a.b.example.org", "example.org", "127.0.0.1"] {
        let client = Client::of(&all).calling(name);
        let error = client.try_connect(&server.address).map(drop).unwrap_err().to_string();
        assert!(error.contains("localhost"), "{error}");
    }
}

#[test]
fn protocol_is_agreed_on_and_clients_that_name_none_are_let_in() {
    let pair = Pair::of(&["localhost"]);
    let tls = TlsServerConfig {
        identities: vec![pair.identity()],
        protocols: vec!["http/1.1".into(), "http/1.0".into()],
        ..TlsServerConfig::default()
    };
    let server = tls::start_with(tls, Config::default(), Echo::new());
    for (offered, agreed) in [
        (&["h2", "http/1.0", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.0"], Some(b"http/1.0")),
        (&[], None),
    ] {
        let stream = Client::of(&pair.certificate).offering(offered).connect(&server.address);
        assert_eq!(stream.session().alpn_protocol(), agreed);
        echo_one(&stream, 7, 10);
    }
    let client = Client::of(&pair.certificate).offering(&["h2"]);
    let error = client.try_connect(&server.address).map(drop).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn only_clients_of_the_authority_are_let_in() {
    let (pair, authority) = (Pair::of(&["localhost"]), Authority::new("the club"));
    let tls = TlsServerConfig {
        identities: vec![pair.identity()],
        client_authorities: Some(Authorities::from_pem(authority.certificate.as_bytes()).unwrap()),
        ..TlsServerConfig::default()
    };
    let server = tls::start_with(tls, Config::default(), Echo::new());
    let member = Client::showing(&pair.certificate, &authority.sign(&["member"]));
    echo_one(&member.connect(&server.address), 8, 1000);
    let stranger = Authority::new("another club").sign(&["stranger"]);
    for client in [Client::of(&pair.certificate), Client::showing(&pair.certificate, &stranger)] {
        // In TLS 1.3 the client believes to be inside before the server has looked.
        let refused = client.try_connect(&server.address).and_then(|stream| {
            let mut byte = [0];
            (&stream).read(&mut byte).map(drop)
        });
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("Certificate") || error.contains("UnknownCA"), "{error}");
    }
}

#[test]
fn sessions_are_resumed_by_tickets_and_by_none_of_before_a_replacement() {
    let pair = Pair::of(&["localhost"]);
    let config =
        || TlsServerConfig { identities: vec![pair.identity()], ..TlsServerConfig::default() };
    let tls = TlsServer::new(config()).unwrap();
    let server = tls::start_as(&tls, Config::default(), Echo::new());
    for (version, number) in
        VERSIONS.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let client = Client::in_version(&pair.certificate, version);
        let visit = || {
            let stream = client.connect(&server.address);
            // Behind an answer the tickets have come as well.
            echo_one(&stream, 9, 10);
            let session = stream.session();
            assert_eq!(session.protocol_version(), Some(number));
            session.handshake_kind().unwrap()
        };
        assert_eq!([visit(), visit()], [HandshakeKind::Full, HandshakeKind::Resumed]);
        let old = client.connect(&server.address);
        tls.replace(config()).unwrap();
        assert_eq!([visit(), visit()], [HandshakeKind::Full, HandshakeKind::Resumed]);
        // Who was there stays.
        echo_one(&old, 10, 10);
    }
}

#[test]
fn broken_replacement_changes_nothing() {
    let pair = Pair::of(&["localhost"]);
    let config = TlsServerConfig { identities: vec![pair.identity()], ..Default::default() };
    let tls = TlsServer::new(config).unwrap();
    let server = tls::start_as(&tls, Config::default(), Echo::new());
    let error = tls.replace(TlsServerConfig::default()).unwrap_err().to_string();
    assert_eq!(error, "a server needs a certificate");
    echo_one(&Client::of(&pair.certificate).connect(&server.address), 11, 10);
}

/// One record and one write for each subscriber.
#[test]
fn messages_of_one_turn_are_one_record_for_a_subscriber() {
    let pair = Pair::of(&["localhost"]);
    let broadcast = with_history();
    let server = tls::start(&pair, Config::default(), broadcast);
    let client = Client::of(&pair.certificate);
    let (speaker, listener) = (client.connect(&server.address), client.connect(&server.address));
    (&listener).write_all(b"here\n").unwrap();
    expect_bytes(&speaker, b"here\n");
    // Behind the tickets.
    (&speaker).write_all(b"there\n").unwrap();
    expect_bytes(&listener, b"there\n");
    let before = server.stats();
    let lines = [[b'x'; 99].as_slice(), b"\n"].concat().repeat(100);
    (&speaker).write_all(&lines).unwrap();
    let mut head = [0; 5];
    (&listener.socket).read_exact(&mut head).unwrap();
    let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
    // Application data; the contents, their kind, and the tag behind them.
    assert_eq!((head[0], len), (23, lines.len() + 1 + 16));
    let after = server.stats();
    assert_eq!(after.writes - before.writes, 1);
}

#[test]
fn files_that_are_no_pair_are_told() {
    let (one, other) = (Pair::of(&["localhost"]), Pair::of(&["localhost"]));
    let [one_certificate, one_key] = [one.certificate.as_bytes(), one.key.as_bytes()];
    let half = &one_certificate[..one_certificate.len() / 2];
    for (certificate, key, expected) in [
        (one_certificate, other.key.as_bytes(), "the key is that of another certificate"),
        (one_key, one_key, "of the certificate: it has no certificate in PEM"),
        (one_certificate, one_certificate, "of the key: it has no key in PEM"),
        (b"", one_key, "of the certificate: it has no certificate in PEM"),
        (half, one_key, "of the certificate: it is no PEM"),
        (b"\x30\x82\x01\x02", one_key, "of the certificate: it has no certificate in PEM"),
        (
            one_certificate,
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "of the key: it has a password",
        ),
    ] {
        let error = Identity::from_pem(certificate, key).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn certificate_tells_from_when_to_when_it_is_valid() {
    let pair = Pair::changed(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 9, 9);
        params.not_after = rcgen::date_time_ymd(2033, 5, 18);
    });
    let validity = pair.identity().validity().unwrap();
    let day = |at: std::time::SystemTime| {
        at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / (24 * 60 * 60)
    };
    assert_eq!((day(validity.begins), day(validity.ends)), (11_574, 23_148));
}

/// A greeting of TLS 1.3, as a client says it first.
fn hello() -> Vec<u8> {
    let client = Client::of(&Pair::of(&["localhost"]).certificate);
    client.hello()
}

/// The greeting of a client that knows nothing newer than TLS 1.0.
fn old_hello() -> Vec<u8> {
    let body = [&[3, 1][..], &[7; 32], &[0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

/// Its alert comes and then an end of stream: a reset, as unread bytes make one, would destroy it.
#[test]
fn peer_that_speaks_something_else_gets_an_alert_and_an_end() {
    let pair = Pair::of(&["localhost"]);
    let server = tls::start(&pair, Config::default(), Echo::new());
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let old = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80";
    let of_https = [&post[..], &[b'x'; 100_000]].concat();
    let strangers = [
        of_https,
        [&old[..], &[7; 64]].concat(),
        old_hello(),
        b"\x16\x03\x01\xff\xff\x01".to_vec(),
        b"\x17\x03\x03\x00\x05hello".to_vec(),
    ];
    for (number, bytes) in strangers.iter().enumerate() {
        let stream = server.connect();
        (&stream).write_all(bytes).unwrap();
        let answer = tls::read_raw(&stream).unwrap_or_else(|error| panic!("{number}: {error}"));
        // A fatal one, and nothing else.
        assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{number}: {answer:?}");
        end_sending(&stream);
    }
    // Behind a right greeting, whose answer has keys already, the alert is sealed.
    let stream = server.connect();
    (&stream).write_all(&[&hello()[..], b"\x17\x03\x03\x00\x05hello"].concat()).unwrap();
    assert_eq!(tls::read_raw(&stream).unwrap()[0], 22);
    end_sending(&stream);
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::HandshakeFailed, strangers.len() as u64 + 1)]);
}

#[test]
fn peer_that_ends_in_the_handshake_is_let_go_and_one_that_only_looked_is_no_failure() {
    let pair = Pair::of(&["localhost"]);
    let server = tls::start(&pair, Config::default(), Echo::new());
    for bytes in [&hello()[..100], &hello(), b""] {
        let stream = server.connect();
        (&stream).write_all(bytes).unwrap();
        end_sending(&stream);
        tls::read_raw(&stream).unwrap();
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 1), (CloseReason::HandshakeFailed, 2)]);
}

#[test]
fn handshake_that_does_not_end_is_over_at_its_deadline_however_far_it_came() {
    let pair = Pair::of(&["localhost"]);
    let greeting_timeout = std::time::Duration::from_millis(300);
    let config = Config { greeting_timeout, ..Config::default() };
    let server = tls::start(&pair, config, Echo::new());
    let inside = Client::of(&pair.certificate).connect(&server.address);
    let waiting: Vec<_> = [&b""[..], &hello()[..5], &hello()[..100], &hello()]
        .into_iter()
        .map(|bytes| {
            let stream = server.connect();
            (&stream).write_all(bytes).unwrap();
            stream
        })
        .collect();
    for stream in &waiting {
        common::expect_gone(stream);
    }
    echo_one(&inside, 12, 1000);
    let stats = server.finish();
    let reasons = [(CloseReason::PeerClosed, 1), (CloseReason::HandshakeTimeout, 4)];
    assert_eq!(closed(&stats), reasons);
}

/// A record that is no record of this session is the end of it, behind all that came before.
#[test]
fn forged_record_ends_the_connection_with_an_alert() {
    let pair = Pair::of(&["localhost"]);
    let server = tls::start(&pair, Config::default(), Echo::new());
    for version in VERSIONS {
        let stream = Client::in_version(&pair.certificate, version).connect(&server.address);
        (&stream).write_all(b"true").unwrap();
        expect_bytes(&stream, b"true");
        (&stream.socket).write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).unwrap();
        let error = (&stream).read(&mut [0]).unwrap_err().to_string();
        assert!(error.contains("BadRecordMac"), "{error}");
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::TlsError, 2)]);
}

/// A balancer that passes TLS through says first whose connection it is.
#[test]
fn hello_comes_with_the_header_of_a_balancer_in_one_segment_or_cut_anywhere() {
    let pair = Pair::of(&["localhost"]);
    let identities = vec![pair.identity()];
    let tls = TlsServer::new(TlsServerConfig { identities, ..Default::default() }).unwrap();
    let tell = |cx: &mut Context<'_>, token: Token| {
        let (peer, name) = (cx.peer_address(token).unwrap(), cx.introduction(token).server_name);
        cx.send(token, format!("{peer} calls {}\n", name.unwrap()).as_bytes());
    };
    let handler = HandlerFn::new(tell, |cx: &mut Context<'_>, token, (), input| {
        cx.forward(token, input);
        Ok(())
    });
    let server = start_by(Config::default(), handler, move |reactor| {
        let balancers = ProxyProtocol::new(["127.0.0.1".parse().unwrap()]);
        let options = ListenOptions { preface: Some(Arc::new(balancers)), ..Default::default() };
        reactor.listen_layered(&"127.0.0.1:0".parse().unwrap(), &options, tls.wrap()).unwrap()
    });
    let client = Client::of(&pair.certificate);
    let mut count = 0;
    for header in [TEXT_HEADER, BINARY_HEADER] {
        for cut in 1..=header.len() + client.hello().len() {
            let (hello, session) = client.begin();
            let segments = [header, &hello].concat();
            let (first, second) = segments.split_at(cut.min(segments.len()));
            let mut socket = server.connect();
            socket.set_nodelay(true).unwrap();
            socket.write_all(first).unwrap();
            // Two turns of the loop go by.
            server.wait_until("it was accepted", |stats| stats.accepted > count);
            server.stats();
            socket.write_all(second).unwrap();
            let stream = TlsStream::greet(session, socket).unwrap();
            expect_bytes(&stream, b"192.0.2.7:51234 calls localhost\n");
            (&stream).write_all(b"hello").unwrap();
            expect_bytes(&stream, b"hello");
            stream.end_sending();
            expect_eof(&stream);
            count += 1;
        }
    }
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, count)]);
    assert_eq!((stats.greetings, stats.greetings_failed), (count, 0));
}

const TEXT_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
const BINARY_HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb";

/// A message of the handshake may have 64 KiB, and waits in the session until it is whole.
#[test]
fn memory_of_long_hellos_that_are_not_whole_counts() {
    let pair = Pair::of(&["localhost"]);
    let config = Config { buffer_memory: 5 << 19, ..Config::default() };
    let server = tls::start(&pair, config, Echo::new());
    let records: Vec<u8> = (0..15)
        .flat_map(|at| {
            let mut piece = vec![0; 4 * KIB];
            if at == 0 {
                // A hello of 64,000 bytes begins.
                piece[..4].copy_from_slice(&[1, 0, 0xfa, 0]);
            }
            [&[22, 3, 1, 0x10, 0][..], &piece].concat()
        })
        .collect();
    let clients: Vec<_> = (0..48)
        .map(|_| {
            let stream = server.connect();
            // Those that are closed for their memory find that out here, or later.
            let _ = (&stream).write_all(&records);
            stream
        })
        .collect();
    let stats = server.wait_until("some have to go", |it| it.closed(CloseReason::Memory) > 0);
    assert!(stats.closed(CloseReason::Memory) < 48, "{stats}");
    drop(clients);
    server.finish();
}
