//! Where the value of each option stands: in a flag, a variable, or a line of the file.
//!
//! Variables and the file are read as if they had been flags, so that one parser serves all three.
//! The place of each value is kept beside it, because what is wrong with a value often shows only
//! beside another one, long after it was read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::config_file::{ConfigFile, ConfigText};
use super::failure::Failure;
use super::size::Size;
use super::span::Span;
use super::trial::Trial;
use super::variables;

/// What was said for one command besides its flags, and where everything was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// By the long name of the option. An option that is not here has its default.
    places: BTreeMap<String, Place>,
    /// What variables and the file say, as flags would say it.
    arguments: Vec<OsString>,
    /// What the options of the command take, such as SIZE, by long name.
    units: BTreeMap<String, String>,
    /// The variables that some command of the program reads.
    variables: Vec<String>,
    /// Takes the place of the start itself.
    trial: Option<Trial>,
}

/// What is read beside the flags.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// A file that is read already, with the name by which it is blamed. It stands for that of `--config`.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Variables count as unset.
    pub(crate) no_variables: bool,
    /// Nothing is to be started.
    pub(crate) trial: Option<Trial>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the command line.
    Flag,
    /// In the variable of its option.
    Variable,
    /// In the file: its name and the line.
    Line(String),
}

impl Sources {
    /// The flags alone.
    pub(crate) fn of_flags(command: &Command, flags: &ArgMatches) -> Sources {
        let mut sources = Sources::default();
        for option in command.get_arguments().filter(|option| option.get_long().is_some()) {
            sources.units.insert(long(option), unit(option));
            if flags.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine) {
                sources.places.insert(long(option), Place::Flag);
            }
        }
        sources
    }

    /// Adds to the flags of a command of the program what variables and the file say of its other options.
    ///
    /// # Errors
    /// What is wrong with the file, or with a value as far as that can be told without its parser.
    pub(crate) fn gather(
        program: &Command,
        command: &Command,
        flags: &ArgMatches,
        text: &mut ConfigText,
        beside: &Beside,
    ) -> Result<Sources, Failure> {
        let mut sources = Sources::of_flags(command, flags);
        sources.trial.clone_from(&beside.trial);
        sources.check_partners()?;
        if !beside.no_variables {
            sources.variables = variables_of(program);
            sources.add(command, Said::in_variable)?;
        }
        let file = sources.file(program, flags, text, beside)?;
        sources.add(command, |option| Said::in_file(option, command.get_name(), &file))?;
        Ok(sources)
    }

    fn file(
        &self,
        program: &Command,
        flags: &ArgMatches,
        text: &mut ConfigText,
        beside: &Beside,
    ) -> Result<ConfigFile, Failure> {
        let path = flags.get_one::<PathBuf>("config").cloned();
        let blame = |why: &str| self.blame_value("config", why);
        match (&beside.file, path) {
            (Some(_), Some(_)) => Err(blame("the file to check is named already")),
            (Some((path, text)), None) => ConfigFile::of(path.clone(), text.clone(), program),
            (None, path) => {
                let variable = || variables::read(&variables::name_of("config")).map(PathBuf::from);
                ConfigFile::open(path.or_else(variable).as_deref(), text, program, blame)
            }
        }
    }

    /// What takes the place of the start, if nothing is to be started.
    pub(crate) fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// Where the value of an option stands; nothing for the default.
    pub(crate) fn place(&self, option: &str) -> Option<String> {
        Some(match self.places.get(option)? {
            Place::Flag => "flag".into(),
            Place::Variable => variables::name_of(option),
            Place::Line(place) => place.clone(),
        })
    }

    /// Whether an option that was not given is one setting with another one, which says all of it.
    pub(crate) fn is_said_by_another(&self, option: &str) -> bool {
        let mut partners = PARTNERS.iter().filter(|pair| pair.contains(&option)).flatten();
        option == SHORT_FORM || partners.any(|partner| self.places.contains_key(*partner))
    }

    /// What is to stand beside the flags.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// A warning for each variable that looks like ours and is that of no option.
    pub(crate) fn stray_variables(&self) -> Vec<String> {
        variables::strays(&self.variables)
    }

    /// What is wrong with the value of one option, with its place in front.
    pub(crate) fn blame_value(&self, option: &str, why: &str) -> Failure {
        Failure::Usage(match self.places.get(option) {
            Some(Place::Line(place)) => format!("{place}: {option}: {why}"),
            Some(Place::Variable) => format!("{}: {why}", variables::name_of(option)),
            Some(Place::Flag) | None => format!("--{option}: {why}"),
        })
    }

    /// What a check found after all values were read: a sentence that begins with the name of an
    /// option, or of the library's field for it, and may name others. Each name becomes the place
    /// where its value stands, and numbers get the unit of the first one.
    pub(crate) fn blame(&self, sentence: &str) -> Failure {
        let (name, rest) = sentence.split_once(' ').unwrap_or((sentence, ""));
        let Some(option) = self.option_of(name) else { return Failure::Usage(sentence.into()) };
        let unit = self.units.get(&option).map_or("", String::as_str);
        let rest = in_unit(rest, unit);
        let rest: Vec<String> = rest.split(' ').map(|word| self.word(word)).collect();
        let rest = rest.join(" ");
        Failure::Usage(match self.places.get(&option) {
            Some(Place::Line(place)) => format!("{place}: {option} {rest}"),
            Some(Place::Variable) => format!("{} {rest}", variables::name_of(&option)),
            Some(Place::Flag) => format!("--{option} {rest}"),
            None => format!("--{option}, which was not given, {rest}"),
        })
    }

    /// An option by the place of its value: the flag, the variable, or its key with file and line.
    pub(crate) fn name(&self, option: &str) -> String {
        match self.places.get(option) {
            Some(Place::Line(place)) => format!("{option} ({place})"),
            Some(Place::Variable) => variables::name_of(option),
            Some(Place::Flag) | None => format!("--{option}"),
        }
    }

    /// A word of a sentence: if it names an option, then the place of its value.
    fn word(&self, word: &str) -> String {
        let name = word.trim_end_matches([',', ';', ':']);
        let is_name = name.contains(['_', '-']) && !name.starts_with('-');
        match self.option_of(name).filter(|_| is_name) {
            Some(option) => format!("{}{}", self.name(&option), &word[name.len()..]),
            None => word.into(),
        }
    }

    /// The option that a field of the library belongs to: the field's last word is its unit or its
    /// qualifier, as in `connections_max`.
    fn option_of(&self, name: &str) -> Option<String> {
        let option = name.replace('_', "-");
        let turned = option.strip_suffix("-max").map(|what| format!("max-{what}"));
        let singular = option.strip_suffix('s').map(str::to_owned);
        // What the load generator calls the time for a reply.
        let plain = option.strip_prefix("reply-").map(str::to_owned);
        // What a greeting is to users.
        let known = option.strip_prefix("greeting-").map(|what| format!("handshake-{what}"));
        let names = [Some(option.clone()), turned, singular, plain, known];
        names.into_iter().flatten().find(|name| self.units.contains_key(name))
    }

    /// Takes what one source says of the options of which no stronger one has said anything, neither
    /// with the option itself nor with its partner.
    fn add(
        &mut self,
        command: &Command,
        read: impl Fn(&Arg) -> Result<Option<Said>, Failure>,
    ) -> Result<(), Failure> {
        let is_settled = |name: &str| {
            let partners = PARTNERS.iter().filter(|pair| pair.contains(&name));
            self.places.contains_key(name)
                || partners.flatten().any(|partner| self.places.contains_key(*partner))
        };
        let open = command.get_arguments().filter(|option| !is_settled(&long(option)));
        let said: Vec<Said> =
            open.filter_map(|option| read(option).transpose()).collect::<Result<_, _>>()?;
        for said in said {
            self.places.insert(said.option, said.place);
            self.arguments.extend(said.arguments);
        }
        self.check_partners()
    }

    /// Two ways to say where to listen would be two answers.
    fn check_partners(&self) -> Result<(), Failure> {
        let are_both = |pair: [&str; 2]| pair.iter().all(|it| self.places.contains_key(*it));
        if are_both([SHORT_FORM, "listen"]) {
            return Err(self.blame(
                "port is short for an address of --listen, which is given as well; write all of them \
                 there, as in --listen 7000,unix:/run/edgeloop.sock",
            ));
        }
        if are_both(USERS) {
            return Err(self.blame(
                "password-file is given beside acl-file; write the password into the latter, as in \
                 user default on >PASSWORD ~* &* +@all",
            ));
        }
        Ok(())
    }
}

