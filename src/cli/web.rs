//! `edgeloop web`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use edgeloop::codec::http::{Framing, HEADERS_MAX, HeadLimits};
use edgeloop::service::identity::Tokens;
use edgeloop::service::web::{
    AccessLog, BodyStream, Reply, Request, RequestLimit, Response, Router, TokenCheck, WebConfig,
};

use super::count;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::host;

use super::server::{Server, Welcome};
use super::server_options::ServerOptions;
use super::size::Size;
use super::sources::Sources;
use super::span::Span;
use super::token_options::TokenOptions;

/// Serve HTTP/1.1: /plaintext, /json, /healthz, and /echo for what is posted
///
/// A small server to measure and to try things with; your own routes take a few lines of Rust.
/// Ask with: curl -i 127.0.0.1:7000/plaintext
#[derive(Debug, Args)]
pub(crate) struct Web {
    #[command(flatten)]
    own: WebOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Default, Args)]
struct WebOptions {
    #[command(flatten)]
    tokens: TokenOptions,

    /// Refuse a request with a longer head (431) [default: 16KiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_HEAD")]
    max_head: Option<Size>,

    /// Refuse a request with a longer first line (414) [default: 8KiB, or --max-head if that is less]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_REQUEST_LINE")]
    max_request_line: Option<Size>,

    /// Refuse a request with more headers (431) [default: 100]
    #[arg(long, value_name = "N", env = "EDGELOOP_MAX_HEADERS")]
    #[arg(value_parser = count::parse::<u32>)]
    max_headers: Option<u32>,

    /// Refuse a request with a longer body (413) [default: 1MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_MAX_BODY")]
    max_body: Option<Size>,

    /// Hold so many bytes of bodies that are not whole yet, on all connections (503)
    /// [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "EDGELOOP_BODY_MEMORY")]
    body_memory: Option<Size>,

    /// How long a head may take, from its first byte to its last (408) [default: 10s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_HEAD_TIMEOUT")]
    head_timeout: Option<Span>,

    /// How long a body may take, and a second more for each 500 bytes of it (408) [default: 20s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_BODY_TIMEOUT")]
    body_timeout: Option<Span>,

    /// How long a connection is kept between two requests [default: 75s]
    #[arg(long, value_name = "DURATION", env = "EDGELOOP_KEEP_ALIVE")]
    keep_alive: Option<Span>,

    /// Let an address make N requests a second, 0 for any number (429) [default: 0]
    #[arg(long, value_name = "N", env = "EDGELOOP_REQUEST_RATE")]
    #[arg(value_parser = count::parse::<u32>)]
    request_rate: Option<u32>,

    /// So many requests at once before --request-rate counts [default: 100]
    #[arg(long, value_name = "N", env = "EDGELOOP_REQUEST_BURST")]
    #[arg(value_parser = count::parse::<u32>)]
    request_burst: Option<u32>,

    /// Answer only to this name in the Host of a request, with any port; repeatable. Without it a page
    /// reaches a loopback address only by a name of this machine [default: none]
    #[arg(long, value_name = "NAME", env = "EDGELOOP_HOST", value_delimiter = ',')]
    #[arg(value_parser = host::parse)]
    host: Option<Vec<String>>,

    /// Log a line for each request [default: false]
    #[arg(long, value_name = "BOOL", env = "EDGELOOP_ACCESS_LOG")]
    #[arg(value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    access_log: Option<bool>,
}

impl Web {
    /// Serves until a signal ends it.
    pub(crate) fn run(self, sources: Sources) -> Result<ExitCode, Failure> {
        let mut server = Server::new(NAME, self.server, sources)?;
        let own = self.own;
        let config = own.config(server.config().input_limit);
        let config = config.map_err(|text| server.blame(&text))?;
        if own.request_burst.is_some() && own.request_rate.unwrap_or(0) == 0 {
            server.warn_of_idle("request-burst", "request-rate");
        }
        server.speaks(&["http/1.1", "http/1.0"]);
        server.welcome(Welcome { has_page: true, ..Welcome::default() });
        let tokens = own.tokens.tokens(&mut server, |_| Ok(()))?;
        let handler = own.router(&server.endpoints(), tokens).serve(config);
        server.run(handler.map_err(|error| Failure::Usage(error.to_string()))?)
    }
}

impl WebOptions {
    fn config(&self, input_limit: usize) -> Result<WebConfig, String> {
        let default = WebConfig::default();
        Ok(WebConfig {
            head: self.head_limits(input_limit)?,
            body_max: self.max_body.map_or(default.body_max, |size| size.bytes() as u64),
            body_memory: self.body_memory.map_or(default.body_memory, Size::bytes),
            head_timeout: lasting("head-timeout", self.head_timeout, default.head_timeout)?,
            body_timeout: lasting("body-timeout", self.body_timeout, default.body_timeout)?,
            keep_alive: lasting("keep-alive", self.keep_alive, default.keep_alive)?,
            ..default
        })
    }

