//! The file of `--config`: TOML, with the long names of the options as keys.
//!
//! What all servers share stands at the top; what one service adds stands in the section of its
//! name. Every key of the file is checked, those of the other services too, so that one file can
//! serve several of them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error, ValueDeserializer};

use super::Cli;
use super::command_line::is_configurable;
use super::failure::Failure;
use super::server_options::ServerOptions;

/// The text of a configuration file, of which every key is known; an empty one if there is none.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads the file, if one is named, and checks its keys.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or has a key that no option has.
    pub(crate) fn open(path: Option<&Path>) -> Result<ConfigFile, Failure> {
        let Some(path) = path else { return Ok(ConfigFile::default()) };
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
        let file = ConfigFile { path: path.into(), text };
        file.check_keys(&known_keys())?;
        Ok(file)
    }

    /// What all servers share: the keys above the first section.
    ///
    /// # Errors
    /// A value that its option does not take.
    pub(crate) fn shared(&self) -> Result<ServerOptions, Failure> {
        let mut table = self.table()?;
        for command in Cli::command().get_subcommands() {
            table.get_mut().remove(command.get_name());
        }
        let options = ServerOptions::deserialize(Deserializer::from(table));
        options.map_err(|error| self.explain(&error))
    }

    /// What the service of that name adds.
    ///
    /// # Errors
    /// As for [`shared`](Self::shared).
    pub(crate) fn section<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Failure> {
        match self.table()?.get_mut().remove(name) {
            Some(value) => {
                T::deserialize(ValueDeserializer::from(value)).map_err(|error| self.explain(&error))
            }
            None => Ok(T::default()),
        }
    }

    fn table(&self) -> Result<Spanned<DeTable<'_>>, Failure> {
        DeTable::parse(&self.text).map_err(|error| self.explain(&error))
    }

    fn check_keys(&self, known: &[Key]) -> Result<(), Failure> {
        for (name, value) in self.table()?.get_ref() {
            let section = known.iter().any(|key| key.section == **name.get_ref());
            match value.get_ref() {
                DeValue::Table(table) if section => {
                    for name_inside in table.keys() {
                        self.check_key(known, name.get_ref(), name_inside)?;
                    }
                }
                _ => self.check_key(known, "", name)?,
            }
        }
        Ok(())
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
        let likeness = |key: &&Key| strsim::jaro_winkler(&key.name, name);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let hint = nearest.filter(|key| likeness(key) > ALIKE).map(|nearest| {
            // Several services may have a key of that name.
            let alike = known.iter().filter(|key| key.name == nearest.name);
            let is_here = alike.clone().any(|key| key.section == section);
            let places = alike.map(Key::place).collect::<Vec<_>>().join(" or ");
            let place = if is_here { String::new() } else { format!(" {places}") };
            format!("; did you mean `{}`{place}?", nearest.name)
        });
        let hint = hint.unwrap_or_default();
        Err(Failure::Usage(format!("{place}: unknown key `{name}`{hint}")))
    }

    /// Quotes the line, since TOML's own message does not name the key.
    fn explain(&self, error: &Error) -> Failure {
        let start = error.span().map_or(0, |span| span.start);
        let quoted = self.text.lines().nth(self.line(start) - 1);
        let (place, quoted) = (self.place(start), quoted.unwrap_or_default().trim());
        Failure::Usage(format!("{place}: {} in `{quoted}`", error.message()))
    }

    fn place(&self, start: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(start))
    }

    /// Counted from 1, as editors do.
    fn line(&self, start: usize) -> usize {
        self.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
    }
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

/// The options of the command line, so that a new one is a key without another word.
fn known_keys() -> Vec<Key> {
    let shared = option_names(&ServerOptions::augment_args(Command::new("")));
    let mut keys: Vec<Key> = Vec::new();
    let commands = Cli::command();
    for command in commands.get_subcommands().filter(|command| is_configurable(command)) {
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

/// A slip of the finger is about 0.95; what is below this only shares some letters.
const ALIKE: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let file = ConfigFile { path: "edgeloop.toml".into(), text: text.into() };
        let checked = file.check_keys(&known_keys()).and_then(|()| file.shared());
        checked.map(|_| ()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn every_option_is_a_key() {
        let text = "listen = ['a:1', 'unix:/b']\nidle-timeout = 'off'\ninput-limit = 4096\nverbose = 1\n\
            [echo]\nlines = true\n[broadcast]\nhistory = 3\n";
        assert_eq!(checked(text), Ok(()));
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
            assert_eq!(checked(text), Err(format!("edgeloop.toml:{error}")));
        }
    }

    #[test]
    fn bad_value_is_named_with_its_line() {
        let error = checked("backlog = 1\ninput-limit = '12x'").unwrap_err();
        assert!(error.starts_with("edgeloop.toml:2: `12x` is no size"), "{error}");
        assert!(error.ends_with("in `input-limit = '12x'`"), "{error}");
        assert!(checked("a = ").unwrap_err().starts_with("edgeloop.toml:1: "));
    }
}
