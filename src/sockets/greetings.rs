//! What is awaited of connections that are not open yet. Where most of them have nothing to await, that is
//! no memory of theirs.

use super::manner::Manner;
use crate::structures::rate_limit::RateLimit;
use crate::structures::token::Token;

/// The greetings that are under way.
#[derive(Default)]
pub(crate) struct Greetings {
    pub(crate) count: usize,
    /// By listener. They stay when a shutdown has closed the listeners.
    pub(crate) manners: Vec<Manner>,
    /// By slot, what is awaited of connections that have more to come than their own layer.
    expected: Vec<Option<Box<Expected>>>,
    pub(crate) warning: RateLimit,
}

/// What is awaited of one connection.
pub(crate) struct Expected {
    pub(crate) manner: Whose,
    /// The client is known, and so many bytes of the preface are still in the socket.
    pub(crate) rest: Option<usize>,
}

/// Where it is said what is awaited.
pub(crate) enum Whose {
    Listener(usize),
    /// Of a connection that was begun here.
    Own(Manner),
}

impl Greetings {
    /// Whether a listener may have connections that are not open at once.
    pub(crate) fn may_come_from(&self, listener: usize) -> bool {
        self.manners.get(listener).is_some_and(Manner::greets)
    }

    /// An outgoing connection gets this layer when it is established.
    pub(crate) fn expect_layer(&mut self, token: Token, manner: Manner) {
        self.await_of(token, Box::new(Expected { manner: Whose::Own(manner), rest: Some(0) }));
    }

    pub(crate) fn await_of(&mut self, token: Token, expected: Box<Expected>) {
        let places = self.expected.len().max(token.key() + 1);
        self.expected.resize_with(places, || None);
        if let Some(place) = self.expected.get_mut(token.key()) {
            *place = Some(expected);
        }
    }

    /// Whether more is awaited than the greeting of a layer.
    pub(crate) fn awaits(&self, token: Token) -> bool {
        self.expected.get(token.key()).is_some_and(Option::is_some)
    }

    /// Nothing is awaited any more, unless that is given back.
    pub(crate) fn take(&mut self, token: Token) -> Option<Box<Expected>> {
        self.expected.get_mut(token.key())?.take()
    }
}

impl Expected {
    /// The preface that this listener expects.
    pub(crate) fn preface(listener: usize) -> Box<Self> {
        Box::new(Expected { manner: Whose::Listener(listener), rest: None })
    }
}

impl Whose {
    pub(crate) fn among<'a>(&'a mut self, manners: &'a mut [Manner]) -> Option<&'a mut Manner> {
        match self {
            Whose::Listener(index) => manners.get_mut(*index),
            Whose::Own(manner) => Some(manner),
        }
    }
}
