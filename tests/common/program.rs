//! The built program as a child process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::Address;
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, connect};

/// A running program; it dies with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: Address,
    log: Receiver<String>,
    before: Vec<String>,
}

impl Program {
    /// `edgeloop` with these arguments, on a free port.
    pub(crate) fn start(arguments: &str) -> Program {
        Program::spawn(Command::new(PROGRAM), arguments)
    }

    /// The same with at most so many descriptors.
    pub(crate) fn start_with_descriptors(limit: usize, arguments: &str) -> Program {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {limit}; exec '{PROGRAM}' \"$@\"")).arg("sh");
        Program::spawn(shell, arguments)
    }

    fn spawn(mut command: Command, arguments: &str) -> Program {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EDGELOOP_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args(arguments.split_whitespace()).args(["-l", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Program::of(command.spawn().expect("cannot start the program"))
    }

    /// A child that logs to stderr and says there where it listens.
    pub(crate) fn of(mut child: Child) -> Program {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (address, before) = (Address::Unix("".into()), Vec::new());
        let mut program = Program { child, address, log, before };
        let line = program.expect_listening();
        let address = line.split_once("addr=").expect(&line).1.split_whitespace().next().unwrap();
        let address = address.trim_matches('"').split(',').next().unwrap();
        let address = address.trim_matches('"');
        program.address = address.strip_prefix("tls:").unwrap_or(address).parse().expect(&line);
        program
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// Keeps what is said before it.
    fn expect_listening(&mut self) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).expect("it does not say where it listens");
            if line.contains(" listening ") || line.contains("\"listening\"") {
                return line;
            }
            self.before.push(line);
        }
    }

    /// Lines logged before the one that says where it listens.
    pub(crate) fn log_before(&self) -> &[String] {
        &self.before
    }

    #[track_caller]
    pub(crate) fn expect_line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).expect("the log ended or stalled");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Lines logged and not looked at yet.
    pub(crate) fn log_so_far(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Processor time used so far; the kernel counts it in hundredths of a second.
    pub(crate) fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_edgeloop");
