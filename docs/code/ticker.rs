//! Tells every subscriber the time, each second, with the words that were last typed into the program.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeloop::{Config, Context, Handler, ProtocolError, Reactor, RingBuffer};
use edgeloop::{Start, Token, TopicConfig, TopicId};

/// Subscribers follow a topic, which holds each line once, whatever their number. What is shared with the
/// thread that reads the words needs no lock: the thread changes it on the loop's thread.
struct Ticker {
    words: String,
    topic: Option<TopicId>,
}

impl Handler for Ticker {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        let topic = *self.topic.get_or_insert_with(|| {
            cx.set_alarm(cx.now());
            cx.create_topic(TopicConfig::default())
        });
        cx.subscribe(token, topic, Start::Next);
    }

    fn on_data(
        &mut self,
        _: &mut Context<'_>,
        _: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        input.clear();
        Ok(())
    }

    fn on_alarm(&mut self, cx: &mut Context<'_>) {
        cx.set_alarm(cx.now() + Duration::from_secs(1));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(topic) = self.topic {
            let _ = cx.publish(topic, None, format!("{time} {}\n", self.words).as_bytes());
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        cx.close(token);
    }
}

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let ticker = Ticker { words: "tick".into(), topic: None };
    let mut reactor = Reactor::new(Config::default(), ticker)?;
    let remote = reactor.handler_remote();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = remote.run(move |ticker, _, _| ticker.words = line);
        }
    });
    eprintln!("listening on {}", reactor.listen(&address.parse()?, &Default::default())?);
    reactor.run().map(drop)
}
