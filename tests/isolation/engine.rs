//! Clients of every kind, thousands of them on one thread: an engine owns their sockets, and a
//! [`Client`] says what each one does.
//!
//! How much a client reads is its own choice ([`Link::allow`]): one that reads nothing and one that
//! reads little are what most attacks are made of. Nothing here waits for a single client.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};

/// What one client does. Each call may send, read on, set the alarm or end the connection.
pub(crate) trait Client {
    fn connected(&mut self, _: &mut Link) {}
    fn received(&mut self, _: &mut Link, _: &[u8]) {}
    /// Everything was sent; called once a turn, for those that [flood](Link::flood).
    fn emptied(&mut self, _: &mut Link) {}
    /// The time of [`Link::alarm_at`] has come.
    fn alarm(&mut self, _: &mut Link) {}
    fn ended(&mut self, _: &mut Link, _: End) {}
}

/// How a connection ended that the client did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Refused,
    Closed,
    Reset,
}

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    /// Any of the loopback addresses; the system's choice is 127.0.0.1.
    pub(crate) from: Option<Ipv4Addr>,
    /// Bytes that the kernel may hold unread.
    pub(crate) receive_buffer: Option<usize>,
}

impl Way {
    pub(crate) fn to(to: SocketAddr) -> Way {
        Way { to, from: None, receive_buffer: None }
    }

    /// From an address of the attackers, 127.0.0.2 and further ones, 5,000 connections from each.
    pub(crate) fn hostile(to: SocketAddr, number: usize) -> Way {
        let from = Ipv4Addr::new(127, 0, 0, 2 + (number / 5000) as u8);
        Way { to, from: Some(from), receive_buffer: None }
    }

    /// With so little room in the kernel that what is not read waits in the server.
    pub(crate) fn narrow(self, bytes: usize) -> Way {
        Way { receive_buffer: Some(bytes), ..self }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }
}

/// One client's connection, and what the client wants of the engine.
pub(crate) struct Link {
    /// The time of this turn.
    pub(crate) now: Instant,
    way: Way,
    stream: Option<TcpStream>,
    is_connected: bool,
    is_readable: bool,
    is_writable: bool,
    is_listed: bool,
    queued: Vec<u8>,
    sent: usize,
    appetite: usize,
    /// The most bytes of one write.
    bite: usize,
    floods: bool,
    ends_sending: bool,
    alarm: Option<Instant>,
    /// The alarm that stands in the engine's heap.
    entered: Option<Instant>,
    comes_back: bool,
    wants_end: bool,
}

impl Link {
    fn new(way: Way) -> Link {
        Link {
            now: Instant::now(),
            way,
            stream: None,
            is_connected: false,
            is_readable: false,
            is_writable: false,
            is_listed: false,
            queued: Vec::new(),
            sent: 0,
            appetite: usize::MAX,
            bite: usize::MAX,
            floods: false,
            ends_sending: false,
            alarm: None,
            entered: None,
            comes_back: false,
            wants_end: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.queued.extend_from_slice(bytes);
    }

    /// From now on at most so many bytes are read, beside those allowed before.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.appetite = if self.appetite == usize::MAX { bytes } else { self.appetite + bytes };
    }

    /// One byte a write.
    pub(crate) fn send_bytewise(&mut self) {
        self.bite = 1;
    }

    /// Wants [`Client::emptied`] whenever everything was sent.
    pub(crate) fn flood(&mut self, on: bool) {
        self.floods = on;
    }

    /// Sends its end once everything was sent, and reads on.
    pub(crate) fn end_sending(&mut self) {
        self.ends_sending = true;
    }

    /// One alarm: a new one takes the place of the one before.
    pub(crate) fn alarm_at(&mut self, when: Instant) {
        self.alarm = Some(when);
    }

    pub(crate) fn alarm_in(&mut self, span: Duration) {
        self.alarm = Some(self.now + span);
    }

    /// Resets the connection, without a call of [`Client::ended`].
    pub(crate) fn reset(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.wants_end = true;
    }

    /// Connects again, a millisecond from now, so that a server which refuses is not asked in a spin.
    pub(crate) fn come_back(&mut self) {
        self.comes_back = true;
        self.alarm_in(Duration::from_millis(1));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn has_queued(&self) -> bool {
        self.sent < self.queued.len()
    }

    /// Back to before the connect; what is to be sent was for the connection that is gone.
    fn forget(&mut self) {
        self.stream = None;
        (self.is_connected, self.is_readable, self.is_writable) = (false, false, false);
        (self.wants_end, self.ends_sending, self.floods) = (false, false, false);
        self.queued.clear();
        self.sent = 0;
        self.appetite = usize::MAX;
    }

    fn flush(&mut self) -> Result<(), End> {
        while self.is_writable && self.has_queued() {
            let rest = &self.queued[self.sent..];
            let piece = &rest[..rest.len().min(self.bite)];
            match self.stream.as_mut().map(|stream| stream.write(piece)) {
                Some(Ok(len)) => self.sent += len,
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_writable = false
                }
                _ => return Err(End::Reset),
            }
            if self.bite == 1 {
                break;
            }
        }
        if !self.has_queued() {
            self.queued.clear();
            self.sent = 0;
            if std::mem::take(&mut self.ends_sending) && self.is_connected {
                let _ = self.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Write));
            }
        }
        Ok(())
    }

    fn wants_visit(&self) -> bool {
        let reads = self.is_readable && self.appetite > 0;
        let writes = self.is_writable && (self.has_queued() || self.floods);
        self.wants_end || self.is_connected && (reads || writes)
    }
}

