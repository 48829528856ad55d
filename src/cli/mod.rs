//! The command line: from words to a running service, and from its end to an exit code.
//!
//! The whole of what can be asked for is [`program`]; [`command_line`] reads it. Each subcommand is one
//! file ([`echo`], [`broadcast`], [`chat`], [`kv`], [`web`]): its own options, and which handler they
//! make. All that servers have in common is [`server_options`] (what can be set) and [`server`] (what is
//! then done). Values come from flags, variables and a file ([`sources`]) with the same parsers ([`size`],
//! [`span`], [`count`], [`percent`], [`endpoint`], [`socket_rights`]); everything is checked before
//! anything listens, and what is wrong is one line ([`failure`]) that says where it stands.

mod broadcast;
mod chat;
mod command_line;
mod config_file;
mod count;
mod descriptors;
mod echo;
mod endpoint;
mod failure;
mod host;
mod json;
mod kv;
mod load;
mod log;
mod nearest;
mod percent;
mod port_file;
mod program;
mod server;
mod server_options;
mod signals;
mod size;
mod socket_rights;
mod sources;
mod span;
mod variables;
mod web;

use std::process::ExitCode;

use clap::CommandFactory;

use self::command_line::Stop;
use self::config_file::ConfigText;
use self::failure::Failure;
use self::program::{Cli, Command};

/// Runs the program. What it returns is 0 when done, 1 when something failed, 2 for usage and
/// configuration, 3 for a bound that `load` missed.
pub(crate) fn run() -> ExitCode {
    signals::survive_file_size_limit();
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.len() < 2 {
        // Whoever closed the pipe early has read enough of it.
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    }
    let mut text = ConfigText::default();
    let outcome = match command_line::read(&arguments, &mut text) {
        Ok((cli, sources)) => match cli.command {
            Command::Echo(echo) => echo.run(sources),
            Command::Broadcast(broadcast) => broadcast.run(sources),
            Command::Chat(chat) => chat.run(sources),
            Command::Kv(kv) => kv.run(sources),
            Command::Web(web) => web.run(sources),
            Command::Load(load) => load.run(&sources),
        },
        Err(Stop::Asked(shown)) => {
            let _ = shown.print();
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Wrong(failure)) => {
            // Nobody is to read there where an earlier server was.
            command_line::port_file(&arguments, &mut text)
                .iter()
                .for_each(|path| port_file::remove_stale(path));
            Err(failure)
        }
    };
    outcome.unwrap_or_else(|failure: Failure| failure.report())
}
