//! Whether a connection may come in. The reactor asks, and knows nothing of the reasons for the answer.

use std::time::Instant;

use super::loop_state::LoopState;
use crate::sockets::address::{Address, Peer};
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;

/// Decides about connections before anything is spent on them; see
/// [`Reactor::set_gate`](super::Reactor::set_gate).
///
/// A gate is asked once for each connection that a listener accepts. For each connection that it let in,
/// the gate is told once when that connection is over. So a gate may count the connections inside.
/// Outgoing connections do not pass the gate.
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
    /// A connection was accepted, at turn time `now`. A peer on a Unix socket has an empty path.
    ///
    /// # Errors
    /// The reason for which the connection is closed at once. No handler hears of the connection.
    fn admit(&mut self, peer: &Address, now: Instant) -> Result<(), CloseReason>;

    /// A connection that was let in is over, or could not be set up.
    fn release(&mut self, peer: &Address, now: Instant);
}

/// A gate, and which of the connections it has let in.
pub(super) struct GateBook {
    gate: Box<dyn Gate>,
    /// Indexed like the table of connections.
    inside: Vec<bool>,
}

impl GateBook {
    pub(super) fn new(gate: Box<dyn Gate>) -> Self {
        GateBook { gate, inside: Vec::new() }
    }
}

impl LoopState {
    /// Asks the gate, if there is one, whether a connection may come in.
    pub(super) fn ask_gate(&mut self, peer: &Peer) -> Result<(), CloseReason> {
        let answer = self.contained(None, |LoopState { gate, clock, .. }| {
            gate.as_mut().map_or(Ok(()), |book| book.gate.admit(&peer.into(), clock.now()))
        });
        answer.unwrap_or(Err(CloseReason::HandlerPanicked))
    }

    /// Remembers that the gate let this connection in.
    pub(super) fn enter_gate(&mut self, token: Token) {
        if let Some(book) = &mut self.gate {
            let places = book.inside.len().max(token.key() + 1);
            book.inside.resize(places, false);
            book.inside[token.key()] = true;
        }
    }

    /// Tells the gate that a connection is over, if the gate has let this one in.
    pub(super) fn leave_gate(&mut self, token: Token) {
        let (Some(book), Some(details)) = (&mut self.gate, self.details.get(token.key())) else {
            return;
        };
        if book.inside.get_mut(token.key()).is_some_and(std::mem::take) {
            let peer = Address::from(&details.peer);
            self.turn_back(&peer);
        }
    }

    /// Tells the gate that somebody whom it has let in is inside no more, or got no place.
    pub(super) fn turn_back(&mut self, peer: &Address) {
        self.contained(None, |LoopState { gate, clock, .. }| {
            gate.iter_mut().for_each(|book| book.gate.release(peer, clock.now()));
        });
    }
}
