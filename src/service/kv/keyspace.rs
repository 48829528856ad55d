//! The keys: sixteen databases of them, their values, when they expire, and what they cost in memory.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::database::{DATABASES, Database, End, Now, TIMER_COST};
use super::table::{ENTRY_OVERHEAD, KEY_OVERHEAD, Table};
use super::watches::{Seen, Watches};

/// Strings under keys, each with or without a time at which it ends. What time it is, is told by the
/// caller.
///
/// One of the databases is selected, and whatever is done with keys is done there. To select
/// another one costs nothing, and a database takes memory from its first key on.
///
/// A key that has expired is never seen again: a look-up removes it, and the timer wheel removes the keys
/// for which nobody looks, within one tick.
///
/// Keys are chosen by clients, so the hash is keyed with random numbers, or somebody could choose
/// keys that all share a bucket. It is the standard library's SipHash 1-3, which was made for that
/// and has been looked at for it: some 150 instructions for a short key, where a `GET` in a pipeline
/// takes 900 and its part of the system calls far more. What a faster keyed hash would save is worth
/// neither a dependency nor a hash that fewer people have tried to break.
pub(super) struct Keyspace {
    hasher: RandomState,
    /// In here and not behind a pointer: each command looks at one of them several times.
    databases: [Database; DATABASES],
    /// Below [`DATABASES`].
    selected: usize,
    now: Now,
    /// The sum of what the databases take.
    used: usize,
    /// What was flushed, and is freed a little at a time.
    discarded: Vec<Database>,
    /// There may be something to do earlier than was said last.
    is_due_earlier: bool,
    watches: Watches,
    /// Random numbers drawn.
    drawn: u64,
    pub(super) stats: KeyspaceStats,
}

/// Milliseconds by which a clock jumps that was set back. Less is a clock that is kept right.
const SET_BACK_MIN: u64 = 100;

/// Counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyspaceStats {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) expired: u64,
}

/// A key that is there, in the database that is selected, until that is changed.
#[derive(Clone, Copy)]
pub(super) struct Found(u32);

impl Keyspace {
    pub(super) fn new() -> Self {
        Keyspace {
            hasher: RandomState::new(),
            databases: [const { Database::new() }; DATABASES],
            selected: 0,
            now: Now::default(),
            used: 0,
            discarded: Vec::new(),
            is_due_earlier: false,
            watches: Watches::default(),
            drawn: 0,
            stats: KeyspaceStats::default(),
        }
    }

    /// Selects a database for all that follows; returns which one was selected before.
    pub(super) fn select(&mut self, database: usize) -> usize {
        std::mem::replace(&mut self.selected, database % DATABASES)
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Does something in another database.
    pub(super) fn within<T>(&mut self, database: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        let selected = self.select(database);
        let result = act(self);
        self.select(selected);
        result
    }

    pub(super) fn set_now(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.now, now);
        if now.wall_ms + SET_BACK_MIN < before.wall_ms {
            self.databases.iter_mut().for_each(Database::rewind);
        }
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// Keys held. Keys that have ended and were not removed yet count, as in Redis.
    pub(super) fn len(&self) -> usize {
        self.here().table.len()
    }

    /// Places for keys in the table: a look at all keys goes over all of them.
    pub(super) fn places(&self) -> usize {
        self.here().table.places()
    }

    /// Keys held in all databases.
    pub(super) fn len_of_all(&self) -> usize {
        self.databases.iter().map(|database| database.table.len()).sum()
    }

    /// Bytes of memory that all databases take.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Bytes of memory that the watching of keys takes.
    pub(super) fn used_by_watches(&self) -> usize {
        self.watches.used()
    }

    /// The databases that hold keys, with their numbers, in order.
    pub(super) fn databases(&self) -> impl Iterator<Item = (usize, &Database)> {
        self.databases.iter().enumerate().filter(|(_, database)| database.table.len() > 0)
    }

    /// What was flushed and is not freed yet.
    pub(super) fn entries_to_free(&self) -> usize {
        self.discarded.iter().map(|database| database.table.places()).sum()
    }

    // ---- reading ----

    /// The value of a key. Counts whether it was there.
    pub(super) fn read(&mut self, key: &[u8]) -> Option<&[u8]> {
        let Some(found) = self.find(key) else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        Some(self.here().table.value(found.0))
    }

    /// As [`find`](Self::find), to read a key; counts whether it was there.
    pub(super) fn look_up(&mut self, key: &[u8]) -> Option<Found> {
        let found = self.find(key);
        let count = if found.is_some() { &mut self.stats.hits } else { &mut self.stats.misses };
        *count += 1;
        found
    }

    /// Looks a key up. A key that has ended is removed.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Found> {
        let (hash, here) = (self.hash(key), self.here());
        let slot = here.table.find(hash, key)?;
        if here.has_ended(slot, self.now) {
            self.stats.expired += 1;
            self.remove(Found(slot));
            return None;
        }
        Some(Found(slot))
    }