/// The variables that some command of a program reads.
fn variables_of(program: &Command) -> Vec<String> {
    let options = program.get_subcommands().flat_map(Command::get_arguments);
    options.filter_map(|option| option.get_env()?.to_str().map(str::to_owned)).collect()
}

/// What one source says of one option.
struct Said {
    option: String,
    place: Place,
    arguments: Vec<OsString>,
}

impl Said {
    fn in_variable(option: &Arg) -> Result<Option<Said>, Failure> {
        let Some(name) = option.get_env().and_then(|name| name.to_str()) else { return Ok(None) };
        let Some(value) = variables::read(name) else { return Ok(None) };
        let is_path = ["PATH", "FILE"].contains(&unit(option).as_str());
        if value.to_str().is_none() && !is_path {
            let text = format!("{name}: `{}` is no text in UTF-8", value.to_string_lossy());
            return Err(Failure::Usage(text));
        }
        let arguments = as_flags(option, vec![value]);
        let arguments = arguments.map_err(|why| Failure::Usage(format!("{name}: {why}")))?;
        Ok(Some(Said { option: long(option), place: Place::Variable, arguments }))
    }

    fn in_file(option: &Arg, service: &str, file: &ConfigFile) -> Result<Option<Said>, Failure> {
        let name = long(option);
        let is_list = matches!(option.get_action(), ArgAction::Append);
        let value = file.value(service, &name, is_list)?;
        // An empty list says as much as no key.
        let Some(value) = value.filter(|value| !value.texts.is_empty()) else { return Ok(None) };
        // A key that says the default says nothing: a file that lists all values changes nothing.
        let is_default = default_of(option).is_some_and(|default| value.texts == [default]);
        let texts = value.texts.into_iter().map(OsString::from).collect();
        let arguments = if is_default { Ok(Vec::new()) } else { as_flags(option, texts) };
        let arguments =
            arguments.map_err(|why| Failure::Usage(format!("{}: {name}: {why}", value.place)))?;
        Ok(Some(Said { option: name, place: Place::Line(value.place), arguments }))
    }
}

