//! Every limit of a reactor, in one place: each with its default, its unit, its reason and what
//! reaching it does.

use std::io;
use std::time::Duration;

use super::close_reason::CloseReasons;
use crate::sockets::peer_watch::PeerWatch;
use crate::structures::clock::STAMP_SPAN_MAX;
use crate::structures::overload_watch::Limits;
use crate::vocabulary::close_reason::CloseReason;

/// The limits of a reactor. Start from the default and change what you need.
///
/// ```
/// use std::time::Duration;
/// let config = edgeloop::Config {
///     idle_timeout: Some(Duration::from_secs(60)),
///     ..edgeloop::Config::default()
/// };
/// config.check()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The most connections at once. Default 65,536: a table of that size costs address space, not
    /// memory, until it is used. Keep it below the descriptor limit. Reaching it does what
    /// [`when_full`](Self::when_full) says.
    pub connections_max: usize,
    /// What a new connection meets when the table is full. Default: it waits in the kernel's
    /// backlog.
    pub when_full: WhenFull,

    /// The longest message or line that a peer may send, in bytes. Default 64 KiB. Framing knows
    /// the exact limit; below that, a handler that leaves more than this and another read in its
    /// input closes the connection (`message_too_long`).
    pub input_limit: usize,
    /// The most bytes queued for one connection. Default 1 MiB: what a peer that does not read may
    /// cost. A send beyond it closes the connection (`output_limit`). Reading pauses at a
    /// quarter of it ([`output_high`](Self::output_high)), so that a peer which is answered, as by
    /// an echo, never gets there. All topics together may hold as much again for a subscriber that
    /// takes nothing, unless [`TopicConfig`](crate::TopicConfig::subscriber_memory) says otherwise.
    pub output_limit: usize,
    /// The most bytes of buffers of all connections, input and output; at least four reads, each of
    /// [`read_budget`](Self::read_budget), or half of `output_limit` if that is less. Default
    /// 256 MiB. When this memory is spent nothing is read until some returns. Connections that hold most
    /// of it are closed (`memory`), until a sixteenth of it is free. Topics have limits of their own.
    pub buffer_memory: usize,
    /// Free blocks that the pool keeps for reuse, in bytes. Default 4 MiB: enough for the working
    /// set of a turn; what a burst needed beyond it goes back to the allocator. Topics keep as
    /// much again for theirs.
    pub buffer_reserve: usize,

    /// The most bytes read from one connection in a turn. Default 64 KiB: large enough that a
    /// stream costs few calls, small enough that a turn over several streams stays below a few
    /// milliseconds. The rest is read in the next turn.
    pub read_budget: usize,
    /// The most work of a phase of one turn, in units of about a nanosecond. Default 2,000,000. There are
    /// four phases: timers, tasks and accepts together; reading, and what handlers do with the input
    /// ([`Context::charge`](crate::Context::charge)); announcing and writing; closing. Looking whether
    /// publishers that wait may go on has half a budget more. So a turn stays below ten milliseconds, as
    /// far as its work is counted. A phase ends with the piece of work that uses up its budget. Connections
    /// that are left over stay listed, in order, and the next turn does not wait.
    pub work_budget: usize,
    /// The slice: the most work done for one connection before others have their turn, in the same unit.
    /// Reading and writing have a slice each. Default 100,000: far more than the hundred or so small
    /// requests that a client may have in flight, and little enough that a hundred greedy clients delay
    /// another one by ten milliseconds. The handler then finds the connection
    /// [held](crate::Context::is_held), and is offered the rest of the input in the next turn.
    pub work_slice: usize,
    /// The most connections visited in the read phase, and again in the flush phase, of one turn;
    /// and the most timers looked at.
    /// Default 1024: some three milliseconds of small requests, so that usually
    /// [`work_budget`](Self::work_budget) ends the phase before. Those left over stay listed, in order.
    pub visit_budget: usize,
    /// The most connections accepted from one listener in a turn. Default 1024: a storm of
    /// connects is drained faster than the kernel can queue it, and those already connected
    /// are still served in between.
    pub accept_budget: usize,
    /// The most connections of which the greeting of a layer, a TLS handshake, goes on in one turn.
    /// Default 16: at a fifth of a millisecond each (P-256) those that are open wait for some three
    /// milliseconds while thousands come at once, and with RSA for seventeen. Those left over stay listed,
    /// in order.
    pub greeting_budget: usize,
    /// The most greetings that are under way at once: accepted, and not open yet. `None` is a quarter of
    /// [`connections_max`](Self::connections_max). Default `None`: those that say nothing keep no more
    /// places than that from those that do. Beyond it newcomers that would greet meet what
    /// [`when_full`](Self::when_full) says, until a greeting ends.
    pub greetings_max: Option<usize>,
    /// How long a listener rests when descriptors or memory have run out, unless a connection
    /// closes earlier. Default 100 ms.
    pub accept_retry: Duration,
    /// Tasks that may wait for the loop in each of its two queues, that of [`Remote`](crate::Remote) and
    /// that of [`HandlerRemote`](crate::HandlerRemote); another one is refused as `Full`. A turn runs as
    /// many of each at most. Default 1024.
    pub tasks_max: usize,
    /// Events taken from the kernel in one call to begin with. Default 1024 (12 KiB). It doubles,
    /// up to 16,384, whenever two calls in a row fill it: a short list makes the kernel's
    /// order unfair.
    pub events: usize,

    /// The server is [overloaded](crate::Overload) while ready connections wait so long for a visit, in
    /// turn after turn. New connections are then let in slowly, and handlers refuse what can wait.
    /// Default 250 ms: what people notice, and some twenty-five times what the budgets let a turn
    /// take. None is never.
    pub overload_turn: Option<Duration>,
    /// The server is overloaded while buffers take so much of
    /// [`buffer_memory`](Self::buffer_memory), in per cent, or a handler's own memory so much of its
    /// limit ([`Context::report_memory`](crate::Context::report_memory)). Default 90: just below where
    /// connections are closed for want of memory. None is never. When buffers keep the server overloaded
    /// for another [`overload_span`](Self::overload_span), the connections with the largest buffers are
    /// closed (`memory`) until a quarter less is taken. Otherwise these connections would keep newcomers
    /// out for ever.
    pub overload_memory: Option<u8>,
    /// How long an excess of time or memory has to last before the server counts as overloaded; and how
    /// long there must be a quarter less than the bound before the overload is over. Default 1 s: the work
    /// of a burst is usually done by then, and no client has given up yet.
    pub overload_span: Duration,
    /// New connections that each listener lets in at once while the server is overloaded. The others wait
    /// in the backlog for [`overload_pause`](Self::overload_pause). Default 128: so many cost some 3 ms,
    /// and a client that waits in a backlog of 4096 is heard within a few seconds.
    pub overload_newcomers: usize,
    /// How long a listener rests in an overload, counted from the first of the
    /// [`overload_newcomers`](Self::overload_newcomers) that it has let in. Default 100 ms.
    pub overload_pause: Duration,

    /// Close a connection when no byte has moved in either direction for so long, but for those that
    /// [may be silent](crate::Context::permit_silence). The time stands still while the connection waits
    /// for others: for room in a topic, for memory, or because the handler [put it
    /// off](crate::Context::put_off). Default: never.
    pub idle_timeout: Option<Duration>,
    /// Close a connection when output waits and the peer has accepted no byte for so long
    /// (`write_timeout`). Default 30 s. It counts bytes, not messages: a slow reader that
    /// makes progress stays.
    pub write_timeout: Option<Duration>,
    /// Close a TCP connection whose peer has vanished without a word: a machine that lost its power,
    /// a cable, a place in a router's table (`keepalive_timeout`). Default 5 min; whole seconds,
    /// from 4 s to 12 h. A peer that was silent for half of it is probed three times over the rest,
    /// by the kernel, for which no call is made. What was sent and not acknowledged for so long ends
    /// the connection too, even if the peer is there and only takes nothing; not so where
    /// [`write_timeout`](Self::write_timeout) is off, where Linux gives up after a quarter of an hour
    /// without an acknowledgement. Unix sockets need none of this.
    pub keepalive: Option<Duration>,
    /// How long an outgoing connection may take to be established. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the greeting of a connection may take, from `accept` to `on_open`: what a balancer says of
    /// its client, and the handshake of a layer such as TLS (`handshake_timeout`). Default 10 s: a
    /// handshake is two round trips, of which each may be lost twice.
    pub greeting_timeout: Duration,
    /// How long a connection that we closed first waits for the peer's end of stream before its
    /// socket is freed. Default 5 s. Without it, a byte the peer sends late would make the
    /// kernel discard our last words.
    pub linger_timeout: Duration,
    /// The most bytes dropped while lingering. Default 64 MiB.
    pub linger_limit: usize,
    /// How long a shutdown waits for connections to finish. Default 10 s. Those left are cut off
    /// (`drain_timeout`).
    pub drain_timeout: Duration,
    /// A connection on which nothing has moved for so long, which waits for no other, and to which nothing
    /// is owed, counts as finished in a shutdown. Default 1 s.
    pub drain_quiet: Duration,
    /// The resolution of the timer wheel. Default 100 ms, so that an idle server wakes at most ten
    /// times a second. A timer never fires before its deadline, and fires in the first turn that
    /// begins a tick after it if not in an earlier one; a loop that sleeps wakes for it at most a
    /// millisecond later than that, because the system counts waits in whole milliseconds. Where
    /// more are due than [`visit_budget`](Self::visit_budget), the rest fires in the turns that
    /// follow at once.
    pub tick: Duration,

    /// The reasons for which the end of a connection is logged at level info: with its peer, its age, what
    /// it received and sent, and what was queued for it. One line a second for each reason and group of
    /// addresses. A reset before any byte, by which balancers look whether a server is there, is none of
    /// these. Default: none; at level debug every end is logged. Costs twelve bytes for each
    /// connection.
    pub log_closes: CloseReasons,
    /// What a panic in a callback of the handler, in a task, a gate or a layer does. Default: it ends the
    /// connection that the call was about.
    pub on_panic: OnPanic,

    /// Reads on until the kernel says `WouldBlock`, always. Default off: a short read proves a TCP
    /// socket drained unless an end or an urgent byte was announced, which saves one call in
    /// three.
    pub strict_drain: bool,
}

