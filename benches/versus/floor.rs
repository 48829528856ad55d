//! The floor: the least an edge-triggered echo server can do, and the yardstick for all others.
//!
//! It keeps no state but the descriptor in epoll's data, and has no timers, limits, buffers for
//! what does not fit, or counters. A connection that refuses bytes is closed, which no client
//! that keeps less than a socket buffer in flight will ever see. Whatever a real server costs
//! above this is the price of its features.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use crate::system::{self, Epoll, Event};

const BUFFER: usize = 64 * 1024;
const EVENTS: usize = 1024;

/// Serves until a signal ends the process.
pub(crate) fn run(port: u16, port_file: Option<&Path>) -> io::Result<()> {
    let listener = TcpListener::from(system::listen(port)?);
    if let Some(path) = port_file {
        announce(&listener, path)?;
    }
    let epoll = Epoll::new()?;
    let listening = listener.as_raw_fd();
    epoll.add(listening, listening as u64)?;
    let mut buffer = vec![0; BUFFER];
    let mut events = vec![Event::EMPTY; EVENTS];
    loop {
        let count = epoll.wait(&mut events, -1)?;
        for &event in &events[..count] {
            let fd = event.data() as RawFd;
            if fd == listening {
                accept_all(&epoll, listening);
            } else if event.wants_read() {
                serve(fd, event, &mut buffer);
            }
        }
    }
}

/// Written beside and renamed, so that a reader never sees half an address.
fn announce(listener: &TcpListener, path: &Path) -> io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, format!("{}\n", listener.local_addr()?))?;
    fs::rename(draft, path)
}

/// ET: one event may stand for many clients, so accept until there are none.
fn accept_all(epoll: &Epoll, listening: RawFd) {
    while let Ok(fd) = system::accept(listening) {
        if epoll.add(fd, fd as u64).is_err() {
            system::close(fd);
        }
    }
}

#[inline]
fn serve(fd: RawFd, event: Event, buffer: &mut [u8]) {
    loop {
        match system::recv(fd, buffer) {
            Ok(length) if length > 0 => {
                if !matches!(system::send(fd, &buffer[..length]), Ok(sent) if sent == length) {
                    return system::close(fd);
                }
                // ET: a short read proves the socket empty, unless an end is pending behind it.
                if length < buffer.len() && !event.is_ending() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => return system::close(fd),
        }
    }
}
