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
//! the command has found until now is kept in a [`List`], in pieces, which are priced before they are taken: as
//! much as one reply may have is there for somebody in any case, the rest is part of the memory limit.

use super::call::Call;
use super::fault::{Fault, Flow, Outcome, REPLY_TOO_LONG};
use super::list::{Head, List};
use super::store::Store;
use crate::codec::resp::Version;
use crate::reactor::Context;

/// Makes a reply in slices. `go_on` does some of the work, less than is given to it if it can, which it
/// takes away from that, and says whether it has come to the end.
pub(super) fn reply(
    call: &mut Call<'_, '_, '_>,
    head: Head,
    go_on: impl FnOnce(&mut Store, &mut Context<'_>, &mut List, &mut usize) -> bool,
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
    go_on: impl FnOnce(&mut Store, &mut Context<'_>, &mut List, &mut usize) -> bool,
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

/// A client that wants a list within a transaction, where nobody is served meanwhile.
const TOO_LONG_TO_QUEUE: Fault = Fault::text("ERR command takes too long for a transaction");