/// What a panic in code that the loop calls does; see [`Config::on_panic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// It is logged and counted ([`Stats::panics`](crate::Stats::panics)), and the connection that the
    /// call was about is aborted (`handler_panicked`): what was queued for the peer may be half an
    /// answer, and a reset says so. All others go on. `on_close` is called as for every other end, so
    /// that a handler forgets the connection; not, of course, after a panic in `on_open` or in
    /// `on_close` itself.
    ///
    /// What belongs to several connections is as the panic left it. A handler that changes two tables
    /// which must agree does so without a call between that may panic.
    #[default]
    Close,
    /// It unwinds through [`Reactor::run`](crate::Reactor::run) into the program, as if nobody caught
    /// it. The turn that it interrupts is half done, and that cannot be made good: a program that
    /// catches the panic builds another reactor. From this one every further
    /// [`turn`](crate::Reactor::turn) is an error.
    Unwind,
}

/// What a new connection meets when [`Config::connections_max`] is reached, or by one that would greet
/// [`Config::greetings_max`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits in the kernel's backlog until another connection closes, or its greeting ends.
    #[default]
    Wait,
    /// It is accepted and closed at once (`refused`).
    Refuse,
}

impl OnPanic {
    /// Why there is no further turn.
    pub(crate) const UNWOUND: &str = "a panic has unwound through this reactor and left a turn half \
        done, as OnPanic::Unwind asks for; build another reactor";
}

