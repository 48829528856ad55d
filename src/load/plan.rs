//! What is to be measured, and how.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use crate::reactor::{Address, Layer};

/// A measurement, described. Start from [`Plan::new`] and change what you need.
///
/// ```
/// use std::time::Duration;
/// use edgeloop::load::{Mode, Plan};
///
/// let mut plan = Plan::new("127.0.0.1:7000".parse()?, Mode::Echo);
/// plan.connections = 100;
/// plan.duration = Some(Duration::from_secs(30));
/// plan.check()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub target: Address,
    /// Further addresses of the same server, as a name may have them; at most 15. The first of all
    /// that accepts a connection is measured, and stands in the report. Default none.
    pub alternatives: Vec<Address>,
    /// What is put on each connection, such as TLS; for TCP. Default nothing.
    pub layer: Option<PutLayer>,
    /// What is said to it.
    pub mode: Mode,
    /// Connections at once; with a ramp, in its last step. Default 50.
    pub connections: usize,
    /// Adds connections step by step, each step measured for itself. Default: one step.
    pub ramp: Option<Ramp>,
    /// How long each step is measured, after its warm-up. Default 10 s; none only where `messages`
    /// ends it.
    pub duration: Option<Duration>,
    /// End a step once so many messages were answered; there is no warm-up then. Default: never.
    pub messages: Option<u64>,
    /// How long there is traffic before the clock starts. Default 1 s.
    pub warmup: Duration,
    /// Bytes of a message. Default 64; 64 KiB in `Stream`; none in `Idle`.
    pub size: usize,
    /// The most messages that one connection has in flight. Default 1; 16 in `Stream`.
    pub pipeline: usize,
    /// Messages due each second, over all connections: an open loop. Default: a closed loop, in
    /// which each answer is followed by the next message.
    pub rate: Option<f64>,
    /// Bursts, in which more messages are due than `rate` says. Default none.
    pub pulse: Option<Pulse>,
    /// Poll without waiting while messages are due within the resolution of the poll, a
    /// millisecond. Costs a whole CPU for each thread. Default off.
    pub spin: bool,
    /// Threads, each with a reactor and its share of the connections. Default 1.
    pub threads: usize,
    /// Source addresses, used in turns. Default none: the system chooses, except where a loopback
    /// target has more connections than one address has ports for.
    pub sources: Vec<IpAddr>,
    /// How long a connect may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take. Default 10 s.
    pub reply_timeout: Duration,
    /// Connects that may be under way at once while connections are made. Default 256, which any
    /// backlog holds.
    pub connects_in_flight: usize,
    /// Chooses the bytes that are sent. Default 1.
    pub seed: u64,
    /// Processes whose CPU time and memory are the server's. Default none: looked for, when the
    /// target is on this machine.
    pub server_pids: Vec<u32>,
}

/// What puts a layer on the socket of a connection. The handshake of the layer is a part of the connect.
///
/// ```
/// # #[cfg(feature = "tls")] {
/// use edgeloop::load::PutLayer;
/// use edgeloop::tls::{TlsClient, Trust};
///
/// let tls = TlsClient::new(&Trust::Anybody, &[])?;
/// let layer = PutLayer::new(tls.wrap("localhost")?);
/// # drop(layer);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct PutLayer(Arc<Put>);

type Put = dyn Fn(TcpStream) -> io::Result<Box<dyn Layer>> + Send + Sync;

impl PutLayer {
    /// The layer that `put` makes, on each of the threads.
    pub fn new(
        put: impl Fn(TcpStream) -> io::Result<Box<dyn Layer>> + Send + Sync + 'static,
    ) -> Self {
        PutLayer(Arc::new(put))
    }

    /// For one connection.
    pub(super) fn once(self) -> impl FnOnce(TcpStream) -> io::Result<Box<dyn Layer>> + 'static {
        move |socket| (self.0)(socket)
    }
}

impl fmt::Debug for PutLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PutLayer")
    }
}

/// What is said to the server, and what it has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes, which it returns.
    Echo,
    /// Lines, each of which it returns with `prefix` in front.
    Lines {
        /// What the server puts before each line.
        prefix: String,
    },
    /// As `Echo`, with large messages of which many are in flight: the throughput in bytes.
    Stream,
    /// Lines from so many of the connections, each of which it delivers to all others.
    Broadcast {
        /// Connections that send. All connections receive.
        publishers: usize,
    },
    /// Commands of the Redis protocol.
    Redis(RedisCommand),
    /// `GET` of a path by HTTP/1.1.
    Http {
        /// The value of the `Host` field.
        host: String,
        /// The path, with its query.
        path: String,
    },
    /// Nothing: connections are opened and held. With a `size` each has one message echoed first.
    Idle,
    /// Connects, has one message echoed, closes, and again.
    Churn,
}

