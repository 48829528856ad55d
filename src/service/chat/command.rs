//! What people type. The same words over lines and over WebSocket.

/// A line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Text for a room, or for the one joined last.
    Say {
        room: Option<&'a str>,
        text: &'a str,
    },
    Nick(&'a str),
    /// With the last number seen, and the id of the room that it was seen in.
    Join {
        room: &'a str,
        after: Option<(u64, Option<&'a str>)>,
    },
    Leave(Option<&'a str>),
    Who(Option<&'a str>),
    Rooms,
    Role {
        name: &'a str,
        role: &'a str,
        room: Option<&'a str>,
    },
    Kick {
        name: &'a str,
        room: Option<&'a str>,
    },
    /// Who it is.
    Token(&'a str),
    Ping(&'a str),
    Help,
    Quit,
}

impl Command<'_> {
    /// Whether a client may ask for it that has not said who it is.
    pub(super) fn is_for_strangers(&self) -> bool {
        matches!(self, Command::Token(_) | Command::Ping(_) | Command::Help | Command::Quit)
    }
}

/// Why a line was not understood; for whoever typed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misunderstood {
    /// There is no such command.
    Unknown,
    /// This is how it is written.
    Usage(&'static str),
}

/// Reads one line, without its end. `None` stands for an empty one, which asks for nothing.
pub(super) fn parse(line: &str) -> Result<Option<Command<'_>>, Misunderstood> {
    // A byte order mark stands before the text of some clients, the end of a C string behind it.
    let line = line.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}'));
    let Some(command) = line.strip_prefix('/') else {
        return Ok((!line.is_empty()).then_some(Command::Say { room: None, text: line }));
    };
    if command.starts_with('/') {
        return Ok(Some(Command::Say { room: None, text: command }));
    }
    let (word, rest) = split(command);
    let mut arguments = rest.split_whitespace();
    let mut next = || arguments.next();
    let usage = Misunderstood::Usage;
    let command = match word.to_ascii_lowercase().as_str() {
        "say" => {
            let (room, text) = split(rest);
            let is_whole = !room.is_empty() && !text.is_empty();
            is_whole
                .then_some(Command::Say { room: Some(room), text })
                .ok_or(usage("/say ROOM TEXT"))?
        }
        "nick" => Command::Nick(next().ok_or(usage("/nick NAME"))?),
        "join" => {
            let form = usage("/join ROOM [NUMBER [ID]]");
            let room = next().ok_or(form)?;
            let number = next().map(|number| number.parse().map_err(|_| form)).transpose()?;
            Command::Join { room, after: number.map(|number| (number, next())) }
        }
        "leave" | "part" => Command::Leave(next()),
        "who" => Command::Who(next()),
        "rooms" => Command::Rooms,
        "role" => {
            let form = usage("/role NAME viewer|speaker|operator [ROOM]");
            let (name, role) = next().zip(next()).ok_or(form)?;
            Command::Role { name, role, room: next() }
        }
        "kick" => Command::Kick { name: next().ok_or(usage("/kick NAME [ROOM]"))?, room: next() },
        "token" => Command::Token(next().ok_or(usage("/token TOKEN"))?),
        "ping" => Command::Ping(rest),
        "help" => Command::Help,
        "quit" | "exit" => Command::Quit,
        _ => return Err(Misunderstood::Unknown),
    };
    Ok(Some(command))
}

/// The first word, and what follows it.
fn split(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// What `/help` answers.
pub(super) const HELP: &[&str] = &[
    "TEXT                speak in the room joined last; //TEXT if it begins with /",
    "/say ROOM TEXT      speak in a room",
    "/join ROOM          enter a room",
    "/join ROOM N [ID]   return to it, and get what followed number N",
    "/leave [ROOM]       leave it",
    "/who [ROOM]         who is there",
    "/rooms              which rooms there are",
    "/nick NAME          be called NAME",
    "/role NAME viewer|speaker|operator [ROOM]",
    "                    say what somebody may do, for operators",
    "/kick NAME [ROOM]   put somebody out, for operators",
    "/token TOKEN        say who you are, where that is asked for",
    "/ping [TEXT]        be answered",
    "/quit               end the connection",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_commands_are_told_apart() {
        let say = |text| Ok(Some(Command::Say { room: None, text }));
        assert_eq!(parse("hello  there \r"), say("hello  there"));
        assert_eq!(parse("//etc/hosts"), say("/etc/hosts"));
        assert_eq!(parse(" \r"), Ok(None));
        assert_eq!(parse("\u{feff}hello\r\0\r"), say("hello"));
        assert_eq!(
            parse("/say den /join x"),
            Ok(Some(Command::Say { room: Some("den"), text: "/join x" }))
        );
        assert_eq!(parse("/NICK anna"), Ok(Some(Command::Nick("anna"))));
        assert_eq!(parse("/join den"), Ok(Some(Command::Join { room: "den", after: None })));
        let after = Some((7, Some("k2")));
        assert_eq!(parse("/join den 7 k2"), Ok(Some(Command::Join { room: "den", after })));
        let kick = Command::Kick { name: "bob", room: Some("den") };
        assert_eq!(parse("/kick bob den"), Ok(Some(kick)));
    }

    #[test]
    fn what_is_not_understood_is_told_how_it_is_written() {
        assert_eq!(parse("/dance"), Err(Misunderstood::Unknown));
        assert_eq!(parse("/"), Err(Misunderstood::Unknown));
        for (line, form) in [
            ("/say den", "/say ROOM TEXT"),
            ("/nick", "/nick NAME"),
            ("/token ", "/token TOKEN"),
            ("/join", "/join ROOM [NUMBER [ID]]"),
            ("/join den last", "/join ROOM [NUMBER [ID]]"),
            ("/join den -1", "/join ROOM [NUMBER [ID]]"),
            ("/role bob", "/role NAME viewer|speaker|operator [ROOM]"),
        ] {
            assert_eq!(parse(line), Err(Misunderstood::Usage(form)), "{line}");
        }
    }
}
