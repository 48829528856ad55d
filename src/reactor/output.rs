//! From a handler's send to the socket: queueing, flushing, and the two water marks.
//!
//! ```text
//!   bytes queued     output_limit   ---- the connection is aborted
//!                    output_high    ---- above this high-water mark: congested, not read
//!                    output_low     ---- at this low-water mark, or below it: read again
//!               0    ------------------- nothing queued: the storage goes back to the pool
//! ```
//!
//! A byte whose peer has stopped reading stays in `output`, and the connection is stalled. An event that
//! the socket takes bytes again puts the connection on the dirty list; without one the write deadline
//! ends the connection. The idle timeout runs meanwhile, too, for no byte moves: it begins a close, which
//! waits for the peer until the write deadline. The high-water mark is a quarter of the limit, the
//! low-water mark a sixteenth.

use std::io;

use super::connection::{Connection, Hold, State};
use super::loop_state::{LoopState, find};
use super::work::{WRITE, copied};
use crate::sockets::stream::Sent;
use crate::structures::buffer_pool::BufferPool;
use crate::structures::clock::Clock;
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::subscriptions::{Slices, Topics};
use crate::structures::token::Token;
use crate::vocabulary::close_log::CloseLog;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::stats::Stats;

/// Why a flush ends its connection.
enum FlushError {
    Socket(io::Error),
    /// A topic's ring has overtaken the subscriber.
    Lapped,
}

impl LoopState {
    /// Appends a copy of `bytes` to a connection's output. Returns whether the bytes were taken.
    pub(super) fn send(&mut self, token: Token, bytes: &[u8]) -> bool {
        let is_taken = self.queue(token, bytes.len(), |output, pool| output.extend(bytes, pool));
        self.charge(copied(bytes.len()));
        is_taken
    }

    /// As [`send`](Self::send), of bytes that lie in several places: all of them, or none.
    pub(super) fn send_all(&mut self, token: Token, parts: &[&[u8]]) -> bool {
        let len = parts.iter().fold(0, |len: usize, part| len.saturating_add(part.len()));
        let is_taken = self.queue(token, len, |output, pool| {
            output.reserve(len, pool);
            parts.iter().for_each(|part| output.extend(part, pool));
        });
        self.charge(copied(len));
        is_taken
    }

    /// As [`send`](Self::send), for all bytes of `input` together with its storage.
    pub(super) fn forward(&mut self, token: Token, input: &mut RingBuffer) -> bool {
        let is_current = self.current == Some(token);
        self.queue(token, input.len(), |output, pool| {
            output.append(input, pool);
            if !is_current {
                // Many outputs may wait for the flush phase: none of them keeps the large block that it
                // was read into.
                output.shrink(pool);
            }
        })
    }

    /// Appends to an open connection's output, up to the output limit; beyond that the connection is
    /// aborted.
    fn queue(
        &mut self,
        token: Token,
        len: usize,
        append: impl FnOnce(&mut RingBuffer, &mut BufferPool),
    ) -> bool {
        let Some(connection) = find(&mut self.connections, token) else {
            self.stats.stale += 1;
            return false;
        };
        // A connection that is not established yet flushes its output as soon as it is.
        if !matches!(connection.state, State::Open | State::Connecting) {
            return false;
        }
        if connection.output.len().saturating_add(len) > self.config.output_limit {
            self.abort(token, CloseReason::OutputLimit);
            return false;
        }
        append(&mut connection.output, &mut self.pool);
        self.stats.bytes_queued += len as u64;
        if connection.output.len() > self.config.output_high() {
            connection.hold.insert(Hold::CONGESTED);
        }
        if self.current != Some(token) {
            self.lists.update(token, connection);
        }
        true
    }

    /// The write deadline is over. Linux announces room only when a third of its buffer is free, so the
    /// socket is asked once more: only a write that moves no byte proves that the peer takes none.
    pub(super) fn expire_write(&mut self, token: Token) {
        let before = self.stats.bytes_sent;
        if let Some(connection) = self.find_mut(token) {
            connection.writable = true;
        }
        self.flush(token);
        let stalled = self.find(token).is_some_and(|connection| connection.stalled);
        if stalled && self.stats.bytes_sent == before {
            self.abort(token, CloseReason::WriteTimeout);
        }
    }

