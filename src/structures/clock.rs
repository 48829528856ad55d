//! Turn time: the clock is read once a turn, and everything that happens in the turn happens then.

use std::time::{Duration, Instant};

/// Time in three forms: an [`Instant`] for handlers, milliseconds since the reactor was built for
/// the timer wheel, and stamps, the same milliseconds in 32 wrapping bits, for connections. Stamps
/// are compared over spans of at most twelve days, which `Config::check` sees to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    now: Instant,
    now_ms: u64,
    /// A clock that was stopped stands at this time, and is moved.
    stopped: Option<Instant>,
}

/// A wait that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) began: Instant,
    pub(crate) timeout: Option<Duration>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Clock { started: now, now, now_ms: 0, stopped: None }
    }

    pub(crate) fn read(&mut self) {
        self.now = self.present();
        self.now_ms = (self.now - self.started).as_millis() as u64;
    }

    fn present(&self) -> Instant {
        self.stopped.unwrap_or_else(Instant::now)
    }

    /// From now on time passes only as the clock is [moved](Self::move_on).
    pub(crate) fn stop(&mut self) {
        self.stopped = Some(self.now);
    }

    /// Moves a clock that was stopped.
    pub(crate) fn move_on(&mut self, by: Duration) {
        self.stopped = self.stopped.map(|at| at + by);
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Microseconds since the reactor was built.
    pub(crate) fn now_us(&self) -> u64 {
        (self.now - self.started).as_micros() as u64
    }

    pub(crate) fn stamp(&self) -> u32 {
        self.now_ms as u32
    }

    /// A wait until `at`, or without an end. It is counted from now and not from turn time: otherwise every
    /// deadline would be late by the time that the turn took.
    pub(crate) fn wait_until(&self, at: Option<Instant>) -> Wait {
        let now = self.present();
        Wait { began: now, timeout: at.map(|at| at.saturating_duration_since(now)) }
    }

    /// The same moment in milliseconds.
    pub(crate) fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }

    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        self.started + Duration::from_millis(at_ms)
    }

    /// When `span` after a stamp is certainly over. A stamp is cut to whole milliseconds, so one more is
    /// added.
    pub(crate) fn after(&self, stamp: u32, span: Duration) -> u64 {
        let age = u64::from(self.stamp().wrapping_sub(stamp));
        let span = span.as_millis().min(u128::from(STAMP_SPAN_MAX)) as u64;
        (self.now_ms + span + 1).saturating_sub(age)
    }

    /// A stamp that lies `delay` ahead.
    pub(crate) fn stamp_in(&self, delay: Duration) -> u32 {
        let delay = delay.as_millis().min(u128::from(STAMP_SPAN_MAX)) as u32;
        self.stamp().wrapping_add(delay).wrapping_add(1)
    }

    /// When a stamp that was made by [`stamp_in`](Self::stamp_in) is reached, or was.
    pub(crate) fn reached(&self, stamp: u32) -> u64 {
        let remaining = stamp.wrapping_sub(self.stamp()) as i32;
        self.now_ms.saturating_add_signed(remaining.into())
    }
}

/// Half of what a signed comparison of stamps can tell apart.
pub(crate) const STAMP_SPAN_MAX: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_stay_comparable_when_they_wrap() {
        let mut clock = Clock::new();
        clock.now_ms = (1 << 32) - 5;
        let before = clock.stamp();
        let timer = clock.stamp_in(Duration::from_millis(20));
        clock.now_ms += 10;
        assert_eq!(clock.stamp(), 5);
        assert_eq!(clock.after(before, Duration::from_millis(100)), (1 << 32) - 5 + 101);
        assert_eq!(clock.reached(timer), (1 << 32) - 5 + 21);
        clock.now_ms += 1000;
        assert_eq!(clock.reached(timer), (1 << 32) - 5 + 21);
    }
}
