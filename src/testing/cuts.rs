//! The same conversation, cut in many ways: a handler must not care where the network cuts.

use std::fmt;

use super::cutting::Cutting;
use super::faults::Faults;
use super::harness::Harness;
use super::trace::Shown;
use super::wire::{Ended, Wire};
use crate::reactor::{CloseReason, Config, Handler};

/// Runs a conversation under many cuttings of what the peers send, and compares what they receive. With
/// the default configuration, and 50 seeds: see [`Cuts`].
///
/// # Panics
/// When the handler's answers depend on the cutting, or it leaves a message behind; with both
/// transcripts.
#[track_caller]
pub fn same_however_cut<H: Handler>(make: impl Fn() -> H, talk: impl Fn(&mut Harness<H>)) {
    Cuts::default().check(make, talk);
}

/// How a conversation is cut.
///
/// In this order, so that the first difference is a simple one: as it is sent; with all that was sent
/// before a turn in one piece; cut once, at each byte, or at a thousand of them where there are more;
/// byte by byte; and at random places with small buffers and [gentle faults](Faults::gentle), for each seed.
///
/// What is compared is how many peers there are, counting those that the handler
/// [dialled](Harness::dialled), what each has received and how its connection ended, not when. Where
/// several peers talk to each other, the order of what they send at the same time is nobody's promise: let
/// the conversation [rest](Harness::run_until_idle) in between. So too before a peer closes or resets: what
/// is under way then may be lost. Elsewhere a rest hides faults, because pieces before and behind a rest
/// never arrive together.
///
/// A handler that never answers is the same however its input is cut. So a conversation also asserts what
/// its peers receive.
///
/// ```
/// use edgeloop::codec::Delimited;
/// use edgeloop::service::{EchoLines, Framed};
/// use edgeloop::testing::Cuts;
///
/// let runs = Cuts::default().seeds(10).find(
///     || Framed::new(Delimited::lines(80), EchoLines::new("> ")),
///     |server| {
///         let peer = server.connect();
///         peer.send("one\ntwo\r\n");
///         peer.send("three");
///         peer.end_sending();
///     },
/// );
/// assert_eq!(runs?, 3 + 13 + 10);
/// # Ok::<(), edgeloop::testing::Difference>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cuts {
    config: Config,
    seeds: u64,
}

/// More cuts between two bytes than this are not tried.
const CUTS_MAX: usize = 1000;

impl Default for Cuts {
    fn default() -> Self {
        Cuts { config: Config::default(), seeds: 50 }
    }
}

/// One way to cut.
#[derive(Clone, Debug)]
struct Way {
    name: String,
    cutting: Cutting,
    faults: Faults,
}

impl Way {
    fn new(name: impl Into<String>, cutting: Cutting) -> Self {
        Way { name: name.into(), cutting, faults: Faults::none() }
    }
}

/// What a run came to.
struct Outcome {
    transcripts: Vec<Transcript>,
    left_behind: Option<(usize, Left)>,
}

/// What became of one peer.
#[derive(Clone, Debug, Default)]
struct Transcript {
    pieces: Vec<Vec<u8>>,
    received: Vec<u8>,
    ended: Option<Ended>,
    reason: Option<CloseReason>,
    /// The peer has closed its socket, or reset the connection.
    is_gone: bool,
}

impl Transcript {
    fn of(wire: &Wire) -> Self {
        Transcript {
            pieces: wire.pieces.clone(),
            received: wire.transcript.clone(),
            ended: wire.ended(),
            reason: wire.reason,
            is_gone: wire.is_gone(),
        }
    }

    fn is_same(&self, other: &Transcript) -> bool {
        (&self.received, self.end()) == (&other.received, other.end())
    }

    /// How the connection ended, as far as the handler has a say in it. A peer that is gone sees no end,
    /// and whether its going is an end or a reset depends on what was under way to it just then.
    fn end(&self) -> (Option<Ended>, Option<CloseReason>) {
        match self.reason {
            _ if !self.is_gone => (self.ended, self.reason),
            Some(CloseReason::PeerClosed) => (None, Some(CloseReason::Reset)),
            reason => (None, reason),
        }
    }
}

impl Cuts {
    /// Every reactor gets this configuration.
    pub fn config(self, config: Config) -> Self {
        Cuts { config, ..self }
    }

