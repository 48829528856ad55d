//! How much one client may say in a time.

/// A token bucket: one token for each message, so many a second come back, and a second's worth is
/// saved. Those who go on without tokens run into debt, and at a second's worth of debt are closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Thousandths of a token.
    tokens: i32,
    /// When they were counted, in milliseconds of the service's clock.
    counted_ms: u32,
    is_warned: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    /// It is refused, and the client told so.
    Warned,
    /// It is refused, as the client has been told already.
    Refused,
    /// The client goes on and on.
    Excessive,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u32, now_ms: u32) -> Self {
        Bucket { tokens: most(rate), counted_ms: now_ms, is_warned: false }
    }

    /// Takes a token for a message.
    pub(super) fn take(&mut self, rate: u32, now_ms: u32) -> Verdict {
        let passed_ms = now_ms.wrapping_sub(std::mem::replace(&mut self.counted_ms, now_ms));
        let earned = i64::from(passed_ms) * i64::from(rate);
        let tokens = (i64::from(self.tokens) + earned).min(i64::from(most(rate)));
        self.tokens = tokens as i32 - TOKEN;
        if self.tokens >= 0 {
            self.is_warned = false;
            Verdict::Passes
        } else if self.tokens < -most(rate) {
            Verdict::Excessive
        } else if std::mem::replace(&mut self.is_warned, true) {
            Verdict::Refused
        } else {
            Verdict::Warned
        }
    }
}

fn most(rate: u32) -> i32 {
    rate.min(RATE_MAX) as i32 * TOKEN
}

const TOKEN: i32 = 1000;

/// The highest rate: a second's worth must fit a number, twice.
pub(super) const RATE_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_of_messages_passes_then_a_warning_then_the_end() {
        let mut bucket = Bucket::new(3, 0);
        let verdicts: Vec<Verdict> = (0..7).map(|_| bucket.take(3, 0)).collect();
        use Verdict::{Excessive, Passes, Refused, Warned};
        assert_eq!(verdicts, [Passes, Passes, Passes, Warned, Refused, Refused, Excessive]);
    }

    #[test]
    fn steady_rate_passes_for_ever_and_tokens_are_not_saved_beyond_a_second() {
        let mut bucket = Bucket::new(10, u32::MAX - 5000);
        for step in 0..1000_u32 {
            let now_ms = (u32::MAX - 5000).wrapping_add(step * 100);
            assert_eq!(bucket.take(10, now_ms), Verdict::Passes, "{step}");
        }
        let mut bucket = Bucket::new(10, 0);
        let passed = (0..30).filter(|_| bucket.take(10, 60_000) == Verdict::Passes).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn whoever_stops_may_speak_again() {
        let mut bucket = Bucket::new(2, 0);
        (0..4).for_each(|_| {
            bucket.take(2, 0);
        });
        assert_eq!(bucket.take(2, 1000), Verdict::Refused);
        assert_eq!(bucket.take(2, 3000), Verdict::Passes);
    }
}
