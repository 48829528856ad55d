//! Percent-encoding (RFC 3986, 2.1).

use std::borrow::Cow;
use std::fmt::Write;

/// A path in the one spelling of all that mean the same (RFC 3986, 6.2.2.1 and 6.2.2.2): percent-encoded
/// is only what has to be, with capitals for digits. Segments of dots are left as they are.
pub(super) fn normalize(path: &str) -> Cow<'_, str> {
    // As most paths are.
    if path.bytes().all(is_path_byte) {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let (byte, is_plain, after) = match others {
            [high, low, after @ ..] if *first == b'%' && is_digit(*high) && is_digit(*low) => {
                let byte = 16 * digit(Some(*high)) + digit(Some(*low));
                (byte, is_unreserved(byte), after)
            }
            _ => (*first, is_path_byte(*first), others),
        };
        if is_plain {
            normal.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(normal, "%{byte:02X}");
        }
        rest = after;
    }
    Cow::Owned(normal)
}

/// Undoes percent-encoding. The codec has seen that two digits follow each `%`; what is then not
/// UTF-8 is replaced.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => 16 * digit(rest.next()) + digit(rest.next()),
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a byte means the same with percent-encoding and without.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a byte may stand in a path as it is.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn digit(byte: Option<u8>) -> u8 {
    byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("plain", true), "plain");
        assert_eq!(decode("a%20b+c", true), "a b c");
        assert_eq!(decode("a+b%2Bc", false), "a+b+c");
        assert_eq!(decode("%C3%a9%FF", false), "é\u{fffd}");
    }

    #[test]
    fn all_spellings_of_a_path_become_one() {
        for (path, normal) in [
            ("/plain/*a:b@c", "/plain/*a:b@c"),
            ("/%7Euser/%68i-%2E", "/~user/hi-."),
            ("/caf%c3%A9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/{a} %7b", "/%7Ba%7D%20%7B"),
            // What separates is not the same as what does not.
            ("/a%2fb%2C,", "/a%2Fb%2C,"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
        ] {
            assert_eq!(normalize(path), normal, "{path}");
            assert_eq!(normalize(normal), normal, "a second time");
        }
    }
}
