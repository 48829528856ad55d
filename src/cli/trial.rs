//! A start that is only tried: everything is checked as for a start, and nothing is listened on.

use std::cell::RefCell;
use std::rc::Rc;

/// Stands in for the start of a server, and keeps what the start would have remarked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial(Rc<RefCell<Vec<String>>>);

impl Trial {
    /// The server would listen now, after these remarks.
    pub(crate) fn passed(&self, remarks: impl IntoIterator<Item = String>) {
        self.0.borrow_mut().extend(remarks);
    }

    /// What was remarked.
    pub(crate) fn take_remarks(&self) -> Vec<String> {
        self.0.take()
    }
}
