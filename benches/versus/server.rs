//! Starting the measured programs, each alone on its CPU, and ending them whatever happens.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Result, system};

pub(crate) const SERVER_CPU: usize = 0;
pub(crate) const CLIENT_CPU: usize = 1;

const START_TIMEOUT: Duration = Duration::from_secs(5);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What can be measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Program {
    /// The program of this package, or another build of it.
    Edgeloop(PathBuf),
    /// This very program as the featureless echo server.
    Floor,
    /// `redis-server` as found on the path.
    Redis,
}

impl Program {
    /// `floor`, `redis`, a path, or nothing: the program that was built with this bench.
    pub(crate) fn named(name: Option<String>) -> Result<Self> {
        match name.as_deref() {
            Some("floor") => Ok(Self::Floor),
            Some("redis") => Ok(Self::Redis),
            Some(path) => Ok(Self::Edgeloop(fs::canonicalize(path)?)),
            None => match option_env!("CARGO_BIN_EXE_edgeloop") {
                Some(path) => Ok(Self::Edgeloop(path.into())),
                None => Err("built without the program: give one by `--program PATH`".into()),
            },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Edgeloop(_) => "edgeloop",
            Self::Floor => "floor",
            Self::Redis => "redis",
        }
    }
}

/// A running server; dropped, it is asked to end, and is ended if it does not.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port_file: PathBuf,
    pub(crate) address: SocketAddrV4,
}

impl Server {
    /// `service` is edgeloop's subcommand, `extra` what it is given beside the defaults.
    pub(crate) fn start(program: &Program, service: &str, extra: &[String]) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let file = format!("edgeloop-versus-{}-{number}", std::process::id());
        let port_file = std::env::temp_dir().join(file);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(program)?);
        let mut command = match program {
            Program::Edgeloop(path) => edgeloop(path, service, &port_file, extra),
            Program::Floor => floor(&port_file)?,
            Program::Redis => redis(address.port()),
        };
        system::tie_child(&mut command, SERVER_CPU);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.name()))?;
        let mut server = Self { child, port_file, address };
        server.wait_until_listening(program)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_listening(&mut self, program: &Program) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            system::fail_if_interrupted()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at its start: {status}", program.name()).into());
            }
            let listening = match program {
                Program::Redis => answers_ping(self.address),
                _ => self.read_port_file()?,
            };
            if listening {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen after 5 s", program.name()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn read_port_file(&mut self) -> Result<bool> {
        let Ok(text) = fs::read_to_string(&self.port_file) else {
            return Ok(false);
        };
        let Some(line) = text.lines().next() else {
            return Ok(false);
        };
        self.address = line.parse().map_err(|_| format!("no IPv4 address: `{line}`"))?;
        Ok(true)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        system::terminate(self.child.id());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("versus: a server did not end within 5 s of SIGTERM; killing it");
                // Both can only fail for a process that is already gone.
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        // Redis never wrote one.
        let _ = fs::remove_file(&self.port_file);
    }
}

fn edgeloop(path: &Path, service: &str, port_file: &Path, extra: &[String]) -> Command {
    let mut command = Command::new(path);
    // Settings of the user's environment would be measured without being named.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EDGELOOP_") {
            command.env_remove(name);
        }
    }
    command.args([service, "--listen", "127.0.0.1:0", "-q", "--drain-timeout", "1s"]);
    command.arg("--port-file").arg(port_file).args(extra);
    command
}

fn floor(port_file: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "0"]).arg(port_file);
    Ok(command)
}

/// No persistence, and no limit on what waits for a subscriber: it is to lose nobody.
fn redis(port: u16) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--tcp-backlog", "4096"]);
    command.args(["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    command
}

/// Redis reports no port of its own choice, so one is found for it that is free just now.
fn free_port(program: &Program) -> Result<u16> {
    match program {
        Program::Redis => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
        _ => Ok(0),
    }
}

fn answers_ping(address: SocketAddrV4) -> bool {
    let ping = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    matches!(ping(), Ok(answer) if &answer == b"+PONG")
}
