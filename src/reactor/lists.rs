//! The lists of connections that have work. They replace the events that will not come again.
//!
//! An entry is only a hint: whoever takes it off asks the connection again, so a connection that
//! lost its reason to be listed needs no removal. What must never happen is the opposite, and so
//! whatever may have given a connection something to do ends with [`Lists::update`].

use std::collections::VecDeque;

use super::connection::Connection;
use crate::structures::spare::Spare;
use crate::structures::token::Token;

/// First in, first out, each connection at most once on each list: round robin.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The read phase has something to do there.
    pub(super) ready: VecDeque<Token>,
    /// The flush phase has something to do there.
    pub(super) dirty: VecDeque<Token>,
    /// To leave its topics in the close phase.
    pub(super) leaving: VecDeque<Token>,
    /// To be told to the handler and freed by the close phase.
    pub(super) closed: VecDeque<Token>,
    /// Held for want of buffer memory.
    pub(super) starved: VecDeque<Token>,
}

impl Lists {
    /// Puts the connection on the lists where it has something to do.
    // ET: the kernel will not repeat what it said; this is how it is not forgotten.
    pub(super) fn update(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push_back(token);
        }
        if connection.wants_flush() && !std::mem::replace(&mut connection.on_dirty_list, true) {
            self.dirty.push_back(token);
        }
    }

    /// As [`update`](Self::update); where the read phase has something to do, it begins there.
    pub(super) fn update_first(&mut self, token: Token, connection: &mut Connection) {
        if connection.wants_visit() && !std::mem::replace(&mut connection.on_ready_list, true) {
            self.ready.push_front(token);
        }
        self.update(token, connection);
    }

    /// Gives back the room that a burst needed.
    pub(super) fn give_back(&mut self) {
        self.ready.give_back();
        self.dirty.give_back();
        self.leaving.give_back();
        self.closed.give_back();
        self.starved.give_back();
    }

    /// Whether the next turn has work here that no event will announce.
    pub(super) fn has_work(&self) -> bool {
        let is_idle = self.ready.is_empty() && self.dirty.is_empty();
        !(is_idle && self.leaving.is_empty() && self.closed.is_empty())
    }
}
