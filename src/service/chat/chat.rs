//! From connections to clients: requests, heartbeats, ends.

use std::time::Duration;

use super::badge::Badge;
use super::event::Reply;
use super::fresh::{Fresh, Opening};
use super::hall::Hall;
use super::line_input::{LineInput, text_of};
use super::options::ChatOptions;
use super::page;
use super::pulse::{Beat, Flood, Pulse};
use super::room::Wire;
use crate::codec::http::{Head, HttpError};
use crate::codec::websocket::{Message, WebSocketError, close_code};
use crate::codec::{Decoded, NO_TLS};
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};
use crate::service::addresses::{Addresses, address_of};
use crate::service::websocket::{
    Answer, Endpoint, Flow, HEAD_TIMEOUT, Memory, Request, Response, send,
};

/// The chat service.
///
/// ```no_run
/// use edgeloop::service::chat::{Chat, ChatOptions};
/// use edgeloop::{Config, Reactor};
/// let mut reactor = Reactor::new(Config::default(), Chat::new(ChatOptions::default()))?;
/// reactor.listen(&"127.0.0.1:7000".parse()?, &Default::default())?;
/// reactor.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Chat {
    hall: Hall,
    memory: Memory,
}

/// What is kept for a connection.
#[derive(Debug)]
pub struct ChatSession {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first line is not whole; it tells what this is.
    Fresh(Fresh),
    /// A request whose head is not whole. Boxed, because it is over soon.
    Request(Box<Request>),
    Lines {
        client: u32,
        lines: LineInput,
        flood: Flood,
        /// The client has ended its side, and listens on.
        has_ended: bool,
    },
    WebSocket {
        client: u32,
        endpoint: Endpoint,
        pulse: Pulse,
        flood: Flood,
    },
    /// The request was answered, or refused.
    Over,
}

impl Chat {
    /// A chat without rooms; the first who joins one opens it. Check the options first.
    pub fn new(options: ChatOptions) -> Self {
        Chat { hall: Hall::new(options), memory: Memory::new() }
    }

