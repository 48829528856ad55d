//! A line for each request.

use super::{Middleware, Next, Request, Response};

/// Logs one line for each request when it is answered: at level `info`, target `access`, with
/// method, target, status, bytes of the answer's body (0 of one that is streamed), peer and client. Put it outermost, so that it sees
/// what all others do. A request that was too malformed to be one is logged at level `debug` by the
/// service itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLog;

impl Middleware for AccessLog {
    fn handle(&mut self, request: &Request<'_>, response: &mut Response, next: Next<'_>) {
        next.run(request, response);
        // Whatever it is, it is not to act on the terminal of who reads the log.
        let agent = request.header("user-agent").unwrap_or("-").escape_debug();
        let peer = request.peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        log::info!(
            target: "access",
            peer, method = request.method(), status = response.code().code(),
            bytes = response.body().len(), agent:%;
            "{}", request.head.target.raw
        );
    }
}
