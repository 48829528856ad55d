//! What a handler can ask of the reactor.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::connection::{Habits, Hold, State};
use super::loop_state::LoopState;
use crate::sockets::address::{Address, Peer};
use crate::sockets::dial::{Origin, adopt, dial};
use crate::sockets::introduction::Introduction;
use crate::sockets::layer::Layer;
use crate::sockets::manner::Manner;
use crate::sockets::stream::Stream;
use crate::structures::budget::CHARGE_MAX;
use crate::structures::overload_watch::Overload;
use crate::structures::ring_buffer::RingBuffer;
use crate::structures::token::Token;
use crate::structures::topic::{PublishError, Start, TopicConfig, TopicId};
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::config::Config;
use crate::vocabulary::connection_info::ConnectionInfo;
use crate::vocabulary::stats::Stats;

/// The reactor as its handler sees it, for the length of one call.
///
/// Nothing here reads or writes a socket, or calls the handler again: sends, closes and publications are
/// queued and done in the turn's own phases. Only [`connect`](Self::connect) and [`adopt`](Self::adopt)
/// make system calls, which do not wait. A token whose connection is over is recognised and ignored.
pub struct Context<'a> {
    state: &'a mut LoopState,
}

impl<'a> Context<'a> {
    pub(super) fn new(state: &'a mut LoopState) -> Self {
        Context { state }
    }

    // ---- sending ----

    /// Queues a copy of `bytes`. Returns whether they were taken.
    ///
    /// Bytes are not taken when the connection is over or closing. A connection whose output would exceed
    /// [`Config::output_limit`] is aborted (`output_limit`). That bytes were taken, or even that the
    /// kernel took them, says nothing about their arrival. Only a reply of the peer does.
    ///
    /// What is sent to a connection that is not established yet waits until it is, and is dropped with it
    /// if it never is ([`Stats::bytes_dropped`]).
    ///
    /// Output for the connection being handled leaves as soon as the callback returns; output for
    /// any other leaves in the flush phase, all of a turn in one write.
    pub fn send(&mut self, to: Token, bytes: &[u8]) -> bool {
        self.state.send(to, bytes)
    }

    /// As [`send`](Self::send), of bytes that lie in several places, such as a header and a body: all
    /// of them are queued, behind one another, or none.
    ///
    /// ```
    /// use edgeloop::codec::Delimited;
    /// use edgeloop::service::Framed;
    /// use edgeloop::{Context, Token};
    /// let answer = |cx: &mut Context<'_>, token: Token, line: &[u8]| {
    ///     cx.send_all(token, &[b"you said: ", line, b"\n"]);
    /// };
    /// let handler = Framed::new(Delimited::lines(80), answer);
    /// ```
    pub fn send_all(&mut self, to: Token, parts: &[&[u8]]) -> bool {
        self.state.send_all(to, parts)
    }

    /// Whether the connection's socket has failed. What the peer sent before that is still handed
    /// over, but nothing that is sent reaches anybody: a request that only asks needs no answer.
    pub fn has_failed(&self, token: Token) -> bool {
        self.state.find(token).is_some_and(|connection| connection.state == State::Severed)
    }

    /// Queues every byte of `input`, handing over its storage where it can: an echo copies nothing.
    /// Returns whether the bytes were taken, as [`send`](Self::send) does; if not they stay in
    /// `input`.
    pub fn forward(&mut self, to: Token, input: &mut RingBuffer) -> bool {
        self.state.forward(to, input)
    }

    /// Bytes queued for the connection and not yet taken by its socket.
    pub fn output_len(&self, token: Token) -> usize {
        self.state.find(token).map_or(0, |connection| connection.output.len())
    }

