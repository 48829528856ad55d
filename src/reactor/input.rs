//! From the socket to the handler: reading within the budgets, and what becomes of input that is
//! not used up.

use super::connection::{Fill, Hold, InputEnd, State};
use super::loop_state::{LoopState, find};
use super::work::{READ, copied};
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;

impl LoopState {
    /// Reads a connection that may be read; says nothing when it has to wait for memory.
    pub(super) fn fill(&mut self, token: Token) -> Option<Fill> {
        let has_memory = self.has_memory();
        let connection = find(&mut self.connections, token)?;
        if !connection.may_read() && !connection.input_left {
            return Some(Fill::default());
        }
        // Input that is owed becomes output as well as input that is new.
        if !has_memory && connection.is_free() {
            connection.hold.insert(Hold::MEMORY);
            self.lists.starved.push_back(token);
            return None;
        }
        // What the handler has not seen yet comes first, or the input would grow with each try.
        if connection.input_left {
            return Some(Fill::default());
        }
        let strict = self.config.strict_drain;
        let fill = connection.fill(self.config.read_size(), strict, &mut self.pool);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        if fill.bytes > 0 {
            connection.active_ms = self.clock.stamp();
        } else if connection.input.is_empty() {
            connection.input.release(&mut self.pool);
        }
        Some(fill)
    }

    /// Takes the input back from the handler, which had `len` bytes of it, and the storage that is
    /// not needed. Says whether more was left behind than any message may have.
    pub(super) fn return_input(
        &mut self,
        token: Token,
        mut input: RingBuffer,
        len: usize,
        end_told: bool,
    ) -> bool {
        // A handler takes bytes out; one that puts some in is told so by the books of a debug
        // build.
        self.stats.bytes_consumed += len.saturating_sub(input.len()) as u64;
        let limit = self.config.input_limit + self.config.read_size();
        let Some(connection) = find(&mut self.connections, token) else { return false };
        let held = connection.is_waiting();
        // ET: input that is left counts as owed below; so the connection stays listed, as the last.
        connection.hold.remove(Hold::SPENT);
        if end_told && (!held || input.is_empty()) {
            // It cannot become a message any more.
            connection.input_end = InputEnd::Told;
            self.stats.bytes_discarded += input.len() as u64;
            input.clear();
        }
        connection.input_left = held && !input.is_empty();
        // With more to read at once it would only be moved back.
        if input.is_empty() || held || !connection.readable {
            input.shrink(&mut self.pool);
        }
        connection.input = input;
        !held && connection.input.len() > limit
    }

    /// Reads and drops what the peer of a closing connection still sends.
    pub(super) fn discard(&mut self, token: Token) {
        let (budget, strict) = (self.config.read_size(), self.config.strict_drain);
        let Some(connection) = find(&mut self.connections, token) else { return };
        let fill = connection.fill(budget, strict, &mut self.pool);
        if fill.bytes > 0 {
            connection.active_ms = self.clock.stamp();
        }
        self.stats.work += READ + copied(fill.bytes);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        self.lists.update(token, connection);
        let (state, ended) = (connection.state, connection.input_has_ended());
        if state == State::Lingering {
            let discarded = self.details.get_mut(token.key()).map_or(0, |details| {
                details.discarded = details.discarded.saturating_add(fill.bytes as u32);
                details.discarded as usize
            });
            if ended || fill.error.is_some() || discarded > self.config.linger_limit {
                self.retire(token);
            }
        } else if let Some(error) = fill.error {
            self.close_on_error(token, &error);
        }
    }
}
