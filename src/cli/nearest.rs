//! Which name may have been meant by one that there is not.

/// The known name that is most like the one given; nothing where none is like it.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest.filter(|nearest| likeness(nearest) > ALIKE)
}

/// A slip of the finger is about 0.95; what is below this only shares some letters.
const ALIKE: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slip_is_near_and_another_word_is_not() {
        let known = ["idle-timeout", "input-limit", "listen"];
        assert_eq!(nearest("idel-timeout", known), Some("idle-timeout"));
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("listen", []), None);
    }
}
