//! Virtual time: it passes when the simulation says so, a little with each call, a lot while the
//! loop sleeps. It may stand still and it may jump, but it never goes back.

/// Nanoseconds since the machine started.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    now_ns: u64,
    /// What one system call takes. 0: time stands still while there is work.
    pub(crate) call_ns: u64,
    /// What the process was told last: the time of its turn.
    told_ns: u64,
    /// Where it went on after its last jump.
    jumped_ns: u64,
}

/// Not 0, so that a program which takes 0 for "never" is found out.
const STARTED_NS: u64 = 1_000_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { now_ns: STARTED_NS, call_ns: 200, told_ns: STARTED_NS, jumped_ns: 0 }
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    pub(crate) fn jump(&mut self, ns: u64) {
        self.now_ns += ns;
        self.jumped_ns = self.now_ns;
    }

    pub(crate) fn jumped(&self) -> u64 {
        self.jumped_ns
    }

    pub(crate) fn tell(&mut self) -> u64 {
        self.told_ns = self.now_ns;
        self.now_ns
    }

    pub(crate) fn now(&self) -> u64 {
        self.now_ns
    }

    pub(crate) fn told(&self) -> u64 {
        self.told_ns
    }
}
