//! A peer that runs, alone on its CPU, and is ended whatever happens.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::Contender;
use crate::machine::SERVER_CPU;
use crate::{Result, system};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The port was free when it was chosen, and may be taken when the server comes to it.
const ATTEMPTS: usize = 3;

/// A running server; dropped, it is asked to end, and is ended if it does not.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddrV4,
    stderr: PathBuf,
}

impl Server {
    pub(crate) fn start(contender: &Contender, scratch: &Path) -> Result<Self> {
        Self::start_as(contender, scratch, |command| command)
    }

    /// The same with a command that runs the contender's.
    pub(crate) fn start_as(
        contender: &Contender,
        scratch: &Path,
        wrapped: impl Fn(Command) -> Command,
    ) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(contender, scratch, &wrapped) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn start_once(
        contender: &Contender,
        scratch: &Path,
        wrapped: &impl Fn(Command) -> Command,
    ) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let stderr = scratch.join("stderr");
        let mut command = wrapped(contender.command(port, scratch)?);
        system::tie_child(&mut command, SERVER_CPU);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr)?)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", contender.name))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut server = Self { child, address, stderr };
        server.wait_until_listening(&contender.name)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server said last, for the report of a failure.
    pub(crate) fn last_words(&mut self) -> String {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => format!("; the server ended: {status}"),
            _ => String::new(),
        };
        let text = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        match text.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{status}; it said: {}", line.trim()),
            None => status,
        }
    }

    fn wait_until_listening(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            system::fail_if_interrupted()?;
            if self.child.try_wait()?.is_some() {
                let words = self.last_words();
                return Err(format!("{name} ended at its start{words}").into());
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{name} does not listen after 10 s").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        system::terminate(self.child.id());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Both can only fail for a process that is already gone.
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}
