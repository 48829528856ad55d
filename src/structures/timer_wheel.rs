//! A hashed timing wheel (Varghese and Lauck, 1987): scheduling, cancelling and firing in constant
//! time.
//!
//! ```text
//!   bucket   0    1    2    3   ...  1023          an entry waits in the bucket of the tick at or after its deadline;
//!          +----+----+----+----+   +----+          entries of later rounds share the bucket and are passed over
//!   first  | 7  | -  | 2  | -  |   | 9  |
//!          +-|--+----+-|--+----+   +----+          ticks below `swept` are done; every waiting entry's tick >= swept
//!            v         v
//!            4         -
//! ```
//!
//! Keys are small integers chosen by the caller (a slab's keys), one entry each, and the links lie
//! in one vector, so that a timer allocates nothing. The wheel reads no clock: the caller says what
//! time it is.
//!
//! Traffic does not touch the wheel. A connection only keeps a stamp of when it was last active. When an
//! entry fires, the reactor looks at that stamp and schedules again if the deadline has moved.

use std::fmt;

/// Timers for keys, in milliseconds since an origin of the caller's choice.
///
/// ```
/// use edgeloop::TimerWheel;
///
/// let mut wheel = TimerWheel::new(100);
/// wheel.schedule(3, 250);
/// wheel.schedule(4, 1_000);
/// wheel.cancel(4);
/// assert_eq!(wheel.next_due(), Some(300)); // at the first tick that is not early
/// assert_eq!(wheel.pop_due(299), None);
/// assert_eq!(wheel.pop_due(300), Some(3));
/// assert_eq!(wheel.pop_due(300), None);
/// assert!(wheel.is_empty());
/// ```
pub struct TimerWheel {
    tick_ms: u64,
    /// The first tick whose bucket has not been emptied of due entries.
    swept: u64,
    buckets: Box<[u32; BUCKETS]>,
    /// One bit for each bucket that holds an entry, so that a wait can look past empty ones.
    occupied: [u64; BUCKETS / 64],
    /// The entry to look at next in the bucket of `swept`, once its sweep has begun: each entry is looked
    /// at once, however many share the bucket.
    resume: Option<u32>,
    entries: Vec<Entry>,
    scheduled: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    /// `IDLE` when the key has no timer.
    deadline_ms: u64,
    previous: u32,
    next: u32,
}

const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;
const IDLE: u64 = u64::MAX;

impl TimerWheel {
    /// A wheel with a resolution of `tick_ms` milliseconds, at least 1.
    pub fn new(tick_ms: u64) -> Self {
        TimerWheel {
            tick_ms: tick_ms.max(1),
            swept: 0,
            buckets: Box::new([NONE; BUCKETS]),
            occupied: [0; BUCKETS / 64],
            resume: None,
            entries: Vec::new(),
            scheduled: 0,
        }
    }

