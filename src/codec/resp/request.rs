//! Finds requests in a stream, and hands out their arguments.

use std::fmt;
use std::io::BufRead;

use super::error::RespError;
use super::inline;
use super::number::{Decimal, parse_integer};
use crate::codec::client_hello::begins_tls;
use crate::codec::codec::{Codec, Decoded};

/// The requests of a stream: arrays of bulk strings, and inline commands.
///
/// ```
/// use edgeloop::codec::{Codec, resp::Resp};
/// let mut resp = Resp::new(1024);
/// let mut input = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nset k 'a b'\n*1\r\n$4".to_vec();
/// let first = resp.decode(&mut input)?.expect("it is whole");
/// assert_eq!(first.message.arguments().collect::<Vec<_>>(), [&b"ECHO"[..], b"hi"]);
/// let len = first.len;
/// input.drain(..len);
/// let second = resp.decode(&mut input)?.expect("a line is a request, too");
/// assert_eq!(second.message.arguments().collect::<Vec<_>>(), [&b"set"[..], b"k", b"a b"]);
/// let len = second.len;
/// input.drain(..len);
/// assert!(resp.decode(&mut input)?.is_none());
/// # Ok::<(), edgeloop::codec::resp::RespError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resp {
    /// The longest request, in bytes of the stream; and [`RESTRICTED`].
    limit: u32,
    /// Bytes of the unfinished request that are known to be right: whole arguments, or a part of a
    /// line without a line feed.
    checked: u32,
    /// Where its first argument begins.
    begin: u32,
    /// Arguments that it has, once that is known.
    count: u32,
    /// Arguments still to come.
    missing: u32,
    /// The inline command that stands rewritten at the front of the input and is to be given again:
    /// its length, or 0.
    kept: u32,
}

/// A request: what is to be done, and with what. Empty when there is nothing to be done, as behind
/// an empty line.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Arguments with their headers, or a line as [`inline`] rewrites it.
    bytes: &'a [u8],
    count: u32,
    is_inline: bool,
}

/// The arguments of a request, in order.
#[derive(Clone)]
pub struct Arguments<'a> {
    rest: Request<'a>,
}

/// The most bytes of an inline command, its line feed included; Redis has the same limit.
const INLINE_MAX: usize = 64 << 10;
/// The most bytes of a header, its line feed included: a type, 64 bits in decimal, and some grace.
const HEADER_MAX: usize = 32;
/// A bit of the limit that no limit needs: the client has not said who it is.
const RESTRICTED: u32 = 1 << 31;
/// What a request may have of a client that has not said who it is: as in Redis.
const RESTRICTED_ARGUMENTS: i64 = 10;
const RESTRICTED_BULK: usize = 16 << 10;
/// The most arguments. A bulk string takes 6 bytes, so the limit of the request comes first as a rule.
const ARGUMENTS_MAX: i64 = 1 << 20;

impl Resp {
    /// Requests of at most `limit` bytes in all, headers included; at most 1 GiB.
    pub const fn new(limit: usize) -> Self {
        let limit = if limit < 1 << 30 { limit as u32 } else { 1 << 30 };
        Resp { limit, checked: 0, begin: 0, count: 0, missing: 0, kept: 0 }
    }

    /// Whether requests may have ten arguments at most, and these 16 KiB: for a client that has not said
    /// who it is. A request that has begun keeps its number of arguments.
    ///
    /// ```
    /// use edgeloop::codec::{Codec, resp::{Resp, RespError}};
    /// let mut resp = Resp::new(1 << 20);
    /// resp.restrict(true);
    /// let refused = resp.decode(&mut b"*11\r\n".to_vec()).unwrap_err();
    /// assert_eq!(refused, RespError::UnauthenticatedMultibulkLength);
    /// ```
    pub fn restrict(&mut self, is_restricted: bool) {
        self.limit = self.limit & !RESTRICTED | if is_restricted { RESTRICTED } else { 0 };
    }

