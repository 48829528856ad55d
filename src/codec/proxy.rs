//! The PROXY protocol, versions 1 and 2: what a balancer says of its client before the client's bytes.
//!
//! ```text
//! version 1   PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n          at most 107 bytes
//! version 2   signature 12 | 2, command 1 | family 1 | length 2 | addresses | type 1, length 2, value | ...
//! ```
//!
//! The specification is `proxy-protocol.txt` of HAProxy. A header is refused at the first byte with which
//! it can no longer become one: whoever waits for the rest waits for something.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A header, and whom it names.
///
/// ```
/// use edgeloop::codec::ProxyHeader;
/// let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\nGET / HTTP/1.1\r\n";
/// let header = ProxyHeader::parse(bytes)?.expect("it is whole");
/// assert_eq!((header.len, header.client), (45, "192.0.2.7:51234".parse().ok()));
/// assert_eq!(ProxyHeader::parse(&bytes[..44])?, None);
/// assert!(ProxyHeader::parse(b"GET").is_err());
/// # Ok::<(), edgeloop::codec::ProxyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes of the header. What follows is the client's.
    pub len: usize,
    /// Whose connection it is. `None` for the balancer itself, as when it looks whether the server is there
    /// (`LOCAL`), and for a client that it names by no IP address (`UNKNOWN`, `UNSPEC`, a Unix socket).
    pub client: Option<SocketAddr>,
}

/// Why bytes are no header, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyError(&'static str);

impl ProxyError {
    /// The words, of which none is the peer's.
    pub const fn text(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProxyError {}

impl ProxyHeader {
    /// Headers are no longer. The specification asks for 536 bytes; what a balancer tells of TLS and of
    /// certificates takes more, and nginx takes 4096, too.
    pub const LONGEST: usize = 4096;

    /// Finds a header at the beginning of all that has arrived; `None` as long as it may become one.
    ///
    /// A checksum (CRC32c) is verified where there is one. Other values behind the addresses are passed
    /// over, if they fill the header exactly.
    ///
    /// # Errors
    /// It is no header, or one of datagrams; the text says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
        let begins = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
        let found = if begins(SIGNATURE) {
            binary(bytes)
        } else if begins(TEXT) {
            text(bytes)
        } else {
            Err("it does not begin as a PROXY header")
        };
        found.map_err(ProxyError)
    }
}

/// What is wrong.
type Found = Result<Option<ProxyHeader>, &'static str>;

// ---- version 1 ----

fn text(bytes: &[u8]) -> Found {
    // Behind the line there is a line feed.
    let line_max = TEXT_MAX - 1;
    let end = bytes.iter().take(line_max).position(|byte| *byte == b'\r');
    if end.is_none() && bytes.len() >= line_max {
        return Err("the line of the PROXY header is longer than 107 bytes");
    }
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let Some(words) = line.strip_prefix(TEXT) else { return Ok(None) };
    let client = match words.split_at_checked(FAMILY_LEN) {
        Some((b"TCP4 ", words)) => client(Family::V4, words, end.is_some())?,
        Some((b"TCP6 ", words)) => client(Family::V6, words, end.is_some())?,
        _ => unknown(words, end.is_some())?,
    };
    match end.and_then(|end| bytes.get(end + 1)) {
        Some(b'\n') => Ok(Some(ProxyHeader { len: line.len() + 2, client })),
        Some(_) => Err("a carriage return in the PROXY header has no line feed behind it"),
        None => Ok(None),
    }
}

/// Behind UNKNOWN there may be anything, which says nothing.
fn unknown(words: &[u8], is_whole: bool) -> Result<Option<SocketAddr>, &'static str> {
    let may_begin = |family: &[u8]| !is_whole && family.starts_with(words);
    if may_begin(b"TCP4 ") || may_begin(b"TCP6 ") || may_begin(UNKNOWN) {
        return Ok(None);
    }
    match words.strip_prefix(UNKNOWN) {
        Some([]) => Ok(None),
        Some([b' ', rest @ ..]) if !rest.contains(&b'\n') => Ok(None),
        _ => Err("the PROXY header names neither TCP4, TCP6 nor UNKNOWN"),
    }
}

