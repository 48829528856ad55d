//! Rooms, for terminals and browsers on one port.
//!
//! A room is two topics, one for each wire: an event is encoded once as a line and once as a
//! WebSocket frame of JSON, whatever the number of members, and both get the same events in the same
//! order, numbered by the room. Who comes back asks for what followed the last number that it has
//! seen. The page for the browser is part of the program.
//!
//! `docs/reference/chat-protocol.md` describes both wires, all commands, errors and limits.
//!
//! | file | what it is |
//! | --- | --- |
//! | `name`, `rate`, `options` | names, clean text; how much one may say; all limits |
//! | `command`, `event` | what people type; what they are told, on either wire |
//! | `room` | members, two topics, and what waits where these are full |
//! | `hall` | all clients and rooms, and what commands do |
//! | `page` | what a browser is given: one document, put together from the folder of that name |
//! | `mod` | from connections to clients: which wire it is, heartbeats, ends |

mod command;
mod event;
mod hall;
mod name;
mod options;
mod page;
mod rate;
mod room;

pub use event::Role;
pub use options::ChatOptions;

use std::time::Duration;

use self::event::Reply;
use self::hall::Hall;
use self::room::Wire;
use super::websocket::{Answer, Endpoint, Flow, HEAD_TIMEOUT, Memory, Request, Response, send};
use crate::codec::http::Head;
use crate::codec::websocket::{Message, WebSocketError, close_code};
use crate::codec::{Codec, Decoded, Delimited};
use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

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
    /// The first line is not whole; it tells what this is. `begins_http` when it seems to become a
    /// request, which then has a deadline.
    Fresh {
        lines: Delimited,
        begins_http: bool,
    },
    /// A request whose head is not whole. Boxed, because it is over soon.
    Request(Box<Request>),
    Lines {
        client: u32,
        lines: Delimited,
    },
    WebSocket {
        client: u32,
        endpoint: Endpoint,
        pulse: Pulse,
    },
    /// It was answered, or refused.
    Over,
}

/// Whether a WebSocket peer is alive.
#[derive(Debug, Default)]
struct Pulse {
    /// Something came since the timer last fired, or could not be read.
    was_heard: bool,
    /// Pings without any answer.
    missed: u8,
    is_draining: bool,
}

impl Chat {
    /// A chat without rooms; the first who joins one opens it. Check the options first.
    pub fn new(options: ChatOptions) -> Self {
        Chat { hall: Hall::new(options), memory: Memory::new() }
    }

    /// Tells by the first line what a connection is: a request of HTTP, or a line client. Until then
    /// nothing is said: a browser may open a connection long before it has anything to ask.
    fn recognise(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) {
        let State::Fresh { lines, begins_http } = state else { return };
        let bytes = input.contiguous();
        let could_be = !bytes.is_empty() && GET.starts_with(&bytes[..bytes.len().min(GET.len())]);
        match (std::mem::replace(begins_http, could_be), could_be) {
            (false, true) => cx.set_timer(token, HEAD_TIMEOUT),
            (true, false) => cx.cancel_timer(token),
            _ => {}
        }
        let is_request = bytes.starts_with(GET);
        let first_line = lines.decode(bytes);
        if is_request || matches!(&first_line, Ok(Some(line)) if is_request_line(line.message)) {
            if !*begins_http {
                cx.set_timer(token, HEAD_TIMEOUT);
            }
            *state = State::Request(Box::default());
        } else if !matches!(first_line, Ok(None)) {
            self.begin_lines(cx, token, state);
        }
    }

