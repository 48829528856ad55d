//! The dialect of an echo server: every byte comes back.

use super::dialect::{Answers, Asker, Dialect};
use super::fault::Fault;
use super::pattern::Pattern;
use crate::reactor::{Context, RingBuffer};

/// Messages of one size, cut out of an endless stream of position-coded bytes.
pub(super) struct Echo {
    size: usize,
    pattern: Pattern,
}

impl Echo {
    pub(super) fn new(size: usize, seed: u64) -> Echo {
        Echo { size, pattern: Pattern::binary(seed) }
    }
}

impl Dialect for Echo {
    /// Bytes that came back so far.
    type Stream = u64;

    #[inline]
    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, number: u64) {
        let position = asker.origin + number * self.size as u64;
        self.pattern.each(position, self.size, |piece| {
            cx.send(asker.token, piece);
        });
    }

    #[inline]
    fn answers(
        &mut self,
        asker: Asker,
        received: &mut u64,
        asked: u64,
        input: &mut RingBuffer,
    ) -> Result<Answers, Fault> {
        let size = self.size as u64;
        let (first, second) = input.as_slices();
        let position = asker.origin + *received;
        let is_right = self.pattern.matches(position, first)
            && self.pattern.matches(position + first.len() as u64, second);
        let before = *received / size;
        *received += input.len() as u64;
        if *received > asked * size {
            return Err(Fault::SurplusByte);
        }
        if !is_right {
            return Err(Fault::WrongByte);
        }
        input.clear();
        let right = *received / size - before;
        Ok(Answers { right, bytes: right * size, ..Answers::default() })
    }
}
