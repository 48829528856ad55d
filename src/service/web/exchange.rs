//! A request that does not fit one call: its body is still coming, or its answer still going.

use super::body_stream::BodyStream;
use super::body_stream::Sending;
use super::response::Body;
use crate::codec::http::{BodyDecoder, Head, Version};

/// What a connection is in the middle of. Kept out of the session, which most of the time has none.
pub(super) struct Exchange {
    pub(super) stage: Stage,
    /// Bytes of the body that have come.
    pub(super) received: u64,
}

pub(super) enum Stage {
    /// The body is put together for a handler that wants it whole. The head was copied, since its
    /// place in the input is needed.
    Collect { head: Vec<u8>, body: BodyDecoder, whole: Vec<u8> },
    /// The body goes to its handler, the answer comes from there.
    Stream { body: BodyDecoder, stream: Box<dyn BodyStream>, sending: Sending, closes: bool },
    /// The body of a request that is answered already.
    Discard { body: BodyDecoder },
    /// A body that the client takes piece by piece. The last `keep` bytes of the request stay in the
    /// input until it has been queued: input that is left behind is what brings us back here.
    Send { body: Body, sent: usize, keep: usize, closes: bool },
}

impl Exchange {
    pub(super) fn new(stage: Stage) -> Box<Exchange> {
        Box::new(Exchange { stage, received: 0 })
    }

    /// Bytes of a body that is being put together, and of its head.
    pub(super) fn collected(&self) -> usize {
        match &self.stage {
            Stage::Collect { head, whole, .. } => head.len() + whole.len(),
            Stage::Stream { .. } | Stage::Discard { .. } | Stage::Send { .. } => 0,
        }
    }

    /// Whether a body is awaited.
    pub(super) fn reads(&self) -> bool {
        !matches!(self.stage, Stage::Send { .. })
    }

    /// Whether the answer has begun, so that no other can be given.
    pub(super) fn is_answering(&self) -> bool {
        !matches!(self.stage, Stage::Collect { .. })
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.stage {
            Stage::Collect { .. } => "Collect",
            Stage::Stream { .. } => "Stream",
            Stage::Discard { .. } => "Discard",
            Stage::Send { .. } => "Send",
        })
    }
}

impl Stage {
    /// An answer that is going, with so many bytes of its request left in the input.
    pub(super) fn keeping(self, len: usize) -> Self {
        match self {
            Stage::Send { body, sent, closes, .. } => Stage::Send { body, sent, keep: len, closes },
            stage => stage,
        }
    }
}

/// How the answer to a request goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) is_head: bool,
    pub(super) version: Version,
    pub(super) closes: bool,
}

impl Manner {
    pub(super) fn of(head: &Head<'_>, is_draining: bool) -> Self {
        Manner {
            is_head: head.method == "HEAD",
            version: head.version,
            closes: is_draining || !head.keep_alive,
        }
    }
}
