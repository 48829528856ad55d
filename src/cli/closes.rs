//! Which ends of connections are logged, as people write it: names of close reasons, `disorderly`, `all`,
//! or `none`.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use edgeloop::{CloseReason, CloseReasons};

/// One word of `--log-closes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    All,
    None,
    /// All that are not orderly: what somebody may ask about later.
    Disorderly,
    For(CloseReason),
}

/// The reasons that the words stand for, together.
pub(crate) fn reasons(words: &[Closes]) -> CloseReasons {
    let is_meant = |reason: &CloseReason| {
        let is_disorderly = || !reason.is_orderly() && words.contains(&Closes::Disorderly);
        words.contains(&Closes::All) || is_disorderly() || words.contains(&Closes::For(*reason))
    };
    CloseReason::ALL.into_iter().filter(is_meant).collect()
}

impl ValueEnum for Closes {
    fn value_variants<'a>() -> &'a [Closes] {
        &WORDS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Closes::All => "all",
            Closes::None => "none",
            Closes::Disorderly => "disorderly",
            Closes::For(reason) => reason.name(),
        }))
    }
}

const REASONS: usize = CloseReason::ALL.len();

static WORDS: [Closes; REASONS + 3] = {
    let mut words = [Closes::All; REASONS + 3];
    words[1] = Closes::None;
    words[2] = Closes::Disorderly;
    let mut at = 0;
    while at < REASONS {
        words[at + 3] = Closes::For(CloseReason::ALL[at]);
        at += 1;
    }
    words
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_all_for_none_or_for_one_each() {
        let of = |text: &str| {
            let words = text.split(',').map(|word| Closes::from_str(word, false).unwrap());
            reasons(&words.collect::<Vec<_>>())
        };
        for reason in CloseReason::ALL {
            assert!(of("all").contains(reason) && !of("none").contains(reason));
            assert!(of(reason.name()).contains(reason));
            assert_eq!(of("disorderly").contains(reason), !reason.is_orderly());
        }
        assert!(of("reset,memory").contains(CloseReason::Memory));
        assert!(!of("reset,memory").contains(CloseReason::Closed));
        assert!(Closes::from_str("rest", false).is_err());
    }
}
