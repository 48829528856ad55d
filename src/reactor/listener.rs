//! Where connections come from: listeners, and what happens to a connection that one of them accepts
//! before the handler hears of the connection.

use std::io;
use std::time::Instant;

use mio::Registry;

use super::connection::State;
use super::loop_state::LoopState;
use crate::sockets::address::{Address, Peer};
use crate::sockets::layer::LayerPanicked;
use crate::sockets::listen_socket::{AcceptFault, ListenSocket};
use crate::sockets::manner::{Accepted, Awaited};
use crate::sockets::stream::Stream;
use crate::structures::overload_watch::Trickle;
use crate::structures::rate_limit::RateLimit;
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::config::{Config, WhenFull};
use crate::vocabulary::log_peer::log_peer;

struct Listener {
    socket: ListenSocket,
    /// The kernel said that connections wait, and no `accept` has said `WouldBlock` since.
    // ET: five connects are one event.
    readable: bool,
    /// Connections that were let in while the server was overloaded.
    trickle: Trickle,
}

/// All listeners of a reactor.
#[derive(Default)]
pub(super) struct Listeners {
    /// A lost listener leaves its place empty, so that the tokens of the others stay true.
    list: Vec<Option<Listener>>,
    /// Listeners rest until then, for want of descriptors or memory.
    pause: Option<Instant>,
    pause_warning: RateLimit,
}

impl Listener {
    /// In an overload newcomers wait in the backlog, and a few are let in now and then. A shutdown lets
    /// all of them in.
    fn lets_in(&self, state: &LoopState) -> bool {
        let is_open = || self.trickle.is_open(state.clock.now_ms());
        !state.overload.is_overloaded() || state.drain_until.is_some() || is_open()
    }

    /// Only a connection that got a place counts as one of the few that an overload lets in: a crowd
    /// that is turned away must not use their places up.
    fn count_newcomer(&mut self, state: &mut LoopState) {
        if state.overload.is_overloaded() && self.trickle.let_in(state.clock.now_ms()) {
            state.stats.overload_rests += 1;
        }
    }
}

impl LoopState {
    /// There is a place in the table for one more connection.
    pub(super) fn expect_place(&self) -> io::Result<()> {
        let full = || io::Error::other("the table of connections is full");
        if self.is_full() { Err(full()) } else { Ok(()) }
    }

    /// Whether one more connection may come in that is not open at once. A shutdown lets all of them in.
    fn may_greet(&self) -> bool {
        self.greetings.count < self.config.greetings_most() || self.drain_until.is_some()
    }

    /// Takes an outgoing connection in, which is not known to be established.
    pub(super) fn admit_dialled(&mut self, stream: Stream, peer: Peer) -> io::Result<Token> {
        let token = self.admit(stream, peer, State::Connecting)?;
        self.stats.dialled += 1;
        Ok(token)
    }

