//! Answers to a batch of requests, written one behind the other.

use super::number::Decimal;

/// A version of the protocol. Requests are the same in both; replies have more types in the newer
/// one, which a client asks for by `HELLO 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2, in which every connection begins.
    #[default]
    V2 = 2,
    /// RESP3.
    V3 = 3,
}

/// Collects replies until they are sent. The storage is kept, so in steady state nothing is
/// allocated.
///
/// A reply may not be longer than a limit, and is not written beyond it:
///
/// ```
/// use edgeloop::codec::resp::Replies;
/// let mut replies = Replies::new(20);
/// replies.begin();
/// replies.bulk(b"value");
/// assert!(replies.end());
/// replies.begin();
/// replies.bulk(b"a value that is longer");
/// assert!(!replies.end());
/// replies.error("ERR too long");
/// assert_eq!(replies.as_bytes(), b"$5\r\nvalue\r\n-ERR too long\r\n");
/// ```
///
/// What is written in a type that version 2 does not have, is written there in the one that it has
/// instead:
///
/// ```
/// use edgeloop::codec::resp::{Replies, Version};
/// let mut replies = Replies::new(100);
/// for version in [Version::V2, Version::V3] {
///     replies.set_version(version);
///     replies.begin();
///     replies.map(1);
///     replies.bulk(b"key");
///     replies.null();
///     assert!(replies.end());
/// }
/// assert_eq!(replies.as_bytes(), b"*2\r\n$3\r\nkey\r\n$-1\r\n%1\r\n$3\r\nkey\r\n_\r\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Where the reply that is being written begins.
    begin: usize,
    limit: usize,
    is_over: bool,
    version: Version,
}

/// A reply that is interrupted by one of its elements.
#[derive(Debug)]
pub struct Part {
    begin: usize,
    limit: usize,
}

/// Storage above that goes back to the allocator when it is empty again. A server has one of them,
/// and replies of some hundred kilobytes often come one after the other.
const KEPT_MAX: usize = 1 << 20;

