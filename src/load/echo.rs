//! The dialect of an echo server: every byte comes back.

use super::dialect::{Answers, Asker, Dialect, take_equal};
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
        let is_right = |at, bytes: &[u8]| self.pattern.matches(asker.origin + at, bytes);
        take_equal(self.size as u64, received, asked, input, is_right)
    }
}
