//! Answers each text, behind its length in 4 bytes, with the text reversed. A text that begins with `slow`
//! takes two seconds: such work is done on a thread of its own, and its client is not read meanwhile. A
//! client whose call has no answer in time is told so; the answer that comes later is dropped.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::{sync::Arc, thread, time::Duration};

use edgeloop::codec::LengthPrefixed;
use edgeloop::service::{Framed, Service};
use edgeloop::{Config, Context, ProtocolError, Reactor, Token};

const CODEC: LengthPrefixed = LengthPrefixed::new(60_000);
/// Calls that wait for the worker, at most; fewer than `Config::tasks_max`.
const CALLS_MAX: usize = 1000;

fn answer(cx: &mut Context<'_>, client: Token, is_answered: &AtomicBool, text: &[u8]) {
    // The first answer counts, whether the worker gives it or the timer.
    if !is_answered.swap(true, Ordering::Relaxed) {
        let header = CODEC.header(text.len()).expect("an answer is as short as its call");
        cx.send_all(client, &[&header, text]);
        cx.cancel_timer(client);
        cx.resume(client);
    }
}

struct Rpc(SyncSender<(Token, Arc<AtomicBool>, Vec<u8>)>, Duration);

impl Service<LengthPrefixed> for Rpc {
    /// Whether the last call is answered.
    type Session = Arc<AtomicBool>;

    fn on_open(&mut self, _: &mut Context<'_>, _: Token) -> Self::Session {
        Arc::default()
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        client: Token,
        is_answered: &mut Self::Session,
        text: &[u8],
    ) -> Result<(), ProtocolError> {
        *is_answered = Arc::default();
        cx.put_off(client);
        cx.set_timer(client, self.1);
        if self.0.try_send((client, is_answered.clone(), text.to_vec())).is_err() {
            answer(cx, client, is_answered, b"too busy");
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, client: Token, is_answered: &mut Self::Session) {
        answer(cx, client, is_answered, b"no answer in time");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:7000".into());
    let timeout = Duration::from_millis(arguments.next().map_or(Ok(1000), |ms| ms.parse())?);
    let (calls, waiting) = sync_channel(CALLS_MAX);
    let mut reactor = Reactor::new(Config::default(), Framed::new(CODEC, Rpc(calls, timeout)))?;
    let remote = reactor.remote();
    thread::spawn(move || {
        for (client, is_answered, mut text) in waiting {
            thread::sleep(Duration::from_secs(if text.starts_with(b"slow") { 2 } else { 0 }));
            text.reverse();
            let _ = remote.run(move |cx| answer(cx, client, &is_answered, &text));
        }
    });
    eprintln!("listening on {}", reactor.listen(&address.parse()?, &Default::default())?);
    Ok(reactor.run().map(drop)?)
}
