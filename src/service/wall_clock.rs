//! Points in time by the system's clock, which may be set while the server runs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's clock at turn time. It is read once a second; in between its time goes on with
/// that of turns.
#[derive(Debug)]
pub(super) struct WallClock {
    read_at: Instant,
    read_ms: u64,
}

/// A clock that was set is noticed after as long.
const AGE_MAX: Duration = Duration::from_secs(1);

impl WallClock {
    pub(super) fn new(now: Instant) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallClock { read_at: now, read_ms: since_1970.as_millis() as u64 }
    }

    /// Milliseconds since 1970 at a turn's time, by a clock that was read at most a second before.
    pub(super) fn at(&mut self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.read_at);
        if age >= AGE_MAX {
            *self = WallClock::new(now);
            return self.read_ms;
        }
        self.read_ms + age.as_millis() as u64
    }
}
