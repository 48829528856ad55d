//! What servers do: handlers that join a codec with the reactor.

mod addresses;
#[cfg(feature = "http")]
mod bearer;
mod broadcast;
#[cfg(feature = "websocket")]
pub mod chat;
mod echo;
mod echo_lines;
mod framed;
mod handler_fn;
#[cfg(feature = "http")]
mod hosts;
#[cfg(feature = "identity")]
pub mod identity;
mod kv;
mod networks;
mod proxy_protocol;
mod rate;
mod throttle;
mod wall_clock;
#[cfg(feature = "http")]
pub mod web;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use addresses::{AddressLimits, Addresses};
pub use broadcast::{Broadcast, BroadcastSession, Framing};
pub use echo::Echo;
pub use echo_lines::EchoLines;
pub use framed::{Framed, FramedSession, Service};
pub use handler_fn::{HandlerFn, OnData, handler_fn};
#[cfg(feature = "http")]
pub use hosts::Hosts;
pub use kv::{Kv, KvConfig, KvSession, Users};
pub use networks::Network;
pub use proxy_protocol::ProxyProtocol;
pub use rate::RATE_MAX;
