//! A connection as an administrator sees it.

use std::time::Duration;

use crate::sockets::address::Address;
use crate::structures::token::Token;

/// One line of a list of connections; see [`Context::connections`](crate::Context::connections).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name. Later connections have larger generations: those that came first can be sorted first.
    pub token: Token,
    /// Who is at the other end, or whom it calls.
    pub peer: Address,
    /// The balancer by which the peer came, where one has [introduced](crate::Preface) it.
    pub via: Option<Address>,
    /// For an outgoing connection, what it was [begun with](crate::Context::connect).
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
    /// It is established, and what comes before `on_open` is not over: what a balancer has to say, or
    /// the handshake of a layer.
    Greeting,
    /// It is read and written.
    Open,
    /// It has failed, or was closed, and what is left to do is done.
    Ending,
}