    pub(super) fn value(&self, found: Found) -> &[u8] {
        self.here().table.value(found.0)
    }

    /// When a key ends.
    pub(super) fn end_of(&self, found: Found) -> Option<End> {
        self.here().end_of(found.0)
    }

    /// Bytes of memory that a key takes with all that belongs to it.
    pub(super) fn cost(&self, found: Found) -> usize {
        let timer = if self.end_of(found).is_some() { TIMER_COST } else { 0 };
        self.here().table.cost(found.0) + ENTRY_OVERHEAD + timer
    }

    /// Bytes of memory that it takes to write so long a value into a key, which may be there.
    pub(super) fn growth(&self, found: Option<Found>, key: &[u8], len: usize) -> usize {
        match found {
            Some(found) => self.here().table.growth(found.0, len),
            None => ENTRY_OVERHEAD + (key.len() + len).max(2 * key.len()),
        }
    }

    /// A key that has not ended: some one of some bucket, so that each is about as likely as the
    /// others. None where there is none, or none was met in [`RANDOM_STEPS`] buckets. Adds the buckets that
    /// were looked at to `steps`.
    pub(super) fn random(&mut self, steps: &mut usize) -> Option<&[u8]> {
        let buckets = self.here().table.buckets();
        let (start, chosen) = (self.draw(), self.draw());
        for step in 0..RANDOM_STEPS.min(GUESSES + buckets) {
            *steps += 1;
            let place = if step < GUESSES { self.draw() } else { start.wrapping_add(step) };
            let bucket = place.checked_rem(buckets)?;
            let count = self.alive_in(bucket).count();
            if count > 0 {
                let slot = self.alive_in(bucket).nth(chosen % count)?;
                return Some(self.here().table.key(slot));
            }
        }
        None
    }

    /// Shows what is in the places below `place`, from the highest down: a key, or nothing, where there
    /// is none that has not ended. Returns the place below which `show` had enough; 0 when that was all.
    ///
    /// A walk that goes on from there until 0 shows every key that was there all the time, once.
    pub(super) fn walk(&self, place: u32, mut show: impl FnMut(Option<&[u8]>) -> bool) -> u32 {
        let here = self.here();
        for (slot, is_entry) in here.table.below(place) {
            let is_key = is_entry && !here.has_ended(slot, self.now);
            if !show(is_key.then(|| here.table.key(slot))) {
                return slot;
            }
        }
        0
    }

    // ---- writing ----

    /// Sets a key to a value; it does not expire any more.
    #[inline]
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Found {
        match self.find(key) {
            Some(found) => {
                self.persist(found);
                self.set_value(found, value);
                found
            }
            None => self.insert(key, value),
        }
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) -> Found {
        let bytes = [key, value].concat();
        self.add(key.len(), bytes)
    }

    /// Replaces the value of a key. When it ends stays as it is.
    pub(super) fn set_value(&mut self, found: Found, value: &[u8]) {
        self.change(found, |table, slot| table.set_value(slot, value));
    }

