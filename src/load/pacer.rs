//! The schedule of an open loop: when each message is due, whatever the server does.
//!
//! Message `i` of a thread is message `g = i * threads + thread` of all, due at `start + g / rate` where
//! there are no bursts, and belongs to client `i % clients`, so that nothing has to be remembered of
//! messages that could not leave yet: how many they are is enough to know when each of them was due.

use super::plan::Plan;
use super::pulse::PulseTimes;
use super::window::Window;

/// The messages of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    /// When the first message of all is due, in nanoseconds since the run began.
    start: u64,
    rate: f64,
    pulses: Option<PulseTimes>,
    thread: u64,
    threads: u64,
    clients: u64,
    next: u64,
}

impl Pacer {
    /// The schedule of a thread that has so many clients, if the plan has one. The threads take turns.
    pub(super) fn new(plan: &Plan, thread: usize, window: Window, clients: usize) -> Option<Pacer> {
        let rate = plan.rate?;
        let pulses = plan.pulse.as_ref().map(|pulse| PulseTimes::new(pulse, window));
        let (thread, threads, clients) = (thread as u64, plan.threads as u64, clients as u64);
        Some(Pacer { start: window.start, rate, pulses, thread, threads, clients, next: 0 })
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
        let number = (index * self.threads + self.thread) as f64;
        match &self.pulses {
            Some(pulses) => pulses.due(number, self.start, self.rate),
            None => self.start + (number * 1e9 / self.rate) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(rate: f64, start: u64, thread: u64, threads: u64, clients: u64) -> Pacer {
        Pacer { start, rate, pulses: None, thread, threads, clients, next: 0 }
    }

    #[test]
    fn every_message_is_due_once_at_its_time_over_all_threads() {
        let start = 1_000_000;
        let mut due = Vec::new();
        for thread in 0..3 {
            let mut pacer = pacer(1000.0, start, thread, 3, 4);
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
        assert_eq!(pacer(1e6, 0, 0, 1, 0).pop(u64::MAX), None);
    }
}
