//! The vocabulary of the kernel facts: plain libc calls on loopback TCP, each of which leaves one
//! line in a trace.
//!
//! The very same calls reach the real kernel or the simulated one, whichever stands behind libc's
//! symbols on this thread. What differs is kept in [`World`]: real segments need microseconds to
//! arrive, so that a script must be able to await the state it wants to look at, without touching
//! the epoll set, whose edges are what it is about.
//!
//! Numbers that depend on buffer sizes, ports and descriptors never enter a trace.

#![expect(unsafe_code, reason = "what is compared are plain calls of libc")]

use std::fmt::Write as _;
use std::mem::{size_of, zeroed};
use std::time::{Duration, Instant};

use libc::{c_int, c_void, epoll_event, sockaddr, sockaddr_in, socklen_t};

/// Which kernel answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    Real,
    Simulated(Controls),
}

/// What a script asks the simulated kernel for that is no call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controls {
    /// Lets so many more descriptors be opened.
    pub(crate) limit_descriptors: fn(usize),
    /// Lets everything arrive that is on its way.
    pub(crate) arrive: fn(),
}

/// A descriptor of the script. The number may be used again by the kernel; the name is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fd {
    number: c_int,
    name: &'static str,
}

/// One run of one scenario.
#[derive(Debug)]
pub(crate) struct Script {
    world: World,
    epoll: c_int,
    /// Every descriptor that was opened, for its name in events and for the end.
    opened: Vec<Fd>,
    closed: Vec<c_int>,
    trace: Vec<String>,
}

/// What mio registers a connection with.
pub(crate) const ALL: u32 = INPUT | OUT | PRI | EDGE;
/// What mio registers a listener with.
pub(crate) const INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 | EDGE;
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32 | EDGE;
pub(crate) const PRI: u32 = libc::EPOLLPRI as u32;
const EDGE: u32 = libc::EPOLLET as u32;

/// States of a socket in `TCP_INFO`.
pub(crate) const FIN_WAIT_2: u8 = 5;
pub(crate) const DEAD: u8 = 7;

/// How long a real event may take before the script goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a real event that must not come is given to come all the same. It would have come with
/// the state that was awaited before.
const SILENCE_MS: c_int = 3;

impl Script {
    pub(crate) fn new(world: World) -> Self {
        // SAFETY: no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0, "no epoll: {}", errno_name());
        Script { world, epoll, opened: Vec::new(), closed: Vec::new(), trace: Vec::new() }
    }

    /// Closes what the scenario left open, and gives its trace.
    pub(crate) fn finish(mut self) -> Vec<String> {
        for fd in std::mem::take(&mut self.opened) {
            if !self.closed.contains(&fd.number) {
                // SAFETY: no pointers; the descriptor is the script's own.
                unsafe { libc::close(fd.number) };
            }
        }
        // SAFETY: as above.
        unsafe { libc::close(self.epoll) };
        std::mem::take(&mut self.trace)
    }

    // ---- sockets ----

    pub(crate) fn socket(&mut self, name: &'static str) -> Fd {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let number = unsafe { libc::socket(libc::AF_INET, kind, 0) };
        self.open(number, name, format!("socket {name}"))
    }

    /// A listener on a free port of the loopback interface.
    pub(crate) fn listener(&mut self, name: &'static str, backlog: c_int) -> Fd {
        let fd = self.socket(name);
        let (address, len) = loopback(0);
        // SAFETY: the address lives through the call, and `len` is its size.
        let bound = unsafe { libc::bind(fd.number, (&raw const address).cast(), len) };
        self.note(format!("bind {name}"), bound);
        // SAFETY: no pointers.
        let listening = unsafe { libc::listen(fd.number, backlog) };
        self.note(format!("listen {name} {backlog}"), listening);
        fd
    }

    pub(crate) fn connect(&mut self, name: &'static str, listener: Fd) -> Fd {
        let port = port_of(listener);
        let fd = self.socket(name);
        self.connect_to(fd, port);
        fd
    }

    pub(crate) fn connect_to(&mut self, fd: Fd, port: u16) {
        let (address, len) = loopback(port);
        // SAFETY: the address lives through the call, and `len` is its size.
        let result = unsafe { libc::connect(fd.number, (&raw const address).cast(), len) };
        self.note(format!("connect {}", fd.name), result);
    }

