//! What may go wrong with a call, and how often: drawn for each seed, so that some runs meet nothing
//! but interrupted calls and others everything at once.
//!
//! A fault changes what is true and then lets the call say so: a short read puts the rest back on
//! its way, so that an event will follow; a failed connection fails for both its ends. `EAGAIN` is
//! never made up, because an edge-triggered program is right to believe it.

use libc::c_int;

use crate::libc_symbols::Call;
use crate::random::Random;

/// Kinds of fault, each with a probability of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Class {
    /// `EINTR`.
    Interrupt,
    ShortRead,
    ShortWrite,
    /// `EMFILE`, `ENFILE`.
    Descriptors,
    /// `ENOBUFS`, `ENOMEM`.
    Memory,
    /// `ECONNABORTED`, `EPROTO` and their like: the connection that waited is lost.
    Aborted,
    /// `ENOMEM`, `ENOSPC` of `epoll_ctl`.
    Registration,
    /// `ECONNRESET`, `EPIPE`, `ETIMEDOUT`: a connection ends.
    Cut,
    /// Refusals of calls that set or ask something.
    Option,
    /// An event without a cause.
    Spurious,
    /// Events of a closed descriptor.
    Ghost,
    /// Time jumps.
    Jump,
    /// A task from elsewhere, between any two calls.
    Wake,
}

impl Class {
    pub(crate) const ALL: [Class; 13] = [
        Class::Interrupt,
        Class::ShortRead,
        Class::ShortWrite,
        Class::Descriptors,
        Class::Memory,
        Class::Aborted,
        Class::Registration,
        Class::Cut,
        Class::Option,
        Class::Spurious,
        Class::Ghost,
        Class::Jump,
        Class::Wake,
    ];
}

/// How often each class strikes, in a thousand.
pub(crate) type Rates = [u16; Class::ALL.len()];

#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) rates: Rates,
    random: Random,
    /// Set while a phase is to go without.
    pub(crate) is_off: bool,
    pub(crate) count: u64,
    /// The one call that fails, counted from the first, and its errno.
    pub(crate) planned: Option<(u64, c_int)>,
}

impl Faults {
    pub(crate) fn new(rates: Rates, seed: u64) -> Self {
        Faults { rates, random: Random::new(seed), is_off: false, count: 0, planned: None }
    }

    pub(crate) fn none() -> Self {
        Faults::new([0; Class::ALL.len()], 0)
    }

    /// Whether this class strikes now.
    pub(crate) fn strikes(&mut self, class: Class) -> bool {
        let strikes = !self.is_off && self.random.chance(self.rates[class as usize]);
        self.count += u64::from(strikes);
        strikes
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    /// The errno with which this call fails, if it does.
    pub(crate) fn errno(&mut self, call: Call) -> Option<c_int> {
        if self.is_off {
            return None;
        }
        let mut chosen = None;
        for (class, errnos) in errnos_of(call) {
            if chosen.is_none() && self.strikes(*class) {
                chosen = Some(self.random.pick(errnos));
            }
        }
        chosen
    }
}

const INTERRUPTED: (Class, &[c_int]) = (Class::Interrupt, &[libc::EINTR]);
const DESCRIPTORS: (Class, &[c_int]) = (Class::Descriptors, &[libc::EMFILE, libc::ENFILE]);
const MEMORY: (Class, &[c_int]) = (Class::Memory, &[libc::ENOBUFS, libc::ENOMEM]);
const ABORTED: &[c_int] = &[
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::EPERM,
    libc::ENOPROTOOPT,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ETIMEDOUT,
];
const CUT_READ: &[c_int] = &[libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH];
const CUT_WRITE: &[c_int] = &[libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT, libc::ENETUNREACH];
const UNSETTABLE: &[c_int] = &[libc::ENOBUFS, libc::ENOMEM];

/// What a call may fail with, by class, in the middle of a run.
fn errnos_of(call: Call) -> &'static [(Class, &'static [c_int])] {
    match call {
        Call::EpollWait | Call::Read | Call::Write => &[INTERRUPTED],
        Call::Accept4 => &[INTERRUPTED, DESCRIPTORS, MEMORY, (Class::Aborted, ABORTED)],
        Call::EpollCtl => &[(Class::Registration, &[libc::ENOMEM, libc::ENOSPC])],
        Call::Recv | Call::Readv => &[INTERRUPTED, (Class::Cut, CUT_READ)],
        Call::Send | Call::Writev => &[INTERRUPTED, MEMORY, (Class::Cut, CUT_WRITE)],
        Call::Close => &[INTERRUPTED],
        Call::Connect => &[(Class::Option, &[libc::EADDRNOTAVAIL, libc::ENETUNREACH])],
        Call::Setsockopt | Call::Getsockopt | Call::Getpeername => &[(Class::Option, UNSETTABLE)],
        Call::Shutdown => &[(Class::Option, &[libc::ENOTCONN])],
        Call::Socket => &[DESCRIPTORS, MEMORY],
        _ => &[],
    }
}
