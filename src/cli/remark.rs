//! What a server remarks at its start: nothing is wrong, but not all is as it may have been meant.

use log::Level;
use log::kv::Value;

use super::log::write_line;

/// A warning with the event that it is told by.
#[derive(Clone, Debug)]
pub(crate) struct Remark {
    event: &'static str,
    text: String,
    option: Option<String>,
    numbers: Vec<(&'static str, u64)>,
}

impl Remark {
    pub(crate) fn new(event: &'static str, text: impl Into<String>) -> Remark {
        Remark { event, text: text.into(), option: None, numbers: Vec::new() }
    }

    /// The option that it is about.
    pub(crate) fn option(self, option: &str) -> Remark {
        Remark { option: Some(option.into()), ..self }
    }

    /// A number as a field of its own.
    pub(crate) fn number(mut self, name: &'static str, number: u64) -> Remark {
        self.numbers.push((name, number));
        self
    }

    /// What it says to people.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn log(&self) {
        let mut line = vec![("event", Value::from(self.event))];
        line.extend(self.option.as_deref().map(|option| ("option", option.into())));
        line.extend(self.numbers.iter().map(|(name, number)| (*name, (*number).into())));
        write_line(Level::Warn, &line, format_args!("{}", self.text));
    }
}
