//! What a client of HTTP begins with, for servers that speak lines of their own.

/// Whether a line is the first one of an HTTP request: a method, a target and a version, HTTP/1.0 or
/// later (RFC 9112, section 3). A browser sends such a line to any port that a page names, with a body
/// of the page's choice; so a server of lines must take nothing of it for its client's words.
pub(crate) fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (method, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    // Some clients leave spaces in the target.
    let is_versioned = match rest {
        [_, .., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    is_versioned && !method.is_empty() && method.iter().all(is_token)
}

/// Why such a connection is closed.
pub(crate) const NO_HTTP: &str = "this port does not speak HTTP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_of_a_request_is_told_from_text() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "POST /a%20b?c=d HTTP/1.0\n",
            "OPTIONS * HTTP/1.1",
            "M-SEARCH http://[::1]:7000/ HTTP/1.1\r",
            "PRI * HTTP/2.0\r\n",
            "GET /a b HTTP/1.1",
        ] {
            assert!(is_request_line(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "GET /\r\n",
            "speak HTTP/1.1",
            "/say GET / HTTP/1.1",
            "GET / HTTP/1.1 works",
            "GET  HTTP/1.1",
            "é / HTTP/1.1",
            "GET / HTTP/1",
            "GET / http/1.1",
        ] {
            assert!(!is_request_line(line.as_bytes()), "{line}");
        }
    }
}
