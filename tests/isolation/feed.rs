//! One publisher that floods, readers that check every message, and subscribers that do not read, or
//! little: on `broadcast`, and on whatever else publishes to subscribers.
//!
//! A message has a fixed length in each protocol, a number and the time at which it was made. So a
//! reader finds what is lost, doubled, out of order or mixed up, and how late each one is.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::{Waits, find};

/// How a protocol subscribes and publishes.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// What a subscriber sends.
    pub(crate) subscribe: &'static str,
    /// The end of what it is told before the first message.
    ready: &'static str,
    /// Around a message that is delivered.
    before: &'static str,
    after: &'static str,
    /// Around a message that is published.
    publish: &'static str,
    /// Bytes of a message, a newline at its end included.
    pub(crate) size: usize,
    /// Publications that may be unanswered; none of them are answered if 0.
    unanswered_max: usize,
}

impl Wire {
    /// Lines: `edgeloop broadcast`, `ncat --broker`.
    pub(crate) const LINES: Wire = Wire {
        subscribe: "",
        ready: "",
        before: "",
        after: "",
        publish: "",
        size: 1000,
        unanswered_max: 0,
    };

    /// Ten times as long: many bytes cost a debug build little.
    pub(crate) const LONG_LINES: Wire = Wire { size: 10_000, ..Wire::LINES };

    /// `edgeloop kv`, Redis.
    pub(crate) const REDIS: Wire = Wire {
        subscribe: "SUBSCRIBE x\r\n",
        ready: ":1\r\n",
        before: "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1000\r\n",
        after: "\r\n",
        publish: "*3\r\n$7\r\nPUBLISH\r\n$1\r\nx\r\n$1000\r\n",
        size: 1000,
        unanswered_max: 40,
    };

    pub(crate) const LONG_REDIS: Wire = Wire {
        before: "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$10000\r\n",
        publish: "*3\r\n$7\r\nPUBLISH\r\n$1\r\nx\r\n$10000\r\n",
        size: 10_000,
        ..Wire::REDIS
    };

    pub(crate) const NATS: Wire = Wire {
        subscribe: "CONNECT {\"verbose\":false}\r\nSUB x 1\r\nPING\r\n",
        ready: "PONG\r\n",
        before: "MSG x 1 1000\r\n",
        after: "\r\n",
        publish: "PUB x 1000\r\n",
        size: 1000,
        unanswered_max: 0,
    };
}

/// What readers were given within one phase, and how the publisher fared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) span: Duration,
    /// Over all readers.
    pub(crate) messages: u64,
    /// From publication to delivery, of some; and what was wrong or cut.
    pub(crate) lines: Waits,
    /// From publication to the reply, where there is one.
    pub(crate) replies: Waits,
}

impl Part {
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.span.as_secs_f64()
    }
}

struct Shared {
    origin: Instant,
    part: RefCell<Part>,
    /// Whether the publisher may send, and how many messages in all.
    left: RefCell<u64>,
    /// How many each reader has had.
    totals: RefCell<Vec<u64>>,
    /// Readers that have had all of them.
    done: RefCell<usize>,
    ready: RefCell<usize>,
}

/// Readers and a publisher on one engine.
pub(crate) struct Feed {
    shared: Rc<Shared>,
    wire: Wire,
    address: SocketAddr,
    readers: usize,
}

impl Feed {
    /// Returns when every reader has subscribed.
    pub(crate) fn start(
        engine: &mut Engine,
        address: SocketAddr,
        wire: &Wire,
        readers: usize,
    ) -> Feed {
        let shared = Rc::new(Shared {
            origin: Instant::now(),
            part: RefCell::default(),
            left: RefCell::new(0),
            totals: RefCell::new(vec![0; readers]),
            done: RefCell::new(0),
            ready: RefCell::new(0),
        });
        for number in 0..readers {
            let partial = Vec::new();
            let (shared, wire) = (shared.clone(), wire.clone());
            engine.add(
                Way::to(address),
                Reader { shared, wire, number, partial, is_ready: false, next: None, total: 0 },
            );
        }
        let subscribed = engine.run_until(PATIENCE, || *shared.ready.borrow() == readers);
        assert!(subscribed, "the honest readers do not get in");
        Feed { shared, wire: wire.clone(), address, readers }
    }

