//! How much one client may say in a time, and what of that time is not its own.

use std::time::Duration;

/// A token bucket: one token for each message, and so many a second come back. A second's worth is
/// saved, but never less than a few lines. A client without a token waits for one, and loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Thousandths of a token; their complement, which is negative, while the client waits for others. A
    /// chat keeps this for each member, and has no byte to spare.
    tokens: i32,
    /// When they were counted, in milliseconds of the service's clock.
    counted_ms: u32,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u32, now_ms: u32) -> Self {
        Bucket { tokens: most(rate), counted_ms: now_ms }
    }

    /// Counts the time until now. Of a client that waited for others, they had it since it was heard
    /// last; of all, a standstill had its part.
    pub(super) fn count(&mut self, rate: u32, still: &Standstill, now_ms: u32) {
        if self.waits_for_others() {
            self.tokens = !self.tokens;
            self.credit_held(rate, now_ms);
        } else {
            self.credit_standstill(rate, still.from_ms, still.until_ms);
            self.earn(rate, now_ms);
        }
    }

    /// Takes a token for a message.
    ///
    /// # Errors
    /// How long there will be none.
    pub(super) fn take(&mut self, rate: u32, now_ms: u32) -> Result<(), Duration> {
        self.earn(rate, now_ms);
        let lacking = TOKEN - self.tokens;
        if lacking > 0 {
            return Err(Duration::from_millis(u64::from(lacking as u32).div_ceil(rate.into())));
        }
        self.tokens -= TOKEN;
        Ok(())
    }

    /// Whether at least half of what can be saved was there when the tokens were counted last.
    #[cfg(feature = "websocket")]
    pub(super) fn is_calm(&self, rate: u32) -> bool {
        self.tokens >= most(rate) / 2
    }

    /// Gives the token for a message back that could not be taken now, for others' sake. From here to
    /// the next [`count`](Self::count), the client waits for them.
    pub(super) fn give_back(&mut self) {
        debug_assert!(!self.waits_for_others());
        self.tokens = !self.tokens.saturating_add(TOKEN);
    }

    /// Whether the client waits for others, and not for its rate.
    pub(super) fn waits_for_others(&self) -> bool {
        self.tokens < 0
    }

    /// Counts the time until now, in which others kept the client from being heard, such as a full room.
    /// What it said meanwhile comes at once, but not more than [`HELD_BURSTS`] allows: a room can be
    /// kept full for long, by the client itself, too.
    fn credit_held(&mut self, rate: u32, now_ms: u32) {
        self.gain(rate, now_ms, HELD_BURSTS * i64::from(most(rate)));
    }

    /// Counts a time in which we stood still and heard nobody: what was said meanwhile comes at
    /// once, and beside it no more than after any other rest.
    fn credit_standstill(&mut self, rate: u32, from_ms: u32, until_ms: u32) {
        let unknown_ms = until_ms.wrapping_sub(self.counted_ms);
        if unknown_ms as i32 <= 0 {
            return;
        }
        let lost_ms = unknown_ms.min(until_ms.wrapping_sub(from_ms));
        self.earn(rate, until_ms.wrapping_sub(lost_ms));
        let lost = i64::from(lost_ms) * i64::from(rate);
        self.gain(rate, until_ms, i64::from(most(rate)) + lost);
    }

    /// Counts the time until now.
    fn earn(&mut self, rate: u32, now_ms: u32) {
        self.gain(rate, now_ms, most(rate).into());
    }

    /// Adds what the time until now is worth, up to `limit`. What is there already stays.
    fn gain(&mut self, rate: u32, now_ms: u32, limit: i64) {
        let passed_ms = now_ms.wrapping_sub(std::mem::replace(&mut self.counted_ms, now_ms));
        let gained = i64::from(passed_ms) * i64::from(rate);
        let tokens = (i64::from(self.tokens) + gained).min(limit).min(i32::MAX.into()) as i32;
        self.tokens = self.tokens.max(tokens);
    }
}

/// A token bucket that is nothing but the time at which it is full again: for tables of many addresses.
/// Times are in units of the caller's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refill {
    /// In which a token comes back.
    pub(super) interval: u64,
    /// How far the takers may run ahead of that: a burst, less one.
    pub(super) ahead: u64,
}

impl Refill {
    /// Takes a token of the bucket that is full at that time.
    ///
    /// # Errors
    /// How long there will be none.
    pub(super) fn take(self, full_at: &mut u64, now: u64) -> Result<(), u64> {
        let wait = full_at.saturating_sub(now.saturating_add(self.ahead));
        if wait > 0 {
            return Err(wait);
        }
        *full_at = (*full_at).max(now) + self.interval;
        Ok(())
    }
}

/// The last time in which nobody was served, because the server stood still or had too much to do.
/// While somebody speaks an alarm is due soon, and how late that comes tells of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    due_ms: Option<u32>,
    from_ms: u32,
    until_ms: u32,
}

impl Standstill {
    /// Somebody speaks. Says in what time there must be an alarm.
    pub(super) fn watch(&mut self, now_ms: u32) -> Duration {
        let due_ms = *self.due_ms.get_or_insert(now_ms.wrapping_add(WATCH_MS));
        left(due_ms, now_ms)
    }

