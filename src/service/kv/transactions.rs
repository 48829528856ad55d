//! Transactions: commands that a client queues, and that are carried out in one go.
//!
//! ```text
//!   MULTI      a queue begins                       DISCARD   the queue is dropped
//!   SET k 1    checked, copied, answered `QUEUED`   EXEC      all of it is carried out, and answered
//!   GET k      checked, copied, answered `QUEUED`             in one array; or nothing is, where a check
//!                                                             failed or a watched key has changed
//! ```
//!
//! A queue is kept as the bytes of its requests, and read again when it is carried out. Nobody is
//! served in between, so there are limits to what one transaction may ask for, and all of them are
//! checked while it is queued.

use std::collections::btree_map::Entry;

use super::call::Call;
use super::client::Client;
use super::command::Flags;
use super::fault::{Fault, Flow, Outcome, REPLY_TOO_LONG};
use super::permission::Denial;
use super::publication::{Message, Refusal};
use super::pubsub;
use super::store::Store;
use super::transaction::Transaction;
use super::user::Standing;
use super::watches::{Seen, Watches};
use super::work::{LOOK_UP_WORK, TRANSACTION_WORK_MAX};
use crate::codec::resp::{Part, Replies, Request};

/// Bytes that a client may queue for commands which add no data, where the memory is used up.
const GRACE: usize = 1 << 10;
/// The most keys that one client may watch. `EXEC` looks at each of them.
const WATCHED_MAX: usize = 4096;
/// The most work to find out where the messages of a transaction go. As much again comes when they
/// are published, and nobody is served meanwhile.
const PUBLISHING_MAX: usize = TRANSACTION_WORK_MAX / 2;
/// As much of the reply is kept for each command: room to say that its own does not fit.
const REPLY_MIN: usize = 64;

pub(super) fn multi(call: &mut Call<'_, '_, '_>) -> Outcome {
    let Some(client) = call.client() else { return Ok(Flow::Close) };
    if client.transaction().is_some() {
        return Err(Fault::text("ERR MULTI calls can not be nested"));
    }
    client.rare_mut().transaction = Some(Transaction::default());
    call.ok()
}

pub(super) fn discard(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.kv.end_transaction(call.client).is_none() {
        return Err(Fault::text("ERR DISCARD without MULTI"));
    }
    call.kv.unwatch(call.client);
    call.ok()
}

pub(super) fn watch(call: &mut Call<'_, '_, '_>) -> Outcome {
    let Some(client) = call.client() else { return Ok(Flow::Close) };
    if client.transaction().is_some() {
        return Err(Fault::text("ERR WATCH inside MULTI is not allowed"));
    }
    let before = client.rare().map_or(0, |rare| rare.watched.len());
    // All or nothing, so that nobody has to guess how far it came.
    if before + call.arguments.len() > WATCHED_MAX {
        return Err(Fault::text("ERR max number of watched keys of a client reached"));
    }
    call.charge_keys()?;
    // As if nobody watched any of them.
    call.kv.check_memory(call.arguments.clone().map(Watches::cost).sum())?;
    let Store { keyspace, clients, .. } = call.kv;
    let Some(client) = clients.get_mut(call.client as usize) else { return Ok(Flow::Close) };
    for key in &mut call.arguments {
        let seen = keyspace.watch(key);
        match client.rare_mut().watched.entry(seen.watched) {
            Entry::Vacant(place) => drop(place.insert(seen.version)),
            // It is the version that was seen first which counts.
            Entry::Occupied(_) => keyspace.unwatch(seen.watched),
        }
    }
    call.ok()
}

pub(super) fn unwatch(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.kv.unwatch(call.client);
    call.ok()
}