    /// Counts work that a handler does, in units of about a nanosecond, where the work is done: for a
    /// message, a key that is looked at, a line of a list. The reactor counts its own work by itself:
    /// reads, writes, messages published and announced, subscriptions, closes.
    ///
    /// In `on_data` and `on_end` the connection [is held](Self::is_held) once it has had
    /// [`Config::work_slice`], until the handler returns. The rest of its input is offered again when
    /// others have had their turn. A piece of work that takes longer than a slice is to be cut into
    /// pieces; the input that it is about stays where it is until the last piece is done. Other
    /// callbacks are not held. All callbacks count for [`Config::work_budget`].
    ///
    /// ```
    /// # use edgeloop::{Context, Handler, ProtocolError, RingBuffer, Token};
    /// # struct Sum;
    /// # impl Handler for Sum {
    /// #     type Session = u64;
    /// #     fn on_open(&mut self, _: &mut Context<'_>, _: Token) -> u64 { 0 }
    /// fn on_data(
    ///     &mut self, cx: &mut Context<'_>, token: Token, sum: &mut u64, input: &mut RingBuffer,
    /// ) -> Result<(), ProtocolError> {
    ///     while let Some(byte) = input.contiguous().first().filter(|_| !cx.is_held(token)) {
    ///         *sum += (0..u64::from(*byte)).sum::<u64>();
    ///         cx.charge(usize::from(*byte));
    ///         input.consume(1);
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn charge(&mut self, units: usize) {
        self.state.charge((units as u64).min(CHARGE_MAX));
    }

    /// As [`charge`](Self::charge), for work that the handler itself bounds in each turn. This work does not
    /// use up the phase's budget, which is then left for connections that want none of it.
    pub fn charge_apart(&mut self, units: usize) {
        self.state.charge_apart((units as u64).min(CHARGE_MAX));
    }

    /// Ends the visit of the connection whose `on_data` or `on_end` runs, as if its slice were used up: the
    /// connection is held until the handler returns, and is offered its input again behind all others.
    pub fn end_visit(&mut self) {
        self.state.end_visit();
    }

    /// Whether the connection is not to be handled further for now: it was paused or put off, its output is
    /// above the high-water mark, a topic to which it publishes is full, or it has had its slice of the
    /// turn's [work](Self::charge). Also true once the connection is closing or over. A handler that has
    /// more input to work on stops here and returns. The input that is left is offered again as soon as
    /// the connection is free.
    pub fn is_held(&self, token: Token) -> bool {
        self.state.is_held(token)
    }

    // ---- topics ----

    /// Creates a topic: a bounded ring of messages that any number of connections follow.
    pub fn create_topic(&mut self, mut config: TopicConfig) -> TopicId {
        config.subscriber_memory.get_or_insert(self.state.config.output_limit);
        self.state.topics.create(config)
    }

    /// Ends a topic and every subscription to it. Messages not yet delivered are dropped.
    pub fn remove_topic(&mut self, topic: TopicId) {
        self.state.remove_topic(topic);
    }

    /// Appends one message to a topic; every subscriber but `from` gets it, whole and in the
    /// topic's one order. Returns its sequence number.
    ///
    /// # Errors
    /// `Full` when every message held is still owed to a subscriber that reads: `from` is held, and
    /// its input offered again once there is room, so leave the message there. `TooLong` when
    /// the topic could never hold it. `Gone` when there is no such topic.
    pub fn publish(
        &mut self,
        topic: TopicId,
        from: Option<Token>,
        message: &[u8],
    ) -> Result<u64, PublishError> {
        self.state.publish(topic, from, from, message)
    }

    /// As [`publish`](Self::publish), but `from` gets the message as well if it follows the topic:
    /// then all see one order, their own words included.
    ///
    /// # Errors
    /// As for `publish`; for `Full`, too, `from` is held.
    pub fn publish_to_all(
        &mut self,
        topic: TopicId,
        from: Option<Token>,
        message: &[u8],
    ) -> Result<u64, PublishError> {
        self.state.publish(topic, from, None, message)
    }

