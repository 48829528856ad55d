//! Answers to a batch of requests, written one behind the other.

use super::Decimal;

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
#[derive(Clone, Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Where the reply that is being written begins.
    begin: usize,
    limit: usize,
    is_over: bool,
}

/// Storage above that goes back to the allocator when it is empty again.
const KEPT_MAX: usize = 64 << 10;

impl Replies {
    /// Replies of at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Replies { limit, ..Replies::default() }
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

    /// No value.
    pub fn null(&mut self) {
        self.line(b'$', b"-1");
    }

    /// The head of an array; as many replies follow as its elements.
    pub fn array(&mut self, len: usize) {
        self.line(b'*', Decimal::new(len as i64).as_bytes());
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
        let mut replies = Replies::new(1 << 20);
        replies.begin();
        replies.bulk(&[0; 1 << 19]);
        assert!(replies.end());
        replies.clear();
        assert!(replies.bytes.capacity() <= KEPT_MAX);
    }
}