    fn head_limits(&self, input_limit: usize) -> Result<HeadLimits, String> {
        let default = HeadLimits::default();
        let head = self.max_head.map_or(default.head, Size::bytes);
        if !(HEAD_LEAST..=input_limit).contains(&head) {
            let (head, least) = (Size::new(head), Size::new(HEAD_LEAST));
            let most = Size::new(input_limit);
            return Err(format!(
                "max-head is {head}; it must be between {least} and input-limit, {most}"
            ));
        }
        let request_line =
            self.max_request_line.map_or(default.request_line.min(head), Size::bytes);
        if !(LINE_LEAST..=head).contains(&request_line) {
            let (line, least) = (Size::new(request_line), Size::new(LINE_LEAST));
            let most = Size::new(head);
            return Err(format!(
                "max-request-line is {line}; it must be between {least} and max-head, {most}"
            ));
        }
        let headers = self.max_headers.map_or(default.headers, |headers| headers as usize);
        if !(1..=HEADERS_MAX).contains(&headers) {
            return Err(format!(
                "max-headers is {headers}; it must be between 1 and {HEADERS_MAX}"
            ));
        }
        Ok(HeadLimits { head, request_line, headers })
    }

    fn router(&self, endpoints: &[Endpoint], tokens: Option<Tokens>) -> Router {
        let mut router = Router::new()
            .get("/", |_, response| {
                response.header("Content-Type", "text/html; charset=utf-8").fixed(PAGE);
            })
            .get("/plaintext", |_, response| {
                response.header("Content-Type", "text/plain").fixed(b"Hello, World!");
            })
            .get("/json", |_, response| {
                response.header("Content-Type", "application/json");
                response.fixed(br#"{"message":"Hello, World!"}"#);
            })
            .get("/healthz", |_, response| {
                response.text("ok\n");
            })
            .stream("POST", "/echo", echo)
            .stream("PUT", "/echo", echo);
        if self.access_log.unwrap_or(false) {
            router = router.wrap(AccessLog);
        }
        router = router.wrap(host::hosts(self.host.as_deref(), &[], endpoints));
        if let Some(rate) = self.request_rate.filter(|rate| *rate > 0) {
            let burst = self.request_burst.unwrap_or(REQUEST_BURST);
            router = router.wrap(RequestLimit::new(rate, burst, ADDRESSES));
        }
        // Behind the limit, which bounds how often somebody may guess.
        match tokens {
            Some(tokens) => router.wrap(TokenCheck::new(tokens).except("/healthz")),
            None => router,
        }
    }
}

/// A timeout of nothing would let nobody through, and is no way to switch one off.
fn lasting(name: &str, span: Option<Span>, default: Duration) -> Result<Duration, String> {
    match span.map_or(default, Span::duration) {
        Duration::ZERO => Err(format!("{name} is 0ms; it must be at least 1ms")),
        span => Ok(span),
    }
}

/// Returns the body while it comes.
fn echo(request: &Request<'_>, response: &mut Response) -> Option<Box<dyn BodyStream>> {
    // Whatever was posted, no browser is to take it for a page of ours.
    response.header("Content-Type", "application/octet-stream");
    response.header("X-Content-Type-Options", "nosniff");
    let len = match request.head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    Some(Box::new(Echo { len }))
}

struct Echo {
    len: Option<u64>,
}

impl BodyStream for Echo {
    fn on_piece(&mut self, piece: &[u8], reply: &mut Reply<'_, '_>) {
        reply.write(piece);
    }

    fn reply_len(&self) -> Option<u64> {
        self.len
    }
}

const NAME: &str = "web";
/// A page for browsers: what there is to ask for.
const PAGE: &[u8] = b"<!doctype html>
<html lang=en><meta charset=utf-8><title>edgeloop web</title>
<h1>edgeloop web</h1>
<ul>
<li><a href=/plaintext>/plaintext</a> &mdash; a line of text
<li><a href=/json>/json</a> &mdash; an object
<li><a href=/healthz>/healthz</a> &mdash; <code>ok</code>, for whoever asks whether it is up
<li>/echo &mdash; returns what is posted: <code>curl -d hello http://.../echo</code>
</ul>
";
/// Enough for the request line and the headers of a plain client.
const HEAD_LEAST: usize = 256;
/// Enough for the paths of this server.
const LINE_LEAST: usize = 64;
/// What a browser asks for when it opens a page with all that belongs to it.
const REQUEST_BURST: u32 = 100;
/// Addresses remembered for --request-rate: 1 MiB.
const ADDRESSES: usize = 64 << 10;