    /// Counts rooms in this table of addresses, which may be the reactor's gate, too.
    pub fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.hall.addresses = addresses;
        self
    }

    /// Tells by the first line what a connection is: a request of HTTP, or a line client. Until then
    /// nothing is said: a browser may open a connection long before it has anything to ask.
    fn recognise(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::Fresh(fresh) = state else { return Ok(()) };
        let began_http = fresh.begins_http;
        match fresh.look(input) {
            Opening::Unclear if fresh.begins_http == began_http => {}
            Opening::Unclear => self.await_first_line(cx, token, fresh),
            Opening::Http => {
                if !began_http {
                    cx.set_timer(token, HEAD_TIMEOUT);
                }
                *state = State::Request(Box::default());
            }
            Opening::Lines => self.begin_lines(cx, token, state),
            Opening::Tls => {
                *state = State::Over;
                input.clear();
                // Clients of TLS say what an answer of HTTP means: that the port has none.
                cx.send(token, Response::refusal(HttpError::Tls).bytes());
                return Err(ProtocolError::malformed(NO_TLS));
            }
        }
        Ok(())
    }

    /// Sets the timer of a connection whose first line is not whole.
    fn await_first_line(&self, cx: &mut Context<'_>, token: Token, fresh: &Fresh) {
        let rest = self.rest_of_first_line(cx, fresh);
        let head = fresh.begins_http.then_some(HEAD_TIMEOUT);
        match rest.into_iter().chain(head).min() {
            Some(span) => cx.set_timer(token, span),
            None => cx.cancel_timer(token),
        }
    }

    /// How long its first line may still take.
    fn rest_of_first_line(&self, cx: &Context<'_>, fresh: &Fresh) -> Option<Duration> {
        let age_ms = self.hall.clock_ms(cx).wrapping_sub(fresh.since_ms);
        let age = Duration::from_millis(age_ms.into());
        self.hall.options.first_line_timeout.map(|span| span.saturating_sub(age))
    }

    fn begin_lines(&mut self, cx: &mut Context<'_>, token: Token, state: &mut State) {
        cx.cancel_timer(token);
        let client = self.hall.enter(cx, token, Wire::Lines);
        if let State::Fresh(fresh) = std::mem::replace(state, State::Over) {
            if self.hall.options.tokens.is_some() {
                let rest = self.rest_of_first_line(cx, &fresh);
                self.hall.await_token(cx, client, rest);
            } else {
                self.hall.greet(cx, client);
            }
            let (lines, flood) = (fresh.into_lines(), Flood::default());
            *state = State::Lines { client, lines, flood, has_ended: false };
        }
    }

    /// Answers a request once its head is whole.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::Request(request) = state else { return Ok(()) };
        let (hall, mut badge) = (&self.hall, None);
        let ChatOptions { origins, hosts, .. } = &hall.options;
        let peer = address_of(cx, token);
        let is_overloaded = cx.overload().is_some();
        let mut respond = |head: &Head<'_>| {
            let cookie = match hall.identify(cx, token, head) {
                Ok(identified) => {
                    badge = identified.badge;
                    identified.cookie
                }
                Err(error) => return Response::unauthorized(error),
            };
            match head.target.path {
                "/" => page::response(cookie.as_deref()),
                "/ws" => match Response::handshake(head, origins) {
                    Err(error) => Response::no_upgrade(error),
                    Ok(_) if is_overloaded => {
                        cx.shed();
                        Response::overloaded(cx.config().overload_retry().as_secs())
                    }
                    Ok(accept) => Response::upgrade(&accept),
                },
                _ => Response::not_found(),
            }
        };
        let answered = request.answer(input, |head| match head {
            Err(error) => Response::refusal(error),
            Ok(head) if !hosts.answer(&head, peer) => Response::misdirected().to(head.method),
            Ok(head) => {
                let refused = Response::check_method(&head);
                refused.unwrap_or_else(|| respond(&head)).to(head.method)
            }
        });
        let Some(response) = answered else { return Ok(()) };
        cx.cancel_timer(token);
        cx.send(token, response.bytes());
        match response.answer() {
            Answer::Upgrade => *state = self.begin_web_socket(cx, token, badge),
            Answer::Unauthorized => {
                *state = State::Over;
                input.clear();
                cx.close_for(token, CloseReason::Unauthorized);
            }
            Answer::Final(error) => {
                *state = State::Over;
                input.clear();
                cx.close(token);
                return error.map_or(Ok(()), |what| Err(ProtocolError::malformed(what)));
            }
        }
        Ok(())
    }

    fn begin_web_socket(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        badge: Option<Badge>,
    ) -> State {
        if let Some(span) = self.hall.options.heartbeat {
            cx.set_timer(token, span);
        }
        let client = self.hall.enter(cx, token, Wire::WebSocket);
        match badge {
            Some(badge) => self.hall.recognise(cx, client, badge),
            None => self.hall.greet(cx, client),
        }
        let endpoint = Endpoint::new(self.hall.options.line_max());
        let pulse = Pulse::new(self.hall.clock_ms(cx));
        State::WebSocket { client, endpoint, pulse, flood: Flood::default() }
    }

    fn receive_lines(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::Lines { client, lines, flood, .. } = state else { return Ok(()) };
        self.hall.look_for_rest(cx, *client, flood);
        let waiting = input.len();
        // What means nothing costs work as well.
        if lines.pass_over(input) && !self.hall.admit(cx, *client) {
            return Ok(());
        }
        while !cx.is_held(token) {
            let Decoded { len, message } = match lines.next(input) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.hall.ebb(*client, flood);
                    return Ok(());
                }
                Err(error) => {
                    let text = "the line is too long";
                    self.hall.reply(cx, *client, &Reply::Error { code: "too_long", text });
                    return Err(error.into());
                }
            };
            match self.hall.obey(cx, *client, &text_of(message)) {
                Flow::Taken => lines.take(input, len),
                Flow::Held => {
                    self.stem(cx, *client, flood, waiting);
                    return Ok(());
                }
                Flow::Stop => {
                    input.clear();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A client has to wait; so many bytes were in its input. It is slowed down, but not for ever.
    fn stem(&mut self, cx: &mut Context<'_>, client: u32, flood: &mut Flood, waiting: usize) {
        if !self.hall.is_slowed(client) {
            return;
        }
        // As much as half of what is read at once, but more than one message, however long.
        let much = (cx.config().read_size() / 2).max(2 * self.hall.options.line_max());
        if flood.rises(waiting, much) {
            let (code, reason) = (close_code::POLICY, CloseReason::ProtocolError);
            self.hall.dismiss(cx, client, code, "too many messages", reason);
        }
    }

    fn receive_frames(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::WebSocket { client, endpoint, pulse, flood } = state else { return Ok(()) };
        let client = *client;
        pulse.hear(self.hall.clock_ms(cx));
        self.hall.look_for_rest(cx, client, flood);
        let waiting = input.len();
        let mut has_to_wait = false;
        let hall = &mut self.hall;
        let outcome = endpoint.receive(cx, token, input, &mut self.memory, |cx, message| {
            let flow = take_message(hall, cx, client, message);
            has_to_wait |= flow == Flow::Held;
            flow
        });
        outcome.map_err(|error: WebSocketError| {
            self.hall.depart(cx, client);
            send(cx, token, Message::Close(Some((error.close_code(), error.name()))));
            ProtocolError::from(error)
        })?;
        if has_to_wait {
            self.stem(cx, client, flood, waiting);
        } else if !cx.is_held(token) {
            self.hall.ebb(client, flood);
        }
        Ok(())
    }
}

/// Does what a message over WebSocket asks for.
fn take_message(hall: &mut Hall, cx: &mut Context<'_>, client: u32, message: Message<'_>) -> Flow {
    match message {
        Message::Text(line) => hall.obey(cx, client, line),
        Message::Binary(_) => {
            let (code, reason) = (close_code::UNSUPPORTED, CloseReason::ProtocolError);
            hall.dismiss(cx, client, code, "only text is understood", reason);
            Flow::Stop
        }
        Message::Ping(_) | Message::Pong(_) if !hall.admit(cx, client) => Flow::Held,
        Message::Ping(_) | Message::Pong(_) => Flow::Taken,
        Message::Close(_) => {
            hall.depart(cx, client);
            Flow::Taken
        }
    }
}

impl Handler for Chat {
    type Session = ChatSession;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> ChatSession {
        let fresh = Fresh::new(self.hall.options.line_max(), self.hall.clock_ms(cx));
        self.await_first_line(cx, token, &fresh);
        ChatSession { state: State::Fresh(fresh) }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        ChatSession { state }: &mut ChatSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.recognise(cx, token, state, input)?;
        self.answer(cx, token, state, input)?;
        match state {
            State::Lines { .. } => self.receive_lines(cx, token, state, input),
            State::WebSocket { .. } => self.receive_frames(cx, token, state, input),
            State::Fresh(_) | State::Request(_) => Ok(()),
            State::Over => {
                input.clear();
                Ok(())
            }
        }
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        ChatSession { state }: &mut ChatSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if matches!(state, State::Fresh(fresh) if !fresh.begins_http) && !input.is_empty() {
            self.begin_lines(cx, token, state);
        }
        if let State::Lines { client, lines, has_ended, .. } = state {
            if let Some(line) = lines.last(input)?
                && self.hall.obey(cx, *client, &text_of(line)) == Flow::Held
            {
                // A last line without its end is a line all the same. The end is told again when
                // there is space for it.
                return Ok(());
            }
            *has_ended = self.hall.listens_on(cx, *client);
            if *has_ended {
                input.clear();
                return Ok(());
            }
        }
        input.clear();
        cx.close(token);
        Ok(())
    }

    fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        ChatSession { state }: &mut ChatSession,
    ) {
        // It may have had to wait for a token.
        let was_held = cx.is_held(token);
        cx.resume(token);
        match state {
            State::Fresh(fresh) if !fresh.begins_http => {
                // It is no client of HTTP, or a browser that has nothing to ask.
                *state = State::Over;
                cx.close_for(token, CloseReason::RequestTimeout);
            }
            State::Fresh(_) | State::Request(_) => {
                *state = State::Over;
                cx.send(token, Response::timeout().bytes());
                cx.close_for(token, CloseReason::RequestTimeout);
            }
            State::WebSocket { client, pulse, .. } if pulse.is_draining => {
                let (code, reason) = (close_code::GOING_AWAY, CloseReason::Drained);
                self.hall.dismiss(cx, *client, code, "shutting down", reason);
            }
            State::WebSocket { client, pulse, .. } => {
                let now_ms = self.hall.clock_ms(cx);
                if was_held {
                    // What a client answers while it is held is not read.
                    pulse.hear(now_ms);
                }
                let Some(span) = self.hall.options.heartbeat else { return };
                match pulse.beat(now_ms, span) {
                    Beat::Wait(rest) => cx.set_timer(token, rest),
                    Beat::Ping => {
                        send(cx, token, Message::Ping(b""));
                        cx.set_timer(token, span);
                    }
                    Beat::Lost => {
                        let (code, reason) = (close_code::INTERNAL, CloseReason::IdleTimeout);
                        self.hall.dismiss(cx, *client, code, "no answer to two pings", reason);
                    }
                }
            }
            // Put out of its last room, it has nothing to listen to.
            State::Lines { client, has_ended: true, .. } if !self.hall.is_member(*client) => {
                cx.close(token);
            }
            State::Lines { .. } | State::Over => {}
        }
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.hall.on_alarm(cx);
    }

    fn on_drain(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        ChatSession { state }: &mut ChatSession,
    ) {
        self.hall.is_draining = true;
        if let State::WebSocket { pulse, .. } = state {
            // First what was published until now, with this turn's flush; behind a close frame it
            // could not follow.
            pulse.is_draining = true;
            cx.set_timer(token, Duration::ZERO);
        } else {
            cx.close(token);
        }
    }

    fn on_close(
        &mut self,
        cx: &mut Context<'_>,
        _token: Token,
        session: ChatSession,
        _reason: CloseReason,
    ) {
        match session.state {
            State::WebSocket { client, mut endpoint, .. } => {
                endpoint.release(&mut self.memory);
                self.hall.remove(cx, client);
            }
            State::Lines { client, .. } => self.hall.remove(cx, client),
            State::Fresh(_) | State::Request(_) | State::Over => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a member costs in the table of sessions. `tests/memory.rs` measures all of it.
    #[test]
    fn session_is_small() {
        assert!(size_of::<ChatSession>() <= 56, "{}", size_of::<ChatSession>());
    }
}
