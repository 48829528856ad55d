//! Honest clients: each asks on a schedule, checks every byte of the answer, and counts how long it
//! waited. What is due while an answer is outstanding is asked behind it, and its wait counts from
//! when it was due, so that a server which stands still cannot hide it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::engine::{Client, End, Engine, Link, Way};

/// What is asked, and how the answer to question `n` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Echo,
    /// `ECHO n` to kv or Redis.
    Kv,
    /// A page of `web` or nginx.
    Web,
    /// `/ping n`.
    Chat,
}

/// What there is of an answer.
enum Answer {
    Partial,
    /// So many bytes.
    Right(usize),
    Wrong,
}

impl Speech {
    fn question(self, n: u64) -> Vec<u8> {
        match self {
            Speech::Echo => format!("question {n}\n"),
            Speech::Kv => format!("ECHO {n:08}\r\n"),
            Speech::Web => "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".into(),
            Speech::Chat => format!("/ping {n}\n"),
        }
        .into_bytes()
    }

    fn answer(self, n: u64, bytes: &[u8]) -> Answer {
        let exact = |expected: String| match bytes.len() >= expected.len() {
            true if bytes.starts_with(expected.as_bytes()) => Answer::Right(expected.len()),
            false if expected.as_bytes().starts_with(bytes) => Answer::Partial,
            _ => Answer::Wrong,
        };
        match self {
            Speech::Echo => exact(format!("question {n}\n")),
            Speech::Kv => exact(format!("$8\r\n{n:08}\r\n")),
            Speech::Chat if n == 0 => match find(bytes, b"* pong 0\n") {
                // The welcome stands before the first.
                Some(at) => Answer::Right(at + 9),
                None => Answer::Partial,
            },
            Speech::Chat => exact(format!("* pong {n}\n")),
            Speech::Web => match find(bytes, b"Hello, World!") {
                Some(at) if bytes.starts_with(b"HTTP/1.1 200 ") => Answer::Right(at + 13),
                None if bytes.len() < 4096
                    && b"HTTP/1.1 200 ".starts_with(&bytes[..bytes.len().min(13)]) =>
                {
                    Answer::Partial
                }
                _ => Answer::Wrong,
            },
        }
    }

    /// How often it asks: chat's limit is ten lines a second.
    pub(crate) fn interval(self) -> Duration {
        Duration::from_millis(if self == Speech::Chat { 150 } else { 50 })
    }
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// What honest clients met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) wrong: u64,
    /// Connections that the server ended.
    pub(crate) cut: u64,
    pub(crate) spans: Vec<Duration>,
}

impl Waits {
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        let at = ((spans.len() as f64 * share) as usize).min(spans.len().saturating_sub(1));
        spans.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn longest(&self) -> Duration {
        self.spans.iter().max().copied().unwrap_or_default()
    }

    pub(crate) fn all_answered(&self) -> bool {
        self.answered == self.asked && self.wrong == 0 && self.cut == 0 && self.asked > 0
    }
}

/// One honest client.
struct Asker {
    speech: Speech,
    number: u64,
    /// When the question that is outstanding was due.
    asked: Option<Instant>,
    overdue: VecDeque<Instant>,
    next: Instant,
    received: Vec<u8>,
    waits: Rc<RefCell<Waits>>,
    stopped: Arc<AtomicBool>,
    outstanding: Rc<RefCell<usize>>,
    told: Arc<AtomicU64>,
}

impl Asker {
    fn ask(&mut self, link: &mut Link, due: Instant) {
        link.send(&self.speech.question(self.number));
        self.asked = Some(due);
        self.waits.borrow_mut().asked += 1;
        *self.outstanding.borrow_mut() += 1;
    }

    fn answered(&mut self, link: &mut Link, due: Instant, len: usize) {
        self.received.drain(..len);
        self.number += 1;
        self.asked = None;
        *self.outstanding.borrow_mut() -= 1;
        let mut waits = self.waits.borrow_mut();
        waits.answered += 1;
        waits.spans.push(link.now.saturating_duration_since(due));
        drop(waits);
        self.told.fetch_add(1, Ordering::Relaxed);
        if self.is_stopped() {
            self.give_up(link.now);
        } else if let Some(due) = self.overdue.pop_front() {
            self.ask(link, due);
        }
    }

