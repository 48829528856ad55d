//! The reactor.

mod buffer_pool;
mod clock;
mod close_reason;
mod closing;
mod config;
mod connection;
mod context;
mod deadline;
mod delivery;
mod handler;
mod input;
mod listener;
mod loop_state;
mod output;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod reactor;
mod remote;
mod ring_buffer;
mod stats;
mod stream;
mod timer_wheel;
mod token;
mod topic;

pub use buffer_pool::BufferPool;
pub use close_reason::CloseReason;
pub use config::{Config, WhenFull};
pub use context::Context;
pub use handler::{Handler, ProtocolError};
pub use listener::{Address, ListenOptions};
pub use reactor::{Ending, Reactor};
pub use remote::{Remote, RemoteError, Task};
pub use ring_buffer::RingBuffer;
pub use stats::Stats;
pub use stream::Layer;
pub use timer_wheel::TimerWheel;
pub use token::Token;
pub use topic::{PublishError, SlowConsumer, Start, TopicConfig, TopicId};
