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

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use super::connection::{Announced, Hold, State};
use super::loop_state::{LoopState, find};
use super::work::{GREET, READ, copied};
use crate::sockets::address::Address;
use crate::sockets::introduction::Introduction;
use crate::sockets::layer::LayerPanicked;
use crate::sockets::manner::{Awaited, Manner};
use crate::sockets::preface::{Introduced, PREFACE_MAX, Preface};
use crate::structures::rate_limit::RateLimit;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::layer_error::LayerError;

/// The greetings that are under way.
#[derive(Default)]
pub(super) struct Greetings {
    pub(super) count: usize,
    /// By slot, what is awaited of the connections that have more to come than their own layer.
    awaited: HashMap<u32, Expected>,
    warning: RateLimit,
}

/// What is awaited of one connection.
struct Expected {
    manner: Rc<Manner>,
    /// The preface is understood, and so many bytes of it are still to be taken out of the socket.
    rest: Option<usize>,
}

/// What a visit of a greeting came to.
#[derive(Debug)]
pub(super) enum Greeted {
    /// It waits for the peer, for memory, or is over.
    Waits,
    /// The connection may be opened.
    Done,
    Failed(io::Error),
}

impl LoopState {
    /// A connection was let in of which something is awaited before it is open.
    pub(super) fn begin_greeting(&mut self, token: Token, awaited: Awaited) {
        let Some(connection) = find(&mut self.connections, token) else { return };
        match awaited {
            Awaited::Nothing => {}
            // A layer may have to speak first. A preface is there when an event says so.
            Awaited::Layer => connection.readable = true,
            Awaited::Preface(manner) => self.greetings.expect(token, manner),
        }
        self.greetings.count += 1;
        self.stats.greetings += 1;
        self.lists.update(token, connection);
    }

    /// An outgoing connection is established. Returns whether it gets a layer, which greets first.
    pub(super) fn begins_layered(&mut self, token: Token) -> bool {
        if !self.greetings.awaited.contains_key(&token.slot) {
            return false;
        }
        let stamp = self.clock.stamp();
        if let Some(connection) = find(&mut self.connections, token) {
            connection.state = State::Greeting;
            (connection.active_ms, connection.waiting_since_ms) = (stamp, stamp);
        }
        self.begin_greeting(token, Awaited::Layer);
        self.arm(token);
        true
    }

    /// One visit of a connection on the list of greetings. Says as well whether its layer was asked.
    pub(super) fn greet(&mut self, token: Token) -> (Greeted, bool) {
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
        let Some(expected) = self.greetings.awaited.get(&token.slot) else { return Ok(true) };
        let manner = expected.manner.clone();
        if let Some(preface) = &manner.preface {
            let is_known = expected.rest.is_some();
            if !is_known && !self.read_preface(token, &**preface)? {
                return Ok(false);
            }
            if !self.skip_preface(token)? {
                return Ok(false);
            }
        }
        self.greetings.awaited.remove(&token.slot);
        let Some(connection) = find(&mut self.connections, token) else { return Ok(false) };
        if manner.wrap(&mut connection.stream)? {
            connection.readable = true;
            connection.stream.count_into(&self.layers);
        }
        Ok(true)
    }

    /// Looks at what has arrived. Returns whether the preface is there and its client may come in.
    fn read_preface(&mut self, token: Token, preface: &dyn Preface) -> io::Result<bool> {
        let Some(connection) = find(&mut self.connections, token) else { return Ok(false) };
        let mut bytes = [0; PREFACE_MAX];
        let longest = preface.longest().clamp(1, PREFACE_MAX);
        self.stats.reads += 1;
        self.stats.work += READ;
        // ET: every byte that arrives is an event, although those before it are still there.
        connection.readable = false;
        let Some(arrived) = connection.stream.peek(&mut bytes[..longest])? else {
            connection.announced = Announced::Nothing;
            return Ok(false);
        };
        // ET: the event that tells of an end comes once, and a peek shows only the bytes before the end.
        let is_all = arrived == longest || connection.announced != Announced::Nothing;
        if arrived == 0 {
            return Err(LayerError::new(CloseReason::PeerClosed, "it ended without a word"));
        }
        let parsed = self.contained(Some(token), |_| preface.parse(&bytes[..arrived]));
        match parsed {
            None => Ok(false),
            Some(Err(bad)) => Err(LayerError::new(CloseReason::BadProxyHeader, bad)),
            Some(Ok(Some(introduced))) if introduced.len <= arrived => {
                Ok(self.take_client(token, introduced))
            }
            Some(Ok(_)) if is_all => {
                Err(LayerError::new(CloseReason::BadProxyHeader, "its beginning is not whole"))
            }
            Some(Ok(_)) => Ok(false),
        }
    }

