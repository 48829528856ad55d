//! How long the publishers of a topic wait for a subscriber that is behind: a right with a limit.
//!
//! A subscriber that reads may be slow for a moment: its machine is busy, its process waits for a
//! processor. Publishers wait for it, or it would be lapped without a fault of its own. But others
//! wait with them, so the time is bounded, whoever takes it and however often he comes back:
//!
//! ```text
//!  shortfall   time for which publishers were held and the topic delivered less than an eighth of
//!              what it usually does. What is delivered makes up for it: while the members of a
//!              crowd are served in turn, waiting for the last of them costs nobody anything.
//!  debt        shortfall that was spent on subscribers who did not make it. A tenth of the time
//!              pays it off, and on to a small sum in hand.
//!  credit      of one subscriber: the time for which it has read, twice the patience at most.
//!              A newcomer has none.
//!
//!  waited for  while   shortfall < sum in hand,   or   shortfall < (credit - debt) / 2
//! ```
//!
//! A subscriber that has used up its right is passed over: its messages may be overwritten, until
//! it has caught up. What it has used of its right becomes debt, which lessens the rights of all:
//! those of newcomers first, who have the sum in hand alone. So in the long run publishers wait a
//! tenth of the time, whatever the number of subscribers that stop, crawl or come back.
//!
//! Nothing here knows of sockets or reads a clock. Times are microseconds of the reactor's clock.

/// The account of a topic.
pub(super) struct WaitAccount {
    patience_us: i64,
    shortfall_us: i64,
    /// Below zero: the sum in hand.
    debt_us: i64,
    pace: Pace,
    /// Bytes delivered since the last look.
    delivered: u64,
    looked_us: u64,
    /// Up to when the loop meant to wait at the last look. What comes later is the loop's own
    /// work, and nobody's fault.
    planned_us: u64,
    is_held: bool,
    /// The largest right that was used up in this look.
    spent_us: i64,
}

/// What a topic usually delivers, to all its subscribers together.
struct Pace {
    bytes_per_us: f64,
    /// `None` until something was delivered.
    window_began_us: Option<u64>,
    window_bytes: u64,
}

/// What one subscriber has earned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// It took bytes after a wait, which shows that it reads: the first time and the last.
    read: Option<(u64, u64)>,
    /// Its right is used up, and it has not caught up since.
    is_passed_over: bool,
}

/// A tenth of the time is paid for waiting.
const TIME_PER_WAIT: i64 = 10;
/// Publishers wait for a newcomer, at most, for this part of the patience: longer than a busy
/// machine usually leaves a process without a processor, short beside what a listener notices.
const PATIENCE_PER_SUM_IN_HAND: i64 = 20;
/// What is delivered is half and more kernel buffers in one moment, and what the clients read in
/// the next: the pace is known to a factor of some three.
const PACE_MARGIN: f64 = 8.0;
/// Long enough to even out turns.
const WINDOW_US: u64 = 250_000;
/// A pace rises within so many windows, so that buffers that fill at once do not set it.
const RISE_WINDOWS: f64 = 4.0;
/// And falls within so many, so that those who slow a topic down do not soon call that usual.
const FALL_WINDOWS: f64 = 16.0;
/// The poll waits for whole milliseconds.
const TICK_US: u64 = 1000;
/// More patience makes no difference.
const PATIENCE_MAX_US: i64 = 1_000_000_000_000;

impl WaitAccount {
    pub(super) fn new(patience: std::time::Duration) -> Self {
        let patience_us = patience.as_micros().min(PATIENCE_MAX_US as u128) as i64;
        WaitAccount {
            patience_us,
            shortfall_us: 0,
            debt_us: -(patience_us / PATIENCE_PER_SUM_IN_HAND),
            pace: Pace { bytes_per_us: 0.0, window_began_us: None, window_bytes: 0 },
            delivered: 0,
            looked_us: 0,
            planned_us: 0,
            is_held: false,
            spent_us: 0,
        }
    }

    /// A subscriber was given so many bytes.
    pub(super) fn delivered(&mut self, bytes: usize) {
        self.delivered += bytes as u64;
    }

