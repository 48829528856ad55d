//! What a command that goes on in slices has found until now: a reply, in pieces, without its head.

use std::collections::VecDeque;

use super::fault::{Fault, REPLY_TOO_LONG};
use crate::codec::resp::{Decimal, Replies, Version};

/// How far a command has come.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Where it goes on; what that counts is the command's business.
    pub(super) at: usize,
    /// What the command has counted: elements of the reply, for example.
    pub(super) count: usize,
    /// Which of some things were found, a bit for each.
    pub(super) marks: u64,
    /// The numbers that are asked for, sorted, and the clients that have them.
    ids: Option<Vec<(u64, Option<u32>)>>,
    /// The last client that had come when the command began.
    pub(super) newest: u64,
    /// The client itself was found.
    pub(super) is_for_itself: bool,
    /// The reply without its head, encoded.
    pub(super) pieces: VecDeque<Vec<u8>>,
    /// Bytes of it.
    pub(super) len: usize,
    /// Bytes of memory that it takes, and that it may take in this slice.
    pub(super) held: usize,
    pub(super) held_max: usize,
    /// The most bytes of it, and of a piece, which is sent as a whole.
    pub(super) len_max: usize,
    pub(super) piece_max: usize,
    pub(super) fault: Option<Fault>,
    /// All of it is there, its head included, and is being sent.
    pub(super) is_whole: bool,
}

/// What stands at the head of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// [`List::count`] elements.
    Array,
    /// Half as many pairs.
    Map,
    /// A text.
    Text,
}

/// Large enough that few are needed, small enough that a short reply takes little.
const PIECE: usize = 16 << 10;
/// The longest head.
const HEAD_MAX: usize = 64;
impl List {
    /// Appends an element.
    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        let len = Decimal::new(bytes.len() as i64);
        self.append(&[b"$", len.as_bytes(), b"\r\n", bytes, b"\r\n"]);
        self.count += 1;
    }

    /// Appends a number.
    pub(super) fn integer(&mut self, value: usize) {
        self.append(&[b":", Decimal::new(value as i64).as_bytes(), b"\r\n"]);
        self.count += 1;
    }

    /// Appends a part of a text.
    pub(super) fn text(&mut self, text: &str) {
        self.append(&[text.as_bytes()]);
    }

    /// Notes which numbers are asked for: as many as a request holds.
    pub(super) fn look_for(&mut self, ids: impl Iterator<Item = u64>) {
        let mut ids: Vec<_> = ids.map(|id| (id, None)).collect();
        self.held += size_of_val(&ids[..]);
        ids.sort_unstable();
        ids.dedup();
        self.ids = Some(ids);
    }

    /// Notes a client, if its number is one of the numbers that are asked for.
    pub(super) fn found(&mut self, id: u64, client: u32) {
        let Some(ids) = &mut self.ids else { return };
        if let Ok(place) = ids.binary_search_by_key(&id, |(id, _)| *id) {
            ids[place].1 = Some(client);
        }
    }

    /// The client that has a number.
    pub(super) fn client(&self, id: u64) -> Option<u32> {
        let ids = self.ids.as_ref()?;
        let place = ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        ids[place].1
    }

    /// Whether the command may go on: there is memory, and the reply has room.
    pub(super) fn has_room(&self) -> bool {
        self.fault.is_none()
    }

    /// Bytes of memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn append(&mut self, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.fault.is_some() || !self.has_piece_for(len) {
            return;
        }
        self.len += len;
        if let Some(piece) = self.pieces.back_mut() {
            parts.iter().for_each(|part| piece.extend_from_slice(part));
        }
    }

    /// Sees to it that the last piece has room.
    fn has_piece_for(&mut self, len: usize) -> bool {
        if self.len + len > self.len_max || len > self.piece_max {
            self.fault = Some(Fault::text(REPLY_TOO_LONG));
            return false;
        }
        let is_room = |piece: &Vec<u8>| piece.capacity() - piece.len() >= len;
        if self.pieces.back().is_some_and(is_room) {
            return true;
        }
        let capacity = len.max(PIECE.min(self.piece_max));
        if self.held + capacity > self.held_max {
            self.fault = Some(Fault::OUT_OF_MEMORY);
            return false;
        }
        self.held += capacity;
        self.pieces.push_back(Vec::with_capacity(capacity));
        true
    }

    /// Puts head and tail around what there is.
    pub(super) fn complete(&mut self, head: Head, version: Version) {
        let mut first = Replies::new(HEAD_MAX);
        first.set_version(version);
        match head {
            Head::Array => first.array(self.count),
            Head::Map => first.map(self.count / 2),
            Head::Text => {
                first.open_verbatim(self.len);
                self.pieces.push_back(b"\r\n".to_vec());
            }
        }
        self.pieces.push_front(first.as_bytes().to_vec());
        self.len = self.pieces.iter().map(Vec::len).sum();
        self.is_whole = true;
    }
}
