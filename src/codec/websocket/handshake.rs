//! The opening handshake, RFC 6455, section 4.2: from the head of an HTTP request to the key of the
//! answer.

use std::fmt;

/// Why a request is not upgraded to a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// It does not ask for a WebSocket: no `Upgrade: websocket`, or no `Connection: upgrade`.
    NoUpgrade,
    /// It asks for another version than 13.
    Version,
    /// Its `Sec-WebSocket-Key` is missing, given twice, or not 16 bytes in base64.
    Key,
    /// Its `Host` is missing or given twice.
    Host,
    /// It has a body, where frames are to follow.
    Body,
    /// It comes from a page of another origin.
    Origin,
}

impl HandshakeError {
    /// The stable name, in snake case.
    pub const fn name(self) -> &'static str {
        match self {
            HandshakeError::NoUpgrade => "no_upgrade",
            HandshakeError::Version => "version",
            HandshakeError::Key => "key",
            HandshakeError::Host => "host",
            HandshakeError::Body => "body",
            HandshakeError::Origin => "origin",
        }
    }

    /// The status of the answer. With 426 belong `Upgrade: websocket` and
    /// `Sec-WebSocket-Version: 13`.
    pub const fn status(self) -> u16 {
        match self {
            HandshakeError::NoUpgrade | HandshakeError::Version => 426,
            HandshakeError::Key | HandshakeError::Host | HandshakeError::Body => 400,
            HandshakeError::Origin => 403,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::NoUpgrade => "the request does not ask for a WebSocket",
            HandshakeError::Version => "the WebSocket version is not 13",
            HandshakeError::Key => "Sec-WebSocket-Key is missing or wrong",
            HandshakeError::Host => "Host is missing or given twice",
            HandshakeError::Body => "the request has a body",
            HandshakeError::Origin => "pages of this origin may not connect",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Checks the header fields of a `GET` request of HTTP/1.1, and returns the
/// `Sec-WebSocket-Accept` of the answer.
///
/// A browser says with `Origin` whose page connects. One of `origins` may, or, when there are none,
/// the page that comes from this server: its origin's host is the request's `Host`. A client that
/// sends no `Origin` is no browser and may.
///
/// ```
/// use edgeloop::codec::websocket::check_handshake;
/// let fields = [
///     ("Host", "localhost:7000"),
///     ("Upgrade", "websocket"),
///     ("Connection", "keep-alive, Upgrade"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
///     ("Sec-WebSocket-Version", "13"),
///     ("Origin", "http://localhost:7000"),
/// ];
/// let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
/// let accept = check_handshake(fields, &[])?;
/// assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<(), edgeloop::codec::websocket::HandshakeError>(())
/// ```
///
/// # Errors
/// When the request is not to be upgraded; [`HandshakeError::status`] says how to answer.
pub fn check_handshake<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    origins: &[String],
) -> Result<String, HandshakeError> {
    let values = |wanted: &'static str| {
        let fields = fields.clone().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        fields.map(|(_, value)| value.trim_ascii())
    };
    let lists = |wanted: &'static str, token: &'static str| {
        let mut tokens = values(wanted).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if !lists("Upgrade", "websocket") || !lists("Connection", "upgrade") {
        return Err(HandshakeError::NoUpgrade);
    }
    if single(values("Sec-WebSocket-Version")) != Some(b"13") {
        return Err(HandshakeError::Version);
    }
    let host = single(values("Host")).ok_or(HandshakeError::Host)?;
    let key = single(values("Sec-WebSocket-Key")).filter(|key| is_key(key));
    let key = key.ok_or(HandshakeError::Key)?;
    let mut from = values("Origin");
    if !from.all(|origin| is_welcome(origin, host, origins)) {
        return Err(HandshakeError::Origin);
    }
    Ok(accept_key(key))
}

/// The `Sec-WebSocket-Accept` for a key: SHA-1 of the key and a constant, in base64.
pub fn accept_key(key: &[u8]) -> String {
    let mut digest = sha1_smol::Sha1::new();
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&digest.digest().bytes())
}

