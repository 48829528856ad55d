//! What the figures were measured on.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The server has this one to itself, with what the kernel does there for it.
pub(crate) const SERVER_CPU: usize = 0;
pub(crate) const CLIENT_CPU: usize = 1;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) is_virtual: bool,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) congestion_control: String,
    /// As `2026-01-31`.
    pub(crate) date: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
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
pub(crate) fn date_of(mut days: u64) -> String {
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
