//! The time of day, as the test says: a test binary with this file defines `clock_gettime` itself, and
//! adds an offset to what the kernel answers.

#![expect(unsafe_code, reason = "replacing a function of libc is what this file is for")]

use std::sync::atomic::{AtomicI64, Ordering};

/// Seconds by which the time of day is wrong.
pub(crate) static OFFSET: AtomicI64 = AtomicI64::new(0);

#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are the caller's, and the kernel checks them.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += OFFSET.load(Ordering::Relaxed) };
    }
    result
}