impl Default for Config {
    fn default() -> Self {
        Config {
            connections_max: 65_536,
            when_full: WhenFull::Wait,
            input_limit: 64 * KIB,
            output_limit: MIB,
            buffer_memory: 256 * MIB,
            buffer_reserve: 4 * MIB,
            read_budget: 64 * KIB,
            work_budget: 2_000_000,
            work_slice: 100_000,
            visit_budget: 1024,
            accept_budget: 1024,
            greeting_budget: 16,
            greetings_max: None,
            accept_retry: Duration::from_millis(100),
            tasks_max: 1024,
            events: 1024,
            overload_turn: Some(Duration::from_millis(250)),
            overload_memory: Some(90),
            overload_span: Duration::from_secs(1),
            overload_newcomers: 128,
            overload_pause: Duration::from_millis(100),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            keepalive: Some(Duration::from_secs(300)),
            connect_timeout: Duration::from_secs(10),
            greeting_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(5),
            linger_limit: 64 * MIB,
            drain_timeout: Duration::from_secs(10),
            drain_quiet: Duration::from_secs(1),
            tick: Duration::from_millis(100),
            on_panic: OnPanic::Close,
            log_closes: CloseReasons::default(),
            strict_drain: false,
        }
    }
}

impl Config {
    /// The high-water mark: with more bytes of output a connection is not read, and its handler not given
    /// the input that it left behind. A quarter of the limit leaves room for the replies to what was
    /// already read.
    pub fn output_high(&self) -> usize {
        self.output_limit / 4
    }