    /// Writes into a value from a place on; zeros come between where it ends before that.
    pub(super) fn write(&mut self, found: Found, at: usize, bytes: &[u8]) {
        self.change(found, |table, slot| table.write(slot, at, bytes));
    }

    /// Gives a key another name; when it ends stays as it is. If a key has that name already, its place
    /// is kept, so that a walk over the keys meets that name once.
    pub(super) fn rename(&mut self, found: Found, name: &[u8]) {
        if let Some(other) = self.find(name) {
            let (bytes, end) = ([name, self.value(found)].concat(), self.end_of(found));
            self.remove(found);
            return self.replace(other, bytes, end);
        }
        let hash = self.hash(name);
        self.touch(found.0, false);
        self.change(found, |table, slot| table.rename(slot, hash, name));
    }

    /// Adds a key with the value and the end of another, to some database, or in the place of a key
    /// that has the name there.
    pub(super) fn copy(&mut self, found: Found, database: usize, name: &[u8]) {
        let bytes = [name, self.value(found)].concat();
        let end = self.end_of(found);
        self.within(database, |keys| {
            if let Some(other) = keys.find(name) {
                return keys.replace(other, bytes, end);
            }
            let copy = keys.add(name.len(), bytes);
            if let Some(end) = end {
                keys.expire(copy, end);
            }
        });
    }

    /// Gives a key another value, behind its name in `bytes`, and another end.
    fn replace(&mut self, found: Found, bytes: Vec<u8>, end: Option<End>) {
        self.persist(found);
        self.change(found, |table, slot| table.replace(slot, bytes));
        if let Some(end) = end {
            self.expire(found, end);
        }
    }

    pub(super) fn remove(&mut self, found: Found) {
        self.persist(found);
        self.touch(found.0, false);
        let table = &mut self.here_mut().table;
        let cost = table.cost(found.0) + KEY_OVERHEAD;
        table.remove(found.0);
        let is_empty = table.len() == 0;
        self.release(cost);
        if is_empty {
            self.give_places_back();
        }
    }

    /// Lets a key end at a time.
    pub(super) fn expire(&mut self, found: Found, end: End) {
        self.persist(found);
        self.here_mut().expire(found.0, end);
        self.price_places();
        self.touch(found.0, true);
        self.is_due_earlier = true;
    }

    /// Lets a key stay. Returns whether it would have ended, which few keys would.
    #[inline]
    pub(super) fn persist(&mut self, found: Found) -> bool {
        self.here().has_end(found.0) && self.take_end(found)
    }

    #[inline(never)]
    fn take_end(&mut self, found: Found) -> bool {
        let expired = self.here_mut().persist(found.0);
        if expired {
            self.price_places();
            self.touch(found.0, true);
        }
        expired
    }

    /// Removes every key of the database. Their memory is freed by [`tidy`](Self::tidy), as ten
    /// million keys are a second's work, and by whatever is added meanwhile: as many bytes as that
    /// takes, so that both together never take more than the keys that were removed.
    pub(super) fn clear(&mut self) {
        if !self.here().table.is_unused() {
            self.discard();
            self.watches.flush(self.selected);
        }
    }

    /// As [`clear`](Self::clear), in every database.
    pub(super) fn clear_all(&mut self) {
        self.in_each_database(Self::clear);
    }

    // ---- watching ----

    /// Begins to watch a key, which need not be there.
    pub(super) fn watch(&mut self, key: &[u8]) -> Seen {
        let is_there = self.find(key).is_some();
        self.watches.add(self.selected, key, is_there)
    }

    /// Ends one [`watch`](Self::watch).
    pub(super) fn unwatch(&mut self, watched: u32) {
        self.watches.remove(watched);
    }

    /// Whether a key has been written, deleted or flushed since it was seen, or has ended.
    pub(super) fn has_changed(&mut self, seen: Seen) -> bool {
        if let Some((database, key)) = self.watches.place(seen.watched) {
            let selected = self.select(database);
            // A key that has ended is removed by that.
            self.find(&key);
            self.select(selected);
        }
        self.watches.has_changed(seen)
    }

