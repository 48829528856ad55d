//! How much of a turn is the simulation's own time. Two clocks that cost next to nothing: the
//! processor's cycle counter, read around everything that the simulated kernel does.

#![expect(unsafe_code, reason = "the cycle counter is an intrinsic")]

use std::cell::Cell;

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    static SPENT: Cell<u64> = const { Cell::new(0) };
}

/// Cycles since some moment; on other processors none, and what is measured is the whole.
pub(crate) fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has the counter.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Cycles of `f`, without those that the simulation spent in it.
pub(crate) fn program_cycles(f: impl FnOnce()) -> u64 {
    SPENT.set(0);
    IS_RUNNING.set(true);
    let began = cycles();
    f();
    let all = cycles() - began;
    IS_RUNNING.set(false);
    all - SPENT.get()
}

/// The simulation begins to work; `None` when nobody measures.
pub(crate) fn begin() -> Option<u64> {
    IS_RUNNING.get().then(cycles)
}

pub(crate) fn end(began: Option<u64>) {
    if let Some(began) = began {
        SPENT.set(SPENT.get() + (cycles() - began));
    }
}
