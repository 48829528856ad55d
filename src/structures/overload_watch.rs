//! Whether the server has more to do than can be done: rules that are told the time, and the answer.
//!
//! ```text
//!   level
//!   span |          .--------------.              entered where the level reaches the span,
//!        |        /                  \            left where it is back at 0: in between lies
//!      0 |-------'                    '---------  at least a span, whatever happens meanwhile
//!          long turns     short turns, or asleep
//! ```
//!
//! There is a level for the length of turns and a level for memory. A level rises by the time for which
//! there is too much, and falls by the time for which there is clearly less. So an overload begins and
//! ends at most once in a span.

use std::fmt;
use std::time::{Duration, Instant};

/// A reactor has had more to do than it can for [`Config::overload_span`](crate::Config::overload_span).
/// Clients that are connected are served as before. New connections are let in slowly. A handler refuses
/// what can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// What there is too much of.
    pub cause: OverloadCause,
    /// When the reactor noticed.
    pub since: Instant,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverloadCause {
    /// Connections that are ready wait longer for their visit than [`Config::overload_turn`](crate::Config::overload_turn).
    Turns,
    /// Buffers, or what the handler [reports](crate::Context::report_memory), take more of their limit
    /// than [`Config::overload_memory`](crate::Config::overload_memory).
    Memory,
}

impl OverloadCause {
    /// The stable name, for logs and counters: `turns` or `memory`.
    pub fn name(self) -> &'static str {
        match self {
            OverloadCause::Turns => "turns",
            OverloadCause::Memory => "memory",
        }
    }
}

impl fmt::Display for OverloadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is too much. Each field means what the field of that name in [`Config`](crate::Config) means.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) turn: Option<Duration>,
    pub(crate) memory_percent: Option<u8>,
    pub(crate) buffer_memory: usize,
    pub(crate) span: Duration,
}

/// The rules. All times are milliseconds of the reactor's clock.
#[derive(Debug)]
pub(crate) struct Watch {
    turn_max_ms: Option<u64>,
    memory_percent: Option<usize>,
    buffers: Bounds,
    buffer_memory: usize,
    span_ms: u64,
    /// What the poll did before the turn that is looked at next.
    pub(crate) rest: Rest,
    /// The turn that was looked at last.
    seen_ms: u64,
    was_long: bool,
    round: Round,
    /// How long the last round took.
    pub(crate) round_ms: u64,
    turns: Level,
    memory: Level,
    /// What the handler has reported last: bytes used, and their limit; and how to read that.
    reported: (usize, usize),
    reported_reading: Reading,
    /// From when on an overload that buffers keep up is ended by closing the connections with the largest.
    relief_ms: Option<u64>,
    overload: Option<(OverloadCause, u64)>,
    /// What had been shed and how often listeners had rested, when it began.
    pub(crate) before: (u64, u64),
}

/// Whether the time between two turns was work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The poll did not wait.
    None,
    /// The poll began to wait at this time.
    Since(u64),
    /// The poll waited, and the clock was not asked when the wait began.
    Unknown,
}

/// What is to be known of a turn, at its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now_ms: u64,
    pub(crate) rest: Rest,
    /// Connections in the two lanes of the ready list, and on the dirty list.
    pub(crate) listed: [usize; 3],
    /// Bytes of buffers.
    pub(crate) leased: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Began(OverloadCause),
    Ended { cause: OverloadCause, lasted_ms: u64 },
}

/// A round takes as many turns as it takes to visit every connection that was listed when the round
/// began. So its length is the longest time for which a connection has waited.
#[derive(Debug, Default)]
struct Round {
    worked_ms: u64,
    left: [usize; 3],
}

/// How long there has been too much, less how long there was not.
#[derive(Debug, Default)]
struct Level {
    held_ms: u64,
    is_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    High,
    Between,
    Low,
}

/// From where on a reading is high, and below where it is low: a quarter less, so that a value about the
/// bound changes nothing.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    high: u64,
    low: u64,
}

/// The lists, in the order in which they are counted.
const PROMPT: usize = 0;
const OTHERS: usize = 1;
const DIRTY: usize = 2;

