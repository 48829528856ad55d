//! One database: its keys and values, and the timers of the keys that end.

use slab::Slab;

use super::table::{NONE, PLACE_COST, Table};
use crate::structures::timer_wheel::TimerWheel;

/// A table and its timers. Nothing of it takes memory before there is a key, and nothing for timers
/// before there is one. What time it is, is told by the caller.
pub(super) struct Database {
    pub(super) table: Table,
    /// The keys that end by the steady clock, and by the wall clock. A key's tag in the table says
    /// which of them it has, and where.
    timers: [Option<Box<Timers>>; 2],
    /// Bytes of memory that keys, values and places for them and for timers take.
    pub(super) used: usize,
    /// What of it is for places.
    pub(super) priced: usize,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// So long after it was set, in milliseconds of a clock that is never set.
    Steady(u64),
    /// At a point in time, in milliseconds since 1970 by the system's clock.
    Wall(u64),
}

/// What time it is, by both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// Milliseconds since the server was started.
    pub(super) steady_ms: u64,
    /// Milliseconds since 1970.
    pub(super) wall_ms: u64,
}

/// Timers by one clock.
struct Timers {
    timers: Slab<Timer>,
    /// Keyed as `timers`.
    wheel: TimerWheel,
    /// The sum of the points in time at which they end.
    sum_ms: u128,
    /// So many places for them have been taken at some time.
    places: usize,
}

struct Timer {
    slot: u32,
    at_ms: u64,
}

/// In a tag: the timer is one by the wall clock.
const BY_WALL: u32 = 1 << 31;
/// How long a key may hold memory after its end: the resolution of the reactor's own wheel.
const TICK_MS: u64 = 100;
/// So many places are kept where nothing is left in them.
const SPARE_MAX: usize = 64;
/// What a timer costs: its place here and in the wheel.
pub(super) const TIMER_COST: usize = size_of::<Timer>() + 8 + 16;

impl Database {
    pub(super) const fn new() -> Self {
        Database { table: Table::new(), timers: [None, None], used: 0, priced: 0 }
    }

    /// Keys that expire.
    pub(super) fn expiring(&self) -> usize {
        self.timers.iter().flatten().map(|timers| timers.timers.len()).sum()
    }

    /// The mean time that the keys which expire have left, in milliseconds.
    pub(super) fn mean_ttl_ms(&self, now: Now) -> u64 {
        let (mut count, mut sum) = (0, 0);
        for (timers, now_ms) in self.timers.iter().zip([now.steady_ms, now.wall_ms]) {
            for timers in timers.iter().filter(|timers| !timers.timers.is_empty()) {
                let len = timers.timers.len() as u128;
                count += len;
                // Keys that have just ended make the sum a little smaller.
                sum += timers.sum_ms.saturating_sub(len * u128::from(now_ms));
            }
        }
        sum.checked_div(count).unwrap_or(0) as u64
    }

    /// Bytes of memory that places take, whether something is in them or not. Places of keys stay until the
    /// last key goes, and places of timers until the last timer goes.
    pub(super) fn used_by_places(&self) -> usize {
        let timers: usize = self.timers.iter().flatten().map(|timers| timers.places).sum();
        self.table.places() * PLACE_COST + timers * TIMER_COST
    }

    /// Whether its places are worth giving back: it holds no key, and has held many.
    pub(super) fn is_spent(&self) -> bool {
        self.table.len() == 0 && self.table.places() > SPARE_MAX
    }

    /// When a key ends.
    pub(super) fn end_of(&self, slot: u32) -> Option<End> {
        let tag = self.table.tag(slot);
        let timers = self.timers[by_wall(tag)].as_ref()?;
        let at_ms = timers.timers.get((tag & !BY_WALL) as usize)?.at_ms;
        Some(if tag & BY_WALL == 0 { End::Steady(at_ms) } else { End::Wall(at_ms) })
    }

    /// Whether a key is to end at some time.
    pub(super) fn has_end(&self, slot: u32) -> bool {
        self.table.tag(slot) != NONE
    }

