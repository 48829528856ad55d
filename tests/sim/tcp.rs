//! What happens between two sockets: connecting, sending, arriving, ending.
//!
//! What a call does to the other end either arrives at once or is put on its way, from where
//! [`Kernel::carry`] lets it arrive piece by piece: that is how a stream is cut, how the end comes
//! with the data or behind it, and how an event falls between any two calls.

use libc::c_int;

use crate::NONE;
use crate::epoll::{IN, OUT, PRI};
use crate::kernel::{Answer, Kernel, Listener};
use crate::socket::{Address, Flight, Socket, Stage};

impl Kernel {
    pub(crate) fn new_socket(&mut self) -> u32 {
        if let Some(socket) = self.free_sockets.pop() {
            self.sockets[socket as usize].renew();
            return socket;
        }
        self.sockets.push(Socket::new());
        self.sockets.len() as u32 - 1
    }

    fn socket_mut(&mut self, socket: u32) -> &mut Socket {
        &mut self.sockets[socket as usize]
    }

    // ---- listening and connecting ----

    pub(crate) fn bind(&mut self, socket: u32, mut address: Address) -> Answer<c_int> {
        if address.port == 0 {
            address.port = 40_000 + self.listeners.len() as u16;
        }
        if self.listener_at(address).is_some() {
            return Err(libc::EADDRINUSE);
        }
        self.socket_mut(socket).local = address;
        Ok(0)
    }

    pub(crate) fn listen(&mut self, socket: u32, backlog_max: usize) -> Answer<c_int> {
        if self.sockets[socket as usize].stage == Stage::Listening {
            return Ok(0);
        }
        let address = self.sockets[socket as usize].local;
        let listener = Listener { address, socket, backlog: Default::default(), backlog_max };
        self.listeners.push(listener);
        let index = self.listeners.len() as u32 - 1;
        let socket = self.socket_mut(socket);
        (socket.stage, socket.other) = (Stage::Listening, index);
        Ok(0)
    }

    pub(crate) fn listener_at(&self, address: Address) -> Option<usize> {
        self.listeners.iter().position(|it| it.socket != NONE && it.address == address)
    }

    /// A listener without a descriptor, for simulated servers.
    pub(crate) fn listen_for_peers(&mut self, address: Address) -> usize {
        let socket = self.new_socket();
        self.socket_mut(socket).local = address;
        let _ = self.listen(socket, usize::MAX);
        self.listeners.len() - 1
    }

    pub(crate) fn connect(&mut self, socket: u32, to: Address) -> Answer<c_int> {
        match self.sockets[socket as usize].stage {
            Stage::Fresh => {}
            Stage::Connecting => return Err(libc::EALREADY),
            _ => return Err(libc::EISCONN),
        }
        let local = self.next_address();
        let it = self.socket_mut(socket);
        (it.stage, it.local, it.remote) = (Stage::Connecting, local, to);
        let is_nonblocking = it.is_nonblocking;
        if is_nonblocking {
            self.send_off(socket);
            return Err(libc::EINPROGRESS);
        }
        self.establish(socket);
        match self.take_error(socket) {
            0 => Ok(0),
            errno => Err(errno),
        }
    }

    /// The SYN arrives where it was sent.
    fn establish(&mut self, client: u32) {
        let to = self.sockets[client as usize].remote;
        let Some(listener) = self.listener_at(to) else {
            return self.kill(client, libc::ECONNREFUSED);
        };
        // T13: with a full queue the SYN is dropped, and sent again later.
        let queue = &self.listeners[listener];
        if queue.backlog.len() <= queue.backlog_max {
            self.pair_with(client, listener);
            self.wake(client, 0);
        }
    }

