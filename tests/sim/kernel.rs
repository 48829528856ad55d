//! The simulated kernel: a table of descriptors and what they stand for. It belongs to one thread,
//! knows nothing of faults, peers and oracles, and is always right: whatever it answers, Linux could
//! have answered.
//!
//! `tcp.rs` has what happens between two sockets, `epoll.rs` and `socket.rs` the parts. Descriptors
//! begin above 2²⁰, so that one that leaks to the real kernel is `EBADF` there, and are given out
//! again lowest first, at once, as the real ones are.

use std::collections::VecDeque;

use libc::c_int;

use crate::NONE;
use crate::clock::Clock;
use crate::epoll::{Epoll, Ghost, IN, Item, OUT, Watch};
use crate::random::Random;
use crate::socket::{Address, Socket, Stage};

pub(crate) const DESCRIPTORS_FROM: c_int = 1 << 20;

/// What a call answers, or its errno.
pub(crate) type Answer<T> = Result<T, c_int>;

#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    files: Vec<File>,
    /// A bit for each descriptor that is free, lowest first.
    free_files: Vec<u64>,
    lowest_free: usize,
    files_open: usize,
    /// `RLIMIT_NOFILE`, as far as the simulation goes.
    pub(crate) files_max: usize,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) free_sockets: Vec<u32>,
    pub(crate) listeners: Vec<Listener>,
    epolls: Vec<Epoll>,
    eventfds: Vec<u64>,
    /// Sockets to which something is on its way.
    pub(crate) on_the_way: Vec<u32>,
    pub(crate) weather: Weather,
    next_port: u32,
}

/// What the network and the wait do with what is true.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// How often what was sent does not arrive at once, in a thousand.
    pub(crate) delay: u16,
    /// How often one event is told as two.
    pub(crate) split: u16,
    /// How often the ready list is handed out in another order.
    pub(crate) reorder: u16,
    /// Capacity of a direction of a new connection, in bytes: drawn between these.
    pub(crate) capacity_least: u32,
    pub(crate) capacity_most: u32,
}