    /// An alarm came. Says in what time there must be another, if this one came for something else.
    pub(super) fn wake(&mut self, now_ms: u32) -> Option<Duration> {
        let left = left(self.due_ms?, now_ms);
        if !left.is_zero() {
            return Some(left);
        }
        self.from_ms = self.due_ms.take()?;
        self.until_ms = now_ms;
        None
    }
}

fn left(due_ms: u32, now_ms: u32) -> Duration {
    Duration::from_millis(u64::from((due_ms.wrapping_sub(now_ms) as i32).max(0) as u32))
}

fn most(rate: u32) -> i32 {
    rate.clamp(BURST_LEAST, RATE_MAX) as i32 * TOKEN
}

const TOKEN: i32 = 1000;

/// While somebody speaks, what lasts longer than so is taken for a standstill.
const WATCH_MS: u32 = 250;

/// Lines that somebody pastes; what a page of the chat sends that comes back to eight rooms, with a few
/// more tries for its name.
const BURST_LEAST: u32 = 16;

/// How many times the usual savings may come together while others keep a client waiting:
/// some seconds of ordinary talk.
const HELD_BURSTS: i64 = 4;

/// The most messages a second that a client can be limited to: a second's worth must fit a number, twice.
pub const RATE_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: fn(u64) -> Result<(), Duration> = |ms| Err(Duration::from_millis(ms));

    #[test]
    fn second_of_messages_passes_at_once_and_then_one_for_each_token() {
        for (rate, burst, each_ms) in [(20, 20, 50), (3, 16, 334)] {
            let mut bucket = Bucket::new(rate, 0);
            assert!((0..burst).all(|_| bucket.take(rate, 0).is_ok()), "{rate} a second");
            assert_eq!(bucket.take(rate, 0), WAIT(each_ms));
            assert_eq!(bucket.take(rate, 0), WAIT(each_ms), "to ask costs nothing");
            assert!(bucket.take(rate, each_ms as u32 - 1).is_err());
            assert_eq!(bucket.take(rate, each_ms as u32), Ok(()));
            assert!(bucket.take(rate, each_ms as u32).is_err());
        }
    }

    #[test]
    fn steady_rate_passes_for_ever_and_tokens_are_not_saved_beyond_a_second() {
        let mut bucket = Bucket::new(20, u32::MAX - 5000);
        for step in 0..1000_u32 {
            let now_ms = (u32::MAX - 5000).wrapping_add(step * 50);
            assert_eq!(bucket.take(20, now_ms), Ok(()), "{step}");
        }
        let mut bucket = Bucket::new(20, 0);
        assert_eq!((0..50).filter(|_| bucket.take(20, 60_000).is_ok()).count(), 20);
    }

    #[test]
    fn time_in_which_nobody_was_heard_counts_in_full() {
        let mut bucket = Bucket::new(10, 0);
        (0..16).for_each(|_| bucket.take(10, 0).unwrap());
        // A second passed in silence, then six in which we stood still.
        bucket.credit_standstill(10, 1000, 7000);
        assert_eq!((0..100).filter(|_| bucket.take(10, 7000).is_ok()).count(), 70);
        bucket.credit_standstill(10, 1000, 7000);
        assert!(bucket.take(10, 7000).is_err(), "no time is counted twice");
        bucket.credit_standstill(RATE_MAX, 7000, i32::MAX as u32);
        bucket.give_back();
        assert!(bucket.waits_for_others());
        bucket.count(RATE_MAX, &Standstill::default(), i32::MAX as u32);
        assert_eq!(bucket.take(RATE_MAX, i32::MAX as u32), Ok(()));
    }

    #[test]
    fn alarm_that_comes_late_tells_of_a_standstill_and_one_for_something_else_does_not() {
        let start = u32::MAX - 1000;
        let at = |ms: u32| start.wrapping_add(ms);
        let mut still = Standstill::default();
        assert_eq!(still.wake(at(0)), None, "nobody speaks");
        assert_eq!(still.watch(at(0)), Duration::from_millis(250));
        assert_eq!(still.watch(at(100)), Duration::from_millis(150));
        assert_eq!(still.wake(at(200)), Some(Duration::from_millis(50)));
        assert_eq!(still.wake(at(6250)), None);
        assert_eq!((still.from_ms, still.until_ms), (at(250), at(6250)));
        let mut bucket = Bucket::new(10, at(0));
        (0..16).for_each(|_| bucket.take(10, at(0)).unwrap());
        bucket.count(10, &still, at(6250));
        assert_eq!((0..100).filter(|_| bucket.take(10, at(6250)).is_ok()).count(), 62);
        assert_eq!(still.wake(at(9000)), None);
        assert_eq!(still.until_ms, at(6250));
    }

    #[test]
    fn credit_is_not_hoarded() {
        let count = |bucket: &mut Bucket, now_ms| {
            (0..10_000).filter(|_| bucket.take(20, now_ms).is_ok()).count()
        };
        // A room was full for an hour.
        let mut bucket = Bucket::new(20, 0);
        bucket.credit_held(20, 3_600_000);
        assert_eq!(count(&mut bucket, 3_600_000), 80);
        // We stood still for a second, again and again, and the client said nothing.
        let mut bucket = Bucket::new(20, 0);
        (0..100)
            .for_each(|second| bucket.credit_standstill(20, second * 1000, second * 1000 + 1000));
        assert_eq!(count(&mut bucket, 100_000), 40);
    }
}
