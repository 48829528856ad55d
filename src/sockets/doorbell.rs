//! Ends the wait of the poll, from any thread: once for any number of rings.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Waker};

use crate::structures::token::Token;

/// Rung by other threads, and cleared by the loop before it looks at what they have left.
pub(crate) struct Doorbell {
    waker: Waker,
    /// The waker was rung, and the loop has not answered yet.
    rung: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        let waker = Waker::new(registry, Token::WAKER.into())?;
        Ok(Doorbell { waker, rung: AtomicBool::new(false) })
    }

    /// Wakes the loop, unless another thread has done so since the loop cleared the bell.
    pub(crate) fn ring(&self) {
        if self.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        // Again while signals interrupt the call: no other thread rings, because the bell counts as rung.
        // Any other error means that the eventfd is gone, and the loop with it.
        while self.waker.wake().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    }

    /// Before the loop looks at what was left for it: what is left from now on rings again.
    // ET: the eventfd is never read; each new write to it is a new edge.
    pub(crate) fn clear(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }
}
