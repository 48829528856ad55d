//! The program as its users meet it: what it refuses and how, where its options come from, its
//! signals and its log.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::directory::Directory;
use edgeloop::CloseReason;
use rustix::process::{Pid, Signal, kill_process};

// What is wrong is one line.

#[test]
fn wrong_flag_is_one_line_that_names_it() {
    for (arguments, culprit) in [
        ("ehco", "'ehco'"),
        ("echo --lisen 127.0.0.1:0", "'--listen'"),
        ("echo --history 1", "'--history'"),
        ("echo extra", "'extra'"),
        ("echo --backlog", "--backlog"),
        ("echo --backlog 0", "--backlog"),
        ("echo --input-limit 12x", "`12x` is no size"),
        ("echo --input-limit 17179869184GiB", "`17179869184GiB` is too large"),
        ("echo --idle-timeout 30x", "`30x` is no duration"),
        ("echo --drain-timeout off", "`off` is no duration"),
        ("echo --when-full maybe", "[possible values: wait, refuse]"),
        ("echo --listen 70000", "`70000` in `70000` is no port"),
        ("echo --listen ::1:7000", "brackets"),
        ("echo --listen 127.0.0.1:65536", "`65536`"),
        ("echo --max-connections 0", "max-connections is 0"),
        ("echo --output-limit 5", "output-limit is 5"),
        ("echo --drain-timeout 0s", "drain-timeout"),
        ("echo --keepalive 1s", "keepalive"),
        ("echo --socket-mode 680", "`680` is no mode"),
        ("echo --prefix x", "--prefix needs --lines"),
        ("broadcast --topic-memory 1k", "topic-memory is 1KiB"),
        ("broadcast --slow-consumer shout", "[possible values: disconnect, skip, wait]"),
        ("broadcast --patience soon", "`soon`"),
    ] {
        let output = program(arguments).output().unwrap();
        expect_failure(&output, 2, culprit);
    }
}

#[test]
fn wrong_variable_is_named() {
    for (name, value) in [
        ("EDGELOOP_BACKLOG", "many"),
        ("EDGELOOP_IDLE_TIMEOUT", "5x"),
        ("EDGELOOP_REUSE_PORT", "perhaps"),
        ("EDGELOOP_LISTEN", "nowhere"),
        ("EDGELOOP_BUFFER_MEMORY", "1\n2"),
    ] {
        let output = program("echo").env(name, value).output().unwrap();
        expect_failure(&output, 2, name);
        // A flag that is wrong as well is found first, and the variable is not blamed for it.
        let output = program("echo --input-limit x").env(name, value).output().unwrap();
        expect_failure(&output, 2, "--input-limit");
    }
}

#[test]
fn wrong_file_is_named_with_its_line() {
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    for (text, culprit) in [
        ("\nidle-timout = '1s'", ":2: unknown key `idle-timout`; did you mean `idle-timeout`?"),
        (
            "history = 1",
            ":1: unknown key `history`; did you mean `history` in [broadcast] or in [chat]?",
        ),
        ("[ecko]\nlines = true", ":1: unknown key `ecko`"),
        ("[broadcast]\n\nhistry = 1", ":3: unknown key `histry`; did you mean `history`"),
        ("input-limit = '12x'", ":1: input-limit: `12x` is no size"),
        ("idle-timeout = 30.5", ":1: idle-timeout: `30.5` is no duration"),
        ("# a comment\n[echo]\nlines = 'maybe'", ":3: "),
        ("when-full = 'never'", ":1: "),
        ("a = = b", ":1: "),
    ] {
        fs::write(&path, text).unwrap();
        let output = program("echo --config").arg(&path).output().unwrap();
        expect_failure(&output, 2, &format!("{}{culprit}", path.display()));
    }
    let output = program("echo --config").arg(dir.path("absent")).output().unwrap();
    expect_failure(&output, 2, "absent");
}

