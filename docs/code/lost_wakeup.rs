//! A lost wake-up, made to order: what happens when an edge-triggered loop reads once per event.
//!
//! ```text
//!  peer: 100 bytes ----> | socket holds 100 | ----> event: readable      the kernel tells the edge once
//!                        | socket holds  84 | ----> read, 16 bytes       our buffer was full: that proves nothing
//!                        | socket holds  84 |       poll ... poll ...    no new bytes, so no new edge
//!  peer: waits for its 100 bytes back       |       we wait for an event that nobody will send
//! ```
//!
//! Run it: `cargo run --example lost_wakeup` hangs, notices it after half a second and says how
//! many bytes lie unread. `cargo run --example lost_wakeup -- drain` reads on until the kernel says
//! `WouldBlock`, and gets everything. The exit code is 0 when the message came back whole, 3 when
//! the loop hung. A level-triggered loop would be told again in each poll; mio on Linux registers
//! edge-triggered only. How the library does it: `src/reactor/connection.rs`, `fill`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const MESSAGE: [u8; 100] = [b'x'; 100];
/// Far longer than a message takes over loopback.
const DEADLINE: Duration = Duration::from_millis(500);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let drain = std::env::args().nth(1).as_deref() == Some("drain");
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    accepted.set_nonblocking(true)?;

    // The peer sends its message and waits until all of it has come back.
    let client = thread::spawn(move || {
        peer.write_all(&MESSAGE)?;
        peer.read_exact(&mut [0; MESSAGE.len()])
    });

    let echoed = echo(TcpStream::from_std(accepted), drain)?;
    // A peer that waits for a message that was not echoed sees the end of the stream now.
    let answered = client.join().is_ok_and(|outcome| outcome.is_ok());
    assert_eq!(answered, echoed == MESSAGE.len());
    Ok(ExitCode::from(if answered { 0 } else { 3 }))
}

/// Echoes until the whole message has passed, or until nothing has happened for too long. Returns
/// how many bytes were echoed.
fn echo(mut socket: TcpStream, drain: bool) -> io::Result<usize> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
    poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
    let mut echoed = 0;
    while echoed < MESSAGE.len() {
        poll.poll(&mut events, Some(DEADLINE))?;
        if events.is_empty() {
            let unread = socket.peek(&mut [0; MESSAGE.len()])?;
            println!("hung: no event for {DEADLINE:?}, and {unread} bytes lie unread");
            return Ok(echoed);
        }
        for _ in &events {
            echoed += match drain {
                // The mistake: one read per event, as a level-triggered loop may do.
                false => echo_once(&mut socket)?.unwrap_or(0),
                true => echo_until_blocked(&mut socket)?,
            };
        }
    }
    println!("done: {echoed} bytes echoed");
    Ok(echoed)
}

/// Reads once into a small buffer and sends that back; `None` means that the socket has nothing.
fn echo_once(socket: &mut TcpStream) -> io::Result<Option<usize>> {
    let mut buffer = [0; 16];
    match socket.read(&mut buffer) {
        Ok(count) => socket.write_all(&buffer[..count]).map(|()| Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The cure: an event is worked off only when the kernel says `WouldBlock`, or the stream ends.
fn echo_until_blocked(socket: &mut TcpStream) -> io::Result<usize> {
    let mut sum = 0;
    while let Some(count) = echo_once(socket)?.filter(|count| *count > 0) {
        sum += count;
    }
    Ok(sum)
}