/// One reading counts for one such part of the span at most: a single long turn, as in a process that was
/// stopped, is no overload. While the level of memory moves, memory is looked at as often.
const PARTS: u64 = 4;

impl Bounds {
    fn of(bound: u64) -> Bounds {
        Bounds { high: bound, low: bound - bound / 4 }
    }

    /// For so many per cent of a limit.
    fn of_share(limit: usize, percent: usize) -> Bounds {
        Bounds::of((limit as u128 * percent as u128).div_ceil(100) as u64)
    }

    fn read(self, value: u64) -> Reading {
        match value {
            _ if value >= self.high => Reading::High,
            _ if value < self.low => Reading::Low,
            _ => Reading::Between,
        }
    }
}

impl Level {
    fn note(&mut self, reading: Reading, lasted_ms: u64, span_ms: u64) {
        match reading {
            Reading::High => {
                let part = lasted_ms.min((span_ms / PARTS).max(1));
                self.held_ms = (self.held_ms + part).min(span_ms);
                self.is_up |= self.held_ms == span_ms;
            }
            Reading::Between => {}
            Reading::Low => {
                self.held_ms = self.held_ms.saturating_sub(lasted_ms);
                self.is_up &= self.held_ms > 0;
            }
        }
    }

    /// Whether time alone, with such a reading, brings it to its other state.
    fn moves(&self, reading: Reading) -> bool {
        match reading {
            Reading::High => !self.is_up,
            Reading::Between => false,
            Reading::Low => self.is_up,
        }
    }
}

impl Round {
    /// So many connections were taken off one of the lists.
    fn visited(&mut self, list: usize, count: usize) {
        self.left[list] = self.left[list].saturating_sub(count);
    }

    fn is_over(&self, listed: [usize; 3]) -> bool {
        self.left.iter().zip(listed).all(|(left, listed)| *left.min(&listed) == 0)
    }
}

impl Watch {
    pub(crate) fn new(limits: &Limits) -> Watch {
        let ms = |span: Duration| span.as_millis() as u64;
        Watch {
            turn_max_ms: limits.turn.map(ms),
            memory_percent: limits.memory_percent.map(usize::from),
            buffers: Bounds::of_share(
                limits.buffer_memory,
                limits.memory_percent.unwrap_or(100).into(),
            ),
            buffer_memory: limits.buffer_memory,
            span_ms: ms(limits.span).max(1),
            rest: Rest::Unknown,
            seen_ms: 0,
            was_long: false,
            round: Round::default(),
            round_ms: 0,
            turns: Level::default(),
            memory: Level::default(),
            reported: (0, 0),
            reported_reading: Reading::Low,
            relief_ms: None,
            overload: None,
            before: (0, 0),
        }
    }

    pub(crate) fn is_overloaded(&self) -> bool {
        self.overload.is_some()
    }

    /// Why, and since when.
    pub(crate) fn overload(&self) -> Option<(OverloadCause, u64)> {
        self.overload
    }

    pub(crate) fn report_memory(&mut self, used: usize, limit: usize) {
        self.reported = (used, limit);
        self.reported_reading = match self.memory_percent {
            Some(percent) if limit > 0 => Bounds::of_share(limit, percent).read(used as u64),
            _ => Reading::Low,
        };
    }

    /// So many of each lane of the ready list.
    pub(crate) fn visited_ready(&mut self, counts: [usize; 2]) {
        self.round.visited(PROMPT, counts[0]);
        self.round.visited(OTHERS, counts[1]);
    }

    pub(crate) fn visited_dirty(&mut self) {
        self.round.visited(DIRTY, 1);
    }

    /// Whether the clock is to be asked when the poll begins to wait: only if the last turn began long ago,
    /// and so at most a few times a second.
    pub(crate) fn asks_for_the_time(&self) -> bool {
        self.was_long
    }

