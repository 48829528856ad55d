//! `edgeloop chat`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use edgeloop::service::chat::{Chat as Service, ChatOptions as Limits, check_tokens};

use super::count;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::host;

use super::server::{Server, Welcome};
use super::server_options::ServerOptions;
use super::size::Size;
use super::sources::Sources;
use super::span::{Span, SpanOrOff};
use super::token_options::TokenOptions;

/// Chat rooms, for terminals and browsers on one port
///
/// Open http://127.0.0.1:7000/ in a browser, or talk with: nc 127.0.0.1 7000
#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    own: ChatOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Default, Args)]
struct ChatOptions {
    #[command(flatten)]
    tokens: TokenOptions,

    /// Give newcomers the last N messages of a room, as far as they are held [default: 100]
    #[arg(long, value_name = "N", env = "EDGELOOP_HISTORY")]
    #[arg(value_parser = count::parse::<usize>)]
    history: Option<usize>,

    /// Hold so many bytes of events for each room, for those who come back, and as many again for
    /// WebSocket; more than four times --max-message [default: 256KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_ROOM_MEMORY")]
    room_memory: Option<Size>,

    /// The longest text of a message [default: 4KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_MESSAGE")]
    max_message: Option<Size>,

    /// Messages and commands a second that are taken from a client; the others wait [default: 10]
    #[arg(long, value_name = "N", env = "EDGELOOP_RATE")]
    #[arg(value_parser = count::parse::<u32>)]
    rate: Option<u32>,

    /// Send a ping to a WebSocket client that was silent for so long, and close it when it misses
    /// two; or off [default: 25s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_HEARTBEAT")]
    heartbeat: Option<SpanOrOff>,

    /// How long a connection may take for its first line; or off [default: 60s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_FIRST_LINE_TIMEOUT")]
    first_line_timeout: Option<SpanOrOff>,

    /// Let pages of ORIGIN connect, such as https://example.org, instead of only our own;
    /// repeatable, * for all [default: none]
    #[arg(long, value_name = "ORIGIN", env = "EDGELOOP_ORIGIN", value_delimiter = ',')]
    origin: Option<Vec<String>>,

    /// Answer only to this name in the Host of a request, with any port; repeatable. Without it a page
    /// reaches a loopback address only by a name of this machine [default: none]
    #[arg(long, value_name = "NAME", env = "EDGELOOP_HOST", value_delimiter = ',')]
    #[arg(value_parser = host::parse)]
    host: Option<Vec<String>>,

    /// What newcomers may do in a room that somebody else is in [default: speaker]
    #[arg(long, value_name = "ROLE", env = "EDGELOOP_NEWCOMERS")]
    newcomers: Option<Role>,

    /// The most rooms [default: 256]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_ROOMS")]
    #[arg(value_parser = count::parse::<usize>)]
    max_rooms: Option<usize>,

    /// The most members of a room [default: 10000]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_MEMBERS")]
    #[arg(value_parser = count::parse::<usize>)]
    max_members: Option<usize>,

    /// The most rooms that one client may be in [default: 8]
    #[arg(long, value_name = "N", env = "EDGELOOP_ROOMS_PER_CLIENT")]
    #[arg(value_parser = count::parse::<usize>)]
    rooms_per_client: Option<usize>,

    /// The most rooms that one address may hold open, beside lobby; 0 for any number [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_ROOMS_PER_ADDRESS")]
    #[arg(value_parser = count::parse::<usize>)]
    rooms_per_address: Option<usize>,

    /// How long an empty room keeps its history [default: 10m]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_ROOM_LINGER")]
    room_linger: Option<Span>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Viewer,
    Speaker,
}

impl Chat {
    /// Serves until a signal ends it.
    pub(crate) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        let mut server = Server::new(NAME, self.server, sources)?;
        let endpoints = server.endpoints();
        let tokens = self.own.tokens.tokens(&mut server, check_tokens)?;
        let limits = Limits { tokens, ..self.own.limits(&endpoints) };
        limits.check(server.config()).map_err(|error| server.blame(&error.to_string()))?;
        server.speaks(&["http/1.1", "http/1.0"]);
        server.welcome(Welcome { has_page: true, first_line: Some("/help"), ..Welcome::default() });
        let addresses = server.addresses();
        server.run(Service::new(limits).with_addresses(addresses))
    }
}

impl ChatOptions {
    fn limits(self, endpoints: &[Endpoint]) -> Limits {
        let default = Limits::default();
        let origins = self.origin.unwrap_or(default.origins);
        Limits {
            history: self.history.unwrap_or(default.history),
            room_memory: self.room_memory.map_or(default.room_memory, Size::bytes),
            message_max: self.max_message.map_or(default.message_max, Size::bytes),
            rate: self.rate.unwrap_or(default.rate),
            heartbeat: self.heartbeat.map_or(default.heartbeat, SpanOrOff::duration),
            first_line_timeout: self
                .first_line_timeout
                .map_or(default.first_line_timeout, SpanOrOff::duration),
            hosts: host::hosts(self.host.as_deref(), &origins, endpoints),
            origins,
            newcomers: self.newcomers.map_or(default.newcomers, Role::into),
            tokens: default.tokens,
            rooms_max: self.max_rooms.unwrap_or(default.rooms_max),
            members_max: self.max_members.unwrap_or(default.members_max),
            rooms_per_client: self.rooms_per_client.unwrap_or(default.rooms_per_client),
            rooms_per_address: self.rooms_per_address.unwrap_or(default.rooms_per_address),
            room_linger: self.room_linger.map_or(default.room_linger, Span::duration),
        }
    }
}

impl From<Role> for edgeloop::service::chat::Role {
    fn from(choice: Role) -> Self {
        match choice {
            Role::Viewer => edgeloop::service::chat::Role::Viewer,
            Role::Speaker => edgeloop::service::chat::Role::Speaker,
        }
    }
}

const NAME: &str = "chat";
