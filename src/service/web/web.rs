//! Requests come in, responses go out: the handler behind a [`Router`].

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::body_stream::{BodyStream, Reply, Sending};
use super::config::{BODY_RATE_MIN, WebConfig};
use super::exchange::{Exchange, Manner, Stage};
use super::middleware::{Admission, Middleware, Next};
use super::percent::normalize;
use super::request::Request;
use super::response::Response;
use super::router::{Endpoint, RouteError, Router};
use crate::codec::Decoded;
use crate::codec::http::{
    BodyDecoder, CONTINUE, Date, Framing, Head, HeadDecoder, HttpError, ResponseHead, Status,
    Version,
};
use crate::reactor::{Address, CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};
use crate::service::addresses::address_of;

/// Serves HTTP/1.1: the handler that [`Router::serve`] makes.
#[derive(Debug)]
pub struct Web {
    router: Router,
    chain: Chain,
    config: WebConfig,
    /// The response being made; its storage is used again.
    response: Response,
    out: Vec<u8>,
    /// The headers that all responses of a second have.
    common: Vec<u8>,
    common_until: Option<Instant>,
    date: Date,
    /// What the sessions' stamps count from.
    started: Option<Instant>,
    /// Bytes of bodies that are being put together, and of their heads.
    collected: usize,
    is_draining: bool,
}

struct Chain(Vec<Box<dyn Middleware>>);

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in the chain", self.0.len())
    }
}

/// What [`Web`] keeps for a connection.
#[derive(Debug)]
pub struct WebSession {
    heads: HeadDecoder,
    exchange: Option<Box<Exchange>>,
    /// When the phase began, in wrapping milliseconds.
    since_ms: u32,
    phase: Phase,
    /// A request was served on it: in an overload those that come later are served, too.
    is_known: bool,
}

// An idle connection costs this and no buffer.
const _: () = assert!(size_of::<WebSession>() <= 40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request has been whole yet.
    New,
    Idle,
    Head,
    Body,
}

/// A request that ends its connection.
struct Refusal {
    status: Status,
    name: &'static str,
    text: &'static str,
}

impl From<HttpError> for Refusal {
    fn from(error: HttpError) -> Self {
        Refusal { status: error.status(), name: error.name(), text: error.text() }
    }
}

/// Who sends a request.
struct Caller {
    peer: Option<IpAddr>,
    via: Option<Address>,
}

impl Caller {
    fn of(cx: &Context<'_>, token: Token) -> Caller {
        Caller { peer: address_of(cx, token), via: cx.via(token) }
    }
}

/// What becomes of a request once its head is known.
enum Entry {
    /// The response is made. So many bytes of the input are done with, and this body is not wanted.
    Answered { len: usize, unread: Option<BodyDecoder> },
    /// The body is to be put together first.
    Collects(BodyDecoder),
    /// A handler takes the body as it comes.
    Streams(BodyDecoder, Box<dyn BodyStream>),
}

impl Router {
    /// A handler for the reactor.
    ///
    /// # Errors
    /// When a route is malformed, there twice, or cannot be told from another.
    pub fn serve(self, config: WebConfig) -> Result<Web, RouteError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Web::new(self, config)),
        }
    }
}

impl Web {
    fn new(mut router: Router, config: WebConfig) -> Self {
        Web {
            chain: Chain(std::mem::take(&mut router.chain)),
            router,
            config,
            response: Response::default(),
            out: Vec::new(),
            common: Vec::new(),
            common_until: None,
            date: Date::at(0),
            started: None,
            collected: 0,
            is_draining: false,
        }
    }

    /// Everything that can be done now: until input is lacking or the connection is held.
    fn serve(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.look_at_the_clock(cx.now());
        // Ends: each step takes bytes out of the input, queues output, or says that it cannot.
        while !cx.is_held(token) {
            let is_answering =
                session.exchange.as_ref().is_some_and(|exchange| exchange.is_answering());
            let before = input.len();
            let outcome = self.step(cx, token, session, input);
            cx.charge(STEP_WORK + before.saturating_sub(input.len()));
            match outcome {
                Ok(true) => {}
                Ok(false) => break,
                Err(refusal) => return Err(self.refuse(cx, token, &refusal, is_answering)),
            }
        }
        self.note_phase(cx, token, session);
        Ok(())
    }

