//! What the simulated programs do. Echo and broadcast are the ones that ship; the others are here
//! because each shows what those heal by accident: a handler that says nothing never flushes, so
//! that a connection forgotten after a read stays forgotten.

use std::time::Duration;

use edgeloop::service::{HandlerFn, handler_fn};
use edgeloop::{
    Address, Context, Handler, ProtocolError, PublishError, RingBuffer, Start, Token, TopicConfig,
    TopicId,
};

use crate::NONE;
use crate::clock::MS;
use crate::oracles::Account;
use crate::peers::GREETING;
use crate::random::Random;
use crate::scripted::Scripted;
use crate::stream::{ROOMS, number_of};
use crate::work::Piece;
use crate::world::with;

/// Takes everything and answers nothing.
pub(crate) fn silent() -> impl Handler {
    handler_fn(|_, _, input| {
        input.clear();
        Ok(())
    })
}

/// An echo that pauses when it likes, with and without input left, and goes on later: by its timer,
/// or because somebody else said something.
#[derive(Debug)]
pub(crate) struct Pauser {
    random: Random,
    pauses: u16,
    paused: Vec<Token>,
}

impl Pauser {
    pub(crate) fn new(seed: u64, pauses: u16) -> Self {
        Pauser { random: Random::new(seed), pauses, paused: Vec::new() }
    }

    fn pause(&mut self, cx: &mut Context<'_>, token: Token) {
        cx.pause(token);
        set_paused(token, true);
        self.paused.push(token);
        set_timer(cx, token, self.random.between(1, 50) as u64);
    }

    fn resume(&mut self, cx: &mut Context<'_>, token: Token) {
        self.paused.retain(|paused| *paused != token);
        set_paused(token, false);
        cx.resume(token);
    }
}

impl Handler for Pauser {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        if self.random.chance(self.pauses) {
            self.pause(cx, token);
        }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if self.random.chance(self.pauses) && !self.paused.is_empty() {
            let other = self.random.pick(&self.paused);
            self.resume(cx, other);
        }
        if self.random.chance(self.pauses) {
            self.pause(cx, token);
            if self.random.chance(500) {
                return Ok(());
            }
        }
        cx.forward(token, input);
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        cx.forward(token, input);
        cx.close(token);
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        self.resume(cx, token);
    }

    fn on_close(&mut self, _: &mut Context<'_>, token: Token, _: (), _: edgeloop::CloseReason) {
        self.paused.retain(|paused| *paused != token);
    }
}

/// Sends a full stop now and then, by its timer.
#[derive(Debug)]
pub(crate) struct Ticker {
    random: Random,
    delay_ms: usize,
}

impl Ticker {
    pub(crate) fn new(seed: u64, delay_ms: usize) -> Scripted<Ticker> {
        let ticker = Ticker { random: Random::new(seed), delay_ms };
        Scripted::new(ticker, Ticker::arm, |it, cx, token, (), input| {
            input.clear();
            if it.random.chance(300) {
                it.arm(cx, token);
            }
            Ok(())
        })
        .on_timer(|it, cx, token, ()| {
            // A peer that does not read is not told the time for ever.
            if !cx.is_held(token) {
                send_dots(cx, token, 1);
            }
            it.arm(cx, token);
        })
    }

    fn arm(&mut self, cx: &mut Context<'_>, token: Token) {
        let delay_ms = self.random.between(0, self.delay_ms) as u64;
        set_timer(cx, token, delay_ms);
    }
}

/// Works for its peers and says nothing: whatever it does takes time, and what it is sent is taken
/// piece by piece, as long as it may.
#[derive(Debug)]
pub(crate) struct Worker {
    random: Random,
    /// The most units of one piece.
    most: usize,
    here: Vec<Token>,
}

impl Worker {
    pub(crate) fn new(seed: u64, most: usize) -> Self {
        Worker { random: Random::new(seed), most, here: Vec::new() }
    }

    /// A crowd that leaves at once.
    fn dismiss_all(&mut self, cx: &mut Context<'_>) {
        for &token in &self.here {
            note(token, |account| account.is_closing = true);
            cx.abort(token);
        }
    }

    fn work(&mut self, cx: &mut Context<'_>, piece: Piece, token: Token) {
        let units = self.random.magnitude(1, self.most);
        cx.charge(units);
        let is_over = with(|world| world.oracles.ledger.charged(piece, units as u64));
        if piece == Piece::Read && is_over == Some(true) && !cx.is_held(token) {
            let text = format!("{token} has had its slice and is not held");
            with(|world| world.oracles.violate(text));
        }
    }
}

