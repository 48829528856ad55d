//! What holds for any input whatever: the properties that the fuzzer tries to break, and that
//! `tests/cuts.rs` tries on the stable toolchain.
//!
//! Each takes plain bytes and makes of them what it needs: its parameters, the cuts, the stream,
//! the operations. Every string of bytes is a valid input, so that a fuzzer wastes none.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

#[cfg(feature = "websocket")]
use edgeloop::codec::http::{BodyDecoder, Framing, HeadDecoder, HeadLimits};
use edgeloop::codec::resp::Resp;
#[cfg(feature = "websocket")]
use edgeloop::codec::websocket::Frames;
use edgeloop::codec::{Codec, Delimited, Endian, Fixed, LengthPrefixed, Magic, ProxyHeader, Width};
use edgeloop::{BufferPool, RingBuffer, TimerWheel};

type Property = fn(&[u8]);

/// Every property, under the name of its fuzz target.
#[allow(dead_code, reason = "a fuzz target has one property; the test runs all of them")]
pub const ALL: &[(&str, Property)] = &[
    ("delimited", delimited),
    ("fixed", fixed),
    #[cfg(feature = "websocket")]
    ("http_body", http_body),
    #[cfg(feature = "websocket")]
    ("http_head", http_head),
    ("length_prefixed", length_prefixed),
    ("magic", magic),
    ("proxy", proxy),
    ("resp", resp),
    ("ring_buffer", ring_buffer),
    ("timer_wheel", timer_wheel),
    #[cfg(feature = "websocket")]
    ("websocket", websocket),
];

// Decoders: the results do not depend on how the stream is cut.

pub fn delimited(data: &[u8]) {
    let mut input = Input(data);
    let delimiter = [&b"\n"[..], b"\r\n", b"aab", b"aa", b"--a--", b""][input.below(6)];
    let limit = input.below(20);
    let outcome = same_however_cut(|| Delimited::by(delimiter, limit), <[u8]>::to_vec, &mut input);
    // Against the plainest search there is.
    let mut rest = input.0;
    for (_, message) in outcome.messages {
        let len = rest.windows(delimiter.len().max(1)).position(|window| window == delimiter);
        let len = len.expect("a message ends with its delimiter");
        assert!(message == rest[..len] && len <= limit);
        rest = &rest[len + delimiter.len()..];
    }
    let next = rest.windows(delimiter.len().max(1)).position(|window| window == delimiter);
    assert_eq!(outcome.error.is_some(), next.unwrap_or(rest.len()) > limit);
    assert!(outcome.last.is_none_or(|last| last == rest && next.is_none()));
}

pub fn fixed(data: &[u8]) {
    let mut input = Input(data);
    let len = std::num::NonZeroUsize::MIN.saturating_add(input.below(9));
    let outcome = same_however_cut(|| Fixed::new(len), <[u8]>::to_vec, &mut input);
    let messages: Vec<&[u8]> = input.0.chunks_exact(len.get()).collect();
    assert!(outcome.messages.iter().map(|(_, message)| message).eq(messages));
}

pub fn length_prefixed(data: &[u8]) {
    let mut input = Input(data);
    let codec = input.length_prefixed();
    same_however_cut(|| codec, <[u8]>::to_vec, &mut input);
    if let Some(header) = codec.header(input.0.len()) {
        is_read_back(codec, &header, input.0);
    }
}

pub fn magic(data: &[u8]) {
    let mut input = Input(data);
    let codec = Magic::new(*b"\xAB\xCDab", input.length_prefixed());
    same_however_cut(|| codec, <[u8]>::to_vec, &mut input);
    if let Some((number, length)) = codec.header(input.0.len()) {
        is_read_back(codec, &[&number[..], &length].concat(), input.0);
    }
}

