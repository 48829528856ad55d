//! Handlers that are good for nothing but tests.

use edgeloop::service::handler_fn;
use edgeloop::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Takes every byte and never answers: nothing that is sent back can bring a forgotten connection
/// onto a list again.
pub(crate) fn silent() -> impl Handler + Send {
    handler_fn(|_, _, input| {
        input.clear();
        Ok(())
    })
}

/// Takes nothing: all input stays where it is.
pub(crate) fn keeps_all() -> impl Handler + Send {
    handler_fn(|_, _, _| Ok(()))
}

/// What a [`Reporter`] saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Open(Token),
    Data(Token, Vec<u8>),
    End(Token),
    Timer(Token),
    Close(Token, CloseReason),
    ConnectError(Token, String),
}

/// Reports every call and leaves the decisions to a function of the test.
pub(crate) struct Reporter<F> {
    seen: Sender<Seen>,
    decide: F,
}

impl<F: FnMut(&mut Context<'_>, &Seen)> Reporter<F> {
    pub(crate) fn new(decide: F) -> (Self, Receiver<Seen>) {
        let (seen, receiver) = channel();
        (Reporter { seen, decide }, receiver)
    }

    fn report(&mut self, cx: &mut Context<'_>, seen: Seen) {
        (self.decide)(cx, &seen);
        // A test that has seen enough no longer listens.
        let _ = self.seen.send(seen);
    }
}

impl<F: FnMut(&mut Context<'_>, &Seen)> Handler for Reporter<F> {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        self.report(cx, Seen::Open(token));
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let bytes = input.contiguous().to_vec();
        input.clear();
        self.report(cx, Seen::Data(token, bytes));
        Ok(())
    }

    /// Keeps the connection half-closed unless the test closes it.
    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        _: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.report(cx, Seen::End(token));
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        self.report(cx, Seen::Timer(token));
    }

    fn on_close(&mut self, cx: &mut Context<'_>, token: Token, _: (), reason: CloseReason) {
        self.report(cx, Seen::Close(token, reason));
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &std::io::Error) {
        self.report(cx, Seen::ConnectError(token, error.to_string()));
    }
}
