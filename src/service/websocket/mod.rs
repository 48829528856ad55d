//! Makes a server of what is done with WebSocket messages.
//!
//! [`WebSocket`] is the handler: it reads the request, answers the handshake, then hands out whole
//! messages, answers pings, and closes as RFC 6455 wants it.
//!
//! ```
//! use edgeloop::codec::websocket::Message;
//! use edgeloop::service::websocket::{WebSocket, send};
//! use edgeloop::{Context, Token};
//! let shout = |cx: &mut Context<'_>, token: Token, message: Message<'_>| {
//!     if let Message::Text(text) = message {
//!         send(cx, token, Message::Text(&text.to_uppercase()));
//!     }
//! };
//! let handler = WebSocket::new(shout);
//! ```

mod endpoint;
mod request;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod websocket;

pub(crate) use endpoint::{Endpoint, Flow, Memory};
pub(crate) use request::{Answer, HEAD_TIMEOUT, Request, Response};

pub use endpoint::{close, send};
pub use websocket::{WebSocket, WebSocketService, WebSocketSession};
