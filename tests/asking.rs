//! What the program says of itself: the configuration that it would start with, completions, manual
//! pages, and how it was built.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use common::directory::Directory;

const SERVICES: [&str; 5] = ["echo", "broadcast", "chat", "kv", "web"];

// A configuration is checked.

/// Values that no service has by default, one for each kind of text that a value may be.
const UNUSUAL: &str = r#"
listen = ["127.0.0.1:0", "unix:a \"b\" ä"]
idle-timeout = "5m"
backlog = "1k"
max-connections = 50
reuse-port = "yes"
connect-rate = 5
connect-burst = 100
log-closes = ["reset", "memory"]
verbose = 1
[echo]
lines = true
prefix = "a\tb'"
[broadcast]
history = 3
[chat]
origin = ["https://a.example", "*"]
[web]
max-head = "4KiB"
[kv]
max-memory = "1GiB"
"#;

#[test]
fn printed_values_are_taken_back_and_change_nothing() {
    let dir = Directory::new();
    let file = dir.path("a.toml");
    fs::write(&file, UNUSUAL).unwrap();
    for service in SERVICES {
        let printed = ask(&format!("check-config {} --service {service}", file.display()), "");
        let again = ask(&format!("check-config - --service {service}"), &printed);
        assert_eq!(values(&again), values(&printed), "{service}");
        assert!(values(&printed).len() > 25, "{service}: {printed}");
        let defaults = ask(&format!("check-config - --service {service}"), "");
        let again = ask(&format!("check-config - --service {service}"), &defaults);
        assert_eq!(values(&again), values(&defaults), "the defaults of {service}");
    }
    let all = ask(&format!("check-config {}", file.display()), "");
    assert_eq!(values(&ask("check-config -", &all)), values(&all));
}

#[test]
fn each_option_of_a_service_has_a_value_or_the_rule_for_one() {
    for service in SERVICES {
        let printed = ask(&format!("check-config - --service {service}"), "");
        for option in options(service) {
            // What the short form says is said by the long one; a file does not name another one.
            if !["config", "port", "help"].contains(&option.as_str()) {
                let key = |line: &str| {
                    line.trim_start_matches("# ").split([' ', ':']).next() == Some(&option)
                };
                assert!(printed.lines().any(key), "{service} --{option}: {printed}");
            }
        }
    }
}