impl Handler for Worker {
    type Session = ();

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) {
        self.work(cx, Piece::Open, token);
        self.here.push(token);
        if self.random.chance(300) {
            set_timer(cx, token, self.random.between(0, 50) as u64);
        }
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut (),
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        while !input.is_empty() && !cx.is_held(token) {
            input.consume(self.random.between(1, input.len()));
            self.work(cx, Piece::Read, token);
        }
        if self.random.chance(10) {
            self.dismiss_all(cx);
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: &mut ()) {
        self.work(cx, Piece::Timer, token);
        if self.random.chance(700) {
            set_timer(cx, token, self.random.between(0, 50) as u64);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, token: Token, _: (), _: edgeloop::CloseReason) {
        self.work(cx, Piece::Close, token);
        self.here.retain(|here| *here != token);
    }
}

/// Ends connections in every way there is: at once, in the middle of what the peer sends, with an
/// error or an abort; and where the peer ended first, it goes on talking for a while.
#[derive(Debug)]
pub(crate) struct Leaver {
    random: Random,
}

impl Leaver {
    pub(crate) fn new(seed: u64) -> Self {
        Leaver { random: Random::new(seed) }
    }

    /// Says something, and nothing that would not be taken.
    fn say(&mut self, cx: &mut Context<'_>, token: Token) {
        let room = cx.config().output_limit.saturating_sub(cx.output_len(token));
        send_dots(cx, token, self.random.magnitude(1, room.max(2) / 2));
    }

    fn close(&mut self, cx: &mut Context<'_>, token: Token) {
        self.say(cx, token);
        note(token, |account| account.is_closing = true);
        cx.close(token);
    }
}

impl Handler for Leaver {
    /// What it still has to say to a peer that has ended.
    type Session = u8;

    fn on_open(&mut self, cx: &mut Context<'_>, token: Token) -> u8 {
        if self.random.chance(200) {
            self.close(cx, token);
        }
        self.random.between(0, 5) as u8
    }

    fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        _: &mut u8,
        input: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        input.clear();
        match self.random.below(100) {
            0..10 => self.close(cx, token),
            10..13 => {
                note(token, |account| account.is_closing = true);
                cx.abort(token);
            }
            13..16 => {
                self.say(cx, token);
                note(token, |account| account.is_closing = true);
                return Err(ProtocolError::malformed("it was not to its taste"));
            }
            16..50 if !cx.is_held(token) => self.say(cx, token),
            _ => {}
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        left: &mut u8,
        _: &mut RingBuffer,
    ) -> Result<(), ProtocolError> {
        if *left == 0 {
            self.close(cx, token);
        } else {
            set_timer(cx, token, self.random.between(0, 50) as u64);
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, left: &mut u8) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return self.close(cx, token);
        }
        if !cx.is_held(token) {
            self.say(cx, token);
        }
        set_timer(cx, token, self.random.between(0, 50) as u64);
    }
}

/// An echo that dials: for some of those who come it connects to somebody itself, who may not be
/// there, and echoes to him too.
pub(crate) fn dialler(seed: u64, servers: [Address; 2], dials: u16) -> impl Handler {
    /// The longest greeting.
    const GREETING_MAX: usize = 300;
    let mut random = Random::new(seed);
    // So many more; without end a refused one could be tried for ever.
    let mut left = 30;
    let on_open = move |cx: &mut Context<'_>, token: Token| {
        if cx.dialled(token).is_none() && left > 0 && random.chance(dials) {
            left -= 1;
            let to = &servers[usize::from(random.chance(200))];
            let greeting = random.below(GREETING_MAX);
            // That there is no descriptor or no place for it is an answer.
            let Ok(dialled) = cx.connect(to, greeting as u64) else { return };
            let is_taken = cx.send(dialled, &[GREETING; GREETING_MAX][..greeting]);
            with(|world| world.oracles.greets(dialled, greeting, is_taken));
        }
    };
    let echo = |cx: &mut Context<'_>, token, _: &mut (), input: &mut RingBuffer| {
        cx.forward(token, input);
        Ok(())
    };
    HandlerFn::new(on_open, echo).on_connect_error(|cx, token, _| {
        if cx.dialled(token).is_none() {
            with(|world| world.oracles.violate(format!("{token} has failed, and is nobody's")));
        }
    })
}