    /// Hands the socket what is owed, until nothing is or it takes no more; then takes the next step of
    /// a close, if there is one.
    pub(super) fn flush(&mut self, token: Token) {
        let slice_end = self.budget.slice_end(self.stats.work);
        let LoopState { connections, topics, pool, stats, closes, config, clock, lists, .. } = self;
        let Some(connection) = find(connections, token) else { return };
        let was_stalled = connection.stalled;
        let written =
            Writer { connection, token, topics, pool, stats, closes, clock }.write_owed(slice_end);
        if connection.output.is_empty() || !connection.writable {
            connection.output.shrink(pool);
        }
        if connection.output.len() <= config.output_low() {
            // ET: what the kernel said while the connection was held is still noted; no event will
            // come for it.
            connection.hold.remove(Hold::CONGESTED);
        }
        connection.stalled &= connection.owes_anything();
        let is_rearmed = connection.stalled != was_stalled;
        let is_done = connection.state == State::Closing && !connection.owes_anything();
        // A severed connection is over once everything that was received is handed over.
        let is_read = !connection.readable && !connection.input_left;
        let is_over = connection.state == State::Severed && is_read;
        match written {
            Ok(()) if is_over => self.end_severed(token),
            Err(FlushError::Socket(error)) => self.close_on_error(token, &error),
            Err(FlushError::Lapped) => self.let_go(token),
            Ok(()) if is_done => self.begin_linger(token),
            Ok(()) => {
                lists.update(token, connection);
                if is_rearmed {
                    self.arm(token);
                }
            }
        }
    }
}

/// What a flush works on: one connection, and what all connections share.
struct Writer<'a> {
    connection: &'a mut Connection,
    token: Token,
    topics: &'a mut Topics,
    pool: &'a mut BufferPool,
    stats: &'a mut Stats,
    closes: &'a mut CloseLog,
    clock: &'a Clock,
}

impl Writer<'_> {
    // Ends: each round hands over bytes, moves a cursor, or finds the socket full. Many topics may have
    // messages for one connection: once it has had its slice, it goes to the end of the dirty list.
    fn write_owed(&mut self, slice_end: u64) -> Result<(), FlushError> {
        if !matches!(self.connection.state, State::Open | State::Closing) {
            return Ok(());
        }
        while self.connection.writable
            && self.connection.owes_output()
            && self.stats.work < slice_end
        {
            let sent = match self.topics.first_pending(self.connection.pending) {
                None => self.write_output()?,
                Some(subscription) => self.write_messages(subscription)?,
            };
            self.stats.bytes_sent += sent.bytes as u64;
            self.closes.traffic.sent(self.token.key(), sent.bytes);
            self.stats.work += WRITE + copied(sent.bytes);
            self.connection.took(sent, self.clock.stamp());
        }
        if self.connection.writable && self.connection.stream.owes_output() {
            let blocked = !self.connection.stream.flush()?;
            self.connection.took(Sent { bytes: 0, blocked }, self.clock.stamp());
        }
        Ok(())
    }

    fn write_output(&mut self) -> io::Result<Sent> {
        let Connection { stream, output, .. } = &mut *self.connection;
        self.stats.writes += 1;
        let sent = stream.send_ring(output)?;
        output.consume(sent.bytes);
        Ok(sent)
    }

    /// One write of the connection's own output, and behind it all that one topic has for it.
    fn write_messages(&mut self, subscription: u32) -> Result<Sent, FlushError> {
        let Writer { connection, token, topics, pool, stats, clock, .. } = self;
        let Connection { stream, output, pending, stalled, .. } = &mut **connection;
        stats.messages_skipped += topics.skip_lapped(subscription).ok_or(FlushError::Lapped)?;
        let own_len = output.len();
        let mut slices = Slices::new();
        slices.push(output.as_slices());
        let mut batch = topics.gather(subscription, *token, &mut slices);
        (batch.after_wait, batch.now_us) = (*stalled, clock.now_us());
        let mut sent = Sent { bytes: 0, blocked: false };
        // There is nothing to write if this connection has published all the new messages itself.
        if own_len + batch.bytes > 0 {
            stats.writes += 1;
            sent = stream.send(slices.as_slice())?;
        }
        output.consume(sent.bytes.min(own_len));
        if let Some(taken) = sent.bytes.checked_sub(own_len) {
            let (messages, cut) =
                topics.move_cursor(subscription, *token, taken, batch, output, pool);
            stats.messages_delivered += messages;
            stats.work += messages;
            stats.bytes_queued += (taken + cut) as u64;
            topics.pass_turn(pending, subscription);
        }
        Ok(sent)
    }
}

impl From<io::Error> for FlushError {
    fn from(error: io::Error) -> Self {
        FlushError::Socket(error)
    }
}
