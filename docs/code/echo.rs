//! Returns every byte to whoever sent it.
use edgeloop::{Config, Reactor, service::handler_fn};

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let echo = handler_fn(|cx, token, input| {
        cx.forward(token, input);
        Ok(())
    });
    let mut reactor = Reactor::new(Config::default(), echo)?;
    eprintln!("listening on {}", reactor.listen(&address.parse()?, &Default::default())?);
    reactor.run().map(drop)
}
