//! Requests and replies of the Redis protocol, against `redis-server`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::figures::{Histogram, Plan, Traffic, alternate};
use crate::options::Options;
use crate::server::{Program, Server};
use crate::setting::Setting;
use crate::system::{self, Epoll, Event};
use crate::{Result, extra_arguments, seconds, stalled};

/// What is asked, and by `redis-benchmark` too: the same commands with values of the same size.
const COMMANDS: [&str; 5] = ["ping", "set", "get", "incr", "mset"];
/// Keys that one `MSET` sets.
const MSET_KEYS: usize = 10;

/// `kv`: for each command pairs of the program and Redis.
pub(crate) fn kv(mut options: Options) -> Result<()> {
    let connections: usize = options.number("connections", 50)?;
    let depth: usize = options.number("depth", 16)?;
    let size: usize = options.number("size", 3)?;
    let pairs = options.number("pairs", 5)?;
    let time = seconds(&mut options, "seconds", 2.0)?;
    let warm_up = seconds(&mut options, "warm-up", 0.5)?;
    let slice = Some(seconds(&mut options, "slice", 0.3)?);
    let commands = options.text("commands").unwrap_or_else(|| COMMANDS.join(","));
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    // A batch must fit into the socket's buffer, or the client would have to wait with half of it.
    if depth * (size + 64) * MSET_KEYS > 64 * 1024 {
        return Err("depth x size: at most 64 KiB in flight for each connection".into());
    }
    println!(
        "kv: {connections} connections, {depth} requests in flight each, values of {size} bytes"
    );
    println!("unit: a verified reply; latency is service time in a closed loop, of a batch");
    let _cubic = Setting::cubic();
    let programs = [program, Program::Redis];
    for command in commands.split(',') {
        if !COMMANDS.contains(&command) {
            return Err(format!("`{command}` is none of {}", COMMANDS.join(",")).into());
        }
        println!("--- {command}");
        let plan = Plan { pairs, warm_up, time, slice };
        alternate([programs[0].name(), "redis"], plan, |side| {
            let extra = if side == 0 { &extra[..] } else { &[] };
            let server = Server::start(&programs[side], "kv", extra)?;
            Ok((Askers::new(&server, command, connections, depth, size)?, server))
        })?;
    }
    Ok(())
}

/// Clients that each send a batch of requests, compare every byte of the replies, and send the next.
struct Askers {
    epoll: Epoll,
    askers: Vec<Asker>,
    depth: usize,
    replies: u64,
    latency: Histogram,
    is_on: bool,
}

struct Asker {
    stream: TcpStream,
    batch: Vec<u8>,
    /// What the batch will be answered with, and how much of that has come.
    expected: Vec<u8>,
    received: usize,
    /// Where the command counts, how far it has come.
    count: Option<u64>,
    begun: Option<Instant>,
}

impl Askers {
    fn new(
        server: &Server,
        command: &str,
        connections: usize,
        depth: usize,
        size: usize,
    ) -> Result<Self> {
        let epoll = Epoll::new()?;
        let value = "x".repeat(size);
        let mut askers = Vec::new();
        for index in 0..connections {
            let mut stream = TcpStream::connect(server.address)?;
            stream.set_nodelay(true)?;
            stream.write_all(&request(&["SET", &format!("key:{index:012}"), &value]))?;
            stream.read_exact(&mut [0; 5])?;
            stream.set_nonblocking(true)?;
            epoll.add(stream.as_raw_fd(), index as u64)?;
            let (one, reply) = command_and_reply(command, index, &value);
            let count = (command == "incr").then_some(0);
            let (batch, expected) = (one.repeat(depth), reply.repeat(depth));
            askers.push(Asker { stream, batch, expected, received: 0, count, begun: None });
        }
        let latency = Histogram::new();
        Ok(Askers { epoll, askers, depth, replies: 0, latency, is_on: false })
    }

    fn turn(&mut self) -> Result<()> {
        let mut events = [Event::EMPTY; 64];
        let count = self.epoll.wait(&mut events, 10)?;
        for event in &events[..count] {
            let asker = &mut self.askers[event.data() as usize];
            if let Some(time) = asker.receive()? {
                self.replies += self.depth as u64;
                self.latency.record(time.as_nanos() as u64);
                if self.is_on {
                    asker.ask(self.depth)?;
                }
            }
        }
        Ok(())
    }
}

impl Traffic for Askers {
    fn start(&mut self) -> Result<()> {
        self.is_on = true;
        self.askers.iter_mut().try_for_each(|asker| asker.ask(self.depth))
    }

    fn turn_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut seen = (self.replies, Instant::now());
        while Instant::now() < end {
            system::fail_if_interrupted()?;
            self.turn()?;
            stalled(&mut seen, self.replies)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.is_on = false;
        let mut seen = (self.replies, Instant::now());
        while self.askers.iter().any(|asker| asker.begun.is_some()) {
            self.turn()?;
            stalled(&mut seen, self.replies)?;
        }
        Ok(())
    }

    fn units(&self) -> u64 {
        self.replies
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    /// A batch is timed, and not each of its replies.
    fn in_flight(&self) -> Option<u64> {
        None
    }
}

impl Asker {
    fn ask(&mut self, depth: usize) -> Result<()> {
        if let Some(count) = &mut self.count {
            self.expected.clear();
            for _ in 0..depth {
                *count += 1;
                write!(self.expected, ":{count}\r\n")?;
            }
        }
        (self.received, self.begun) = (0, Some(Instant::now()));
        Ok(self.stream.write_all(&self.batch)?)
    }

    /// Reads what has come; says how long the batch took once all of it is there.
    fn receive(&mut self) -> Result<Option<Duration>> {
        let mut buffer = [0; 16 << 10];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let expected = self.expected.get(self.received..self.received + len);
        if expected != Some(&buffer[..len]) {
            let shown = &buffer[..len.min(200)];
            return Err(format!("not the reply: `{}`", shown.escape_ascii()).into());
        }
        self.received += len;
        if self.received < self.expected.len() {
            return Ok(None);
        }
        Ok(self.begun.take().map(|begun| begun.elapsed()))
    }
}

fn command_and_reply(command: &str, index: usize, value: &str) -> (Vec<u8>, Vec<u8>) {
    let key = format!("key:{index:012}");
    let reply = |text: &str| text.as_bytes().to_vec();
    match command {
        "ping" => (request(&["PING"]), reply("+PONG\r\n")),
        "set" => (request(&["SET", &key, value]), reply("+OK\r\n")),
        "get" => (request(&["GET", &key]), reply(&format!("${}\r\n{value}\r\n", value.len()))),
        "incr" => (request(&["INCR", &format!("counter:{index:012}")]), Vec::new()),
        _ => {
            let keys: Vec<String> =
                (0..MSET_KEYS).map(|number| format!("key:{index:06}{number:06}")).collect();
            let mut words = vec!["MSET"];
            keys.iter().for_each(|key| words.extend([key.as_str(), value]));
            (request(&words), reply("+OK\r\n"))
        }
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}
