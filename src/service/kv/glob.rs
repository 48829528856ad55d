//! Patterns of `KEYS`, `SCAN`, `PSUBSCRIBE` and `CONFIG GET`, with the meaning that they have in
//! Redis: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\` before what is meant literally.

/// The longest pattern that is accepted. Comparing costs up to the length of the pattern times that
/// of the text, so a client must not choose both freely.
pub(super) const PATTERN_MAX: usize = 1024;

/// Whether a pattern describes a text. Upper and lower case are the same if `any_case`.
///
/// Goes back to the last star only, and never to one before it, so the number of stars does not
/// matter.
pub(super) fn matches(mut pattern: &[u8], mut text: &[u8], any_case: bool) -> bool {
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            star = Some((pattern, text));
            if pattern.is_empty() {
                return true;
            }
            continue;
        }
        match (pattern, text) {
            ([], []) => return true,
            ([_, ..], [byte, rest @ ..]) => {
                let (is_match, behind) = one(pattern, *byte, any_case);
                if is_match {
                    (pattern, text) = (behind, rest);
                    continue;
                }
            }
            _ => {}
        }
        // The star takes one byte more.
        let Some((behind, [_, rest @ ..])) = star else { return false };
        star = Some((behind, rest));
        (pattern, text) = (behind, rest);
    }
}

/// Whether the first element of a pattern describes a byte, and what stands behind it.
fn one(pattern: &[u8], byte: u8, any_case: bool) -> (bool, &[u8]) {
    let fold = |byte: u8| if any_case { byte.to_ascii_lowercase() } else { byte };
    match pattern {
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => class(rest, fold(byte), fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (fold(*literal) == fold(byte), rest),
        [] => (false, pattern),
    }
}

/// The inside of brackets. One that is not closed ends with the pattern.
fn class(mut pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, &[u8]) {
    let negated = pattern.first() == Some(&b'^');
    pattern = &pattern[usize::from(negated)..];
    let mut is_match = false;
    loop {
        match pattern {
            [] => break,
            [b'\\', literal, rest @ ..] => {
                is_match |= *literal == byte;
                pattern = rest;
            }
            [b']', rest @ ..] => {
                pattern = rest;
                break;
            }
            [first, b'-', last, rest @ ..] => {
                let (first, last) = (fold(*first), fold(*last));
                is_match |= (first.min(last)..=first.max(last)).contains(&byte);
                pattern = rest;
            }
            [literal, rest @ ..] => {
                is_match |= fold(*literal) == byte;
                pattern = rest;
            }
        }
    }
    (is_match != negated, pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("[abc", "c", true),
            ("[", "", false),
            ("a\\", "a\\", true),
            ("?", "", false),
            ("Key", "key", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), false),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(matches(b"MAX[A-Z]*", b"maxmemory", true));
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let pattern = b"a*".repeat(PATTERN_MAX / 2);
        let mut text = vec![b'a'; 5_000];
        text.push(b'b');
        assert!(matches(&pattern, &text, false));
        let pattern = [&pattern[2..], b"c"].concat();
        assert!(!matches(&pattern, &text, false));
    }
}