#[test]
fn what_the_system_refuses_is_one_line_that_names_it() {
    let dir = Directory::new();
    let file = dir.path("file");
    fs::write(&file, "precious").unwrap();
    let no_socket = format!("unix:{}", file.display());
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().map(|address| (address.to_string(), busy)).unwrap();
    for (address, culprit) in [
        (busy.0.as_str(), "is another instance running?"),
        (no_socket.as_str(), no_socket.as_str()),
        ("no-such-host.invalid:7000", "no-such-host.invalid:7000"),
        ("192.0.2.1:0", "192.0.2.1:0"),
    ] {
        let output = program("echo --listen").arg(address).output().unwrap();
        expect_failure(&output, 1, address);
        expect_failure(&output, 1, culprit);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let output = program("echo -l 127.0.0.1:0 --socket-group no-such-group").output().unwrap();
    expect_failure(&output, 1, "--socket-group: there is no group `no-such-group`");
    let nowhere = dir.path("absent/ports");
    let output = program("echo -l 127.0.0.1:0 --port-file").arg(&nowhere).output().unwrap();
    expect_failure(&output, 1, nowhere.to_str().unwrap());
}

#[test]
fn missing_permission_is_one_line_that_names_the_address() {
    let dir = Directory::new();
    let locked = dir.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let socket = locked.join("socket");
    // Nothing is forbidden to root, who may also keep the program where nobody else gets at it.
    let copy = dir.path("edgeloop");
    // By another process: what a child of this one inherits at the wrong moment could not be run.
    let source = env!("CARGO_BIN_EXE_edgeloop");
    assert!(Command::new("cp").arg(source).arg(&copy).status().unwrap().success());
    let mut command = clean(Command::new(&copy));
    command.arg("echo").arg("-l").arg(format!("unix:{}", socket.display()));
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    expect_failure(&output, 1, socket.to_str().unwrap());
    expect_failure(&output, 1, "ermission");
}

#[test]
fn group_that_may_not_be_given_is_one_line_that_names_the_address() {
    let dir = Directory::new();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let (socket, copy) = (dir.path("socket"), dir.path("edgeloop"));
    // By another process, as above.
    let source = env!("CARGO_BIN_EXE_edgeloop");
    assert!(Command::new("cp").arg(source).arg(&copy).status().unwrap().success());
    let mut command = clean(Command::new(&copy));
    command.arg("echo").arg("-l").arg(format!("unix:{}", socket.display()));
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.args(["--socket-group", "root"]).output().unwrap();
    expect_failure(&output, 1, socket.to_str().unwrap());
    expect_failure(&output, 1, "its group cannot be set to 0");
    assert_eq!(dir.names(), ["edgeloop"], "something was left behind");
}

#[test]
fn rights_of_a_socket_come_from_flag_variable_and_file() {
    let dir = Directory::new();
    let (socket, config) = (dir.path("socket"), dir.path("edgeloop.toml"));
    fs::write(&config, "socket-mode = 600\n").unwrap();
    let mode = |flag: &str, variable: Option<&str>| {
        let mut command = program(&format!("echo {flag} --config"));
        command.arg(&config).arg("-l").arg(format!("unix:{}", socket.display()));
        variable.map(|mode| command.env("EDGELOOP_SOCKET_MODE", mode));
        let _server = Server::start(command);
        let mode = fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
        fs::remove_file(&socket).unwrap();
        mode
    };
    assert_eq!(mode("", None), 0o600);
    assert_eq!(mode("", Some("640")), 0o640);
    assert_eq!(mode("--socket-mode 0666", Some("640")), 0o666);
    let server = Server::start(program("echo --socket-mode 660"));
    assert!(server.before_listening.iter().any(|line| line.contains("WARN")), "it means nothing");
}

#[test]
fn option_that_does_nothing_is_a_warning() {
    let dir = Directory::new();
    let socket = dir.path("socket");
    let warnings = |words: &str, on_unix: bool| {
        let mut command = program(words);
        if on_unix {
            command.arg("-l").arg(format!("unix:{}", socket.display()));
        }
        let server = Server::start(command);
        let mut lines = server.before_listening.clone();
        lines.retain(|line| line.contains("does nothing"));
        lines.join("\n")
    };
    for (words, on_unix, said) in [
        ("echo --connect-burst 5", false, "--connect-burst does nothing without --connect-rate"),
        ("echo --connect-burst 5 --connect-rate 0", false, "--connect-burst does nothing"),
        ("echo --connect-rate 5", true, "--connect-rate does nothing on Unix sockets"),
        ("echo --max-per-address 5", true, "--max-per-address does nothing on Unix sockets"),
        ("web --request-burst 5", false, "--request-burst does nothing without --request-rate"),
        ("kv --proxy-protocol unix", false, "--proxy-protocol does nothing here: addresses"),
        (
            "kv --proxy-protocol ::/0,10.0.0.0/8",
            true,
            "--proxy-protocol does nothing here: addresses",
        ),
    ] {
        assert!(warnings(words, on_unix).contains(said), "{words}");
    }
    for words in [
        "echo",
        "echo --connect-burst 5 --connect-rate 5 --max-per-address 9",
        "echo --proxy-protocol 10.0.0.1,unix",
    ] {
        assert_eq!(warnings(words, false), "", "{words}");
    }
    // There a balancer names the addresses that count.
    assert_eq!(warnings("echo --proxy-protocol unix --max-per-address 9", true), "");
}

#[test]
fn failing_second_listener_leaves_nothing_half_started() {
    let dir = Directory::new();
    let (socket, ports) = (dir.path("socket"), dir.path("ports"));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut command = program("echo");
    command.arg("-l").arg(format!("unix:{}", socket.display())).arg("-l").arg(&address);
    let output = command.arg("--port-file").arg(&ports).output().unwrap();
    expect_failure(&output, 1, &address);
    assert_eq!(dir.names(), [""; 0], "something was left behind");
}

// Where options come from, and what the program says about itself.

#[test]
fn flag_wins_over_variable_over_file_over_default() {
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    fs::write(&path, "max-connections = 13\n[echo]\nlines = true\nprefix = 'file: '\n").unwrap();
    let run = |flag: bool, variable: bool, file: bool| {
        let mut command = program("echo");
        if flag {
            command.args(["--max-connections", "11"]);
        }
        if variable {
            command.env("EDGELOOP_MAX_CONNECTIONS", "12");
        }
        if file {
            command.arg("--config").arg(&path);
        }
        Server::start(command).listening.clone()
    };
    for (flag, variable, file, shown) in [
        (true, true, true, "connections_max=11 "),
        (false, true, true, "connections_max=12 "),
        (false, false, true, "connections_max=13 "),
        (false, false, false, "limited_by=\"descriptor limit "),
    ] {
        let line = run(flag, variable, file);
        assert!(line.contains(shown), "{line}");
    }
}

#[test]
fn numbers_have_one_form_in_flag_variable_and_file() {
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    for (text, shown) in [("1k", "1000"), ("500", "500")] {
        let flag = program(&format!("echo --max-connections {text}"));
        let mut variable = program("echo");
        variable.env("EDGELOOP_MAX_CONNECTIONS", text);
        fs::write(&path, format!("max-connections = '{text}'\nidle-timeout = 30\n")).unwrap();
        let mut file = program("echo --config");
        file.arg(&path);
        for command in [flag, variable, file] {
            let line = Server::start(command).listening.clone();
            assert!(line.contains(&format!("connections_max={shown} ")), "{line}");
        }
    }
}

#[test]
fn short_addresses_are_understood() {
    for (arguments, hosts) in [
        ("echo -p 0", &["127.0.0.1"][..]),
        ("echo --port=0", &["127.0.0.1"]),
        ("echo -l 0", &["127.0.0.1"]),
        ("echo -l tcp://127.0.0.1:0", &["127.0.0.1"]),
        ("echo -l :0", &["0.0.0.0", "[::]"]),
        ("echo -l *:0", &["0.0.0.0", "[::]"]),
    ] {
        let server = Server::start_as_it_is(program(arguments));
        let parts = server.addresses.iter().map(|address| address.rsplit_once(':').unwrap());
        let (found, ports): (Vec<&str>, Vec<&str>) = parts.unzip();
        // A machine without IPv6 has the first one only.
        assert!(!found.is_empty() && hosts.starts_with(&found), "{arguments}: {found:?}");
        assert!(ports.iter().all(|port| *port == ports[0]), "{arguments}: {ports:?}");
    }
}

#[test]
fn port_and_listen_are_one_setting_and_the_stronger_source_wins() {
    let mut command = program("echo -p 0");
    command.env("EDGELOOP_LISTEN", "no-such-host.invalid:1");
    assert!(Server::start_as_it_is(command).addresses[0].starts_with("127.0.0.1:"));
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    fs::write(&path, "port = 1\n").unwrap();
    let mut command = program("echo --config");
    command.arg(&path).env("EDGELOOP_LISTEN", "127.0.0.1:0");
    let server = Server::start_as_it_is(command);
    assert_ne!(server.addresses[0], "127.0.0.1:1");
}

#[test]
fn empty_list_counts_as_unset() {
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    fs::write(&path, "listen = []\nport = 0\n").unwrap();
    let mut command = program("echo --config");
    command.arg(&path);
    assert!(Server::start_as_it_is(command).addresses[0].starts_with("127.0.0.1:"));
}

#[test]
fn variable_that_a_flag_overrules_is_not_looked_at() {
    let mut command = program("echo -v --backlog 5");
    command.env("EDGELOOP_QUIET", "loud").env("EDGELOOP_BACKLOG", "many");
    Server::start(command);
}

#[test]
fn empty_variable_counts_as_unset() {
    for service in ["echo", "broadcast", "chat", "kv", "web"] {
        let help = program(service).arg("--help").output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        let mut command = program(service);
        let mut count = 0;
        for part in help.split("--").skip(1) {
            let name: String =
                part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            command.env(format!("EDGELOOP_{}", name.replace('-', "_").to_uppercase()), "");
            count += 1;
        }
        assert!(count > 16, "{help}");
        let server = Server::start(command);
        assert!(server.before_listening.is_empty(), "{:?}", server.before_listening);
    }
}

#[test]
fn variables_of_kubernetes_are_passed_over_in_silence() {
    let mut command = program("echo");
    for (name, value) in [
        ("EDGELOOP_PORT", "tcp://10.96.0.17:7000"),
        ("EDGELOOP_SERVICE_HOST", "10.96.0.17"),
        ("EDGELOOP_SERVICE_PORT", "7000"),
        ("EDGELOOP_SERVICE_PORT_LINES", "7000"),
        ("EDGELOOP_PORT_7000_TCP", "tcp://10.96.0.17:7000"),
        ("EDGELOOP_PORT_7000_TCP_ADDR", "10.96.0.17"),
        ("EDGELOOP_PORT_7000_TCP_PORT", "7000"),
        ("EDGELOOP_PORT_7000_TCP_PROTO", "tcp"),
        ("EDGELOOP_PORT_53_UDP_PROTO", "udp"),
    ] {
        command.env(name, value);
    }
    let server = Server::start(command);
    assert!(server.before_listening.is_empty(), "{:?}", server.before_listening);
}

#[test]
fn mistyped_variable_is_a_warning_with_the_nearest_name() {
    let mut command = program("echo");
    command.env("EDGELOOP_IDEL_TIMEOUT", "5s").env("EDGELOOP_PORT", "7000");
    // That of another service is no mistake.
    command.env("EDGELOOP_HISTORY", "10");
    let server = Server::start(command);
    let [first, second] = &server.before_listening[..] else {
        panic!("{:?}", server.before_listening)
    };
    assert!(first.contains("EDGELOOP_IDEL_TIMEOUT") && first.contains("WARN"), "{first}");
    assert!(first.contains("did you mean EDGELOOP_IDLE_TIMEOUT?"), "{first}");
    assert!(second.contains("set EDGELOOP_LISTEN=7000"), "{second}");
}

#[test]
fn program_alone_lists_the_commands_with_examples() {
    let output = program("").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["echo", "broadcast", "chat", "kv", "web", "load"] {
        assert!(text.contains(&format!("\n  {command} ")), "{text}");
    }
    let examples = text.lines().filter(|line| line.starts_with("  edgeloop "));
    assert_eq!(examples.count(), 3, "{text}");
}

#[test]
fn first_line_says_what_listens_where_and_how_to_come_in() {
    for (service, has_page, has_lines) in
        [("echo", false, false), ("web", true, false), ("chat", true, true)]
    {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let mut server = Server::start_as_it_is(program(&format!("{service} -l {address}")));
            let line = server.listening.clone();
            let port = server.addresses[0].rsplit_once(':').unwrap().1.to_owned();
            let version = format!("{service} listening version={}", env!("CARGO_PKG_VERSION"));
            assert!(line.contains(&version), "{line}");
            assert!(line.contains(&format!(" pid={} ", server.child.id())), "{line}");
            assert!(line.contains(&format!(" addr={} ", server.addresses[0])), "{line}");
            let url = format!(" url=http://127.0.0.1:{port}/ ");
            assert_eq!(line.contains(&url), has_page, "{line}");
            let terminal = format!(" terminal=\"nc 127.0.0.1 {port}, then /help\" ");
            assert_eq!(line.contains(&terminal), has_lines, "{line}");
            server.stop(Signal::TERM);
        }
        // Where a balancer is believed nobody else can come in.
        let server = Server::start(program(&format!("{service} --proxy-protocol 127.0.0.0/8")));
        assert!(!server.listening.contains("127.0.0.1 "), "{}", server.listening);
        assert!(!server.listening.contains(" url="), "{}", server.listening);
    }
}

