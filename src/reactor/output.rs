//! From a handler's send to the socket: queueing, flushing, and the marks between which a
//! connection is not read.

use std::io;

use super::connection::{Connection, Hold, NONE, State};
use super::loop_state::LoopState;
use super::stream::Sent;
use super::topic::Slices;
use super::{CloseReason, RingBuffer, Token};

impl LoopState {
    /// Appends to a connection's output. Says whether the bytes were taken: not on a connection
    /// that is gone or closing, and not beyond its limit, which ends it.
    pub(super) fn send(&mut self, token: Token, bytes: &[u8]) -> bool {
        if !self.may_queue(token, bytes.len()) {
            return false;
        }
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.output.extend(bytes, &mut self.pool);
        }
        self.queued(token, bytes.len());
        true
    }

    /// As [`send`](Self::send), taking all bytes of `input` and its storage.
    pub(super) fn forward(&mut self, token: Token, input: &mut RingBuffer) -> bool {
        let bytes = input.len();
        if !self.may_queue(token, bytes) {
            return false;
        }
        let is_current = self.current == Some(token);
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.output.append(input, &mut self.pool);
            if !is_current {
                // It waits for the flush phase, and many may: it must not keep the large block it
                // was read into.
                connection.output.shrink(&mut self.pool);
            }
        }
        self.queued(token, bytes);
        true
    }

    fn may_queue(&mut self, token: Token, bytes: usize) -> bool {
        let limit = self.config.output_limit;
        match self.find(token) {
            Some(connection) if connection.state == State::Open => {
                let fits = connection.output.len() + bytes <= limit;
                if !fits {
                    self.abort(token, CloseReason::OutputLimit);
                }
                fits
            }
            Some(_) => false,
            None => {
                self.stats.stale += 1;
                false
            }
        }
    }

    fn queued(&mut self, token: Token, bytes: usize) {
        self.stats.bytes_queued += bytes as u64;
        let high = self.config.output_high();
        if let Some(connection) = self.connections.get_mut(token.key())
            && connection.output.len() > high
        {
            connection.hold.insert(Hold::CONGESTED);
        }
        if self.current != Some(token) {
            self.list_dirty(token);
        }
    }

    /// Hands the socket what is owed, until nothing is or it takes no more.
    pub(super) fn flush(&mut self, token: Token) {
        // Ends: each round hands over bytes, moves a cursor, or finds the socket blocked.
        while let Some(connection) = self.find(token)
            && matches!(connection.state, State::Open | State::Closing)
            && connection.writable
            && connection.owes_output()
        {
            let written = match connection.pending {
                NONE => self.write_output(token),
                subscription => self.write_topic(token, subscription),
            };
            if let Err(error) = written {
                return self.fail(token, &error);
            }
        }
        if let Err(error) = self.flush_layer(token) {
            return self.fail(token, &error);
        }
        self.settle_output(token);
    }

    fn write_output(&mut self, token: Token) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(token.key()) else { return Ok(()) };
        self.stats.writes += 1;
        let sent = connection.send_output()?;
        connection.output.consume(sent.bytes);
        self.sent(token, sent.bytes, sent.blocked);
        Ok(())
    }

    /// One vectored write: the rest of what the connection owes by itself, then everything the
    /// topic has for it.
    fn write_topic(&mut self, token: Token, subscription: u32) -> io::Result<()> {
        if !self.catch_up(token, subscription) {
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(token.key()) else { return Ok(()) };
        let Connection { stream, output, pending, .. } = connection;
        let (topics, pool, stats) = (&mut self.topics, &mut self.pool, &mut self.stats);
        let own = output.len();
        let mut slices = Slices::new();
        slices.push(output.as_slices());
        let delivery = topics.gather(subscription, token, &mut slices);
        let mut sent = Sent { bytes: 0, blocked: false };
        // Nothing to write when all that is new was published by this connection itself.
        if own + delivery.bytes > 0 {
            stats.writes += 1;
            sent = stream.send(slices.as_slice())?;
        }
        output.consume(sent.bytes.min(own));
        let taken = sent.bytes.saturating_sub(own);
        if sent.bytes >= own {
            let next = topics.subscription(subscription).map_or(NONE, |entry| entry.next_pending);
            let (messages, cut) =
                topics.advance(subscription, token, taken, delivery, output, pool);
            stats.messages_delivered += messages;
            stats.bytes_queued += (taken + cut) as u64;
            if !topics.is_pending(subscription) {
                *pending = next;
            }
        }
        self.sent(token, sent.bytes, sent.blocked);
        Ok(())
    }

    fn flush_layer(&mut self, token: Token) -> io::Result<()> {
        if let Some(connection) = self.find_mut(token)
            && connection.stream.is_layered()
            && connection.writable
        {
            connection.writable = connection.stream.flush()?;
            if !connection.writable {
                self.begin_stall(token);
            }
        }
        Ok(())
    }

    fn sent(&mut self, token: Token, bytes: usize, blocked: bool) {
        let stamp = self.clock.stamp();
        self.stats.bytes_sent += bytes as u64;
        if let Some(connection) = self.connections.get_mut(token.key()) {
            connection.writable &= !blocked;
            if bytes > 0 {
                (connection.active_ms, connection.progress_ms) = (stamp, stamp);
            }
        }
    }

    /// After a flush: buffers, marks, the write deadline, and the next step of a close.
    fn settle_output(&mut self, token: Token) {
        let low = self.config.output_low();
        let Some(connection) = self.connections.get_mut(token.key()) else { return };
        // A layer that could not push out what it holds still owes that.
        let layer_owes = connection.stream.is_layered() && !connection.writable;
        let owes = connection.owes_output() || layer_owes;
        if connection.output.is_empty() || !connection.writable {
            connection.output.shrink(&mut self.pool);
        }
        let relieved = connection.output.len() <= low;
        if owes && !connection.writable {
            self.begin_stall(token);
        } else if connection.writable {
            connection.stalled = false;
        }
        if relieved {
            // ET: what the kernel said about this socket while it was held is still noted; no event
            // will come for it.
            self.lift(token, Hold::CONGESTED);
        }
        if !owes {
            self.finish_closing(token);
        }
    }

    fn begin_stall(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        if let Some(connection) = self.find_mut(token)
            && !std::mem::replace(&mut connection.stalled, true)
        {
            connection.progress_ms = stamp;
            self.arm(token);
        }
    }
}
