//! The file of `--config`: TOML, with the long names of the options as keys.
//!
//! What all servers share stands at the top; what one service adds stands in the section of its
//! name. Every key of the file is checked, those of the other services too, so that one file can
//! serve several of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::failure::Failure;
use super::nearest::nearest;
use super::server_options::ServerOptions;

/// A configuration file, of which every key is known; an empty one if there is none.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    entries: Vec<Entry>,
}

/// The text of the file, which is read once, and by whoever asks first: a pipe says it only once.
#[derive(Debug, Default)]
pub(crate) struct ConfigText(Option<(PathBuf, io::Result<String>)>);

impl ConfigText {
    fn read(&mut self, path: &Path) -> &io::Result<String> {
        if self.0.as_ref().is_none_or(|(known, _)| known != path) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (path.into(), fs::read_to_string(path))).1
    }

    /// What the file says above its sections, as far as it can be read, whatever else is wrong with it.
    pub(crate) fn peek(&mut self, path: &Path, name: &str) -> Option<String> {
        let text = self.read(path).as_ref().ok()?;
        let (table, _wrong) = DeTable::parse_recoverable(text);
        scalar(table.get_ref().get(name)?.get_ref()).ok()
    }
}

/// A key with its value.
#[derive(Debug)]
struct Entry {
    section: String,
    name: String,
    /// File and line.
    place: String,
    value: Value,
}

#[derive(Debug)]
enum Value {
    One(String),
    List(Vec<String>),
    /// What no option takes, in a word.
    Other(&'static str),
}

/// What the file says of an option, as its parser takes it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: String,
    pub(crate) texts: Vec<String>,
}

impl ConfigFile {
    /// Reads the file, if one is named, and checks its keys: they are the options of the program's
    /// commands. `blame` adds where the file is named.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or has a key that no option has.
    pub(crate) fn open(
        path: Option<&Path>,
        text: &mut ConfigText,
        program: &Command,
        blame: impl Fn(&str) -> Failure,
    ) -> Result<ConfigFile, Failure> {
        let Some(path) = path else { return Ok(ConfigFile::default()) };
        let text = text.read(path).as_ref();
        let text =
            text.map_err(|error| blame(&format!("cannot read {}: {error}", path.display())))?;
        ConfigFile::of(path.into(), text.clone(), program)
    }

    /// A file of which the text is read already.
    ///
    /// # Errors
    /// As for [`open`](Self::open), but for the reading.
    pub(crate) fn of(
        path: PathBuf,
        text: String,
        program: &Command,
    ) -> Result<ConfigFile, Failure> {
        let mut file = ConfigFile { path, text, entries: Vec::new() };
        file.entries = file.read(&known_keys(program))?;
        Ok(file)
    }

    /// What stands in the file for the option `name` of a service.
    ///
    /// # Errors
    /// A value that is no text, number or truth value, or a list for an option that is none.
    pub(crate) fn value(
        &self,
        service: &str,
        name: &str,
        is_list: bool,
    ) -> Result<Option<Found>, Failure> {
        let is_meant = |entry: &&Entry| entry.section.is_empty() || entry.section == service;
        let mut entries = self.entries.iter().filter(is_meant);
        let Some(entry) = entries.find(|entry| entry.name == name) else { return Ok(None) };
        let place = entry.place.clone();
        let wrong = |what: &str| Err(Failure::Usage(format!("{place}: {name} is {what}")));
        let texts = match &entry.value {
            Value::One(text) => vec![text.clone()],
            Value::List(texts) if is_list => texts.clone(),
            Value::List(_) => return wrong("a list; it takes one value"),
            Value::Other(what) => return wrong(what),
        };
        Ok(Some(Found { place, texts }))
    }

    /// Whether there is a key in the section of a service.
    pub(crate) fn has_section(&self, service: &str) -> bool {
        self.entries.iter().any(|entry| entry.section == service)
    }

