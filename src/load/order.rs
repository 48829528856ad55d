//! The order of a broadcast, on which all members must agree: the first member to have a message says
//! where it stands.
//!
//! ```text
//!   entries: base .... a b c d e f            what was delivered, in the order of the first to have it
//!                      ^     ^     ^
//!           slowest's next   |     the end: a member that has all of this writes here what comes next
//!                            next of some member: it must receive this, unless it is the sender
//! ```
//!
//! So the order costs one comparison for each delivery and memory for the distance between the
//! fastest and the slowest member only, and nobody has to know beforehand which order is the right
//! one. Plain data: a place is counted from the beginning of the step, and there is no clock.

use std::collections::VecDeque;

use super::fault::Fault;

/// A message: publisher and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) publisher: u32,
    pub(super) number: u64,
}

/// The order, and where each member stands in it. The first members are the publishers.
pub(super) struct Order {
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    base: u64,
    members: Vec<Member>,
    publishers: Vec<Publisher>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) fault: Option<Fault>,
    /// Where the message stands from now on, if nobody had it before.
    pub(super) place: Option<u64>,
}

#[derive(Default)]
struct Member {
    /// The place of what should come next.
    next: u64,
    /// What was left out, should it still come.
    missed: Vec<Entry>,
}

#[derive(Default)]
struct Publisher {
    /// The number that its next new entry must have.
    ordered: u64,
    /// Smaller numbers that nobody has received yet.
    skipped: Vec<u64>,
}

impl Order {
    pub(super) fn new(publishers: usize) -> Order {
        Order {
            entries: VecDeque::new(),
            base: 0,
            members: Vec::new(),
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
        }
    }

    /// One more member, which begins with the oldest message that is held.
    pub(super) fn join(&mut self) {
        self.members.push(Member { next: self.base, missed: Vec::new() });
    }

    /// Begins anew: these are the next numbers of the publishers.
    pub(super) fn begin(&mut self, numbers: impl Iterator<Item = u64>) {
        self.entries.clear();
        self.base = 0;
        self.members.iter_mut().for_each(|member| *member = Member::default());
        for (publisher, ordered) in self.publishers.iter_mut().zip(numbers) {
            *publisher = Publisher { ordered, skipped: Vec::new() };
        }
    }

    /// How many messages are held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of what should come to a member next.
    pub(super) fn next(&self, member: usize) -> u64 {
        self.members[member].next
    }

    /// Whether somebody has a message that this member has not.
    pub(super) fn is_behind(&self, member: usize) -> bool {
        self.next(member) < self.end()
    }

    /// Whether a message is known to stand somewhere.
    pub(super) fn has_place(&self, entry: Entry) -> bool {
        let publisher = &self.publishers[entry.publisher as usize];
        entry.number < publisher.ordered && !publisher.skipped.contains(&entry.number)
    }

    /// A message came to a member: moves the member on; a fault if it should not have come now.
    pub(super) fn follow(&mut self, member: usize, entry: Entry) -> Followed {
        let is_known = self.has_place(entry);
        let it = &mut self.members[member];
        while let Some(expected) = self.entries.get((it.next - self.base) as usize) {
            if *expected == entry {
                it.next += 1;
                return Followed { fault: None, place: None };
            }
            let is_own = expected.publisher == member as u32;
            if is_known && !is_own {
                break;
            }
            // Nobody else has this one yet: what they do have was left out.
            if !is_own && it.missed.len() < MISSED_MAX {
                it.missed.push(*expected);
            }
            it.next += 1;
        }
        match self.find_place(entry) {
            None => Followed { fault: self.stray(member, entry), place: None },
            Some(fault) => {
                let place = self.end();
                self.entries.push_back(entry);
                self.members[member].next = place + 1;
                Followed { fault, place: Some(place) }
            }
        }
    }

    /// The first to have a message says where it stands: whether that is right. None if it stands
    /// somewhere already.
    fn find_place(&mut self, entry: Entry) -> Option<Option<Fault>> {
        let publisher = &mut self.publishers[entry.publisher as usize];
        let late = publisher.skipped.iter().position(|number| *number == entry.number);
        match late {
            None if entry.number < publisher.ordered => None,
            None => {
                let skipped = publisher.ordered..entry.number;
                let room = MISSED_MAX.saturating_sub(publisher.skipped.len());
                publisher.skipped.extend(skipped.take(room));
                publisher.ordered = entry.number + 1;
                Some(None)
            }
            Some(late) => {
                publisher.skipped.swap_remove(late);
                Some(Some(Fault::OutOfOrder))
            }
        }
    }

    /// A message that is not the next one: others were left out, or it came before.
    fn stray(&mut self, member: usize, entry: Entry) -> Option<Fault> {
        let it = &mut self.members[member];
        let from = (it.next - self.base) as usize;
        let ahead = self.entries.iter().skip(from).position(|other| *other == entry);
        if let Some(ahead) = ahead {
            let left_out = self.entries.iter().skip(from).take(ahead);
            let left_out = left_out.filter(|other| other.publisher != member as u32);
            it.missed.extend(left_out.take(MISSED_MAX.saturating_sub(it.missed.len())));
            it.next += ahead as u64 + 1;
            return None;
        }
        match it.missed.iter().position(|missed| *missed == entry) {
            Some(place) => {
                it.missed.swap_remove(place);
                Some(Fault::OutOfOrder)
            }
            None => Some(Fault::Duplicate),
        }
    }

