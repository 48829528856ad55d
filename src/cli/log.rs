//! The log: env_logger in front of a bounded queue, which a thread of its own writes to stderr.
//!
//! env_logger alone writes and waits within the call that logs. Were stderr a pipe that nobody
//! reads, the event loop would stop with it. Here it never waits: when the queue is full a record
//! is dropped and counted, and the count is logged when there is room again.
//!
//! What is logged before the loop turns is written at once, and the thread starts with the first
//! record after that: a server that has nothing to say stays a process with one thread, whose
//! system calls are cheaper.

use std::env;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop::Stats;
use env_logger::fmt::Formatter;
use env_logger::{Builder, Target, WriteStyle};
use log::kv::{Error, Key, Source, Value, VisitSource};
use log::{Level, LevelFilter, Record, warn};

use super::json::{self, EVENT};
use super::server_options::{LogFormat, ServerOptions};

/// A handle on the log, to wait until it is written.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Queue,
}

impl Log {
    /// Starts to log on behalf of `service`. `RUST_LOG` wins over the options.
    pub(crate) fn start(service: &'static str, options: &ServerOptions) -> Log {
        let (sender, receiver) = sync_channel(QUEUE_RECORDS);
        let receiver = Arc::new(Mutex::new(receiver));
        let writer = Arc::new(Mutex::new(Writer::Here));
        let queue = Queue { sender, receiver, writer, dropped: Arc::default() };
        let level = level(options.verbose, options.quiet).as_str();
        let mut builder = Builder::new();
        builder.parse_filters(&env::var("RUST_LOG").unwrap_or_else(|_| level.into()));
        match options.log_format.unwrap_or_default() {
            LogFormat::Text => {
                builder.write_style(style()).format_timestamp_millis().format_key_values(key_values)
            }
            LogFormat::Json => {
                builder.format(move |line, record| json::write(line, service, record))
            }
        };
        builder.target(Target::Pipe(Box::new(queue.clone())));
        // With a logger that is there already the server is silent but works.
        let _ = builder.try_init();
        Log { queue }
    }

    /// From now on a record is queued, and whoever logs it does not wait until it is written.
    pub(crate) fn stop_waiting(&self) {
        *lock(&self.queue.writer) = Writer::Due;
    }

    /// Waits until everything logged so far is written, but not longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.queue.wait(deadline);
        let lost = self.queue.dropped.load(Ordering::Relaxed);
        if lost > 0 {
            report(lost);
            self.queue.wait(deadline);
        }
    }
}

/// The end of the queue that env_logger writes to: each write is one whole record.
#[derive(Clone, Debug)]
struct Queue {
    sender: SyncSender<Item>,
    /// The thread holds it from its start on.
    receiver: Arc<Mutex<Receiver<Item>>>,
    writer: Arc<Mutex<Writer>>,
    /// Records that found no room, from the start on.
    dropped: Arc<AtomicU64>,
}

/// Who writes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Whoever logs.
    Here,
    /// A thread that the next record starts.
    Due,
    /// The thread.
    Thread,
}

#[derive(Debug)]
enum Item {
    Record(Vec<u8>),
    /// Answered once all that came before it is written.
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the thread if it is due. Returns whether records are queued, and not written here.
    fn is_queueing(&self) -> bool {
        let mut writer = lock(&self.writer);
        if *writer == Writer::Due {
            let (receiver, dropped) = (Arc::clone(&self.receiver), Arc::clone(&self.dropped));
            let write = move || {
                name_thread();
                drain(&lock(&receiver), &dropped);
            };
            // Without a thread to spare the record waits in the queue, and the next one tries again.
            if thread::Builder::new().spawn(write).is_ok() {
                *writer = Writer::Thread;
            }
        }
        *writer != Writer::Here
    }

    fn wait(&self, deadline: Instant) {
        if *lock(&self.writer) != Writer::Thread {
            return;
        }
        let (done, written) = sync_channel(1);
        let mut mark = Item::Flush(done);
        // The queue may be full, and a channel cannot wait for room with a deadline.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(mark) {
            if Instant::now() >= deadline {
                return;
            }
            mark = back;
            thread::sleep(Duration::from_millis(2));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Names this thread, for tools that list threads. A name that is given before the thread begins stays
/// in the heap: of what an attack took, which is when there is first something to say, the system would
/// get back no more than what lies behind those few bytes.
fn name_thread() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"log");
}

