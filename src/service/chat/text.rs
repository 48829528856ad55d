//! What text may contain, and whether anybody could see it.

use std::borrow::Cow;
use std::fmt;

/// Text without what could do anything but be read: control characters, which terminals obey, and
/// those that turn the direction of writing become spaces.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect())
}

/// Control characters, separators of lines, everything that turns the direction of writing (UAX 9),
/// the deprecated controls beside these, anchors of annotations, and the byte order mark. What joins
/// letters or emoji stays: words of Persian and families of emoji depend on it.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether a text shows nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_obeyed(c) || is_invisible(c))
}

/// Whether a character that is no space shows nothing: those that Unicode lets a program ignore
/// (`Default_Ignorable_Code_Point`), and the blanks that it counts as letters, marks or symbols.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
        || matches!(
            c,
            // The empty pattern of braille, the note without a head, the fillers of Khitan and of
            // hieroglyphs.
            '\u{2800}' | '\u{1d159}' | '\u{16fe4}' | '\u{13441}'..='\u{13442}'
        )
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
    fn what_is_obeyed_and_not_read_becomes_spaces() {
        assert_eq!(clean("a\x1b[31mb\tc\u{85}\u{202e}d\r"), "a [31mb c  d ");
        assert_eq!(clean("a\u{200e}b\u{200f}c\u{61c}d\u{2066}e\u{206a}f"), "a b c d e f");
        assert!(matches!(clean("日本 ok 👍"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_joined_stays_as_it_is() {
        for text in ["👩‍👩‍👧‍👦", "❤\u{fe0f}", "क\u{94d}\u{200d}ष", "می\u{200c}خواهم"]
        {
            assert!(matches!(clean(text), Cow::Borrowed(_)) && !is_blank(text), "{text}");
        }
    }

    #[test]
    fn text_that_shows_nothing_is_blank() {
        let signs = "\u{200b}\u{200c}\u{200d}\u{2060}\u{ad}\u{200e}\u{61c}\u{3164}\u{115f}\u{ffa0}\
            \u{2800}\u{180e}\u{e0020}\u{e0001}\u{fe0f}\u{e0100}\u{a0}\u{3000}\u{feff}\u{2028}\
            \u{34f}\u{17b4}\u{1d159}\u{206a}\u{fffa}\u{0}\u{7f}";
        assert!(is_blank("") && is_blank(signs));
        for sign in signs.chars() {
            assert!(is_blank(&format!(" {sign}{sign}")), "{sign:?}");
            assert!(!is_blank(&format!("{sign}.")), "{sign:?}");
        }
    }

    /// A text that only one of them takes for blank would never come back to the page.
    #[test]
    fn page_and_server_agree_on_what_is_obeyed_and_what_shows_nothing() {
        let script = include_str!("page/text.js");
        let expression = |name: &str| {
            let begin = script.split_once(&format!("const {name} = /")).unwrap().1;
            let (text, flags) = begin.split_once(";\n").unwrap().0.rsplit_once('/').unwrap();
            assert!(flags.contains('u'), "{flags}");
            regex::Regex::new(text).unwrap()
        };
        let (obeyed, blank) = (expression("OBEYED"), expression("BLANK"));
        // The planes in between have ideographs only.
        for c in ('\0'..='\u{1ffff}').chain('\u{e0000}'..='\u{e1fff}') {
            let text = c.to_string();
            assert_eq!(obeyed.is_match(&text), is_obeyed(c), "{c:?}");
            assert_eq!(obeyed.is_match(&text) || blank.is_match(&text), is_blank(&text), "{c:?}");
        }
    }

    #[test]
    fn quoted_text_is_one_json_string() {
        assert_eq!(Quoted("a\"b\\c\u{1}é").to_string(), "\"a\\\"b\\\\c\\u0001é\"");
    }
}
