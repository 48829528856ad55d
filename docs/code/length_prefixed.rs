//! Answers each message, behind a 4-byte length, with the message reversed.
use edgeloop::codec::LengthPrefixed;
use edgeloop::service::Framed;
use edgeloop::{Config, Context, Reactor, Token};

const CODEC: LengthPrefixed = LengthPrefixed::new(60_000);

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let reverse = |cx: &mut Context<'_>, token: Token, message: &[u8]| {
        let header =
            CODEC.header(message.len()).expect("what came within the limit goes within it");
        cx.send_all(token, &[&header, &message.iter().rev().copied().collect::<Vec<_>>()]);
    };
    let mut reactor = Reactor::new(Config::default(), Framed::new(CODEC, reverse))?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run().map(drop)
}
