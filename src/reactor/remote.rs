//! The one door into the loop for other threads.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mio::Registry;

use super::context::Context;
use crate::sockets::doorbell::Doorbell;

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
#[derive(Clone)]
pub struct Remote {
    tasks: SyncSender<Task>,
    doorbell: Arc<Doorbell>,
}

/// Work for the loop.
pub type Task = Box<dyn FnOnce(&mut Context<'_>) + Send>;

/// Why a task was not taken. It comes back to the caller.
pub enum RemoteError {
    /// [`Config::tasks_max`](super::Config::tasks_max) tasks wait already.
    Full(Task),
    /// The reactor is gone.
    Gone(Task),
}

/// The loop's end.
pub(super) struct TaskQueue {
    tasks: Receiver<Task>,
    remote: Remote,
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
    ) -> Result<(), RemoteError> {
        self.tasks.try_send(Box::new(task)).map_err(|error| match error {
            TrySendError::Full(task) => RemoteError::Full(task),
            TrySendError::Disconnected(task) => RemoteError::Gone(task),
        })?;
        self.doorbell.ring();
        Ok(())
    }
}

impl TaskQueue {
    pub(super) fn new(registry: &Registry, tasks_max: usize) -> io::Result<Self> {
        let (sender, tasks) = sync_channel(tasks_max);
        let doorbell = Arc::new(Doorbell::new(registry)?);
        Ok(TaskQueue { tasks, remote: Remote { tasks: sender, doorbell } })
    }

    pub(super) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Before the queue is drained: a task that is queued from now on rings again.
    pub(super) fn clear_doorbell(&self) {
        self.remote.doorbell.clear();
    }

    pub(super) fn take(&self) -> Option<Task> {
        self.tasks.try_recv().ok()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::Full(_) => "Full",
            RemoteError::Gone(_) => "Gone",
        })
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::Full(_) => "too many tasks wait for the loop",
            RemoteError::Gone(_) => "the loop has ended",
        })
    }
}

impl std::error::Error for RemoteError {}
