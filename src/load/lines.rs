//! The dialect of a server that answers line by line.

use super::dialect::{Answers, Asker, Dialect, take_equal};
use super::fault::Fault;
use super::pattern::Pattern;
use crate::reactor::{Context, RingBuffer};

/// Lines of one size, each of which comes back with a prefix.
pub(super) struct Lines {
    prefix: Vec<u8>,
    /// With the newline.
    size: usize,
    pattern: Pattern,
}

impl Lines {
    pub(super) fn new(prefix: &str, size: usize, seed: u64) -> Lines {
        Lines { prefix: prefix.into(), size, pattern: Pattern::text(seed) }
    }

    /// Whether these bytes are those of the answers from position `at` on.
    fn is_right(&self, asker: Asker, mut at: u64, mut bytes: &[u8]) -> bool {
        let prefix = self.prefix.len();
        let answer = (prefix + self.size) as u64;
        while !bytes.is_empty() {
            let (number, within) = (at / answer, (at % answer) as usize);
            let text_ends = prefix + self.size - 1;
            let end = if within < prefix {
                prefix
            } else if within < text_ends {
                text_ends
            } else {
                text_ends + 1
            };
            let (piece, rest) = bytes.split_at(bytes.len().min(end - within));
            let is_right = if within < prefix {
                self.prefix[within..].starts_with(piece)
            } else if within < text_ends {
                let start = asker.origin + number * self.size as u64;
                self.pattern.matches(start + (within - prefix) as u64, piece)
            } else {
                piece == b"\n"
            };
            if !is_right {
                return false;
            }
            (at, bytes) = (at + piece.len() as u64, rest);
        }
        true
    }
}

impl Dialect for Lines {
    /// Bytes that came back so far.
    type Stream = u64;

    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, number: u64) {
        let position = asker.origin + number * self.size as u64;
        self.pattern.each(position, self.size - 1, |piece| {
            cx.send(asker.token, piece);
        });
        cx.send(asker.token, b"\n");
    }

    fn answers(
        &mut self,
        asker: Asker,
        received: &mut u64,
        asked: u64,
        input: &mut RingBuffer,
    ) -> Result<Answers, Fault> {
        let answer = (self.prefix.len() + self.size) as u64;
        take_equal(answer, received, asked, input, |at, bytes| self.is_right(asker, at, bytes))
    }
}
