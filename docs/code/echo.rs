//! Returns every byte to whoever sent it.
use edgeloop::service::handler_fn;
use edgeloop::{Config, Reactor};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let echo = handler_fn(|cx, token, input| {
        cx.forward(token, input);
        Ok(())
    });
    let mut reactor = Reactor::new(Config::default(), echo)?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run().map(drop)
}
