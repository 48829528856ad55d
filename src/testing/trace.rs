//! The last things that happened, printed when a test fails.

use std::collections::VecDeque;
use std::fmt;

use crate::sockets::event_list::Edge;

/// So many lines are kept: a few turns.
const LINES_MAX: usize = 60;

#[derive(Debug, Default)]
pub(super) struct Trace {
    turn: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("turn {}: {what}", self.turn));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// Bytes as they are shown to people: escaped, and cut where they are many.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

/// The most bytes that are shown.
const SHOWN_MAX: usize = 64;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

/// What an event says.
pub(super) struct Told(pub(super) Edge);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told(edge) = self;
        let words = [
            (edge.readable, " readable"),
            (edge.writable, " writable"),
            (edge.read_closed, " ended"),
            (edge.write_closed, " hung up"),
            (edge.error, " error"),
        ];
        words.iter().filter(|(is_said, _)| *is_said).try_for_each(|(_, word)| f.write_str(word))
    }
}
