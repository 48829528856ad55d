//! Making connections: a bounded number at a time, from several addresses in turns, and how long
//! each took.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::io::ErrorKind::{AddrInUse, AddrNotAvailable};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, Socket, Type};

use super::fault::Fault;
use super::note::ConnectCounts;
use super::plan::{Plan, PutLayer};
use super::route::Route;
use crate::reactor::{Address, Context, Origin, Token};

/// Connects that wait, that are under way, and that are done.
pub(super) struct Dialler {
    route: Route,
    layer: Option<PutLayer>,
    /// For each address of the route.
    sources: Vec<Vec<Source>>,
    /// Connects under way, first exchange included, beyond which the others wait.
    limit: usize,
    queue: VecDeque<usize>,
    attempts: HashMap<Token, Attempt>,
    /// Connected, and the first answer is awaited.
    proving: usize,
    pub(super) counts: ConnectCounts,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    client: usize,
    began: u64,
}

/// A source address, and the port to try next. The kernel's own search for a free port takes a
/// millisecond each when thousands are in use; going round takes a try or two.
struct Source {
    address: IpAddr,
    ports: RangeInclusive<u16>,
    next: u16,
}

impl Source {
    fn new(address: IpAddr) -> Source {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let text = text.unwrap_or_default();
        let mut bounds = text.split_whitespace().flat_map(str::parse);
        let ports = match (bounds.next(), bounds.next()) {
            (Some(low), Some(high)) if low < high => low..=high,
            _ => PORTS,
        };
        // Not where the run before began: its ports are still cooling down.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = u32::from(ports.end() - ports.start()) + 1;
        let next = ports.start() + (now.subsec_micros() % count) as u16;
        Source { address, ports, next }
    }

    fn connect(
        &mut self,
        cx: &mut Context<'_>,
        target: &Address,
        layer: Option<&PutLayer>,
    ) -> io::Result<Token> {
        let mut adopt = |socket| {
            let origin = Origin::Dialled { to: target.clone(), data: 0 };
            match layer {
                None => cx.adopt(socket, origin),
                Some(layer) => cx.adopt_layered(socket, origin, layer.clone().once()),
            }
        };
        let mut dialled = Err(AddrInUse.into());
        for _ in 0..PORT_TRIES {
            let source = SocketAddr::new(self.address, self.next);
            dialled = call_from(source, target).and_then(&mut adopt);
            self.next = match self.next == *self.ports.end() {
                true => *self.ports.start(),
                false => self.next + 1,
            };
            // In use, or still cooling down after an earlier connection.
            let is_taken = |error: &io::Error| matches!(error.kind(), AddrInUse | AddrNotAvailable);
            if !dialled.as_ref().is_err_and(is_taken) {
                break;
            }
        }
        dialled
    }
}

/// Begins to connect from an address of this machine. Port 0 would let the kernel look for a free one.
fn call_from(source: SocketAddr, to: &Address) -> io::Result<Socket> {
    let Address::Tcp(to) = to else {
        let text = "a Unix socket has no source address";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(*to), kind, Some(Protocol::TCP))?;
    // Otherwise the ports of connections that ended within the last minute count as taken.
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    match socket.connect(&(*to).into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        // Under way, which an event will tell.
        _ => Ok(socket),
    }
}

/// Linux has a number of its own for it.
const EINPROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };

impl Dialler {
    pub(super) fn new(plan: &Plan, route: Route) -> io::Result<Self> {
        let sources = |to| plan.sources_towards(to).into_iter().map(Source::new).collect();
        Ok(Dialler {
            sources: route.addresses().iter().map(sources).collect(),
            route,
            layer: plan.layer.clone(),
            limit: plan.connects_in_flight,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            proving: 0,
            counts: ConnectCounts::new()?,
        })
    }

    /// Lets so many connects be under way.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn enqueue(&mut self, client: usize) {
        self.queue.push_back(client);
    }

    /// Nobody is to be connected any more.
    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// Only these are still to be connected; returns the others.
    pub(super) fn keep_queued(&mut self, is_wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let others = self.queue.iter().copied().filter(|client| !is_wanted(*client)).collect();
        self.queue.retain(|client| is_wanted(*client));
        others
    }

    /// Counts from here on.
    pub(super) fn begin(&mut self) {
        (self.counts.attempted, self.counts.established, self.counts.slow) = (0, 0, 0);
        self.counts.took.reset();
    }

    /// Whether nothing is under way and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way() == 0
    }

    /// The next client to connect, if one more may be under way: while the address is sought, one.
    pub(super) fn next(&mut self) -> Option<usize> {
        let limit = if self.route.is_open() { 1 } else { self.limit };
        if self.under_way() < limit { self.queue.pop_front() } else { None }
    }

    /// Begins to connect a client.
    pub(super) fn dial(
        &mut self,
        cx: &mut Context<'_>,
        client: usize,
        now: u64,
    ) -> Result<(), Fault> {
        self.counts.attempted += 1;
        let mut dialled = self.connect(cx, client);
        while dialled.is_err() && self.route.go_on() {
            dialled = self.connect(cx, client);
        }
        let token = dialled.map_err(|error| Fault::of_connect(&error))?;
        self.attempts.insert(token, Attempt { client, began: now });
        Ok(())
    }

    fn connect(&mut self, cx: &mut Context<'_>, client: usize) -> io::Result<Token> {
        let sources = &mut self.sources[self.route.place()];
        let place = client % sources.len().max(1);
        let (address, layer) = (self.route.address(), self.layer.as_ref());
        match (sources.get_mut(place), layer) {
            (Some(source), _) => source.connect(cx, address, layer),
            (None, Some(layer)) => cx.connect_layered(address, 0, layer.clone().once()),
            (None, None) => cx.connect(address, 0),
        }
    }

    /// A connect succeeded: whose, and when it began. The first answer is awaited now.
    pub(super) fn opened(&mut self, token: Token, now: u64) -> Option<(usize, u64)> {
        let Attempt { client, began } = self.attempts.remove(&token)?;
        let took = now.saturating_sub(began);
        self.route.found();
        self.counts.established += 1;
        self.counts.slow += u64::from(took > SLOW_NS);
        self.counts.took.saturating_record(took);
        self.proving += 1;
        Some((client, began))
    }

    /// A connect failed: whose it was. `None` where that client is the next to try another address.
    pub(super) fn failed(&mut self, token: Token) -> Option<usize> {
        let client = self.attempts.remove(&token)?.client;
        if !self.route.go_on() {
            return Some(client);
        }
        self.counts.attempted -= 1;
        self.queue.push_front(client);
        None
    }

    /// The first answer is there, or never will be.
    pub(super) fn settled(&mut self) {
        self.proving = self.proving.saturating_sub(1);
    }

    fn under_way(&self) -> usize {
        self.attempts.len() + self.proving
    }
}

/// Ports in a row that may be taken before the source counts as used up.
const PORT_TRIES: u32 = 1000;
/// The kernel's default.
const PORTS: RangeInclusive<u16> = 32_768..=60_999;
/// A connect that takes longer has lost its first packet, which is sent again after a second.
const SLOW_NS: u64 = 900_000_000;
