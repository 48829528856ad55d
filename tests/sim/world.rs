//! All that one thread simulates: the kernel, what goes wrong, who is at the other end, and who
//! watches. Every simulated call passes through here, and between any two calls the rest of the
//! world may move.
//!
//! ```text
//!   call -> count -> world moves? -> fault? -> kernel -> watcher, trace
//! ```

#![expect(unsafe_code, reason = "a C function can only find its state through a pointer")]

use std::cell::Cell;
use std::ptr;

use libc::c_int;

use crate::clock::MS;
use crate::faults::{Class, Faults};
use crate::kernel::{Answer, Kernel};
use crate::libc_symbols::Call;
use crate::oracles::Oracles;
use crate::peers::Peers;
use crate::socket::{Address, Stage};
use crate::stopwatch;
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) kernel: Kernel,
    pub(crate) faults: Faults,
    pub(crate) peers: Peers,
    pub(crate) oracles: Oracles,
    pub(crate) trace: Trace,
    /// How often the world moves before a call, in a thousand.
    pub(crate) pace: u16,
    /// A sleep that is interrupted so that somebody elsewhere can do something, and its end.
    pub(crate) interlude: Option<u64>,
    /// The loop sleeps without a deadline, and nobody will wake it.
    pub(crate) is_still: bool,
}

thread_local! {
    static WORLD: Cell<*mut World> = const { Cell::new(ptr::null_mut()) };
    static IS_AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with the calling thread inside `world`: libc's functions are answered there.
pub(crate) fn enter<T>(world: &mut World, f: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            WORLD.set(ptr::null_mut());
        }
    }
    assert!(WORLD.get().is_null(), "a thread is in one simulation at a time");
    WORLD.set(world);
    let _leave = Leave;
    f()
}

/// Runs `f` with the calling thread in a simulated machine of its own, with no faults, no peers and
/// nobody who watches: sockets, `epoll` and `eventfd` are the simulated ones.
pub(crate) fn inside<T>(f: impl FnOnce() -> T) -> T {
    enter(&mut World::quiet(), f)
}

/// Lets the program open so many more descriptors.
pub(crate) fn limit_descriptors(more: usize) {
    with(|world| world.kernel.files_max = world.kernel.files_open() + more);
}

/// Lets everything arrive that is on its way, except for a connect to a full backlog, which is on its
/// way for ever.
pub(crate) fn arrive() {
    with(|world| (0..64).all(|_| world.kernel.carry()));
}

/// Gives access to the world that this thread is in. While the world itself is at work the thread
/// is outside, so that nothing it does comes back here.
pub(crate) fn with<T>(f: impl FnOnce(&mut World) -> T) -> Option<T> {
    // Destructors of other thread-locals may come here after these are gone.
    let world = WORLD.try_with(Cell::get).ok().filter(|world| !world.is_null())?;
    let began = stopwatch::begin();
    WORLD.set(ptr::null_mut());
    IS_AT_WORK.set(true);
    // SAFETY: `enter` borrows the world for as long as the pointer is set, and it was taken out
    // just now, so that there is no second reference.
    let outcome = f(unsafe { &mut *world });
    IS_AT_WORK.set(false);
    WORLD.set(world);
    stopwatch::end(began);
    Some(outcome)
}

/// Whether this thread is doing the simulation's own work, as opposed to the program's.
pub(crate) fn is_at_work() -> bool {
    IS_AT_WORK.try_with(Cell::get).unwrap_or(false)
}

impl World {
    pub(crate) fn quiet() -> World {
        World {
            kernel: Kernel::new(0),
            faults: Faults::none(),
            peers: Peers::default(),
            oracles: Oracles::default(),
            trace: Trace::default(),
            pace: 0,
            interlude: None,
            is_still: false,
        }
    }

