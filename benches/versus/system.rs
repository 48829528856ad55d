//! What the measurement needs from the kernel and std does not offer: epoll, raw sockets, CPU
//! affinity, signals, the CPU clock. Every unsafe block of this program is in this file.

#![expect(unsafe_code, reason = "epoll, recv, send and affinity are reached through libc alone")]

use std::io;
use std::mem::size_of_val;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// One readiness report: which bits, and the number given at registration.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    pub(crate) const EMPTY: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    #[inline]
    pub(crate) fn data(self) -> u64 {
        self.0.u64
    }

    /// Anything that a read can tell more about; a fresh socket's lone "writable" is not.
    #[inline]
    pub(crate) fn wants_read(self) -> bool {
        self.0.events & !(libc::EPOLLOUT as u32) != 0
    }

    /// The peer has finished or the socket failed: a short read is then not the last word.
    #[inline]
    pub(crate) fn is_ending(self) -> bool {
        self.0.events & ((libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32) != 0
    }
}

/// An edge-triggered epoll instance: descriptors are added once and never modified.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn add(&self, fd: RawFd, data: u64) -> io::Result<()> {
        let bits = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: bits as u32, u64: data };
        let epoll = self.0.as_raw_fd();
        // SAFETY: the kernel reads `event` during the call only.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
    }

    /// How many of `events` were filled; an interruption by a signal is an empty answer.
    #[inline]
    pub(crate) fn wait(&self, events: &mut [Event], timeout_ms: i32) -> io::Result<usize> {
        let epoll = self.0.as_raw_fd();
        let list = events.as_mut_ptr().cast();
        // SAFETY: `Event` has the layout of `epoll_event`, and the kernel writes `len` at most.
        match unsafe { libc::epoll_wait(epoll, list, events.len() as i32, timeout_ms) } {
            count if count >= 0 => Ok(count as usize),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }
}

#[inline]
pub(crate) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is exclusively ours and `len` bytes long.
    check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Takes up to `buffer.len()` bytes out of a TCP socket without copying them: tcp(7) promises it
/// for `MSG_TRUNC`. The buffer stays as it is; only the count is of use.
#[inline]
pub(crate) fn discard(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC;
    // SAFETY: the buffer is exclusively ours and `len` bytes long, were it written after all.
    check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads `len` bytes of a slice that lives through the call.
    check_size(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Starts a connection; it is finished, well or ill, when the socket becomes writable.
pub(crate) fn connect(to: SocketAddrV4, from: Option<Ipv4Addr>) -> io::Result<OwnedFd> {
    let socket = tcp_socket()?;
    let fd = socket.as_raw_fd();
    set_number(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_cubic(fd)?;
    // Closed by reset: thousands of ports in TIME_WAIT would slow down the next run's connects.
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &[1_i32, 0].map(i32::to_ne_bytes).concat())?;
    if let Some(source) = from {
        // The port is chosen at connect, when the whole quadruple is known: ports are then
        // scarce for each pair of addresses and not for each source alone.
        set_number(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        bind(fd, SocketAddrV4::new(source, 0))?;
    }
    let address = raw_address(to);
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `address` during the call only.
    match check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// What became of a connect, or of the socket since.
pub(crate) fn socket_error(fd: RawFd) -> io::Result<()> {
    let mut code: libc::c_int = 0;
    let mut length = size_of_val(&code) as libc::socklen_t;
    let value = (&raw mut code).cast();
    // SAFETY: both pointers are to locals, and `length` is the size of the first.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, value, &mut length) })?;
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

fn tcp_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the descriptor is new and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: RawFd, address: SocketAddrV4) -> io::Result<()> {
    let address = raw_address(address);
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `address` during the call only.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), length) }).map(drop)
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Timer-paced algorithms collapse when both ends share a small virtual machine.
fn set_cubic(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, b"cubic")
}

fn set_number(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

fn set_option(fd: RawFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of a slice that lives through the call.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) }).map(drop)
}

/// Binds the calling process to one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: all zeros is the empty set, a valid value of this plain array.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `CPU_SET` only sets a bit inside of `set`, and checks the index.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads the set during the call only.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }).map(drop)
}

/// Makes the child run on `cpu` from its first instruction, and end when this process does,
/// even if that is killed in a way that runs no destructor.
pub(crate) fn tie_child(command: &mut Command, cpu: usize) {
    let prepare = move || {
        // SAFETY: no pointer is passed, and the call is safe between fork and exec.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })?;
        pin(cpu)
    };
    // SAFETY: `prepare` makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
}

/// Asks a process to end. The caller has not reaped it yet, so the number is still its own.
pub(crate) fn terminate(pid: u32) {
    // SAFETY: no pointer is passed.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From here on a first Ctrl-C only raises a flag, so that servers are ended and settings restored.
pub(crate) fn catch_signals() {
    let handler = note_signal as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Fails once somebody asked this program to end.
#[inline]
pub(crate) fn fail_if_interrupted() -> io::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(io::Error::other("interrupted"));
    }
    Ok(())
}

/// Raises the soft limit of descriptors to the hard one, for us and our children; returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`, to a local.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one `rlimit`, from a local.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[inline]
fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}
