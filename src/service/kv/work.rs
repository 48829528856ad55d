//! Work: what commands cost beyond the bytes that come and go, and which client has its commands done
//! next.
//!
//! Beside the reactor's budget a turn has room for a certain amount of this work, or for one command. A
//! client that comes when this room is used up waits for the next turn, with a ticket that says since
//! which turn it has waited. At the beginning of a turn the clients that have waited longest are called,
//! as many as the turn has room for, and are visited before all others. So a crowd that sends cheap
//! commands, and takes several turns to visit, does not keep them waiting. Until the first of the called
//! clients has been served, hardly any costly work is done for other clients.
//!
//! ```text
//!   turn 1   A works, and has had its share: it waits since turn 2.   B waits since turn 1.
//!   turn 2   B is first and works: it waits since turn 3.             A keeps its ticket.
//!   turn 3   A is first and works: ...
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// The unit is a byte of a value that is gone over, about a quarter of a nanosecond.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// In this turn; or in a transaction, while that is carried out.
    done: usize,
    /// The part of it that was for commands which cost little.
    small: usize,
    /// Done and not yet told to the reactor.
    uncharged: usize,
    /// The client that is being served, and the ticket with which that client came.
    client: u32,
    ticket: Option<Ticket>,
    /// That client has had work done since it came.
    has_worked: bool,
    /// How much work that client was refused last.
    refused: usize,
    /// Clients that wait, with the least work that each of them wants.
    waiting: BTreeMap<(Ticket, u32), usize>,
    /// Clients that were called and have not been served yet.
    called: BTreeSet<(Ticket, u32)>,
    turn: u64,
    tickets: u64,
    /// Done in this transaction by commands that otherwise go on in slices.
    in_slices: usize,
}

/// The turn since which a client waits, and how many have come to wait before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64, u64);

/// The most work of one transaction, some twenty-five milliseconds of what is counted, as nobody else
/// is served meanwhile.
pub(super) const TRANSACTION_WORK_MAX: usize = 96 << 20;
/// The most work of one turn, unless a single command takes more: some five milliseconds, as others
/// wait for so long. A command that goes on in slices has at most as much of it for one of them.
pub(super) const TURN_MAX: usize = 16 << 20;
/// The most clients that are called in a turn.
const CALLED_MAX: usize = 64;
/// The least that such a command has, when it is its turn.
pub(super) const SLICE_MIN: usize = TURN_MAX / 8;
/// A command that takes no more stands behind nobody, as long as all of those together take no more
/// than a part of the turn: to wait would take its client longer than the work takes others.
pub(super) const SMALL: usize = 64 << 10;
const SMALL_MAX: usize = TURN_MAX / 8;
/// The work to look a key up, to set or delete it, or to begin or cease to watch it.
pub(super) const LOOK_UP_WORK: usize = 512;
/// So much of it is one of the reactor's units.
pub(super) const IN_A_UNIT: usize = 4;

impl Work {
    /// A client is served, which may have waited.
    pub(super) fn begin(&mut self, client: u32, ticket: Option<Ticket>) {
        (self.client, self.ticket, self.has_worked) = (client, ticket, false);
    }

    /// Nothing more of it is carried out now.
    pub(super) fn end(&mut self) {
        if let Some(ticket) = self.ticket {
            self.called.remove(&(ticket, self.client));
        }
    }

    /// Whether so much may be done now. Otherwise the client is to [wait](Self::wait).
    pub(super) fn may_do(&mut self, amount: usize) -> bool {
        let is_small = amount <= SMALL && self.small + amount <= SMALL_MAX;
        is_small || self.has_room(amount)
    }

    fn has_room(&mut self, amount: usize) -> bool {
        let has_room = match self.called.first() {
            Some((_, first)) => *first == self.client,
            None => self.done == 0 || self.done.saturating_add(amount) <= TURN_MAX,
        };
        if !has_room {
            self.refused = amount;
        }
        has_room
    }

    /// So much is done, or has been done.
    pub(super) fn add(&mut self, amount: usize) {
        self.spend(amount);
        if amount > 0 {
            self.has_worked = true;
            self.small += if amount <= SMALL { amount } else { 0 };
            self.end();
        }
    }

