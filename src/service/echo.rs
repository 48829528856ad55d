//! Returns every byte it receives.

use crate::reactor::{Context, Handler, ProtocolError, RingBuffer, Token};

/// The echo service of RFC 862, on streams.
///
/// Reading is coupled to writing by the reactor: a peer that does not read is not read either, so
/// it costs its limits and nothing more, and gets every byte once it reads again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Echo {
    /// An echo service.
    pub const fn new() -> Self {
        Echo
    }
}

impl Handler for Echo {
    type Session = ();

    fn on_open(&mut self, _cx: &mut Context<'_>, _token: Token) {}

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _session: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        cx.forward(token, input);
        Ok(())
    }
}
