//! The one door into the loop for other threads.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mio::Registry;

use super::context::Context;
use super::handler::Handler;
use crate::sockets::doorbell::Doorbell;
use crate::structures::sessions::Sessions;
use crate::structures::token::Token;
use crate::vocabulary::remote_error::RemoteError;

/// Runs closures on the loop's thread. Cheap to clone; outlives the reactor without harm.
///
/// ```
/// # use edgeloop::{Config, Reactor, service::Echo};
/// let mut reactor = Reactor::new(Config::default(), Echo::new())?;
/// let remote = reactor.remote();
/// std::thread::spawn(move || remote.run(|cx| cx.drain()));
/// reactor.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Remote<T = Task> {
    pub(super) tasks: SyncSender<T>,
    pub(super) doorbell: Arc<Doorbell>,
}

/// As [`Remote`], for tasks that are given the handler `H` and the sessions of its connections: so another
/// thread reaches the rooms, tables and settings of a server. It is made by
/// [`Reactor::handler_remote`](super::Reactor::handler_remote).
///
/// ```
/// # use edgeloop::{Config, Context, Handler, ProtocolError, Reactor, RingBuffer, Token};
/// struct Greeter { greeting: String }
///
/// impl Handler for Greeter {
///     type Session = u64;
///     fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> u64 {
///         cx.send(token, self.greeting.as_bytes());
///         0
///     }
///     // …
/// #   fn on_data(
/// #       &mut self, _: &mut Context<'_>, _: Token, _: &mut u64, input: &mut RingBuffer,
/// #   ) -> Result<(), ProtocolError> { Ok(input.clear()) }
/// }
///
/// let mut reactor = Reactor::new(Config::default(), Greeter { greeting: "hello\n".into() })?;
/// let remote = reactor.handler_remote();
/// std::thread::spawn(move || {
///     remote.run(|greeter, cx, sessions| {
///         greeter.greeting = "good night\n".into();
///         let all: Vec<Token> = cx.connections(None).map(|it| it.token).collect();
///         for token in all {
///             if let Some(session) = sessions.get_mut(cx, token) {
///                 *session += 1;
///             }
///         }
///         cx.drain();
///     })
/// });
/// reactor.run()?;
/// assert_eq!(reactor.handler().greeting, "good night\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub type HandlerRemote<H> = Remote<HandlerTask<H>>;

/// Work for the loop.
pub type Task = Box<dyn FnOnce(&mut Context<'_>) + Send>;

/// Work for the loop, with its handler and the sessions of its connections.
pub type HandlerTask<H> =
    Box<dyn FnOnce(&mut H, &mut Context<'_>, &mut Sessions<<H as Handler>::Session>) + Send>;

/// The loop's end.
pub(super) struct TaskQueue<H: Handler> {
    tasks: Receiver<Task>,
    for_handler: Receiver<HandlerTask<H>>,
    remote: Remote,
    handler_remote: HandlerRemote<H>,
}

impl Remote {
    /// Queues `task` and wakes the loop. It runs in the loop's next turn.
    ///
    /// # Errors
    /// `Full` when too many tasks wait, `Gone` when the reactor has been dropped; both give the
    /// task back.
    pub fn run(
        &self,
        task: impl FnOnce(&mut Context<'_>) + Send + 'static,
    ) -> Result<(), RemoteError<Task>> {
        self.queue(Box::new(task))
    }
}

impl<H: Handler> HandlerRemote<H> {
    /// Queues `task` and wakes the loop. It runs in the loop's next turn; tasks of this kind run in their
    /// order, and tasks of a [`Remote`] beside them in theirs.
    ///
    /// # Errors
    /// As for a `Remote`.
    pub fn run(
        &self,
        task: impl FnOnce(&mut H, &mut Context<'_>, &mut Sessions<H::Session>) + Send + 'static,
    ) -> Result<(), RemoteError<HandlerTask<H>>> {
        self.queue(Box::new(task))
    }
}

impl<T> Remote<T> {
    fn queue(&self, task: T) -> Result<(), RemoteError<T>> {
        self.tasks.try_send(task).map_err(|error| match error {
            TrySendError::Full(task) => RemoteError::Full(task),
            TrySendError::Disconnected(task) => RemoteError::Gone(task),
        })?;
        self.doorbell.ring();
        Ok(())
    }
}

impl<H: Handler> TaskQueue<H> {
    pub(super) fn new(registry: &Registry, tasks_max: usize) -> io::Result<Self> {
        let doorbell = Arc::new(Doorbell::new(registry)?);
        let (sender, tasks) = sync_channel(tasks_max);
        let remote = Remote { tasks: sender, doorbell: doorbell.clone() };
        let (sender, for_handler) = sync_channel(tasks_max);
        let handler_remote = Remote { tasks: sender, doorbell };
        Ok(TaskQueue { tasks, for_handler, remote, handler_remote })
    }

    pub(super) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    pub(super) fn handler_remote(&self) -> HandlerRemote<H> {
        self.handler_remote.clone()
    }

    /// Before the queue is drained: a task that is queued from now on rings again.
    pub(super) fn clear_doorbell(&self) {
        self.remote.doorbell.clear();
    }

    /// The next task of each kind.
    pub(super) fn take(&self) -> (Option<Task>, Option<HandlerTask<H>>) {
        (self.tasks.try_recv().ok(), self.for_handler.try_recv().ok())
    }
}

impl<S> Sessions<S> {
    /// The session of an open connection; `None` when the token names none that is open, or one whose
    /// `on_open` is still to be called.
    pub fn get_mut(&mut self, cx: &Context<'_>, token: Token) -> Option<&mut S> {
        if cx.is_live(token) { self.of(token) } else { None }
    }
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Remote { tasks: self.tasks.clone(), doorbell: self.doorbell.clone() }
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}
