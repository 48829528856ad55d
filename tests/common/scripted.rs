//! A handler that consists of a state, which the test looks at, and of closures over the state.

#![allow(dead_code, reason = "each test program uses its own part of the callbacks")]

use std::io;
use std::ops::{Deref, DerefMut};

use edgeloop::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// Callbacks share a state of type `T`, and each connection has a session of type `S`. A handler without
/// a common state is a [`HandlerFn`](edgeloop::service::HandlerFn), and needs nothing of tests.
pub(crate) struct Scripted<T, S = ()> {
    state: T,
    on_open: fn(&mut T, &mut Context<'_>, Token) -> S,
    on_data: OnData<T, S>,
    on_timer: fn(&mut T, &mut Context<'_>, Token, &mut S),
    on_alarm: fn(&mut T, &mut Context<'_>),
    on_close: fn(&mut T, &mut Context<'_>, Token, S, CloseReason),
    on_connect_error: fn(&mut T, &mut Context<'_>, Token, &io::Error),
}

type OnData<T, S> =
    fn(&mut T, &mut Context<'_>, Token, &mut S, &mut RingBuffer) -> Result<(), ProtocolError>;

impl<T, S> Scripted<T, S> {
    pub(crate) fn new(
        state: T,
        on_open: fn(&mut T, &mut Context<'_>, Token) -> S,
        on_data: OnData<T, S>,
    ) -> Self {
        Scripted {
            state,
            on_open,
            on_data,
            on_timer: |_, _, _, _| (),
            on_alarm: |_, _| (),
            on_close: |_, _, _, _, _| (),
            on_connect_error: |_, _, _, _| (),
        }
    }

    pub(crate) fn on_timer(mut self, f: fn(&mut T, &mut Context<'_>, Token, &mut S)) -> Self {
        self.on_timer = f;
        self
    }

    pub(crate) fn on_alarm(mut self, f: fn(&mut T, &mut Context<'_>)) -> Self {
        self.on_alarm = f;
        self
    }

    pub(crate) fn on_close(
        mut self,
        f: fn(&mut T, &mut Context<'_>, Token, S, CloseReason),
    ) -> Self {
        self.on_close = f;
        self
    }

    pub(crate) fn on_connect_error(
        mut self,
        f: fn(&mut T, &mut Context<'_>, Token, &io::Error),
    ) -> Self {
        self.on_connect_error = f;
        self
    }
}

impl<T, S> Handler for Scripted<T, S> {
    type Session = S;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> S {
        (self.on_open)(&mut self.state, cx, token)
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut S,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        (self.on_data)(&mut self.state, cx, token, session, input)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut S) {
        (self.on_timer)(&mut self.state, cx, token, session);
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        (self.on_alarm)(&mut self.state, cx);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, token: Token, session: S, reason: CloseReason) {
        (self.on_close)(&mut self.state, cx, token, session, reason);
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        (self.on_connect_error)(&mut self.state, cx, token, error);
    }
}

impl<T, S> Deref for Scripted<T, S> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T, S> DerefMut for Scripted<T, S> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}
