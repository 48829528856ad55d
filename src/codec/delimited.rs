//! Messages that end with a newline.

use std::io::BufRead;

use super::{Codec, TooLong};

/// Lines ended by `\n`; a `\r` before it belongs to the line.
///
/// ```
/// use edgeloop::codec::{Codec, Lines};
/// let mut lines = Lines::new(80);
/// assert_eq!(lines.next(b"one\ntw"), Ok(Some(4)));
/// assert_eq!(lines.next(b"tw"), Ok(None));
/// assert_eq!(lines.next(b"two\r\n"), Ok(Some(5)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    limit: usize,
    /// Bytes of the unfinished line that are known to hold no newline.
    searched: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes, not counting the newline.
    pub const fn new(limit: usize) -> Self {
        Lines { limit, searched: 0 }
    }
}

impl Codec for Lines {
    fn next(&mut self, input: &[u8]) -> Result<Option<usize>, TooLong> {
        let mut rest = input.get(self.searched..).unwrap_or_default();
        // The standard library's search for a byte, by way of a reader that cannot fail: a slice.
        let skipped = rest.skip_until(b'\n').unwrap_or(0);
        let end = self.searched + skipped;
        let is_whole = skipped > 0 && input[end - 1] == b'\n';
        let line = if is_whole { end - 1 } else { end };
        if line > self.limit {
            return Err(TooLong);
        }
        self.searched = if is_whole { 0 } else { end };
        Ok(is_whole.then_some(end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::messages;
    use super::*;

    #[test]
    fn every_split_of_a_stream_gives_the_same_lines() {
        let stream = b"one\n\ntwo\r\n three \nrest";
        let whole = messages(&mut Lines::new(8), [&stream[..]]);
        assert_eq!(whole, [&b"one\n"[..], b"\n", b"two\r\n", b" three \n"]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(messages(&mut Lines::new(8), cuts), whole);
            }
        }
    }

    #[test]
    fn limit_counts_the_line_and_not_its_newline() {
        assert_eq!(Lines::new(3).next(b"abc\n"), Ok(Some(4)));
        assert_eq!(Lines::new(3).next(b"abc"), Ok(None));
        assert_eq!(Lines::new(3).next(b"abcd"), Err(TooLong));
        assert_eq!(Lines::new(3).next(b"abcd\n"), Err(TooLong));
    }

    #[test]
    fn line_that_comes_byte_by_byte_is_searched_once() {
        let line = vec![b'x'; 200_000];
        let mut lines = Lines::new(line.len());
        for end in 1..=line.len() {
            assert_eq!(lines.next(&line[..end]), Ok(None));
            assert_eq!(lines.searched, end);
        }
    }
}
