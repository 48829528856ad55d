//! A gate that lets everybody in and counts: whoever came in by a listener, and no other, is inside
//! until its connection is freed.

use std::cell::Cell;
use std::time::Instant;

use edgeloop::{Address, CloseReason, Gate, Stats};

use crate::world::with;

thread_local! {
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

pub(crate) struct Doorkeeper;

impl Doorkeeper {
    pub(crate) fn new() -> Self {
        INSIDE.set(0);
        Doorkeeper
    }
}

impl Gate for Doorkeeper {
    fn admit(&mut self, _: &Address, _: Instant) -> Result<(), CloseReason> {
        INSIDE.set(INSIDE.get() + 1);
        Ok(())
    }

    fn release(&mut self, _: &Address, _: Instant) {
        match INSIDE.get().checked_sub(1) {
            Some(inside) => INSIDE.set(inside),
            None => drop(with(|world| {
                world.oracles.violate("the gate was told twice of an end".to_owned());
            })),
        }
    }
}

/// After a turn: those inside are the open connections, but for those that the server dialled.
pub(crate) fn check(stats: &Stats) {
    let (inside, open) = (INSIDE.get(), stats.open());
    let is_right = if stats.dialled == 0 { inside == open } else { inside <= open };
    let is_empty = open > 0 || inside == 0;
    if !is_right || !is_empty {
        with(|world| {
            world.oracles.violate(format!("{inside} are inside for the gate, {open} are open"));
        });
    }
}