pub(super) fn exec(call: &mut Call<'_, '_, '_>) -> Outcome {
    let transaction = call.client().and_then(|client| client.transaction());
    let Some(transaction) = transaction else {
        return Err(Fault::text("ERR EXEC without MULTI"));
    };
    let (cost, flags, refusal) = (transaction.cost(), transaction.flags, transaction.refusal());
    let publishes = refusal.is_none() && flags.has(Flags::PUBLISHES);
    if publishes && !call.kv.may_publish(call.token) {
        return Ok(call.kv.wait_to_publish(call.cx, call.token, call.client));
    }
    call.kv.charge_work(cost)?;
    call.kv.leave_publish_queue(call.token);
    let has_changed = refusal.is_none() && call.kv.watched_keys_have_changed(call.client);
    let mut compared = Ok(0);
    if publishes && !has_changed {
        let Some(room) = check_room(call) else { return Ok(Flow::Again) };
        compared = room;
    }
    let transaction = call.kv.end_transaction(call.client).unwrap_or_default();
    call.kv.unwatch(call.client);
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    if has_changed {
        call.replies().null_array();
        return Ok(Flow::Next);
    }
    let compared = compared.map_err(|fault| aborted_by(&fault))?;
    if flags.has(Flags::DENYOOM) && call.kv.used() > call.kv.config.max_memory {
        return Err(aborted_by(&Fault::OUT_OF_MEMORY));
    }
    // Whoever ends a subscription in the transaction is given before what was published until now.
    if flags.has(Flags::LEAVES) {
        pubsub::catch_up(call);
    }
    Ok(carry_out(call, transaction, cost + compared))
}

/// The reply where `EXEC` itself is refused.
pub(super) fn aborted_by(fault: &Fault) -> Fault {
    let Fault::Text(text) = fault else { return fault.clone() };
    let text = text.strip_prefix(b"ERR ").unwrap_or(text);
    Fault::Text([b"EXECABORT Transaction discarded because of: ", text].concat().into())
}

impl Store {
    /// Puts a request behind those that its client has queued.
    pub(super) fn queue(&mut self, client: u32, flags: Flags, request: &Request<'_>) -> Outcome {
        let len = request.array_len();
        let may_queue = self.may_queue(client, flags, len);
        let Some(transaction) = self.transaction(client) else { return Ok(Flow::Close) };
        if !transaction.is_spoilt {
            may_queue?;
            let before = transaction.requests.capacity();
            transaction.add(flags, request);
            self.held_by_clients += transaction.memory_since(before);
        }
        self.replies.simple("QUEUED");
        Ok(Flow::Next)
    }

    /// Whether the limits permit another command of `len` bytes.
    fn may_queue(&self, client: u32, flags: Flags, len: usize) -> Result<(), Fault> {
        let client = self.clients.get(client as usize);
        let Some(transaction) = client.and_then(Client::transaction) else { return Ok(()) };
        let queued = transaction.requests.len() + len;
        if queued > self.config.transaction_memory {
            return Err(Fault::text("ERR transaction takes more memory than it may"));
        }
        if (transaction.count + 2) * REPLY_MIN > self.replies.limit() {
            return Err(Fault::text("ERR transaction has more commands than a reply has room for"));
        }
        let is_small = queued <= GRACE && !flags.has(Flags::DENYOOM);
        if is_small { Ok(()) } else { self.check_memory(transaction.growth(len)) }
    }

    /// A request was refused: if its client is queueing, nothing of that will be carried out.
    pub(super) fn spoil_transaction(&mut self, client: u32) {
        if let Some(transaction) = self.transaction(client) {
            let held = transaction.requests.capacity();
            *transaction = Transaction { is_spoilt: true, ..Transaction::default() };
            self.held_by_clients -= held;
        }
    }

    /// Takes the queue of a client away; returns it, if there was one.
    pub(super) fn end_transaction(&mut self, client: u32) -> Option<Transaction> {
        let client = self.clients.get_mut(client as usize)?;
        client.transaction()?;
        let transaction = client.rare_mut().transaction.take()?;
        self.held_by_clients -= transaction.requests.capacity();
        Some(transaction)
    }

    /// Lets a client watch nothing any more.
    pub(super) fn unwatch(&mut self, client: u32) {
        let Some(client) = self.clients.get_mut(client as usize) else { return };
        if client.rare().is_some() {
            let watched = std::mem::take(&mut client.rare_mut().watched);
            self.work.spend(watched.len() * LOOK_UP_WORK);
            watched.into_keys().for_each(|watched| self.keyspace.unwatch(watched));
        }
    }

    fn watched_keys_have_changed(&mut self, client: u32) -> bool {
        let rare = self.clients.get(client as usize).and_then(Client::rare);
        let mut watched = rare.into_iter().flat_map(|rare| &rare.watched);
        watched.any(|(watched, version)| {
            self.keyspace.has_changed(Seen { watched: *watched, version: *version })
        })
    }

