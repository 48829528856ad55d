//! The functions of libc that std, mio and socket2 call for a reactor, defined by this very program:
//! the linker takes them before libc's, for unmodified dependencies too. Inside a simulation they
//! ask the simulated kernel; outside, and for descriptors that are not simulated, they are the
//! system call that they always were.
//!
//! ```text
//!   reactor -> mio, std -> recv (here) -> this thread simulates, and the descriptor is simulated?
//!                                           yes -> World -> Kernel      no -> libc::syscall
//! ```
//!
//! Threads do not meet: each simulates for itself. [`Call`] lists what is replaced; `main.rs` fails
//! when one of them is no longer called, which would mean that std calls something else instead.

#![expect(unsafe_code, reason = "replacing libc's functions is what this file is for")]

use std::slice;

use libc::{
    c_int, c_long, c_uint, c_void, epoll_event, iovec, size_t, sockaddr, sockaddr_in, socklen_t,
    ssize_t, timespec,
};

use crate::kernel::{Answer, Kernel};
use crate::simulation::{task_from_elsewhere, wake_from_elsewhere};
use crate::socket::Address;
use crate::world::{World, with};

/// What the simulation sees called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Call {
    Accept4,
    Bind,
    Close,
    Connect,
    EpollCreate1,
    EpollCtl,
    EpollWait,
    Eventfd,
    Fcntl,
    Getpeername,
    Getsockname,
    Getsockopt,
    Ioctl,
    Listen,
    Read,
    Readv,
    Recv,
    Send,
    Setsockopt,
    Shutdown,
    Socket,
    Write,
    Writev,
}

impl Call {
    pub(crate) const ALL: [Call; 23] = [
        Call::Accept4,
        Call::Bind,
        Call::Close,
        Call::Connect,
        Call::EpollCreate1,
        Call::EpollCtl,
        Call::EpollWait,
        Call::Eventfd,
        Call::Fcntl,
        Call::Getpeername,
        Call::Getsockname,
        Call::Getsockopt,
        Call::Ioctl,
        Call::Listen,
        Call::Read,
        Call::Readv,
        Call::Recv,
        Call::Send,
        Call::Setsockopt,
        Call::Shutdown,
        Call::Socket,
        Call::Write,
        Call::Writev,
    ];
}

/// The most slices of one write: as many as the reactor gives. The real `IOV_MAX` is 1024.
const SLICES_MAX: usize = 64;

/// Answers a call on a descriptor, if it is ours to answer.
fn answer<T: Into<i64>>(
    fd: c_int,
    call: Call,
    f: impl FnOnce(&mut World) -> Answer<T>,
) -> Option<c_long> {
    if !Kernel::owns(fd) {
        return None;
    }
    create(fd, call, f)
}

/// Answers a call that needs no descriptor of ours.
fn create<T: Into<i64>>(
    fd: c_int,
    call: Call,
    f: impl FnOnce(&mut World) -> Answer<T>,
) -> Option<c_long> {
    wake_from_elsewhere();
    let answered = with(|world| world.call(call, fd, |world| f(world).map(Into::into)))?;
    Some(answered.unwrap_or_else(fail))
}

/// Fails as libc does.
fn fail(errno: c_int) -> c_long {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Defines one function: what the simulation answers, and the system call that it is otherwise.
macro_rules! symbol {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty;
     $answer:expr; $number:ident $(, $rest:expr)*) => {
        /// # Safety
        /// As for libc's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            match $answer {
                Some(answered) => answered as $result,
                // SAFETY: the very arguments that libc would hand to this system call.
                None => unsafe { libc::syscall(libc::$number $(, $arg)* $(, $rest)*) as $result },
            }
        }
    };
}

const NOWHERE: *mut c_void = std::ptr::null_mut();

symbol!(socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    create(-1, Call::Socket, |world| world.kernel.socket(kind & libc::SOCK_NONBLOCK != 0));
    SYS_socket);
symbol!(epoll_create1(flags: c_int) -> c_int;
    create(-1, Call::EpollCreate1, |world| world.kernel.epoll_create()); SYS_epoll_create1);
symbol!(eventfd(count: c_uint, flags: c_int) -> c_int;
    create(-1, Call::Eventfd, |world| world.kernel.eventfd()); SYS_eventfd2);
symbol!(bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    answer(fd, Call::Bind, |world| {
        let socket = world.kernel.socket_of(fd)?;
        // SAFETY: the caller's address.
        world.kernel.bind(socket, unsafe { read_address(address) }?)
    });
    SYS_bind);
symbol!(listen(fd: c_int, backlog: c_int) -> c_int;
    answer(fd, Call::Listen, |world| {
        let socket = world.kernel.socket_of(fd)?;
        world.kernel.listen(socket, backlog.max(0) as usize)
    });
    SYS_listen);
