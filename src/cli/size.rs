//! A number of bytes as people write it: `512`, `64KiB`, `1MiB`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes. One parser serves flags, variables and the configuration file.
///
/// Units are powers of 1024, in any case, and may be shortened as in nginx: `64k` is `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(usize);

impl Size {
    /// So many bytes.
    pub(crate) const fn new(bytes: usize) -> Size {
        Size(bytes)
    }

    /// The number of bytes.
    pub(crate) const fn bytes(self) -> usize {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let Some(scale) = scale(unit).filter(|_| digits > 0) else {
            let why = if is_negative(text) { ": it is negative" } else { "" };
            return Err(format!("`{text}` is no size{why}; write it like 512, 64KiB or 1MiB"));
        };
        let bytes = number.parse().ok().and_then(|number: usize| number.checked_mul(scale));
        bytes.map(Size).ok_or_else(|| format!("`{text}` is too large a size"))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that needs no fraction, so that it reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, scale): &&(&str, usize)| self.0 != 0 && self.0.is_multiple_of(scale);
        match UNITS.iter().rev().find(whole) {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

fn scale(unit: &str) -> Option<usize> {
    let unit = unit.to_ascii_lowercase();
    let short = |name: &str| unit.len() == 1 && name.to_ascii_lowercase().starts_with(&unit);
    match unit.as_str() {
        "" | "b" => Some(1),
        _ => {
            let mut units = UNITS.iter();
            units.find(|(name, _)| unit.eq_ignore_ascii_case(name) || short(name)).map(|&(_, n)| n)
        }
    }
}

/// Whether a text is meant as a number below zero, which no option takes.
pub(super) fn is_negative(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

const UNITS: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("1k", 1 << 10),
            ("64KiB", 64 << 10),
            ("64kib", 64 << 10),
            ("3M", 3 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size_and_says_so() {
        for text in ["", "k", "-1", "1.5MiB", "1 KiB", "64KB", "0x10", "1kk", "١"] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn overflow_is_an_error() {
        for text in ["18446744073709551616", "17179869184GiB", "99999999999999999999999999"] {
            assert!(text.parse::<Size>().unwrap_err().contains("too large"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_prints(bytes: usize, shift in 0_u32..64) {
            let size = Size(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn never_panics(text in "\\PC*", near in "[0-9]{0,25}[a-zA-Z]{0,4}") {
            let _ = text.parse::<Size>();
            let _ = near.parse::<Size>();
        }
    }
}
