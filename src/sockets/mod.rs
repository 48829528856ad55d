//! Sockets as the reactor wants them: non-blocking, with the options set that it relies on. They know
//! no connection and no turn; what a call on one of them has proved is said in its answer.
//!
//! | files | what they are |
//! | --- | --- |
//! | `stream` | the socket of one connection: TCP, Unix, or a layer above one of them |
//! | `layer` | what may stand above a socket: code of the program, whose panics become errors |
//! | `beginning` | what is done to a stream before it is read, and what only one with a layer can do |
//! | `introduction` | what the greeting of a layer has found out about the peer |
//! | `preface` | what a balancer says of its client before the client's own bytes |
//! | `manner`, `greetings` | what comes before the handler hears of a connection: a preface, a layer; of which connections that is awaited |
//! | `peer_watch` | how the kernel finds out that a peer is gone without a word |
//! | `address` | where a server listens, and who is at the other end |
//! | `event_list`, `doorbell` | the events that one call takes from the kernel; what ends its wait |
//! | `dial` | connections that no listener of ours accepted: begun here, or made elsewhere |
//! | `listen_options`, `listen_socket`, `socket_file` | how a server listens; a socket that listens; the file of one that is a Unix socket |
//! | `stand_in` | what may take the place of the kernel's sockets |

pub(crate) mod address;
mod beginning;
pub(crate) mod dial;
pub(crate) mod doorbell;
pub(crate) mod event_list;
pub(crate) mod greetings;
pub(crate) mod introduction;
pub(crate) mod layer;
pub(crate) mod listen_options;
pub(crate) mod listen_socket;
pub(crate) mod manner;
pub(crate) mod peer_watch;
pub(crate) mod preface;
pub(crate) mod socket_file;
pub(crate) mod stand_in;
pub(crate) mod stream;