impl Replies {
    /// Replies of at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Replies { limit, ..Replies::default() }
    }

    /// What is written from now on is written in this version of the protocol.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Begins a reply.
    pub fn begin(&mut self) {
        (self.begin, self.is_over) = (self.bytes.len(), false);
    }

    /// Ends a reply. One that was longer than the limit is taken back; returns whether it was not.
    pub fn end(&mut self) -> bool {
        let is_whole = !std::mem::take(&mut self.is_over);
        if !is_whole {
            self.bytes.truncate(self.begin);
        }
        self.begin = self.bytes.len();
        is_whole
    }

    /// Takes back what was written of the reply.
    pub fn retract(&mut self) {
        self.bytes.truncate(self.begin);
        self.is_over = false;
    }

    /// Begins a reply that is an element of the one being written. It may have what that has room
    /// for, less `reserve` bytes, and is begun and ended like any other until
    /// [`end_part`](Self::end_part).
    ///
    /// ```
    /// use edgeloop::codec::resp::Replies;
    /// let mut replies = Replies::new(30);
    /// replies.begin();
    /// replies.array(2);
    /// for (text, left) in [("too long for two", 1), ("short", 0)] {
    ///     let outer = replies.begin_part(left * 15);
    ///     replies.bulk(text.as_bytes());
    ///     if !replies.end() {
    ///         replies.error("ERR long");
    ///     }
    ///     replies.end_part(outer);
    /// }
    /// assert!(replies.end());
    /// assert_eq!(replies.as_bytes(), b"*2\r\n-ERR long\r\n$5\r\nshort\r\n");
    /// ```
    pub fn begin_part(&mut self, reserve: usize) -> Part {
        let room = self.room().saturating_sub(reserve);
        let outer = Part { begin: self.begin, limit: self.limit };
        self.limit = room;
        self.begin();
        outer
    }

    /// Goes on with the reply that an element belongs to.
    pub fn end_part(&mut self, outer: Part) {
        Part { begin: self.begin, limit: self.limit } = outer;
    }

    /// Gives the storage back, when nothing waits in it.
    pub fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// The most bytes of a reply.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A short text without a line feed, such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error. By custom it begins with a word in capitals, as in `ERR syntax error`. What must
    /// not be in a line is shown as a space.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        let start = self.bytes.len();
        self.line(b'-', text.as_ref());
        let end = self.bytes.len().saturating_sub(2);
        for byte in self.bytes.get_mut(start..end).into_iter().flatten() {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// A number.
    pub fn integer(&mut self, value: i64) {
        self.line(b':', Decimal::new(value).as_bytes());
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        let len = Decimal::new(bytes.len() as i64);
        // The limit is asked once for all of it.
        if self.takes(len.as_bytes().len() + bytes.len() + BULK_OVERHEAD) {
            self.bytes.push(b'$');
            self.bytes.extend_from_slice(len.as_bytes());
            self.bytes.extend_from_slice(b"\r\n");
            self.bytes.extend_from_slice(bytes);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// A text to be shown as it is; in version 2 it is bytes like others.
    pub fn verbatim(&mut self, text: &str) {
        if self.version == Version::V2 {
            return self.bulk(text.as_bytes());
        }
        let len = Decimal::new((VERBATIM_FORMAT.len() + text.len()) as i64);
        let overhead = VERBATIM_FORMAT.len() + BULK_OVERHEAD;
        if self.takes(len.as_bytes().len() + text.len() + overhead) {
            let parts = [b"=", len.as_bytes(), b"\r\n", VERBATIM_FORMAT, text.as_bytes(), b"\r\n"];
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        }
    }

    /// The head of a text like that of [`verbatim`](Self::verbatim), with so many bytes. These follow
    /// [as they are](Self::raw), and `\r\n` behind them.
    pub fn open_verbatim(&mut self, len: usize) {
        if self.version == Version::V2 {
            return self.line(b'$', Decimal::new(len as i64).as_bytes());
        }
        self.line(b'=', Decimal::new((VERBATIM_FORMAT.len() + len) as i64).as_bytes());
        self.raw(VERBATIM_FORMAT);
    }

    /// Bytes that are a part of a reply already.
    ///
    /// ```
    /// use edgeloop::codec::resp::{Replies, Version};
    /// let mut replies = Replies::new(100);
    /// replies.set_version(Version::V3);
    /// replies.begin();
    /// replies.open_verbatim(8);
    /// replies.raw(b"one ");
    /// replies.raw(b"text");
    /// replies.raw(b"\r\n");
    /// assert!(replies.end());
    /// assert_eq!(replies.as_bytes(), b"=12\r\ntxt:one text\r\n");
    /// ```
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.takes(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// No value.
    pub fn null(&mut self) {
        match self.version {
            Version::V2 => self.line(b'$', b"-1"),
            Version::V3 => self.line(b'_', b""),
        }
    }

    /// No array, where one was asked for; in version 3 that is no value.
    pub fn null_array(&mut self) {
        match self.version {
            Version::V2 => self.line(b'*', b"-1"),
            Version::V3 => self.null(),
        }
    }

    /// The head of an array; as many replies follow as its elements.
    pub fn array(&mut self, len: usize) {
        self.line(b'*', Decimal::new(len as i64).as_bytes());
    }

    /// The head of a map; twice as many replies follow, keys and values in turn. In version 2 it is
    /// an array of as many.
    pub fn map(&mut self, len: usize) {
        match self.version {
            Version::V2 => self.array(2 * len),
            Version::V3 => self.line(b'%', Decimal::new(len as i64).as_bytes()),
        }
    }

    /// The head of a set; in version 2 of an array.
    pub fn set(&mut self, len: usize) {
        match self.version {
            Version::V2 => self.array(len),
            Version::V3 => self.line(b'~', Decimal::new(len as i64).as_bytes()),
        }
    }

    /// The head of what nobody has asked for, such as a message; in version 2 of an array.
    pub fn push(&mut self, len: usize) {
        match self.version {
            Version::V2 => self.array(len),
            Version::V3 => self.line(b'>', Decimal::new(len as i64).as_bytes()),
        }
    }

    /// The head of an array whose length is not known yet. Returns where it stands, for
    /// [`close_array`](Self::close_array).
    pub fn open_array(&mut self) -> usize {
        let start = self.bytes.len();
        if self.takes(OPEN_ARRAY.len()) {
            self.bytes.extend_from_slice(OPEN_ARRAY);
        }
        start
    }

    /// Enters the length of an array that was opened.
    pub fn close_array(&mut self, start: usize, len: usize) {
        if self.is_over {
            return;
        }
        let digits = Decimal::new(len as i64);
        let head = [b"*", digits.as_bytes(), b"\r\n"].concat();
        self.bytes.splice(start..start + OPEN_ARRAY.len(), head);
    }

    /// How many bytes more the reply may have; 0 once it is too long.
    pub fn room(&self) -> usize {
        if self.is_over { 0 } else { (self.begin + self.limit).saturating_sub(self.bytes.len()) }
    }

    /// What is to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes that is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.begin = 0;
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes.shrink_to(KEPT_MAX);
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        if self.takes(text.len() + LINE_OVERHEAD) {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(text);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Whether so much more still belongs to a reply within the limit.
    fn takes(&mut self, len: usize) -> bool {
        self.is_over |= self.bytes.len() - self.begin + len > self.limit;
        !self.is_over
    }
}

/// A type and `\r\n`.
const LINE_OVERHEAD: usize = 3;
/// A type and twice `\r\n`; the length comes to it.
const BULK_OVERHEAD: usize = 5;
/// Stands before a verbatim text: it is plain.
const VERBATIM_FORMAT: &[u8] = b"txt:";
/// Room for the head of an array of any length.
const OPEN_ARRAY: &[u8] = b"*0\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_as_the_protocol_has_them() {
        let mut replies = Replies::new(1000);
        replies.begin();
        replies.simple("OK");
        replies.error("ERR a\r\nb");
        replies.integer(-7);
        replies.bulk(b"a\r\nb");
        replies.bulk(b"0123456789");
        replies.null();
        replies.array(2);
        assert!(replies.end());
        let expected =
            b"+OK\r\n-ERR a  b\r\n:-7\r\n$4\r\na\r\nb\r\n$10\r\n0123456789\r\n$-1\r\n*2\r\n";
        assert_eq!(replies.as_bytes(), expected);
        replies.clear();
        assert!(replies.is_empty());
    }

    #[test]
    fn types_of_version_3_are_written_in_version_2_as_what_that_has() {
        let written = [
            (Version::V2, "$-1\r\n*4\r\n*2\r\n*3\r\n$4\r\ntext\r\n*1\r\n:7\r\n"),
            (Version::V3, "_\r\n%2\r\n~2\r\n>3\r\n=8\r\ntxt:text\r\n*1\r\n:7\r\n"),
        ];
        for (version, expected) in written {
            for is_room in [true, false] {
                let mut replies = Replies::new(expected.len() - usize::from(!is_room));
                replies.set_version(version);
                replies.begin();
                replies.null();
                replies.map(2);
                replies.set(2);
                replies.push(3);
                replies.verbatim("text");
                replies.array(1);
                replies.integer(7);
                assert_eq!(replies.end(), is_room);
                assert_eq!(replies.as_bytes(), if is_room { expected.as_bytes() } else { b"" });
            }
        }
        let mut replies = Replies::new(14);
        replies.set_version(Version::V3);
        replies.begin();
        replies.verbatim("text");
        assert!(replies.end(), "it is exactly as long as the limit");
    }

    #[test]
    fn length_of_an_array_may_be_entered_when_it_is_known() {
        for len in [0, 9, 10, 1234] {
            let mut replies = Replies::new(100_000);
            replies.begin();
            replies.simple("before");
            let array = replies.open_array();
            (0..len).for_each(|_| replies.integer(1));
            replies.close_array(array, len);
            assert!(replies.end());
            let expected = format!("+before\r\n*{len}\r\n{}", ":1\r\n".repeat(len));
            assert_eq!(replies.as_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn reply_beyond_the_limit_is_taken_back_and_others_stay() {
        let mut replies = Replies::new(20);
        replies.begin();
        replies.bulk(&[b'x'; 13]);
        assert!(replies.end(), "it is exactly as long as the limit");
        let before = replies.as_bytes().to_vec();
        for write in [
            (|replies| replies.bulk(&[b'x'; 14])) as fn(&mut Replies),
            |replies| (0..6).for_each(|_| replies.integer(1)),
            |replies| {
                let array = replies.open_array();
                replies.bulk(&[b'x'; 12]);
                replies.close_array(array, 1);
            },
        ] {
            replies.begin();
            write(&mut replies);
            assert!(!replies.end());
            assert_eq!(replies.as_bytes(), before);
        }
        replies.begin();
        replies.integer(1);
        assert!(replies.end());
    }

    #[test]
    fn storage_of_a_large_reply_is_not_kept() {
        let mut replies = Replies::new(4 << 20);
        replies.begin();
        replies.bulk(&vec![0; 3 << 20]);
        assert!(replies.end());
        replies.clear();
        assert!(replies.bytes.capacity() <= KEPT_MAX);
    }
}
