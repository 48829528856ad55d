//! A check of who asks.

use super::middleware::{Admission, Middleware};
use super::request::Request;
use crate::codec::http::Status;
use crate::service::bearer::{challenge, wall_ms};
use crate::service::identity::Tokens;

/// Lets requests in that have a token of ours; others are answered with 401, before their body is read. A
/// handler that is to know whose request it is asks [`Tokens::identify_request`] itself.
///
/// ```
/// use edgeloop::service::identity::Tokens;
/// use edgeloop::service::web::{Router, TokenCheck};
/// let tokens = Tokens::default().with_list("7Kq2mVw0c9TzXfUe1sYbLg anna")?;
/// let router = Router::new()
///     .get("/healthz", |_, response| { response.text("ok\n"); })
///     .get("/secret", |_, response| { response.text("hello\n"); })
///     .wrap(TokenCheck::new(tokens).except("/healthz"));
/// # Ok::<(), edgeloop::service::identity::LineError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenCheck {
    tokens: Tokens,
    open: Vec<String>,
}

impl TokenCheck {
    /// Every path needs one of these tokens.
    pub fn new(tokens: Tokens) -> Self {
        TokenCheck { tokens, open: Vec::new() }
    }

    /// Requests for this path need no token.
    #[must_use]
    pub fn except(mut self, path: &str) -> Self {
        self.open.push(path.into());
        self
    }
}

impl Middleware for TokenCheck {
    fn admit(&mut self, request: &Request<'_>, admission: &mut Admission<'_>) {
        if self.open.iter().any(|path| path == request.path()) {
            return;
        }
        if let Err(error) = self.tokens.identify_request(&request.head, wall_ms()) {
            let response = admission.refuse(Status::UNAUTHORIZED);
            response.header("WWW-Authenticate", &challenge(error));
            response.bytes(format!("{}\n", error.text()).as_bytes());
        }
    }
}
