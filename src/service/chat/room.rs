//! A room: two topics, one for each wire, that get the same events in the same order; and who is in
//! it.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use super::event::{Encoded, Event, Role, Stamp};
use super::name::Name;
use super::options::ChatOptions;
use crate::reactor::{Context, PublishError, Start, Token, TopicConfig, TopicId};

/// How a client talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Lines,
    WebSocket,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Name,
    /// Tells this room from one of the same name before or after it, whose numbers are others.
    pub(super) id: String,
    /// The number of the last event.
    pub(super) number: u64,
    pub(super) members: Vec<Member>,
    pub(super) empty_since: Option<Instant>,
    /// The address that holds it open, while somebody is here.
    pub(super) held_by: Option<IpAddr>,
    lines: TopicId,
    frames: TopicId,
    operators: u32,
    /// Members whose role no token has fixed, and the viewers among these.
    free: u32,
    free_viewers: u32,
    /// Members that may become operator next; the member that is here longest stands last. The list is made
    /// when an operator is needed, and used up from then on. Some may have left since, or changed their
    /// role.
    heirs: Vec<Member>,
    /// How many have come since the room was opened.
    arrivals: u32,
    /// Events that a topic had no room for. Clients do not add to them: a client that wants to publish is
    /// held until they are gone. Only the ends of connections do.
    backlog: VecDeque<Encoded>,
    /// How many messages a newcomer is given.
    history: usize,
    /// The numbers of as many messages, the last ones.
    spoken: VecDeque<u64>,
    /// Up to which number, on each wire, events are known not to be held any more.
    evicted: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) client: u32,
    pub(super) role: Role,
    /// By its token: nobody gives it another one.
    pub(super) is_fixed: bool,
    /// Orders members by the time at which they came.
    arrival: u32,
}

/// Where a member's events begin, and what it has missed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumption {
    /// It misses nothing that it asked for.
    Complete,
    /// These numbers are not held any more.
    Gap { from: u64, to: u64 },
}

impl Room {
    pub(super) fn new(cx: &mut Context<'_>, name: Name, id: String, options: &ChatOptions) -> Self {
        // As much is held as there is space for, for clients that come back.
        let memory = options.room_memory;
        let config = TopicConfig { memory, history: usize::MAX, ..TopicConfig::default() };
        Room {
            name,
            id,
            number: 0,
            members: Vec::new(),
            empty_since: None,
            held_by: None,
            lines: cx.create_topic(config.clone()),
            frames: cx.create_topic(config),
            operators: 0,
            free: 0,
            free_viewers: 0,
            heirs: Vec::new(),
            arrivals: 0,
            backlog: VecDeque::new(),
            // More than that cannot be held.
            history: options.history.min(memory / TopicConfig::OVERHEAD),
            spoken: VecDeque::new(),
            evicted: [0; 2],
        }
    }

    pub(super) fn remove(self, cx: &mut Context<'_>) {
        cx.remove_topic(self.lines);
        cx.remove_topic(self.frames);
    }

    // ---- events ----

