//! From the socket to the handler: reading within the budgets, and what happens to input that the
//! handler leaves behind.
//!
//! ```text
//!   readable, free ------> fill ------> on_data ------> all consumed          read again when readable
//!   input_left, free ---------------------^   |
//!                                             +-------> part of a message     stays; more is read behind it
//!                                             +-------> left because held     input_left: offered again,
//!                                                                             before anything is read
//! ```

use super::connection::{Fill, Habits, Hold, InputEnd, State};
use super::loop_state::{LoopState, find};
use super::work::{READ, copied};
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;

impl LoopState {
    /// Reads a connection if it may be read. `None` when the connection has to wait for memory.
    pub(super) fn fill(&mut self, token: Token) -> Option<Fill> {
        let has_memory = self.has_memory();
        let connection = find(&mut self.connections, token)?;
        let wants_memory = connection.may_read() || connection.input_left;
        // Input that was left behind becomes output, too, and so needs memory. A visit that cannot be
        // leaves the connection in its lane.
        if wants_memory && !has_memory && connection.is_free() {
            connection.hold.insert(Hold::MEMORY);
            self.lists.starved.push(token, connection.is_prompt());
            return None;
        }
        // Its callback may list the connection before it is known what the visit leaves.
        connection.habits.set(Habits::FINISHED, false);
        // What was left behind is offered first: if more were read each time, the input would grow.
        if connection.input_left || !connection.may_read() {
            return Some(Fill::default());
        }
        let strict = self.config.strict_drain;
        let fill = connection.fill(self.config.read_size(), strict, &mut self.pool);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        self.closes.traffic.received(token.key(), fill.bytes);
        if fill.bytes > 0 {
            connection.active_ms = self.clock.stamp();
        } else if connection.input.is_empty() {
            connection.input.release(&mut self.pool);
        }
        Some(fill)
    }

    /// Takes the input back from the handler, which was given `len` bytes. Returns whether the handler
    /// left more than the longest message could be, for want of an end.
    pub(super) fn return_input(
        &mut self,
        token: Token,
        mut input: RingBuffer,
        len: usize,
        end_told: bool,
    ) -> bool {
        // A handler only takes bytes out. In a debug build the books show if it has put bytes in.
        self.stats.bytes_consumed += len.saturating_sub(input.len()) as u64;
        let limit = self.config.input_limit + self.config.read_size();
        let Some(connection) = find(&mut self.connections, token) else { return false };
        let held = connection.is_waiting();
        // ET: no event comes for input that was left for want of a slice. `input_left`, below, keeps the
        // connection listed, behind all others.
        connection.hold.remove(Hold::SPENT);
        let is_last = end_told && (!held || input.is_empty());
        if is_last {
            connection.input_end = InputEnd::Told;
        }
        // Nothing follows that could make a message of what is left; or the callback has ended the connection.
        if is_last || !connection.is_served() {
            self.stats.bytes_discarded += input.len() as u64;
            input.clear();
        }
        connection.input_left = held && !input.is_empty();
        // If more is to be read at once, the large block is needed again.
        if input.is_empty() || held || !connection.readable {
            input.shrink(&mut self.pool);
        }
        connection.input = input;
        !held && connection.input.len() > limit
    }

    /// Reads and drops what the peer of a closing or lingering connection still sends.
    pub(super) fn discard(&mut self, token: Token) {
        let (budget, strict) = (self.config.read_size(), self.config.strict_drain);
        let Some(connection) = find(&mut self.connections, token) else { return };
        // Whoever is served goes before bytes that are dropped.
        connection.habits.set(Habits::FINISHED, false);
        let fill = connection.fill(budget, strict, &mut self.pool);
        if fill.bytes > 0 {
            connection.active_ms = self.clock.stamp();
        }
        self.stats.work += READ + copied(fill.bytes);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        self.closes.traffic.received(token.key(), fill.bytes);
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        self.lists.update(token, connection);
        let (state, ended) = (connection.state, connection.input_has_ended());
        if let Some(error) = fill.error {
            return self.close_on_error(token, &error);
        }
        if state == State::Lingering {
            let discarded = self.details.get_mut(token.key()).map_or(0, |details| {
                details.discarded = details.discarded.saturating_add(fill.bytes as u32);
                details.discarded as usize
            });
            if ended || discarded > self.config.linger_limit {
                self.retire(token);
            }
        }
    }
}
