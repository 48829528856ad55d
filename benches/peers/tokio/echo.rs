//! What is read is written before the next read.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BUFFER: usize = 16 * 1024;

pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let stream = crate::accept(&listener).await;
        // What ends one connection ends only that one.
        tokio::spawn(async move { drop(echo(stream).await) });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
