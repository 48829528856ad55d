//! Handlers made of closures, for those that need no type of their own.

use std::fmt;
use std::io;

use crate::reactor::{CloseReason, Context, Handler, ProtocolError, RingBuffer, Token};

/// A handler that does with what arrives what a closure says, and keeps nothing for a connection.
///
/// The closure is [`Handler::on_data`] without the session. What else is to happen is added to what is
/// returned: [`HandlerFn::on_close`], for example. Where each connection has something of its own,
/// [`HandlerFn::new`] is told how that begins.
///
/// ```
/// use edgeloop::service::handler_fn;
/// use edgeloop::{Config, Reactor};
///
/// let echo = handler_fn(|cx, token, input| {
///     cx.forward(token, input);
///     Ok(())
/// });
/// let reactor = Reactor::new(Config::default(), echo)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn handler_fn<D>(mut on_data: D) -> HandlerFn<(), impl OnData<()>>
where
    D: FnMut(&mut Context<'_>, Token, &mut RingBuffer) -> Result<(), ProtocolError>,
{
    let on_data = move |cx: &mut Context<'_>, token: Token, (): &mut (), input: &mut RingBuffer| {
        on_data(cx, token, input)
    };
    HandlerFn::new(|_, _| (), on_data)
}

/// A handler made of closures. Each callback is what the method of [`Handler`] with its name is, and
/// does what that does by default where no closure is given.
///
/// The handler may be sent to the thread in which its reactor is built, as long as `on_data` may; the
/// other closures are `Send` anyway. Callbacks that have much in common are better the methods of a type
/// that implements [`Handler`].
///
/// ```
/// use std::time::Duration;
/// use edgeloop::service::HandlerFn;
///
/// const LATE: Duration = Duration::from_secs(10);
///
/// // Counts what each client sends, and tells it so once it has been silent for a while.
/// let count = HandlerFn::new(
///     |cx, token| {
///         cx.set_timer(token, LATE);
///         0
///     },
///     |cx, token, count, input| {
///         *count += input.len();
///         input.clear();
///         cx.set_timer(token, LATE);
///         Ok(())
///     },
/// )
/// .on_timer(|cx, token, count| {
///     cx.send(token, format!("{count} bytes\n").as_bytes());
/// })
/// .on_close(|_, token, count, reason| println!("{token} sent {count} bytes: {reason}"));
/// ```
pub struct HandlerFn<S, D> {
    on_open: OnOpen<S>,
    on_data: D,
    on_end: Option<Box<dyn OnData<S> + Send>>,
    on_timer: Option<OnSession<S>>,
    on_drain: Option<OnSession<S>>,
    on_alarm: Option<OnServer>,
    on_tidy: Option<OnServer>,
    on_close: Option<OnClose<S>>,
    on_connect_error: Option<OnConnectError>,
}

