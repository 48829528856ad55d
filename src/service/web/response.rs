//! A response while it is made.

use std::io::{self, Write};
use std::sync::Arc;

use crate::codec::http::{ResponseHead, Status};

/// A response while it is made: 200 without a body, unless it is told otherwise.
///
/// `Server`, `Date`, `Connection` and the length are not the handler's business.
///
/// ```
/// # use edgeloop::codec::http::Status;
/// # use edgeloop::service::web::Response;
/// # let mut response = Response::default();
/// response.status(Status::CREATED).header("Location", "/notes/7").text("made\n");
/// ```
#[derive(Debug)]
pub struct Response {
    status: Status,
    /// Lines of headers, each with its end.
    pub(super) headers: Vec<u8>,
    /// The body, unless it is in `shared`. It is used again for the next response.
    buffer: Vec<u8>,
    pub(super) shared: Option<Body>,
    pub(super) closes: bool,
}

/// A body that is sent piece by piece as the client takes it.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
    Owned(Vec<u8>),
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Body::Static(bytes) => bytes,
            Body::Shared(bytes) => bytes,
            Body::Owned(bytes) => bytes,
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Response {
            status: Status::OK,
            headers: Vec::new(),
            buffer: Vec::new(),
            shared: None,
            closes: false,
        }
    }
}

impl Response {
    /// Sets the status of the answer. One of the codes up to 199, which announce that an answer is
    /// still to come, is no answer: it becomes 500, or client and server would be out of step.
    pub fn status(&mut self, status: Status) -> &mut Self {
        let is_final = status.code() >= 200;
        self.status = if is_final { status } else { Status::INTERNAL_SERVER_ERROR };
        self
    }

    /// The status so far: for a middleware that looks at what a handler did.
    pub fn code(&self) -> Status {
        self.status
    }

    /// Adds a header. Characters that could end it are replaced.
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        ResponseHead::push_header(&mut self.headers, name, value.as_bytes());
        self
    }

    /// A body of plain text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.header("Content-Type", "text/plain; charset=utf-8").bytes(text.as_bytes())
    }

    /// A body that is JSON already.
    pub fn json(&mut self, json: &str) -> &mut Self {
        self.header("Content-Type", "application/json").bytes(json.as_bytes())
    }

    /// A page.
    pub fn html(&mut self, html: &str) -> &mut Self {
        self.header("Content-Type", "text/html; charset=utf-8").bytes(html.as_bytes())
    }

    /// A body of bytes, instead of what there was. More can be written behind it: a response is
    /// [`Write`].
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.shared = None;
        self.buffer.clear();
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// A body that is part of the program. It is not copied before the client takes it.
    pub fn fixed(&mut self, bytes: &'static [u8]) -> &mut Self {
        self.shared = Some(Body::Static(bytes));
        self
    }

    /// A body that is shared with others. It is not copied before the client takes it.
    pub fn shared(&mut self, bytes: Arc<[u8]>) -> &mut Self {
        self.shared = Some(Body::Shared(bytes));
        self
    }

    /// Ends the connection after this response.
    pub fn close(&mut self) -> &mut Self {
        self.closes = true;
        self
    }

    /// The body so far.
    pub fn body(&self) -> &[u8] {
        self.shared.as_ref().map_or(&self.buffer, Body::bytes)
    }

    /// Begins anew, with the storage there is, unless that was for an unusually long body.
    pub(super) fn reset(&mut self) {
        self.status = Status::OK;
        self.headers.clear();
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_MAX {
            self.buffer = Vec::new();
        }
        self.shared = None;
        self.closes = false;
    }

    /// An answer that nobody but the server made: its reason phrase.
    pub(super) fn plain(&mut self, status: Status) -> &mut Self {
        self.status(status);
        if !status.is_bodiless() {
            self.text(status.reason());
            self.buffer.push(b'\n');
        }
        self
    }

    /// The body, out of here.
    pub(super) fn take_body(&mut self) -> Body {
        self.shared.take().unwrap_or_else(|| Body::Owned(std::mem::take(&mut self.buffer)))
    }
}

/// Appends to the body.
impl Write for Response {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(shared) = self.shared.take() {
            self.bytes(shared.bytes());
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most storage of a body that is kept for the next one.
const KEPT_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_the_last_one_given_and_what_is_written_behind_it() {
        let mut response = Response::default();
        response.fixed(b"one");
        assert_eq!(response.body(), b"one");
        write!(response, " two").unwrap();
        assert_eq!(response.body(), b"one two");
        response.bytes(b"three");
        assert_eq!(response.body(), b"three");
        response.reset();
        assert_eq!((response.body(), response.code()), (&b""[..], Status::OK));
    }

    #[test]
    fn status_that_is_no_answer_becomes_500() {
        let mut response = Response::default();
        assert_eq!(response.status(Status::new(199)).code(), Status::INTERNAL_SERVER_ERROR);
        assert_eq!(response.status(Status::NO_CONTENT).code(), Status::NO_CONTENT);
    }
}
