//! A server that has more to do than it can says so, refuses what can wait, goes on with what was
//! begun, and is as before once it is over.
//!
//! Most tests say by themselves how much memory is used, so that there is an overload when they say so,
//! and at no other time, however busy the machine is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, connect, expect_bytes, expect_silence, send};
use edgeloop::service::{Echo, Kv, KvConfig};
use edgeloop::{
    Address, CloseReason, Config, Context, Gate, Handler, ListenOptions, OverloadCause, Reactor,
    Remote, Stats,
};

const BOUND: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_millis(120);

/// A server whose turns are long while the test says so.
struct Server {
    address: Address,
    remote: Remote,
    is_busy: Arc<AtomicBool>,
}

/// Overloaded by memory only.
fn config() -> Config {
    Config { overload_turn: None, overload_span: Duration::from_millis(4), ..Config::default() }
}

fn config_of_turns() -> Config {
    Config { overload_turn: Some(BOUND), overload_span: 4 * BOUND, ..Config::default() }
}

/// The handler is made on the loop's own thread.
fn start<H: Handler>(config: Config, handler: impl FnOnce() -> H + Send + 'static) -> Server {
    start_by(move || Reactor::new(config, handler()).unwrap())
}

fn start_by<H: Handler>(make: impl FnOnce() -> Reactor<H> + Send + 'static) -> Server {
    let is_busy = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_busy);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reactor = make();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = reactor.listen(&any, &ListenOptions::default()).unwrap();
        let remote = reactor.remote();
        sender.send((address, remote.clone())).unwrap();
        while !reactor.is_done() {
            if seen.load(Ordering::SeqCst) {
                // With a task to run the poll does not wait.
                let _ = remote.run(|_| ());
                thread::sleep(LONG);
            }
            reactor.turn().unwrap();
        }
    });
    let (address, remote) = receiver.recv_timeout(PATIENCE).expect("the server did not start");
    Server { address, remote, is_busy }
}

impl Server {
    fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Context<'_>) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        self.remote.run(move |cx| drop(sender.send(ask(cx)))).expect("the loop takes no task");
        receiver.recv_timeout(PATIENCE).expect("the loop does not answer")
    }

    fn cause(&self) -> Option<OverloadCause> {
        self.ask(|cx| cx.overload().map(|overload| overload.cause))
    }

    fn stats(&self) -> Stats {
        self.ask(|cx| cx.stats().clone())
    }

    #[track_caller]
    fn wait_for(&self, cause: Option<OverloadCause>) {
        self.wait_until(|server| server.cause() == cause);
    }

    #[track_caller]
    fn wait_until(&self, is_so: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{:?} {:?}", self.cause(), self.stats());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All of the handler's memory is used.
    fn overload(&self) {
        self.ask(|cx| cx.report_memory(100, 100));
        self.wait_for(Some(OverloadCause::Memory));
    }

    fn relieve(&self) {
        self.ask(|cx| cx.report_memory(0, 100));
        self.wait_for(None);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_busy.store(false, Ordering::SeqCst);
        let _ = self.remote.run(|cx| cx.stop());
    }
}

// ---- newcomers ----

#[test]
fn newcomers_wait_in_an_overload_but_for_a_few_and_those_who_are_inside_go_on() {
    // Within the test no second time comes in which some are let in.
    let config = Config { overload_pause: Duration::from_secs(3600), ..config() };
    let server = start(config, Echo::new);
    let inside = server.connect();
    send(&inside, b"before");
    expect_bytes(&inside, b"before");
    server.overload();
    let newcomers: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    newcomers.iter().for_each(|newcomer| send(newcomer, b"here"));
    // Those who were let in are served as anybody.
    newcomers[..128].iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.overloads, stats.overload_rests), (129, 1, 1));
    expect_silence(&newcomers[128], LONG);
    send(&inside, b"during");
    expect_bytes(&inside, b"during");
    server.relieve();
    newcomers[128..].iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
    assert_eq!(server.stats().accepted, 201);
}

/// Turns away as many as it is told.
struct Refuses(u32);

impl Gate for Refuses {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        if self.0 == 0 {
            return Ok(());
        }
        self.0 -= 1;
        Err(CloseReason::Denied)
    }

    fn release(&mut self, _: &Address, _: Instant) {}
}

