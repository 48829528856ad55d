//! Reads flags, `EDGELOOP_*` variables and the configuration file, and says in one line what is
//! wrong with them.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::config_file::{ConfigText, is_configurable};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::program::Cli;
use super::sources::{Beside, Sources};
use super::{kv, variables};

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The help or the version was asked for.
    Asked(clap::Error),
    /// Something is wrong.
    Wrong(Failure),
}

/// Reads the command line; a variable stands in for a flag that is not given, and a key of the file
/// for a variable.
///
/// # Errors
/// What is wrong; or the help or version that was asked for.
pub(crate) fn read(arguments: &[OsString], text: &mut ConfigText) -> Result<(Cli, Sources), Stop> {
    let (cli, sources, _matches) = read_beside(arguments, text, &Beside::default())?;
    Ok((cli, sources))
}

/// The same, with what is to be read beside the flags; and the words behind each option.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_beside(
    arguments: &[OsString],
    text: &mut ConfigText,
    beside: &Beside,
) -> Result<(Cli, Sources, ArgMatches), Stop> {
    let arguments = &with_negative_numbers(arguments);
    let parse = |arguments: &[OsString], sources: &Sources| {
        let matches = without_variables().try_get_matches_from(arguments);
        matches.map_err(|error| explain(error, arguments, sources))
    };
    let flags = parse(arguments, &Sources::default())?;
    let sources = gather(&flags, text, beside).map_err(Stop::Wrong)?;
    // The command comes first, since nothing before it takes a value.
    let (start, end) = arguments.split_at(arguments.len().min(2));
    let all = [start, sources.arguments(), end].concat();
    let matches = parse(&all, &sources)?;
    let cli = Cli::from_arg_matches(&matches);
    cli.map(|cli| (cli, sources, matches)).map_err(Stop::Asked)
}

/// The port file that the command line of a server names which is wrong in something else.
pub(crate) fn port_file(arguments: &[OsString], text: &mut ConfigText) -> Option<PathBuf> {
    let name = arguments.get(1)?;
    Cli::command().find_subcommand(name).filter(|command| is_configurable(command))?;
    let path = |option: &str| {
        let flag = flag_value(arguments, &format!("--{option}"));
        flag.or_else(|| variables::read(&variables::name_of(option))).map(PathBuf::from)
    };
    path("port-file").or_else(|| text.peek(&path("config")?, "port-file").map(PathBuf::from))
}

/// What stands behind a flag on a line that need not be right.
fn flag_value(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let value =
        |(place, argument): (usize, &OsString)| match argument.to_str()?.strip_prefix(flag)? {
            "" => arguments.get(place + 1).cloned(),
            rest => rest.strip_prefix('=').map(OsString::from),
        };
    arguments.iter().enumerate().find_map(value)
}

fn gather(flags: &ArgMatches, text: &mut ConfigText, beside: &Beside) -> Result<Sources, Failure> {
    let program = command();
    let chosen = flags.subcommand();
    let chosen = chosen.and_then(|(name, flags)| Some((program.find_subcommand(name)?, flags)));
    match chosen {
        Some((command, flags)) if is_configurable(command) => {
            Sources::gather(&program, command, flags, text, beside)
        }
        Some((command, flags)) => Ok(Sources::of_flags(command, flags)),
        None => Ok(Sources::default()),
    }
}

/// clap takes `-1s` for a flag. No flag is a digit, so it is the value of the flag before it.
fn with_negative_numbers(arguments: &[OsString]) -> Vec<OsString> {
    let is_number = |text: &OsStr| {
        let bytes = text.as_encoded_bytes();
        bytes.first() == Some(&b'-') && bytes.get(1).is_some_and(u8::is_ascii_digit)
    };
    let is_flag = |text: &OsString| {
        let bytes = text.as_encoded_bytes();
        bytes.len() > 1 && bytes[0] == b'-' && bytes != b"--" && !bytes.contains(&b'=')
    };
    let mut joined: Vec<OsString> = Vec::new();
    for argument in arguments {
        match joined.last_mut() {
            Some(flag) if is_number(argument) && is_flag(flag) => {
                flag.push("=");
                flag.push(argument);
            }
            _ => joined.push(argument.clone()),
        }
    }
    joined
}

