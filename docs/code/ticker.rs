//! Tells every subscriber the time, each second, with the words that were last typed into the program.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeloop::{Config, Context, Handler, ProtocolError, Reactor, RingBuffer};
use edgeloop::{Start, Token, TopicConfig, TopicId};

/// The words are shared with the thread that reads them. Subscribers follow a topic, which holds each
/// line once, whatever their number.
struct Ticker {
    words: Arc<Mutex<String>>,
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
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = self.topic {
            let _ = cx.publish(topic, None, format!("{time} {words}\n").as_bytes());
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        cx.close(token);
    }
}

fn main() -> std::io::Result<()> {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let words = Arc::new(Mutex::new("tick".to_owned()));
    let ticker = Ticker { words: Arc::clone(&words), topic: None };
    let mut reactor = Reactor::new(Config::default(), ticker)?;
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            *words.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    });
    eprintln!("listening on {}", reactor.listen(&address.parse()?, &Default::default())?);
    reactor.run().map(drop)
}
