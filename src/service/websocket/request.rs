//! The one HTTP request that a connection begins with, and its answer.

use std::time::Duration;

use crate::codec::http::{
    Framing, Head, HeadDecoder, HeadLimits, HttpError, ResponseHead, Status, Version,
};
use crate::codec::websocket::{HandshakeError, check_handshake};
use crate::codec::{Codec, Decoded};
use crate::reactor::RingBuffer;
use crate::service::bearer::challenge;
use crate::service::hosts::MISDIRECTED;
use crate::service::identity::TokenError;

/// A request that is not whole yet.
#[derive(Debug)]
pub(crate) struct Request {
    decoder: HeadDecoder,
}

impl Default for Request {
    fn default() -> Self {
        Request { decoder: HeadDecoder::new(HeadLimits::default()) }
    }
}

impl Request {
    /// Once the head is whole, or is wrong, gives it to `answer` and takes it from the input.
    pub(crate) fn answer<T>(
        &mut self,
        input: &mut RingBuffer,
        answer: impl FnOnce(Result<Head<'_>, HttpError>) -> T,
    ) -> Option<T> {
        match self.decoder.decode(input.contiguous()) {
            Ok(None) => None,
            Ok(Some(Decoded { len, message })) => {
                let answered = answer(Ok(message));
                input.consume(len);
                Some(answered)
            }
            Err(error) => Some(answer(Err(error))),
        }
    }
}

/// An answer, ready to be sent.
#[derive(Debug)]
pub(crate) struct Response {
    bytes: Vec<u8>,
    /// The rest is the body.
    head_len: usize,
    answer: Answer,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// The connection is a WebSocket now.
    Upgrade,
    /// The connection is closed; for an error of the peer's, if there was one.
    Final(Option<&'static str>),
    /// The connection is closed, because nobody knows who asks.
    Unauthorized,
}

impl Response {
    pub(crate) fn upgrade(accept: &str) -> Self {
        let mut bytes = Vec::new();
        ResponseHead::new(&mut bytes, Status::SWITCHING_PROTOCOLS)
            .header("Upgrade", b"websocket")
            .header("Connection", b"Upgrade")
            .header("Sec-WebSocket-Accept", accept.as_bytes())
            .finish();
        Response { head_len: bytes.len(), bytes, answer: Answer::Upgrade }
    }

    /// A page or a short text, after which the connection is closed.
    pub(crate) fn content(status: Status, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = Vec::new();
        let head = ResponseHead::new(&mut bytes, status).header("Connection", b"close");
        let head =
            headers.iter().fold(head, |head, (name, value)| head.header(name, value.as_bytes()));
        head.framing(Framing::Length(body.len() as u64)).finish();
        let head_len = bytes.len();
        bytes.extend_from_slice(body);
        Response { bytes, head_len, answer: Answer::Final(None) }
    }

    /// As it answers this method: to `HEAD` there is no body.
    pub(crate) fn to(mut self, method: &str) -> Self {
        if method == "HEAD" {
            self.bytes.truncate(self.head_len);
        }
        self
    }

    fn text(status: Status, text: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [&[("Content-Type", "text/plain; charset=utf-8")], headers].concat();
        Response::content(status, &headers, format!("{text}\n").as_bytes())
    }

    /// What has no right token.
    pub(crate) fn unauthorized(error: TokenError) -> Self {
        let challenge = challenge(error);
        let headers = [("WWW-Authenticate", challenge.as_str())];
        let refusal = Response::text(Status::UNAUTHORIZED, error.text(), &headers);
        Response { answer: Answer::Unauthorized, ..refusal }
    }

    pub(crate) fn not_found() -> Self {
        Response::text(Status::NOT_FOUND, "There is nothing here.", &[])
    }

    /// What an overload keeps out for so many seconds.
    pub(crate) fn overloaded(seconds: u64) -> Self {
        let text = "The server has too much to do.";
        let after = seconds.to_string();
        Response::text(Status::SERVICE_UNAVAILABLE, text, &[("Retry-After", after.as_str())])
    }

    /// For a server of another name.
    pub(crate) fn misdirected() -> Self {
        Response::text(Status::MISDIRECTED_REQUEST, MISDIRECTED, &[])
    }

    /// The head did not come in time. A browser that opened a connection in advance says nothing at
    /// all; that is no error.
    pub(crate) fn timeout() -> Self {
        Response::text(Status::REQUEST_TIMEOUT, "The request took too long.", &[])
    }

    /// What breaks the rules of HTTP.
    pub(crate) fn refusal(error: HttpError) -> Self {
        let refusal = Response::text(error.status(), &format!("{error}."), &[]);
        Response { answer: Answer::Final(Some(error.name())), ..refusal }
    }

    /// What is no handshake.
    pub(crate) fn no_upgrade(error: HandshakeError) -> Self {
        let version: &[_] = match error.status() {
            426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        };
        Response::text(Status::new(error.status()), &format!("{error}."), version)
    }

    /// The answer to a method that is not served, if it is one. A body, which means nothing to those
    /// that are, is dropped with the connection.
    pub(crate) fn check_method(head: &Head<'_>) -> Option<Self> {
        let is_served = matches!(head.method, "GET" | "HEAD");
        let refusal =
            || Response::text(Status::METHOD_NOT_ALLOWED, "Only GET.", &[("Allow", "GET, HEAD")]);
        (!is_served).then(refusal)
    }

    /// The key of the answer to a handshake, which is a `GET` of HTTP/1.1 without a body: what
    /// follows the head are frames.
    pub(crate) fn handshake(head: &Head<'_>, origins: &[String]) -> Result<String, HandshakeError> {
        let is_bodiless = matches!(head.framing, Framing::None | Framing::Length(0));
        match (head.method, head.version) {
            ("GET", Version::Http11) if is_bodiless => check_handshake(head.headers(), origins),
            ("GET", Version::Http11) => Err(HandshakeError::Body),
            _ => Err(HandshakeError::NoUpgrade),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn answer(&self) -> Answer {
        self.answer
    }
}

/// How long a client may take for its request: the 10 s that web servers give, which no slow sender
/// can stretch.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