    /// One call: everything that happens around it.
    pub(crate) fn call(
        &mut self,
        call: Call,
        fd: c_int,
        f: impl FnOnce(&mut World) -> Answer<i64>,
    ) -> Answer<i64> {
        self.kernel.clock.pass(self.kernel.clock.call_ns);
        if Kernel::owns(fd) && !self.kernel.is_open(fd) {
            self.oracles.violate(format!("{call:?} on the closed descriptor {fd}"));
        }
        if self.pace > 0 && self.faults_random_chance() {
            self.step();
        }
        let answer = match self.fault_of(call, fd) {
            Some(errno) => Err(errno),
            None => f(self),
        };
        self.note(call, fd, answer);
        self.trace.record(call, fd, answer, self.kernel.clock.now());
        answer
    }

    /// What the oracles conclude from an answer.
    fn note(&mut self, call: Call, fd: c_int, answer: Answer<i64>) {
        self.oracles.called(call);
        if call == Call::Accept4 {
            let ran_out = answer.is_err_and(is_exhaustion);
            self.oracles.accepts(self.kernel.clock.told(), ran_out);
        }
        match (call, answer) {
            (Call::Accept4, Err(errno)) if is_exhaustion(errno) => {
                self.oracles.exhausted(self.kernel.clock.told());
            }
            // A turn without events: none did not fit.
            (Call::EpollWait, Err(_)) => self.oracles.woke(&self.kernel, 0, usize::MAX),
            (Call::Close, _) => self.oracles.accept_refused_ns = None,
            (Call::EpollCtl, Err(_)) => self.oracles.exhausted(self.kernel.clock.told()),
            (Call::Shutdown, answer) => self.oracles.shut_down(&self.kernel, fd, answer.is_ok()),
            _ => {}
        }
    }

    fn faults_random_chance(&mut self) -> bool {
        self.kernel.random.chance(self.pace)
    }

    /// One small thing happens elsewhere: a peer acts, or something arrives.
    pub(crate) fn step(&mut self) -> bool {
        if self.faults.strikes(Class::Spurious) {
            self.kernel.spurious_event();
        }
        if self.faults.strikes(Class::Jump) {
            let ms = 1 << self.faults.below(14);
            self.kernel.clock.jump(ms * MS);
        }
        if self.kernel.random.chance(500) {
            return self.kernel.carry() || self.peers.step(&mut self.kernel, &mut self.oracles);
        }
        self.peers.step(&mut self.kernel, &mut self.oracles) || self.kernel.carry()
    }

    /// Whether this call fails, and what that makes true.
    fn fault_of(&mut self, call: Call, fd: c_int) -> Option<c_int> {
        let planned = self.faults.planned.filter(|(at, _)| *at == self.trace.calls);
        let errno = match planned {
            Some((_, errno)) if self.may_be_true(call, fd, errno) => {
                self.faults.count += 1;
                errno
            }
            Some(_) => return None,
            None => self.faults.errno(call)?,
        };
        self.make_true(call, fd, errno);
        Some(errno)
    }

    /// `EAGAIN` is a promise that an event will come, and is made only where it can be kept.
    fn may_be_true(&mut self, call: Call, fd: c_int, errno: c_int) -> bool {
        if errno != libc::EAGAIN {
            return true;
        }
        let Ok(socket) = self.kernel.socket_of(fd) else { return false };
        match call {
            Call::Recv | Call::Readv => {
                self.kernel.delay_input(socket, 0);
                !self.kernel.sockets[socket as usize].has_input()
            }
            Call::Send | Call::Writev => self.kernel.delay_room(socket),
            _ => false,
        }
    }

    fn make_true(&mut self, call: Call, fd: c_int, errno: c_int) {
        if errno == libc::EAGAIN || (errno == libc::EINTR && call != Call::Close) {
            return;
        }
        match call {
            Call::Close => {
                // Linux frees the descriptor whatever close(2) says.
                let _ = self.kernel.close(fd);
            }
            Call::Accept4 => self.fail_accept(fd, errno),
            Call::EpollCtl => {}
            _ => self.cut(call, fd, errno),
        }
    }

