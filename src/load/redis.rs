//! The dialect of a Redis server: RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use super::dialect::{Answers, Asker, Dialect, Refusal};
use super::fault::Fault;
use super::pattern::Pattern;
use super::plan::RedisCommand;
use crate::reactor::{Context, RingBuffer};

/// One command, over and over.
pub(super) struct Redis {
    command: RedisCommand,
    size: usize,
    pattern: Pattern,
    /// `$64\r\n`, as it stands before a value in both directions.
    value_head: Vec<u8>,
    request: Vec<u8>,
}

impl Redis {
    pub(super) fn new(command: RedisCommand, size: usize, seed: u64) -> Redis {
        let value_head = format!("${size}\r\n").into_bytes();
        Redis { command, size, pattern: Pattern::text(seed), value_head, request: Vec::new() }
    }

    /// Each connection sets its key before it gets or counts it.
    fn command(&self, number: u64) -> RedisCommand {
        match self.command {
            RedisCommand::Get | RedisCommand::Incr if number == 0 => RedisCommand::Set,
            command => command,
        }
    }

    fn put_key(&mut self, client: usize) {
        self.request.extend_from_slice(b"$22\r\nedgeloop:load:");
        self.put_hex(client, 8);
        self.request.extend_from_slice(b"\r\n");
    }

    fn put_hex(&mut self, number: usize, digits: u32) {
        for digit in (0..digits).rev() {
            let nibble = (number >> (4 * digit)) & 15;
            self.request.push(b"0123456789abcdef"[nibble]);
        }
    }

    fn put_mset(&mut self, asker: Asker) {
        let words = 1 + 2 * MSET_KEYS;
        self.request.extend_from_slice(format!("*{words}\r\n$4\r\nMSET\r\n").as_bytes());
        for key in 0..MSET_KEYS {
            self.request.extend_from_slice(b"$24\r\nedgeloop:load:");
            self.put_hex(asker.client, 8);
            self.request.push(b':');
            self.put_hex(key, 1);
            self.request.extend_from_slice(b"\r\n");
            self.put_value(asker);
        }
    }

    /// The value of a connection never changes, so that an answer that is late is right as well.
    fn put_value(&mut self, asker: Asker) {
        let Redis { pattern, request, value_head, size, .. } = self;
        request.extend_from_slice(value_head);
        pattern.each(asker.origin, *size, |piece| request.extend_from_slice(piece));
        request.extend_from_slice(b"\r\n");
    }

    /// One answer at the front of `bytes`: its length, and what it says if it says no. `None` while
    /// it is not whole. What is wrong is not waited for.
    fn answer(
        &self,
        asker: Asker,
        number: u64,
        bytes: &[u8],
    ) -> Result<Option<(usize, Option<Refusal>)>, Fault> {
        if bytes.first() == Some(&b'-') {
            return refusal(bytes);
        }
        let len = match self.command(number) {
            RedisCommand::Ping => literal(bytes, b"+PONG\r\n")?,
            RedisCommand::Set | RedisCommand::Mset => literal(bytes, b"+OK\r\n")?,
            // The first number was zero, and each command adds one.
            RedisCommand::Incr => literal(bytes, format!(":{number}\r\n").as_bytes())?,
            RedisCommand::Publish => count(bytes)?,
            RedisCommand::Get => self.value(asker, bytes)?,
        };
        Ok(len.map(|len| (len, None)))
    }

    /// The length of the value that a connection has set, with what stands around it.
    fn value(&self, asker: Asker, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(start) = literal(bytes, &self.value_head)? else { return Ok(None) };
        let end = start + self.size;
        let value = &bytes[start..end.min(bytes.len())];
        if !self.pattern.matches(asker.origin, value) {
            return Err(Fault::WrongByte);
        }
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => Ok(Some(end + 2)),
            Some(_) => Err(Fault::WrongByte),
            None => Ok(None),
        }
    }
}

/// The length of the one answer that is right, if all of it is there.
fn literal(bytes: &[u8], expected: &[u8]) -> Result<Option<usize>, Fault> {
    let len = bytes.len().min(expected.len());
    match bytes[..len] == expected[..len] {
        true => Ok((len == expected.len()).then_some(len)),
        false => Err(Fault::BadReply),
    }
}

/// The length of a number's line: `:3`.
fn count(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let (sign, digits) = bytes.split_first().ok_or(Fault::BadReply)?;
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if *sign != b':' || len > DIGITS_MAX {
        return Err(Fault::BadReply);
    }
    match &digits[len..] {
        [] => Ok(None),
        [b'\r'] if len > 0 => Ok(None),
        [b'\r', b'\n', ..] if len > 0 => Ok(Some(len + 3)),
        _ => Err(Fault::BadReply),
    }
}

/// The line of an error, which has any text.
fn refusal(bytes: &[u8]) -> Result<Option<(usize, Option<Refusal>)>, Fault> {
    match bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
        Some(end) if bytes[..end].ends_with(b"\r") => {
            Ok(Some((end + 1, Some(Refusal::of_error(&bytes[1..end])))))
        }
        Some(_) => Err(Fault::BadReply),
        None if bytes.len() >= LINE_MAX => Err(Fault::ClientLimit),
        None => Ok(None),
    }
}

impl Dialect for Redis {
    /// Answers so far.
    type Stream = u64;

