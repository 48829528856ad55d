//! A line for each request.

use std::net::IpAddr;

use super::middleware::{Middleware, Next};
use super::request::Request;
use super::response::Response;
use crate::codec::http::Status;
use crate::reactor::Address;
use crate::service::addresses::ip_of;
use crate::service::bearer::redacted;

/// With the balancer behind the client, where there is one.
macro_rules! log_access {
    ($level:ident, $peer:expr, $via:expr, $($behind:tt)*) => {
        match $via.map(|via| name(ip_of(via))) {
            Some(via) => log::$level!(target: "access", peer = $peer, via, $($behind)*),
            None => log::$level!(target: "access", peer = $peer, $($behind)*),
        }
    };
}

/// Logs one line for each request when it is answered: at level `info`, target `access`, with
/// target, peer, the balancer by which the peer came if one has introduced it, method, status, bytes of the answer's body (0 of one that is streamed) and client. Put
/// it outermost, so that it sees what all others do. A request that was refused before its end, or was
/// too malformed to be read, is logged with status and reason. Of a `token` in the query only the name is
/// logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLog;

impl Middleware for AccessLog {
    fn handle(&mut self, request: &Request<'_>, response: &mut Response, next: Next<'_>) {
        next.run(request, response);
        let has_body = request.method() != "HEAD" && !response.code().is_bodiless();
        let bytes = if has_body { response.body().len() } else { 0 };
        log_access!(
            info, name(request.peer), request.via.as_ref(),
            event = "request", method = request.method(), status = response.code().code(), bytes,
            agent = agent(request);
            "{}", redacted(request.head.target.raw)
        );
    }

    fn on_refusal(
        &mut self,
        peer: Option<IpAddr>,
        via: Option<&Address>,
        status: Status,
        reason: &'static str,
    ) {
        log_access!(
            info, name(peer), via,
            event = "request_refused", status = status.code(), reason;
            "refused"
        );
    }
}

fn name(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
}

/// What the client calls itself: without bytes that act on the terminal of a reader of the log, and not so
/// long that the log drops the line.
fn agent(request: &Request<'_>) -> String {
    let agent = request.head.header("user-agent").unwrap_or(b"-");
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let cut = &agent[..agent.len().min(AGENT_MAX)];
    cut.iter().map(|byte| if is_plain(byte) { char::from(*byte) } else { '?' }).collect()
}

/// Browsers take half of it.
const AGENT_MAX: usize = 256;
