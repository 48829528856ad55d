//! The command line: a word, then `--name value` pairs. A name that the word does not take is an
//! error, so that a misspelt option never measures the default by mistake.

use std::str::FromStr;

use crate::Result;

/// What was given; every value read is removed, what is left at the end was not understood.
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut pairs = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("unexpected `{word}`"))?;
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
            if pairs.iter().any(|(given, _)| given == name) {
                return Err(format!("`{word}` is given twice").into());
            }
            pairs.push((name.to_owned(), value.clone()));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(index).1)
    }

    pub(crate) fn number<T: FromStr + PartialOrd + Default>(
        &mut self,
        name: &str,
        default: T,
    ) -> Result<T> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        match text.parse() {
            Ok(number) if number > T::default() => Ok(number),
            _ => Err(format!("`--{name} {text}`: a number above zero is needed").into()),
        }
    }

    pub(crate) fn finish(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown option `--{name}`").into()),
        }
    }
}