    /// Whether a topic takes a message of `len` bytes now; nothing is published. A handler that
    /// publishes to several topics asks all of them before, and so publishes to each or to none: in
    /// one callback, what was found to fit is taken.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish), which hold `from` in the same way.
    pub fn check_room(
        &mut self,
        topic: TopicId,
        from: Option<Token>,
        len: usize,
    ) -> Result<(), PublishError> {
        self.state.check_room(topic, from, len)
    }

    /// Lets an open connection follow a topic. Returns the number of the first message it will get,
    /// or `None` when it follows the topic already, or either is gone.
    pub fn subscribe(&mut self, token: Token, topic: TopicId, start: Start) -> Option<u64> {
        self.state.subscribe(token, topic, start)
    }

    /// Copies what a topic has for an open connection that follows it, and has not sent yet, behind
    /// what is queued for that connection: whatever is sent after this comes behind all that was
    /// published before. Without this, messages are never copied, and come behind all that is queued.
    ///
    /// Returns false when nothing could be done: the connection does not follow the topic or is
    /// closing, or it ends now because this is more than [`Config::output_limit`], or because the
    /// topic's ring has overtaken it.
    pub fn catch_up(&mut self, token: Token, topic: TopicId) -> bool {
        self.state.catch_up(token, topic)
    }

    /// Ends a subscription. A message that was begun is still finished. Other messages that have not been
    /// sent yet are not sent, unless the connection [caught up](Self::catch_up). Returns whether there
    /// was a subscription.
    pub fn unsubscribe(&mut self, token: Token, topic: TopicId) -> bool {
        self.state.unsubscribe(token, topic)
    }

    /// Ends all subscriptions of a connection. After this only the rest of a message that was begun comes
    /// before what is sent. A protocol whose farewell must be its last word needs this before
    /// [`close`](Self::close): a close alone still delivers what was published before it.
    pub fn unsubscribe_all(&mut self, token: Token) {
        self.state.drop_subscriptions(token);
    }

    /// Connections that follow a topic.
    pub fn subscribers(&self, topic: TopicId) -> usize {
        let key = self.state.topics.find(topic);
        key.and_then(|key| self.state.topics.topic(key)).map_or(0, |topic| topic.subscribers.len())
    }

    /// Bytes of messages that wait for a connection in all topics that it follows. Its own messages count
    /// as well. Looks at each subscription of the connection.
    pub fn owed(&self, token: Token) -> usize {
        self.state.owed(token)
    }

    /// Bytes that the messages of all topics take now, [`TopicConfig::OVERHEAD`] for each included. A topic
    /// has a limit of its own; a handler that lets clients create topics limits their sum by this.
    pub fn topic_memory(&self) -> usize {
        self.state.topics.memory()
    }

    // ---- connections ----

    /// Ends a connection in good order: what is queued is flushed, then our side is shut down, then
    /// the peer's end is awaited for at most [`Config::linger_timeout`]. What still arrives is
    /// dropped. An outgoing connection that is not established yet ends at once, with what was queued.
    pub fn close(&mut self, token: Token) {
        let ended = self.state.find(token).is_some_and(|connection| connection.input_has_ended());
        self.state.close(token, if ended { CloseReason::PeerClosed } else { CloseReason::Closed });
    }

    /// As [`close`](Self::close), for a reason that the handler names.
    pub fn close_for(&mut self, token: Token, reason: CloseReason) {
        self.state.close(token, reason);
    }

    /// Ends a connection at once; what is queued is dropped. A TCP peer sees a reset.
    pub fn abort(&mut self, token: Token) {
        self.state.abort(token, CloseReason::Aborted);
    }

    /// As [`abort`](Self::abort), for a reason that the handler names.
    pub fn abort_for(&mut self, token: Token, reason: CloseReason) {
        self.state.abort(token, reason);
    }

