//! The programs under attack, as child processes: edgeloop, and others that speak the same protocol.
//! The kernel tells what they hold and what they work.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::directory::Directory;
use crate::common::program::PROGRAM;
use crate::common::{PATIENCE, connect, send};
use edgeloop::Address;

/// A running program; it dies with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    directory: Directory,
    group: Option<Group>,
}

impl Server {
    /// `edgeloop` with these arguments, on a free port.
    pub(crate) fn start(arguments: &str) -> Server {
        Server::start_within(arguments, None)
    }

    /// The same in a memory cgroup of so many bytes, where one can be made.
    pub(crate) fn start_within(arguments: &str, memory: Option<usize>) -> Server {
        Server::launch(arguments, memory, None)
    }

    /// The same with an allocator that gives the free end of its heap back at once, and not only from
    /// some dozens of MiB on.
    pub(crate) fn start_trimming(arguments: &str) -> Server {
        Server::launch(arguments, None, Some(("MALLOC_TRIM_THRESHOLD_", "131072")))
    }

    fn launch(arguments: &str, memory: Option<usize>, environment: Option<(&str, &str)>) -> Server {
        let directory = Directory::new();
        let port_file = directory.path("port");
        let mut command = Command::new(program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EDGELOOP_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.envs(environment);
        command.args(arguments.split_whitespace()).args(["-l", "127.0.0.1:0", "--port-file"]);
        command.arg(&port_file).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(directory.path("log")).unwrap());
        let mut child = command.spawn().expect("cannot start the program");
        let group = memory.and_then(|bytes| Group::around(child.id(), bytes));
        let address = until("the server to listen", || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(directory.path("log")).unwrap_or_default();
                panic!("the server has ended, {status}: {log}");
            }
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Server { child, name: "edgeloop", address, directory, group }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.name == "edgeloop"
    }

    /// Redis without a file, or nothing where it is not installed.
    pub(crate) fn redis(arguments: &str) -> Option<Server> {
        let fixed =
            "--save  --appendonly no --protected-mode no --maxclients 15000 --bind 127.0.0.1";
        Server::other("redis-server", |port, directory| {
            let port = port.to_string();
            let mut all = vec!["--port".into(), port];
            all.extend(fixed.split(' ').map(String::from));
            all.extend(["--dir".into(), directory.display().to_string()]);
            all.extend(arguments.split_whitespace().map(String::from));
            all
        })
    }

