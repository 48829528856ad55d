//! Answers each line with the line, behind a prefix.

use super::framed::Service;
use crate::codec::Delimited;
use crate::reactor::{Context, ProtocolError, Token};

/// What `edgeloop echo --lines` does with a line: sends it back behind a prefix.
///
/// ```
/// use edgeloop::codec::Delimited;
/// use edgeloop::service::{EchoLines, Framed};
/// let handler = Framed::new(Delimited::lines(80), EchoLines::new("echo: "));
/// ```
#[derive(Clone, Debug)]
pub struct EchoLines {
    prefix: Vec<u8>,
}

impl EchoLines {
    /// Answers with `prefix`, the line and a newline.
    pub fn new(prefix: impl Into<Vec<u8>>) -> Self {
        EchoLines { prefix: prefix.into() }
    }
}

impl Service<Delimited> for EchoLines {
    type Session = ();

    fn on_open(&mut self, _cx: &mut Context<'_>, _token: Token) {}

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _session: &mut (),
        line: &[u8],
    ) -> Result<(), ProtocolError> {
        cx.send_all(token, &[&self.prefix, line, b"\n"]);
        Ok(())
    }
}
