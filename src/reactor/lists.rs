//! The lists of connections that have work. They replace the events that will not come again.
//!
//! An entry is only a hint: the phase that takes an entry off asks the connection again. So a connection
//! that has nothing to do any more need not be taken off. The opposite must never happen: a connection
//! that has something to do and is on no list hangs. So whatever may change an answer of
//! [`Connection::wants_visit`] or [`Connection::wants_flush`] ends with [`Lists::update`]; `check` looks
//! for omissions after every turn of a debug build.

use std::collections::VecDeque;

use super::connection::Connection;
use crate::structures::lanes::Lanes;
use crate::structures::spare::Spare;
use crate::structures::token::Token;

/// Each list is served in turn: first in, first out, each connection at most once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The read phase has something to do for these.
    pub(super) ready: Lanes,
    /// The flush phase has something to do for these.
    pub(super) dirty: VecDeque<Token>,
    /// Taken off the ready list, because their greeting goes on: a few of them in each turn.
    pub(super) greeting: VecDeque<Token>,
    /// The close phase takes these out of their topics.
    pub(super) leaving: VecDeque<Token>,
    /// The close phase tells the handler that these are over, and frees their slots.
    pub(super) closed: VecDeque<Token>,
    /// Starved: held until there is buffer memory to read into.
    pub(super) starved: Lanes,
}

impl Lists {
    /// Puts the connection on each list on which it has something to do.
    // ET: the kernel will not repeat what it said; the lists remember it.
    pub(super) fn update(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push(token, connection.is_prompt());
        }
        if connection.wants_flush() && !std::mem::replace(&mut connection.on_dirty_list, true) {
            self.dirty.push_back(token);
        }
    }

    /// As [`update`](Self::update), but the next read phase begins with this connection.
    pub(super) fn update_first(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push_first(token);
        }
        self.update(token, connection);
    }

    /// Gives back the room that a burst needed.
    pub(super) fn give_back(&mut self) {
        self.ready.give_back();
        self.dirty.give_back();
        self.greeting.give_back();
        self.leaving.give_back();
        self.closed.give_back();
        self.starved.give_back();
    }

    /// Whether the next turn has work that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        let is_idle = self.ready.is_empty() && self.dirty.is_empty() && self.greeting.is_empty();
        !(is_idle && self.leaving.is_empty() && self.closed.is_empty())
    }
}
