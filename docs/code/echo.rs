//! Returns every byte to whoever sent it.
use edgeloop::{Config, Context, Handler, ProtocolError, Reactor, RingBuffer, Token};

struct Echo;

#[rustfmt::skip]
impl Handler for Echo {
    type Session = ();
    fn on_open(&mut self, _: &mut Context<'_>, _: Token) {}
    fn on_data(&mut self, cx: &mut Context<'_>, token: Token, _: &mut (), input: &mut RingBuffer)
        -> Result<(), ProtocolError> {
        cx.forward(token, input);
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run().map(drop)
}
