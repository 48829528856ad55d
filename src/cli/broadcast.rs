//! `edgeloop broadcast`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use edgeloop::{TopicConfig, service};

use super::count;
use super::failure::Failure;
use super::server::Server;
use super::server_options::ServerOptions;
use super::size::Size;
use super::sources::Sources;
use super::span::Span;

/// Deliver each line from one client to every other client
///
/// Lines stay whole and arrive in one order everywhere. Talk with: nc 127.0.0.1 7000
#[derive(Debug, Args)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    own: BroadcastOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Default, Args)]
struct BroadcastOptions {
    /// What a message is: a line, or the bytes behind a 4-byte big-endian length [default: lines]
    #[arg(long, value_name = "FRAMING", env = "EDGELOOP_FRAMING")]
    framing: Option<Framing>,

    /// Give a newcomer the last N messages [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_HISTORY")]
    #[arg(value_parser = count::parse::<usize>)]
    history: Option<usize>,

    /// Hold so many bytes of messages, once for all clients; more than twice --input-limit
    /// [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_TOPIC_MEMORY")]
    topic_memory: Option<Size>,

    /// A client that falls behind by --topic-memory is disconnected, skips what it missed, or is
    /// waited for [default: disconnect]
    #[arg(long, value_name = "WHAT", env = "EDGELOOP_SLOW_CONSUMER")]
    slow_consumer: Option<SlowConsumer>,

    /// How long senders wait for a client that takes no byte, before it counts as fallen behind
    /// [default: 1s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_PATIENCE")]
    patience: Option<Span>,

    /// Messages a second that are taken from a client, the others wait; 0 for any number [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_RATE")]
    #[arg(value_parser = count::parse::<u32>)]
    rate: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Framing {
    Lines,
    Length,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SlowConsumer {
    Disconnect,
    Skip,
    Wait,
}

impl Broadcast {
    /// Serves until a signal ends it.
    pub(crate) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        let server = Server::new(NAME, self.server, sources)?;
        let own = self.own;
        let limit = server.config().input_limit;
        let topic = own.topic(limit).map_err(|text| server.blame(&text))?;
        let framing = own.framing.map_or(service::Framing::Lines, Framing::into);
        let rate = own.rate().map_err(|text| server.blame(&text))?;
        server.run(service::Broadcast::new(framing, limit, topic).rate(rate))
    }
}

impl BroadcastOptions {
    fn topic(&self, input_limit: usize) -> Result<TopicConfig, String> {
        let default = TopicConfig::default();
        let topic = TopicConfig {
            memory: self.topic_memory.map_or(default.memory, Size::bytes),
            history: self.history.unwrap_or(default.history),
            slow_consumer: self.slow_consumer.map_or(default.slow_consumer, SlowConsumer::into),
            patience: self.patience.map_or(default.patience, Span::duration),
            subscriber_memory: None,
        };
        if topic.message_max() < input_limit + FRAME {
            let (memory, limit) = (Size::new(topic.memory), Size::new(input_limit));
            return Err(format!(
                "topic-memory is {memory}; with input-limit {limit} it must be more than twice that"
            ));
        }
        Ok(topic)
    }

    fn rate(&self) -> Result<u32, String> {
        match self.rate.unwrap_or(0) {
            rate @ 0..=service::RATE_MAX => Ok(rate),
            rate => Err(format!("rate is {rate}; it must be between 0 and {}", service::RATE_MAX)),
        }
    }
}

impl From<Framing> for service::Framing {
    fn from(choice: Framing) -> Self {
        match choice {
            Framing::Lines => service::Framing::Lines,
            Framing::Length => service::Framing::Length,
        }
    }
}

impl From<SlowConsumer> for edgeloop::SlowConsumer {
    fn from(choice: SlowConsumer) -> Self {
        match choice {
            SlowConsumer::Disconnect => edgeloop::SlowConsumer::Disconnect,
            SlowConsumer::Skip => edgeloop::SlowConsumer::Skip,
            SlowConsumer::Wait => edgeloop::SlowConsumer::Wait,
        }
    }
}

/// What a message travels with beside its text: a newline, or the length in front.
const FRAME: usize = 4;

const NAME: &str = "broadcast";