    /// Makes the server's end of a connection and queues it.
    fn pair_with(&mut self, client: u32, listener: usize) {
        let server = self.new_socket();
        let capacities = [self.draw_capacity(), self.draw_capacity()];
        let (local, now) = (self.listeners[listener].address, self.clock.told());
        let it = self.socket_mut(client);
        (it.stage, it.other, it.capacity) = (Stage::Connected, server, capacities[0]);
        let remote = it.local;
        let it = self.socket_mut(server);
        (it.stage, it.other, it.capacity) = (Stage::Connected, client, capacities[1]);
        (it.local, it.remote) = (local, remote);
        (it.active_ns, it.sent_at_ns) = (now, now);
        self.listeners[listener].backlog.push_back(server);
        self.wake(self.listeners[listener].socket, IN);
    }

    fn draw_capacity(&mut self) -> u32 {
        let (least, most) = (self.weather.capacity_least, self.weather.capacity_most);
        if least == most {
            return least;
        }
        self.random.magnitude(least as usize, most as usize) as u32
    }

    /// A connection from a simulated client, if the backlog has room.
    pub(crate) fn dial(&mut self, listener: usize) -> Option<u32> {
        let queue = &self.listeners[listener];
        if queue.socket == NONE || queue.backlog.len() > queue.backlog_max {
            return None;
        }
        let client = self.new_socket();
        let local = self.next_address();
        self.socket_mut(client).local = local;
        self.socket_mut(client).remote = self.listeners[listener].address;
        self.pair_with(client, listener);
        Some(client)
    }

    // ---- sending and receiving ----

    /// Takes what there is room for, at most `most` bytes of it.
    pub(crate) fn send(
        &mut self,
        socket: u32,
        pieces: &[&[u8]],
        most: usize,
        is_urgent: bool,
    ) -> Answer<usize> {
        self.may_write(socket)?;
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let other = self.sockets[socket as usize].other;
        if self.is_gone(other) {
            // T5: the first send to somebody who is gone succeeds; the answer is a reset.
            self.socket_mut(socket).reset_coming = true;
            self.arrive(socket);
            self.note_sent(socket, len);
            return Ok(len);
        }
        let room = self.sockets[other as usize].room();
        let taken = len.min(room).min(most);
        self.append(other, pieces, taken, is_urgent && taken == len);
        // M17: a Unix socket may take a part of what it has room for, and that is no refusal.
        let is_cut = self.sockets[socket as usize].is_unix() && taken > 0 && taken < room;
        if taken < len && !is_cut {
            let now = self.clock.told();
            let it = self.socket_mut(socket);
            (it.refused, it.refused_at_ns) = (true, now);
            if taken < room {
                // Memory was short, not the room: the event that is promised comes all the same.
                self.socket_mut(socket).room_coming = true;
                self.send_off(socket);
            }
        }
        if taken == 0 && len > 0 {
            return Err(libc::EAGAIN);
        }
        self.note_sent(socket, taken);
        self.arrive(other);
        Ok(taken)
    }

    fn may_write(&mut self, socket: u32) -> Answer<()> {
        let it = &self.sockets[socket as usize];
        match it.stage {
            Stage::Connecting => return Err(libc::EAGAIN),
            Stage::Connected if !it.shut_write => return Ok(()),
            _ => {}
        }
        match self.take_error(socket) {
            0 => Err(libc::EPIPE),
            errno => Err(errno),
        }
    }

    fn is_gone(&self, other: u32) -> bool {
        self.sockets.get(other as usize).is_none_or(|it| it.is_released || it.stage == Stage::Dead)
    }

    fn note_sent(&mut self, socket: u32, len: usize) {
        let now = self.clock.told();
        let it = self.socket_mut(socket);
        it.sent += len as u64;
        it.sent_at_ns = now;
        it.moved(now);
    }

    fn append(&mut self, to: u32, pieces: &[&[u8]], mut taken: usize, is_urgent: bool) {
        let it = self.socket_mut(to);
        for piece in pieces {
            let part = taken.min(piece.len());
            it.inbox.extend(&piece[..part]);
            taken -= part;
        }
        if is_urgent && it.inbox.pop_back().is_some() {
            // A later mark takes the place of an earlier one, whose byte is then lost.
            (it.mark, it.mark_arrived) = (Some(it.inbox.len() as u32), false);
        }
    }