/// Folds clap's paragraph into one line that keeps its tip, and names the place of the value that
/// is to blame.
fn explain(error: clap::Error, arguments: &[OsString], sources: &Sources) -> Stop {
    if !error.use_stderr() {
        return Stop::Asked(error);
    }
    let text = fold(&error.render().to_string());
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (option, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    Stop::Wrong(match error.kind() {
        ErrorKind::ValueValidation => {
            sources.blame_value(long_name(option), &why(&error, option, value))
        }
        ErrorKind::InvalidValue if !value.is_empty() => {
            // What clap says after the name: the values that are possible, and a tip.
            let rest = text.split_once(&format!("'{option}' ")).map_or("", |(_, rest)| rest);
            sources
                .blame_value(long_name(option), &format!("`{value}` is none of its values {rest}"))
        }
        ErrorKind::InvalidUtf8 => {
            let stray = arguments.iter().find(|argument| argument.to_str().is_none());
            let stray = stray.map(|stray| stray.to_string_lossy()).unwrap_or_default();
            Failure::Usage(format!("`{stray}` is no text in UTF-8"))
        }
        ErrorKind::UnknownArgument if option.parse::<Endpoint>().is_ok() => {
            Failure::Usage(format!("{text}; to listen there write --listen {option}"))
        }
        ErrorKind::UnknownArgument if !text.contains("tip: ") => {
            Failure::Usage(format!("{text}; --help lists what there is"))
        }
        ErrorKind::MissingRequiredArgument if text.contains("<TARGET>") => {
            Failure::Usage(format!("{text}; as in edgeloop load 127.0.0.1:7000"))
        }
        ErrorKind::InvalidSubcommand => {
            Failure::Usage(format!("{text}; edgeloop alone lists them all"))
        }
        _ => Failure::Usage(text),
    })
}

/// What the option's parser says, which quotes the value.
fn why(error: &clap::Error, option: &str, value: &str) -> String {
    if option.trim_end_matches(']').ends_with("<BOOL>") {
        return format!("`{value}` is neither true nor false; write one of them");
    }
    error.source().map(ToString::to_string).unwrap_or_default()
}

/// The long name of an option that clap shows as `--idle-timeout <DURATION>`.
fn long_name(option: &str) -> &str {
    let name = option.trim_start_matches('-');
    name.split(|c: char| c != '-' && !c.is_alphanumeric()).next().unwrap_or_default()
}

/// The command as it is shown: each help ends with where else its options can be set.
pub(crate) fn command() -> Command {
    let command = each_option(Cli::command(), |option| option.hide_env(true));
    let command = command.mut_subcommand(kv::NAME, kv::with_own_defaults);
    let configurable = command.get_subcommands().filter(|command| is_configurable(command));
    let names: Vec<String> = configurable.map(|it| it.get_name().to_owned()).collect();
    let command = command.mut_subcommand("check-config", |check| {
        check.mut_arg("service", |option| option.value_parser(PossibleValuesParser::new(names)))
    });
    command.mut_subcommands(|command| match is_configurable(&command) {
        true => command.after_help(MORE).after_long_help(SOURCES),
        false => command,
    })
}

/// Only flags are read from what clap is given; see [`Sources`].
fn without_variables() -> Command {
    each_option(command(), |option| option.env(Resettable::Reset))
}

fn each_option(command: Command, change: fn(clap::Arg) -> clap::Arg) -> Command {
    command.mut_subcommands(|command| command.mut_args(change))
}

fn fold(paragraphs: &str) -> String {
    let text = paragraphs.strip_prefix("error: ").unwrap_or(paragraphs);
    let end =
        ["\nUsage:", "\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let lines = text[..end.unwrap_or(text.len())].lines().map(str::trim);
    let mut line = String::new();
    for part in lines.filter(|part| !part.is_empty()) {
        let glue = if part.starts_with("tip:") { "; " } else { " " };
        line.push_str(if line.is_empty() { "" } else { glue });
        line.push_str(part);
    }
    line
}

const MORE: &str = "--help tells as well about variables, the configuration file and signals.";

const SOURCES: &str = "\
Where values come from:
  A flag wins over its variable, that over its key in the --config file, that over the default.
  The variable of --idle-timeout is EDGELOOP_IDLE_TIMEOUT, its key in the file is idle-timeout.
  What only one service has stands in a section of its own:

      listen = [\"0.0.0.0:7000\", \"unix:/run/edgeloop.sock\"]
      idle-timeout = \"5m\"
      [broadcast]
      history = 10

  SIZE is bytes, or KiB, MiB, GiB: 512, 64KiB, 1MiB. DURATION is ms, s, m or h: 500ms, 30s, 5m; a
  number alone is seconds. N may end in k, M or G: 10k is 10000. An empty variable is unset.
  RUST_LOG sets log levels by module, and wins over -v and -q. NO_COLOR is honoured.

Signals:
  SIGTERM or SIGINT stops accepting, lets what is in flight finish, and ends with exit code 0, or 1
  when --drain-timeout cut somebody off. A second one ends the process at once. SIGUSR1 logs the
  counters.";

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn explained(line: &str) -> String {
        match read(&arguments(line), &mut ConfigText::default()).unwrap_err() {
            Stop::Wrong(failure) => failure.to_string(),
            Stop::Asked(shown) => panic!("{shown}"),
        }
    }

    #[test]
    fn definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_has_the_variable_of_its_name() {
        let commands = Cli::command();
        let commands = commands.get_subcommands();
        for command in commands.filter(|command| is_configurable(command)) {
            for option in command.get_arguments() {
                let name = option.get_long().unwrap();
                let env = option.get_env().map(|env| env.to_str().unwrap());
                // Kubernetes has that of --port for itself.
                let expected = variables::name_of(name);
                let expected = (name != "port").then_some(expected.as_str());
                assert_eq!(env, expected, "{} --{name}", command.get_name());
            }
        }
    }

    #[test]
    fn every_number_may_be_written_short() {
        for command in command().get_subcommands() {
            for option in command.get_arguments().filter(|option| option.get_long().is_some()) {
                let unit = option.get_value_names().and_then(|names| names.first());
                let value = match unit.map(|unit| unit.as_str()) {
                    Some("N") => "1k",
                    Some("SIZE") => "64k",
                    Some("DURATION") => "10",
                    _ => continue,
                };
                let (command, name) = (command.get_name(), option.get_long().unwrap());
                let target = if command == "load" { " 127.0.0.1:1" } else { "" };
                let line = format!("edgeloop {command} --{name} {value}{target}");
                without_variables().try_get_matches_from(arguments(&line)).expect(&line);
            }
        }
    }

    #[test]
    fn mistakes_are_one_line_with_the_tip() {
        let line = explained("edgeloop echo --lisen 1");
        assert!(line.starts_with("unexpected argument '--lisen' found; tip: "), "{line}");
        assert!(line.ends_with("'--listen'"), "{line}");
        let line = explained("edgeloop echo --when-full no");
        assert!(line.ends_with("[possible values: wait, refuse]"), "{line}");
        let line = explained("edgeloop echo 7000");
        assert!(line.ends_with("write --listen 7000"), "{line}");
    }

    #[test]
    fn negative_numbers_are_values() {
        for (line, joined) in [
            ("edgeloop load -d -1s", "edgeloop load -d=-1s"),
            ("edgeloop echo --backlog -5 -v", "edgeloop echo --backlog=-5 -v"),
            ("edgeloop echo --backlog=-5", "edgeloop echo --backlog=-5"),
            ("edgeloop load h:1 -5", "edgeloop load h:1 -5"),
            ("edgeloop load -- -5", "edgeloop load -- -5"),
        ] {
            assert_eq!(with_negative_numbers(&arguments(line)), arguments(joined));
        }
        let line = explained("edgeloop echo --idle-timeout -1s");
        assert!(line.starts_with("--idle-timeout: `-1s` is no duration: it is negative"), "{line}");
    }
}