    /// nginx as it answers `/plaintext`, one process.
    pub(crate) fn nginx() -> Option<Server> {
        Server::other("nginx", |port, directory| {
            let path = directory.join("nginx.conf");
            let place = directory.display();
            let text = format!(
                "daemon off; master_process off; pid {place}/pid; error_log {place}/error crit;\n\
                 worker_rlimit_nofile 20000; events {{ worker_connections 15000; }}\n\
                 http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
                 fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
                 server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000;\n\
                 location / {{ return 200 'Hello, World!'; }} }} }}\n"
            );
            fs::write(&path, text).unwrap();
            vec!["-c".into(), path.display().to_string(), "-p".into(), place.to_string()]
        })
    }

    pub(crate) fn nats() -> Option<Server> {
        Server::other("nats-server", |port, _| {
            ["-a", "127.0.0.1", "-p", &port.to_string()].map(String::from).to_vec()
        })
    }

    pub(crate) fn ncat_broker() -> Option<Server> {
        Server::other("ncat", |port, _| {
            let port = port.to_string();
            ["--broker", "-m", "1500", "-l", "127.0.0.1", &port].map(String::from).to_vec()
        })
    }

    fn other(
        name: &'static str,
        arguments: impl FnOnce(u16, &Path) -> Vec<String>,
    ) -> Option<Server> {
        let Some(program) = find_program(name) else {
            println!("skipped: {name} is missing");
            return None;
        };
        let directory = Directory::new();
        // None of them tells which port it got.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(program);
        command.args(arguments(address.port(), directory.itself()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        until("the other server to listen", || {
            assert!(child.try_wait().unwrap().is_none(), "{name} has ended");
            TcpStream::connect(address).ok()
        });
        Some(Server { child, name, address, directory, group: None })
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(&Address::Tcp(self.address))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What `work` does while the server stands still lies before it when it goes on: it comes in one
    /// batch of events, and who is served first is not a matter of who was scheduled first.
    pub(crate) fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        until("the server to stop", || {
            let text = fs::read_to_string(&stat).unwrap();
            text.rsplit_once(')').unwrap().1.trim_start().starts_with('T').then_some(())
        });
        let done = work();
        self.signal(Signal::CONT);
        done
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn status(&self, field: &str) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kib.unwrap_or(0usize) << 10
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that were ever resident.
    pub(crate) fn peak(&self) -> usize {
        self.status("VmHWM:")
    }

    /// What the cgroup counted, sockets and files included.
    pub(crate) fn peak_of_group(&self) -> Option<usize> {
        self.group.as_ref()?.peak()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Processor time, to the nanosecond.
    pub(crate) fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// The share of a processor that it takes while nobody asks anything.
    pub(crate) fn idle_share(&self) -> f64 {
        let (before, since) = (self.processor_time(), Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        (self.processor_time() - before).as_secs_f64() / since.elapsed().as_secs_f64()
    }

    /// The counters of edgeloop's log line, as `name=value` has them; 0 for what is not there.
    pub(crate) fn counters(&self) -> impl Fn(&str) -> u64 + use<> {
        let log = self.directory.path("log");
        let lines = |text: &str| text.lines().filter(|line| line.contains("accepted=")).count();
        let before = lines(&fs::read_to_string(&log).unwrap_or_default());
        self.signal(Signal::USR1);
        let line = until("the counters", || {
            let text = fs::read_to_string(&log).ok()?;
            (lines(&text) > before && text.ends_with('\n')).then_some(())?;
            text.lines().rfind(|line| line.contains("accepted=")).map(String::from)
        });
        move |name| {
            let parts = line.split_whitespace().filter_map(|part| part.split_once('='));
            parts
                .filter(|(key, _)| *key == name)
                .filter_map(|(_, value)| value.parse::<u64>().ok())
                .sum()
        }
    }

    /// One line is answered by one line.
    pub(crate) fn is_answering(&self) -> bool {
        let stream = self.connect();
        send(&stream, b"PING\r\n");
        let mut byte = [0];
        std::io::Read::read(&mut &stream, &mut byte).is_ok_and(|len| len == 1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two processes that want all the processor time there is, as long as this lives.
pub(crate) struct BusyLoops([Child; 2]);

impl BusyLoops {
    pub(crate) fn start() -> BusyLoops {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]);
        BusyLoops([(); 2].map(|()| shell.spawn().unwrap()))
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A memory cgroup, of either version.
struct Group(PathBuf);

impl Group {
    fn around(pid: u32, bytes: usize) -> Option<Group> {
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let path = Path::new(root).join(format!("edgeloop-isolation-{pid}"));
            let group = Group(path.clone());
            if fs::create_dir(&path).is_ok()
                && fs::write(path.join(limit), bytes.to_string()).is_ok()
                && fs::write(path.join("cgroup.procs"), pid.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        println!("skipped: no memory cgroup can be made here");
        None
    }

    fn peak(&self) -> Option<usize> {
        ["memory.max_usage_in_bytes", "memory.peak"]
            .iter()
            .find_map(|file| fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only an empty one can be removed: the server was waited for, the kernel may still count it.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// edgeloop as cargo has built it, or another build: that of before a change, to compare.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("ISOLATION_PROGRAM").map_or(PROGRAM.into(), PathBuf::from)
}

/// In `PATH`, or where `benches/peers/run.sh` builds programs of others.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), built])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Looks until there is something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
