//! WebSocket: frames that were generated, and the service over loopback.
//!
//! `FUZZ_INPUTS` says how many streams of frames are generated (default 20,000; 5 million take a few
//! minutes in a release build), `FUZZ_SEED` where they begin.

#![cfg(feature = "websocket")]

mod common;

use std::net::TcpStream;
use std::time::Duration;

use common::variables::number;
use common::websocket::{WebSocket as Client, frame, request, text};
use common::{KIB, MIB, Random, Server, closed, connect, expect_eof, pattern, send, start};
use edgeloop::codec::http::Head;
use edgeloop::codec::websocket::{Assembler, Frames, Kind, Message, WebSocketError, frame_head};
use edgeloop::codec::{Codec, Decoded};
use edgeloop::service::Hosts;
use edgeloop::service::websocket::{WebSocket, WebSocketService, close, send as answer};
use edgeloop::{CloseReason, Config, Context, ProtocolError, Start, Token, TopicConfig, TopicId};

// ---- generated frames ----

#[test]
fn generated_streams_are_decoded_alike_however_they_are_cut() {
    let (inputs, seed) =
        (number("FUZZ_INPUTS").unwrap_or(20_000), number("FUZZ_SEED").unwrap_or(1));
    let mut outcomes = std::collections::BTreeMap::<&str, u64>::new();
    for input in seed..seed + inputs {
        let mut random = Random::new(input);
        let stream = generate(&mut random);
        let whole = decode(&stream, || stream.len());
        let cut = decode(&stream, || 1 + random.below(20));
        assert_eq!(whole, cut, "seed {input}: {stream:?}");
        *outcomes.entry(whole.1.map_or("no error", WebSocketError::name)).or_default() += 1;
    }
    println!("{inputs} streams: {outcomes:?}");
    // Whatever can be wrong was wrong somewhere, or this has tested nothing.
    assert!(inputs < 20_000 || outcomes.len() >= 11, "{outcomes:?}");
}

/// A stream of frames, most of them right, of which some have a byte changed.
fn generate(random: &mut Random) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut is_begun = false;
    for _ in 0..1 + random.below(6) {
        let len = [0, 1, 2, 5, 124, 125, 126, 200, 300][random.below(9)];
        let letters = ["a", "é", "€", "😀"];
        let mut payload: Vec<u8> =
            (0..len).flat_map(|_| letters[random.below(4)].bytes()).collect();
        payload.truncate(len);
        let first = match random.below(12) {
            0 => 0x89,
            1 => 0x8a,
            2 => 0x88,
            kind => {
                let opcode = if is_begun { 0 } else { 1 + kind % 2 };
                let is_final = random.below(2) as u8;
                is_begun = is_final == 0;
                is_final << 7 | opcode as u8
            }
        };
        if first == 0x88 {
            payload = [1000_u16, 1001, 3000, 1005, 0][random.below(5)].to_be_bytes().to_vec();
        } else if first > 0x88 {
            payload.truncate(125);
        }
        stream.extend(frame(first, &payload));
    }
    for _ in 0..random.below(3) {
        let at = random.below(stream.len());
        stream[at] = random.below(256) as u8;
    }
    stream
}

/// The messages of a stream that comes in pieces, and the error that ended it.
fn decode(
    stream: &[u8],
    mut piece: impl FnMut() -> usize,
) -> (Vec<String>, Option<WebSocketError>) {
    let (mut frames, mut assembler) = (Frames::new(400), Assembler::default());
    let (mut found, mut input, mut rest) = (Vec::new(), Vec::new(), stream);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().min(rest.len()));
        (rest, _) = (later, input.extend_from_slice(now));
        loop {
            let len = match frames.decode(&mut input) {
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
                Ok(Some(Decoded { len, message })) => {
                    found.extend(assembler.join(message).map(|message| format!("{message:?}")));
                    len
                }
            };
            assert!((1..=input.len()).contains(&len));
            assert!(assembler.memory() <= 800, "more than the limit is held");
            input.drain(..len);
        }
    }
    (found, None)
}

// ---- the service ----

fn echo(cx: &mut Context<'_>, token: Token, message: Message<'_>) {
    answer(cx, token, message);
}

fn config() -> Config {
    Config { input_limit: 4 * MIB, output_limit: 32 * MIB, ..Config::default() }
}

fn open(server: &Server) -> Client {
    let stream = connect(&server.address);
    send(&stream, request("/any/path", "").as_bytes());
    Client::accepted(stream)
}

#[test]
fn messages_of_every_size_come_back_to_a_client_that_we_did_not_write() {
    let server = start(config(), WebSocket::new(echo));
    let url = format!("ws://{}/", server.socket_address());
    let (mut socket, _) = tungstenite::client(url, connect(&server.address)).unwrap();
    for len in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let bytes = pattern(1, 0, len).to_vec();
        socket.send(tungstenite::Message::binary(bytes.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == bytes, "{len} bytes");
        let letters = "ä€😀x".repeat(len / 10);
        socket.send(tungstenite::Message::text(letters.clone())).unwrap();
        assert!(socket.read().unwrap().into_text().unwrap().as_str() == letters, "{len} of text");
    }
    socket.send(tungstenite::Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), tungstenite::Message::Pong("are you there".into()));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let stats = server.finish();
    assert_eq!(closed(&stats), [(CloseReason::PeerClosed, 1)]);
}

