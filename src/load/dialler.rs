//! Making connections: a bounded number at a time, from several addresses in turns, and how long
//! each took.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;

use hdrhistogram::Histogram;

use super::tally::histogram;
use super::{Fault, Plan};
use crate::{Address, Context, Token};

/// Connects that wait, that are under way, and that are done.
pub(super) struct Dialler {
    target: Address,
    sources: Vec<IpAddr>,
    /// Connects under way, first exchange included, beyond which the others wait.
    limit: usize,
    queue: VecDeque<usize>,
    attempts: HashMap<Token, Attempt>,
    /// Connected, and the first answer is awaited.
    proving: usize,
    pub(super) counts: ConnectCounts,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    client: usize,
    began: u64,
}

/// What became of the connects of one thread.
#[derive(Clone, Debug)]
pub(super) struct ConnectCounts {
    pub(super) attempted: u64,
    pub(super) established: u64,
    /// Took more than [`SLOW_NS`].
    pub(super) slow: u64,
    pub(super) took: Box<Histogram<u64>>,
}

impl ConnectCounts {
    pub(super) fn new() -> io::Result<Self> {
        Ok(ConnectCounts { attempted: 0, established: 0, slow: 0, took: histogram()? })
    }

    /// Adds what another thread has counted.
    pub(super) fn merge(&mut self, other: &ConnectCounts) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.slow += other.slow;
        // The same bounds, so it fits.
        let _ = self.took.add(&*other.took);
    }
}

impl Dialler {
    pub(super) fn new(plan: &Plan) -> io::Result<Self> {
        Ok(Dialler {
            target: plan.target.clone(),
            sources: plan.effective_sources(),
            limit: plan.connects_in_flight,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            proving: 0,
            counts: ConnectCounts::new()?,
        })
    }

    /// Lets so many connects be under way.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn enqueue(&mut self, client: usize) {
        self.queue.push_back(client);
    }

    /// Nobody is to be connected any more.
    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// Whether nothing is under way and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way() == 0
    }

    /// The next client to connect, if one more may be under way.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.under_way() < self.limit { self.queue.pop_front() } else { None }
    }

    /// Begins to connect a client.
    pub(super) fn dial(
        &mut self,
        cx: &mut Context<'_>,
        client: usize,
        now: u64,
    ) -> Result<(), Fault> {
        self.counts.attempted += 1;
        let dialled = match self.sources.get(client % self.sources.len().max(1)) {
            Some(source) => cx.connect_from(*source, &self.target),
            None => cx.connect(&self.target),
        };
        let token = dialled.map_err(|error| Fault::of_connect(&error))?;
        self.attempts.insert(token, Attempt { client, began: now });
        Ok(())
    }

    /// A connect succeeded: whose, and when it began. The first answer is awaited now.
    pub(super) fn opened(&mut self, token: Token, now: u64) -> Option<(usize, u64)> {
        let Attempt { client, began } = self.attempts.remove(&token)?;
        let took = now.saturating_sub(began);
        self.counts.established += 1;
        self.counts.slow += u64::from(took > SLOW_NS);
        self.counts.took.saturating_record(took);
        self.proving += 1;
        Some((client, began))
    }

    /// A connect failed: whose it was.
    pub(super) fn failed(&mut self, token: Token) -> Option<usize> {
        self.attempts.remove(&token).map(|attempt| attempt.client)
    }

    /// The first answer is there, or never will be.
    pub(super) fn settled(&mut self) {
        self.proving = self.proving.saturating_sub(1);
    }

    fn under_way(&self) -> usize {
        self.attempts.len() + self.proving
    }
}

/// A connect that takes longer has lost its first packet, which is sent again after a second.
const SLOW_NS: u64 = 900_000_000;
