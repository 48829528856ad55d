//! A client in memory, or a server that was dialled.

use std::fmt;

use super::kernel::{Kernel, Shared};
use super::wire::{Ended, Wire};
use crate::reactor::{CloseReason, Token};

/// The other end of a connection, in the hands of the test. A handle: clones are the same peer.
///
/// What it does is noted at once and reaches the server in the turns that follow. What it sends arrives
/// in the pieces in which it was sent, one a turn, as far as they fit into the connection's buffer. It
/// reads all the time, unless it is told to stop.
#[derive(Clone)]
pub struct Peer {
    kernel: Shared,
    index: usize,
}

impl Peer {
    pub(super) fn new(kernel: &Shared, index: usize) -> Self {
        Peer { kernel: kernel.clone(), index }
    }

    // ---- sending ----

    /// Sends one piece: it arrives as a whole, in a turn of its own. Nothing is sent behind an end.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.kernel.borrow_mut().send(self.index, bytes.as_ref());
    }

    /// Sends each piece in a turn of its own.
    pub fn send_pieces<T: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = T>) {
        pieces.into_iter().for_each(|piece| self.send(piece));
    }

    /// Ends its stream behind all that it has sent, and reads on: a half-close.
    pub fn end_sending(&self) {
        self.act("ends its stream", Wire::end_sending);
    }

    /// Closes its socket. What it has sent still arrives; what it is sent from now on is answered by a
    /// reset, and what it was sent and has not read makes this one at once.
    pub fn close(&self) {
        self.act("closes its socket", Wire::close_by_peer);
    }

    /// Resets the connection. What it has sent and has not arrived is lost.
    pub fn reset(&self) {
        self.act("resets the connection", Wire::reset_by_peer);
    }

    // ---- reading ----

    /// What the server has sent since this was called last.
    pub fn read(&self) -> Vec<u8> {
        self.with(Wire::take_inbox)
    }

    /// As [`read`](Self::read), as text; what is none is replaced.
    pub fn read_text(&self) -> String {
        String::from_utf8_lossy(&self.read()).into_owned()
    }

    /// Reads no more: the connection's buffer fills, and then the server's.
    pub fn stop_reading(&self) {
        self.act("stops reading", Wire::stop_reading);
    }

    /// Reads at most so many bytes a turn from now on, at least one.
    pub fn read_slowly(&self, bytes: usize) {
        self.act("reads slowly", |wire| wire.read_at_most(bytes));
    }

    /// Reads as fast as the server sends, again.
    pub fn read_on(&self) {
        self.act("reads on", Wire::read_on);
    }

    // ---- looking ----

    /// How the connection ended, if the peer can know that it has.
    pub fn ended(&self) -> Option<Ended> {
        self.with(|wire| wire.ended())
    }

    /// Why the connection ended for the server: what `on_close` was told.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.with(|wire| wire.reason)
    }

    /// Bytes that it sent and the server has not read.
    pub fn unread(&self) -> usize {
        self.with(|wire| wire.unread())
    }

    /// Bytes that the server has written and it has not read.
    pub fn waiting(&self) -> usize {
        self.with(|wire| wire.waiting())
    }

    /// How the handler calls the connection, once it was accepted. The token stays known when the
    /// connection is gone.
    pub fn token(&self) -> Option<Token> {
        self.with(|wire| wire.token)
    }

    /// Gives the connection other buffers: how many bytes lie at the server unread before the peer's
    /// pieces wait, and how many the server's writes are ahead of the peer's reading. At least one byte
    /// each.
    pub fn set_buffers(&self, receive: usize, send: usize) {
        self.with(|wire| (wire.receive_buffer, wire.send_buffer) = (receive.max(1), send.max(1)));
    }

    fn act(&self, what: &str, act: impl FnOnce(&mut Wire)) {
        let Kernel { wires, trace, .. } = &mut *self.kernel.borrow_mut();
        trace.note(format_args!("peer {} {what}", self.index));
        act(&mut wires[self.index]);
    }

    fn with<T>(&self, look: impl FnOnce(&mut Wire) -> T) -> T {
        look(&mut self.kernel.borrow_mut().wires[self.index])
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unread, ended) = self.with(|wire| (wire.unread(), wire.ended()));
        write!(f, "Peer {}({unread} bytes unread, ended: {ended:?})", self.index)
    }
}
