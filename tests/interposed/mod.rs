//! Stands between the program under test and the kernel: this test binary itself defines the libc
//! functions that std, mio and socket2 call for a reactor, and each passes the call on with
//! `libc::syscall`.
//!
//! The linker takes a function that the executable defines before libc's, unmodified dependencies
//! included, so that the very reactor that ships is counted and refused here without a seam in its
//! source. Everything is kept for each thread by itself, and nothing happens outside [`watch`]:
//! tests of one binary run side by side, and a client on the test's own thread is neither counted
//! nor refused.
//!
//! ```text
//!   reactor -> mio, std -> recv (here) -> count -> refuse? -> errno
//!                                                      \----> libc::syscall -> kernel
//! ```
//!
//! A refusal is a lie only about what the kernel could have said at that moment. `EAGAIN` is never
//! true while bytes or connections wait, and an edge-triggered program may rely on that: whoever
//! injects it must cause a new edge himself.
//!
//! Each binary that uses this begins with a canary: if std comes to call another function, counts
//! of zero must not pass for good ones.

#![expect(unsafe_code, reason = "replacing libc's functions is what this file is for")]
#![allow(dead_code, reason = "each test binary uses its own part of this vocabulary")]

pub(crate) mod stage;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_long, c_void, epoll_event, iovec, size_t, sockaddr, socklen_t, ssize_t};

/// The functions that are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Call {
    EpollWait,
    EpollCtl,
    Accept4,
    Recv,
    Send,
    Read,
    Write,
    Readv,
    Writev,
    Close,
    Shutdown,
    Setsockopt,
    Getsockopt,
    Getpeername,
    Connect,
}

impl Call {
    pub(crate) const ALL: [Call; 15] = [
        Call::EpollWait,
        Call::EpollCtl,
        Call::Accept4,
        Call::Recv,
        Call::Send,
        Call::Read,
        Call::Write,
        Call::Readv,
        Call::Writev,
        Call::Close,
        Call::Shutdown,
        Call::Setsockopt,
        Call::Getsockopt,
        Call::Getpeername,
        Call::Connect,
    ];
}

/// The calls of one thread while it is watched. Other threads may look.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Call::ALL.len()]);

/// A copy of [`Counters`] at one moment, or the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; Call::ALL.len()]);

impl Counters {
    pub(crate) fn now(&self) -> Counts {
        Counts(std::array::from_fn(|call| self.0[call].load(Ordering::Relaxed)))
    }
}

impl Counts {
    pub(crate) fn of(&self, call: Call) -> u64 {
        self.0[call as usize]
    }

    pub(crate) fn since(&self, earlier: Counts) -> Counts {
        Counts(std::array::from_fn(|call| self.0[call] - earlier.0[call]))
    }

    /// Every call but those in `except`.
    pub(crate) fn all_but(&self, except: &[Call]) -> u64 {
        Call::ALL.iter().filter(|call| !except.contains(call)).map(|call| self.of(*call)).sum()
    }
}

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    call: Call,
    /// Only on this descriptor.
    fd: Option<RawFd>,
    /// So many calls that match go through first.
    after: u64,
    errno: c_int,
}

/// Changes the events of one `epoll_wait`, before mio sees them.
pub(crate) type Rewrite = Box<dyn FnMut(&mut Vec<epoll_event>)>;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static COUNTERS: Cell<Option<&'static Counters>> = const { Cell::new(None) };
    static REFUSALS: RefCell<Vec<Refusal>> = const { RefCell::new(Vec::new()) };
    static REGISTERED: RefCell<Vec<(RawFd, u64)>> = const { RefCell::new(Vec::new()) };
    static WAIT_MAX_MS: Cell<Option<c_int>> = const { Cell::new(None) };
    static REWRITE: RefCell<Option<Rewrite>> = const { RefCell::new(None) };
}

/// Runs `f` with this thread's calls counted, and refused as planned.
pub(crate) fn watch<T>(f: impl FnOnce() -> T) -> T {
    struct Unwatch;
    impl Drop for Unwatch {
        fn drop(&mut self) {
            WATCHED.set(false);
        }
    }
    WATCHED.set(true);
    let _unwatch = Unwatch;
    f()
}

/// Whether the reactor is at work on this thread now.
pub(crate) fn is_watched() -> bool {
    WATCHED.try_with(Cell::get).unwrap_or(false)
}

/// This thread's counters.
pub(crate) fn counters() -> &'static Counters {
    COUNTERS.get().unwrap_or_else(|| {
        // Leaked, so that counting never meets a destructor: a few bytes for each thread of a test.
        let counters: &'static Counters = Box::leak(Box::default());
        COUNTERS.set(Some(counters));
        counters
    })
}

/// Plans that one call of this thread fails with `errno`, and the ones behind it do not: on `fd`
/// only, if one is named, and after so many that go through.
pub(crate) fn refuse(call: Call, fd: Option<RawFd>, after: u64, errno: c_int) {
    REFUSALS.with_borrow_mut(|refusals| refusals.push(Refusal { call, fd, after, errno }));
}

/// Refusals of this thread that have not happened yet.
pub(crate) fn refusals_planned() -> usize {
    REFUSALS.with_borrow(Vec::len)
}

/// Every registration with a poll, in order: descriptor and the 64 bits that its events carry.
pub(crate) fn registered() -> Vec<(RawFd, u64)> {
    REGISTERED.with_borrow(Clone::clone)
}

/// Lets no `epoll_wait` of this thread wait longer, so that a test may turn a loop that has nothing
/// to do.
pub(crate) fn wait_at_most(ms: c_int) {
    WAIT_MAX_MS.set(Some(ms));
}

