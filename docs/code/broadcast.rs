//! Delivers each line from one client to every other client, and the last ten to a newcomer.
use edgeloop::service::{Broadcast, Framing};
use edgeloop::{Config, Reactor, SlowConsumer, TopicConfig};

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let (config, slow_consumer) = (Config::default(), SlowConsumer::Skip);
    let topic = TopicConfig { history: 10, slow_consumer, ..TopicConfig::default() };
    let handler = Broadcast::new(Framing::Lines, config.input_limit, topic);
    let mut reactor = Reactor::new(config, handler)?;
    let address = reactor.listen(&address.parse()?, &Default::default())?;
    eprintln!("listening on {address}");
    reactor.run().map(drop)
}