#[test]
fn fragments_become_one_message_and_pings_pass_between_them() {
    let server = start(config(), WebSocket::new(echo));
    let mut socket = open(&server);
    let whole = "ä€😀".repeat(50_000);
    let mut first = 0x01;
    for piece in whole.as_bytes().chunks(7919) {
        send(&socket.stream, &frame(first, piece));
        send(&socket.stream, &frame(0x89, b"between"));
        first = 0x00;
    }
    send(&socket.stream, &frame(0x80, b""));
    for _ in whole.as_bytes().chunks(7919) {
        assert_eq!(socket.next_frame(), Some((0x8a, b"between".to_vec())));
    }
    assert!(socket.next_text() == whole);
    send(&socket.stream, &[text("one"), text("two"), frame(0x88, b"")].concat());
    assert_eq!((socket.next_text(), socket.next_text()), ("one".into(), "two".into()));
    assert_eq!(socket.expect_close(), 0);
    server.finish();
}

/// What clients began and do not end has a limit over all of them.
#[test]
fn fragments_of_all_clients_have_one_budget() {
    let config = Config { input_limit: MIB, buffer_memory: 2 * MIB, ..config() };
    let server = start(config, WebSocket::new(echo));
    let mut clients: Vec<Client> = (0..8).map(|_| open(&server)).collect();
    let mut refused = 0;
    for (count, client) in clients.iter_mut().enumerate() {
        for piece in 0..12 {
            send(&client.stream, &frame(if piece == 0 { 0x02 } else { 0x00 }, &[7; 64 * KIB]));
        }
        send(&client.stream, &frame(0x89, b"all there?"));
        match client.next_frame().expect("no answer") {
            (0x8a, _) => assert!(count < 3, "client {count} has more than is left"),
            (first, told) => {
                assert_eq!((first, &told[..2]), (0x88, &1013_u16.to_be_bytes()[..]));
                refused += 1;
            }
        }
    }
    assert!(refused >= 5, "{refused} refused");
    // What the refused had is free again, and those who hold some may go on.
    send(&clients[0].stream, &frame(0x80, b"!"));
    let (first, payload) = clients[0].next_frame().unwrap();
    assert_eq!((first, payload.len()), (0x82, 12 * 64 * KIB + 1));
    drop(clients);
    let server = {
        server.wait_until("all are gone", |stats| stats.open() == 0);
        server
    };
    let mut client = open(&server);
    client.say("room again");
    assert_eq!(client.next_text(), "room again");
    server.stop();
}

/// One that is refused may take its time to go; what it had is free before.
#[test]
fn fragments_of_a_refused_client_are_dropped_at_once() {
    let config = Config { buffer_memory: MIB, ..config() };
    let server = start(config, WebSocket::new(echo));
    let fragment = |first| frame(first, &[7; 64 * KIB]);
    for (more, code) in [(fragment(0x00).repeat(16), 1013), (frame(0x02, b"new"), 1002)] {
        let mut refused = open(&server);
        let begun = [fragment(0x02), fragment(0x00).repeat(8)].concat();
        send(&refused.stream, &[begun, more].concat());
        assert_eq!(refused.expect_close(), code);
        let mut other = open(&server);
        send(&other.stream, &[fragment(0x02), fragment(0x80)].concat());
        let (first, payload) = other.next_frame().unwrap();
        assert_eq!((first, payload.len()), (0x82, 128 * KIB), "behind {code}");
        drop(refused);
    }
    server.stop();
}

#[test]
fn client_that_does_not_read_its_answers_is_not_served_further() {
    let config = Config { output_limit: MIB, input_limit: 64 * KIB, ..Config::default() };
    let server = start(config, WebSocket::new(echo));
    let socket = open(&server);
    let flood = text(&"x".repeat(1000)).repeat(100);
    server.send_until_blocked(&socket.stream, &flood);
    let stats = server.stats();
    assert!(stats.bytes_waiting() <= MIB as u64, "{stats:?}");
    assert_eq!(stats.open(), 1);
    server.stop();
}

/// A service that lets some paths in, and hears no evil.
struct Picky;

impl WebSocketService for Picky {
    type Session = String;

    fn on_open(&mut self, _: &mut Context<'_>, _: Token, request: &Head<'_>) -> Option<String> {
        request.target.path.strip_prefix("/rooms/").map(Into::into)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        room: &mut String,
        message: Message<'_>,
    ) -> Result<(), ProtocolError> {
        if message == Message::Text("evil") {
            return Err(ProtocolError::malformed("heard evil"));
        }
        answer(cx, token, Message::Text(room));
        Ok(())
    }
}

