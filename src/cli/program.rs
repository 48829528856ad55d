//! All that the program can be asked for: its subcommands.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use super::broadcast::Broadcast;
use super::chat::Chat;
use super::echo::Echo;
use super::failure::Failure;
use super::kv::Kv;
use super::load::Load;
use super::sources::Sources;
use super::web::Web;

/// An edge-triggered TCP event loop, ready to run
#[derive(Debug, Parser)]
#[command(subcommand_required = true, arg_required_else_help = false)]
#[command(name = "edgeloop", version, disable_version_flag = true, after_help = EXAMPLES)]
pub(super) struct Cli {
    /// Print the version; with -v also how the program was built
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: (),

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Serve(Box<Service>),
    Load(Box<Load>),
    CheckConfig(CheckConfig),
    Completions(Completions),
    Man(Man),
    /// Print how the program was built, and what it runs on
    ///
    /// Commit, compiler, target, features, poller, limit on descriptors and allocator: what a report of a
    /// fault should have. The version alone: edgeloop --version
    Version,
}

/// The commands that serve until a signal ends them. What else there is does its work and ends.
#[derive(Debug, Subcommand)]
pub(super) enum Service {
    Echo(Echo),
    Broadcast(Broadcast),
    Chat(Chat),
    Kv(Kv),
    Web(Web),
}

impl Service {
    /// Serves until a signal ends it; or only tries to start, if the sources say so.
    pub(super) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        match self {
            Service::Echo(echo) => echo.run(sources),
            Service::Broadcast(broadcast) => broadcast.run(sources),
            Service::Chat(chat) => chat.run(sources),
            Service::Kv(kv) => kv.run(sources),
            Service::Web(web) => web.run(sources),
        }
    }
}

/// Say what a start with a configuration file would say, and print the values that it would use
///
/// Nothing is listened on and nothing is written but the values, each with its source: a flag, a
/// variable, a line of the file, or the default. They are TOML that --config takes. Exit code 2 if
/// something is wrong. Try: edgeloop check-config edgeloop.toml --service echo
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// The file of --config; - is stdin
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Check for this service alone [default: those that have a section in FILE, or else all]
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,

    /// Leave the EDGELOOP_* variables out [default: false]
    #[arg(long)]
    pub(super) no_env: bool,

    /// Flags of the service, as they would stand on its command line; needs --service
    #[arg(last = true, value_name = "OPTION")]
    pub(super) options: Vec<OsString>,
}

/// Print the completions of a shell
///
/// For bash: edgeloop completions bash > ~/.local/share/bash-completion/completions/edgeloop
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    pub(super) shell: Shell,
}

/// Print the manual page, or write one for each command into a directory
///
/// Read it with: edgeloop man | man -l -
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write edgeloop.1, edgeloop-echo.1 and so on there; DIR is made if there is none
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  edgeloop echo                  then, in a second terminal: nc 127.0.0.1 7000
  edgeloop chat -p 8080          then open http://127.0.0.1:8080/ in a browser
  edgeloop load 7000 -c 10k      measures what listens on port 7000, with 10,000 connections

The options of a command, and what they mean: edgeloop echo --help";
