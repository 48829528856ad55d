//! What was called, in which order, with which outcome: counted, condensed into one number by which
//! two runs are compared, and the last of it kept for the report of a violation.

use std::fmt;

use libc::c_int;

use crate::kernel::{Answer, DESCRIPTORS_FROM};
use crate::libc_symbols::Call;

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) calls: u64,
    pub(crate) by_call: [u64; Call::ALL.len()],
    pub(crate) hash: u64,
    recent: Box<[Entry; RECENT]>,
    /// The first calls, in order.
    pub(crate) order: Vec<Call>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    call: Call,
    fd: c_int,
    answer: Answer<i64>,
    at_ns: u64,
}

/// So many calls are shown.
const RECENT: usize = 64;
/// So many are remembered by their name.
const ORDER_MAX: usize = 1024;

impl Default for Trace {
    fn default() -> Self {
        let nothing = Entry { call: Call::Close, fd: -1, answer: Ok(0), at_ns: 0 };
        Trace {
            calls: 0,
            by_call: [0; Call::ALL.len()],
            hash: 0,
            order: Vec::with_capacity(ORDER_MAX),
            recent: Box::new([nothing; RECENT]),
        }
    }
}

impl Trace {
    pub(crate) fn record(&mut self, call: Call, fd: c_int, answer: Answer<i64>, at_ns: u64) {
        self.recent[self.calls as usize % RECENT] = Entry { call, fd, answer, at_ns };
        self.calls += 1;
        if self.order.len() < ORDER_MAX {
            self.order.push(call);
        }
        self.by_call[call as usize] += 1;
        let outcome = answer.unwrap_or_else(|errno| -i64::from(errno)) as u64;
        let word = outcome ^ (fd as u64) << 32 ^ (call as u64) << 56 ^ at_ns.rotate_left(17);
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

impl fmt::Display for Trace {
    /// The last calls, oldest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.calls.saturating_sub(RECENT as u64);
        for number in first..self.calls {
            let Entry { call, fd, answer, at_ns } = self.recent[number as usize % RECENT];
            let fd = if fd < DESCRIPTORS_FROM { fd } else { fd - DESCRIPTORS_FROM };
            let name = format!("{call:?}").to_lowercase();
            write!(f, "  {number:>7} {:>13} us  {name}({fd}) = ", at_ns / 1000)?;
            match answer {
                Ok(value) => writeln!(f, "{value}")?,
                Err(errno) => writeln!(f, "{}", std::io::Error::from_raw_os_error(errno))?,
            }
        }
        Ok(())
    }
}
