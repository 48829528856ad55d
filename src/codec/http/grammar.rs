//! Which bytes may stand where, and where a line ends.

/// Whether a byte may stand in a token (RFC 9110, 5.6.2): a method, a header's name.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// Whether a byte may stand in a header's value (RFC 9110, 5.5).
pub(super) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

const TOKEN_BYTES: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// A table of the letters, the digits and some others: a look into it is quicker than comparisons.
pub(super) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Where the first `\n` at or after `from` ends.
pub(super) fn line_end(input: &[u8], from: usize) -> Option<usize> {
    use std::io::BufRead;
    // The standard library's search, by way of a reader that cannot fail: a slice.
    let skipped = input.get(from..)?.skip_until(b'\n').unwrap_or(0);
    let end = from + skipped;
    (skipped > 0 && input[end - 1] == b'\n').then_some(end)
}