    /// Takes a connection in that was accepted elsewhere, if the gate lets it in.
    pub(super) fn admit_adopted(&mut self, stream: Stream, peer: Peer) -> io::Result<Token> {
        self.stats.accepted += 1;
        if let Err(reason) = self.ask_gate(&Address::from(&peer)) {
            self.count_end(reason);
            let text = format!("the gate does not let it in: {reason}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        // The flush phase opens it: a handler is never called from inside a handler.
        let token = self.admit_let_in(stream, peer, State::Connecting, true)?;
        self.change(token, |connection| connection.writable = true);
        Ok(token)
    }

    /// Takes a connection in that the gate let in, or has not been asked about. If that fails, a gate that
    /// was asked is told, and the end counted.
    fn admit_let_in(
        &mut self,
        stream: Stream,
        peer: Peer,
        state: State,
        was_asked: bool,
    ) -> io::Result<Token> {
        let address = Address::from(&peer);
        let admitted = self.admit(stream, peer, state);
        match &admitted {
            Ok(token) if was_asked => self.enter_gate(*token),
            Ok(_) => {}
            Err(error) => {
                if was_asked {
                    self.turn_back(&address);
                }
                let has_panicked = LayerPanicked::is(error);
                self.count_end(match has_panicked {
                    true => CloseReason::HandlerPanicked,
                    false => CloseReason::SetupFailed,
                });
            }
        }
        admitted
    }
}

impl Listeners {
    /// Adds a socket that listens, and returns the address at which it does.
    pub(super) fn add(
        &mut self,
        mut socket: ListenSocket,
        registry: &Registry,
        config: &Config,
    ) -> io::Result<Address> {
        socket.register(registry, Token::listener(self.list.len()))?;
        let address = socket.address()?;
        let trickle = Trickle::new(config.overload_newcomers, config.overload_pause);
        self.list.push(Some(Listener { socket, readable: false, trickle }));
        Ok(address)
    }

    /// How many there are, lost ones included: the others are called by numbers below this.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Remembers that connections wait at this listener.
    pub(super) fn note(&mut self, index: usize) {
        if let Some(Some(listener)) = self.list.get_mut(index) {
            listener.readable = true;
        }
    }

    /// As [`note`](Self::note) of every listener, whether or not the kernel said so.
    pub(super) fn note_all(&mut self) {
        self.list.iter_mut().flatten().for_each(|listener| listener.readable = true);
    }

    /// Closes all listeners.
    pub(super) fn close(&mut self, registry: &Registry) {
        for mut listener in self.list.drain(..).flatten() {
            // It fails only for a listener that is lost already.
            let _ = listener.socket.deregister(registry);
        }
    }

    /// Whether a connection may be accepted from any listener now.
    pub(super) fn may_accept(&self, state: &LoopState) -> bool {
        (0..self.list.len()).any(|index| self.may_accept_from(index, state))
    }

    // ET: the listener's readiness was told once. While the table is full or descriptors are out the
    // listener stays readable, and every turn asks again.
    pub(super) fn may_accept_from(&self, index: usize, state: &LoopState) -> bool {
        let Some(Some(listener)) = self.list.get(index) else { return false };
        let may_greet = !state.greetings.may_come_from(index) || state.may_greet();
        let has_place = !state.is_full() && may_greet;
        listener.readable
            && (has_place || state.config.when_full == WhenFull::Refuse)
            && self.pause.is_none()
            && listener.lets_in(state)
    }

    /// When listeners that rest are to be asked again: those that wait for descriptors or memory, and
    /// those that an overload closed for a while. A listener that waits for a place in the table is
    /// asked when a connection ends, and needs no deadline.
    pub(super) fn next_deadline(&self, state: &LoopState) -> Option<Instant> {
        let readable = || self.list.iter().flatten().filter(|listener| listener.readable);
        let shut = readable().filter(|listener| !listener.lets_in(state));
        let opens_ms = shut.map(|listener| listener.trickle.opens_ms()).min();
        let opens = opens_ms.map(|opens_ms| state.clock.instant(opens_ms));
        let pause_ends = self.pause.filter(|_| readable().next().is_some());
        opens.into_iter().chain(pause_ends).min()
    }

    /// Ends the pause if its time is over.
    pub(super) fn end_pause_if_due(&mut self, now: Instant) {
        self.pause.take_if(|until| *until <= now);
    }

    /// A descriptor is free again: listeners that rest are asked at once.
    pub(super) fn end_pause(&mut self) {
        self.pause = None;
    }

    /// Accepts one connection, and returns its token if the connection got a place and is open.
    pub(super) fn accept_from(&mut self, index: usize, state: &mut LoopState) -> Option<Token> {
        let manner = state.greetings.manners.get_mut(index);
        let Some((Some(listener), manner)) = self.list.get_mut(index).zip(manner) else {
            return None;
        };
        let Accepted { stream, peer, awaited } = match listener.socket.accept(manner) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.accept_failed(index, &error, state);
                return None;
            }
        };
        state.stats.accepted += 1;
        let is_open = awaited == Awaited::Nothing;
        let is_full = state.is_full() || !(is_open || state.may_greet());
        // Who comes by a balancer is not known yet.
        let is_known = awaited != Awaited::Preface;
        let address = Address::from(&peer);
        let admitted = if is_full {
            Err(CloseReason::Refused)
        } else if is_known {
            state.ask_gate(&address)
        } else {
            Ok(())
        };
        if let Err(reason) = admitted {
            state.count_end(reason);
            state.warn_of_one_turned_away(reason, &address, None);
            return None;
        }
        let begins = if is_open { State::Open } else { State::Greeting };
        match state.admit_let_in(stream, peer, begins, is_known) {
            Ok(token) => {
                listener.count_newcomer(state);
                if is_open {
                    return Some(token);
                }
                state.begin_greeting(token, awaited, index);
            }
            Err(error) if LayerPanicked::is(&error) => state.note_panic(None, &error.to_string()),
            Err(error) => self.begin_pause(&error, state),
        }
        None
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error, state: &mut LoopState) {
        let Some(place) = self.list.get_mut(index) else { return };
        if error.kind() == io::ErrorKind::WouldBlock {
            if let Some(listener) = place {
                listener.readable = false;
            }
            return;
        }
        if LayerPanicked::is(error) {
            state.note_panic(None, &error.to_string());
        }
        match AcceptFault::of(error) {
            AcceptFault::Connection => state.stats.accept_errors += 1,
            AcceptFault::Exhausted => self.begin_pause(error, state),
            AcceptFault::Listener => {
                log::error!(event = "listener_lost"; "a listener is lost: {error}");
                if let Some(mut listener) = place.take() {
                    // If even that fails, dropping it closes the descriptor all the same.
                    let _ = listener.socket.deregister(state.poll.registry());
                }
            }
        }
    }

