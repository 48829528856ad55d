//! The floor of a topic: the first message that has not been given to a subscriber which publishers wait
//! for. Messages below the floor may be overwritten.

use std::time::Duration;

use super::clock::Clock;
use super::subscriptions::{Subscription, Topics};
use super::token::Token;
use super::topic::{SlowConsumer, Topic};

/// What is to be known of a connection that follows a topic.
pub(crate) struct Follower {
    pub(crate) token: Token,
    /// Its socket takes bytes, as far as is known.
    pub(crate) writable: bool,
    /// The stamp at which its socket took bytes last, or began to take none.
    pub(crate) waiting_since_ms: u32,
}

/// What a look at the subscribers of a topic has found.
pub(crate) struct Look {
    /// When the first right to be waited for ends.
    pub(crate) due_ms: Option<u64>,
    /// Subscribers that the ring has lapped, and that are to be disconnected for it.
    pub(crate) lapped: Vec<Token>,
    pub(crate) looked_at: u64,
}

impl Topics {
    /// Looks at all subscribers of a topic, and sets its floor to the first message that a subscriber
    /// with a right to be waited for has not been given. `follower` finds the connection in a slot,
    /// unless that is given nothing more.
    pub(crate) fn find_floor(
        &mut self,
        key: u32,
        turn: u64,
        clock: &Clock,
        write_timeout: Option<Duration>,
        follower: impl Fn(u32) -> Option<Follower>,
    ) -> Option<Look> {
        let (topic, subscriptions) = self.topic_and_subscriptions(key)?;
        let (head, mark) = (topic.head(), topic.room_mark());
        let (mut floor, mut due_ms, mut lapped) = (head, u64::MAX, Vec::new());
        let looked_at = topic.subscribers.len() as u64;
        topic.account.begin_look(clock.now_us());
        for index in 0..topic.subscribers.len() {
            let Some(entry) = subscriptions.get_mut(topic.subscribers[index] as usize) else {
                continue;
            };
            if entry.cursor >= head.min(entry.ends_before) {
                continue;
            }
            let Some(follower) = follower(entry.slot) else { continue };
            match holds_floor_until(topic, entry, &follower, mark, clock, write_timeout) {
                Some(until_ms) => {
                    floor = floor.min(entry.cursor);
                    due_ms = due_ms.min(until_ms);
                }
                None if entry.cursor < topic.first() && topic.disconnects_slow_consumers() => {
                    lapped.push(follower.token);
                }
                None => {}
            }
        }
        topic.account.end_look(topic.subscribers.len());
        (topic.floor, topic.floor_turn) = (floor, turn);
        let due_ms = Some(due_ms).filter(|due_ms| *due_ms != u64::MAX);
        Some(Look { due_ms, lapped, looked_at })
    }
}

/// Until when publishers wait for a subscriber that is behind, so that its messages are not overwritten;
/// `None` when they do not wait.
fn holds_floor_until(
    topic: &mut Topic,
    entry: &mut Subscription,
    follower: &Follower,
    mark: u64,
    clock: &Clock,
    write_timeout: Option<Duration>,
) -> Option<u64> {
    // The flush phase has not reached this connection yet, and will.
    if follower.writable || topic.config.slow_consumer == SlowConsumer::Wait {
        return Some(u64::MAX);
    }
    if entry.cursor < topic.first() {
        return None;
    }
    if entry.cursor >= mark {
        entry.standing.comes_near();
        return Some(u64::MAX);
    }
    let silent_ms = clock.after(follower.waiting_since_ms, topic.config.patience);
    // A subscriber that crawls takes bytes again and again. No message is waited for longer than a write
    // may take.
    let published = topic.published_ms(entry.cursor).zip(write_timeout);
    let patience_ms =
        published.map_or(silent_ms, |(stamp, span)| silent_ms.min(clock.after(stamp, span)));
    if patience_ms <= clock.now_ms() {
        topic.account.pass_over(&mut entry.standing);
        return None;
    }
    let right_ms = topic.account.judge(&mut entry.standing)?.div_ceil(1000);
    Some(patience_ms.min(right_ms))
}
