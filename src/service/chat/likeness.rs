//! What names have in common that people take for one another.

use std::hash::{BuildHasher, RandomState};

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

/// Stands for all names that look the same. A digest, because what it is made of may be several
/// times as long as the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Likeness([u8; 16]);

/// Finds the likeness of names. The digests are keyed with secrets of this process, so that nobody
/// can look for two names that have one.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    secrets: [RandomState; 2],
}

impl Mirror {
    /// What a name looks like. The first stands for the name whatever its case: names that have it in
    /// common are one name. The second stands for how it is written: `Ilya` looks like `llya`,
    /// although `ilya` does not. Two names are too much alike when either of one is either of the
    /// other.
    pub(super) fn look(&self, name: &str) -> [Likeness; 2] {
        let folded = fold(name);
        [self.digest(&folded), self.digest(name)]
    }

    fn digest(&self, text: &str) -> Likeness {
        // A skeleton may have letters of either case: that of 0 is O.
        let looks = fold(&skeleton(text).collect::<String>());
        let mut bytes = [0; 16];
        for (half, secret) in bytes.chunks_exact_mut(8).zip(&self.secrets) {
            half.copy_from_slice(&secret.hash_one(&looks).to_ne_bytes());
        }
        Likeness(bytes)
    }
}

/// The text without differences of case and of compatibility: full case folding between normal forms
/// KC, as Unicode defines it for identifiers (3.13, D146).
fn fold(text: &str) -> String {
    text.nfkc().default_case_fold().nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_alike(one: &str, other: &str) -> bool {
        let mirror = Mirror::default();
        let [of_one, of_other] = [mirror.look(one), mirror.look(other)];
        of_one.iter().any(|likeness| of_other.contains(likeness))
    }

    #[test]
    fn case_and_form_make_no_difference() {
        for (one, other) in [
            ("ÄNNA", "änna"),
            ("ΑΣ", "ασ"),
            ("ΑΣ", "ας"),
            ("Straße", "STRASSE"),
            ("ᎠᎡ", "ꭰꭱ"),
            ("ᲐᲑ", "აბ"),
            ("\u{212a}im", "kim"),
            ("ǅa", "ǆa"),
            ("ﬁn", "FIN"),
            ("ａｎｎａ", "anna"),
            ("İ", "i\u{307}"),
            ("Amélie", "Ame\u{301}lie"),
            ("علی\u{200c}رضا", "علیرضا"),
        ] {
            assert!(are_alike(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn names_that_look_the_same_are_alike_in_any_case() {
        for (one, other) in [
            ("anna", "аnnа"),
            ("ANNA", "аnnа"),
            ("PAYPAL", "раураl"),
            ("Ilya", "llya"),
            ("BILL", "BlLL"),
            ("bob", "b0b"),
            ("guest1", "guestl"),
            ("modern", "modem"),
            ("scope", "ѕсоре"),
        ] {
            assert!(are_alike(one, other) && are_alike(other, one), "{one} and {other}");
        }
    }

    #[test]
    fn different_names_differ() {
        let names =
            ["anna", "anne", "änna", "bill", "bili", "mail", "mall", "李雷", "अनीता", "अनिता"];
        for (index, one) in names.iter().enumerate() {
            for other in &names[index + 1..] {
                assert!(!are_alike(one, other), "{one} and {other}");
            }
        }
    }
}
