//! A rate for the clients of a service: who is over it is not read until there is a token.
//!
//! Nothing is lost and nobody is closed: what a client sends meanwhile waits in its input, which is
//! bounded, then in the kernel, and then at the client. A message that comes in a time which was not the
//! client's own, since others held it or the server stood still, finds its token.

use std::time::Instant;

use super::rate::{Bucket, Standstill};
use crate::reactor::{Context, Token};

/// The rate of a service, and its clock.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Messages a second; 0 for any number.
    rate: u32,
    started: Option<Instant>,
    standstill: Standstill,
}

/// What is kept for one client.
#[derive(Debug)]
pub(super) struct Throttled {
    bucket: Bucket,
    /// Others held it when its bucket was counted last.
    is_held: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// It is not read until its timer fires.
    Waiting,
    /// It is read again, and has not been free since.
    Slowed,
    /// All that it sent was taken; from now on it is silent by itself. When its timer fires, its idle
    /// timeout counts again.
    Resting,
}

impl Throttle {
    pub(super) fn new(rate: u32) -> Self {
        Throttle { rate, started: None, standstill: Standstill::default() }
    }

    /// Whether there is a rate at all.
    pub(super) fn is_on(&self) -> bool {
        self.rate > 0
    }

    pub(super) fn client(&mut self, cx: &Context<'_>) -> Throttled {
        let bucket = Bucket::new(self.rate, self.clock_ms(cx));
        Throttled { bucket, is_held: false, state: State::Free }
    }

    /// Takes a token for a message. If there is none the client waits, and the message is to be left in
    /// its input.
    pub(super) fn admit(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        client: &mut Throttled,
    ) -> bool {
        if !self.is_on() {
            return true;
        }
        let now_ms = self.clock_ms(cx);
        let watch = self.standstill.watch(now_ms);
        wake_at(cx, cx.now() + watch);
        let was_held = std::mem::take(&mut client.is_held);
        client.bucket.count(self.rate, was_held, &self.standstill, now_ms);
        let Err(wait) = client.bucket.take(self.rate, now_ms) else { return true };
        client.state = State::Waiting;
        cx.pause(token);
        // That it is not heard is no silence of its own.
        cx.permit_silence(token, true);
        cx.set_timer(token, wait);
        false
    }

    /// The message for which a client had a token could not be taken now, for others' sake.
    pub(super) fn put_off(&self, client: &mut Throttled) {
        if self.is_on() {
            client.bucket.give_back();
            client.is_held = true;
        }
    }

    /// There is nothing more to take from a client.
    pub(super) fn rest(&self, cx: &mut Context<'_>, token: Token, client: &mut Throttled) {
        if client.state == State::Slowed
            && let Some(span) = cx.config().idle_timeout
        {
            client.state = State::Resting;
            cx.set_timer(token, span);
        }
    }

    /// The alarm came.
    pub(super) fn on_alarm(&mut self, cx: &mut Context<'_>) {
        let now_ms = self.clock_ms(cx);
        if let Some(left) = self.standstill.wake(now_ms) {
            wake_at(cx, cx.now() + left);
        }
    }

    /// Milliseconds since the service began, of which only differences mean something: they wrap.
    fn clock_ms(&mut self, cx: &Context<'_>) -> u32 {
        let started = *self.started.get_or_insert(cx.now());
        cx.now().saturating_duration_since(started).as_millis() as u32
    }
}

impl Throttled {
    /// The client's timer fired. Whatever happened, it may be silent for ever only if it might before.
    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, may_be_silent: bool) {
        match self.state {
            State::Waiting => {
                self.state = State::Slowed;
                cx.resume(token);
            }
            State::Resting => {
                self.state = State::Free;
                cx.permit_silence(token, may_be_silent);
            }
            State::Free | State::Slowed => {}
        }
    }
}

/// An earlier alarm stays.
pub(super) fn wake_at(cx: &mut Context<'_>, at: Instant) {
    if cx.alarm().is_none_or(|alarm| at < alarm) {
        cx.set_alarm(at);
    }
}
