//! Signals: the first SIGTERM or SIGINT drains, another one ends the process at once, SIGUSR1 logs
//! the counters, and what is meant for other programs is ignored with a word.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::{Handler, Reactor};
use log::{info, warn};
use nix::unistd::alarm;
use signal_hook::SigId;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator;
use signal_hook::low_level::{self, pipe, signal_name};

use super::log::log_books;

/// What signals have asked of a server. Their handlers leave a note and wake the loop, which looks
/// here between its turns.
///
/// No thread waits for them. In a process with one thread the kernel need not count who uses a
/// descriptor, at each call: that is 3 % of an echo.
///
/// The handlers only set flags: they cannot tell a signal that a wrapper sent twice from a person
/// who insists. The loop can, and does. For a loop that does not come by any more an alarm is set,
/// again and again; once it has not been set anew in time, the next signal ends the process in its
/// handler.
#[derive(Debug)]
pub(crate) struct Signals {
    /// One of the notes below was left.
    is_noted: Arc<AtomicBool>,
    /// The number of a signal that asks for the end; 0 for none.
    end: Arc<AtomicUsize>,
    counters: Arc<AtomicBool>,
    /// Signals that are ignored with a line in the log, each with whether it has come.
    ignored: Vec<(&'static str, Arc<AtomicBool>)>,
    /// The next SIGTERM or SIGINT ends the process in its handler.
    is_armed: Arc<AtomicBool>,
    /// Arms with the first signal: while nobody can be connected yet there is nothing to finish.
    at_start: Vec<SigId>,
    /// When the end was asked for first.
    ends_since: Option<Instant>,
    /// When the alarm was set last.
    alarm_set: Option<Instant>,
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
        let (is_noted, is_armed) = (Arc::default(), Arc::default());
        // What is registered first runs first: a note is there before it is said to be.
        let announce = |signal| {
            flag::register(signal, Arc::clone(&is_noted))?;
            pipe::register(signal, theirs.try_clone()?).map(drop)
        };
        let mut at_start = Vec::new();
        for signal in [SIGTERM, SIGINT] {
            // From here on it leaves its note, which is found without a bell before the first turn.
            flag::register_usize(signal, Arc::clone(&end), signal.unsigned_abs() as usize)?;
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_armed))?;
            at_start.push(flag::register(signal, Arc::clone(&is_armed))?);
            announce(signal)?;
        }
        let mut ignored = Vec::new();
        for (signal, text) in IGNORED {
            // A signal that `nohup` has us ignore is ignored without a word.
            if !is_ignored(signal) {
                let asked = Arc::default();
                flag::register(signal, Arc::clone(&asked))?;
                announce(signal)?;
                ignored.push((text, asked));
            }
        }
        flag::register(SIGUSR1, Arc::clone(&counters))?;
        announce(SIGUSR1)?;
        flag::register(SIGALRM, Arc::clone(&is_armed))?;
        let (ends_since, alarm_set) = (None, None);
        Ok(Signals {
            is_noted,
            end,
            counters,
            ignored,
            is_armed,
            at_start,
            ends_since,
            alarm_set,
            doorbell,
        })
    }

    /// The loop is about to turn: from now on it decides itself what a second signal means.
    pub(crate) fn begin(&mut self) {
        for arming in self.at_start.drain(..) {
            low_level::unregister(arming);
        }
        self.is_armed.store(false, Ordering::Relaxed);
    }

    /// Does what was asked since the last time.
    pub(crate) fn obey<H: Handler>(&mut self, reactor: &mut Reactor<H>) {
        self.show_life(reactor.now());
        if !self.is_noted.load(Ordering::Relaxed) {
            return;
        }
        // Before the notes are taken: who leaves one from now on says so, and rings, again.
        self.is_noted.store(false, Ordering::SeqCst);
        self.clear_doorbell();
        if self.counters.swap(false, Ordering::Relaxed) {
            log_books("counters", reactor.stats());
        }
        for (text, asked) in &self.ignored {
            if asked.swap(false, Ordering::Relaxed) {
                warn!(event = "signal_ignored"; "{text}");
            }
        }
        let end = self.end.swap(0, Ordering::Relaxed);
        if end != 0 {
            self.end(end as i32, reactor);
        }
    }

    fn end<H: Handler>(&mut self, signal: i32, reactor: &mut Reactor<H>) {
        // What this is asked after is the time of signals, not of a turn that may have begun before.
        let now = Instant::now();
        match self.ends_since {
            None => {
                self.ends_since = Some(now);
                let name = signal_name(signal).unwrap_or("signal");
                let event = "draining";
                info!(event, signal = name; "{name}: finishing what is in flight; another one ends at once");
                reactor.with_context(|_, cx| cx.drain());
            }
            Some(first) if now.duration_since(first) > SAME_SIGNAL => process::exit(128 + signal),
            Some(_) => {}
        }
    }

    /// Puts off the alarm. Arms the handlers once a further signal can only be the user's second one, so
    /// that the user need not wait for the end of a turn. Disarms them after an alarm in a loop that was
    /// only idle.
    fn show_life(&mut self, now: Instant) {
        let age = |then| now.saturating_duration_since(then);
        let is_over = self.ends_since.is_some_and(|first| age(first) > SAME_SIGNAL);
        // The alarm is put off first: an alarm that came after the handlers were disarmed would leave them
        // armed for as long as the loop then sleeps.
        if self.alarm_set.is_none_or(|set| age(set) >= ALARM_RENEWED) {
            self.alarm_set = Some(now);
            alarm::set(STUCK_SECONDS);
        }
        if self.is_armed.load(Ordering::Relaxed) != is_over {
            self.is_armed.store(is_over, Ordering::Relaxed);
        }
    }

    // ET: it would ring again even if it were never read, until it is full.
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

