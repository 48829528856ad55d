//! The system's clock is set while a server runs: points in time move with it, spans do not.
//!
//! There is one test, as there is one clock.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "interposed/time_of_day.rs"]
mod time_of_day;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::{PATIENCE, start};
use edgeloop::Config;
use edgeloop::service::{Kv, KvConfig};

#[test]
fn points_in_time_follow_a_clock_that_is_set_and_spans_do_not() {
    const HOURS: i64 = 8 * 3600;
    time_of_day::OFFSET.store(-HOURS, Ordering::Relaxed);
    let config = Config { output_limit: 4 << 20, ..Config::default() };
    let server = start(config.clone(), Kv::new(KvConfig::default(), &config).unwrap());
    let mut client = Client(BufReader::new(server.connect()));
    let started = seconds();
    let told = client.time();
    assert!((started - 1..=seconds() + 1).contains(&told), "the clock is not replaced");
    client.expect(&format!("SET point x EXAT {}", started + HOURS / 2), "+OK");
    client.expect("SET span x EX 10000", "+OK");

    time_of_day::OFFSET.store(0, Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while client.time() < started + HOURS - 1 {
        assert!(Instant::now() < deadline, "the server has not noticed");
    }
    client.expect("EXISTS point", ":0");
    assert!((9_900..=10_000).contains(&client.number("TTL span")));
    let at = seconds() + 100;
    client.expect("SET point x", "+OK");
    client.expect(&format!("EXPIREAT point {at}"), ":1");
    client.expect("EXPIRETIME point", &format!(":{at}"));
    assert!((90..=100).contains(&client.number("TTL point")));
    drop(client);
    server.finish();
}

fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn expect(&mut self, line: &str, answer: &str) {
        assert_eq!(self.ask(line), answer, "{line}");
    }

    fn number(&mut self, line: &str) -> i64 {
        self.ask(line)[1..].parse().unwrap()
    }

    /// The seconds of `TIME`.
    fn time(&mut self) -> i64 {
        let reply = [self.ask("TIME"), self.line(), self.line(), self.line(), self.line()];
        reply[2].parse().unwrap()
    }
}
