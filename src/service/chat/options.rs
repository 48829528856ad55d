//! The limits of a chat.

use std::io;
use std::time::Duration;

use super::event::Role;
use super::name::Name;
use crate::reactor::{Config, TopicConfig};
use crate::service::hosts::Hosts;
use crate::service::identity::Tokens;
use crate::service::rate::RATE_MAX;

/// The limits of a chat. Start from the default and change what you need.
///
/// ```
/// use edgeloop::Config;
/// use edgeloop::service::chat::ChatOptions;
/// let options = ChatOptions { history: 500, ..ChatOptions::default() };
/// options.check(&Config::default())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatOptions {
    /// Messages of a room that a newcomer is given, and what else happened in between. Default 100.
    pub history: usize,
    /// Bytes of events that a room holds, for lines and again for WebSocket. Default 256 KiB. Who
    /// comes back is given what is held; who falls behind by more is disconnected
    /// (`slow_consumer`), and may resume.
    pub room_memory: usize,
    /// The longest text of a message, in bytes. Default 4 KiB.
    pub message_max: usize,
    /// Messages and commands a second that a client may send, and as many at once, or 16 if that is
    /// more. Default 10. Beyond it a client is read more slowly, and loses nothing; if it goes on
    /// without a rest until its input is full a second time, the connection is closed.
    pub rate: u32,
    /// How long a connection may take for its first line. Default 60 s: time to type one, and far
    /// less than for ever. `None`: for ever.
    pub first_line_timeout: Option<Duration>,
    /// A WebSocket client from which nothing came for so long is sent a ping; after two without any
    /// answer it is closed. Default 25 s: below the 30 s after which some address translation
    /// forgets idle connections, and half of what nginx and most balancers allow. `None`: never.
    pub heartbeat: Option<Duration>,
    /// Origins whose pages may connect, such as `https://example.org`; `*` stands for all. Default
    /// none: only the page that comes from this server.
    pub origins: Vec<String>,
    /// Under which names the server answers. Default: under any; see [`Hosts`] for what a page of
    /// another name might do with that.
    pub hosts: Hosts,
    /// What a newcomer may do in a room that somebody else is in already. Default: speak. With
    /// [`Role::Viewer`] operators decide who speaks.
    pub newcomers: Role,
    /// Who may come in: the clients that have one of these tokens, by the names and roles that the tokens
    /// say, and into their rooms. Default: everybody, by any name. [`check_tokens`](super::check_tokens)
    /// tells whether they are of use here.
    pub tokens: Option<Tokens>,
    /// The most rooms. Default 256. When there are so many, a new one takes the place of the one
    /// that is empty longest.
    pub rooms_max: usize,
    /// The most members of a room. Default 10,000.
    pub members_max: usize,
    /// The most rooms that one client may be in. Default 8.
    pub rooms_per_client: usize,
    /// The most rooms that the clients of one address may hold open: those that it opened and in which
    /// somebody is; 0 for any number, which is the default. `lobby` does not count, and can be opened
    /// even where there are [`rooms_max`](Self::rooms_max) rooms.
    pub rooms_per_address: usize,
    /// How long an empty room keeps its history and its numbers. Default 10 minutes.
    pub room_linger: Duration,
}

impl Default for ChatOptions {
    fn default() -> Self {
        ChatOptions {
            history: 100,
            room_memory: 256 << 10,
            message_max: 4 << 10,
            rate: 10,
            first_line_timeout: Some(Duration::from_secs(60)),
            heartbeat: Some(Duration::from_secs(25)),
            origins: Vec::new(),
            hosts: Hosts::any(),
            newcomers: Role::Speaker,
            tokens: None,
            rooms_max: 256,
            members_max: 10_000,
            rooms_per_client: 8,
            rooms_per_address: 0,
            room_linger: Duration::from_secs(600),
        }
    }
}

impl ChatOptions {
    /// Checks that the limits make sense together, and with those of the reactor.
    ///
    /// # Errors
    /// `InvalidInput`, with a sentence that names the field.
    pub fn check(&self, config: &Config) -> io::Result<()> {
        let range = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let text = format!("{name} is {value}; it must be between {least} and {most}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        };
        if let Some(origin) = self.origins.iter().find(|origin| !is_origin(origin)) {
            let text =
                format!("origins has {origin:?}; an origin is * or like https://example.org");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        range("message_max", self.message_max, 1, 1 << 20)?;
        let event_max = 2 * self.message_max + EVENT_OVERHEAD;
        range("room_memory", self.room_memory, 2 * (event_max + TopicConfig::OVERHEAD), 1 << 30)?;
        range("rate", self.rate as usize, 1, RATE_MAX as usize)?;
        range("rooms_max", self.rooms_max, 1, 1 << 20)?;
        range("members_max", self.members_max, 1, u32::MAX as usize)?;
        range("rooms_per_client", self.rooms_per_client, 1, 1 << 10)?;
        range("input_limit", config.input_limit, self.line_max(), usize::MAX)?;
        range("output_limit", config.output_limit, OUTPUT_LEAST, usize::MAX)
    }

    /// The longest line or message: the longest text or token, and the command in front of it.
    pub(super) fn line_max(&self) -> usize {
        let token = self.tokens.as_ref().map_or(0, |_| Tokens::LEN_MAX);
        self.message_max.max(token) + COMMAND_OVERHEAD
    }
}

/// RFC 6454, section 6.2: a scheme, a host, perhaps a port, and nothing behind them. Anything else
/// would match no page, without a word.
fn is_origin(text: &str) -> bool {
    let parts = text.split_once("://");
    let is_whole = |(scheme, host): (&str, &str)| !scheme.is_empty() && !host.is_empty();
    text == "*" || parts.is_some_and(|parts| is_whole(parts) && !parts.1.contains(['/', '?', '#']))
}

/// What an event has beside its text, which JSON may double.
const EVENT_OVERHEAD: usize = 256;

/// `/say `, a room, a space, and what people type around it.
const COMMAND_OVERHEAD: usize = Name::BYTES_MAX + 44;

/// The page, the members of a room, the list of rooms: each must fit at once.
pub(super) const OUTPUT_LEAST: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_match_no_page_is_no_origin() {
        let check = |origin: &str| {
            let origins = vec![origin.to_owned()];
            ChatOptions { origins, ..ChatOptions::default() }.check(&Config::default())
        };
        for good in ["*", "https://example.org", "http://[::1]:7000", "chrome-extension://abc"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "example.org", "https://", "https://example.org/", "//example.org", "null"]
        {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("origins has {bad:?}; ")), "{error}");
        }
    }
}