    /// From now on publishers are held.
    pub(super) fn begin_hold(&mut self, now_us: u64) {
        self.advance(now_us);
        (self.is_held, self.planned_us) = (true, now_us);
    }

    pub(super) fn end_hold(&mut self) {
        self.is_held = false;
    }

    /// Before the subscribers are [judged](Self::judge).
    pub(super) fn begin_look(&mut self, now_us: u64) {
        self.advance(now_us);
        self.planned_us = u64::MAX;
        self.spent_us = 0;
    }

    /// Until when publishers wait for a subscriber that is behind, unless more is delivered;
    /// `None` when it is passed over.
    pub(super) fn judge(&mut self, standing: &mut Standing) -> Option<u64> {
        if standing.is_passed_over {
            return None;
        }
        let right_us = self.right_of(standing);
        if self.shortfall_us >= right_us {
            standing.is_passed_over = true;
            self.spent_us = self.spent_us.max(right_us.min(self.shortfall_us));
            return None;
        }
        let until_us = self.looked_us + (right_us - self.shortfall_us) as u64;
        self.planned_us = self.planned_us.min(until_us.max(self.looked_us + TICK_US));
        Some(until_us)
    }

    /// After all subscribers were judged: the right that was used up, once for all who used it.
    pub(super) fn end_look(&mut self) {
        self.debt_us += self.spent_us;
        self.shortfall_us -= self.spent_us;
    }

    fn right_of(&self, standing: &Standing) -> i64 {
        let credit_us = standing.credit_us().min(2 * self.patience_us);
        (-self.debt_us).max((credit_us - self.debt_us) / 2)
    }

    /// Brings the account to `now_us`.
    fn advance(&mut self, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.looked_us);
        let held_us = now_us.min(self.planned_us).saturating_sub(self.looked_us);
        let made_up_us = self.pace.time_to_deliver_us(self.delivered);
        let shortfall_us =
            if self.is_held { self.shortfall_us + held_us as i64 } else { self.shortfall_us };
        self.shortfall_us = shortfall_us.saturating_sub(made_up_us).max(0);
        let in_hand_us = self.patience_us / PATIENCE_PER_SUM_IN_HAND;
        self.debt_us = (self.debt_us - passed_us as i64 / TIME_PER_WAIT).max(-in_hand_us);
        self.pace.learn(self.delivered, now_us);
        (self.delivered, self.looked_us) = (0, now_us);
    }
}

impl Standing {
    /// The subscriber's socket took bytes, after it had taken none for a while.
    pub(super) fn has_read(&mut self, now_us: u64) {
        let (first, _) = self.read.unwrap_or((now_us, now_us));
        self.read = Some((first, now_us));
    }

    pub(super) fn has_caught_up(&mut self) {
        self.is_passed_over = false;
    }

    fn credit_us(&self) -> i64 {
        self.read.map_or(0, |(first, last)| (last - first) as i64)
    }
}

impl Pace {
    /// For how long a delivery of so many bytes makes waiting free. Without a pace yet: whatever
    /// was waited.
    fn time_to_deliver_us(&self, bytes: u64) -> i64 {
        if self.bytes_per_us == 0.0 {
            return i64::MAX;
        }
        (bytes as f64 * PACE_MARGIN / self.bytes_per_us) as i64
    }

