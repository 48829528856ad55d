//! The command line: from words to a running service, and from its end to an exit code.
//!
//! Each subcommand is one file ([`echo`], [`broadcast`], [`chat`], [`kv`], [`web`]): its own options,
//! and which handler they make. All that servers have in common is [`server_options`] (what can be set)
//! and [`server`] (what is then done). Values come from flags, variables and a file with the same
//! parsers ([`size`], [`span`], [`endpoint`]); everything is checked before anything listens, and
//! what is wrong is one line ([`failure`]).

mod broadcast;
mod chat;
mod command_line;
mod config_file;
mod descriptors;
mod echo;
mod endpoint;
mod failure;
mod json;
mod kv;
mod load;
mod log;
mod port_file;
mod server;
mod server_options;
mod signals;
mod size;
mod span;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;

/// Runs the program. What it returns is 0 when done, 1 when something failed, 2 for usage and
/// configuration, 3 for a bound that `load` missed.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let outcome = match command_line::parse(&arguments) {
        Ok(Cli { command: Command::Echo(echo) }) => echo.run(),
        Ok(Cli { command: Command::Broadcast(broadcast) }) => broadcast.run(),
        Ok(Cli { command: Command::Web(web) }) => web.run(),
        Ok(Cli { command: Command::Kv(kv) }) => kv.run(),
        Ok(Cli { command: Command::Load(load) }) => load.run(),
        Ok(Cli { command: Command::Chat(chat) }) => chat.run(),
        Err(answer) if !answer.use_stderr() => {
            // The help was asked for. Whoever closed the pipe early has read enough of it.
            let _ = answer.print();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(command_line::explain(&error, &arguments)),
    };
    outcome.unwrap_or_else(|failure: Failure| failure.report())
}

/// An edge-triggered TCP event loop, ready to run
#[derive(Debug, Parser)]
#[command(subcommand_required = true, arg_required_else_help = false)]
#[command(name = "edgeloop", version, after_help = "Try: edgeloop echo, then: nc 127.0.0.1 7000")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Echo(echo::Echo),
    Broadcast(broadcast::Broadcast),
    Web(web::Web),
    Kv(kv::Kv),
    Load(Box<load::Load>),
    Chat(chat::Chat),
}
