//! A crowd of echo clients in one thread: each keeps a fixed number of messages in flight and
//! compares every byte that comes back with what it sent.
//!
//! The byte at position `p` of a connection's stream is taken from a table whose length is prime,
//! at a place that depends on the connection. A byte that is lost, doubled, moved or that belongs
//! to somebody else therefore differs from what is expected.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::figures::{Histogram, Traffic};
use crate::system::{self, Epoll, Event};
use crate::{Result, stalled};

const BUFFER: usize = 64 * 1024;
const EVENTS: usize = 1024;
/// A source address has 28,232 ports by default, and looking for a free one slows down early.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// Bytes that tell by their value where they belong.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// Prime, and so without a common divisor with any message or buffer size.
    const PERIOD: u64 = 65_521;

    /// `shape` turns a random byte into one that the protocol can carry.
    pub(crate) fn new(shape: fn(u8) -> u8) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let period: Vec<u8> = (0..Self::PERIOD)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shape((state >> 56) as u8)
            })
            .collect();
        // Longer than the period, so that a slice that begins near its end has no seam.
        Self(period.iter().copied().cycle().take(period.len() + BUFFER).collect())
    }

    /// At most `BUFFER` bytes of the endless stream, from this position on.
    #[inline]
    pub(crate) fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = (position % Self::PERIOD) as usize;
        &self.0[start..start + length]
    }
}

/// One client's place in its stream: `received <= sent <= goal`, in bytes.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    received: u64,
    sent: u64,
    goal: u64,
    connected: bool,
}

/// How the crowd came in.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    dialled_at: Vec<Instant>,
    echoed: usize,
    /// Refused, reset, or without an echo at the deadline.
    pub(crate) failures: usize,
    /// Since the first connect.
    pub(crate) all_connected: Duration,
    pub(crate) all_echoed: Duration,
    pub(crate) slowest_connect: Duration,
}

impl Arrival {
    fn settled(&self) -> usize {
        self.echoed + self.failures
    }
}

/// How the crowd is to come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    pub(crate) connections: usize,
    /// Connects whose first echo has not come back; the next one waits for one of them.
    pub(crate) in_flight_max: usize,
    pub(crate) deadline: Duration,
}

/// The clients, their epoll, and what they have counted.
pub(crate) struct Crowd {
    epoll: Epoll,
    events: Vec<Event>,
    input: Vec<u8>,
    pattern: Pattern,
    clients: Vec<Option<Client>>,
    message_size: u64,
    depth: u64,
    /// When each message in flight was sent, `depth` places for each client, used in turns.
    sent_at: Vec<u64>,
    epoch: Instant,
    refill: bool,
    verified: u64,
    latency: Histogram,
}