    /// Remembers who the client is, and asks the gate.
    fn take_client(&mut self, token: Token, introduced: Introduced) -> bool {
        if let Some(expected) = self.greetings.awaited.get_mut(&token.slot) {
            expected.rest = Some(introduced.len);
        }
        let Some(details) = self.details.get_mut(token.key()) else { return false };
        if let Some(client) = introduced.client {
            details.peer = details.peer.introduces(client);
        }
        let peer = Address::from(&details.peer);
        match self.ask_gate(&peer) {
            Ok(()) => {
                self.enter_gate(token);
                self.change(token, |connection| connection.readable = true);
                true
            }
            Err(reason) => {
                self.warn_of_one_turned_away(reason, &peer);
                self.retire_for(token, reason);
                false
            }
        }
    }

    /// Takes the bytes of the preface out of the socket, and no other. Returns whether all are out.
    fn skip_preface(&mut self, token: Token) -> io::Result<bool> {
        let Some(connection) = find(&mut self.connections, token) else { return Ok(false) };
        let Some(Expected { rest: Some(rest), .. }) = self.greetings.awaited.get_mut(&token.slot)
        else {
            return Ok(false);
        };
        let mut bytes = [0; PREFACE_MAX];
        while *rest > 0 {
            self.stats.reads += 1;
            self.stats.work += READ + copied(*rest);
            match connection.stream.receive(&mut bytes[..(*rest).min(PREFACE_MAX)])? {
                Some(0) => {
                    let what = "it ended where a peek had shown more";
                    return Err(LayerError::new(CloseReason::BadProxyHeader, what));
                }
                Some(read) => *rest -= read,
                None => {
                    connection.readable = false;
                    return Ok(false);
                }
            }
        }
        Ok(true)
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
        self.greetings.awaited.remove(&token.slot);
        if was == State::Greeting {
            self.greetings.count -= 1;
            self.stats.greetings_failed += 1;
        }
    }

    /// Ends a greeting that has failed. Whoever is there to be told is told.
    pub(super) fn fail_greeting(&mut self, token: Token, error: &io::Error) {
        if LayerPanicked::is(error) {
            return self.abort(token, CloseReason::HandlerPanicked);
        }
        let reason = CloseReason::of_greeting(error);
        let peer = self.peer_address(token);
        let Some(connection) = find(&mut self.connections, token) else { return };
        if connection.state != State::Greeting {
            return;
        }
        log::debug!(
            connection:% = token, event = "greeting_failed", peer:? = peer, reason:%;
            "a greeting failed: {error}"
        );
        connection.reason = reason;
        match reason {
            CloseReason::PeerClosed | CloseReason::Reset | CloseReason::KeepaliveTimeout => {
                self.retire(token);
            }
            _ => {
                self.end_greeting(token, State::Greeting);
                self.end_behind_layer(token);
            }
        }
        if reason == CloseReason::BadProxyHeader
            && let Some(suppressed) = self.greetings.warning.pass(self.clock.now())
        {
            log::warn!(
                event = "bad_proxy_header", peer:? = peer, suppressed;
                "what should introduce a client does not: {error}"
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

impl Greetings {
    /// More is awaited of a connection than its own layer.
    pub(super) fn expect(&mut self, token: Token, manner: Rc<Manner>) {
        self.awaited.insert(token.slot, Expected { manner, rest: None });
    }
}
