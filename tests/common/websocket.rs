//! A WebSocket client by hand, which can also do what no client may.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{connect, send};
use edgeloop::Address;

pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame with this first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = match payload.len() {
        len @ 0..=125 => vec![first, 0x80 | len as u8],
        len @ 126..=0xffff => [&[first, 0x80 | 126][..], &(len as u16).to_be_bytes()].concat(),
        len => [&[first, 0x80 | 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A handshake for this path, with more header lines.
pub(crate) fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// An open WebSocket.
pub(crate) struct WebSocket {
    pub(crate) stream: TcpStream,
    /// Read and not used yet.
    rest: Vec<u8>,
}

impl WebSocket {
    #[track_caller]
    pub(crate) fn open(address: &Address) -> WebSocket {
        let stream = connect(address);
        send(&stream, request("/ws", "").as_bytes());
        WebSocket::accepted(stream)
    }

    /// Reads the answer to a handshake.
    #[track_caller]
    pub(crate) fn accepted(stream: TcpStream) -> WebSocket {
        let mut socket = WebSocket { stream, rest: Vec::new() };
        let head = socket.head();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(
            head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{head}"
        );
        socket
    }

    #[track_caller]
    fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.rest.drain(..end + 4).collect()).unwrap();
            }
            assert!(self.read(), "no answer: {}", String::from_utf8_lossy(&self.rest));
        }
    }

    #[track_caller]
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let len = self.stream.read(&mut bytes).expect("nothing comes");
        self.rest.extend_from_slice(&bytes[..len]);
        len > 0
    }

    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        self.stream.write_all(&text(line)).expect("cannot send");
    }

    /// The next frame: its first byte and its payload; nothing at the end of the stream.
    #[track_caller]
    pub(crate) fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((head, len)) = self.whole() {
                let frame: Vec<u8> = self.rest.drain(..head + len).collect();
                assert_eq!(frame[1] & 0x80, 0, "a server's frame is not masked");
                return Some((frame[0], frame[head..].to_vec()));
            }
            if !self.read() {
                assert_eq!(self.rest, b"", "the stream ends within a frame");
                return None;
            }
        }
    }

    fn whole(&self) -> Option<(usize, usize)> {
        let bytes = &self.rest;
        let (head, len) = match *bytes.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
            len => (2, usize::from(len)),
        };
        (bytes.len() >= head + len).then_some((head, len))
    }

    /// The next text.
    #[track_caller]
    pub(crate) fn next_text(&mut self) -> String {
        let (first, payload) = self.next_frame().expect("the connection has ended");
        assert_eq!(first, 0x81, "no text: {payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// Passes over what comes until a text has this part.
    #[track_caller]
    pub(crate) fn until(&mut self, part: &str) -> String {
        loop {
            let text = self.next_text();
            if text.contains(part) {
                return text;
            }
        }
    }

    /// Passes over what comes until the close frame; then nothing comes but the end. Returns its
    /// code.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> u16 {
        loop {
            let (first, payload) = self.next_frame().expect("it ended without a close frame");
            if first == 0x88 {
                assert_eq!(self.next_frame(), None, "something follows the close frame");
                return payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
            }
        }
    }
}
