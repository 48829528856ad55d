//! Whether a server echoes at all: every byte, with a reader that comes late, and to the end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::thread;
use std::time::Duration;

use crate::Result;

/// In flight at most where the server keeps nothing that the kernel does not take.
const WINDOW: usize = 64 * 1024;
/// More than the kernel holds for a reader that has not come yet.
const FLOOD: usize = 24 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Windows of data, the last of them with the end of the stream behind it; then, where the server
/// is to keep what the client does not read yet, a flood with a late reader.
pub(crate) fn echo(address: SocketAddrV4, is_patient: bool) -> Result<()> {
    windows(address).map_err(|error| format!("windows of {WINDOW} bytes: {error}"))?;
    if is_patient {
        flood(address).map_err(|error| format!("a reader that comes late: {error}"))?;
    }
    Ok(())
}

fn windows(address: SocketAddrV4) -> Result<()> {
    let (mut stream, data) = (connect(address)?, pattern(16 * WINDOW + 4321));
    let mut answer = vec![0; WINDOW];
    let mut windows = data.chunks(WINDOW).peekable();
    while let Some(window) = windows.next() {
        stream.write_all(window)?;
        if windows.peek().is_none() {
            stream.shutdown(Shutdown::Write)?;
        }
        let answer = &mut answer[..window.len()];
        stream.read_exact(answer)?;
        if answer != window {
            return Err("what came back is not what went out".into());
        }
    }
    expect_end(&mut stream)
}

fn flood(address: SocketAddrV4) -> Result<()> {
    let (mut stream, data) = (connect(address)?, pattern(FLOOD));
    let mut answer = vec![0; data.len()];
    let mut writer = stream.try_clone()?;
    thread::scope(|scope| -> Result<()> {
        let written = scope.spawn(|| -> std::io::Result<()> {
            writer.write_all(&data)?;
            writer.shutdown(Shutdown::Write)
        });
        // The point of this client is to be late: there is nothing to wait for.
        thread::sleep(Duration::from_millis(100));
        stream.read_exact(&mut answer)?;
        written.join().map_err(|_| "the writer has failed")??;
        Ok(())
    })?;
    if answer != data {
        return Err("what came back is not what went out".into());
    }
    expect_end(&mut stream)
}

fn connect(address: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The server ends its side when it has returned everything.
fn expect_end(stream: &mut TcpStream) -> Result<()> {
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err("more came back than went out".into()),
    }
}

/// Bytes that tell by their value where they belong.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
