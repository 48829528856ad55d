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
    fn set(path: &'static str, value: &str) -> io::Result<Self> {
        let before = fs::read_to_string(path)?.trim().to_owned();
        if before == value {
            return Ok(Self { path, before: None });
        }
        fs::write(path, value)?;
        Ok(Self { path, before: Some(before) })
    }

    /// All that a measurement needs; what cannot be set is said on stdout.
    ///
    /// One congestion control for all, as a server's sockets take theirs from the system at start, and
    /// the servers of others have no option for it. And few ports in `TIME_WAIT`: a client that closes
    /// first leaves its port there for a minute, and the next ones would look for a free port for
    /// longer and longer.
    pub(crate) fn all() -> Vec<Self> {
        let set = |(path, value)| match Self::set(path, value) {
            Ok(setting) => Some(setting),
            Err(error) => {
                println!("{path} stays as it is, and should be {value}: {error}");
                None
            }
        };
        [(CONGESTION, "cubic"), (TIME_WAIT, "1000")].into_iter().filter_map(set).collect()
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
const TIME_WAIT: &str = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
