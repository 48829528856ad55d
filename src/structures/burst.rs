//! When memory that a burst needed is to be looked for: a second after most of the burst is gone.

use super::spare::is_spacious;

/// What there was at most since memory was looked for last, and when that is done next.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    due_ms: Option<u64>,
    connections_most: usize,
    /// Bytes of buffers that were held between two turns.
    leased_most: usize,
}

/// Bytes of buffers that are worth a look once they have come back.
const MANY_BUFFERS: usize = 16 << 20;
/// By then a burst is over, or goes on and needs its room.
const LOOK_AFTER_MS: u64 = 1000;

impl Burst {
    /// Memory is looked for in a second, or earlier if that is about to be done.
    pub(crate) fn look_later(&mut self, now_ms: u64) {
        self.due_ms.get_or_insert(now_ms + LOOK_AFTER_MS);
    }

    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Takes the time to look, if that time has come.
    pub(crate) fn takes_look(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|due_ms| *due_ms <= now_ms).is_some()
    }

    /// There are so many connections now.
    pub(crate) fn note_connections(&mut self, count: usize) {
        self.connections_most = self.connections_most.max(count);
    }

    /// A connection has ended, and so many are left.
    pub(crate) fn connection_ended(&mut self, left: usize, now_ms: u64) {
        if is_spacious(left, self.connections_most) {
            self.look_later(now_ms);
        }
    }

    /// So many bytes of buffers are held between two turns.
    pub(crate) fn note_buffers(&mut self, leased: usize, now_ms: u64) {
        self.leased_most = self.leased_most.max(leased);
        if self.leased_most > MANY_BUFFERS && leased < self.leased_most / 4 {
            self.look_later(now_ms);
        }
    }

    /// Memory was looked for, and so much is in use.
    pub(crate) fn begin_anew(&mut self, connections: usize, leased: usize) {
        (self.connections_most, self.leased_most) = (connections, leased);
    }
}
