//! The values with which services would start, as a configuration file that says the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::config_file::shared_keys;
use super::sources::{Sources, default_of, unit};

/// The values of each service, by the name of the service and of the option.
#[derive(Debug, Default)]
pub(crate) struct Effective {
    values: BTreeMap<String, BTreeMap<String, Setting>>,
}

/// What an option of a service has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// In TOML; nothing where no value says it, such as a default that is a rule.
    value: Result<String, String>,
    source: String,
}

impl Effective {
    /// Adds what the options of a service have: the values that were read, or the defaults.
    pub(crate) fn add(&mut self, service: &Command, values: &ArgMatches, sources: &Sources) {
        let mut settings = BTreeMap::new();
        // A file does not name another one.
        let options = service.get_arguments().filter(|it| it.get_id() != "config");
        for option in options {
            let Some(name) = option.get_long() else { continue };
            let setting = match sources.place(name) {
                Some(source) => Setting { value: said(option, values), source },
                // What the other one says is the whole of it.
                None if sources.is_said_by_another(name) => continue,
                None => by_default(option),
            };
            settings.insert(name.to_owned(), setting);
        }
        self.values.insert(service.get_name().into(), settings);
    }

    /// The file: what all share at the top, then a section for each of the services, in the order of the
    /// help.
    pub(crate) fn to_toml(&self, services: &[&Command]) -> String {
        let shared = shared_keys();
        let mut text = String::new();
        for name in &shared {
            let settings = services.iter().filter_map(|it| self.setting(it, name));
            let settings: Vec<&Setting> = settings.collect();
            let Some(first) = settings.first() else { continue };
            match settings.iter().all(|setting| setting == first) {
                true => write_line(&mut text, name, first),
                false => self.write_each(&mut text, name, services),
            }
        }
        for service in services {
            let own = service.get_arguments().filter_map(Arg::get_long);
            let own = own.filter(|name| !shared.iter().any(|shared| shared == name));
            let own: Vec<_> =
                own.filter_map(|name| Some((name, self.setting(service, name)?))).collect();
            if !own.is_empty() {
                let _ = writeln!(text, "\n[{}]", service.get_name());
            }
            own.into_iter().for_each(|(name, setting)| write_line(&mut text, name, setting));
        }
        text
    }

    /// A key stands for all services, and these have several defaults: each has its own without the key.
    fn write_each(&self, text: &mut String, name: &str, services: &[&Command]) {
        for service in services {
            let Some(Setting { value, source }) = self.setting(service, name) else { continue };
            let (Ok(value) | Err(value)) = value;
            let _ = writeln!(text, "# {name}: {value} with {} # {source}", service.get_name());
        }
    }

    fn setting(&self, service: &Command, name: &str) -> Option<&Setting> {
        self.values.get(service.get_name())?.get(name)
    }
}

fn write_line(text: &mut String, name: &str, setting: &Setting) {
    let source = in_a_comment(&setting.source);
    let _ = match &setting.value {
        Ok(value) => writeln!(text, "{name} = {value} # {source}"),
        Err(rule) => writeln!(text, "# {name}: {} # {source}", in_a_comment(rule)),
    };
}

/// The words that the option was given, as its parser takes them.
fn said(option: &Arg, values: &ArgMatches) -> Result<String, String> {
    let id = option.get_id().as_str();
    if matches!(option.get_action(), ArgAction::Count) {
        // A key stands for as many flags as have an effect.
        return Ok(values.get_count(id).min(9).to_string());
    }
    let words = values.get_raw(id).into_iter().flatten();
    let words = words.map(|word| word.to_str().ok_or(word));
    match words.collect::<Result<Vec<&str>, &OsStr>>() {
        Err(word) => Err(format!("{} is no text in UTF-8", word.display())),
        // The file says the default, which is not handed on.
        Ok(words) if words.is_empty() => by_default(option).value,
        Ok(words) => Ok(in_toml(option, &words)),
    }
}

