//! Patterns of `KEYS`, `SCAN`, `PSUBSCRIBE` and `CONFIG GET`, with the meaning that they have in
//! Redis: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\` before what is meant literally.

/// The longest pattern that is accepted.
pub(super) const PATTERN_MAX: usize = 1024;

/// A pattern that texts are compared with, and the work that this has been.
///
/// What people ask for is decided within a few bytes. What costs more than some steps for each byte
/// of the text, as a client may choose both, is decided by [`Automaton`] in a time that grows with
/// the text alone; but that is long, some ten microseconds for a text of 1 KiB, so it counts.
pub(super) struct Pattern<'a> {
    pattern: &'a [u8],
    any_case: bool,
    /// In the units of [`Work`](super::work::Work), beside [`TEXT_WORK`] for each text.
    pub(super) work: usize,
}

impl<'a> Pattern<'a> {
    /// Has at most [`PATTERN_MAX`] bytes.
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        Pattern { pattern, any_case: false, work: 0 }
    }

    /// Upper and lower case are the same.
    pub(super) fn in_any_case(pattern: &'a [u8]) -> Self {
        Pattern { any_case: true, ..Pattern::new(pattern) }
    }

    /// Whether the pattern describes a text.
    pub(super) fn matches(&mut self, text: &[u8]) -> bool {
        let most = STEPS_PER_BYTE * text.len() + PATTERN_MAX;
        let mut left = most;
        let found = matches_within(&mut left, self.pattern, text, self.any_case);
        self.work += STEP_WORK * (most - left);
        found.unwrap_or_else(|| {
            let automaton = Automaton::new(self.pattern, self.any_case);
            let mut steps = 0;
            let is_match = automaton.accepts(text, &mut steps);
            self.work += AUTOMATON_WORK + STEP_WORK * steps;
            is_match
        })
    }
}

/// The work to come to a text, whatever becomes of it.
pub(super) const TEXT_WORK: usize = 128;
/// The work to pass by a place where there is none.
pub(super) const PASS_WORK: usize = 8;
/// To compare an element of a pattern with a byte, and to make room for an automaton.
const STEP_WORK: usize = 8;
const AUTOMATON_WORK: usize = 32 << 10;
/// Enough for the patterns of people; the automaton costs about as much.
const STEPS_PER_BYTE: usize = 8;

/// Tries the pattern at each place where a star may end; none when that takes too many steps. Goes
/// back to the last star only, and never to one before it, so the number of stars does not matter.
fn matches_within(
    steps: &mut usize,
    mut pattern: &[u8],
    mut text: &[u8],
    any_case: bool,
) -> Option<bool> {
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            star = Some((pattern, text));
            if pattern.is_empty() {
                return Some(true);
            }
            continue;
        }
        match (pattern, text) {
            ([], []) => return Some(true),
            ([_, ..], [byte, rest @ ..]) => {
                let (is_match, behind) = one(pattern, *byte, any_case);
                // A class has as many as it is long.
                let left = steps.checked_sub(pattern.len() - behind.len());
                *steps = left.unwrap_or(0);
                left?;
                if is_match {
                    (pattern, text) = (behind, rest);
                    continue;
                }
            }
            _ => {}
        }
        // The star takes one byte more.
        let Some((behind, [_, rest @ ..])) = star else { return Some(false) };
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

/// The inside of brackets. A class that is not closed ends with the pattern.
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

/// All places of a pattern at once (Baeza-Yates and Gonnet, 1992): bit `n` of a set is for those
/// texts that the first `n` elements describe. A star is no element, but keeps a bit where it is.
struct Automaton<'a> {
    elements: Vec<&'a [u8]>,
    /// Bytes of the pattern.
    len: usize,
    stars: Places,
    any_case: bool,
}

/// A bit for each place, and one for the end.
type Places = [u64; PATTERN_MAX / 64 + 1];

impl<'a> Automaton<'a> {
    /// The pattern has at most [`PATTERN_MAX`] bytes.
    fn new(mut pattern: &'a [u8], any_case: bool) -> Self {
        let (mut elements, mut stars, len) = (Vec::new(), Places::default(), pattern.len());
        while !pattern.is_empty() {
            if let [b'*', rest @ ..] = pattern {
                stars[elements.len() / 64] |= 1 << (elements.len() % 64);
                pattern = rest;
            } else {
                elements.push(pattern);
                pattern = one(pattern, 0, any_case).1;
            }
        }
        Automaton { elements, len, stars, any_case }
    }

