//! Where the threads of a test run.

#![expect(unsafe_code, reason = "affinity is asked of libc alone")]

/// The calling thread, and those that it starts from now on, stay on the processor it is on: who
/// wakes whom, and how long that takes, is then the same in every run.
pub(crate) fn stay_on_this_processor() {
    // SAFETY: a zeroed set is an empty one; it lives through the calls, and its size is given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        // Where it is not permitted a test goes on without, and what it measures varies more.
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