    /// When a turn is needed although nothing happens, with so many bytes of buffers: while a level moves
    /// by time alone, or buffers are to be given back. A level that is steady does not wake the loop.
    pub(crate) fn due_ms(&self, leased: usize) -> Option<u64> {
        let moves = self.turns.is_up || self.memory.moves(self.memory_reading(leased));
        let look_ms = moves.then(|| self.seen_ms + (self.span_ms / PARTS).max(1));
        let relief_ms = self.relief_ms.filter(|_| self.buffers_keep_it_up(leased));
        look_ms.into_iter().chain(relief_ms).min()
    }

    /// Down to how many bytes of buffers connections are to be closed now. Not again within a span, in
    /// which the level falls.
    pub(crate) fn takes_relief(&mut self, now_ms: u64, leased: usize) -> Option<usize> {
        self.relief_ms.filter(|at_ms| now_ms >= *at_ms && self.buffers_keep_it_up(leased))?;
        self.relief_ms = Some(now_ms + self.span_ms);
        Some(self.buffers.low.saturating_sub(1) as usize)
    }

    /// Whether the overload would be over with fewer bytes of buffers.
    fn buffers_keep_it_up(&self, leased: usize) -> bool {
        let buffers = self.buffers.read(leased as u64);
        buffers != Reading::Low && self.reported_reading == Reading::Low
    }

    /// One look, at the beginning of a turn, once its events are noted.
    pub(crate) fn look(&mut self, moment: &Moment) -> Option<Change> {
        let lasted_ms = moment.now_ms.saturating_sub(self.seen_ms);
        let worked_ms = match moment.rest {
            Rest::None => lasted_ms,
            Rest::Since(at_ms) => at_ms.saturating_sub(self.seen_ms).min(lasted_ms),
            Rest::Unknown => 0,
        };
        self.seen_ms = moment.now_ms;
        self.look_at_turns(moment, worked_ms, lasted_ms);
        self.look_at_memory(moment, lasted_ms);
        self.judge(moment.now_ms)
    }

    fn look_at_turns(&mut self, moment: &Moment, worked_ms: u64, lasted_ms: u64) {
        let Some(bound) = self.turn_max_ms else { return };
        let bound = Bounds::of(bound);
        self.was_long = bound.read(lasted_ms) != Reading::Low;
        self.round.worked_ms += worked_ms;
        if self.round.is_over(moment.listed) {
            self.round_ms = self.round.worked_ms;
            self.turns.note(bound.read(self.round_ms), self.round_ms, self.span_ms);
            self.round = Round { worked_ms: 0, left: moment.listed };
        }
        self.turns.note(Reading::Low, lasted_ms - worked_ms, self.span_ms);
    }

    fn look_at_memory(&mut self, moment: &Moment, lasted_ms: u64) {
        let reading = self.memory_reading(moment.leased);
        self.memory.note(reading, lasted_ms, self.span_ms);
        let relief_ms = self.relief_ms.unwrap_or(moment.now_ms + self.span_ms);
        self.relief_ms = self.memory.is_up.then_some(relief_ms);
    }

    fn memory_reading(&self, leased: usize) -> Reading {
        let readings = match self.memory_percent {
            Some(_) => [self.buffers.read(leased as u64), self.reported_reading],
            None => [Reading::Low; 2],
        };
        match readings {
            _ if readings.contains(&Reading::High) => Reading::High,
            _ if readings.contains(&Reading::Between) => Reading::Between,
            _ => Reading::Low,
        }
    }

    /// The larger share of a limit that is used, of buffers or of what the handler says.
    pub(crate) fn percent(&self, leased: usize) -> usize {
        let shares = [(leased, self.buffer_memory), self.reported];
        let percent = |(used, limit): (usize, usize)| {
            used.saturating_mul(100).checked_div(limit).unwrap_or_default()
        };
        percent(shares[0]).max(percent(shares[1]))
    }

    fn judge(&mut self, now_ms: u64) -> Option<Change> {
        let cause = match (self.turns.is_up, self.memory.is_up) {
            (true, _) => Some(OverloadCause::Turns),
            (false, true) => Some(OverloadCause::Memory),
            (false, false) => None,
        };
        match (self.overload, cause) {
            (None, Some(cause)) => {
                self.overload = Some((cause, now_ms));
                Some(Change::Began(cause))
            }
            (Some((cause, since_ms)), None) => {
                self.overload = None;
                Some(Change::Ended { cause, lasted_ms: now_ms - since_ms })
            }
            // One cause may follow upon the other.
            (Some((_, since_ms)), Some(cause)) => {
                self.overload = Some((cause, since_ms));
                None
            }
            (None, None) => None,
        }
    }
}

