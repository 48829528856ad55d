//! How many connections fit into what the system lets one process open.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit, setrlimit};

/// The limit on open descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    limit: u64,
}

/// How many connections are let in, and why not more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    /// The most connections at once.
    pub(crate) connections: usize,
    /// What set it, for the line that the log has at start.
    pub(crate) limited_by: String,
    /// What was asked for and did not fit.
    pub(crate) lowered_from: Option<usize>,
}

impl Descriptors {
    /// The limit as it is, and as far as a server raises it.
    pub(crate) fn shown() -> String {
        let limit = getrlimit(Resource::Nofile);
        let shown = |limit: Option<u64>| limit.map_or("no limit".into(), |limit| limit.to_string());
        format!("{}, which a server raises to {}", shown(limit.current), shown(limit.maximum))
    }

    /// Raises the limit as far as it goes without privileges, and returns it.
    pub(crate) fn raise() -> Descriptors {
        let mut limit = getrlimit(Resource::Nofile);
        let soft = limit.current;
        limit.current = limit.maximum;
        // A sandbox may forbid it; then what there was before is what there is.
        let raised = setrlimit(Resource::Nofile, limit).is_ok();
        let limit = if raised { limit.maximum } else { soft };
        Descriptors { limit: limit.unwrap_or(u64::MAX) }
    }

    /// The number of connections for which there are descriptors: `asked`, if that many fit.
    pub(crate) fn ceiling(self, asked: Option<usize>) -> Ceiling {
        let reserve = RESERVE.min(self.limit / 4);
        let fits = usize::try_from(self.limit - reserve).unwrap_or(usize::MAX);
        let by_descriptors = format!("descriptor limit {} less {reserve}", self.limit);
        let (connections, limited_by) = match asked {
            Some(asked) if asked <= fits => (asked, "--max-connections".into()),
            None if fits > UNASKED_MAX => (UNASKED_MAX, "default, see --max-connections".into()),
            _ => (fits, by_descriptors),
        };
        let lowered_from = asked.filter(|asked| *asked > connections);
        Ceiling { connections, limited_by, lowered_from }
    }
}

impl Ceiling {
    /// Lets the kernel make room for so many descriptors now, while there is one thread. Later,
    /// with several, each doubling of its table waits for all processors to have taken notice:
    /// some twenty milliseconds during which a storm of connects fills the backlog.
    pub(crate) fn reserve_table(&self) {
        let last = self.connections.saturating_add(RESERVE as usize / 2);
        if let Ok(last) = i32::try_from(last) {
            // Closed at once. Where it is refused the table grows later, as it would have anyway.
            let _ = fcntl_dupfd_cloexec(io::stderr(), last);
        }
    }
}

/// Kept back for stderr, the poll, listeners and signals, and for one client that is told that the
/// table is full. Where there are few descriptors at all, a quarter has to do.
const RESERVE: u64 = 32;

/// Machines with no limit at all are common in containers; a table for billions of connections
/// helps nobody.
const UNASKED_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_is_the_limit_less_a_reserve() {
        for (limit, asked, connections) in [
            (20_000, None, 19_968),
            (64, None, 48),
            (20_000, Some(500), 500),
            (20_000, Some(30_000), 19_968),
            (u64::MAX, None, UNASKED_MAX),
            (u64::MAX, Some(2 << 20), 2 << 20),
        ] {
            let ceiling = Descriptors { limit }.ceiling(asked);
            assert_eq!(ceiling.connections, connections, "{limit} {asked:?}");
            assert_eq!(ceiling.lowered_from, asked.filter(|asked| *asked > connections));
        }
    }

    #[test]
    fn ceiling_names_what_set_it() {
        let descriptors = Descriptors { limit: 20_000 };
        assert_eq!(descriptors.ceiling(None).limited_by, "descriptor limit 20000 less 32");
        assert_eq!(descriptors.ceiling(Some(5)).limited_by, "--max-connections");
    }
}