    fn transaction(&mut self, client: u32) -> Option<&mut Transaction> {
        let client = self.clients.get_mut(client as usize)?;
        client.transaction()?;
        client.rare_mut().transaction.as_mut()
    }
}

/// Whether every message that is queued may be published now: the work that it was to find out, or an
/// error if that was too much. None, if one may not, and then the publisher is held.
fn check_room(call: &mut Call<'_, '_, '_>) -> Option<Result<usize, Fault>> {
    let mut transaction = call.kv.end_transaction(call.client)?;
    let (mut is_room, mut left) = (true, PUBLISHING_MAX);
    transaction.each(|request, _| {
        let mut arguments = request.arguments();
        let form = pubsub::form_of(arguments.next().unwrap_or_default());
        if is_room
            && let Some(form) = form
            && let (Some(channel), Some(text)) = (arguments.next(), arguments.next())
        {
            let mut progress = std::mem::take(&mut call.kv.progress);
            let message = Message { form, channel, text };
            let found = call.kv.find_feeds(call.cx, call.token, message, &mut progress, &mut left);
            is_room = found != Err(Refusal::Full);
            call.kv.forget(progress);
        }
    });
    let work = PUBLISHING_MAX - left;
    // Also if nothing comes of it.
    call.kv.work.add(work);
    // It is still queued.
    call.kv.held_by_clients += transaction.memory();
    call.client()?.rare_mut().transaction = Some(transaction);
    let is_short = left > 0;
    is_room.then_some(if is_short { Ok(work) } else { Err(Fault::TRANSACTION_TOO_LONG) })
}

/// `work` has been done for it until now.
fn carry_out(call: &mut Call<'_, '_, '_>, mut transaction: Transaction, work: usize) -> Flow {
    call.replies().array(transaction.len());
    let mut flow = Flow::Next;
    call.kv.is_executing = true;
    call.kv.has_guessed = false;
    let queued_by = call.client().map(|client| client.standing);
    let outside = call.kv.work.begin_transaction();
    call.kv.work.add(work);
    transaction.each(|request, left| {
        let outer = call.replies().begin_part(left * REPLY_MIN);
        match carry_out_one(call, request, queued_by) {
            Ok(Flow::Close) => flow = Flow::Close,
            Ok(Flow::Next) => {}
            // What was found to have room before the first command has none behind others.
            Ok(Flow::Again) | Err(Fault::NotNow) => {
                call.replies().error("ERR channel is full; try again")
            }
            Err(Fault::Text(text)) => {
                call.kv.counters.errors += 1;
                call.replies().retract();
                call.replies().error(text);
            }
        }
        end_part(call.replies(), outer);
    });
    call.kv.is_executing = false;
    call.kv.work.end_transaction(outside.saturating_sub(work));
    flow
}

fn end_part(replies: &mut Replies, outer: Part) {
    if !replies.end() {
        replies.error(REPLY_TOO_LONG);
    }
    replies.end_part(outer);
}

fn carry_out_one(
    call: &mut Call<'_, '_, '_>,
    request: &Request<'_>,
    queued_by: Option<Standing>,
) -> Outcome {
    let mut arguments = request.arguments();
    let command = call.commands.named_by(&mut arguments, request)?;
    let standing = call.client().map(|client| client.standing);
    // As the user who queued it the client was asked for all of it then.
    if standing.zip(queued_by).is_some_and(|(now, then)| !now.is_same_user(then)) {
        let permitted = call.kv.permit(call.client, command, request);
        permitted.map_err(Denial::fault_in_transaction)?;
    }
    if command.flags.has(Flags::DENYOOM) && call.kv.used() > call.kv.config.max_memory {
        return Err(Fault::OUT_OF_MEMORY);
    }
    call.kv.counters.commands += 1;
    let Call { kv, commands, cx, token, client, .. } = call;
    let (commands, token, client, name) = (*commands, *token, *client, command.name);
    (command.run)(&mut Call { kv, commands, cx, token, client, name, request, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_reply_for_each_command_holds_the_error_that_takes_its_place() {
        assert!(REPLY_TOO_LONG.len() + "-\r\n".len() <= REPLY_MIN);
    }
}
