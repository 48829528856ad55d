//! `edgeloop check-config`: what a start would say, without the start.
//!
//! Each service that is checked is read, checked and resolved by the very code that starts it, up to the
//! point at which a listener would be made.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::command_line::{self, Stop};
use super::config_file::{ConfigFile, ConfigText, is_configurable};
use super::effective::Effective;
use super::failure::Failure;
use super::program::{self, CheckConfig};
use super::sources::{Beside, Sources};
use super::stdout;
use super::trial::Trial;

/// Prints the values with which the services would start.
///
/// # Errors
/// What is wrong for the first service that would not start.
pub(crate) fn run(check: &CheckConfig) -> Result<ExitCode, Failure> {
    let (name, text) = read(&check.file)?;
    let program = command_line::command();
    let services = services(check, &program, &name, &text)?;
    let mut effective = Effective::default();
    let mut remarks: Vec<String> = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let trial = Trial::default();
        let beside = Beside {
            file: Some((name.clone(), text.clone())),
            no_variables: check.no_env,
            trial: Some(trial.clone()),
        };
        let (sources, values) = match try_start(service, &check.options, &beside) {
            Err(Stop::Asked(shown)) => return stdout::print(shown.render().to_string().as_bytes()),
            Err(Stop::Wrong(failure)) if index == 0 => return Err(failure),
            Err(Stop::Wrong(failure)) => return Err(of_service(&failure, service.get_name())),
            Ok(started) => started,
        };
        effective.add(service, &values, &sources);
        remarks.extend(trial.take_remarks());
    }
    tell(remarks);
    stdout::print(effective.to_toml(&services).as_bytes())
}

/// The services to check: the one that is named, or those that have a section, or all.
fn services<'a>(
    check: &CheckConfig,
    program: &'a Command,
    name: &Path,
    text: &str,
) -> Result<Vec<&'a Command>, Failure> {
    let all = program.get_subcommands().filter(|command| is_configurable(command));
    if let Some(service) = &check.service {
        return Ok(all.filter(|command| command.get_name() == service).collect());
    }
    if !check.options.is_empty() {
        let text =
            "what stands behind -- are flags of one service; name it, as with --service echo";
        return Err(Failure::Usage(text.into()));
    }
    let file = ConfigFile::of(name.into(), text.into(), program)?;
    let all: Vec<&Command> = all.collect();
    let mut named = all.clone();
    named.retain(|command| file.has_section(command.get_name()));
    Ok(if named.is_empty() { all } else { named })
}

/// Goes as far as the start of a service goes before it listens. Returns what its options were given.
fn try_start(
    service: &Command,
    options: &[OsString],
    beside: &Beside,
) -> Result<(Sources, ArgMatches), Stop> {
    let start = ["edgeloop", service.get_name()].map(OsString::from);
    let arguments = [&start, options].concat();
    let (cli, sources, matches) =
        command_line::read_beside(&arguments, &mut ConfigText::default(), beside)?;
    if let program::Command::Serve(service) = cli.command {
        service.run(sources.clone()).map_err(Stop::Wrong)?;
    }
    let values = matches.subcommand().map(|(_, values)| values.clone());
    Ok((sources, values.unwrap_or_default()))
}

/// What is wrong for a service, while nothing was for another one.
fn of_service(failure: &Failure, service: &str) -> Failure {
    let told = |text: &str| format!("{text}; so says {service}: name yours with --service");
    match failure {
        Failure::Usage(text) => Failure::Usage(told(text)),
        Failure::System(text) => Failure::System(told(text)),
    }
}

/// Reads the file, once: a pipe has what is in it no second time.
fn read(file: &Path) -> Result<(PathBuf, String), Failure> {
    let mut text = String::new();
    let (name, read) = match file == Path::new("-") {
        true => ("stdin".into(), io::stdin().read_to_string(&mut text).map(|_| text)),
        false => (file.to_owned(), fs::read_to_string(file)),
    };
    let cannot = |error| Failure::Usage(format!("cannot read {}: {error}", name.display()));
    read.map_err(cannot).map(|text| (name.clone(), text))
}

/// Tells stderr what a start would have warned of, each once.
fn tell(remarks: Vec<String>) {
    let mut told: Vec<String> = Vec::new();
    for remark in remarks {
        if !told.contains(&remark) {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "edgeloop: warning: {remark}");
            told.push(remark);
        }
    }
}