/// The flags that say the same as these values.
fn as_flags(option: &Arg, values: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let flag = format!("--{}", long(option));
    if matches!(option.get_action(), ArgAction::Count) {
        let text = values.into_iter().next().unwrap_or_default();
        let text = text.to_string_lossy();
        return match text.parse() {
            Ok(count @ 0..=9_usize) => Ok(vec![flag.into(); count]),
            _ => Err(format!("`{text}` is not how often the flag would stand; write 0, 1 or 2")),
        };
    }
    let joined = values.into_iter().map(|value| {
        let mut argument = OsString::from(format!("{flag}="));
        argument.push(value);
        argument
    });
    Ok(joined.collect())
}

fn long(option: &Arg) -> String {
    option.get_long().unwrap_or_default().to_owned()
}

/// The default of an option, as the help words it: a value, or what there is in place of one.
pub(crate) fn default_of(option: &Arg) -> Option<String> {
    let help = option.get_help()?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    Some(default.split_once(']')?.0.to_owned())
}

/// What the option takes, such as SIZE; nothing for a switch.
pub(crate) fn unit(option: &Arg) -> String {
    let names = option.get_value_names().unwrap_or_default();
    names.first().map(|name| name.to_string()).unwrap_or_default()
}

/// The library counts bytes and milliseconds; people do not.
fn in_unit(text: &str, unit: &str) -> String {
    let text = text.replace("in milliseconds is", "is");
    let text = match text.split_once(" between ") {
        Some((before, range)) if range.ends_with(&format!(" and {}", usize::MAX)) => {
            format!("{before} at least {}", range.split(' ').next().unwrap_or_default())
        }
        _ => text,
    };
    let shown = |number: usize| match unit {
        "SIZE" => Size::new(number).to_string(),
        "DURATION" => Span::of_millis(number as u64).to_string(),
        _ => number.to_string(),
    };
    let words = text.split(' ').map(|word| {
        let digits = word.trim_end_matches([',', ';']);
        match digits.parse() {
            Ok(number) => format!("{}{}", shown(number), &word[digits.len()..]),
            Err(_) => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Options that are one setting: what a source says with one of them overrules both in the next.
const PARTNERS: [[&str; 2]; 3] = [["verbose", "quiet"], ["listen", SHORT_FORM], USERS];

/// One user with a password, or all of them.
const USERS: [&str; 2] = ["password-file", "acl-file"];

/// It says a part of what its partner can say.
const SHORT_FORM: &str = "port";

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        for (option, unit, place) in [
            ("max-connections", "N", Some(Place::Flag)),
            ("input-limit", "SIZE", Some(Place::Variable)),
            ("output-limit", "SIZE", Some(Place::Line("a.toml:3".into()))),
            ("idle-timeout", "DURATION", Some(Place::Flag)),
            ("topic-memory", "SIZE", None),
            ("origin", "ORIGIN", Some(Place::Flag)),
        ] {
            sources.units.insert(option.into(), unit.into());
            sources.places.extend(place.map(|place| (option.to_owned(), place)));
        }
        sources
    }

    #[test]
    fn names_become_places_and_numbers_get_their_unit() {
        for (sentence, shown) in [
            (
                "connections_max is 0; it must be between 1 and 9",
                "--max-connections is 0; it must be between 1 and 9",
            ),
            (
                "output_limit is 5; it must be between 1024 and 1073741824",
                "a.toml:3: output-limit is 5; it must be between 1KiB and 1GiB",
            ),
            (
                "idle_timeout in milliseconds is 0; it must be between 1 and 1073741823",
                "--idle-timeout is 0ms; it must be between 1ms and 298h",
            ),
            (
                "input_limit is 5; it must be between 4142 and 18446744073709551615",
                "EDGELOOP_INPUT_LIMIT is 5; it must be at least 4142",
            ),
            (
                "topic-memory is 1MiB; with input-limit 2MiB it must be more, as output_limit, too",
                "--topic-memory, which was not given, is 1MiB; with EDGELOOP_INPUT_LIMIT 2MiB it must \
                 be more, as output-limit (a.toml:3), too",
            ),
            ("origins has \"x\"; write *", "--origin has \"x\"; write *"),
            ("something is wrong", "something is wrong"),
        ] {
            assert_eq!(sources().blame(sentence), Failure::Usage(shown.into()));
        }
    }
}