/// Several topics. Everybody follows some of them, joins and leaves as it comes, and publishes each
/// message to the room that its number says.
#[derive(Debug)]
pub(crate) struct Rooms {
    random: Random,
    config: TopicConfig,
    topics: Vec<TopicId>,
    /// The topic that was removed last.
    former: Option<TopicId>,
}

impl Rooms {
    pub(crate) fn new(seed: u64, config: TopicConfig) -> Scripted<Rooms> {
        let rooms = Rooms { random: Random::new(seed), config, topics: Vec::new(), former: None };
        Scripted::new(rooms, Rooms::open, |it, cx, token, (), input| {
            while let Some(end) = input.contiguous().iter().position(|byte| *byte == b'\n') {
                let line = &input.contiguous()[..=end];
                let number = number_of(line).ok_or(ProtocolError::malformed("no number"))?;
                match cx.publish(it.topics[number % ROOMS], Some(token), line) {
                    Err(PublishError::Full) => break,
                    _ => input.consume(end + 1),
                }
                it.live_on(cx, token);
            }
            Ok(())
        })
    }

    fn open(&mut self, cx: &mut Context<'_>, token: Token) {
        while self.topics.len() < ROOMS {
            self.topics.push(cx.create_topic(self.config.clone()));
        }
        self.move_about(cx, token);
    }

    /// What may happen behind a message.
    fn live_on(&mut self, cx: &mut Context<'_>, token: Token) {
        if self.random.chance(50) {
            self.move_about(cx, token);
        }
        if self.random.chance(5) {
            self.renew(cx);
        }
        if self.random.chance(20) {
            self.try_former(cx, token);
        }
    }

    fn move_about(&mut self, cx: &mut Context<'_>, token: Token) {
        for (room, &topic) in self.topics.iter().enumerate() {
            if self.random.chance(200) {
                let is_done = cx.catch_up(token, topic);
                note(token, |account| {
                    account.is_overloaded |= account.follows[room].is_some() && !is_done;
                });
            }
            if self.random.chance(333) {
                cx.unsubscribe(token, topic);
                note(token, |account| account.follows[room] = None);
            } else if cx.subscribe(token, topic, Start::Next).is_some() {
                let published = with(|world| world.oracles.published);
                note(token, |account| account.follows[room] = published);
            }
        }
    }

    /// Ends a room for everybody, and begins it anew with nobody in it.
    fn renew(&mut self, cx: &mut Context<'_>) {
        let room = self.random.below(ROOMS);
        let former =
            std::mem::replace(&mut self.topics[room], cx.create_topic(self.config.clone()));
        cx.remove_topic(former);
        self.former = Some(former);
        with(|world| {
            for account in world.oracles.accounts.iter_mut().flatten() {
                account.follows[room] = None;
            }
        });
    }

    /// A room that was ended does nothing to the one that has its place now.
    fn try_former(&self, cx: &mut Context<'_>, token: Token) {
        let Some(former) = self.former else { return };
        let is_gone = cx.publish(former, Some(token), b"gone\n") == Err(PublishError::Gone)
            && cx.subscribe(token, former, Start::Next).is_none()
            && !cx.unsubscribe(token, former)
            && cx.subscribers(former) == 0;
        if !is_gone {
            with(|world| world.oracles.violate("a removed topic answers".into()));
        }
    }
}

fn set_paused(token: Token, is_paused: bool) {
    note(token, |account| account.is_paused = is_paused);
}

fn note(token: Token, change: impl FnOnce(&mut Account)) {
    with(|world| world.oracles.account(token).map(change));
}

/// Queues full stops, and counts those that were taken.
fn send_dots(cx: &mut Context<'_>, token: Token, count: usize) {
    const DOTS: [u8; 256] = [b'.'; 256];
    let mut left = count;
    while left > 0 && cx.send(token, &DOTS[..left.min(DOTS.len())]) {
        let len = left.min(DOTS.len());
        left -= len;
        with(|world| {
            let meeting = world.oracles.account(token).map_or(NONE, |account| account.meeting);
            if let Some(it) = world.peers.meetings.get_mut(meeting as usize) {
                it.dots += len as u64;
            }
        });
    }
}

fn set_timer(cx: &mut Context<'_>, token: Token, delay_ms: u64) {
    cx.set_timer(token, Duration::from_millis(delay_ms));
    with(|world| {
        let due_ns = world.kernel.clock.told() + delay_ms * MS;
        world.oracles.timer_set(token, due_ns);
    });
}
