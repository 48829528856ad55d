//! What must hold of work: a phase of a turn begins nothing more once its budget is used up, a visit
//! ends when its connection has had its slice, and nobody waits for longer than others may take.
//!
//! Only what handlers have told is counted here. The reactor counts its own work besides, so it may
//! stop earlier and never later.

use edgeloop::Token;

/// What is done, in the order of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Timer,
    Open,
    Read,
    Close,
}

/// More than the reactor counts for one.
const PANIC: u64 = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) budget: u64,
    pub(crate) slice: u64,
    pub(crate) visit_budget: u64,
    /// Of this turn, by piece: how many there were, and the work of them.
    begun: [u64; 4],
    worked: [u64; 4],
    /// The connection that was visited last, and its work in this turn.
    visited: Option<(Piece, Token)>,
    visit: u64,
    /// The largest amount told at once, that of a panic included.
    largest: u64,
}

impl Ledger {
    pub(crate) fn new(budget: usize, slice: usize, visit_budget: usize) -> Self {
        let (budget, slice) = (budget as u64, slice as u64);
        Ledger { budget, slice, visit_budget: visit_budget as u64, ..Ledger::default() }
    }

    pub(crate) fn turn_begins(&mut self) {
        (self.begun, self.worked, self.visited) = ([0; 4], [0; 4], None);
    }

    /// A callback begins. Each kind of piece is begun once in a turn, whatever was done before.
    pub(crate) fn begins(&mut self, piece: Piece, token: Token) -> Option<String> {
        // The end is told in the visit that brought the last bytes.
        if piece == Piece::Read && self.visited == Some((piece, token)) {
            return None;
        }
        (self.visited, self.visit) = (Some((piece, token)), 0);
        let worked = self.phase(piece);
        let is_over = self.begun[piece as usize] > 0 && worked >= self.budget;
        self.begun[piece as usize] += 1;
        let budget = self.budget;
        is_over.then(|| format!("{piece:?} of {token} after {worked} units of work of {budget}"))
    }

    /// So much work is told; says whether the connection has had its slice.
    pub(crate) fn charged(&mut self, piece: Piece, units: u64) -> bool {
        self.worked[piece as usize] += units;
        self.visit += units;
        self.largest = self.largest.max(units);
        self.visit >= self.slice
    }

    /// A panic is told and printed, which counts as work of the reactor's own.
    pub(crate) fn panicked(&mut self) {
        self.largest = self.largest.max(PANIC);
    }

    /// So many turns may pass until a connection is visited that stands on a list of `listed`.
    pub(crate) fn turns_max(&self, listed: usize) -> u64 {
        // A visit reads, hands over and writes, each up to its limit and a little more.
        let visit_max = 20_000 + 2 * self.slice + self.largest;
        let visits = (self.budget / visit_max).clamp(1, self.visit_budget.max(1));
        (listed as u64).div_ceil(visits) + 2
    }

    /// So many timers may be dealt with in a turn, at least.
    pub(crate) fn timers_least(&self) -> u64 {
        // Each may make the connection write, or its handler work.
        let timer_max = 20_000 + self.slice + self.largest;
        (self.budget / timer_max).clamp(1, self.visit_budget)
    }

    /// The work of a piece's phase so far.
    fn phase(&self, piece: Piece) -> u64 {
        match piece {
            Piece::Timer | Piece::Open => self.worked[0] + self.worked[1],
            Piece::Read | Piece::Close => self.worked[piece as usize],
        }
    }
}