impl Write for Queue {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if !self.is_queueing() {
            // A stderr that is gone takes nothing more.
            let _ = io::stderr().write_all(record);
            return Ok(record.len());
        }
        let fits = record.len() <= RECORD_MAX;
        if !fits || self.sender.try_send(Item::Record(record.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever panicked with it left it as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what is queued, for as long as the process lives.
fn drain(receiver: &Receiver<Item>, dropped: &AtomicU64) {
    let mut reported = 0;
    let mut wait = || {
        // Only now that the queue is empty is there certainly room for the report itself.
        let lost = dropped.load(Ordering::Relaxed);
        if lost > reported {
            reported = lost;
            report(lost);
        }
        receiver.recv()
    };
    while let Ok(item) = receiver.try_recv().or_else(|_| wait()) {
        match item {
            // A stderr that is gone takes nothing more; the server goes on.
            Item::Record(record) => drop(io::stderr().write_all(&record)),
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Logs the counters of a reactor, each as a field of its own.
pub(crate) fn log_books(event: &str, stats: &Stats) {
    let counters = stats.entries().into_iter().map(|(name, count)| (name, Value::from(count)));
    let line: Vec<_> = iter::once(("event", Value::from(event))).chain(counters).collect();
    write_line(Level::Info, &line, format_args!("{event}"));
}

/// Logs what has more fields than are known when the program is compiled.
pub(crate) fn write_line(level: Level, fields: &[(&str, Value<'_>)], message: fmt::Arguments<'_>) {
    let target = "edgeloop::cli::server";
    let record =
        Record::builder().level(level).target(target).args(message).key_values(&fields).build();
    if log::logger().enabled(record.metadata()) {
        log::logger().log(&record);
    }
}

/// The total since the start, so that reports need not be added up.
fn report(lost: u64) {
    warn!(event = "log_dropped", log_dropped = lost; "the log was too slow: records were dropped");
}

fn level(verbose: u8, quiet: u8) -> LevelFilter {
    match i16::from(verbose) - i16::from(quiet) {
        2.. => LevelFilter::Trace,
        1 => LevelFilter::Debug,
        0 => LevelFilter::Info,
        -1 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    }
}

/// Decided here, since env_logger sees only a pipe and would never colour.
fn style() -> WriteStyle {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced =
        env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !set("NO_COLOR") && (forced || (io::stderr().is_terminal() && !dumb)) {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    }
}

fn key_values(line: &mut Formatter, source: &dyn Source) -> io::Result<()> {
    let mut text = String::new();
    source.visit(&mut Pairs(&mut text)).map_err(io::Error::other)?;
    line.write_all(text.as_bytes())
}

/// `key=value`, in quotes where a value has spaces in it.
struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // For programs; people read the message.
        if key.as_str() == EVENT {
            return Ok(());
        }
        let value = value.to_string();
        let plain = !value.is_empty() && !value.contains(|c: char| c == '"' || c <= ' ');
        let written = match plain {
            true => write!(self.0, " {key}={value}"),
            false => write!(self.0, " {key}={value:?}"),
        };
        written.map_err(Error::from)
    }
}

/// How long the end of the process waits for the log.
pub(crate) const FLUSH_AT_EXIT: Duration = Duration::from_secs(1);

/// Some hundred kilobytes: what a burst of connections logs while stderr is slow.
const QUEUE_RECORDS: usize = 4096;
/// A longer record is dropped, so that the queue has a limit in bytes as well.
const RECORD_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_drops_and_counts_and_never_waits() {
        let (sender, receiver) = sync_channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        // Nobody takes anything out of it but this test.
        let writer = Arc::new(Mutex::new(Writer::Thread));
        let mut queue = Queue { sender, receiver, writer, dropped: Arc::default() };
        for _ in 0..3 {
            assert_eq!(queue.write(b"x\n").unwrap(), 2);
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
        lock(&queue.receiver).recv().unwrap();
        assert_eq!(queue.write(&[b'x'; RECORD_MAX + 1]).unwrap(), RECORD_MAX + 1);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 3);
        let before = Instant::now();
        queue.write_all(b"y\n").unwrap();
        Log { queue }.flush(Duration::from_millis(20));
        assert!(before.elapsed() < Duration::from_secs(5), "a full queue held the flush up");
    }

    #[test]
    fn values_with_spaces_are_quoted() {
        let mut text = String::new();
        let pairs = [("event", "e"), ("a", "1"), ("b", "x y"), ("c", ""), ("d", "q\"\n")];
        pairs.visit(&mut Pairs(&mut text)).unwrap();
        assert_eq!(text, r#" a=1 b="x y" c="" d="q\"\n""#);
    }
}
