//! The ways in which a connection ends. Closing is a state, not a loop: each step is taken when the
//! one before is done.

use std::io;

use super::connection::State;
use super::loop_state::LoopState;
use super::{CloseReason, Token};

impl LoopState {
    /// Ends an open connection in good order: what is owed is flushed first. Closing is a state,
    /// not a loop.
    pub(super) fn close(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) = self.find_mut(token) else { return };
        match connection.state {
            State::Open => {
                connection.state = State::Closing;
                connection.reason = reason;
                connection.undelivered = false;
                self.list_dirty(token);
                // What the peer still sends is read and dropped, or it might never get to reading
                // our last words.
                self.list_ready(token);
            }
            State::Connecting => {
                connection.reason = reason;
                self.finish(token);
            }
            State::Closing | State::Lingering | State::Closed => {}
        }
    }

    /// Ends a connection at once. What it did not take is dropped, here and in the kernel.
    pub(super) fn abort(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) =
            self.find_mut(token).filter(|connection| connection.state != State::Closed)
        else {
            return;
        };
        connection.reason = reason;
        connection.stream.discard_on_close();
        self.finish(token);
    }

    /// Ends a connection whose socket reported an error. One that was closing already keeps its
    /// reason, unless all that was left to do was to send, and that failed.
    pub(super) fn fail(&mut self, token: Token, error: &io::Error) {
        let Some(connection) = self.find_mut(token) else { return };
        let decided = match connection.state {
            State::Connecting | State::Open => false,
            State::Closing => connection.reason != CloseReason::PeerClosed,
            State::Lingering | State::Closed => true,
        };
        if !decided {
            connection.reason = reason_of(error);
            log::debug!(connection:% = token, event = "error"; "{error}");
        }
        self.finish(token);
    }

    /// Nothing is owed any more: tell the peer, and wait for it to say the same.
    pub(super) fn finish_closing(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        let Some(connection) =
            self.find_mut(token).filter(|connection| connection.state == State::Closing)
        else {
            return;
        };
        // Nothing can arrive after the peer's own end, so there is nothing that could turn our
        // close into a reset.
        if connection.input_ended || connection.stream.shutdown_write().is_err() {
            return self.finish(token);
        }
        connection.state = State::Lingering;
        connection.progress_ms = stamp;
        self.arm(token);
        self.list_ready(token);
    }

    /// Hands the connection to the close phase.
    pub(super) fn finish(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token)
            && connection.state != State::Closed
        {
            connection.state = State::Closed;
            self.closed.push_back(token);
        }
    }

    /// Ends a connection that has nothing in flight, in a shutdown.
    pub(super) fn close_quiet(&mut self, token: Token) {
        if let Some(connection) = self.find_mut(token) {
            connection.reason = CloseReason::Drained;
            self.finish(token);
        }
    }

    /// Ends everything that is left when a shutdown has waited long enough; returns how many had
    /// not finished.
    pub(super) fn cut_off(&mut self) -> u64 {
        let tokens: Vec<Token> = self.tokens().collect();
        let mut unfinished = 0;
        for token in tokens {
            match self.find(token).map(|connection| connection.state) {
                // Everything was sent; only the peer's word for it is missing.
                Some(State::Lingering | State::Connecting) => self.finish(token),
                Some(State::Open | State::Closing) => {
                    unfinished += 1;
                    self.abort(token, CloseReason::DrainTimeout);
                }
                Some(State::Closed) | None => {}
            }
        }
        unfinished
    }

    /// Reads and drops what the peer of a closing connection still sends.
    pub(super) fn discard(&mut self, token: Token) {
        let (budget, strict) = (self.config.read_size(), self.config.strict_drain);
        let Some(connection) = self.connections.get_mut(token.key()) else { return };
        let fill = connection.fill(budget, strict, &mut self.pool);
        let lingering = connection.state == State::Lingering;
        let over = connection.input_ended || fill.error.is_some();
        self.stats.reads += fill.calls;
        self.stats.bytes_received += fill.bytes as u64;
        self.stats.bytes_discarded += connection.input.len() as u64;
        connection.input.release(&mut self.pool);
        let dropped = self.cold.get_mut(token.key()).map_or(0, |cold| {
            cold.discarded = cold.discarded.saturating_add(fill.bytes as u32);
            cold.discarded as usize
        });
        match fill.error {
            Some(error) if !lingering => self.fail(token, &error),
            _ if lingering && (over || dropped > self.config.linger_limit) => self.finish(token),
            _ => self.list_ready(token),
        }
    }
}

fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => CloseReason::Reset,
        HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut => CloseReason::Reset,
        _ => CloseReason::IoError,
    }
}