#[derive(Clone, Copy, Debug)]
struct File {
    kind: Kind,
    id: u32,
    serial: u32,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Free,
    Socket,
    Epoll,
    Event,
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: Address,
    pub(crate) socket: u32,
    pub(crate) backlog: VecDeque<u32>,
    pub(crate) backlog_max: usize,
}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Self {
        Kernel {
            clock: Clock::new(),
            random: Random::new(seed),
            files: Vec::new(),
            free_files: Vec::new(),
            lowest_free: 0,
            files_open: 0,
            files_max: usize::MAX,
            sockets: Vec::new(),
            free_sockets: Vec::new(),
            listeners: Vec::new(),
            epolls: Vec::new(),
            eventfds: Vec::new(),
            on_the_way: Vec::new(),
            weather: Weather {
                capacity_least: 1 << 16,
                capacity_most: 1 << 16,
                ..Weather::default()
            },
            next_port: 0,
        }
    }

    // ---- descriptors ----

    pub(crate) fn owns(fd: c_int) -> bool {
        fd >= DESCRIPTORS_FROM
    }

    /// Descriptors that the process has not closed.
    pub(crate) fn files_open(&self) -> usize {
        self.files_open
    }

    /// Descriptors of connections among them.
    pub(crate) fn connections_open(&self) -> usize {
        let is_open = |it: &&Listener| {
            self.sockets.get(it.socket as usize).is_some_and(|socket| socket.file != NONE)
        };
        let listeners = self.listeners.iter().filter(is_open).count();
        self.files_open.saturating_sub(self.epolls.len() + self.eventfds.len() + listeners)
    }

    fn open(&mut self, kind: Kind, id: u32) -> c_int {
        let index = self.lowest_free_file();
        self.free_files[index / 64] &= !(1 << (index % 64));
        self.files_open += 1;
        let serial = self.files[index].serial;
        self.files[index] = File { kind, id, serial, watch: Watch::NOWHERE };
        DESCRIPTORS_FROM + index as c_int
    }

    fn lowest_free_file(&mut self) -> usize {
        while self.free_files.get(self.lowest_free) == Some(&0) {
            self.lowest_free += 1;
        }
        if self.lowest_free == self.free_files.len() {
            self.free_files.push(u64::MAX);
            let free = File { kind: Kind::Free, id: NONE, serial: 0, watch: Watch::NOWHERE };
            self.files.resize(self.files.len() + 64, free);
        }
        self.lowest_free * 64 + self.free_files[self.lowest_free].trailing_zeros() as usize
    }

    fn file(&self, fd: c_int) -> Answer<File> {
        let index = fd.checked_sub(DESCRIPTORS_FROM).ok_or(libc::EBADF)?;
        let file = self.files.get(index as usize).copied();
        file.filter(|file| file.kind != Kind::Free).ok_or(libc::EBADF)
    }

    pub(crate) fn is_open(&self, fd: c_int) -> bool {
        self.file(fd).is_ok()
    }

    /// The socket behind a descriptor.
    pub(crate) fn socket_of(&self, fd: c_int) -> Answer<u32> {
        let file = self.file(fd)?;
        if file.kind == Kind::Socket { Ok(file.id) } else { Err(libc::ENOTSOCK) }
    }

    fn is_at_limit(&self) -> bool {
        self.files_open >= self.files_max
    }

    // ---- calls that make and end descriptors ----

    pub(crate) fn epoll_create(&mut self) -> Answer<c_int> {
        if self.is_at_limit() {
            return Err(libc::EMFILE);
        }
        self.epolls.push(Epoll::default());
        Ok(self.open(Kind::Epoll, self.epolls.len() as u32 - 1))
    }

    pub(crate) fn eventfd(&mut self) -> Answer<c_int> {
        if self.is_at_limit() {
            return Err(libc::EMFILE);
        }
        self.eventfds.push(0);
        Ok(self.open(Kind::Event, self.eventfds.len() as u32 - 1))
    }

    pub(crate) fn socket(&mut self, is_nonblocking: bool) -> Answer<c_int> {
        if self.is_at_limit() {
            return Err(libc::EMFILE);
        }
        let socket = self.new_socket();
        self.sockets[socket as usize].is_nonblocking = is_nonblocking;
        Ok(self.describe(socket))
    }

    /// Gives a socket a descriptor.
    fn describe(&mut self, socket: u32) -> c_int {
        let fd = self.open(Kind::Socket, socket);
        self.sockets[socket as usize].file = (fd - DESCRIPTORS_FROM) as u32;
        fd
    }

    // M26: at the limit the answer is EMFILE whether or not somebody waits. M28: who was reset while
    // waiting is accepted all the same.
    pub(crate) fn accept(&mut self, fd: c_int, is_nonblocking: bool) -> Answer<(c_int, Address)> {
        let listener = self.listener_of(fd)?;
        if self.is_at_limit() {
            return Err(libc::EMFILE);
        }
        let accepted = self.listeners[listener].backlog.pop_front().ok_or(libc::EAGAIN)?;
        let now = self.clock.told();
        let socket = &mut self.sockets[accepted as usize];
        (socket.is_nonblocking, socket.active_ns) = (is_nonblocking, now);
        let remote = socket.remote;
        Ok((self.describe(accepted), remote))
    }

    pub(crate) fn listener_of(&self, fd: c_int) -> Answer<usize> {
        let socket = &self.sockets[self.socket_of(fd)? as usize];
        if socket.stage == Stage::Listening { Ok(socket.other as usize) } else { Err(libc::EINVAL) }
    }

    pub(crate) fn close(&mut self, fd: c_int) -> Answer<c_int> {
        let file = self.file(fd)?;
        let index = (fd - DESCRIPTORS_FROM) as usize;
        let free =
            File { kind: Kind::Free, id: NONE, serial: file.serial + 1, watch: Watch::NOWHERE };
        self.files[index] = free;
        self.free_files[index / 64] |= 1 << (index % 64);
        self.lowest_free = self.lowest_free.min(index / 64);
        self.files_open -= 1;
        if file.kind == Kind::Socket {
            self.release(file.id);
        }
        Ok(0)
    }

    /// As if a duplicate of the descriptor lived on in another process when it was closed here
    /// (M32): its events go on, with the data that it was registered with.
    pub(crate) fn leave_ghost(&mut self, fd: c_int) {
        if let Ok(File { watch, .. }) = self.file(fd)
            && watch.epoll != NONE
        {
            let ghost = Ghost { events: watch.events & (IN | OUT), data: watch.data };
            self.epolls[watch.epoll as usize].ghosts.push(ghost);
        }
    }

    // ---- eventfd ----

    // M33: each write is an edge, whether or not the counter was ever read.
    pub(crate) fn write_event(&mut self, fd: c_int, count: u64) -> Answer<isize> {
        let File { kind: Kind::Event, id, .. } = self.file(fd)? else { return Err(libc::EINVAL) };
        let counter = &mut self.eventfds[id as usize];
        *counter = counter.checked_add(count).filter(|sum| *sum < u64::MAX).ok_or(libc::EAGAIN)?;
        self.wake_file((fd - DESCRIPTORS_FROM) as u32, IN);
        Ok(8)
    }

    pub(crate) fn read_event(&mut self, fd: c_int) -> Answer<u64> {
        let File { kind: Kind::Event, id, .. } = self.file(fd)? else { return Err(libc::EINVAL) };
        match std::mem::take(&mut self.eventfds[id as usize]) {
            0 => Err(libc::EAGAIN),
            count => Ok(count),
        }
    }

    pub(crate) fn is_event(&self, fd: c_int) -> bool {
        self.file(fd).is_ok_and(|file| file.kind == Kind::Event)
    }

    // ---- epoll ----

    pub(crate) fn epoll_ctl(
        &mut self,
        epoll: c_int,
        operation: c_int,
        fd: c_int,
        events: u32,
        data: u64,
    ) -> Answer<c_int> {
        let File { kind: Kind::Epoll, id, .. } = self.file(epoll)? else {
            return Err(libc::EINVAL);
        };
        let watched = self.file(fd)?.watch.epoll == id;
        let index = (fd - DESCRIPTORS_FROM) as usize;
        match operation {
            libc::EPOLL_CTL_ADD if watched => return Err(libc::EEXIST),
            libc::EPOLL_CTL_ADD => {
                self.files[index].watch = Watch { epoll: id, events, data, is_listed: false };
            }
            _ if !watched => return Err(libc::ENOENT),
            libc::EPOLL_CTL_MOD => {
                let watch = &mut self.files[index].watch;
                (watch.events, watch.data) = (events, data);
            }
            libc::EPOLL_CTL_DEL => {
                // An item that is listed still is told from a later one by its serial.
                self.files[index].watch = Watch::NOWHERE;
                self.files[index].serial += 1;
                return Ok(0);
            }
            _ => return Err(libc::EINVAL),
        }
        // M9, M11: what is ready now is told at once.
        if self.bits_of(index as u32) & self.files[index].watch.interest() != 0 {
            self.list(index as u32, 0);
        }
        Ok(0)
    }

    /// Whether a wait would return at once.
    pub(crate) fn has_events(&self, epoll: c_int) -> bool {
        self.set_of(epoll).is_ok_and(|id| {
            let epoll = &self.epolls[id as usize];
            !epoll.ghosts.is_empty()
                || epoll.ready.iter().any(|item| self.reportable(item).is_some())
        })
    }

    fn set_of(&self, epoll: c_int) -> Answer<u32> {
        let file = self.file(epoll)?;
        if file.kind == Kind::Epoll { Ok(file.id) } else { Err(libc::EINVAL) }
    }

    /// What would be reported for an item, if it still stands for something.
    fn reportable(&self, item: &Item) -> Option<(u32, u64)> {
        let file = &self.files[item.file as usize];
        if file.serial != item.serial || file.watch.epoll == NONE {
            return None;
        }
        let bits = (self.bits_of(item.file) | item.spurious) & file.watch.interest();
        (bits != 0).then_some((bits, file.watch.data))
    }

    /// Hands out at most `room` events, without waiting.
    pub(crate) fn collect(
        &mut self,
        epoll: c_int,
        room: usize,
        mut report: impl FnMut(u32, u64),
    ) -> Answer<usize> {
        let id = self.set_of(epoll)? as usize;
        if room == 0 {
            return Err(libc::EINVAL);
        }
        let mut count = 0;
        while count < room
            && let Some(Ghost { events, data }) = self.epolls[id].ghosts.pop()
        {
            report(events, data);
            count += 1;
        }
        self.reorder(id);
        for _ in 0..self.epolls[id].ready.len() {
            if count == room {
                break;
            }
            let Some(item) = self.epolls[id].ready.pop_front() else { break };
            let told = self.reportable(&item);
            if self.files[item.file as usize].serial == item.serial {
                self.files[item.file as usize].watch.is_listed = false;
            }
            if self.files[item.file as usize].serial == item.serial {
                self.note_refusal(item.file);
            }
            let Some((bits, data)) = told else { continue };
            let (first, second) = self.split(bits, room - count);
            for bits in [first, second].into_iter().filter(|bits| *bits != 0) {
                report(bits, data);
                count += 1;
            }
            if self.files[item.file as usize].watch.is_level_triggered() {
                self.list(item.file, 0);
            }
        }
        Ok(count)
    }

    fn reorder(&mut self, id: usize) {
        let len = self.epolls[id].ready.len();
        if len > 1 && self.random.chance(self.weather.reorder) {
            for index in (1..len).rev() {
                let other = self.random.below(index + 1);
                self.epolls[id].ready.swap(index, other);
            }
        }
    }

    /// Now and then what can be read and what can be written is told in two events.
    fn split(&mut self, bits: u32, room: usize) -> (u32, u32) {
        let writable = bits & OUT;
        if writable != 0 && writable != bits && room > 1 && self.random.chance(self.weather.split) {
            return (bits & !OUT, writable);
        }
        (bits, 0)
    }

    /// `tcp_poll` asks for an event when it finds no room.
    fn note_refusal(&mut self, file: u32) {
        let File { kind: Kind::Socket, id, .. } = self.files[file as usize] else { return };
        if self.sockets[id as usize].stage == Stage::Connected && !self.may_send(id) {
            self.sockets[id as usize].refused = true;
        }
    }

    /// The full state of a file, as its poll function tells it.
    fn bits_of(&self, file: u32) -> u32 {
        let File { kind, id, .. } = self.files[file as usize];
        match kind {
            Kind::Free | Kind::Epoll => 0,
            Kind::Event if self.eventfds[id as usize] > 0 => IN | OUT,
            Kind::Event => OUT,
            Kind::Socket => {
                let socket = &self.sockets[id as usize];
                if socket.stage == Stage::Listening {
                    let waiting = &self.listeners[socket.other as usize].backlog;
                    return if waiting.is_empty() { 0 } else { IN };
                }
                socket.state_bits(self.may_send(id))
            }
        }
    }

    /// Whether the socket would say that it is writable.
    pub(crate) fn may_send(&self, socket: u32) -> bool {
        let socket = &self.sockets[socket as usize];
        let other = self.sockets.get(socket.other as usize);
        socket.stage == Stage::Connected && other.is_none_or(|other| other.has_a_third_free())
    }

    /// Something happened to a socket. Without a key it concerns every waiter.
    pub(crate) fn wake(&mut self, socket: u32, key: u32) {
        let file = self.sockets[socket as usize].file;
        if file != NONE {
            self.wake_file(file, key);
        }
    }

    fn wake_file(&mut self, file: u32, key: u32) {
        if self.files[file as usize].watch.concerns(key) {
            self.list(file, 0);
        }
    }

    fn list(&mut self, file: u32, spurious: u32) {
        let File { serial, watch, .. } = &mut self.files[file as usize];
        watch.is_listed = true;
        let item = Item { file, serial: *serial, spurious };
        self.epolls[watch.epoll as usize].ready.push_back(item);
    }

    /// Tells of a file again although nothing has happened, and perhaps of input that is not there.
    pub(crate) fn spurious_event(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let file = self.random.below(self.files.len()) as u32;
        let File { kind, watch, .. } = self.files[file as usize];
        let is_idle = watch.epoll != NONE && !watch.is_listed;
        if is_idle && matches!(kind, Kind::Socket | Kind::Event) {
            let bits = self.random.pick(&[0, IN, OUT, IN | OUT]);
            self.list(file, bits);
        }
    }

    /// The number that a registered socket's events carry.
    pub(crate) fn data_of(&self, socket: u32) -> Option<u64> {
        let file = self.sockets[socket as usize].file;
        let watch = self.files.get(file as usize)?.watch;
        (watch.epoll != NONE).then_some(watch.data)
    }

    pub(crate) fn next_address(&mut self) -> Address {
        self.next_port += 1;
        // 60,000 ports of each address, so that every client there ever was has one of its own.
        let (host, port) = (self.next_port / 60_000, self.next_port % 60_000);
        Address { ip: 0x0a00_0001 + host, port: 1024 + port as u16 }
    }
}
