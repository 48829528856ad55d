//! What members are told, on either wire: a line for a terminal, or an object of JSON in a frame of
//! text. `docs/reference/chat-protocol.md` describes both.

use std::fmt::{self, Write};

use super::command::HELP;
use super::name::Name;
use super::text::Quoted;
use crate::codec::websocket::{Kind, frame_head};

/// What somebody may do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and speaks.
    Speaker,
    /// Speaks, gives roles, puts others out.
    Operator,
}

impl Role {
    /// The role's name in commands and events.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Speaker => "speaker",
            Role::Operator => "operator",
        }
    }

    /// The role of that name.
    pub fn of(name: &str) -> Option<Role> {
        let all = [Role::Viewer, Role::Speaker, Role::Operator];
        all.into_iter().find(|role| role.name() == name)
    }
}

/// What happens in a room; all its members get it, under one number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    Message {
        name: Name,
        text: &'a str,
    },
    Joined {
        name: Name,
        role: Role,
    },
    Left {
        name: Name,
    },
    Renamed {
        name: Name,
        new: Name,
    },
    /// By an operator, or because the last one left.
    Role {
        name: Name,
        role: Role,
        by: Option<Name>,
    },
    Kicked {
        name: Name,
        by: Name,
    },
}

/// One event on both wires, encoded once for all members.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) line: Vec<u8>,
    pub(super) frame: Vec<u8>,
}

/// Where and when an event happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) room: Name,
    /// The room's number for it, from 1.
    pub(super) number: u64,
    /// Milliseconds since 1970.
    pub(super) time_ms: u64,
}

impl Event<'_> {
    pub(super) fn encode(&self, stamp: Stamp) -> Encoded {
        let line = format!("[{} {}] {self}\n", stamp.room, stamp.number).into_bytes();
        Encoded { line, frame: text_frame(&self.json(stamp)) }
    }

    fn json(&self, Stamp { room, number, time_ms }: Stamp) -> String {
        let mut json = String::new();
        let begin = |kind| {
            format!(
                "{{\"type\":\"{kind}\",\"room\":\"{room}\",\"number\":{number},\"time\":{time_ms}"
            )
        };
        // Names need no escapes, and writing to a string cannot fail.
        let _ = match self {
            Event::Message { name, text } => {
                write!(json, "{},\"name\":\"{name}\",\"text\":{}}}", begin("message"), Quoted(text))
            }
            Event::Joined { name, role } => {
                write!(
                    json,
                    "{},\"name\":\"{name}\",\"role\":\"{}\"}}",
                    begin("joined"),
                    role.name()
                )
            }
            Event::Left { name } => write!(json, "{},\"name\":\"{name}\"}}", begin("left")),
            Event::Renamed { name, new } => {
                write!(json, "{},\"name\":\"{name}\",\"new\":\"{new}\"}}", begin("renamed"))
            }
            Event::Role { name, role, by } => {
                let by = by.map(|by| format!(",\"by\":\"{by}\"")).unwrap_or_default();
                let role = role.name();
                write!(json, "{},\"name\":\"{name}\",\"role\":\"{role}\"{by}}}", begin("role"))
            }
            Event::Kicked { name, by } => {
                write!(json, "{},\"name\":\"{name}\",\"by\":\"{by}\"}}", begin("kicked"))
            }
        };
        json
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Message { name, text } => write!(f, "{name}: {text}"),
            Event::Joined { name, role } => write!(f, "* {name} joins as {}", role.name()),
            Event::Left { name } => write!(f, "* {name} leaves"),
            Event::Renamed { name, new } => write!(f, "* {name} is now called {new}"),
            Event::Role { name, role, by: Some(by) } => {
                write!(f, "* {by} makes {name} {}", role.name())
            }
            Event::Role { name, role, by: None } => write!(f, "* {name} is now {}", role.name()),
            Event::Kicked { name, by } => write!(f, "* {by} puts {name} out"),
        }
    }
}

