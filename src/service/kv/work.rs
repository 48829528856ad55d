//! Work: what commands cost beyond the bytes that come and go, and whose turn it is to have some done.
//!
//! A turn of the reactor has room for so much of it, or for one command. Whoever comes when that is used
//! up waits for the next turn, with a ticket that says since which turn. The client that has waited
//! longest is first in a turn: until it has been served, nothing else that costs is done for anybody.
//!
//! ```text
//!   turn 1   A works, and has had its share: it waits since turn 2.   B waits since turn 1.
//!   turn 2   B is first and works: it waits since turn 3.             A keeps its ticket.
//!   turn 3   A is first and works: ...
//! ```

use std::collections::BTreeSet;

/// The unit is a byte of a value that is gone over, about a quarter of a nanosecond.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// In this turn; or in a transaction, while that is carried out.
    done: usize,
    /// The client that is being served, and what it came with.
    client: u32,
    ticket: Option<Ticket>,
    /// It has had work done since it came.
    has_worked: bool,
    waiting: BTreeSet<(Ticket, u32)>,
    /// Who has waited longest, until it has been served.
    first: Option<(Ticket, u32)>,
    turn: u64,
    /// Done in this transaction by commands that otherwise go on in slices.
    in_slices: usize,
}

/// The turn since which a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The most work of one turn, unless a single command takes more: some five milliseconds, as others
/// wait for so long. A command that goes on in slices has at most as much of it for one of them.
pub(super) const TURN_MAX: usize = 16 << 20;
/// The most clients that are called in a turn: each of them reads its request again, though there may
/// be no work left for it.
const CALLED_MAX: usize = 64;
/// The least that such a command has, when it is its turn.
const SLICE_MIN: usize = TURN_MAX / 8;

impl Work {
    /// A client is served, which may have waited.
    pub(super) fn begin(&mut self, client: u32, ticket: Option<Ticket>) {
        (self.client, self.ticket, self.has_worked) = (client, ticket, false);
    }

    /// Nothing more of it is carried out now.
    pub(super) fn end(&mut self) {
        if self.is_first() {
            self.first = None;
        }
    }

    /// Whether so much may be done now. Otherwise the client is to [wait](Self::wait).
    pub(super) fn may_do(&self, amount: usize) -> bool {
        match self.first {
            Some(_) => self.is_first(),
            None => self.done == 0 || self.done.saturating_add(amount) <= TURN_MAX,
        }
    }

    /// So much is done, or has been done.
    pub(super) fn add(&mut self, amount: usize) {
        self.done = self.done.saturating_add(amount);
        if amount > 0 {
            self.has_worked = true;
            self.end();
        }
    }

    /// So much is done that no client waits for by itself.
    pub(super) fn spend(&mut self, amount: usize) {
        self.done = self.done.saturating_add(amount);
    }

    /// How much a command that goes on in slices may do now; nothing, if it is to wait.
    pub(super) fn slice(&self) -> usize {
        let left = TURN_MAX.saturating_sub(self.done).max(SLICE_MIN);
        if self.may_do(1) { left } else { 0 }
    }

    /// As [`slice`](Self::slice), in a transaction, where one slice is all that there is.
    pub(super) fn slice_of_transaction(&self) -> usize {
        TURN_MAX.saturating_sub(self.in_slices)
    }

    /// So much was done of a slice.
    pub(super) fn end_slice(&mut self, amount: usize) {
        self.in_slices += amount;
        self.add(amount);
    }

    /// Lets the client wait for the next turn: behind all others, if it has had its share of this one.
    pub(super) fn wait(&mut self) -> Ticket {
        let ticket = match self.ticket {
            Some(ticket) if !self.has_worked => ticket,
            _ => Ticket(self.turn + u64::from(self.has_worked)),
        };
        self.waiting.insert((ticket, self.client));
        ticket
    }

    /// Whether a client still waits for the turn that its ticket is for.
    pub(super) fn waits(&self, client: u32, ticket: Ticket) -> bool {
        self.waiting.contains(&(ticket, client))
    }

    pub(super) fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A turn begins.
    pub(super) fn clear(&mut self) {
        self.done = 0;
    }

