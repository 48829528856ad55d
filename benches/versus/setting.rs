//! Settings of the system that a measurement needs, and that are as before when it is over.

use std::fs;
use std::io;

/// A file below `/proc/sys` that holds something else while this lives.
pub(crate) struct Setting {
    path: &'static str,
    /// What to write when it is over; nothing, if it was so already.
    before: Option<String>,
}

impl Setting {
    pub(crate) fn set(path: &'static str, value: &str) -> io::Result<Self> {
        let before = fs::read_to_string(path)?.trim().to_owned();
        if before == value {
            return Ok(Self { path, before: None });
        }
        fs::write(path, value)?;
        Ok(Self { path, before: Some(before) })
    }

    /// One congestion control for all: an algorithm that paces by timers measures the timers. A
    /// server's sockets take theirs from the system at start, and the servers of others have no
    /// option for it. Says on stdout what they will use.
    pub(crate) fn cubic() -> Option<Self> {
        match Self::set(CONGESTION, "cubic") {
            Ok(setting) => {
                let before = setting.before.as_ref();
                let note = before.map(|name| format!(" while this runs (the system's is {name})"));
                println!("congestion control: cubic{}", note.unwrap_or_default());
                Some(setting)
            }
            Err(error) => {
                let before = fs::read_to_string(CONGESTION).unwrap_or_default();
                println!("congestion control: other servers have the system's, {}:", before.trim());
                println!("  {CONGESTION}: {error}");
                None
            }
        }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(self.path, before)
        {
            eprintln!("{} could not be set back to {before}: {error}", self.path);
        }
    }
}

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
