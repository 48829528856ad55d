//! What a client of TLS begins with, for servers that speak no TLS.

/// Whether a connection begins as one of TLS does: with the record of a handshake (RFC 8446, 5.1),
/// or with the greeting in the form of SSL 2 (RFC 5246, E.2). A server of lines must not take any of
/// the lines in it for its client's: a page may have had them sent.
pub(crate) fn begins_tls(input: &[u8]) -> bool {
    matches!(input, [22, 3, ..] | [0x80 | 0x81, _, 1, 3, ..])
}

/// Why such a connection is closed.
pub(crate) const NO_TLS: &str = "this port has no TLS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_of_tls_is_told_from_text() {
        assert!(begins_tls(b"\x16\x03\x01\x02\x00\x01") && begins_tls(b"\x16\x03"));
        assert!(begins_tls(b"\x80\x2e\x01\x03\x01"));
        for text in
            [&b""[..], b"\x16", b"\x16\n", b"\x15\x03\x01", b"GET / ", "\u{80}\n".as_bytes()]
        {
            assert!(!begins_tls(text), "{text:?}");
        }
    }
}
