//! A client's frames.
//!
//! ```text
//!   byte 0                 byte 1                  0, 2 or 8 bytes    4 bytes   length bytes
//!  +-----+-----+--------+ +------+--------------+ +----------------+ +-------+ +-------------+
//!  | fin | rsv | opcode | | mask | 7-bit length | | longer lengths | |  key  | |   payload   |
//!  +-----+-----+--------+ +------+--------------+ +----------------+ +-------+ +-------------+
//!
//!  lengths: to 125 in byte 1; 126 there: 16 bits follow; 127 there: 64 bits follow
//! ```

use super::error::WebSocketError;
use super::utf8::Utf8;
use crate::codec::codec::{Codec, Decoded};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Goes on with the message that was begun.
    Continuation = 0,
    /// Begins a message of text.
    Text = 1,
    /// Begins a message of bytes.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Kind {
    /// The four bits on the wire.
    pub const fn opcode(self) -> u8 {
        self as u8
    }

    /// Whether it is about the connection and not part of a message.
    pub const fn is_control(self) -> bool {
        self.opcode() >= 8
    }

    fn of(opcode: u8) -> Option<Kind> {
        use Kind::{Binary, Close, Continuation, Ping, Pong, Text};
        let all = [Continuation, Text, Binary, Close, Ping, Pong];
        all.into_iter().find(|kind| kind.opcode() == opcode)
    }
}

/// A whole frame, checked and unmasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Whether the message ends with it. Control frames are always whole.
    pub is_final: bool,
    /// What it carries. Of a close frame: nothing, or a valid code and a reason in UTF-8.
    pub payload: &'a [u8],
}

/// Finds the frames of a client, and checks them.
///
/// Every error is found as soon as the bytes are there that make it certain: a wrong head before its
/// payload, a byte that no text can have before the rest of its frame. A frame is handed out once:
/// it was unmasked in its place, so it must be taken from the input before the next is asked for.
///
/// ```
/// use edgeloop::codec::Codec;
/// use edgeloop::codec::websocket::{Frames, Kind};
/// // "Hello", masked: the example of RFC 6455, section 5.7.
/// let mut input = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
/// let mut frames = Frames::new(1024);
/// let hello = frames.decode(&mut input)?.expect("it is whole");
/// assert_eq!((hello.len, hello.message.kind), (11, Kind::Text));
/// assert_eq!(hello.message.payload, b"Hello");
/// # Ok::<(), edgeloop::codec::websocket::WebSocketError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Frames {
    /// The longest message.
    limit: u32,
    /// Payload bytes of the frame in hand that are unmasked and checked.
    done: u32,
    /// Bytes of the begun message in the frames before.
    message_len: u32,
    /// The first frame's kind, while a message is begun.
    message: Option<Kind>,
    /// Fragments of the begun message without a byte. They cost work and reach no other limit.
    empty_fragments: u8,
    /// Where the text of the begun message stands.
    utf8: Utf8,
}

/// What stands before a payload.
struct Head {
    kind: Kind,
    is_final: bool,
    /// Bytes of the head itself.
    len: usize,
    payload_len: usize,
    mask: [u8; 4],
}

impl Frames {
    /// The frames of messages of at most `limit` bytes, at most 1 GiB. No frame is longer than what
    /// its message may still have.
    pub fn new(limit: usize) -> Self {
        Frames {
            limit: limit.min(LIMIT_MAX) as u32,
            done: 0,
            message_len: 0,
            message: None,
            empty_fragments: 0,
            utf8: Utf8::default(),
        }
    }

