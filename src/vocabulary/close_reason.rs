//! Why a connection ended: one reason for each, with a stable name, counted.

use std::{fmt, io};

/// One list for the variants, their order and their names.
macro_rules! close_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a connection ended. Every connection ends with exactly one.
        ///
        /// The names are stable: logs, counters and the page of close reasons use them.
        ///
        /// ```
        /// use edgeloop::CloseReason;
        /// assert_eq!(CloseReason::PeerClosed.to_string(), "peer_closed");
        /// assert!(CloseReason::ALL.iter().any(|reason| reason.name() == "idle_timeout"));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum CloseReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl CloseReason {
            /// Every reason, in the order in which counters and pages list them.
            pub const ALL: [CloseReason; 30] = [$(CloseReason::$variant),+];

            /// The stable name, in snake case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(CloseReason::$variant => $name,)+
                }
            }
        }
    };
}

close_reasons! {
    /// The peer finished sending, and everything owed to it was handed to the kernel.
    PeerClosed = "peer_closed",
    /// The peer reset the connection.
    Reset = "reset",
    /// The handler closed it ([`Context::close`](crate::Context::close)).
    Closed = "closed",
    /// The handler aborted it ([`Context::abort`](crate::Context::abort)).
    Aborted = "aborted",
    /// No byte in either direction for [`Config::idle_timeout`](crate::Config::idle_timeout).
    IdleTimeout = "idle_timeout",
    /// A message that had begun was not whole within the time that the handler allows.
    RequestTimeout = "request_timeout",
    /// Output waited and the peer accepted no byte for
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    WriteTimeout = "write_timeout",
    /// The peer vanished without a word: it answered no probe, or acknowledged nothing that it was
    /// sent, for [`Config::keepalive`](crate::Config::keepalive), or for as long as the system waits.
    KeepaliveTimeout = "keepalive_timeout",
    /// A line was longer than [`Config::input_limit`](crate::Config::input_limit).
    LineTooLong = "line_too_long",
    /// A message was longer than [`Config::input_limit`](crate::Config::input_limit).
    MessageTooLong = "message_too_long",
    /// The peer broke the protocol.
    ProtocolError = "protocol_error",
    /// More than [`Config::output_limit`](crate::Config::output_limit) was queued for it.
    OutputLimit = "output_limit",
    /// A topic's ring overtook it while its socket took no bytes.
    SlowConsumer = "slow_consumer",
    /// [`Config::buffer_memory`](crate::Config::buffer_memory) was spent, or kept the server overloaded for
    /// long, and it was among those that held most of it.
    Memory = "memory",
    /// It was quiet when the server shut down.
    Drained = "drained",
    /// It had not finished when [`Config::drain_timeout`](crate::Config::drain_timeout) ended.
    DrainTimeout = "drain_timeout",
    /// It came while the table was full, or as many greetings were under way as may be, under
    /// [`WhenFull::Refuse`](crate::WhenFull::Refuse).
    Refused = "refused",
    /// Its address had as many connections as one may have.
    AddressLimit = "address_limit",
    /// Its address opened connections faster than one may.
    AddressRate = "address_rate",
    /// No client is taken from where it came.
    Denied = "denied",
    /// The handshake of its layer failed, such as that of TLS.
    HandshakeFailed = "handshake_failed",
    /// It was not open within [`Config::greeting_timeout`](crate::Config::greeting_timeout): its handshake,
    /// or what a balancer says of it, had not come to an end.
    HandshakeTimeout = "handshake_timeout",
    /// The stream ended without the farewell of TLS: what came last may be missing.
    TlsTruncated = "tls_truncated",
    /// The peer broke TLS after the handshake.
    TlsError = "tls_error",
    /// What a balancer has to say of it was not understood.
    BadProxyHeader = "bad_proxy_header",
    /// It did not say who it is, or not rightly, or for longer than that holds.
    Unauthorized = "unauthorized",
    /// An outgoing connection could not be established.
    ConnectFailed = "connect_failed",
    /// The kernel refused to set it up, for want of memory or watches.
    SetupFailed = "setup_failed",
    /// A callback of its handler panicked, or its layer did; see
    /// [`Config::on_panic`](crate::Config::on_panic).
    HandlerPanicked = "handler_panicked",
    /// Any other error that the socket reported.
    IoError = "io_error",
}

impl CloseReason {
    /// Whether both ends parted as they meant to: the peer was done, the handler closed, or the server shut
    /// down while the connection was quiet.
    pub const fn is_orderly(self) -> bool {
        matches!(self, CloseReason::PeerClosed | CloseReason::Closed | CloseReason::Drained)
    }

    /// What an error of a connection's socket means for the connection.
    pub(crate) fn of_socket(error: &io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
            NetworkUnreachable, NotConnected, TimedOut,
        };
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => CloseReason::Reset,
            // The kernel gave up on the peer. It says why nothing got through, where a router told it.
            HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut => {
                CloseReason::KeepaliveTimeout
            }
            _ => CloseReason::IoError,
        }
    }
}

/// A set of close reasons.
///
/// ```
/// use edgeloop::{CloseReason, CloseReasons};
/// let reasons: CloseReasons = [CloseReason::Reset, CloseReason::Memory].into_iter().collect();
/// assert!(reasons.contains(CloseReason::Reset) && !reasons.contains(CloseReason::Closed));
/// assert!(CloseReasons::default().is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseReasons(u64);

impl CloseReasons {
    /// Whether a reason is in the set.
    pub const fn contains(self, reason: CloseReason) -> bool {
        self.0 & 1 << reason as u32 != 0
    }

    /// Whether no reason is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<CloseReason> for CloseReasons {
    fn from_iter<I: IntoIterator<Item = CloseReason>>(reasons: I) -> Self {
        CloseReasons(reasons.into_iter().fold(0, |set, reason| set | 1 << reason as u32))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
