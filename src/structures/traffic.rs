//! Since when each connection is there, and how much it has received and sent, in twelve bytes for each.

use std::collections::BTreeMap;

/// The accounts of all connections, by key; none at all unless they are kept.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    is_kept: bool,
    entries: Vec<Entry>,
    /// What does not fit into an entry. Few connections have any.
    carries: BTreeMap<usize, Carry>,
}

/// The upper four bits of each counter are not its own: they belong to the time.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    began_low: u32,
    received: u32,
    sent: u32,
}

/// In units of [`COUNT`] and one.
#[derive(Clone, Copy, Debug, Default)]
struct Carry {
    received: u64,
    sent: u64,
    dropped: u64,
}

/// What one connection was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) age_ms: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Bytes of output that were dropped before the end.
    pub(crate) dropped: u64,
}

impl Account {
    /// Whether no byte went in either direction.
    pub(crate) fn moved_nothing(&self) -> bool {
        self.received == 0 && self.sent == 0
    }
}

const COUNT_BITS: u32 = 28;
/// What a counter has room for; beyond it one is carried.
const COUNT: u64 = 1 << COUNT_BITS;
const MASK: u32 = COUNT as u32 - 1;

impl Traffic {
    pub(crate) fn new(is_kept: bool) -> Self {
        Traffic { is_kept, ..Traffic::default() }
    }

    /// A connection begins under a key, which is at most one beyond all that there were.
    pub(crate) fn begin(&mut self, key: usize, now_ms: u64) {
        if !self.is_kept {
            return;
        }
        // 40 bits of milliseconds are 34 years.
        let high = |bits: u64| ((now_ms >> bits) as u32) << COUNT_BITS;
        let entry = Entry { began_low: now_ms as u32, received: high(32), sent: high(36) };
        match self.entries.get_mut(key) {
            Some(former) => *former = entry,
            None => self.entries.push(entry),
        }
    }

    pub(crate) fn received(&mut self, key: usize, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(over) = add(&mut entry.received, bytes)
        {
            self.carries.entry(key).or_default().received += over;
        }
    }

    pub(crate) fn sent(&mut self, key: usize, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(over) = add(&mut entry.sent, bytes)
        {
            self.carries.entry(key).or_default().sent += over;
        }
    }

    /// Output was dropped, and the connection is about to end.
    pub(crate) fn dropped(&mut self, key: usize, bytes: usize) {
        if self.is_kept && bytes > 0 {
            self.carries.entry(key).or_default().dropped += bytes as u64;
        }
    }

    /// A connection ends. What it was, if accounts are kept.
    pub(crate) fn end(&mut self, key: usize, now_ms: u64) -> Option<Account> {
        let entry = self.entries.get(key)?;
        let carry = match self.carries.is_empty() {
            true => Carry::default(),
            false => self.carries.remove(&key).unwrap_or_default(),
        };
        let bits = |word: u32| u64::from(word >> COUNT_BITS);
        let began =
            u64::from(entry.began_low) | bits(entry.received) << 32 | bits(entry.sent) << 36;
        let total = |word: u32, carry: u64| carry * COUNT + u64::from(word & MASK);
        Some(Account {
            age_ms: now_ms.saturating_sub(began),
            received: total(entry.received, carry.received),
            sent: total(entry.sent, carry.sent),
            dropped: carry.dropped,
        })
    }
}

/// Adds to a counter, and returns what is to be carried, if anything is.
fn add(word: &mut u32, bytes: usize) -> Option<u64> {
    let sum = u64::from(*word & MASK) + bytes as u64;
    *word = *word & !MASK | (sum as u32) & MASK;
    (sum >= COUNT).then_some(sum >> COUNT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_exact_for_any_age_and_any_number_of_bytes() {
        let mut traffic = Traffic::new(true);
        let began = 5 << 36 | 7 << 32 | 123;
        traffic.begin(0, began);
        for bytes in [0, 1, MASK as usize, 1 << 30, 77] {
            traffic.received(0, bytes);
            traffic.sent(0, bytes);
            traffic.sent(0, 3);
        }
        traffic.dropped(0, 9);
        let received = 1 + u64::from(MASK) + (1 << 30) + 77;
        let account = Account { age_ms: 1 << 33, received, sent: received + 15, dropped: 9 };
        assert_eq!(traffic.end(0, began + (1 << 33)), Some(account));
        traffic.begin(0, began);
        assert_eq!(
            traffic.end(0, began),
            Some(Account::default()),
            "nothing is left of the one before"
        );
    }

    #[test]
    fn nothing_is_kept_unless_it_is_asked_for() {
        let mut traffic = Traffic::new(false);
        traffic.begin(0, 5);
        traffic.received(0, 5);
        traffic.dropped(0, 5);
        assert_eq!(traffic.end(0, 9), None);
        assert!(traffic.entries.capacity() == 0 && traffic.carries.is_empty());
        assert_eq!(size_of::<Entry>(), 12);
    }
}
