//! When a connection has waited too long. One entry in the wheel serves all deadlines of a connection.
//!
//! Traffic never touches the wheel: a byte that moves stores a stamp in the connection. When the entry
//! fires, the deadline is computed from the stamps, and the connection is either dealt with or put back
//! into the wheel.

use super::connection::{Connection, Habits, Hold, State};
use super::loop_state::LoopState;
use crate::structures::token::Token;

/// Which of a connection's deadlines comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    /// An outgoing connection is not established.
    Connect,
    /// A connection is not open.
    Greeting,
    /// Output waits, and the peer takes no byte.
    Write,
    /// The peer's end does not come.
    Linger,
    /// No byte moves.
    Idle,
    /// No byte moves, and the server shuts down.
    Quiet,
    /// The handler's own timer.
    Handler,
}

impl Deadline {
    /// How many kinds there are.
    pub(super) const KINDS: usize = Deadline::Handler as usize + 1;
}

impl LoopState {
    /// The first of the connection's deadlines, if it is due.
    pub(super) fn due(&self, token: Token) -> Option<Deadline> {
        let (due_ms, deadline) = self.deadline(self.find(token)?)?;
        (due_ms <= self.clock.now_ms()).then_some(deadline)
    }

    /// The connection's next deadline, in milliseconds of the clock, and what it means.
    pub(super) fn deadline(&self, connection: &Connection) -> Option<(u64, Deadline)> {
        let (config, clock) = (&self.config, &self.clock);
        // A connection on a list still has work of ours waiting: no deadline of activity fires before
        // that list is worked off.
        let is_listed = connection.on_ready_list || connection.on_dirty_list;
        let not_before = if is_listed { clock.now_ms() + 1 } else { 0 };
        let active = |span| clock.after(connection.active_ms, span).max(not_before);
        // A connection on the dirty list has an event "writable" that was not acted on yet: deadlines of
        // writing and connecting wait for that as well.
        let not_before = if connection.on_dirty_list { clock.now_ms() + 1 } else { 0 };
        let waiting = |span| clock.after(connection.waiting_since_ms, span).max(not_before);
        match connection.state {
            State::Connecting => Some((waiting(config.connect_timeout), Deadline::Connect)),
            State::Greeting => {
                // Whoever always has something to say that leads to nothing has this time and no more.
                let whole = clock.after(connection.waiting_since_ms, config.greeting_timeout);
                let quiet = self.is_draining.then(|| active(self.drain_quiet()));
                Some((quiet.map_or(whole, |quiet| quiet.min(whole)), Deadline::Greeting))
            }
            State::Lingering => {
                let linger = waiting(config.linger_span(connection.reason));
                // Our last words are out. A shutdown waits for a silent peer only for the quiet period.
                let quiet = self.is_draining.then(|| self.drain_quiet());
                let quiet = quiet.map(|span| waiting(span).max(active(span)));
                let linger = quiet.map_or(linger, |quiet| linger.min(quiet));
                Some((linger, Deadline::Linger))
            }
            State::Severed => {
                // What is left to read may wait for a handler that paused, and goes on with its timer.
                let timer = connection.timer_ms.map(|stamp| clock.reached(stamp.get()));
                let linger = (active(config.linger_timeout), Deadline::Linger);
                Some(timer.map_or(linger, |at| linger.min((at, Deadline::Handler))))
            }
            State::Closed => None,
            State::Closing => {
                // A close has a deadline even where writes have none.
                let span = config.write_timeout.unwrap_or(config.linger_timeout);
                connection.stalled.then(|| (waiting(span), Deadline::Write))
            }
            State::Open => {
                let write = config.write_timeout.filter(|_| connection.stalled);
                let quiet = (self.is_draining && !connection.stalled).then_some(self.drain_quiet());
                let timer = connection.timer_ms.map(|stamp| clock.reached(stamp.get()));
                // A connection that this server holds is neither idle nor quiet. Its time begins anew when
                // that hold is lifted.
                let waits_for_us = connection.hold.has(Hold::OURS);
                let may_be_silent = waits_for_us || connection.habits.has(Habits::SILENT);
                let idle = config.idle_timeout.filter(|_| !may_be_silent);
                let quiet = quiet.filter(|_| !waits_for_us);
                let all = [
                    write.map(|span| (waiting(span), Deadline::Write)),
                    idle.map(|span| (active(span), Deadline::Idle)),
                    quiet.map(|span| (active(span), Deadline::Quiet)),
                    timer.map(|at| (at, Deadline::Handler)),
                ];
                all.into_iter().flatten().min()
            }
        }
    }

    /// Makes sure that the wheel comes round no later than this connection's next deadline. An entry
    /// that fires too early does no harm: the deadline is computed again.
    pub(super) fn arm(&mut self, token: Token) {
        let Some((due, _)) = self.find(token).and_then(|connection| self.deadline(connection))
        else {
            return;
        };
        self.wheel.bring_forward(token.slot, due);
    }
}