symbol!(connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    answer(fd, Call::Connect, |world| {
        let socket = world.kernel.socket_of(fd)?;
        // SAFETY: the caller's address.
        world.kernel.connect(socket, unsafe { read_address(address) }?)
    });
    SYS_connect);
symbol!(accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    answer(fd, Call::Accept4, |world| {
        let (accepted, remote) = world.kernel.accept(fd, flags & libc::SOCK_NONBLOCK != 0)?;
        let is_unix = world.kernel.sockets[world.kernel.socket_of(accepted)? as usize].is_unix();
        let remote = if is_unix { Address::UNIX } else { remote };
        // SAFETY: the caller's room for an address, or null.
        unsafe { write_address(remote, address, len) };
        Ok(accepted)
    });
    SYS_accept4);
symbol!(getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    answer(fd, Call::Getsockname, |world| {
        let socket = world.kernel.socket_of(fd)?;
        let local = world.kernel.sockets[socket as usize].local;
        // SAFETY: the caller's room for an address.
        unsafe { write_address(local, address, len) };
        Ok(0)
    });
    SYS_getsockname);
symbol!(getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    answer(fd, Call::Getpeername, |world| {
        let remote = world.peer_name(fd)?;
        // SAFETY: the caller's room for an address.
        unsafe { write_address(remote, address, len) };
        Ok(0)
    });
    SYS_getpeername);
symbol!(shutdown(fd: c_int, how: c_int) -> c_int;
    answer(fd, Call::Shutdown, |world| {
        let socket = world.kernel.socket_of(fd)?;
        world.kernel.shutdown(socket, how)
    });
    SYS_shutdown);
symbol!(setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    answer(fd, Call::Setsockopt, |world| {
        // SAFETY: options here are one or two whole numbers, of which the first counts.
        let number = unsafe { *value.cast::<c_int>() };
        // SAFETY: as above; a linger has a second number.
        let second = if len > 4 { unsafe { *value.cast::<c_int>().add(1) } } else { 0 };
        world.set_option(fd, level, name, (number, second))
    });
    SYS_setsockopt);
symbol!(getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    answer(fd, Call::Getsockopt, |world| {
        let number = world.option(fd, level, name)?;
        // SAFETY: the caller's room for a number.
        unsafe { *value.cast::<c_int>() = number };
        Ok(0)
    });
    SYS_getsockopt);
symbol!(recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    answer(fd, Call::Recv, |world| {
        // SAFETY: the caller's buffer.
        let into = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        match flags & libc::MSG_PEEK {
            0 => world.receive(fd, &mut [into]),
            _ => world.peek(fd, into),
        }
    });
    SYS_recvfrom, NOWHERE, NOWHERE);
symbol!(send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    answer(fd, Call::Send, |world| {
        // SAFETY: the caller's buffer.
        let bytes = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), len) };
        world.send(fd, &[bytes], flags & libc::MSG_OOB != 0)
    });
    SYS_sendto, NOWHERE, 0 as c_long);
symbol!(read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t;
    answer(fd, Call::Read, |world| {
        // SAFETY: the caller's buffer.
        world.read(fd, unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), len) })
    });
    SYS_read);
symbol!(write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t;
    answer(fd, Call::Write, |world| {
        // SAFETY: the caller's buffer.
        world.write(fd, unsafe { slice::from_raw_parts(buffer.cast::<u8>(), len) })
    });
    SYS_write);
symbol!(readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t;
    answer(fd, Call::Readv, |world| {
        // SAFETY: the caller's list of buffers.
        let list = unsafe { slice::from_raw_parts(slices, count as usize) };
        read_pieces(world, fd, list)
    });
    SYS_readv);
symbol!(writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t;
    answer(fd, Call::Writev, |world| {
        // SAFETY: the caller's list of buffers.
        let list = unsafe { slice::from_raw_parts(slices, count as usize) };
        write_pieces(world, fd, list)
    });
    SYS_writev);
symbol!(close(fd: c_int) -> c_int;
    answer(fd, Call::Close, |world| world.close(fd)); SYS_close);
// Debug builds of std ask whether a descriptor is open before they close it. That is no call of the
// program's: a seed is to go the same way in every build.
symbol!(fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int;
    if command == libc::F_GETFD && Kernel::owns(fd) {
        with(|world| if world.kernel.is_open(fd) { c_long::from(libc::FD_CLOEXEC) } else { fail(libc::EBADF) })
    } else {
        answer(fd, Call::Fcntl, |world| world.control(fd, command, argument))
    };
    SYS_fcntl);
symbol!(ioctl(fd: c_int, request: libc::c_ulong, argument: *mut c_int) -> c_int;
    answer(fd, Call::Ioctl, |world| {
        if request != libc::FIONBIO {
            return Err(libc::ENOTTY);
        }
        // SAFETY: FIONBIO points to a number.
        world.set_nonblocking(fd, unsafe { *argument } != 0)
    });
    SYS_ioctl);
