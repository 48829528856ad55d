//! Publishers and subscribers in one thread, a closed loop, with every delivery accounted for.
//!
//! Every receiver is read in earnest: frame by frame, every byte, and each publisher's numbers
//! without a gap. This takes the client an eighth of the CPU time that Redis needs. Should a
//! server be so fast that the client is the bound, `verify_every` 8 reads every eighth, and has
//! the kernel drop what comes for the others: all messages have one length, so counting bytes
//! counts messages. When all is over, the byte count of every receiver must be exactly what was
//! published; only those who never read are owed nothing.

use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::pattern::Pattern;
use crate::system::{self, Epoll, Event};
use crate::{Result, stalled};

const INPUT: usize = 1024 * 1024;
const EVENTS: usize = 256;
/// Publisher and number, each as base-64 digits from `0` on: fixed width, and never a newline.
const HEADER: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// A line with its newline. Redis and NATS carry it without, and frame it in their own ways.
    pub(crate) line: usize,
    pub(crate) window: u64,
    /// Of so many subscribers, one is read and verified; the bytes of the others are counted.
    pub(crate) verify_every: usize,
    /// Subscribers beside the others that never read.
    pub(crate) stopped: usize,
}

impl Load {
    pub(crate) fn check(self) -> Result<()> {
        if self.publishers > self.subscribers || self.publishers > 4096 {
            return Err("at most 4096 publishers, and no more than subscribers".into());
        }
        if self.line <= HEADER || self.line > 32 * 1024 {
            return Err("a line has 9 bytes at least and 32 KiB at most".into());
        }
        Ok(())
    }
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    /// Everybody's lines go to everybody else, so publishers are receivers as well.
    Lines,
    Redis,
    Nats,
}

/// How a message looks on its way in and out.
#[derive(Debug)]
struct Format {
    publish_prefix: Vec<u8>,
    deliver_prefix: Vec<u8>,
    suffix: &'static [u8],
    /// What is between prefix and suffix: header and filling.
    body: usize,
    filling: Pattern,
}

impl Format {
    fn new(line: usize, protocol: Protocol) -> Self {
        let body = line - 1;
        let redis = |head: &str| format!("*3\r\n{head}\r\n$1\r\nc\r\n${body}\r\n");
        let (publish, deliver, suffix) = match protocol {
            Protocol::Lines => (String::new(), String::new(), &b"\n"[..]),
            Protocol::Redis => (redis("$7\r\nPUBLISH"), redis("$7\r\nmessage"), &b"\r\n"[..]),
            Protocol::Nats => {
                (format!("PUB c {body}\r\n"), format!("MSG c 1 {body}\r\n"), &b"\r\n"[..])
            }
        };
        let filling = Pattern::new(|byte| b'!' + byte % 94);
        Self {
            publish_prefix: publish.into_bytes(),
            deliver_prefix: deliver.into_bytes(),
            suffix,
            body,
            filling,
        }
    }

    /// The length of one delivered message, frame and all.
    fn delivered(&self) -> usize {
        self.deliver_prefix.len() + self.body + self.suffix.len()
    }

    fn publish(&self, out: &mut Vec<u8>, publisher: usize, number: u64) {
        out.extend_from_slice(&self.publish_prefix);
        let header = (publisher as u64) << 36 | number;
        out.extend((0..HEADER).map(|digit| b'0' + (header >> (6 * digit) & 63) as u8));
        out.extend_from_slice(self.filling(publisher, number));
        out.extend_from_slice(self.suffix);
    }

    /// Whose message this is, if it is whole and every byte is right.
    #[inline]
    fn verify(&self, frame: &[u8]) -> Option<(usize, u64)> {
        let rest = frame.strip_prefix(&self.deliver_prefix[..])?.strip_suffix(self.suffix)?;
        let (digits, filling) = rest.split_first_chunk::<HEADER>()?;
        let fold = |header, digit: &u8| header << 6 | u64::from(digit.wrapping_sub(b'0') & 63);
        let header = digits.iter().rev().fold(0, fold);
        let (publisher, number) = ((header >> 36) as usize, header & ((1 << 36) - 1));
        (filling == self.filling(publisher, number)).then_some((publisher, number))
    }