    /// So many runs are cut at random, with faults.
    pub fn seeds(self, seeds: u64) -> Self {
        Cuts { seeds, ..self }
    }

    /// As [`find`](Self::find).
    ///
    /// # Panics
    /// With the first difference.
    #[track_caller]
    pub fn check<H: Handler>(&self, make: impl Fn() -> H, talk: impl Fn(&mut Harness<H>)) {
        if let Err(difference) = self.find(make, talk) {
            panic!("{difference}");
        }
    }

    /// Runs the conversation under all cuttings, each with a new handler. Says how many runs were the
    /// same.
    ///
    /// # Errors
    /// The first difference.
    ///
    /// # Panics
    /// When the conversation itself does, or a check of the [`Harness`].
    pub fn find<H: Handler>(
        &self,
        make: impl Fn() -> H,
        talk: impl Fn(&mut Harness<H>),
    ) -> Result<usize, Difference> {
        let as_sent = self.run(&Way::new("as it is sent", Cutting::AsSent), &make, &talk)?;
        let pieces = as_sent.transcripts.iter().flat_map(|transcript| &transcript.pieces);
        let ways = self.ways(pieces.map(Vec::len).sum());
        for way in &ways {
            let cut = self.run(way, &make, &talk)?;
            compare(way, &as_sent, &cut)?;
        }
        Ok(1 + ways.len())
    }

    fn ways(&self, sent: usize) -> Vec<Way> {
        let mut ways = vec![Way::new("in one piece", Cutting::Joined)];
        for byte in (1..sent).step_by(sent.div_ceil(CUTS_MAX).max(1)) {
            let cutting = Cutting::Before { byte, sent: 0 };
            ways.push(Way::new(format!("cut before byte {byte}"), cutting));
        }
        ways.push(Way::new("byte by byte", Cutting::Bytewise));
        for seed in 0..self.seeds {
            let name = format!("cut by seed {seed}, with gentle faults");
            ways.push(Way { name, cutting: Cutting::Drawn, faults: Faults::gentle(seed) });
        }
        ways
    }

    fn run<H: Handler>(
        &self,
        way: &Way,
        make: &impl Fn() -> H,
        talk: &impl Fn(&mut Harness<H>),
    ) -> Result<Outcome, Difference> {
        let during = During(&way.name);
        let made = Harness::new(self.config.clone(), make());
        let harness = made.unwrap_or_else(|error| panic!("no reactor: {error}"));
        let mut harness = harness.with_faults(way.faults.clone());
        harness.kernel.borrow_mut().cutting = way.cutting;
        talk(&mut harness);
        harness.run_until_idle();
        let transcripts = harness.kernel.borrow().wires.iter().map(Transcript::of).collect();
        let left_behind = harness.find_left_behind();
        harness.finish();
        std::mem::forget(during);
        let outcome = Outcome { transcripts, left_behind };
        match outcome.left_behind {
            Some((peer, left)) => Err(Difference::left_behind(way, &outcome, peer, left)),
            None => Ok(outcome),
        }
    }
}

impl<H: Handler> Harness<H> {
    /// Offers what lies in the inputs once more. A handler that can do something with it now could have
    /// done so before. Returns the peer, and what was left.
    fn find_left_behind(&mut self) -> Option<(usize, Left)> {
        let count = self.kernel.borrow().wires.len();
        (0..count).find_map(|index| {
            let token = self.kernel.borrow().wires[index].token?;
            let standing = self.reactor.standing(token)?;
            let is_offered = standing.is_served && !standing.is_held && standing.input_len > 0;
            if !is_offered {
                return None;
            }
            let sent = self.stats().bytes_queued;
            self.reactor.offer_again(token);
            self.run_until_idle();
            let after = self.reactor.standing(token).map_or(0, |standing| standing.input_len);
            let is_taken = after < standing.input_len;
            let is_used = is_taken || self.stats().bytes_queued > sent;
            is_used.then_some((index, Left { bytes: standing.input_len, is_taken }))
        })
    }
}

