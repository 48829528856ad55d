//! `edgeloop completions`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::command_line;
use super::failure::Failure;
use super::stdout;

/// Prints the script of a shell, made from the command that the program itself reads with.
pub(crate) fn print(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_line::command(), "edgeloop", &mut script);
    stdout::print(&script)
}