    fn fail_accept(&mut self, fd: c_int, errno: c_int) {
        match errno {
            libc::EBADF | libc::EINVAL | libc::ENOTSOCK => {}
            errno if is_exhaustion(errno) => {}
            _ => self.lose_waiting(fd),
        }
    }

    /// The connection that would have been accepted is lost.
    fn lose_waiting(&mut self, fd: c_int) {
        let Ok(listener) = self.kernel.listener_of(fd) else { return };
        if let Some(lost) = self.kernel.listeners[listener].backlog.pop_front() {
            self.kernel.sockets[lost as usize].linger_zero = true;
            self.kernel.release(lost);
        }
    }

    /// What a connection that failed means for its two ends.
    fn cut(&mut self, call: Call, fd: c_int, errno: c_int) {
        let Ok(socket) = self.kernel.socket_of(fd) else { return };
        self.kernel.sockets[socket as usize].was_cut = true;
        let ends = matches!(call, Call::Recv | Call::Readv | Call::Send | Call::Writev);
        let is_dead = matches!(
            errno,
            libc::ECONNRESET
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENOTCONN
        );
        if ends && is_dead {
            self.kernel.cut(socket, errno);
            // It is told by this very call.
            self.kernel.take_error(socket);
            if matches!(call, Call::Recv | Call::Readv) {
                let it = &mut self.kernel.sockets[socket as usize];
                (it.end_was_told, it.arrived) = (true, 0);
                it.inbox.clear();
            }
        }
    }

    // ---- calls with more to them than the kernel's part ----

    pub(crate) fn tell_time(&mut self) -> u64 {
        let now = self.kernel.clock.tell();
        self.oracles.told_time(now);
        now
    }

    pub(crate) fn send(&mut self, fd: c_int, pieces: &[&[u8]], is_urgent: bool) -> Answer<i64> {
        let socket = self.kernel.socket_of(fd)?;
        let mut most = usize::MAX;
        if self.faults.strikes(Class::ShortWrite) {
            let len: usize = pieces.iter().map(|piece| piece.len()).sum();
            most = self.faults.below(len.max(1));
            if self.kernel.sockets[socket as usize].is_unix() {
                most = most.max(1);
            }
        }
        let sent = self.kernel.send(socket, pieces, most, is_urgent)?;
        if self.oracles.limits.has_topics {
            let mut left = sent;
            for piece in pieces {
                let part = left.min(piece.len());
                self.oracles.sent_messages(&self.kernel, socket, &piece[..part]);
                left -= part;
            }
        }
        Ok(sent as i64)
    }

    pub(crate) fn receive(&mut self, fd: c_int, pieces: &mut [&mut [u8]]) -> Answer<i64> {
        let socket = self.kernel.socket_of(fd)?;
        let is_short = self.faults.strikes(Class::ShortRead);
        if is_short && self.kernel.sockets[socket as usize].is_unix() {
            // M17: it stops at the end of what was sent at once, and no event follows.
            if let [piece] = pieces {
                let len = self.faults.below(piece.len()) + 1;
                let received = self.receive_plainly(socket, &mut [&mut piece[..len]]);
                self.oracles.read(&self.kernel, socket, false);
                return Ok(received? as i64);
            }
        } else if is_short {
            let arrived = self.kernel.sockets[socket as usize].arrived as usize;
            let keep = self.faults.below(arrived + 1);
            self.kernel.delay_input(socket, keep);
        }
        let received = self.receive_plainly(socket, pieces);
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let is_tcp = !self.kernel.sockets[socket as usize].is_unix();
        let is_drained = received == Err(libc::EAGAIN)
            || received.is_ok_and(|len| is_tcp && (1..offered).contains(&len));
        self.oracles.read(&self.kernel, socket, is_drained);
        Ok(received? as i64)
    }

    /// `MSG_PEEK`: what a read would give, which stays there.
    pub(crate) fn peek(&mut self, fd: c_int, into: &mut [u8]) -> Answer<i64> {
        let socket = self.kernel.socket_of(fd)?;
        self.kernel.peek(socket, into).map(|n| n as i64)
    }