    /// Every key above the first section and in the sections of services.
    fn read(&self, known: &[Key]) -> Result<Vec<Entry>, Failure> {
        let table = DeTable::parse(&self.text).map_err(|error| self.explain(&error))?;
        let mut entries = Vec::new();
        for (name, value) in table.get_ref() {
            let section = known.iter().any(|key| key.section == **name.get_ref());
            match value.get_ref() {
                DeValue::Table(table) if section => {
                    for (name_inside, value) in table {
                        entries.push(self.entry(known, name.get_ref(), name_inside, value)?);
                    }
                }
                _ if section => {
                    let (place, name) = (self.place(name.span().start), name.get_ref());
                    let text =
                        format!("{place}: {name} is a section; write [{name}] above its keys");
                    return Err(Failure::Usage(text));
                }
                _ => entries.push(self.entry(known, "", name, value)?),
            }
        }
        Ok(entries)
    }

    fn entry(
        &self,
        known: &[Key],
        section: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Entry, Failure> {
        self.check_key(known, section, name)?;
        let (section, name) = (section.to_owned(), name.get_ref().as_ref().to_owned());
        let place = self.place(value.span().start);
        Ok(Entry { section, name, place, value: Value::of(value.get_ref()) })
    }

    fn check_key(
        &self,
        known: &[Key],
        section: &str,
        name: &Spanned<impl AsRef<str>>,
    ) -> Result<(), Failure> {
        let (name, place) = (name.get_ref().as_ref(), self.place(name.span().start));
        if known.iter().any(|key| key.section == section && key.name == name) {
            return Ok(());
        }
        let nearest = nearest(name, known.iter().map(|key| key.name.as_str()));
        let hint = nearest.map(|nearest| {
            // Several services may have a key of that name.
            let alike = known.iter().filter(|key| key.name == nearest);
            let is_here = alike.clone().any(|key| key.section == section);
            let places = alike.map(Key::place).collect::<Vec<_>>().join(" or ");
            let place = if is_here { String::new() } else { format!(" {places}") };
            format!("; did you mean `{nearest}`{place}?")
        });
        let hint = hint.unwrap_or_default();
        Err(Failure::Usage(format!("{place}: unknown key `{name}`{hint}")))
    }

    /// Quotes the line, since TOML's own message does not name the key.
    fn explain(&self, error: &Error) -> Failure {
        let start = error.span().map_or(0, |span| span.start);
        let quoted = self.text.lines().nth(self.line(start) - 1);
        let (place, quoted) = (self.place(start), quoted.unwrap_or_default().trim());
        let hint = match quoted.split_once('=') {
            Some((key, value)) if is_bare(value.trim()) => {
                format!("; text needs quotes: {}= \"{}\"", key, value.trim())
            }
            _ => String::new(),
        };
        Failure::Usage(format!("{place}: {} in `{quoted}`{hint}", error.message()))
    }

    fn place(&self, start: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(start))
    }

    /// Counted from 1, as editors do.
    fn line(&self, start: usize) -> usize {
        self.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
    }
}

impl Value {
    fn of(value: &DeValue<'_>) -> Value {
        let DeValue::Array(values) = value else {
            return scalar(value).map_or_else(Value::Other, Value::One);
        };
        let texts = values.iter().map(|value| scalar(value.get_ref()));
        match texts.collect::<Result<_, _>>() {
            Ok(texts) => Value::List(texts),
            Err(_) => Value::Other("a list with more in it than texts and numbers"),
        }
    }
}

/// A value as the parser of its option takes it.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        // With its radix, of which the parser of the option will say that it is no number.
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.as_str().into()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(_) => Err("a date; no option takes one"),
        DeValue::Array(_) => Err("a list in a list"),
        DeValue::Table(_) => Err("a table; it takes a value"),
    }
}

/// Whether somebody has left out the quotes.
fn is_bare(value: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ".:/-_*[]".contains(c);
    !value.is_empty() && value.chars().all(is_part)
}

/// A key that may stand in the file.
struct Key {
    /// The service, or nothing for what all servers share.
    section: String,
    name: String,
}

impl Key {
    fn place(&self) -> String {
        match self.section.as_str() {
            "" => "above the first section".into(),
            section => format!("in [{section}]"),
        }
    }
}

/// Whether the options of a command may also stand in variables and in a file. A measurement is
/// described by its command line alone.
pub(crate) fn is_configurable(command: &Command) -> bool {
    command.get_arguments().any(|option| option.get_long() == Some("config"))
}

