//! The file of `--port-file`: what it replaces and what it does not, and that it never tells of a
//! server that is not there.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::directory::Directory;
use common::program::{PROGRAM, Program};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

#[test]
fn file_is_there_as_long_as_its_server() {
    let dir = Directory::new();
    let ports = dir.path("ports");
    let mut server = start(&ports);
    assert_eq!(fs::read_to_string(&ports).unwrap(), format!("{}\n", server.address));
    assert_eq!(dir.names(), ["ports"], "a temporary file was left");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(dir.names(), [""; 0], "the file outlived its server");
}

#[test]
fn killed_servers_file_does_not_survive_a_start_that_fails() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("--listen {}", busy.local_addr().unwrap());
    for mistake in
        [&busy, "--lisen x", "--listen nowhere", "--output-limit 5", "--config absent", "extra"]
    {
        let dir = Directory::new();
        let ports = dir.path("ports");
        kill(start(&ports));
        assert_eq!(dir.names(), ["ports"]);
        let output = fail(&format!("echo --port-file {} {mistake}", ports.display()));
        assert_ne!(output.status.code(), Some(0));
        assert_eq!(dir.names(), [""; 0], "left after {mistake}");
    }
}

#[test]
fn killed_servers_file_that_a_configuration_names_does_not_survive_a_start_that_fails_either() {
    for mistake in ["", "zzz = 1", "listen = nowhere", "[echo]\nhistory = 3"] {
        let dir = Directory::new();
        let (ports, config) = (dir.path("ports"), dir.path("config"));
        let right = format!("port-file = '{}'\n", ports.display());
        fs::write(&config, &right).unwrap();
        let line = format!("echo --config {}", config.display());
        kill(Program::start(&line));
        assert!(ports.exists());
        fs::write(&config, right + mistake).unwrap();
        fail(&if mistake.is_empty() { line + " --typo" } else { line });
        assert_eq!(dir.names(), ["config"], "left after {mistake}");
    }
}

