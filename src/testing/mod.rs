//! Drives any handler without sockets, with time that a test moves (feature `testing`).
//!
//! A [`Harness`] is the reactor that serves sockets, with the kernel taken away: peers live in memory,
//! time passes when the test says so, and what a network does in years is drawn from a seed. A test of a
//! timeout of an hour takes microseconds, and none depends on who is scheduled first.
//!
//! ```sh
//! cargo add --dev edgeloop --path ../edgeloop --no-default-features --features testing
//! ```
//!
//! # A handler that is wrong, and is caught
//!
//! The network cuts a stream where it likes. This handler answers each line, and throws away the
//! beginning of a line that is not whole yet:
//!
//! ```
//! use edgeloop::testing::Cuts;
//! use edgeloop::{Context, Handler, ProtocolError, RingBuffer, Token};
//!
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type Session = ();
//!     fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}
//!     fn on_data(
//!         &mut self, cx: &mut Context<'_>, token: Token, _: &mut (), input: &mut RingBuffer,
//!     ) -> Result<(), ProtocolError> {
//!         for line in input.contiguous().split_inclusive(|byte| *byte == b'\n') {
//!             if line.ends_with(b"\n") {
//!                 cx.send(token, &line.to_ascii_uppercase());
//!             }
//!         }
//!         input.clear(); // Wrong: the rest of the last line is on its way.
//!         Ok(())
//!     }
//! }
//!
//! let found = Cuts::default().find(|| Shout, |server| {
//!     let peer = server.connect();
//!     peer.send("hello\nworld\n");
//! });
//! assert_eq!(found.unwrap_err().to_string(), r#"the handler answers otherwise when its input is cut before byte 1
//!     peer 0 sent       "h" | "ello\nworld\n"
//!     and received      "ELLO\nWORLD\n"
//!     as it was sent    "HELLO\nWORLD\n""#);
//! ```
//!
//! In a test one would write [`same_however_cut`], which panics with that text.
//!
//! # What is checked
//!
//! After every turn, in every build:
//!
//! - The books balance, and whatever has something to do is listed: the rules that debug builds of the
//!   reactor check, here for every connection.
//! - `on_open` comes once, first; `on_close` comes once, last.
//!
//! Whenever the server waits:
//!
//! - No connection has unread input, or an unread end, unless its handler holds it back; and its handler
//!   has seen every byte that was read.
//! - No connection is owed output that its socket would take.
//! - The server does come to rest: a test whose server is busy for ever fails.
//!
//! When it is [finished](Harness::finish): no connection, timer, byte or buffer is left.
//!
//! What only the handler's author can know is compared by [`Cuts`]: that answers, and the connections that
//! the handler begins, do not depend on how the bytes were cut, and that no whole message is left in the
//! input.
//!
//! # What it is not
//!
//! No kernel: edges, short counts, resets and half-closes follow the rules of Linux as far as handlers see
//! them, but urgent bytes, socket options, descriptors and the connection's own short cuts for TCP are not
//! there. `tests/sim` of this package puts a whole simulated kernel under the reactor instead; that proves
//! the reactor, this proves a handler.
//!
//! # Reading the files
//!
//! | files | what they are |
//! | --- | --- |
//! | `harness` | the reactor, turned by hand; its clock |
//! | `peer` | what a test does at the other end |
//! | `kernel`, `wire` | all connections and their events; one of them with its two buffers |
//! | `server_end` | what the reactor holds of them |
//! | `faults`, `random`, `seeds` | what goes wrong, drawn from a seed |
//! | `observed`, `oracles` | what the handler was told; what must hold |
//! | `cuts`, `cutting` | the same conversation, cut in many ways |
//! | `trace` | the last things that happened |

mod cuts;
mod cutting;
mod faults;
mod harness;
mod kernel;
mod observed;
mod oracles;
mod peer;
mod random;
mod seeds;
mod server_end;
mod trace;
mod wire;

pub use cuts::{Cuts, Difference, same_however_cut};
pub use faults::Faults;
pub use harness::Harness;
pub use peer::Peer;
pub use seeds::for_seeds;
pub use wire::{Answer, Ended};