symbol!(epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    answer(epoll, Call::EpollCtl, |world| {
        let (events, data) = if event.is_null() {
            (0, 0)
        } else {
            // SAFETY: the caller's event.
            let event = unsafe { *event };
            (event.events, event.u64)
        };
        world.epoll_ctl(epoll, operation, fd, events, data)
    });
    SYS_epoll_ctl);
symbol!(epoll_wait(epoll: c_int, events: *mut epoll_event, room: c_int, timeout: c_int) -> c_int;
    wait(epoll, room.max(0) as usize, timeout, |at, bits, data| {
        // SAFETY: no more events are reported than the caller has room for.
        unsafe { *events.add(at) = epoll_event { events: bits, u64: data } };
    });
    // Without a signal mask this is epoll_wait, and every architecture has it.
    SYS_epoll_pwait, NOWHERE, 8 as c_long);

/// Virtual time inside a simulation, for the clock that `Instant` reads.
///
/// # Safety
/// As for libc's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut timespec,
) -> c_int {
    let told = (clock == libc::CLOCK_MONOTONIC).then(|| with(World::tell_time)).flatten();
    match told {
        Some(ns) => {
            let (tv_sec, tv_nsec) = ((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64);
            // SAFETY: the caller's room for a time.
            unsafe { *time = timespec { tv_sec, tv_nsec } };
            0
        }
        // SAFETY: the caller's arguments.
        None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
    }
}

/// `epoll_wait`, in which somebody elsewhere may wake the loop as often as he likes. He calls libc
/// himself, so the simulation lets go for that long.
fn wait(
    epoll: c_int,
    room: usize,
    timeout_ms: c_int,
    mut report: impl FnMut(usize, u32, u64),
) -> Option<c_long> {
    let mut at = 0;
    let mut report = |bits, data| {
        report(at, bits, data);
        at += 1;
    };
    let mut told =
        answer(epoll, Call::EpollWait, |world| world.wait(epoll, room, timeout_ms, &mut report))?;
    while let Some(until) = with(|world| world.interlude.take()).flatten() {
        task_from_elsewhere();
        let answered = with(|world| world.sleep_on(epoll, room, until, &mut report))?;
        told = answered.map_or_else(fail, Into::into);
    }
    Some(told)
}

fn write_pieces(world: &mut World, fd: c_int, list: &[iovec]) -> Answer<i64> {
    let mut pieces: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
    let count = list.len();
    if count > SLICES_MAX {
        return Err(libc::EINVAL);
    }
    for (piece, slice) in pieces.iter_mut().zip(list) {
        // SAFETY: each entry of the caller's list is a buffer.
        *piece = unsafe { slice::from_raw_parts(slice.iov_base.cast::<u8>(), slice.iov_len) };
    }
    world.send(fd, &pieces[..count], false)
}

fn read_pieces(world: &mut World, fd: c_int, list: &[iovec]) -> Answer<i64> {
    let piece = |slice: &iovec| {
        // SAFETY: each entry of the caller's list is a buffer, and they do not overlap.
        unsafe { slice::from_raw_parts_mut(slice.iov_base.cast::<u8>(), slice.iov_len) }
    };
    let mut pieces: Vec<&mut [u8]> = list.iter().map(piece).collect();
    world.receive(fd, &mut pieces)
}

/// # Safety
/// `address` points to an address.
unsafe fn read_address(address: *const sockaddr) -> Answer<Address> {
    // SAFETY: every kind of address begins with its family.
    match c_int::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {}
        libc::AF_UNIX => return Ok(Address::UNIX),
        _ => return Err(libc::EAFNOSUPPORT),
    }
    // SAFETY: an address of this family has this form.
    let address = unsafe { *address.cast::<sockaddr_in>() };
    let (ip, port) = (u32::from_be(address.sin_addr.s_addr), u16::from_be(address.sin_port));
    Ok(Address { ip, port })
}

/// # Safety
/// `into` is null, or has room for `len` bytes.
unsafe fn write_address(address: Address, into: *mut sockaddr, len: *mut socklen_t) {
    if into.is_null() {
        return;
    }
    if address == Address::UNIX {
        // A peer without a name.
        // SAFETY: callers give room for any kind of address; here only the family is written.
        unsafe {
            (*into).sa_family = libc::AF_UNIX as libc::sa_family_t;
            *len = size_of::<libc::sa_family_t>() as socklen_t;
        }
        return;
    }
    let sin_addr = libc::in_addr { s_addr: address.ip.to_be() };
    let family = libc::AF_INET as libc::sa_family_t;
    let address = sockaddr_in {
        sin_family: family,
        sin_port: address.port.to_be(),
        sin_addr,
        sin_zero: [0; 8],
    };
    // SAFETY: callers give room for any kind of address; this is among the smallest.
    unsafe {
        *into.cast::<sockaddr_in>() = address;
        *len = size_of::<sockaddr_in>() as socklen_t;
    }
}
