//! How long the publishers of a topic wait for a subscriber that is behind: a right with a limit.
//!
//! A subscriber that reads may be slow for a moment: its machine is busy, or its process waits for a
//! processor. Publishers wait for such a subscriber, or it would be lapped without a fault of its own.
//! While publishers wait, all other subscribers get nothing new. So the time of waiting is an account,
//! and the sum of all waits is bounded, however many subscribers stop, crawl or come back:
//!
//! ```text
//!  shortfall    of the topic: time for which publishers were held, less the time in which the topic
//!               usually delivers what it has delivered meanwhile
//!  debt         of the topic: shortfall that was spent on subscribers that were passed over
//!  sum in hand  of the topic: a debt below zero; a fortieth of the patience at most
//!  credit       of a subscriber: the time for which it has read; four times the patience at most
//!
//!  a subscriber is waited for  while  shortfall < sum in hand
//!                              or     shortfall < (credit - debt) / 2
//!                              and never longer than the patience
//! ```
//!
//! - **What pays.** Deliveries pay for the wait in which they are made, and for no other. A tenth of the
//!   time pays off the shortfall, then the debt, and then goes to the sum in hand. So publishers wait a
//!   tenth of the time in the long run.
//! - **Passed over.** A subscriber that has used up its right is passed over: its messages may be
//!   overwritten until it has caught up. The part of the right that was used becomes debt. Debt lessens
//!   the rights of all subscribers; a newcomer, which has no credit, loses its right first.
//! - **Late.** A subscriber is late when it is behind and publishers have been held for some
//!   milliseconds. Bytes delivered to late subscribers count eight times: the members of a crowd that
//!   one process reads in turn are served one after the other, and waiting for the last of them takes
//!   nothing from the others.
//!
//! Nothing here knows of sockets or reads a clock. Times are microseconds of the reactor's clock.

use std::num::NonZeroU32;

/// The account of a topic.
pub(crate) struct WaitAccount {
    patience_us: f64,
    shortfall_us: f64,
    /// Below zero: the sum in hand.
    debt_us: f64,
    pace: Pace,
    /// Bytes delivered since the last look, divided by the number of subscribers: all of them, and those
    /// that went to late subscribers.
    delivered: f64,
    delivered_late: f64,
    looked_us: u64,
    /// Until when the loop meant to wait at the last look. Time after that is the loop's own work, and
    /// not charged to a subscriber.
    planned_us: u64,
    /// Since when publishers are held.
    held_since_us: Option<u64>,
    /// The largest right that was used up in this look.
    spent_us: f64,
    /// Subscribers that were judged in this look.
    judged: usize,
}

/// How many bytes a topic usually delivers to each subscriber in a time; on the whole that is what is
/// published.
#[derive(Default)]
struct Pace {
    bytes_per_us: f64,
    /// `None` until something was delivered.
    window_began_us: Option<u64>,
    window_bytes: f64,
    /// Publishers have waited for a few subscribers in this window. What was delivered meanwhile says
    /// nothing about the others.
    is_spoiled: bool,
}

/// The standing of a subscriber: what it has earned, and whether it is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// For how long the subscriber has read.
    credit_ms: u32,
    /// Stamp, never 0: when the subscriber last showed that it reads.
    read_ms: Option<NonZeroU32>,
    /// Bytes that the socket took since then.
    taken: u32,
    /// The subscriber is so far behind that publishers have waited for it.
    is_late: bool,
    /// The subscriber's right is used up, and it has not caught up since.
    is_passed_over: bool,
}

