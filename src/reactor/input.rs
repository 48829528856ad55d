//! From the socket to the handler: reading within the budgets, and what becomes of input that is
//! not used up.

use super::connection::{Fill, Hold, State};
use super::loop_state::LoopState;
use super::{CloseReason, RingBuffer, Token};

impl LoopState {
    /// Reads a connection that may be read; says nothing when it has to wait for memory.
    pub(super) fn fill(&mut self, token: Token) -> Option<Fill> {
        let (budget, strict, stamp) =
            (self.config.read_size(), self.config.strict_drain, self.clock.stamp());
        let has_memory = self.has_memory();
        let connection = self.connections.get_mut(token.key())?;
        // What the handler has not seen yet comes first, or the input would grow with each attempt.
        if !connection.may_read() || connection.undelivered {
            return Some(Fill::default());
        }
        if !has_memory {
            connection.hold.insert(Hold::MEMORY);
            self.starved.push(token);
            return None;
        }
        let fill = connection.fill(budget, strict, &mut self.pool);
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        if fill.bytes > 0 {
            connection.active_ms = stamp;
        } else if connection.input.is_empty() {
            connection.input.release(&mut self.pool);
        }
        Some(fill)
    }

    /// Takes the input back from the handler, and the storage that it does not need.
    pub(super) fn take_back(&mut self, token: Token, mut input: RingBuffer) {
        let Some(connection) = self.connections.get_mut(token.key()) else { return };
        let held = !connection.hold.is_free();
        connection.undelivered = held && !input.is_empty();
        // With more to read at once it would only be moved back.
        if input.is_empty() || held || !connection.readable {
            input.shrink(&mut self.pool);
        }
        connection.input = input;
    }

    /// As [`take_back`](Self::take_back) after the end of the stream. A handler that was held is
    /// told again; otherwise what it left behind cannot become a message any more.
    pub(super) fn take_back_end(&mut self, token: Token, mut input: RingBuffer) {
        let Some(connection) = self.connections.get_mut(token.key()) else { return };
        connection.end_delivered = connection.state != State::Open || connection.hold.is_free();
        if connection.end_delivered {
            self.stats.bytes_discarded += input.len() as u64;
            input.clear();
        }
        self.take_back(token, input);
    }

    /// The handler leaves more behind than any message may have. Framing knows the exact limit;
    /// this is the net below it.
    pub(super) fn is_over_input_limit(&self, token: Token) -> bool {
        let limit = self.config.input_limit + self.config.read_size();
        self.find(token)
            .is_some_and(|connection| connection.hold.is_free() && connection.input.len() > limit)
    }

    /// Whether another read fits into the buffer memory.
    pub(super) fn has_memory(&self) -> bool {
        self.pool.leased() + self.config.read_size() <= self.config.buffer_memory
    }

    /// At the end of a turn: while the memory is spent, the connection that holds most of it is
    /// closed; otherwise those that were not read for want of it are read again.
    pub(super) fn relieve_memory(&mut self) {
        if self.has_memory() {
            for token in std::mem::take(&mut self.starved) {
                self.lift(token, Hold::MEMORY);
            }
        } else if !self.starved.is_empty() || self.pool.leased() > self.config.buffer_memory {
            // A walk over the whole table, in the one case in which every turn frees a large
            // buffer.
            let held = |token| {
                let connection = self.find(token);
                connection.map_or((0, 0), |it| (it.output.capacity(), it.input.capacity()))
            };
            let largest = self.tokens().max_by_key(|token| held(*token));
            if let Some(token) = largest.filter(|token| held(*token) > (0, 0)) {
                self.abort(token, CloseReason::Memory);
            }
        }
    }
}