    /// The head at the front of `input`, or `None` while it is incomplete.
    fn head(&self, input: &[u8]) -> Result<Option<Head>, WebSocketError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let (kind, is_final) = self.kind(first)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(WebSocketError::Unmasked);
        }
        let short = second & 0x7f;
        if kind.is_control() && short > 125 {
            return Err(WebSocketError::ControlTooLong);
        }
        let Some((payload_len, rest)) = payload_len(short, rest)? else { return Ok(None) };
        let room = if kind.is_control() { LIMIT_MAX as u32 } else { self.limit - self.message_len };
        if payload_len > u64::from(room) {
            return Err(WebSocketError::MessageTooLong);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let len = input.len() - rest.len();
        Ok(Some(Head { kind, is_final, len, payload_len: payload_len as usize, mask: *mask }))
    }

    fn kind(&self, first: u8) -> Result<(Kind, bool), WebSocketError> {
        if first & 0x70 != 0 {
            return Err(WebSocketError::ReservedBits);
        }
        let is_final = first & 0x80 != 0;
        let kind = Kind::of(first & 0x0f).ok_or(WebSocketError::UnknownOpcode)?;
        match (kind, self.message) {
            (Kind::Continuation, None) => Err(WebSocketError::NothingToContinue),
            (Kind::Text | Kind::Binary, Some(_)) => Err(WebSocketError::UnfinishedMessage),
            _ if kind.is_control() && !is_final => Err(WebSocketError::FragmentedControl),
            _ => Ok((kind, is_final)),
        }
    }

    /// Unmasks what has come of the payload since the last call, and checks the text in it.
    fn reveal(&mut self, head: &Head, payload: &mut [u8]) -> Result<(), WebSocketError> {
        let done = self.done as usize;
        let fresh = payload.get_mut(done..).unwrap_or_default();
        unmask(fresh, head.mask, done);
        let kind = self.message.filter(|_| head.kind == Kind::Continuation).unwrap_or(head.kind);
        if kind == Kind::Text && !self.utf8.push(fresh) {
            return Err(WebSocketError::InvalidUtf8);
        }
        Ok(())
    }

    /// A frame has come whole: what it means for the message that it belongs to.
    fn finish(&mut self, head: &Head, payload: &[u8]) -> Result<(), WebSocketError> {
        self.done = 0;
        match head.kind {
            Kind::Close => return check_close(payload),
            Kind::Ping | Kind::Pong => return Ok(()),
            Kind::Text | Kind::Binary => self.message = Some(head.kind),
            Kind::Continuation => {}
        }
        if !head.is_final {
            self.message_len += payload.len() as u32;
            self.empty_fragments += u8::from(payload.is_empty());
            let is_flood = self.empty_fragments > EMPTY_FRAGMENTS_MAX;
            return if is_flood { Err(WebSocketError::EmptyFragments) } else { Ok(()) };
        }
        let is_text = self.message.take() == Some(Kind::Text);
        (self.message_len, self.empty_fragments) = (0, 0);
        let is_cut = is_text && !self.utf8.is_complete();
        if is_cut { Err(WebSocketError::InvalidUtf8) } else { Ok(()) }
    }
}

impl Codec for Frames {
    type Message<'a> = Frame<'a>;
    type Error = WebSocketError;

    fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<Decoded<Frame<'a>>>, WebSocketError> {
        let Some(head) = self.head(input)? else { return Ok(None) };
        let len = head.len + head.payload_len;
        let end = len.min(input.len());
        let payload = &mut input[head.len..end];
        self.reveal(&head, payload)?;
        if end < len {
            self.done = payload.len() as u32;
            return Ok(None);
        }
        self.finish(&head, payload)?;
        let message = Frame { kind: head.kind, is_final: head.is_final, payload };
        Ok(Some(Decoded { len, message }))
    }
}