    /// One step further; says whether there may be another.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        input: &mut RingBuffer,
    ) -> Result<bool, Refusal> {
        let Some(mut exchange) = session.exchange.take() else {
            return self.begin(cx, token, session, input);
        };
        let before = exchange.received;
        let is_over = match &mut exchange.stage {
            Stage::Send { .. } => send_on(cx, token, &mut exchange, input),
            Stage::Stream { .. } => self.stream_on(cx, token, &mut exchange, input)?,
            Stage::Discard { .. } => discard_on(cx, token, &mut exchange, input)?,
            Stage::Collect { .. } => return self.collect_on(cx, token, session, exchange, input),
        };
        let moved = exchange.received > before || !exchange.reads();
        if is_over {
            session.rest(self.stamp(cx.now()));
            if self.is_draining {
                // Its head went out before that was known, so it could not say so.
                cx.close_for(token, CloseReason::Drained);
            }
        } else {
            session.exchange = Some(exchange);
        }
        Ok(is_over || moved)
    }

    /// The head of a request, if it is there, and what follows from it.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        input: &mut RingBuffer,
    ) -> Result<bool, Refusal> {
        let bytes: &[u8] = input.contiguous();
        let Some(Decoded { len, message: head }) = session.heads.head(bytes)? else {
            return Ok(false);
        };
        session.rest(self.stamp(cx.now()));
        let mut manner = Manner::of(&head, self.is_draining);
        let sheds = cx.overload().is_some() && !session.is_known;
        session.is_known |= !sheds;
        let caller = Caller::of(cx, token);
        let entry = match sheds {
            true => self.put_off(cx, caller, &head, len),
            false => self.enter(&head, len, bytes, caller, cx.now()),
        };
        let is_awaited = head.expects_continue && bytes.len() == len;
        match entry {
            Entry::Answered { len, unread } => {
                // A client that waits may not send it any more, and a long answer has no end yet.
                let is_short = self.response.body().len() <= WHOLE_MAX;
                manner.closes |= unread.is_some() && (head.expects_continue || !is_short);
                match self.respond(cx, token, manner) {
                    Some(stage) => session.exchange = Some(Exchange::new(stage.keeping(len))),
                    None => {
                        input.consume(len);
                        let stage = unread.map(|body| Stage::Discard { body });
                        session.exchange = stage.map(Exchange::new);
                    }
                }
            }
            Entry::Collects(body) => {
                self.check_memory(len)?;
                self.collected += len;
                let (head, whole) = (bytes[..len].to_vec(), Vec::new());
                session.exchange = Some(Exchange::new(Stage::Collect { head, body, whole }));
                input.consume(len);
                if is_awaited {
                    cx.send(token, CONTINUE);
                }
            }
            Entry::Streams(body, stream) => {
                input.consume(len);
                if is_awaited && !body.is_done() {
                    cx.send(token, CONTINUE);
                }
                let is_whole = body.is_done();
                let mut exchange = self.begin_stream(cx, token, manner, body, stream);
                // Its head may have filled the queue, and no input would bring us back here.
                if is_whole {
                    self.stream_on(cx, token, &mut exchange, input)?;
                } else {
                    session.exchange = Some(exchange);
                }
            }
        }
        Ok(true)
    }

    /// Answers a request that an overload keeps out. The middleware is asked whether it may go on, so that
    /// who asks too often is told that; no handler is. The connection stays, and is served once the
    /// overload is over.
    fn put_off(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller,
        head: &Head<'_>,
        len: usize,
    ) -> Entry {
        let Web { chain, response, config, .. } = self;
        let seconds = cx.config().overload_retry().as_secs().to_string();
        response.reset();
        response.status(Status::SERVICE_UNAVAILABLE).header("Retry-After", &seconds);
        response.text("Service Unavailable: the server has too much to do\n");
        let path = normalize(head.target.path);
        let params = matchit::Params::new();
        let (Caller { peer, via }, now) = (caller, cx.now());
        let request = Request { head: *head, body: &[], peer, via, now, path: &path, params };
        let (admitted, chain, body) = admit(&mut chain.0, &request, response, config.body_max);
        if admitted {
            cx.shed();
        }
        Next { chain, end: &mut |_, _| () }.run(&request, response);
        Entry::Answered { len, unread: Some(body).filter(|body| !body.is_done()) }
    }

    /// Finds the handler, asks the middleware, and calls the handler if the request is whole.
    fn enter(
        &mut self,
        head: &Head<'_>,
        len: usize,
        bytes: &[u8],
        caller: Caller,
        now: Instant,
    ) -> Entry {
        let Web { router, chain, response, config, .. } = self;
        response.reset();
        let path = normalize(head.target.path);
        let (endpoint, params) = router.find(head, &path).or_answer(response);
        let Caller { peer, via } = caller;
        let mut request = Request { head: *head, body: &[], peer, via, now, path: &path, params };
        let (admitted, chain, body) = admit(&mut chain.0, &request, response, config.body_max);
        match endpoint.filter(|_| admitted) {
            Some(Endpoint::Whole(handler)) => {
                let Some(whole) = whole_body(head.framing, &bytes[len..]) else {
                    return Entry::Collects(body);
                };
                request.body = whole;
                Next { chain, end: handler }.run(&request, response);
                return Entry::Answered { len: len + whole.len(), unread: None };
            }
            Some(Endpoint::Streamed(handler)) => {
                let mut stream = None;
                let end = &mut |request: &Request<'_>, response: &mut Response| {
                    stream = handler(request, response);
                };
                Next { chain, end }.run(&request, response);
                if let Some(stream) = stream {
                    return Entry::Streams(body, stream);
                }
            }
            None => Next { chain, end: &mut |_, _| () }.run(&request, response),
        }
        Entry::Answered { len, unread: Some(body).filter(|body| !body.is_done()) }
    }

    /// Sends the response that was made, and closes where it is the last one; returns what cannot be
    /// sent at once.
    fn respond(&mut self, cx: &mut Context<'_>, token: Token, manner: Manner) -> Option<Stage> {
        let closes = manner.closes || self.response.closes;
        if self.send_response(cx, token, Manner { closes, ..manner }) {
            if closes {
                cx.close(token);
            }
            return None;
        }
        Some(Stage::Send { body: self.response.take_body(), sent: 0, keep: 0, closes })
    }

    /// Queues the head, and the body if it is short. Returns whether that was all.
    fn send_response(&mut self, cx: &mut Context<'_>, token: Token, manner: Manner) -> bool {
        let status = self.response.code();
        let framing = match status.is_bodiless() {
            true => Framing::None,
            false => Framing::Length(self.response.body().len() as u64),
        };
        self.push_head(manner, framing);
        let has_body = !manner.is_head && !status.is_bodiless();
        let is_short = self.response.body().len() <= WHOLE_MAX;
        if has_body && is_short {
            self.out.extend_from_slice(self.response.body());
        }
        cx.send(token, &self.out);
        !has_body || is_short
    }

    /// The head of the response, into `out`.
    fn push_head(&mut self, manner: Manner, framing: Framing) {
        self.out.clear();
        let head = ResponseHead::new(&mut self.out, self.response.code());
        let head = head.lines(&self.common).lines(&self.response.headers).framing(framing);
        match (manner.closes, manner.version) {
            (true, _) => head.lines(b"Connection: close\r\n").finish(),
            (false, Version::Http10) => head.lines(b"Connection: keep-alive\r\n").finish(),
            (false, Version::Http11) => head.finish(),
        }
    }

    fn begin_stream(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        manner: Manner,
        body: BodyDecoder,
        stream: Box<dyn BodyStream>,
    ) -> Box<Exchange> {
        let is_bodiless = manner.is_head || self.response.code().is_bodiless();
        let mut closes = manner.closes || self.response.closes;
        let (framing, sending) = match stream.reply_len() {
            _ if is_bodiless => (Framing::None, Sending::Nothing),
            Some(length) => (Framing::Length(length), Sending::Exactly(length)),
            None if manner.version == Version::Http11 => (Framing::Chunked, Sending::Chunks),
            // HTTP/1.0 has no chunks: the end of the connection is that of the body.
            None => {
                closes = true;
                (Framing::None, Sending::ToTheEnd)
            }
        };
        self.push_head(Manner { closes, ..manner }, framing);
        cx.send(token, &self.out);
        Exchange::new(Stage::Stream { body, stream, sending, closes })
    }

    /// The next piece of a body for the handler that takes it so. Returns whether that was all.
    fn stream_on(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        exchange: &mut Exchange,
        input: &mut RingBuffer,
    ) -> Result<bool, Refusal> {
        let Stage::Stream { body, stream, sending, closes } = &mut exchange.stage else {
            return Ok(true);
        };
        let mut reply = Reply { cx, token, sending, scratch: &mut self.out };
        if let Some(Decoded { len, message }) = body.piece(input.contiguous())? {
            if !message.is_empty() {
                stream.on_piece(message, &mut reply);
            }
            exchange.received += len as u64;
            input.consume(len);
        }
        if body.is_done() {
            stream.on_end(&mut reply);
            if !reply.finish() || *closes {
                cx.close(token);
            }
        }
        Ok(body.is_done())
    }

    /// The next pieces of a body that is put together; once it is whole its handler is called.
    fn collect_on(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        mut exchange: Box<Exchange>,
        input: &mut RingBuffer,
    ) -> Result<bool, Refusal> {
        // Counted again below if the body is put off.
        self.collected -= exchange.collected();
        let Exchange { stage: Stage::Collect { head, body, whole }, received } = &mut *exchange
        else {
            return Ok(true);
        };
        while !cx.is_held(token)
            && let Some(Decoded { len, message }) = body.piece(input.contiguous())?
        {
            cx.charge(PIECE_WORK);
            self.check_memory(head.len() + whole.len() + message.len())?;
            whole.extend_from_slice(message);
            *received += len as u64;
            if body.is_done() {
                let stage = self.answer_collected(cx, token, head, whole)?;
                match stage {
                    Some(stage) => session.exchange = Some(Exchange::new(stage.keeping(len))),
                    None => input.consume(len),
                }
                session.rest(self.stamp(cx.now()));
                return Ok(true);
            }
            input.consume(len);
        }
        self.collected += exchange.collected();
        session.exchange = Some(exchange);
        Ok(false)
    }

    /// Refuses a request for which so many bytes more would have to be held.
    fn check_memory(&self, len: usize) -> Result<(), Refusal> {
        if self.collected + len <= self.config.body_memory {
            return Ok(());
        }
        let text = "there is no memory for the body";
        Err(Refusal { status: Status::SERVICE_UNAVAILABLE, name: "body_memory", text })
    }

    fn answer_collected(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        head: &[u8],
        whole: &[u8],
    ) -> Result<Option<Stage>, Refusal> {
        // It was parsed before, so it is whole and good.
        let decoded = HeadDecoder::new(self.config.head).head(head)?;
        let Decoded { message: head, .. } = decoded.ok_or(HttpError::BadMethod)?;
        let Web { router, chain, response, .. } = self;
        response.reset();
        let path = normalize(head.target.path);
        let (endpoint, params) = router.find(&head, &path).or_answer(response);
        let (Caller { peer, via }, now) = (Caller::of(cx, token), cx.now());
        let request = Request { head, body: whole, peer, via, now, path: &path, params };
        if let Some(Endpoint::Whole(handler)) = endpoint {
            Next { chain: &mut chain.0, end: handler }.run(&request, response);
        }
        let manner = Manner::of(&head, self.is_draining);
        Ok(self.respond(cx, token, manner))
    }

    /// Tells the client why it is not served, unless an answer has begun already: its end without
    /// the rest must be telling enough.
    fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        refusal: &Refusal,
        is_answering: bool,
    ) -> ProtocolError {
        let Refusal { status, name, text } = *refusal;
        log::debug!(connection:% = token, event = "request_refused", status = status.code(); "{name}");
        if !is_answering {
            let Caller { peer, via } = Caller::of(cx, token);
            for middleware in &mut self.chain.0 {
                middleware.on_refusal(peer, via.as_ref(), status, name);
            }
            self.response.reset();
            self.response.status(status).text(&format!("{}: {text}\n", status.reason()));
            let manner = Manner { is_head: false, version: Version::Http11, closes: true };
            self.send_response(cx, token, manner);
        }
        ProtocolError::malformed(name)
    }

    // ---- time ----

    /// Once a second the headers that all responses share are written anew.
    fn look_at_the_clock(&mut self, now: Instant) {
        if self.common_until.is_some_and(|until| now < until) {
            return;
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.date.update(wall.as_secs());
        self.common_until =
            Some(now + Duration::from_secs(wall.as_secs() + 1).saturating_sub(wall));
        self.common.clear();
        ResponseHead::push_header(&mut self.common, "Server", self.config.server.as_bytes());
        ResponseHead::push_header(&mut self.common, "Date", self.date.as_bytes());
    }

    /// Turn time in wrapping milliseconds.
    fn stamp(&mut self, now: Instant) -> u32 {
        let started = *self.started.get_or_insert(now);
        now.saturating_duration_since(started).as_millis() as u32
    }

    /// Notes what is awaited, and since when; the timer fires in time for it.
    fn note_phase(&mut self, cx: &mut Context<'_>, token: Token, session: &mut WebSession) {
        let phase = match &session.exchange {
            Some(exchange) if exchange.reads() => Phase::Body,
            Some(_) => Phase::Idle,
            None if session.phase == Phase::New => Phase::New,
            None if session.heads.is_within() => Phase::Head,
            None => Phase::Idle,
        };
        if phase != session.phase {
            session.phase = phase;
            let stamp = self.stamp(cx.now());
            match phase {
                Phase::Head => self.set_timer(cx, token, self.config.head_timeout),
                Phase::Body => self.set_timer(cx, token, self.config.body_timeout),
                Phase::New | Phase::Idle => {}
            }
            session.since_ms = stamp;
        }
    }

    /// Never later than a connection may be idle: nothing sets the timer when it becomes so.
    fn set_timer(&self, cx: &mut Context<'_>, token: Token, span: Duration) {
        cx.set_timer(token, span.min(self.config.keep_alive));
    }

    /// How long what is awaited may take.
    fn allowance(&self, session: &WebSession) -> Duration {
        let received = session.exchange.as_ref().map_or(0, |exchange| exchange.received);
        match session.phase {
            Phase::New | Phase::Head => self.config.head_timeout,
            Phase::Body => self.config.body_timeout + Duration::from_secs(received / BODY_RATE_MIN),
            Phase::Idle => self.config.keep_alive,
        }
    }
}