    /// Publishes so many messages, and no more than a window beyond what every reader has read;
    /// [`is_done`](Self::is_done) says when everybody has them.
    pub(crate) fn publish(&self, engine: &mut Engine, count: u64, window: u64) {
        *self.shared.left.borrow_mut() = count;
        let publisher = Publisher {
            shared: self.shared.clone(),
            wire: self.wire.clone(),
            next: 0,
            count,
            window,
            unanswered: Vec::new().into(),
        };
        engine.add(Way::to(self.address), publisher);
    }

    /// Messages so far, over all readers.
    pub(crate) fn delivered(&self) -> u64 {
        self.shared.part.borrow().messages
    }

    pub(crate) fn is_done(&self) -> bool {
        *self.shared.done.borrow() == self.readers
    }

    /// What there was since the last call.
    pub(crate) fn take(&self, span: Duration) -> Part {
        Part { span, ..self.shared.part.take() }
    }
}

struct Reader {
    shared: Rc<Shared>,
    wire: Wire,
    number: usize,
    partial: Vec<u8>,
    is_ready: bool,
    next: Option<u64>,
    total: u64,
}

impl Reader {
    /// Takes one message from the front; its length, or nothing while there is only a part.
    fn message(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        let (before, after) = (self.wire.before.as_bytes(), self.wire.after.as_bytes());
        let size = self.wire.size;
        let len = before.len() + size + after.len();
        if bytes.len() < len {
            return None;
        }
        let payload = &bytes[before.len()..];
        let mut part = self.shared.part.borrow_mut();
        let number = |from: usize, to: usize| -> Option<u64> {
            std::str::from_utf8(&payload[from..to]).ok()?.parse().ok()
        };
        let is_whole = bytes.starts_with(before) && payload[size - 1] == b'\n';
        match number(0, 12).filter(|_| is_whole && bytes[len - after.len()..len] == *after) {
            Some(n) if self.next.is_none_or(|next| next == n) => self.next = Some(n + 1),
            // What is behind it is told apart again.
            Some(n) => (self.next, part.lines.wrong) = (Some(n + 1), part.lines.wrong + 1),
            None => part.lines.wrong += 1,
        }
        part.messages += 1;
        self.total += 1;
        if self.total.is_multiple_of(16)
            && let Some(micros) = number(13, 29)
        {
            let due = self.shared.origin + Duration::from_micros(micros);
            part.lines.spans.push(now.saturating_duration_since(due));
        }
        Some(len)
    }
}

impl Client for Reader {
    fn connected(&mut self, link: &mut Link) {
        link.send(self.wire.subscribe.as_bytes());
        if self.wire.ready.is_empty() {
            self.is_ready = true;
            *self.shared.ready.borrow_mut() += 1;
        }
    }

    fn received(&mut self, link: &mut Link, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.partial);
        // Whole messages are looked at where they lie.
        let bytes = if all.is_empty() {
            bytes
        } else {
            all.extend_from_slice(bytes);
            &all[..]
        };
        let mut at = 0;
        if !self.is_ready {
            let ready = self.wire.ready.as_bytes();
            let Some(end) = find(bytes, ready) else { return self.partial = bytes.to_vec() };
            at = end + ready.len();
            self.is_ready = true;
            *self.shared.ready.borrow_mut() += 1;
        }
        let total = self.total;
        loop {
            if bytes[at..].starts_with(b"PING\r\n") {
                link.send(b"PONG\r\n");
                at += 6;
            }
            let Some(len) = self.message(&bytes[at..], link.now) else { break };
            at += len;
        }
        self.partial = bytes[at..].to_vec();
        self.shared.totals.borrow_mut()[self.number] = self.total;
        let left = *self.shared.left.borrow();
        if total < left && self.total >= left {
            *self.shared.done.borrow_mut() += 1;
        }
    }

    fn ended(&mut self, _: &mut Link, _: End) {
        self.shared.part.borrow_mut().lines.cut += 1;
    }
}

