//! An epoll set with the semantics of `fs/eventpoll.c`.
//!
//! ```text
//!   something happens on a file --wake--> its item joins the ready list, unless it is there already
//!   epoll_wait takes items off the front, asks each file for its full state, and reports it
//! ```
//!
//! What follows from that, and is easily got wrong in a fake: an edge is only the reason to look;
//! what is reported is everything that is true at that moment, bits of earlier edges included. Any
//! number of edges before a wait are one event. An item whose file has nothing to say any more is
//! dropped without an event. An item that did not fit stays in front of those that come later. A
//! level-triggered item goes to the back of the list again.

use std::collections::VecDeque;

use crate::NONE;

/// The registration of one file, kept beside it: a file here is in one set at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Index of the set, or `NONE`.
    pub(crate) epoll: u32,
    pub(crate) events: u32,
    pub(crate) data: u64,
    pub(crate) is_listed: bool,
}

impl Watch {
    pub(crate) const NOWHERE: Watch = Watch { epoll: NONE, events: 0, data: 0, is_listed: false };

    /// Whether something that happened may put the item on the ready list. A wake without key
    /// concerns everybody; error and hang-up cannot be asked not to be told.
    pub(crate) fn concerns(&self, key: u32) -> bool {
        self.epoll != NONE && !self.is_listed && (key == 0 || key & self.interest() != 0)
    }

    /// What may be reported.
    pub(crate) fn interest(&self) -> u32 {
        self.events | ERR | HUP
    }

    pub(crate) fn is_level_triggered(&self) -> bool {
        self.events & libc::EPOLLET as u32 == 0
    }
}

/// An entry of the ready list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) file: u32,
    /// Tells the file from those that had its number before: their entries mean nothing.
    pub(crate) serial: u32,
    /// Bits that are reported although they are not true: any event may be spurious.
    pub(crate) spurious: u32,
}

/// An event of a descriptor that was closed here while a duplicate of it lives on elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ghost {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Epoll {
    pub(crate) ready: VecDeque<Item>,
    pub(crate) ghosts: Vec<Ghost>,
}

pub(crate) const IN: u32 = libc::EPOLLIN as u32;
pub(crate) const PRI: u32 = libc::EPOLLPRI as u32;
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
pub(crate) const ERR: u32 = libc::EPOLLERR as u32;
pub(crate) const HUP: u32 = libc::EPOLLHUP as u32;
pub(crate) const RDHUP: u32 = libc::EPOLLRDHUP as u32;
