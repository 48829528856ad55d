//! What a program does with its connections: the one trait that a user of the reactor implements.

use std::io;

use super::close_reason::CloseReason;
use super::context::Context;
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;

/// Reacts to what happens on connections.
///
/// The reactor calls one method at a time, on its own thread, and never from inside another one:
/// what a handler asks for through [`Context`] is queued and done in the turn's own phases.
///
/// For each connection: `on_open` once; then `on_data`, `on_timer` any number of times; `on_end` at
/// most once, or again while the handler is held and leaves input; `on_close` exactly once,
/// whatever happened. A session lives from `on_open` to `on_close`.
pub trait Handler {
    /// What the handler keeps for each connection; `()` costs nothing.
    type Session;

    /// A connection was accepted, or one that [`Context::connect`] began was established.
    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> Self::Session;

    /// Bytes arrived, or input that was held back may be handled now.
    ///
    /// Consume what is whole; what is not a whole message yet stays in `input` and is there again,
    /// with more behind it, in the next call. More than
    /// [`Config::input_limit`](super::Config::input_limit) left over closes the connection.
    /// Stop early when [`Context::is_held`] says that the connection may not go on: the rest is
    /// offered again.
    ///
    /// A call has a slice of work ([`Config::work_slice`](super::Config::work_slice)). The reactor counts
    /// what it sends and publishes; tell it by [`Context::charge`] what else a message costs, and ask
    /// [`Context::is_held`] between messages. A handler that does not keeps everybody waiting for all that
    /// one client has in flight.
    ///
    /// # Errors
    /// An error closes the connection with the reason it maps to; what was queued for the peer is
    /// still sent.
    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError>;

    /// The peer finished sending; `input` holds what `on_data` left over. By default what is queued
    /// is flushed and the connection closed. An implementation that does neither keeps a
    /// half-closed connection, to which it may send. One that is held ([`Context::is_held`])
    /// may leave its input; it is called again when it is free.
    ///
    /// # Errors
    /// As for [`on_data`](Self::on_data).
    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let _ = (session, input);
        cx.close(token);
        Ok(())
    }

    /// The timer set with [`Context::set_timer`] is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        let _ = (cx, token, session);
    }

    /// The alarm set with [`Context::set_alarm`] is due.
    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// A second has passed since most of the connections or subscriptions had ended, or since
    /// [`Context::tidy_later`]: the place to give back memory that tables needed for a burst.
    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The server shuts down. By default a connection may finish: it is closed once it is quiet. A
    /// handler whose peers never finish by themselves closes them here.
    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        let _ = (cx, token, session);
    }

    /// The connection is over; its token names nothing after this call.
    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: Self::Session,
        reason: CloseReason,
    ) {
        let _ = (cx, token, session, reason);
    }

    /// A connection that [`Context::connect`] began was not established; there was no `on_open` and
    /// there is no `on_close`. Neither is there this call when the handler itself, or a shutdown,
    /// ended it before that was known.
    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        let _ = (cx, token, error);
    }
}

/// Why a handler gives up on what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line is longer than the limit.
    LineTooLong,
    /// A message is longer than the limit.
    MessageTooLong,
    /// The peer broke the protocol; the text says how, for the log.
    Malformed(&'static str),
}

impl ProtocolError {
    /// The close reason under which it is counted.
    pub fn reason(self) -> CloseReason {
        match self {
            ProtocolError::LineTooLong => CloseReason::LineTooLong,
            ProtocolError::MessageTooLong => CloseReason::MessageTooLong,
            ProtocolError::Malformed(_) => CloseReason::ProtocolError,
        }
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProtocolError::LineTooLong => f.write_str("the line is too long"),
            ProtocolError::MessageTooLong => f.write_str("the message is too long"),
            ProtocolError::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ProtocolError {}