struct Publisher {
    shared: Rc<Shared>,
    wire: Wire,
    next: u64,
    count: u64,
    window: u64,
    unanswered: std::collections::VecDeque<Instant>,
}

impl Publisher {
    fn is_ahead(&self) -> bool {
        let least = self.shared.totals.borrow().iter().copied().min().unwrap_or(0);
        self.next >= least.saturating_add(self.window)
    }
}

impl Client for Publisher {
    fn connected(&mut self, link: &mut Link) {
        if self.wire.subscribe.starts_with("CONNECT") {
            link.send(b"CONNECT {\"verbose\":false}\r\n");
        }
        link.flood(true);
    }

    fn emptied(&mut self, link: &mut Link) {
        let size = self.wire.size;
        let mut batch = Vec::with_capacity(24 * size);
        for _ in 0..20 {
            let is_held =
                self.wire.unanswered_max > 0 && self.unanswered.len() >= self.wire.unanswered_max;
            if is_held || self.next == self.count {
                link.flood(false);
                break;
            }
            if self.is_ahead() {
                link.flood(false);
                link.alarm_in(Duration::from_millis(1));
                break;
            }
            let micros = self.shared.origin.elapsed().as_micros();
            batch.extend_from_slice(self.wire.publish.as_bytes());
            let begin = batch.len();
            batch.extend_from_slice(format!("{:012} {micros:016} ", self.next).as_bytes());
            batch.resize(begin + size - 1, b'x');
            batch.push(b'\n');
            batch.extend_from_slice(self.wire.after.as_bytes());
            self.next += 1;
            if self.wire.unanswered_max > 0 {
                self.unanswered.push_back(link.now);
            }
        }
        link.send(&batch);
    }

    /// The readers may have come near.
    fn alarm(&mut self, link: &mut Link) {
        link.flood(true);
    }

    fn received(&mut self, link: &mut Link, bytes: &[u8]) {
        if find(bytes, b"PING\r\n").is_some() {
            link.send(b"PONG\r\n");
        }
        if self.wire.unanswered_max == 0 {
            return;
        }
        let mut part = self.shared.part.borrow_mut();
        part.replies.wrong += bytes.iter().filter(|byte| **byte == b'-').count() as u64;
        for _ in bytes.iter().filter(|byte| **byte == b'\n') {
            let sent = self.unanswered.pop_front().expect("a reply to nothing");
            part.replies.answered += 1;
            part.replies.spans.push(link.now.saturating_duration_since(sent));
        }
        link.flood(self.next < self.count);
    }

    fn ended(&mut self, _: &mut Link, _: End) {
        self.shared.part.borrow_mut().replies.cut += 1;
    }
}

/// Subscribes, never reads, and comes back when it was cut off.
pub(crate) struct Returner {
    pub(crate) subscribe: &'static str,
    pub(crate) returns: Rc<RefCell<u64>>,
}

impl Client for Returner {
    fn connected(&mut self, link: &mut Link) {
        link.allow(0);
        link.send(self.subscribe.as_bytes());
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        *self.returns.borrow_mut() += 1;
        link.come_back();
    }
}

/// Subscribes and reads steadily, so many bytes each tenth of a second; comes back, too.
pub(crate) struct SlowReader {
    pub(crate) subscribe: &'static str,
    pub(crate) bytes: usize,
    pub(crate) taken: Rc<RefCell<u64>>,
    pub(crate) returns: Rc<RefCell<u64>>,
}