    /// Ends the wait of those who have waited longest. `comes` is told each client that waited, and says
    /// whether that will be served in this turn: one that does not read its answers keeps nobody
    /// waiting.
    pub(super) fn call(&mut self, mut comes: impl FnMut(u32) -> bool) {
        self.turn += 1;
        let first = self.first.take().filter(|(_, client)| comes(*client));
        let next = || self.waiting.pop_first();
        let called = std::iter::from_fn(next).take(CALLED_MAX).filter(|(_, client)| comes(*client));
        // All of them, and not only until one comes.
        self.first = called.chain(first).min();
    }

    /// A client is gone, with the ticket that it had.
    pub(super) fn forget(&mut self, client: u32, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.waiting.remove(&(ticket, client));
        }
        self.first = self.first.filter(|(_, first)| *first != client);
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Counts anew for a transaction; returns what was counted until now, for [`add`](Self::add).
    pub(super) fn begin_transaction(&mut self) -> usize {
        self.in_slices = 0;
        std::mem::take(&mut self.done)
    }

    fn is_first(&self) -> bool {
        self.first.is_some_and(|(_, client)| client == self.client)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Turns in which the same clients want more than there is, and are served in the same order. Who
    /// was served in each.
    fn served(clients: u32, turns: usize, held: Option<u32>) -> Vec<Vec<u32>> {
        let (mut work, mut tickets) = (Work::default(), HashMap::new());
        let mut turn = || {
            work.clear();
            work.call(|client| Some(client) != held);
            let mut served = Vec::new();
            for client in (0..clients).filter(|client| Some(*client) != held) {
                work.begin(client, tickets.remove(&client));
                while work.may_do(TURN_MAX / 2) {
                    work.add(TURN_MAX / 2);
                    served.push(client);
                }
                tickets.insert(client, work.wait());
            }
            served
        };
        (0..turns).map(|_| turn()).collect()
    }

    #[test]
    fn clients_that_always_want_more_are_served_one_after_the_other() {
        let expected: Vec<Vec<u32>> = (0..9).map(|turn| vec![turn % 3; 2]).collect();
        assert_eq!(served(3, 9, None), expected);
        assert!(served(3, 9, Some(1)).iter().all(|served| !served.is_empty()));
    }

    #[test]
    fn client_that_is_held_or_has_gone_keeps_nobody_waiting() {
        let mut work = Work::default();
        for client in [1, 2] {
            work.begin(client, None);
            work.wait();
        }
        work.call(|client| client != 1);
        work.begin(3, None);
        assert!(!work.may_do(1), "2 is first");
        work.begin(2, None);
        assert!(work.may_do(10 * TURN_MAX));
        // What it wanted is no more to be done.
        work.end();
        work.begin(3, None);
        assert!(work.may_do(1));
    }

    #[test]
    fn first_one_that_goes_leaves_its_place_to_the_next() {
        let mut work = Work::default();
        let mut tickets = Vec::new();
        for client in [1, 2, 3] {
            work.begin(client, None);
            tickets.push(work.wait());
        }
        work.forget(2, Some(tickets[1]));
        let mut called = Vec::new();
        work.call(|client| {
            called.push(client);
            true
        });
        assert_eq!(called, [1, 3]);
        work.forget(1, Some(tickets[0]));
        // Another one has its number now, and wants nothing.
        work.begin(4, None);
        assert!(work.may_do(1) && !work.anybody_waits());
    }

    #[test]
    fn very_many_are_called_a_part_at_a_time_in_their_order() {
        let mut work = Work::default();
        for client in 0..200 {
            work.begin(client, None);
            work.wait();
        }
        let mut called = Vec::new();
        while work.anybody_waits() {
            let before = called.len();
            work.call(|client| {
                called.push(client);
                false
            });
            assert!(called.len() - before <= CALLED_MAX);
        }
        assert_eq!(called, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn first_one_who_was_not_served_in_a_turn_stays_first() {
        let mut work = Work::default();
        work.begin(1, None);
        work.wait();
        for _ in 0..3 {
            work.call(|_| true);
            work.begin(2, None);
            assert!(!work.may_do(1));
            work.wait();
        }
        work.begin(1, None);
        assert!(work.may_do(1));
    }
}