    /// The low-water mark: with no more bytes of output the connection is read again. A quarter of the
    /// high-water mark, so that each pause is worth its while.
    pub fn output_low(&self) -> usize {
        self.output_limit / 16
    }

    /// After how long a client that was refused in an overload may come again, in whole seconds: twice
    /// [`overload_span`](Self::overload_span), because an overload is over after one such span at the
    /// earliest.
    pub fn overload_retry(&self) -> Duration {
        let span = self.overload_span.saturating_mul(2);
        Duration::from_secs(span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0)))
    }

    /// The most greetings at once: [`greetings_max`](Self::greetings_max), or a quarter of the table.
    pub fn greetings_most(&self) -> usize {
        self.greetings_max.unwrap_or(self.connections_max.div_ceil(4))
    }

    /// The most bytes that one read of a connection adds to its input: the budget, and never more
    /// than an echo of it could queue without reaching the output limit.
    pub(crate) fn read_size(&self) -> usize {
        self.read_budget.min(self.output_limit / 2)
    }

    /// Checks that the limits make sense together.
    ///
    /// # Errors
    /// `InvalidInput`, with a sentence that names the field.
    pub fn check(&self) -> io::Result<()> {
        let range = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let text = format!("{name} is {value}; it must be between {least} and {most}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        };
        range("connections_max", self.connections_max, 1, u32::MAX as usize - 1)?;
        range("input_limit", self.input_limit, 1, GIB)?;
        range("output_limit", self.output_limit, 1024, GIB)?;
        range("buffer_memory", self.buffer_memory, 4 * self.read_size(), usize::MAX)?;
        range("read_budget", self.read_budget, 1, 16 * MIB)?;
        range("work_budget", self.work_budget, 1, usize::MAX)?;
        range("work_slice", self.work_slice, 1, usize::MAX)?;
        range("visit_budget", self.visit_budget, 1, usize::MAX)?;
        range("accept_budget", self.accept_budget, 1, usize::MAX)?;
        range("greeting_budget", self.greeting_budget, 1, usize::MAX)?;
        range("greetings_max", self.greetings_most(), 1, usize::MAX)?;
        range("tasks_max", self.tasks_max, 1, MIB)?;
        range("events", self.events, 1, EVENTS_MAX)?;
        range("overload_newcomers", self.overload_newcomers, 1, usize::MAX)?;
        range("overload_memory in per cent", self.overload_memory.unwrap_or(1).into(), 1, 100)?;
        let spans = [
            ("overload_turn", self.overload_turn.unwrap_or(VALID_SPAN)),
            ("overload_span", self.overload_span),
            ("overload_pause", self.overload_pause),
            ("idle_timeout", self.idle_timeout.unwrap_or(VALID_SPAN)),
            ("write_timeout", self.write_timeout.unwrap_or(VALID_SPAN)),
            ("connect_timeout", self.connect_timeout),
            ("greeting_timeout", self.greeting_timeout),
            ("linger_timeout", self.linger_timeout),
            ("drain_timeout", self.drain_timeout),
            ("drain_quiet", self.drain_quiet),
            ("accept_retry", self.accept_retry),
            ("tick", self.tick),
        ];
        for (name, span) in spans {
            range(
                &format!("{name} in milliseconds"),
                span.as_millis() as usize,
                1,
                STAMP_SPAN_MAX as usize,
            )?;
        }
        let keepalive = self.keepalive.unwrap_or(KEEPALIVE_LEAST).as_millis() as usize;
        let (least, most) = (KEEPALIVE_LEAST.as_millis(), KEEPALIVE_MOST.as_millis());
        range("keepalive in milliseconds", keepalive, least as usize, most as usize)
    }

    /// How long a connection of ours that ends for this reason waits for its peer's end.
    pub(crate) fn linger_span(&self, reason: CloseReason) -> Duration {
        match reason {
            CloseReason::SlowConsumer => RETURN_AFTER,
            _ => self.linger_timeout,
        }
    }

    pub(crate) fn peer_watch(&self) -> PeerWatch {
        PeerWatch { span: self.keepalive, ends_writes: self.write_timeout.is_some() }
    }

    pub(crate) fn overload_limits(&self) -> Limits {
        Limits {
            turn: self.overload_turn,
            memory_percent: self.overload_memory,
            buffer_memory: self.buffer_memory,
            span: self.overload_span,
        }
    }
}

