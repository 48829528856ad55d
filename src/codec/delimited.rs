//! Messages that end with a delimiter.

use std::io::BufRead;

use super::codec::{Codec, Decoded};
use super::frame_error::FrameError;

/// Messages ended by a delimiter of one or more bytes, which is not part of them.
///
/// At the end of a stream a rest without a delimiter is a message all the same.
///
/// ```
/// use edgeloop::codec::{Codec, Delimited};
/// let mut lines = Delimited::lines(80);
/// let mut input = b"one\r\ntwo".to_vec();
/// let first = lines.decode(&mut input)?.expect("there is a newline");
/// assert_eq!((first.len, first.message), (5, &b"one\r"[..]));
/// assert_eq!(lines.decode(&mut input[5..])?, None);
/// assert_eq!(lines.decode_end(&mut input[5..])?, Some(&b"two"[..]));
/// # Ok::<(), edgeloop::codec::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Delimited {
    limit: usize,
    delimiter: &'static [u8],
    /// Bytes of the unfinished message that are known not to begin a delimiter.
    searched: usize,
}

impl Delimited {
    /// Lines ended by `\n`, of at most `limit` bytes without it; a `\r` before it belongs to the
    /// line.
    pub const fn lines(limit: usize) -> Self {
        Delimited { limit, delimiter: b"\n", searched: 0 }
    }

    /// Messages of at most `limit` bytes, ended by `delimiter`, which is not counted. An empty
    /// delimiter is none at all: no message ever ends before the stream does.
    pub const fn by(delimiter: &'static [u8], limit: usize) -> Self {
        Delimited { limit, delimiter, searched: 0 }
    }

    /// Searches from the front again: something was taken from the input that is no message.
    #[cfg_attr(not(feature = "websocket"), expect(dead_code, reason = "only the chat does so"))]
    pub(crate) fn restart(&mut self) {
        self.searched = 0;
    }

    /// Where the first delimiter begins. Remembers in `searched` what need not be looked at again.
    fn find(&mut self, input: &[u8]) -> Option<usize> {
        let (&last, before) = self.delimiter.split_last()?;
        loop {
            // The search is for the last byte: when it is there, so are those before it.
            let mut rest = input.get(self.searched + before.len()..)?;
            // The standard library's search, by way of a reader that cannot fail: a slice.
            let skipped = rest.skip_until(last).unwrap_or(0);
            let end = self.searched + before.len() + skipped;
            if skipped == 0 || input[end - 1] != last {
                self.searched = end - before.len();
                return None;
            }
            let start = end - self.delimiter.len();
            if input[..end].ends_with(self.delimiter) {
                return Some(start);
            }
            self.searched = start + 1;
        }
    }
}

impl Codec for Delimited {
    type Message<'a> = &'a [u8];
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<Option<Decoded<&'a [u8]>>, FrameError> {
        let found = self.find(input);
        if found.unwrap_or(self.searched) > self.limit {
            return Err(FrameError::LineTooLong);
        }
        Ok(found.map(|end| {
            self.searched = 0;
            Decoded { len: end + self.delimiter.len(), message: &input[..end] }
        }))
    }

    fn decode_end<'a>(&mut self, rest: &'a mut [u8]) -> Result<Option<&'a [u8]>, FrameError> {
        if rest.len() > self.limit {
            return Err(FrameError::LineTooLong);
        }
        Ok((!rest.is_empty()).then_some(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::whole_however_cut;
    use super::*;

    #[test]
    fn every_split_of_a_stream_gives_the_same_lines() {
        let (lines, error) = whole_however_cut(Delimited::lines(8), b"one\n\ntwo\r\n three \nrest");
        assert_eq!(lines, [&b"one"[..], b"", b"two\r", b" three "]);
        assert_eq!(error, None);
    }

    #[test]
    fn delimiter_of_several_bytes_is_found_however_it_is_cut() {
        let (parts, error) = whole_however_cut(Delimited::by(b"\r\n", 8), b"a\r\n\r\r\n\nb\r\nc\r");
        assert_eq!(parts, [&b"a"[..], b"\r", b"\nb"]);
        assert_eq!(error, None);
        let (parts, error) = whole_however_cut(Delimited::by(b"aab", 8), b"aaab-aab--aaaab");
        assert_eq!(parts, [&b"a"[..], b"-", b"--aa"]);
        assert_eq!(error, None);
    }

    #[test]
    fn limit_counts_the_message_and_not_its_delimiter() {
        for delimiter in [&b"\n"[..], b"\r\n", b"--"] {
            let codec = Delimited::by(delimiter, 3);
            let stream = |text: &[u8]| [text, delimiter].concat();
            assert_eq!(whole_however_cut(codec, &stream(b"abc")), (vec![b"abc".to_vec()], None));
            let refused = (vec![], Some(FrameError::LineTooLong));
            assert_eq!(whole_however_cut(codec, &stream(b"abcd")), refused);
            assert_eq!(whole_however_cut(codec, b"abcdefg"), refused);
            assert_eq!(whole_however_cut(codec, b"abc"), (vec![], None));
        }
    }

    #[test]
    fn rest_of_a_stream_is_a_message_within_the_limit() {
        let mut lines = Delimited::lines(4);
        assert_eq!(lines.decode_end(&mut []), Ok(None));
        assert_eq!(lines.decode_end(&mut b"rest".to_vec()), Ok(Some(&b"rest"[..])));
        assert_eq!(lines.decode_end(&mut b"rest.".to_vec()), Err(FrameError::LineTooLong));
    }

    #[test]
    fn line_that_comes_byte_by_byte_is_searched_once() {
        let mut line = vec![b'x'; 200_000];
        let mut lines = Delimited::lines(line.len());
        for end in 1..=line.len() {
            assert_eq!(lines.decode(&mut line[..end]), Ok(None));
            assert_eq!(lines.searched, end);
        }
    }
}
