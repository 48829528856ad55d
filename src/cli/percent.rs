//! A share as people write it: `90%`, or `90`; or `off`.

use std::str::FromStr;

use super::size::is_negative;

/// A share in whole per cent, from 1 to 100, or `off`. One parser serves flags, variables and the
/// configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PercentOrOff(Option<u8>);

impl PercentOrOff {
    /// The share as the library takes it; `None` is off.
    pub(crate) fn percent(self) -> Option<u8> {
        self.0
    }
}

impl FromStr for PercentOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<PercentOrOff, String> {
        if text == "off" {
            return Ok(PercentOrOff(None));
        }
        let number = text.strip_suffix('%').unwrap_or(text);
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(percent @ 1..=100) if is_plain => Ok(PercentOrOff(Some(percent))),
            Ok(0) if is_plain => Err(format!("`{text}` is no share; write off for none")),
            _ => {
                let why = if is_negative(text) { ": it is negative" } else { "" };
                Err(format!(
                    "`{text}` is no share{why}; write it like 90%, from 1% to 100%, or off"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, percent) in [
            ("90%", Some(90)),
            ("90", Some(90)),
            ("1%", Some(1)),
            ("100%", Some(100)),
            ("off", None),
        ] {
            assert_eq!(text.parse(), Ok(PercentOrOff(percent)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_share_and_says_so() {
        for text in ["", "%", "101%", "-5%", "+5", "0.9", "90 %", "90%%", "256", "never"] {
            let error = text.parse::<PercentOrOff>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")) && error.ends_with("or off"), "{error}");
        }
        assert!("0%".parse::<PercentOrOff>().unwrap_err().ends_with("write off for none"));
    }
}
