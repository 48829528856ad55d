//! Many to many: publishers and subscribers in one thread, against `edgeloop broadcast` and
//! against the publish/subscribe of Redis.
//!
//! The loop is closed: a publisher has a window of messages, and one is complete when the
//! subscriber appointed to it has received it. Neither server can thus be flooded into dropping
//! anybody, and both work on as many messages at a time.
//!
//! Both deliver each message to the same number of receivers. Redis has a connection for each
//! subscriber and one more for each publisher, which receives nothing but the number of its
//! subscribers. In edgeloop's broadcast, everybody receives the lines of everybody else: the
//! publishers are receivers too, and there are fewer pure subscribers instead.
//!
//! Every receiver is read in earnest: frame by frame, every byte, and each publisher's numbers
//! without a gap. This takes the client an eighth of the CPU time that Redis needs. Should a
//! server be so fast that the client is the bound, `--verify-every 8` reads every eighth, and has
//! the kernel drop what comes for the others: all messages have one length, so counting bytes
//! counts messages. When all is over, the byte count of every receiver must be exactly what was
//! published.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::crowd::Pattern;
use crate::figures::{Histogram, Plan, Traffic, alternate};
use crate::options::Options;
use crate::server::{Cubic, Program, Server};
use crate::system::{self, Epoll, Event};
use crate::{Result, extra_arguments, seconds, stalled};

const INPUT: usize = 1024 * 1024;
const EVENTS: usize = 256;
/// Many rounds of the window, and short against the seconds in which a CPU's clock wanders.
const SLICE: Duration = Duration::from_secs(1);
/// Publisher and number, each as base-64 digits from `0` on: fixed width, and never a newline.
const HEADER: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Load {
    publishers: usize,
    subscribers: usize,
    /// A line with its newline. Redis carries the line without it, and frames it in its own way.
    line: usize,
    window: u64,
    verify_every: usize,
}

/// `broadcast`: pairs of the program and Redis.
pub(crate) fn broadcast(mut options: Options) -> Result<()> {
    let load = Load {
        publishers: options.number("publishers", 32)?,
        subscribers: options.number("subscribers", 1000)?,
        line: options.number("size", 100)?,
        window: options.number("window", 16)?,
        verify_every: options.number("verify-every", 1)?,
    };
    let plan = Plan {
        pairs: options.number("pairs", 3)?,
        warm_up: seconds(&mut options, "warm-up", 1.0)?,
        time: seconds(&mut options, "seconds", 5.0)?,
        slice: Some(SLICE),
    };
    let program = Program::named(options.text("program"))?;
    let extra = extra_arguments(&mut options);
    options.finish()?;
    if program == Program::Floor {
        return Err("the floor does not broadcast".into());
    }
    if load.publishers > load.subscribers || load.publishers > 4096 {
        return Err("at most 4096 publishers, and no more than subscribers".into());
    }
    if load.line <= HEADER || load.line > 32 * 1024 {
        return Err("a line has 9 bytes at least and 32 KiB at most".into());
    }
    system::raise_descriptor_limit()?;
    describe(load);
    let _cubic = Cubic::set();
    let programs = [program, Program::Redis];
    alternate([programs[0].name(), "redis"], plan, |side| {
        let extra = if side == 0 { &extra[..] } else { &[] };
        let server = Server::start(&programs[side], "broadcast", extra)?;
        let hall = Hall::open(&server, load, programs[side] == Program::Redis)?;
        Ok((hall, server))
    })
}