/// What one client alone is told.
#[derive(Clone, Debug)]
pub(super) enum Reply<'a> {
    /// With the limits that a client is to keep.
    Welcome {
        name: Name,
        /// By a token.
        is_fixed: bool,
        message_max: usize,
        line_max: usize,
        rate: u32,
    },
    Name(Name),
    /// The answer to a join: what the room is like before the next event.
    Room {
        room: Name,
        id: &'a str,
        role: Role,
        number: u64,
        members: &'a [(Name, Role)],
        count: usize,
    },
    /// These numbers of a room are not held any more.
    Gap {
        room: Name,
        from: u64,
        to: u64,
    },
    /// The room is another than the one that was left: its numbers began anew.
    NewNumbers {
        room: Name,
    },
    Left {
        room: Name,
    },
    PutOut {
        room: Name,
        by: Name,
    },
    Who {
        room: Name,
        members: &'a [(Name, Role)],
        count: usize,
    },
    Rooms {
        rooms: &'a [(Name, usize)],
        count: usize,
    },
    /// A member has ended its side of the connection.
    ListensOn,
    Help,
    Pong(&'a str),
    Error {
        code: &'static str,
        text: &'a str,
    },
}

impl Reply<'_> {
    pub(super) fn line(&self) -> Vec<u8> {
        format!("{self}\n").into_bytes()
    }

    pub(super) fn frame(&self) -> Vec<u8> {
        text_frame(&self.json())
    }

    fn json(&self) -> String {
        match self {
            Reply::Welcome { name, is_fixed, message_max, line_max, rate } => format!(
                "{{\"type\":\"welcome\",\"name\":\"{name}\",\"name_fixed\":{is_fixed},\
                 \"message_max\":{message_max},\"line_max\":{line_max},\"rate\":{rate}}}"
            ),
            Reply::Name(name) => format!("{{\"type\":\"name\",\"name\":\"{name}\"}}"),
            Reply::Room { room, id, role, number, members, count } => format!(
                "{{\"type\":\"room\",\"room\":\"{room}\",\"id\":\"{id}\",\"role\":\"{}\",\
                 \"number\":{number},\"count\":{count},\"members\":{}}}",
                role.name(),
                Members(members)
            ),
            Reply::Gap { room, from, to } => {
                format!("{{\"type\":\"gap\",\"room\":\"{room}\",\"from\":{from},\"to\":{to}}}")
            }
            Reply::NewNumbers { room } => {
                format!("{{\"type\":\"new_numbers\",\"room\":\"{room}\"}}")
            }
            Reply::Left { room } => format!("{{\"type\":\"room_left\",\"room\":\"{room}\"}}"),
            Reply::PutOut { room, by } => {
                format!("{{\"type\":\"put_out\",\"room\":\"{room}\",\"by\":\"{by}\"}}")
            }
            Reply::Who { room, members, count } => format!(
                "{{\"type\":\"who\",\"room\":\"{room}\",\"count\":{count},\"members\":{}}}",
                Members(members)
            ),
            Reply::Rooms { rooms, count } => {
                let rooms = rooms
                    .iter()
                    .map(|(name, count)| format!("{{\"name\":\"{name}\",\"count\":{count}}}"));
                let rooms = rooms.collect::<Vec<_>>().join(",");
                format!("{{\"type\":\"rooms\",\"count\":{count},\"rooms\":[{rooms}]}}")
            }
            Reply::ListensOn => "{\"type\":\"listens_on\"}".into(),
            Reply::Help => {
                let text = HELP.join("\n").replace('\n', "\\n");
                format!("{{\"type\":\"help\",\"text\":\"{text}\"}}")
            }
            Reply::Pong(text) => format!("{{\"type\":\"pong\",\"text\":{}}}", Quoted(text)),
            Reply::Error { code, text } => {
                format!("{{\"type\":\"error\",\"code\":\"{code}\",\"text\":{}}}", Quoted(text))
            }
        }
    }
}

