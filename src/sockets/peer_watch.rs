//! A peer that vanished without a word: a machine that lost its power, a cable, a place in a router's
//! table. Nothing arrives from such a peer, so only the kernel can tell, by asking.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// How the kernel watches for a peer that is gone without a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerWatch {
    /// How long the peer may not answer; whole seconds, rounded up. `None`: the kernel does not watch.
    pub(crate) span: Option<Duration>,
    /// Whether bytes that stay unacknowledged for so long end the connection as well.
    pub(crate) ends_writes: bool,
}

/// Lets the kernel find out that a peer is gone without a word: by probes while nothing moves, and by
/// what is not acknowledged while something does. Accepted sockets inherit both from their listener.
pub(crate) fn watch_for_the_peer(socket: &Socket, watch: PeerWatch) -> io::Result<()> {
    let Some(span) = watch.span else { return Ok(()) };
    // The kernel counts in seconds.
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let interval = seconds.div_ceil(2 * u64::from(PROBES));
    let idle = seconds.saturating_sub(interval * u64::from(PROBES)).max(1);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(idle))
        .with_interval(Duration::from_secs(interval))
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Linux counts this one for probes as well, instead of their number; so it is the same time. It
    // also ends the wait for a peer that is there and takes nothing, which has no end where the write
    // timeout is off.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if watch.ends_writes {
        socket.set_tcp_user_timeout(Some(Duration::from_secs(seconds)))?;
    }
    Ok(())
}

/// So many probes without an answer mean that the peer is gone: one or two may be lost.
const PROBES: u32 = 3;
