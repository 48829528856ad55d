//! What must hold of an overload: a beginning takes several turns and lasts for a span at least, few
//! newcomers are let in meanwhile, and those who wait are not forgotten.

use std::collections::VecDeque;

use edgeloop::{CloseReason, Config, Stats};

use crate::clock::MS;

#[derive(Debug, Default)]
pub(crate) struct Load {
    span_ns: u64,
    pause_ns: u64,
    newcomers: usize,
    /// With two, one may be nearly there when the other ends.
    has_one_cause: bool,
    pub(crate) is_overloaded: bool,
    /// When that changed last, and how many turns there were since.
    changed_ns: Option<u64>,
    turns: u64,
    /// Connections that stayed.
    accepted: u64,
    /// When newcomers were let in during this overload, as far as it matters.
    let_in_ns: VecDeque<u64>,
    /// The last one of any overload.
    last_ns: Option<u64>,
}

/// As the reactor has it: so many turns in which there was too much.
const TURNS_LEAST: u64 = 4;

/// Who ends as soon as it was accepted is no newcomer.
const TURNED_AWAY: [CloseReason; 4] = [
    CloseReason::Refused,
    CloseReason::SetupFailed,
    CloseReason::AddressLimit,
    CloseReason::AddressRate,
];

impl Load {
    pub(crate) fn new(config: &Config) -> Load {
        Load {
            span_ns: config.overload_span.as_nanos() as u64,
            pause_ns: config.overload_pause.as_nanos() as u64,
            newcomers: config.overload_newcomers,
            has_one_cause: config.overload_turn.is_none() || config.overload_memory.is_none(),
            ..Load::default()
        }
    }

    /// A turn is over, which began at that time.
    pub(crate) fn turned(
        &mut self,
        now_ns: u64,
        is_overloaded: bool,
        stats: &Stats,
    ) -> Option<String> {
        self.turns += 1;
        let stayed =
            stats.accepted - TURNED_AWAY.map(|reason| stats.closed(reason)).iter().sum::<u64>();
        let accepted = stayed - self.accepted;
        self.accepted = stayed;
        let changed = (is_overloaded != self.is_overloaded).then(|| self.change(now_ns));
        if !is_overloaded {
            self.let_in_ns.clear();
            return changed.flatten();
        }
        for _ in 0..accepted {
            self.let_in_ns.push_back(now_ns);
            self.last_ns = Some(now_ns);
        }
        // The reactor counts whole milliseconds.
        let window_ns = self.pause_ns.saturating_sub(MS);
        while self.let_in_ns.front().is_some_and(|at_ns| at_ns + window_ns <= now_ns) {
            self.let_in_ns.pop_front();
        }
        // Of two pauses that meet in the window each may have as many.
        let let_in = self.let_in_ns.len();
        let is_crowd = let_in > 2 * self.newcomers;
        let crowd =
            is_crowd.then(|| format!("{let_in} newcomers are let in at once in an overload"));
        changed.flatten().or(crowd)
    }

    fn change(&mut self, now_ns: u64) -> Option<String> {
        let lasted_ns = now_ns.saturating_sub(self.changed_ns.unwrap_or(0));
        let turns = std::mem::take(&mut self.turns);
        self.changed_ns = Some(now_ns);
        self.is_overloaded = !self.is_overloaded;
        let is_early = lasted_ns + MS < self.span_ns && (!self.is_overloaded || self.has_one_cause);
        let is_sudden = self.is_overloaded && self.has_one_cause && turns < TURNS_LEAST;
        let what = if self.is_overloaded { "begins" } else { "ends" };
        (is_early || is_sudden)
            .then(|| format!("an overload {what} after {turns} turns, {} us", lasted_ns / 1000))
    }

    /// Whether those in a backlog may wait until then.
    pub(crate) fn may_wait(&self, now_ns: u64, wakes_ns: Option<u64>) -> bool {
        let opens_ns =
            self.last_ns.filter(|_| self.is_overloaded).map(|at_ns| at_ns + self.pause_ns);
        opens_ns.zip(wakes_ns).is_some_and(|(opens, wakes)| now_ns < opens && wakes <= opens + MS)
    }
}