    #[inline]
    fn filling(&self, publisher: usize, number: u64) -> &[u8] {
        self.filling.at(publisher as u64 * 4099 + number * 7919, self.body - HEADER)
    }
}

/// A connection that messages come in on.
#[derive(Debug)]
struct Receiver {
    socket: OwnedFd,
    bytes: u64,
    /// Its bytes are read and verified; without one they are only counted.
    reader: Option<Reader>,
    /// The publisher whose window this receiver opens.
    appointed: Option<usize>,
}

#[derive(Debug)]
struct Reader {
    /// The beginning of a frame whose end is still to come.
    rest: Vec<u8>,
    /// The number that each publisher's next message must have.
    next: Vec<u64>,
}

#[derive(Debug)]
struct Publisher {
    socket: OwnedFd,
    /// The lines of others that came in.
    bytes: u64,
    issued: u64,
    completed: u64,
    output: Vec<u8>,
    written: usize,
    /// When each message of the window was issued, by its number.
    issued_at: Vec<u64>,
}

/// Everybody who takes part. In epoll's data, receivers come first, then publishers.
pub(crate) struct Hall {
    epoll: Epoll,
    events: Vec<Event>,
    input: Vec<u8>,
    format: Format,
    protocol: Protocol,
    load: Load,
    receivers: Vec<Receiver>,
    stopped: Vec<OwnedFd>,
    publishers: Vec<Publisher>,
    delivered_bytes: u64,
    completed: u64,
    lost: u64,
    latency: Histogram<u64>,
    epoch: Instant,
}

impl Hall {
    pub(crate) fn open(server: SocketAddrV4, load: Load, protocol: Protocol) -> Result<Self> {
        let mut hall = Self {
            epoll: Epoll::new()?,
            events: vec![Event::EMPTY; EVENTS],
            input: vec![0; INPUT],
            format: Format::new(load.line, protocol),
            protocol,
            load,
            receivers: Vec::new(),
            stopped: Vec::new(),
            publishers: Vec::new(),
            delivered_bytes: 0,
            completed: 0,
            lost: 0,
            latency: Histogram::new(3)?,
            epoch: Instant::now(),
        };
        hall.admit_receivers(server)?;
        for _ in 0..load.stopped {
            hall.stopped.push(enter(server, protocol, true)?);
        }
        hall.admit_publishers(server)?;
        if protocol == Protocol::Nats {
            hall.answer_first_pings()?;
        }
        hall.rehearse()?;
        Ok(hall)
    }

    fn admit_receivers(&mut self, server: SocketAddrV4) -> Result<()> {
        let Load { publishers, subscribers, verify_every, .. } = self.load;
        let count = match self.protocol {
            Protocol::Lines => subscribers + 1 - publishers,
            Protocol::Redis | Protocol::Nats => subscribers,
        };
        // The appointed ones are spread: one corner of the server's list would be served early.
        let mut appointed = vec![None; count];
        for publisher in 0..publishers.min(count) {
            appointed[publisher * count / publishers] = Some(publisher);
        }
        for (index, appointed) in appointed.into_iter().enumerate() {
            let socket = enter(server, self.protocol, true)?;
            let read = appointed.is_some() || index % verify_every == 0;
            let reader = read.then(|| Reader { rest: Vec::new(), next: vec![0; publishers] });
            self.epoll.add(socket.as_raw_fd(), index as u64)?;
            self.receivers.push(Receiver { socket, bytes: 0, reader, appointed });
        }
        Ok(())
    }

    fn admit_publishers(&mut self, server: SocketAddrV4) -> Result<()> {
        for index in 0..self.load.publishers {
            let socket = enter(server, self.protocol, false)?;
            self.epoll.add(socket.as_raw_fd(), (self.receivers.len() + index) as u64)?;
            self.publishers.push(Publisher {
                socket,
                bytes: 0,
                issued: 0,
                completed: 0,
                output: Vec::new(),
                written: 0,
                issued_at: vec![0; self.load.window as usize],
            });
        }
        Ok(())
    }

