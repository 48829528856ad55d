//! Reads flags and `EDGELOOP_*` variables, and says in one line what is wrong with them.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches};

use super::failure::Failure;
use super::{Cli, kv};

/// Reads the command line; a variable stands in for a flag that is not given.
///
/// # Errors
/// What is wrong, for [`explain`]; or the help or version that was asked for.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(arguments)?)
}

/// Folds clap's paragraph into one line that keeps its tip, and names the variable where one is to
/// blame.
pub(crate) fn explain(error: &clap::Error, arguments: &[OsString]) -> Failure {
    let text = fold(&error.render().to_string());
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option,
        _ => return Failure::Usage(text),
    };
    // If the line is right without the variables, then a variable is wrong.
    let without_variables = each_option(command(), |option| option.env(Resettable::Reset));
    match without_variables.try_get_matches_from(arguments) {
        Ok(_) => Failure::Usage(text.replace(&format!("'{option}'"), &variable(option))),
        Err(_) => Failure::Usage(text),
    }
}

/// The command as it is shown: each help ends with where else its options can be set.
fn command() -> Command {
    let command = each_option(Cli::command(), |option| option.hide_env(true));
    let command = command.mut_subcommand(kv::NAME, kv::with_own_defaults);
    command.mut_subcommands(|command| match is_configurable(&command) {
        true => command.after_help(MORE).after_long_help(SOURCES),
        false => command,
    })
}

/// Whether the options of a command may also stand in variables and in a file. A measurement is
/// described by its command line alone.
pub(crate) fn is_configurable(command: &Command) -> bool {
    command.get_arguments().any(|option| option.get_long() == Some("config"))
}

fn each_option(command: Command, change: fn(clap::Arg) -> clap::Arg) -> Command {
    command.mut_subcommands(|command| command.mut_args(change))
}

/// The variable of an option that clap shows as `--idle-timeout <DURATION>`.
fn variable(option: &str) -> String {
    let end = option[2..].find(|c: char| c != '-' && !c.is_alphanumeric());
    let name = &option[2..end.map_or(option.len(), |end| end + 2)];
    format!("EDGELOOP_{}", name.replace('-', "_").to_uppercase())
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

  SIZE is bytes, or KiB, MiB, GiB: 512, 64KiB, 1MiB. DURATION is ms, s, m or h: 500ms, 30s, 5m.
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
        let arguments = arguments(line);
        explain(&parse(&arguments).unwrap_err(), &arguments).to_string()
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
                let env = option.get_env().unwrap().to_str().unwrap();
                assert_eq!(
                    env,
                    variable(&format!("--{name} <X>")),
                    "{} --{name}",
                    command.get_name()
                );
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
        assert!(explained("edgeloop").contains("requires a subcommand"));
    }
}
