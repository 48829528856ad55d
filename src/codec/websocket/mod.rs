//! WebSocket, [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455), the server's side: the answer to
//! the handshake, the frames of a client, and the heads of our own.
//!
//! [`Frames`] finds a client's frames and checks all that can be checked: masks, lengths, the order
//! of fragments, UTF-8 across them, close codes. Bytes are unmasked where they lie. [`Assembler`]
//! joins fragments, which a message that came in one frame does not need. What breaks the rules is a
//! [`WebSocketError`] with the close code that the peer is to be told.
//!
//! No extensions: compression would cost more memory for a connection than all the rest, so
//! `permessage-deflate` is not offered and the reserved bits must be 0.
//!
//! | file | RFC 6455 |
//! | --- | --- |
//! | `frame` | 5.2 to 5.5: base framing, masking, fragmentation, control frames |
//! | `utf8` | 8.1: text is UTF-8, whatever the cuts |
//! | `message` | 5.4: fragments become a message |
//! | `encode` | 5.1: a server's frames are not masked |
//! | `handshake` | 4.2: the opening handshake |
//! | `error` | 7.4: close codes |

mod encode;
mod error;
mod frame;
mod handshake;
mod message;
mod utf8;

pub use encode::{FrameHead, close_frame, frame_head};
pub use error::{WebSocketError, close_code};
pub use frame::{Frame, Frames, Kind};
#[cfg(test)]
pub(crate) use handshake::base64;
pub use handshake::{HandshakeError, accept_key, check_handshake};
pub use message::{Assembler, Message};
