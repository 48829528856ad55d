//! How much work a phase and a visit may do. Work is a number that only grows, in units of about a
//! nanosecond; whoever counts it says how much has been done.

/// Where the phase and the visit that run now end.
#[derive(Debug)]
pub(crate) struct Budget {
    phase: u64,
    slice: u64,
    phase_end: u64,
    visit_end: u64,
}

/// The most that is charged at once, and the largest budget: more than any work takes, and too little to
/// make the counter overflow.
pub(crate) const CHARGE_MAX: u64 = 1 << 40;

/// The most that one piece of work which is done later takes of a slice: one part of so many.
const CAUSED_PARTS: u64 = 16;

impl Budget {
    pub(crate) fn new(phase: usize, slice: usize) -> Self {
        let bounded = |units: usize| (units as u64).min(CHARGE_MAX);
        Budget { phase: bounded(phase), slice: bounded(slice), phase_end: 0, visit_end: 0 }
    }

    /// What a phase may do.
    pub(crate) fn phase(&self) -> u64 {
        self.phase
    }

    /// A phase begins, with its whole budget.
    pub(crate) fn begin_phase(&mut self, work: u64) {
        self.phase_end = work + self.phase;
    }

    /// The last part of a phase begins, for which half a budget is set aside.
    pub(crate) fn begin_last_part(&mut self, work: u64) {
        self.phase_end = work + self.phase / 2;
    }

    pub(crate) fn is_phase_over(&self, work: u64) -> bool {
        work >= self.phase_end
    }

    /// Gives the phase room beside its budget.
    pub(crate) fn extend_phase(&mut self, units: u64) {
        self.phase_end += units;
    }

    /// A visit begins, with a whole slice.
    pub(crate) fn begin_slice(&mut self, work: u64) {
        self.visit_end = self.slice_end(work);
    }

    /// Where a slice ends that begins now.
    pub(crate) fn slice_end(&self, work: u64) -> u64 {
        work + self.slice
    }

    /// Takes of the slice for work that is done later, but only a part of the slice at once.
    pub(crate) fn shorten_slice(&mut self, units: u64) {
        let paid = units.min(self.slice / CAUSED_PARTS);
        self.visit_end = self.visit_end.saturating_sub(paid);
    }

    pub(crate) fn is_slice_over(&self, work: u64) -> bool {
        work >= self.visit_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_and_visit_end_with_the_piece_of_work_that_uses_them_up() {
        let mut budget = Budget::new(1_000, 160);
        budget.begin_phase(5);
        assert!(!budget.is_phase_over(1_004) && budget.is_phase_over(1_005));
        budget.extend_phase(10);
        assert!(!budget.is_phase_over(1_014) && budget.is_phase_over(1_015));
        budget.begin_last_part(5);
        assert!(!budget.is_phase_over(504) && budget.is_phase_over(505));
        budget.begin_slice(5);
        assert!(!budget.is_slice_over(164) && budget.is_slice_over(165));
        budget.shorten_slice(1_000);
        assert!(!budget.is_slice_over(154) && budget.is_slice_over(155), "a sixteenth at once");
    }

    #[test]
    fn budget_that_has_no_end_does_not_overflow() {
        let mut budget = Budget::new(usize::MAX, usize::MAX);
        budget.begin_phase(CHARGE_MAX);
        assert!(!budget.is_phase_over(CHARGE_MAX));
    }
}