/// The part of the time that pays for waiting.
const PAID: f64 = 0.1;
/// The most credit that a subscriber may have, in patiences. That is more than a right can be: debt made
/// by subscribers that read for a short time and stop does not use up the rights of those that have read
/// for long.
const CREDITS: f64 = 4.0;
/// Publishers wait for a newcomer, at most, for this part of the patience: longer than a busy
/// machine usually leaves a process without a processor, short beside what a listener notices.
const IN_HAND: f64 = 0.025;
/// Bytes that are taken after a wait show no more than this of reading: they may be few.
const WAIT_CREDIT_MS: u32 = 250;
/// What Linux holds for a connection that is not read is less: 4 MiB to be sent, 6 MiB received.
const KERNEL_BUFFERS: u32 = 16 << 20;
/// How often bytes that were delivered to late subscribers count. A crowd is served unevenly: buffers of
/// the kernel are filled at once, and emptied as the clients come to read.
const LATE_WEIGHT: f64 = 8.0;
/// When publishers have filled the ring, all subscribers are behind for a moment. Those that are still
/// behind when publishers have been held for so long are late.
const LATE_US: u64 = 5_000;
/// Long enough to even out turns.
const WINDOW_US: u64 = 250_000;
/// Until a pace is known, waiting is free. So a first guess is made soon, and a low one: this part of
/// what is delivered while the kernel's buffers are still empty.
const FIRST_WINDOW_US: u64 = 20_000;
const FIRST_GUESS: f64 = 0.05;
/// A pace rises within so many windows, so that buffers that fill at once do not set it.
const RISE_WINDOWS: f64 = 8.0;
/// A pace falls within so many windows, twenty seconds: slow subscribers do not soon make their pace the
/// usual one, and a machine that has become busy is not charged for ever.
const FALL_WINDOWS: f64 = 80.0;
/// The poll waits for whole milliseconds.
const TICK_US: u64 = 1000;
/// Eleven days. More makes no difference.
const PATIENCE_MAX_US: f64 = 1e12;

impl WaitAccount {
    pub(crate) fn new(patience: std::time::Duration) -> Self {
        let patience_us = (patience.as_secs_f64() * 1e6).min(PATIENCE_MAX_US);
        WaitAccount {
            patience_us,
            shortfall_us: 0.0,
            debt_us: -patience_us * IN_HAND,
            pace: Pace::default(),
            delivered: 0.0,
            delivered_late: 0.0,
            looked_us: 0,
            planned_us: 0,
            held_since_us: None,
            spent_us: 0.0,
            judged: 0,
        }
    }

    /// Bytes were delivered to one of so many subscribers.
    pub(crate) fn delivered(
        &mut self,
        bytes: usize,
        to: &Standing,
        subscribers: usize,
        now_us: u64,
    ) {
        self.pace.window_began_us.get_or_insert(now_us);
        let share = bytes as f64 / subscribers as f64;
        self.delivered += share;
        if to.is_late && !to.is_passed_over {
            self.delivered_late += share;
        }
    }

    /// From now on publishers are held.
    pub(crate) fn begin_hold(&mut self, now_us: u64) {
        self.settle(now_us);
        (self.held_since_us, self.planned_us) = (Some(now_us), now_us);
    }

    pub(crate) fn end_hold(&mut self) {
        self.held_since_us = None;
    }

    /// Before the subscribers are [judged](Self::judge).
    pub(crate) fn begin_look(&mut self, now_us: u64) {
        self.settle(now_us);
        self.planned_us = u64::MAX;
        (self.spent_us, self.judged) = (0.0, 0);
    }

    /// Until when publishers wait for a subscriber that is behind, unless more is delivered;
    /// `None` when it is passed over.
    pub(crate) fn judge(&mut self, standing: &mut Standing) -> Option<u64> {
        self.judged += 1;
        let right_us = self.right_of(standing);
        let since_us = self.held_since_us.unwrap_or(self.looked_us);
        standing.is_late |= self.looked_us - since_us >= LATE_US;
        if self.shortfall_us >= right_us {
            self.pass_over(standing);
        }
        if standing.is_passed_over {
            return None;
        }
        let until_us = self.looked_us + (right_us - self.shortfall_us) as u64;
        self.planned_us = self.planned_us.min(until_us.max(self.looked_us + TICK_US));
        Some(until_us)
    }

    /// Publishers wait for this subscriber no more. The part of its right that was used is spent.
    pub(crate) fn pass_over(&mut self, standing: &mut Standing) {
        if !std::mem::replace(&mut standing.is_passed_over, true) {
            self.spent_us = self.spent_us.max(self.right_of(standing).min(self.shortfall_us));
        }
    }

    /// After the subscribers that are behind were judged, of so many in all: the largest right that was
    /// used up becomes debt, once for all subscribers that used it.
    pub(crate) fn end_look(&mut self, subscribers: usize) {
        self.debt_us += self.spent_us;
        self.shortfall_us -= self.spent_us;
        if self.planned_us == u64::MAX {
            // Only subscribers that the flush phase has not reached yet are waited for.
            self.planned_us = self.looked_us;
        }
        let is_long = self.held_since_us.is_some_and(|since| self.looked_us - since >= LATE_US);
        let are_few = (1..=subscribers / 2).contains(&self.judged);
        self.pace.is_spoiled |= is_long && are_few;
    }

