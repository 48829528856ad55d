//! What comes between `accept` and `on_open`: a balancer introduces its client, and a layer greets.
//!
//! ```text
//!   accepted ---> preface ---> gate ---> layer ---> greet ... greet ---> on_open
//!                    |           |                    |
//!                    |           +--> turned away     +--> LayerError: Closing, with its alert
//!                    +--> not understood: Closing
//! ```
//!
//! Each part may be absent. A connection with neither preface nor layer is open at once, and never here.
//! The gate is asked as soon as it is known who the client is: by `accept`, or after the preface. So
//! balancers are not counted, and a client is, before its handshake costs anything.
//!
//! A greeting has one deadline for all of it. It is on the ready list like any connection; the read phase
//! puts it on a list of its own, of which each turn works off a few: `Config::greeting_budget`. So a flood of
//! handshakes makes those wait that come, and not those that are inside.

use std::io;

use super::connection::{Announced, Connection, Hold, State};
use super::handler::Handler;
use super::loop_state::{LoopState, find};
use super::reactor::Reactor;
use super::work::{GREET, READ};
use crate::sockets::address::Address;
use crate::sockets::greetings::{Expected, Whose};
use crate::sockets::introduction::Introduction;
use crate::sockets::layer::LayerPanicked;
use crate::sockets::manner::{Awaited, Heard, skip};
use crate::sockets::preface::Introduced;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::layer_error::LayerError;
use crate::vocabulary::log_peer::log_peer;

/// What a visit of a greeting came to.
#[derive(Debug)]
enum Greeted {
    /// It waits for the peer, for memory, or is over.
    Waits,
    /// The connection may be opened.
    Done,
    Failed(io::Error),
}

impl<H: Handler> Reactor<H> {
    /// The phase: goes on with a few greetings, so that those who are open are served between.
    pub(super) fn greet(&mut self) {
        if self.state.lists.greeting.is_empty() {
            return;
        }
        self.state.begin_phase();
        let visits = self.state.lists.greeting.len().min(self.state.config.visit_budget);
        let mut budget = self.state.config.greeting_budget;
        for _ in 0..visits {
            let Some(token) = self.state.lists.greeting.pop_front() else { break };
            budget -= usize::from(self.visit_greeting(token));
            if budget == 0 || self.state.is_phase_over() {
                break;
            }
        }
    }

    /// Returns whether a layer was asked, which is what the budget is for.
    fn visit_greeting(&mut self, token: Token) -> bool {
        let (greeted, was_asked) = self.state.greet(token);
        match greeted {
            Greeted::Waits => {}
            Greeted::Done => self.open_greeted(token),
            Greeted::Failed(error) => {
                self.tell_of_failure(token, &error);
                self.state.fail_greeting(token, &error);
            }
        }
        was_asked
    }

    fn open_greeted(&mut self, token: Token) {
        self.state.finish_greeting(token);
        self.open(token);
        self.state.arm(token);
    }

    /// Whoever called hears that it was in vain.
    pub(super) fn tell_of_failure(&mut self, token: Token, error: &io::Error) {
        if self.state.dialled(token).is_some() {
            self.state.call(Some(token), |cx| self.handler.on_connect_error(cx, token, error));
        }
    }
}

