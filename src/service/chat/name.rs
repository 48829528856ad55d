//! Names of people and rooms.

use std::fmt;
use std::ops::Deref;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::text::is_invisible;

/// A name, stored in place: letters and digits of any script with their marks, `_`, `-`, `.`; at
/// most [`Name::CHARACTERS_MAX`] characters and [`Name::BYTES_MAX`] bytes in normal form C. Nothing
/// in it can end a line, a word, or a string of JSON. Zeros fill it up, so that its length needs no
/// place.
#[derive(Clone, Copy)]
pub(super) struct Name {
    bytes: [u8; Name::BYTES_MAX],
}

impl Name {
    /// The longest name in characters, marks included.
    pub(super) const CHARACTERS_MAX: usize = 20;

    /// The longest name in bytes of UTF-8: ten characters of Hindi or Thai.
    pub(super) const BYTES_MAX: usize = 30;

    /// A name that somebody may have.
    pub(super) fn new(text: &str) -> Option<Name> {
        // What is so long does not become a name by being composed.
        if text.len() > 4 * Self::BYTES_MAX {
            return None;
        }
        let composed: String = text.nfc().collect();
        Name::store(&composed).filter(|_| is_name(&composed))
    }

    /// The name of the nth guest.
    pub(super) fn guest(number: u32) -> Name {
        // It always fits: five letters and ten digits.
        Name::store(&format!("guest{number}")).unwrap_or(Name { bytes: [0; Self::BYTES_MAX] })
    }

    fn store(text: &str) -> Option<Name> {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Name { bytes })
    }
}

/// Whether these are the characters of a name, each where it may stand.
fn is_name(text: &str) -> bool {
    let (mut before, mut marks) = (None, 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_nonspacing = c.general_category() == GeneralCategory::NonspacingMark;
        marks = if is_nonspacing { marks + 1 } else { 0 };
        let may_stand = match c {
            '_' | '-' | '.' => true,
            '\u{200c}' | '\u{200d}' => joins(before, c, rest.peek().copied()),
            c if is_invisible(c) => false,
            // A mark needs a letter that it stands on, perhaps with other marks.
            c if is_mark(c) => {
                before.is_some_and(|c: char| c.is_alphanumeric() || is_mark(c))
                    && marks <= MARKS_MAX
            }
            c => c.is_alphanumeric(),
        };
        if !may_stand {
            return false;
        }
        before = Some(c);
    }
    before.is_some() && text.chars().count() <= Name::CHARACTERS_MAX
}

fn is_mark(c: char) -> bool {
    matches!(c.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark)
}

/// Whether a joiner shows here (RFC 5892, appendix A): behind a virama, or, where it keeps two
/// letters apart, between letters of Arabic.
fn joins(before: Option<char>, joiner: char, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let is_arabic = |c: char| matches!(c, '\u{620}'..='\u{8ff}');
    let is_virama = canonical_combining_class(before) == 9;
    // Some marks count as alphabetic.
    after.is_alphabetic()
        && !is_mark(after)
        && (is_virama || joiner == '\u{200c}' && is_arabic(before) && is_arabic(after))
}

/// Marks above or below one letter: no language needs more (UTS 39, 5.4), and a tower of them would
/// reach into the lines of others.
const MARKS_MAX: usize = 4;

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::BYTES_MAX);
        str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Name {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_letters_and_digits_of_any_script() {
        for good in [
            "a",
            "Anna-1",
            "jörg",
            "李雷",
            "x.y_z",
            "12345678901234567890",
            "áéíóúáéíóúáéíóú",
            "अनीता",
            "সুমিত্রা",
            "తెలుగు",
            "สมชาย",
            "សុខា",
            "မောင်",
            "عَلِيّ",
            "שָׁלוֹם",
            "علی\u{200c}رضا",
            "ශ\u{dca}\u{200d}රී",
            "Ωμέγα",
            "١٢٣",
        ] {
            assert_eq!(Name::new(good).as_deref(), Some(good));
        }
        assert_eq!(Name::new("Ame\u{301}lie").as_deref(), Some("Amélie"), "in normal form C");
    }

    #[test]
    fn what_does_not_show_or_is_no_word_is_no_name() {
        for bad in [
            "",
            "a b",
            "a\n",
            "*",
            "a:",
            "[x]",
            "\"",
            "\u{202e}a",
            "a\u{200e}",
            "a\u{200f}b",
            "a\u{61c}",
            "a\u{200b}b",
            "a\u{200d}b",
            "a\u{200c}b",
            "\u{200c}علی",
            "علی\u{200c}",
            "\u{3164}",
            "\u{2800}",
            "a\u{fe0f}",
            "a\u{34f}",
            "\u{e0061}",
            "\u{301}a",
            "a-\u{301}",
            "a.\u{301}b",
            "_\u{301}",
            "ශ\u{dca}\u{200d}\u{dd2}",
            "क\u{94d}\u{200d}\u{301}",
            "علی\u{200c}\u{64b}ر",
            "a\u{20dd}",
            "a\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}",
            "123456789012345678901",
            "áéíóúáéíóúáéíóúx",
            "👍",
        ] {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
        assert_eq!(Name::new(&"e\u{301}".repeat(1000)), None);
    }
}