    /// Sets the timer of `key`, in place of the one it had.
    pub fn schedule(&mut self, key: u32, deadline_ms: u64) {
        self.cancel(key);
        let index = key as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry { deadline_ms: IDLE, previous: NONE, next: NONE });
        }
        let deadline_ms = self.soonest(deadline_ms);
        let bucket = self.bucket(deadline_ms);
        let first = self.buckets[bucket];
        self.entries[index] = Entry { deadline_ms, previous: NONE, next: first };
        if first != NONE {
            self.entries[first as usize].previous = key;
        }
        self.buckets[bucket] = key;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.scheduled += 1;
    }

    /// Makes sure that the timer of `key` is due no later than a deadline, or as soon as it can be. A timer
    /// that is due earlier is left alone. So is a timer whose tick is being swept: set again, it would
    /// come a tick later.
    pub(crate) fn bring_forward(&mut self, key: u32, deadline_ms: u64) {
        let soonest = self.soonest(deadline_ms);
        if self.deadline(key).is_none_or(|armed| soonest < armed) {
            self.schedule(key, deadline_ms);
        }
    }

    /// A tick already swept would only come round again in the next round.
    fn soonest(&self, deadline_ms: u64) -> u64 {
        let next_tick = self.swept + u64::from(self.resume.is_some());
        deadline_ms.max(next_tick * self.tick_ms).min(IDLE - self.tick_ms)
    }

    /// Takes the timer of `key` away, if it has one.
    pub fn cancel(&mut self, key: u32) {
        let Some(&Entry { deadline_ms, previous, next }) = self.entries.get(key as usize) else {
            return;
        };
        if deadline_ms == IDLE {
            return;
        }
        let bucket = self.bucket(deadline_ms);
        if previous == NONE {
            self.buckets[bucket] = next;
            if next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if self.resume == Some(key) {
            self.resume = Some(next);
        }
        self.entries[key as usize].deadline_ms = IDLE;
        self.scheduled -= 1;
    }

    /// Takes out one timer that is due at `now_ms`; call it until it says `None`. Never early, at
    /// most one tick late.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<u32> {
        let now = now_ms / self.tick_ms;
        // After a jump of the clock one whole round shows every bucket, and what is due is due in
        // any round.
        let oldest = (now + 1).saturating_sub(BUCKETS as u64);
        if self.swept < oldest {
            (self.swept, self.resume) = (oldest, None);
        }
        while self.swept <= now {
            if self.resume.is_none() {
                // Empty buckets are passed over, but a deadline may still be set in one of them.
                let next = self.next_occupied().map(|distance| self.swept + distance);
                let Some(next) = next.filter(|tick| *tick <= now) else { break };
                self.swept = next;
            }
            if let Some(key) = self.next_in_bucket(now) {
                self.cancel(key);
                return Some(key);
            }
            (self.swept, self.resume) = (self.swept + 1, None);
        }
        self.swept = self.swept.max(now + 1);
        None
    }

    /// The earliest time at which [`pop_due`](Self::pop_due) may return a key. It may be too early,
    /// for an entry of a later round, but never too late.
    pub fn next_due(&self) -> Option<u64> {
        self.next_occupied().map(|distance| (self.swept + distance) * self.tick_ms)
    }

    /// When the timer of `key` is due.
    pub fn deadline(&self, key: u32) -> Option<u64> {
        let deadline_ms = self.entries.get(key as usize)?.deadline_ms;
        (deadline_ms != IDLE).then_some(deadline_ms)
    }

    /// Timers set.
    pub fn len(&self) -> usize {
        self.scheduled
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.scheduled == 0
    }

    /// The next entry of the bucket at `swept` whose tick is not after `now`.
    fn next_in_bucket(&mut self, now: u64) -> Option<u32> {
        let mut key = self.resume.unwrap_or(self.buckets[self.swept as usize % BUCKETS]);
        while key != NONE && self.tick(self.entries[key as usize].deadline_ms) > now {
            key = self.entries[key as usize].next;
        }
        self.resume = Some(key);
        (key != NONE).then_some(key)
    }

    /// How many ticks after `swept` the next bucket with an entry comes; below `BUCKETS`.
    fn next_occupied(&self) -> Option<u64> {
        let start = self.swept as usize % BUCKETS;
        let (word, bit) = (start / 64, start % 64);
        for step in 0..=self.occupied.len() {
            let index = (word + step) % self.occupied.len();
            let mask = match step {
                0 => u64::MAX << bit,
                // The first word again, for the bits before the start.
                step if step == self.occupied.len() => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let bits = self.occupied[index] & mask;
            if bits != 0 {
                let bucket = index * 64 + bits.trailing_zeros() as usize;
                return Some(((bucket + BUCKETS - start) % BUCKETS) as u64);
            }
        }
        None
    }

    fn tick(&self, deadline_ms: u64) -> u64 {
        deadline_ms.div_ceil(self.tick_ms)
    }

    fn bucket(&self, deadline_ms: u64) -> usize {
        self.tick(deadline_ms) as usize % BUCKETS
    }
}

