//! Numbers with a fraction as Redis reckons with them: the `long double` of x86, the 80-bit extended
//! format of IEEE 754, which Rust does not have. 64 bits of precision instead of the 53 of `f64`: with
//! those, adding 0.1 ten times would show.
//!
//! Reading and writing is exact and rounds once, to the nearest and to even, as the C library does.

use std::fmt;

use super::natural::Natural;

/// `mantissa * 2^exponent`, with a sign. The highest bit of the mantissa is set, but for zero and for
/// numbers of the least exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
}

const EXPONENT_MIN: i32 = -16_445;
const EXPONENT_MAX: i32 = 16_320;
/// That of infinity.
const INFINITE: i32 = i32::MAX;
/// More digits before the point than any number has, and more zeros behind it than the least one has:
/// in decimal, and in bits.
const MAGNITUDE_MAX: i64 = 5_000;
const MAGNITUDE_BITS_MAX: i64 = 17_000;
/// As many decimal digits are written behind the point.
const PLACES: usize = 17;
const SCALE: u128 = 10u128.pow(PLACES as u32);

impl Extended {
    /// Longer numbers are refused, as by Redis.
    pub(super) const LEN_MAX: usize = 5 * 1024 - 1;
    const ZERO: Extended = Extended { is_negative: false, mantissa: 0, exponent: EXPONENT_MIN };

    /// Reads what `strtold` reads: decimal and hexadecimal numbers with an exponent, and infinity. None
    /// for what is none of them, no number, too large, or so small that nothing is left of it.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.len() > Self::LEN_MAX {
            return None;
        }
        let number = match text.to_ascii_lowercase().as_slice() {
            b"inf" | b"infinity" => Extended { exponent: INFINITE, ..Self::ZERO },
            [b'0', b'x', rest @ ..] => Digits::parse(rest, 16, b'p')?.round()?,
            text => Digits::parse(text, 10, b'e')?.round()?,
        };
        Some(Extended { is_negative, ..number })
    }

    /// The work to read a number, or to write it: it grows with the square of its digits, those included
    /// for which an exponent stands.
    pub(super) fn work(text: &[u8]) -> usize {
        if text.len() > Self::LEN_MAX {
            return 0;
        }
        let exponent = text.iter().rposition(u8::is_ascii_alphabetic).map_or(0, |at| {
            let number = std::str::from_utf8(&text[at + 1..]).ok();
            let number = number.and_then(|number| number.parse::<i32>().ok());
            // What is none is a digit of a hexadecimal number, or larger than any.
            number.map_or(Self::LEN_MAX, |number| number.unsigned_abs() as usize)
        });
        (text.len() + exponent.min(Self::LEN_MAX)).pow(2) / 32
    }

    /// The sum; none if that is not finite.
    pub(super) fn add(self, other: Self) -> Option<Self> {
        if self.exponent == INFINITE || other.exponent == INFINITE {
            return None;
        }
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // One bit above the mantissa stays free for a carry; what falls out below only decides how
        // the sum is rounded.
        let a = u128::from(high.mantissa) << 63;
        let distance = high.exponent.abs_diff(low.exponent);
        let whole = u128::from(low.mantissa) << 63;
        let b = whole.checked_shr(distance).unwrap_or(0);
        let is_more = b.checked_shl(distance) != Some(whole) && whole != 0;
        let (is_negative, sum) = match high.is_negative == low.is_negative {
            true => (high.is_negative, a + b),
            false if a < b => (low.is_negative, b - a),
            // A bit of `b` is missing, and so is too much of the difference.
            false => (high.is_negative, a - b - u128::from(is_more)),
        };
        let sum = Self::round(sum, high.exponent - 63, is_more);
        Some(Extended { is_negative, ..sum }).filter(|sum| sum.exponent != INFINITE)
    }

    /// The number next to `value * 2^exponent`, or to a little more than that.
    fn round(value: u128, exponent: i32, is_more: bool) -> Self {
        let bits = 128 - value.leading_zeros() as i32;
        let dropped = (bits - 64).max(EXPONENT_MIN - exponent);
        if value == 0 || dropped > 127 {
            return Self::ZERO;
        }
        if dropped <= 0 {
            return Self::within((value as u64) << -dropped, exponent + dropped);
        }
        let (kept, rest) = (value >> dropped, value & ((1 << dropped) - 1));
        let half = 1 << (dropped - 1);
        let is_up = rest > half || rest == half && (is_more || kept & 1 == 1);
        let exponent = exponent + dropped;
        match u64::try_from(kept + u128::from(is_up)) {
            Ok(mantissa) => Self::within(mantissa, exponent),
            Err(_) => Self::within(1 << 63, exponent + 1),
        }
    }

    /// Infinity, if the exponent is too large.
    fn within(mantissa: u64, exponent: i32) -> Self {
        let exponent = if exponent > EXPONENT_MAX { INFINITE } else { exponent };
        Extended { is_negative: false, mantissa, exponent }
    }

    /// The whole part and, in units of the last place that is written, the fraction.
    fn parts(self) -> (String, u128) {
        if self.exponent >= 0 {
            let mut whole = Natural::new(self.mantissa);
            whole.shift_left(self.exponent as usize);
            return (whole.into_decimal(), 0);
        }
        let (dropped, value) = (self.exponent.unsigned_abs(), u128::from(self.mantissa) * SCALE);
        // The value has at most 121 bits.
        let units = if dropped > 127 {
            0
        } else {
            let (kept, rest, half) =
                (value >> dropped, value & ((1 << dropped) - 1), 1 << (dropped - 1));
            kept + u128::from(rest > half || rest == half && kept & 1 == 1)
        };
        ((units / SCALE).to_string(), units % SCALE)
    }
}

