//! What stands around a handler.

use std::net::IpAddr;

use super::request::Request;
use super::response::Response;
use crate::codec::http::Status;
use crate::reactor::Address;

/// What stands around every handler. Middleware is passed in the order in which it was added, and left
/// in the opposite one.
///
/// A closure is middleware that acts when the request is whole:
///
/// ```
/// use edgeloop::service::web::{Next, Request, Response, Router};
/// let timed = |request: &Request<'_>, response: &mut Response, next: Next<'_>| {
///     next.run(request, response);
///     response.header("X-Frame-Options", "DENY");
/// };
/// let router = Router::new().get("/", |_, response| { response.text("hi"); }).wrap(timed);
/// ```
pub trait Middleware: Send {
    /// Looks at a request of which only the head is there: the one moment to refuse it without
    /// having read its body, or to allow the body less. By default it may go on.
    fn admit(&mut self, request: &Request<'_>, admission: &mut Admission<'_>) {
        let _ = (request, admission);
    }

    /// Handles a whole request: by passing it on with [`Next::run`], and by what it does before and
    /// after; or by answering itself. A request that middleware further in has refused comes by here
    /// too, with its answer made.
    fn handle(&mut self, request: &Request<'_>, response: &mut Response, next: Next<'_>) {
        next.run(request, response);
    }

    /// A request was refused that no middleware has handled or will: it is malformed, longer than a limit
    /// once its head had been let in, or too slow. What it was for may not be known. `peer` and `via` are as in
    /// the [`Request`]; `reason` is the
    /// name of its [`HttpError`](crate::codec::http::HttpError), or `body_memory`, or
    /// `request_timeout`.
    fn on_refusal(
        &mut self,
        peer: Option<IpAddr>,
        via: Option<&Address>,
        status: Status,
        reason: &'static str,
    ) {
        let _ = (peer, via, status, reason);
    }
}

impl<F> Middleware for F
where
    F: FnMut(&Request<'_>, &mut Response, Next<'_>) + Send,
{
    fn handle(&mut self, request: &Request<'_>, response: &mut Response, next: Next<'_>) {
        self(request, response, next);
    }
}

/// The middleware further in, and the handler.
pub struct Next<'a> {
    pub(super) chain: &'a mut [Box<dyn Middleware>],
    pub(super) end: &'a mut dyn FnMut(&Request<'_>, &mut Response),
}

impl Next<'_> {
    /// Passes the request on.
    pub fn run(self, request: &Request<'_>, response: &mut Response) {
        match self.chain.split_first_mut() {
            Some((middleware, chain)) => {
                middleware.handle(request, response, Next { chain, end: self.end });
            }
            None => (self.end)(request, response),
        }
    }
}

impl std::fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Next({} in the chain)", self.chain.len())
    }
}

/// What may be decided about a request by its head.
#[derive(Debug)]
pub struct Admission<'a> {
    pub(super) response: &'a mut Response,
    pub(super) body_max: u64,
    pub(super) is_refused: bool,
}

impl Admission<'_> {
    /// Allows the body at most so many bytes; more than what was allowed before it does not.
    pub fn limit_body(&mut self, bytes: u64) {
        self.body_max = self.body_max.min(bytes);
    }

    /// Refuses the request. What is returned is the answer, so far the status and its reason phrase.
    pub fn refuse(&mut self, status: Status) -> &mut Response {
        self.is_refused = true;
        self.response.reset();
        self.response.plain(status)
    }
}