    fn begin_lines(&mut self, cx: &mut Context<'_>, token: Token, state: &mut State) {
        cx.cancel_timer(token);
        let client = self.hall.enter(cx, token, Wire::Lines);
        *state = State::Lines { client, lines: Delimited::lines(self.hall.options.line_max()) };
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
        let origins = &self.hall.options.origins;
        let respond = |head: &Head<'_>| match head.target.path {
            "/" => page::response(),
            "/ws" => Response::handshake(head, origins)
                .map_or_else(Response::no_upgrade, |accept| Response::upgrade(&accept)),
            _ => Response::not_found(),
        };
        let answered = request.answer(input, |head| match head {
            Err(error) => Response::refusal(error),
            Ok(head) => {
                Response::check_method(&head).unwrap_or_else(|| respond(&head)).to(head.method)
            }
        });
        let Some(response) = answered else { return Ok(()) };
        cx.cancel_timer(token);
        cx.send(token, response.bytes());
        match response.answer() {
            Answer::Upgrade => {
                if let Some(span) = self.hall.options.heartbeat {
                    cx.set_timer(token, span);
                }
                let client = self.hall.enter(cx, token, Wire::WebSocket);
                let endpoint = Endpoint::new(self.hall.options.line_max());
                *state = State::WebSocket { client, endpoint, pulse: Pulse::default() };
            }
            Answer::Final(error) => {
                *state = State::Over;
                input.clear();
                cx.close(token);
                return error.map_or(Ok(()), |what| Err(ProtocolError::Malformed(what)));
            }
        }
        Ok(())
    }

    fn receive_lines(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::Lines { client, lines } = state else { return Ok(()) };
        while !cx.is_held(token) {
            let decoded = match lines.decode(input.contiguous()) {
                Ok(None) => return Ok(()),
                Ok(Some(decoded)) => decoded,
                Err(error) => {
                    let text = "the line is too long";
                    self.hall.reply(cx, *client, &Reply::Error { code: "too_long", text });
                    return Err(error.into());
                }
            };
            let Decoded { len, message: line } = decoded;
            match self.hall.obey(cx, *client, &String::from_utf8_lossy(line)) {
                Flow::Taken => input.consume(len),
                Flow::Held => return Ok(()),
                Flow::Stop => {
                    input.clear();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn receive_frames(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        state: &mut State,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let State::WebSocket { client, endpoint, pulse } = state else { return Ok(()) };
        let client = *client;
        pulse.was_heard = true;
        let hall = &mut self.hall;
        let outcome =
            endpoint.receive(cx, token, input, &mut self.memory, |cx, message| match message {
                Message::Text(line) => hall.obey(cx, client, line),
                Message::Binary(_) => {
                    let (code, reason) = (close_code::UNSUPPORTED, CloseReason::ProtocolError);
                    hall.dismiss(cx, client, code, "only text is understood", reason);
                    Flow::Stop
                }
                Message::Ping(_) | Message::Pong(_) => {
                    hall.charge(cx, client).unwrap_or(Flow::Taken)
                }
                Message::Close(_) => {
                    hall.depart(cx, client);
                    Flow::Taken
                }
            });
        outcome.map_err(|error: WebSocketError| {
            self.hall.depart(cx, client);
            send(cx, token, Message::Close(Some((error.close_code(), error.name()))));
            error.into()
        })
    }
}

impl Handler for Chat {
    type Session = ChatSession;

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) -> ChatSession {
        let lines = Delimited::lines(self.hall.options.line_max());
        ChatSession { state: State::Fresh { lines, begins_http: false } }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        ChatSession { state }: &mut ChatSession,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        self.recognise(cx, token, state, input);
        self.answer(cx, token, state, input)?;
        match state {
            State::Lines { .. } => self.receive_lines(cx, token, state, input),
            State::WebSocket { .. } => self.receive_frames(cx, token, state, input),
            State::Fresh { .. } | State::Request(_) => Ok(()),
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
        if matches!(state, State::Fresh { begins_http: false, .. }) && !input.is_empty() {
            self.begin_lines(cx, token, state);
        }
        if let State::Lines { client, lines } = state
            && let Some(line) = lines.decode_end(input.contiguous())?
            && self.hall.obey(cx, *client, &String::from_utf8_lossy(line)) == Flow::Held
        {
            // A last line without its end is a line all the same. The end is told again when there
            // is space for it.
            return Ok(());
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
        match state {
            State::Fresh { .. } | State::Request(_) => {
                *state = State::Over;
                cx.send(token, Response::timeout().bytes());
                cx.close_for(token, CloseReason::RequestTimeout);
            }
            State::WebSocket { client, pulse, .. } if pulse.is_draining => {
                let (code, reason) = (close_code::GOING_AWAY, CloseReason::Drained);
                self.hall.dismiss(cx, *client, code, "shutting down", reason);
            }
            State::WebSocket { client, pulse, .. } => {
                // What a client answers while it is held is not read.
                pulse.was_heard |= cx.is_held(token);
                if pulse.beat() {
                    let (code, reason) = (close_code::INTERNAL, CloseReason::IdleTimeout);
                    self.hall.dismiss(cx, *client, code, "no answer to two pings", reason);
                } else if let Some(span) = self.hall.options.heartbeat {
                    if pulse.missed > 0 {
                        send(cx, token, Message::Ping(b""));
                    }
                    cx.set_timer(token, span);
                }
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
            State::Fresh { .. } | State::Request(_) | State::Over => {}
        }
    }
}

impl Pulse {
    /// The timer has fired. Says whether the peer has missed two pings; if not, and if it was not
    /// heard, `missed` counts the ping that is due now.
    fn beat(&mut self) -> bool {
        if std::mem::take(&mut self.was_heard) {
            self.missed = 0;
            return false;
        }
        self.missed += 1;
        self.missed > 2
    }
}

/// Whether a line is the first of an HTTP request.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// What every request that we serve begins with.
const GET: &[u8] = b"GET ";

#[cfg(test)]
mod tests {
    use super::*;

    /// What a member costs in the table of sessions. `tests/memory.rs` measures all of it.
    #[test]
    fn session_is_small() {
        assert!(size_of::<ChatSession>() <= 48, "{}", size_of::<ChatSession>());
    }
}