    /// So much is done that no client waits for by itself.
    pub(super) fn spend(&mut self, amount: usize) {
        self.done = self.done.saturating_add(amount);
        self.uncharged = self.uncharged.saturating_add(amount);
    }

    /// What was done since this was asked last, in units of the reactor.
    pub(super) fn take_uncharged(&mut self) -> usize {
        std::mem::take(&mut self.uncharged) / IN_A_UNIT
    }

    /// Whether the client was called for what has been done for it: it has no more to be done before
    /// all others.
    pub(super) fn has_been_served(&self) -> bool {
        self.ticket.is_some() && self.has_worked
    }

    /// How much a command that goes on in slices may do now; nothing, if it is to wait.
    pub(super) fn slice(&mut self) -> usize {
        let left = TURN_MAX.saturating_sub(self.done).max(SLICE_MIN);
        if self.has_room(1) {
            return left;
        }
        self.refused = SLICE_MIN;
        0
    }

    /// As [`slice`](Self::slice), in a transaction, where one slice is all that there is.
    pub(super) fn slice_of_transaction(&self) -> usize {
        TURN_MAX.saturating_sub(self.in_slices)
    }

    /// So much was done of a slice.
    pub(super) fn end_slice(&mut self, amount: usize) {
        self.in_slices += amount;
        self.add(amount);
        // It wants as much again, if it is not over.
        self.refused = SLICE_MIN;
    }

    /// Lets the client wait for the next turn: behind all others, if it has had its share of this one.
    pub(super) fn wait(&mut self) -> Ticket {
        self.end();
        let ticket = match self.ticket {
            Some(ticket) if !self.has_worked => ticket,
            _ => {
                self.tickets += 1;
                Ticket(self.turn + u64::from(self.has_worked), self.tickets)
            }
        };
        self.waiting.insert((ticket, self.client), self.refused);
        ticket
    }

    /// Whether a client still waits for the turn that its ticket is for.
    pub(super) fn waits(&self, client: u32, ticket: Ticket) -> bool {
        self.waiting.contains_key(&(ticket, client))
    }

    pub(super) fn anybody_waits(&self) -> bool {
        !(self.waiting.is_empty() && self.called.is_empty())
    }

    /// A turn begins.
    pub(super) fn clear(&mut self) {
        (self.done, self.small) = (0, 0);
    }

    /// Calls the clients that have waited longest, as many as the turn has room for. While clients that
    /// were called before are still to be served, only those are called again. `comes` is told each client,
    /// the first in the order as the last, and says whether that client will be served: a client that does
    /// not read its answers keeps nobody waiting. Returns how many clients were told.
    pub(super) fn call(&mut self, mut comes: impl FnMut(u32) -> bool) -> usize {
        self.turn += 1;
        let before = self.called.len();
        self.called.retain(|(_, client)| comes(*client));
        if !self.called.is_empty() {
            return before;
        }
        let called = self.take_as_many_as_fit();
        for entry in called.iter().rev() {
            if comes(entry.1) {
                self.called.insert(*entry);
            }
        }
        before + called.len()
    }

    fn take_as_many_as_fit(&mut self) -> Vec<(Ticket, u32)> {
        let (mut taken, mut wanted) = (Vec::new(), 0usize);
        while let Some(entry) = self.waiting.first_entry() {
            wanted = wanted.saturating_add(*entry.get());
            let is_full = wanted > TURN_MAX && !taken.is_empty();
            if is_full || taken.len() == CALLED_MAX {
                break;
            }
            taken.push(entry.remove_entry().0);
        }
        taken
    }

    /// A client is gone, with the ticket that it had.
    pub(super) fn forget(&mut self, client: u32, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.waiting.remove(&(ticket, client));
            self.called.remove(&(ticket, client));
        }
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Counts anew for a transaction; returns what was counted until now, for
    /// [`end_transaction`](Self::end_transaction).
    pub(super) fn begin_transaction(&mut self) -> usize {
        self.in_slices = 0;
        std::mem::take(&mut self.done)
    }

