//! A hash table that never stops to grow, and whose iteration survives growth: linear hashing
//! (Litwin, 1980) over entries that keep their places.
//!
//! ```text
//!   buckets   0 1 2 3 4 5        N = 6: buckets 0 and 1 have been split into 0, 4 and 1, 5
//!             | | | | | |        the next insertion beyond the load splits 2 into 2, 6
//!
//!   a key lies in bucket hash & 7, or in hash & 3 where there is no such bucket yet
//!
//!   places    0 1 2 3 4 5 6 7    each holds an entry, or is free for the next one
//!                 <-----^        a walk goes down from the highest place
//! ```
//!
//! Each insertion splits at most one bucket and each removal joins at most two pairs, so nothing ever
//! waits for a table to be copied. An entry keeps its place for as long as its key is there, whatever
//! becomes of the buckets. So a place is a cursor: a walk from the highest place down to 0 meets every
//! key that was there all the time, and meets it once. Walks go downwards, because a table that grows
//! faster than it is walked grows at the other end. Their order is about that of insertions, and does
//! not tell which keys share a bucket.

/// A table of keys with a value each, both of them bytes.
pub(super) struct Table {
    /// The first entry of each bucket. There is none before the first key.
    heads: Vec<u32>,
    /// All entries; free entries form a list. The vector grows by reallocation: a large vector is moved by
    /// its page tables and not by its bytes.
    entries: Vec<Entry>,
    free: u32,
    len: usize,
}

/// A key and its value in one piece of memory.
struct Entry {
    bytes: Vec<u8>,
    /// `FREE` marks an entry that is none.
    key_len: u32,
    hash: u32,
    next: u32,
    /// What the owner of the table notes beside a key.
    tag: u32,
}

/// What a place for an entry costs: itself, and its share of a bucket.
pub(super) const PLACE_COST: usize = size_of::<Entry>() + size_of::<u32>();
/// What the allocator adds to a key with its value.
pub(super) const KEY_OVERHEAD: usize = 16;
/// What an entry costs beside its bytes.
pub(super) const ENTRY_OVERHEAD: usize = PLACE_COST + KEY_OVERHEAD;
/// No entry, no tag.
pub(super) const NONE: u32 = u32::MAX;
const FREE: u32 = u32::MAX;
/// Fewer buckets are not worth joining.
const BUCKETS_MIN: usize = 16;
/// So many places go back to the system at once.
const PLACES_FREED: usize = 64 << 10;
/// Capacity beyond four times what is used goes back, unless it is as little as this.
const WASTE_MIN: usize = 64;

