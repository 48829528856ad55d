//! The system's clock is set while a chat runs: the times of its events move with it.
//!
//! There is one test, as there is one clock.

#![cfg(all(target_os = "linux", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "interposed/time_of_day.rs"]
mod time_of_day;

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::websocket::WebSocket;
use common::{PATIENCE, start};
use edgeloop::Config;
use edgeloop::service::chat::{Chat, ChatOptions};

#[test]
fn times_of_events_follow_a_clock_that_is_set() {
    const HOURS: i64 = 8 * 3600;
    time_of_day::OFFSET.store(-HOURS, Ordering::Relaxed);
    let options = ChatOptions { rate: 1000, ..ChatOptions::default() };
    let server = start(Config::default(), Chat::new(options));
    let mut anna = WebSocket::open(&server.address);
    let before = seconds();
    anna.say("/join den");
    let is_now = |event: &str, before: i64| (before - 2..=seconds() + 2).contains(&time_of(event));
    assert!(is_now(&anna.until("\"joined\""), before), "the clock is not replaced");

    for offset in [0, -HOURS, HOURS] {
        time_of_day::OFFSET.store(offset, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = seconds();
            anna.say("what time is it?");
            if is_now(&anna.until("\"message\""), before) {
                break;
            }
            assert!(Instant::now() < deadline, "the server has not noticed");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    drop(anna);
    server.stop();
}

fn time_of(event: &str) -> i64 {
    let time = event.split("\"time\":").nth(1).unwrap().split(',').next().unwrap();
    time.parse::<i64>().unwrap() / 1000
}

fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}
