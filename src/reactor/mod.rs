//! The reactor: an edge-triggered event loop over a slab of connections, on one thread.
//!
//! It imports nothing else of the crate, has no `unsafe`, no shared state and no thread of its own,
//! and knows no protocol. What a program does with its connections is a [`Handler`].
//!
//! # The one idea: readiness is state
//!
//! The kernel tells an edge once. So what it said is remembered in the connection until the kernel
//! takes it back: `readable` and `writable` are set by an event, and cleared only by the call that
//! proves the opposite. A connection that may be read stands on the *ready* list, one that has
//! output for a socket which takes bytes on the *dirty* list, and the poll waits only while both
//! are empty. Fairness, backpressure, pausing and half-close need no case of their own: each is a
//! connection that is on a list, or not.
//!
//! # The turn
//!
//! **Nothing is ever left to an event that has been seen already: what a phase does not finish
//! stays listed, and while anything is listed the poll does not wait.**
//!
//! 1. **poll** waits until an event or the next deadline. Then the clock is read, once.
//! 2. **note** copies what the events say into the connections and lists them. No I/O.
//! 3. **timers, tasks, accept**: deadlines that are due, closures from other threads, new
//!    connections.
//! 4. **read** visits each ready connection: read, call the handler, send its own reply at once.
//! 5. **flush** visits each dirty connection: its output, and what topics hold for it, in one
//!    write.
//! 6. **close** calls `on_close`, frees the slot and counts the reason; here and nowhere else.
//!
//! Every phase has a budget of work, so that a turn is short whatever arrives. A handler is
//! never called from inside a handler: what it asks for through [`Context`] is queued for a later
//! phase.
//!
//! # Reading the files
//!
//! From the turn downwards:
//!
//! | files | what they are |
//! | --- | --- |
//! | `reactor` | the turn |
//! | `lists`, `connection` | who has work; what is known about a connection |
//! | `loop_state` | the table of connections that the files below work on |
//! | `input`, `output`, `closing`, `deadline` | what is done to one connection |
//! | `work` | what a turn may cost |
//! | `delivery` | topics meet connections: who is owed what, and when that is too much |
//! | `listener`, `gate` | where connections come from, and whether they may come in |
//! | `drain`, `memory`, `overload`, `tidy` | a shutdown; no memory left; too much to do; memory that a burst needed |
//! | `handler`, `context`, `remote` | the sides that a program and other threads see |
//! | `config`, `close_reason`, `stats` | limits, reasons, counters |
//! | `check` | what must hold between two turns |
//!
//! With this page and `sockets/stream` the first eight are the whole path of an echo: ten files. Below
//! the reactor lie `src/sockets` and `src/structures`, which know nothing of turns. A line that
//! exists only because of edge triggering carries the comment `// ET:` and the reason; searching
//! for that is a tour of its own. `docs/architecture.md` has the view from further away.

#[cfg(debug_assertions)]
mod check;
mod close_reason;
mod closing;
mod config;
mod connection;
mod context;
mod deadline;
mod delivery;
mod drain;
mod gate;
mod handler;
mod input;
mod listener;
mod lists;
mod loop_state;
mod memory;
mod output;
mod overload;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod reactor;
mod remote;
mod stats;
mod tidy;
mod work;

pub use close_reason::CloseReason;
pub use config::{Config, WhenFull};
pub use context::Context;
pub use gate::Gate;
pub use handler::{Handler, ProtocolError};
pub use overload::Overload;
pub use reactor::{Ending, Reactor};
pub use remote::{Remote, RemoteError, Task};
pub use stats::Stats;

pub use crate::sockets::address::Address;
pub use crate::sockets::listen_socket::ListenOptions;
pub use crate::sockets::stream::Layer;
pub use crate::structures::buffer_pool::BufferPool;
pub use crate::structures::overload_watch::OverloadCause;
pub use crate::structures::ring_buffer::RingBuffer;
pub use crate::structures::timer_wheel::TimerWheel;
pub use crate::structures::token::Token;
pub use crate::structures::topic::{PublishError, SlowConsumer, Start, TopicConfig, TopicId};
