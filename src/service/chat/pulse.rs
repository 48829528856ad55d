//! Whether a client is alive, and whether it is too lively.

use std::time::Duration;

/// Whether a WebSocket peer is alive.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When something came last, or was asked for, in milliseconds of the service's clock.
    since_ms: u32,
    /// Pings since then without any answer.
    asked: u8,
    pub(super) is_draining: bool,
}

/// What is to be done about a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing, for so long.
    Wait(Duration),
    /// The peer is pinged, and looked at again after as long as it may be silent.
    Ping,
    /// The peer has missed two pings.
    Lost,
}

impl Pulse {
    pub(super) fn new(now_ms: u32) -> Self {
        Pulse { since_ms: now_ms, asked: 0, is_draining: false }
    }

    /// Something has come, or could not be read.
    pub(super) fn hear(&mut self, now_ms: u32) {
        (self.since_ms, self.asked) = (now_ms, 0);
    }

    /// Looks at a peer that may be silent for `span`.
    pub(super) fn beat(&mut self, now_ms: u32, span: Duration) -> Beat {
        let silent = Duration::from_millis(now_ms.wrapping_sub(self.since_ms).into());
        if let Some(rest) = span.checked_sub(silent).filter(|rest| !rest.is_zero()) {
            return Beat::Wait(rest);
        }
        if self.asked == PINGS_MAX {
            return Beat::Lost;
        }
        // From now on: a server that stood still has not given it the time to answer.
        (self.since_ms, self.asked) = (now_ms, self.asked + 1);
        Beat::Ping
    }
}

/// Pings that a peer may leave without an answer.
const PINGS_MAX: u8 = 2;

/// Whether a client that is made to wait goes on as if it were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flood {
    #[default]
    None,
    /// Its input was full.
    Full,
    /// All of that was taken.
    Ebbed,
}

impl Flood {
    /// The client has to wait, with `waiting` bytes in its input, which is full with `much`. Returns whether
    /// that has happened before: then the input is no text that somebody pasted.
    pub(super) fn rises(&mut self, waiting: usize, much: usize) -> bool {
        if waiting < much {
            return false;
        }
        if *self == Flood::None {
            *self = Flood::Full;
        }
        *self == Flood::Ebbed
    }

    /// All that it has sent was taken, and it was calm, or not.
    pub(super) fn ebbs(&mut self, is_calm: bool) {
        *self = match self {
            _ if is_calm => Flood::None,
            Flood::None => Flood::None,
            Flood::Full | Flood::Ebbed => Flood::Ebbed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_peer_is_asked_twice_after_a_span_each_and_then_lost() {
        let span = Duration::from_secs(2);
        let mut pulse = Pulse::new(u32::MAX - 500);
        let mut at = |after_ms: u32| pulse.beat((u32::MAX - 500).wrapping_add(after_ms), span);
        assert_eq!(at(500), Beat::Wait(Duration::from_millis(1500)));
        assert_eq!(at(2000), Beat::Ping);
        assert_eq!(at(2000), Beat::Wait(span));
        assert_eq!(at(4100), Beat::Ping);
        assert_eq!(at(6000), Beat::Wait(Duration::from_millis(100)));
        assert_eq!(at(6100), Beat::Lost);
    }

    #[test]
    fn whoever_is_heard_is_asked_anew_and_a_standstill_of_ours_is_not_its_silence() {
        let span = Duration::from_secs(2);
        let mut pulse = Pulse::new(0);
        assert_eq!(pulse.beat(2000, span), Beat::Ping);
        assert_eq!(pulse.beat(600_000, span), Beat::Ping);
        assert_eq!(pulse.beat(600_001, span), Beat::Wait(Duration::from_millis(1999)));
        pulse.hear(601_000);
        assert_eq!(pulse.beat(603_000, span), Beat::Ping);
        assert_eq!(pulse.beat(605_000, span), Beat::Ping);
    }

    #[test]
    fn input_that_is_full_twice_is_a_flood() {
        let mut flood = Flood::default();
        for waiting in [99, 100, 100, 60, 99, 100] {
            assert!(!flood.rises(waiting, 100), "{waiting}");
        }
        flood.ebbs(false);
        assert!(!flood.rises(99, 100) && flood.rises(100, 100));
        flood.ebbs(true);
        assert!(!flood.rises(100, 100), "it has calmed down");
    }
}