impl fmt::Debug for TimerWheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerWheel({} timers, tick {} ms)", self.scheduled, self.tick_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pop_all(wheel: &mut TimerWheel, now_ms: u64) -> Vec<u32> {
        let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.pop_due(now_ms)).collect();
        keys.sort_unstable();
        keys
    }

    proptest! {
        #[test]
        fn fires_within_one_tick_never_early_and_once(
            tick in 1u64..200,
            steps in proptest::collection::vec((0u32..40, 0u64..500_000, 0u64..3_000), 1..200),
        ) {
            let mut wheel = TimerWheel::new(tick);
            let mut model = BTreeMap::new();
            let mut now = 0;
            for (key, after, pause) in steps {
                if after % 7 == 0 {
                    wheel.cancel(key);
                    model.remove(&key);
                } else {
                    wheel.schedule(key, now + after);
                    model.insert(key, now + after);
                }
                now += pause;
                for key in pop_all(&mut wheel, now) {
                    let deadline = model.remove(&key).expect("fired without being scheduled");
                    prop_assert!(deadline <= now, "early: {} at {}", deadline, now);
                }
                for (key, deadline) in &model {
                    prop_assert!(now < deadline + tick, "late: {} at {}, tick {}", deadline, now, tick);
                    prop_assert!(wheel.deadline(*key).is_some());
                }
                prop_assert_eq!(wheel.len(), model.len());
                let earliest = model.values().min().copied();
                prop_assert_eq!(wheel.next_due().is_some(), earliest.is_some());
                if let (Some(due), Some(earliest)) = (wheel.next_due(), earliest) {
                    prop_assert!(due < earliest.max(now) + tick);
                }
            }
        }
    }

    #[test]
    fn entry_of_a_later_round_is_passed_over() {
        let mut wheel = TimerWheel::new(10);
        wheel.schedule(0, 50);
        wheel.schedule(1, 50 + 10 * BUCKETS as u64);
        assert_eq!(pop_all(&mut wheel, 60), [0]);
        assert_eq!(pop_all(&mut wheel, 10 * BUCKETS as u64), [0_u32; 0]);
        assert_eq!(pop_all(&mut wheel, 60 + 10 * BUCKETS as u64), [1]);
    }

    #[test]
    fn entries_of_two_rounds_in_one_bucket_are_each_looked_at_once() {
        let mut wheel = TimerWheel::new(100);
        for key in 0..20_000 {
            wheel.schedule(key, 1_000);
        }
        for key in 20_000..40_000 {
            wheel.schedule(key, 1_000 + 100 * BUCKETS as u64);
        }
        let begun = std::time::Instant::now();
        assert_eq!(pop_all(&mut wheel, 1_000).len(), 20_000);
        // A walk over the later round for each entry would be 400 million steps.
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
        assert_eq!(wheel.len(), 20_000);
    }

    #[test]
    fn deadline_set_in_the_past_while_its_bucket_is_swept_fires_at_the_next_tick() {
        let mut wheel = TimerWheel::new(100);
        wheel.schedule(0, 100);
        wheel.schedule(1, 100);
        assert!(wheel.pop_due(100).is_some());
        wheel.schedule(2, 50);
        assert_eq!(pop_all(&mut wheel, 100).len(), 1);
        assert_eq!(pop_all(&mut wheel, 200), [2]);
    }

    #[test]
    fn clock_that_jumps_over_many_rounds_fires_everything_once() {
        let mut wheel = TimerWheel::new(1);
        for key in 0..5000 {
            wheel.schedule(key, u64::from(key) * 3);
        }
        assert_eq!(pop_all(&mut wheel, 1_000_000).len(), 5000);
        assert!(wheel.is_empty());
        wheel.schedule(1, 5);
        assert_eq!(
            wheel.next_due(),
            Some(1_000_001),
            "a deadline in the past is due at the next tick"
        );
    }
    #[test]
    fn timer_of_the_tick_that_is_swept_is_not_put_off_when_its_deadline_moves_back() {
        let mut wheel = TimerWheel::new(100);
        wheel.schedule(0, 180);
        wheel.schedule(1, 180);
        assert_eq!(wheel.pop_due(200), Some(1));
        wheel.bring_forward(0, 150);
        assert_eq!(wheel.pop_due(200), Some(0));
    }
}
