//! What is wrong with a line of a file of secrets.

use std::fmt;

/// What is wrong with a line of a file, or to be known of it. Nothing that may be a secret is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// A sentence without the end.
    pub text: String,
}

impl LineError {
    pub(crate) fn new(line: usize, text: impl Into<String>) -> Self {
        LineError { line, text: text.into() }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for LineError {}
