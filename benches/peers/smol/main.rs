//! Echo on smol's executor of one thread: a task for each connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{Async, LocalExecutor};
use socket2::{Domain, Socket, Type};

const BACKLOG: i32 = 4096;
const BUFFER: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(port) = port else {
        return Err(io::Error::other("usage: smol PORT"));
    };
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(serve(&executor, port)))
}

async fn serve(executor: &LocalExecutor<'_>, port: u16) -> io::Result<()> {
    let listener = smol::net::TcpListener::from(Async::new(listen(port)?)?);
    loop {
        // A client that fails to come in is no reason to stop.
        if let Ok((stream, _)) = listener.accept().await
            && stream.set_nodelay(true).is_ok()
        {
            executor.spawn(async move { drop(echo(stream).await) }).detach();
        }
    }
}

/// smol's own way to listen has no word for the backlog.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.close().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
