//! Which protocol a server speaks, by the first bytes of what it says: for whoever asks it in
//! another one.

use super::plan::Mode;

/// A protocol that servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Resp,
    Tls,
    Ssh,
    Smtp,
}

impl Protocol {
    /// Of the first bytes that came.
    pub(super) fn of(bytes: &[u8]) -> Option<Protocol> {
        let is_line = |bytes: &[u8]| bytes.windows(2).take(LINE).any(|pair| pair == b"\r\n");
        match bytes {
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', ..] => Some(Protocol::Http),
            [b'S', b'S', b'H', b'-', b'0'..=b'9', ..] => Some(Protocol::Ssh),
            // An alert or a handshake, of any version (RFC 8446, 5.1).
            [0x15 | 0x16, 3, 0..=4, ..] => Some(Protocol::Tls),
            // A greeting, or a refusal (RFC 5321, 4.2).
            [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => Some(Protocol::Smtp),
            [b'-', b'A'..=b'Z', ..] | [b'+', b'A'..=b'Z', ..] if is_line(bytes) => {
                Some(Protocol::Resp)
            }
            [b':' | b'$' | b'*', b'0'..=b'9' | b'-', ..] if is_line(bytes) => Some(Protocol::Resp),
            _ => None,
        }
    }

    /// The protocol of a mode, where it is one of these.
    pub(super) fn of_mode(mode: &Mode) -> Option<Protocol> {
        match mode {
            Mode::Http { .. } => Some(Protocol::Http),
            Mode::Redis(_) => Some(Protocol::Resp),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Http => "HTTP",
            Protocol::Resp => "RESP",
            Protocol::Tls => "TLS",
            Protocol::Ssh => "SSH",
            Protocol::Smtp => "SMTP",
        }
    }

    /// The end of a sentence that says why nothing came of it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Protocol::Http => "; the server speaks HTTP: use the mode http",
            Protocol::Resp => "; the server speaks RESP, as Redis does: use the mode redis",
            Protocol::Tls => {
                "; the server speaks TLS: write tls: in front of its address, or https:// or rediss://"
            }
            Protocol::Ssh => "; the server speaks SSH: is this the right port?",
            Protocol::Smtp => {
                "; the server greets as one of SMTP or FTP does: is this the right port?"
            }
        }
    }
}

/// The first line of an answer ends within so many bytes.
const LINE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (bytes, protocol) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], Some(Protocol::Http)),
            (b"-ERR unknown command\r\n", Some(Protocol::Resp)),
            (b"$-1\r\n", Some(Protocol::Resp)),
            (b"\x15\x03\x01\0\x02\x02\x0a", Some(Protocol::Tls)),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", Some(Protocol::Ssh)),
            (b"220 mx.example ESMTP\r\n", Some(Protocol::Smtp)),
            (b"421-busy\r\n", Some(Protocol::Smtp)),
            (b"", None),
            (b"-x\r\n", None),
            (b"-ERR", None),
            (b"2200\r\n", None),
        ] {
            assert_eq!(Protocol::of(bytes), protocol, "{bytes:?}");
        }
    }
}
