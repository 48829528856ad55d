//! Names of people and rooms, and what text may contain.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// A name, stored in place: letters and digits of any script, `_`, `-`, `.`; at most
/// [`Name::BYTES_MAX`] bytes. Nothing in it can end a line, a word, or a JSON string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    len: u8,
    bytes: [u8; 23],
}

impl Name {
    /// The longest name, in bytes of UTF-8. Less than there is room for, since some letters are
    /// longer in lower case.
    pub(super) const BYTES_MAX: usize = 20;

    /// A name that somebody may have.
    pub(super) fn new(text: &str) -> Option<Name> {
        let is_valid = |c: char| match c {
            // Letters to Unicode, but they show nothing.
            '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => false,
            '_' | '-' | '.' => true,
            c => c.is_alphanumeric(),
        };
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        Name::store(text).filter(|_| fits && text.chars().all(is_valid))
    }

    /// The name of the nth guest.
    pub(super) fn guest(number: u32) -> Name {
        // It always fits: five letters and ten digits.
        Name::store(&format!("guest{number}")).unwrap_or(Name { len: 0, bytes: [0; 23] })
    }

    /// What two names that differ in case only have in common.
    pub(super) fn key(&self) -> Option<Name> {
        Name::store(&self.to_lowercase())
    }

    fn store(text: &str) -> Option<Name> {
        let mut bytes = [0; 23];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Name { len: text.len() as u8, bytes })
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

/// Text without what could do anything but be read: control characters, which terminals obey, and
/// those that turn the direction of writing become spaces.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if obeyed(c) { ' ' } else { c }).collect())
}

/// A string of JSON (RFC 8259, section 7), with its quotes.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut rest = self.0;
        while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') {
            let (plain, special) = rest.split_at(at);
            let byte = special.as_bytes()[0];
            f.write_str(plain)?;
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                _ => write!(f, "\\u{byte:04x}")?,
            }
            rest = &special[1..];
        }
        f.write_str(rest)?;
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_letters_and_digits() {
        for good in ["a", "Anna-1", "jörg", "李雷", "x.y_z", "12345678901234567890"] {
            assert_eq!(&*Name::new(good).unwrap(), good);
        }
        let bad = [
            "",
            "a b",
            "a\n",
            "*",
            "a:",
            "[x]",
            "\u{202e}a",
            "123456789012345678901",
            "\"",
            "\u{3164}",
            "é\u{301}",
        ];
        for bad in bad {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_have_one_key() {
        let key = |text| Name::new(text).unwrap().key().unwrap();
        assert_eq!(key("ÄNNA"), key("änna"));
        assert_ne!(key("anna"), key("anne"));
        // A letter that is longer in lower case has room, or the name has no key and is refused.
        let longest = "İ".repeat(Name::BYTES_MAX / 2);
        assert_eq!(Name::new(&longest).unwrap().key(), None);
        assert!(Name::new(&longest[..14]).unwrap().key().is_some());
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(clean("a\x1b[31mb\tc\u{85}\u{202e}d\r"), "a [31mb c  d ");
        assert!(matches!(clean("日本 ok 👍"), Cow::Borrowed(_)));
    }

    #[test]
    fn quoted_text_is_one_json_string() {
        assert_eq!(Quoted("a\"b\\c\u{1}é").to_string(), "\"a\\\"b\\\\c\\u0001é\"");
    }
}
