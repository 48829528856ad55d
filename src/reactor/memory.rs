//! What happens when the buffer memory of all connections is used up: nothing more is read, and
//! connections that hold most of the memory are closed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::close_reason::CloseReason;
use super::connection::{Hold, State};
use super::loop_state::LoopState;

impl LoopState {
    /// Whether connections wait for memory that there is.
    pub(super) fn may_relieve(&self) -> bool {
        !self.lists.starved.is_empty() && self.has_memory()
    }

    /// Whether another read fits into the buffer memory.
    pub(super) fn has_memory(&self) -> bool {
        self.pool.leased() + self.config.read_size() <= self.config.buffer_memory
    }

    /// At the end of a turn: connections that were not read for want of memory are read again when
    /// there is some. While there is none, those that hold most of it are closed; and so they are
    /// where they have kept the server overloaded for long.
    pub(super) fn relieve_memory(&mut self) {
        let leased = self.pool.leased();
        if let Some(most) = self.overload.takes_relief(self.clock.now_ms(), leased) {
            self.close_largest(most);
        }
        let is_over = leased > self.config.buffer_memory;
        if self.has_memory() {
            // No more than may be visited at once, or each turn would go over all of them.
            for _ in 0..self.config.visit_budget {
                let Some(token) = self.lists.starved.pop_front() else { break };
                self.lift(token, Hold::MEMORY);
            }
        } else if is_over || !self.lists.starved.is_empty() {
            // So much that a read fits in beside the part that is to be free.
            let memory = self.config.buffer_memory;
            self.close_largest(memory - memory / MEMORY_PARTS - self.config.read_size());
        }
    }

    /// Closes connections, those that hold most first, until all others hold no more than so much.
    fn close_largest(&mut self, most: usize) {
        let mut leased = self.pool.leased();
        // A walk over the whole table, which is worth it: each one frees a part of all there is.
        let mut holders: Vec<(usize, Reverse<u32>)> = Vec::new();
        for (slot, connection) in &self.connections {
            let size = connection.output.capacity() + connection.input.capacity();
            if connection.state == State::Closed {
                // It gives that back as soon as the close phase has come to it.
                leased = leased.saturating_sub(size);
            } else if size > 0 {
                holders.push((size, Reverse(slot as u32)));
            }
        }
        // Not sorted, because few of many are taken.
        let mut holders = BinaryHeap::from(holders);
        while leased > most
            && let Some((size, Reverse(slot))) = holders.pop()
        {
            if let Some(token) = self.token_at(slot) {
                self.abort(token, CloseReason::Memory);
                leased = leased.saturating_sub(size);
            }
        }
    }
}

/// So many parts of the buffer memory make up what is freed at once when it is used up.
const MEMORY_PARTS: usize = 16;
