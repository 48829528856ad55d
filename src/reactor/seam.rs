//! The seam at which a test takes the kernel's place: it moves the clock, tells events, and gives
//! connections that are no sockets. `src/testing` holds the reactor here; nothing else does.

use std::io;
use std::time::Duration;

use super::handler::Handler;
use super::reactor::Reactor;
use super::remote::Remote;
use crate::sockets::address::Address;
use crate::sockets::event_list::Edge;
use crate::sockets::listen_socket::ListenSocket;
use crate::sockets::manner::Manner;
use crate::sockets::stand_in::{Backlog, Dialler};
use crate::structures::token::Token;

/// How a connection stands between two turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Its handler is given what arrives.
    pub(crate) is_served: bool,
    /// It is served, but not now.
    pub(crate) is_held: bool,
    /// Bytes wait for its peer.
    pub(crate) owes_output: bool,
    /// Bytes that its handler has left in its input.
    pub(crate) input_len: usize,
}

impl<H: Handler> Reactor<H> {
    /// Stops the clock: time passes by what follows, and not otherwise.
    pub(crate) fn stop_clock(&mut self) {
        self.state.clock.stop();
    }

    /// As if the last turn had taken so much longer.
    pub(crate) fn delay(&mut self, by: Duration) {
        self.state.clock.move_on(by);
    }

    /// One turn, after a wait of `wait`, which takes none of the test's time. No more events than the
    /// list takes.
    pub(crate) fn turn_after(&mut self, wait: Duration, told: &[(Token, Edge)]) -> io::Result<()> {
        // The wait begins now, and is not work.
        self.would_wait();
        self.state.clock.move_on(wait);
        self.turn_with(Some(Duration::ZERO), told)
    }

    /// How long the next turn would wait for an event, if none came.
    pub(crate) fn would_wait(&mut self) -> Option<Duration> {
        self.timeout()
    }

    /// A handle whose tasks somebody else takes out of their queue. It wakes this loop.
    pub(crate) fn remote_for<T>(&self, tasks: std::sync::mpsc::SyncSender<T>) -> Remote<T> {
        Remote { tasks, doorbell: self.remote().doorbell }
    }

    /// How many events a turn takes.
    pub(crate) fn events_max(&self) -> usize {
        self.events.capacity()
    }

    /// Listens to connections from somewhere else.
    pub(crate) fn listen_to(&mut self, backlog: Box<dyn Backlog>) -> io::Result<Address> {
        self.add_listener(ListenSocket::StandIn(backlog), Manner::default())
    }

    /// Lets all connections that a handler begins be begun by somebody else.
    pub(crate) fn dial_by(&mut self, dialler: Box<dyn Dialler>) {
        self.state.dialler = Some(dialler);
    }

    pub(crate) fn standing(&self, token: Token) -> Option<Standing> {
        let connection = self.state.find(token)?;
        Some(Standing {
            is_served: connection.is_served(),
            is_held: connection.is_waiting(),
            owes_output: connection.owes_anything(),
            input_len: connection.input.len(),
        })
    }

    /// Offers a connection's handler once more what it has left in its input.
    pub(crate) fn offer_again(&mut self, token: Token) {
        self.state.change(token, |connection| connection.input_left = !connection.input.is_empty());
    }

    /// Bytes of storage that buffers hold.
    pub(crate) fn leased(&self) -> usize {
        self.state.leased()
    }

    /// What debug builds check after each turn, for all connections, in every build.
    pub(crate) fn check(&self) {
        self.state.check_all();
    }
}