    /// So much was done in this turn before the transaction.
    pub(super) fn end_transaction(&mut self, before: usize) {
        self.done = self.done.saturating_add(before);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const LARGE: usize = SMALL + 1;

    /// Turns in which the same clients want more than there is. Who was served in each.
    fn served(clients: u32, turns: usize, held: Option<u32>) -> Vec<Vec<u32>> {
        let (mut work, mut tickets) = (Work::default(), HashMap::new());
        let mut turn = || {
            work.clear();
            let mut visits: Vec<u32> = Vec::new();
            work.call(|client| {
                visits.insert(0, client);
                Some(client) != held
            });
            let others: Vec<u32> = (0..clients).filter(|it| !visits.contains(it)).collect();
            visits.extend(others);
            let mut served = Vec::new();
            for client in visits.into_iter().filter(|client| Some(*client) != held) {
                work.begin(client, tickets.remove(&client));
                while !work.has_been_served() && work.may_do(TURN_MAX / 2) {
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
        let served_in_turns = served(3, 9, None);
        assert_eq!(served_in_turns[0], [0, 0], "nobody had waited");
        let since: Vec<u32> = served_in_turns[1..].concat();
        let expected: Vec<u32> = (1..17).map(|number| number % 3).collect();
        assert_eq!(since, expected);
        assert!(served(3, 9, Some(1)).iter().all(|served| !served.is_empty()));
    }

    #[test]
    fn client_that_is_held_or_has_gone_keeps_nobody_waiting() {
        let (mut work, mut tickets) = (Work::default(), Vec::new());
        for client in [1, 2] {
            work.begin(client, None);
            tickets.push(work.wait());
        }
        work.call(|client| client != 1);
        work.begin(3, None);
        assert!(!work.may_do(LARGE), "2 is first");
        work.begin(2, tickets.pop());
        assert!(work.may_do(10 * TURN_MAX));
        // What it wanted is no more to be done.
        work.end();
        work.begin(3, None);
        assert!(work.may_do(LARGE));
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
        assert_eq!(called, [3, 1], "the first one is told last");
        work.forget(1, Some(tickets[0]));
        work.begin(4, None);
        assert!(!work.may_do(LARGE), "3 is first");
        work.forget(3, Some(tickets[2]));
        assert!(work.may_do(LARGE) && !work.anybody_waits());
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
                called.insert(before, client);
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
        let ticket = work.wait();
        let mut later = None;
        for _ in 0..3 {
            work.call(|_| true);
            work.begin(2, later);
            assert!(!work.may_do(LARGE));
            later = Some(work.wait());
        }
        work.begin(1, Some(ticket));
        assert!(work.may_do(LARGE));
    }

    #[test]
    fn as_many_are_called_as_the_turn_has_room_for_and_nobody_while_some_are_still_to_come() {
        let (mut work, mut tickets) = (Work::default(), Vec::new());
        work.add(TURN_MAX);
        for client in 0..10 {
            work.begin(client, None);
            assert!(!work.may_do(TURN_MAX / 4));
            tickets.push(work.wait());
        }
        work.clear();
        assert_eq!(work.call(|_| true), 4);
        // Two of them come, and no others are called in their place.
        for client in [0, 1] {
            work.begin(client, Some(tickets[client as usize]));
            assert!(work.may_do(TURN_MAX / 4));
            work.add(TURN_MAX / 4);
            assert!(work.has_been_served());
        }
        let mut called = Vec::new();
        work.call(|client| {
            called.push(client);
            true
        });
        assert_eq!(called, [2, 3]);
    }

    #[test]
    fn command_that_costs_little_stands_behind_nobody_and_all_of_them_together_do_not_take_much() {
        let mut work = Work::default();
        work.begin(1, None);
        work.wait();
        work.call(|_| true);
        work.begin(2, None);
        let mut done = 0;
        while work.may_do(SMALL) {
            work.add(SMALL);
            done += SMALL;
        }
        assert_eq!(done, SMALL_MAX);
        assert!(!work.may_do(1) && work.slice() == 0);
        work.clear();
        assert!(work.may_do(1) && work.slice() == 0, "a command in slices is not small");
    }
}
