//! HTTP: the program's `/plaintext` and nginx's `return 200`, the same answer to the same client.
//! The client is `wrk`, which checks no byte; `tests/web.rs` does that.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::probe::Usage;
use crate::server::{CLIENT_CPU, Program, SERVER_CPU, Server};
use crate::setting::Setting;
use crate::{Result, extra_arguments, system};

/// `web`: pairs of the program and nginx.
pub(crate) fn web(mut options: Options) -> Result<()> {
    let connections: usize = options.number("connections", 50)?;
    let depth: usize = options.number("depth", 1)?;
    let pairs: usize = options.number("pairs", 5)?;
    let seconds: u32 = options.number("seconds", 3)?;
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    println!("web: {connections} connections, {depth} requests in flight on each");
    println!("unit: a request; CPU time of the server");
    let _cubic = Setting::cubic();
    // Both are up all the time, each idle while the other is asked.
    let server = Server::start(&program, "web", &extra)?;
    let nginx = Nginx::start()?;
    let wrk = Wrk { connections, depth, seconds };
    let ours = (server.pid(), format!("http://{}/plaintext", server.address));
    let theirs = (nginx.child.id(), format!("http://127.0.0.1:{}/plaintext", nginx.port));
    wrk.cost(ours.0, &ours.1)?;
    wrk.cost(theirs.0, &theirs.1)?;
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        let (first, second) = if pair % 2 == 0 { (&ours, &theirs) } else { (&theirs, &ours) };
        let (first, second) = (wrk.cost(first.0, &first.1)?, wrk.cost(second.0, &second.1)?);
        let (own, other) = if pair % 2 == 0 { (first, second) } else { (second, first) };
        println!("  {own:7.0} ns   nginx {other:7.0} ns   ratio {:.3}", own / other);
        ratios.push(own / other);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[pairs - 1]);
    println!("{} / nginx: {:.3} ({least:.3} .. {most:.3})", program.name(), ratios[pairs / 2]);
    Ok(())
}

struct Wrk {
    connections: usize,
    depth: usize,
    seconds: u32,
}

impl Wrk {
    /// Nanoseconds of the server's CPU time for a request.
    fn cost(&self, pid: u32, url: &str) -> Result<f64> {
        system::fail_if_interrupted()?;
        let script = Scratch::new("lua");
        // One request after the other is what wrk does without a script.
        let lua = "init = function(args)\n  local all = {}\n  for i = 1, tonumber(args[1]) do all[i] = \
            wrk.format() end\n  batch = table.concat(all)\nend\nrequest = function() return batch end\n";
        fs::write(&script.0, lua)?;
        let mut command = Command::new("wrk");
        command.args(["-t", "1", "-c", &self.connections.to_string()]);
        command.args(["-d", &format!("{}s", self.seconds)]);
        if self.depth > 1 {
            command.arg("-s").arg(&script.0);
        }
        command.args([url, "--", &self.depth.to_string()]);
        system::tie_child(&mut command, CLIENT_CPU);
        let before = Usage::of(pid, SERVER_CPU)?;
        let output = command.output().map_err(|error| format!("cannot start wrk: {error}"))?;
        let used = Usage::of(pid, SERVER_CPU)? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.contains("errors") || text.contains("Non-2xx") {
            return Err(format!("wrk met errors:\n{text}").into());
        }
        let line = text.lines().find(|line| line.contains(" requests in "));
        let count = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        Ok(used.cpu_and_deferred_ns() as f64 / count.parse::<f64>()?)
    }
}

/// nginx in one process, as the program is one, with nothing to do but to answer.
struct Nginx {
    child: Child,
    port: u16,
    _directory: Scratch,
}

impl Nginx {
    fn start() -> Result<Self> {
        let directory = Scratch::new("nginx");
        fs::create_dir_all(&directory.0)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let at = |name: &str| directory.0.join(name).display().to_string();
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr crit;\n\
             events {{ worker_connections 20000; }}\nhttp {{\naccess_log off;\n\
             keepalive_requests 1000000000;\n{places}server {{\nlisten 127.0.0.1:{port} backlog=4096;\n\
             location /plaintext {{ default_type text/plain; return 200 'Hello, World!'; }}\n}}\n}}\n",
            at("pid")
        );
        fs::write(at("conf"), config)?;
        let mut command = Command::new("nginx");
        command.args(["-c", &at("conf")]).stdout(Stdio::null());
        system::tie_child(&mut command, SERVER_CPU);
        let child = command.spawn().map_err(|error| format!("cannot start nginx: {error}"))?;
        let mut nginx = Nginx { child, port, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if nginx.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err("nginx does not listen".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        system::terminate(self.child.id());
        // It can only fail for a process that is already gone.
        let _ = self.child.wait();
    }
}

/// A path of our own in the directory for such, gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(kind: &str) -> Self {
        let name = format!("edgeloop-versus-{}.{kind}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}
