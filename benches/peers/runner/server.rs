//! A peer that runs, alone on its CPU, and is ended whatever happens.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::Peer;
use crate::{Result, system};

pub const SERVER_CPU: usize = 0;
pub const CLIENT_CPU: usize = 1;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The port was free when it was chosen, and may be taken when the server comes to it.
const ATTEMPTS: usize = 3;

/// A running server; dropped, it is asked to end, and is ended if it does not.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddrV4,
    stderr: PathBuf,
}

impl Server {
    pub fn start(peer: &Peer, program: &Path, scratch: &Path) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(peer, program, scratch) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn start_once(peer: &Peer, program: &Path, scratch: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let stderr = scratch.join("stderr");
        let mut command = peer.command(program, port, scratch)?;
        system::tie_child(&mut command, SERVER_CPU);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr)?)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", peer.name))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut server = Self { child, address, stderr };
        server.wait_until_listening(peer)?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server said last, for the report of a failure.
    pub fn last_words(&mut self) -> String {
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

    fn wait_until_listening(&mut self, peer: &Peer) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            system::fail_if_interrupted()?;
            if self.child.try_wait()?.is_some() {
                let words = self.last_words();
                return Err(format!("{} ended at its start{words}", peer.name).into());
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen after 10 s", peer.name).into());
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
