//! The `edgeloop` program. [`cli`] has one file for each subcommand; all the rest is in the
//! library.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
