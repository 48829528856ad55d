//! A handler that is watched: its calls are noted, and checked against what is promised to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;

use super::kernel::Shared;
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// Passes every call on.
pub(super) struct Observed<H> {
    pub(super) inner: H,
    journal: Rc<RefCell<Journal>>,
    /// Has the trace.
    kernel: Shared,
}

/// What the handler was told.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lives: HashMap<Token, Life>,
    /// Promises that were not kept.
    pub(super) broken: Vec<String>,
}

/// One connection, from `on_open` to `on_close`.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    is_closed: bool,
    /// Bytes that its handler has seen, and how many of them lie in the input.
    received: u64,
    left: usize,
}

impl Journal {
    /// Bytes that the handler has seen of a connection.
    pub(super) fn received(&self, token: Token) -> u64 {
        self.lives.get(&token).map_or(0, |life| life.received)
    }

    /// Connections that were opened and not closed.
    pub(super) fn open(&self) -> usize {
        self.lives.values().filter(|life| !life.is_closed).count()
    }

    fn open_life(&mut self, token: Token) {
        if self.lives.insert(token, Life::default()).is_some() {
            self.broken.push(format!("connection {token} is opened twice"));
        }
    }

    fn call(&mut self, what: &str, token: Token) -> Option<&mut Life> {
        match self.lives.get_mut(&token) {
            Some(life) if !life.is_closed => return Some(life),
            Some(_) => self.broken.push(format!("{what} is called behind on_close of {token}")),
            None => self.broken.push(format!("{what} is called before on_open of {token}")),
        }
        None
    }

    fn close_life(&mut self, token: Token) {
        if let Some(life) = self.call("on_close", token) {
            life.is_closed = true;
        }
    }
}

impl<H> Observed<H> {
    pub(super) fn new(inner: H, kernel: &Shared) -> (Self, Rc<RefCell<Journal>>) {
        let journal = Rc::default();
        (Observed { inner, journal: Rc::clone(&journal), kernel: Rc::clone(kernel) }, journal)
    }

    fn note(&self, token: Token, what: fmt::Arguments<'_>) {
        self.kernel.borrow_mut().note_call(token, what);
    }

    /// Input is lent to a call of the handler.
    fn lend<T>(
        &mut self,
        what: &str,
        token: Token,
        input: &mut RingBuffer,
        call: impl FnOnce(&mut H, &mut RingBuffer) -> T,
    ) -> T {
        if let Some(life) = self.journal.borrow_mut().call(what, token) {
            life.received += input.len().saturating_sub(life.left) as u64;
        }
        let offered = input.len();
        let outcome = call(&mut self.inner, input);
        let taken = offered.saturating_sub(input.len());
        self.note(token, format_args!("{what} took {taken} of {offered} bytes"));
        if let Some(life) = self.journal.borrow_mut().lives.get_mut(&token) {
            life.left = input.len();
        }
        outcome
    }
}

impl<H: Handler> Handler for Observed<H> {
    type Session = H::Session;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> H::Session {
        self.journal.borrow_mut().open_life(token);
        self.note(token, format_args!("on_open"));
        self.inner.on_open(cx, token)
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.lend("on_data", token, input, |inner, input| inner.on_data(cx, token, session, input))
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut H::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.lend("on_end", token, input, |inner, input| inner.on_end(cx, token, session, input))
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut H::Session) {
        self.journal.borrow_mut().call("on_timer", token);
        self.note(token, format_args!("on_timer"));
        self.inner.on_timer(cx, token, session);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.inner.on_alarm(cx);
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.inner.on_tidy(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut H::Session) {
        self.journal.borrow_mut().call("on_drain", token);
        self.note(token, format_args!("on_drain"));
        self.inner.on_drain(cx, token, session);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: H::Session,
        reason: CloseReason,
    ) {
        self.journal.borrow_mut().close_life(token);
        self.note(token, format_args!("on_close, {reason}"));
        self.kernel.borrow_mut().note_reason(token, reason);
        self.inner.on_close(cx, token, session, reason);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        self.inner.on_connect_error(cx, token, error);
    }
}