    fn right_of(&self, standing: &Standing) -> f64 {
        let credit_us = (f64::from(standing.credit_ms) * 1e3).min(CREDITS * self.patience_us);
        let earned_us = ((credit_us - self.debt_us) / 2.0).min(self.patience_us);
        earned_us.max(-self.debt_us)
    }

    /// Brings the account to `now_us`.
    fn settle(&mut self, now_us: u64) {
        // What is delivered while nobody is held pays for no wait: the pace is what is delivered anyway.
        if self.held_since_us.is_some() {
            let held_us = now_us.min(self.planned_us).saturating_sub(self.looked_us) as f64;
            let counted = self.delivered + (LATE_WEIGHT - 1.0) * self.delivered_late;
            let usual_us = self.pace.time_to_deliver_us(counted);
            self.shortfall_us = (self.shortfall_us + held_us - usual_us).max(0.0);
        }
        self.pay(now_us.saturating_sub(self.looked_us) as f64 * PAID);
        self.pace.learn(self.delivered, now_us);
        (self.delivered, self.delivered_late, self.looked_us) = (0.0, 0.0, now_us);
    }

    fn pay(&mut self, paid_us: f64) {
        let for_shortfall_us = paid_us.min(self.shortfall_us);
        self.shortfall_us -= for_shortfall_us;
        let debt_us = self.debt_us - (paid_us - for_shortfall_us);
        self.debt_us = debt_us.max(-self.patience_us * IN_HAND);
    }
}

impl Standing {
    /// The subscriber's socket took bytes. After a wait, or when they are more than the kernel
    /// holds, that shows that the subscriber reads.
    pub(crate) fn took(&mut self, bytes: usize, after_wait: bool, stamp: u32) {
        self.taken = self.taken.saturating_add(bytes.min(u32::MAX as usize) as u32);
        let is_more_than_held = self.taken > KERNEL_BUFFERS;
        if after_wait || is_more_than_held {
            let since_ms = self.read_ms.map_or(0, |last| stamp.wrapping_sub(last.get()));
            let most_ms = if is_more_than_held { u32::MAX } else { WAIT_CREDIT_MS };
            self.credit_ms = self.credit_ms.saturating_add(since_ms.min(most_ms));
            (self.read_ms, self.taken) = (NonZeroU32::new(stamp.max(1)), 0);
        }
    }

    /// The subscriber is not so far behind any more that publishers would wait for it.
    pub(crate) fn comes_near(&mut self) {
        self.is_late = false;
    }

    /// The subscriber has been given everything.
    pub(crate) fn catches_up(&mut self) {
        (self.is_late, self.is_passed_over) = (false, false);
    }
}

impl Pace {
    /// The time in which so many bytes are usually delivered to each subscriber; without end until a pace
    /// is known.
    fn time_to_deliver_us(&self, bytes: f64) -> f64 {
        if self.bytes_per_us == 0.0 { f64::INFINITY } else { bytes / self.bytes_per_us }
    }

