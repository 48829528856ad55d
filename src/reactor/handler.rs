//! What a program does with its connections: the one trait that a user of the reactor implements.

use std::io;

use super::context::Context;
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::protocol_error::ProtocolError;

/// Reacts to what happens on connections.
///
/// The reactor calls one method at a time, on its own thread, and never from inside another one:
/// what a handler asks for through [`Context`] is queued and done in the turn's own phases.
///
/// For each connection: `on_open` once; then `on_data` and `on_timer` any number of times; `on_close`
/// exactly once, whatever happened. `on_end` is called once when the peer ends; if the connection is
/// held and the handler leaves input, `on_end` is called again when the hold ends. A session lives from
/// `on_open` to `on_close`.
///
/// A method that panics ends the connection that it was called for, and no other one
/// ([`Config::on_panic`](crate::Config::on_panic)).
pub trait Handler {
    /// What the handler keeps for each connection; `()` costs nothing.
    type Session;

    /// A connection was accepted, or one that [`Context::connect`] began was established:
    /// [`Context::dialled`] tells which.
    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> Self::Session;

    /// Bytes arrived, or input that was held back may be handled now.
    ///
    /// Consume whole messages. A message that is not whole yet stays in `input`, and is there again, with
    /// more behind it, in the next call. More than [`Config::input_limit`](super::Config::input_limit)
    /// left over closes the connection. Stop early when [`Context::is_held`] says that the connection
    /// may not go on: the rest is offered again.
    ///
    /// A call has a slice of work ([`Config::work_slice`](super::Config::work_slice)). The reactor counts
    /// sends and publications by itself. Tell it by [`Context::charge`] what else a message costs, and ask
    /// [`Context::is_held`] between messages: a handler that does not lets all clients wait for
    /// everything that one client has in flight.
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

    /// The peer finished sending; `input` holds what `on_data` left over. By default the output is
    /// flushed, and the connection closed. An implementation that does not close keeps a half-closed
    /// connection, to which it may send. While the connection is held ([`Context::is_held`]) the handler
    /// may leave input; `on_end` is then called again when the hold ends.
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
    /// handler whose peers never finish by themselves closes their connections here.
    ///
    /// This is called once for each connection: when the shutdown begins, or right behind `on_open` for a
    /// connection that opens later. There are such connections although nothing is accepted any more: one
    /// that was being dialled, or that the handler dials to finish what it has begun.
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

    /// A connection that [`Context::connect`] began was not established. There was no `on_open`, and there
    /// is no `on_close`. This also tells of a connection that was ended for want of memory
    /// ([`Config::buffer_memory`](super::Config::buffer_memory)) before it was established. It is not called
    /// when the handler itself, or a shutdown, ended the connection before its fate was known.
    /// [`Context::dialled`] tells what the connection was for.
    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        let _ = (cx, token, error);
    }
}
