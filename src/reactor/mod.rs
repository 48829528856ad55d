//! The reactor: an edge-triggered event loop over a slab of connections, on one thread.
//!
//! A reactor has no `unsafe`, no shared state and no thread of its own, and knows no protocol. What a
//! program does with its connections is a [`Handler`].
//!
//! # The one idea: readiness is state
//!
//! The kernel tells an edge once: "this socket has become readable". A loop that acts on the event and
//! stops before the socket is empty is never told again. So an event is remembered in the connection
//! until a call proves the opposite: `readable` and `writable` are set by an event, and cleared by the
//! read or write that finds nothing more to do. A connection that may be read stands on the *ready*
//! list. A connection that has output for a socket which takes bytes stands on the *dirty* list. The
//! poll waits only while both lists are empty. Fairness, backpressure, pausing and half-close need no
//! case of their own: each is a connection that is on a list, or not.
//!
//! # The turn
//!
//! **Nothing is ever left to an event that has been seen already: what a phase does not finish
//! stays listed, and while anything is listed the poll does not wait.**
//!
//! 1. **poll** waits until an event or the next deadline. Then the clock is read, once.
//! 2. **note** copies what the events say into the connections, and lists these. No I/O.
//! 3. **timers, tasks, accept**: deadlines that are due, closures from other threads, new
//!    connections.
//! 4. **read** visits each ready connection: reads, calls the handler, sends the connection's own reply.
//!    Behind it, **greet** goes on with a few of those that are not open yet.
//! 5. **flush** visits each dirty connection: its output, and what topics hold for it, in one
//!    write.
//! 6. **close** calls `on_close`, frees the slot and counts the reason; here and nowhere else.
//!
//! Each phase has a budget of work, so that a turn is short whatever arrives (`work` tells the whole of
//! that). A handler is never called from inside a handler: what it asks for through [`Context`] is
//! queued for a later phase.
//!
//! # The interface
//!
//! A [`Handler`] is called; by default all but the first two do nothing, and `on_end` closes:
//!
//! ```text
//! on_open(cx, token) -> Session                         accepted, or established, and greeted
//! on_data(cx, token, session, input) -> Result          bytes arrived; what is left comes again
//! on_end(cx, token, session, input) -> Result           the peer will send no more
//! on_timer(cx, token, session)   on_alarm(cx)           as set by set_timer, set_alarm
//! on_drain(cx, token, session)   on_tidy(cx)            a shutdown begins; a burst is over
//! on_close(cx, token, session, reason)                  once for each on_open
//! on_connect_error(cx, token, error)                    instead of on_open
//! ```
//!
//! and asks of its [`Context`]:
//!
//! ```text
//! bytes        send has_failed send_all forward output_len
//! topics       create_topic remove_topic publish publish_to_all check_room subscribe catch_up
//!              unsubscribe unsubscribe_all subscribers owed topic_memory
//! connections  connect connect_layered adopt adopt_layered dialled close close_for abort abort_for
//!              peer_address via introduction connections addresses
//! holding      pause put_off resume resume_first is_held charge charge_apart end_visit
//! time         now set_timer cancel_timer set_alarm alarm permit_silence
//! the server   drain stop stats config overload shed report_memory tidy_later
//! ```
//!
//! # Reading the files
//!
//! From the turn downwards. This page, the next eight files and `sockets/stream` are the whole path of
//! an echo: **ten files, one sitting**. What is below them in the table is read when it is needed.
//!
//! | files | what they are |
//! | --- | --- |
//! | `reactor` | the turn |
//! | `lists`, `connection` | who has work; what is known about a connection |
//! | `loop_state` | the table of connections that the files below work on |
//! | `input`, `output`, `closing`, `deadline` | what is done to one connection |
//! | `work` | what a turn may cost |
//! | `delivery` | topics meet connections: what each is owed, and when that is too much |
//! | `listening`, `listener`, `gate`, `greeting` | where connections come from, whether they may come in, and what comes before they are open |
//! | `parting` | the farewell of a layer, and the alert of one that has failed |
//! | `drain`, `memory`, `overload`, `tidy` | a shutdown; no memory left; too much to do; a burst is over |
//! | `contain` | a panic in code of the program |
//! | `handler`, `context`, `inspect`, `remote` | the sides that a program and other threads see |
//! | `check`, `seam` | what must hold between two turns; where a test takes the kernel's place |
//!
//! Below the reactor lie `src/vocabulary` (limits, reasons, counters), `src/sockets` and
//! `src/structures`, which know nothing of turns. A line that exists only because of edge triggering
//! carries the comment `// ET:` and the reason; searching for that is a tour of its own.
//! `docs/architecture.md` has the view from further away, and `docs/reference/glossary.md` the words.

mod check;
mod closing;
mod connection;
mod contain;
mod context;
mod deadline;
mod delivery;
mod drain;
mod gate;
mod greeting;
mod handler;
mod input;
mod inspect;
mod listener;
mod listening;
mod lists;
mod loop_state;
mod memory;
mod output;
mod overload;
mod parting;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod reactor;
mod remote;
#[allow(dead_code, reason = "only `testing` has a use for it, which is an optional part")]
mod seam;
mod tidy;
mod work;

pub use context::Context;
pub use gate::Gate;
pub use handler::Handler;
pub use reactor::{Ending, Reactor};
pub use remote::{HandlerRemote, HandlerTask, Remote, Task};

pub use crate::sockets::address::Address;
pub use crate::sockets::dial::Origin;
pub use crate::sockets::introduction::Introduction;
pub use crate::sockets::layer::{Layer, LayerSocket};
pub use crate::sockets::listen_options::ListenOptions;
pub use crate::sockets::preface::{BadPreface, Introduced, PREFACE_MAX, Preface};
pub use crate::structures::buffer_pool::BufferPool;
pub use crate::structures::overload_watch::{Overload, OverloadCause};
pub use crate::structures::ring_buffer::RingBuffer;
pub use crate::structures::sessions::Sessions;
pub use crate::structures::timer_wheel::TimerWheel;
pub use crate::structures::token::Token;
pub use crate::structures::topic::{PublishError, SlowConsumer, Start, TopicConfig, TopicId};
pub use crate::vocabulary::close_reason::{CloseReason, CloseReasons};
pub use crate::vocabulary::config::{Config, OnPanic, WhenFull};
pub use crate::vocabulary::connection_info::{ConnectionInfo, Stage};
pub use crate::vocabulary::layer_error::LayerError;
pub use crate::vocabulary::protocol_error::ProtocolError;
pub use crate::vocabulary::remote_error::RemoteError;
pub use crate::vocabulary::stats::Stats;