    /// Reads into the pieces, one after the other.
    pub(crate) fn receive(&mut self, socket: u32, pieces: &mut [&mut [u8]]) -> Answer<usize> {
        let wanted: usize = pieces.iter().map(|piece| piece.len()).sum();
        let it = self.socket_mut(socket);
        if matches!(it.stage, Stage::Fresh | Stage::Listening) {
            return Err(libc::ENOTCONN);
        }
        let mut n = 0;
        for piece in pieces.iter_mut() {
            let part = it.take(piece);
            n += part;
            if part < piece.len() {
                break;
            }
        }
        if n > 0 || wanted == 0 {
            it.received += n as u64;
            let now = self.clock.told();
            self.socket_mut(socket).moved(now);
            self.acknowledge(socket);
            return Ok(n);
        }
        self.nothing_to_read(socket)
    }

    /// As [`receive`](Self::receive), of what stays there to be read.
    pub(crate) fn peek(&mut self, socket: u32, into: &mut [u8]) -> Answer<usize> {
        let it = self.socket_mut(socket);
        let n = it.readable_len().min(into.len());
        it.inbox.iter().zip(&mut into[..n]).for_each(|(byte, place)| *place = *byte);
        if n > 0 { Ok(n) } else { self.nothing_to_read(socket) }
    }

    fn nothing_to_read(&mut self, socket: u32) -> Answer<usize> {
        if self.sockets[socket as usize].fin == Flight::Arrived {
            return Ok(0);
        }
        match self.take_error(socket) {
            0 => self.end_or_again(socket),
            errno => Err(errno),
        }
    }

    fn end_or_again(&self, socket: u32) -> Answer<usize> {
        let it = &self.sockets[socket as usize];
        if it.stage == Stage::Dead || it.shut_read { Ok(0) } else { Err(libc::EAGAIN) }
    }

    /// Puts bytes that have arrived back on their way, so that the next read finds `keep` of them
    /// and a new event comes for the rest. Not behind an end that was announced.
    pub(crate) fn delay_input(&mut self, socket: u32, keep: usize) {
        let it = self.socket_mut(socket);
        let is_plain =
            it.fin == Flight::NotSent && it.mark.is_none() && it.stage == Stage::Connected;
        if is_plain && !it.reset_coming && (it.arrived as usize) > keep {
            it.arrived = keep as u32;
            self.send_off(socket);
        }
    }

    /// Refuses to send, for want of memory and not of room: the event comes when there is some.
    pub(crate) fn delay_room(&mut self, socket: u32) -> bool {
        let now = self.clock.told();
        let it = self.socket_mut(socket);
        let is_alive = it.stage == Stage::Connected && !it.shut_write;
        if is_alive {
            (it.refused, it.room_coming, it.refused_at_ns) = (true, true, now);
            self.send_off(socket);
        }
        is_alive
    }

    /// Reading made room for the other end.
    fn acknowledge(&mut self, socket: u32) {
        let other = self.sockets[socket as usize].other;
        let has_room = self.sockets[socket as usize].has_a_third_free();
        let Some(sender) = self.sockets.get_mut(other as usize) else { return };
        if has_room && sender.refused && !sender.is_released {
            sender.room_coming = true;
            self.arrive(other);
        }
    }

    pub(crate) fn take_error(&mut self, socket: u32) -> c_int {
        std::mem::take(&mut self.socket_mut(socket).error)
    }

    // ---- ending ----

    pub(crate) fn shutdown(&mut self, socket: u32, how: c_int) -> Answer<c_int> {
        if self.sockets[socket as usize].stage != Stage::Connected {
            return Err(libc::ENOTCONN);
        }
        if how != libc::SHUT_WR {
            self.socket_mut(socket).shut_read = true;
        }
        if how != libc::SHUT_RD {
            self.end_stream(socket);
        }
        // `inet_shutdown` wakes whoever waits on this very socket.
        self.wake(socket, 0);
        Ok(0)
    }