    pub(super) fn has_ended(&self, slot: u32, now: Now) -> bool {
        self.has_end(slot) && self.end_of(slot).is_some_and(|end| now.left_ms(end) == 0)
    }

    /// Lets a key end at a time. A time that it had before must be [taken away](Self::persist).
    pub(super) fn expire(&mut self, slot: u32, end: End) {
        let (clock, at_ms) = match end {
            End::Steady(at_ms) => (0, at_ms),
            End::Wall(at_ms) => (BY_WALL, at_ms),
        };
        let timers = self.timers[by_wall(clock)].get_or_insert_with(Box::default);
        let timer = timers.timers.insert(Timer { slot, at_ms }) as u32;
        timers.wheel.schedule(timer, at_ms);
        timers.sum_ms += u128::from(at_ms);
        timers.places = timers.places.max(timer as usize + 1);
        self.table.set_tag(slot, timer | clock);
    }

    /// Lets a key stay. Returns whether it would have ended.
    pub(super) fn persist(&mut self, slot: u32) -> bool {
        let tag = self.table.tag(slot);
        if tag == NONE {
            return false;
        }
        self.table.set_tag(slot, NONE);
        let place = &mut self.timers[by_wall(tag)];
        let Some(timers) = place else { return false };
        timers.wheel.cancel(tag & !BY_WALL);
        let Some(timer) = timers.timers.try_remove((tag & !BY_WALL) as usize) else { return false };
        timers.sum_ms -= u128::from(timer.at_ms);
        if timers.timers.is_empty() {
            timers.places = 0;
            timers.timers.clear();
            if timers.timers.capacity() > SPARE_MAX {
                *place = None;
            }
        }
        true
    }

    /// A key that has ended and was not removed yet.
    pub(super) fn next_ended(&mut self, now: Now) -> Option<u32> {
        let clocks = self.timers.iter_mut().zip([now.steady_ms, now.wall_ms]);
        clocks.filter_map(|(timers, now_ms)| timers.as_mut()?.next_due(now_ms)).next()
    }

    /// When the next key ends, by the steady clock. Where that depends on the wall clock, it is to
    /// be asked again within a second, as that clock may be set.
    pub(super) fn next_due(&self, now: Now) -> Option<u64> {
        let due = |clock: usize| self.timers[clock].as_ref()?.wheel.next_due();
        let by_wall = due(1).map(|at_ms| now.steady_ms + now.left_ms(End::Wall(at_ms)).min(1_000));
        due(0).into_iter().chain(by_wall).min()
    }

    /// The wall clock was set back: what had come near is far away again.
    pub(super) fn rewind(&mut self) {
        if let Some(timers) = &mut self.timers[by_wall(BY_WALL)] {
            timers.wheel = TimerWheel::new(TICK_MS);
            for (key, timer) in &timers.timers {
                timers.wheel.schedule(key as u32, timer.at_ms);
            }
        }
    }
}

impl Now {
    /// How long it is until then; 0 when that is over.
    pub(super) fn left_ms(self, end: End) -> u64 {
        match end {
            End::Steady(at_ms) => at_ms.saturating_sub(self.steady_ms),
            End::Wall(at_ms) => at_ms.saturating_sub(self.wall_ms),
        }
    }

    /// The point in time, as the system's clock stands now.
    pub(super) fn wall_ms_at(self, end: End) -> u64 {
        self.wall_ms + self.left_ms(end)
    }

    /// The end that comes so many milliseconds from now.
    pub(super) fn after_ms(self, span_ms: u64) -> End {
        End::Steady(self.steady_ms.saturating_add(span_ms))
    }
}

impl Timers {
    fn next_due(&mut self, now_ms: u64) -> Option<u32> {
        let timer = self.wheel.pop_due(now_ms)?;
        self.timers.get(timer as usize).map(|timer| timer.slot)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers { timers: Slab::new(), wheel: TimerWheel::new(TICK_MS), sum_ms: 0, places: 0 }
    }
}

fn by_wall(tag: u32) -> usize {
    usize::from(tag & BY_WALL != 0)
}

/// How many databases there are: as many as Redis has where nobody configures it.
pub(super) const DATABASES: usize = 16;
