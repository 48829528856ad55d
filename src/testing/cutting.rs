//! Where the bytes that a peer sends are cut into pieces.

use super::random::Random;

/// Each piece arrives in a turn of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cutting {
    /// As they are sent.
    #[default]
    AsSent,
    /// All that was sent before a turn arrives in it.
    Joined,
    /// Every byte by itself.
    Bytewise,
    /// Once, before this byte of all that are sent in a run.
    Before { byte: usize, sent: usize },
    /// Wherever the seed says.
    Drawn,
}

impl Cutting {
    pub(super) fn joins(self) -> bool {
        self == Cutting::Joined
    }

    /// The pieces of what is sent now.
    pub(super) fn cut<'a>(&mut self, bytes: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
        match self {
            Cutting::AsSent | Cutting::Joined => vec![bytes],
            Cutting::Bytewise => bytes.chunks(1).collect(),
            Cutting::Before { byte, sent } => {
                let at = byte.checked_sub(*sent).filter(|at| *at < bytes.len()).unwrap_or(0);
                *sent += bytes.len();
                let (first, second) = bytes.split_at(at);
                vec![first, second]
            }
            Cutting::Drawn => draw(bytes, random),
        }
    }
}

/// Short pieces more often than long ones: what is cut badly is cut within a few bytes.
fn draw<'a>(mut bytes: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let most = random.size(8).min(bytes.len());
        let (piece, rest) = bytes.split_at(random.up_to(most));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
