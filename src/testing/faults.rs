//! What goes wrong, and how often.

/// How often the kernel in memory does what a real one does now and then, in times out of a thousand.
///
/// Faults are true: whatever is held back is announced later, as a kernel would. So a reactor, and a
/// handler, that loses something has no excuse. The choices come from the seed, and the same seed
/// makes the same ones.
///
/// With 1000 a fault comes as often as it can. A connection's calls are never interrupted twice in a row,
/// and its bytes, or its room, are held back for one turn and then given: every run comes to an end.
///
/// ```
/// use edgeloop::testing::Faults;
///
/// // What happens to every healthy connection, but for interrupted calls.
/// let faults = Faults { interrupted: 0, ..Faults::gentle(7) };
/// assert_eq!((faults.seed, faults.reset), (7, 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Where all choices come from.
    pub seed: u64,
    /// A read returns fewer bytes than there are.
    pub short_read: u16,
    /// A write takes fewer bytes than there is room for.
    pub short_write: u16,
    /// A read or a write says `WouldBlock`: the bytes, or the room, come a turn later.
    pub would_block: u16,
    /// A call says `Interrupted` and has done nothing.
    pub interrupted: u16,
    /// An event is told some turns after what it tells of.
    pub late: u16,
    /// Several pieces arrive together, and the end with the last bytes.
    pub merged: u16,
    /// An event is told although nothing has happened.
    pub spurious: u16,
    /// An event says only one of the things that are true; another event says the rest.
    pub partial: u16,
    /// A connection with bytes or an event under way is reset before the turn. What its peer had sent is
    /// lost, as far as it had not arrived.
    pub reset: u16,
    /// `accept` fails: that one connection is lost, or descriptors have run out for a while.
    pub accept_error: u16,
}

impl Faults {
    /// None at all: pieces arrive one a turn, and every event is told in the turn of its cause.
    pub const fn none() -> Self {
        Faults {
            seed: 0,
            short_read: 0,
            short_write: 0,
            would_block: 0,
            interrupted: 0,
            late: 0,
            merged: 0,
            spurious: 0,
            partial: 0,
            reset: 0,
            accept_error: 0,
        }
    }

    /// What may happen to a connection that is healthy. No byte is lost, so no answer may change.
    pub const fn gentle(seed: u64) -> Self {
        Faults {
            seed,
            short_read: 200,
            short_write: 200,
            would_block: 100,
            interrupted: 50,
            late: 200,
            merged: 300,
            spurious: 50,
            partial: 200,
            ..Faults::none()
        }
    }

    /// As [`gentle`](Self::gentle), and connections are lost. Nothing that has ended may be forgotten,
    /// and nobody else may suffer.
    pub const fn harsh(seed: u64) -> Self {
        Faults { reset: 10, accept_error: 50, ..Faults::gentle(seed) }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Faults::none()
    }
}
