//! A check of the name under which a server is asked.

use super::middleware::{Admission, Middleware};
use super::request::Request;
use crate::codec::http::Status;
use crate::service::hosts::{Hosts, MISDIRECTED};

/// Answers requests for other names with 421, before their body is read.
impl Middleware for Hosts {
    fn admit(&mut self, request: &Request<'_>, admission: &mut Admission<'_>) {
        if !self.answer(&request.head, request.peer) {
            let text = format!("{MISDIRECTED}\n");
            admission.refuse(Status::MISDIRECTED_REQUEST).bytes(text.as_bytes());
        }
    }
}
