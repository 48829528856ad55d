//! Who is at the other end, and the connections that there are, as an administrator sees them.

use std::time::Duration;

use super::connection::{Connection, State};
use super::loop_state::LoopState;
use crate::sockets::address::Address;
use crate::structures::token::Token;
use crate::vocabulary::connection_info::{ConnectionInfo, Stage};

impl LoopState {
    /// The peer: where a balancer has introduced it, the client.
    pub(super) fn peer_address(&self, token: Token) -> Option<Address> {
        self.find(token)?;
        self.details.get(token.key()).map(|details| (&details.peer).into())
    }

    /// The balancer by which a client came.
    pub(super) fn via(&self, token: Token) -> Option<Address> {
        self.find(token)?;
        self.details.get(token.key())?.peer.via().cloned()
    }

    /// The peer, and the balancer by which it came, if there is one.
    pub(super) fn peer_for_log(&self, token: Token) -> Option<(Address, Option<Address>)> {
        if !log::log_enabled!(log::Level::Debug) {
            return None;
        }
        Some((self.peer_address(token)?, self.via(token)))
    }

    /// The connections in the slots from this one on.
    pub(super) fn connections_from(&self, slot: usize) -> impl Iterator<Item = ConnectionInfo> {
        self.places
            .from(slot)
            .filter_map(|slot| self.info(slot as u32, self.connections.get(slot)?))
    }

    fn info(&self, slot: u32, connection: &Connection) -> Option<ConnectionInfo> {
        let token = Token { slot, generation: connection.generation };
        let quiet_ms = self.clock.stamp().wrapping_sub(connection.active_ms);
        Some(ConnectionInfo {
            token,
            peer: self.peer_address(token)?,
            via: self.via(token),
            dialled: self.dialled(token),
            stage: match connection.state {
                State::Connecting => Stage::Connecting,
                State::Greeting => Stage::Greeting,
                State::Open => Stage::Open,
                State::Severed | State::Closing | State::Lingering | State::Closed => Stage::Ending,
            },
            is_held: connection.is_waiting(),
            quiet: Duration::from_millis(quiet_ms.into()),
            input: connection.input.len(),
            output: connection.output.len(),
        })
    }
}