#[test]
fn web_names_its_routes_at_its_root() {
    let server = Server::start(program("web"));
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.connect(), request);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for route in ["/plaintext", "/json", "/healthz", "/echo"] {
        assert!(answer.contains(route), "{answer}");
    }
}

#[test]
fn sections_of_the_file_reach_their_service_and_flags_overrule_them() {
    let dir = Directory::new();
    let path = dir.path("edgeloop.toml");
    fs::write(&path, "[echo]\nlines = true\nprefix = 'file: '\n[broadcast]\nhistory = 2\n")
        .unwrap();
    for (flags, answer) in [
        ("echo", "file: hello\n"),
        ("echo --prefix=flag:", "flag:hello\n"),
        ("echo --lines=false", "hello\n"),
    ] {
        let mut command = program(flags);
        command.arg("--config").arg(&path);
        let server = Server::start(command);
        assert_eq!(exchange(server.connect(), "hello\n"), answer, "{flags}");
    }
}

#[test]
fn help_names_every_option_with_its_default() {
    let server = "--listen 127.0.0.1:7000, --port 7000, --port-file none, --backlog 4096, --reuse-port false, \
        --max-connections what the descriptor limit allows, --when-full wait, --input-limit 64KiB, \
        --output-limit 1MiB, --buffer-memory 256MiB, --notsent-lowat 16KiB, --idle-timeout off, --write-timeout 30s, \
        --drain-timeout 10s, --on-panic close, --config none, --log-format text, --verbose 0, --quiet 0";
    for (service, own) in [
        ("echo", "--lines false, --prefix none"),
        (
            "broadcast",
            "--framing lines, --history 0, --topic-memory 1MiB, --slow-consumer disconnect, \
             --patience 1s",
        ),
    ] {
        let output = program(service).arg("--help").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        let help = String::from_utf8(output.stdout).unwrap();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for pair in server.split(", ").chain(own.split(", ")) {
            let (option, default) = pair.split_once(' ').unwrap();
            let starts = [" <", "[=", "..."].map(|start| format!(" {option}{start}"));
            let place = starts.iter().find_map(|start| help.find(start)).expect(option);
            let text = &help[place..];
            let shown = text.split("[default: ").nth(1).expect(option);
            assert!(shown.starts_with(&format!("{default}]")), "{option}: {shown:.60}");
        }
    }
}