/// A header of the PROXY protocol is found or refused at the byte that decides, and no later byte changes
/// that. One that is found says the same when it is written anew.
pub fn proxy(data: &[u8]) {
    let mut input = Input(data);
    let begun = [&b""[..], b"PROXY TCP4 ", b"PROXY TCP6 ", BINARY_PROXY, b"PROXY UNKNOWN"];
    let mut bytes = begun[input.below(begun.len())].to_vec();
    bytes.extend_from_slice(input.0);
    let ends = (0..=bytes.len()).find(|end| ProxyHeader::parse(&bytes[..*end]) != Ok(None));
    let Some(end) = ends else { return };
    let decided = ProxyHeader::parse(&bytes[..end]);
    for later in end..=bytes.len() {
        let found = ProxyHeader::parse(&bytes[..later]);
        assert_eq!(found.is_ok(), decided.is_ok(), "at {end}, and then at {later}");
        assert!(found.is_err() || found == decided, "at {end}, and then at {later}");
    }
    let Ok(Some(header)) = decided else { return };
    assert!(header.len == end && end <= ProxyHeader::LONGEST);
    let Some(client) = header.client else { return };
    let family = if client.is_ipv4() { 4 } else { 6 };
    let (ip, port) = (client.ip(), client.port());
    let anew = format!("PROXY TCP{family} {ip} {ip} {port} 1\r\n");
    let len = anew.len();
    let again = ProxyHeader::parse(anew.as_bytes());
    assert_eq!(again, Ok(Some(ProxyHeader { len, client: Some(client) })));
}

/// Version 2 of the PROXY protocol, up to its command.
const BINARY_PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21";

pub fn resp(data: &[u8]) {
    let mut input = Input(data);
    let limit = [20, 100, 1 << 20][input.below(3)];
    let show = |request: edgeloop::codec::resp::Request<'_>| -> Vec<Vec<u8>> {
        request.arguments().map(<[u8]>::to_vec).collect()
    };
    same_however_cut(|| Resp::new(limit), show, &mut input);
}

#[cfg(feature = "websocket")]
pub fn websocket(data: &[u8]) {
    let mut input = Input(data);
    let limit = [0, 20, 200, 1 << 20][input.below(4)];
    let show = |frame: edgeloop::codec::websocket::Frame<'_>| {
        (frame.kind, frame.is_final, frame.payload.to_vec())
    };
    same_however_cut(|| Frames::new(limit), show, &mut input);
}

/// Heads without bodies, one behind the other.
#[cfg(feature = "websocket")]
pub fn http_head(data: &[u8]) {
    let mut input = Input(data);
    let limits = HeadLimits { head: [60, 16 << 10][input.below(2)], ..HeadLimits::default() };
    same_however_cut(|| HeadDecoder::new(limits), |head| format!("{head:?}"), &mut input);
}

/// How a body comes in pieces depends on the cuts; all of it together, where it ends and what is
/// wrong with it do not.
#[cfg(feature = "websocket")]
pub fn http_body(data: &[u8]) {
    let mut input = Input(data);
    let framing = [Framing::Chunked, Framing::Length(20), Framing::None][input.below(3)];
    let mut cuts = input.random();
    let stream = input.0;
    let whole = body(framing, stream, || stream.len());
    assert_eq!(body(framing, stream, || 1), whole, "in single bytes");
    let longest = 1 + cuts.below(stream.len().max(2));
    assert_eq!(body(framing, stream, || 1 + cuts.below(longest)), whole, "in pieces");
}

/// The bytes of a body, how much of the stream it took if it ended, and the error.
#[cfg(feature = "websocket")]
fn body(
    framing: Framing,
    stream: &[u8],
    mut next_piece: impl FnMut() -> usize,
) -> (Vec<u8>, Option<usize>, Option<String>) {
    let mut decoder = BodyDecoder::new(framing, 100).expect("the framing is within the limit");
    let (mut bytes, mut taken, mut end) = (Vec::new(), 0, 0);
    while !decoder.is_done() && end < stream.len() {
        end = (end + next_piece()).min(stream.len());
        loop {
            match decoder.piece(&stream[taken..end]) {
                Ok(Some(found)) => {
                    bytes.extend_from_slice(found.message);
                    taken += found.len;
                }
                Ok(None) => break,
                Err(error) => return (bytes, None, Some(error.name().into())),
            }
        }
    }
    (bytes, decoder.is_done().then_some(taken), None)
}

