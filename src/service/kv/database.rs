//! One database: its keys and values, and the timers of the keys that end.

use slab::Slab;

use super::table::{NONE, Table};
use crate::reactor::TimerWheel;

/// A table and its timers. Nothing of it takes memory before there is a key, and nothing for timers
/// before there is one. Time is in milliseconds, and told by the caller.
pub(super) struct Database {
    pub(super) table: Table,
    timers: Option<Box<Timers>>,
    /// Bytes of memory that keys, values and timers take.
    pub(super) used: usize,
}

struct Timers {
    /// The keys that expire; a key's tag in the table is its index here.
    timers: Slab<Timer>,
    /// Keyed as `timers`.
    wheel: TimerWheel,
}

struct Timer {
    slot: u32,
    at_ms: u64,
}

/// How long a key may hold memory after its end: the resolution of the reactor's own wheel.
const TICK_MS: u64 = 100;
/// What a timer costs: its place here and in the wheel.
pub(super) const TIMER_OVERHEAD: usize = size_of::<Timer>() + 8 + 16;

impl Database {
    pub(super) const fn new() -> Self {
        Database { table: Table::new(), timers: None, used: 0 }
    }

    /// Keys that expire.
    pub(super) fn expiring(&self) -> usize {
        self.timers.as_ref().map_or(0, |timers| timers.timers.len())
    }

    /// The mean time that the keys which expire have left, in milliseconds, from a sample.
    pub(super) fn mean_ttl_ms(&self, now_ms: u64) -> u64 {
        let timers = self.timers.iter().flat_map(|timers| timers.timers.iter());
        let left = timers.take(SAMPLE).map(|(_, timer)| timer.at_ms.saturating_sub(now_ms));
        let (count, sum) =
            left.fold((0u64, 0u64), |(count, sum), ttl| (count + 1, sum.saturating_add(ttl)));
        sum.checked_div(count).unwrap_or(0)
    }

    /// When a key ends.
    pub(super) fn end_of(&self, slot: u32) -> Option<u64> {
        let timers = self.timers.as_ref()?;
        timers.timers.get(self.table.tag(slot) as usize).map(|timer| timer.at_ms)
    }

    pub(super) fn has_ended(&self, slot: u32, now_ms: u64) -> bool {
        self.table.tag(slot) != NONE && self.end_of(slot).is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Lets a key end at a time. Returns whether it would have stayed.
    pub(super) fn expire(&mut self, slot: u32, at_ms: u64) -> bool {
        let Timers { timers, wheel } = &mut **self.timers.get_or_insert_with(Box::default);
        let mut timer = self.table.tag(slot);
        let stayed = match timers.get_mut(timer as usize) {
            Some(timer) => {
                timer.at_ms = at_ms;
                false
            }
            None => {
                timer = timers.insert(Timer { slot, at_ms }) as u32;
                self.table.set_tag(slot, timer);
                true
            }
        };
        wheel.schedule(timer, at_ms);
        stayed
    }

    /// Lets a key stay. Returns whether it would have ended.
    pub(super) fn persist(&mut self, slot: u32) -> bool {
        let timer = self.table.tag(slot);
        if timer == NONE {
            return false;
        }
        let Some(timers) = &mut self.timers else { return false };
        timers.wheel.cancel(timer);
        self.table.set_tag(slot, NONE);
        timers.timers.try_remove(timer as usize).is_some()
    }

    /// A key that has ended and was not removed yet.
    pub(super) fn next_ended(&mut self, now_ms: u64) -> Option<u32> {
        let timers = self.timers.as_mut()?;
        let timer = timers.wheel.pop_due(now_ms)?;
        timers.timers.get(timer as usize).map(|timer| timer.slot)
    }

    /// When the next key ends.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.timers.as_ref()?.wheel.next_due()
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers { timers: Slab::new(), wheel: TimerWheel::new(TICK_MS) }
    }
}

/// Keys looked at for the mean time that is left.
const SAMPLE: usize = 1000;
