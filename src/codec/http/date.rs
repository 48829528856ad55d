//! The value of a `Date` header.

use std::fmt;

/// A second in the form of RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`. Formatted once a
/// second and copied from then on.
///
/// ```
/// use edgeloop::codec::http::Date;
/// assert_eq!(Date::at(784_111_777).as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Date {
    unix_seconds: u64,
    text: [u8; 29],
}

impl Date {
    /// So many seconds after 1 January 1970, without leap seconds. Beyond the year 9999 it is the
    /// last second of that.
    pub fn at(unix_seconds: u64) -> Self {
        let unix_seconds = unix_seconds.min(LAST_SECOND);
        let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        text[..3].copy_from_slice(name(WEEKDAYS, days % 7));
        text[8..11].copy_from_slice(name(MONTHS, month - 1));
        for (at, value) in [
            (5, day),
            (12, year / 100),
            (14, year % 100),
            (17, second / 3600),
            (20, second / 60 % 60),
            (23, second % 60),
        ] {
            text[at..at + 2]
                .copy_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
        }
        Date { unix_seconds, text }
    }

    /// Moves on to another second. Costs a comparison while it is the same one.
    pub fn update(&mut self, unix_seconds: u64) {
        if unix_seconds.min(LAST_SECOND) != self.unix_seconds {
            *self = Date::at(unix_seconds);
        }
    }

    /// The 29 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({})", self.text.escape_ascii())
    }
}

/// Year, month and day of a day after 1 January 1970, by the Gregorian calendar. Years are counted
/// from March, so that the leap day is the last of its year, and in eras of 400 years, which are all
/// of one length (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn name(names: &'static [u8], index: u64) -> &'static [u8] {
    &names[index as usize * 3..][..3]
}

/// From a Thursday on, as the first day of 1970 was.
const WEEKDAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_seconds: u64) -> String {
        String::from_utf8(Date::at(unix_seconds).as_bytes().to_vec()).unwrap()
    }

    /// Second by second of what `date -u -d @N` says.
    #[test]
    fn known_seconds() {
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(second), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let lengths = |year: u64| {
            let is_leap =
                year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
            [31, 28 + u64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day));
            day += 1;
            if day > lengths(year)[month as usize - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn update_follows_the_clock() {
        let mut date = Date::at(10);
        date.update(10);
        assert_eq!(date, Date::at(10));
        date.update(11);
        assert_eq!(date, Date::at(11));
    }
}
