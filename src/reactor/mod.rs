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
//! In this order nearly everything that a file uses was read before it:
//!
//! | files | what they are |
//! | --- | --- |
//! | `token`, `config`, `close_reason`, `stats` | names, limits, reasons, counters |
//! | `ring_buffer`, `buffer_pool` | bytes on storage that is lent only while there are bytes |
//! | `timer_wheel`, `clock` | deadlines in constant time; turn time |
//! | `overload` | whether there is more to do than can be done |
//! | `stream`, `connection`, `socket_file`, `listener`, `gate` | a socket; what is known about it; where it came from, and whether it may come in |
//! | `waiting`, `topic` | who is waited for, and for how long; one ring of messages, with a cursor for each subscriber |
//! | `lists`, `loop_state`, `work` | who has work; the table that the files below work on; what a turn may cost |
//! | `input`, `output`, `delivery`, `closing`, `deadline` | what is done to one connection |
//! | `arrears` | what one is owed by all its topics together |
//! | `spare` | memory that a burst needed |
//! | `handler`, `context`, `remote` | the sides that a program and other threads see |
//! | `reactor` | the turn |
//!
//! Whoever prefers to begin at the top begins with `Reactor::turn` in `reactor.rs`. A line that
//! exists only because of edge triggering carries the comment `// ET:` and the reason; searching
//! for that is a tour of its own. `docs/architecture.md` has the view from further away.

mod arrears;
mod buffer_pool;
mod clock;
mod close_reason;
mod closing;
mod config;
mod connection;
mod context;
mod deadline;
mod delivery;
mod gate;
mod handler;
mod input;
mod listener;
mod lists;
mod loop_state;
mod output;
mod overload;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod reactor;
mod remote;
mod ring_buffer;
mod socket_file;
mod spare;
mod stats;
mod stream;
mod timer_wheel;
mod token;
mod topic;
mod waiting;
mod work;

pub use buffer_pool::BufferPool;
pub use close_reason::CloseReason;
pub use config::{Config, WhenFull};
pub use context::Context;
pub use gate::Gate;
pub use handler::{Handler, ProtocolError};
pub use listener::{Address, ListenOptions};
pub use overload::{Overload, OverloadCause};
pub use reactor::{Ending, Reactor};
pub use remote::{Remote, RemoteError, Task};
pub use ring_buffer::RingBuffer;
pub(crate) use spare::{Spare, is_spacious};
pub use stats::Stats;
pub use stream::Layer;
pub use timer_wheel::TimerWheel;
pub use token::Token;
pub use topic::{PublishError, SlowConsumer, Start, TopicConfig, TopicId};
