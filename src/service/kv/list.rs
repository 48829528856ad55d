//! Commands that look at everything there is, and so go on in slices: each is called again, turn after
//! turn, until it has come to the end, and others are served between.
//!
//! ```text
//!   turn 1   KEYS *   looks at places 9 to 6, and notes that 6 is next      GET k   is answered
//!   turn 2   KEYS *   looks at places 5 to 2                                SET k   is answered
//!   turn 3   KEYS *   looks at places 1 and 0, and answers
//! ```
//!
//! Meanwhile the request stays in its client's input, with whatever the client has sent behind it. What
//! the command has found until now is kept here, in pieces, which are priced before they are taken: as
//! much as one reply may have is there for somebody in any case, the rest is part of the memory limit.

use std::collections::VecDeque;

use super::Kv;
use super::call::{Call, Fault, Flow, Outcome, REPLY_TOO_LONG};
use crate::codec::resp::{Decimal, Replies, Version};
use crate::reactor::Context;

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
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of it.
    len: usize,
    /// Bytes of memory that it takes, and that it may take in this slice.
    held: usize,
    held_max: usize,
    /// The most bytes of it, and of a piece, which is sent as a whole.
    len_max: usize,
    piece_max: usize,
    fault: Option<Fault>,
    /// All of it is there, its head included, and is being sent.
    is_whole: bool,
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
/// A client that wants a list within a transaction, where nobody is served meanwhile.
const TOO_LONG_TO_QUEUE: Fault = Fault::text("ERR command takes too long for a transaction");

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

    /// A client has a number, which may be one that is asked for.
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
    fn complete(&mut self, head: Head, version: Version) {
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

/// Makes a reply in slices. `go_on` does some of the work, less than is given to it if it can, which it
/// takes away from that, and says whether it has come to the end.
pub(super) fn reply(
    call: &mut Call<'_, '_, '_>,
    head: Head,
    go_on: impl FnOnce(&mut Kv, &mut Context<'_>, &mut List, &mut usize) -> bool,
) -> Outcome {
    let sent = call.client().and_then(|client| client.take_list_if(|list| list.is_whole));
    if let Some(list) = sent {
        call.kv.lists_held -= list.held;
        return Ok(send(call, list));
    }
    let mut list = advance(call, go_on)?;
    let version = call.client().map_or(Version::V2, |client| client.version);
    list.complete(head, version);
    if list.len <= call.kv.replies.room() {
        list.pieces.iter().for_each(|piece| call.kv.replies.raw(piece));
        return Ok(Flow::Next);
    }
    if !may_be_sent_in_parts(call) {
        return Err(Fault::text(REPLY_TOO_LONG));
    }
    call.kv.send_replies(call.cx, call.token);
    Ok(send(call, list))
}

/// Does a slice of a command's work. Returns how far that has come, when it has come to the end.
pub(super) fn advance(
    call: &mut Call<'_, '_, '_>,
    go_on: impl FnOnce(&mut Kv, &mut Context<'_>, &mut List, &mut usize) -> bool,
) -> Result<Box<List>, Fault> {
    let slice = call.kv.begin_slice()?;
    let kept = call.client().and_then(|client| client.take_list_if(|_| true));
    let mut list = kept.unwrap_or_default();
    call.kv.lists_held -= list.held;
    let (limit, room) = (call.kv.replies.limit(), call.kv.replies.room());
    list.piece_max = limit;
    list.len_max = if may_be_sent_in_parts(call) { usize::MAX } else { room };
    list.held_max = call.kv.room_for_lists();
    let mut left = slice;
    let is_over = go_on(call.kv, call.cx, &mut list, &mut left);
    call.kv.work.end_slice(slice - left + 1);
    if let Some(fault) = list.fault.take() {
        return Err(fault);
    }
    if is_over {
        return Ok(list);
    }
    if call.kv.is_executing {
        return Err(TOO_LONG_TO_QUEUE);
    }
    keep(call, list);
    Err(Fault::NotNow)
}

/// Whether a reply may be longer than others: it is given to the reactor when there is room for the
/// next part. No message of a channel, and no other reply, may come between.
fn may_be_sent_in_parts(call: &mut Call<'_, '_, '_>) -> bool {
    let is_alone = !call.kv.is_executing && !call.kv.is_choosy;
    is_alone && call.client().is_some_and(|client| client.subscriptions() == 0)
}

/// Sends what there is room for.
fn send(call: &mut Call<'_, '_, '_>, mut list: Box<List>) -> Flow {
    while let Some(piece) = list.pieces.pop_front() {
        list.held = list.held.saturating_sub(piece.capacity());
        if !call.cx.send(call.token, &piece) {
            return Flow::Again;
        }
        if call.cx.is_held(call.token) && !list.pieces.is_empty() {
            keep(call, list);
            return Flow::Again;
        }
    }
    Flow::Next
}

/// Keeps the list until the command is called again.
fn keep(call: &mut Call<'_, '_, '_>, list: Box<List>) {
    let held = list.held;
    if let Some(client) = call.client() {
        client.rare_mut().list = Some(list);
        call.kv.lists_held += held;
    }
}