    fn is_restricted(&self) -> bool {
        self.limit & RESTRICTED != 0
    }

    fn limit(&self) -> usize {
        (self.limit & !RESTRICTED) as usize
    }

    /// Takes back the request that was decoded last, which took `len` bytes and was left in the
    /// input: the next call gives it again.
    pub fn keep(&mut self, request: &Request<'_>, len: usize) {
        self.count = request.count;
        if request.is_inline {
            self.kept = len as u32;
            self.begin = request.bytes.len() as u32;
        } else {
            // All of it is known to be right, however long it is.
            (self.checked, self.missing) = (len as u32, 0);
            self.begin = (len - request.bytes.len()) as u32;
        }
    }

    fn decode_array<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<Decoded<Request<'a>>>, RespError> {
        if self.checked == 0 {
            let Some((len, count)) = header(input, RespError::InvalidMultibulkLength)? else {
                return Ok(None);
            };
            if count > ARGUMENTS_MAX {
                return Err(RespError::InvalidMultibulkLength);
            }
            if self.is_restricted() && count > RESTRICTED_ARGUMENTS {
                return Err(RespError::UnauthenticatedMultibulkLength);
            }
            // None, or fewer than none: a request to do nothing.
            self.count = count.max(0) as u32;
            (self.checked, self.begin, self.missing) = (len as u32, len as u32, self.count);
        }
        let mut checked = self.checked as usize;
        while self.missing > 0 {
            let (rest, most) = (&input[checked..], self.limit() - checked);
            let short = short_argument(rest).filter(|len| *len <= most);
            let long = || argument(rest, most, self.is_restricted());
            let Some(len) = short.map_or_else(long, |len| Ok(Some(len)))? else {
                self.checked = checked as u32;
                return Ok(None);
            };
            checked += len;
            self.missing -= 1;
        }
        self.checked = 0;
        let bytes = &input[self.begin as usize..checked];
        let message = Request { bytes, count: self.count, is_inline: false };
        Ok(Some(Decoded { len: checked, message }))
    }

    fn decode_inline<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<Decoded<Request<'a>>>, RespError> {
        if self.kept > 0 {
            let len = std::mem::take(&mut self.kept) as usize;
            let bytes = &input[..self.begin as usize];
            let message = Request { bytes, count: self.count, is_inline: true };
            return Ok(Some(Decoded { len, message }));
        }
        let most = input.len().min(INLINE_MAX).min(self.limit());
        // The standard library's search, by way of a reader that cannot fail: a slice.
        let mut rest = &input[(self.checked as usize).min(most)..most];
        let len = most - rest.len() + rest.skip_until(b'\n').unwrap_or(0);
        if !input[..len].ends_with(b"\n") {
            self.checked = len as u32;
            let is_over = most == INLINE_MAX || most == self.limit();
            return if is_over { Err(RespError::TooBigInlineRequest) } else { Ok(None) };
        }
        self.checked = 0;
        let (count, rewritten) = inline::split(&mut input[..len])?;
        let message = Request { bytes: &input[..rewritten], count, is_inline: true };
        Ok(Some(Decoded { len, message }))
    }
}

impl Codec for Resp {
    type Message<'a> = Request<'a>;
    type Error = RespError;

    fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
    ) -> Result<Option<Decoded<Request<'a>>>, RespError> {
        match input.first() {
            None => Ok(None),
            // A rewritten line begins with any byte.
            Some(b'*') if self.kept == 0 => self.decode_array(input),
            Some(_) if self.kept == 0 && begins_tls(input) => Err(RespError::TlsHello),
            Some(_) => self.decode_inline(input),
        }
    }
}

