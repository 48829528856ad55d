//! Why a command could not be carried out: one line for a person, one exit code for a script.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The end of a command that could not go on.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// A flag, a variable or the configuration file is wrong; nothing was started.
    Usage(String),
    /// The system refused something, such as an address or a file.
    System(String),
}

impl Failure {
    /// Tells stderr in exactly one line, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // A closed stderr leaves nobody to tell, and `eprintln!` would panic.
        let _ = writeln!(io::stderr(), "edgeloop: {self}");
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::System(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(text) | Failure::System(text)) = self;
        // Values are quoted back as they came, and may hold anything: a line feed must not make a
        // second line of it.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = line.trim_end();
        // What is wrong stands at the beginning, what to write instead at the end.
        match line.chars().count().checked_sub(LINE_MAX) {
            Some(excess @ 1..) => {
                let start = line.chars().take(LINE_MAX / 2);
                let end = line.chars().skip(LINE_MAX / 2 + excess);
                f.write_str(&start.chain(" … ".chars()).chain(end).collect::<String>())
            }
            _ => f.write_str(line),
        }
    }
}

/// In characters. Nobody reads a longer one, and a value may be of any length.
const LINE_MAX: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn culprit_with_line_feeds_stays_one_line() {
        let failure = Failure::Usage("bad size `1\n2\x1b[31m`\n".into());
        assert_eq!(failure.to_string(), "bad size `1 2 [31m`");
    }

    #[test]
    fn value_without_end_leaves_the_beginning_and_the_end_of_the_line() {
        let failure = Failure::Usage(format!("bad size `{}`; write it like 512", "ä".repeat(9000)));
        let line = failure.to_string();
        assert!(
            line.starts_with("bad size `ä") && line.ends_with("ä`; write it like 512"),
            "{line}"
        );
        assert_eq!(line.chars().count(), LINE_MAX + 3);
    }
}