    fn receive_plainly(&mut self, socket: u32, pieces: &mut [&mut [u8]]) -> Answer<usize> {
        let received = self.kernel.receive(socket, pieces);
        let wanted = pieces.iter().any(|piece| !piece.is_empty());
        let is_end = received.is_ok_and(|n| n == 0 && wanted);
        if is_end || received.is_err_and(|errno| errno != libc::EAGAIN) {
            self.kernel.sockets[socket as usize].end_was_told = true;
        }
        received
    }

    pub(crate) fn read(&mut self, fd: c_int, into: &mut [u8]) -> Answer<i64> {
        if !self.kernel.is_event(fd) {
            return self.receive(fd, &mut [into]);
        }
        let Some(room) = into.first_chunk_mut::<8>() else { return Err(libc::EINVAL) };
        *room = self.kernel.read_event(fd)?.to_ne_bytes();
        Ok(8)
    }

    pub(crate) fn write(&mut self, fd: c_int, bytes: &[u8]) -> Answer<i64> {
        if !self.kernel.is_event(fd) {
            return self.send(fd, &[bytes], false);
        }
        let Some(count) = bytes.first_chunk::<8>() else { return Err(libc::EINVAL) };
        self.kernel.write_event(fd, u64::from_ne_bytes(*count)).map(|n| n as i64)
    }

    pub(crate) fn close(&mut self, fd: c_int) -> Answer<c_int> {
        if self.faults.strikes(Class::Ghost) {
            self.kernel.leave_ghost(fd);
        }
        self.kernel.close(fd)
    }

    pub(crate) fn epoll_ctl(
        &mut self,
        epoll: c_int,
        operation: c_int,
        fd: c_int,
        events: u32,
        data: u64,
    ) -> Answer<c_int> {
        let done = self.kernel.epoll_ctl(epoll, operation, fd, events, data)?;
        if operation == libc::EPOLL_CTL_ADD
            && let Ok(socket) = self.kernel.socket_of(fd)
        {
            self.oracles.registered(&self.kernel, socket, data);
        }
        Ok(done)
    }

    pub(crate) fn peer_name(&mut self, fd: c_int) -> Answer<Address> {
        let socket = &self.kernel.sockets[self.kernel.socket_of(fd)? as usize];
        if socket.stage == Stage::Connected { Ok(socket.remote) } else { Err(libc::ENOTCONN) }
    }