fn by_default(option: &Arg) -> Setting {
    let default = default_of(option).unwrap_or_else(|| "none".into());
    let value = match is_value(option, &default) {
        true => Ok(in_toml(option, &[&default])),
        false => Err(default),
    };
    Setting { value, source: "default".into() }
}

/// Whether the words for a default are a value that the option takes.
fn is_value(option: &Arg, default: &str) -> bool {
    if default == "none" {
        return false;
    }
    if matches!(option.get_action(), ArgAction::Count) {
        return default.parse::<u8>().is_ok();
    }
    // The parser alone: what the option is required or forbidden beside does not matter.
    let alone = Arg::new("value")
        .long("value")
        .action(option.get_action().clone())
        .value_parser(option.get_value_parser().clone())
        .value_delimiter(option.get_value_delimiter());
    let alone = match option.get_num_args() {
        Some(number) => alone.num_args(number),
        None => alone,
    };
    let alone = Command::new("default").no_binary_name(true).arg(alone);
    alone.try_get_matches_from([format!("--value={default}")]).is_ok()
}

fn in_toml(option: &Arg, words: &[&str]) -> String {
    let is_count = matches!(option.get_action(), ArgAction::Count);
    let is_bare = |word: &str| match unit(option).as_str() {
        "BOOL" => ["true", "false"].contains(&word),
        "N" | "PORT" => is_plain_number(word),
        _ => is_count && is_plain_number(word),
    };
    let words = words.iter().map(|word| match is_bare(word) {
        true => (*word).to_owned(),
        false => quoted(word),
    });
    let words = words.collect::<Vec<_>>().join(", ");
    match option.get_action() {
        ArgAction::Append => format!("[{words}]"),
        _ => words,
    }
}

fn is_plain_number(word: &str) -> bool {
    word.parse().is_ok_and(|number: u32| number.to_string() == word)
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut string = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(string, "\\{c}"),
            _ if c.is_control() => write!(string, "\\u{:04X}", c as u32),
            _ => write!(string, "{c}"),
        };
    }
    string + "\""
}

/// A comment ends with its line, whatever a file is called.
fn in_a_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::config_file::is_configurable;
    use crate::cli::program::Cli;

    #[test]
    fn each_option_of_each_service_has_a_default_or_a_rule_whatever_it_is_required_beside() {
        let mut program = Cli::command();
        program.build();
        for service in program.get_subcommands().filter(|it| is_configurable(it)) {
            for option in service.get_arguments().filter(|it| it.get_long().is_some()) {
                let value = by_default(option).value;
                let is_path = unit(option) == "FILE" || unit(option) == "PATH";
                assert!(!is_path || value == Err("none".into()), "{option}: {value:?}");
            }
        }
    }

    fn option(name: &str) -> Arg {
        let program = Cli::command();
        let mut options = program.get_subcommands().flat_map(Command::get_arguments);
        options.find(|option| option.get_long() == Some(name)).unwrap().clone()
    }

    #[test]
    fn default_that_is_a_rule_is_no_value() {
        for (name, value) in [
            ("listen", Ok("[\"127.0.0.1:7000\"]")),
            ("backlog", Ok("4096")),
            ("idle-timeout", Ok("\"off\"")),
            ("reuse-port", Ok("false")),
            ("verbose", Ok("0")),
            ("port-file", Err("none")),
            ("max-connections", Err("what the descriptor limit allows")),
            ("max-request-line", Err("8KiB, or --max-head if that is less")),
        ] {
            let value = value.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(by_default(&option(name)).value, value, "{name}");
        }
    }

    #[test]
    fn text_is_quoted_so_that_it_reads_back() {
        let text = "a\"b\\c\n\u{7f}d\u{85}ä";
        let line = format!("x = {}", quoted(text));
        let table = toml::de::DeTable::parse(&line).unwrap();
        assert_eq!(table.get_ref().get("x").unwrap().get_ref().as_str(), Some(text));
        assert_eq!(in_toml(&option("socket-mode"), &["0660"]), "\"0660\"");
        assert_eq!(in_toml(&option("backlog"), &["10k"]), "\"10k\"");
    }
}
