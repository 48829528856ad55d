//! Echo on monoio: by io_uring, or by epoll through its legacy driver.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

const BACKLOG: i32 = 4096;
const BUFFER: usize = 16 * 1024;
/// Places in the submission queue: a turn's work of thousands of connections in one call.
const ENTRIES: u32 = 4096;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let driver = words.next().unwrap_or_default();
    let port = words.next().and_then(|word| word.parse().ok());
    let Some(port) = port else {
        return Err(io::Error::other("usage: monoio uring|epoll PORT"));
    };
    match driver.as_str() {
        "uring" => {
            let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES);
            builder.build()?.block_on(serve(port))
        }
        "epoll" => RuntimeBuilder::<LegacyDriver>::new().build()?.block_on(serve(port)),
        _ => Err(io::Error::other(format!("no driver `{driver}`"))),
    }
}

async fn serve(port: u16) -> io::Result<()> {
    let options = ListenerOpts::new().reuse_port(false).backlog(BACKLOG);
    let listener = TcpListener::bind_with_config(("127.0.0.1", port), &options)?;
    loop {
        // A client that fails to come in is no reason to stop.
        if let Ok((stream, _)) = listener.accept().await
            && stream.set_nodelay(true).is_ok()
        {
            monoio::spawn(async move { drop(echo(stream).await) });
        }
    }
}

/// The buffer travels into the kernel's hands and back with each operation.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let (result, filled) = stream.read(buffer).await;
        if result? == 0 {
            return stream.shutdown().await;
        }
        let (result, written) = stream.write_all(filled).await;
        result?;
        buffer = written;
        buffer.clear();
    }
}
