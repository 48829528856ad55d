//! Signals: the first SIGTERM or SIGINT drains, the second ends the process at once, SIGUSR1 logs
//! the counters.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::{Handler, Reactor};
use log::info;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator;
use signal_hook::low_level::{pipe, signal_name};

use super::log::log_books;

/// What signals have asked of a server. Their handlers leave a note and wake the loop, which looks
/// here between its turns.
///
/// No thread waits for them. In a process with one thread the kernel need not count who uses a
/// descriptor, at each call: that is 3 % of an echo.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The number of a signal that asks for the end; 0 for none.
    end: Arc<AtomicUsize>,
    counters: Arc<AtomicBool>,
    /// Has a byte for each signal.
    doorbell: mio::net::UnixStream,
}

impl Signals {
    /// From now on these signals no longer have their default effect.
    pub(crate) fn catch<H: Handler>(reactor: &mut Reactor<H>) -> io::Result<Signals> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut doorbell = mio::net::UnixStream::from_std(ours);
        reactor.wake_on(&mut doorbell)?;
        let (end, counters) = (Arc::default(), Arc::default());
        let is_ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // From here on it leaves its note, which is found without a bell before the first turn.
            flag::register_usize(signal, Arc::clone(&end), signal.unsigned_abs() as usize)?;
            // What is registered first runs first. The second signal ends the process in its
            // handler, and with it a loop that is stuck.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_ending))?;
            flag::register(signal, Arc::clone(&is_ending))?;
            pipe::register(signal, theirs.try_clone()?)?;
        }
        flag::register(SIGUSR1, Arc::clone(&counters))?;
        pipe::register(SIGUSR1, theirs)?;
        Ok(Signals { end, counters, doorbell })
    }

    /// Does what was asked since the last time.
    pub(crate) fn obey<H: Handler>(&mut self, reactor: &mut Reactor<H>) {
        let (end, counters) = (&self.end, &self.counters);
        if end.load(Ordering::Relaxed) == 0 && !counters.load(Ordering::Relaxed) {
            return;
        }
        // Before the notes are taken: who leaves one from now on rings again.
        self.clear_doorbell();
        if self.counters.swap(false, Ordering::Relaxed) {
            log_books("counters", reactor.stats());
        }
        let end = self.end.swap(0, Ordering::Relaxed);
        if end != 0 {
            let name = i32::try_from(end).ok().and_then(signal_name).unwrap_or("signal");
            let event = "draining";
            info!(event, signal = name; "{name}: finishing what is in flight; another one ends at once");
            reactor.with_context(|_, cx| cx.drain());
        }
    }

    /// ET: it would ring again even if it were never read, until it is full.
    fn clear_doorbell(&mut self) {
        let mut bytes = [0; 64];
        loop {
            match self.doorbell.read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Empty, since its other end is never closed.
                _ => return,
            }
        }
    }
}

/// The first SIGTERM or SIGINT does what is asked, the second ends the process at once.
pub(crate) fn on_first(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = iterator::Signals::new([SIGTERM, SIGINT])?;
    let run = move || {
        let mut received = signals.forever();
        if received.next().is_some() {
            act();
        }
        let first = Instant::now();
        for signal in received {
            // A shell or a wrapper may pass on what the terminal has sent to the group already.
            if first.elapsed() > SAME_SIGNAL {
                process::exit(128 + signal);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(run)?;
    Ok(())
}

/// Nobody presses a key twice within it.
const SAME_SIGNAL: Duration = Duration::from_millis(50);
