//! Keys that clients watch, to learn whether they have changed since.
//!
//! A watched key has a version, and a client notes which one it saw. So a write costs the same
//! however many watch its key, and to empty a database costs nothing however many keys of it are
//! watched: that is only counted, and each key finds out when it is looked at next.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::database::DATABASES;

#[derive(Debug, Default)]
pub(super) struct Watches {
    by_key: [HashMap<Arc<[u8]>, u32>; DATABASES],
    watched: Slab<Watched>,
    /// How often each database was emptied.
    flushes: [u64; DATABASES],
    used: usize,
}

#[derive(Debug)]
struct Watched {
    key: Arc<[u8]>,
    database: u8,
    watchers: u32,
    /// Goes up with each change.
    version: u64,
    /// Whether the key was there when this was brought up to date last.
    is_there: bool,
    /// The count of flushes up to which it is.
    flushes: u64,
}

/// A key that a client watches, and the version that it saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) watched: u32,
    pub(super) version: u64,
}

/// What a watched key costs beside its bytes: its places in two tables.
const WATCHED_OVERHEAD: usize = 128;
/// What each client that watches it costs: a place in a tree that may be half empty.
const WATCHER_OVERHEAD: usize = 48;

impl Watches {
    /// Bytes of memory that it takes to watch a key which nobody else watches.
    pub(super) fn cost(key: &[u8]) -> usize {
        key.len() + WATCHED_OVERHEAD + WATCHER_OVERHEAD
    }

    /// Whether nobody watches anything.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// One client more watches a key.
    pub(super) fn add(&mut self, database: usize, key: &[u8], is_there: bool) -> Seen {
        let (watched, flushes) = match self.find(database, key) {
            Some(found) => found,
            None => self.insert(database, key, is_there),
        };
        let entry = &mut self.watched[watched as usize];
        entry.catch_up(flushes);
        entry.watchers += 1;
        self.used += WATCHER_OVERHEAD;
        Seen { watched, version: entry.version }
    }

    /// One client less.
    pub(super) fn remove(&mut self, watched: u32) {
        let Some(entry) = self.watched.get_mut(watched as usize) else { return };
        entry.watchers -= 1;
        self.used -= WATCHER_OVERHEAD;
        if entry.watchers == 0 {
            let entry = self.watched.remove(watched as usize);
            self.by_key[usize::from(entry.database)].remove(&entry.key);
            self.used -= entry.key.len() + WATCHED_OVERHEAD;
        }
    }

    /// A key has changed; and whether it is there now.
    pub(super) fn touch(&mut self, database: usize, key: &[u8], is_there: bool) {
        if let Some((watched, flushes)) = self.find(database, key) {
            let entry = &mut self.watched[watched as usize];
            entry.catch_up(flushes);
            entry.version += 1;
            entry.is_there = is_there;
        }
    }

    /// A database was emptied.
    pub(super) fn flush(&mut self, database: usize) {
        self.flushes[database % DATABASES] += 1;
    }

    /// Where a key is that somebody watches.
    pub(super) fn place(&self, watched: u32) -> Option<(usize, Arc<[u8]>)> {
        let entry = self.watched.get(watched as usize)?;
        Some((entry.database.into(), entry.key.clone()))
    }

    /// Whether it has changed since a client saw it.
    pub(super) fn has_changed(&mut self, seen: Seen) -> bool {
        let Some(entry) = self.watched.get_mut(seen.watched as usize) else { return true };
        entry.catch_up(self.flushes[usize::from(entry.database)]);
        entry.version != seen.version
    }

    /// Bytes of memory.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// A watched key, and how often its database was emptied.
    fn find(&self, database: usize, key: &[u8]) -> Option<(u32, u64)> {
        let watched = *self.by_key[database % DATABASES].get(key)?;
        Some((watched, self.flushes[database % DATABASES]))
    }

    fn insert(&mut self, database: usize, key: &[u8], is_there: bool) -> (u32, u64) {
        let database = database % DATABASES;
        let (key, flushes) = (Arc::<[u8]>::from(key), self.flushes[database]);
        self.used += key.len() + WATCHED_OVERHEAD;
        let watched = Watched {
            key: key.clone(),
            database: database as u8,
            watchers: 0,
            version: 0,
            is_there,
            flushes,
        };
        let watched = self.watched.insert(watched) as u32;
        self.by_key[database].insert(key, watched);
        (watched, flushes)
    }
}

impl Watched {
    /// What has become of it by flushes. Only the first of them can have removed it.
    fn catch_up(&mut self, flushes: u64) {
        if self.flushes != flushes {
            self.flushes = flushes;
            self.version += u64::from(std::mem::take(&mut self.is_there));
        }
    }
}
