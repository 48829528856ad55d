//! What peers send. A stream that every position tells from every other, so that a byte lost, doubled
//! or of another connection is seen; and messages that name themselves.

use std::sync::OnceLock;

use crate::peers::Meeting;
use crate::random::Random;

/// As many streams as there are places in the table to begin at.
pub(crate) const SALTS: usize = 4096;
/// The longest part that is handed out in one piece.
pub(crate) const PIECE_MAX: usize = 4096;
/// A prime, so that no buffer size divides it.
const PERIOD: usize = 4093;

/// The stream, long enough for a part from anywhere in the first period.
fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut random = Random::new(7);
        let period: Vec<u8> = (0..PERIOD).map(|_| byte(&mut random)).collect();
        period.iter().copied().cycle().take(PERIOD + SALTS.max(PIECE_MAX)).collect()
    })
}

/// One in twenty ends a line; a carriage return before that would be a part of the line's end.
fn byte(random: &mut Random) -> u8 {
    match random.next() as u8 {
        _ if random.below(20) == 0 => b'\n',
        b'\r' => b'r',
        byte => byte,
    }
}

/// At most `len` bytes of a stream from a position on.
pub(crate) fn part(salt: u32, at: u64, len: usize) -> &'static [u8] {
    let from = (u64::from(salt) + at) as usize % PERIOD;
    &table()[from..from + len]
}

pub(crate) fn matches(salt: u32, at: u64, bytes: &[u8]) -> bool {
    let mut at = at;
    bytes.chunks(PIECE_MAX).all(|chunk| {
        let is_right = part(salt, at, chunk.len()) == chunk;
        at += chunk.len() as u64;
        is_right
    })
}

/// Every message there ever was.
#[derive(Debug, Default)]
pub(crate) struct Messages(Vec<Message>);

#[derive(Clone, Copy, Debug)]
struct Message {
    from: u32,
    len: u32,
    /// Its place in the order of the topic, once it was published.
    sequence: Option<u64>,
}

/// A message's number says which room it is for, where there are several; within one there is one
/// order.
pub(crate) const ROOMS: usize = 4;
/// A message ends with its number, so that the last bytes sent say which was the last.
pub(crate) const DIGITS: usize = 8;

impl Messages {
    /// Writes a new one: something to fill it up, its number, and a newline.
    pub(crate) fn write(&mut self, from: u32, len: usize, into: &mut Vec<u8>) {
        let number = self.0.len();
        into.resize(len, filler(number));
        into.extend_from_slice(format!("{number:08x}\n").as_bytes());
        self.0.push(Message { from, len: into.len() as u32, sequence: None });
    }

    /// A message was published. Says what is wrong with it, if anything.
    pub(crate) fn published(&mut self, line: &[u8], sequence: u64) -> Option<String> {
        let number = number_of(line)?;
        match self.0.get_mut(number) {
            Some(message) if message.sequence.is_none() => {
                message.sequence = Some(sequence);
                None
            }
            _ => {
                Some(format!("message {number}, which nobody sent, or which was published before"))
            }
        }
    }

    /// Takes received bytes in; says what is wrong with the messages that they complete.
    pub(crate) fn read(
        &self,
        line: &mut Vec<u8>,
        bytes: &[u8],
        me: u32,
        meeting: &mut Meeting,
    ) -> Option<String> {
        let mut wrong = None;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                wrong = wrong.or_else(|| self.check(line, me, meeting));
                line.clear();
            }
        }
        wrong
    }

    fn check(&self, line: &[u8], me: u32, meeting: &mut Meeting) -> Option<String> {
        let number = number_of(line);
        let message = number.and_then(|number| Some((number, self.0.get(number)?)));
        let Some((number, message)) = message else {
            return Some(format!("no message: {:?}", String::from_utf8_lossy(line)));
        };
        let fill = &line[..line.len() - DIGITS - 1];
        if line.len() != message.len as usize || fill.iter().any(|byte| *byte != filler(number)) {
            return Some(format!("message {number} in pieces"));
        }
        if message.from == me {
            return Some(format!("its own message {number}"));
        }
        match message.sequence {
            None => Some(format!("message {number}, which was not published")),
            Some(sequence) if !meeting.count_message(number % ROOMS, sequence) => {
                Some(format!("message {number} twice, or out of order"))
            }
            Some(_) => None,
        }
    }
}

fn filler(number: usize) -> u8 {
    b'a' + (number % 26) as u8
}

/// The number of a message, its newline included.
pub(crate) fn number_of(line: &[u8]) -> Option<usize> {
    let from = line.len().checked_sub(DIGITS + 1)?;
    let digits = std::str::from_utf8(&line[from..from + DIGITS]).ok()?;
    usize::from_str_radix(digits, 16).ok()
}
