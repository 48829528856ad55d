//! The program over TLS: what it asks of its files, what its services do, and the load as a client.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::directory::Directory;
use common::program::{PROGRAM, Program};
use common::tls::{Authority, Client, Pair, TlsStream};
use common::{expect_bytes, expect_eof};
use edgeloop::Address;

/// A certificate and its key as files.
struct Files {
    directory: Directory,
    pair: Pair,
}

impl Files {
    fn new() -> Files {
        Files::of(Pair::of(&["localhost", "127.0.0.1"]))
    }

    fn of(pair: Pair) -> Files {
        let files = Files { directory: Directory::new(), pair };
        fs::write(files.certificate(), &files.pair.certificate).unwrap();
        fs::write(files.key(), &files.pair.key).unwrap();
        fs::set_permissions(files.key(), Permissions::from_mode(0o600)).unwrap();
        files
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path("key.pem")
    }

    /// The options that name them.
    fn options(&self) -> String {
        let (certificate, key) = (self.certificate(), self.key());
        format!("--tls-cert {} --tls-key {}", certificate.display(), key.display())
    }

    /// A server that listens with TLS and, behind that, without; its address is the one with TLS.
    fn start(&self, arguments: &str) -> Program {
        Program::start(&format!("{arguments} -l tls:127.0.0.1:0 {}", self.options()))
    }

    fn connect(&self, address: &Address) -> TlsStream {
        Client::of(&self.pair.certificate).connect(address)
    }
}

fn run(arguments: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command.output().unwrap()
}

