//! Signals: the first SIGTERM or SIGINT drains, the second ends the process at once, SIGUSR1 logs
//! the counters.
//!
//! A thread waits for them, not the loop: a loop that is stuck could not be ended otherwise.

use std::io;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::{Context, Remote, RemoteError, Task};
use log::{info, warn};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use super::log::{FLUSH_AT_ONCE, Log};

/// Starts to watch; from now on these signals no longer have their default effect.
pub(crate) fn watch(remote: Remote, log: Log) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    let run = move || {
        let mut ending = false;
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => ask(&remote, |cx| info!("counters {}", cx.stats())),
                _ if ending => exit_at_once(signal, &log),
                _ => {
                    ending = true;
                    let name = signal_name(signal).unwrap_or("signal");
                    info!("{name}: finishing what is in flight; another one ends at once");
                    ask(&remote, |cx| cx.drain());
                }
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(run)?;
    Ok(())
}

/// The first SIGTERM or SIGINT does what is asked, the second ends the process at once.
pub(crate) fn on_first(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
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

/// A signal is not dropped because the loop is busy: it waits for a place in the queue.
fn ask(remote: &Remote, task: impl FnOnce(&mut Context<'_>) + Send + 'static) {
    let mut task: Task = Box::new(task);
    while let Err(RemoteError::Full(refused)) = remote.run(task) {
        task = refused;
        thread::sleep(Duration::from_millis(10));
    }
}

/// As a shell shows a process that a signal ended.
fn exit_at_once(signal: i32, log: &Log) -> ! {
    warn!("{}: ending at once", signal_name(signal).unwrap_or("signal"));
    log.flush(FLUSH_AT_ONCE);
    process::exit(128 + signal)
}

/// Nobody presses a key twice within it.
const SAME_SIGNAL: Duration = Duration::from_millis(50);
