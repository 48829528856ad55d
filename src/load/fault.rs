//! What can go wrong between a client and a server: one kind for each way, with a stable name,
//! counted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::reactor::{CloseReason, LayerError};

/// One list for the kinds, their order and their names.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What went wrong on one connection.
        ///
        /// The names are stable: the table, the JSON file and the bounds use them.
        ///
        /// ```
        /// use edgeloop::load::Fault;
        /// assert_eq!(Fault::WrongByte.name(), "wrong_byte");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Fault {
            /// Every kind, in the order in which tables list them.
            pub const ALL: [Fault; 20] = [$(Fault::$variant),+];

            /// The stable name, in snake case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Fault::$variant => $name,)+
                }
            }
        }
    };
}

faults! {
    /// Nobody listens there.
    Refused = "refused",
    /// There is no way there.
    Unreachable = "unreachable",
    /// A connect was not answered within [`Plan::connect_timeout`](super::Plan::connect_timeout).
    ConnectTimeout = "connect_timeout",
    /// TLS failed: the server's certificate is not believed, or the server broke the protocol or cut the
    /// stream.
    Tls = "tls",
    /// The source address has no free port towards the target.
    NoPorts = "no_ports",
    /// This process may open no more descriptors.
    NoDescriptors = "no_descriptors",
    /// The server reset the connection.
    Reset = "reset",
    /// The server closed the connection while an answer, or the rest of one, was missing.
    ClosedEarly = "closed_early",
    /// The server closed a connection on which nothing was missing, and which was to stay.
    Closed = "closed",
    /// An answer was not whole, or no byte was taken, for
    /// [`Plan::reply_timeout`](super::Plan::reply_timeout); or the kernel gave the server up before.
    Timeout = "timeout",
    /// A byte came back that is not the one that was sent.
    WrongByte = "wrong_byte",
    /// More came back than was sent.
    SurplusByte = "surplus_byte",
    /// The answer is not what the protocol allows.
    BadReply = "bad_reply",
    /// The answer is larger than the clients take in: a limit of theirs, and no fault of the server.
    ClientLimit = "client_limit",
    /// The answer is an error of the protocol, as `-ERR` of Redis.
    ErrorReply = "error_reply",
    /// An HTTP status other than 2xx.
    BadStatus = "bad_status",
    /// A message was delivered a second time.
    Duplicate = "duplicate",
    /// A message was delivered in another order than to somebody else.
    OutOfOrder = "out_of_order",
    /// A message was not delivered to somebody.
    Missed = "missed",
    /// Anything else that the system reported.
    Io = "io",
}

impl Fault {
    /// What the error of a connect means.
    pub(super) fn of_connect(error: &io::Error) -> Fault {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable,
            NetworkDown, NetworkUnreachable, NotFound, TimedOut,
        };
        if let Some(fault) = LayerError::reason_of(error).and_then(|it| Fault::of_close(it, true)) {
            return fault;
        }
        match error.kind() {
            // The path of a Unix socket that is not there.
            ConnectionRefused | NotFound => Fault::Refused,
            ConnectionReset => Fault::Reset,
            TimedOut => Fault::ConnectTimeout,
            AddrNotAvailable | AddrInUse => Fault::NoPorts,
            HostUnreachable | NetworkDown | NetworkUnreachable => Fault::Unreachable,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Fault::NoDescriptors,
            _ => Fault::Io,
        }
    }

    /// What the end of a connection means, which still owed an answer or not; `None` for an end of
    /// our own making.
    pub(super) fn of_close(reason: CloseReason, owed: bool) -> Option<Fault> {
        match reason {
            CloseReason::Reset => Some(Fault::Reset),
            CloseReason::PeerClosed if owed => Some(Fault::ClosedEarly),
            CloseReason::PeerClosed => Some(Fault::Closed),
            CloseReason::TlsTruncated | CloseReason::HandshakeFailed | CloseReason::TlsError => {
                Some(Fault::Tls)
            }
            CloseReason::HandshakeTimeout => Some(Fault::ConnectTimeout),
            // The kernel gave the peer up. Nothing that was sent to it will be answered any more.
            CloseReason::WriteTimeout
            | CloseReason::KeepaliveTimeout
            | CloseReason::IdleTimeout
            | CloseReason::RequestTimeout => Some(Fault::Timeout),
            CloseReason::MessageTooLong
            | CloseReason::LineTooLong
            | CloseReason::Memory
            | CloseReason::OutputLimit
            | CloseReason::SlowConsumer => Some(Fault::ClientLimit),
            CloseReason::ProtocolError => Some(Fault::BadReply),
            CloseReason::IoError
            | CloseReason::BadProxyHeader
            | CloseReason::HandlerPanicked
            | CloseReason::SetupFailed
            | CloseReason::Refused
            | CloseReason::AddressLimit
            | CloseReason::AddressRate
            | CloseReason::Denied
            | CloseReason::Unauthorized
            | CloseReason::ConnectFailed => Some(Fault::Io),
            CloseReason::Closed
            | CloseReason::Aborted
            | CloseReason::Drained
            | CloseReason::DrainTimeout => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind occurred.
///
/// ```
/// use edgeloop::load::{Fault, Faults};
/// let mut faults = Faults::default();
/// faults.add(Fault::Reset, 2);
/// assert_eq!((faults.total(), faults.count(Fault::Reset)), (2, 2));
/// assert_eq!(faults.to_string(), "2 reset");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults {
    counts: BTreeMap<String, u64>,
}

impl Faults {
    /// Counts `more` of a kind.
    pub fn add(&mut self, fault: Fault, more: u64) {
        if more > 0 {
            *self.counts.entry(fault.name().to_owned()).or_default() += more;
        }
    }

    /// Adds the counts of another part of the run.
    pub fn merge(&mut self, other: &Faults) {
        for (name, count) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += count;
        }
    }

    /// How often one kind occurred.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts.get(fault.name()).copied().unwrap_or(0)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Whether nothing went wrong.
    pub fn is_none(&self) -> bool {
        self.total() == 0
    }
}

impl fmt::Display for Faults {
    /// `3 refused, 1 reset`; `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.is_empty() {
            return f.write_str("none");
        }
        for (index, (name, count)) in self.counts.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {name}")?;
        }
        Ok(())
    }
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_that_the_clients_did_not_make_is_an_error() {
        let is_own = |reason: &CloseReason| Fault::of_close(*reason, true).is_none();
        let own: Vec<_> =
            CloseReason::ALL.into_iter().filter(is_own).map(CloseReason::name).collect();
        assert_eq!(own, ["closed", "aborted", "drained", "drain_timeout"]);
        let vanished = Fault::of_close(CloseReason::KeepaliveTimeout, false);
        assert_eq!(vanished, Some(Fault::Timeout));
    }
}
