//! Answers each line with the line, behind a prefix.

use crate::codec::{Codec, Lines};
use crate::reactor::{Context, Handler, ProtocolError, RingBuffer, Token};

/// An echo that understands lines: each is answered when it is complete.
#[derive(Clone, Debug)]
pub struct EchoLines {
    prefix: Vec<u8>,
    limit: usize,
}

impl EchoLines {
    /// Answers lines of at most `limit` bytes with `prefix` and the line.
    pub fn new(prefix: impl Into<Vec<u8>>, limit: usize) -> Self {
        EchoLines { prefix: prefix.into(), limit }
    }

    fn answer(&self, cx: &mut Context<'_>, token: Token, line: &[u8]) {
        cx.send(token, &self.prefix);
        cx.send(token, line);
    }
}

impl Handler for EchoLines {
    type Session = Lines;

    fn on_open(&mut self, _cx: &mut Context<'_>, _token: Token) -> Lines {
        Lines::new(self.limit)
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        lines: &mut Lines,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        // A line may be answered with more than it took; a peer that does not read its answers is
        // not served further.
        while !cx.is_held(token)
            && let Some(len) =
                lines.next(input.contiguous()).map_err(|_| ProtocolError::LineTooLong)?
        {
            self.answer(cx, token, &input.contiguous()[..len]);
            input.consume(len);
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _lines: &mut Lines,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if !input.is_empty() {
            self.answer(cx, token, input.contiguous());
            cx.send(token, b"\n");
            input.clear();
        }
        cx.close(token);
        Ok(())
    }
}