    /// Whether `by` may publish now. If not, that client is held until the room has space.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>, by: Option<Token>) -> bool {
        while let Some(event) = self.backlog.front() {
            let wires = [(self.lines, &event.line), (self.frames, &event.frame)];
            // Both topics or none: an event for which one of them had no room is offered to both again.
            let is_full = |(topic, bytes): (TopicId, &Vec<u8>)| {
                cx.check_room(topic, by, bytes.len()) == Err(PublishError::Full)
            };
            if wires.into_iter().any(is_full) {
                return false;
            }
            for (topic, bytes) in wires {
                // There is room, and no event is longer than a topic takes.
                let _ = cx.publish_to_all(topic, by, bytes);
            }
            self.backlog.pop_front();
        }
        true
    }

    /// Gives every member the event, under the next number, `by` included. Where there is no space
    /// it waits, and `by` is held. Says whether it was published at once.
    pub(super) fn emit(
        &mut self,
        cx: &mut Context<'_>,
        by: Option<Token>,
        time_ms: u64,
        event: &Event<'_>,
    ) -> bool {
        self.number += 1;
        if let Event::Message { .. } = event {
            self.spoken.push_back(self.number);
            let excess = self.spoken.len().saturating_sub(self.history);
            self.spoken.drain(..excess);
        }
        let stamp = Stamp { room: self.name, number: self.number, time_ms };
        let event = event.encode(stamp);
        cx.charge(EVENT_WORK + 2 * (event.line.len() + event.frame.len()));
        self.backlog.push_back(event);
        self.is_ready(cx, by)
    }

    // ---- members ----

    /// The role of a client that comes now. A room with members always has an operator.
    pub(super) fn role_for(&self, newcomers: Role) -> Role {
        if self.members.is_empty() { Role::Operator } else { newcomers }
    }

    /// Adds a member; returns its position.
    pub(super) fn add(&mut self, client: u32, role: Role, is_fixed: bool) -> u32 {
        self.empty_since = None;
        self.arrivals = self.arrivals.wrapping_add(1);
        let member = Member { client, role, is_fixed, arrival: self.arrivals };
        self.count(member, 1);
        self.members.push(member);
        self.members.len() as u32 - 1
    }

    /// Takes a member out. Returns the client that has its position now.
    pub(super) fn take_out(&mut self, position: u32) -> Option<u32> {
        let member = self.members.swap_remove(position as usize);
        self.count(member, -1);
        // After a crowd has gone the room is small again.
        if self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(2 * self.members.len());
            self.heirs.shrink_to(2 * self.members.len());
        }
        self.members.get(position as usize).map(|moved| moved.client)
    }

    pub(super) fn set_role(&mut self, position: u32, role: Role) {
        let Some(member) = self.members.get_mut(position as usize) else { return };
        let before = *member;
        member.role = role;
        let after = *member;
        self.count(before, -1);
        self.count(after, 1);
        if role != Role::Operator {
            // It may have been passed over before.
            self.heirs.clear();
        }
    }

    /// Counts a member as one more, or one less.
    fn count(&mut self, member: Member, by: i32) {
        let counts = [
            (&mut self.operators, member.role == Role::Operator),
            (&mut self.free, !member.is_fixed),
            (&mut self.free_viewers, !member.is_fixed && member.role == Role::Viewer),
        ];
        for (count, _) in counts.into_iter().filter(|(_, is)| *is) {
            *count = count.wrapping_add_signed(by);
        }
    }

    pub(super) fn has_operator(&self) -> bool {
        self.operators > 0
    }

    /// The position of the member that becomes operator of a room without one: of the members that may
    /// speak, or else of all, the member that is here longest; but no member whose role is fixed.
    /// `position_of` finds a client among the members. When a crowd leaves, each who leaves may have become
    /// operator by then; so the members are looked through once for the whole crowd.
    pub(super) fn heir(
        &mut self,
        cx: &mut Context<'_>,
        position_of: impl Fn(u32) -> Option<u32>,
    ) -> Option<u32> {
        if self.has_operator() || self.free == 0 {
            return None;
        }
        let is_anybody = self.free_viewers == self.free;
        let may = |member: &Member| !member.is_fixed && (is_anybody || member.role != Role::Viewer);
        // Those gathered are members, so the second time the first of them is taken.
        for _ in 0..2 {
            while let Some(heir) = self.heirs.pop() {
                let position = position_of(heir.client);
                let member = position.and_then(|position| self.members.get(position as usize));
                if member.is_some_and(|member| member.arrival == heir.arrival && may(member)) {
                    return position;
                }
            }
            cx.charge(self.members.len() * MEMBER_WORK);
            self.heirs = self.members.iter().filter(|member| may(member)).copied().collect();
            self.heirs.sort_unstable_by_key(|member| Reverse(member.arrival));
        }
        None
    }

    /// Lets a connection follow the room: from the event after `after`, or with the history.
    pub(super) fn follow(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        wire: Wire,
        after: Option<u64>,
    ) -> Resumption {
        // The topic counts from 0: its position is the number of the event before.
        let wanted = after.unwrap_or_else(|| self.history_begin(wire));
        let begin = cx.subscribe(token, self.topic(wire), Start::At(wanted)).unwrap_or(wanted);
        if begin > wanted {
            self.evicted[wire as usize] = begin;
        }
        match after {
            Some(after) if begin > after => Resumption::Gap { from: after + 1, to: begin },
            _ => Resumption::Complete,
        }
    }

    /// The number before the first event of a newcomer: so many events back, and further to be given
    /// as many messages, however many have come and gone since.
    fn history_begin(&self, wire: Wire) -> u64 {
        let events = self.number.saturating_sub(self.history as u64);
        let gone = self.spoken.partition_point(|number| *number <= self.evicted[wire as usize]);
        self.spoken.get(gone).map_or(events, |first| events.min(first - 1))
    }

    pub(super) fn unfollow(&self, cx: &mut Context<'_>, token: Token, wire: Wire) {
        cx.catch_up(token, self.topic(wire));
        cx.unsubscribe(token, self.topic(wire));
    }

    fn topic(&self, wire: Wire) -> TopicId {
        match wire {
            Wire::Lines => self.lines,
            Wire::WebSocket => self.frames,
        }
    }
}

/// An event is encoded for both wires; each byte of that costs as much again.
const EVENT_WORK: usize = 1_000;

/// A member is looked at, among others.
const MEMBER_WORK: usize = 20;