/// Reads two addresses and two ports, with one space between each two. `None` while the line goes on.
fn client(
    family: Family,
    words: &[u8],
    is_whole: bool,
) -> Result<Option<SocketAddr>, &'static str> {
    let words = std::str::from_utf8(words).map_err(|_| NO_ADDRESS)?;
    let words: Vec<&str> = words.splitn(5, ' ').collect();
    if words.len() > 4 || (is_whole && words.len() < 4) {
        return Err("the PROXY header has not two addresses and two ports");
    }
    for (place, word) in words.iter().enumerate() {
        let may_go_on = !is_whole && place + 1 == words.len();
        let (is_right, wrong) = match place {
            0 | 1 => {
                (family.address(word).is_some() || may_go_on && family.may_begin(word), NO_ADDRESS)
            }
            _ => (port(word).is_some() || may_go_on && word.is_empty(), NO_PORT),
        };
        if !is_right {
            return Err(wrong);
        }
    }
    match words[..] {
        [source, _, number, _] if is_whole => {
            Ok(family.address(source).zip(port(number)).map(SocketAddr::from))
        }
        _ => Ok(None),
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// The standard library takes addresses of version 4 as they are printed. Those of version 6 may be
    /// written in any of their forms, in capitals or with zeros in front.
    fn address(self, word: &str) -> Option<IpAddr> {
        match self {
            Family::V4 => word.parse().ok().map(IpAddr::V4),
            Family::V6 => word.parse().ok().map(IpAddr::V6),
        }
    }

    /// Whether an address may begin so: then one of these does.
    fn may_begin(self, word: &str) -> bool {
        let is_address = |rest: &str| self.address(&format!("{word}{rest}")).is_some();
        let dotted = word.rsplit(':').next().unwrap_or(word);
        let octet = if dotted.is_empty() || dotted.ends_with('.') { "0" } else { "" };
        let octets = ".0".repeat(3_usize.saturating_sub(dotted.matches('.').count()));
        ["", "0", ":", "::", &format!("{octet}{octets}")].into_iter().any(is_address)
    }
}

/// A port, in the one way in which it is printed.
fn port(word: &str) -> Option<u16> {
    word.parse().ok().filter(|port: &u16| port.to_string() == word)
}

// ---- version 2 ----

fn binary(bytes: &[u8]) -> Found {
    let Some(command) = bytes.get(SIGNATURE.len()) else { return Ok(None) };
    if ![LOCAL, PROXY].contains(command) {
        return Err(
            "the PROXY header has another version than 2, or another command than LOCAL and PROXY",
        );
    }
    let Some(family) = bytes.get(SIGNATURE.len() + 1) else { return Ok(None) };
    // LOCAL may be of any family, with or without addresses.
    let family = if *command == LOCAL { UNSPEC } else { *family };
    let addresses = addresses_len(family)?;
    let length = number(bytes, START - 2);
    if length > ProxyHeader::LONGEST - START {
        return Err("the PROXY header is longer than 4096 bytes");
    }
    if bytes.len() < START {
        return Ok(None);
    }
    if length < addresses {
        return Err("the PROXY header is too short for its addresses");
    }
    let len = START + length;
    // Where the family says nothing, nothing says where other values begin.
    let values = if family == UNSPEC { len } else { START + addresses };
    let checksum = checksum(bytes, values, len)?;
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    if checksum.is_some_and(|at| header[at..at + 4] != crc32c(header, at).to_be_bytes()) {
        return Err("the checksum of the PROXY header is another one");
    }
    let client = match family {
        TCP4 => source::<4>(&header[START..]),
        TCP6 => source::<16>(&header[START..]),
        _ => None,
    };
    Ok(Some(ProxyHeader { len, client }))
}