/// A closure that is given what arrived: [`Handler::on_data`], or [`Handler::on_end`].
pub trait OnData<S>:
    FnMut(&mut Context<'_>, Token, &mut S, &mut RingBuffer) -> Result<(), ProtocolError>
{
}

impl<S, F> OnData<S> for F where
    F: FnMut(&mut Context<'_>, Token, &mut S, &mut RingBuffer) -> Result<(), ProtocolError>
{
}

type OnOpen<S> = Box<dyn FnMut(&mut Context<'_>, Token) -> S + Send>;
type OnSession<S> = Box<dyn FnMut(&mut Context<'_>, Token, &mut S) + Send>;
type OnServer = Box<dyn FnMut(&mut Context<'_>) + Send>;
type OnClose<S> = Box<dyn FnMut(&mut Context<'_>, Token, S, CloseReason) + Send>;
type OnConnectError = Box<dyn FnMut(&mut Context<'_>, Token, &io::Error) + Send>;

impl<S, D> HandlerFn<S, D>
where
    D: FnMut(&mut Context<'_>, Token, &mut S, &mut RingBuffer) -> Result<(), ProtocolError>,
{
    /// A handler that keeps for each connection what `on_open` returns.
    pub fn new(
        on_open: impl FnMut(&mut Context<'_>, Token) -> S + Send + 'static,
        on_data: D,
    ) -> Self {
        HandlerFn {
            on_open: Box::new(on_open),
            on_data,
            on_end: None,
            on_timer: None,
            on_drain: None,
            on_alarm: None,
            on_tidy: None,
            on_close: None,
            on_connect_error: None,
        }
    }

    /// Sets [`Handler::on_open`]: for a handler that keeps nothing for a connection, and greets.
    #[must_use]
    pub fn on_open(mut self, f: impl FnMut(&mut Context<'_>, Token) -> S + Send + 'static) -> Self {
        self.on_open = Box::new(f);
        self
    }

    /// Sets [`Handler::on_end`].
    #[must_use]
    pub fn on_end(
        mut self,
        f: impl FnMut(&mut Context<'_>, Token, &mut S, &mut RingBuffer) -> Result<(), ProtocolError>
        + Send
        + 'static,
    ) -> Self {
        self.on_end = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_timer`].
    #[must_use]
    pub fn on_timer(
        mut self,
        f: impl FnMut(&mut Context<'_>, Token, &mut S) + Send + 'static,
    ) -> Self {
        self.on_timer = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_drain`].
    #[must_use]
    pub fn on_drain(
        mut self,
        f: impl FnMut(&mut Context<'_>, Token, &mut S) + Send + 'static,
    ) -> Self {
        self.on_drain = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_alarm`].
    #[must_use]
    pub fn on_alarm(mut self, f: impl FnMut(&mut Context<'_>) + Send + 'static) -> Self {
        self.on_alarm = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_tidy`].
    #[must_use]
    pub fn on_tidy(mut self, f: impl FnMut(&mut Context<'_>) + Send + 'static) -> Self {
        self.on_tidy = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_close`].
    #[must_use]
    pub fn on_close(
        mut self,
        f: impl FnMut(&mut Context<'_>, Token, S, CloseReason) + Send + 'static,
    ) -> Self {
        self.on_close = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_connect_error`].
    #[must_use]
    pub fn on_connect_error(
        mut self,
        f: impl FnMut(&mut Context<'_>, Token, &io::Error) + Send + 'static,
    ) -> Self {
        self.on_connect_error = Some(Box::new(f));
        self
    }
}

impl<S, D> Handler for HandlerFn<S, D>
where
    D: OnData<S>,
{
    type Session = S;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> S {
        (self.on_open)(cx, token)
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut S,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        (self.on_data)(cx, token, session, input)
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        session: &mut S,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        let Some(on_end) = &mut self.on_end else {
            cx.close(token);
            return Ok(());
        };
        on_end(cx, token, session, input)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, session: &mut S) {
        self.on_timer.iter_mut().for_each(|on_timer| on_timer(cx, token, session));
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, session: &mut S) {
        self.on_drain.iter_mut().for_each(|on_drain| on_drain(cx, token, session));
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        self.on_alarm.iter_mut().for_each(|on_alarm| on_alarm(cx));
    }

    fn on_tidy(&mut self, cx: &mut Context<'_>) {
        self.on_tidy.iter_mut().for_each(|on_tidy| on_tidy(cx));
    }

    fn on_close(&mut self, cx: &mut Context<'_>, token: Token, session: S, reason: CloseReason) {
        if let Some(on_close) = &mut self.on_close {
            on_close(cx, token, session, reason);
        }
    }

    fn on_connect_error(&mut self, cx: &mut Context<'_>, token: Token, error: &io::Error) {
        self.on_connect_error.iter_mut().for_each(|on_error| on_error(cx, token, error));
    }
}

impl<S, D> fmt::Debug for HandlerFn<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFn")
    }
}
