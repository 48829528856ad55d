//! A span of time as people write it: `500ms`, `30s`, `5m`, `1h`; a bare `30` is seconds; or `off`,
//! where there may be none.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::size::is_negative;

/// A span of time in whole milliseconds. One parser serves flags, variables and the configuration
/// file.
///
/// A number without a unit is seconds, as for wrk, nginx and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(Duration);

impl Span {
    /// The span as the library takes it.
    pub(crate) const fn duration(self) -> Duration {
        self.0
    }

    /// A limit in milliseconds, in whole hours where that says as much.
    pub(crate) fn of_millis(millis: u64) -> Span {
        let millis = if millis > DAY { millis / HOUR * HOUR } else { millis };
        Span(Duration::from_millis(millis))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = if unit.is_empty() { "s" } else { unit };
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let Some((_, scale)) = known.filter(|_| digits > 0) else {
            let why = if is_negative(text) { ": it is negative" } else { "" };
            return Err(format!(
                "`{text}` is no duration{why}; write it like 500ms, 30s, 5m or 1h"
            ));
        };
        let millis = number.parse().ok().and_then(|number: u64| number.checked_mul(*scale));
        match millis.filter(|millis| *millis <= LONGEST) {
            Some(millis) => Ok(Span(Duration::from_millis(millis))),
            None => {
                Err(format!("`{text}` is too long a duration; the longest is {}h", LONGEST / HOUR))
            }
        }
    }
}

impl fmt::Display for Span {
    /// In the largest unit that needs no fraction, so that it reads back as the same span.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let whole = |&&(_, scale): &&(&str, u64)| millis != 0 && millis.is_multiple_of(scale);
        let (unit, scale) = UNITS.iter().rev().find(whole).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", millis / scale)
    }
}

/// A span of time, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanOrOff(Option<Span>);

impl SpanOrOff {
    /// The span as the library takes it; `None` is off.
    pub(crate) fn duration(self) -> Option<Duration> {
        self.0.map(Span::duration)
    }
}

impl FromStr for SpanOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<SpanOrOff, String> {
        if text == "off" {
            return Ok(SpanOrOff(None));
        }
        let span: Span = text.parse().map_err(|error| format!("{error}, or off"))?;
        match span.duration() {
            // Elsewhere 0 often means off, and as often at once.
            Duration::ZERO => Err(format!("`{text}` is no span of time; write off for none")),
            _ => Ok(SpanOrOff(Some(span))),
        }
    }
}

/// Each unit in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", HOUR)];
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// Twelve days and some hours: as far as stamps of connections reach.
const LONGEST: u64 = 298 * HOUR;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in
            [("500ms", 500), ("0s", 0), ("30", 30_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!("off".parse(), Ok(SpanOrOff(None)));
        assert_eq!("2s".parse::<SpanOrOff>().unwrap().duration(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn refuses_what_is_no_duration_and_says_so() {
        for text in ["", "s", "-1s", "1.5s", "30 s", "1d", "1sec", "off", "1M"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!("-1s".parse::<Span>().unwrap_err().contains("negative"));
        assert!("never".parse::<SpanOrOff>().unwrap_err().ends_with("or off"));
        assert!("0".parse::<SpanOrOff>().unwrap_err().ends_with("write off for none"));
    }

    #[test]
    fn overflow_is_an_error() {
        assert_eq!("298h".parse(), Ok(Span(Duration::from_millis(LONGEST))));
        for text in ["299h", "18446744073709551616ms", "18446744073709551615s", "5124095576031h"] {
            assert!(text.parse::<Span>().unwrap_err().contains("too long"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_prints(millis: u64, shift in 0_u32..64, scale in 0_usize..4) {
            let millis = (millis >> shift).saturating_mul(UNITS[scale].1) % (LONGEST + 1);
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn never_panics(text in "\\PC*", near in "[0-9]{0,25}[a-z]{0,3}") {
            let _ = text.parse::<SpanOrOff>();
            let _ = near.parse::<SpanOrOff>();
        }
    }
}