    /// Stops reading a connection. The kernel's buffers fill, then the peer's; nothing is lost. An end or
    /// a reset by the peer is noticed when the connection is read again, or written to. For
    /// [`Config::idle_timeout`] and [`Config::drain_quiet`] a paused connection counts as silent; see
    /// [`put_off`](Self::put_off) for one that does not.
    pub fn pause(&mut self, token: Token) {
        self.state.change(token, |connection| connection.hold.insert(Hold::PAUSED));
    }

    /// As [`pause`](Self::pause), for a connection that has to wait for others: for its share of what
    /// all want, or until work is done that came first. The requests of such a connection are in flight
    /// meanwhile, so the connection is neither idle nor quiet; the time for that begins anew when it is
    /// resumed. A shutdown waits for the connection, up to [`Config::drain_timeout`].
    pub fn put_off(&mut self, token: Token) {
        self.state.change(token, |connection| connection.hold.insert(Hold::PUT_OFF));
    }

    /// Reads a connection again that was paused or put off. Input left from before is offered first.
    pub fn resume(&mut self, token: Token) {
        self.state.lift(token, Hold::BY_HANDLER);
    }

    /// As [`resume`](Self::resume), and the next read phase begins with this connection; of several, with
    /// the last one named. For a handler that has an order of its own for some work: visited in turn, a
    /// crowd would keep all connections behind it waiting for that work.
    pub fn resume_first(&mut self, token: Token) {
        self.state.lift_first(token);
    }

    /// Begins an outgoing connection, without waiting. `on_open` follows once it is established, or
    /// `on_connect_error`; in both [`dialled`](Self::dialled) returns `data`, by which the caller knows
    /// what the connection is for: an index into a table of its own, for example.
    ///
    /// What is [sent](Self::send) meanwhile is queued and leaves once the connection is established.
    ///
    /// ```
    /// # use edgeloop::{Address, Config, Context, Reactor, Token, service::HandlerFn};
    /// let names = ["first", "second"];
    /// let handler = HandlerFn::new(|_, _| (), |_, _, (), input| Ok(input.clear()))
    ///     .on_connect_error(move |cx, token, error| {
    ///         let index = cx.dialled(token).unwrap_or(0);
    ///         eprintln!("{}: {error}", names[index as usize]);
    ///     });
    /// let mut reactor = Reactor::new(Config::default(), handler)?;
    /// let address: Address = "127.0.0.1:7000".parse()?;
    /// reactor.with_context(|_, cx| {
    ///     let token = cx.connect(&address, 1)?;
    ///     cx.send(token, b"hello"); // As soon as it is established.
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When no socket can be had, or the table is full.
    pub fn connect(&mut self, to: &Address, data: u64) -> io::Result<Token> {
        self.state.expect_place()?;
        let stream = match &mut self.state.dialler {
            Some(dialler) => Stream::layered(dialler.dial(to)?),
            None => dial(to)?,
        };
        self.state.admit_dialled(stream, Peer::dialled(to.clone(), data))
    }

