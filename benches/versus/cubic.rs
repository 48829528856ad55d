//! One congestion control for all, since an algorithm that paces by timers measures the timers.

use std::fs;

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// The system's congestion control, set to cubic while this lives.
///
/// A server's sockets take theirs from the system at start, and the servers of others have no
/// option for it.
pub(crate) struct Cubic {
    before: Option<String>,
}

impl Cubic {
    /// Says on stdout what the servers will use.
    pub(crate) fn set() -> Self {
        let before = fs::read_to_string(CONGESTION).unwrap_or_default().trim().to_owned();
        if before == "cubic" {
            println!("congestion control: cubic");
            return Self { before: None };
        }
        match fs::write(CONGESTION, "cubic") {
            Ok(()) => {
                println!("congestion control: cubic while this runs (the system's is {before})");
                Self { before: Some(before) }
            }
            Err(error) => {
                println!("congestion control: clients and floor cubic, other servers {before}:");
                println!("  {CONGESTION}: {error}");
                Self { before: None }
            }
        }
    }
}

impl Drop for Cubic {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(CONGESTION, before)
        {
            eprintln!("versus: {CONGESTION} could not be set back to {before}: {error}");
        }
    }
}