impl Handler for Web {
    type Session = WebSession;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> WebSession {
        self.set_timer(cx, token, self.config.head_timeout);
        WebSession {
            heads: HeadDecoder::new(self.config.head),
            exchange: None,
            since_ms: self.stamp(cx.now()),
            phase: Phase::New,
            is_known: false,
        }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.serve(cx, token, session, input)
    }

    /// Requests that were sent before the end are answered; half a request is dropped.
    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut WebSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.serve(cx, token, session, input)?;
        if !cx.is_held(token) || input.is_empty() {
            cx.close(token);
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut WebSession) {
        let now = self.stamp(cx.now());
        if cx.is_held(token) || cx.output_len(token) > 0 {
            // It is the client's turn to read, and the reactor's deadline for that which counts.
            session.since_ms = now;
        }
        let age = Duration::from_millis(u64::from(now.wrapping_sub(session.since_ms)));
        let allowance = self.allowance(session);
        if age < allowance {
            return self.set_timer(cx, token, allowance - age);
        }
        let is_within = session.phase == Phase::Body || session.heads.is_within();
        if !is_within {
            return cx.close_for(token, CloseReason::IdleTimeout);
        }
        self.look_at_the_clock(cx.now());
        let is_answering =
            session.exchange.as_ref().is_some_and(|exchange| exchange.is_answering());
        let (status, text) = (Status::REQUEST_TIMEOUT, "the request takes too long");
        let refusal = Refusal { status, name: "request_timeout", text };
        self.refuse(cx, token, &refusal, is_answering);
        cx.close_for(token, CloseReason::RequestTimeout);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut WebSession) {
        self.is_draining = true;
        // A connection that is held may have requests waiting.
        let is_idle = session.exchange.is_none() && !session.heads.is_within();
        if is_idle && !cx.is_held(token) {
            cx.close_for(token, CloseReason::Drained);
        }
    }