    pub(crate) fn set_option(
        &mut self,
        fd: c_int,
        level: c_int,
        name: c_int,
        value: (c_int, c_int),
    ) -> Answer<c_int> {
        let socket = self.kernel.socket_of(fd)?;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let now_ns = self.kernel.clock.told();
                let it = &mut self.kernel.sockets[socket as usize];
                (it.linger_zero, it.linger_zero_ns) = (value == (1, 0), now_ns);
            }
            // What they do is beyond what happens here.
            (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_REUSEPORT | libc::SO_KEEPALIVE) => {}
            (libc::IPPROTO_TCP, libc::TCP_NODELAY | libc::TCP_NOTSENT_LOWAT) => {}
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT) => {}
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {}
            _ => return Err(libc::ENOPROTOOPT),
        }
        Ok(0)
    }

    pub(crate) fn option(&mut self, fd: c_int, level: c_int, name: c_int) -> Answer<c_int> {
        let socket = self.kernel.socket_of(fd)?;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => Ok(self.kernel.take_error(socket)),
            _ => Ok(0),
        }
    }

    /// `fcntl`, as far as sockets are asked.
    pub(crate) fn control(&mut self, fd: c_int, command: c_int, argument: i64) -> Answer<c_int> {
        let socket = self.kernel.socket_of(fd);
        match (command, socket) {
            (libc::F_SETFL, Ok(_)) => {
                self.set_nonblocking(fd, argument as c_int & libc::O_NONBLOCK != 0)
            }
            (libc::F_GETFL, Ok(socket)) => {
                let is_set = self.kernel.sockets[socket as usize].is_nonblocking;
                Ok(if is_set { libc::O_NONBLOCK } else { 0 })
            }
            _ => Ok(0),
        }
    }

    pub(crate) fn set_nonblocking(&mut self, fd: c_int, is_set: bool) -> Answer<c_int> {
        let socket = self.kernel.socket_of(fd)?;
        self.kernel.sockets[socket as usize].is_nonblocking = is_set;
        Ok(0)
    }

    // ---- waiting ----

    /// `epoll_wait`: hands out what is ready; with nothing ready, the loop sleeps and the world goes
    /// on until something is, or the time is over.
    pub(crate) fn wait(
        &mut self,
        epoll: c_int,
        room: usize,
        timeout_ms: c_int,
        report: impl FnMut(u32, u64),
    ) -> Answer<c_int> {
        self.oracles.turn_begins(&self.kernel, timeout_ms);
        if timeout_ms != 0 && !self.kernel.has_events(epoll) {
            self.oracles.falls_asleep(&self.kernel, timeout_ms);
            let until = match u64::try_from(timeout_ms) {
                Ok(ms) => self.kernel.clock.now() + ms * MS,
                Err(_) => u64::MAX,
            };
            self.sleep(epoll, until);
            if self.interlude.is_some() {
                return Ok(0);
            }
        }
        self.hand_out(epoll, room, report)
    }

    /// Goes on with a sleep in which somebody elsewhere did something.
    pub(crate) fn sleep_on(
        &mut self,
        epoll: c_int,
        room: usize,
        until: u64,
        report: impl FnMut(u32, u64),
    ) -> Answer<c_int> {
        self.sleep(epoll, until);
        let told = match self.interlude {
            Some(_) => Ok(0),
            None => self.hand_out(epoll, room, report),
        };
        self.trace.record(Call::EpollWait, epoll, told.map(Into::into), self.kernel.clock.now());
        told
    }

    fn hand_out(
        &mut self,
        epoll: c_int,
        room: usize,
        mut report: impl FnMut(u32, u64),
    ) -> Answer<c_int> {
        let oracles = &mut self.oracles;
        let told = self.kernel.collect(epoll, room, |bits, data| {
            oracles.told(bits, data);
            report(bits, data);
        })?;
        self.oracles.woke(&self.kernel, told, room);
        Ok(told as c_int)
    }

    /// The world moves until somebody has something to say to the loop.
    fn sleep(&mut self, epoll: c_int, until: u64) {
        for _ in 0..STEPS_MAX {
            if self.kernel.has_events(epoll) {
                return;
            }
            let now = self.kernel.clock.now();
            if now >= until {
                return;
            }
            if self.faults.strikes(Class::Wake) {
                self.interlude = Some(until);
                return;
            }
            if self.step() {
                // Each thing takes its time, or the deadlines of a busy world would never come.
                let ns = self.kernel.random.below(MS as usize / 4) as u64;
                self.kernel.clock.pass(ns.min(until - now));
                continue;
            }
            match self.peers.next_ns(now).filter(|at| *at < until) {
                Some(at) => self.kernel.clock.pass(at - now),
                None if until == u64::MAX => {
                    self.is_still = true;
                    return self.oracles.sleeps_for_ever(&self.peers);
                }
                None => return self.kernel.clock.pass(until - now),
            }
        }
        self.oracles.violate(format!("{STEPS_MAX} things happened and none concerned the loop"));
    }
}

/// More than all peers together do between two events.
const STEPS_MAX: usize = 1_000_000;

/// Neither the waiting connection nor the listener is to blame: a program rests, and tries again.
fn is_exhaustion(errno: c_int) -> bool {
    matches!(
        errno,
        libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EFAULT
            | libc::ENOSR
            | libc::ESOCKTNOSUPPORT
            | libc::EPROTONOSUPPORT
    )
}
