//! A number of things as people write it: `512`, `10k`, `1M`.

use std::any::type_name;

use super::size::is_negative;

/// Reads a number that may end in `k`, `M` or `G`: a thousand, a million, a thousand million, as for
/// wrk. One parser serves flags, variables and the configuration file.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub(crate) fn parse<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let (number, scale) = split(text);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(text));
    }
    let count = number.parse().ok().and_then(|number: u64| number.checked_mul(scale));
    let count = count.and_then(|count| T::try_from(count).ok());
    count.ok_or_else(|| format!("`{text}` is too large a number; it must fit {}", type_name::<T>()))
}

/// The same for a number that must not be 0.
///
/// # Errors
/// As for [`parse`].
pub(crate) fn at_least_one<T: TryFrom<u64> + PartialEq + Default>(text: &str) -> Result<T, String> {
    let count = parse(text)?;
    match count == T::default() {
        true => Err(format!("`{text}` is too small; it must be at least 1")),
        false => Ok(count),
    }
}

/// The same for a rate, which may have a fraction: `0.5`, `1.5k`.
///
/// # Errors
/// As for [`parse`].
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let (number, scale) = split(text);
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let rate = number.parse().ok().filter(|_| is_plain).map(|number: f64| number * scale as f64);
    rate.ok_or_else(|| wrong(text))
}

fn split(text: &str) -> (&str, u64) {
    let is_unit = |(unit, _): &&(char, u64)| text.ends_with([*unit, unit.to_ascii_lowercase()]);
    match UNITS.iter().find(is_unit) {
        Some((_, scale)) => (&text[..text.len() - 1], *scale),
        None => (text, 1),
    }
}

fn wrong(text: &str) -> String {
    let why = if is_negative(text) { ": it is negative" } else { "" };
    format!("`{text}` is no number{why}; write it like 512, 10k or 1M")
}

const UNITS: [(char, u64); 3] = [('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, count) in
            [("0", 0), ("512", 512), ("10k", 10_000), ("10K", 10_000), ("2M", 2_000_000)]
        {
            assert_eq!(parse::<u64>(text), Ok(count), "{text}");
        }
        assert_eq!(rate("1.5k"), Ok(1500.0));
        assert_eq!(rate("0.5"), Ok(0.5));
    }

    #[test]
    fn refuses_what_is_no_number_and_says_so() {
        for text in ["", "k", "-1", "1.5k", "1 k", "1kk", "0x10", "ten", "1_000", "+1", "1Ki"] {
            assert!(parse::<u64>(text).unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        for text in ["", "k", "-1", "inf", "NaN", "1e3", "1.2.3", "."] {
            assert!(rate(text).unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
        assert!(parse::<u64>("-5").unwrap_err().contains("negative"));
        assert!(at_least_one::<u32>("0").unwrap_err().contains("at least 1"));
    }

    #[test]
    fn overflow_is_an_error() {
        assert!(parse::<u32>("5G").unwrap_err().contains("too large"));
        assert!(parse::<u64>("18446744073709551616").unwrap_err().contains("too large"));
        assert!(parse::<u64>("18446744073709551615k").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*", near in "[0-9.]{0,25}[a-zA-Z]{0,3}") {
            let _ = (parse::<u32>(&text), rate(&text), parse::<u64>(&near), rate(&near));
        }
    }
}