    /// Descriptors or memory have run out. Listeners rest until a connection closes, or a little
    /// time has passed.
    fn begin_pause(&mut self, error: &io::Error, state: &mut LoopState) {
        let now = state.clock.now();
        state.stats.accept_pauses += 1;
        self.pause = Some(now + state.config.accept_retry);
        if let Some(suppressed) = self.pause_warning.pass(now) {
            log::warn!(event = "accept_paused", suppressed; "connections wait in the backlog: {error}");
        }
    }
}

impl LoopState {
    /// Asks the gate, if there is one, whether a connection may come in.
    pub(super) fn ask_gate(&mut self, peer: &Address) -> Result<(), CloseReason> {
        let answer = self.contained(None, |LoopState { gate, clock, .. }| {
            gate.as_mut().map_or(Ok(()), |book| book.gate.admit(peer, clock.now()))
        });
        answer.unwrap_or(Err(CloseReason::HandlerPanicked))
    }

    /// The gate did not let this peer in.
    pub(super) fn warn_of_one_turned_away(
        &mut self,
        reason: CloseReason,
        peer: &Address,
        via: Option<&Address>,
    ) {
        if let Some(suppressed) = self.turned_away_warning.pass(self.clock.now()) {
            log_peer!(
                warn, [peer:%], via, event = "turned_away", reason:%, suppressed;
                "a connection was closed as soon as it came"
            );
        }
    }

    /// Remembers that the gate let this connection in.
    pub(super) fn enter_gate(&mut self, token: Token) {
        if let Some(book) = &mut self.gate {
            let places = book.inside.len().max(token.key() + 1);
            book.inside.resize(places, false);
            book.inside[token.key()] = true;
        }
    }

    /// Tells the gate that a connection is over, if the gate has let this one in.
    pub(super) fn leave_gate(&mut self, token: Token) {
        let (Some(book), Some(details)) = (&mut self.gate, self.details.get(token.key())) else {
            return;
        };
        if book.inside.get_mut(token.key()).is_some_and(std::mem::take) {
            let peer = Address::from(&details.peer);
            self.turn_back(&peer);
        }
    }

    /// Tells the gate that somebody whom it has let in is inside no more, or got no place.
    pub(super) fn turn_back(&mut self, peer: &Address) {
        self.contained(None, |LoopState { gate, clock, .. }| {
            gate.iter_mut().for_each(|book| book.gate.release(peer, clock.now()));
        });
    }
}
