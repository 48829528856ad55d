//! TLS 1.2 and 1.3 between a connection and its socket, by `rustls` and `ring`.
//!
//! A [`TlsServer`] puts a layer on every socket that a listener accepts, a [`TlsClient`] on every socket
//! that is dialled. The reactor knows nothing of either: for the reactor TLS is a
//! [`Layer`](crate::reactor::Layer) with a greeting.
//!
//! ```no_run
//! use std::path::Path;
//! use edgeloop::service::Echo;
//! use edgeloop::tls::{Identity, TlsServer, TlsServerConfig};
//! use edgeloop::{Config, Reactor};
//!
//! let identity = Identity::read(Path::new("server.pem"), Path::new("server.key"))?;
//! let tls = TlsServer::new(TlsServerConfig { identities: vec![identity], ..Default::default() })?;
//! let mut reactor = Reactor::new(Config::default(), Echo::new())?;
//! reactor.listen_layered(&"0.0.0.0:7443".parse()?, &Default::default(), tls.wrap())?;
//! reactor.run()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What holds for every connection:
//!
//! - **A read never writes, and a write or flush never reads.** Otherwise two peers that both send much
//!   would wait for each other.
//! - **`WouldBlock` is what the socket said, and nothing else.** The reactor takes `WouldBlock` for the proof
//!   that no byte lies anywhere, and a write that takes nothing for the proof that there is no room.
//! - **At most 16 KiB of ciphertext wait for a peer that does not read.** What is more stays with the
//!   reactor, where limits count it.
//! - **The end of the socket is not the end of the stream.** Only `close_notify` is. A peer, or somebody
//!   between, that ends without it has cut the stream: `tls_truncated`.
//! - **A client that says nothing costs no session**: that is made at the client's first byte.
//!
//! Tickets for resumption are given out with keys of the process, which change every few hours; there is no
//! early data, which could be replayed. The buffered interface of rustls 0.23 stands in `layer` alone.
//!
//! | files | what they are |
//! | --- | --- |
//! | `layer` | the layer: from records to bytes and back |
//! | `server`, `by_name` | what a server shows, and to whom; which certificate, by the name that is asked for |
//! | `client`, `verifier` | what a client believes |
//! | `identity`, `authorities` | a certificate with its key; the certificates that others are checked by |

mod authorities;
mod by_name;
mod client;
mod identity;
mod layer;
mod server;
mod verifier;

pub use authorities::Authorities;
pub use client::{TlsClient, Trust};
pub use identity::{Identity, Validity};
pub use server::{TlsServer, TlsServerConfig};