    /// As mio does it. `None` when there was nobody, or no descriptor for him.
    pub(crate) fn accept(&mut self, listener: Fd, name: &'static str) -> Option<Fd> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: a zeroed address is a valid one.
        let mut address: libc::sockaddr_storage = unsafe { zeroed() };
        let mut len = size_of::<libc::sockaddr_storage>() as socklen_t;
        let into: *mut sockaddr = (&raw mut address).cast();
        // SAFETY: address and length live through the call and describe each other.
        let number = unsafe { libc::accept4(listener.number, into, &raw mut len, flags) };
        self.note(format!("accept {}", listener.name), number.min(0));
        (number >= 0).then(|| {
            let fd = Fd { number, name };
            self.closed.retain(|closed| *closed != number);
            self.opened.push(fd);
            fd
        })
    }

    /// A server's and a client's end of one connection, neither of them watched.
    pub(crate) fn pair(&mut self) -> (Fd, Fd) {
        let listener = self.listener("listener", 16);
        let client = self.connect("client", listener);
        self.await_queue(listener, 1);
        let server = self.accept(listener, "server");
        self.await_state(client, libc::POLLOUT);
        // What both scripts begin with is nobody's fact.
        self.trace.clear();
        (server.expect("the connection that was just made"), client)
    }

    /// As [`pair`](Self::pair), the server's end watched as a connection is, with the event that
    /// every new registration gives already taken.
    pub(crate) fn watched_pair(&mut self) -> (Fd, Fd) {
        let (server, client) = self.pair();
        self.watch(server, ALL);
        self.wait();
        self.trace.clear();
        (server, client)
    }

    /// Lets so many more descriptors be opened.
    pub(crate) fn limit_descriptors(&mut self, more: usize) {
        match self.world {
            World::Real => limit_real_descriptors(more),
            World::Simulated(controls) => (controls.limit_descriptors)(more),
        }
    }

    // ---- epoll ----

    pub(crate) fn watch(&mut self, fd: Fd, events: u32) {
        self.control(libc::EPOLL_CTL_ADD, "watch", fd, events);
    }

    pub(crate) fn watch_again(&mut self, fd: Fd, events: u32) {
        self.control(libc::EPOLL_CTL_MOD, "watch again", fd, events);
    }

    pub(crate) fn unwatch(&mut self, fd: Fd) {
        self.control(libc::EPOLL_CTL_DEL, "unwatch", fd, 0);
    }

    /// An event that is to come.
    pub(crate) fn wait(&mut self) {
        self.wait_for(PATIENCE.as_millis() as c_int, 16);
    }

    /// As [`wait`](Self::wait), with room for so many events.
    pub(crate) fn wait_for_at_most(&mut self, events_max: usize) {
        self.wait_for(PATIENCE.as_millis() as c_int, events_max);
    }

    /// An event that is not to come; one that does is in the trace.
    pub(crate) fn wait_in_vain(&mut self) {
        self.wait_for(SILENCE_MS, 16);
    }

