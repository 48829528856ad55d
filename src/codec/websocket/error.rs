//! Why a WebSocket is given up, and what its peer is told.

use std::fmt;

/// Close codes of RFC 6455, section 7.4.1, that a server sends.
pub mod close_code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server shuts down.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The server has no use for this kind of message.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text was not UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// The peer broke a rule that no other code names.
    pub const POLICY: u16 = 1008;
    /// A message was too big.
    pub const TOO_BIG: u16 = 1009;
    /// The server could not go on; also what a peer that answers no ping is told.
    pub const INTERNAL: u16 = 1011;
    /// The server is short of something; the peer may try again later.
    pub const TRY_AGAIN: u16 = 1013;
}

/// One list for the variants, their names, close codes and sentences.
macro_rules! errors {
    ($($variant:ident = $name:literal, $code:ident, $text:literal;)+) => {
        /// What a client's frames can be guilty of.
        ///
        /// ```
        /// use edgeloop::codec::websocket::WebSocketError;
        /// let error = WebSocketError::InvalidUtf8;
        /// assert_eq!((error.name(), error.close_code()), ("invalid_utf8", 1007));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum WebSocketError {
            $(#[doc = $text] $variant,)+
        }

        impl WebSocketError {
            /// The stable name, in snake case.
            pub const fn name(self) -> &'static str {
                match self { $(WebSocketError::$variant => $name,)+ }
            }

            /// The code of the close frame that tells the peer.
            pub const fn close_code(self) -> u16 {
                match self { $(WebSocketError::$variant => close_code::$code,)+ }
            }
        }

        impl fmt::Display for WebSocketError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(WebSocketError::$variant => $text,)+ })
            }
        }
    };
}

errors! {
    ReservedBits = "reserved_bits", PROTOCOL_ERROR, "a reserved bit is set";
    UnknownOpcode = "unknown_opcode", PROTOCOL_ERROR, "the opcode is reserved";
    Unmasked = "unmasked", PROTOCOL_ERROR, "a client's frame is not masked";
    BadLength = "bad_length", PROTOCOL_ERROR, "a length is not written in its shortest form";
    ControlTooLong = "control_too_long", PROTOCOL_ERROR, "a control frame has over 125 bytes";
    FragmentedControl = "fragmented_control", PROTOCOL_ERROR, "a control frame is fragmented";
    NothingToContinue = "nothing_to_continue", PROTOCOL_ERROR, "there is no message to continue";
    UnfinishedMessage = "unfinished_message", PROTOCOL_ERROR,
        "a message begins before the one before it has ended";
    BadCloseCode = "bad_close_code", PROTOCOL_ERROR, "a close frame has no valid code";
    InvalidUtf8 = "invalid_utf8", INVALID_DATA, "text is not UTF-8";
    MessageTooLong = "message_too_long", TOO_BIG, "the message is too long";
    NoMemory = "no_memory", TRY_AGAIN, "the memory for fragments of all clients is spent";
    EmptyFragments = "empty_fragments", POLICY, "a message has too many empty fragments";
}

impl std::error::Error for WebSocketError {}