impl Table {
    /// An empty table, which takes no memory of its own until a key is added.
    pub(super) const fn new() -> Self {
        Table { heads: Vec::new(), entries: Vec::new(), free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        let mut slot = *self.heads.get(self.bucket(hash))?;
        while let Some(entry) = self.entries.get(slot as usize) {
            if entry.hash == hash && entry.key() == key {
                return Some(slot);
            }
            slot = entry.next;
        }
        None
    }

    /// Adds a key that is not there, with its value behind it.
    pub(super) fn add(&mut self, hash: u32, key_len: usize, bytes: Vec<u8>) -> u32 {
        if self.heads.is_empty() {
            self.heads.resize(BUCKETS_MIN, NONE);
        }
        let entry = Entry { bytes, key_len: key_len as u32, hash, next: NONE, tag: NONE };
        let slot = self.free;
        let slot = match self.entries.get_mut(slot as usize) {
            Some(place) => {
                self.free = std::mem::replace(place, entry).next;
                slot
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.link(slot);
        self.len += 1;
        if self.len > self.heads.len() {
            self.split();
        }
        slot
    }

    /// Gives an entry another key, which is not there. The entry keeps its slot and its tag, and the
    /// value is moved once.
    pub(super) fn rename(&mut self, slot: u32, hash: u32, key: &[u8]) {
        self.unlink(slot);
        let entry = &mut self.entries[slot as usize];
        let key_len = entry.key_len as usize;
        if entry.suits(key.len() + entry.bytes.len() - key_len) {
            entry.bytes.splice(..key_len, key.iter().copied());
        } else {
            entry.bytes = [key, &entry.bytes[key_len..]].concat();
        }
        (entry.key_len, entry.hash) = (key.len() as u32, hash);
        self.link(slot);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if self.entries.get(slot as usize).is_none_or(Entry::is_free) {
            return;
        }
        self.unlink(slot);
        let free = Entry { bytes: Vec::new(), key_len: FREE, hash: 0, next: self.free, tag: NONE };
        self.entries[slot as usize] = free;
        self.free = slot;
        self.len -= 1;
        // Two, so that the buckets keep pace with the keys.
        for _ in 0..2 {
            if self.heads.len() > BUCKETS_MIN && self.len < self.heads.len() / 2 {
                self.join();
            }
        }
    }

    pub(super) fn key(&self, slot: u32) -> &[u8] {
        self.entries[slot as usize].key()
    }

    pub(super) fn value(&self, slot: u32) -> &[u8] {
        let entry = &self.entries[slot as usize];
        &entry.bytes[entry.key_len as usize..]
    }

    /// Bytes of memory that the key and its value take.
    pub(super) fn cost(&self, slot: u32) -> usize {
        self.entries[slot as usize].bytes.capacity()
    }

    /// Replaces key and value by bytes that begin with the same key.
    pub(super) fn replace(&mut self, slot: u32, bytes: Vec<u8>) {
        debug_assert!(bytes.starts_with(self.key(slot)));
        self.entries[slot as usize].bytes = bytes;
    }

    /// Replaces a value, where it stands if it fits.
    pub(super) fn set_value(&mut self, slot: u32, value: &[u8]) {
        let entry = &mut self.entries[slot as usize];
        let key_len = entry.key_len as usize;
        if !entry.suits(key_len + value.len()) {
            let mut bytes = Vec::with_capacity(key_len + value.len());
            bytes.extend_from_slice(&entry.bytes[..key_len]);
            entry.bytes = bytes;
        }
        entry.bytes.truncate(key_len);
        entry.bytes.extend_from_slice(value);
    }

    /// Writes into a value from a place on. Where the value ends before that place, zeros come
    /// between; its memory doubles when it is full.
    pub(super) fn write(&mut self, slot: u32, at: usize, bytes: &[u8]) {
        let growth = self.growth(slot, at + bytes.len());
        let entry = &mut self.entries[slot as usize];
        let capacity = entry.bytes.capacity() + growth;
        entry.bytes.reserve_exact(capacity - entry.bytes.len());
        let start = entry.key_len as usize + at;
        if entry.bytes.len() < start {
            entry.bytes.resize(start, 0);
        }
        let (within, behind) = bytes.split_at(bytes.len().min(entry.bytes.len() - start));
        entry.bytes[start..start + within.len()].copy_from_slice(within);
        entry.bytes.extend_from_slice(behind);
    }

    /// Bytes of memory by which an entry grows when so long a value is written into it.
    pub(super) fn growth(&self, slot: u32, len: usize) -> usize {
        let entry = &self.entries[slot as usize];
        let (capacity, needed) = (entry.bytes.capacity(), entry.key_len as usize + len);
        if needed <= capacity { 0 } else { needed.max(2 * capacity) - capacity }
    }

    pub(super) fn tag(&self, slot: u32) -> u32 {
        self.entries[slot as usize].tag
    }

    pub(super) fn set_tag(&mut self, slot: u32, tag: u32) {
        self.entries[slot as usize].tag = tag;
    }

    pub(super) fn buckets(&self) -> usize {
        self.heads.len()
    }

    /// The entries of one bucket.
    pub(super) fn entries_of(&self, bucket: usize) -> impl Iterator<Item = u32> {
        let next = |slot: &u32| self.entries.get(*slot as usize).map(|entry| entry.next);
        let first = self.heads.get(bucket).copied();
        std::iter::successors(first, next).take_while(|slot| *slot != NONE)
    }

    /// The places below `place`, from the highest down, and whether each holds an entry.
    pub(super) fn below(&self, place: u32) -> impl Iterator<Item = (u32, bool)> {
        let places = self.entries.len().min(place as usize);
        let entries = self.entries[..places].iter().enumerate().rev();
        entries.map(|(slot, entry)| (slot as u32, !entry.is_free()))
    }

    /// Places for entries, whether they are taken or free.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// Whether it takes no memory that grows with what it has held.
    pub(super) fn is_unused(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the places of entries, where there is none left.
    pub(super) fn forget_places(&mut self) {
        if self.len == 0 {
            self.entries.clear();
            self.free = NONE;
        }
    }

    /// Frees one entry and returns what it took. The table is of no other use any more.
    pub(super) fn dismantle(&mut self) -> usize {
        // What many have left goes back piece by piece, as the system takes its time for each page.
        if self.entries.len().is_multiple_of(PLACES_FREED) {
            self.entries.shrink_to_fit();
        }
        self.entries.pop().map_or(0, |entry| entry.bytes.capacity() + ENTRY_OVERHEAD)
    }

    /// What all entries take, those included that are free.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes.capacity() + ENTRY_OVERHEAD).sum()
    }

    /// Puts an entry into the bucket of its hash.
    fn link(&mut self, slot: u32) {
        let bucket = self.bucket(self.entries[slot as usize].hash);
        self.entries[slot as usize].next = std::mem::replace(&mut self.heads[bucket], slot);
    }

    /// Takes an entry out of its bucket.
    fn unlink(&mut self, slot: u32) {
        let Entry { hash, next, .. } = self.entries[slot as usize];
        let bucket = self.bucket(hash);
        if self.heads[bucket] == slot {
            self.heads[bucket] = next;
            return;
        }
        let mut before = self.heads[bucket] as usize;
        while self.entries[before].next != slot {
            before = self.entries[before].next as usize;
        }
        self.entries[before].next = next;
    }

    fn bucket(&self, hash: u32) -> usize {
        let mask = self.heads.len().next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        if bucket < self.heads.len() { bucket } else { bucket & (mask >> 1) }
    }

    /// Adds a bucket, and moves to it what now belongs there.
    fn split(&mut self) {
        let new = self.heads.len();
        let old = new - (new + 1).next_power_of_two() / 2;
        self.heads.push(NONE);
        let mut slot = std::mem::replace(&mut self.heads[old], NONE);
        while slot != NONE {
            let next = self.entries[slot as usize].next;
            self.link(slot);
            slot = next;
        }
    }

    /// Takes the last bucket away, and moves what it held to the one that it was split from.
    fn join(&mut self) {
        let Some(mut slot) = self.heads.pop() else { return };
        while slot != NONE {
            let next = self.entries[slot as usize].next;
            self.link(slot);
            slot = next;
        }
    }
}

impl Entry {
    fn is_free(&self) -> bool {
        self.key_len == FREE
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    /// Whether its memory is enough for so many bytes, and not far too much.
    fn suits(&self, needed: usize) -> bool {
        let capacity = self.bytes.capacity();
        needed <= capacity && (capacity <= WASTE_MIN || needed >= capacity / 4)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A hash of which tests can foresee collisions.
    fn hash(key: &[u8]) -> u32 {
        key.iter().fold(7u32, |hash, byte| hash.wrapping_mul(0x9e37_79b1) ^ u32::from(*byte))
    }

    fn key(number: u32) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    fn insert(table: &mut Table, hash: u32, key: &[u8], value: &[u8]) -> u32 {
        table.add(hash, key.len(), [key, value].concat())
    }

    fn put(table: &mut Table, key: &[u8], value: &[u8]) {
        match table.find(hash(key), key) {
            Some(slot) => table.set_value(slot, value),
            None => drop(insert(table, hash(key), key, value)),
        }
    }

    fn delete(table: &mut Table, key: &[u8]) -> bool {
        let slot = table.find(hash(key), key);
        slot.map(|slot| table.remove(slot)).is_some()
    }

    fn overwrite(value: &mut Vec<u8>, at: usize, bytes: &[u8]) {
        value.resize(value.len().max(at + bytes.len()), 0);
        value[at..at + bytes.len()].copy_from_slice(bytes);
    }

    proptest! {
        #[test]
        fn holds_what_a_map_holds(
            steps in proptest::collection::vec((0u32..300, 0usize..5, 0usize..300), 1..600),
        ) {
            let (mut table, mut model) = (Table::new(), BTreeMap::new());
            for (number, action, len) in steps {
                let (key, value) = (key(number), vec![number as u8; len]);
                match action {
                    0 | 1 => {
                        put(&mut table, &key, &value);
                        model.insert(key, value);
                    }
                    2 => {
                        let slot = table.find(hash(&key), &key);
                        prop_assert_eq!(slot.is_some(), model.contains_key(&key));
                        if let Some(slot) = slot {
                            let growth = table.growth(slot, len / 2 + value.len());
                            let cost = table.cost(slot);
                            table.write(slot, len / 2, &value);
                            prop_assert_eq!(table.cost(slot), cost + growth);
                            overwrite(model.entry(key).or_default(), len / 2, &value);
                        }
                    }
                    3 => {
                        let other = [&key[..], &value[..len / 3]].concat();
                        let (from, to) = (table.find(hash(&key), &key), hash(&other));
                        if let Some(slot) = from.filter(|_| !model.contains_key(&other)) {
                            table.set_tag(slot, number);
                            table.rename(slot, to, &other);
                            prop_assert_eq!(table.tag(slot), number);
                            let value = model.remove(&key).expect("it is there");
                            model.insert(other, value);
                        }
                    }
                    _ => prop_assert_eq!(delete(&mut table, &key), model.remove(&key).is_some()),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (key, value) in &model {
                let slot = table.find(hash(key), key).expect("it was put there");
                prop_assert_eq!((table.key(slot), table.value(slot)), (&key[..], &value[..]));
            }
            let entries = table.below(u32::MAX).filter(|(_, is_entry)| *is_entry);
            prop_assert_eq!(entries.count(), model.len());
            let chains = (0..table.buckets()).map(|bucket| table.entries_of(bucket).count());
            prop_assert_eq!(chains.sum::<usize>(), model.len());
        }

        /// Growing and shrinking by any amount between any two steps of the walk.
        #[test]
        fn walk_meets_each_key_that_stays_exactly_once(
            staying in 0u32..200,
            changes in proptest::collection::vec((0u32..2_000, any::<bool>(), 1u32..400), 0..40),
        ) {
            let mut table = Table::new();
            (0..staying).for_each(|number| put(&mut table, &key(number), b""));
            let (mut cursor, mut met) = (u32::MAX, Vec::new());
            let mut changes = changes.into_iter();
            // One place at a time.
            loop {
                let next = table.below(cursor).next();
                let Some((place, is_entry)) = next else { break };
                met.extend(is_entry.then(|| table.key(place).to_vec()));
                cursor = place;
                if let Some((from, grow, count)) = changes.next() {
                    for number in from..from + count {
                        let key = key(1_000_000 + number);
                        if grow { put(&mut table, &key, b"") } else { delete(&mut table, &key); }
                    }
                    table.forget_places();
                }
            }
            for number in 0..staying {
                let times = met.iter().filter(|met| **met == key(number)).count();
                prop_assert_eq!(times, 1, "key {}", number);
            }
        }
    }

    #[test]
    fn buckets_follow_the_number_of_keys_one_at_a_time() {
        let mut table = Table::new();
        for number in 0..5000 {
            let before = table.heads.len().max(BUCKETS_MIN);
            put(&mut table, &key(number), b"");
            assert!(table.heads.len() - before <= 1);
        }
        assert_eq!(table.heads.len(), 5000);
        for number in 0..5000 {
            let before = table.heads.len();
            delete(&mut table, &key(number));
            assert!(before - table.heads.len() <= 2);
        }
        assert!(table.heads.len() <= BUCKETS_MIN, "{}", table.heads.len());
    }

    #[test]
    fn value_of_the_same_size_is_written_where_the_old_one_stood() {
        let mut table = Table::new();
        let slot = insert(&mut table, 1, b"key", b"value");
        let address = table.value(slot).as_ptr();
        table.set_value(slot, b"other");
        table.set_value(slot, b"");
        table.set_value(slot, b"12345");
        assert_eq!((table.value(slot), table.value(slot).as_ptr()), (&b"12345"[..], address));
        table.set_value(slot, &[1; 1000]);
        table.set_value(slot, b"small");
        assert!(table.cost(slot) < 100, "a large block is not kept for a small value");
    }
}
