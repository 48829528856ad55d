//! The dialect of a Redis server: RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use super::dialect::{Answers, Asker, Dialect};
use super::pattern::Pattern;
use super::{Fault, RedisCommand};
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

    /// Each connection sets its key before it gets it.
    fn command(&self, number: u64) -> RedisCommand {
        match self.command {
            RedisCommand::Get if number == 0 => RedisCommand::Set,
            command => command,
        }
    }

    fn put_key(&mut self, client: usize) {
        self.request.extend_from_slice(b"$22\r\nedgeloop:load:");
        for digit in (0..8).rev() {
            let nibble = (client >> (4 * digit)) & 15;
            self.request.push(b"0123456789abcdef"[nibble]);
        }
        self.request.extend_from_slice(b"\r\n");
    }

    /// The value of a connection never changes, so that an answer that is late is right as well.
    fn put_value(&mut self, asker: Asker) {
        let Redis { pattern, request, value_head, size, .. } = self;
        request.extend_from_slice(value_head);
        pattern.each(asker.origin, *size, |piece| request.extend_from_slice(piece));
        request.extend_from_slice(b"\r\n");
    }

    /// One answer at the front of `bytes`: its length, and whether it is a refusal. `None` while
    /// it is not whole.
    fn answer(
        &self,
        asker: Asker,
        number: u64,
        bytes: &[u8],
    ) -> Result<Option<(usize, bool)>, Fault> {
        let line = match bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
            Some(end) => &bytes[..=end],
            None if bytes.len() >= LINE_MAX => return Err(Fault::BadReply),
            None => return Ok(None),
        };
        if !line.ends_with(b"\r\n") {
            return Err(Fault::BadReply);
        }
        if line[0] == b'-' {
            return Ok(Some((line.len(), true)));
        }
        let is_whole = |is_right: bool| match is_right {
            true => Ok(Some((line.len(), false))),
            false => Err(Fault::BadReply),
        };
        match self.command(number) {
            RedisCommand::Ping => is_whole(line == b"+PONG\r\n"),
            RedisCommand::Set => is_whole(line == b"+OK\r\n"),
            RedisCommand::Publish => {
                let digits = &line[1..line.len() - 2];
                let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
                is_whole(line[0] == b':' && is_number)
            }
            RedisCommand::Get if line != self.value_head => Err(Fault::BadReply),
            RedisCommand::Get => {
                let end = line.len() + self.size;
                let value = &bytes[line.len()..end.min(bytes.len())];
                // Also when it is not whole yet: what is wrong is not waited for.
                if !self.pattern.matches(asker.origin, value) {
                    return Err(Fault::WrongByte);
                }
                match bytes.get(end..end + 2) {
                    Some(b"\r\n") => Ok(Some((end + 2, false))),
                    Some(_) => Err(Fault::WrongByte),
                    None => Ok(None),
                }
            }
        }
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
                self.put_value(asker);
            }
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
        let mut refusals = 0;
        let bytes = input.contiguous();
        let mut at = 0;
        while at < bytes.len() {
            if *answered == asked {
                return Err(Fault::SurplusByte);
            }
            let Some((len, is_refusal)) = self.answer(asker, *answered, &bytes[at..])? else {
                break;
            };
            at += len;
            *answered += 1;
            answers.complete += 1;
            refusals += u64::from(is_refusal);
        }
        answers.bytes = at as u64;
        answers.refusals = (refusals > 0).then_some((Fault::ErrorReply, refusals));
        input.consume(at);
        Ok(answers)
    }
}

/// Longer than any line that such a server answers with, errors included.
const LINE_MAX: usize = 4096;
