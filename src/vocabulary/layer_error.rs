//! What is wrong with a layer, and not with its socket.

use std::error::Error;
use std::fmt;
use std::io;

use super::close_reason::CloseReason;
use crate::sockets::preface::BadPreface;

/// The error of a [`Layer`](crate::Layer) that has failed by itself, with the reason for which its
/// connection ends. It travels in an `io::Error`, as the traits of the standard library want it.
///
/// ```
/// use edgeloop::{CloseReason, LayerError};
/// let error = LayerError::new(CloseReason::TlsError, "decryption failed");
/// assert_eq!(LayerError::reason_of(&error), Some(CloseReason::TlsError));
/// assert_eq!(error.to_string(), "decryption failed");
/// ```
#[derive(Debug)]
pub struct LayerError {
    reason: CloseReason,
    cause: Box<dyn Error + Send + Sync>,
}

impl LayerError {
    /// An error of a layer, with what happened.
    #[expect(clippy::new_ret_no_self, reason = "it is of use inside of an `io::Error` only")]
    pub fn new(reason: CloseReason, cause: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
        io::Error::other(LayerError { reason, cause: cause.into() })
    }

    /// The reason that an error carries, if it is that of a layer.
    pub fn reason_of(error: &io::Error) -> Option<CloseReason> {
        error.get_ref()?.downcast_ref::<LayerError>().map(|error| error.reason)
    }
}

impl CloseReason {
    /// What an error of a stream means for the connection.
    pub(crate) fn of_stream(error: &io::Error) -> Self {
        LayerError::reason_of(error).unwrap_or_else(|| CloseReason::of_socket(error))
    }

    /// What an error of a greeting means for the connection.
    pub(crate) fn of_greeting(error: &io::Error) -> Self {
        match CloseReason::of_stream(error) {
            _ if error.get_ref().is_some_and(|error| error.is::<BadPreface>()) => {
                CloseReason::BadProxyHeader
            }
            CloseReason::IoError => CloseReason::HandshakeFailed,
            reason => reason,
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for LayerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}