    fn on_close(
        &mut self,
        _cx: &mut Context<'_>,
        _token: Token,
        session: WebSession,
        _reason: CloseReason,
    ) {
        self.collected -= session.exchange.map_or(0, |exchange| exchange.collected());
    }
}

impl WebSession {
    /// A request is done with, or has got as far as its body.
    fn rest(&mut self, stamp: u32) {
        self.phase = Phase::Idle;
        self.since_ms = stamp;
    }
}

/// Asks the chain of middleware whether a request may go on. Returns the answer, the part of the chain that the
/// request has passed, and the request's body.
fn admit<'a>(
    chain: &'a mut [Box<dyn Middleware>],
    request: &Request<'_>,
    response: &mut Response,
    body_max: u64,
) -> (bool, &'a mut [Box<dyn Middleware>], BodyDecoder) {
    let mut admission = Admission { response, body_max, is_refused: false };
    let mut passed = 0;
    while let Some(middleware) = chain.get_mut(passed).filter(|_| !admission.is_refused) {
        middleware.admit(request, &mut admission);
        passed += usize::from(!admission.is_refused);
    }
    let body_max = admission.body_max;
    let body = BodyDecoder::new(request.head.framing, body_max).unwrap_or_else(|error| {
        if !admission.is_refused {
            admission.refuse(error.status());
        }
        // Nobody reads so much only to drop it.
        admission.response.close();
        BodyDecoder::none()
    });
    (!admission.is_refused, &mut chain[..passed], body)
}