/// A file that has reached the limit of `ulimit -f` takes no more, which is the write's error and not
/// the end of the process.
pub(crate) fn survive_file_size_limit() {
    // Without it the write would say the same to nobody.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether the process was started with a signal ignored. Unknown where there is no such file.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}

/// What would end the process by default, in the middle of an answer, and is not meant so: the first
/// comes with the end of a terminal, or asks others to read their configuration anew, the second
/// asks others to make room for their successor.
const IGNORED: [(i32, &str); 2] = [
    (SIGHUP, "SIGHUP is ignored: options are read at the start only"),
    (SIGUSR2, "SIGUSR2 is ignored: it means nothing here"),
];

/// A loop that has not come by for so long is stuck. Ten thousand times as long as a turn takes.
const STUCK_SECONDS: u32 = if cfg!(test) { 1 } else { 10 };
/// How seldom the alarm is put off: a call a second.
const ALARM_RENEWED: Duration = Duration::from_secs(1);

/// Nobody presses a key twice within it.
const SAME_SIGNAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use edgeloop::Config;
    use edgeloop::service::Echo;
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn loop_that_is_stuck_is_ended_by_a_later_signal() {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "cli::signals::tests::stuck_loop", "--ignored", "--nocapture"]);
        // Whoever runs the ignored tests does not mean that one.
        command.env("STUCK", "1");
        // Before its alarm is set.
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("it is stuck")));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not ended");
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(143));
        assert!(begun.elapsed() > Duration::from_millis(700), "the first ones were not to end it");
    }

    #[test]
    #[ignore = "the process that the test above ends"]
    fn stuck_loop() {
        let Ok("1") = env::var("STUCK").as_deref() else { return };
        let mut reactor = Reactor::new(Config::default(), Echo::new()).unwrap();
        let mut signals = Signals::catch(&mut reactor).unwrap();
        signals.begin();
        signals.obey(&mut reactor);
        println!("it is stuck");
        thread::sleep(Duration::from_secs(60));
    }
}