    /// NATS pings each client about two seconds after it came, and then once in its interval. The
    /// first ping is answered here, so that nothing but messages comes later.
    fn answer_first_pings(&self) -> Result<()> {
        let receivers = self.receivers.iter().map(|receiver| &receiver.socket);
        let publishers = self.publishers.iter().map(|publisher| &publisher.socket);
        for socket in receivers.chain(&self.stopped).chain(publishers) {
            expect(socket, b"PING\r\n")?;
            system::send(socket.as_raw_fd(), b"PONG\r\n")?;
        }
        Ok(())
    }

    /// How many of those that never read were disconnected by now; finds out by reading them.
    fn stopped_and_disconnected(&mut self) -> usize {
        let input = &mut self.input;
        let mut has_ended = |socket: &OwnedFd| loop {
            match system::discard(socket.as_raw_fd(), input) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        };
        self.stopped.iter().filter(|socket| has_ended(socket)).count()
    }

    /// One message of each publisher, before the clock starts. The last to connect goes first:
    /// connections are accepted in their order, so once its message is out, all are in.
    fn rehearse(&mut self) -> Result<()> {
        for index in (0..self.publishers.len()).rev() {
            self.issue(index, 1)?;
            self.settle()?;
        }
        Ok(())
    }

    /// Publishes nothing more, and waits until everything has reached everybody.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let mut progress = (self.delivered_bytes, Instant::now());
        while !self.is_settled()? {
            self.turn(0)?;
            stalled(&mut progress, self.delivered_bytes)
                .map_err(|error| format!("{error}\n{}", self.shortfall()))?;
        }
        Ok(())
    }

    fn is_settled(&self) -> Result<bool> {
        let frame = self.format.delivered() as u64;
        let issued: u64 = self.publishers.iter().map(|publisher| publisher.issued).sum();
        let mut settled = true;
        let receivers = self.receivers.iter().map(|receiver| (receiver.bytes, 0));
        let own = |publisher: &Publisher| (publisher.bytes, publisher.issued);
        let publishers = self.publishers.iter().filter(|_| self.protocol == Protocol::Lines);
        let publishers = publishers.map(own);
        for (bytes, own) in receivers.chain(publishers) {
            let expected = (issued - own) * frame;
            if bytes > expected {
                return Err(format!("{} bytes more than were published", bytes - expected).into());
            }
            settled &= bytes == expected;
        }
        Ok(settled)
    }

    fn shortfall(&self) -> String {
        let issued: u64 = self.publishers.iter().map(|publisher| publisher.issued).sum();
        let expected = issued * self.format.delivered() as u64;
        let short = self.receivers.iter().filter(|receiver| receiver.bytes < expected);
        let missing: u64 = short.clone().map(|receiver| expected - receiver.bytes).sum();
        format!("{} receivers are short of {missing} bytes in all", short.count())
    }

    /// One wait and all that it brings; publishers whose window has opened send at the end, so
    /// that what became possible in one turn leaves in one call.
    fn turn(&mut self, window: u64) -> Result<()> {
        system::fail_if_interrupted()?;
        let count = self.epoll.wait(&mut self.events, 100)?;
        for place in 0..count {
            let event = self.events[place];
            let index = event.data() as usize;
            match index.checked_sub(self.receivers.len()) {
                None => self.on_receiver(index, event)?,
                Some(index) => self.on_publisher(index, event)?,
            }
        }
        for index in 0..self.publishers.len() {
            let publisher = &self.publishers[index];
            if window > 0 && publisher.issued - publisher.completed < window {
                self.issue(index, window)?;
            }
        }
        Ok(())
    }

    fn on_receiver(&mut self, index: usize, event: Event) -> Result<()> {
        if !event.wants_read() {
            return Ok(());
        }
        let receiver = &mut self.receivers[index];
        let Some(mut reader) = receiver.reader.take() else {
            let length = count(&receiver.socket, &mut self.input, event)?;
            receiver.bytes += length;
            self.delivered_bytes += length;
            return Ok(());
        };
        self.read(index, &mut reader, event)?;
        self.receivers[index].reader = Some(reader);
        Ok(())
    }

    fn read(&mut self, index: usize, reader: &mut Reader, event: Event) -> Result<()> {
        loop {
            let kept = reader.rest.len();
            self.input[..kept].copy_from_slice(&reader.rest);
            let fd = self.receivers[index].socket.as_raw_fd();
            let Some(length) = outcome(system::recv(fd, &mut self.input[kept..]))? else {
                return Ok(());
            };
            self.receivers[index].bytes += length as u64;
            self.delivered_bytes += length as u64;
            self.verify(index, reader, kept + length)?;
            // ET: a short read proves the socket empty, unless an end is pending behind it.
            if kept + length < self.input.len() && !event.is_ending() {
                return Ok(());
            }
        }
    }

    /// Takes the whole frames out of the first `length` bytes of the input.
    fn verify(&mut self, index: usize, reader: &mut Reader, length: usize) -> Result<()> {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let appointed = self.receivers[index].appointed;
        let mut frames = self.input[..length].chunks_exact(self.format.delivered());
        for frame in &mut frames {
            let (from, number) = self.format.verify(frame).ok_or_else(|| garbled(frame))?;
            let next = reader.next.get_mut(from).ok_or_else(|| garbled(frame))?;
            if number < *next {
                return Err(format!("message {number} of publisher {from} came twice").into());
            }
            self.lost += number - *next;
            *next = number + 1;
            if appointed == Some(from) {
                let publisher = &mut self.publishers[from];
                publisher.completed = number + 1;
                self.completed += 1;
                let stamp = (number % self.load.window) as usize;
                self.latency.record(now - publisher.issued_at[stamp])?;
            }
        }
        reader.rest.clear();
        reader.rest.extend_from_slice(frames.remainder());
        Ok(())
    }

    fn on_publisher(&mut self, index: usize, event: Event) -> Result<()> {
        let publisher = &mut self.publishers[index];
        if event.wants_read() && self.protocol != Protocol::Lines {
            read_replies(&publisher.socket, &mut self.input, event)?;
        } else if event.wants_read() {
            let length = count(&publisher.socket, &mut self.input, event)?;
            publisher.bytes += length;
            self.delivered_bytes += length;
        }
        flush(publisher)
    }

    /// Fills the publisher's window and sends.
    fn issue(&mut self, index: usize, window: u64) -> Result<()> {
        let now = self.epoch.elapsed().as_nanos() as u64;
        let publisher = &mut self.publishers[index];
        while publisher.issued - publisher.completed < window {
            self.format.publish(&mut publisher.output, index, publisher.issued);
            let stamp = (publisher.issued % self.load.window) as usize;
            publisher.issued_at[stamp] = now;
            publisher.issued += 1;
        }
        flush(publisher)
    }

    /// Puts the load on.
    pub(crate) fn start(&mut self) -> Result<()> {
        (0..self.publishers.len()).try_for_each(|index| self.issue(index, self.load.window))
    }

    pub(crate) fn turn_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut progress = (self.completed, Instant::now());
        while Instant::now() < end {
            self.turn(self.load.window)?;
            stalled(&mut progress, self.completed)?;
        }
        Ok(())
    }

    /// What the server has delivered so far, each verified or counted.
    pub(crate) fn deliveries(&self) -> u64 {
        self.delivered_bytes / self.format.delivered() as u64
    }

    /// From publishing to the appointed subscriber, in nanoseconds.
    pub(crate) fn latency(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }

    /// What else is to be said when all is over.
    pub(crate) fn remark(&mut self) -> Option<String> {
        let count = self.load.stopped;
        (count > 0).then(|| {
            let gone = self.stopped_and_disconnected();
            format!("{gone} of {count} that never read were disconnected")
        })
    }
}