fn compare(way: &Way, as_sent: &Outcome, cut: &Outcome) -> Result<(), Difference> {
    let (expected, found) = (as_sent.transcripts.len(), cut.transcripts.len());
    if expected != found {
        let peer = expected.min(found);
        return Err(Difference {
            peer,
            way: way.name.clone(),
            what: What::OtherPeers { expected, found },
            found: cut.transcripts.get(peer).cloned().unwrap_or_default(),
        });
    }
    let pairs = as_sent.transcripts.iter().zip(&cut.transcripts).enumerate();
    for (peer, (expected, found)) in pairs {
        if !expected.is_same(found) {
            return Err(Difference {
                peer,
                way: way.name.clone(),
                what: What::OtherAnswer(Box::new(expected.clone())),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

/// Where a handler's answers depend on how its input was cut.
#[derive(Clone, Debug)]
pub struct Difference {
    peer: usize,
    way: String,
    what: What,
    found: Transcript,
}

#[derive(Clone, Debug)]
enum What {
    /// As it was sent, this was received.
    OtherAnswer(Box<Transcript>),
    /// As it was sent, and in that run, there were so many peers.
    OtherPeers { expected: usize, found: usize },
    /// So many bytes of input were left, and used as soon as they were offered again.
    LeftBehind(Left),
}

/// What became of bytes that a handler had left in its input, when they were offered again.
#[derive(Clone, Copy, Debug)]
struct Left {
    bytes: usize,
    /// The handler took some; else it answered, and took none.
    is_taken: bool,
}

impl Difference {
    fn left_behind(way: &Way, outcome: &Outcome, peer: usize, left: Left) -> Self {
        let found = outcome.transcripts[peer].clone();
        Difference { peer, way: way.name.clone(), what: What::LeftBehind(left), found }
    }

    /// The number of the peer to whom it happened, in the order in which they connected.
    pub fn peer(&self) -> usize {
        self.peer
    }

    /// What the peer received in that run.
    pub fn received(&self) -> &[u8] {
        &self.found.received
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { peer, way, what, found } = self;
        match what {
            What::OtherAnswer(_) => {
                writeln!(f, "the handler answers otherwise when its input is {way}")?;
            }
            What::OtherPeers { expected, found } => {
                return write!(
                    f,
                    "the handler begins another number of connections when its input is {way}: there \
                     are {found} peers, and {expected} as it was sent"
                );
            }
            What::LeftBehind(Left { bytes, is_taken: true }) => writeln!(
                f,
                "the handler leaves a message behind: {bytes} bytes lay in its input, and were used \
                 when they were offered again ({way})"
            )?,
            What::LeftBehind(Left { bytes, is_taken: false }) => writeln!(
                f,
                "the handler answers what it does not take: {bytes} bytes stay in its input, and are \
                 answered whenever they are offered ({way})"
            )?,
        }
        write!(f, "    peer {peer} sent       ")?;
        for (count, piece) in found.pieces.iter().take(PIECES_MAX).enumerate() {
            write!(f, "{}{}", if count > 0 { " | " } else { "" }, Shown(piece))?;
        }
        match found.pieces.len().saturating_sub(PIECES_MAX) {
            0 => {}
            more => write!(f, " | and {more} pieces more")?,
        }
        let What::OtherAnswer(expected) = what else {
            return write!(f, "\n    and received      {}", Behind(found, 0));
        };
        let same = found.received.iter().zip(&expected.received).take_while(|(a, b)| a == b);
        let from = same.count().saturating_sub(SAME_SHOWN);
        write!(f, "\n    and received      {}", Behind(found, from))?;
        write!(f, "\n    as it was sent    {}", Behind(expected, from))
    }
}

/// So many pieces are shown.
const PIECES_MAX: usize = 12;
/// So many of the bytes before a difference are shown.
const SAME_SHOWN: usize = 24;

/// A transcript without its first bytes.
struct Behind<'a>(&'a Transcript, usize);

impl fmt::Display for Behind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Behind(transcript, from) = *self;
        if from > 0 {
            write!(f, "{from} bytes, and ")?;
        }
        write!(f, "{}", Shown(&transcript.received[from..]))?;
        match (transcript.ended, transcript.reason) {
            (None, None) => Ok(()),
            (Some(ended), None) => write!(f, ", then {ended}"),
            (None, Some(reason)) => write!(f, ", closed: {reason}"),
            (Some(ended), Some(reason)) => write!(f, ", then {ended} ({reason})"),
        }
    }
}

impl std::error::Error for Difference {}

/// Tells how the conversation was cut in which something panicked.
struct During<'a>(&'a str);

impl Drop for During<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("edgeloop::testing: while the input was {}", self.0);
        }
    }
}
