//! A room: two topics, one for each wire, that get the same events in the same order; and who is in
//! it.

use std::collections::VecDeque;
use std::time::Instant;

use super::event::{Encoded, Event, Role, Stamp};
use super::name::Name;
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
    lines: TopicId,
    frames: TopicId,
    operators: u32,
    /// How many have come since the room was opened.
    arrivals: u32,
    /// Events that a topic had no room for. No client adds to them: who wants to publish is held
    /// until they are gone. What comes from closed connections does.
    backlog: VecDeque<Encoded>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) client: u32,
    pub(super) role: Role,
    /// Who was here before whom.
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
    pub(super) fn new(cx: &mut Context<'_>, name: Name, id: String, config: &TopicConfig) -> Self {
        Room {
            name,
            id,
            number: 0,
            members: Vec::new(),
            empty_since: None,
            lines: cx.create_topic(config.clone()),
            frames: cx.create_topic(config.clone()),
            operators: 0,
            arrivals: 0,
            backlog: VecDeque::new(),
        }
    }

    pub(super) fn remove(self, cx: &mut Context<'_>) {
        cx.remove_topic(self.lines);
        cx.remove_topic(self.frames);
    }

    // ---- events ----

    /// Whether `by` may publish now. If not it is held until the room has space.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>, by: Option<Token>) -> bool {
        while let Some(event) = self.backlog.front() {
            let wires = [(self.lines, &event.line), (self.frames, &event.frame)];
            // Both or none: an event that one topic had no room for is offered to both again.
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
        let stamp = Stamp { room: self.name, number: self.number, time_ms };
        self.backlog.push_back(event.encode(stamp));
        self.is_ready(cx, by)
    }

    // ---- members ----

    /// The role that somebody who comes now has. There is an operator as long as anybody is here.
    pub(super) fn role_for(&self, newcomers: Role) -> Role {
        if self.members.is_empty() { Role::Operator } else { newcomers }
    }

    /// Adds a member; returns its position.
    pub(super) fn add(&mut self, client: u32, role: Role) -> u32 {
        self.empty_since = None;
        self.arrivals = self.arrivals.wrapping_add(1);
        self.operators += u32::from(role == Role::Operator);
        self.members.push(Member { client, role, arrival: self.arrivals });
        self.members.len() as u32 - 1
    }

    /// Takes a member out. Returns the client that has its position now.
    pub(super) fn take_out(&mut self, position: u32) -> Option<u32> {
        let member = self.members.swap_remove(position as usize);
        self.operators -= u32::from(member.role == Role::Operator);
        // After a crowd has gone the room is small again.
        if self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(2 * self.members.len());
        }
        self.members.get(position as usize).map(|moved| moved.client)
    }

    pub(super) fn set_role(&mut self, position: u32, role: Role) {
        if let Some(member) = self.members.get_mut(position as usize) {
            self.operators -= u32::from(member.role == Role::Operator);
            self.operators += u32::from(role == Role::Operator);
            member.role = role;
        }
    }

    /// Who becomes operator when nobody is: of those who may speak, or else of all, the one who is
    /// here longest.
    pub(super) fn heir(&self) -> Option<u32> {
        if self.operators > 0 {
            return None;
        }
        let rank = |position: &u32| {
            let member = &self.members[*position as usize];
            (member.role == Role::Viewer, member.arrival)
        };
        (0..self.members.len() as u32).min_by_key(rank)
    }

    /// Lets a connection follow the room: from the event after `after`, or with the history.
    pub(super) fn follow(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        wire: Wire,
        after: Option<u64>,
        history: usize,
    ) -> Resumption {
        let start = after.map_or(Start::Last(history), Start::At);
        // The topic counts from 0: its position is the number of the event before.
        let begin = cx.subscribe(token, self.topic(wire), start);
        match (after, begin) {
            (Some(after), Some(begin)) if begin > after => {
                Resumption::Gap { from: after + 1, to: begin }
            }
            _ => Resumption::Complete,
        }
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