fn flush(publisher: &mut Publisher) -> Result<()> {
    while publisher.written < publisher.output.len() {
        let bytes = &publisher.output[publisher.written..];
        match outcome(system::send(publisher.socket.as_raw_fd(), bytes))? {
            Some(sent) => publisher.written += sent,
            // ET: the kernel refused bytes, so it will tell when there is room.
            None => return Ok(()),
        }
    }
    publisher.output.clear();
    publisher.written = 0;
    Ok(())
}

/// Takes everything out of a socket, and tells how much it was.
fn count(socket: &OwnedFd, input: &mut [u8], event: Event) -> Result<u64> {
    let mut total = 0;
    loop {
        let Some(length) = outcome(system::discard(socket.as_raw_fd(), input))? else {
            return Ok(total);
        };
        total += length as u64;
        // ET: a short read proves the socket empty, unless an end is pending behind it.
        if length < input.len() && !event.is_ending() {
            return Ok(total);
        }
    }
}

/// Redis answers each `PUBLISH` with a number, NATS with nothing, and both begin an error with a
/// minus.
fn read_replies(socket: &OwnedFd, input: &mut [u8], event: Event) -> Result<()> {
    loop {
        let Some(length) = outcome(system::recv(socket.as_raw_fd(), input))? else {
            return Ok(());
        };
        if input[..length].contains(&b'-') {
            return Err(garbled(&input[..length]).into());
        }
        if length < input.len() && !event.is_ending() {
            return Ok(());
        }
    }
}

