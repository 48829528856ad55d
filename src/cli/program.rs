//! All that the program can be asked for: its subcommands.

use clap::{Parser, Subcommand};

use super::broadcast::Broadcast;
use super::chat::Chat;
use super::echo::Echo;
use super::kv::Kv;
use super::load::Load;
use super::web::Web;

/// An edge-triggered TCP event loop, ready to run
#[derive(Debug, Parser)]
#[command(subcommand_required = true, arg_required_else_help = false)]
#[command(name = "edgeloop", version, after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Echo(Echo),
    Broadcast(Broadcast),
    Chat(Chat),
    Kv(Kv),
    Web(Web),
    Load(Box<Load>),
}

const EXAMPLES: &str = "\
Examples:
  edgeloop echo                  then, in a second terminal: nc 127.0.0.1 7000
  edgeloop chat -p 8080          then open http://127.0.0.1:8080/ in a browser
  edgeloop load 7000 -c 10k      measures what listens on port 7000, with 10,000 connections

The options of a command, and what they mean: edgeloop echo --help";
