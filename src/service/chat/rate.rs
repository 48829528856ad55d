//! How much one client may say in a time.

use std::time::Duration;

/// A token bucket: one token for each message, and so many a second come back. A second's worth is
/// saved, but never less than a page needs that comes back to its rooms. Who has no token waits for
/// one, and loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Thousandths of a token.
    tokens: i32,
    /// When they were counted, in milliseconds of the service's clock.
    counted_ms: u32,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u32, now_ms: u32) -> Self {
        Bucket { tokens: most(rate), counted_ms: now_ms }
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

    /// Whether at least half of what can be saved was there when a token was taken last.
    pub(super) fn is_calm(&self, rate: u32) -> bool {
        self.tokens >= most(rate) / 2
    }

    /// Gives the token for a message back that could not be used.
    pub(super) fn give_back(&mut self) {
        self.tokens = self.tokens.saturating_add(TOKEN);
    }

    /// Counts a time, up to now, in which we kept the client from being heard: what it said
    /// meanwhile comes at once, however much that is.
    pub(super) fn credit(&mut self, rate: u32, now_ms: u32, lost_ms: u32) {
        let lost_ms = lost_ms.min(now_ms.wrapping_sub(self.counted_ms));
        self.earn(rate, now_ms.wrapping_sub(lost_ms));
        let earned = i64::from(lost_ms) * i64::from(rate);
        self.tokens = (i64::from(self.tokens) + earned).min(i32::MAX.into()) as i32;
        self.counted_ms = now_ms;
    }

    /// As [`credit`](Self::credit), for a time that may have ended before now.
    pub(super) fn credit_span(&mut self, rate: u32, from_ms: u32, until_ms: u32) {
        let age_ms = until_ms.wrapping_sub(self.counted_ms) as i32;
        if age_ms > 0 {
            self.credit(rate, until_ms, until_ms.wrapping_sub(from_ms));
        }
    }

    fn earn(&mut self, rate: u32, now_ms: u32) {
        let passed_ms = now_ms.wrapping_sub(std::mem::replace(&mut self.counted_ms, now_ms));
        let earned = i64::from(passed_ms) * i64::from(rate);
        let saved = (i64::from(self.tokens) + earned).min(most(rate).into()) as i32;
        // What was credited is not taken away.
        self.tokens = self.tokens.max(saved);
    }
}

fn most(rate: u32) -> i32 {
    rate.clamp(BURST_LEAST, RATE_MAX) as i32 * TOKEN
}

const TOKEN: i32 = 1000;

/// A name, eight rooms, the list of rooms, and a few more tries for the name.
const BURST_LEAST: u32 = 16;

/// The highest rate: a second's worth must fit a number, twice.
pub(super) const RATE_MAX: u32 = 1_000_000;

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
        bucket.credit(10, 7000, 6000);
        assert_eq!((0..100).filter(|_| bucket.take(10, 7000).is_ok()).count(), 70);
        bucket.credit(10, 7000, 6000);
        assert!(bucket.take(10, 7000).is_err(), "no time is counted twice");
        bucket.credit(RATE_MAX, u32::MAX, u32::MAX);
        bucket.give_back();
        assert_eq!(bucket.take(RATE_MAX, u32::MAX), Ok(()));
    }
}
