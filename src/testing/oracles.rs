//! What must hold whatever the handler does, as far as it can be known without a kernel.

use super::harness::Harness;
use super::wire::Wire;
use crate::reactor::Handler;

impl<H: Handler> Harness<H> {
    /// After every turn: the rules of the reactor's own check, for all connections, and the promises to
    /// the handler.
    #[track_caller]
    pub(super) fn check_turn(&self) {
        self.reactor.check();
        let journal = self.journal.borrow();
        assert!(journal.broken.is_empty(), "{}", journal.broken.join("\n"));
    }

    /// When the server waits: nobody may wait for it.
    #[track_caller]
    pub(super) fn check_rest(&self) {
        let kernel = self.kernel.borrow();
        for (index, wire) in kernel.wires.iter().enumerate() {
            if let Some(fault) = self.forgotten(wire) {
                panic!("the server waits, and the connection of peer {index} {fault}");
            }
        }
    }

    /// What was forgotten on a connection of a server that waits.
    fn forgotten(&self, wire: &Wire) -> Option<String> {
        let token = wire.token?;
        let standing = self.reactor.standing(token)?;
        let received = self.journal.borrow().received(token);
        if standing.is_held {
            return None;
        }
        if wire.has_input() {
            return Some(format!("has unread input ({} bytes, or an end)", wire.unread()));
        }
        if standing.is_served && received != wire.taken {
            let taken = wire.taken;
            return Some(format!("has sent {taken} bytes, of which its handler saw {received}"));
        }
        let is_unsent = standing.owes_output && wire.takes_output();
        is_unsent.then(|| "is owed output that it would take".to_owned())
    }

    /// When the server has ended.
    #[track_caller]
    pub(super) fn check_end(&self) {
        let stats = self.reactor.stats();
        assert_eq!(stats.open(), 0, "connections are left: {stats:?}");
        assert_eq!(stats.bytes_unconsumed(), 0, "input is left: {stats:?}");
        assert_eq!(stats.bytes_waiting(), 0, "output is left: {stats:?}");
        assert_eq!(self.journal.borrow().open(), 0, "connections whose on_close was not called");
        assert_eq!(self.reactor.leased(), 0, "bytes of buffers that were not given back");
    }
}
