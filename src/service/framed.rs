//! Joins a codec with a service: what becomes of each message.

use std::io;

use crate::codec::{Codec, Decoded, FrameError};
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// What is done with the messages that a codec finds.
///
/// A closure is a service without state of its own for a connection:
///
/// ```
/// use edgeloop::codec::Delimited;
/// use edgeloop::service::Framed;
/// use edgeloop::{Context, Token};
/// let shout = |cx: &mut Context<'_>, token: Token, line: &[u8]| {
///     cx.send_all(token, &[&line.to_ascii_uppercase(), b"!\n"]);
/// };
/// let handler = Framed::new(Delimited::lines(80), shout);
/// ```
///
/// A type is one with state, and with timers. This one lets a connection be silent for a minute
/// between two lines, and tells how many there were:
///
/// ```
/// use std::time::Duration;
///
/// use edgeloop::codec::Delimited;
/// use edgeloop::service::{Framed, Service};
/// use edgeloop::{Context, ProtocolError, Token};
///
/// const SILENCE_MAX: Duration = Duration::from_secs(60);
///
/// struct Counter;
///
/// impl Service<Delimited> for Counter {
///     type Session = u64;
///
///     fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> u64 {
///         cx.set_timer(token, SILENCE_MAX);
///         0
///     }
///
///     fn on_message(
///         &mut self, cx: &mut Context<'_>, token: Token, count: &mut u64, line: &[u8],
///     ) -> Result<(), ProtocolError> {
///         if line.is_empty() {
///             return Err(ProtocolError::malformed(format!("line {count} is empty")));
///         }
///         *count += 1;
///         cx.set_timer(token, SILENCE_MAX);
///         Ok(())
///     }
///
///     fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, count: &mut u64) {
///         cx.send_all(token, &[count.to_string().as_bytes(), b" lines, then silence\n"]);
///         cx.close(token);
///     }
/// }
///
/// let handler = Framed::new(Delimited::lines(80), Counter);
/// ```
///
/// Every callback of [`Handler`] has its like here, and is called under the same conditions.
pub trait Service<C: Codec> {
    /// What is kept for each connection.
    type Session;

    /// A connection was accepted, or one that [`Context::connect`] began was established.
    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> Self::Session;

    /// A whole message has come. What is sent from here leaves when all messages that came with it
    /// have been handled, in one write.
    ///
    /// # Errors
    /// When the connection is to be closed for what the peer sent.
    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        message: C::Message<'_>,
    ) -> Result<(), ProtocolError>;

    /// The peer has finished sending, and its last message was handled; where that made the connection
    /// wait ([`Context::put_off`]) for its answer, this comes behind the wait. `rest` is what came behind
    /// the last message and is none; a stream that ended in good order leaves nothing. By default the rest is
    /// ignored, what is queued is flushed, and the connection closed. A service that does not close
    /// it keeps a half-closed connection, to which it may send.
    ///
    /// # Errors
    /// When the connection is to be closed for what the peer sent.
    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        rest: &[u8],
    ) -> Result<(), ProtocolError> {
        let _ = (session, rest);
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

    /// The place to give back memory that tables needed for a burst: [`Handler::on_tidy`] says when.
    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The server shuts down. By default a connection may finish: it is closed once it is quiet. A
    /// service whose peers never finish by themselves closes them here.
    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        let _ = (cx, token, session);
    }

    /// A connection that [`Context::connect`] began was not established: there was no `on_open`, and
    /// there is no `on_close`.
    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        let _ = (cx, token, error);
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
}

impl<C, F> Service<C> for F
where
    C: for<'a> Codec<Message<'a> = &'a [u8]>,
    F: FnMut(&mut Context<'_>, Token, &[u8]),
{
    type Session = ();

    fn on_open(&mut self, _cx: &mut Context<'_>, _token: Token) {}

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _session: &mut (),
        message: &[u8],
    ) -> Result<(), ProtocolError> {
        self(cx, token, message);
        Ok(())
    }
}

/// A handler made of a codec and a service. Each connection has a copy of the codec.
///
/// A peer that does not read its answers is not served further until it does. When the peer has
/// ended its stream, its last message is handled and [`Service::on_end`] called.
#[derive(Clone, Copy, Debug)]
pub struct Framed<C, S> {
    codec: C,
    service: S,
}

/// What [`Framed`] keeps for a connection.
#[derive(Debug)]
pub struct FramedSession<C, T> {
    /// None once the stream has ended and its last message was handled.
    codec: Option<C>,
    session: T,
}

impl<C, S> Framed<C, S> {
    /// Serves the messages that `codec` finds with `service`.
    pub const fn new(codec: C, service: S) -> Self {
        Framed { codec, service }
    }

    /// The service, for a task from another thread that is given the handler.
    pub const fn service_mut(&mut self) -> &mut S {
        &mut self.service
    }
}

impl<C, S> Handler for Framed<C, S>
where
    C: Codec + Clone,
    S: Service<C>,
    ProtocolError: From<C::Error>,
{
    type Session = FramedSession<C, S::Session>;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> Self::Session {
        FramedSession { codec: Some(self.codec.clone()), session: self.service.on_open(cx, token) }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        framed: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let Some(codec) = &mut framed.codec else { return Ok(()) };
        while !cx.is_held(token) {
            let Some(Decoded { len, message }) = codec.decode(input.contiguous())? else { break };
            self.service.on_message(cx, token, &mut framed.session, message)?;
            input.consume(len);
            cx.charge(MESSAGE_WORK + len / 8);
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        framed: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let mut is_message = false;
        if let Some(codec) = &mut framed.codec
            && let Some(message) = codec.decode_end(input.contiguous())?
        {
            is_message = true;
            self.service.on_message(cx, token, &mut framed.session, message)?;
        }
        if is_message {
            framed.codec = None;
            cx.charge(MESSAGE_WORK + input.len() / 8);
            // Something has to be left for the end to be told again once the service may go on.
            input.consume(input.len().saturating_sub(1));
        }
        if framed.codec.is_none() {
            if cx.is_held(token) && !input.is_empty() {
                return Ok(());
            }
            input.clear();
        }
        self.service.on_end(cx, token, &mut framed.session, input.contiguous())?;
        input.clear();
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, framed: &mut Self::Session) {
        self.service.on_timer(cx, token, &mut framed.session);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.service.on_alarm(cx);
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.service.on_tidy(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, framed: &mut Self::Session) {
        self.service.on_drain(cx, token, &mut framed.session);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        self.service.on_connect_error(cx, token, error);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        framed: Self::Session,
        reason: CloseReason,
    ) {
        self.service.on_close(cx, token, framed.session, reason);
    }
}

/// A message is found and handled, at least. What more it costs its service has to count.
const MESSAGE_WORK: usize = 50;

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::LineTooLong => ProtocolError::LineTooLong,
            FrameError::MessageTooLong => ProtocolError::MessageTooLong,
            FrameError::BadLength | FrameError::BadMagic => ProtocolError::malformed(error.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FramedSession;
    use crate::codec::{Delimited, LengthPrefixed};

    #[test]
    fn connection_keeps_a_codec_and_a_session_and_nothing_more() {
        assert_eq!(size_of::<FramedSession<Delimited, ()>>(), size_of::<Delimited>());
        assert_eq!(size_of::<FramedSession<LengthPrefixed, ()>>(), size_of::<LengthPrefixed>());
    }
}
