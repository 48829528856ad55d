//! Rooms, for terminals and browsers on one port.
//!
//! A room is two topics, one for each wire: an event is encoded once as a line and once as a
//! WebSocket frame of JSON, whatever the number of members, and both get the same events in the same
//! order, numbered by the room. A client that comes back asks for what followed the last number that it
//! has seen. The page for the browser is part of the program.
//!
//! `docs/reference/chat-protocol.md` describes both wires, all commands, errors and limits.
//!
//! | file | what it is |
//! | --- | --- |
//! | `text`, `name`, `likeness` | what text may contain; names, and which of them look the same |
//! | `pulse`, `options` | which clients are alive, and which flood; all limits |
//! | `command`, `event` | what people type; what they are told, on either wire |
//! | `room` | members, two topics, and what waits where these are full |
//! | `badge` | who clients are by their tokens, and until when |
//! | `hall`, `places` | all clients and rooms, and what commands do; where a client is |
//! | `page` | what a browser is given: one document, put together from the folder of that name |
//! | `fresh` | which wire it is |
//! | `line_input`, `telnet` | from bytes to lines |
//! | `chat` | from connections to clients: requests, heartbeats, ends |

mod badge;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod chat;
mod command;
mod event;
mod fresh;
mod hall;
mod likeness;
mod line_input;
mod name;
mod options;
mod page;
mod places;
mod pulse;
mod room;
mod telnet;
mod text;

pub use badge::check_tokens;
pub use chat::{Chat, ChatSession};
pub use event::Role;
pub use options::ChatOptions;
