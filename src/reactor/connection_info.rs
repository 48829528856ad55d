//! A connection as an administrator sees it.

use std::time::Duration;

use super::connection::{Connection, State};
use super::loop_state::LoopState;
use crate::sockets::address::Address;
use crate::structures::token::Token;

/// One line of a list of connections; see [`Context::connections`](super::Context::connections).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name. Later connections have larger generations: those that came first can be sorted first.
    pub token: Token,
    /// Who is at the other end, or whom it calls.
    pub peer: Address,
    /// For an outgoing connection, what it was [begun with](super::Context::connect).
    pub dialled: Option<u64>,
    /// How far its life has come.
    pub stage: Stage,
    /// Whether it is not read at the moment: paused, put off, above its high-water mark, or waiting for a
    /// topic or for memory.
    pub is_held: bool,
    /// Since when no byte has moved in either direction, nor a wait for others has ended: to the
    /// millisecond, up to 49 days.
    pub quiet: Duration,
    /// Bytes read that its handler has not taken.
    pub input: usize,
    /// Bytes queued that its socket has not taken; what topics hold for it is not counted.
    pub output: usize,
}

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not established, or `on_open` is about to be called.
    Connecting,
    /// It is read and written.
    Open,
    /// It has failed, or was closed, and what is left to do is done.
    Ending,
}

impl LoopState {
    /// The connections in the slots from this one on.
    pub(super) fn connections_from(&self, slot: usize) -> impl Iterator<Item = ConnectionInfo> {
        let slots = slot..self.details.len();
        slots.filter_map(|slot| self.info(slot as u32, self.connections.get(slot)?))
    }

    fn info(&self, slot: u32, connection: &Connection) -> Option<ConnectionInfo> {
        let token = Token { slot, generation: connection.generation };
        let quiet_ms = self.clock.stamp().wrapping_sub(connection.active_ms);
        Some(ConnectionInfo {
            token,
            peer: self.peer_address(token)?,
            dialled: self.dialled(token),
            stage: match connection.state {
                State::Connecting => Stage::Connecting,
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