impl Mode {
    /// The name of the mode on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Echo => "echo",
            Mode::Lines { .. } => "lines",
            Mode::Stream => "stream",
            Mode::Broadcast { .. } => "broadcast",
            Mode::Redis(_) => "redis",
            Mode::Http { .. } => "http",
            Mode::Idle => "idle",
            Mode::Churn => "churn",
        }
    }
}

/// A command of the Redis protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisCommand {
    /// `PING`, answered with `+PONG`.
    Ping,
    /// `SET` of `size` bytes to a key of the connection's own.
    Set,
    /// `GET` of that key, which was set before the clock started; every byte is compared.
    Get,
    /// `INCR` of a counter of the connection's own, which was set to zero before the clock started;
    /// every number is compared.
    Incr,
    /// `MSET` of `size` bytes to each of ten keys of the connection's own.
    Mset,
    /// `PUBLISH` of `size` bytes on a channel.
    Publish,
}

/// Connections added step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Connections in the first step.
    pub first: usize,
    /// Connections added with each further step, until there are [`Plan::connections`].
    pub add: usize,
}

/// Bursts in an open loop, at regular times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pulse {
    /// Messages due each second in a burst, instead of [`Plan::rate`].
    pub rate: f64,
    /// How long a burst is; less than `every`.
    pub duration: Duration,
    /// From the beginning of a burst to that of the next; the first comes when the clock has run for so
    /// long, so that it is known what is usual.
    pub every: Duration,
}

impl Plan {
    /// The most bursts of a step.
    pub const PULSES_MAX: usize = 1000;

    /// The most addresses that a server may have, the target included: 16, since a connect to each of
    /// them may take its whole timeout.
    pub const ADDRESSES_MAX: usize = 16;

    /// The default measurement of a server.
    pub fn new(target: Address, mode: Mode) -> Plan {
        Plan {
            target,
            alternatives: Vec::new(),
            layer: None,
            connections: 50,
            ramp: None,
            duration: Some(Duration::from_secs(10)),
            messages: None,
            warmup: Duration::from_secs(1),
            size: match mode {
                Mode::Stream => 64 << 10,
                Mode::Idle => 0,
                _ => 64,
            },
            pipeline: if mode == Mode::Stream { 16 } else { 1 },
            mode,
            rate: None,
            pulse: None,
            spin: false,
            threads: 1,
            sources: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(10),
            connects_in_flight: 256,
            seed: 1,
            server_pids: Vec::new(),
        }
    }

    /// Checks that the plan can be carried out as far as that can be known beforehand.
    ///
    /// # Errors
    /// `InvalidInput`, with a sentence that names the field.
    pub fn check(&self) -> io::Result<()> {
        let publishers = match self.mode {
            Mode::Broadcast { publishers } => publishers,
            _ => 1,
        };
        let is_broadcast = matches!(self.mode, Mode::Broadcast { .. });
        let size_min = match self.mode {
            Mode::Idle => 0,
            Mode::Broadcast { .. } => BROADCAST_SIZE_MIN,
            _ => 1,
        };
        let connections_min = if is_broadcast { 2 } else { 1 };
        let first = self.ramp.map_or(self.connections, |ramp| ramp.first);
        within("connections", self.connections, connections_min, CONNECTIONS_MAX)?;
        within("threads", self.threads, 1, THREADS_MAX.min(self.connections))?;
        within("size", self.size, size_min, IN_FLIGHT_MAX)?;
        within("pipeline", self.pipeline, 1, IN_FLIGHT_MAX / self.size.max(1))?;
        within("alternatives", self.alternatives.len(), 0, Plan::ADDRESSES_MAX - 1)?;
        within("connects_in_flight", self.connects_in_flight, 1, CONNECTIONS_MAX)?;
        // Somebody only receives: he says in which order the messages came.
        let publishers_max = if is_broadcast { first.saturating_sub(1) } else { 1 };
        within("publishers", publishers, 1, publishers_max)?;
        within("the ramp's first step", first, connections_min, self.connections)?;
        let duration = self.duration.unwrap_or(self.reply_timeout);
        let spans = [("duration", duration), ("reply_timeout", self.reply_timeout)];
        for (name, span) in spans.into_iter().chain([("connect_timeout", self.connect_timeout)]) {
            within(&format!("{name} in milliseconds"), span.as_millis() as usize, 1, SPAN_MAX_MS)?;
        }
        self.check_sources()?;
        match self.contradiction().or_else(|| self.pulse_contradiction()) {
            Some(text) => Err(io::Error::new(io::ErrorKind::InvalidInput, text)),
            None => Ok(()),
        }
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.ramp.is_some_and(|ramp| ramp.add == 0) {
            return Some("the ramp adds no connections");
        }
        if self.rate.is_some_and(|rate| !(RATE_MIN..=RATE_MAX).contains(&rate)) {
            return Some("rate must be between 0.001 and 100,000,000 messages a second");
        }
        if self.messages == Some(0) {
            return Some("messages is 0; it must be at least 1");
        }
        if matches!(self.mode, Mode::Broadcast { .. }) && self.threads > 1 {
            return Some("broadcast needs one thread: only that sees one order");
        }
        if self.spin && self.rate.is_none() {
            return Some("spin needs a rate: a closed loop has nothing to wait for");
        }
        if matches!(self.mode, Mode::Idle) && (self.rate.is_some() || self.messages.is_some()) {
            return Some("idle connections have neither a rate nor messages");
        }
        if self.duration.is_none() && self.messages.is_none() {
            return Some("duration is none; then messages must say when it ends");
        }
        if let Mode::Http { host, path } = &self.mode
            && host.chars().chain(path.chars()).any(|it| it.is_whitespace() || it.is_control())
        {
            return Some("path and host go into a request as they are: write %20 for a space");
        }
        None
    }