/// Connected when it returns, so that later connections are behind it in the server's queue; and
/// subscribed, where that takes words.
fn enter(server: SocketAddrV4, protocol: Protocol, subscribes: bool) -> Result<OwnedFd> {
    let socket = system::connect(server, None)?;
    wait_for(|| match system::send(socket.as_raw_fd(), b"") {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(())),
    })?;
    match protocol {
        Protocol::Redis if subscribes => {
            system::send(socket.as_raw_fd(), b"SUBSCRIBE c\r\n")?;
            expect(&socket, b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")?;
        }
        Protocol::Nats => {
            introduce(&socket)?;
            let subscription: &[u8] = if subscribes { b"SUB c 1\r\n" } else { b"" };
            system::send(socket.as_raw_fd(), &[subscription, b"PING\r\n"].concat())?;
            expect(&socket, b"PONG\r\n")?;
        }
        Protocol::Redis | Protocol::Lines => {}
    }
    Ok(socket)
}

/// NATS speaks first: a line of JSON about itself, of any length.
fn introduce(socket: &OwnedFd) -> Result<()> {
    let mut byte = [0];
    while byte != *b"\n" {
        receive_exactly(socket, &mut byte)?;
    }
    system::send(socket.as_raw_fd(), b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
    Ok(())
}

fn expect(socket: &OwnedFd, answer: &[u8]) -> Result<()> {
    let mut found = vec![0; answer.len()];
    receive_exactly(socket, &mut found)?;
    if found == answer { Ok(()) } else { Err(garbled(&found).into()) }
}

fn receive_exactly(socket: &OwnedFd, answer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    wait_for(|| {
        match system::recv(socket.as_raw_fd(), &mut answer[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok((filled == answer.len()).then_some(()))
    })
}

fn wait_for(mut attempt: impl FnMut() -> io::Result<Option<()>>) -> Result<()> {
    let mut seen = (0, Instant::now());
    loop {
        system::fail_if_interrupted()?;
        if attempt()?.is_some() {
            return Ok(());
        }
        stalled(&mut seen, 0)?;
        std::thread::yield_now();
    }
}

/// Bytes moved, or `None` when the kernel has no more to give or take; an end is an error here.
#[inline]
fn outcome(result: io::Result<usize>) -> Result<Option<usize>> {
    match result {
        Ok(0) => Err("the server closed a connection that should have stayed".into()),
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn garbled(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(200)];
    format!("not what was published: `{}`", shown.escape_ascii())
}
