//! A smaller limit for bodies.

use super::middleware::{Admission, Middleware};
use super::percent::normalize;
use super::request::Request;

/// Allows bodies at most so many bytes below a path, where that is less than
/// [`WebConfig::body_max`](super::WebConfig::body_max). A longer one is answered with 413: before
/// it is read, if the head says its length.
#[derive(Clone, Debug)]
pub struct BodyLimit {
    prefix: String,
    bytes: u64,
}

impl BodyLimit {
    /// For all paths that begin with `prefix`.
    pub fn below(prefix: &str, bytes: u64) -> Self {
        BodyLimit { prefix: normalize(prefix).into_owned(), bytes }
    }
}

impl Middleware for BodyLimit {
    fn admit(&mut self, request: &Request<'_>, admission: &mut Admission<'_>) {
        if request.path().starts_with(&self.prefix) {
            admission.limit_body(self.bytes);
        }
    }
}