impl Crowd {
    pub(crate) fn new(message_size: usize, depth: usize) -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            events: vec![Event::EMPTY; EVENTS],
            input: vec![0; BUFFER],
            pattern: Pattern::new(|byte| byte),
            clients: Vec::new(),
            message_size: message_size as u64,
            depth: depth as u64,
            sent_at: Vec::new(),
            epoch: Instant::now(),
            refill: false,
            verified: 0,
            latency: Histogram::new(),
        })
    }

    /// Connects the crowd, and has one message of each client echoed, which proves it accepted.
    pub(crate) fn arrive(&mut self, target: SocketAddrV4, ramp: Ramp) -> Result<Arrival> {
        let mut arrival = Arrival::default();
        let start = Instant::now();
        self.sent_at = vec![0; ramp.connections * self.depth as usize];
        while arrival.settled() < ramp.connections {
            system::fail_if_interrupted()?;
            while arrival.dialled_at.len() < ramp.connections
                && arrival.dialled_at.len() - arrival.settled() < ramp.in_flight_max
            {
                arrival.dialled_at.push(Instant::now());
                self.dial(target, ramp.connections, &mut arrival)?;
            }
            let count = self.epoll.wait(&mut self.events, 10)?;
            for place in 0..count {
                let event = self.events[place];
                self.on_arrival(event, start, &mut arrival)?;
            }
            if start.elapsed() > ramp.deadline {
                arrival.failures = ramp.connections - arrival.echoed;
            }
        }
        Ok(arrival)
    }

    /// Traffic for a while on all connections, each byte verified.
    pub(crate) fn burst(&mut self, time: Duration) -> Result<u64> {
        let before = self.verified;
        self.start()?;
        self.turn_for(time)?;
        self.finish()?;
        Ok(self.verified - before)
    }

    fn dial(
        &mut self,
        target: SocketAddrV4,
        connections: usize,
        arrival: &mut Arrival,
    ) -> Result<()> {
        let index = self.clients.len();
        let network = index / CONNECTIONS_PER_SOURCE;
        let source = (connections > CONNECTIONS_PER_SOURCE)
            .then(|| Ipv4Addr::new(127, 0, 0, 2 + network as u8));
        let socket = match system::connect(target, source) {
            Ok(socket) => socket,
            // A refusal can be known at once on loopback; anything else is our own failure.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                arrival.failures += 1;
                self.clients.push(None);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.epoll.add(socket.as_raw_fd(), index as u64)?;
        let goal = self.message_size;
        self.clients.push(Some(Client { socket, received: 0, sent: 0, goal, connected: false }));
        Ok(())
    }

    fn on_arrival(&mut self, event: Event, start: Instant, arrival: &mut Arrival) -> Result<()> {
        let index = event.data() as usize;
        let Some(client) = &self.clients[index] else {
            return Ok(());
        };
        let (was_connected, had_echo) = (client.connected, client.received >= self.message_size);
        if let Err(error) = self.on_event(index, event) {
            if !is_socket_error(&*error) {
                return Err(error);
            }
            arrival.failures += 1;
            arrival.echoed -= usize::from(had_echo);
            self.clients[index] = None;
            return Ok(());
        }
        let Some(client) = &self.clients[index] else {
            return Ok(());
        };
        if client.connected && !was_connected {
            let took = arrival.dialled_at[index].elapsed();
            arrival.slowest_connect = arrival.slowest_connect.max(took);
            arrival.all_connected = start.elapsed();
        }
        if client.received >= self.message_size && !had_echo {
            arrival.echoed += 1;
            arrival.all_echoed = start.elapsed();
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        system::fail_if_interrupted()?;
        let count = self.epoll.wait(&mut self.events, 100)?;
        for place in 0..count {
            let event = self.events[place];
            self.on_event(event.data() as usize, event)?;
        }
        Ok(())
    }

    fn on_event(&mut self, index: usize, event: Event) -> Result<()> {
        let Some(client) = &mut self.clients[index] else {
            return Ok(());
        };
        if !client.connected {
            system::socket_error(client.socket.as_raw_fd())?;
            client.connected = true;
        }
        if event.wants_read() {
            self.receive(index, event)?;
        }
        let Some(client) = &mut self.clients[index] else {
            return Ok(());
        };
        if client.sent < client.goal { flush(client, index, &self.pattern) } else { Ok(()) }
    }

    fn receive(&mut self, index: usize, event: Event) -> Result<()> {
        let Some(client) = &mut self.clients[index] else {
            return Ok(());
        };
        loop {
            let length = match system::recv(client.socket.as_raw_fd(), &mut self.input) {
                Ok(0) => return Err(closed(index).into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let expected = self.pattern.at(origin(index) + client.received, length);
            let before = client.received / self.message_size;
            client.received += length as u64;
            if self.input[..length] != *expected || client.received > client.sent {
                return Err(
                    format!("connection {index}: what came back is not what went out").into()
                );
            }
            let now = self.epoch.elapsed().as_nanos() as u64;
            for message in before..client.received / self.message_size {
                let stamp = index as u64 * self.depth + message % self.depth;
                let stamp = &mut self.sent_at[stamp as usize];
                self.latency.record(now - *stamp);
                *stamp = now;
                self.verified += 1;
                client.goal += if self.refill { self.message_size } else { 0 };
            }
            // ET: a short read proves the socket empty, unless an end is pending behind it.
            if length < self.input.len() && !event.is_ending() {
                return Ok(());
            }
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

impl Traffic for Crowd {
    fn start(&mut self) -> Result<()> {
        self.refill = true;
        for index in 0..self.clients.len() {
            let now = self.now();
            let (depth, size) = (self.depth as usize, self.message_size);
            let Some(client) = &mut self.clients[index] else {
                return Err(lost(index));
            };
            // The stamps are kept by message number, so all of them can be written beforehand.
            self.sent_at[index * depth..][..depth].fill(now);
            client.goal = client.received + self.depth * size;
            flush(client, index, &self.pattern)?;
        }
        Ok(())
    }

    fn turn_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut progress = (self.verified, Instant::now());
        while Instant::now() < end {
            self.turn()?;
            stalled(&mut progress, self.verified)?;
        }
        Ok(())
    }

    /// Waits for what is in flight, so that a reply that never comes fails the run.
    fn finish(&mut self) -> Result<()> {
        self.refill = false;
        let mut progress = (self.verified, Instant::now());
        let waiting = |client: &Option<Client>| {
            client.as_ref().is_some_and(|client| client.received < client.goal)
        };
        while self.clients.iter().any(waiting) {
            self.turn()?;
            stalled(&mut progress, self.verified)?;
        }
        Ok(())
    }

    fn units(&self) -> u64 {
        self.verified
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    fn in_flight(&self) -> Option<u64> {
        Some(self.depth * self.clients.len() as u64)
    }
}

fn flush(client: &mut Client, index: usize, pattern: &Pattern) -> Result<()> {
    let fd: RawFd = client.socket.as_raw_fd();
    while client.sent < client.goal {
        let length = (client.goal - client.sent).min(BUFFER as u64) as usize;
        match system::send(fd, pattern.at(origin(index) + client.sent, length)) {
            Ok(sent) => client.sent += sent as u64,
            // ET: the kernel refused bytes, so it will tell when there is room.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Neighbours begin far apart in the table.
fn origin(index: usize) -> u64 {
    index as u64 * 4099
}

fn closed(index: usize) -> io::Error {
    let message = format!("connection {index}: closed by the server");
    io::Error::new(ErrorKind::UnexpectedEof, message)
}

/// The server's or the kernel's doing, as opposed to bytes that are wrong.
fn is_socket_error(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some()
}

fn lost(index: usize) -> Box<dyn std::error::Error> {
    format!("connection {index} is lost").into()
}
