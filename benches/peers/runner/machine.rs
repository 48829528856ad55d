//! What the figures were measured on.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    pub is_virtual: bool,
    pub memory_gib: f64,
    pub kernel: String,
    pub congestion_control: String,
    /// As `2026-01-31`.
    pub date: String,
}

impl Machine {
    /// This one, now.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let of_cpu = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let meminfo = read("/proc/meminfo");
        let kib = meminfo.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Self {
            cpu: of_cpu("model name"),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            is_virtual: of_cpu("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_gib: kib.unwrap_or(0.0) / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease"),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            date: date_of(since_1970.map_or(0, |time| time.as_secs()) / SECONDS_A_DAY),
        }
    }
}

/// So many days after 1970 began, in UTC.
fn date_of(mut days: u64) -> String {
    let mut year = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

const SECONDS_A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        for (days, date) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date_of(days), date);
        }
    }
}
