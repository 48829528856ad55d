//! More to do than can be done: the loop looks once a turn, and says so in the log. The rules stand in
//! `structures/overload_watch.rs`.

use super::loop_state::LoopState;
use crate::structures::overload_watch::{Change, Moment, Overload, OverloadCause};

impl LoopState {
    pub(super) fn overload(&self) -> Option<Overload> {
        let (cause, since_ms) = self.overload.overload()?;
        Some(Overload { cause, since: self.clock.instant(since_ms) })
    }

    /// Once a turn: logs one line when an overload begins, and one when it ends.
    pub(super) fn look_for_overload(&mut self) {
        let [prompt, others] = self.lists.ready.lens();
        let moment = Moment {
            now_ms: self.clock.now_ms(),
            rest: self.overload.rest,
            listed: [prompt, others, self.lists.dirty.len()],
            leased: self.leased(),
        };
        match self.overload.look(&moment) {
            None => {}
            Some(Change::Began(cause)) => self.tell_of_overload(cause),
            Some(Change::Ended { cause, lasted_ms }) => self.tell_of_its_end(cause, lasted_ms),
        }
    }

    fn tell_of_overload(&mut self, cause: OverloadCause) {
        self.stats.overloads += 1;
        self.overload.before = (self.stats.shed, self.stats.overload_rests);
        let what = match cause {
            OverloadCause::Turns => "clients wait long for their turn",
            OverloadCause::Memory => "much of the memory is used",
        };
        let (turn_ms, memory_percent) =
            (self.overload.round_ms, self.overload.percent(self.leased()));
        log::warn!(
            event = "overloaded", cause = cause.name(), turn_ms, memory_percent;
            "overloaded: {what}; new connections are let in slowly, and what can wait is refused"
        );
    }

    fn tell_of_its_end(&mut self, cause: OverloadCause, lasted_ms: u64) {
        let (shed, rests) = self.overload.before;
        let (shed, rests) = (self.stats.shed - shed, self.stats.overload_rests - rests);
        let seconds = lasted_ms as f64 / 1e3;
        log::warn!(
            event = "overload_over", cause = cause.name(), lasted_ms, shed, rests;
            "no longer overloaded, after {seconds:.1} s"
        );
    }
}