#[test]
fn version_is_one_line() {
    let output = program("--version").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let version = format!("edgeloop {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
}

#[test]
fn port_file_lists_every_bound_address_once_all_listen() {
    let dir = Directory::new();
    let socket = dir.path("socket");
    let mut command = program("echo -l 127.0.0.1:0 -l");
    command.arg(format!("unix:{}", socket.display()));
    let mut server = Server::start(command);
    assert_eq!(server.addresses.len(), 2);
    assert_eq!(server.addresses[1], format!("unix:{}", socket.display()));
    assert_eq!(server.directory.names(), ["ports"], "a temporary file was left");
    let stream = UnixStream::connect(&socket).unwrap();
    (&stream).write_all(b"over unix").unwrap();
    let mut answer = [0; 9];
    (&stream).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"over unix");
    drop(stream);
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
    assert!(!socket.exists(), "the socket outlived its server");
}

#[test]
fn host_name_is_resolved_at_start() {
    let mut command = program("echo -l localhost:0");
    command.env("EDGELOOP_LISTEN", "no-such-host.invalid:1");
    let server = Server::start_as_it_is(command);
    assert_eq!(exchange(server.connect(), "hello"), "hello");
}

#[test]
fn descriptor_limit_decides_how_many_connections_fit() {
    let limited = |options: &str| {
        let program = env!("CARGO_BIN_EXE_edgeloop");
        let mut shell = clean(Command::new("sh"));
        shell
            .arg("-c")
            .arg(format!("ulimit -n 64; ulimit -S -n 40; exec '{program}' echo {options} \"$@\""));
        shell.arg("sh");
        Server::start(shell)
    };
    let server = limited("");
    // The soft limit of 40 is raised to the hard one.
    let shown = "connections_max=48 limited_by=\"descriptor limit 64 less 16\"";
    assert!(server.listening.contains(shown), "{}", server.listening);
    let server = limited("--max-connections 1000");
    assert!(server.listening.contains("connections_max=48 "), "{}", server.listening);
    let warning = server.before_listening.join("\n");
    assert!(warning.contains("--max-connections 1000") && warning.contains("WARN"), "{warning}");
}

