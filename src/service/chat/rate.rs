//! How much one client may say in a time.

/// A token bucket: one token for each message, and so many a second come back. A second's worth is
/// saved, but never less than a page needs that comes back to its rooms. Those who go on without
/// tokens run into debt, and are closed once they owe as much as can be saved.
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

    #[test]
    fn second_of_messages_passes_then_a_warning_then_the_end() {
        use Verdict::{Excessive, Passes, Refused, Warned};
        for (rate, burst) in [(20, 20), (3, 16)] {
            let mut bucket = Bucket::new(rate, 0);
            let verdicts: Vec<Verdict> = (0..=2 * burst).map(|_| bucket.take(rate, 0)).collect();
            let of = |verdict, count| vec![verdict; count];
            let expected = [of(Passes, burst), of(Warned, 1), of(Refused, burst - 1)].concat();
            assert_eq!(verdicts, [expected, of(Excessive, 1)].concat(), "{rate} a second");
        }
    }

    #[test]
    fn steady_rate_passes_for_ever_and_tokens_are_not_saved_beyond_a_second() {
        let mut bucket = Bucket::new(20, u32::MAX - 5000);
        for step in 0..1000_u32 {
            let now_ms = (u32::MAX - 5000).wrapping_add(step * 50);
            assert_eq!(bucket.take(20, now_ms), Verdict::Passes, "{step}");
        }
        let mut bucket = Bucket::new(20, 0);
        let passed = (0..50).filter(|_| bucket.take(20, 60_000) == Verdict::Passes).count();
        assert_eq!(passed, 20);
    }

    #[test]
    fn whoever_stops_may_speak_again() {
        let mut bucket = Bucket::new(2, 0);
        (0..18).for_each(|_| {
            bucket.take(2, 0);
        });
        assert_eq!(bucket.take(2, 1000), Verdict::Refused);
        assert_eq!(bucket.take(2, 3000), Verdict::Passes);
    }
}