    fn wait_for(&mut self, timeout_ms: c_int, events_max: usize) {
        // SAFETY: zeroed events are valid.
        let mut events: [epoll_event; 16] = unsafe { zeroed() };
        let max = events_max.min(events.len()) as c_int;
        // SAFETY: the array lives through the call and has room for `max` events.
        let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), max, timeout_ms) };
        let list = &events[..count.max(0) as usize];
        // In which order sockets are told is no fact that a program may rely on.
        let mut told: Vec<String> = list.iter().map(|event| self.event_text(*event)).collect();
        told.sort();
        let text = match count {
            0 => "nothing".to_owned(),
            1.. => told.join(", "),
            _ => errno_name(),
        };
        self.trace.push(format!("wait -> {text}"));
    }

    fn event_text(&self, event: epoll_event) -> String {
        let (index, bits) = (event.u64 as usize, event.events);
        let mut text = self.opened.get(index).map_or("nobody", |fd| fd.name).to_owned();
        for (bit, name) in EVENT_NAMES {
            if bits & bit as u32 != 0 {
                let _ = write!(text, " {name}");
            }
        }
        text
    }

    fn control(&mut self, operation: c_int, word: &str, fd: Fd, events: u32) {
        let is_it = |opened: &Fd| opened.number == fd.number && opened.name == fd.name;
        let data = self.opened.iter().rposition(is_it).unwrap_or(usize::MAX) as u64;
        let mut event = epoll_event { events, u64: data };
        // SAFETY: the event lives through the call.
        let result = unsafe { libc::epoll_ctl(self.epoll, operation, fd.number, &raw mut event) };
        self.note(format!("{word} {}", fd.name), result);
    }

    // ---- bytes ----

    pub(crate) fn send(&mut self, fd: Fd, bytes: &[u8]) {
        self.send_with(fd, bytes, 0, "send");
    }

    /// The last byte is the urgent one.
    pub(crate) fn send_urgent(&mut self, fd: Fd, bytes: &[u8]) {
        self.send_with(fd, bytes, libc::MSG_OOB, "send urgent");
    }

    fn send_with(&mut self, fd: Fd, bytes: &[u8], flags: c_int, word: &str) {
        let sent = self.raw_send(fd, bytes, flags);
        self.note(format!("{word} {} {}", fd.name, bytes.len()), sent as c_int);
    }

    fn raw_send(&self, fd: Fd, bytes: &[u8], flags: c_int) -> isize {
        let flags = flags | libc::MSG_NOSIGNAL;
        // SAFETY: the slice lives through the call.
        unsafe { libc::send(fd.number, bytes.as_ptr().cast(), bytes.len(), flags) }
    }

    pub(crate) fn send_vectored(&mut self, fd: Fd, pieces: &[&[u8]]) {
        let slice = |piece: &&[u8]| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: piece.len(),
        };
        let slices: Vec<libc::iovec> = pieces.iter().map(slice).collect();
        // SAFETY: the slices and what they point to live through the call, which only reads them.
        let sent = unsafe { libc::writev(fd.number, slices.as_ptr(), slices.len() as c_int) };
        self.note(format!("writev {} {}", fd.name, pieces.len()), sent as c_int);
    }

    pub(crate) fn recv(&mut self, fd: Fd, len: usize) {
        self.recv_with(fd, len, 0);
    }

    /// As [`recv`](Self::recv), of what stays there.
    pub(crate) fn peek(&mut self, fd: Fd, len: usize) {
        self.recv_with(fd, len, libc::MSG_PEEK);
    }

    fn recv_with(&mut self, fd: Fd, len: usize, flags: c_int) {
        let mut buffer = vec![0; len];
        let got = raw_recv(fd, &mut buffer, flags);
        let name = if flags == 0 { "recv" } else { "peek" };
        let call = format!("{name} {} {len}", fd.name);
        let text = usize::try_from(got).map(|got| &buffer[..got]);
        match text {
            Ok(bytes) => self.trace.push(format!("{call} -> {:?}", String::from_utf8_lossy(bytes))),
            Err(_) => self.note(call, -1),
        }
    }

    /// Sends until the socket takes no more.
    pub(crate) fn fill(&mut self, fd: Fd) {
        let block = [7; 4096];
        // The last calls take what is left room byte by byte, so that the end is always a refusal.
        while self.raw_send(fd, &block, 0) > 0 {}
        self.note(format!("send {} until", fd.name), -1);
    }

    /// One send of more than any socket takes at once.
    pub(crate) fn overfill(&mut self, fd: Fd) {
        let block = vec![7; 64 << 20];
        let sent = self.raw_send(fd, &block, 0);
        let text = match sent {
            1.. if (sent as usize) < block.len() => "a part",
            1.. => "all",
            _ => "nothing",
        };
        self.trace.push(format!("send {} too much -> {text}", fd.name));
    }

    /// Reads all that has been sent to it, as it arrives, until `other` may write again.
    pub(crate) fn drain_until_writable(&mut self, fd: Fd, other: Fd) {
        let mut buffer = vec![0; 1 << 16];
        let deadline = Instant::now() + PATIENCE;
        loop {
            while raw_recv(fd, &mut buffer, 0) > 0 {}
            match self.world {
                World::Real if real_poll(other) & libc::POLLOUT == 0 => {}
                World::Real => break,
                World::Simulated(controls) => break (controls.arrive)(),
            }
            if Instant::now() > deadline {
                return self.trace.push(format!("{} is not writable", other.name));
            }
        }
        self.trace.push(format!("drain {}", fd.name));
    }

    /// Reads until the socket says something else; the bytes are counted by nobody.
    pub(crate) fn drain(&mut self, fd: Fd) {
        let mut buffer = vec![0; 1 << 16];
        let last = loop {
            match raw_recv(fd, &mut buffer, 0) {
                1.. => {}
                last => break last,
            }
        };
        self.note(format!("recv {} until", fd.name), last as c_int);
    }

    // ---- ends ----

    pub(crate) fn shutdown_write(&mut self, fd: Fd) {
        // SAFETY: no pointers.
        let result = unsafe { libc::shutdown(fd.number, libc::SHUT_WR) };
        self.note(format!("shutdown write {}", fd.name), result);
    }

    pub(crate) fn shutdown_read(&mut self, fd: Fd) {
        // SAFETY: no pointers.
        let result = unsafe { libc::shutdown(fd.number, libc::SHUT_RD) };
        self.note(format!("shutdown read {}", fd.name), result);
    }

    pub(crate) fn close(&mut self, fd: Fd) {
        // SAFETY: no pointers.
        let result = unsafe { libc::close(fd.number) };
        self.closed.push(fd.number);
        self.note(format!("close {}", fd.name), result);
    }

    /// Closes with a reset.
    pub(crate) fn reset(&mut self, fd: Fd) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of::<libc::linger>() as socklen_t;
        let value: *const c_void = (&raw const linger).cast();
        // SAFETY: the option lives through the call, and `len` is its size.
        unsafe { libc::setsockopt(fd.number, libc::SOL_SOCKET, libc::SO_LINGER, value, len) };
        self.close(fd);
    }

    /// Reads the socket's error, which takes it away.
    pub(crate) fn take_error(&mut self, fd: Fd) {
        let (mut error, mut len) = (0, size_of::<c_int>() as socklen_t);
        let into: *mut c_void = (&raw mut error).cast();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
        // SAFETY: value and length live through the call and describe each other.
        let result = unsafe { libc::getsockopt(fd.number, level, name, into, &raw mut len) };
        let text = if result < 0 { errno_name() } else { name_of(error) };
        self.trace.push(format!("SO_ERROR {} -> {text}", fd.name));
    }

    pub(crate) fn peer(&mut self, fd: Fd) {
        let (mut address, mut len) = loopback(0);
        let into: *mut sockaddr = (&raw mut address).cast();
        // SAFETY: address and length live through the call and describe each other.
        let result = unsafe { libc::getpeername(fd.number, into, &raw mut len) };
        self.note(format!("getpeername {}", fd.name), result);
    }

    // ---- wakers ----

    pub(crate) fn waker(&mut self, name: &'static str) -> Fd {
        // SAFETY: no pointers.
        let number = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        self.open(number, name, format!("eventfd {name}"))
    }

    pub(crate) fn ring(&mut self, fd: Fd) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes live through the call.
        let written = unsafe { libc::write(fd.number, one.as_ptr().cast(), one.len()) };
        self.note(format!("write {} 8", fd.name), written as c_int);
    }

    pub(crate) fn answer(&mut self, fd: Fd) {
        let mut count = [0u8; 8];
        // SAFETY: the eight bytes live through the call.
        let got = unsafe { libc::read(fd.number, count.as_mut_ptr().cast(), count.len()) };
        let text = if got == 8 { u64::from_ne_bytes(count).to_string() } else { errno_name() };
        self.trace.push(format!("read {} -> {text}", fd.name));
    }

    // ---- awaiting ----

    /// Until so many bytes lie unread.
    pub(crate) fn await_bytes(&mut self, fd: Fd, count: usize) {
        self.await_real(fd, "bytes", || real_unread(fd) >= count);
    }

    /// Until poll(2) says all of these bits, which leaves the epoll set alone.
    pub(crate) fn await_state(&mut self, fd: Fd, bits: i16) {
        self.await_real(fd, "state", || real_poll(fd) & bits == bits);
    }

    /// Until so many connections wait to be accepted.
    pub(crate) fn await_queue(&mut self, listener: Fd, count: u32) {
        self.await_real(listener, "queue", || real_info(listener).tcpi_unacked >= count);
    }

    /// Until the connection is in one of TCP's states.
    pub(crate) fn await_tcp(&mut self, fd: Fd, state: u8) {
        self.await_real(fd, "tcp", || real_info(fd).tcpi_state == state);
    }

    /// Until the peer's kernel has everything that was sent.
    pub(crate) fn await_acknowledged(&mut self, fd: Fd) {
        self.await_real(fd, "acknowledgement", || real_info(fd).tcpi_unacked == 0);
    }

    fn await_real(&mut self, fd: Fd, what: &str, mut is_so: impl FnMut() -> bool) {
        if let World::Simulated(controls) = self.world {
            return (controls.arrive)();
        }
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if Instant::now() > deadline {
                return self.trace.push(format!("awaited {what} of {} in vain", fd.name));
            }
            std::thread::yield_now();
        }
    }

    // ---- notes ----

    fn open(&mut self, number: c_int, name: &'static str, call: String) -> Fd {
        self.note(call, number.min(0));
        let fd = Fd { number, name };
        if number >= 0 {
            self.closed.retain(|closed| *closed != number);
            self.opened.push(fd);
        }
        fd
    }

    /// Whether two descriptors have the same number.
    pub(crate) fn compare_numbers(&mut self, one: Fd, other: Fd) {
        let is_same = one.number == other.number;
        self.trace.push(format!("{} has the number of {} -> {is_same}", other.name, one.name));
    }

    fn note(&mut self, call: String, result: c_int) {
        let text = if result < 0 { errno_name() } else { result.to_string() };
        self.trace.push(format!("{call} -> {text}"));
    }
}