#[test]
fn backlog_beyond_what_the_kernel_grants_is_a_warning() {
    let server = Server::start(program("echo --backlog 2000000000"));
    let warning = server.before_listening.join("\n");
    assert!(warning.contains("somaxconn") && warning.contains("WARN"), "{warning}");
}

// Signals.

#[test]
fn first_signal_drains_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        // Nobody is connected any more, so there is nothing to wait an hour for.
        let mut server = Server::start(program("echo --drain-timeout 1h"));
        assert_eq!(exchange(server.connect(), "hello"), "hello");
        assert_eq!(server.stop(signal).code(), Some(0));
        assert!(TcpStream::connect(&server.addresses[0]).is_err(), "still listening");
        let mut stdout = Vec::new();
        server.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        assert_eq!(stdout, b"", "stdout is for data");
        let rest = server.rest_of_log();
        assert!(rest.iter().any(|line| line.contains("finished accepted=1 ")), "{rest:?}");
    }
}

#[test]
fn second_signal_exits_at_once_with_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start(program("echo --drain-timeout 1h --write-timeout off"));
        let _stuck = stuck_client(&server);
        server.signal(Signal::TERM);
        server.expect_line("SIGTERM");
        // So late that nobody's wrapper has sent the same one again.
        thread::sleep(Duration::from_millis(100));
        assert!(server.child.try_wait().unwrap().is_none(), "it did not wait for the client");
        assert_eq!(server.stop(signal).code(), Some(code));
    }
}

// GNU `timeout` sends to its child and then to the group in which the child is, and a terminal sends
// to the group in which `timeout` is.
#[test]
fn signal_that_is_sent_again_at_once_is_one_wish() {
    for signal in [Signal::TERM, Signal::INT] {
        // On a busy machine some are so far apart that they are two wishes.
        assert!((0..ROUNDS).any(|_| survives_a_second(signal)), "it was cut off each time");
    }
}