    fn learn(&mut self, bytes: u64, now_us: u64) {
        if bytes == 0 && self.window_began_us.is_none() {
            return;
        }
        self.window_bytes += bytes;
        let window_us = now_us.saturating_sub(*self.window_began_us.get_or_insert(now_us));
        if window_us < WINDOW_US {
            return;
        }
        let bytes_per_us = self.window_bytes as f64 / window_us as f64;
        let is_faster = bytes_per_us > self.bytes_per_us;
        let windows = window_us as f64 / WINDOW_US as f64;
        let share = windows / if is_faster { RISE_WINDOWS } else { FALL_WINDOWS };
        self.bytes_per_us += (bytes_per_us - self.bytes_per_us) * share.min(1.0);
        (self.window_began_us, self.window_bytes) = (Some(now_us), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: u64 = 1000;
    const SECOND: u64 = 1000 * MS;
    /// Of the model: what a topic holds, what a socket holds, and what the loop hands out in a
    /// step, 1 GB/s.
    const MEMORY: u64 = 1 << 20;
    const SOCKET: u64 = 1 << 18;
    const STEP_US: u64 = 100;
    const STEP_BYTES: u64 = 1000 * STEP_US;

    /// How many bytes a client reads at a time of the model, at most.
    type Reads = Box<dyn Fn(u64) -> u64>;

    struct Client {
        reads: Reads,
        /// It comes back when it is cut off.
        returns: bool,
        standing: Standing,
        cursor: u64,
        in_socket: u64,
        is_blocked: bool,
        cuts: u32,
    }

    /// A topic into which publishers put what it takes, and its subscribers.
    struct Model {
        account: WaitAccount,
        clients: Vec<Client>,
        head: u64,
        first: u64,
        is_held: bool,
        now_us: u64,
        held_us: u64,
        longest_us: u64,
        held_since: u64,
        published: u64,
    }

    impl Client {
        fn new(reads: impl Fn(u64) -> u64 + 'static) -> Self {
            Client {
                reads: Box::new(reads),
                returns: false,
                standing: Standing::default(),
                cursor: 0,
                in_socket: 0,
                is_blocked: false,
                cuts: 0,
            }
        }
    }

    impl Model {
        fn new(clients: Vec<Client>) -> Self {
            Model {
                account: WaitAccount::new(Duration::from_secs(1)),
                clients,
                head: 0,
                first: 0,
                is_held: false,
                now_us: 0,
                held_us: 0,
                longest_us: 0,
                held_since: 0,
                published: 0,
            }
        }

        fn run(&mut self, span_us: u64) {
            let end = self.now_us + span_us;
            while self.now_us < end {
                self.now_us += STEP_US;
                self.deliver();
                self.publish();
            }
        }

        fn deliver(&mut self) {
            let mut budget = STEP_BYTES;
            // Whoever is first in the list is not first in each step.
            let turn = (self.now_us / STEP_US) as usize;
            for index in 0..self.clients.len() {
                let count = self.clients.len();
                let client = &mut self.clients[(index + turn) % count];
                client.in_socket -= (client.reads)(self.now_us).min(client.in_socket);
                let given = (self.head - client.cursor).min(SOCKET - client.in_socket).min(budget);
                // The kernel speaks of room when a third is free.
                if given > 0 && (!client.is_blocked || client.in_socket < SOCKET * 2 / 3) {
                    if std::mem::take(&mut client.is_blocked) {
                        client.standing.has_read(self.now_us);
                    }
                    client.cursor += given;
                    client.in_socket += given;
                    budget -= given;
                    self.account.delivered(given as usize);
                }
                client.is_blocked |= client.in_socket == SOCKET && client.cursor < self.head;
                if client.cursor == self.head {
                    client.standing.has_caught_up();
                }
            }
        }

        fn publish(&mut self) {
            let floor = self.floor();
            let needed = self.head - floor;
            if self.is_held && needed <= MEMORY / 2 {
                self.is_held = false;
                self.longest_us = self.longest_us.max(self.now_us - self.held_since);
                self.account.end_hold();
            }
            if self.is_held {
                self.held_us += STEP_US;
                return;
            }
            let room = (MEMORY - needed.min(MEMORY)).min(STEP_BYTES);
            self.head += room;
            self.published += room;
            self.first = self.first.max(self.head.saturating_sub(MEMORY));
            if room < STEP_BYTES {
                self.is_held = true;
                self.held_since = self.now_us;
                self.account.begin_hold(self.now_us);
            }
        }

        fn floor(&mut self) -> u64 {
            let mut floor = self.head;
            self.account.begin_look(self.now_us);
            for client in &mut self.clients {
                if client.cursor < self.first {
                    client.cuts += 1;
                    client.standing = Standing::default();
                    client.is_blocked = false;
                    (client.cursor, client.in_socket) = (self.head, 0);
                    if !client.returns {
                        client.reads = Box::new(|_| u64::MAX);
                    }
                } else if client.cursor + MEMORY / 2 >= self.head
                    || self.account.judge(&mut client.standing).is_some()
                {
                    floor = floor.min(client.cursor);
                }
            }
            self.account.end_look();
            floor
        }

        fn cuts(&self, of: std::ops::Range<usize>) -> u32 {
            self.clients[of].iter().map(|client| client.cuts).sum()
        }
    }

    fn reader() -> Client {
        Client::new(|_| 6 * STEP_US * 10)
    }

    fn returning(mut client: Client) -> Client {
        client.returns = true;
        client
    }

    /// A process that reads its clients one after the other, each for so long.
    fn crowd(count: u64, visit_us: u64) -> Vec<Client> {
        let member = |index| {
            Client::new(move |now| {
                if now / visit_us % count == index {
                    SOCKET * STEP_US / visit_us.max(STEP_US) * 2
                } else {
                    0
                }
            })
        };
        (0..count).map(member).collect()
    }

    #[test]
    fn readers_on_one_process_after_another_are_all_waited_for() {
        for (count, visit_us) in [(500, 2 * MS), (1000, MS / 2), (1000, 6 * MS), (100, 10 * MS)] {
            let mut model = Model::new(crowd(count, visit_us));
            model.run(20 * SECOND);
            println!(
                "crowd {count} x {visit_us}: published {} held {} ms",
                model.published >> 20,
                model.held_us / MS
            );
            assert_eq!(model.cuts(0..count as usize), 0, "{count} of {visit_us} us");
        }
    }

    #[test]
    fn those_who_never_read_and_come_back_take_a_tenth_of_the_time() {
        for count in [1, 10, 100] {
            let mut model = Model::new((0..20).map(|_| reader()).collect());
            model.run(2 * SECOND);
            model.clients.extend((0..count).map(|_| returning(Client::new(|_| 0))));
            let (held, published) = (model.held_us, model.published);
            model.run(30 * SECOND);
            println!(
                "never {count}: held {} ms in 30 s, before {} in 2 s; published {} vs {}, longest {}",
                (model.held_us - held) / MS,
                held / MS,
                (model.published - published) >> 20,
                published >> 20,
                model.longest_us
            );
            assert_eq!(model.cuts(0..20), 0);
            println!("cuts {}", model.cuts(20..20 + count));
        }
    }

    #[test]
    fn slow_steady_readers() {
        for (count, rate) in [(1, 40), (1, 200), (10, 40), (10, 200), (10, 2000), (10, 20000)] {
            for returns in [false, true] {
                let mut model = Model::new((0..20).map(|_| reader()).collect());
                model.run(2 * SECOND);
                let slow = move |_now| rate * STEP_US / 1000;
                model.clients.extend((0..count).map(|_| {
                    let mut c = Client::new(slow);
                    c.returns = returns;
                    c
                }));
                let (held, published) = (model.held_us, model.published);
                model.run(30 * SECOND);
                println!(
                    "slow {count} {rate} {returns}: held {} ms in 30 s, before {} in 2 s; published {} vs {}, longest {}, cuts {}",
                    (model.held_us - held) / MS,
                    held / MS,
                    (model.published - published) >> 20,
                    published >> 20,
                    model.longest_us,
                    model.cuts(20..20 + count)
                );
                assert_eq!(model.cuts(0..20), 0);
            }
        }
    }

    #[test]
    fn busy_machine() {
        for off in [5, 20, 50, 80] {
            for attackers in [0, 10] {
                let on = move |now: u64| now / MS % (2 * off) < off;
                let mut model = Model::new(
                    (0..20)
                        .map(|_| Client::new(move |now| if on(now) { 12000 } else { 0 }))
                        .collect(),
                );
                model.run(2 * SECOND);
                model.clients.extend((0..attackers).map(|_| returning(Client::new(|_| 0))));
                let (held, published) = (model.held_us, model.published);
                model.run(60 * SECOND);
                println!(
                    "busy {off} {attackers}: held {} ms in 60 s, before {} in 2 s; published {} vs {}, longest {}, debt {}",
                    (model.held_us - held) / MS,
                    held / MS,
                    (model.published - published) >> 20,
                    published >> 20,
                    model.longest_us,
                    model.account.debt_us
                );
                assert_eq!(model.cuts(0..20), 0, "{off} {attackers}");
            }
        }
    }
}
