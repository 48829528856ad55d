//! A warning that is written once a second, however often its cause comes back.

use std::time::{Duration, Instant};

/// Lets a warning through once a second, and counts those that it suppresses.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    next: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// Asks for one warning. `Some` lets the warning through, with the number of warnings that were
    /// suppressed since the last one; `None` suppresses it.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.suppressed += 1;
            return None;
        }
        self.next = Some(now + Duration::from_secs(1));
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_second_passes_and_tells_how_many_did_not() {
        let (mut limit, begin) = (RateLimit::default(), Instant::now());
        let at = |ms: u64| begin + Duration::from_millis(ms);
        assert_eq!(limit.pass(at(0)), Some(0));
        assert_eq!(limit.pass(at(1)), None);
        assert_eq!(limit.pass(at(999)), None);
        assert_eq!(limit.pass(at(1000)), Some(2));
        assert_eq!(limit.pass(at(9000)), Some(0));
    }
}
