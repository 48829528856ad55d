//! Who may come in: passwords and users of `kv`, tokens of `chat` and `web`. What Redis answers in the same
//! places is compared in `tests/kv_against_redis.rs`.

#![cfg(all(feature = "testing", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::kv::{Client, kv_with, request as resp};
use common::websocket::{WebSocket, request, text};
use common::{MIB, Server, connect, expect_gone, send, start};
use edgeloop::service::chat::{Chat, ChatOptions, check_tokens};
use edgeloop::service::identity::Tokens;
use edgeloop::service::web::{Router, TokenCheck, WebConfig};
use edgeloop::service::{Kv, KvConfig, Users};
use edgeloop::testing::Harness;
use edgeloop::{CloseReason, Config};
use hmac::{Hmac, KeyInit, Mac};

// ---- kv ----

const USERS: &str = "user default on >open-sesame ~* &* +@all\n\
    user alice on >alice-secret ~a:* %R~r:* &news.* +@all -@dangerous -select\n\
    user carl off >carl-secret ~* +@all\n\
    user guest on nopass +ping +acl|whoami\n";

fn guarded(users: &str) -> Server {
    let (users, _) = Users::parse(users).unwrap();
    kv_with(KvConfig { users, ..KvConfig::default() })
}

const STRANGER: &str = "-NOAUTH Authentication required.";
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

