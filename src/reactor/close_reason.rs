//! Why a connection ended: one reason for each, with a stable name, counted.

use std::fmt;

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
    /// The peer finished sending, and everything owed to it was handed to the kernel.
    PeerClosed,
    /// The peer reset the connection, or vanished while something was owed to it.
    Reset,
    /// The handler closed it ([`Context::close`](super::Context::close)).
    Closed,
    /// The handler aborted it ([`Context::abort`](super::Context::abort)).
    Aborted,
    /// No byte in either direction for [`Config::idle_timeout`](super::Config::idle_timeout).
    IdleTimeout,
    /// Output waited and the peer accepted no byte for
    /// [`Config::write_timeout`](super::Config::write_timeout).
    WriteTimeout,
    /// A line was longer than [`Config::input_limit`](super::Config::input_limit).
    LineTooLong,
    /// A message was longer than [`Config::input_limit`](super::Config::input_limit).
    MessageTooLong,
    /// The peer broke the protocol.
    ProtocolError,
    /// More than [`Config::output_limit`](super::Config::output_limit) was queued for it.
    OutputLimit,
    /// A topic's ring overtook it while its socket took no bytes.
    SlowConsumer,
    /// [`Config::buffer_memory`](super::Config::buffer_memory) was spent and it held the most.
    Memory,
    /// It was quiet when the server shut down.
    Drained,
    /// It had not finished when [`Config::drain_timeout`](super::Config::drain_timeout) ended.
    DrainTimeout,
    /// It came while the table was full, under [`WhenFull::Refuse`](super::WhenFull::Refuse).
    Refused,
    /// An outgoing connection could not be established.
    ConnectFailed,
    /// The kernel refused to set it up, for want of memory or watches.
    SetupFailed,
    /// Any other error that the socket reported.
    IoError,
}

impl CloseReason {
    /// Every reason, in the order in which counters and pages list them.
    pub const ALL: [CloseReason; 18] = [
        CloseReason::PeerClosed,
        CloseReason::Reset,
        CloseReason::Closed,
        CloseReason::Aborted,
        CloseReason::IdleTimeout,
        CloseReason::WriteTimeout,
        CloseReason::LineTooLong,
        CloseReason::MessageTooLong,
        CloseReason::ProtocolError,
        CloseReason::OutputLimit,
        CloseReason::SlowConsumer,
        CloseReason::Memory,
        CloseReason::Drained,
        CloseReason::DrainTimeout,
        CloseReason::Refused,
        CloseReason::ConnectFailed,
        CloseReason::SetupFailed,
        CloseReason::IoError,
    ];

    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::Reset => "reset",
            CloseReason::Closed => "closed",
            CloseReason::Aborted => "aborted",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::WriteTimeout => "write_timeout",
            CloseReason::LineTooLong => "line_too_long",
            CloseReason::MessageTooLong => "message_too_long",
            CloseReason::ProtocolError => "protocol_error",
            CloseReason::OutputLimit => "output_limit",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::Memory => "memory",
            CloseReason::Drained => "drained",
            CloseReason::DrainTimeout => "drain_timeout",
            CloseReason::Refused => "refused",
            CloseReason::ConnectFailed => "connect_failed",
            CloseReason::SetupFailed => "setup_failed",
            CloseReason::IoError => "io_error",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_once_in_the_order_of_the_counters() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason}");
        }
        // One past the last discriminant would be a reason that ALL forgot.
        assert_eq!(CloseReason::IoError as usize + 1, CloseReason::ALL.len());
    }
}