/// What a listener lets in while the server is overloaded: a few newcomers, then a pause.
#[derive(Debug)]
pub(crate) struct Trickle {
    newcomers: usize,
    pause_ms: u64,
    began_ms: u64,
    taken: usize,
}

impl Trickle {
    pub(crate) fn new(newcomers: usize, pause: Duration) -> Trickle {
        Trickle { newcomers, pause_ms: pause.as_millis() as u64, began_ms: 0, taken: 0 }
    }

    pub(crate) fn is_open(&self, now_ms: u64) -> bool {
        self.taken < self.newcomers || now_ms >= self.opens_ms()
    }

    /// When the listener lets newcomers in again.
    pub(crate) fn opens_ms(&self) -> u64 {
        self.began_ms + self.pause_ms
    }

    /// A newcomer was let in. Returns whether the listener rests now.
    pub(crate) fn let_in(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.opens_ms() {
            (self.began_ms, self.taken) = (now_ms, 0);
        }
        self.taken += 1;
        self.taken >= self.newcomers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u64 = 100;
    const SPAN: u64 = 1000;

    /// A watch with time of its own.
    struct Bench {
        watch: Watch,
        now_ms: u64,
        changes: Vec<(u64, Change)>,
        leased: usize,
    }

    impl Bench {
        fn new() -> Bench {
            let limits = Limits {
                turn: Some(Duration::from_millis(BOUND)),
                memory_percent: Some(90),
                buffer_memory: 1000,
                span: Duration::from_millis(SPAN),
            };
            Bench { watch: Watch::new(&limits), now_ms: 0, changes: Vec::new(), leased: 0 }
        }

        fn look(&mut self, rest: Rest, listed: [usize; 3]) {
            let moment = Moment { now_ms: self.now_ms, rest, listed, leased: self.leased };
            let change = self.watch.look(&moment);
            self.changes.extend(change.map(|change| (self.now_ms, change)));
        }

        /// A turn of so many milliseconds, behind which the poll does not wait.
        fn turn(&mut self, ms: u64) {
            self.now_ms += ms;
            self.look(Rest::None, [0; 3]);
        }

        /// The poll waits, and the loop knows since when.
        fn sleep(&mut self, ms: u64) {
            let since = Rest::Since(self.now_ms);
            self.now_ms += ms;
            self.look(since, [0; 3]);
        }

        fn turns(&mut self, count: usize, ms: u64) {
            (0..count).for_each(|_| self.turn(ms));
        }

        fn is_overloaded(&self) -> bool {
            self.watch.is_overloaded()
        }

        fn due_ms(&self) -> Option<u64> {
            self.watch.due_ms(self.leased)
        }
    }

    #[test]
    fn begins_once_turns_have_been_long_for_a_span_and_ends_a_span_after_the_last() {
        let mut bench = Bench::new();
        bench.turns(1000, 20);
        assert!(!bench.is_overloaded());
        let began = bench.now_ms;
        bench.turns(9, 100);
        assert!(!bench.is_overloaded());
        bench.turns(50, 100);
        assert_eq!(bench.changes, [(began + SPAN, Change::Began(OverloadCause::Turns))]);
        let calm = bench.now_ms;
        bench.turns(200, 10);
        let lasted_ms = calm - began;
        let ended = Change::Ended { cause: OverloadCause::Turns, lasted_ms };
        assert_eq!(bench.changes[1..], [(calm + SPAN, ended)]);
    }

    #[test]
    fn never_changes_within_a_span_whatever_turns_do() {
        // Every mixture of long, middling and short turns, and of sleep.
        let mut random: u32 = 1;
        for share in 0..=16 {
            let mut bench = Bench::new();
            for _ in 0..5000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match (random >> 28, random >> 20 & 3) {
                    (long, _) if long < share => bench.turn(100 + u64::from(random >> 16 & 1023)),
                    (_, 0) => bench.sleep(u64::from(random >> 16 & 255)),
                    (_, 1) => bench.turn(80),
                    _ => bench.turn(u64::from(random >> 16 & 63)),
                }
            }
            for pair in bench.changes.windows(2) {
                assert!(pair[1].0 - pair[0].0 >= SPAN, "{pair:?}");
            }
            assert!(share > 0 || bench.changes.is_empty());
            assert!(share < 16 || bench.changes.len() == 1);
        }
    }