    /// Forgets what all of these members have behind them. The others follow no more.
    pub(super) fn trim(&mut self, members: impl Iterator<Item = usize>) {
        let slowest = members.map(|member| self.next(member)).min().unwrap_or(self.base);
        let done = (slowest.saturating_sub(self.base) as usize).min(self.len());
        self.entries.drain(..done);
        self.base += done as u64;
    }

    fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }
}

/// What a member missed is remembered up to here, to tell a late message from a second one.
const MISSED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PUBLISHERS: usize = 2;
    const MEMBERS: usize = 5;

    /// Two publishers, and three that only listen: 2, 3 and 4.
    fn order() -> Order {
        let mut order = Order::new(PUBLISHERS);
        (0..MEMBERS).for_each(|_| order.join());
        order
    }

    const fn entry(publisher: u32, number: u64) -> Entry {
        Entry { publisher, number }
    }

    #[test]
    fn message_that_overtook_another_is_out_of_order_whoever_is_looked_at_first() {
        for second in [entry(0, 1), entry(1, 0)] {
            let first = entry(0, 0);
            let mut order = order();
            let mut follow = |member, entry| order.follow(member, entry).fault;
            // The one that is wrong comes to the second before anybody else has it.
            let came = [(2, first), (3, second), (3, first), (2, second), (2, entry(1, 1))];
            let faults = came.map(|(member, entry)| follow(member, entry));
            assert_eq!(faults, [None, None, Some(Fault::OutOfOrder), None, None], "{second:?}");
            assert_eq!(follow(3, entry(1, 1)), None);
            assert_eq!(follow(3, first), Some(Fault::Duplicate));
        }
    }

    #[test]
    fn member_that_joins_late_begins_with_what_is_held() {
        let mut order = order();
        for member in 2..MEMBERS {
            order.follow(member, entry(0, 0));
        }
        order.trim(2..MEMBERS);
        order.join();
        assert_eq!(order.follow(MEMBERS, entry(0, 1)), Followed { fault: None, place: Some(1) });
    }

    #[derive(Clone, Debug)]
    enum Event {
        Comes(usize, Entry),
        /// A member is gone.
        Leaves(usize),
        Trims,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let entries = (0..PUBLISHERS as u32, 0..8u64);
        let entries = entries.prop_map(|(publisher, number)| entry(publisher, number));
        let event = prop_oneof![
            30 => (0..MEMBERS, entries).prop_map(|(member, entry)| Event::Comes(member, entry)),
            1 => (0..MEMBERS).prop_map(Event::Leaves),
            4 => Just(Event::Trims),
        ];
        prop::collection::vec(event, 0..120)
    }

    /// The same with lists that are searched, and of which nothing is forgotten.
    #[derive(Default)]
    struct Model {
        order: Vec<Entry>,
        /// How far each member is, and what it was not given on the way.
        members: [(usize, Vec<Entry>); MEMBERS],
    }

    impl Model {
        fn has_place(&self, entry: Entry) -> bool {
            self.order.contains(&entry)
        }

        /// The first place from there on of what should come to a member.
        fn next(&self, member: usize, from: usize) -> usize {
            let own = self.order.iter().skip(from);
            from + own.take_while(|entry| entry.publisher as usize == member).count()
        }

        fn follow(&mut self, member: usize, entry: Entry) -> Followed {
            let known = self.order.iter().position(|other| *other == entry);
            let place = known.unwrap_or(self.order.len());
            let (next, missed) = &mut self.members[member];
            if place < *next {
                let Some(late) = missed.iter().position(|other| *other == entry) else {
                    return Followed { fault: Some(Fault::Duplicate), place: None };
                };
                missed.remove(late);
                return Followed { fault: Some(Fault::OutOfOrder), place: None };
            }
            let passed = self.order[*next..place].iter();
            missed.extend(passed.filter(|other| other.publisher as usize != member));
            *next = place + 1;
            if known.is_some() {
                return Followed { fault: None, place: None };
            }
            let is_later =
                |other: &&Entry| other.publisher == entry.publisher && other.number > entry.number;
            let fault = self.order.iter().find(is_later).map(|_| Fault::OutOfOrder);
            self.order.push(entry);
            Followed { fault, place: Some(place as u64) }
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_lists_that_forget_nothing(events in events()) {
            let (mut order, mut model) = (order(), Model::default());
            let mut present = [true; MEMBERS];
            for event in events {
                match event {
                    Event::Comes(member, entry) => {
                        prop_assert_eq!(order.has_place(entry), model.has_place(entry));
                        let is_own = entry.publisher as usize == member;
                        // A publisher waits until others have said where a message stands.
                        let is_early = member < PUBLISHERS && !model.has_place(entry);
                        if present[member] && !is_own && !is_early {
                            let expected = model.follow(member, entry);
                            prop_assert_eq!(order.follow(member, entry), expected, "{}", member);
                        }
                    }
                    Event::Leaves(member) => present[member] = false,
                    Event::Trims => order.trim((0..MEMBERS).filter(|member| present[*member])),
                }
                for member in (0..MEMBERS).filter(|member| present[*member]) {
                    let expected = model.next(member, model.members[member].0);
                    prop_assert_eq!(model.next(member, order.next(member) as usize), expected);
                }
                prop_assert!(order.len() <= model.order.len());
            }
            // With all of them at the end nothing is held.
            if present.contains(&true) {
                for member in (0..MEMBERS).filter(|member| present[*member]) {
                    order.members[member].next = order.end();
                }
                order.trim((0..MEMBERS).filter(|member| present[*member]));
                prop_assert_eq!(order.len(), 0);
            }
        }
    }
}