    /// Adds the steps that it takes.
    fn accepts(&self, text: &[u8], steps: &mut usize) -> bool {
        let end = self.elements.len();
        let mut described: Vec<Option<Places>> = vec![None; 256];
        let mut places = Places::default();
        places[0] = 1;
        for byte in text {
            let by = described[usize::from(*byte)].get_or_insert_with(|| {
                *steps += self.len;
                self.describe(*byte)
            });
            *steps += end / 64 + 1;
            let mut carry = 0;
            let words = places.iter_mut().zip(&*by).zip(&self.stars);
            for ((place, by), stars) in words.take(end / 64 + 1) {
                let moved = *place & by;
                *place = moved << 1 | carry | *place & stars;
                carry = moved >> 63;
            }
        }
        places[end / 64] >> (end % 64) & 1 == 1
    }

    /// The elements that describe a byte.
    fn describe(&self, byte: u8) -> Places {
        let mut places = Places::default();
        for (place, element) in self.elements.iter().enumerate() {
            places[place / 64] |= u64::from(one(element, byte, self.any_case).0) << (place % 64);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn automaton_decides_as_trying_each_place_does(
            pattern in proptest::collection::vec(
                proptest::sample::select(b"aaabB***??[]^-\\".as_slice()), 0..150),
            text in proptest::collection::vec(
                proptest::sample::select(b"aaaabB[]".as_slice()), 0..200),
            any_case: bool,
        ) {
            let tried = matches_within(&mut { usize::MAX }, &pattern, &text, any_case);
            let automaton = Automaton::new(&pattern, any_case);
            prop_assert_eq!(tried, Some(automaton.accepts(&text, &mut 0)));
        }
    }

    #[test]
    fn automaton_has_room_for_the_longest_pattern() {
        for (pattern, text, expected) in [
            (vec![b'a'; PATTERN_MAX], vec![b'a'; PATTERN_MAX], true),
            (vec![b'a'; PATTERN_MAX], vec![b'a'; PATTERN_MAX - 1], false),
            (vec![b'*'; PATTERN_MAX], vec![b'a'; 5], true),
            ([b"*".as_slice(), &[b'a'; PATTERN_MAX - 1]].concat(), vec![b'a'; 5_000], true),
        ] {
            assert_eq!(Automaton::new(&pattern, false).accepts(&text, &mut 0), expected);
        }
    }

    /// Counted and not measured: the first way gives up, and the other takes a fixed number of words
    /// for each byte.
    #[test]
    fn pattern_that_is_tried_in_vain_at_every_place_is_given_up() {
        let text = vec![b'a'; 100_000];
        let steps = STEPS_PER_BYTE * text.len() + PATTERN_MAX;
        let late = [b"*".as_slice(), &[b'a'; 1_000], b"b"].concat();
        let class = [b"*[".as_slice(), &[b'x'; 1_000], b"]b"].concat();
        for pattern in [late, class] {
            let mut left = steps;
            assert_eq!((matches_within(&mut left, &pattern, &text, false), left), (None, 0));
            let mut pattern = Pattern::new(&pattern);
            assert!(!pattern.matches(&text));
            assert!(pattern.work > STEP_WORK * (steps + text.len()), "{}", pattern.work);
        }
        let mut cheap = Pattern::new(b"a*b");
        assert!(!cheap.matches(&text[..10]));
        assert!((1..200).contains(&cheap.work), "{}", cheap.work);
        let mut left = steps;
        assert_eq!(matches_within(&mut left, b"*aaab", &text, false), Some(false));
    }

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
                Pattern::new(pattern.as_bytes()).matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(Pattern::in_any_case(b"MAX[A-Z]*").matches(b"maxmemory"));
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let pattern = b"a*".repeat(PATTERN_MAX / 2);
        let mut text = vec![b'a'; 5_000];
        text.push(b'b');
        assert!(Pattern::new(&pattern).matches(&text));
        let pattern = [&pattern[2..], b"c"].concat();
        assert!(!Pattern::new(&pattern).matches(&text));
    }
}