    fn end_stream(&mut self, socket: u32) {
        let it = self.socket_mut(socket);
        if !std::mem::replace(&mut it.shut_write, true) {
            let other = it.other;
            if self.sockets[other as usize].fin == Flight::NotSent {
                self.socket_mut(other).fin = Flight::Coming;
            }
            self.arrive(other);
        }
    }

    /// The last descriptor of a socket was closed, or a simulated peer is done with it.
    pub(crate) fn release(&mut self, socket: u32) {
        let it = self.socket_mut(socket);
        it.file = NONE;
        match it.stage {
            Stage::Listening => self.release_listener(socket),
            Stage::Connected | Stage::Dead if it.other != NONE => self.release_end(socket),
            _ => self.free(socket),
        }
    }

    fn release_listener(&mut self, socket: u32) {
        let index = self.sockets[socket as usize].other as usize;
        let waiting = std::mem::take(&mut self.listeners[index].backlog);
        self.listeners[index].socket = NONE;
        for server in waiting {
            self.socket_mut(server).linger_zero = true;
            self.release(server);
        }
        self.free(socket);
    }

    // T2, T3, T6: unread input, or a linger of zero, turns a close into a reset.
    fn release_end(&mut self, socket: u32) {
        let it = self.socket_mut(socket);
        it.is_released = true;
        let other = it.other;
        let is_reset = it.linger_zero || it.arrived > 0 || it.mark.is_some();
        let is_alive = it.stage == Stage::Connected;
        let has_coming = it.inbox.len() > it.arrived as usize;
        it.inbox.clear();
        (it.arrived, it.mark) = (0, None);
        if self.sockets[other as usize].is_released {
            self.free(socket);
            self.free(other);
        } else if is_alive && (is_reset || has_coming) {
            self.socket_mut(other).reset_coming = true;
            self.arrive(other);
        } else if is_alive {
            self.end_stream(socket);
        }
    }

    fn free(&mut self, socket: u32) {
        let it = self.socket_mut(socket);
        if it.is_on_the_way {
            // The list of what is on its way still names it; it is freed from there.
            it.stage = Stage::Free;
            return;
        }
        it.stage = Stage::Free;
        it.file = NONE;
        self.free_sockets.push(socket);
    }

    /// Ends a connection for both its ends: the network between them is gone.
    pub(crate) fn cut(&mut self, socket: u32, errno: c_int) {
        self.kill(socket, errno);
        let other = self.sockets[socket as usize].other;
        if other != NONE && !self.is_gone(other) {
            self.socket_mut(other).reset_coming = true;
            self.arrive(other);
        }
    }

    /// Ends a connection as a reset or a timeout does. What has arrived may still be read.
    pub(crate) fn kill(&mut self, socket: u32, errno: c_int) {
        let it = self.socket_mut(socket);
        if !matches!(it.stage, Stage::Connected | Stage::Connecting) {
            return;
        }
        let was_ended = it.fin == Flight::Arrived;
        it.stage = Stage::Dead;
        it.error = if was_ended && errno == libc::ECONNRESET { libc::EPIPE } else { errno };
        it.was_cut = true;
        (it.refused, it.room_coming, it.reset_coming) = (false, false, false);
        let arrived = it.arrived as usize;
        it.inbox.truncate(arrived);
        if it.fin == Flight::Coming {
            it.fin = Flight::NotSent;
        }
        self.wake(socket, 0);
    }

    // ---- on the way ----

    /// Lets what was sent to a socket arrive, at once or later.
    fn arrive(&mut self, socket: u32) {
        let is_behind = self.sockets[socket as usize].is_on_the_way;
        let delay = self.weather.delay;
        if is_behind || self.random.chance(delay) {
            self.send_off(socket);
        } else {
            self.deliver(socket, usize::MAX);
        }
    }