/// As C's `%.17Lf`, without the zeros at the end.
impl fmt::Display for Extended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = self.parts();
        if self.is_negative && (fraction > 0 || whole != "0") {
            f.write_str("-")?;
        }
        f.write_str(&whole)?;
        if fraction > 0 {
            let digits = format!("{fraction:0PLACES$}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

/// A number as it is written: `digits * 10^scale`, or `digits * 2^scale` if it is hexadecimal.
struct Digits {
    digits: Natural,
    is_decimal: bool,
    scale: i64,
    /// The number is below `10^magnitude`, or `2^magnitude`, and not far below it.
    magnitude: i64,
}

impl Digits {
    fn parse(text: &[u8], radix: u32, exponent_mark: u8) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == exponent_mark).unwrap_or(text.len());
        let (mantissa, exponent) = text.split_at(end);
        let exponent = if exponent.is_empty() { 0 } else { parse_exponent(&exponent[1..])? };
        let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let (whole, fraction) = mantissa.split_at(point);
        let fraction = fraction.get(1..).unwrap_or_default();
        let values: Option<Vec<u32>> =
            whole.iter().chain(fraction).map(|byte| char::from(*byte).to_digit(radix)).collect();
        let values = values.filter(|values| !values.is_empty())?;
        let mut digits = Natural::new(0);
        for group in values.chunks(GROUP) {
            let value = group.iter().fold(0, |value, digit| value * radix + digit);
            digits.multiply_and_add(radix.pow(group.len() as u32), value);
        }
        let count = values.len() - values.iter().take_while(|digit| **digit == 0).count();
        let unit = if radix == 16 { 4 } else { 1 };
        let scale = exponent - fraction.len() as i64 * unit;
        let magnitude = count as i64 * unit + scale;
        Some(Digits { digits, is_decimal: radix == 10, scale, magnitude })
    }

    /// None where nothing, or no finite number, is left.
    fn round(self) -> Option<Extended> {
        if self.digits.is_zero() {
            return Some(Extended::ZERO);
        }
        let most = if self.is_decimal { MAGNITUDE_MAX } else { MAGNITUDE_BITS_MAX };
        if self.magnitude.abs() > most {
            return None;
        }
        let (mut value, mut divisor) = (self.digits, Natural::new(1));
        if self.is_decimal {
            let power = if self.scale < 0 { &mut divisor } else { &mut value };
            power.multiply_by_power_of_5(self.scale.unsigned_abs() as u32);
        }
        // Enough bits that at least two of them are rounded away.
        let shift = 66 + divisor.bits() as i64 - value.bits() as i64;
        let shifted = if shift < 0 { &mut divisor } else { &mut value };
        shifted.shift_left(shift.unsigned_abs() as usize);
        let (quotient, is_more) = value.divide(&divisor);
        let number = Extended::round(quotient, (self.scale - shift) as i32, is_more);
        Some(number).filter(|number| number.mantissa > 0 && number.exponent != INFINITE)
    }
}

