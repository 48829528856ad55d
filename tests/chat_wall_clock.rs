//! The system's clock is set while a chat runs: the times of its events move with it.
//!
//! How it is done: this test binary defines `clock_gettime` itself, and adds to the time of day what
//! the test says. There is one test, as there is one clock.

#![cfg(all(target_os = "linux", feature = "websocket"))]
#![expect(unsafe_code, reason = "replacing a function of libc is what this file is for")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::websocket::WebSocket;
use common::{PATIENCE, start};
use edgeloop::Config;
use edgeloop::service::chat::{Chat, ChatOptions};

/// Seconds by which the time of day is wrong.
static OFFSET: AtomicI64 = AtomicI64::new(0);

#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are the caller's, and the kernel checks them.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += OFFSET.load(Ordering::Relaxed) };
    }
    result
}

#[test]
fn times_of_events_follow_a_clock_that_is_set() {
    const HOURS: i64 = 8 * 3600;
    OFFSET.store(-HOURS, Ordering::Relaxed);
    let options = ChatOptions { rate: 1000, ..ChatOptions::default() };
    let server = start(Config::default(), Chat::new(options));
    let mut anna = WebSocket::open(&server.address);
    anna.say("/join den");
    let is_now = |event: &str| (time_of(event) - seconds()).abs() <= 2;
    assert!(is_now(&anna.until("\"joined\"")), "the clock is not replaced");

    for offset in [0, -HOURS, HOURS] {
        OFFSET.store(offset, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            anna.say("what time is it?");
            if is_now(&anna.until("\"message\"")) {
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