#[test]
fn newcomers_who_are_turned_away_take_no_place_of_those_who_are_let_in() {
    let config = Config { accept_retry: Duration::from_secs(3600), ..config() };
    let server = start_by(|| {
        let mut reactor = Reactor::new(config, Echo::new()).unwrap();
        reactor.set_gate(Refuses(200));
        reactor
    });
    server.overload();
    let refused: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let newcomers: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    newcomers.iter().for_each(|newcomer| send(newcomer, b"here"));
    newcomers[..128].iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.closed(CloseReason::Denied)), (328, 200));
    assert_eq!(stats.overload_rests, 1, "and then the others wait");
    drop(refused);
}

#[test]
fn newcomers_are_let_in_again_and_again_while_an_overload_lasts() {
    let server = start(config(), Echo::new);
    server.overload();
    // Three times as many as at once.
    let newcomers: Vec<TcpStream> = (0..384).map(|_| server.connect()).collect();
    newcomers.iter().for_each(|newcomer| send(newcomer, b"here"));
    newcomers.iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
    assert!(server.stats().overload_rests >= 2);
    assert_eq!(server.cause(), Some(OverloadCause::Memory));
}

#[test]
fn shutdown_in_an_overload_serves_all_who_wait() {
    let config = Config { overload_pause: Duration::from_secs(3600), ..config() };
    let server = start(config, Echo::new);
    server.overload();
    let newcomers: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    newcomers.iter().for_each(|newcomer| send(newcomer, b"here"));
    server.remote.run(|cx| cx.drain()).unwrap();
    newcomers.iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
}

// ---- turns ----

#[test]
fn turns_that_are_long_are_an_overload_as_long_as_they_are() {
    let server = start(config_of_turns(), Echo::new);
    server.is_busy.store(true, Ordering::SeqCst);
    // A loop that sleeps without a deadline does not look.
    server.remote.run(|_| ()).unwrap();
    server.wait_for(Some(OverloadCause::Turns));
    server.is_busy.store(false, Ordering::SeqCst);
    server.wait_for(None);
}

#[test]
fn overload_that_is_switched_off_never_is() {
    let server = start(Config { overload_turn: None, ..config_of_turns() }, Echo::new);
    server.is_busy.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(server.cause(), None);
    }
    assert_eq!(server.stats().overloads, 0);
}

// ---- memory ----

/// Clients that do not read fill the buffers, and stay.
fn hold_buffers(server: &Server) -> Vec<TcpStream> {
    let other = server.connect();
    let holders: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    for holder in &holders {
        // One that is closed for its memory meanwhile takes no more, either.
        let _ = holder.set_nonblocking(true);
        let piece = [0; 16 << 10];
        while (&mut &*holder).write(&piece).is_ok() {}
        send(&other, b"x");
        expect_bytes(&other, b"x");
    }
    holders
}

#[test]
fn clients_that_hold_the_buffers_do_not_keep_newcomers_out_for_ever() {
    let config = Config {
        buffer_memory: 1 << 20,
        output_limit: 64 << 10,
        read_budget: 4 << 10,
        write_timeout: None,
        overload_newcomers: 1,
        overload_pause: Duration::from_secs(3600),
        ..config()
    };
    let server = start(config, Echo::new);
    let holders = hold_buffers(&server);
    server.wait_until(|server| server.stats().overloads >= 1);
    let newcomers = [server.connect(), server.connect(), server.connect()];
    newcomers.iter().for_each(|newcomer| send(newcomer, b"here"));
    newcomers.iter().for_each(|newcomer| expect_bytes(newcomer, b"here"));
    server.wait_for(None);
    // Those who held less stay: what they hold is up to the low mark, 64 KiB each at the most.
    let stats = server.stats();
    assert!(stats.closed(CloseReason::Memory) > 0 && stats.open() > 8, "{stats:?}");
    drop(holders);
}

#[test]
fn memory_that_is_steadily_used_leaves_a_server_asleep() {
    let server = start(config(), Echo::new);
    server.overload();
    let turns = || server.stats().turns;
    let before = turns();
    thread::sleep(Duration::from_millis(200));
    // That of each question, and what a signal or a late deadline may add.
    let woken = turns() - before;
    assert!(woken <= 10, "{woken}");
}

// ---- kv ----

/// The fields of a reply to `INFO stats`.
fn info(stream: &TcpStream) -> String {
    send(stream, b"INFO stats\r\n");
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.contains("\r\noverloads:") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
    }
    // The end of the bulk.
    reader.read_line(&mut text).unwrap();
    text
}

fn kv() -> Kv {
    let config = KvConfig { max_memory: 1 << 20, ..KvConfig::default() };
    Kv::new(config, &Config::default()).unwrap()
}

