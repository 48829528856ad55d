//! Echo and broadcast on tokio's runtime of one thread: a task for each connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

mod broadcast;
mod echo;

const BACKLOG: u32 = 4096;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let service = words.next().unwrap_or_default();
    let port = words.next().and_then(|word| word.parse().ok());
    let Some(port) = port else {
        return Err(io::Error::other("usage: tokio echo|broadcast PORT"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = listen(port)?;
        match service.as_str() {
            "echo" => echo::serve(listener).await,
            "broadcast" => broadcast::serve(listener).await,
            _ => Err(io::Error::other(format!("no service `{service}`"))),
        }
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// The next client; one that fails to come in is no reason to stop.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if stream.set_nodelay(true).is_ok() => return stream,
            Ok(_) => {}
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