/// A message behind the header that its codec makes for it is that message.
fn is_read_back<C>(mut codec: C, header: &[u8], message: &[u8])
where
    C: for<'m> Codec<Message<'m> = &'m [u8]>,
{
    let mut stream = [header, message].concat();
    let len = stream.len();
    let found = codec.decode(&mut stream).expect("within its limit").expect("whole");
    assert_eq!((found.len, found.message), (len, message));
}

/// Feeds a stream to a codec whole and in pieces: the messages, the error and the end must be the
/// same. `show` keeps of a message what is to be compared.
///
/// The first eight bytes of the input choose the pieces; what is left of it is the stream.
pub fn same_however_cut<C: Codec, S: PartialEq + Debug>(
    codec: impl Fn() -> C,
    show: impl Fn(C::Message<'_>) -> S,
    input: &mut Input<'_>,
) -> Outcome<S> {
    let mut cuts = input.random();
    let stream = input.0;
    let whole = decode(&mut codec(), &show, stream, || stream.len());
    let single = decode(&mut codec(), &show, stream, || 1);
    assert_eq!(single, whole, "in single bytes");
    let longest = 1 + cuts.below(stream.len().max(2));
    let pieces = decode(&mut codec(), &show, stream, || 1 + cuts.below(longest));
    assert_eq!(pieces, whole, "in pieces of at most {longest} bytes");
    whole
}

/// What became of a stream: its messages, with the position at which each ended, then the message
/// that its end made or the error.
#[derive(Debug, PartialEq)]
pub struct Outcome<S> {
    messages: Vec<(usize, S)>,
    last: Option<S>,
    error: Option<String>,
}

fn decode<C: Codec, S>(
    codec: &mut C,
    show: &impl Fn(C::Message<'_>) -> S,
    stream: &[u8],
    mut next_piece: impl FnMut() -> usize,
) -> Outcome<S> {
    let mut outcome = Outcome { messages: Vec::new(), last: None, error: None };
    let (mut bytes, mut taken) = (Vec::with_capacity(stream.len()), 0);
    while bytes.len() < stream.len() {
        let piece = next_piece().min(stream.len() - bytes.len());
        bytes.extend_from_slice(&stream[bytes.len()..bytes.len() + piece]);
        loop {
            let available = bytes.len() - taken;
            let found = codec.decode(&mut bytes[taken..]);
            let found = found.map(|found| found.map(|it| (it.len, show(it.message))));
            match found.map_err(|error| format!("{error:?}")) {
                Ok(Some((len, message))) => {
                    assert!((1..=available).contains(&len), "{len} bytes taken of {available}");
                    taken += len;
                    outcome.messages.push((taken, message));
                    assert_eq!(bytes[taken..], stream[taken..bytes.len()], "bytes behind changed");
                }
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }
    match codec.decode_end(&mut bytes[taken..]) {
        Ok(last) => outcome.last = last.map(show),
        Err(error) => outcome.error = Some(format!("{error:?}")),
    }
    outcome
}

// The ring buffer is a queue of bytes.

pub fn ring_buffer(data: &[u8]) {
    let mut input = Input(data);
    let mut pool = BufferPool::new(input.below(3) * 4096);
    let mut rings = [RingBuffer::new(), RingBuffer::new()];
    let mut models = [VecDeque::<u8>::new(), VecDeque::new()];
    let mut next = 0u8;
    while !input.0.is_empty() {
        let operation = input.below(16);
        let which = operation % 2;
        // Mostly small, now and then larger than a block.
        let amount = input.below(256) << [0, 0, 0, 4][input.below(4)];
        let (ring, model) = (&mut rings[which], &mut models[which]);
        match operation / 2 {
            0 | 1 => {
                let bytes: Vec<u8> = (0..amount).map(|at| next.wrapping_add(at as u8)).collect();
                next = next.wrapping_mul(31).wrapping_add(7);
                ring.extend(&bytes, &mut pool);
                model.extend(bytes);
            }
            2 => {
                ring.consume(amount);
                model.drain(..amount.min(model.len()));
            }
            3 => ring.shrink(&mut pool),
            4 => {
                let moved = ring.contiguous().to_vec();
                assert_eq!(moved, model.make_contiguous());
            }
            5 => {
                let from = amount.min(model.len() + 1);
                let len = input.below(256);
                let (first, second) = ring.range(from, len);
                assert!(first.iter().chain(second).eq(model.iter().skip(from).take(len)));
            }
            6 => {
                let [one, other] = &mut rings;
                let (into, from) = if which == 0 { (one, other) } else { (other, one) };
                into.append(from, &mut pool);
                let moved = std::mem::take(&mut models[1 - which]);
                models[which].extend(moved);
            }
            _ if amount > 0 => {
                ring.reserve(amount, &mut pool);
                assert!(ring.capacity() - ring.len() >= amount);
            }
            _ => {
                ring.release(&mut pool);
                model.clear();
            }
        }
        for (ring, model) in rings.iter().zip(&models) {
            let (first, second) = ring.as_slices();
            assert!(first.iter().chain(second).eq(model), "after operation {operation}");
            assert!(ring.len() <= ring.capacity());
            assert!(ring.capacity() == 0 || ring.capacity().is_power_of_two());
        }
        let held: usize = rings.iter().map(RingBuffer::capacity).sum();
        assert_eq!(pool.leased(), held, "the pool's books");
    }
}

// The wheel fires what is due, once, never early, at most a tick late.

pub fn timer_wheel(data: &[u8]) {
    let mut input = Input(data);
    let tick = 1 + input.below(255) as u64;
    let mut wheel = TimerWheel::new(tick);
    // The first and the last tick at which each timer may fire.
    let mut model = BTreeMap::<u32, (u64, u64)>::new();
    let mut now = 0;
    while !input.0.is_empty() {
        let key = input.below(32) as u32;
        match input.below(4) {
            0 => {
                wheel.cancel(key);
                model.remove(&key);
            }
            // Past and future deadlines, some of them rounds of the wheel away.
            1 | 2 => {
                let ahead = (input.below(256) as u64) << (input.below(5) * 4);
                let deadline = (now + ahead).saturating_sub(input.below(256) as u64);
                wheel.schedule(key, deadline);
                let due = deadline.div_ceil(tick);
                model.insert(key, (due, due.max(now / tick + 1)));
            }
            _ => {
                now += (input.below(256) as u64) << (input.below(4) * 4);
                // Sometimes not all of what is due, as when the budget of a turn ends.
                let budget = [1, usize::MAX][input.below(2)];
                pop_due(&mut wheel, &mut model, now, tick, budget);
            }
        }
        assert_eq!(wheel.len(), model.len());
        let last = model.values().map(|(_, last)| *last).min();
        match (wheel.next_due(), last) {
            // After a jump of the clock it may lie in the past: then something is due now.
            (Some(due), Some(last)) => assert!(due <= now.max(last * tick), "{due} is too late"),
            (due, last) => assert_eq!(due.is_some(), last.is_some()),
        }
    }
}

fn pop_due(
    wheel: &mut TimerWheel,
    model: &mut BTreeMap<u32, (u64, u64)>,
    now: u64,
    tick: u64,
    budget: usize,
) {
    for _ in 0..budget {
        let Some(key) = wheel.pop_due(now) else {
            let late = model.iter().find(|(_, (_, last))| *last <= now / tick);
            assert_eq!(late, None, "not fired at {now}, tick {tick}");
            return;
        };
        let (first, _) = model.remove(&key).expect("fired without being scheduled");
        assert!(first <= now / tick, "early: tick {first} at {now}, tick {tick}");
    }
}

// Inputs.

/// Bytes that are used up from the front; behind the end there are zeros.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }

    fn random(&mut self) -> Random {
        let (seed, rest) = self.0.split_at(self.0.len().min(8));
        self.0 = rest;
        let seed = seed.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        Random(seed)
    }

    fn length_prefixed(&mut self) -> LengthPrefixed {
        let codec = LengthPrefixed::new([0, 3, 20, 300][self.below(4)]);
        let codec = codec.width([Width::One, Width::Two, Width::Four, Width::Eight][self.below(4)]);
        let codec = codec.endian([Endian::Big, Endian::Little][self.below(2)]);
        if self.below(2) == 0 { codec } else { codec.counting_itself() }
    }
}

/// SplitMix64: small, seeded, and good enough for cuts.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
