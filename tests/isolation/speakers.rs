//! Honest people in a room: each says something at an interval, below the rate that is allowed, whether
//! or not what was said before has come back; sees what it said come back; and checks that the events of the room
//! have no gap.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::engine::{Client, End, Engine, Link, Way};
use crate::honest::Waits;

/// Seven lines a second, of the ten that are allowed.
pub(crate) const INTERVAL: Duration = Duration::from_millis(143);

pub(crate) struct Speakers {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    waits: RefCell<Waits>,
    /// How many are in the room.
    present: RefCell<usize>,
    /// How many lines each may still say; those that are said come back first.
    left: RefCell<u64>,
    outstanding: RefCell<usize>,
    /// Lines that were said, and how many of all each has heard.
    said: RefCell<u64>,
    heard: RefCell<Vec<u64>>,
}

impl Speakers {
    /// Returns when all are in the lobby. They say no more than a window beyond what each of them has heard.
    pub(crate) fn start(
        engine: &mut Engine,
        address: SocketAddr,
        count: usize,
        size: usize,
        interval: Duration,
        window: u64,
    ) -> Speakers {
        let shared = Rc::new(Shared { heard: vec![0; count].into(), ..Shared::default() });
        for number in 0..count {
            engine.add(
                Way::to(address),
                Speaker {
                    shared: shared.clone(),
                    number,
                    name: format!("h{number}"),
                    window,
                    size,
                    interval,
                    said: VecDeque::new(),
                    heard: 0,
                    event: None,
                    partial: Vec::new(),
                    next: Instant::now(),
                },
            );
        }
        let all_in = engine.run_until(PATIENCE, || *shared.present.borrow() == count);
        assert!(all_in, "the honest speakers do not get in: {}", shared.present.borrow());
        Speakers { shared }
    }

    /// What was met since the last call, with the lines that are on their way as asked.
    pub(crate) fn take(&self) -> Waits {
        let mut waits = self.shared.waits.borrow_mut();
        let rest = Waits { asked: *self.shared.outstanding.borrow() as u64, ..Waits::default() };
        std::mem::replace(&mut *waits, rest)
    }

    /// Lets everybody say so many lines more, and no more than that.
    pub(crate) fn speak(&self, lines: u64) {
        *self.shared.left.borrow_mut() = lines;
    }

    pub(crate) fn is_silent(&self) -> bool {
        *self.shared.outstanding.borrow() == 0
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.waits.borrow().answered
    }

    pub(crate) fn cut(&self) -> u64 {
        self.shared.waits.borrow().cut
    }
}

struct Speaker {
    shared: Rc<Shared>,
    number: usize,
    name: String,
    window: u64,
    /// Bytes of a line.
    size: usize,
    interval: Duration,
    /// When each line was due that has not come back.
    said: VecDeque<Instant>,
    heard: u64,
    /// The number of the room's last event.
    event: Option<u64>,
    partial: Vec<u8>,
    next: Instant,
}

impl Speaker {
    fn hear(&mut self, line: &[u8], now: Instant) {
        let line = String::from_utf8_lossy(line);
        if line.starts_with("* you are in ") {
            *self.shared.present.borrow_mut() += 1;
            return;
        }
        let Some((head, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] "))
        else {
            return;
        };
        let number: u64 =
            head.rsplit_once(' ').and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        let mut waits = self.shared.waits.borrow_mut();
        if self.event.is_some_and(|last| last + 1 != number) {
            waits.wrong += 1;
        }
        self.event = Some(number);
        let is_line = text.starts_with('h') && text.contains(": ");
        self.shared.heard.borrow_mut()[self.number] += u64::from(is_line);
        let own = text.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix(": "));
        let Some(own) = own else { return };
        let expected = format!("{} ", self.heard);
        waits.wrong += u64::from(!own.starts_with(&expected));
        self.heard += 1;
        waits.answered += 1;
        *self.shared.outstanding.borrow_mut() -= 1;
        if let Some(due) = self.said.pop_front() {
            waits.spans.push(now.saturating_duration_since(due));
        }
    }
}

impl Client for Speaker {
    fn connected(&mut self, link: &mut Link) {
        link.send(format!("/nick {}\n/join lobby\n", self.name).as_bytes());
        // Not all in the same instant.
        let share: u32 = self.name[1..].parse().unwrap();
        self.next = link.now + self.interval / 20 * (share % 20);
        link.alarm_at(self.next);
    }

    fn alarm(&mut self, link: &mut Link) {
        let heard = self.shared.heard.borrow().iter().copied().min().unwrap_or(0);
        let mut said = self.shared.said.borrow_mut();
        let is_ahead = *said >= heard.saturating_add(self.window);
        let mut left = self.shared.left.borrow_mut();
        let number = self.heard + self.said.len() as u64;
        if *left > 0 && link.is_connected() && !is_ahead {
            *left -= 1;
            *said += 1;
            let mut line = format!("{number} ");
            line.extend(std::iter::repeat_n('y', self.size.saturating_sub(line.len())));
            line.push('\n');
            link.send(line.as_bytes());
            self.said.push_back(link.now);
            self.shared.waits.borrow_mut().asked += 1;
            *self.shared.outstanding.borrow_mut() += 1;
        }
        self.next = (self.next + self.interval).max(link.now);
        link.alarm_at(self.next);
    }

    fn received(&mut self, link: &mut Link, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.partial);
        let mut rest = &all[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.hear(&rest[..end], link.now);
            rest = &rest[end + 1..];
        }
        self.partial = rest.to_vec();
    }

    fn ended(&mut self, _: &mut Link, _: End) {
        self.shared.waits.borrow_mut().cut += 1;
        *self.shared.outstanding.borrow_mut() -= self.said.len();
        self.said.clear();
    }
}
