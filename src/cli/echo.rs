//! `edgeloop echo`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use edgeloop::codec::Delimited;
use edgeloop::{Config, service};

use super::failure::Failure;
use super::server::Server;
use super::server_options::ServerOptions;
use super::size::Size;
use super::sources::Sources;

/// Return every byte to whoever sent it
///
/// Byte-exact at any speed of either side. A client that finishes sending still gets every byte
/// back: head -c 50M /dev/urandom | nc -N 127.0.0.1 7000
#[derive(Debug, Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    own: EchoOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Default, Args)]
struct EchoOptions {
    /// Answer line by line instead of byte by byte [default: false]
    #[arg(long, value_name = "BOOL", env = "EDGELOOP_LINES")]
    #[arg(value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    lines: Option<bool>,

    /// Put TEXT before each line that is answered; needs --lines [default: none]
    #[arg(long, value_name = "TEXT", env = "EDGELOOP_PREFIX")]
    prefix: Option<String>,
}

impl Echo {
    /// Serves until a signal ends it.
    pub(crate) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        let server = Server::new(NAME, self.server, sources)?;
        match (self.own.lines, self.own.prefix) {
            (Some(true), prefix) => {
                let prefix = prefix.unwrap_or_default().into_bytes();
                let limit = server.config().input_limit;
                check_answer(server.config(), prefix.len()).map_err(|text| server.blame(&text))?;
                let answer = service::EchoLines::new(prefix);
                server.run(service::Framed::new(Delimited::lines(limit), answer))
            }
            (None, Some(_)) => Err(server.blame("prefix needs --lines")),
            // Lines may be switched off for once although the file has a prefix for them.
            _ => server.run(service::Echo::new()),
        }
    }
}

/// The longest answer must fit behind as much output as does not hold its connection yet.
fn check_answer(config: &Config, prefix_len: usize) -> Result<(), String> {
    let room = config.output_limit - config.output_high();
    if config.input_limit + prefix_len < room {
        return Ok(());
    }
    let (limit, room) = (Size::new(config.input_limit), Size::new(room));
    Err(format!(
        "input-limit is {limit}; with the prefix it must be less than {room}, which is three \
         quarters of output-limit"
    ))
}

const NAME: &str = "echo";