/// After this time a subscriber that was too slow learns that it is disconnected, and may come back: once a
/// second it costs the others nothing that they notice.
const RETURN_AFTER: Duration = Duration::from_secs(1);
/// A second for each of three probes, and one before them.
const KEEPALIVE_LEAST: Duration = Duration::from_secs(4);
/// The kernel waits for at most 32,767 seconds before a probe.
const KEEPALIVE_MOST: Duration = Duration::from_secs(12 * 3600);
/// Stands in for a timeout that is off.
const VALID_SPAN: Duration = Duration::from_millis(1);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// The largest list of events that is taken from the kernel at once.
pub(crate) const EVENTS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_valid_and_an_echo_never_reaches_its_limit() {
        let config = Config::default();
        config.check().unwrap();
        for output_limit in [1024, 4096, MIB, GIB] {
            let config = Config { output_limit, ..Config::default() };
            assert!(config.output_high() + config.read_size() <= output_limit);
        }
    }

    #[test]
    fn retry_is_twice_the_span_in_whole_seconds_whatever_the_span() {
        let retry = |overload_span| {
            Config { overload_span, ..Config::default() }.overload_retry().as_secs()
        };
        assert_eq!(retry(Duration::from_millis(1)), 1);
        assert_eq!(retry(Duration::from_millis(500)), 1);
        assert_eq!(retry(Duration::from_millis(501)), 2);
        assert_eq!(retry(Duration::MAX), u64::MAX);
    }

    #[test]
    fn bad_limit_is_named() {
        let config = Config { read_budget: 0, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("read_budget is 0"));
        let config = Config { tick: Duration::ZERO, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("tick"));
    }
}
