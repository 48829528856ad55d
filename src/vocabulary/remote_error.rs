//! Why a task of another thread was not taken.

use std::fmt;

/// Why a task was not taken. The task comes back to the caller.
pub enum RemoteError<T> {
    /// [`Config::tasks_max`](crate::Config::tasks_max) tasks wait already.
    Full(T),
    /// The reactor is gone.
    Gone(T),
}

impl<T> fmt::Debug for RemoteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::Full(_) => "Full",
            RemoteError::Gone(_) => "Gone",
        })
    }
}

impl<T> fmt::Display for RemoteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::Full(_) => "too many tasks wait for the loop",
            RemoteError::Gone(_) => "the loop has ended",
        })
    }
}

impl<T> std::error::Error for RemoteError<T> {}