    fn send_off(&mut self, socket: u32) {
        if !std::mem::replace(&mut self.socket_mut(socket).is_on_the_way, true) {
            self.on_the_way.push(socket);
        }
    }

    /// Lets something that is on its way arrive; says whether anything was.
    pub(crate) fn carry(&mut self) -> bool {
        let Some(last) = self.on_the_way.len().checked_sub(1) else { return false };
        let index = if last == 0 { 0 } else { self.random.below(last + 1) };
        let socket = self.on_the_way[index];
        let it = &mut self.sockets[socket as usize];
        if it.stage == Stage::Free {
            self.on_the_way.swap_remove(index);
            it.is_on_the_way = false;
            self.free_sockets.push(socket);
            return true;
        }
        let coming = it.inbox.len() - it.arrived as usize;
        // All of it, or a part: then the end comes behind it, with an event of its own.
        let part = match self.random.below(4) {
            0 if coming > 1 => self.random.between(1, coming),
            _ => usize::MAX,
        };
        self.deliver(socket, part);
        if !self.is_coming(socket) {
            self.on_the_way.swap_remove(index);
            self.socket_mut(socket).is_on_the_way = false;
        }
        true
    }

    fn is_coming(&self, socket: u32) -> bool {
        let it = &self.sockets[socket as usize];
        match it.stage {
            Stage::Connecting | Stage::Free => true,
            Stage::Connected => {
                it.inbox.len() > it.arrived as usize
                    || it.fin == Flight::Coming
                    || it.reset_coming
                    || it.room_coming
                    || (it.mark.is_some() && !it.mark_arrived)
            }
            _ => false,
        }
    }

    /// At most `part` bytes arrive; once all have, what comes behind them.
    fn deliver(&mut self, socket: u32, part: usize) {
        let it = self.socket_mut(socket);
        if it.stage == Stage::Connecting {
            return self.establish(socket);
        }
        if it.stage != Stage::Connected {
            return;
        }
        if it.is_released {
            return self.refuse_late_bytes(socket);
        }
        if std::mem::take(&mut it.room_coming) && self.may_send(socket) {
            self.socket_mut(socket).refused = false;
            self.wake(socket, OUT);
        }
        self.deliver_bytes(socket, part);
        let it = self.socket_mut(socket);
        if (it.arrived as usize) < it.inbox.len() && !it.reset_coming {
            return;
        }
        if it.reset_coming {
            return self.kill(socket, libc::ECONNRESET);
        }
        if it.fin == Flight::Coming {
            it.fin = Flight::Arrived;
            self.wake(socket, 0);
        }
    }

    fn deliver_bytes(&mut self, socket: u32, part: usize) {
        let it = self.socket_mut(socket);
        let coming = it.inbox.len() - it.arrived as usize;
        let n = coming.min(part);
        it.arrived += n as u32;
        let is_marked = it.mark.is_some_and(|mark| mark <= it.arrived) && !it.mark_arrived;
        it.mark_arrived |= is_marked;
        if n > 0 || is_marked {
            // `sk_data_ready`.
            self.wake(socket, IN | PRI);
        }
    }

    // T3: bytes for somebody who has closed are answered with a reset.
    fn refuse_late_bytes(&mut self, socket: u32) {
        let it = self.socket_mut(socket);
        let had_bytes = !it.inbox.is_empty();
        it.inbox.clear();
        (it.arrived, it.mark, it.room_coming) = (0, None, false);
        if it.fin == Flight::Coming {
            it.fin = Flight::Arrived;
        }
        let other = it.other;
        if std::mem::take(&mut it.reset_coming) {
            it.stage = Stage::Dead;
        } else if had_bytes {
            self.socket_mut(other).reset_coming = true;
            self.arrive(other);
        }
    }
}