    // ---- in the course of time ----

    /// Removes keys that have ended, and frees what was flushed, at most `budget` of each, and
    /// [`TIDY_BYTES`] with one more. Returns when, by the steady clock, there will be more to do: now, if
    /// that was used up.
    pub(super) fn tidy(&mut self, budget: usize) -> Option<u64> {
        let (now, mut left, mut freed) = (self.now, budget, 0);
        self.in_each_database(|keys| {
            while left > 0
                && freed < TIDY_BYTES
                && let Some(slot) = keys.here_mut().next_ended(now)
            {
                left -= 1;
                freed += keys.here().table.cost(slot);
                keys.stats.expired += 1;
                keys.remove(Found(slot));
            }
        });
        self.free_flushed(budget, TIDY_BYTES);
        self.is_due_earlier = false;
        self.next_due()
    }

    /// When [`tidy`](Self::tidy) has something to do, if that may be earlier than it said itself.
    pub(super) fn due_earlier(&mut self) -> Option<u64> {
        std::mem::take(&mut self.is_due_earlier).then(|| self.next_due()).flatten()
    }

    fn next_due(&self) -> Option<u64> {
        if !self.discarded.is_empty() {
            return Some(self.now.steady_ms);
        }
        self.databases.iter().filter_map(|database| database.next_due(self.now)).min()
    }

    /// Adds a key that is not there, with its value behind it.
    fn add(&mut self, key_len: usize, bytes: Vec<u8>) -> Found {
        let hash = self.hash(&bytes[..key_len]);
        let table = &mut self.here_mut().table;
        let slot = table.add(hash, key_len, bytes);
        let cost = table.cost(slot) + KEY_OVERHEAD;
        self.charge(cost);
        self.price_places();
        self.free_flushed(usize::MAX, cost);
        self.touch(slot, true);
        Found(slot)
    }

    fn change(&mut self, found: Found, change: impl FnOnce(&mut Table, u32)) {
        let table = &mut self.here_mut().table;
        let before = table.cost(found.0);
        change(table, found.0);
        let after = table.cost(found.0);
        // Most values take the place of others of their size.
        if after != before {
            self.charge(after);
            self.release(before);
            self.free_flushed(usize::MAX, after.saturating_sub(before));
        }
        self.touch(found.0, true);
    }

    /// A key has changed: tells those who watch it, where anybody watches any.
    #[inline]
    fn touch(&mut self, slot: u32, is_there: bool) {
        if !self.watches.is_empty() {
            self.tell_watchers(slot, is_there);
        }
    }

    #[inline(never)]
    fn tell_watchers(&mut self, slot: u32, is_there: bool) {
        let table = &self.databases[self.selected % DATABASES].table;
        self.watches.touch(self.selected, table.key(slot), is_there);
    }

    /// Takes the database away; what it was is freed little by little.
    fn discard(&mut self) {
        let database = std::mem::replace(self.here_mut(), Database::new());
        self.used -= database.used;
        self.discarded.push(database);
        self.is_due_earlier = true;
    }

    /// The last key has gone.
    fn give_places_back(&mut self) {
        if self.here().is_spent() {
            self.discard();
        } else {
            self.here_mut().table.forget_places();
            self.price_places();
        }
    }

    /// There may be more places, or less.
    fn price_places(&mut self) {
        let here = self.here_mut();
        let used = here.used_by_places();
        let before = std::mem::replace(&mut here.priced, used);
        here.used = here.used + used - before;
        self.used = self.used + used - before;
    }

    /// The database that is selected takes so many bytes more.
    fn charge(&mut self, bytes: usize) {
        self.used += bytes;
        self.here_mut().used += bytes;
    }

    fn release(&mut self, bytes: usize) {
        self.used -= bytes;
        self.here_mut().used -= bytes;
    }

