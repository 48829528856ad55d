//! Whole numbers as the protocol writes them.

/// Reads a decimal number as Redis does: nothing but digits and at most one minus, no leading zero,
/// no `-0`, within 64 bits.
///
/// ```
/// use edgeloop::codec::resp::parse_integer;
/// assert_eq!(parse_integer(b"-42"), Some(-42));
/// assert_eq!(parse_integer(b"042"), None);
/// assert_eq!(parse_integer(b"9223372036854775808"), None);
/// ```
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits == b"0" && !is_negative {
        return Some(0);
    }
    if !matches!(digits, [b'1'..=b'9', ..]) || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits are below 10^19, and so below 2^64.
        value = value * 10 + u64::from(digit);
    }
    if is_negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The digits of a number, without an allocation.
///
/// ```
/// use edgeloop::codec::resp::Decimal;
/// assert_eq!(Decimal::new(-42).as_bytes(), b"-42");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    bytes: [u8; LEN_MAX],
    start: usize,
}

/// Digits of the largest 64-bit number with a sign.
const DIGITS_MAX: usize = 19;
/// As many, and a minus.
const LEN_MAX: usize = DIGITS_MAX + 1;

impl Decimal {
    /// Writes a number.
    pub fn new(value: i64) -> Self {
        // Most are the lengths of short values.
        if let digit @ 0..=9 = value {
            return Decimal { bytes: [b'0' + digit as u8; LEN_MAX], start: LEN_MAX - 1 };
        }
        // Written where it is returned: an array that is moved there is moved byte by byte.
        let mut decimal = Decimal { bytes: [0; LEN_MAX], start: LEN_MAX };
        let mut rest = value.unsigned_abs();
        loop {
            decimal.start -= 1;
            decimal.bytes[decimal.start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            decimal.start -= 1;
            decimal.bytes[decimal.start] = b'-';
        }
        decimal
    }

    /// The digits, behind a minus if there is one.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges_of_64_bits() {
        for value in [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN] {
            assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
            assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
        }
        let refused = ["", "-", "-0", "00", "+1", " 1", "1 ", "1a", "0x1", "01"];
        for text in refused.into_iter().chain(["9223372036854775808", "-9223372036854775809"]) {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_integer(b"18446744073709551617"), None, "wraps to 1");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            prop_assert_eq!(parse_integer(Decimal::new(value).as_bytes()), Some(value));
        }

        #[test]
        fn reads_what_the_standard_library_reads_and_writes_the_same(text in "-?[0-9]{0,22}") {
            let expected = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_integer(text.as_bytes()), expected);
        }
    }
}