/// Bytes of source and destination.
fn addresses_len(family: u8) -> Result<usize, &'static str> {
    match family {
        UNSPEC => Ok(0),
        TCP4 => Ok(2 * (4 + 2)),
        TCP6 => Ok(2 * (16 + 2)),
        UNIX_STREAM => Ok(2 * 108),
        UDP4 | UDP6 | UNIX_DATAGRAM => Err("the PROXY header is of datagrams"),
        _ => Err("the PROXY header is of no family"),
    }
}

/// Both addresses stand before both ports.
fn source<const N: usize>(addresses: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (address, rest) = addresses.split_first_chunk::<N>()?;
    let port = rest.get(N..)?.first_chunk()?;
    Some(SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port)))
}

/// Goes through the values behind the addresses, as far as they have arrived, and returns where the
/// checksum stands.
fn checksum(bytes: &[u8], mut at: usize, end: usize) -> Result<Option<usize>, &'static str> {
    let mut found = None;
    while at < end {
        let (value, length) = (at + 3, number(bytes, at + 1));
        if value + length > end {
            return Err("a value in the PROXY header goes on behind its end");
        }
        let has_length = bytes.len() >= value;
        if bytes.get(at) == Some(&CHECKSUM) {
            if length > 4 || (has_length && length < 4) || found.is_some() {
                return Err("the PROXY header has another checksum than one of 4 bytes");
            }
            found = Some(value);
        }
        if !has_length {
            break;
        }
        at = value + length;
    }
    Ok(found)
}

/// A length of two bytes. As long as bytes of it are missing it may only become larger.
fn number(bytes: &[u8], at: usize) -> usize {
    let byte = |at| bytes.get(at).copied().unwrap_or(0);
    u16::from_be_bytes([byte(at), byte(at + 1)]).into()
}

/// CRC32c (RFC 3720, appendix B.4) of a header, with zeros in the place of the checksum. Bit by bit: it is
/// asked once for a connection, about a hundred bytes.
fn crc32c(header: &[u8], place: usize) -> u32 {
    let zeroed = header.iter().enumerate().map(|(at, byte)| match at.wrapping_sub(place) {
        0..4 => 0,
        _ => u32::from(*byte),
    });
    !zeroed.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum, _| sum >> 1 ^ (CASTAGNOLI & (sum & 1).wrapping_neg()))
    })
}

const NO_ADDRESS: &str =
    "the PROXY header has something else where an address of its family is due";
const NO_PORT: &str = "the PROXY header has something else where a port is due";

