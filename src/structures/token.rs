//! The name of one connection.
//!
//! A slab hands out its keys again, the last one freed first, and the kernel does the same with
//! descriptors. Neither names a connection, so a token carries a generation beside the slot:
//! events, timers, sends and tasks that outlived their connection are recognised and ignored, and
//! never reach the next connection in the same slot.

use std::fmt;

/// Names one connection of one reactor, from `on_open` to `on_close`; afterwards it names nothing.
///
/// ```
/// use edgeloop::Token;
/// # fn show(token: Token) -> String { token.to_string() }
/// // Tokens are plain values: copy them, keep them in a map, hand them to another thread.
/// fn assert_plain<T: Copy + Eq + std::hash::Hash + Send>() {}
/// assert_plain::<Token>();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    pub(crate) slot: u32,
    /// Never 0 for a connection: 0 marks the sources that belong to the reactor itself.
    pub(crate) generation: u32,
}

/// The token packed into the 64 bits that epoll carries for us.
const _: () = assert!(usize::BITS == 64, "tokens need a 64-bit platform");

impl Token {
    /// The waker of [`Remote`](crate::Remote).
    pub(crate) const WAKER: Token = Token { slot: u32::MAX, generation: 0 };

    pub(crate) fn listener(index: usize) -> Token {
        Token { slot: index as u32, generation: 0 }
    }

    pub(crate) fn is_connection(self) -> bool {
        self.generation != 0
    }

    pub(crate) fn key(self) -> usize {
        self.slot as usize
    }
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        mio::Token((token.generation as usize) << 32 | token.slot as usize)
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        Token { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

impl fmt::Display for Token {
    /// `slot.generation`, as log lines name a connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_through_the_kernel() {
        for token in [Token { slot: 0, generation: 1 }, Token { slot: 7, generation: u32::MAX }] {
            assert_eq!(Token::from(mio::Token::from(token)), token);
            assert!(token.is_connection());
        }
        assert!(!Token::WAKER.is_connection());
        assert!(!Token::listener(3).is_connection());
    }
}
