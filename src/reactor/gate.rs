//! Who may come in. The reactor asks, and knows nothing of the answer's reasons.

use std::time::Instant;

use super::close_reason::CloseReason;
use super::loop_state::LoopState;
use crate::sockets::address::{Address, Peer};

/// Decides about connections before anything is spent on them; see
/// [`Reactor::set_gate`](super::Reactor::set_gate).
///
/// For each connection that a listener accepts it is asked once, and for each one that it let in it is
/// told once when that is over: so a gate may count who is inside. Outgoing connections do not pass it.
///
/// ```
/// use std::time::Instant;
/// use edgeloop::{Address, CloseReason, Config, Gate, Reactor, service::Echo};
///
/// /// Lets in whoever is on this machine.
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
    /// A connection was accepted, at turn time `now`. A peer on a Unix socket has an empty path.
    ///
    /// # Errors
    /// The reason for which it is closed at once. No handler hears of it.
    fn admit(&mut self, peer: &Address, now: Instant) -> Result<(), CloseReason>;

    /// One that was let in is over, or could not be set up.
    fn release(&mut self, peer: &Address, now: Instant);
}

impl LoopState {
    /// Asks the gate whether a connection may come in. Returns the address that the gate let in, or
    /// `None` where there is no gate.
    pub(super) fn ask_gate(&mut self, peer: &Peer) -> Result<Option<Address>, CloseReason> {
        let Some(gate) = &mut self.gate else { return Ok(None) };
        let address = Address::from(peer);
        gate.admit(&address, self.clock.now())?;
        Ok(Some(address))
    }

    /// Tells the gate that a connection which it let in is over.
    pub(super) fn leave_gate(&mut self, peer: &Address) {
        if let Some(gate) = &mut self.gate {
            gate.release(peer, self.clock.now());
        }
    }
}