/// The one line of a start that failed, of usage.
#[track_caller]
fn refused(arguments: &str) -> String {
    let output = run(arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn certificates_and_listeners_belong_together() {
    let files = Files::new();
    let (options, certificate) = (files.options(), files.certificate());
    let certificate = certificate.display();
    for (arguments, expected) in [
        (format!("-l 127.0.0.1:0 {options}"), "--tls-cert is for a listener that has TLS"),
        (options.clone(), "write --listen tls:ADDR"),
        (format!("--tls-client-ca {certificate}"), "--tls-client-ca is for a listener"),
        ("-l tls:127.0.0.1:0".into(), "--listen has tls:, which needs a certificate"),
        (format!("-l tls:127.0.0.1:0 --tls-cert {certificate}"), "they go in pairs"),
        (format!("-l tls:127.0.0.1:0 {options} {options} --tls-key x"), "2 files and --tls-key 3"),
        (format!("-l tls:unix:/tmp/s {options}"), "TLS is for TCP; write unix:/tmp/s"),
        (format!("-l tls:127.0.0.1:0 {options} --handshake-timeout 0s"), "--handshake-timeout"),
    ] {
        let line = refused(&format!("echo {arguments}"));
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn files_that_are_no_pair_are_one_line_that_names_both() {
    let (files, others) = (Files::new(), Files::new());
    let key_of_another = others.key().display().to_string();
    let certificate = files.certificate().display().to_string();
    let key = files.key().display().to_string();
    let absent = files.directory.path("absent").display().to_string();
    for (certificate, key, expected) in [
        (&certificate, &key_of_another, "the key is that of another certificate"),
        (&certificate, &absent, "No such file"),
        (&absent, &key, "No such file"),
        (&key, &key, "it has no certificate in PEM"),
        (&certificate, &certificate, "it has no key in PEM"),
    ] {
        let pair = format!("--tls-cert {certificate} --tls-key {key}");
        let line = refused(&format!("echo -l tls:127.0.0.1:0 {pair}"));
        assert!(line.contains(expected), "{line}");
        assert!(line.contains(certificate) && line.contains(key), "{line}");
        assert!(line.starts_with("edgeloop: --tls-cert: "), "{line}");
    }
    let authorities = format!("--tls-client-ca {key}");
    let line = refused(&format!("echo -l tls:127.0.0.1:0 {} {authorities}", files.options()));
    assert!(line.starts_with(&format!("edgeloop: --tls-client-ca: {key}: ")), "{line}");
}

#[test]
fn certificate_that_is_over_and_key_that_others_read_are_warnings() {
    let over = Pair::changed(&["localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(2001, 9, 9);
    });
    let files = Files::of(over);
    fs::set_permissions(files.key(), Permissions::from_mode(0o644)).unwrap();
    let server = files.start("echo");
    let warnings = server.log_before().join("\n");
    for (file, what) in [(files.certificate(), " expired "), (files.key(), "others can read")] {
        let of_file = |line: &&str| line.contains(file.to_str().unwrap());
        let line = warnings.lines().find(of_file).expect(&warnings);
        assert!(line.contains("WARN") && line.contains(what), "{line}");
    }
    let early = Pair::changed(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(3001, 9, 9);
    });
    let files = Files::of(early);
    let server = files.start("echo");
    let warnings = server.log_before().join("\n");
    assert!(
        warnings.contains("is not valid yet") && !warnings.contains("others can"),
        "{warnings}"
    );
}

#[test]
fn listeners_with_tls_stand_beside_others_and_are_told_apart() {
    let files = Files::new();
    let ports = files.directory.path("ports");
    let arguments = format!("echo --port-file {}", ports.display());
    let server = files.start(&arguments);
    let text = fs::read_to_string(&ports).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [secret, plain] = lines[..] else { panic!("{text}") };
    assert_eq!(secret, format!("tls:{}", server.address));
    let stream = files.connect(&server.address);
    (&stream).write_all(b"hidden").unwrap();
    expect_bytes(&stream, b"hidden");
    let plain = common::connect(&plain.parse().unwrap());
    (&plain).write_all(b"open").unwrap();
    expect_bytes(&plain, b"open");
}

#[test]
fn options_come_from_the_file_and_from_variables() {
    let files = Files::new();
    let config = files.directory.path("edgeloop.toml");
    let (certificate, key) = (files.certificate(), files.key());
    let text = format!("tls-cert = [{certificate:?}]\nhandshake-timeout = \"5s\"\n");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["echo", "-l", "tls:127.0.0.1:0", "--config"]).arg(&config);
    command.env("EDGELOOP_TLS_KEY", &key).stderr(Stdio::piped());
    let server = Program::of(command.spawn().unwrap());
    let stream = files.connect(&server.address);
    (&stream).write_all(b"hidden").unwrap();
    expect_bytes(&stream, b"hidden");
}

#[test]
fn web_and_chat_agree_on_http_and_answer() {
    let files = Files::new();
    for (service, path, part) in [("web", "/plaintext", "Hello, World!"), ("chat", "/", "<html")] {
        let server = files.start(service);
        let client = Client::of(&files.pair.certificate).offering(&["h2", "http/1.1"]);
        let stream = client.connect(&server.address);
        assert_eq!(stream.session().alpn_protocol(), Some(&b"http/1.1"[..]));
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        (&stream).write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        (&stream).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{answer}");
    }
}

#[test]
fn page_of_the_chat_speaks_websocket_over_tls_and_so_do_terminals_lines() {
    let files = Files::new();
    let server = files.start("chat");
    let stream = files.connect(&server.address);
    let host = server.address.to_string();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    (&stream).write_all(head.as_bytes()).unwrap();
    expect_bytes(&stream, b"HTTP/1.1 101 ");
    let terminal = files.connect(&server.address);
    (&terminal).write_all(b"/help\n").unwrap();
    let mut byte = [0];
    (&terminal).read_exact(&mut byte).unwrap();
}

#[test]
fn cookie_that_a_token_is_given_over_tls_is_for_tls_only() {
    let files = Files::new();
    let tokens = files.directory.path("tokens");
    fs::write(&tokens, "fig-fig-fig-fig-fig anna\n").unwrap();
    let server = files.start(&format!("chat --token-file {}", tokens.display()));
    let stream = files.connect(&server.address);
    let head = "GET /?token=fig-fig-fig-fig-fig HTTP/1.1\r\nHost: localhost\r\n\r\n";
    (&stream).write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    let cookie = answer.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
    assert!(cookie.split("; ").any(|part| part == "Secure"), "{cookie}");
}

#[test]
fn keys_are_set_and_got_over_tls() {
    let files = Files::new();
    let server = files.start("kv");
    let stream = files.connect(&server.address);
    (&stream).write_all(b"SET a 1\r\nGET a\r\nQUIT\r\n").unwrap();
    expect_bytes(&stream, b"+OK\r\n$1\r\n1\r\n+OK\r\n");
    expect_eof(&stream);
}

#[test]
fn only_clients_with_a_certificate_are_served() {
    let (files, authority) = (Files::new(), Authority::new("the club"));
    let club = files.directory.path("club.pem");
    fs::write(&club, &authority.certificate).unwrap();
    let server = files.start(&format!("kv -v --tls-client-ca {}", club.display()));
    let member = Client::showing(&files.pair.certificate, &authority.sign(&["member"]));
    let stream = member.connect(&server.address);
    (&stream).write_all(b"PING\r\n").unwrap();
    expect_bytes(&stream, b"+PONG\r\n");
    let refused = Client::of(&files.pair.certificate).try_connect(&server.address);
    assert!(refused.and_then(|stream| (&stream).read(&mut [0])).is_err());
    server.expect_line("reason=handshake_failed");
}

#[test]
fn handshake_that_does_not_begin_is_over_in_time() {
    let files = Files::new();
    let server = files.start("echo -v --handshake-timeout 300ms");
    let stream = common::connect(&server.address);
    common::expect_gone(&stream);
    server.expect_line("reason=handshake_timeout");
}

/// The session of rustls, and the 4 KiB that it has read into, which it keeps.
#[test]
fn idle_connection_costs_at_most_8_kib() {
    let files = Files::new();
    let server = files.start("echo");
    let echo = || {
        let stream = files.connect(&server.address);
        (&stream).write_all(b"hello").unwrap();
        expect_bytes(&stream, b"hello");
        stream
    };
    // The first ones bring in code and the first buffers.
    let warm: Vec<TlsStream> = (0..100).map(|_| echo()).collect();
    let before = server.memory();
    let idle: Vec<TlsStream> = (0..500).map(|_| echo()).collect();
    let each = (server.memory() - before) / idle.len();
    println!("{each} bytes of resident memory each");
    assert!(each <= 8 << 10, "{each} bytes each");
    drop(warm);
}

// ---- the load ----

fn load(arguments: &str) -> (Option<i32>, String) {
    let output = run(&format!("load -q -c 5 -n 200 --connect-timeout 10s {arguments}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn load_measures_echo_web_and_keys_over_tls() {
    let files = Files::new();
    let believe = format!("--tls-ca {}", files.certificate().display());
    for (service, scheme, path, mode) in [
        ("echo", "tls:", "", ""),
        ("echo", "tls:", "", "-m stream -s 100k"),
        ("echo", "tls:", "", "-m churn"),
        ("echo", "tls:", "", "--source 127.0.0.1"),
        ("broadcast", "tls:", "", "-m broadcast"),
        ("web", "https://", "/plaintext", ""),
        ("kv", "rediss://", "", "--command get"),
    ] {
        let server = files.start(service);
        let target = format!("{scheme}{}{path}", server.address);
        for trust in [&believe, "--insecure"] {
            let (code, text) = load(&format!("{target} {mode} {trust}"));
            assert_eq!(code, Some(0), "{target} {mode} {trust}: {text}");
        }
    }
}

/// As `openssl req -x509` makes one unless told otherwise. For others than itself it is no server's.
#[test]
fn load_believes_a_certificate_that_was_given_although_it_is_that_of_an_authority() {
    let authority = |name: &str| {
        let ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Files::of(Pair::changed(&[name], |params| params.is_ca = ca))
    };
    let files = authority("127.0.0.1");
    let server = files.start("echo");
    let believe = |files: &Files| format!("--tls-ca {}", files.certificate().display());
    let (code, text) = load(&format!("tls:{} {}", server.address, believe(&files)));
    assert_eq!(code, Some(0), "{text}");
    // Its name counts all the same, and so does which one it is.
    let elsewhere = authority("example.org");
    let server = elsewhere.start("echo");
    let (code, text) = load(&format!("tls:{} {}", server.address, believe(&elsewhere)));
    assert!(code == Some(1) && text.contains("not valid for name"), "{text}");
    let (code, text) = load(&format!("tls:{} {}", server.address, believe(&files)));
    assert!(code == Some(1) && text.contains(" tls"), "{text}");
}

#[test]
fn load_says_why_it_does_not_believe_a_server() {
    let (files, others) = (Files::new(), Files::of(Pair::of(&["example.org"])));
    let server = files.start("echo");
    let stranger = others.start("echo");
    let ca = |files: &Files| format!("--tls-ca {}", files.certificate().display());
    for (address, trust, expected) in [
        (&server.address, ca(&others), "UnknownIssuer"),
        (&stranger.address, ca(&others), "not valid for name"),
    ] {
        let (code, text) = load(&format!("tls:{address} {trust}"));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(" tls") && text.contains(expected), "{text}");
    }
    // The other way round: TLS to a server that has none, and none to one that has.
    let plain = Program::start("echo");
    let (code, text) = load(&format!("tls:{} --insecure", plain.address));
    assert!(code == Some(1) && text.contains(" tls"), "{text}");
    let (code, text) = load(&server.address.to_string());
    assert!(code == Some(1) && text.contains("write tls: in front"), "{text}");
}

#[test]
fn load_takes_the_options_of_tls_for_targets_with_tls_only() {
    let files = Files::new();
    let certificate = files.certificate();
    for arguments in ["--insecure", &format!("--tls-ca {}", certificate.display())] {
        let line = refused(&format!("load 127.0.0.1:1 {arguments}"));
        assert!(line.contains("for a target with TLS"), "{line}");
    }
    let line = refused("load tls:127.0.0.1:1 --tls-ca /nowhere.pem");
    assert!(line.starts_with("edgeloop: --tls-ca: /nowhere.pem: "), "{line}");
}
