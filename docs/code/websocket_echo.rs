//! Returns every WebSocket message to whoever sent it.
use edgeloop::codec::websocket::Message;
use edgeloop::service::websocket::{WebSocket, send};
use edgeloop::{Config, Context, Reactor, Token};

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let echo = |cx: &mut Context<'_>, token: Token, message: Message<'_>| {
        send(cx, token, message);
    };
    // The longest message, and what may wait for a client that is slow to read its own.
    let config = Config { input_limit: 16 << 20, output_limit: 64 << 20, ..Config::default() };
    let mut reactor = Reactor::new(config, WebSocket::new(echo))?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run().map(drop)
}