/// The port that a listener was given.
pub(crate) fn port_of(fd: Fd) -> u16 {
    let (mut address, mut len) = loopback(0);
    // SAFETY: address and length live through the call and describe each other.
    let named = unsafe { libc::getsockname(fd.number, (&raw mut address).cast(), &raw mut len) };
    assert_eq!(named, 0, "no name: {}", errno_name());
    u16::from_be(address.sin_port)
}

fn raw_recv(fd: Fd, buffer: &mut [u8], flags: c_int) -> isize {
    // SAFETY: the slice lives through the call.
    unsafe { libc::recv(fd.number, buffer.as_mut_ptr().cast(), buffer.len(), flags) }
}

fn loopback(port: u16) -> (sockaddr_in, socklen_t) {
    // SAFETY: a zeroed address is a valid one.
    let mut address: sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    (address, size_of::<sockaddr_in>() as socklen_t)
}

// What only the real kernel is asked: by system call, so that no replaced symbol is in the way.

fn real_poll(fd: Fd) -> i16 {
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;
    let mut asked = libc::pollfd { fd: fd.number, events, revents: 0 };
    let none: *const libc::timespec = &libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let no_mask: *const c_void = std::ptr::null();
    // SAFETY: one entry and the time, both of which live through the call; no signal mask.
    unsafe { libc::syscall(libc::SYS_ppoll, &raw mut asked, 1usize, none, no_mask, 0usize) };
    asked.revents
}

