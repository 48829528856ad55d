//! A client of the Redis protocol that waits for its answers, to prepare an attack and to ask for
//! counters.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use crate::common::send;
use crate::server::Server;

pub(crate) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend(format!("${}\r\n", part.len()).into_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub(crate) struct Kv(BufReader<TcpStream>);

impl Kv {
    pub(crate) fn new(server: &Server) -> Kv {
        Kv(BufReader::new(server.connect()))
    }

    pub(crate) fn tell(&self, bytes: &[u8]) {
        send(self.0.get_ref(), bytes);
    }

    /// The next reply: its first line, or the bytes of a bulk string; of an array, all in a row.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("no reply");
        assert!(line.ends_with(b"\r\n"), "the connection has ended: {line:?}");
        line.truncate(line.len() - 2);
        let number = || std::str::from_utf8(&line[1..]).unwrap().parse::<i64>().unwrap();
        match line[0] {
            b'$' if number() >= 0 => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes).expect("half a reply");
                bytes.truncate(bytes.len() - 2);
                bytes
            }
            b'*' => (0..number().max(0)).flat_map(|_| self.reply()).collect(),
            _ => line,
        }
    }

    pub(crate) fn ask(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        self.tell(&command(parts));
        self.reply()
    }

    /// Sends all of them, a thousand at a time, and counts the replies that are errors.
    pub(crate) fn ask_all(&mut self, commands: impl Iterator<Item = Vec<u8>>) -> usize {
        let (mut batch, mut count, mut errors) = (Vec::new(), 0, 0);
        let mut commands = commands.peekable();
        while let Some(next) = commands.next() {
            batch.extend(next);
            count += 1;
            if count == 1000 || batch.len() > 1 << 16 || commands.peek().is_none() {
                self.tell(&std::mem::take(&mut batch));
                let replies = (0..std::mem::take(&mut count)).map(|_| self.reply());
                errors += replies.filter(|reply| reply.starts_with(b"-")).count();
            }
        }
        errors
    }

    /// Sends all of them and wants no replies, so that what is refused is not told.
    pub(crate) fn pour(&mut self, commands: impl Iterator<Item = Vec<u8>>) {
        self.tell(b"CLIENT REPLY OFF\r\n");
        let mut batch = Vec::new();
        for command in commands {
            batch.extend(command);
            if batch.len() > 1 << 16 {
                self.tell(&std::mem::take(&mut batch));
            }
        }
        self.tell(&batch);
        assert_eq!(self.ask(&[b"CLIENT", b"REPLY", b"ON"]), b"+OK");
    }

    /// Subscribes to these, with one command; whether all were granted.
    pub(crate) fn subscribe(&mut self, how: &str, names: &[Vec<u8>]) -> bool {
        let mut parts: Vec<&[u8]> = vec![how.as_bytes()];
        parts.extend(names.iter().map(Vec::as_slice));
        self.tell(&command(&parts));
        names.iter().all(|_| !self.reply().starts_with(b"-"))
    }

    /// A counter of INFO.
    pub(crate) fn info(&mut self, field: &str) -> u64 {
        let text = self.ask(&[b"INFO"]);
        Kv::field(&text, field)
    }

    pub(crate) fn field(text: &[u8], field: &str) -> u64 {
        let text = String::from_utf8_lossy(text);
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {field}"))
    }
}

/// Bytes that make a pattern dear to match.
pub(crate) fn dear_pattern() -> Vec<u8> {
    let mut pattern = b"*".to_vec();
    pattern.extend(b"?[^z]".repeat(100));
    pattern.extend(b"*a*b*c*d*e");
    pattern.extend(b"[a-z\\]]".repeat(50));
    pattern.push(b'Q');
    pattern
}

/// A name of a thousand bytes that such a pattern does not match soon.
pub(crate) fn long_name(number: usize) -> Vec<u8> {
    let mut name: Vec<u8> = (1..=255).cycle().take(1000).collect();
    name.extend(format!("{number:08}").into_bytes());
    name
}
