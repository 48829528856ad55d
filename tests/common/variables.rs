//! What a variable of the environment asks of a test. A value that is not understood fails the test, which
//! names the variable: otherwise another test than the one that was asked for would pass.

/// The number that a variable asks for, if it is set.
#[track_caller]
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is {text:?}, which is no number")))
}
