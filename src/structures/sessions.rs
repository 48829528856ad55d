//! What a handler keeps for each connection, by the connection's place in the table.

use std::fmt;

use super::spare::Spare;
use super::token::Token;

/// The sessions of all open connections, for a task of another thread; see
/// [`HandlerRemote`](crate::HandlerRemote).
pub struct Sessions<S> {
    /// Indexed like the table of connections.
    list: Vec<Option<S>>,
}

impl<S> Sessions<S> {
    pub(crate) fn new() -> Self {
        Sessions { list: Vec::new() }
    }

    /// The session in the place of a connection that is there.
    pub(crate) fn of(&mut self, token: Token) -> Option<&mut S> {
        self.list.get_mut(token.key())?.as_mut()
    }

    pub(crate) fn put(&mut self, token: Token, session: Option<S>) {
        if token.key() >= self.list.len() {
            self.list.resize_with(token.key() + 1, || None);
        }
        self.list[token.key()] = session;
    }

    pub(crate) fn take(&mut self, token: Token) -> Option<S> {
        self.list.get_mut(token.key())?.take()
    }

    pub(crate) fn give_back(&mut self) {
        while let Some(None) = self.list.last() {
            self.list.pop();
        }
        self.list.give_back();
    }
}

impl<S> fmt::Debug for Sessions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({} places)", self.list.len())
    }
}
