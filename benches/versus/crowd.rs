//! A crowd of echo clients that come all at once, or a few at a time, and then stay. `edgeloop load`
//! can do neither: a storm would measure its limits, and it reports no memory page by page.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::pattern::{PIECE_MAX, Pattern};
use crate::system::{self, Epoll, Event};
use crate::{Result, stalled};

const EVENTS: usize = 1024;
/// A source address has 28,232 ports by default, and looking for a free one slows down early.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

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
    /// Bytes that came back.
    verified: u64,
}

impl Crowd {
    pub(crate) fn new(message_size: usize) -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            events: vec![Event::EMPTY; EVENTS],
            input: vec![0; PIECE_MAX],
            pattern: Pattern::new(|byte| byte),
            clients: Vec::new(),
            message_size: message_size as u64,
            verified: 0,
        })
    }

    /// Connects the crowd, and has one message of each client echoed, which proves it accepted.
    pub(crate) fn arrive(&mut self, target: SocketAddrV4, ramp: Ramp) -> Result<Arrival> {
        let mut arrival = Arrival::default();
        let start = Instant::now();
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

    /// So many more messages on each connection, each when all have the one before.
    pub(crate) fn burst(&mut self, messages: usize) -> Result<()> {
        (0..messages).try_for_each(|_| self.echo_once())
    }

    fn echo_once(&mut self) -> Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate() {
            let client = client.as_mut().ok_or_else(|| format!("connection {index} is lost"))?;
            client.goal += self.message_size;
            flush(client, index, &self.pattern)?;
        }
        let is_waiting = |client: &Option<Client>| {
            client.as_ref().is_some_and(|client| client.received < client.goal)
        };
        let mut progress = (self.verified, Instant::now());
        while self.clients.iter().any(is_waiting) {
            self.turn()?;
            stalled(&mut progress, self.verified)?;
        }
        Ok(())
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
            client.received += length as u64;
            if self.input[..length] != *expected || client.received > client.sent {
                return Err(
                    format!("connection {index}: what came back is not what went out").into()
                );
            }
            self.verified += length as u64;
            // ET: a short read proves the socket empty, unless an end is pending behind it.
            if length < self.input.len() && !event.is_ending() {
                return Ok(());
            }
        }
    }
}

fn flush(client: &mut Client, index: usize, pattern: &Pattern) -> Result<()> {
    let fd: RawFd = client.socket.as_raw_fd();
    while client.sent < client.goal {
        let length = (client.goal - client.sent).min(PIECE_MAX as u64) as usize;
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