    fn in_each_database(&mut self, mut act: impl FnMut(&mut Self)) {
        let selected = self.selected;
        for database in 0..DATABASES {
            self.selected = database;
            act(self);
        }
        self.selected = selected;
    }

    fn here(&self) -> &Database {
        &self.databases[self.selected % DATABASES]
    }

    fn here_mut(&mut self) -> &mut Database {
        &mut self.databases[self.selected % DATABASES]
    }

    /// Frees so many entries of what was flushed, or so many bytes.
    fn free_flushed(&mut self, mut entries: usize, bytes: usize) {
        let mut freed = 0;
        while entries > 0
            && freed < bytes
            && let Some(Database { table, .. }) = self.discarded.last_mut()
        {
            freed += table.dismantle();
            if table.is_unused() {
                self.discarded.pop();
            }
            entries -= 1;
        }
    }

    /// The entries of a bucket that have not ended.
    fn alive_in(&self, bucket: usize) -> impl Iterator<Item = u32> {
        let here = self.here();
        here.table.entries_of(bucket).filter(|slot| !here.has_ended(*slot, self.now))
    }

    /// A random number that tells nothing of the others.
    fn draw(&mut self) -> usize {
        self.drawn += 1;
        self.hasher.hash_one(("draw", self.drawn)) as usize
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish() as u32
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyspace({} keys, {} bytes)", self.len_of_all(), self.used)
    }
}