#[test]
fn service_chooses_paths_and_refuses_messages() {
    let server = start(config(), WebSocket::new(Picky).origins(["https://a.example".to_owned()]));
    let status = |path: &str, more: &str| {
        let mut stream = connect(&server.address);
        send(&stream, request(path, more).as_bytes());
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    assert_eq!(status("/attic", ""), "404");
    assert_eq!(status("/rooms/den", "Origin: https://b.example\r\n"), "403");
    assert_eq!(status("/rooms/den", "Origin: https://a.example\r\n"), "101");
    let stream: TcpStream = connect(&server.address);
    // Pipelined: the first message comes with the request.
    send(&stream, &[request("/rooms/den", "").into_bytes(), text("where am I?")].concat());
    let mut socket = Client::accepted(stream);
    assert_eq!(socket.next_text(), "den");
    socket.say("evil");
    socket.say("not heard");
    assert_eq!(socket.expect_close(), 1008);
    let stats =
        server.wait_until("it is closed", |stats| stats.closed(CloseReason::ProtocolError) == 1);
    assert_eq!(stats.closed(CloseReason::Closed), 2);
    server.stop();
}

#[test]
fn service_answers_only_to_its_names() {
    for (name, status) in [("127.0.0.1", "101"), ("a.example", "421")] {
        let server = start(config(), WebSocket::new(Picky).hosts(Hosts::named([name])));
        let mut stream = connect(&server.address);
        send(&stream, request("/rooms/den", "").as_bytes());
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), status);
        server.stop();
    }
}

/// Says what it is called for, to the client that came last.
#[derive(Default)]
struct Watchful {
    last: Option<Token>,
}

impl Watchful {
    fn say(&self, cx: &mut Context<'_>, text: &str) {
        answer(cx, self.last.expect("a client"), Message::Text(text));
    }
}

impl WebSocketService for Watchful {
    type Session = u32;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token, _: &Head<'_>) -> Option<u32> {
        self.last = Some(token);
        cx.set_timer(token, Duration::ZERO);
        Some(0)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Token,
        messages: &mut u32,
        _: Message<'_>,
    ) -> Result<(), ProtocolError> {
        *messages += 1;
        cx.set_alarm(cx.now());
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: Token, messages: &mut u32) {
        self.say(cx, &format!("on_timer after {messages}"));
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.say(cx, "on_alarm");
        cx.tidy_later();
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.say(cx, "on_tidy");
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, _: Token, messages: &mut u32) {
        self.say(cx, &format!("on_drain after {messages}"));
    }
}

#[test]
fn service_is_told_of_timers_alarms_and_shutdowns_with_its_session() {
    let server = start(config(), WebSocket::new(Watchful::default()));
    let mut socket = open(&server);
    assert_eq!(socket.next_text(), "on_timer after 0");
    socket.say("one");
    assert_eq!(socket.next_text(), "on_alarm");
    assert_eq!(socket.next_text(), "on_tidy");
    server.remote.run(|cx| cx.drain()).unwrap();
    assert_eq!(socket.next_text(), "on_drain after 1");
    assert_eq!(socket.expect_close(), 1001);
    drop(socket);
    server.finish();
}

/// Everybody gets what everybody says.
struct Forum {
    topic: Option<TopicId>,
}

impl WebSocketService for Forum {
    type Session = TopicId;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token, _: &Head<'_>) -> Option<TopicId> {
        let topic = *self.topic.get_or_insert_with(|| cx.create_topic(TopicConfig::default()));
        cx.subscribe(token, topic, Start::Next)?;
        Some(topic)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        topic: &mut TopicId,
        message: Message<'_>,
    ) -> Result<(), ProtocolError> {
        let Message::Text(text) = message else { return Err(ProtocolError::malformed("bytes")) };
        let published = [&frame_head(Kind::Text, text.len())[..], text.as_bytes()].concat();
        assert!(cx.publish_to_all(*topic, Some(token), &published).is_ok());
        if text == "bye" {
            close(cx, token, 3000, "bye");
        }
        Ok(())
    }
}

#[test]
fn nothing_of_a_topic_follows_a_close_frame() {
    let server = start(config(), WebSocket::new(Forum { topic: None }));
    for (last, code) in [
        (frame(0x88, b"\x03\xe8"), 1000),
        (text("bye"), 3000),
        (frame(0x82, b"bytes"), 1008),
        (frame(0xc1, b"x"), 1002),
    ] {
        let mut socket = open(&server);
        socket.say("hello");
        assert_eq!(socket.next_text(), "hello");
        send(&socket.stream, &[text("and again"), last].concat());
        assert_eq!(socket.expect_close(), code);
    }
    server.finish();
}

#[test]
fn shutdown_tells_clients_and_ends() {
    let server = start(config(), WebSocket::new(echo));
    let mut socket = open(&server);
    let fresh = connect(&server.address);
    socket.say("hello");
    assert_eq!(socket.next_text(), "hello");
    server.remote.run(|cx| cx.drain()).unwrap();
    assert_eq!(socket.expect_close(), 1001);
    expect_eof(&fresh);
    drop((socket, fresh));
    server.finish();
}
