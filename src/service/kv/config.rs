//! The limits of the store.

use super::user::Users;
use crate::service::rate::RATE_MAX;

/// The limits of a [`Kv`](super::Kv) beside those of the reactor. Of these,
/// [`input_limit`](crate::Config::input_limit) is the longest request and so the longest value, and
/// [`output_limit`](crate::Config::output_limit) bounds a reply: to three quarters of it, less 16 KiB.
#[derive(Clone, Debug)]
pub struct KvConfig {
    /// The most bytes of memory for keys, values, the names of channels and the subscriptions to them,
    /// the commands that are queued, the keys that are watched and the names of clients, with what
    /// each of them costs beside its bytes. Default 256 MiB, as much as the reactor's buffers may take.
    /// Above it, commands that add data are refused with Redis's error; nothing is evicted.
    pub max_memory: usize,
    /// The most channels and patterns that one client may listen to. Default 1024. A subscription
    /// beyond it is refused with an error.
    pub subscriptions_max: usize,
    /// The most bytes of messages that one channel or pattern holds for its subscribers, and once
    /// more if they speak both versions of the protocol. Default 1 MiB. A subscriber that stops
    /// reading is disconnected when a channel is full of what it is owed. A message may be as long as
    /// half of it.
    pub channel_memory: usize,
    /// The most bytes of messages that wait for one client in all channels and patterns together. A
    /// client for which a message would make it more is disconnected (`slow_consumer`), and others are not. Default
    /// 32 MiB, as in Redis. What waits in one channel is bounded by
    /// [`channel_memory`](Self::channel_memory), too; so this is for those who listen to very many.
    pub subscriber_memory: usize,
    /// The most bytes of commands that one client may queue between `MULTI` and `EXEC`. Default
    /// 8 MiB. They are carried out while nobody else is served; the work of them that is counted takes
    /// some twenty-five milliseconds at most. A command beyond it is refused, and the transaction
    /// discarded.
    pub transaction_memory: usize,
    /// Who may come in, and what for. Default: everybody, as the user `default`, who may do everything.
    pub users: Users,
    /// Whether clients of other machines are answered with an error and closed (`denied`), where they
    /// would need no password. Default: they are, as in Redis. Clients on a Unix socket, or whose address is a
    /// loopback one, are on this machine.
    pub protected_mode: bool,
    /// The most commands a second that are taken from one client, and as many at once, or 16 if that is
    /// more. Default 0: any number; at most [`RATE_MAX`]. Beyond it a client is read more slowly, and
    /// loses nothing.
    pub rate: u32,
}

impl Default for KvConfig {
    fn default() -> Self {
        KvConfig {
            max_memory: 256 << 20,
            subscriptions_max: 1024,
            channel_memory: 1 << 20,
            subscriber_memory: 32 << 20,
            transaction_memory: 8 << 20,
            users: Users::default(),
            protected_mode: true,
            rate: 0,
        }
    }
}

impl KvConfig {
    /// Checks the limits that have bounds of their own, or another limit for one.
    pub(super) fn check(&self) -> Result<(), String> {
        let KvConfig { channel_memory, subscriber_memory, transaction_memory, rate, .. } = *self;
        if !(CHANNEL_MEMORY_MIN..=CHANNEL_MEMORY_MAX).contains(&channel_memory) {
            return Err(format!(
                "channel_memory is {channel_memory}; it must be between {CHANNEL_MEMORY_MIN} and {CHANNEL_MEMORY_MAX}"
            ));
        }
        if !(1..=TRANSACTION_MEMORY_MAX).contains(&transaction_memory) {
            return Err(format!(
                "transaction_memory is {transaction_memory}; it must be between 1 and {TRANSACTION_MEMORY_MAX}"
            ));
        }
        if rate > RATE_MAX {
            return Err(format!("rate is {rate}; it must be between 0 and {RATE_MAX}"));
        }
        if subscriber_memory < channel_memory {
            return Err(format!(
                "subscriber_memory is {subscriber_memory}; it must be at least channel_memory, {channel_memory}"
            ));
        }
        Ok(())
    }
}

/// Room for a message that is worth sending, behind the longest pattern.
const CHANNEL_MEMORY_MIN: usize = 8 << 10;
const CHANNEL_MEMORY_MAX: usize = 1 << 30;
pub(super) const TRANSACTION_MEMORY_MAX: usize = 1 << 30;
