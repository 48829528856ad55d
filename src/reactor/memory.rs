//! What happens when the buffer memory of all connections is used up: nothing more is read, and
//! connections that hold most of the memory are closed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::connection::{Hold, State};
use super::loop_state::{LoopState, find};
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;

impl LoopState {
    /// Whether there is memory for connections that wait for it.
    pub(super) fn may_relieve(&self) -> bool {
        !self.lists.starved.is_empty() && self.has_memory()
    }

    /// Bytes that buffers and layers hold.
    pub(super) fn leased(&self) -> usize {
        self.pool.leased() + self.layers.get()
    }

    /// Gives back what waits on either side of a connection that is neither served nor flushed any more.
    pub(super) fn drop_buffers(&mut self, token: Token) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        connection.input_left = false;
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        self.drop_output(token);
    }

    /// Gives back what waits for the peer.
    pub(super) fn drop_output(&mut self, token: Token) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        self.stats.bytes_dropped += connection.output.len() as u64;
        self.closes.traffic.dropped(token.key(), connection.output.len());
        connection.output.release(&mut self.pool);
        connection.stalled &= connection.owes_anything();
        self.lists.update(token, connection);
    }

    /// Whether one more read fits into the buffer memory.
    pub(super) fn has_memory(&self) -> bool {
        self.leased() + self.config.read_size() <= self.config.buffer_memory
    }

    /// At the end of a turn: lifts the hold of starved connections when there is memory again. While there
    /// is none, and when buffers have kept the server overloaded for long, closes the connections that
    /// hold most of the memory.
    pub(super) fn relieve_memory(&mut self) {
        let leased = self.leased();
        if let Some(most) = self.overload.takes_relief(self.clock.now_ms(), leased) {
            self.close_largest(most);
        }
        let is_over = leased > self.config.buffer_memory;
        if self.has_memory() {
            // No more than one turn may visit, or each turn would go over all of them.
            let mut quota = self.lists.starved.quota(self.config.visit_budget);
            while let Some(token) = self.lists.starved.pop(&mut quota) {
                self.lift(token, Hold::MEMORY);
            }
        } else if is_over || !self.lists.starved.is_empty() {
            // So much is closed that one read fits in beside the part that is to be free.
            let memory = self.config.buffer_memory;
            self.close_largest(memory - memory / MEMORY_PARTS - self.config.read_size());
        }
    }

    /// Closes connections, those with the largest buffers first, until all others hold `most` bytes at
    /// most.
    fn close_largest(&mut self, most: usize) {
        let mut leased = self.leased();
        // A walk over the whole table. It is rare, because each walk frees a part of all memory.
        let mut holders: Vec<(usize, Reverse<u32>)> = Vec::new();
        for (slot, connection) in &self.connections {
            let held = connection.stream.held();
            let size = connection.output.capacity() + connection.input.capacity() + held;
            if connection.state == State::Closed {
                // The close phase gives these buffers back.
                leased = leased.saturating_sub(size);
            } else if size > 0 {
                holders.push((size, Reverse(slot as u32)));
            }
        }
        // A heap and no sorted list, because few of many are taken.
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