#[test]
fn each_value_has_its_source() {
    let dir = Directory::new();
    let file = dir.path("a.toml");
    fs::write(&file, "idle-timeout = '5m'\nbacklog = 7\nwrite-timeout = '9s'\n").unwrap();
    let check = format!("check-config {} --service echo", file.display());
    let mut command = program(&format!("{check} -- -v --write-timeout 8s"));
    let output = command.env("EDGELOOP_BACKLOG", "8").output().unwrap();
    let printed = text(&output);
    for line in [
        &format!("idle-timeout = \"5m\" # {}:1", file.display()),
        "backlog = 8 # EDGELOOP_BACKLOG",
        "write-timeout = \"8s\" # flag",
        "verbose = 1 # flag",
        "input-limit = \"64KiB\" # default",
        "# max-connections: what the descriptor limit allows # default",
        "# port-file: none # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    let mut command = program(&format!("{check} --no-env"));
    let output = command.env("EDGELOOP_BACKLOG", "8").output().unwrap();
    assert!(text(&output).contains(&format!("backlog = 7 # {}:2\n", file.display())));
}

#[test]
fn what_is_wrong_is_what_a_start_says_with_the_same_exit_code() {
    let dir = Directory::new();
    let file = dir.path("a.toml");
    for (service, text) in [
        ("echo", "backlog = 0"),
        ("echo", "\nidle-timout = '1s'"),
        ("echo", "idle-timeout = 5m"),
        ("echo", "output-limit = 5"),
        ("echo", "port = 1\nlisten = 'a:1'"),
        ("echo", "[echo]\nprefix = 'x'"),
        ("echo", "log-closes = ['rest']"),
        ("echo", "listen = 'unix:/a'\nsocket-group = 'no-such-group'"),
        ("echo", "listen = 'no-such-host.invalid:1'"),
        ("broadcast", "input-limit = '2MiB'"),
        ("chat", "[chat]\nmax-message = '1GiB'"),
        ("kv", "[kv]\nchannel-memory = 1"),
        ("web", "[web]\nmax-head = '4KiB'\nmax-request-line = '8KiB'"),
    ] {
        fs::write(&file, text).unwrap();
        let file = file.display();
        let started = program(&format!("{service} --config {file}")).output().unwrap();
        let checked =
            program(&format!("check-config {file} --service {service}")).output().unwrap();
        assert_eq!(error(&checked), error(&started), "{text}");
        assert_eq!(checked.status.code(), started.status.code(), "{text}");
        assert_ne!(checked.status.code(), Some(0), "{text}");
        assert!(checked.stdout.is_empty(), "{text}");
    }
    for arguments in ["check-config /no/such/file", "check-config", "check-config - -- -v"] {
        let output = program(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert_eq!(error(&output).lines().count(), 1, "{arguments}");
    }
}

#[test]
fn what_a_start_warns_of_is_told_once_beside_the_values() {
    let dir = Directory::new();
    let file = dir.path("a.toml");
    fs::write(&file, "connect-burst = 7\nsocket-mode = '660'\n").unwrap();
    let mut command = program(&format!("check-config {}", file.display()));
    // What was set while compiling is nobody's mistake.
    command.env("EDGELOOP_COMMIT", "abc");
    let output = command.env("EDGELOOP_IDEL_TIMEOUT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warnings = error(&output);
    let warnings: Vec<&str> = warnings.lines().collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].ends_with("did you mean EDGELOOP_IDLE_TIMEOUT?"), "{warnings:?}");
    assert!(warnings[1].contains("connect-burst") && warnings[1].contains("connect-rate"));
    assert!(warnings.iter().all(|line| line.starts_with("edgeloop: warning: ")), "{warnings:?}");
}

/// Without a service, those are checked that the file has something for.
#[test]
fn services_without_a_section_do_not_count_where_others_have_one() {
    let printed = ask(
        "check-config -",
        "input-limit = '2MiB'\noutput-limit = '16MiB'\n[echo]\nlines = true\n",
    );
    assert!(printed.contains("\n[echo]\n") && !printed.contains("\n[kv]\n"), "{printed}");
    let mut command = program("check-config -");
    let output = fed(&mut command, "input-limit = '2MiB'\noutput-limit = '16MiB'\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error(&output).contains("broadcast") && error(&output).contains("--service"),
        "{output:?}"
    );
    // A default that services do not share is no value of the file: it would be the value of all.
    let printed = ask("check-config -", "");
    assert!(printed.contains("# input-limit: \"1MiB\" with kv # default\n"), "{printed}");
}

#[test]
fn nothing_is_listened_on_and_no_file_is_touched() {
    let dir = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (ports, socket) = (dir.path("ports"), dir.path("socket"));
    // What a killed server has left, which a start would remove.
    fs::write(&ports, "127.0.0.1:1\n").unwrap();
    let listen = format!("['{}', 'unix:{}']", taken.local_addr().unwrap(), socket.display());
    let text = format!("listen = {listen}\nport-file = '{}'\n", ports.display());
    ask("check-config -", &text);
    let wrong = fed(&mut program("check-config - --service echo"), &format!("{text}backlog = 0"));
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&ports).unwrap(), "127.0.0.1:1\n");
    assert_eq!(dir.names(), ["ports"]);
}