fn single<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.next().filter(|_| values.next().is_none())
}

/// Sixteen bytes in base64: 22 digits, of which the last has four bits that mean nothing, and `==`.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    digits.len() == 22 && digits.iter().all(|digit| BASE64.contains(digit))
}

fn is_welcome(origin: &[u8], host: &[u8], origins: &[String]) -> bool {
    if origins.is_empty() {
        // An origin leaves the scheme's own port out; a proxy may hand it on with the host.
        return [(&b"http://"[..], &b":80"[..]), (b"https://", b":443")].iter().any(
            |(scheme, port)| {
                let host = host.strip_suffix(*port).unwrap_or(host);
                origin.strip_prefix(*scheme).is_some_and(|from| from.eq_ignore_ascii_case(host))
            },
        );
    }
    origins.iter().any(|welcome| welcome == "*" || welcome.as_bytes().eq_ignore_ascii_case(origin))
}

/// RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            let is_there = digit <= group.len();
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if is_there { char::from(BASE64[value]) } else { '=' });
        }
    }
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("host", "chat.example"),
        ("UPGRADE", "WebSocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn check(fields: &[(&str, &str)], origins: &[&str]) -> Result<String, HandshakeError> {
        let origins: Vec<String> = origins.iter().map(|origin| String::from(*origin)).collect();
        check_handshake(fields.iter().map(|(name, value)| (*name, value.as_bytes())), &origins)
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in examples {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn each_field_that_is_missing_or_wrong_is_told() {
        assert!(check(&GOOD, &[]).is_ok());
        let errors = [
            HandshakeError::Host,
            HandshakeError::NoUpgrade,
            HandshakeError::NoUpgrade,
            HandshakeError::Key,
            HandshakeError::Version,
        ];
        for (index, error) in errors.into_iter().enumerate() {
            let mut fields = GOOD.to_vec();
            fields.remove(index);
            assert_eq!(check(&fields, &[]), Err(error));
            let mut fields = GOOD.to_vec();
            fields[index].1 = "";
            assert!(index == 0 || check(&fields, &[]) == Err(error), "{fields:?}");
        }
        for twice in [0, 3, 4] {
            let fields = [&GOOD[..], &[GOOD[twice]]].concat();
            assert_eq!(check(&fields, &[]), Err(errors[twice]));
        }
        for key in
            ["dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ===", "dGhlIHNhbXBsZSBub25j Q=="]
        {
            let mut fields = GOOD;
            fields[3].1 = key;
            assert_eq!(check(&fields, &[]), Err(HandshakeError::Key));
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let from = |origin| [&GOOD[..], &[("Origin", origin)]].concat();
        assert!(check(&from("http://chat.example"), &[]).is_ok());
        assert!(check(&from("https://CHAT.example"), &[]).is_ok());
        for other in ["http://evil.example", "http://chat.example.evil", "null", "chat.example", ""]
        {
            assert_eq!(check(&from(other), &[]), Err(HandshakeError::Origin), "{other}");
        }
        let at = |host, origin| {
            let mut fields = [&GOOD[..], &[("Origin", origin)]].concat();
            fields[0].1 = host;
            check(&fields, &[]).is_ok()
        };
        assert!(at("chat.example:443", "https://chat.example"));
        assert!(at("[::1]:80", "http://[::1]") && at("[::1]:7000", "http://[::1]:7000"));
        assert!(!at("chat.example:443", "http://chat.example"));
        assert!(!at("chat.example:7000", "http://chat.example"));
        assert!(!at("chat.example", "http://chat.example:7000"));
        let allowed = ["https://a.example", "https://b.example"];
        assert!(check(&from("https://b.example"), &allowed).is_ok());
        assert_eq!(check(&from("http://chat.example"), &allowed), Err(HandshakeError::Origin));
        assert!(check(&from("null"), &["*"]).is_ok());
        let two = [&from("https://a.example")[..], &[("Origin", "https://evil.example")]].concat();
        assert_eq!(check(&two, &allowed), Err(HandshakeError::Origin));
    }
}
