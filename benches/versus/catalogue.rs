//! Who takes part, what each can do, and how it is started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::hall::Protocol;

/// What a program does when it is started so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Service {
    Echo,
    Broadcast,
    Web,
    Kv,
}

impl Service {
    /// Its peers, of which the first is what the others are compared with on the page.
    pub(crate) fn peers(self) -> impl Iterator<Item = &'static Peer> {
        PEERS.iter().filter(move |peer| peer.service == self)
    }

    /// What edgeloop is measured against, where nothing else is named.
    pub(crate) fn rival(self) -> &'static str {
        match self {
            Service::Echo => "floor-c",
            Service::Broadcast | Service::Kv => "redis",
            Service::Web => "nginx",
        }
    }
}

/// A row of the tables.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The name of the row.
    pub(crate) name: &'static str,
    /// The name of the program in the list of what was built.
    pub(crate) program: &'static str,
    pub(crate) service: Service,
    /// What publishers and subscribers speak; of no meaning to others.
    pub(crate) protocol: Protocol,
    start: Start,
    pub(crate) about: &'static str,
}

/// How a program learns its port.
#[derive(Debug)]
enum Start {
    /// As the last argument, after these words.
    Port(&'static [&'static str]),
    /// This service of edgeloop.
    Edgeloop(&'static str),
    Ncat,
    Redis,
    /// By a file of settings.
    Nats,
    Nginx,
}

const fn echo(
    name: &'static str,
    program: &'static str,
    words: &'static [&'static str],
    about: &'static str,
) -> Peer {
    of(Service::Echo, [name, program], Start::Port(words), about)
}

const fn of(
    service: Service,
    [name, program]: [&'static str; 2],
    start: Start,
    about: &'static str,
) -> Peer {
    Peer { name, program, service, protocol: Protocol::Lines, start, about }
}

const fn speaking(protocol: Protocol, peer: Peer) -> Peer {
    Peer { protocol, ..peer }
}

/// The first of each service is what the others are compared with.
pub(crate) const PEERS: &[Peer] = &[
    echo("floor-c", "floor-c", &[], "featureless loop in C on epoll, edge-triggered: the floor"),
    of(Service::Echo, EDGELOOP, Start::Edgeloop("echo"), "`edgeloop echo` with its defaults"),
    echo("floor-mio", "floor-mio", &[], "the same featureless loop on bare mio"),
    echo("tokio", "tokio", &["echo"], "a task for each connection, runtime of one thread"),
    echo("monoio-uring", "monoio", &["uring"], "a task for each connection, on io_uring"),
    echo("monoio-epoll", "monoio", &["epoll"], "the same on monoio's legacy driver"),
    echo("smol", "smol", &[], "a task for each connection, executor of one thread"),
    echo("go-net", "go-net", &[], "a goroutine for each connection"),
    echo(
        "gnet",
        "gnet",
        &["echo"],
        "one event loop, level-triggered, gnet's default; drops unsent output at a half-close",
    ),
    echo("evio", "evio", &[], "one event loop; no TCP_NODELAY, for which it has no option"),
    echo("libuv", "libuv", &[], "uv_try_write first, uv_write for the rest"),
    echo("libevent", "libevent", &[], "bufferevents"),
    of(
        Service::Broadcast,
        EDGELOOP,
        Start::Edgeloop("broadcast"),
        "`edgeloop broadcast` with its defaults",
    ),
    speaking(
        Protocol::Redis,
        of(Service::Broadcast, ["redis", "redis-server"], Start::Redis, "PUBLISH and SUBSCRIBE"),
    ),
    speaking(
        Protocol::Nats,
        of(Service::Broadcast, ["nats", "nats-server"], Start::Nats, "PUB and SUB"),
    ),
    of(
        Service::Broadcast,
        ["tokio", "tokio"],
        Start::Port(&["broadcast"]),
        "`tokio::sync::broadcast`, waiting lines written in one call",
    ),
    of(
        Service::Broadcast,
        ["gnet", "gnet"],
        Start::Port(&["broadcast"]),
        "a loop over all connections for each input",
    ),
    of(Service::Broadcast, ["ncat", "ncat"], Start::Ncat, "`ncat --broker`"),
    of(
        Service::Web,
        EDGELOOP,
        Start::Edgeloop("web"),
        "`edgeloop web` with its defaults, /plaintext",
    ),
    of(Service::Web, ["nginx", "nginx"], Start::Nginx, "`return 200`, one process, no access log"),
    of(Service::Kv, EDGELOOP, Start::Edgeloop("kv"), "`edgeloop kv` with its defaults"),
    of(Service::Kv, ["redis", "redis-server"], Start::Redis, "without persistence"),
];

/// Name and program.
const EDGELOOP: [&str; 2] = ["edgeloop", "edgeloop"];

impl Peer {
    /// Whether an echo is whole to a client that sends all, half-closes, and only then reads. The
    /// floors close a connection that does not take its echo at once, and gnet drops what the
    /// kernel has not taken when the end of the input comes.
    pub(crate) fn keeps_what_is_not_read_yet(&self) -> bool {
        !["floor-c", "floor-mio", "gnet"].contains(&self.name)
    }

    /// The command that serves on this port of 127.0.0.1 as one process. `scratch` is a directory
    /// for files of settings.
    fn command(&self, program: &Path, port: u16, scratch: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        // Settings of the user's environment would be measured without being named.
        for (name, _) in std::env::vars_os() {
            if name == "RUST_LOG" || name.to_string_lossy().starts_with("EDGELOOP_") {
                command.env_remove(name);
            }
        }
        command.env("GOMAXPROCS", "1");
        let text = port.to_string();
        match self.start {
            Start::Port(words) => command.args(words).arg(text),
            Start::Edgeloop(service) => command
                .args([service, "--listen", &format!("127.0.0.1:{port}"), "-q"])
                .args(["--drain-timeout", "1s"]),
            Start::Ncat => {
                command.args(["--broker", "--max-conns", "2000", "-l", "127.0.0.1", &text])
            }
            Start::Redis => command
                .args(["--bind", "127.0.0.1", "--port", &text, "--save", "", "--appendonly", "no"])
                .args(["--tcp-backlog", "4096", "--maxclients", "15000"]),
            Start::Nats => command.arg("-c").arg(write_nats_settings(port, scratch)?),
            Start::Nginx => {
                let settings = write_nginx_settings(port, scratch)?;
                command.arg("-p").arg(scratch).arg("-e").arg(scratch.join("nginx.log"));
                command.arg("-c").arg(settings)
            }
        };
        Ok(command)
    }
}

/// A peer and its program: what can be started.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) peer: &'static Peer,
    /// As the peer is called, unless there are two builds of it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Arguments beside its defaults.
    pub(crate) extra: Vec<String>,
}