#[test]
fn keys_that_fill_the_memory_of_kv_are_an_overload_until_there_are_fewer_and_info_tells() {
    let server = start(config(), kv);
    let client = server.connect();
    let calm = "overloaded:0\r\noverload_cause:none\r\noverloads:0\r\n";
    assert!(info(&client).contains(calm));
    let value = "x".repeat(1 << 10);
    for key in 0..900 {
        send(&client, format!("SET {key} {value}\r\n").as_bytes());
        expect_bytes(&client, b"+OK\r\n");
    }
    server.wait_for(Some(OverloadCause::Memory));
    let busy = "overloaded:1\r\noverload_cause:memory\r\noverloads:1\r\n";
    assert!(info(&client).contains(busy));
    send(&client, b"FLUSHALL\r\n");
    expect_bytes(&client, b"+OK\r\n");
    server.wait_for(None);
    let over = "overloaded:0\r\noverload_cause:none\r\noverloads:1\r\n";
    assert!(info(&client).contains(over));
}

#[test]
fn memory_of_a_client_of_kv_that_has_gone_is_no_overload_any_more() {
    let server = start(Config { overload_memory: Some(40), ..config() }, kv);
    let client = server.connect();
    send(&client, b"MULTI\r\n");
    expect_bytes(&client, b"+OK\r\n");
    // Commands that are queued until its end.
    let value = "x".repeat(1 << 10);
    for key in 0..450 {
        send(&client, format!("SET {key} {value}\r\n").as_bytes());
        expect_bytes(&client, b"+QUEUED\r\n");
    }
    server.wait_for(Some(OverloadCause::Memory));
    // Nobody else asks for anything.
    drop(client);
    server.wait_for(None);
}

// ---- web ----

#[cfg(feature = "http")]
mod web {
    use edgeloop::service::web::{Next, Request, RequestLimit, Response, Router, Web, WebConfig};

    use super::*;

    fn web() -> Web {
        let router = Router::new()
            .get("/", |_, response| {
                response.text("hello");
            })
            .post("/", |_, response| {
                response.text("taken");
            });
        router.serve(WebConfig::default()).unwrap()
    }

