//! The handler: the request, the handshake, and then messages.

use super::endpoint::{Endpoint, Flow, Memory, send};
use super::request::{Answer, HEAD_TIMEOUT, Request, Response};
use crate::codec::http::{Head, HttpError};
use crate::codec::websocket::{Message, WebSocketError, close_code};
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};
use crate::service::addresses::address_of;
use crate::service::hosts::Hosts;

/// What is done with the messages of WebSocket clients.
///
/// A closure that takes context, token and message is a service that accepts every path and keeps
/// nothing for a connection.
pub trait WebSocketService {
    /// What is kept for each connection.
    type Session;

    /// A client asks for a WebSocket; the request may be looked at for its path or a cookie. With a
    /// session it is accepted, without one it is answered 404. Nothing may be sent yet.
    fn on_open(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        request: &Head<'_>,
    ) -> Option<Self::Session>;

    /// A whole message has come: [`Message::Text`] or [`Message::Binary`].
    ///
    /// # Errors
    /// When the connection is to be closed for what the peer sent; it is told `1008`.
    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        message: Message<'_>,
    ) -> Result<(), ProtocolError>;

    /// The timer set with [`Context::set_timer`] is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        let _ = (cx, token, session);
    }

    /// The alarm set with [`Context::set_alarm`] is due.
    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The place to give back memory that tables needed for a burst: [`Handler::on_tidy`] says when.
    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The server shuts down: what is sent here is the last, before the client is told `1001`.
    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        let _ = (cx, token, session);
    }

    /// The connection of an accepted client is over.
    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: Self::Session,
        reason: CloseReason,
    ) {
        let _ = (cx, token, session, reason);
    }
}

impl<F: FnMut(&mut Context<'_>, Token, Message<'_>)> WebSocketService for F {
    type Session = ();

    fn on_open(&mut self, _: &mut Context<'_>, _: Token, _: &Head<'_>) -> Option<()> {
        Some(())
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        message: Message<'_>,
    ) -> Result<(), ProtocolError> {
        self(cx, token, message);
        Ok(())
    }
}

/// A handler that makes WebSockets of its connections and serves them.
///
/// The longest message is [`Config::input_limit`](crate::Config::input_limit); fragments of all
/// connections that are not whole yet may have
/// [`Config::buffer_memory`](crate::Config::buffer_memory) beside the buffers.
#[derive(Debug)]
pub struct WebSocket<S> {
    service: S,
    origins: Vec<String>,
    hosts: Hosts,
    memory: Memory,
}

/// What [`WebSocket`] keeps for a connection.
#[derive(Debug)]
pub struct WebSocketSession<T> {
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// The request is not whole. Boxed, because it is over soon.
    Request(Box<Request>),
    Open(Endpoint, T),
    /// The request was answered otherwise, or refused.
    Over,
}

impl<S: WebSocketService> WebSocket<S> {
    /// Serves clients that are no browsers, and pages whose origin has the same host as the server.
    pub const fn new(service: S) -> Self {
        WebSocket { service, origins: Vec::new(), hosts: Hosts::any(), memory: Memory::new() }
    }

    /// Lets pages of these origins connect, such as `https://example.org`, and no others; `*` stands
    /// for all of them.
    pub fn origins(self, origins: impl IntoIterator<Item = String>) -> Self {
        WebSocket { origins: origins.into_iter().collect(), ..self }
    }

    /// The service, for a task from another thread that is given the handler.
    pub const fn service_mut(&mut self) -> &mut S {
        &mut self.service
    }

    /// Answers only requests that know the server by the right name; others with 421.
    pub fn hosts(self, hosts: Hosts) -> Self {
        WebSocket { hosts, ..self }
    }

    /// Answers a whole request. Its time is over, and the timer the service's from now on.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        head: Result<Head<'_>, HttpError>,
    ) -> (Response, State<S::Session>) {
        cx.cancel_timer(token);
        let head = match head {
            Ok(head) => head,
            Err(error) => return (Response::refusal(error), State::Over),
        };
        if !self.hosts.answer(&head, address_of(cx, token)) {
            return (Response::misdirected().to(head.method), State::Over);
        }
        let accept = match Response::check_method(&head) {
            Some(response) => return (response.to(head.method), State::Over),
            None => Response::handshake(&head, &self.origins),
        };
        match accept.map(|accept| (accept, self.service.on_open(cx, token, &head))) {
            Ok((accept, Some(session))) => {
                let endpoint = Endpoint::new(cx.config().input_limit);
                (Response::upgrade(&accept), State::Open(endpoint, session))
            }
            Ok((_, None)) => (Response::not_found(), State::Over),
            Err(error) => (Response::no_upgrade(error).to(head.method), State::Over),
        }
    }
}

impl<S: WebSocketService> Handler for WebSocket<S> {
    type Session = WebSocketSession<S::Session>;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> Self::Session {
        cx.set_timer(token, HEAD_TIMEOUT);
        WebSocketSession { state: State::Request(Box::default()) }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut Self::Session,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if let State::Request(request) = &mut session.state {
            let answered = request.answer(input, |head| self.answer(cx, token, head));
            let Some((response, state)) = answered else { return Ok(()) };
            session.state = state;
            cx.send(token, response.bytes());
            if let Answer::Final(error) = response.answer() {
                input.clear();
                cx.close(token);
                return error.map_or(Ok(()), |what| Err(ProtocolError::malformed(what)));
            }
        }
        let State::Open(endpoint, session) = &mut session.state else {
            input.clear();
            return Ok(());
        };
        let mut refused = None;
        let service = &mut self.service;
        let outcome = endpoint.receive(cx, token, input, &mut self.memory, |cx, message| {
            if matches!(message, Message::Text(_) | Message::Binary(_))
                && let Err(error) = service.on_message(cx, token, session, message)
            {
                refused = Some(error);
                return Flow::Stop;
            }
            Flow::Taken
        });
        if let Err(error) = outcome {
            send(cx, token, Message::Close(Some((error.close_code(), error.name()))));
            return Err(error.into());
        }
        if let Some(error) = refused {
            send(cx, token, Message::Close(Some((close_code::POLICY, &error.to_string()))));
            return Err(error);
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        match &mut session.state {
            State::Open(_, session) => self.service.on_timer(cx, token, session),
            State::Request(_) => {
                session.state = State::Over;
                cx.send(token, Response::timeout().bytes());
                cx.close_for(token, CloseReason::RequestTimeout);
            }
            State::Over => {}
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.service.on_alarm(cx);
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.service.on_tidy(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut Self::Session) {
        if let State::Open(_, session) = &mut session.state {
            self.service.on_drain(cx, token, session);
            send(cx, token, Message::Close(Some((close_code::GOING_AWAY, "shutting down"))));
        }
        cx.close_for(token, CloseReason::Drained);
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: Self::Session,
        reason: CloseReason,
    ) {
        if let State::Open(mut endpoint, session) = session.state {
            endpoint.release(&mut self.memory);
            self.service.on_close(cx, token, session, reason);
        }
    }
}

impl From<WebSocketError> for ProtocolError {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::MessageTooLong => ProtocolError::MessageTooLong,
            error => ProtocolError::malformed(error.name()),
        }
    }
}