/// The options that all servers share, whose keys stand above the sections.
pub(crate) fn shared_keys() -> Vec<String> {
    option_names(&ServerOptions::augment_args(Command::new("")))
}

/// The options of the command line, so that a new one is a key without another word.
fn known_keys(program: &Command) -> Vec<Key> {
    let shared = shared_keys();
    let mut keys: Vec<Key> = Vec::new();
    for command in program.get_subcommands().filter(|command| is_configurable(command)) {
        let own = option_names(command).into_iter().filter(|name| !shared.contains(name));
        let section = command.get_name();
        keys.extend(own.map(|name| Key { section: section.into(), name }));
    }
    keys.extend(shared.into_iter().map(|name| Key { section: String::new(), name }));
    keys
}

fn option_names(command: &Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(|option| option.get_long());
    // A file that names another file would have to be read before it is known which keys count.
    names.filter(|name| *name != "config").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::program::Cli;

    fn file(text: &str) -> Result<ConfigFile, String> {
        let text = text.into();
        let mut file = ConfigFile { path: "edgeloop.toml".into(), text, entries: Vec::new() };
        file.entries =
            file.read(&known_keys(&Cli::command())).map_err(|failure| failure.to_string())?;
        Ok(file)
    }

    fn value(text: &str, name: &str) -> Result<Vec<String>, String> {
        let found = file(text)?.value("echo", name, name == "listen");
        let found = found.map_err(|failure| failure.to_string())?;
        Ok(found.map_or_else(Vec::new, |found| found.texts))
    }

    #[test]
    fn every_option_is_a_key() {
        let text = "listen = ['a:1', 'unix:/b']\nidle-timeout = 'off'\ninput-limit = 4_096\nverbose = 1\n\
            [echo]\nlines = true\n[broadcast]\nhistory = 3\nframing = 'length'\n";
        for (name, texts) in [
            ("listen", vec!["a:1", "unix:/b"]),
            ("idle-timeout", vec!["off"]),
            ("input-limit", vec!["4096"]),
            ("verbose", vec!["1"]),
            ("lines", vec!["true"]),
            ("history", vec![]),
        ] {
            assert_eq!(value(text, name).unwrap(), texts, "{name}");
        }
    }

    #[test]
    fn unknown_key_is_named_with_its_line_and_its_neighbour() {
        for (text, error) in [
            ("\nidle-timout = '1s'", "2: unknown key `idle-timout`; did you mean `idle-timeout`?"),
            (
                "history = 1",
                "1: unknown key `history`; did you mean `history` in [broadcast] or in [chat]?",
            ),
            (
                "[echo]\nbacklog = 1",
                "2: unknown key `backlog`; did you mean `backlog` above the first section?",
            ),
            ("[echo]\n\n\nzzz = 1", "4: unknown key `zzz`"),
            ("config = 'x'", "1: unknown key `config`"),
        ] {
            assert_eq!(file(text).map(drop), Err(format!("edgeloop.toml:{error}")));
        }
    }

    #[test]
    fn value_of_a_wrong_kind_is_named_with_its_line() {
        for (text, error) in [
            ("\nbacklog = [1, 2]", "2: backlog is a list; it takes one value"),
            ("backlog = 2026-01-01", "1: backlog is a date; no option takes one"),
            ("backlog = { a = 1 }", "1: backlog is a table; it takes a value"),
            ("[backlog]\na = 1", "1: backlog is a table; it takes a value"),
        ] {
            assert_eq!(value(text, "backlog"), Err(format!("edgeloop.toml:{error}")));
        }
        let error = value("listen = [['a:1']]", "listen").unwrap_err();
        assert!(error.starts_with("edgeloop.toml:1: listen is a list with"), "{error}");
        let error = file("# a comment\nidle-timeout = 5m").unwrap_err();
        assert!(error.starts_with("edgeloop.toml:2: "), "{error}");
        assert!(error.ends_with("text needs quotes: idle-timeout = \"5m\""), "{error}");
        assert!(file("a = ").unwrap_err().starts_with("edgeloop.toml:1: "));
    }
}