const TEXT: &[u8] = b"PROXY ";
const FAMILY_LEN: usize = 5;
const UNKNOWN: &[u8] = b"UNKNOWN";
/// The longest line of version 1, with its end.
const TEXT_MAX: usize = 107;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Where the addresses of version 2 begin.
const START: usize = 16;
/// Version and command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
/// The type of the value that is the checksum.
const CHECKSUM: u8 = 0x03;
/// Its polynomial, reflected.
const CASTAGNOLI: u32 = 0x82F6_3B78;

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6 and nginx 1.22 sent them.
    const SENT: &[(&str, &str)] =
        &[("PROXY TCP4 127.0.0.1 127.0.0.1 37201 7201\r\n", "127.0.0.1:37201")];
    const SENT_IN_BINARY: &[(&str, &str)] = &[
        ("2111 000c 7f000001 7f000001 9152 1c22", "127.0.0.1:37202"),
        ("2000 0000", ""),
        (
            "2111 0044 7f000001 7f000001 9153 1c23 03 0004 ac4c48ea 05 002e \
             37463030303030313a393135335f37463030303030313a314332335f36423038463642365f303030323a36343434",
            "127.0.0.1:37203",
        ),
        (
            "2111 001e 7f000001 7f000001 a628 1c24 20 000f 01 00000000 21 0007 544c5376312e33",
            "127.0.0.1:42536",
        ),
    ];

    fn binary(rest: &str) -> Vec<u8> {
        let digits: Vec<u8> = rest.bytes().filter(|byte| *byte != b' ').collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        [SIGNATURE, &digits.chunks(2).map(byte).collect::<Vec<_>>()].concat()
    }

    /// Headers, and whom each names.
    fn good() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let written = [
            ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0"),
            ("PROXY TCP6 2001:db8::1 ::1 51234 443\r\n", "[2001:db8::1]:51234"),
            ("PROXY TCP6 ::ffff:192.0.2.7 :: 1 2\r\n", "[::ffff:192.0.2.7]:1"),
            ("PROXY TCP6 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: 1 2\r\n", "[1:2:3:4:5:6:7:8]:1"),
            // The specification allows capitals and zeros in front; the longest line has them.
            (
                "PROXY TCP6 2001:DB8::21f:5bff:FEBF:ce22:8a2e 2001:0db8::1 35646 80\r\n",
                "[2001:db8:0:21f:5bff:febf:ce22:8a2e]:35646",
            ),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
            ("PROXY UNKNOWN\r\n", ""),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                "",
            ),
            ("PROXY UNKNOWN \x00 anything, é\r\n", ""),
        ];
        let unix = format!("2131 00d8 {}", "2f".repeat(216));
        let longest =
            format!("2111 0ff0 c0000207 c6336401 c822 01bb 04 0fe1 {}", "00".repeat(4065));
        let v6 = format!("2121 0024 20010db8{} {} 0007 0008", "00".repeat(12), "11".repeat(16));
        let v6 = v6.as_str();
        let own = [
            (v6, "[2001:db8::]:7"),
            // A value of no bytes, and one that nobody knows.
            ("2111 0014 c0000207 c6336401 c822 01bb 04 0000 ee 0002 ffff", "192.0.2.7:51234"),
            (&longest, "192.0.2.7:51234"),
            // LOCAL, and UNSPEC, with addresses of clients that were not.
            ("2011 000c 7f000001 7f000001 9152 1c22", ""),
            ("2012 0003 ffffff", ""),
            ("20ff 0000", ""),
            ("2100 0000", ""),
            ("2100 000c 7f000001 7f000001 9152 1c22", ""),
            (&unix, ""),
        ];
        let texts = SENT.iter().copied().chain(written);
        let texts = texts.map(|(text, client)| (text.as_bytes().to_vec(), client.parse().ok()));
        let binaries = SENT_IN_BINARY.iter().copied().chain(own);
        texts.chain(binaries.map(|(rest, client)| (binary(rest), client.parse().ok()))).collect()
    }

    #[test]
    fn header_is_found_when_it_is_whole_and_not_before() {
        for (bytes, client) in good() {
            for cut in 0..bytes.len() {
                let found = ProxyHeader::parse(&bytes[..cut]);
                assert_eq!(found, Ok(None), "{cut} bytes of {}", bytes.escape_ascii());
            }
            let whole = Ok(Some(ProxyHeader { len: bytes.len(), client }));
            assert_eq!(ProxyHeader::parse(&bytes), whole, "{}", bytes.escape_ascii());
            // Another header behind it is the client's.
            let twice = [&bytes[..], &bytes].concat();
            assert_eq!(ProxyHeader::parse(&twice), whole, "{}", bytes.escape_ascii());
        }
    }

    /// What can no longer become a header with the last byte of each.
    #[test]
    fn other_bytes_are_refused_at_the_first_that_is_wrong() {
        let texts = [
            "G",
            "\n",
            "\r\r",
            "\x16",
            "p",
            "PROXX",
            "PROXY\r",
            "PROXYx",
            "PROXY  ",
            "PROXY T ",
            "PROXY TCP5",
            "PROXY TCP4\r",
            "PROXY TCP4  ",
            "PROXY UD",
            "PROXY UNKNOWNX",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN a\n",
            "PROXY UNKNOWN\rG",
            "PROXY TCP4 :",
            "PROXY TCP4 01",
            "PROXY TCP4 256",
            "PROXY TCP4 1..",
            "PROXY TCP4 1.2.3.4.",
            "PROXY TCP4 1.2.3 ",
            "PROXY TCP4 1.2.3.4\t",
            "PROXY TCP4 1.2.3.4  ",
            "PROXY TCP4 1.2.3.4\r",
            "PROXY TCP4 1.2.3.4 1.2.3.4 \r",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5\r",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +",
            "PROXY TCP4 1.2.3.4 1.2.3.4 -",
            "PROXY TCP4 1.2.3.4 1.2.3.4 05",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5  ",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5 6 ",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5 6\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5 6\r\r",
            "PROXY TCP4 1.2.3.4 1.2.3.4 5 \r",
            "PROXY TCP6 1.",
            "PROXY TCP6 g",
            "PROXY TCP6 12345",
            "PROXY TCP6 :1",
            "PROXY TCP6 :::",
            "PROXY TCP6 1::2::",
            "PROXY TCP6 1::2:3:4:5:6:7:",
            "PROXY TCP6 1:2:3:4:5:6:7:8:",
            "PROXY TCP6 1:2:3:4:5:6:7:1.",
            "PROXY TCP6 ::1.2.3.256",
            "PROXY TCP6 ::1%",
            "PROXY TCP6 [",
        ];
        let too_long = format!("PROXY UNKNOWN {}", "x".repeat(92));
        let texts =
            texts.into_iter().chain([too_long.as_str()]).map(|text| text.as_bytes().to_vec());
        let binaries = [
            "11",
            "31",
            "22",
            "2f",
            // Datagrams, and families that there are not.
            "2112",
            "2122",
            "2132",
            "2101",
            "2110",
            "2141",
            "21ff",
            // Lengths: too long, and too short for the addresses.
            "2111 10",
            "2000 ff",
            "2111 0ff1",
            "2111 000b",
            "2111 0000",
            "2121 0023",
            "2131 00d7",
            // Values that do not end with the header.
            "2111 000d",
            "2111 000e",
            "2111 000f 7f000001 7f000001 9152 1c22 04 0001",
            "2111 0010 7f000001 7f000001 9152 1c22 04 01",
            "2111 0010 7f000001 7f000001 9152 1c22 04 0002",
            "2111 0012 7f000001 7f000001 9152 1c22 04 0001",
            // Checksums: of another length, two of them, and one that is wrong.
            "2111 0012 7f000001 7f000001 9152 1c22 03 0003",
            "2111 0113 7f000001 7f000001 9152 1c22 03 01",
            "2111 001a 7f000001 7f000001 9152 1c22 03 0004 00000000 03",
            "2111 0013 7f000001 7f000001 9152 1c22 03 0004 00000000",
        ];
        let no_text = [b"\xff".to_vec(), b"PROXY TCP4 \xc3".to_vec()];
        let bad: Vec<Vec<u8>> = texts.chain(no_text).chain(binaries.map(binary)).collect();
        assert!(bad.len() > 70);
        for bytes in bad {
            let (before, shown) = (&bytes[..bytes.len() - 1], bytes.escape_ascii());
            assert_eq!(ProxyHeader::parse(before), Ok(None), "before {shown}");
            assert!(ProxyHeader::parse(&bytes).is_err(), "{shown}");
            assert!(ProxyHeader::parse(&[&bytes[..], &[0; 5000]].concat()).is_err(), "{shown}");
        }
    }

    #[test]
    fn checksum_is_that_of_every_byte() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32], 0), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32], usize::MAX / 2), 0x62a8_ab43);
        let sent = binary(SENT_IN_BINARY[2].0);
        // But for its own type, without which there is none.
        for at in (START..sent.len()).filter(|at| *at != START + 12) {
            let mut spoiled = sent.clone();
            spoiled[at] ^= 1;
            assert!(ProxyHeader::parse(&spoiled).is_err(), "byte {at}");
        }
    }
}
