//! What a command prints.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::failure::Failure;

/// Writes all of it to stdout. Whoever closes a pipe early has read enough of it.
///
/// # Errors
/// Stdout takes no more, such as a file on a full disk.
pub(crate) fn print(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::System(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