struct Slot {
    client: Box<dyn Client>,
    link: Link,
}

pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    slots: Vec<Slot>,
    ready: Vec<usize>,
    /// Times and slots; an entry that is not the slot's alarm any more means nothing.
    alarms: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
}

impl Engine {
    pub(crate) fn new() -> Engine {
        Engine {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1024),
            slots: Vec::new(),
            ready: Vec::new(),
            alarms: BinaryHeap::new(),
            buffer: vec![0; 256 << 10],
        }
    }

    /// Connects one more.
    pub(crate) fn add(&mut self, way: Way, client: impl Client + 'static) {
        self.slots.push(Slot { client: Box::new(client), link: Link::new(way) });
        self.connect(self.slots.len() - 1);
    }

    /// Turns until `done`, at most for `span`; whether it was done.
    pub(crate) fn run_until(&mut self, span: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + span;
        while !done() {
            if Instant::now() >= deadline {
                return false;
            }
            self.turn(deadline);
        }
        true
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_until(span, || false);
    }

    pub(crate) fn connected(&self) -> usize {
        self.slots.iter().filter(|slot| slot.link.is_connected).count()
    }

    /// Turns until all are connected that were added.
    pub(crate) fn connect_all(&mut self, span: Duration) -> bool {
        let deadline = Instant::now() + span;
        while self.connected() < self.slots.len() {
            if Instant::now() >= deadline {
                return false;
            }
            self.turn(deadline);
        }
        true
    }

    fn turn(&mut self, deadline: Instant) {
        let next = self.alarms.peek().map_or(deadline, |Reverse((when, _))| (*when).min(deadline));
        // A look at the caller's condition now and then.
        let most = Duration::from_millis(20);
        let wait = next.saturating_duration_since(Instant::now()).min(most);
        let wait = if self.ready.is_empty() { wait } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        let now = Instant::now();
        self.note(now);
        self.ring(now);
        for index in std::mem::take(&mut self.ready) {
            self.slots[index].link.is_listed = false;
            self.visit(index, now);
        }
    }

    fn note(&mut self, now: Instant) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            let Slot { client, link } = &mut self.slots[index];
            let Some(stream) = &link.stream else { continue };
            link.now = now;
            if !link.is_connected {
                let failed = !matches!(stream.take_error(), Ok(None)) || event.is_error();
                if failed || stream.peer_addr().is_err() {
                    self.end(index, Some(End::Refused));
                    continue;
                }
                link.is_connected = true;
                client.connected(link);
            }
            link.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            link.is_writable |= event.is_writable();
            // Whoever does not read learns of its end by the event alone.
            if link.appetite == 0 && (event.is_read_closed() || event.is_error()) {
                let end = if event.is_error() { End::Reset } else { End::Closed };
                self.end(index, Some(end));
            } else {
                self.list(index);
            }
        }
        self.events = events;
    }

    fn ring(&mut self, now: Instant) {
        while let Some(Reverse((when, index))) = self.alarms.peek().copied()
            && when <= now
        {
            self.alarms.pop();
            let Slot { client, link } = &mut self.slots[index];
            if link.alarm != Some(when) {
                continue;
            }
            link.alarm = None;
            link.now = now;
            if std::mem::take(&mut link.comes_back) {
                self.connect(index);
            } else {
                client.alarm(link);
                self.list(index);
            }
        }
    }

    fn visit(&mut self, index: usize, now: Instant) {
        let Slot { client, link } = &mut self.slots[index];
        link.now = now;
        if link.wants_end {
            return self.end(index, None);
        }
        let mut result = Ok(());
        if link.is_connected && link.is_readable && link.appetite > 0 {
            let most = self.buffer.len().min(link.appetite);
            match link.stream.as_mut().unwrap().read(&mut self.buffer[..most]) {
                Ok(0) => result = Err(End::Closed),
                Ok(len) => {
                    if link.appetite != usize::MAX {
                        link.appetite -= len;
                    }
                    client.received(link, &self.buffer[..len]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => link.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => result = Err(End::Reset),
            }
        }
        result = result.and_then(|()| link.flush());
        if result.is_ok() && link.floods && link.is_writable && !link.has_queued() {
            client.emptied(link);
            result = link.flush();
        }
        match result {
            Ok(()) => self.list(index),
            Err(end) => self.end(index, Some(end)),
        }
    }

    /// Notes what the link wants.
    fn list(&mut self, index: usize) {
        let link = &mut self.slots[index].link;
        if link.wants_visit() && !link.is_listed {
            link.is_listed = true;
            self.ready.push(index);
        }
        self.set_alarm(index);
    }

    fn set_alarm(&mut self, index: usize) {
        let link = &mut self.slots[index].link;
        if let Some(when) = link.alarm
            && link.entered != Some(when)
        {
            link.entered = Some(when);
            self.alarms.push(Reverse((when, index)));
        }
    }

    fn connect(&mut self, index: usize) {
        let link = &mut self.slots[index].link;
        link.forget();
        match link.way.connect() {
            Ok(mut stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index), interest).unwrap();
                link.stream = Some(stream);
                self.list(index);
            }
            Err(_) => self.end(index, Some(End::Refused)),
        }
    }

    fn end(&mut self, index: usize, end: Option<End>) {
        let Slot { client, link } = &mut self.slots[index];
        link.forget();
        if let Some(end) = end {
            client.ended(link, end);
        }
        self.set_alarm(index);
    }
}