    /// The status line and the headers of the next answer; its body is read, too.
    fn answer(reader: &mut BufReader<&TcpStream>) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let length = head.split("Content-Length: ").nth(1).unwrap();
        let length: usize = length.split_once("\r\n").unwrap().0.parse().unwrap();
        expect_body(reader, length);
        head
    }

    fn expect_body(reader: &mut BufReader<&TcpStream>, length: usize) {
        let mut body = vec![0; length];
        std::io::Read::read_exact(reader, &mut body).unwrap();
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn new_connections_are_answered_503_in_an_overload_and_served_afterwards_on_the_same_one() {
        let server = start(config(), web);
        let inside = server.connect();
        let mut inside_answers = BufReader::new(&inside);
        send(&inside, GET);
        assert!(answer(&mut inside_answers).starts_with("HTTP/1.1 200 "));
        // One that has not asked yet counts as new.
        let early = server.connect();
        server.overload();
        let late = server.connect();
        for newcomer in [&early, &late] {
            let mut answers = BufReader::new(newcomer);
            for request in [GET, b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n"] {
                send(newcomer, request);
                let head = answer(&mut answers);
                assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
                assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
                assert!(!head.contains("Connection: close"), "{head}");
            }
        }
        send(&inside, GET);
        assert!(answer(&mut inside_answers).starts_with("HTTP/1.1 200 "));
        assert_eq!(server.stats().shed, 4);
        server.relieve();
        for newcomer in [&early, &late] {
            send(newcomer, GET);
            assert!(answer(&mut BufReader::new(newcomer)).starts_with("HTTP/1.1 200 "));
        }
    }

    #[test]
    fn layers_are_asked_about_a_request_that_is_put_off() {
        let limited = || {
            // Within the test no second token comes back.
            let limit = RequestLimit::new(1, 3, 8);
            let router = Router::new().get("/", |_, response| {
                response.text("hello");
            });
            let sees = |request: &Request<'_>, response: &mut Response, next: Next<'_>| {
                next.run(request, response);
                response.header("X-Seen", "yes");
            };
            router.wrap(sees).wrap(limit).serve(WebConfig::default()).unwrap()
        };
        let server = start(config(), limited);
        server.overload();
        let client = server.connect();
        let mut answers = BufReader::new(&client);
        send(&client, &GET.repeat(5));
        for status in [503, 503, 503, 429, 429] {
            let head = answer(&mut answers);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nRetry-After: "), "{head}");
            assert!(head.contains("\r\nX-Seen: yes\r\n"), "{head}");
        }
        assert_eq!(server.stats().shed, 3);
    }

    #[test]
    fn body_of_a_request_that_is_put_off_is_passed_over() {
        let server = start(config(), web);
        server.overload();
        let client = server.connect();
        let mut answers = BufReader::new(&client);
        send(&client, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
        assert!(answer(&mut answers).starts_with("HTTP/1.1 503 "));
        server.relieve();
        // The body of the first, then a request.
        send(&client, b"12345POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345");
        assert!(answer(&mut answers).starts_with("HTTP/1.1 200 "));
    }
}

// ---- chat ----

#[cfg(feature = "websocket")]
mod chat {
    use edgeloop::service::chat::{Chat, ChatOptions};

    use super::*;

    fn chat() -> Chat {
        Chat::new(ChatOptions::default())
    }

    struct Client {
        stream: BufReader<TcpStream>,
    }

    impl Client {
        fn new(server: &Server) -> Client {
            Client { stream: BufReader::new(server.connect()) }
        }

        fn say(&mut self, line: &str) {
            send(self.stream.get_ref(), format!("{line}\n").as_bytes());
        }

        #[track_caller]
        fn expect(&mut self, part: &str) {
            let mut line = String::new();
            while !line.contains(part) {
                line.clear();
                assert!(self.stream.read_line(&mut line).unwrap() > 0, "no line with {part:?}");
            }
        }
    }

    const REFUSAL: &str = "! the server has too much to do; try again in 1 seconds";

    #[test]
    fn joins_and_lists_are_refused_in_an_overload_and_members_go_on_speaking() {
        let server = start(config(), chat);
        let (mut anna, mut ben) = (Client::new(&server), Client::new(&server));
        for client in [&mut anna, &mut ben] {
            client.say("/join lobby");
            client.expect("joins as");
        }
        server.overload();
        let mut late = Client::new(&server);
        late.say("/join lobby");
        late.expect(REFUSAL);
        for command in ["/join elsewhere", "/who", "/rooms"] {
            anna.say(command);
            anna.expect(REFUSAL);
        }
        // What costs little goes on, and so does the switch to a room that one is in.
        anna.say("/nick anna");
        anna.say("/join lobby");
        anna.expect("you are in lobby");
        anna.say("still here");
        ben.expect("anna: still here");
        assert_eq!(server.stats().shed, 4);
        server.relieve();
        late.say("/join lobby");
        late.expect("joins as");
        anna.say("/rooms");
        anna.expect("lobby");
    }

    #[test]
    fn upgrade_is_answered_503_in_an_overload_and_the_page_is_served() {
        let server = start(config(), chat);
        server.overload();
        let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut client = Client::new(&server);
        client.say(upgrade);
        client.expect("HTTP/1.1 503 ");
        client.expect("Retry-After: 1\r\n");
        let mut reader = Client::new(&server);
        reader.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        reader.expect("HTTP/1.1 200 ");
        server.relieve();
        let mut client = Client::new(&server);
        client.say(upgrade);
        client.expect("HTTP/1.1 101 ");
    }
}

// ---- the program ----

#[cfg(feature = "cli")]
#[test]
fn program_logs_a_line_when_an_overload_begins_and_one_when_it_ends() {
    use common::program::Program;
    use common::{expect_bytes, pattern, send, send_until_blocked};

    let program = Program::start(
        "echo --buffer-memory 2MiB --overload-memory 10% --overload-span 100ms --overload-turn off",
    );
    let (greedy, other) = (program.connect(), program.connect());
    // What it does not read fills more than a tenth of the buffers, and stays there.
    send_until_blocked(&greedy, pattern(1, 0, 1 << 20), || {
        send(&other, b"x");
        expect_bytes(&other, b"x");
    });
    let line = program.expect_line(" overloaded: ");
    for part in ["WARN", "much of the memory is used", "cause=memory", "memory_percent="] {
        assert!(line.contains(part), "{line}");
    }
    drop(greedy);
    let line = program.expect_line("no longer overloaded, after ");
    for part in ["WARN", "cause=memory", "lasted_ms=", "shed=0", "rests=0"] {
        assert!(line.contains(part), "{line}");
    }
}
