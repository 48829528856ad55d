//! What a connection is, which its first line tells.

use super::line_input::LineInput;
use crate::codec::{Decoded, begins_tls, is_request_line};
use crate::reactor::RingBuffer;

/// A connection whose first line is not whole.
#[derive(Debug)]
pub(super) struct Fresh {
    lines: LineInput,
    /// When it came, in milliseconds of the service's clock.
    pub(super) since_ms: u32,
    /// It seems to become a request of HTTP, which has a deadline of its own.
    pub(super) begins_http: bool,
    /// An empty line was passed over: some clients of HTTP send one before a request (RFC 9112,
    /// 2.2). A second one is a line as any other.
    has_passed_line: bool,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing yet.
    Unclear,
    /// This is TLS, which is not spoken here.
    Tls,
    Http,
    Lines,
}

impl Fresh {
    /// For lines of at most `limit` bytes.
    pub(super) fn new(limit: usize, since_ms: u32) -> Self {
        let lines = LineInput::new(limit);
        Fresh { lines, since_ms, begins_http: false, has_passed_line: false }
    }

    /// Looks at the input, and takes from it what means nothing in front of a first line.
    pub(super) fn look(&mut self, input: &mut RingBuffer) -> Opening {
        if begins_tls(input.contiguous()) {
            return Opening::Tls;
        }
        // Ends: each round takes something from the input.
        while !begins_get(input.contiguous())
            && (self.lines.pass_over(input) || self.pass_empty_line(input))
        {}
        let bytes = input.contiguous();
        self.begins_http = begins_get(bytes);
        if bytes.starts_with(GET) {
            return Opening::Http;
        }
        if self.begins_http {
            return Opening::Unclear;
        }
        match self.lines.next(input) {
            Ok(None) => Opening::Unclear,
            Ok(Some(Decoded { message, .. })) if is_request_line(message) => Opening::Http,
            _ => Opening::Lines,
        }
    }

    fn pass_empty_line(&mut self, input: &mut RingBuffer) -> bool {
        let len = match input.contiguous() {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return false,
        };
        if std::mem::replace(&mut self.has_passed_line, true) {
            return false;
        }
        self.lines.take(input, len);
        true
    }

    /// The newcomer speaks lines: its first line is still in the input.
    pub(super) fn into_lines(self) -> LineInput {
        self.lines
    }
}

/// Whether this may be the beginning of a `GET`.
fn begins_get(bytes: &[u8]) -> bool {
    !bytes.is_empty() && GET.starts_with(&bytes[..bytes.len().min(GET.len())])
}

/// What every request that we serve begins with.
const GET: &[u8] = b"GET ";
