//! The list of events that one call takes from the kernel.

use std::io;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll};

use crate::structures::token::Token;

/// What one event says about one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has ended its stream, or there is no stream any more.
    pub(crate) read_closed: bool,
    /// The connection is gone for writing too.
    pub(crate) write_closed: bool,
    pub(crate) error: bool,
    /// An urgent byte has come.
    pub(crate) urgent: bool,
}

impl From<&Event> for Edge {
    fn from(event: &Event) -> Self {
        Edge {
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
            write_closed: event.is_write_closed(),
            error: event.is_error(),
            urgent: event.is_priority(),
        }
    }
}

/// Grows while it is too short: the kernel hands out in turn what did not fit, but a list that is
/// always full makes that order coarse.
pub(crate) struct EventList {
    events: Events,
    /// Calls that filled the list, one after the other, since it grew.
    full_calls: u32,
    /// Events taken since the list was full, while it goes on being full.
    taken_while_full: usize,
}

impl EventList {
    pub(crate) fn new(capacity: usize) -> Self {
        let events = Events::with_capacity(capacity);
        EventList { events, full_calls: 0, taken_while_full: 0 }
    }

    /// Waits for events, and takes as many as there is room for.
    pub(crate) fn poll(&mut self, poll: &mut Poll, timeout: Option<Duration>) -> io::Result<()> {
        poll.poll(&mut self.events, timeout)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, Edge)> {
        self.events.iter().map(|event| (event.token().into(), event.into()))
    }

    pub(crate) fn capacity(&self) -> usize {
        self.events.capacity()
    }

    /// Says whether the events, which were so many, have filled the list; grows it, up to `most`, when
    /// two calls in a row did.
    pub(crate) fn note_len(&mut self, len: usize, most: usize) -> bool {
        let capacity = self.events.capacity();
        if len < capacity {
            (self.full_calls, self.taken_while_full) = (0, 0);
            return false;
        }
        self.taken_while_full += len;
        self.full_calls += 1;
        if self.full_calls == 2 && capacity < most {
            self.full_calls = 0;
            self.events = Events::with_capacity((2 * capacity).min(most));
        }
        true
    }

    /// Whether the kernel may still hold an event of one of so many sources that we have not seen.
    // epoll rotates its queue: once as many events were taken as there are sources, every event that
    // was pending has been seen.
    pub(crate) fn may_lack_an_event(&self, sources: usize) -> bool {
        (1..=sources).contains(&self.taken_while_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_that_two_calls_in_a_row_fill_doubles_up_to_its_limit() {
        let mut list = EventList::new(4);
        assert!(!list.note_len(3, 10));
        assert!(list.note_len(4, 10) && !list.note_len(0, 10) && list.note_len(4, 10));
        assert_eq!(list.events.capacity(), 4, "the two were not in a row");
        assert!(list.note_len(4, 10));
        assert_eq!(list.events.capacity(), 8);
        assert!(list.note_len(8, 10) && list.note_len(8, 10));
        assert_eq!(list.events.capacity(), 10);
    }

    #[test]
    fn no_event_is_missing_once_as_many_were_seen_as_there_are_sources() {
        let mut list = EventList::new(4);
        assert!(!list.may_lack_an_event(6), "nothing was full");
        list.note_len(4, 4);
        assert!(list.may_lack_an_event(6));
        list.note_len(4, 4);
        assert!(!list.may_lack_an_event(6), "eight of six were seen");
        list.note_len(1, 4);
        assert!(!list.may_lack_an_event(6), "everything fitted");
    }
}
