//! Which ends of connections are logged, as people write it: names of close reasons, `all`, or `none`.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use edgeloop::{CloseReason, CloseReasons};

/// One word of `--log-closes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    All,
    None,
    For(CloseReason),
}

/// The reasons that the words stand for, together.
pub(crate) fn reasons(words: &[Closes]) -> CloseReasons {
    let is_meant = |reason: &CloseReason| {
        words.contains(&Closes::All) || words.contains(&Closes::For(*reason))
    };
    CloseReason::ALL.into_iter().filter(is_meant).collect()
}

/// Those that a server logs unless it is told which: what somebody may ask about later.
pub(crate) fn by_default() -> CloseReasons {
    CloseReason::ALL.into_iter().filter(|reason| !reason.is_orderly()).collect()
}

impl ValueEnum for Closes {
    fn value_variants<'a>() -> &'a [Closes] {
        &WORDS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Closes::All => "all",
            Closes::None => "none",
            Closes::For(reason) => reason.name(),
        }))
    }
}

const REASONS: usize = CloseReason::ALL.len();

static WORDS: [Closes; REASONS + 2] = {
    let mut words = [Closes::All; REASONS + 2];
    words[1] = Closes::None;
    let mut at = 0;
    while at < REASONS {
        words[at + 2] = Closes::For(CloseReason::ALL[at]);
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
            assert_eq!(by_default().contains(reason), !reason.is_orderly());
        }
        assert!(of("reset,memory").contains(CloseReason::Memory));
        assert!(!of("reset,memory").contains(CloseReason::Closed));
        assert!(Closes::from_str("rest", false).is_err());
    }
}