    fn ask(&mut self, cx: &mut Context<'_>, asker: Asker, number: u64) {
        self.request.clear();
        match self.command(number) {
            RedisCommand::Ping => self.request.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"),
            RedisCommand::Get => {
                self.request.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                self.put_key(asker.client);
            }
            RedisCommand::Set => {
                self.request.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                self.put_key(asker.client);
                match self.command {
                    RedisCommand::Incr => self.request.extend_from_slice(b"$1\r\n0\r\n"),
                    _ => self.put_value(asker),
                }
            }
            RedisCommand::Incr => {
                self.request.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n");
                self.put_key(asker.client);
            }
            RedisCommand::Mset => self.put_mset(asker),
            RedisCommand::Publish => {
                self.request.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$13\r\nedgeloop:load\r\n");
                self.put_value(asker);
            }
        }
        cx.send(asker.token, &self.request);
    }

    fn answers(
        &mut self,
        asker: Asker,
        answered: &mut u64,
        asked: u64,
        input: &mut RingBuffer,
    ) -> Result<Answers, Fault> {
        let mut answers = Answers::default();
        let bytes = input.contiguous();
        let mut at = 0;
        while at < bytes.len() && answers.refusal.is_none() {
            if *answered == asked {
                return Err(Fault::SurplusByte);
            }
            let Some((len, refusal)) = self.answer(asker, *answered, &bytes[at..])? else { break };
            at += len;
            *answered += 1;
            answers.refusal = refusal;
            if refusal.is_none() {
                (answers.right, answers.bytes) = (answers.right + 1, at as u64);
            }
        }
        input.consume(at);
        Ok(answers)
    }
}

/// Longer than the error of any such server: a limit of ours.
const LINE_MAX: usize = 16 << 10;
/// Keys that one `MSET` sets, as in redis-benchmark.
const MSET_KEYS: usize = 10;
/// No count has more.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::{BufferPool, Token};

    /// What is made of the answer to one command, wherever it is cut.
    fn read(command: RedisCommand, text: &[u8]) -> Result<(u64, Option<String>), Fault> {
        let asker = Asker { token: Token::from(mio::Token(1 << 32)), client: 0, origin: 0 };
        let mut outcomes = Vec::new();
        for cut in 0..=text.len() {
            let (mut redis, mut answered) = (Redis::new(command, 4, 1), 0);
            let (mut ring, mut pool) = (RingBuffer::new(), BufferPool::new(0));
            let mut sum = Ok((0, None));
            for piece in [&text[..cut], &text[cut..]] {
                ring.extend(piece, &mut pool);
                let answers = redis.answers(asker, &mut answered, 1, &mut ring);
                sum = sum.and_then(|(right, refusal): (u64, Option<String>)| {
                    let answers = answers?;
                    Ok((
                        right + answers.right,
                        refusal.or(answers.refusal.map(|it| it.to_string())),
                    ))
                });
            }
            outcomes.push(sum);
        }
        outcomes.dedup();
        assert_eq!(outcomes.len(), 1, "{}: {outcomes:?}", String::from_utf8_lossy(text));
        outcomes.remove(0)
    }

    #[test]
    fn answers_are_right_wrong_or_refusals_wherever_they_are_cut() {
        use RedisCommand::{Mset, Ping, Publish, Set};
        for (command, text) in [
            (Ping, "+PONG\r\n"),
            (Set, "+OK\r\n"),
            (Mset, "+OK\r\n"),
            (Publish, ":0\r\n"),
            (Publish, ":12345\r\n"),
        ] {
            assert_eq!(read(command, text.as_bytes()), Ok((1, None)), "{text}");
        }
        for (text, word) in
            [("-NOAUTH Authentication required.\r\n", "NOAUTH"), ("-\x1b[2J\r\n", "?")]
        {
            assert_eq!(read(Ping, text.as_bytes()), Ok((0, Some(word.into()))), "{text}");
        }
        for (command, text) in [
            (Ping, "+PANG\r\n"),
            (Ping, "HTTP/1.1 400 Bad Request\r\n"),
            (Publish, ":\r\n"),
            (Publish, ":1x"),
            (Publish, ":1\rx"),
            (Publish, "+OK\r\n"),
            (Set, "-ERR\n"),
            (Mset, ":10\r\n"),
        ] {
            assert_eq!(read(command, text.as_bytes()), Err(Fault::BadReply), "{text}");
        }
        let long = format!("-ERR {}", "x".repeat(LINE_MAX));
        let mut ring = RingBuffer::new();
        ring.extend(long.as_bytes(), &mut BufferPool::new(0));
        let asker = Asker { token: Token::from(mio::Token(1 << 32)), client: 0, origin: 0 };
        let outcome = Redis::new(Ping, 4, 1).answers(asker, &mut 0, 1, &mut ring);
        assert_eq!(outcome.err(), Some(Fault::ClientLimit));
    }

    #[test]
    fn counter_that_skips_or_repeats_a_number_is_wrong() {
        let asker = Asker { token: Token::from(mio::Token(1 << 32)), client: 0, origin: 0 };
        let read = |text: &[u8]| {
            let (mut redis, mut ring) = (Redis::new(RedisCommand::Incr, 4, 1), RingBuffer::new());
            ring.extend(text, &mut BufferPool::new(0));
            redis.answers(asker, &mut 0, 3, &mut ring).map(|answers| answers.right)
        };
        assert_eq!(read(b"+OK\r\n:1\r\n:2\r\n"), Ok(3));
        for text in [&b"+OK\r\n:1\r\n:3\r\n"[..], b"+OK\r\n:1\r\n:1\r\n", b"+OK\r\n:01\r\n"] {
            assert_eq!(read(text), Err(Fault::BadReply), "{}", text.escape_ascii());
        }
    }
}