/// As many digits of either radix are below 2^32.
const GROUP: usize = 7;

/// The exponent behind its mark. A number that overflows is cut to a number that is too large as well.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        Some((value * 10 + digit).min(1_000_000))
    })?;
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let sum = Extended::parse(a.as_bytes())?.add(Extended::parse(b.as_bytes())?);
        sum.map(|sum| sum.to_string())
    }

    // What Redis 7.0.15 says on x86; the comparison with it tries many more.
    #[test]
    fn sums_are_those_of_the_80_bit_format() {
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("-0", "-0.000000000000000001", "0"),
            ("-1.5", "0.25", "-1.25"),
            ("3", "1e-17", "3.00000000000000001"),
            ("100000000000000000000", "0.1", "100000000000000000000"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("18446744073709551616", "3", "18446744073709551620"),
            ("0x1.8p3", "0X.8", "12.5"),
            ("1e-4950", "0", "0"),
            (".5", "5.", "5.5"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} and {b}");
        }
    }

    #[test]
    fn what_is_no_number_or_none_of_the_format_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "x",
            "nan",
            "-nan",
            ".",
            "+",
            "1e",
            "1e+",
            "e5",
            "0x",
            "0x.",
            "0x1p",
            "1.2.3",
            "--1",
            "1_0",
            "1e5000",
            "1e-5000",
            "1e99999999999999999999",
            "0x1p17000",
            "0x1p-17000",
            "in",
            "infinit",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text}");
        }
        let digits = "1".repeat(Extended::LEN_MAX + 1);
        assert_eq!(Extended::parse(digits.as_bytes()), None);
        assert!(Extended::parse(&digits.as_bytes()[..4_900]).is_some());
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1e4932", "1.2e4932"), None, "it is above the largest");
        assert_eq!(sum("0e99999999999999999999", "7").as_deref(), Some("7"));
    }

    #[test]
    fn largest_and_least_number_are_written_in_full() {
        let largest = Extended::parse(b"0xffffffffffffffffp16320").map(|it| it.to_string());
        let largest = largest.unwrap_or_default();
        assert!(
            largest.starts_with("118973149535723176502") && largest.len() == 4_933,
            "{largest}"
        );
        assert_eq!(Extended::parse(b"0xffffffffffffffff8p16316"), None);
        let least = Extended::parse(b"0x1p-16445").expect("it is the least one");
        assert_eq!((least.mantissa, least.exponent), (1, EXPONENT_MIN));
        assert_eq!(Extended::parse(b"0x1p-16446"), None, "half of it rounds to even, to 0");
        assert_eq!(Extended::parse(b"0x1.8p-16446"), Some(least));
    }

    proptest! {
        #[test]
        fn whole_numbers_are_exact(a: i64, b: i64) {
            let expected = (i128::from(a) + i128::from(b)).to_string();
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some(expected));
        }

        /// It differs from the nearest one by at most half of the last bit of the mantissa.
        #[test]
        fn what_is_read_is_the_nearest_number_of_the_format(
            digits in 1u64..1 << 40, places in 0u32..19,
        ) {
            let text = format!("{digits}e-{places}");
            let number = Extended::parse(text.as_bytes()).expect("it is a number");
            prop_assert!(number.mantissa >> 63 == 1);
            let unit = 10u128.pow(places);
            let read = u128::from(number.mantissa) * unit;
            let written = u128::from(digits) << number.exponent.unsigned_abs();
            prop_assert!(number.exponent < 0 && read.abs_diff(written) * 2 <= unit);
        }

        #[test]
        fn few_decimals_come_back_as_they_were_written(whole in 0u64..10, fraction in 1u32..1_000_000) {
            let text = format!("{whole}.{fraction:06}");
            let number = sum(&text, "0").expect("it is a number");
            prop_assert_eq!(number, text.trim_end_matches('0'));
        }
    }
}
