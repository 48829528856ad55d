//! The command line: from words to a running service, and from its end to an exit code.
//!
//! The whole of what can be asked for is [`program`]; [`command_line`] reads it. Each subcommand is one
//! file ([`echo`], [`broadcast`], [`chat`], [`kv`], [`web`]): its own options, and which handler they
//! make. What is asked of the program itself has a file each as well: [`check_config`] with
//! [`effective`] and [`trial`], [`completions`], [`man`], [`version`]. All that servers have in common is [`server_options`] (what can be set) and [`server`] (what is
//! then done). Values come from flags, variables and a file ([`sources`]) with the same parsers ([`size`],
//! [`span`], [`count`], [`percent`], [`endpoint`], [`listening`], [`socket_rights`], [`secret_file`]); everything is checked before
//! anything listens, and what is wrong is one line ([`failure`]) that says where it stands.

mod broadcast;
mod chat;
mod check_config;
mod closes;
mod command_line;
mod completions;
mod config_file;
mod count;
mod descriptors;
mod echo;
mod effective;
mod endpoint;
mod failure;
mod host;
mod json;
mod kv;
mod listening;
mod load;
mod log;
mod man;
mod nearest;
mod percent;
mod port_file;
mod program;
mod remark;
mod secret_file;
mod server;
mod server_options;
mod signals;
mod size;
mod socket_rights;
mod sources;
mod span;
mod stdout;
mod tls_files;
mod tls_options;
mod token_options;
mod trial;
mod variables;
mod version;
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
    if version::is_asked_for_at_length(&arguments) {
        return version::print_long().unwrap_or_else(|failure| failure.report());
    }
    let mut text = ConfigText::default();
    let outcome = match command_line::read(&arguments, &mut text) {
        Ok((cli, sources)) => match cli.command {
            Command::Serve(service) => service.run(sources),
            Command::Load(load) => load.run(&sources),
            Command::CheckConfig(check) => check_config::run(&check),
            Command::Completions(completions) => completions::print(completions.shell),
            Command::Man(man) => man::write(man.directory.as_deref()),
            Command::Version => version::print_long(),
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
