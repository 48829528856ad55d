//! A key-value store, and a client that asks it one thing at a time, in lines.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use super::{KIB, MIB, Server, send, start};
use edgeloop::Config;
use edgeloop::service::{Kv, KvConfig};

pub(crate) fn kv() -> Server {
    kv_with(KvConfig::default())
}

/// With the limits that the program has by default.
pub(crate) fn kv_with(kv: KvConfig) -> Server {
    let config = Config { input_limit: MIB, output_limit: 4 * MIB, ..Config::default() };
    start(config.clone(), Kv::new(kv, &config).unwrap())
}

/// As the libraries of clients send it.
pub(crate) fn request(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Client {
        Client::of(server.connect())
    }

    pub(crate) fn of(stream: TcpStream) -> Client {
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    /// The first line of the reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        // An inline command has at most 64 KiB.
        if line.len() < 60 * KIB {
            send(&self.stream, format!("{line}\r\n").as_bytes());
        } else {
            send(&self.stream, &request(&line.split(' ').collect::<Vec<_>>()));
        }
        self.line()
    }

    pub(crate) fn bulk(&mut self, line: &str) -> String {
        let head = self.ask(line);
        self.text(&head)
    }

    /// The texts and numbers of a reply, whatever arrays they stand in; errors with their sign.
    pub(crate) fn list(&mut self, line: &str) -> Vec<String> {
        let head = self.ask(line);
        let mut found = Vec::new();
        self.collect(&head, &mut found);
        found
    }

    pub(crate) fn collect(&mut self, head: &str, found: &mut Vec<String>) {
        let count = match head.split_at(1) {
            ("*" | "~" | ">", count) => count.parse().unwrap(),
            ("%", count) => 2 * count.parse::<usize>().unwrap(),
            ("$", "-1") => return found.push(String::new()),
            ("$" | "=", _) => return found.push(self.text(head)),
            ("-", _) => return found.push(head.to_owned()),
            (_, text) => return found.push(text.to_owned()),
        };
        for _ in 0..count {
            let head = self.line();
            self.collect(&head, found);
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Bytes of memory that count.
    pub(crate) fn used(&mut self) -> usize {
        let info = self.bulk("INFO memory");
        let field = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        field.unwrap().parse().unwrap()
    }

    fn text(&mut self, head: &str) -> String {
        let len: usize = head.strip_prefix(['$', '=']).expect(head).parse().unwrap();
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..len].to_vec()).unwrap();
        if head.starts_with('=') { text["txt:".len()..].to_owned() } else { text }
    }
}