    /// What was due and will not be asked any more has waited, too.
    fn give_up(&mut self, now: Instant) {
        let overdue = self.overdue.drain(..).map(|due| now.saturating_duration_since(due));
        self.waits.borrow_mut().spans.extend(overdue);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Client for Asker {
    fn connected(&mut self, link: &mut Link) {
        self.next = link.now + self.speech.interval();
        link.alarm_at(self.next);
        self.ask(link, link.now);
    }

    fn alarm(&mut self, link: &mut Link) {
        if self.is_stopped() || !link.is_connected() {
            return;
        }
        match self.asked {
            // The lateness of this engine is not the server's.
            None => self.ask(link, link.now),
            Some(_) => self.overdue.push_back(self.next),
        }
        self.next = (self.next + self.speech.interval()).max(link.now);
        link.alarm_at(self.next);
    }

    fn received(&mut self, link: &mut Link, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some(due) = self.asked
            && !self.received.is_empty()
        {
            match self.speech.answer(self.number, &self.received) {
                Answer::Partial => return,
                Answer::Right(len) => self.answered(link, due, len),
                Answer::Wrong => {
                    self.waits.borrow_mut().wrong += 1;
                    return self.received.clear();
                }
            }
        }
    }

    fn ended(&mut self, link: &mut Link, _: End) {
        let mut waits = self.waits.borrow_mut();
        waits.cut += 1;
        if let Some(due) = self.asked.take() {
            waits.spans.push(link.now.saturating_duration_since(due));
            *self.outstanding.borrow_mut() -= 1;
        }
        drop(waits);
        self.give_up(link.now);
    }
}

/// Twenty of them, on a thread of their own, so that the attackers' work is not in their waits.
pub(crate) struct Honest {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Waits>,
}

impl Honest {
    /// Returns when each has had its first answer.
    pub(crate) fn start(address: SocketAddr, speech: Speech) -> Honest {
        Honest::start_some(address, speech, 20)
    }

    pub(crate) fn start_some(address: SocketAddr, speech: Speech, count: usize) -> Honest {
        let stopped = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stop = stopped.clone();
        let answered = Arc::new(AtomicU64::new(0));
        let counter = answered.clone();
        let thread = thread::spawn(move || {
            let mut engine = Engine::new();
            let waits = Rc::new(RefCell::new(Waits::default()));
            let outstanding = Rc::new(RefCell::new(0));
            for _ in 0..count {
                let client = Asker {
                    speech,
                    number: 0,
                    asked: None,
                    overdue: VecDeque::new(),
                    next: Instant::now(),
                    received: Vec::new(),
                    waits: waits.clone(),
                    stopped: stop.clone(),
                    outstanding: outstanding.clone(),
                    told: counter.clone(),
                };
                engine.add(Way::to(address), client);
            }
            engine.run_until(PATIENCE, || waits.borrow().answered as usize >= count);
            *waits.borrow_mut() = Waits { asked: *outstanding.borrow() as u64, ..Waits::default() };
            let _ = tell.send(());
            engine.run_until(Duration::from_secs(600), || stop.load(Ordering::Relaxed));
            // What is in flight is given time, and a wait that does not end counts as one.
            engine.run_until(Duration::from_secs(15), || *outstanding.borrow() == 0);
            let mut waits = waits.borrow().clone();
            let unanswered = waits.asked - waits.answered;
            waits.spans.extend((0..unanswered).map(|_| Duration::from_secs(15)));
            waits
        });
        told.recv_timeout(PATIENCE * 2).expect("the honest clients do not get in");
        Honest { stopped, answered, thread }
    }

    /// Answers so far: a number that grows while everybody is served.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets the attackers of `engine` act until so many more answers have come.
    #[track_caller]
    pub(crate) fn ask_beside(&self, engine: &mut Engine, count: u64) {
        let before = self.answered();
        let enough = engine.run_until(PATIENCE, || self.answered() >= before + count);
        assert!(enough, "{} of {count} questions were answered", self.answered() - before);
    }

    pub(crate) fn stop(self) -> Waits {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
