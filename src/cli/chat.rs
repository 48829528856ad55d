//! `edgeloop chat`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use edgeloop::service::chat::{Chat as Service, ChatOptions as Limits};
use serde::Deserialize;

use super::config_file::ConfigFile;
use super::failure::Failure;
use super::server::Server;
use super::server_options::ServerOptions;
use super::size::Size;
use super::span::{Span, SpanOrOff};

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

#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct ChatOptions {
    /// Keep the last N events of each room, for newcomers and for those who come back
    /// [default: 100]
    #[arg(long, value_name = "N", env = "EDGELOOP_HISTORY")]
    history: Option<usize>,

    /// Hold so many bytes of events for each room, and as many again for WebSocket; more than four
    /// times --max-message [default: 256KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_ROOM_MEMORY")]
    room_memory: Option<Size>,

    /// The longest text of a message [default: 4KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_MESSAGE")]
    max_message: Option<Size>,

    /// Messages and commands a second that a client may send; over it a notice, then a close
    /// [default: 10]
    #[arg(long, value_name = "N", env = "EDGELOOP_RATE")]
    rate: Option<u32>,

    /// Send a ping to a WebSocket client that was silent for so long, and close it when it misses
    /// two; or off [default: 30s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_HEARTBEAT")]
    heartbeat: Option<SpanOrOff>,

    /// Let pages of ORIGIN connect, such as https://example.org, instead of only our own;
    /// repeatable, * for all [default: none]
    #[arg(long, value_name = "ORIGIN", env = "EDGELOOP_ORIGIN", value_delimiter = ',')]
    origin: Option<Vec<String>>,

    /// What newcomers may do in a room that somebody else is in [default: speaker]
    #[arg(long, value_name = "ROLE", env = "EDGELOOP_NEWCOMERS")]
    newcomers: Option<Role>,

    /// The most rooms [default: 256]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_ROOMS")]
    max_rooms: Option<usize>,

    /// The most members of a room [default: 10000]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_MEMBERS")]
    max_members: Option<usize>,

    /// The most rooms that one client may be in [default: 8]
    #[arg(long, value_name = "N", env = "EDGELOOP_ROOMS_PER_CLIENT")]
    rooms_per_client: Option<usize>,

    /// How long an empty room keeps its history [default: 10m]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_ROOM_LINGER")]
    room_linger: Option<Span>,
}

#[derive(Clone, Copy, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Viewer,
    Speaker,
}

impl Chat {
    /// Serves until a signal ends it.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let file = ConfigFile::open(self.server.config.as_deref())?;
        let mut server = Server::new(NAME, self.server.or(file.shared()?))?;
        let limits = self.own.or(file.section(NAME)?).limits();
        limits
            .check(server.config())
            .map_err(|error| Failure::Usage(in_words_of_options(&error.to_string())))?;
        server.listen_options().notsent_lowat = Some(NOTSENT_LOWAT);
        server.run(Service::new(limits))
    }
}

impl ChatOptions {
    fn or(self, other: ChatOptions) -> ChatOptions {
        ChatOptions {
            history: self.history.or(other.history),
            room_memory: self.room_memory.or(other.room_memory),
            max_message: self.max_message.or(other.max_message),
            rate: self.rate.or(other.rate),
            heartbeat: self.heartbeat.or(other.heartbeat),
            origin: self.origin.or(other.origin),
            newcomers: self.newcomers.or(other.newcomers),
            max_rooms: self.max_rooms.or(other.max_rooms),
            max_members: self.max_members.or(other.max_members),
            rooms_per_client: self.rooms_per_client.or(other.rooms_per_client),
            room_linger: self.room_linger.or(other.room_linger),
        }
    }

    fn limits(self) -> Limits {
        let default = Limits::default();
        Limits {
            history: self.history.unwrap_or(default.history),
            room_memory: self.room_memory.map_or(default.room_memory, Size::bytes),
            message_max: self.max_message.map_or(default.message_max, Size::bytes),
            rate: self.rate.unwrap_or(default.rate),
            heartbeat: self.heartbeat.map_or(default.heartbeat, SpanOrOff::duration),
            origins: self.origin.unwrap_or(default.origins),
            newcomers: self.newcomers.map_or(default.newcomers, Role::into),
            rooms_max: self.max_rooms.unwrap_or(default.rooms_max),
            members_max: self.max_members.unwrap_or(default.members_max),
            rooms_per_client: self.rooms_per_client.unwrap_or(default.rooms_per_client),
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

/// The library speaks of its fields, the user of options.
fn in_words_of_options(text: &str) -> String {
    let (field, rest) = text.split_once(' ').unwrap_or((text, ""));
    let option = match field {
        "message_max" => "max-message".into(),
        "rooms_max" => "max-rooms".into(),
        "members_max" => "max-members".into(),
        "origins" => "origin".into(),
        field => field.replace('_', "-"),
    };
    format!("{option} {rest}")
}

const NAME: &str = "chat";

/// As for broadcast: what a client falls behind by is to lie in the room's memory, which is held
/// once, and not in megabytes of the kernel's for each of them.
const NOTSENT_LOWAT: u32 = 16 << 10;