/// Bytes of keys and values that are freed in one turn: a few milliseconds' work where they are large,
/// and the system takes each of them back.
const TIDY_BYTES: usize = 16 << 20;
/// Buckets that are looked at for a random key: by guessing, and in all. In the mean at least every second
/// bucket holds a key, but that key may have ended.
const GUESSES: usize = 100;
const RANDOM_STEPS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::table::PLACE_COST;
    use super::*;

    fn at(steady_ms: u64) -> Now {
        Now { steady_ms, wall_ms: 1_000_000_000_000 + steady_ms }
    }

    fn all(keys: &Keyspace) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        keys.walk(u32::MAX, |key| {
            all.extend(key.map(<[u8]>::to_vec));
            true
        });
        all
    }

    #[test]
    fn key_that_has_ended_is_never_seen_and_its_memory_comes_back() {
        let mut keys = Keyspace::new();
        keys.set_now(at(1_000));
        for key in [b"read", b"tidy", b"scan", b"stay"] {
            let found = keys.set(key, b"value");
            keys.expire(found, End::Steady(1_500));
        }
        let found = keys.find(b"stay").unwrap();
        assert!(keys.persist(found));
        keys.set_now(at(1_499));
        assert!(keys.read(b"read").is_some());
        keys.set_now(at(1_500));
        assert_eq!(keys.read(b"read"), None);
        assert_eq!(keys.len(), 3);
        assert_eq!(all(&keys), [b"stay"]);
        keys.set_now(at(1_600));
        assert_eq!(keys.tidy(100), None);
        assert_eq!((keys.len(), keys.here().expiring(), keys.stats.expired), (1, 0, 3));
        let found = keys.find(b"stay").unwrap();
        keys.remove(found);
        assert_eq!(keys.used(), 0);
    }

    #[test]
    fn places_that_keys_and_timers_have_left_count_until_they_are_given_back() {
        let mut keys = Keyspace::new();
        let fill = |keys: &mut Keyspace| {
            for number in 0..1_000u32 {
                let found = keys.set(&number.to_le_bytes(), b"");
                let end = if number % 2 == 0 { End::Steady(50) } else { End::Wall(u64::MAX) };
                keys.expire(found, end);
            }
        };
        for database in 0..DATABASES {
            keys.select(database);
            fill(&mut keys);
        }
        let whole = keys.used();
        let is_of_places = |keys: &Keyspace, count: usize| {
            keys.used() >= count * (PLACE_COST + TIMER_COST) && keys.used() < whole
        };
        for database in 0..DATABASES {
            keys.select(database);
            for number in 1..1_000u32 {
                let found = keys.find(&number.to_le_bytes()).unwrap();
                keys.remove(found);
            }
        }
        assert!(is_of_places(&keys, DATABASES * 1_000 / 2), "{}", keys.used());
        let before = keys.used();
        fill(&mut keys);
        assert!(keys.used() - before < 1_000 * (PLACE_COST + TIMER_COST), "they are taken again");
        // By a removal, by their end, and by a flush.
        keys.set_now(at(1_000));
        keys.clear();
        while keys.tidy(100).is_some_and(|due| due <= 1_000) {}
        assert_eq!((keys.used(), keys.len_of_all(), keys.entries_to_free()), (0, 0, 0));
    }

    #[test]
    fn value_that_is_set_anew_does_not_expire() {
        let mut keys = Keyspace::new();
        let found = keys.set(b"key", b"one");
        keys.expire(found, End::Steady(10));
        keys.set(b"key", b"two");
        keys.set_now(at(1_000_000));
        assert_eq!(keys.tidy(10), None);
        assert_eq!(keys.read(b"key"), Some(&b"two"[..]));
    }

    #[test]
    fn clock_that_is_set_moves_points_in_time_and_no_spans() {
        let (mut keys, start, hour) = (Keyspace::new(), at(0).wall_ms, 3_600_000);
        keys.set_now(at(0));
        let mut add = |name: &[u8], end| {
            let found = keys.set(name, b"");
            keys.expire(found, end);
        };
        add(b"span", End::Steady(10_000));
        add(b"point", End::Wall(start + 10_000));
        add(b"far point", End::Wall(start + hour));
        // It is asked for again soon enough to notice.
        assert_eq!(keys.tidy(100), Some(1_000));
        keys.set_now(Now { steady_ms: 1_000, wall_ms: start + 11_000 });
        keys.tidy(100);
        let mut left = all(&keys);
        left.sort();
        assert_eq!(left, [&b"far point"[..], b"span"]);
        // A point that the clock has not reached yet, once it is set back.
        keys.set_now(Now { steady_ms: 2_000, wall_ms: start - hour });
        let found = keys.set(b"point", b"");
        keys.expire(found, End::Wall(start - hour + 5_000));
        keys.set_now(Now { steady_ms: 8_000, wall_ms: start - hour + 6_000 });
        keys.tidy(100);
        assert_eq!((keys.len(), keys.find(b"point").is_some()), (2, false));
        keys.set_now(Now { steady_ms: 10_100, wall_ms: start - hour + 8_100 });
        keys.tidy(100);
        assert_eq!((keys.len(), keys.find(b"far point").is_some()), (1, true));
    }

    #[test]
    fn what_is_flushed_is_freed_in_portions() {
        let mut keys = Keyspace::new();
        for number in 0..1000u32 {
            let found = keys.set(&number.to_be_bytes(), b"value");
            keys.expire(found, End::Steady(10_000));
        }
        keys.clear();
        assert_eq!((keys.len(), keys.used(), keys.here().expiring()), (0, 0, 0));
        keys.set(b"new", b"value");
        assert_eq!(keys.tidy(600), Some(0));
        assert_eq!(keys.tidy(600), None);
        assert_eq!(keys.read(b"new"), Some(&b"value"[..]));
    }

    #[test]
    fn large_values_are_freed_in_portions_however_they_end() {
        let mut keys = Keyspace::new();
        let fill = |keys: &mut Keyspace, end| {
            for number in 0..40u32 {
                let found = keys.set(&number.to_be_bytes(), &vec![0; 1 << 20]);
                keys.expire(found, End::Steady(end));
            }
        };
        let portions = |keys: &mut Keyspace, now| {
            let mut count = 1;
            while keys.tidy(4_096).is_some_and(|due| due <= now) {
                count += 1;
            }
            count
        };
        fill(&mut keys, 10);
        keys.set_now(at(200));
        assert_eq!((portions(&mut keys, 200), keys.len()), (3, 0));
        fill(&mut keys, 10_000);
        keys.clear();
        assert_eq!((portions(&mut keys, 200), keys.entries_to_free()), (3, 0));
    }

    #[test]
    fn what_was_flushed_makes_room_for_what_is_added_before_it_is_tidied_away() {
        let mut keys = Keyspace::new();
        let flushed =
            |keys: &Keyspace| keys.discarded.iter().map(|it| it.table.memory()).sum::<usize>();
        let fill = |keys: &mut Keyspace, len: usize| {
            let mut number = 0u32;
            while keys.used() < 100_000 {
                let found = keys.set(&number.to_be_bytes(), &vec![0; len]);
                keys.write(found, len, &vec![1; len]);
                number += 1;
                assert!(flushed(keys) + keys.used() < 110_000, "{len} bytes, {number} keys");
            }
        };
        for len in [1, 10, 100, 1_000, 10_000, 1, 1] {
            fill(&mut keys, len);
            keys.clear();
        }
        // Nothing to flush costs nothing, however often.
        let before = keys.discarded.len();
        (0..1_000).for_each(|_| keys.clear());
        assert_eq!(keys.discarded.len(), before);
        for _ in 0..1_000 {
            let found = keys.set(b"", b"");
            keys.remove(found);
            keys.clear();
        }
        assert!(flushed(&keys) < 110_000 && keys.discarded.len() <= before + 2);
    }

    #[test]
    fn databases_are_apart_and_their_memory_is_one_sum() {
        let mut keys = Keyspace::new();
        let empty = keys.used();
        for database in [0, 3, 15] {
            keys.select(database);
            let found = keys.set(b"key", format!("in {database}").as_bytes());
            keys.expire(found, End::Steady(1_000 + database as u64));
        }
        assert_eq!(keys.read(b"key"), Some(&b"in 15"[..]));
        assert_eq!(keys.select(1), 15);
        assert_eq!(keys.read(b"key"), None);
        assert_eq!((keys.len(), keys.len_of_all()), (0, 3));
        assert_eq!(keys.databases().map(|(number, _)| number).collect::<Vec<_>>(), [0, 3, 15]);
        keys.select(0);
        keys.clear();
        keys.set_now(at(1_100));
        keys.tidy(100);
        assert_eq!((keys.len_of_all(), keys.used()), (0, empty));
        keys.select(15);
        keys.set(b"key", b"value");
        keys.clear_all();
        assert_eq!((keys.len_of_all(), keys.used()), (0, empty));
    }

    #[test]
    fn walk_stops_where_it_is_told_to_and_goes_on_behind_that() {
        let mut keys = Keyspace::new();
        for number in 0..500u32 {
            let found = keys.set(&number.to_be_bytes(), b"");
            if number % 5 == 0 {
                keys.remove(found);
            }
        }
        let (mut place, mut seen, mut calls) = (u32::MAX, Vec::new(), 0);
        while place > 0 {
            let mut left = 7;
            place = keys.walk(place, |key| {
                seen.extend(key.map(<[u8]>::to_vec));
                left -= usize::from(key.is_some());
                left > 0
            });
            calls += 1;
        }
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), calls), (400, 58));
    }

    #[test]
    fn copy_in_another_database_has_the_end_of_the_first_and_outlives_it() {
        let mut keys = Keyspace::new();
        let found = keys.set(b"key", b"value");
        keys.expire(found, End::Steady(1_000));
        keys.within(3, |keys| keys.set(b"copy", b"replaced"));
        keys.copy(found, 3, b"copy");
        keys.remove(found);
        assert_eq!((keys.len(), keys.selected()), (0, 0));
        keys.select(3);
        let copy = keys.find(b"copy").expect("it was put there");
        assert_eq!((keys.value(copy), keys.len()), (&b"value"[..], 1));
        assert_eq!(keys.end_of(copy), Some(End::Steady(1_000)));
        assert_eq!(keys.cost(copy), keys.used());
        keys.set_now(at(1_000));
        assert!(keys.find(b"copy").is_none());
    }

    #[test]
    fn random_key_is_any_that_has_not_ended() {
        for count in [1, 2, 16, 1_000] {
            let mut keys = Keyspace::new();
            assert_eq!(keys.random(&mut 0), None);
            for number in 0..2 * count {
                let found = keys.set(format!("{number}").as_bytes(), b"");
                if number >= count {
                    keys.expire(found, End::Steady(1));
                }
            }
            keys.set_now(at(1));
            let mut times = BTreeMap::new();
            for _ in 0..100 * count {
                let key = keys.random(&mut 0).expect("there is one").to_vec();
                *times.entry(key).or_insert(0) += 1;
            }
            // Each a hundred times in the mean, or less where it shares a bucket.
            assert_eq!(times.len(), count, "{times:?}");
            assert!(times.values().all(|times| *times < 1_000 || count <= 16), "{times:?}");
        }
    }

    #[test]
    fn search_for_a_random_key_among_those_that_have_ended_is_given_up() {
        let mut keys = Keyspace::new();
        for number in 0..100_000u32 {
            let found = keys.set(&number.to_be_bytes(), b"");
            keys.expire(found, End::Steady(1));
        }
        keys.set_now(at(1));
        let before = keys.drawn;
        let mut steps = 0;
        assert_eq!((keys.random(&mut steps), steps), (None, RANDOM_STEPS));
        assert!(keys.drawn - before <= 2 + GUESSES as u64);
    }

    proptest! {
        #[test]
        fn memory_is_the_sum_of_what_is_there(
            steps in proptest::collection::vec((0u8..20, 0usize..8, 0usize..200, 0u64..50), 1..300),
        ) {
            let (mut keys, mut model, mut now) = (Keyspace::new(), BTreeMap::new(), 0);
            for (key, action, len, time) in steps {
                let (name, value) = ([key], vec![key; len]);
                now += time;
                keys.set_now(at(now));
                model.retain(|_, (_, end): &mut (Vec<u8>, u64)| *end > now);
                let found = keys.find(&name);
                prop_assert_eq!(found.is_some(), model.contains_key(&key));
                match (action, found) {
                    (0 | 1, _) => {
                        keys.set(&name, &value);
                        model.insert(key, (value, u64::MAX));
                    }
                    (2, Some(found)) => {
                        let len = keys.value(found).len();
                        keys.write(found, len, &value);
                        model.get_mut(&key).expect("it is there").0.extend(value);
                    }
                    (3, Some(found)) => {
                        keys.remove(found);
                        model.remove(&key);
                    }
                    (4, Some(found)) => {
                        keys.expire(found, End::Steady(now + len as u64 + 1));
                        model.get_mut(&key).expect("it is there").1 = now + len as u64 + 1;
                    }
                    (5, Some(found)) if len as u8 % 20 != key => {
                        keys.rename(found, &[len as u8 % 20]);
                        let moved = model.remove(&key).expect("it is there");
                        model.insert(len as u8 % 20, moved);
                    }
                    (6, Some(found)) if len as u8 % 20 != key => {
                        keys.copy(found, 0, &[len as u8 % 20]);
                        model.insert(len as u8 % 20, model[&key].clone());
                    }
                    _ => drop(keys.tidy(3)),
                }
            }
            let mut cost = 0;
            keys.tidy(1_000);
            for (key, (value, end)) in &model {
                let found = keys.find(&[*key]).expect("it has not ended");
                cost += keys.cost(found);
                prop_assert_eq!(keys.value(found), &value[..]);
                let found = keys.end_of(found).unwrap_or(End::Steady(u64::MAX));
                prop_assert_eq!(found, End::Steady(*end));
            }
            // The wheel removes what has ended at its next tick.
            prop_assert!(cost <= keys.used());
            for key in 0..20 {
                if let Some(found) = keys.find(&[key]) {
                    keys.remove(found);
                }
            }
            prop_assert_eq!((keys.used(), keys.len(), keys.here().expiring()), (0, 0, 0));
        }
    }
}