/// As a line, or several. They begin with `*` or `!`, which no event does.
impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Welcome { name, .. } => {
                write!(f, "* welcome, {name}; /join ROOM to enter a room, /help for all commands")
            }
            Reply::Name(name) => write!(f, "* you are now called {name}"),
            Reply::Room { room, id, role, number, members, count } => {
                write!(f, "* you are in {room} as {}; number {number}, id {id}", role.name())?;
                List(members, *count).fmt(f)
            }
            Reply::Gap { room, from, to } => {
                write!(f, "* {room}: numbers {from} to {to} are not held any more")
            }
            Reply::NewNumbers { room } => write!(f, "* {room}: its numbers began anew"),
            Reply::Left { room } => write!(f, "* you left {room}"),
            Reply::PutOut { room, by } => write!(f, "* {by} put you out of {room}"),
            Reply::Who { room, members, count } => {
                write!(f, "* {count} in {room}")?;
                List(members, *count).fmt(f)
            }
            Reply::Rooms { rooms, count } => {
                write!(f, "* {count} rooms")?;
                rooms.iter().try_for_each(|(name, count)| write!(f, "\n*   {name} ({count})"))
            }
            Reply::ListensOn => f.write_str("* you have ended your side, and listen on"),
            Reply::Help => {
                f.write_str("* commands")?;
                HELP.iter().try_for_each(|line| write!(f, "\n*   {line}"))
            }
            Reply::Pong(text) => write!(f, "* pong {text}"),
            Reply::Error { text, .. } => write!(f, "! {text}"),
        }
    }
}

struct Members<'a>(&'a [(Name, Role)]);

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, (name, role)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{{\"name\":\"{name}\",\"role\":\"{}\"}}", role.name())?;
        }
        f.write_str("]")
    }
}

struct List<'a>(&'a [(Name, Role)], usize);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, role)) in self.0.iter().enumerate() {
            let mark = if *role == Role::Speaker { "" } else { role.name() };
            let (open, close) = if mark.is_empty() { ("", "") } else { (" (", ")") };
            write!(f, "{}{name}{open}{mark}{close}", if index > 0 { ", " } else { ": " })?;
        }
        match self.1.checked_sub(self.0.len()) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

fn text_frame(json: &str) -> Vec<u8> {
    [&frame_head(Kind::Text, json.len())[..], json.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn event_is_one_line_and_one_frame() {
        let stamp = Stamp { room: name("den"), number: 7, time_ms: 1000 };
        let event = Event::Message { name: name("anna"), text: "say \"hi\"" };
        let Encoded { line, frame } = event.encode(stamp);
        assert_eq!(line, b"[den 7] anna: say \"hi\"\n");
        let json = r#"{"type":"message","room":"den","number":7,"time":1000,"name":"anna","text":"say \"hi\""}"#;
        assert_eq!(frame, [&[0x81, json.len() as u8][..], json.as_bytes()].concat());
    }

    #[test]
    fn replies_never_look_like_events() {
        let members = [(name("anna"), Role::Operator), (name("bob"), Role::Speaker)];
        let room = name("den");
        let id = "k1";
        for reply in [
            Reply::Welcome {
                name: name("a"),
                is_fixed: false,
                message_max: 4096,
                line_max: 4160,
                rate: 10,
            },
            Reply::Room { room, id, role: Role::Viewer, number: 3, members: &members, count: 5 },
            Reply::Rooms { rooms: &[(room, 2)], count: 1 },
            Reply::Help,
            Reply::Pong("[den 1] x: y"),
            Reply::Error { code: "x", text: "[den 1] x: y" },
        ] {
            let lines = String::from_utf8(reply.line()).unwrap();
            assert!(lines.lines().all(|line| line.starts_with(['*', '!'])), "{lines}");
        }
        let who = Reply::Who { room, members: &members, count: 5 }.to_string();
        assert_eq!(who, "* 5 in den: anna (operator), bob and 3 more");
    }
}
