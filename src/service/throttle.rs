//! A rate for the clients of a service: a client beyond its rate is not read until it has a token.
//!
//! Nothing is lost and no connection is closed. What a client sends meanwhile waits in its input, which
//! is bounded, then in the kernel, and then at the client; the client does not count as idle meanwhile.
//! Time in which other clients held this one, or in which the server stood still, is not charged to the
//! client.

use std::time::Instant;

use super::rate::{Bucket, Standstill};
use crate::reactor::{Context, Token};

/// The rate of a service, and its clock.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Messages a second; 0 for any number.
    rate: u32,
    started: Instant,
    standstill: Standstill,
}

/// What is kept for one client.
#[derive(Debug)]
pub(super) struct Throttled(Bucket);

impl Throttle {
    pub(super) fn new(rate: u32) -> Self {
        Throttle { rate, started: Instant::now(), standstill: Standstill::default() }
    }

    /// Whether there is a rate at all.
    pub(super) fn is_on(&self) -> bool {
        self.rate > 0
    }

    /// A client has come.
    pub(super) fn client(&self, cx: &Context<'_>) -> Throttled {
        Throttled(Bucket::new(self.rate, self.clock_ms(cx)))
    }

    /// Takes a token for a message. If there is none the message is to be left in the client's input,
    /// and the client waits: its timer is set, at which it is to be resumed.
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
        self.count(cx, client);
        let Err(wait) = client.0.take(self.rate, now_ms) else { return true };
        cx.put_off(token);
        cx.set_timer(token, wait);
        false
    }

    /// The message for which a client had a token could not be taken now, for others' sake.
    pub(super) fn give_back(&self, client: &mut Throttled) {
        if self.is_on() {
            client.0.give_back();
        }
    }

    /// Counts the time until now in a client's bucket. What others took from it is not its own.
    pub(super) fn count(&self, cx: &Context<'_>, client: &mut Throttled) {
        client.0.count(self.rate, &self.standstill, self.clock_ms(cx));
    }

    /// Whether a client had at least half of what can be saved when its bucket was counted last.
    #[cfg(feature = "websocket")]
    pub(super) fn is_calm(&self, client: &Throttled) -> bool {
        client.0.is_calm(self.rate)
    }

    /// The alarm came.
    pub(super) fn on_alarm(&mut self, cx: &mut Context<'_>) {
        let now_ms = self.clock_ms(cx);
        if let Some(left) = self.standstill.wake(now_ms) {
            wake_at(cx, cx.now() + left);
        }
    }

    /// Milliseconds since the service began, of which only differences mean something: they wrap.
    pub(super) fn clock_ms(&self, cx: &Context<'_>) -> u32 {
        cx.now().saturating_duration_since(self.started).as_millis() as u32
    }
}

#[cfg(feature = "websocket")]
impl Throttled {
    /// Whether the client waits for others, and not for its rate.
    pub(super) fn waits_for_others(&self) -> bool {
        self.0.waits_for_others()
    }
}

/// An earlier alarm stays.
pub(super) fn wake_at(cx: &mut Context<'_>, at: Instant) {
    if cx.alarm().is_none_or(|alarm| at < alarm) {
        cx.set_alarm(at);
    }
}
