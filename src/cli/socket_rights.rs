//! Who may connect to a Unix socket: the mode and the group of its file.

use std::fmt;
use std::str::FromStr;

use nix::unistd::Group;

/// The rights of a file as `chmod` takes them, in octal: `660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u32);

impl Mode {
    /// The bits.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        // Octal whether or not it begins as such a number, as with chmod; three digits, so that a
        // decimal number that means something else is noticed.
        let rest = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
        let digits = rest.filter(|rest| rest.len() == 3).unwrap_or(text);
        let is_octal = digits.len() == 3 && digits.chars().all(|c| c.is_digit(8));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|_| is_octal);
        let wrong = || format!("`{text}` is no mode; write three octal digits, like 660");
        bits.map(Mode).ok_or_else(wrong)
    }
}

/// A group by its name, or by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupName(String);

impl GroupName {
    /// The number of the group. A name that consists of digits is a name first, as for `chown`.
    pub(crate) fn resolve(&self) -> Result<u32, String> {
        let unknown = || format!("there is no group `{self}`");
        match Group::from_name(&self.0) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => self.0.parse().map_err(|_| unknown()),
            Err(error) => Err(format!("{}: {}", unknown(), error.desc())),
        }
    }
}

impl FromStr for GroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<GroupName, String> {
        Ok(GroupName(text.into()))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_octal() {
        for (text, bits) in
            [("660", 0o660), ("0660", 0o660), ("0o660", 0o660), ("777", 0o777), ("000", 0)]
        {
            assert_eq!(text.parse(), Ok(Mode(bits)), "{text}");
        }
        for text in ["", "66", "0", "680", "1777", "6600", "+60", "0o66", "rw-rw----", "432 "] {
            let error = text.parse::<Mode>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn group_is_a_name_or_a_number() {
        let resolve = |text: &str| text.parse::<GroupName>().unwrap().resolve();
        assert_eq!(resolve("root"), Ok(0));
        assert_eq!(resolve("4294967"), Ok(4_294_967));
        for text in ["no-such-group", "", "-1", "root\0"] {
            assert_eq!(resolve(text), Err(format!("there is no group `{text}`")));
        }
    }
}
