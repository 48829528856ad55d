//! Which part of the load is a thread's: its connections, its messages, and its number among all.

use std::sync::mpsc::Sender;
use std::time::Instant;

use super::note::Note;
use super::route::Route;

/// Which part of the load is a thread's.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) thread: usize,
    pub(super) threads: usize,
    /// Every time is counted from here.
    pub(super) epoch: Instant,
    pub(super) route: Route,
    pub(super) notes: Sender<Note>,
}

impl Share {
    /// The number of a client over all threads.
    pub(super) fn number(&self, client: usize) -> usize {
        client * self.threads + self.thread
    }

    /// How many of `all` are this thread's.
    pub(super) fn part_of(&self, all: u64) -> u64 {
        part_of(all, self.thread, self.threads)
    }
}

/// How many of `all` belong to one of several threads. The parts differ by one at most.
pub(super) fn part_of(all: u64, thread: usize, threads: usize) -> u64 {
    let (threads, thread) = (threads as u64, thread as u64);
    all / threads + u64::from(thread < all % threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_differ_by_one_at_most() {
        for (all, threads) in [(0, 1), (1, 3), (7, 3), (9, 3), (u64::MAX, 2), (50, 256)] {
            let parts = (0..threads).map(|thread| part_of(all, thread, threads));
            assert_eq!(parts.clone().sum::<u64>(), all);
            assert!(parts.clone().max() <= parts.min().map(|least| least + 1), "{all} {threads}");
        }
    }
}