// A pipe says what it says only once: whoever reads it again is told nothing, or waits for ever.
#[test]
fn port_file_that_a_piped_configuration_names_does_not_survive_a_start_that_fails() {
    for mistake in ["zzz = 1", "listen = nowhere", "output-limit = 5"] {
        let dir = Directory::new();
        let ports = dir.path("ports");
        kill(start(&ports));
        let mut command = Command::new(PROGRAM);
        command.args(["echo", "--config", "/dev/stdin"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let text = format!("port-file = '{}'\n{mistake}\n", ports.display());
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("/dev/stdin:2"), "{error}");
        assert_eq!(dir.names(), [""; 0], "left after {mistake}");
    }
}

#[test]
fn running_servers_file_survives_a_start_that_fails() {
    let dir = Directory::new();
    let ports = dir.path("ports");
    let server = start(&ports);
    for mistake in [format!("--listen {}", server.address), "--lisen x".into(), "-p x".into()] {
        fail(&format!("echo --port-file {} {mistake}", ports.display()));
        assert_eq!(fs::read_to_string(&ports).unwrap(), format!("{}\n", server.address));
    }
}

#[test]
fn ending_server_leaves_its_successors_file() {
    let dir = Directory::new();
    let ports = dir.path("ports");
    let mut first = start(&ports);
    let second = start(&ports);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(fs::read_to_string(&ports).unwrap(), format!("{}\n", second.address));
}

#[test]
fn failing_start_removes_nothing_but_a_list_of_addresses() {
    let dir = Directory::new();
    let file = dir.path("file");
    let numbers: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let addresses = "127.0.0.1:7000\n".repeat(5000);
    for text in [
        "127.0.0.1:7000\nremember the milk\n",
        "s3cr3t-token\n",
        "7000\n",
        "127.0.0.1:7000",
        "127.0.0.1:7000\n\n",
        "localhost:7000\n",
        "unix:relative path\nof two lines\n",
        &numbers,
        &format!("{addresses}s3cr3t-token\n"),
        &addresses,
    ] {
        fs::write(&file, text).unwrap();
        for mistake in ["--output-limit 5", "--typo"] {
            fail(&format!("echo --port-file {} {mistake}", file.display()));
            assert!(fs::read_to_string(&file).unwrap() == text, "{mistake} took {:.40}", text);
        }
    }
    for text in ["127.0.0.1:7000\n", "[::1]:7000\nunix:/run/a b.sock\n"] {
        fs::write(&file, text).unwrap();
        fail(&format!("echo --port-file {} --typo", file.display()));
        assert_eq!(dir.names(), [""; 0], "{text}");
    }
}

#[test]
fn only_a_server_removes_a_port_file() {
    let dir = Directory::new();
    let ports = dir.path("ports");
    let text = "127.0.0.1:7000\n";
    fs::write(&ports, text).unwrap();
    for line in ["load 7000 --port-file", "ehco --port-file", "--port-file", "help --port-file"] {
        fail(&format!("{line} {}", ports.display()));
        assert_eq!(fs::read_to_string(&ports).unwrap(), text, "{line}");
    }
    let mut load = Command::new(PROGRAM);
    load.args(["load", "7000", "--typo"]).env("EDGELOOP_PORT_FILE", &ports);
    assert!(!load.output().unwrap().status.success());
    assert_eq!(fs::read_to_string(&ports).unwrap(), text);
}

#[test]
fn device_behind_a_link_stays_and_so_does_the_link() {
    let dir = Directory::new();
    let link = dir.path("link");
    symlink("/dev/null", &link).unwrap();
    let mut server = start(&link);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn pipe_gets_the_addresses_once_somebody_reads() {
    let dir = Directory::new();
    let pipe = dir.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // It listens although nobody reads.
    let mut server = start(&pipe);
    let mut text = String::new();
    File::open(&pipe).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("{}\n", server.address));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn pipe_that_nobody_reads_holds_up_nothing() {
    let dir = Directory::new();
    let pipe = dir.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut server = start(&pipe);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn link_to_stdout_is_stdout() {
    let dir = Directory::new();
    let link = dir.path("link");
    for target in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["echo", "-p", "0", "--port-file"]).arg(&link);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let server = Program::of(child);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{}\n", server.address), "{target}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

#[test]
fn stream_that_is_a_file_is_not_cut() {
    let dir = Directory::new();
    let log = dir.path("log");
    for descriptor in [1, 3] {
        fs::write(&log, "before\n").unwrap();
        let mut shell = Command::new("sh");
        let stream = format!("/dev/fd/{descriptor}");
        let script =
            format!("exec '{PROGRAM}' echo -p 0 --port-file {stream} {descriptor}>>\"$0\"");
        shell.arg("-c").arg(script).arg(&log).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Program::of(shell.spawn().unwrap());
        let text = format!("before\n{}\n", server.address);
        assert_eq!(fs::read_to_string(&log).unwrap(), text, "{stream}");
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(fs::read_to_string(&log).unwrap(), text, "{stream}");
    }
}

#[test]
fn file_behind_a_link_is_written_in_place_and_emptied() {
    let dir = Directory::new();
    let (link, file) = (dir.path("link"), dir.path("file"));
    fs::write(&file, "an older and longer text than any address\n").unwrap();
    symlink(&file, &link).unwrap();
    let mut server = start(&link);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", server.address));
    server.signal(Signal::TERM);
    server.wait();
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    // What a killed one has left there is wiped out as well.
    kill(start(&link));
    assert_ne!(fs::read_to_string(&file).unwrap(), "");
    fail(&format!("echo --port-file {} --output-limit 5", link.display()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn link_to_nothing_is_not_followed() {
    let dir = Directory::new();
    let link = dir.path("link");
    symlink(dir.path("elsewhere"), &link).unwrap();
    let output = fail(&format!("echo -p 0 --port-file {}", link.display()));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(dir.names(), ["link"]);
}

#[test]
fn temporary_file_follows_no_link() {
    let dir = Directory::new();
    let (ports, precious) = (dir.path("ports"), dir.path("precious"));
    fs::write(&precious, "precious").unwrap();
    // The shell plants it under its own number, which the program then has.
    let script = format!(
        "ln -s '{precious}' '{ports}'.$$-0.tmp; exec '{PROGRAM}' echo -p 0 --port-file '{ports}'",
        precious = precious.display(),
        ports = ports.display(),
    );
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).stdout(Stdio::null()).stderr(Stdio::piped());
    let server = Program::of(shell.spawn().unwrap());
    assert_eq!(fs::read_to_string(&ports).unwrap(), format!("{}\n", server.address));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// A server on a free port that writes its addresses there.
fn start(ports: &Path) -> Program {
    Program::start(&format!("echo --port-file {}", ports.display()))
}

/// Ends a server so that it cannot clean up.
fn kill(mut server: Program) {
    server.signal(Signal::KILL);
    server.wait();
}

#[track_caller]
fn fail(arguments: &str) -> Output {
    let output = Command::new(PROGRAM).args(arguments.split_whitespace()).output().unwrap();
    assert!(!output.status.success(), "{arguments}");
    output
}
