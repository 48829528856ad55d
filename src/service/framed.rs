//! Joins a codec with a service: what becomes of each message.

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
///     cx.send(token, &line.to_ascii_uppercase());
///     cx.send(token, b"!\n");
/// };
/// let handler = Framed::new(Delimited::lines(80), shout);
/// ```
pub trait Service<C: Codec> {
    /// What is kept for each connection.
    type Session;

    /// A connection was accepted or established.
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

    /// The connection is over.
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
/// ended its stream, what it was answered is flushed and the connection closed.
#[derive(Clone, Copy, Debug)]
pub struct Framed<C, S> {
    codec: C,
    service: S,
}

/// What [`Framed`] keeps for a connection.
#[derive(Debug)]
pub struct FramedSession<C, T> {
    codec: C,
    session: T,
}

impl<C, S> Framed<C, S> {
    /// Serves the messages that `codec` finds with `service`.
    pub const fn new(codec: C, service: S) -> Self {
        Framed { codec, service }
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
        FramedSession { codec: self.codec.clone(), session: self.service.on_open(cx, token) }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        framed: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        while !cx.is_held(token) {
            let Some(Decoded { len, message }) = framed.codec.decode(input.contiguous())? else {
                break;
            };
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
        if let Some(message) = framed.codec.decode_end(input.contiguous())? {
            self.service.on_message(cx, token, &mut framed.session, message)?;
        }
        input.clear();
        cx.close(token);
        Ok(())
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
            FrameError::BadLength | FrameError::BadMagic => ProtocolError::Malformed(error.name()),
        }
    }
}
