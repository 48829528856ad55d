//! Whether a connection may come in. The reactor asks, and knows nothing of the reasons for the answer.

use std::time::Instant;

use crate::sockets::address::Address;
use crate::vocabulary::close_reason::CloseReason;

/// Decides about connections before anything is spent on them; see
/// [`Reactor::set_gate`](super::Reactor::set_gate).
///
/// A gate is asked once for each connection that a listener accepts, as soon as the client is known: where
/// a balancer [introduces](crate::Preface) its clients, after that. For each connection that it let in,
/// the gate is told once when that connection is over. So a gate may count the connections inside.
/// Neither outgoing connections pass the gate, nor those of a balancer that introduces no client: it asks
/// whether the server is there.
///
/// ```
/// use std::time::Instant;
/// use edgeloop::{Address, CloseReason, Config, Gate, Reactor, service::Echo};
///
/// /// Lets in clients on this machine.
/// struct OnlyLocal;
///
/// impl Gate for OnlyLocal {
///     fn admit(&mut self, peer: &Address, _now: Instant) -> Result<(), CloseReason> {
///         match peer {
///             Address::Tcp(peer) if !peer.ip().is_loopback() => Err(CloseReason::Refused),
///             _ => Ok(()),
///         }
///     }
///     fn release(&mut self, _peer: &Address, _now: Instant) {}
/// }
///
/// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
/// reactor.set_gate(OnlyLocal);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Gate {
    /// A connection was accepted from a client, at turn time `now`. A peer on a Unix socket has an empty
    /// path.
    ///
    /// # Errors
    /// The reason for which the connection is closed at once. No handler hears of the connection.
    fn admit(&mut self, peer: &Address, now: Instant) -> Result<(), CloseReason>;

    /// A connection that was let in is over, or could not be set up.
    fn release(&mut self, peer: &Address, now: Instant);
}

/// A gate, and which of the connections it has let in.
pub(super) struct GateBook {
    pub(super) gate: Box<dyn Gate>,
    /// Indexed like the table of connections.
    pub(super) inside: Vec<bool>,
}

impl GateBook {
    pub(super) fn new(gate: Box<dyn Gate>) -> Self {
        GateBook { gate, inside: Vec::new() }
    }
}