/// Sends a signal again as soon as it has been seen, while a client is served; says whether that one
/// got all that it was owed.
fn survives_a_second(signal: Signal) -> bool {
    let mut server = Server::start(program("echo --drain-timeout 1h --write-timeout off"));
    let mut client = server.connect();
    let mut sender = client.try_clone().unwrap();
    let text = vec![b'x'; 8 << 20];
    let length = text.len();
    // It fails where the server has ended at once.
    let sending = thread::spawn(move || {
        sender.write_all(&text).and_then(|()| sender.shutdown(std::net::Shutdown::Write))
    });
    client.read_exact(&mut [0]).unwrap();
    server.signal(signal);
    server.expect_line("finishing what is in flight");
    server.signal(signal);
    let mut rest = Vec::new();
    let received = client.read_to_end(&mut rest);
    let sent = sending.join().unwrap();
    match server.wait().code() {
        Some(0) => {
            sent.and(received).unwrap();
            assert_eq!(rest.len(), length - 1);
            true
        }
        code => {
            assert_eq!(code, Some(128 + signal.as_raw()));
            false
        }
    }
}

#[test]
fn signals_for_other_programs_are_ignored_with_a_line() {
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR2, "SIGUSR2")] {
        let mut server = Server::start(program("echo"));
        let client = server.connect();
        server.signal(signal);
        let line = server.expect_line(name);
        assert!(line.contains("WARN") && line.contains("is ignored"), "{line}");
        assert_eq!(exchange(client, "hello"), "hello");
        assert_eq!(server.stop(Signal::TERM).code(), Some(0));
    }
}

#[test]
fn nohup_is_obeyed_without_a_word() {
    let mut command = clean(Command::new("sh"));
    let program = env!("CARGO_BIN_EXE_edgeloop");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", program, "echo"]);
    let mut server = Server::start(command);
    server.signal(Signal::HUP);
    // Had the first one left a line, it would stand before this one.
    server.signal(Signal::USR1);
    let line = server.next_line();
    assert!(line.contains("counters "), "{line}");
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
}

#[test]
fn log_file_that_may_not_grow_does_not_end_the_server() {
    let dir = Directory::new();
    let mut command = clean(Command::new("sh"));
    let program = env!("CARGO_BIN_EXE_edgeloop");
    // In blocks of 512 bytes.
    command.args(["-c", "ulimit -f 1; exec \"$@\"", "sh", program, "echo", "-vv"]);
    let log = fs::File::create(dir.path("log")).unwrap();
    let mut server = Server::start_logging_to(log.into(), command);
    for _ in 0..50 {
        assert_eq!(exchange(server.connect(), "hello"), "hello");
    }
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
    assert!(fs::metadata(dir.path("log")).unwrap().len() <= 1024, "the limit was none");
}

#[test]
fn second_signal_ends_a_server_that_is_stuck() {
    let (reader, mut writer) = io::pipe().unwrap();
    let stderr = writer.try_clone().unwrap().into();
    // Full, and nobody reads it: the first line of the log is written for ever.
    let (full, is_full) = mpsc::channel();
    let filler = thread::spawn(move || {
        // What a pipe holds on Linux. The write behind that waits until the reader is gone.
        let filled = writer.write_all(&[b'x'; 64 << 10]);
        full.send(filled).unwrap();
        while writer.write_all(&[b'x'; 4096]).is_ok() {}
    });
    is_full.recv().unwrap().unwrap();
    let mut server = Server::start_logging_to(stderr, program("echo"));
    server.signal(Signal::TERM);
    // Two that wait at the same time would be one.
    server.wait_until_signals_are_taken();
    thread::sleep(Duration::from_millis(100));
    assert!(server.child.try_wait().unwrap().is_none(), "it was not stuck");
    assert_eq!(server.stop(Signal::TERM).code(), Some(143));
    drop(reader);
    filler.join().unwrap();
}

// What a process with more than one thread pays at each system call, this one does not.
#[test]
fn server_that_logs_nothing_while_it_serves_has_one_thread() {
    let server = Server::start(program("echo"));
    assert_eq!(exchange(server.connect(), "hello"), "hello");
    let tasks = format!("/proc/{}/task", server.child.id());
    let threads = || fs::read_dir(&tasks).unwrap().count();
    assert_eq!(threads(), 1);
    server.signal(Signal::USR1);
    server.expect_line("counters ");
    assert_eq!(threads(), 2, "the log has one");
}

#[test]
fn drain_timeout_cuts_off_and_exits_with_1() {
    let mut server = Server::start(program("echo --drain-timeout 200ms"));
    let _stuck = stuck_client(&server);
    assert_eq!(server.stop(Signal::TERM).code(), Some(1));
    let rest = server.rest_of_log();
    assert!(rest.iter().any(|line| line.contains("drain timeout cut")), "{rest:?}");
}