impl<'a> Request<'a> {
    /// How many arguments there are, the name of the command included.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the request as an array of bulk strings, whatever form it came in.
    ///
    /// ```
    /// use edgeloop::codec::{Codec, resp::Resp};
    /// let (mut resp, mut input) = (Resp::new(1024), b"ECHO 'a b'\n".to_vec());
    /// let request = resp.decode(&mut input)?.expect("it is whole").message;
    /// let mut bytes = Vec::new();
    /// request.write_array(&mut bytes);
    /// assert_eq!(bytes, b"*2\r\n$4\r\nECHO\r\n$3\r\na b\r\n");
    /// assert_eq!(bytes.len(), request.array_len());
    /// # Ok::<(), edgeloop::codec::resp::RespError>(())
    /// ```
    pub fn write_array(&self, bytes: &mut Vec<u8>) {
        head(bytes, b'*', self.len());
        if !self.is_inline {
            // As they came: only the number in front of them is not kept.
            return bytes.extend_from_slice(self.bytes);
        }
        for argument in self.arguments() {
            head(bytes, b'$', argument.len());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
    }

    /// How many bytes that is.
    pub fn array_len(&self) -> usize {
        let head_len = |number: usize| Decimal::new(number as i64).as_bytes().len() + 3;
        let bytes = match self.is_inline {
            false => self.bytes.len(),
            true => self.arguments().map(|it| head_len(it.len()) + it.len() + 2).sum(),
        };
        head_len(self.len()) + bytes
    }

    /// The arguments; the first is the name of the command.
    pub fn arguments(&self) -> Arguments<'a> {
        Arguments { rest: *self }
    }
}

impl<'a> Arguments<'a> {
    /// What is left of them, as a request of its own: a command that another one names.
    ///
    /// ```
    /// use edgeloop::codec::{Codec, resp::Resp};
    /// let (mut resp, mut input) = (Resp::new(1024), b"COMMAND GETKEYS GET k\n".to_vec());
    /// let mut arguments = resp.decode(&mut input)?.expect("it is whole").message.arguments();
    /// assert_eq!(arguments.nth(1), Some(&b"GETKEYS"[..]));
    /// assert_eq!(arguments.as_request().arguments().collect::<Vec<_>>(), [&b"GET"[..], b"k"]);
    /// # Ok::<(), edgeloop::codec::resp::RespError>(())
    /// ```
    pub fn as_request(&self) -> Request<'a> {
        self.rest
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.rest.count = self.rest.count.checked_sub(1)?;
        if self.rest.is_inline {
            return inline::next(&mut self.rest.bytes);
        }
        // All of this was checked when the request was found.
        let mut header = self.rest.bytes.get(1..)?;
        let mut len = 0;
        while let Some((&digit @ b'0'..=b'9', rest)) = header.split_first() {
            len = len * 10 + usize::from(digit - b'0');
            header = rest;
        }
        let (argument, rest) = header.get(2..)?.split_at_checked(len)?;
        self.rest.bytes = rest.get(2..)?;
        Some(argument)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for Arguments<'_> {}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.arguments().map(<[u8]>::escape_ascii)).finish()
    }
}

impl fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rest, f)
    }
}

