//! A line of the log about a peer: where a balancer has introduced the peer, its address stands behind.

/// As `log::debug!` and its like: fields, the balancer if there is one, more fields, and the message.
macro_rules! log_peer {
    ($level:ident, [$($before:tt)*], $via:expr, $($behind:tt)*) => {
        match $via {
            Some(via) => log::$level!($($before)*, via:% = via, $($behind)*),
            None => log::$level!($($before)*, $($behind)*),
        }
    };
}

pub(crate) use log_peer;