fn real_unread(fd: Fd) -> usize {
    let mut count: c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives through the call.
    unsafe { libc::syscall(libc::SYS_ioctl, fd.number, libc::FIONREAD, &raw mut count) };
    count as usize
}

fn real_info(fd: Fd) -> libc::tcp_info {
    // SAFETY: all fields are plain numbers.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of::<libc::tcp_info>() as socklen_t;
    let (call, level, name) = (libc::SYS_getsockopt, libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: value and length live through the call and describe each other.
    unsafe { libc::syscall(call, fd.number, level, name, &raw mut info, &raw mut len) };
    info
}

fn limit_real_descriptors(more: usize) {
    // SAFETY: F_GETFD has no pointers.
    let is_free = |fd: &u64| unsafe { libc::fcntl(*fd as c_int, libc::F_GETFD) } < 0;
    // The number behind the last one that may still be opened: lower ones may be free, too.
    let limit = (0..).filter(is_free).nth(more).unwrap_or(u64::MAX);
    // SAFETY: a zeroed limit is a valid one, and lives through both calls.
    unsafe {
        let mut limits: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
        limits.rlim_cur = limit.min(limits.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits);
    }
}

fn errno_name() -> String {
    name_of(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn name_of(errno: c_int) -> String {
    let known = ERRNO_NAMES.iter().find(|(number, _)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

const EVENT_NAMES: [(c_int, &str); 6] = [
    (libc::EPOLLIN, "IN"),
    (libc::EPOLLPRI, "PRI"),
    (libc::EPOLLOUT, "OUT"),
    (libc::EPOLLERR, "ERR"),
    (libc::EPOLLHUP, "HUP"),
    (libc::EPOLLRDHUP, "RDHUP"),
];

const ERRNO_NAMES: [(c_int, &str); 12] = [
    (0, "no error"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EBADF, "EBADF"),
    (libc::EEXIST, "EEXIST"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOENT, "ENOENT"),
    (libc::EPIPE, "EPIPE"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::EINPROGRESS, "EINPROGRESS"),
    (libc::ENOTCONN, "ENOTCONN"),
];
