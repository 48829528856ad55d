//! Inline commands: a line of words, quoted as in a shell.
//!
//! The words are rewritten where they stand, so that a request borrows them from the input like any
//! other. A word of `n` bytes has `n + 1` bytes to itself, with the space or line feed behind it:
//!
//! ```text
//!   word         bytes    becomes             because
//!   GET          n + 1    GET and a space     a word without quotes has no space in it
//!   "a\nb"       n + 1    ' len len bytes     two quotes at least are gone, which is room for a length
//! ```
//!
//! A word that had quotes begins with `'` afterwards, and no word that had none ever does.

use super::error::RespError;

/// What a word that had quotes begins with, once it is rewritten.
const QUOTED: u8 = b'\'';
/// That byte and the length of the word in two.
const QUOTED_HEADER: usize = 3;

/// Splits a line into words in place; returns how many, and how many bytes they take now. The line
/// includes what ends it and is at most 64 KiB long.
pub(super) fn split(line: &mut [u8]) -> Result<(u32, usize), RespError> {
    // What stands behind it is what Redis never comes to.
    if line.contains(&0) {
        return Err(RespError::ZeroByte);
    }
    let (mut count, mut read, mut write) = (0, 0, 0);
    loop {
        while line.get(read).is_some_and(|byte| is_space(*byte)) {
            read += 1;
        }
        if read >= line.len() {
            return Ok((count, write));
        }
        let word = unquote(line, read, write)?;
        let len = word.end - write;
        // What is written now may take the place of the byte that ended the word.
        let ends_line = word.read >= line.len();
        if word.quoted {
            line.copy_within(write..word.end, write + QUOTED_HEADER);
            line[write] = QUOTED;
            line[write + 1..][..2].copy_from_slice(&(len as u16).to_be_bytes());
            write += QUOTED_HEADER + len;
        } else {
            line[word.end] = b' ';
            write = word.end + 1;
        }
        read = word.read + 1;
        count += 1;
        if ends_line {
            return Ok((count, write));
        }
    }
}

/// Takes the first word off a rewritten line.
pub(super) fn next<'a>(line: &mut &'a [u8]) -> Option<&'a [u8]> {
    let rest = *line;
    if let [QUOTED, high, low, rest @ ..] = rest {
        let (word, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        *line = rest;
        return Some(word);
    }
    let end = rest.iter().position(|byte| *byte == b' ')?;
    *line = &rest[end + 1..];
    Some(&rest[..end])
}

/// A word without its quotes, moved to the front.
struct Word {
    /// Behind its last byte.
    end: usize,
    /// Where the next one may begin.
    read: usize,
    quoted: bool,
}

/// Moves the word that begins at `read` to `write`, without its quotes.
fn unquote(line: &mut [u8], mut read: usize, mut write: usize) -> Result<Word, RespError> {
    let mut quoted = false;
    while let Some(&byte) = line.get(read) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' | b'\'' => {
                quoted = true;
                (read, write) = copy_quoted(line, read + 1, write, byte)?;
                // The closing quote must end the word.
                if line.get(read).is_some_and(|byte| !is_space(*byte)) {
                    return Err(RespError::UnbalancedQuotes);
                }
                break;
            }
            byte => {
                line[write] = byte;
                (read, write) = (read + 1, write + 1);
            }
        }
    }
    Ok(Word { end: write, read, quoted })
}

/// Copies up to the closing quote; returns where reading and writing go on.
fn copy_quoted(
    line: &mut [u8],
    mut read: usize,
    mut write: usize,
    quote: u8,
) -> Result<(usize, usize), RespError> {
    loop {
        let (byte, len) = match (&line[read..], quote) {
            ([], _) => return Err(RespError::UnbalancedQuotes),
            ([b'\\', b'x', high, low, ..], b'"')
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), 4)
            }
            ([b'\\', byte, ..], b'"') => (escaped(*byte), 2),
            ([b'\\', b'\'', ..], b'\'') => (b'\'', 2),
            ([byte, ..], quote) if *byte == quote => return Ok((read + 1, write)),
            ([byte, ..], _) => (*byte, 1),
        };
        line[write] = byte;
        (read, write) = (read + len, write + 1);
    }
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The spaces of C, of which a vertical tab and a form feed separate words but do not end them.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, RespError> {
        let mut line = line.to_vec();
        let (count, len) = split(&mut line)?;
        let mut rest = &line[..len];
        let words: Vec<_> = std::iter::from_fn(|| next(&mut rest).map(<[u8]>::to_vec)).collect();
        assert_eq!(words.len(), count as usize);
        Ok(words)
    }

    #[test]
    fn words_are_split_and_unquoted_as_redis_does_it() {
        let cases: [(&[u8], &[&[u8]]); 11] = [
            (b"\r\n", &[]),
            (b"PING\r\n", &[b"PING"]),
            (b"  SET\tkey   value \n", &[b"SET", b"key", b"value"]),
            (b"SET k \"a b\"\n", &[b"SET", b"k", b"a b"]),
            (b"SET k ''\r\n", &[b"SET", b"k", b""]),
            (b"a \"\\x00\\xff\\n\\t\\\"\\q\" b\n", &[b"a", b"\0\xff\n\t\"q", b"b"]),
            (b"a '\\n\\'' b\n", &[b"a", b"\\n'", b"b"]),
            (b"fo\"o b\"\n", &[b"foo b"]),
            (b"\"'\" '\"'\n", &[b"'", b"\""]),
            (b"\"\\xzz\"\n", &[b"xzz"]),
            (b"a\x0bb\x0c \x0bc\n", &[b"a\x0bb\x0c", b"c"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).unwrap(), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quote_that_is_not_closed_or_closed_within_a_word_is_refused() {
        for line in ["\"", "'a\n", "\"a\\\"\n", "\"a\"b\n", "'a'b\n", "a\"b\n", "\"a\"\"b\"\n"] {
            assert_eq!(words(line.as_bytes()), Err(RespError::UnbalancedQuotes), "{line:?}");
        }
    }

    #[test]
    fn zero_byte_anywhere_in_a_line_is_refused() {
        for line in ["\0\n", "a\0b c\n", "\"\\\0\"\n", "'\0'\n", "a b\r\n\0"] {
            assert_eq!(words(line.as_bytes()), Err(RespError::ZeroByte), "{line:?}");
        }
    }

    #[test]
    fn word_of_64_kib_in_quotes_has_room_for_its_length() {
        let line = [b"\"".as_slice(), &vec![b'x'; (64 << 10) - 3], b"\"\n"].concat();
        assert_eq!(words(&line).unwrap(), [vec![b'x'; (64 << 10) - 3]]);
        let line = [vec![b'y'; (64 << 10) - 1].as_slice(), b"\n"].concat();
        assert_eq!(words(&line).unwrap(), [vec![b'y'; (64 << 10) - 1]]);
    }
}
