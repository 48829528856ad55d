//! An edge-triggered TCP event loop: one thread, one `mio::Poll`, a slab of connections, ring
//! buffers, no async runtime.
//!
//! It is for servers that hold very many connections and answer each of them at once: echo,
//! broadcast, chat, a key-value store, HTTP. A program says what it does with the bytes of a
//! connection, in a [`Handler`]; the [`Reactor`] accepts, reads, writes, waits, and keeps every limit
//! of its [`Config`]. A handler never blocks, never touches a socket, and never sees `WouldBlock`.
//! What takes long, or waits for something else, belongs into a thread of its own, which reports
//! back through a [`Remote`].
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//!
//! use edgeloop::service::Echo;
//! use edgeloop::{CloseReason, Config, Reactor};
//!
//! let mut reactor = Reactor::new(Config::default(), Echo::new())?;
//! let address = reactor.listen(&"127.0.0.1:0".parse()?, &Default::default())?;
//!
//! let remote = reactor.remote();
//! let client = std::thread::spawn(move || -> std::io::Result<String> {
//!     let mut stream = TcpStream::connect(address.to_string())?;
//!     stream.write_all(b"hello")?;
//!     stream.shutdown(Shutdown::Write)?;
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer)?;
//!     // Stop accepting, let everybody finish, and return from `run`.
//!     let _ = remote.run(|cx| cx.drain());
//!     Ok(answer)
//! });
//!
//! reactor.run()?;
//! assert_eq!(client.join().unwrap()?, "hello");
//! assert_eq!(reactor.stats().closed(CloseReason::PeerClosed), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same server from nothing is a closure and three calls, as a program of its own:
//!
//! ```no_run
#![doc = include_str!("../docs/code/echo.rs")]
//! ```
//!
//! What the library has to say it says through the crate `log`. With `env_logger`, as here,
//! `RUST_LOG=warn` shows what went wrong at the server, and `RUST_LOG=debug` why each connection ended.
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
//! opposite, and what a turn does not finish is on a list for the next one.
//!
//! # In which order to read
//!
//! To write a server:
//!
//! 1. [`Handler`]: what is called when, and [`Context`]: what a handler can ask for.
//!    [`service::HandlerFn`] makes a handler of closures.
//! 2. [`codec`] and [`service::Framed`], where bytes are messages; or a service that is there
//!    already.
//! 3. [`Config`] and [`ListenOptions`]: each limit with its default, its reason, and what happens
//!    when it is reached.
//! 4. [`CloseReason`] and [`Stats`]: what became of each connection.
//!
//! To understand the loop: the module page of [`reactor`], which explains the one idea in full and
//! gives the order in which to read its files.
//!
//! # Where to look
//!
//! | to | see |
//! | --- | --- |
//! | react to connections | [`service::handler_fn`], [`Handler`], [`Context`] |
//! | run, or own the loop | [`Reactor::run`], [`Reactor::turn`] |
//! | set limits and timeouts | [`Config`], [`ListenOptions`], [`TopicConfig`] |
//! | find messages in a stream, make a server of a codec | [`codec`], [`service::Framed`], [`service::Service`] |
//! | send to all | [`Context::publish`], [`service::Broadcast`] |
//! | serve HTTP | `service::web`, with the feature `http` |
//! | serve the clients of Redis | [`service::Kv`], [`codec::resp`] |
//! | serve WebSocket, or a chat | `service::websocket`, `service::chat` (feature `websocket`) |
//! | reach the loop from another thread | [`Remote`] |
//! | test a handler without sockets and without waiting | `testing`, with the feature `testing` |
//! | serve or speak TLS (feature `tls`) | `tls` |
//! | put something else between socket and connection | [`Layer`] |
//! | know the clients of a balancer, and who may connect | [`service::ProxyProtocol`], [`service::AddressLimits`] |
//! | measure a server (feature `load`) | `load` |
//! | know what happened | [`Stats`], [`CloseReason`] |
//! | refuse what can wait when there is too much to do | [`Context::overload`], [`Overload`] |
//!
//! The folder `docs/howto` of the repository has a page for each of these: send to all, do slow work
//! elsewhere, stop on Ctrl-C, what may be done in a callback, several cores, write a codec, serve HTTP or
//! WebSocket, refuse under overload. `docs/code` has the programs.
//!
//! The library needs `mio`, `slab`, `socket2`, `log` and `env_logger`; the feature `tls` adds `rustls`, the feature `cli`, on by
//! default, adds what the `edgeloop` program needs. Linux is what is promised; other 64-bit Unix
//! systems may work.
#![forbid(unsafe_code)]

pub mod codec;
#[cfg(feature = "load")]
pub mod load;
pub mod reactor;
pub mod service;
mod sockets;
mod structures;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
mod vocabulary;

/// Its types stand in signatures: sources of [`Reactor::wake_on`], sockets and sources of a [`Layer`].
pub use mio;
#[doc(inline)]
pub use reactor::*;

/// The code in the how-to pages is compiled, and run where it can be.
#[cfg(doctest)]
mod howto {
    #[doc = include_str!("../docs/howto/send-to-all.md")]
    struct SendToAll;

    #[doc = include_str!("../docs/howto/slow-work.md")]
    struct SlowWork;

    // It shows a crate that the program uses.
    #[cfg(feature = "cli")]
    #[doc = include_str!("../docs/howto/stop-on-ctrl-c.md")]
    struct StopOnCtrlC;

    #[doc = include_str!("../docs/howto/callbacks.md")]
    struct Callbacks;

    #[doc = include_str!("../docs/howto/several-cores.md")]
    struct SeveralCores;

    #[doc = include_str!("../docs/howto/write-a-codec.md")]
    struct WriteACodec;

    #[doc = include_str!("../docs/howto/overload.md")]
    struct Overload;

    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/howto/test-a-handler.md")]
    struct TestAHandler;

    #[cfg(feature = "websocket")]
    #[doc = include_str!("../docs/howto/serve-websocket.md")]
    struct ServeWebSocket;
}