    fn pulse_contradiction(&self) -> Option<&'static str> {
        let pulse = self.pulse?;
        let ends = self.duration.unwrap_or(Duration::MAX);
        if self.rate.is_none() {
            return Some("pulse needs a --rate, which holds between the bursts");
        }
        if !(RATE_MIN..=RATE_MAX).contains(&pulse.rate) {
            return Some("pulse must have a rate between 0.001 and 100,000,000 messages a second");
        }
        if pulse.duration.is_zero() || pulse.duration >= pulse.every {
            return Some("pulse must last for less time than lies between two of them, and not 0");
        }
        if pulse.every >= ends {
            return Some("pulse would first come when the time is over: EVERY must be shorter");
        }
        let count = ends.as_nanos() / pulse.every.as_nanos();
        if self.duration.is_some() && count > Plan::PULSES_MAX as u128 {
            return Some("pulse comes too often for that time; at most 1000 times in a step");
        }
        let before = self.rate? * pulse.every.as_secs_f64();
        if self.messages.is_some_and(|messages| messages as f64 <= before) {
            return Some(
                "pulse would first come when all messages are sent: EVERY must be shorter",
            );
        }
        None
    }

    /// A connect has both its ends in one family of addresses.
    fn check_sources(&self) -> io::Result<()> {
        self.addresses().try_for_each(|address| self.check_sources_towards(address))
    }

    fn check_sources_towards(&self, address: &Address) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        match (address, self.sources.first()) {
            (Address::Unix(_), _) if self.layer.is_some() => {
                wrong("layer is for TCP, and the target is a Unix socket".into())
            }
            (Address::Unix(_), Some(source)) => {
                wrong(format!("source is {source}, but a Unix socket has no source address"))
            }
            (Address::Tcp(to), _) => {
                let stray = self.sources.iter().find(|it| it.is_ipv4() != to.is_ipv4());
                stray.map_or(Ok(()), |source| {
                    wrong(format!("source is {source}, from where no way leads to {to}"))
                })
            }
            (Address::Unix(_), None) => Ok(()),
        }
    }

    /// Every address of the server, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.target).chain(&self.alternatives)
    }

    /// Connections of each step, of which there is at least one.
    pub fn steps(&self) -> Vec<usize> {
        let Some(ramp) = self.ramp else { return vec![self.connections] };
        let mut steps: Vec<usize> =
            (ramp.first..self.connections).step_by(ramp.add.max(1)).collect();
        steps.push(self.connections);
        steps
    }

    /// The source addresses to use: those that were asked for, or as many as are needed so that
    /// none comes near the end of its ports.
    pub fn effective_sources(&self) -> Vec<IpAddr> {
        self.sources_towards(&self.target)
    }

    /// The same for one of the addresses.
    pub(super) fn sources_towards(&self, address: &Address) -> Vec<IpAddr> {
        let is_loopback =
            matches!(address, Address::Tcp(to) if to.is_ipv4() && to.ip().is_loopback());
        let enough = self.connections <= CONNECTIONS_PER_SOURCE;
        if !self.sources.is_empty() || !is_loopback || enough {
            return self.sources.clone();
        }
        let needed = self.connections.div_ceil(CONNECTIONS_PER_SOURCE);
        (0..needed as u32)
            .map(|place| IpAddr::V4(Ipv4Addr::from(SECOND_LOOPBACK.to_bits() + place)))
            .collect()
    }

    /// Messages in flight when every connection has as many as it may have.
    pub(super) fn in_flight(&self, connections: usize) -> usize {
        match self.mode {
            Mode::Idle => 0,
            Mode::Churn => connections,
            Mode::Broadcast { publishers } => publishers * self.pipeline,
            _ => connections * self.pipeline,
        }
    }
}

