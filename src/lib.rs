//! An edge-triggered TCP event loop: one thread, one `mio::Poll`, a slab of connections, ring
//! buffers, no async runtime.
//!
//! An echo server is a [`Handler`] and three calls:
//!
//! ```no_run
#![doc = include_str!("../docs/code/echo.rs")]
//! ```
//!
//! Handlers for common services are in [`service`]. A broadcast server copies no message for its
//! subscribers: each of them is a cursor into one shared ring, a topic.
//!
//! ```no_run
#![doc = include_str!("../docs/code/broadcast.rs")]
//! ```
//!
//! # What happens in a turn
//!
//! ```text
//! poll     wait, unless a list holds work
//! note     remember what the events say; no I/O
//! timers   deadlines that are due, tasks from other threads, new connections
//! read     each ready connection: read, Handler::on_data, send its reply at once
//! flush    each dirty connection: one write, topics included
//! close    Handler::on_close exactly once each; count the reason
//! ```
//!
//! The kernel tells an edge once; what it said is kept in the connection until a call proves the
//! opposite, and what a turn does not finish is on a list for the next one. The module page of
//! [`reactor`] explains this in full and gives the order in which to read its files.
//!
//! # Where to look
//!
//! | to | see |
//! | --- | --- |
//! | react to connections | [`Handler`], [`Context`] |
//! | run, or own the loop | [`Reactor::run`], [`Reactor::turn`] |
//! | set limits and timeouts | [`Config`], [`ListenOptions`], [`TopicConfig`] |
//! | find messages in a stream, make a server of a codec | [`codec`], [`service::Framed`] |
//! | serve HTTP | `service::web`, with the feature `http` |
//! | serve the clients of Redis | [`service::Kv`], [`codec::resp`] |
//! | serve WebSocket, or a chat | `service::websocket`, `service::chat` (feature `websocket`) |
//! | reach the loop from another thread | [`Remote`] |
//! | put TLS or a test between socket and connection | [`Layer`] |
//! | measure a server (feature `load`) | `load` |
//! | know what happened | [`Stats`], [`CloseReason`] |
//!
//! The library needs `mio`, `slab`, `socket2`, `log` and `env_logger`; the feature `cli`, on by
//! default, adds what the `edgeloop` program needs.
#![forbid(unsafe_code)]

pub mod codec;
#[cfg(feature = "load")]
pub mod load;
pub mod reactor;
pub mod service;

pub use reactor::*;

/// The code in the how-to pages is compiled, and run where it can be.
#[cfg(doctest)]
mod howto {
    #[doc = include_str!("../docs/howto/write-a-codec.md")]
    struct WriteACodec;

    #[cfg(feature = "websocket")]
    #[doc = include_str!("../docs/howto/serve-websocket.md")]
    struct ServeWebSocket;
}
