//! Which of its addresses a server is measured at: the first at which a connect succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::plan::Plan;
use crate::reactor::Address;

/// The addresses of a server in the order in which they are tried. All threads share one; only the
/// first thread dials until the address is found.
#[derive(Clone, Debug)]
pub(super) struct Route {
    addresses: Arc<[Address]>,
    /// Twice the place of the address that is tried, and one more once it is found.
    state: Arc<AtomicUsize>,
}

impl Route {
    pub(super) fn new(plan: &Plan) -> Route {
        let addresses: Arc<[Address]> = plan.addresses().cloned().collect();
        let is_only = usize::from(addresses.len() == 1);
        Route { addresses, state: Arc::new(AtomicUsize::new(is_only)) }
    }

    /// The place among the addresses of the one to dial.
    pub(super) fn place(&self) -> usize {
        self.state.load(Ordering::Relaxed) / 2
    }

    pub(super) fn address(&self) -> &Address {
        &self.addresses[self.place()]
    }

    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Whether nobody has connected yet, and there is more than one address.
    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// A connect succeeded, or there is nothing else to try.
    pub(super) fn found(&self) {
        self.state.fetch_or(1, Ordering::Relaxed);
    }

    /// A connect failed; whether another address is to be tried. With the last one the search is over.
    pub(super) fn go_on(&self) -> bool {
        let has_next = self.is_open() && self.place() + 1 < self.addresses.len();
        match has_next {
            true => drop(self.state.fetch_add(2, Ordering::Relaxed)),
            false => self.found(),
        }
        has_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Mode;

    #[test]
    fn addresses_are_tried_in_turn_until_one_is_found() {
        let address = |port: u16| Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let mut plan = Plan::new(address(1), Mode::Echo);
        let only = Route::new(&plan);
        assert!(!only.is_open() && !only.go_on() && *only.address() == address(1));
        plan.alternatives = vec![address(2), address(3)];
        let route = Route::new(&plan);
        assert!(route.is_open() && *route.address() == address(1));
        assert!(route.go_on() && route.is_open() && *route.address() == address(2));
        route.found();
        assert!(!route.is_open() && !route.go_on() && *route.address() == address(2));
        let dead = Route::new(&plan);
        assert!(dead.go_on() && dead.go_on() && !dead.go_on());
        assert_eq!(*dead.address(), address(3));
    }
}