/// The length that the second byte and those after it say, and what follows.
fn payload_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, WebSocketError> {
    let (len, least, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    // "The minimal number of bytes MUST be used", "the most significant bit MUST be 0".
    if len < least || len >> 63 != 0 {
        return Err(WebSocketError::BadLength);
    }
    Ok(Some((len, rest)))
}

/// Combines the bytes with the key, of which `offset` bytes are used up already. Eight at a time,
/// which the compiler makes more of.
fn unmask(bytes: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Section 7.4: a close frame has no payload, or one that begins with a code that may be sent.
fn check_close(payload: &[u8]) -> Result<(), WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(()) } else { Err(WebSocketError::BadCloseCode) };
    };
    match u16::from_be_bytes(*code) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(WebSocketError::BadCloseCode),
    }
    std::str::from_utf8(reason).map_or(Err(WebSocketError::InvalidUtf8), |_| Ok(()))
}

/// So that lengths fit into 32 bits.
const LIMIT_MAX: usize = 1 << 30;

/// Nobody needs any; Autobahn sends two.
const EMPTY_FRAGMENTS_MAX: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        masked(first, payload, [0x37, 0xfa, 0x21, 0x3d])
    }

    fn masked(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        let mut frame = super::super::frame_head(Kind::Text, payload.len()).to_vec();
        (frame[0], frame[1]) = (first, frame[1] | 0x80);
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    type Found = Vec<(Kind, bool, Vec<u8>)>;

    fn frames_of<'a>(
        mut frames: Frames,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Found, Option<WebSocketError>) {
        let (mut found, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match frames.decode(&mut input) {
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                    Ok(Some(Decoded { len, message })) => {
                        found.push((message.kind, message.is_final, message.payload.to_vec()));
                        input.drain(..len);
                    }
                }
            }
        }
        (found, None)
    }

    fn whole_however_cut(stream: &[u8]) -> (Found, Option<WebSocketError>) {
        let whole = frames_of(Frames::new(1000), [stream]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(frames_of(Frames::new(1000), cuts), whole, "cut at {first}, {second}");
            }
        }
        assert_eq!(frames_of(Frames::new(1000), stream.chunks(1)), whole, "byte by byte");
        whole
    }

    fn refused(stream: &[u8]) -> WebSocketError {
        whole_however_cut(stream).1.expect("it breaks the rules")
    }

    #[test]
    fn every_cut_of_a_stream_gives_the_same_frames() {
        let stream = [
            frame(0x81, "ä€😀".as_bytes()),
            frame(0x01, b"\xe2\x82"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, b"\xac!"),
            frame(0x82, &[0xff; 130]),
            frame(0x88, b"\x03\xe8bye"),
        ];
        let (found, error) = whole_however_cut(&stream.concat());
        assert_eq!(error, None);
        let kinds: Vec<_> = found.iter().map(|(kind, is_final, _)| (*kind, *is_final)).collect();
        let expected = [
            (Kind::Text, true),
            (Kind::Text, false),
            (Kind::Ping, true),
            (Kind::Continuation, false),
            (Kind::Continuation, true),
            (Kind::Binary, true),
            (Kind::Close, true),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(found[0].2, "ä€😀".as_bytes());
        assert_eq!(found[5].2, [0xff; 130]);
    }

    #[test]
    fn heads_that_break_the_rules_are_refused_before_their_payload() {
        use WebSocketError as Error;
        for bits in [0xc1, 0xa1, 0x91] {
            assert_eq!(refused(&[bits]), Error::ReservedBits);
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(refused(&[0x80 | opcode]), Error::UnknownOpcode);
        }
        assert_eq!(refused(&[0x81, 5]), Error::Unmasked);
        assert_eq!(refused(&[0x89, 0xfe]), Error::ControlTooLong);
        assert_eq!(refused(&[0x09]), Error::FragmentedControl);
        assert_eq!(refused(&[0x80]), Error::NothingToContinue);
        assert_eq!(refused(&[frame(0x01, b"a"), vec![0x81]].concat()), Error::UnfinishedMessage);
        assert_eq!(refused(&[0x82, 0xfe, 0, 125]), Error::BadLength);
        assert_eq!(refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Error::BadLength);
        assert_eq!(refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Error::BadLength);
    }

    #[test]
    fn limit_counts_all_fragments_and_is_held_against_the_announced_length() {
        assert_eq!(refused(&[0x82, 0xfe, 3, 0xe9]), WebSocketError::MessageTooLong);
        let begun = frame(0x02, &[0; 990]);
        let fits = [&begun[..], &frame(0x80, &[0; 10])].concat();
        assert_eq!(frames_of(Frames::new(1000), [&fits[..]]).1, None);
        let over = [&begun[..], &[0x80, 0x8b]].concat();
        let error = frames_of(Frames::new(1000), over.chunks(1)).1;
        assert_eq!(error, Some(WebSocketError::MessageTooLong));
        // A control frame within a full message is none of it.
        let full = [&frame(0x02, &[0; 1000])[..], &frame(0x89, b"x"), &frame(0x80, b"")].concat();
        assert_eq!(frames_of(Frames::new(1000), [&full[..]]).1, None);
        assert_eq!(
            refused(&[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            WebSocketError::MessageTooLong
        );
    }

    #[test]
    fn text_is_checked_across_fragments_and_before_its_frame_is_whole() {
        let fast = [&[0x81, 0xfe, 3, 0, 0, 0, 0, 0][..], b"ok\xed\xa0"].concat();
        assert_eq!(refused(&fast), WebSocketError::InvalidUtf8);
        let cut = [frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat();
        assert_eq!(refused(&cut), WebSocketError::InvalidUtf8);
        assert_eq!(refused(&frame(0x81, b"\xe2\x82")), WebSocketError::InvalidUtf8);
        // The next message begins anew, and bytes may be anything.
        let bytes = [frame(0x02, b"\xe2"), frame(0x80, b"\xff"), frame(0x81, b"x")].concat();
        assert_eq!(whole_however_cut(&bytes).1, None);
    }

    #[test]
    fn close_frames_carry_a_code_that_may_be_sent() {
        let close = |code: u16| frame(0x88, &code.to_be_bytes());
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(whole_however_cut(&close(code)).1, None, "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(refused(&close(code)), WebSocketError::BadCloseCode, "{code}");
        }
        assert_eq!(refused(&frame(0x88, b"\x03")), WebSocketError::BadCloseCode);
        assert_eq!(refused(&frame(0x88, b"\x03\xe8\xff")), WebSocketError::InvalidUtf8);
        assert_eq!(whole_however_cut(&frame(0x88, b"")).1, None);
    }

    #[test]
    fn flood_of_empty_fragments_ends() {
        let flood = [frame(0x02, b""), frame(0x00, b"").repeat(1000)].concat();
        let (found, error) = frames_of(Frames::new(1000), [&flood[..]]);
        assert_eq!((found.len(), error), (64, Some(WebSocketError::EmptyFragments)));
    }

    #[test]
    fn frame_that_comes_byte_by_byte_is_unmasked_once() {
        let text = "aä".repeat(100_000);
        let mut stream = frame(0x81, text.as_bytes());
        let mut frames = Frames::new(text.len());
        let len = stream.len();
        for end in 0..len {
            assert_eq!(frames.decode(&mut stream[..end]), Ok(None));
            assert_eq!(frames.done as usize, end.saturating_sub(14));
        }
        let whole = frames.decode(&mut stream).unwrap().unwrap();
        assert!(whole.message.payload == text.as_bytes());
    }

    #[test]
    fn every_alignment_and_offset_is_unmasked_alike() {
        let key = [1, 20, 60, 200];
        for len in 0..40 {
            for cut in 0..=len {
                let mut bytes = vec![0; len];
                unmask(&mut bytes[..cut], key, 0);
                unmask(&mut bytes[cut..], key, cut);
                assert!(bytes.iter().zip(key.iter().cycle()).all(|(byte, key)| byte == key));
            }
        }
    }

    #[test]
    fn a_connection_keeps_little() {
        assert!(size_of::<Frames>() <= 20, "{}", size_of::<Frames>());
    }
}