impl Client for SlowReader {
    fn connected(&mut self, link: &mut Link) {
        link.allow(0);
        link.send(self.subscribe.as_bytes());
        link.alarm_in(Duration::from_millis(100));
    }

    fn alarm(&mut self, link: &mut Link) {
        link.allow(self.bytes);
        link.alarm_in(Duration::from_millis(100));
    }

    fn received(&mut self, _: &mut Link, bytes: &[u8]) {
        *self.taken.borrow_mut() += bytes.len() as u64;
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        *self.returns.borrow_mut() += 1;
        link.come_back();
    }
}

/// Connects, leaves again without a word, and comes back, at a steady pace.
struct Passer {
    every: Duration,
    returns: Rc<RefCell<u64>>,
}

impl Client for Passer {
    fn connected(&mut self, link: &mut Link) {
        link.alarm_in(self.every);
    }

    fn alarm(&mut self, link: &mut Link) {
        *self.returns.borrow_mut() += 1;
        link.reset();
        link.come_back();
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        link.come_back();
    }
}

/// Who attacks a feed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// So many that never subscribe, and that leave after so long and come back: what connections cost
    /// the machine, whatever is done with them.
    Passing(usize, Duration),
    /// So many that never read and come back.
    Returning(usize),
    /// So many that read so many bytes a second.
    Slow(usize, usize),
}

impl Attack {
    /// Adds the attackers. What they were able to do: how often they came back, what they took.
    pub(crate) fn begin(
        self,
        engine: &mut Engine,
        address: SocketAddr,
        subscribe: &'static str,
    ) -> (Rc<RefCell<u64>>, Rc<RefCell<u64>>) {
        let (returns, taken) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(0)));
        match self {
            Attack::Passing(count, every) => (0..count).for_each(|number| {
                let way = Way::hostile(address, number).narrow(4096);
                engine.add(way, Passer { every, returns: returns.clone() });
            }),
            Attack::Returning(count) => (0..count).for_each(|number| {
                let way = Way::hostile(address, number).narrow(4096);
                engine.add(way, Returner { subscribe, returns: returns.clone() });
            }),
            Attack::Slow(count, rate) => (0..count).for_each(|number| {
                let way = Way::hostile(address, number).narrow(64 << 10);
                let (taken, returns) = (taken.clone(), returns.clone());
                engine.add(way, SlowReader { subscribe, bytes: rate / 10, taken, returns });
            }),
        }
        (returns, taken)
    }
}

/// What a flood with ten readers looks like before and under an attack, in the same run; and how often
/// the attackers came back. The attackers have a thread of their own.
pub(crate) fn measure(
    address: SocketAddr,
    wire: &Wire,
    attack: Attack,
    [before, during]: [Duration; 2],
) -> ([Part; 2], u64) {
    let (tell, told) = mpsc::channel();
    let attacked = AtomicBool::new(false);
    let parts = Mutex::new([Part::default(), Part::default()]);
    let mut returned = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut engine = Engine::new();
            let feed = Feed::start(&mut engine, address, wire, 10);
            feed.publish(&mut engine, u64::MAX, u64::MAX);
            engine.run_for(Duration::from_millis(500));
            feed.take(Duration::ZERO);
            engine.run_for(before);
            let first = feed.take(before);
            tell.send(()).unwrap();
            engine.run_until(PATIENCE, || attacked.load(Ordering::Relaxed));
            feed.take(Duration::ZERO);
            engine.run_for(during);
            *parts.lock().unwrap() = [first, feed.take(during)];
        });
        if told.recv_timeout(PATIENCE * 2).is_ok() {
            let mut engine = Engine::new();
            let (returns, _) = attack.begin(&mut engine, address, wire.subscribe);
            attacked.store(true, Ordering::Relaxed);
            engine.run_for(during);
            returned = *returns.borrow();
        }
    });
    (parts.into_inner().unwrap(), returned)
}