/// The body, if it is in the input as it is.
fn whole_body(framing: Framing, input: &[u8]) -> Option<&[u8]> {
    match framing {
        Framing::None => Some(&[]),
        Framing::Length(length) => input.get(..usize::try_from(length).ok()?),
        Framing::Chunked => None,
    }
}

/// Drops the next pieces of a body. Returns whether that was all.
fn discard_on(
    cx: &mut Context<'_>,
    token: Token,
    exchange: &mut Exchange,
    input: &mut RingBuffer,
) -> Result<bool, Refusal> {
    let Stage::Discard { body } = &mut exchange.stage else { return Ok(true) };
    while !cx.is_held(token)
        && let Some(Decoded { len, .. }) = body.piece(input.contiguous())?
    {
        cx.charge(PIECE_WORK);
        exchange.received += len as u64;
        input.consume(len);
    }
    Ok(body.is_done())
}

/// Queues as much of a long body as the connection may have waiting. Returns whether that was all.
fn send_on(
    cx: &mut Context<'_>,
    token: Token,
    exchange: &mut Exchange,
    input: &mut RingBuffer,
) -> bool {
    let Stage::Send { body, sent, keep, closes } = &mut exchange.stage else { return true };
    // What is not held has less than a quarter of its limit queued, so that as much again fits.
    let piece_max = (cx.config().output_limit / 4).max(1);
    for piece in body.bytes()[*sent..].chunks(piece_max) {
        if cx.is_held(token) {
            return false;
        }
        cx.send(token, piece);
        *sent += piece.len();
    }
    input.consume(*keep);
    if *closes {
        cx.close(token);
    }
    true
}

/// A step of a request: its handler, and the head of its answer. Each byte that is read costs as much
/// again, and each that is sent is counted by the reactor.
const STEP_WORK: usize = 500;

/// A piece of a body, which a chunk of one byte is as well.
const PIECE_WORK: usize = 50;

/// A body up to this length is sent with its head; a longer one in pieces, as the client takes them.
const WHOLE_MAX: usize = 16 << 10;