fn describe(load: Load) {
    let Load { publishers, subscribers, line, window, .. } = load;
    println!(
        "broadcast: {publishers} publishers with {window} lines of {line} bytes each in flight, \
         every line to {subscribers} receivers"
    );
    println!("redis: {subscribers} subscribers, {publishers} connections that publish");
    println!(
        "edgeloop: {} subscribers, {publishers} publishers that receive the others' lines",
        subscribers + 1 - publishers,
    );
    println!("unit: a delivery; latency is from publishing to the appointed subscriber");
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
    fn new(line: usize, is_redis: bool) -> Self {
        let body = line - 1;
        let prefix = |head: &str| format!("*3\r\n{head}\r\n$1\r\nc\r\n${body}\r\n").into_bytes();
        let (publish_prefix, deliver_prefix, suffix) = match is_redis {
            true => (prefix("$7\r\nPUBLISH"), prefix("$7\r\nmessage"), &b"\r\n"[..]),
            false => (Vec::new(), Vec::new(), &b"\n"[..]),
        };
        let filling = Pattern::new(|byte| b'!' + byte % 94);
        Self { publish_prefix, deliver_prefix, suffix, body, filling }
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
    /// What came in: the lines of others, or Redis' replies.
    bytes: u64,
    issued: u64,
    completed: u64,
    output: Vec<u8>,
    written: usize,
    /// When each message of the window was issued, by its number.
    issued_at: Vec<u64>,
}

/// Everybody who takes part. In epoll's data, receivers come first, then publishers.
struct Hall {
    epoll: Epoll,
    events: Vec<Event>,
    input: Vec<u8>,
    format: Format,
    is_redis: bool,
    load: Load,
    receivers: Vec<Receiver>,
    publishers: Vec<Publisher>,
    delivered_bytes: u64,
    completed: u64,
    lost: u64,
    latency: Histogram,
    epoch: Instant,
}

impl Hall {
    fn open(server: &Server, load: Load, is_redis: bool) -> Result<Self> {
        let mut hall = Self {
            epoll: Epoll::new()?,
            events: vec![Event::EMPTY; EVENTS],
            input: vec![0; INPUT],
            format: Format::new(load.line, is_redis),
            is_redis,
            load,
            receivers: Vec::new(),
            publishers: Vec::new(),
            delivered_bytes: 0,
            completed: 0,
            lost: 0,
            latency: Histogram::new(),
            epoch: Instant::now(),
        };
        hall.admit_receivers(server)?;
        hall.admit_publishers(server)?;
        hall.rehearse()?;
        Ok(hall)
    }

    fn admit_receivers(&mut self, server: &Server) -> Result<()> {
        let Load { publishers, subscribers, verify_every, .. } = self.load;
        let count = if self.is_redis { subscribers } else { subscribers + 1 - publishers };
        // The appointed ones are spread: one corner of the server's list would be served early.
        let mut appointed = vec![None; count];
        for publisher in 0..publishers.min(count) {
            appointed[publisher * count / publishers] = Some(publisher);
        }
        for (index, appointed) in appointed.into_iter().enumerate() {
            let socket = connect(server)?;
            if self.is_redis {
                subscribe(&socket)?;
            }
            let read = appointed.is_some() || index % verify_every == 0;
            let reader = read.then(|| Reader { rest: Vec::new(), next: vec![0; publishers] });
            self.epoll.add(socket.as_raw_fd(), index as u64)?;
            self.receivers.push(Receiver { socket, bytes: 0, reader, appointed });
        }
        Ok(())
    }

    fn admit_publishers(&mut self, server: &Server) -> Result<()> {
        for index in 0..self.load.publishers {
            let socket = connect(server)?;
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
    fn settle(&mut self) -> Result<()> {
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
        let publishers = self.publishers.iter().filter(|_| !self.is_redis).map(own);
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
                self.latency.record(now - publisher.issued_at[stamp]);
            }
        }
        reader.rest.clear();
        reader.rest.extend_from_slice(frames.remainder());
        Ok(())
    }

    fn on_publisher(&mut self, index: usize, event: Event) -> Result<()> {
        let publisher = &mut self.publishers[index];
        if event.wants_read() && self.is_redis {
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
}

impl Traffic for Hall {
    fn start(&mut self) -> Result<()> {
        (0..self.publishers.len()).try_for_each(|index| self.issue(index, self.load.window))
    }

    fn turn_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut progress = (self.completed, Instant::now());
        while Instant::now() < end {
            self.turn(self.load.window)?;
            stalled(&mut progress, self.completed)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.settle()
    }

    fn units(&self) -> u64 {
        self.delivered_bytes / self.format.delivered() as u64
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    /// A window is refilled some time after its message came, and that time is not in the latency.
    fn in_flight(&self) -> Option<u64> {
        None
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

/// Redis answers each `PUBLISH` with a number, or with an error that begins with a minus.
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

/// Connected when it returns: later connections are then behind it in the server's queue.
fn connect(server: &Server) -> Result<OwnedFd> {
    let socket = system::connect(server.address, None)?;
    wait_for(|| match system::send(socket.as_raw_fd(), b"") {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(())),
    })?;
    Ok(socket)
}

/// Subscribed when it returns.
fn subscribe(socket: &OwnedFd) -> Result<()> {
    const CONFIRMATION: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    system::send(socket.as_raw_fd(), b"SUBSCRIBE c\r\n")?;
    let mut answer = [0; CONFIRMATION.len()];
    let mut filled = 0;
    wait_for(|| {
        match system::recv(socket.as_raw_fd(), &mut answer[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok((filled == CONFIRMATION.len()).then_some(()))
    })?;
    if answer == CONFIRMATION { Ok(()) } else { Err(garbled(&answer).into()) }
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