    /// As [`connect`](Self::connect) to a TCP address, with a layer between the socket and the connection,
    /// such as the client's side of TLS. `wrap` makes the layer once the socket is connected, and does no
    /// I/O; `on_open` follows when the layer has [greeted](super::Layer::greet).
    ///
    /// # Errors
    /// As for `connect`, and `InvalidInput` for a Unix socket: layers are for TCP.
    pub fn connect_layered(
        &mut self,
        to: &Address,
        data: u64,
        wrap: impl FnOnce(TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
    ) -> io::Result<Token> {
        if matches!(to, Address::Unix(_)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a layer needs TCP"));
        }
        let token = self.connect(to, data)?;
        self.state.greetings.expect_layer(token, Manner::once(wrap));
        Ok(token)
    }

    /// Takes a connection over that was made elsewhere: a `TcpStream` or `UnixStream` of the standard
    /// library, a `socket2::Socket` or whatever else owns the descriptor of a TCP or Unix stream socket.
    /// It is made non-blocking, and has the limits and timeouts of all others.
    ///
    /// One that was dialled may still be on its way, as after a `connect` that is in progress; what
    /// follows is as for [`connect`](Self::connect). So a program chooses by itself from where it
    /// connects, and with which options. One that was accepted counts as such: the [gate](super::Gate)
    /// is asked whether it may come in, and `on_open` follows in this turn or the next one.
    ///
    /// ```
    /// # use edgeloop::{Config, Origin, Reactor, service::Echo};
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (stream, _) = listener.accept()?;
    /// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
    /// reactor.with_context(|_, cx| cx.adopt(stream, Origin::Accepted))?;
    /// reactor.turn()?;
    /// assert_eq!(reactor.stats().accepted, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` when it is another kind of socket, `PermissionDenied` when the gate does not let it
    /// in, `NotConnected` when one that was accepted is gone already, and as for `connect`. The socket is
    /// closed.
    pub fn adopt(&mut self, stream: impl Into<OwnedFd>, origin: Origin) -> io::Result<Token> {
        self.state.expect_place()?;
        match adopt(stream.into(), origin, self.state.config.peer_watch())? {
            (stream, peer @ Peer::Dialled(_)) => self.state.admit_dialled(stream, peer),
            (stream, peer) => self.state.admit_adopted(stream, peer),
        }
    }

    /// As [`adopt`](Self::adopt) of a TCP socket, with a layer between the socket and the connection, as for
    /// [`connect_layered`](Self::connect_layered).
    ///
    /// # Errors
    /// As for `adopt`, and `InvalidInput` for a Unix socket: layers are for TCP.
    pub fn adopt_layered(
        &mut self,
        stream: impl Into<OwnedFd>,
        origin: Origin,
        wrap: impl FnOnce(TcpStream) -> io::Result<Box<dyn Layer>> + 'static,
    ) -> io::Result<Token> {
        let stream = socket2::Socket::from(stream.into());
        if stream.local_addr()?.is_unix() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a layer needs TCP"));
        }
        let token = self.adopt(stream, origin)?;
        self.state.greetings.expect_layer(token, Manner::once(wrap));
        Ok(token)
    }

    /// The connections that there are, each as it is now, `after` this one: in the order of their places,
    /// which says nothing about their age. Places that are free cost next to nothing, however many there
    /// once were; a connection costs about as much as a look-up. A handler that has very many looks at some
    /// of them in each turn:
    ///
    /// ```
    /// # use edgeloop::{Context, Token};
    /// # struct Admin { last: Option<Token> }
    /// # impl Admin {
    /// fn next_page(&mut self, cx: &mut Context<'_>) -> Vec<String> {
    ///     let page: Vec<_> = cx.connections(self.last).take(100).collect();
    ///     self.last = page.last().map(|connection| connection.token);
    ///     page.iter().map(|it| format!("{} {} {:?}", it.token, it.peer, it.stage)).collect()
    /// }
    /// # }
    /// ```
    pub fn connections(&self, after: Option<Token>) -> impl Iterator<Item = ConnectionInfo> {
        self.state.connections_from(after.map_or(0, |token| token.key() + 1))
    }

    /// Whether a token names a connection that is there.
    pub(super) fn is_live(&self, token: Token) -> bool {
        self.state.find(token).is_some()
    }

    /// What an outgoing connection was begun with; `None` for one that a listener accepted, or that is
    /// over.
    pub fn dialled(&self, token: Token) -> Option<u64> {
        self.state.dialled(token)
    }

    /// The addresses at which the reactor was made to listen, in that order: those of
    /// [`listen`](super::Reactor::listen), with the port that the kernel chose where that was left to
    /// it. They stay when a shutdown has closed the listeners.
    pub fn addresses(&self) -> &[Address] {
        &self.state.addresses
    }

    /// The peer's address, as it was when the connection came to be: where a balancer has
    /// [introduced](crate::Preface) its client, that of the client.
    pub fn peer_address(&self, token: Token) -> Option<Address> {
        self.state.peer_address(token)
    }

