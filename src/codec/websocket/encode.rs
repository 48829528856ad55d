//! What a server sends: the head of a frame, which its payload follows unmasked.

use std::ops::Deref;

use super::frame::Kind;

/// The bytes in front of a payload, at most 10; read them as a slice.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    bytes: [u8; 10],
    len: u8,
}

impl Deref for FrameHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What to send before a whole message, or the payload of a control frame, of `len` bytes.
///
/// ```
/// use edgeloop::codec::websocket::{Kind, frame_head};
/// assert_eq!(*frame_head(Kind::Text, 2), [0x81, 2]);
/// assert_eq!(*frame_head(Kind::Binary, 300), [0x82, 126, 1, 44]);
/// ```
pub fn frame_head(kind: Kind, len: usize) -> FrameHead {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | kind.opcode();
    let len = match len {
        0..=125 => {
            bytes[1] = len as u8;
            2
        }
        126..=0xffff => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    FrameHead { bytes, len }
}

/// A close frame. A reason longer than the 123 bytes that there is room for is cut, at a character.
///
/// ```
/// use edgeloop::codec::websocket::close_frame;
/// assert_eq!(close_frame(1000, "bye"), b"\x88\x05\x03\xe8bye");
/// ```
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let end = (0..=reason.len().min(123)).rev().find(|end| reason.is_char_boundary(*end));
    let reason = &reason[..end.unwrap_or(0)];
    let head = frame_head(Kind::Close, 2 + reason.len());
    [&head[..], &code.to_be_bytes(), reason.as_bytes()].concat()
}