impl Contender {
    pub(crate) fn of(peer: &'static Peer, program: &Path) -> Self {
        let (name, program) = (peer.name.to_owned(), program.to_owned());
        Self { peer, name, program, extra: Vec::new() }
    }

    pub(crate) fn command(&self, port: u16, scratch: &Path) -> Result<Command> {
        let mut command = self.peer.command(&self.program, port, scratch)?;
        command.args(&self.extra);
        Ok(command)
    }
}

/// Its own interval of pings would put pings between messages.
fn write_nats_settings(port: u16, scratch: &Path) -> Result<PathBuf> {
    let path = scratch.join("nats.conf");
    fs::write(&path, format!("listen: \"127.0.0.1:{port}\"\nping_interval: \"1h\"\n"))?;
    Ok(path)
}

fn write_nginx_settings(port: u16, scratch: &Path) -> Result<PathBuf> {
    let path = scratch.join("nginx.conf");
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = kinds.map(|kind| format!("  {kind}_temp_path {kind};\n")).concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\n\
         events {{ worker_connections 16384; multi_accept on; }}\n\
         http {{\n  access_log off;\n  default_type text/plain;\n{temporary}  \
         keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  server {{\n    \
         listen 127.0.0.1:{port} backlog=4096;\n    \
         location /plaintext {{ return 200 \"Hello, World!\"; }}\n  }}\n}}\n"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// What `run.sh` has built or found, by name: where it is and which version, or why it is not there.
#[derive(Debug)]
pub(crate) struct Programs(BTreeMap<String, std::result::Result<(PathBuf, String), String>>);

impl Programs {
    pub(crate) fn read(list: &Path) -> Result<Self> {
        let text = fs::read_to_string(list)?;
        let mut programs = BTreeMap::new();
        for line in text.lines() {
            let [name, path, rest] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("not a line of the list: `{line}`").into());
            };
            let entry = match path {
                "-" => Err(rest.to_owned()),
                _ => Ok((path.into(), rest.to_owned())),
            };
            programs.insert(name.to_owned(), entry);
        }
        Ok(Self(programs))
    }

    /// Where the program is, or why it is not there.
    pub(crate) fn path(&self, name: &str) -> std::result::Result<&Path, &str> {
        match self.0.get(name) {
            Some(Ok((path, _))) => Ok(path),
            Some(Err(reason)) => Err(reason),
            None => Err("not built"),
        }
    }

    /// Names with versions, and names with the reasons of their absence.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&str, std::result::Result<&str, &str>)> {
        self.0.iter().map(|(name, entry)| {
            (name.as_str(), entry.as_ref().map(|(_, version)| &version[..]).map_err(|r| &r[..]))
        })
    }
}