#[test]
fn sigusr1_logs_the_counters_and_changes_nothing() {
    let server = Server::start(program("echo"));
    assert_eq!(exchange(server.connect(), "hello"), "hello");
    server.signal(Signal::USR1);
    let line = server.expect_line("counters ");
    assert!(line.contains("accepted=1 "), "{line}");
    assert_eq!(exchange(server.connect(), "hello"), "hello");
}

// The log.

#[test]
fn json_log_is_one_object_a_line() {
    // With history the order in which the two are accepted does not matter.
    let mut server = Server::start(program("broadcast -vv --log-format json --history 1"));
    let (mut from, to) = (server.connect(), server.connect());
    from.write_all(b"say \"hi\"\n").unwrap();
    let mut line = String::new();
    BufReader::new(to).read_line(&mut line).unwrap();
    drop(from);
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
    let mut lines = vec![server.listening.clone()];
    lines.extend(server.rest_of_log());
    let objects: Vec<_> = lines.iter().map(|line| parse_flat_json(line)).collect();
    for object in &objects {
        assert_eq!(object["service"], "\"broadcast\"");
        for key in ["timestamp", "level", "target", "event", "message"] {
            assert!(object[key].starts_with('"'), "{key} in {object:?}");
        }
    }
    assert!(objects[0]["addr"].contains("127.0.0.1:"));
    assert!(objects[0]["connections_max"].parse::<u64>().is_ok());
    let books = objects.iter().find(|object| object["event"] == "\"finished\"").unwrap();
    for (counter, count) in [("accepted", 2), ("open", 0), ("published", 1), ("bytes_in", 9)] {
        assert_eq!(books[counter].parse(), Ok(count), "{counter} in {books:?}");
    }
    let of_reasons = books
        .keys()
        .filter_map(|name| CloseReason::ALL.iter().find(|reason| reason.name() == name));
    assert_ne!(of_reasons.count(), 0, "{books:?}");
    let of_connections = objects.iter().filter(|object| object.contains_key("connection"));
    let closed: Vec<_> = of_connections.filter(|object| object.contains_key("reason")).collect();
    assert_eq!(closed.len(), 2, "{lines:?}");
    assert!(closed.iter().all(|object| object.contains_key("peer")), "{closed:?}");
}

