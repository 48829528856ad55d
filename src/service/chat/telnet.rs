//! What clients of telnet send between the lines (RFC 854).

/// Blanks commands of telnet out of the input of a line client, wherever they stand and however
/// they are cut: they become NULs, which in telnet mean nothing, so that the bytes of a
/// negotiation end no line and are no text. The server never answers one, which is to refuse it.
///
/// 255 begins a command and is no byte of UTF-8, so that nothing is taken from what people type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Telnet {
    /// Bytes at the front of the input that need not be looked at again.
    seen: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `WILL`, `WONT`, `DO`, `DONT`: one byte more, which names the option.
    Option,
    /// Within a subnegotiation, up to `IAC SE`.
    Parameters,
}

const IAC: u8 = 255;
const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const DONT: u8 = 254;

impl Telnet {
    /// Looks at what is new behind what it has seen.
    pub(super) fn blank(&mut self, input: &mut [u8]) {
        let mut at = self.seen as usize;
        // Ends: each round gets further, or leaves.
        while at < input.len() {
            let rest = &mut input[at..];
            let end = rest.iter().position(|byte| *byte == IAC).unwrap_or(rest.len());
            let len = match (self.state, &rest[..]) {
                // What a lone IAC is shows with the next byte.
                (State::Text | State::Parameters, [IAC]) => break,
                (State::Text, [IAC, command @ SE..=IAC, ..]) => {
                    self.state = match *command {
                        SB => State::Parameters,
                        WILL..=DONT => State::Option,
                        _ => State::Text,
                    };
                    2
                }
                // No command: a byte like any other, or text up to the next one.
                (State::Text, _) => {
                    at += end.max(1);
                    continue;
                }
                (State::Option, _) => {
                    self.state = State::Text;
                    1
                }
                (State::Parameters, [IAC, byte, ..]) => {
                    self.state = if *byte == SE { State::Text } else { State::Parameters };
                    2
                }
                (State::Parameters, _) => end,
            };
            rest[..len].fill(0);
            at += len;
        }
        self.seen = at as u32;
    }

    /// So many bytes have been taken from the front of the input.
    pub(super) fn consumed(&mut self, len: usize) {
        self.seen = self.seen.saturating_sub(len as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut telnet, mut input) = (Telnet::default(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            telnet.blank(&mut input);
        }
        input
    }

    fn text_of(stream: &[u8]) -> Vec<u8> {
        let whole = blanked(&[stream]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(blanked(&cuts), whole, "cut at {first}, {second}");
            }
        }
        assert_eq!(whole.len(), stream.len());
        whole.into_iter().filter(|byte| *byte != 0).collect()
    }

    #[test]
    fn commands_vanish_wherever_they_stand_and_however_they_are_cut() {
        // Will and do, among them the option whose number is that of the line feed.
        assert_eq!(text_of(b"\xff\xfb\x1f\xff\xfd\n/nick\xff\xfe\xff a\r\n"), b"/nick a\r\n");
        // The window has ten lines; one of its bytes is 255, which is sent twice.
        assert_eq!(text_of(b"\xff\xfa\x1f\x00\xff\xff\x00\n\xff\xf0hi\n"), b"hi\n");
        // Interrupt, and the mark that follows it; a doubled 255 between lines.
        assert_eq!(text_of(b"hel\xff\xf4\xff\xfd\x06lo\n\xff\xff\n"), b"hello\n\n");
    }

    #[test]
    fn bytes_that_are_no_command_stay() {
        assert_eq!(text_of(b"\x15\xff/ping x\n"), b"\x15\xff/ping x\n");
        assert_eq!(text_of("ü€😀\n".as_bytes()), "ü€😀\n".as_bytes());
        assert_eq!(text_of(b"\xff"), b"\xff");
    }

    #[test]
    fn what_was_taken_away_is_not_looked_for() {
        let mut telnet = Telnet::default();
        let mut input = b"one\ntwo\xff".to_vec();
        telnet.blank(&mut input);
        input.drain(..4);
        telnet.consumed(4);
        input.extend_from_slice(b"\xf1\n");
        telnet.blank(&mut input);
        assert_eq!(input, b"two\0\0\n");
    }
}