    #[test]
    fn one_turn_that_stood_still_is_no_overload_however_long() {
        let mut bench = Bench::new();
        bench.turn(60_000);
        bench.turn(300);
        bench.turn(300);
        assert!(!bench.is_overloaded());
        // Four in a row are.
        bench.turn(300);
        assert!(bench.is_overloaded());
    }

    #[test]
    fn turns_about_the_bound_change_nothing() {
        let mut bench = Bench::new();
        bench.turns(9, 100);
        bench.turns(1000, 99);
        assert!(!bench.is_overloaded());
        bench.turn(100);
        assert!(bench.is_overloaded());
        bench.turns(1000, 75);
        assert!(bench.is_overloaded());
        bench.turns(14, 74);
        assert!(!bench.is_overloaded());
    }

    #[test]
    fn round_over_several_turns_counts_as_a_whole() {
        let mut bench = Bench::new();
        // Each turn takes 20 ms and visits 10 of 60 that are always ready.
        for _ in 0..200 {
            bench.now_ms += 20;
            bench.look(Rest::None, [0, 60, 0]);
            bench.watch.visited_ready([0, 10]);
        }
        assert!(bench.is_overloaded());
        // The same turns with so few who are ready that each is visited in every turn.
        for _ in 0..200 {
            bench.now_ms += 20;
            bench.look(Rest::None, [0, 10, 0]);
            bench.watch.visited_ready([0, 10]);
        }
        assert!(!bench.is_overloaded());
    }

    #[test]
    fn sleep_is_no_work_and_ends_an_overload() {
        let mut bench = Bench::new();
        (0..100).for_each(|_| bench.sleep(500));
        assert!(bench.changes.is_empty());
        bench.turns(10, 200);
        assert!(bench.is_overloaded());
        // The loop wakes by itself, so that it is seen to be over.
        let due = bench.due_ms();
        assert_eq!(due, Some(bench.now_ms + SPAN / PARTS));
        (0..4).for_each(|_| bench.sleep(250));
        assert!(!bench.is_overloaded());
        assert_eq!(bench.due_ms(), None);
    }

    #[test]
    fn clock_is_asked_before_a_wait_only_behind_a_turn_that_began_long_ago() {
        let mut bench = Bench::new();
        for _ in 0..100 {
            bench.now_ms += 70;
            bench.look(Rest::Unknown, [0; 3]);
            assert!(!bench.watch.asks_for_the_time());
        }
        bench.now_ms += 100;
        bench.look(Rest::Unknown, [0; 3]);
        assert!(bench.watch.asks_for_the_time());
        // The time of which nobody knows whether it was work counts for nothing.
        for _ in 0..100 {
            bench.now_ms += 150;
            bench.look(Rest::Unknown, [0; 3]);
        }
        assert!(!bench.is_overloaded());
        for _ in 0..10 {
            let since = bench.now_ms + 150;
            bench.now_ms += 151;
            bench.look(Rest::Since(since), [0; 3]);
        }
        assert!(bench.is_overloaded());
    }

    #[test]
    fn memory_that_stays_high_is_an_overload_also_while_nothing_happens() {
        let mut bench = Bench::new();
        bench.leased = 899;
        bench.turn(1);
        assert_eq!(bench.due_ms(), None);
        bench.leased = 900;
        bench.turn(1);
        while !bench.is_overloaded() {
            let due = bench.due_ms().expect("a level that moves has a turn");
            bench.sleep(due - bench.now_ms);
        }
        let began = (bench.changes[0].0, bench.changes[0].1);
        assert_eq!(began, (1002, Change::Began(OverloadCause::Memory)));
        bench.leased = 600;
        while bench.is_overloaded() {
            let due = bench.due_ms().expect("a level that moves has a turn");
            bench.sleep(due - bench.now_ms);
        }
        assert_eq!(bench.now_ms, 1002 + SPAN);
        assert_eq!(bench.due_ms(), None);
    }