fn within(name: &str, value: usize, least: usize, most: usize) -> io::Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let text = format!("{name} is {value}; it must be between {least} and {most}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// A source address has 28,232 ports by default, and finding a free one slows down early.
const CONNECTIONS_PER_SOURCE: usize = 10_000;
/// The whole of 127.0.0.0/8 is this machine; the first address is everybody's.
const SECOND_LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Room for publisher and number, a newline, and letters enough to tell one message of a broadcast from
/// another.
const BROADCAST_SIZE_MIN: usize = 32;
const CONNECTIONS_MAX: usize = 1 << 20;
const THREADS_MAX: usize = 256;
/// Bytes in flight on one connection: far below the largest output that a reactor may queue, so
/// that a client which is not answered still reads.
pub(super) const IN_FLIGHT_MAX: usize = 64 << 20;
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1e8;
/// Twelve days, which is as far as stamps of connections reach.
const SPAN_MAX_MS: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new("127.0.0.1:7000".parse().unwrap(), Mode::Echo)
    }

    fn http(path: &str) -> Mode {
        Mode::Http { host: "h".into(), path: path.into() }
    }

    fn with_addresses(count: usize) -> Plan {
        Plan { alternatives: vec![plan().target; count - 1], ..plan() }
    }

    #[test]
    fn default_is_valid() {
        plan().check().unwrap();
        with_addresses(Plan::ADDRESSES_MAX).check().unwrap();
        assert_eq!(plan().steps(), [50]);
    }

    #[test]
    fn steps_go_up_to_the_connections() {
        let ramp = Some(Ramp { first: 50, add: 50 });
        assert_eq!(Plan { ramp, connections: 170, ..plan() }.steps(), [50, 100, 150, 170]);
        assert_eq!(Plan { ramp, connections: 150, ..plan() }.steps(), [50, 100, 150]);
        assert_eq!(Plan { ramp, connections: 50, ..plan() }.steps(), [50]);
    }

    #[test]
    fn sources_are_chosen_where_one_has_too_few_ports() {
        let sources = |plan: Plan| plan.effective_sources().len();
        assert_eq!(sources(Plan { connections: 10_000, ..plan() }), 0);
        assert_eq!(sources(Plan { connections: 19_000, ..plan() }), 2);
        let elsewhere = "192.0.2.1:7000".parse().unwrap();
        assert_eq!(sources(Plan { connections: 19_000, target: elsewhere, ..plan() }), 0);
        let one = vec!["127.0.0.9".parse().unwrap()];
        assert_eq!(sources(Plan { connections: 19_000, sources: one, ..plan() }), 1);
    }

    #[test]
    fn mistakes_are_named() {
        for (plan, text) in [
            (Plan { connections: 0, ..plan() }, "connections is 0"),
            (Plan { size: 0, ..plan() }, "size is 0"),
            (Plan { size: 1 << 20, pipeline: 1 << 10, ..plan() }, "pipeline is 1024"),
            (Plan { rate: Some(0.0), ..plan() }, "rate"),
            (Plan { rate: Some(f64::NAN), ..plan() }, "rate"),
            (Plan { spin: true, ..plan() }, "spin needs a rate"),
            (Plan { threads: 51, ..plan() }, "threads is 51"),
            (Plan { messages: Some(0), ..plan() }, "messages is 0"),
            (with_addresses(Plan::ADDRESSES_MAX + 1), "alternatives is 16"),
            (Plan { mode: Mode::Broadcast { publishers: 50 }, ..plan() }, "publishers is 50"),
            (Plan { mode: Mode::Broadcast { publishers: 1 }, threads: 2, ..plan() }, "one thread"),
            (Plan { ramp: Some(Ramp { first: 1, add: 0 }), ..plan() }, "ramp"),
            (Plan { duration: Some(Duration::ZERO), ..plan() }, "duration"),
            (Plan { duration: None, ..plan() }, "duration"),
            (Plan { sources: vec!["::1".parse().unwrap()], ..plan() }, "source is ::1"),
            (
                Plan {
                    target: Address::Unix("socket".into()),
                    sources: vec!["127.0.0.2".parse().unwrap()],
                    ..plan()
                },
                "Unix socket",
            ),
            (Plan { mode: http("/a b"), ..plan() }, "%20"),
            (Plan { mode: http("/ HTTP/1.1\r\nX:"), ..plan() }, "%20"),
        ] {
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