#[test]
fn pipe_is_read_once() {
    let dir = Directory::new();
    let pipe = dir.path("pipe");
    let name = CString::new(pipe.to_str().unwrap()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &name,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let to_write = pipe.clone();
    // Opens once somebody reads, and for one reader.
    let writer = thread::spawn(move || fs::write(to_write, "backlog = 9\n").unwrap());
    let printed = ask(&format!("check-config {}", pipe.display()), "");
    writer.join().unwrap();
    assert!(printed.contains(&format!("backlog = 9 # {}:1\n", pipe.display())), "{printed}");
}

// Completions and manual pages.

#[test]
fn completions_know_every_command_and_option() {
    let dir = Directory::new();
    for (shell, check) in
        [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("elvish", ""), ("powershell", "")]
    {
        let script = ask(&format!("completions {shell}"), "");
        for command in commands() {
            assert!(script.contains(&command), "{shell} lacks {command}");
            for option in options(&command) {
                let flag =
                    if shell == "fish" { format!("-l {option}") } else { format!("--{option}") };
                assert!(script.contains(&flag), "{shell} lacks {flag} of {command}");
            }
        }
        let has_values = !["elvish", "powershell"].contains(&shell);
        assert!(!has_values || script.contains("idle_timeout"), "{shell} lacks --log-closes reset");
        let file = dir.path(shell);
        fs::write(&file, script).unwrap();
        if let Some(output) = run(check, &["-n", file.to_str().unwrap()]) {
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let script = format!(
        "source <({} completions bash)\n{}",
        common_program(),
        r#"try() { COMP_WORDS=(edgeloop "$@"); COMP_CWORD=$#; COMPREPLY=(); _edgeloop edgeloop "${!#}" "${COMP_WORDS[$#-1]}"; echo "${COMPREPLY[@]}"; }
           try ec; try check-config --service ch; try echo --when-full re; try kv --max-mem"#
    );
    let Some(output) = run("bash", &["-c", &script]) else { return };
    assert_eq!(text(&output), "echo\nchat\nrefuse\n--max-memory\n", "{output:?}");
}

#[test]
fn manual_pages_are_clean_and_have_every_command_and_option() {
    let dir = Directory::new();
    let pages = dir.path("man/man1");
    assert_eq!(ask(&format!("man {}", pages.display()), ""), "");
    let page = ask("man", "");
    assert_eq!(fs::read_to_string(pages.join("edgeloop.1")).unwrap(), page);
    let commands = commands();
    let names: BTreeSet<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = commands.iter().map(|command| format!("edgeloop-{command}.1"));
    assert_eq!(names, expected.chain(["edgeloop.1".into()]).collect());
    for command in &commands {
        assert!(
            page.contains(&format!("edgeloop\\-{}(1)", command.replace('-', "\\-"))),
            "edgeloop.1 lacks {command}"
        );
        let file = pages.join(format!("edgeloop-{command}.1"));
        let page = fs::read_to_string(&file).unwrap();
        for option in options(command) {
            let flag = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&flag), "edgeloop-{command}.1 lacks --{option}");
        }
        expect_clean(&file);
    }
    expect_clean(&pages.join("edgeloop.1"));
}

fn expect_clean(page: &Path) {
    let page = page.to_str().unwrap();
    let is_clean = |output: &Output| output.status.success() && output.stderr.is_empty();
    for (name, arguments) in [
        ("groff", &["-man", "-Tutf8", "-ww", page][..]),
        ("man", &["--warnings", "-E", "UTF-8", "-l", page]),
    ] {
        let output = run(name, arguments);
        assert!(output.as_ref().is_none_or(is_clean), "{output:?}");
    }
    let Some(output) = run("mandoc", &["-Tlint", page]) else { return };
    // A build without a commit has no date.
    let lines = text_of(&output.stdout);
    let complaints: Vec<&str> =
        lines.lines().filter(|line| !line.contains("missing date")).collect();
    assert_eq!(complaints, [""; 0]);
}

// How it was built.

#[test]
fn long_version_says_how_the_program_was_built() {
    let long = ask("version", "");
    let first = ask("--version", "");
    assert_eq!(first.lines().count(), 1);
    assert!(long.starts_with(&first), "{long}");
    let names: Vec<&str> =
        long.lines().skip(1).map(|line| line.split(": ").next().unwrap()).collect();
    let expected = ["commit", "rustc", "target", "features", "poller", "descriptors", "allocator"];
    assert_eq!(names, expected);
    assert!(long.lines().all(|line| !line.ends_with(": ")), "{long}");
    if cfg!(target_os = "linux") {
        assert!(long.contains("\npoller: epoll\n") && long.contains("-linux"), "{long}");
    }
    for arguments in ["--version -v", "-v --version", "-V -v", "-Vv"] {
        assert_eq!(ask(arguments, ""), long, "{arguments}");
    }
}

#[test]
fn output_that_cannot_be_written_is_one_line_and_a_closed_pipe_is_none() {
    for arguments in ["completions bash", "man", "version", "check-config /dev/null --service echo"]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let Ok(full) = full else { return };
        let output = program(arguments).stdout(full).output().unwrap();
        assert_eq!((output.status.code(), error(&output).lines().count()), (Some(1), 1));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), error(&output).as_str()), (Some(0), ""), "{arguments}");
    }
}

// What the tests above are made of.

fn common_program() -> &'static str {
    env!("CARGO_BIN_EXE_edgeloop")
}

fn program(arguments: &str) -> Command {
    let mut command = Command::new(common_program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EDGELOOP_") {
            command.env_remove(name);
        }
    }
    command.args(arguments.split_whitespace());
    command
}

/// What the program prints, which is expected to be content.
#[track_caller]
fn ask(arguments: &str, input: &str) -> String {
    text(&fed(&mut program(arguments), input))
}

fn fed(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    // What asks for nothing reads nothing.
    assert!(written.is_ok() || written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text_of(&output.stdout)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn error(output: &Output) -> String {
    text_of(&output.stderr)
}

/// The values that were printed, without their sources.
fn values(printed: &str) -> Vec<&str> {
    printed.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value)).collect()
}

/// A program that may not be installed.
fn run(name: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    match output {
        Err(error) if error.kind() == ErrorKind::NotFound || name.is_empty() => None,
        output => Some(output.unwrap()),
    }
}

/// The commands of the program, but for `help`.
fn commands() -> Vec<String> {
    let help = ask("--help", "");
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<String> =
        names.filter(|name| !["", "help"].contains(name)).map(str::to_owned).collect();
    assert!(names.len() > 9, "{names:?}");
    names
}

/// The long names of the options of a command.
fn options(command: &str) -> Vec<String> {
    let help = ask(&format!("{command} --help"), "");
    let flags = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = flags.filter_map(|line| line.split_once("--")).map(|(_, rest)| {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
    });
    names.collect()
}