    /// The address of the balancer by which the peer came, where one has introduced it.
    pub fn via(&self, token: Token) -> Option<Address> {
        self.state.via(token)
    }

    /// What the greeting of the connection's layer has found out; nothing without a layer, or when the
    /// connection is over.
    pub fn introduction(&mut self, token: Token) -> Introduction {
        self.state.introduction(token)
    }

    // ---- time ----

    /// Turn time: the clock is read once a turn.
    pub fn now(&self) -> Instant {
        self.state.clock.now()
    }

    /// Calls `on_timer` for this connection after `delay`, at the resolution of [`Config::tick`];
    /// at most 12 days. A connection has one timer; setting it again moves it.
    pub fn set_timer(&mut self, token: Token, delay: Duration) {
        let at = self.state.clock.stamp_in(delay);
        if let Some(connection) = self.state.find_mut(token) {
            // The one stamp that would mean no timer gives way to the next.
            connection.timer_ms = NonZeroU32::new(at.max(1));
            self.state.arm(token);
        }
    }

    /// Whether a connection may be silent for as long as it likes, whatever
    /// [`Config::idle_timeout`] says: one that waits for what others may send, for example. None may
    /// at first.
    pub fn permit_silence(&mut self, token: Token, may_be_silent: bool) {
        self.state.change(token, |connection| {
            connection.habits.set(Habits::SILENT, may_be_silent);
        });
        self.state.arm(token);
    }

    /// Takes the timer away.
    pub fn cancel_timer(&mut self, token: Token) {
        if let Some(connection) = self.state.find_mut(token) {
            connection.timer_ms = None;
        }
    }

    /// Calls `on_alarm` in the first turn at or after `at`: one alarm for the whole handler, to the
    /// millisecond.
    pub fn set_alarm(&mut self, at: Instant) {
        self.state.alarm = Some(at);
    }

    /// When the alarm is due that is set, if one is.
    pub fn alarm(&self) -> Option<Instant> {
        self.state.alarm
    }

    /// Calls `on_tidy` in a second, unless it is about to be called: for a handler that needs much
    /// less memory than before. The reactor asks for it itself when most of the connections or
    /// subscriptions have ended.
    pub fn tidy_later(&mut self) {
        self.state.tidy_later();
    }

    // ---- the reactor ----

    /// Shuts the server down: listeners close, connections may finish for
    /// [`Config::drain_timeout`], then `run` returns.
    pub fn drain(&mut self) {
        self.shut_down_within(self.state.config.drain_timeout);
    }

    /// Shuts the server down without waiting for anybody.
    pub fn stop(&mut self) {
        self.shut_down_within(Duration::ZERO);
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.state.stats
    }

    /// Whether the reactor has more to do than it can. A handler then refuses what can wait, each
    /// time with [`shed`](Self::shed), and goes on with what was begun; when it is over everything is
    /// as before.
    pub fn overload(&self) -> Option<Overload> {
        self.state.overload()
    }

    /// Counts something that the handler has refused because of an overload, for
    /// [`Stats::shed`] and the line of the log that tells of the end.
    pub fn shed(&mut self) {
        self.state.stats.shed += 1;
    }

    /// Says how much memory the handler itself uses, of how much: bytes. It counts as that of buffers
    /// does, until the next time that this is called; see [`Config::overload_memory`].
    pub fn report_memory(&mut self, used: usize, limit: usize) {
        self.state.overload.report_memory(used, limit);
    }

    /// The limits that this reactor was built with.
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    fn shut_down_within(&mut self, time: Duration) {
        let until = self.state.clock.now() + time;
        let earlier = self.state.drain_until.filter(|earlier| *earlier < until);
        self.state.drain_until = Some(earlier.unwrap_or(until));
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} connections)", self.state.connections.len())
    }
}
