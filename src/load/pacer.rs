//! The schedule of an open loop: when each message is due, whatever the server does.
//!
//! Message `i` of a thread is due at `base + i * interval` and belongs to client `i % clients`, so
//! that nothing has to be remembered of messages that could not leave yet: how many they are is
//! enough to know when each of them was due.

/// The messages of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    /// When the first message is due, in nanoseconds since the run began.
    base: u64,
    interval_ns: f64,
    clients: u64,
    next: u64,
}

impl Pacer {
    /// `rate` messages a second, over all threads; this is thread `thread` of `threads`, with so
    /// many clients.
    pub(super) fn new(rate: f64, start: u64, thread: usize, threads: usize, clients: u64) -> Pacer {
        let interval_ns = threads as f64 * 1e9 / rate;
        // The threads take turns.
        let base = start + (interval_ns * thread as f64 / threads as f64) as u64;
        Pacer { base, interval_ns, clients, next: 0 }
    }

    /// Takes the next message off the schedule if it is due before `until`: the place of the
    /// client it belongs to.
    pub(super) fn pop(&mut self, until: u64) -> Option<usize> {
        if self.clients == 0 || self.next_due() >= until {
            return None;
        }
        let place = self.next % self.clients;
        self.next += 1;
        Some(place as usize)
    }

    /// When the next message is due.
    pub(super) fn next_due(&self) -> u64 {
        self.due(self.next)
    }

    /// When message `number` of the client at `place` is due.
    pub(super) fn due_of(&self, place: usize, number: u64) -> u64 {
        self.due(number * self.clients + place as u64)
    }

    fn due(&self, index: u64) -> u64 {
        self.base + (index as f64 * self.interval_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_due_once_at_its_time_over_all_threads() {
        let start = 1_000_000;
        let mut due = Vec::new();
        for thread in 0..3 {
            let mut pacer = Pacer::new(1000.0, start, thread, 3, 4);
            let mut numbers = [0; 4];
            let mut at = pacer.next_due();
            while let Some(place) = pacer.pop(start + 100_000_000) {
                assert_eq!(pacer.due_of(place, numbers[place]), at);
                numbers[place] += 1;
                due.push(at);
                at = pacer.next_due();
            }
        }
        due.sort_unstable();
        assert_eq!(due.len(), 100);
        for (index, at) in due.iter().enumerate() {
            assert!(at.abs_diff(start + index as u64 * 1_000_000) <= 1, "{index}: {at}");
        }
    }

    #[test]
    fn schedule_without_clients_is_empty() {
        assert_eq!(Pacer::new(1e6, 0, 0, 1, 0).pop(u64::MAX), None);
    }
}