    #[test]
    fn memory_that_is_steady_wakes_nobody() {
        let mut bench = Bench::new();
        // What the handler says cannot be relieved by closing.
        for (used, is_overloaded) in [(80, false), (95, true), (80, true), (95, true)] {
            bench.watch.report_memory(used, 100);
            (0..10).for_each(|_| bench.sleep(250));
            assert_eq!((bench.is_overloaded(), bench.due_ms()), (is_overloaded, None), "{used}");
        }
        bench.watch.report_memory(10, 100);
        assert_eq!(bench.due_ms(), Some(bench.now_ms + SPAN / PARTS));
    }

    #[test]
    fn buffers_that_keep_an_overload_up_are_to_be_given_back_after_a_span_down_to_the_low_mark() {
        let mut bench = Bench::new();
        bench.leased = 950;
        (0..4).for_each(|_| bench.sleep(250));
        assert!(bench.is_overloaded());
        // Between the marks it would last for ever.
        bench.leased = 700;
        let due = bench.now_ms + SPAN;
        assert_eq!(bench.due_ms(), Some(due));
        assert_eq!(bench.watch.takes_relief(due - 1, 700), None);
        bench.sleep(SPAN);
        assert_eq!(bench.watch.takes_relief(due, 700), Some(674));
        // Once in a span, also where it did not help.
        assert_eq!(bench.watch.takes_relief(due + SPAN - 1, 700), None);
        assert_eq!(bench.due_ms(), Some(due + SPAN));
        bench.leased = 674;
        (0..4).for_each(|_| bench.sleep(250));
        assert!(!bench.is_overloaded());
        assert_eq!((bench.due_ms(), bench.watch.takes_relief(1 << 40, 950)), (None, None));
    }

    #[test]
    fn nobody_is_closed_for_memory_that_closing_does_not_free() {
        let mut bench = Bench::new();
        bench.leased = 950;
        bench.watch.report_memory(95, 100);
        (0..20).for_each(|_| bench.sleep(250));
        assert_eq!(bench.watch.takes_relief(bench.now_ms, 950), None);
        bench.watch.report_memory(50, 100);
        assert!(bench.watch.takes_relief(bench.now_ms, 950).is_some());
    }

    #[test]
    fn limit_of_nothing_is_no_share_of_it() {
        let mut bench = Bench::new();
        bench.watch.report_memory(1 << 20, 0);
        bench.leased = 250;
        (0..10).for_each(|_| bench.sleep(250));
        assert!(!bench.is_overloaded());
        assert_eq!(bench.watch.percent(bench.leased), 25);
    }

    #[test]
    fn memory_that_the_handler_reports_counts_as_that_of_buffers() {
        let mut bench = Bench::new();
        bench.watch.report_memory(95, 100);
        (0..10).for_each(|_| bench.sleep(250));
        assert!(bench.is_overloaded());
        bench.watch.report_memory(10, 100);
        (0..10).for_each(|_| bench.sleep(250));
        assert!(!bench.is_overloaded());
    }

    #[test]
    fn what_is_off_is_never_an_overload() {
        let mut bench = Bench::new();
        (bench.watch.turn_max_ms, bench.watch.memory_percent) = (None, None);
        bench.leased = 1000;
        bench.turns(100, 500);
        assert!(bench.changes.is_empty());
        assert_eq!(bench.due_ms(), None);
        assert!(!bench.watch.asks_for_the_time());
    }

    #[test]
    fn newcomers_are_let_in_slowly_and_never_wait_for_ever() {
        let mut trickle = Trickle::new(7, Duration::from_millis(100));
        let mut let_in = 0;
        for now_ms in 1000..2000 {
            while trickle.is_open(now_ms) {
                trickle.let_in(now_ms);
                let_in += 1;
            }
        }
        assert_eq!(let_in, 10 * 7);
    }
}