/// Changes what every `epoll_wait` of this thread reports from now on.
pub(crate) fn rewrite_events(rewrite: impl FnMut(&mut Vec<epoll_event>) + 'static) {
    REWRITE.set(Some(Box::new(rewrite)));
}

/// Counts the call and says with which errno it is to fail, if it is.
fn gate(call: Call, fd: c_int) -> Option<c_int> {
    // Destructors of other thread-locals may close descriptors after these are gone.
    if !is_watched() {
        return None;
    }
    counters().0[call as usize].fetch_add(1, Ordering::Relaxed);
    let due = |refusals: &mut Vec<Refusal>| {
        let at = refusals
            .iter()
            .position(|refusal| refusal.call == call && refusal.fd.is_none_or(|only| only == fd))?;
        if refusals[at].after > 0 {
            refusals[at].after -= 1;
            return None;
        }
        Some(refusals.remove(at).errno)
    };
    REFUSALS.try_with(|refusals| due(&mut refusals.borrow_mut())).ok().flatten()
}

/// Fails as libc does.
fn fail(errno: c_int) -> c_int {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Defines one function that counts, refuses, and passes its arguments on.
macro_rules! forward {
    ($name:ident, $call:ident, $number:ident,
     ($fd:ident: c_int $(, $arg:ident: $type:ty)*) -> $result:ty $(, $rest:expr)*) => {
        // SAFETY: the signature is libc's, and so is the contract: the caller answers for the
        // pointers.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($fd: c_int $(, $arg: $type)*) -> $result {
            if let Some(errno) = gate(Call::$call, $fd) {
                return fail(errno) as $result;
            }
            // SAFETY: the very arguments that libc would hand to this system call.
            unsafe { libc::syscall(libc::$number, $fd as c_long $(, $arg)* $(, $rest)*) as $result }
        }
    };
}

const NOWHERE: *mut c_void = std::ptr::null_mut();

forward!(recv, Recv, SYS_recvfrom,
    (fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t, NOWHERE, NOWHERE);
forward!(send, Send, SYS_sendto,
    (fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t, NOWHERE, 0 as c_long);
forward!(read, Read, SYS_read, (fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t);
forward!(write, Write, SYS_write, (fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t);
forward!(readv, Readv, SYS_readv, (fd: c_int, slices: *const iovec, count: c_int) -> ssize_t);
forward!(writev, Writev, SYS_writev, (fd: c_int, slices: *const iovec, count: c_int) -> ssize_t);
forward!(accept4, Accept4, SYS_accept4,
    (fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int);
forward!(connect, Connect, SYS_connect,
    (fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int);
forward!(shutdown, Shutdown, SYS_shutdown, (fd: c_int, how: c_int) -> c_int);
forward!(setsockopt, Setsockopt, SYS_setsockopt,
    (fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int);
forward!(getsockopt, Getsockopt, SYS_getsockopt,
    (fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int);
forward!(getpeername, Getpeername, SYS_getpeername,
    (fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int);

/// Remembers what was registered. A refusal is for the socket that would be added, so that is the
/// descriptor it names.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    if let Some(errno) = gate(Call::EpollCtl, fd) {
        return fail(errno);
    }
    // SAFETY: the caller's arguments, unchanged.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_ctl,
            epoll as c_long,
            operation as c_long,
            fd as c_long,
            event,
        )
    };
    if result == 0 && operation == libc::EPOLL_CTL_ADD && is_watched() {
        // SAFETY: the kernel has just read the event that the caller points to.
        let data = unsafe { (*event).u64 };
        let _ = REGISTERED.try_with(|list| list.borrow_mut().push((fd, data)));
    }
    result as c_int
}

/// Waits no longer than the test allows, and reports what the test makes of the events.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    events_max: c_int,
    timeout: c_int,
) -> c_int {
    if let Some(errno) = gate(Call::EpollWait, epoll) {
        return fail(errno);
    }
    let watched = is_watched();
    let wait = match WAIT_MAX_MS.try_with(Cell::get).ok().flatten().filter(|_| watched) {
        Some(most) if timeout < 0 => most,
        Some(most) => timeout.min(most),
        None => timeout,
    };
    // SAFETY: the caller's arguments; without a signal mask epoll_pwait is epoll_wait, and every
    // architecture has it.
    let count = unsafe {
        let number = libc::SYS_epoll_pwait;
        let (max, wait) = (events_max as c_long, wait as c_long);
        libc::syscall(number, epoll as c_long, events, max, wait, NOWHERE, 8 as c_long)
    };
    if count < 0 || !watched {
        return count as c_int;
    }
    let rewritten = REWRITE.try_with(|rewrite| {
        let mut rewrite = rewrite.borrow_mut();
        let rewrite = rewrite.as_mut()?;
        // SAFETY: the kernel filled the first `count` entries of the caller's array.
        let mut list = unsafe { std::slice::from_raw_parts(events, count as usize) }.to_vec();
        rewrite(&mut list);
        assert!(list.len() <= events_max as usize, "more events than the caller has room for");
        // SAFETY: they fit, as was just checked, and the two arrays are different ones.
        unsafe { std::ptr::copy_nonoverlapping(list.as_ptr(), events, list.len()) };
        Some(list.len() as c_int)
    });
    rewritten.ok().flatten().unwrap_or(count as c_int)
}

/// Linux frees the descriptor whatever close(2) says, so a refusal here only changes what it says.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    let refused = gate(Call::Close, fd);
    // SAFETY: the caller's descriptor.
    let result = unsafe { libc::syscall(libc::SYS_close, fd as c_long) } as c_int;
    refused.map_or(result, fail)
}