/// Appends a type and a number.
fn head(bytes: &mut Vec<u8>, kind: u8, number: usize) {
    bytes.push(kind);
    bytes.extend_from_slice(Decimal::new(number as i64).as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// As [`argument`], for nearly all of them: less than 100 bytes long, whole and right. Says nothing
/// about any other.
#[inline]
fn short_argument(input: &[u8]) -> Option<usize> {
    let digit = |byte: &u8| usize::from(byte - b'0');
    let end = match input {
        [b'$', len @ b'0'..=b'9', b'\r', b'\n', ..] => 4 + digit(len),
        [b'$', tens @ b'1'..=b'9', len @ b'0'..=b'9', b'\r', b'\n', ..] => {
            5 + 10 * digit(tens) + digit(len)
        }
        _ => return None,
    };
    let is_whole = input.get(end..end + 2)? == b"\r\n";
    is_whole.then_some(end + 2)
}

/// The length of an argument with its header, once all of it is there. It may have `most` bytes.
fn argument(input: &[u8], most: usize, is_restricted: bool) -> Result<Option<usize>, RespError> {
    match input.first() {
        Some(b'$') => {}
        Some(byte) => return Err(RespError::ExpectedDollar(*byte)),
        None => return Ok(None),
    }
    let Some((header, len)) = header(input, RespError::InvalidBulkLength)? else {
        return Ok(None);
    };
    let len = usize::try_from(len).map_err(|_| RespError::InvalidBulkLength)?;
    if len.saturating_add(header + 2) > most {
        return Err(RespError::InvalidBulkLength);
    }
    if is_restricted && len > RESTRICTED_BULK {
        return Err(RespError::UnauthenticatedBulkLength);
    }
    let end = header + len;
    match input.get(end..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(end + 2)),
        None | Some([] | [b'\r']) => Ok(None),
        Some(_) => Err(RespError::UnendedBulk),
    }
}

/// The number in a header, `*3\r\n` or `$3\r\n`, and the header's length, once it is there.
fn header(input: &[u8], error: RespError) -> Result<Option<(usize, i64)>, RespError> {
    // Most numbers of arguments have one digit.
    if let [_, digit @ b'0'..=b'9', b'\r', b'\n', ..] = input {
        return Ok(Some((4, i64::from(digit - b'0'))));
    }
    let head = &input[..input.len().min(HEADER_MAX)];
    let Some(end) = head.iter().position(|byte| *byte == b'\r') else {
        return if head.len() == HEADER_MAX { Err(error) } else { Ok(None) };
    };
    match head.get(end + 1) {
        Some(b'\n') => Ok(Some((end + 2, parse_integer(&head[1..end]).ok_or(error)?))),
        None if head.len() < HEADER_MAX => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (Vec<Vec<Vec<u8>>>, Option<RespError>);

    fn requests<'a>(mut resp: Resp, pieces: impl IntoIterator<Item = &'a [u8]>) -> Found {
        let (mut found, mut input) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match resp.decode(&mut input) {
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                    Ok(Some(Decoded { len, message })) => {
                        let arguments: Vec<_> = message.arguments().map(<[u8]>::to_vec).collect();
                        assert_eq!(arguments.len(), message.len());
                        found.push(arguments);
                        input.drain(..len);
                    }
                }
            }
        }
        (found, None)
    }

    /// Every cut into three pieces, and into single bytes, gives what the whole gives.
    fn whole_however_cut(limit: usize, stream: &[u8]) -> Found {
        let resp = Resp::new(limit);
        let whole = requests(resp.clone(), [stream]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(requests(resp.clone(), cuts), whole, "cut at {first}, {second}");
            }
        }
        assert_eq!(requests(resp, stream.chunks(1)), whole, "byte by byte");
        whole
    }

    fn expect(stream: &[u8], expected: &[&[&str]]) {
        let (found, error) = whole_however_cut(1000, stream);
        let expected: Vec<Vec<Vec<u8>>> = expected
            .iter()
            .map(|request| request.iter().map(|word| word.as_bytes().to_vec()).collect())
            .collect();
        assert_eq!((found, error), (expected, None), "{}", stream.escape_ascii());
    }

    fn expect_error(stream: &[u8], expected: RespError) {
        let (found, error) = whole_however_cut(1000, stream);
        assert_eq!((found.len(), error), (0, Some(expected)), "{}", stream.escape_ascii());
    }

    #[test]
    fn every_cut_of_a_stream_gives_the_same_requests() {
        expect(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", &[&["PING"], &["PING"]]);
        expect(
            b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\na\r\n$3\r\n*1\r\nb\r\n*2\r\n$1\r\nx\r\n$2\r\n",
            &[&["SET", "", "a\r\n$3\r\n*1\r\nb"]],
        );
        expect(
            b"set k 'a b'\r\n\r\n*1\r\n$1\r\nx\r\n get\tk\n\"*1\"\n",
            &[&["set", "k", "a b"], &[], &["x"], &["get", "k"], &["*1"]],
        );
        expect(b"*0\r\n*-1\r\n*-99\r\nPING\n", &[&[], &[], &[], &["PING"]]);
    }

    #[test]
    fn broken_requests_are_refused_for_their_reason_however_they_are_cut() {
        use RespError::*;
        for stream in
            ["*x\r\n", "*\r\n", "*1a\r\n", "*1048577\r\n", "*99999999999999999999\r\n", "*1\rx"]
        {
            expect_error(stream.as_bytes(), InvalidMultibulkLength);
        }
        expect_error(&[b"*".as_slice(), &[b'1'; 40]].concat(), InvalidMultibulkLength);
        expect_error(&[b"*".as_slice(), &[b'1'; 30], b"\r\n"].concat(), InvalidMultibulkLength);
        for stream in ["$x\r\n", "$-1\r\n", "$\r\n", "$4294967296\r\n", "$990\r\n", "$1 \r\n"] {
            expect_error(format!("*1\r\n{stream}").as_bytes(), InvalidBulkLength);
        }
        expect_error(b"*1\r\n:1\r\n", ExpectedDollar(b':'));
        expect_error(b"*2\r\n$1\r\nx\r\n*1\r\n", ExpectedDollar(b'*'));
        expect_error(b"*1\r\n$1\r\nxy\r\n", UnendedBulk);
        expect_error(b"*1\r\n$1\r\nx\rx", UnendedBulk);
        expect_error(b"GET 'k\n", UnbalancedQuotes);
    }

    #[test]
    fn request_may_be_as_long_as_the_limit_and_no_longer() {
        let stream = b"*1\r\n$10\r\n0123456789\r\n";
        assert_eq!(whole_however_cut(stream.len(), stream).0.len(), 1);
        let refused = (vec![], Some(RespError::InvalidBulkLength));
        assert_eq!(whole_however_cut(stream.len() - 1, stream), refused);
        assert_eq!(whole_however_cut(10, b"123456789\n").0.len(), 1);
        let refused = (vec![], Some(RespError::TooBigInlineRequest));
        assert_eq!(whole_however_cut(9, b"123456789\n"), refused);
        let line = vec![b'x'; INLINE_MAX];
        let whole = requests(Resp::new(1 << 20), [&line[1..], b"\n"]);
        assert_eq!((whole.0.len(), whole.1), (1, None));
        assert_eq!(requests(Resp::new(1 << 20), [&line[..]]).1, refused.1);
    }

    #[test]
    fn request_that_comes_byte_by_byte_is_looked_at_once() {
        let mut stream = format!("*2000\r\n{}", "$20\r\n01234567890123456789\r\n".repeat(2000));
        stream.push_str("*1\r\n$1\r\nx\r\n");
        let mut input = stream.into_bytes();
        let mut resp = Resp::new(input.len());
        for end in 0..input.len() {
            let before = resp.checked as usize;
            if let Some(found) = resp.decode(&mut input[..end]).unwrap() {
                assert_eq!((found.message.len(), found.len), (2000, end));
                return;
            }
            // What is looked at again is one header at most; and of a line nothing.
            assert!(end - before <= 28, "{before} of {end}");
        }
        panic!("not found");
    }

    #[test]
    fn line_that_comes_byte_by_byte_is_searched_once() {
        let mut line = vec![b'x'; INLINE_MAX - 1];
        let mut resp = Resp::new(1 << 20);
        for end in 1..=line.len() {
            assert!(resp.decode(&mut line[..end]).unwrap().is_none());
            assert_eq!(resp.checked as usize, end);
        }
    }

    #[test]
    fn request_that_is_kept_is_given_again() {
        for stream in ["*2\r\n$1\r\na\r\n$2\r\nbb\r\n", "a 'bb' \r\n", "'*1' \"\\x00\"\n", "*x\n"] {
            let mut input = [stream.as_bytes(), b"PING\r\n"].concat();
            let mut resp = Resp::new(1000);
            let Ok(Some(first)) = resp
                .decode(&mut input.clone())
                .map(|found| found.map(|found| (found.len, format!("{:?}", found.message))))
            else {
                continue;
            };
            for _ in 0..3 {
                let Decoded { len, message } = resp.decode(&mut input).unwrap().unwrap();
                assert_eq!((len, format!("{message:?}")), first);
                let copy = message;
                resp.keep(&copy, len);
            }
            let last = resp.decode(&mut input).unwrap().unwrap();
            let len = last.len;
            let next = resp.decode(&mut input[len..]).unwrap().unwrap();
            assert_eq!(next.message.arguments().next(), Some(&b"PING"[..]));
        }
    }

    #[test]
    fn array_that_is_kept_is_not_looked_through_again() {
        let mut input = b"*3\r\n$1\r\na\r\n$2\r\nbb\r\n$1\r\nc\r\n".to_vec();
        let mut resp = Resp::new(1000);
        let mut copy = input.clone();
        let Decoded { len, message } = resp.decode(&mut copy).unwrap().unwrap();
        resp.keep(&message, len);
        // What would be an error: nobody asks.
        input[11] = b'?';
        assert_eq!(resp.decode(&mut input).unwrap().unwrap().len, len);
        assert!(resp.decode(&mut input).is_err());
    }

    /// Streams made of what requests are made of, right and wrong, and cut anywhere: the same requests
    /// and the same error whatever the cuts. `FUZZ_INPUTS` says how many.
    #[test]
    fn generated_streams_give_the_same_however_they_are_cut() {
        let wanted = std::env::var("FUZZ_INPUTS");
        let inputs = wanted.map_or(20_000, |text| text.parse().expect("FUZZ_INPUTS is a number"));
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut whole_requests, mut errors) = (0, 0);
        for _ in 0..inputs {
            let stream = generate(&mut random);
            let limit = [20, 100, 1 << 20][random.below(3)];
            let whole = requests(Resp::new(limit), [&stream[..]]);
            let mut cuts = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + random.below(rest.len().min(12)));
                cuts.push(piece);
                rest = behind;
            }
            assert_eq!(requests(Resp::new(limit), cuts), whole, "{}", stream.escape_ascii());
            whole_requests += whole.0.len();
            errors += usize::from(whole.1.is_some());
        }
        assert!(whole_requests > inputs / 2 && errors > inputs / 10, "{whole_requests}, {errors}");
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 33) as usize % bound
        }
    }

    fn generate(random: &mut Random) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..1 + random.below(4) {
            match random.below(4) {
                0 => {
                    for _ in 0..random.below(12) {
                        stream.push(b"ab \t'\"\\xn0\0\r\x0b"[random.below(13)]);
                    }
                    stream.extend(b"\r\n");
                }
                _ => {
                    let count = random.below(4);
                    stream.extend(format!("*{count}\r\n").bytes());
                    for _ in 0..count {
                        let len = random.below(14);
                        stream.extend(format!("${len}\r\n").bytes());
                        (0..len).for_each(|_| stream.push(b"a\r\n*$1"[random.below(6)]));
                        stream.extend(b"\r\n");
                    }
                }
            }
        }
        // Half of them are damaged.
        for _ in 0..random.below(2) * random.below(4) {
            let at = random.below(stream.len());
            match random.below(3) {
                0 => drop(stream.remove(at)),
                1 => stream.insert(at, b"*$-0199999\r\n'\"x"[random.below(15)]),
                _ => stream[at] = random.below(256) as u8,
            }
            if stream.is_empty() {
                stream.push(b'*');
            }
        }
        stream
    }

    #[test]
    fn state_of_a_connection_is_small() {
        assert_eq!(size_of::<Resp>(), 24);
    }
}