    fn learn(&mut self, bytes: f64, now_us: u64) {
        self.window_bytes += bytes;
        let Some(began_us) = self.window_began_us else { return };
        let window_us = now_us.saturating_sub(began_us);
        let is_first = self.bytes_per_us == 0.0;
        if window_us < if is_first { FIRST_WINDOW_US } else { WINDOW_US } {
            return;
        }
        let bytes_per_us = self.window_bytes / window_us as f64;
        let windows = window_us as f64 / WINDOW_US as f64;
        let share = if is_first {
            FIRST_GUESS.max(windows / RISE_WINDOWS)
        } else if bytes_per_us > self.bytes_per_us {
            windows / RISE_WINDOWS
        } else if self.is_spoiled {
            0.0
        } else {
            windows / FALL_WINDOWS
        };
        self.bytes_per_us += (bytes_per_us - self.bytes_per_us) * share.min(1.0);
        (self.window_began_us, self.window_bytes, self.is_spoiled) = (Some(now_us), 0.0, false);
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
    const STEP_US: u64 = 250;
    const IN_HAND_US: f64 = 1e6 * IN_HAND;
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
                    let after_wait = std::mem::take(&mut client.is_blocked);
                    client.standing.took(given as usize, after_wait, (self.now_us / MS) as u32);
                    client.cursor += given;
                    client.in_socket += given;
                    budget -= given;
                    self.account.delivered(given as usize, &client.standing, count, self.now_us);
                }
                client.is_blocked |= client.in_socket == SOCKET && client.cursor < self.head;
                if client.cursor == self.head {
                    client.standing.catches_up();
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
                } else if client.cursor + MEMORY / 2 >= self.head {
                    client.standing.comes_near();
                    floor = floor.min(client.cursor);
                } else if self.account.judge(&mut client.standing).is_some() {
                    floor = floor.min(client.cursor);
                }
            }
            self.account.end_look(self.clients.len());
            floor
        }

        fn right_of(&self, index: usize) -> f64 {
            self.account.right_of(&self.clients[index].standing)
        }

        fn cuts(&self, of: std::ops::Range<usize>) -> u32 {
            self.clients[of].iter().map(|client| client.cuts).sum()
        }
    }

    fn readers(count: usize) -> Vec<Client> {
        (0..count).map(|_| Client::new(|_| READER_BYTES)).collect()
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

    const READER_BYTES: u64 = 60 * STEP_US;

    #[test]
    fn crowd_that_one_process_reads_in_turn_is_waited_for() {
        for (count, visit_us) in [(500, 2 * MS), (100, 20 * MS), (300, MS / 2)] {
            let mut model = Model::new(crowd(count, visit_us));
            model.run(10 * SECOND);
            assert_eq!(model.cuts(0..count as usize), 0, "{count} clients, each for {visit_us} us");
            assert!(model.published > 2 * MEMORY, "{count}: {}", model.published);
        }
    }

    #[test]
    fn subscribers_that_never_read_and_come_back_take_a_tenth_of_the_time() {
        for count in [1, 10] {
            let mut model = Model::new(readers(20));
            model.run(2 * SECOND);
            let before = model.published / 2;
            model.clients.extend((0..count).map(|_| returning(Client::new(|_| 0))));
            model.longest_us = 0;
            model.published = 0;
            model.run(20 * SECOND);
            assert_eq!(model.cuts(0..20), 0);
            assert!(model.cuts(20..20 + count) > 100);
            // A tenth for waiting; and what their sockets take before they are full.
            assert!(model.published / 20 > before * 3 / 4, "{} of {before}", model.published / 20);
            assert!(model.longest_us < 100 * MS, "{count}: {} us", model.longest_us);
        }
    }

    #[test]
    fn slow_readers_are_cut_however_steadily_they_read() {
        for (count, bytes_per_ms) in [(1, 40), (10, 200), (1, 2000), (10, 2000)] {
            let mut model = Model::new(readers(20));
            model.run(2 * SECOND);
            let before = model.published / 2;
            let slow = move |_| bytes_per_ms * STEP_US / MS;
            model.clients.extend((0..count).map(|_| returning(Client::new(slow))));
            model.published = 0;
            model.run(10 * SECOND);
            assert_eq!(model.cuts(0..20), 0);
            assert!(
                model.published / 10 > before * 2 / 3,
                "{count} of {bytes_per_ms} kB/s: {}",
                model.published / 10
            );
        }
    }

    #[test]
    fn readers_that_take_their_time_on_purpose_are_cut_too() {
        // Each reads a megabyte at once, and keeps the others waiting before.
        for (count, every_ms) in [(1, 70), (1, 300), (3, 70), (10, 300_u64)] {
            let mut model = Model::new(readers(20));
            let now_and_then = move |now: u64| {
                let is_due = now < 5 * SECOND || (now / MS).is_multiple_of(every_ms);
                if is_due { u64::MAX } else { 0 }
            };
            model.clients.extend((0..count).map(|_| returning(Client::new(now_and_then))));
            model.run(5 * SECOND);
            let before = model.published / 5;
            model.run(5 * SECOND);
            model.published = 0;
            model.run(20 * SECOND);
            assert_eq!(model.cuts(0..20), 0);
            assert!(
                model.published / 20 > before * 3 / 4,
                "{count} every {every_ms} ms: {} of {before}",
                model.published / 20
            );
        }
    }

    #[test]
    fn machine_that_becomes_busy_cuts_nobody() {
        let slower = |now| if now < 10 * SECOND { READER_BYTES } else { READER_BYTES / 5 };
        let mut model = Model::new((0..20).map(|_| Client::new(slower)).collect());
        model.run(40 * SECOND);
        assert_eq!(model.cuts(0..20), 0);
    }

    #[test]
    fn readers_that_slow_down_little_by_little_do_not_take_the_topic_with_them() {
        let mut model = Model::new(readers(20));
        let slower_and_slower = |now: u64| {
            let seconds = now.saturating_sub(5 * SECOND) as f64 / 1e6;
            ((READER_BYTES as f64) * (-seconds / 30.0).exp()) as u64
        };
        model.clients.push(Client::new(slower_and_slower));
        model.run(5 * SECOND);
        let before = model.published / 5;
        model.run(40 * SECOND);
        model.published = 0;
        model.run(5 * SECOND);
        assert_eq!(model.cuts(0..20), 0);
        assert!(model.published / 5 > before * 3 / 4, "{} of {before}", model.published / 5);
    }

    #[test]
    fn flood_after_long_quiet_times_cuts_nobody() {
        let mut model = Model::new(readers(20));
        for _ in 0..10_000 {
            model.now_us += SECOND;
            model.head += 1_000_000;
            model.first = model.head;
            for client in &mut model.clients {
                client.cursor = model.head;
                client.standing.took(1_000_000, false, (model.now_us / MS) as u32);
                model.account.delivered(1_000_000, &client.standing, 20, model.now_us);
            }
        }
        model.run(10 * SECOND);
        assert_eq!(model.cuts(0..20), 0);
    }

    /// A subscriber comes, and publishers wait for it as long as the account says; then another one. Between
    /// waits the topic delivers at its usual pace. Returns the part of the time that was waited.
    fn waits_for_newcomers(takes_at_last: bool, apart_us: u64) -> f64 {
        let mut account = WaitAccount::new(Duration::from_secs(1));
        account.pace.bytes_per_us = 1.0;
        let (mut now_us, mut held_us) = (SECOND, 0);
        while now_us < 21 * SECOND {
            let mut newcomer = Standing::default();
            account.delivered(apart_us as usize, &newcomer, 1, now_us);
            now_us += apart_us;
            account.begin_hold(now_us);
            account.begin_look(now_us);
            while let Some(until_us) = account.judge(&mut newcomer) {
                account.end_look(1);
                // A poll waits for whole milliseconds.
                let wait_us = until_us.saturating_sub(now_us).clamp(1, MS).next_multiple_of(MS);
                (now_us, held_us) = (now_us + wait_us, held_us + wait_us);
                account.begin_look(now_us);
                if takes_at_last {
                    break;
                }
            }
            account.end_look(1);
            account.end_hold();
        }
        held_us as f64 / (20 * SECOND) as f64
    }

    #[test]
    fn waits_of_whole_milliseconds_are_a_tenth_of_the_time_in_sum() {
        for apart_us in [500, 2 * MS, 7 * MS] {
            for takes_at_last in [false, true] {
                let part = waits_for_newcomers(takes_at_last, apart_us);
                assert!(part < PAID + 0.01, "{part} of the time, {apart_us} us apart");
                assert!(part > PAID * 0.8, "{part} of the time, {apart_us} us apart");
            }
        }
    }

    #[test]
    fn turn_in_which_nobody_is_judged_is_charged_to_nobody() {
        let mut account = WaitAccount::new(Duration::from_secs(1));
        account.pace.bytes_per_us = 1.0;
        account.begin_hold(SECOND);
        account.begin_look(SECOND);
        account.end_look(1);
        account.begin_look(SECOND + 400 * MS);
        assert_eq!(account.shortfall_us, 0.0);
    }

    #[test]
    fn subscriber_that_is_passed_over_for_its_silence_has_spent_its_right() {
        let mut account = WaitAccount::new(Duration::from_secs(1));
        account.pace.bytes_per_us = 1.0;
        let mut standing = Standing { credit_ms: 4000, ..Standing::default() };
        account.begin_hold(SECOND);
        account.begin_look(SECOND);
        assert!(account.judge(&mut standing).is_some());
        account.end_look(1);
        account.begin_look(SECOND + 500 * MS);
        account.pass_over(&mut standing);
        account.end_look(1);
        assert!(account.debt_us > 300_000.0 && account.shortfall_us == 0.0);
    }

    #[test]
    fn slower_readers_that_are_left_alone_set_the_pace() {
        let mut clients: Vec<Client> = (0..19)
            .map(|_| Client::new(|now| if now < 20 * SECOND { READER_BYTES } else { u64::MAX }))
            .collect();
        clients.push(Client::new(|_| READER_BYTES));
        let mut model = Model::new(clients);
        model.run(20 * SECOND);
        model.clients.drain(0..19);
        model.clients[0].reads = Box::new(|_| READER_BYTES / 5);
        model.run(20 * SECOND);
        assert_eq!(model.cuts(0..1), 0);
    }

    #[test]
    fn readers_without_a_processor_for_a_while_are_kept_also_beside_those_who_come_back() {
        for (off_ms, attackers) in [(5, 0), (20, 10), (80, 0), (50, 10)] {
            let reads = move |now: u64| {
                let is_on = now < SECOND || now / MS % (2 * off_ms) < off_ms;
                if is_on { 2 * READER_BYTES } else { 0 }
            };
            let mut model = Model::new((0..20).map(|_| Client::new(reads)).collect());
            model.run(2 * SECOND);
            model.clients.extend((0..attackers).map(|_| returning(Client::new(|_| 0))));
            model.run(20 * SECOND);
            assert_eq!(model.cuts(0..20), 0, "{off_ms} ms, {attackers}");
        }
    }

    #[test]
    fn reader_that_stops_is_waited_for_as_long_as_it_has_earned_and_not_again() {
        let mut clients = readers(10);
        let stops = |now| if now < 30 * SECOND { READER_BYTES } else { 0 };
        clients.push(returning(Client::new(stops)));
        let mut model = Model::new(clients);
        model.run(30 * SECOND);
        assert_eq!(model.cuts(0..11), 0);
        model.longest_us = 0;
        model.run(2 * SECOND);
        // A tenth is paid while publishers wait.
        let patience = SECOND..SECOND * 6 / 5;
        assert!(patience.contains(&model.longest_us), "{} us", model.longest_us);
        assert!(model.cuts(10..11) > 1);
        // Now the topic is in debt, and whoever comes back without having read is not waited for.
        model.longest_us = 0;
        model.run(5 * SECOND);
        assert!(model.longest_us < 20 * MS, "{} us", model.longest_us);
        assert_eq!(model.cuts(0..10), 0);
    }

    #[test]
    fn many_that_stop_together_are_one_wait_and_the_readers_keep_a_right() {
        let mut clients = readers(10);
        let stops = |index: u64| {
            move |now| if now < 30 * SECOND + index * 400 * MS { READER_BYTES } else { 0 }
        };
        clients.extend((0..8).map(|index| Client::new(stops(index))));
        let mut model = Model::new(clients);
        model.run(30 * SECOND);
        model.held_us = 0;
        model.run(10 * SECOND);
        assert_eq!(model.cuts(0..10), 0);
        assert!(model.cuts(10..18) >= 8);
        assert!(model.right_of(0) > 50_000.0, "{} us", model.right_of(0));
    }

    #[test]
    fn without_patience_nobody_is_waited_for_and_with_endless_patience_everybody() {
        let mut standing = Standing::default();
        let mut none = WaitAccount::new(Duration::ZERO);
        none.begin_hold(5);
        none.begin_look(10);
        assert_eq!(none.judge(&mut standing), None);
        let (mut endless, mut standing) = (WaitAccount::new(Duration::MAX), Standing::default());
        endless.begin_hold(5);
        endless.begin_look(3600 * SECOND);
        assert!(endless.judge(&mut standing).is_some());
    }

    #[test]
    fn loop_that_was_busy_itself_charges_nobody_for_that() {
        let (mut account, mut standing) =
            (WaitAccount::new(Duration::from_secs(1)), Standing::default());
        account.pace.bytes_per_us = 1.0;
        account.begin_hold(SECOND);
        account.begin_look(SECOND);
        let until = account.judge(&mut standing).unwrap();
        account.end_look(1);
        account.begin_look(until - 10);
        assert!(account.judge(&mut standing) >= Some(until));
        account.end_look(1);
        // It meant to wait until then, and came back later: no more than that was waited.
        account.begin_look(until + 400 * MS);
        assert!(account.shortfall_us < IN_HAND_US, "{} us", account.shortfall_us);
    }
}
