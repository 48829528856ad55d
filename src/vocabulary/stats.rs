//! Counters, and the books that must balance.

use std::fmt;

use super::close_reason::CloseReason;

/// What a reactor has done since it was built. Plain numbers: one thread writes them, and a copy is
/// a snapshot.
///
/// The books balance at the end of every turn; debug builds check it:
///
/// - `accepted + dialled = open + Σ closed`
/// - `bytes_received = bytes_consumed + bytes_discarded + ` what input rings hold
/// - `bytes_queued = bytes_sent + bytes_dropped + ` what output rings hold
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that `accept` returned.
    pub accepted: u64,
    /// Outgoing connections begun.
    pub dialled: u64,
    /// Connections that began with a greeting: with what a balancer says of its client, or with the
    /// handshake of a layer.
    pub greetings: u64,
    /// Greetings of connections that ended before they were open.
    pub greetings_failed: u64,
    /// Connections closed, by `CloseReason as usize`; see [`closed`](Self::closed).
    pub closed_by_reason: [u64; CloseReason::ALL.len()],

    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Bytes that handlers took out of their input.
    pub bytes_consumed: u64,
    /// Bytes read and dropped: left over at a close, or arriving after it.
    pub bytes_discarded: u64,
    /// Bytes queued for sockets: sent, forwarded, or delivered from a topic.
    pub bytes_queued: u64,
    /// Bytes that sockets took.
    pub bytes_sent: u64,
    /// Bytes queued and dropped because their connection ended.
    pub bytes_dropped: u64,

    /// Turns of the loop, each with one poll.
    pub turns: u64,
    /// Work done, in units of [`Config::work_budget`](crate::Config::work_budget).
    pub work: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Polls that filled the list of events.
    pub event_list_full: u64,
    /// Calls that read from a socket.
    pub reads: u64,
    /// Calls that wrote to a socket.
    pub writes: u64,
    /// Timers of connections that fired.
    pub timers: u64,
    /// Tasks run for other threads.
    pub tasks: u64,
    /// Callbacks, tasks and gates that [panicked](crate::Config::on_panic), whether or not that ended a
    /// connection.
    pub panics: u64,
    /// Events and sends for a connection that no longer exists.
    pub stale: u64,
    /// Connections lost while they were accepted.
    pub accept_errors: u64,
    /// Times a listener rested for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Times the reactor was [overloaded](crate::Overload), the present one included.
    pub overloads: u64,
    /// Times a listener rested in an overload, with as many newcomers as it then lets in at once.
    pub overload_rests: u64,
    /// What handlers [refused](crate::Context::shed) because of an overload.
    pub shed: u64,

    /// Messages appended to topics.
    pub messages_published: u64,
    /// Messages handed to subscribers' sockets, or to their output when cut.
    pub messages_delivered: u64,
    /// Messages that subscribers missed because their topic's ring overtook them.
    pub messages_skipped: u64,
}

impl Stats {
    /// Connections that exist now, outgoing ones not yet established included.
    pub fn open(&self) -> u64 {
        self.accepted + self.dialled - self.closed_by_reason.iter().sum::<u64>()
    }

    /// Connections that ended for `reason`.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed_by_reason[reason as usize]
    }

    /// Bytes that input rings hold now.
    pub fn bytes_unconsumed(&self) -> u64 {
        self.bytes_received - self.bytes_consumed - self.bytes_discarded
    }

    /// Bytes that output rings hold now.
    pub fn bytes_waiting(&self) -> u64 {
        self.bytes_queued - self.bytes_sent - self.bytes_dropped
    }

    /// The books by name, in the order in which they are shown: connections by close reason, then
    /// bytes and messages. What did not happen and seldom does is left out.
    pub fn entries(&self) -> Vec<(&'static str, u64)> {
        let mut entries = vec![("accepted", self.accepted)];
        let happened = |(_, count): &(&'static str, u64)| *count > 0;
        entries.extend([("dialled", self.dialled)].into_iter().filter(happened));
        entries.push(("open", self.open()));
        let greetings =
            [("greetings", self.greetings), ("greetings_failed", self.greetings_failed)];
        entries.extend(greetings.into_iter().filter(happened));
        let reasons = CloseReason::ALL.map(|reason| (reason.name(), self.closed(reason)));
        entries.extend(reasons.into_iter().filter(happened));
        entries.extend([("bytes_in", self.bytes_received), ("bytes_out", self.bytes_sent)]);
        entries.extend([("discarded", self.bytes_discarded), ("dropped", self.bytes_dropped)]);
        let seldom = [("panics", self.panics), ("overloads", self.overloads), ("shed", self.shed)];
        entries.extend(seldom.into_iter().filter(happened));
        if self.messages_published > 0 {
            entries.push(("published", self.messages_published));
            entries.push(("delivered", self.messages_delivered));
            entries.push(("skipped", self.messages_skipped));
        }
        entries
    }
}

impl fmt::Display for Stats {
    /// The books in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, count)) in self.entries().into_iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{name}={count}")?;
        }
        Ok(())
    }
}