#[test]
fn client_without_a_password_may_only_say_who_it_is() {
    let config = KvConfig { users: Users::with_password(b"open-sesame"), ..KvConfig::default() };
    let server = kv_with(config);
    let mut client = Client::new(&server);
    for command in ["GET k", "SET k v", "PING", "MULTI", "SUBSCRIBE c", "COMMAND", "CLIENT LIST"] {
        assert_eq!(client.ask(command), STRANGER, "{command}");
    }
    assert!(client.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called with"));
    assert_eq!(client.ask("AUTH open-sesame"), "+OK");
    assert_eq!(client.ask("SET k v"), "+OK");
    assert_eq!(client.ask("RESET"), "+RESET");
    assert_eq!(client.ask("GET k"), STRANGER, "it has to say so again");
    let mut other = Client::new(&server);
    let hello = other.list("HELLO 3 AUTH default open-sesame SETNAME other");
    assert!(hello.contains(&"proto".to_owned()), "{hello:?}");
    assert_eq!(other.bulk("GET k"), "v");
    let mut wrong = Client::new(&server);
    assert_eq!(wrong.ask("AUTH default open-sesam"), WRONG);
    server.stop();
}

#[test]
fn request_of_a_client_without_a_password_is_short() {
    let server = guarded(USERS);
    let long = "x".repeat(16 << 10);
    let mut client = Client::new(&server);
    send(&client.stream, &resp(&["GET", &long]));
    assert_eq!(client.line(), STRANGER);
    send(&client.stream, &resp(&["GET", &format!("{long}x")]));
    assert_eq!(client.line(), "-ERR Protocol error: unauthenticated bulk length");
    expect_gone(&client.stream);
    let mut client = Client::new(&server);
    send(&client.stream, b"*11\r\n");
    assert_eq!(client.line(), "-ERR Protocol error: unauthenticated multibulk length");
    let mut client = Client::new(&server);
    assert_eq!(client.ask("AUTH open-sesame"), "+OK");
    send(&client.stream, &resp(&["SET", "k", &format!("{long}x")]));
    assert_eq!(client.line(), "+OK");
    send(&client.stream, &resp(&[&["MGET"][..], &["k"; 20]].concat()));
    assert_eq!(client.line(), "*20");
    server.stop();
}

#[test]
fn user_may_do_what_its_rules_say_and_is_told_what_it_may_not() {
    let server = guarded(USERS);
    let mut alice = Client::new(&server);
    assert_eq!(alice.ask("AUTH alice alice-secret"), "+OK");
    assert_eq!(alice.bulk("ACL WHOAMI"), "alice");
    for permitted in ["SET a:1 v", "MSET a:2 x a:3 y", "COPY a:1 a:4"] {
        assert!(!alice.ask(permitted).starts_with('-'), "{permitted}");
    }
    let no_key = "-NOPERM this user has no permissions to access one of the keys used as arguments";
    for denied in ["GET b", "SET r:1 x", "MSET a:1 x b y", "COPY a:1 r:1", "WATCH b", "TYPE b"] {
        assert_eq!(alice.ask(denied), no_key, "{denied}");
    }
    assert_eq!(alice.ask("GET r:1"), "$-1", "reading is permitted");
    let no_channel =
        "-NOPERM this user has no permissions to access one of the channels used as arguments";
    for denied in ["PUBLISH x m", "SPUBLISH x m", "SUBSCRIBE news.a x", "PSUBSCRIBE news.a*"] {
        assert_eq!(alice.ask(denied), no_channel, "{denied}");
    }
    assert_eq!(alice.ask("PUBLISH news.a m"), ":0");
    let denied = |name| format!("-NOPERM this user has no permissions to run the '{name}' command");
    for (command, name) in [
        ("FLUSHALL", "flushall"),
        ("KEYS *", "keys"),
        ("CONFIG GET *", "config|get"),
        ("CLIENT LIST", "client|list"),
        ("SELECT 1", "select"),
    ] {
        assert_eq!(alice.ask(command), denied(name));
    }
    assert_eq!(alice.ask("AUTH guest whatever"), "+OK");
    assert_eq!(alice.ask("GET a:1"), denied("get"));
    assert_eq!(alice.ask("AUTH carl carl-secret"), WRONG, "that user is off");
    server.stop();
}

#[test]
fn transaction_has_nothing_that_its_user_may_not() {
    let server = guarded(USERS);
    let mut alice = Client::new(&server);
    assert_eq!(alice.ask("AUTH alice alice-secret"), "+OK");
    assert_eq!(alice.ask("MULTI"), "+OK");
    assert_eq!(alice.ask("SET a:1 v"), "+QUEUED");
    assert!(alice.ask("SET b v").starts_with("-NOPERM "));
    assert!(alice.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(alice.ask("GET a:1"), "$-1", "none of it was carried out");
    // What was queued as one user is not carried out as another who may not.
    assert_eq!(alice.ask("MULTI"), "+OK");
    for queued in ["SET a:1 v", "AUTH guest x", "SET a:2 v"] {
        assert_eq!(alice.ask(queued), "+QUEUED");
    }
    let replies = alice.list("EXEC");
    assert_eq!(replies[..2], ["OK", "OK"]);
    assert!(replies[2].starts_with("-NOPERM ACLs rules changed between"), "{replies:?}");
    server.stop();
}

#[test]
fn client_list_shows_users_and_no_secret_and_kill_knows_them() {
    let server = guarded(USERS);
    let mut alice = Client::new(&server);
    assert_eq!(alice.ask("AUTH alice alice-secret"), "+OK");
    let mut admin = Client::new(&server);
    assert_eq!(admin.ask("AUTH open-sesame"), "+OK");
    let list = admin.bulk("CLIENT LIST");
    assert!(list.contains(" user=alice ") && list.contains(" user=default "), "{list}");
    assert!(!list.contains("secret") && !list.contains("sesame"), "{list}");
    assert_eq!(admin.list("CONFIG GET *pass*"), [""; 0]);
    assert_eq!(admin.list("ACL USERS"), ["alice", "carl", "default", "guest"]);
    assert_eq!(admin.ask("CLIENT KILL USER nobody"), "-ERR No such user 'nobody'");
    assert_eq!(admin.ask("CLIENT KILL USER alice"), ":1");
    expect_gone(&alice.stream);
    server.stop();
}

#[test]
fn wrong_passwords_of_one_connection_take_a_second_each_and_nobody_elses_time() {
    let config = Config { output_limit: 4 * MIB, ..Config::default() };
    let users = Users::with_password(b"open-sesame");
    let kv = Kv::new(KvConfig { users, ..KvConfig::default() }, &config).unwrap();
    let mut server = Harness::new(config, kv).unwrap();
    let guesser = server.connect();
    guesser.send("AUTH wrong\r\n".repeat(5).as_bytes());
    server.run_until_idle();
    let answers = |bytes: Vec<u8>| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(answers(guesser.read()), 1, "whatever it pipelines");
    let honest = server.connect();
    honest.send(b"AUTH open-sesame\r\nSET k v\r\n");
    server.run_until_idle();
    assert_eq!(honest.read(), b"+OK\r\n+OK\r\n");
    let mut guesses = 1;
    for _ in 0..40 {
        server.advance(Duration::from_millis(100));
        guesses += answers(guesser.read());
    }
    assert!((4..=5).contains(&guesses), "{guesses} guesses in four seconds");
    server.advance(Duration::from_secs(5));
    guesser.send(b"AUTH open-sesame\r\nGET k\r\n");
    server.advance(Duration::from_secs(2));
    assert!(guesser.read().ends_with(b"+OK\r\n$1\r\nv\r\n"), "it is not shut out");
}

#[test]
fn users_of_the_page_are_understood() {
    let page = include_str!("../docs/reference/kv-commands.md");
    let (_, section) = page.split_once("\n## Users\n").unwrap();
    let (_, users) = section.split_once("```text\n").unwrap();
    let (users, _) = users.split_once("```").unwrap();
    let (users, remarks) = Users::parse(users).unwrap();
    assert_eq!(format!("{users:?}"), r#"Users(["admin", "app", "default"])"#);
    assert!(remarks.is_empty(), "{remarks:?}");
}

#[test]
fn transaction_has_one_guess() {
    let server = guarded(USERS);
    let mut guest = Client::new(&server);
    assert_eq!(guest.ask("AUTH alice alice-secret"), "+OK");
    assert_eq!(guest.ask("MULTI"), "+OK");
    for guess in ["AUTH default wrong", "AUTH open-sesame", "HELLO 2 AUTH default open-sesame"] {
        assert_eq!(guest.ask(guess), "+QUEUED");
    }
    assert_eq!(guest.list("EXEC"), [WRONG; 3]);
    server.stop();
}

#[test]
fn comparing_names_with_patterns_has_an_end() {
    let patterns: String = (0..200).map(|at| format!("~*x{at:03}*y*z ")).collect();
    let server = guarded(&format!("user default reset on nopass {patterns}+@all\n"));
    let mut client = Client::new(&server);
    let many = "x".repeat(100);
    let keys = vec![many.as_str(); 5000];
    send(&client.stream, &resp(&[&["MGET"][..], &keys].concat()));
    assert!(client.line().starts_with("-NOPERM "), "the first key is none of its own");
    let keys = vec!["x199yz"; 50_000];
    send(&client.stream, &resp(&[&["MGET"][..], &keys].concat()));
    assert!(client.line().starts_with("-ERR it takes too long to compare"));
    server.stop();
}

// ---- tokens ----

const ANNA: &str = "7Kq2mVw0c9TzXfUe1sYbLg";
const BOB: &str = "nE4hJp8rD3vQyBt6kWxZ0A";
const CARLA: &str = "iM5oGa1uF7sLcPz2jRdN9C";
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn tokens() -> Tokens {
    let list =
        format!("# who\n{ANNA} anna operator *\n{BOB} bob viewer lobby,den\n{CARLA} carla\n");
    let tokens = Tokens::default().with_list(&list).unwrap();
    tokens.with_keys(str::from_utf8(KEY).unwrap()).unwrap()
}

/// A token of these claims, which hold for so many seconds.
fn signed(claims: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"exp\":{},{claims}}}", now + seconds);
    let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap();
    mac.update(signed.as_bytes());
    let signature = mac.finalize().into_bytes();
    format!("{signed}.{}", data_encoding::BASE64URL_NOPAD.encode(&signature))
}

fn chat() -> Server {
    check_tokens(&tokens()).unwrap();
    let options = ChatOptions { tokens: Some(tokens()), rate: 100_000, ..ChatOptions::default() };
    options.check(&Config::default()).unwrap();
    start(Config::default(), Chat::new(options))
}

struct Lines {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Lines {
    fn new(server: &Server) -> Lines {
        let stream = server.connect();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Lines { stream, reader }
    }

    fn by(server: &Server, token: &str) -> Lines {
        let mut lines = Lines::new(server);
        let welcome = lines.ask(&format!("/token {token}"));
        assert!(welcome.starts_with("* welcome, "), "{welcome}");
        lines
    }

    fn ask(&mut self, line: &str) -> String {
        send(&self.stream, format!("{line}\n").as_bytes());
        self.next()
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn line_client_says_who_it_is_before_anything_else() {
    let server = chat();
    let mut lines = Lines::new(&server);
    for line in ["hello", "/join lobby", "/nick anna", "/rooms", "/who"] {
        assert_eq!(lines.ask(line), "! a token is needed: /token TOKEN", "{line}");
    }
    assert_eq!(lines.ask("/ping x"), "* pong x");
    assert!(lines.ask(&format!("/token {ANNA}")).starts_with("* welcome, anna; "));
    assert!(lines.ask("/join lobby").starts_with("* you are in lobby as operator; "));
    let mut wrong = Lines::new(&server);
    assert_eq!(wrong.ask(&format!("/token {ANNA}x")), "* the token is not valid");
    assert_eq!(wrong.next(), "");
    server.wait_until("it is closed for that", |it| it.closed(CloseReason::Unauthorized) == 1);
    server.stop();
}

#[test]
fn name_rooms_and_role_are_those_of_the_token() {
    let server = chat();
    let mut bob = Lines::by(&server, BOB);
    assert_eq!(bob.ask("/nick anna"), "! your name comes from your token");
    assert_eq!(bob.ask("/join attic"), "! your token does not open attic");
    assert!(
        bob.ask("/join den").starts_with("* you are in den as viewer; "),
        "first, and a viewer"
    );
    assert_eq!(bob.next(), "[den 1] * bob joins as viewer");
    assert_eq!(bob.ask("hello"), "! viewers cannot speak in this room");
    let mut anna = Lines::by(&server, ANNA);
    assert!(anna.ask("/join den").starts_with("* you are in den as operator; "));
    for _ in 0..2 {
        assert!(anna.next().starts_with("[den "));
    }
    assert_eq!(anna.ask("/role bob speaker"), "! that role comes from a token");
    assert_eq!(bob.next(), "[den 2] * anna joins as operator");
    let mut hidden = Lines::by(&server, CARLA);
    assert!(hidden.ask("/join attic").starts_with("* you are in attic as operator; "));
    assert_eq!(bob.ask("/rooms"), "* 1 rooms", "only those that it may enter");
    // The last operator leaves, and nobody of a fixed role becomes one.
    assert_eq!(bob.next(), "*   den (2)");
    drop(anna);
    assert_eq!(bob.next(), "[den 3] * anna leaves");
    assert_eq!(bob.ask("/ping x"), "* pong x");
    server.stop();
}

#[test]
fn room_that_looks_like_a_permitted_one_is_that_one() {
    let server = chat();
    let mut carla = Lines::by(&server, CARLA);
    // With a Cyrillic letter.
    assert!(carla.ask("/join d\u{435}n").starts_with("* you are in d\u{435}n as operator; "));
    let mut bob = Lines::by(&server, BOB);
    assert!(bob.ask("/join den").starts_with("* you are in d\u{435}n as viewer; "));
    server.stop();
}

#[test]
fn same_token_comes_in_elsewhere_and_its_first_connection_is_told() {
    let server = chat();
    let mut first = Lines::by(&server, ANNA);
    assert!(first.ask("/join lobby").starts_with("* you are in lobby "));
    assert_eq!(first.next(), "[lobby 1] * anna joins as operator");
    let mut socket = by_header(&server, &format!("Authorization: Bearer {ANNA}\r\n"));
    let welcome = socket.next_text();
    assert!(welcome.contains(r#""name":"anna","name_fixed":true"#), "{welcome}");
    assert_eq!(first.next(), "* the same name came in elsewhere");
    // Whoever comes next finds the room without it.
    send(&socket.stream, &text("/join lobby"));
    assert!(socket.next_text().contains(r#""count":0"#));
    server.stop();
}

fn by_header(server: &Server, header: &str) -> WebSocket {
    let stream = server.connect();
    send(&stream, request("/ws", header).as_bytes());
    WebSocket::accepted(stream)
}

#[test]
fn websocket_has_its_token_in_a_header_the_query_or_a_cookie() {
    let server = chat();
    let token = signed(r#""name":"dora","role":"speaker","rooms":["lobby"]"#, 3600);
    for (path, header) in [
        ("/ws".to_owned(), format!("Authorization: Bearer {token}\r\n")),
        (
            "/ws".to_owned(),
            format!("Authorization: bearer {token}\r\nCookie: edgeloop_token=x\r\n"),
        ),
        (format!("/ws?a=b&token={token}"), String::new()),
        (format!("/ws?%74oken={token}"), "Cookie: edgeloop_token=stale\r\n".into()),
        ("/ws".to_owned(), format!("Cookie: a=b; edgeloop_token={token}; c=d\r\n")),
    ] {
        let stream = server.connect();
        send(&stream, request(&path, &header).as_bytes());
        let mut socket = WebSocket::accepted(stream);
        assert!(socket.next_text().contains(r#""name":"dora""#), "{path} {header}");
    }
    for (path, header, error) in [
        ("/ws".to_owned(), String::new(), "a token is needed"),
        ("/".to_owned(), String::new(), "a token is needed"),
        ("/ws".to_owned(), "Authorization: Basic eDp5\r\n".into(), "a token is needed"),
        ("/ws".to_owned(), format!("Authorization: Bearer {token}x\r\n"), "the token is not valid"),
        (format!("/ws?token={token}&token={token}"), String::new(), "there is more than one token"),
        (
            format!("/ws?token={}", signed(r#""name":"two words""#, 9)),
            String::new(),
            "the token is not valid",
        ),
        (
            format!("/ws?token={}", signed(r#""name":"d","role":"king""#, 9)),
            String::new(),
            "the token is not valid",
        ),
        (
            format!("/ws?token={}", signed(r#""name":"d""#, 0)),
            String::new(),
            "the token has expired",
        ),
    ] {
        let mut stream = server.connect();
        send(&stream, request(&path, &header).as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{path}: {answer}");
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer realm=\"edgeloop\""), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{error}\n")), "{path}: {answer}");
    }
    let stats = server.stop();
    assert_eq!(stats.closed(CloseReason::Unauthorized), 8);
}

#[test]
fn page_by_a_token_in_its_address_comes_with_a_cookie_that_scripts_do_not_see() {
    let server = chat();
    let token = signed(r#""name":"dora""#, 3600);
    let ask = |target: &str, header: &str| {
        let mut stream = server.connect();
        send(&stream, format!("GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n").as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split("\r\n\r\n").next().unwrap().to_owned()
    };
    let head = ask(&format!("/?token={token}"), "");
    let cookie = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).expect(&head);
    let rest =
        cookie.strip_prefix(&format!("edgeloop_token={token}; Path=/; HttpOnly; ")).expect(cookie);
    assert!(rest.starts_with("SameSite=Lax; Max-Age=3"), "{cookie}");
    let head = ask("/", &format!("Cookie: edgeloop_token={token}\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("Set-Cookie"), "{head}");
    server.stop();
}

#[test]
fn connection_ends_when_its_token_expires_unless_it_shows_a_later_one() {
    let server = chat();
    let mut brief = Lines::new(&server);
    // On a machine that stands still it has expired before it is read, and then the end is the same.
    send(&brief.stream, format!("/token {}\n", signed(r#""sub":"brief""#, 2)).as_bytes());
    let mut last = brief.next();
    while last != "* the token has expired" {
        assert!(last.starts_with("* welcome, brief; "), "{last:?}");
        last = brief.next();
    }
    assert_eq!(brief.next(), "");
    server.wait_until("it is closed for that", |it| it.closed(CloseReason::Unauthorized) == 1);
    let mut lasting = Lines::by(&server, &signed(r#""name":"eva","role":"speaker""#, 3600));
    let again = format!("/token {}", signed(r#""name":"eva","role":"speaker""#, 7200));
    assert_eq!(lasting.ask(&again), "* you are now called eva");
    for other in [signed(r#""name":"eva","role":"operator""#, 7200), ANNA.into(), "x".repeat(20)] {
        let refused = lasting.ask(&format!("/token {other}"));
        assert_eq!(refused, "! the token does not stand for the same");
    }
    server.stop();
}

#[test]
fn line_client_without_a_token_has_the_time_of_a_first_line() {
    let options = ChatOptions {
        tokens: Some(tokens()),
        first_line_timeout: Some(Duration::from_millis(300)),
        ..ChatOptions::default()
    };
    let server = start(Config::default(), Chat::new(options));
    let mut lines = Lines::new(&server);
    send(&lines.stream, b"hello\n");
    let first = lines.next();
    if !first.is_empty() {
        assert_eq!(first, "! a token is needed: /token TOKEN");
        assert_eq!(lines.next(), "* no token came in time");
        server.wait_until("closed for that", |it| it.closed(CloseReason::Unauthorized) == 1);
    }
    server.stop();
}

#[test]
fn web_lets_in_who_has_a_token_and_reads_no_body_of_others() {
    let router = Router::new()
        .get("/healthz", |_, response| {
            response.text("ok\n");
        })
        .post("/notes", |request, response| {
            response.bytes(request.body);
        })
        .wrap(TokenCheck::new(tokens()).except("/healthz"));
    let server = start(Config::default(), router.serve(WebConfig::default()).unwrap());
    let ask = |request: &str| {
        let mut stream = connect(&server.address);
        send(&stream, request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let post = |target: &str, header: &str| {
        ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: 2\r\n\r\nhi"
        ))
    };
    let token = signed(r#""name":"dora""#, 3600);
    assert!(post("/notes", &format!("Authorization: Bearer {token}\r\n")).ends_with("\r\n\r\nhi"));
    assert!(post(&format!("/notes?token={ANNA}"), "").ends_with("\r\n\r\nhi"));
    for target in ["/notes", "/nothing", "/n%6ftes", "//healthz", "/healthz/"] {
        let answer = post(target, "");
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{target}: {answer}");
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer realm=\"edgeloop\"\r\n"), "{answer}");
    }
    // Before the body has come.
    let waiting =
        ask("POST /notes HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert!(waiting.starts_with("HTTP/1.1 401 "), "{waiting}");
    let healthy = ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(healthy.ends_with("ok\n"), "{healthy}");
    server.stop();
}

// ---- the program ----

#[cfg(feature = "cli")]
mod program {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use crate::common::directory::Directory;
    use crate::common::program::{PROGRAM, Program};

    fn file(directory: &Directory, name: &str, text: &str) -> String {
        let path = directory.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn wrong_line_of_a_file_with_secrets_is_told_in_one_line_without_the_secret() {
        let directory = Directory::new();
        for (options, text, told) in [
            ("kv --password-file", "", "1: the password is empty"),
            (
                "kv --password-file",
                "s3cr3tx\n",
                "1: the password has 7 bytes; it must have at least 8",
            ),
            ("kv --password-file", "s3cr3t-long\nanother\n", "2: the password is one line"),
            ("kv --acl-file", "user a on s3cr3t-long\n", "1: its word 4 is no rule"),
            ("kv --acl-file", "user a on >\n", "1: its word 4 is an empty password"),
            ("kv --acl-file", "user a on\n\nuser a off\n", "3: there is a user a already"),
            ("kv --acl-file", "# none\nuser a on\n", "1: a line is `user NAME RULE …`"),
            ("kv --acl-file", "user a (+get ~x)\n", "1: selectors in parentheses"),
            ("kv --acl-file", "user a +lpush\n", "1: +lpush: there is no such command here"),
            ("kv --acl-file", "user a +s3cr3t-long\n", "1: its word 3: there is no such command"),
            ("kv --acl-file", "user a -@s3cr3t-long\n", "1: its word 3: there is no such category"),
            ("kv --acl-file", "user a ~* ~x\n", "1: ~x has no effect behind allkeys"),
            ("chat --token-file", "# none\n", "1: there is no token"),
            ("chat --token-file", "\ns3cr3t anna\n", "2: its token has 6 characters"),
            ("chat --token-file", "s3cr3t-s3cr3t-s3cr3t\n", "1: a token needs a name behind it"),
            (
                "chat --token-file",
                "s3cr3t-s3cr3t-s3cr3t a king\n",
                "1: a role is viewer, speaker or",
            ),
            ("chat --token-file", "s3cr3t-s3cr3t-s3cr3t a/b\n", "1: its name is none of a chat"),
            (
                "chat --token-file",
                "anna-who-is-known s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t\n",
                "1: its name is none of a chat",
            ),
            (
                "chat --token-file",
                "anna-who-is-known anna - s3cr3t.s3cr3t/s3cr3t\n",
                "1: its list of rooms has",
            ),
            (
                "web --token-file",
                &format!("anna-who-is-known {}\n", "s3cr3t".repeat(30)),
                "1: its name is empty, too long",
            ),
            (
                "web --token-file",
                "s3cr3t-s3cr3t-s3cr3t a\ns3cr3t-s3cr3t-s3cr3t b\n",
                "2: its token stands in line 1",
            ),
            (
                "web --token-key-file",
                "\ns3cr3t\n",
                "2: the key has 6 bytes; it must have at least 32",
            ),
            ("web --token-key-file", "", "1: there is no key"),
        ] {
            let path = file(&directory, "secrets", text);
            let output =
                Command::new(PROGRAM).args(options.split(' ')).arg(&path).output().unwrap();
            let line = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
            let option = options.split(' ').next_back().unwrap();
            assert!(line.starts_with(&format!("edgeloop: {option}: {path}:{told}")), "{line}");
            assert!(!line.contains("s3cr3t"), "{line}");
        }
        for options in
            ["kv --password-file", "kv --acl-file", "chat --token-file", "web --token-key-file"]
        {
            let missing = directory.path("missing");
            let output =
                Command::new(PROGRAM).args(options.split(' ')).arg(&missing).output().unwrap();
            let line = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{line}");
            assert!(line.contains("missing: No such file"), "{line}");
        }
    }

    #[test]
    fn file_that_others_may_read_and_short_passwords_of_users_are_warned_of() {
        let directory = Directory::new();
        let path = file(&directory, "users", "user default off\nuser a on >short ~* +@all\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let program = Program::start(&format!("kv --acl-file {path}"));
        let lines = program.log_before();
        let warned = |part: &str| lines.iter().any(|line| line.contains(part));
        assert!(warned(&format!("{path} has secrets, and others may read")), "{lines:?}");
        assert!(warned(&format!("{path}:2: a password of user a is short")), "{lines:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let program = Program::start(&format!("kv --acl-file {path}"));
        assert!(!program.log_before().iter().any(|line| line.contains("others may read")));
    }

    #[test]
    fn no_token_is_in_a_log() {
        let directory = Directory::new();
        let path = file(&directory, "tokens", &format!("{ANNA} anna\n"));
        let key = file(&directory, "key", str::from_utf8(KEY).unwrap());
        let token = signed(r#""name":"dora""#, 3600);
        let secrets = [ANNA, &token, &token[..token.len() - 1], "wrong-wrong-wrong"];
        for service in ["web --access-log", "chat"] {
            let options = format!("{service} -vv --token-file {path} --token-key-file {key}");
            let program = Program::start(&options);
            for secret in secrets {
                for (target, header) in [
                    (format!("/plaintext?token={secret}"), String::new()),
                    (format!("/plaintext?x=y&%74ok%65n={secret}&z"), String::new()),
                    ("/plaintext".into(), format!("Authorization: Bearer {secret}\r\n")),
                    ("/plaintext".into(), format!("Cookie: edgeloop_token={secret}\r\n")),
                ] {
                    let mut stream = program.connect();
                    let head = format!(
                        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
                    );
                    send(&stream, head.as_bytes());
                    stream.read_to_end(&mut Vec::new()).unwrap();
                }
                let stream = program.connect();
                send(&stream, format!("/token {secret}\n/quit\n").as_bytes());
                let _ = (&stream).read_to_end(&mut Vec::new());
            }
            program.signal(rustix::process::Signal::TERM);
            let mut log = Vec::new();
            while log.last().is_none_or(|line: &String| !line.contains("finished")) {
                log.push(program.expect_line(""));
            }
            assert!(log.len() > 10, "{log:?}");
            for secret in secrets {
                assert!(!log.iter().any(|line| line.contains(secret)), "{secret}: {log:?}");
            }
        }
    }
}