#[test]
fn unread_log_does_not_stop_the_server() {
    let dir = Directory::new();
    let socket = dir.path("socket");
    let mut command = program("echo -vv -l 127.0.0.1:0 -l");
    command.arg(format!("unix:{}", socket.display()));
    let mut server = Server::start_unread(command);
    // More than the pipe and the queue hold together.
    for _ in 0..8000 {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(exchange(server.connect(), "still here"), "still here");
    server.read_log();
    server.expect_line("log_dropped=");
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
    let rest = server.rest_of_log();
    assert!(rest.iter().any(|line| line.contains("finished ")), "the end is missing");
}

#[test]
fn unread_log_does_not_stop_the_end() {
    let mut server = Server::start_unread(program("echo -vv"));
    for _ in 0..2000 {
        drop(server.connect());
    }
    assert_eq!(server.stop(Signal::TERM).code(), Some(0));
}

#[test]
fn verbosity_and_colour_are_as_asked_for() {
    let log = |arguments: &str, variable: (&str, &str)| {
        let mut command = program(arguments);
        command.env(variable.0, variable.1);
        let mut server = Server::start_unread(command);
        server.read_log();
        assert_eq!(exchange(server.connect(), "hello"), "hello");
        server.stop(Signal::TERM);
        server.rest_of_log().join("\n")
    };
    let none = ("NO_COLOR", "");
    assert!(log("echo", none).contains(" INFO "));
    assert!(!log("echo", none).contains(" DEBUG "));
    assert!(log("echo -v", none).contains(" DEBUG "));
    assert_eq!(log("echo -q", none), "");
    assert!(log("echo", ("EDGELOOP_VERBOSE", "1")).contains(" DEBUG "));
    assert!(log("echo -q", ("RUST_LOG", "debug")).contains(" DEBUG "));
    assert!(!log("echo", none).contains('\x1b'));
    assert!(log("echo", ("CLICOLOR_FORCE", "1")).contains('\x1b'));
}

// Vocabulary.

/// A running server; it dies with the test. Unlike `common::program::Program` it may listen at several
/// addresses, which its port file tells, and its log may be left unread.
struct Server {
    child: Child,
    directory: Directory,
    addresses: Vec<String>,
    /// The line that says what it listens on, and those before it.
    listening: String,
    before_listening: Vec<String>,
    log: Option<Receiver<String>>,
}

impl Server {
    /// Listens on a free port of its own, unless the command says where; waits until it does.
    fn start(mut command: Command) -> Server {
        if !command.get_args().any(|argument| argument == "-l") {
            command.args(["-l", "127.0.0.1:0"]);
        }
        Server::start_as_it_is(command)
    }

    fn start_as_it_is(command: Command) -> Server {
        let mut server = Server::spawn(Stdio::piped(), command);
        server.read_log();
        loop {
            let line = server.next_line();
            if line.contains("listening") {
                server.listening = line;
                break;
            }
            server.before_listening.push(line);
        }
        // The line comes after the file.
        server.addresses = server.ports().unwrap();
        server
    }

    /// Nobody reads the log of this one, until [`read_log`](Self::read_log).
    fn start_unread(command: Command) -> Server {
        Server::start_logging_to(Stdio::piped(), command)
    }

    fn start_logging_to(stderr: Stdio, mut command: Command) -> Server {
        if !command.get_args().any(|argument| argument == "-l") {
            command.args(["-l", "127.0.0.1:0"]);
        }
        let mut server = Server::spawn(stderr, command);
        let deadline = Instant::now() + PATIENCE;
        while server.addresses.is_empty() {
            assert!(Instant::now() < deadline, "no port file");
            server.addresses = server.ports().unwrap_or_default();
            thread::sleep(Duration::from_millis(2));
        }
        server
    }

    fn spawn(stderr: Stdio, mut command: Command) -> Server {
        let directory = Directory::new();
        command.arg("--port-file").arg(directory.path("ports"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        Server {
            child: command.spawn().unwrap(),
            directory,
            addresses: Vec::new(),
            listening: String::new(),
            before_listening: Vec::new(),
            log: None,
        }
    }

    fn ports(&self) -> io::Result<Vec<String>> {
        let text = fs::read_to_string(self.directory.path("ports"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Reads the log from now on, in a thread, so that waiting for a line has an end.
    fn read_log(&mut self) {
        let stderr = BufReader::new(self.child.stderr.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        self.log = Some(receiver);
    }

    fn next_line(&self) -> String {
        self.log.as_ref().unwrap().recv_timeout(PATIENCE).expect("the log ended or stalled")
    }

    fn expect_line(&self, part: &str) -> String {
        loop {
            let line = self.next_line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What the log holds up to the end of the process.
    fn rest_of_log(&self) -> Vec<String> {
        self.log.as_ref().unwrap().iter().collect()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The kernel holds none back any more.
    fn wait_until_signals_are_taken(&self) {
        let deadline = Instant::now() + PATIENCE;
        let status = format!("/proc/{}/status", self.child.id());
        let is_none = |line: &str| line.trim_end_matches('0').ends_with('\t');
        while !fs::read_to_string(&status)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"))
            .all(is_none)
        {
            assert!(Instant::now() < deadline, "it takes no signal");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(arguments: &str) -> Command {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_edgeloop")));
    command.args(arguments.split_whitespace());
    command
}

/// Without what the tester's own shell says to the program.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("EDGELOOP_")
            || ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE"].contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command
}

#[track_caller]
fn expect_failure(output: &Output, code: i32, culprit: &str) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("edgeloop: ") && stderr.ends_with('\n'), "{stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(culprit), "no {culprit:?} in {stderr:?}");
    assert!(output.stdout.is_empty());
}

/// Sends all, says that it is all, and returns all that comes back.
fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends until nothing more is taken, and never reads.
fn stuck_client(server: &Server) -> TcpStream {
    let (client, other) = (server.connect(), server.connect());
    common::send_until_blocked(&client, &[b'x'; 1 << 16], || {
        common::send(&other, b"x");
        common::expect_bytes(&other, b"x");
    });
    client
}

/// The members of an object without arrays and objects in it; each value as it is written. Panics
/// on anything else.
fn parse_flat_json(line: &str) -> BTreeMap<String, String> {
    let mut rest = line.strip_prefix('{').expect(line);
    let mut members = BTreeMap::new();
    loop {
        let key = take_json_value(&mut rest);
        assert!(key.starts_with('"'), "{line}");
        rest = rest.strip_prefix(':').expect(line);
        let value = take_json_value(&mut rest);
        let key = key.trim_matches('"').to_owned();
        assert!(members.insert(key, value).is_none(), "a key stands twice in {line}");
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    assert_eq!(rest, "}", "{line}");
    members
}

fn take_json_value(rest: &mut &str) -> String {
    let end = match rest.strip_prefix('"') {
        Some(text) => {
            let mut escaped = false;
            let closing = |c: char| {
                assert!(c >= ' ', "a bare control character in {text}");
                let closing = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closing
            };
            text.find(closing).expect(text) + 2
        }
        None => rest.find([',', '}']).expect(rest),
    };
    let (value, after) = rest.split_at(end);
    let plain = value.parse::<f64>().is_ok() || ["true", "false", "null"].contains(&value);
    assert!(value.starts_with('"') || plain, "{value} is no JSON");
    *rest = after;
    value.to_owned()
}

/// How often a test tries what depends on how soon its machine gets to it.
const ROUNDS: usize = 20;