impl LoopState {
    /// A connection was let in of which something is awaited before it is open.
    pub(super) fn begin_greeting(&mut self, token: Token, awaited: Awaited, listener: usize) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        match awaited {
            Awaited::Nothing => {}
            // A layer may have to speak first. A preface is there when an event says so.
            Awaited::Layer => connection.readable = true,
            Awaited::Preface => {
                self.greetings.await_of(token, Expected::preface(listener));
            }
        }
        self.greetings.count += 1;
        self.stats.greetings += 1;
        self.lists.update(token, connection);
    }

    /// An outgoing connection is established. Returns whether it gets a layer, which greets first.
    pub(super) fn begins_layered(&mut self, token: Token) -> bool {
        if !self.greetings.awaits(token) {
            return false;
        }
        let stamp = self.clock.stamp();
        if let Some(connection) = find(&mut self.connections, token) {
            connection.state = State::Greeting;
            (connection.active_ms, connection.waiting_since_ms) = (stamp, stamp);
        }
        self.begin_greeting(token, Awaited::Layer, 0);
        self.arm(token);
        true
    }

    /// One visit of a connection on the list of greetings. Says as well whether its layer was asked.
    fn greet(&mut self, token: Token) -> (Greeted, bool) {
        let has_memory = self.has_memory();
        let Some(connection) = find(&mut self.connections, token) else {
            return (Greeted::Waits, false);
        };
        connection.on_ready_list = false;
        if connection.state == State::Greeting && !has_memory {
            connection.hold.insert(Hold::MEMORY);
            self.lists.starved.push(token, false);
        }
        if connection.state != State::Greeting || !connection.wants_visit() {
            // It may be closing by now.
            self.lists.update(token, connection);
            return (Greeted::Waits, false);
        }
        connection.active_ms = self.clock.stamp();
        match self.introduce(token) {
            Ok(true) => self.greet_layer(token),
            Ok(false) => (Greeted::Waits, false),
            Err(error) => (Greeted::Failed(error), false),
        }
    }

    /// Goes on with the layer. What a flush had left goes first: a layer that waited for room is asked
    /// again.
    fn greet_layer(&mut self, token: Token) -> (Greeted, bool) {
        let Some(connection) = find(&mut self.connections, token) else {
            return (Greeted::Waits, false);
        };
        let is_asked = connection.readable && connection.stream.is_layered();
        if is_asked {
            self.stats.work += GREET;
        }
        let outcome = connection.go_on_greeting();
        self.lists.update(token, connection);
        let greeted = match outcome {
            Ok(true) => Greeted::Done,
            Ok(false) => Greeted::Waits,
            Err(error) => Greeted::Failed(error),
        };
        (greeted, is_asked)
    }

    /// Reads the preface, asks the gate, and puts the layer on, as far as any of it is awaited. False when
    /// the connection waits or is over.
    fn introduce(&mut self, token: Token) -> io::Result<bool> {
        let Some(mut expected) = self.greetings.take(token) else {
            return Ok(true);
        };
        let introduced = self.hear(token, &mut expected).and_then(|is_heard| match is_heard {
            true => self.put_layer_on(token, &mut expected.manner),
            false => Ok(false),
        });
        let is_greeting = self.find(token).is_some_and(|it| it.state == State::Greeting);
        match &introduced {
            Ok(false) if is_greeting => self.greetings.await_of(token, expected),
            Ok(_) => {}
            Err(error) => self.note_panic_in(token, error),
        }
        introduced
    }

    /// What puts a layer on, or reads a preface, is code of the program.
    fn note_panic_in(&mut self, token: Token, error: &io::Error) {
        if LayerPanicked::is(error) {
            self.note_panic(Some(token), &error.to_string());
        }
    }

    /// Hears who the client is, asks the gate about the client, and takes out of the socket what said so.
    /// True once all of that is done.
    fn hear(&mut self, token: Token, expected: &mut Expected) -> io::Result<bool> {
        if expected.rest.is_none() {
            expected.rest = self.hear_client(token, &expected.manner)?;
        }
        let Some(rest) = &mut expected.rest else { return Ok(false) };
        let Some(connection) = find(&mut self.connections, token) else { return Ok(false) };
        if *rest > 0 {
            self.stats.reads += 1;
            self.stats.work += READ;
            connection.readable = skip(rest, &mut connection.stream)?;
        }
        Ok(*rest == 0)
    }

    fn put_layer_on(&mut self, token: Token, manner: &mut Whose) -> io::Result<bool> {
        let LoopState { connections, greetings, layers, .. } = self;
        let Some(connection) = find(connections, token) else { return Ok(false) };
        let Some(manner) = manner.among(&mut greetings.manners) else { return Ok(true) };
        if manner.wrap(&mut connection.stream)? {
            connection.readable = true;
            connection.stream.count_into(layers);
        }
        Ok(true)
    }

    /// Returns how long the preface is, once the client is known and may come in.
    fn hear_client(&mut self, token: Token, manner: &Whose) -> io::Result<Option<usize>> {
        let Some(connection) = find(&mut self.connections, token) else { return Ok(None) };
        let Whose::Listener(listener) = manner else { return Ok(Some(0)) };
        let Some(manner) = self.greetings.manners.get(*listener) else { return Ok(Some(0)) };
        self.stats.reads += 1;
        self.stats.work += READ;
        // ET: every byte that arrives is an event, although those before it are still there. The event
        // that tells of the end comes once, and a look shows only the bytes before the end.
        connection.readable = false;
        let announced = connection.announced;
        let heard = manner.hear(&mut connection.stream, announced == Announced::End)?;
        let introduced = match heard {
            // Both directions are over, and ours has not ended.
            Heard::Waits if announced == Announced::HangUp => {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Heard::Waits => return Ok(None),
            Heard::Nothing => {
                return Err(LayerError::new(CloseReason::PeerClosed, "it ended without a word"));
            }
            Heard::Client(introduced) => introduced,
        };
        connection.readable = true;
        Ok(self.let_in(token, introduced))
    }

    /// Asks the gate about a client that has been introduced. Returns the length of the preface if the
    /// client may come in. A balancer without a client only asks whether the server is there, and is nobody
    /// whom the gate has to know.
    fn let_in(&mut self, token: Token, introduced: Introduced) -> Option<usize> {
        let Some(client) = introduced.client else { return Some(introduced.len) };
        let details = self.details.get_mut(token.key())?;
        details.peer = details.peer.introduces(client);
        let (peer, via) = (Address::from(&details.peer), details.peer.via().cloned());
        if let Err(reason) = self.ask_gate(&peer) {
            self.warn_of_one_turned_away(reason, &peer, via.as_ref());
            self.retire_for(token, reason);
            return None;
        }
        self.enter_gate(token);
        Some(introduced.len)
    }

    /// What the layer has found out about the peer.
    pub(super) fn introduction(&mut self, token: Token) -> Introduction {
        let Some(connection) = find(&mut self.connections, token) else {
            return Introduction::default();
        };
        let introduction = connection.stream.introduction();
        if introduction.as_ref().is_err_and(LayerPanicked::is) {
            self.abort(token, CloseReason::HandlerPanicked);
        }
        introduction.unwrap_or_default()
    }

    /// A greeting is over, and the connection is open.
    pub(super) fn finish_greeting(&mut self, token: Token) {
        let stamp = self.clock.stamp();
        if let Some(connection) = find(&mut self.connections, token) {
            connection.state = State::Open;
            (connection.active_ms, connection.waiting_since_ms) = (stamp, stamp);
            self.greetings.count -= 1;
        }
    }

    /// A connection ends that was not open.
    pub(super) fn end_greeting(&mut self, token: Token, was: State) {
        self.greetings.take(token);
        if was == State::Greeting {
            self.greetings.count -= 1;
            self.stats.greetings_failed += 1;
        }
    }

    /// Ends a greeting that has failed. Whoever is there to be told is told.
    fn fail_greeting(&mut self, token: Token, error: &io::Error) {
        if LayerPanicked::is(error) {
            return self.abort(token, CloseReason::HandlerPanicked);
        }
        let reason = CloseReason::of_greeting(error);
        let Some(connection) = find(&mut self.connections, token) else { return };
        if connection.state != State::Greeting {
            return;
        }
        connection.reason = reason;
        self.log_failure(token, reason, error);
        if is_gone(reason) {
            return self.retire(token);
        }
        self.end_greeting(token, State::Greeting);
        self.end_behind_layer(token);
    }

    fn log_failure(&mut self, token: Token, reason: CloseReason, error: &io::Error) {
        let Some(peer) = self.peer_address(token) else { return };
        log_peer!(
            debug, [connection:% = token, peer:%], self.via(token), event = "greeting_failed", reason:%;
            "a greeting failed: {error}"
        );
        // It may be that of every connection: a balancer that is not configured as this server is.
        if reason == CloseReason::BadProxyHeader
            && let Some(suppressed) = self.greetings.warning.pass(self.clock.now())
        {
            log::warn!(
                event = "bad_proxy_header", peer:%, reason:%, suppressed;
                "a balancer did not say who its client is: {error}"
            );
        }
    }

    /// The time of a greeting is over, or it is quiet in a shutdown.
    pub(super) fn expire_greeting(&mut self, token: Token) {
        let Some(connection) = self.find(token) else { return };
        let until = self.clock.after(connection.waiting_since_ms, self.config.greeting_timeout);
        let reason = match until <= self.clock.now_ms() {
            true => CloseReason::HandshakeTimeout,
            false => CloseReason::Drained,
        };
        // Nobody waits for the end of a peer that says nothing.
        self.part(token);
        self.retire_for(token, reason);
    }
}

impl Connection {
    /// One step of the greeting of its layer; true once that is over. Without a layer it is.
    fn go_on_greeting(&mut self) -> io::Result<bool> {
        if self.readable {
            // ET: the layer reads until its socket says `WouldBlock`. A layer that is done may still have
            // bytes, so the connection stays readable.
            if self.stream.greet()? {
                return Ok(true);
            }
            self.readable = false;
        }
        if self.writable && self.stream.owes_output() {
            self.writable = self.stream.flush()?;
            // A layer that waited for room goes on where it was.
            self.readable |= self.writable && self.stalled;
            self.stalled = !self.writable;
        }
        Ok(false)
    }
}

/// Whether there is nobody to be told why.
fn is_gone(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::PeerClosed | CloseReason::Reset | CloseReason::KeepaliveTimeout)
}
