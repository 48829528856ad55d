//! The commands about connections.

use std::fmt::Write;

use super::auth::authenticate;
use super::call::Call;
use super::client::{Answers, Client};
use super::database::DATABASES;
use super::fault::{Fault, Flow, Outcome};
use super::list::{Head, List};
use super::publish::FEED_WORK;
use super::store::Store;
use super::{pubsub, slices};
use crate::codec::resp::{Arguments, Version, parse_integer};
use crate::reactor::{Address, CloseReason, Context};

/// What clients look at to know what they may ask for: the version whose commands these are.
pub(super) const REDIS_VERSION: &str = "7.0.15";

pub(super) fn ping(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.arguments.len() > 1 {
        return Err(Fault::text("ERR wrong number of arguments for 'ping' command"));
    }
    let text = call.arguments.next();
    let only_listens = call.client().is_some_and(|client| client.only_listens());
    let replies = call.replies();
    match text {
        // Told apart from messages by its form.
        text if only_listens => {
            replies.array(2);
            replies.bulk(b"pong");
            replies.bulk(text.unwrap_or_default());
        }
        Some(text) => replies.bulk(text),
        None => replies.simple("PONG"),
    }
    Ok(Flow::Next)
}

pub(super) fn echo(call: &mut Call<'_, '_, '_>) -> Outcome {
    let text = call.argument();
    call.replies().bulk(text);
    Ok(Flow::Next)
}

pub(super) fn quit(call: &mut Call<'_, '_, '_>) -> Outcome {
    pubsub::leave_all(call)?;
    call.replies().simple("OK");
    Ok(Flow::Close)
}

pub(super) fn reset(call: &mut Call<'_, '_, '_>) -> Outcome {
    pubsub::leave_all(call)?;
    let newcomer = call.kv.config.users.newcomer();
    if let Some(client) = call.client() {
        client.version = Version::V2;
        client.standing = newcomer;
        let rare = client.take_rare();
        if let Some(rare) = rare {
            // It listens to nothing any more.
            call.kv.release(call.cx, call.token, call.client, Version::V2, *rare);
        }
    }
    call.select(0);
    call.replies().set_version(Version::V2);
    call.replies().simple("RESET");
    Ok(Flow::Next)
}

pub(super) fn select(call: &mut Call<'_, '_, '_>) -> Outcome {
    let index = parse_database(call)?;
    call.select(index);
    call.ok()
}

/// The next argument as the number of a database.
pub(super) fn parse_database(call: &mut Call<'_, '_, '_>) -> Result<usize, Fault> {
    let index = call.integer()?;
    if i32::try_from(index).is_err() {
        let text = "ERR value is out of range, value must between -2147483648 and 2147483647";
        return Err(Fault::text(text));
    }
    let Some(index) = usize::try_from(index).ok().filter(|index| *index < DATABASES) else {
        return Err(Fault::text("ERR DB index is out of range"));
    };
    Ok(index)
}

pub(super) fn hello(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut version = call.client().map_or(Version::V2, |client| client.version);
    if call.arguments.len() > 0 {
        let number = parse_integer(call.argument())
            .ok_or(Fault::text("ERR Protocol version is not an integer or out of range"))?;
        version = match number {
            2 => Version::V2,
            3 => Version::V3,
            _ => return Err(Fault::text("NOPROTO unsupported protocol version")),
        };
    }
    let (mut name, mut login) = (None, None);
    while let Some(option) = call.arguments.next() {
        if option.eq_ignore_ascii_case(b"auth") && call.arguments.len() >= 2 {
            login = Some((call.argument(), call.argument()));
        } else if option.eq_ignore_ascii_case(b"setname") && call.arguments.len() >= 1 {
            name = Some(call.argument());
            check_name(name.unwrap_or_default())?;
        } else {
            return Err(Fault::quoting("ERR Syntax error in HELLO option '{}'", option));
        }
    }
    pubsub::charge_change(call, version)?;
    if let Some((user, password)) = login {
        authenticate(call, user, password)?;
    }
    if !call.client().is_some_and(|client| client.standing.is_in) {
        return Err(Fault::text(STRANGER));
    }
    if let Some(name) = name {
        set_name(call, name);
    }
    pubsub::change_version(call, version);
    let id = call.client().map_or(0, |client| client.id);
    let replies = call.replies();
    replies.set_version(version);
    replies.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"proto");
    replies.integer(version as i64);
    replies.bulk(b"id");
    replies.integer(id as i64);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"modules");
    replies.array(0);
    Ok(Flow::Next)
}

// ---- CLIENT ----

pub(super) fn client_id(call: &mut Call<'_, '_, '_>) -> Outcome {
    let id = call.client().map_or(0, |client| client.id);
    call.answer(id as i64)
}

pub(super) fn client_getname(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    let name = kv.clients.get(call.client as usize).map_or(&[][..], Client::name);
    if name.is_empty() {
        kv.replies.null()
    } else {
        kv.replies.bulk(name)
    }
    Ok(Flow::Next)
}

pub(super) fn client_setname(call: &mut Call<'_, '_, '_>) -> Outcome {
    let name = call.argument();
    check_name(name)?;
    set_name(call, name);
    call.ok()
}

pub(super) fn client_setinfo(call: &mut Call<'_, '_, '_>) -> Outcome {
    let what = call.argument();
    if !what.eq_ignore_ascii_case(b"lib-name") && !what.eq_ignore_ascii_case(b"lib-ver") {
        return Err(Fault::quoting("ERR Unrecognized option '{}'", what));
    }
    call.ok()
}

pub(super) fn client_no_evict(call: &mut Call<'_, '_, '_>) -> Outcome {
    let choice = call.argument();
    if !choice.eq_ignore_ascii_case(b"on") && !choice.eq_ignore_ascii_case(b"off") {
        return Err(Fault::SYNTAX);
    }
    call.ok()
}

pub(super) fn client_reply(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mode = call.argument().to_ascii_lowercase();
    let Some(client) = call.client() else { return Ok(Flow::Close) };
    let answers = match (mode.as_slice(), client.wants()) {
        (b"on", _) => Answers::All,
        (b"off", _) | (b"skip", Answers::None) => Answers::None,
        (b"skip", _) => Answers::NotNext,
        _ => return Err(Fault::SYNTAX),
    };
    if answers != client.wants() {
        client.rare_mut().answers = answers;
    }
    if answers == Answers::All {
        return call.ok();
    }
    // Nor is this command answered, and what comes next is looked at.
    call.kv.is_choosy = true;
    Ok(Flow::Next)
}

pub(super) fn client_info(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut text = String::new();
    if let Some(client) = call.kv.clients.get(call.client as usize) {
        describe(&mut text, call.cx, call.kv, client);
    }
    call.replies().verbatim(&text);
    Ok(Flow::Next)
}

pub(super) fn client_list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut kind = None;
    let mut ids = None;
    if let Some(option) = call.arguments.next() {
        if option.eq_ignore_ascii_case(b"type") && call.arguments.len() == 1 {
            kind = Some(ClientType::parse(call.argument())?);
        } else if option.eq_ignore_ascii_case(b"id") && call.arguments.len() > 0 {
            ids = Some(call.arguments.clone());
        } else {
            return Err(Fault::SYNTAX);
        }
    }
    if let Some(ids) = ids {
        return list_asked_for(call, &ids);
    }
    slices::reply(call, Head::Text, |kv, cx, list, left| {
        while list.at < kv.clients.capacity() && *left > 0 && list.has_room() {
            let client = kv.clients.get(list.at).filter(|client| {
                !client.is_closed && kind.is_none_or(|kind| ClientType::of(client) == kind)
            });
            list.at += 1;
            *left = left.saturating_sub(if client.is_some() { LINE_WORK } else { FILTER_WORK });
            if let Some(client) = client {
                add_line(kv, cx, list, client);
            }
        }
        list.at >= kv.clients.capacity()
    })
}

/// A line for each number, in their order, as in Redis: for one that is there twice, two.
fn list_asked_for(call: &mut Call<'_, '_, '_>, ids: &Arguments<'_>) -> Outcome {
    let goes_on = call.goes_on();
    if !goes_on && ids.clone().any(|id| parse_integer(id).is_none()) {
        return Err(Fault::text("ERR Invalid client ID"));
    }
    // No client has a number below zero.
    let numbers = ids.clone().map(|id| parse_integer(id).map_or(0, |id| id.max(0) as u64));
    slices::reply(call, Head::Text, |kv, cx, list, left| {
        if !goes_on {
            *left = left.saturating_sub(ids.len() * ID_WORK);
            list.look_for(numbers.clone());
        }
        while list.at < kv.clients.capacity() {
            if *left == 0 {
                return false;
            }
            if let Some(client) = kv.clients.get(list.at) {
                list.found(client.id, list.at as u32);
            }
            list.at += 1;
            *left = left.saturating_sub(FILTER_WORK);
        }
        for id in numbers.skip(list.count) {
            if *left == 0 || !list.has_room() {
                return false;
            }
            list.count += 1;
            let client = list.client(id).and_then(|key| kv.clients.get(key as usize));
            let client = client.filter(|client| client.id == id && !client.is_closed);
            *left = left.saturating_sub(if client.is_some() { LINE_WORK } else { ID_WORK });
            if let Some(client) = client {
                add_line(kv, cx, list, client);
            }
        }
        true
    })
}

fn add_line(kv: &Store, cx: &Context<'_>, list: &mut List, client: &Client) {
    let mut line = String::new();
    describe(&mut line, cx, kv, client);
    list.text(&line);
}

pub(super) fn client_kill(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_old_form = call.arguments.len() == 1;
    let filter = if is_old_form {
        KillFilter { address: Some(call.argument()), takes_self: true, ..KillFilter::default() }
    } else {
        KillFilter::parse(call)?
    };
    let own = call.client;
    let list = slices::advance(call, |kv, cx, list, left| {
        if list.at == 0 {
            list.newest = kv.clients_ever;
        }
        // All of them or nobody, where there is one slice only.
        if kv.is_executing && filter.work(kv, cx, own, *left) >= *left {
            *left = 0;
            return false;
        }
        while list.at < kv.clients.capacity() && *left > 0 {
            let (key, is_self) = (list.at as u32, list.at == own as usize);
            let client = kv
                .clients
                .get(list.at)
                .filter(|client| client.id <= list.newest && filter.takes(cx, client, is_self));
            list.at += 1;
            let subscriptions = client.map_or(0, Client::subscriptions);
            *left = left.saturating_sub(FILTER_WORK + subscriptions * FEED_WORK);
            if client.is_some() {
                list.count += 1;
                list.is_for_itself |= is_self;
                if !is_self {
                    kv.close(cx, key, CloseReason::Closed);
                }
            }
        }
        list.at >= kv.clients.capacity()
    })?;
    match (is_old_form, list.count) {
        (true, 0) => return Err(Fault::text("ERR No such client")),
        (true, _) => call.replies().simple("OK"),
        (false, killed) => call.replies().integer(killed as i64),
    }
    Ok(if list.is_for_itself { Flow::Close } else { Flow::Next })
}

/// Kinds of connections, of which there are two here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Pubsub,
    /// Kinds that belong to replication.
    None,
}

impl ClientType {
    fn parse(name: &[u8]) -> Result<Self, Fault> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"pubsub" => Ok(ClientType::Pubsub),
            b"master" | b"replica" | b"slave" => Ok(ClientType::None),
            _ => Err(Fault::quoting("ERR Unknown client type '{}'", name)),
        }
    }

    fn of(client: &Client) -> Self {
        if client.subscriptions() > 0 { ClientType::Pubsub } else { ClientType::Normal }
    }
}

/// Whom `CLIENT KILL` means.
#[derive(Default)]
struct KillFilter<'a> {
    id: Option<i64>,
    address: Option<&'a [u8]>,
    kind: Option<ClientType>,
    /// The place of a user.
    user: Option<u16>,
    takes_self: bool,
}

impl<'a> KillFilter<'a> {
    fn parse(call: &mut Call<'a, '_, '_>) -> Result<Self, Fault> {
        let mut filter = KillFilter::default();
        while let Some(option) = call.arguments.next() {
            let value = call.arguments.next().ok_or(Fault::SYNTAX)?;
            if option.eq_ignore_ascii_case(b"id") {
                let id = parse_integer(value).filter(|id| *id > 0);
                filter.id = Some(id.ok_or(Fault::text("ERR client-id should be greater than 0"))?);
            } else if option.eq_ignore_ascii_case(b"type") {
                filter.kind = Some(ClientType::parse(value)?);
            } else if option.eq_ignore_ascii_case(b"addr") {
                filter.address = Some(value);
            } else if option.eq_ignore_ascii_case(b"user") {
                let user = call.kv.config.users.place(value);
                let fault = || Fault::quoting("ERR No such user '{}'", value);
                filter.user = Some(user.ok_or_else(fault)?);
            } else if option.eq_ignore_ascii_case(b"skipme") {
                filter.takes_self = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => false,
                    b"no" => true,
                    _ => return Err(Fault::SYNTAX),
                };
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(filter)
    }

    /// The work to find them and to end their connections, or as much of that as is `enough`.
    fn work(&self, kv: &Store, cx: &Context<'_>, own: u32, enough: usize) -> usize {
        let mut work = (kv.clients.capacity() - kv.clients.len()) * FILTER_WORK;
        for (key, client) in &kv.clients {
            if work >= enough {
                break;
            }
            let is_taken = self.takes(cx, client, key == own as usize);
            let subscriptions = if is_taken { client.subscriptions() } else { 0 };
            work += FILTER_WORK + subscriptions * FEED_WORK;
        }
        work
    }

    fn takes(&self, cx: &Context<'_>, client: &Client, is_self: bool) -> bool {
        !client.is_closed
            && self.id.is_none_or(|id| client.id as i64 == id)
            && self.kind.is_none_or(|kind| ClientType::of(client) == kind)
            && self.user.is_none_or(|user| client.standing.is_of(user))
            && self.address.is_none_or(|it| address(cx, client).0.as_bytes() == it)
            && (self.takes_self || !is_self)
    }
}

fn check_name(name: &[u8]) -> Result<(), Fault> {
    if name.len() > NAME_MAX {
        return Err(Fault::text("ERR Client names cannot be longer than 1024 bytes."));
    }
    if name.iter().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Fault::text(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    Ok(())
}

/// What `HELLO` says to a client that has given no password.
const STRANGER: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
    HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
    version at the same time";

/// The work to write a client's line, with a name as long as may be, and to compare its address.
const LINE_WORK: usize = 12 << 10;
const FILTER_WORK: usize = 2 << 10;
/// The work to sort a number in among many.
const ID_WORK: usize = 256;
/// A name is kept for as long as the connection, and counts as memory.
const NAME_MAX: usize = 1024;

fn set_name(call: &mut Call<'_, '_, '_>, name: &[u8]) {
    if let Some(client) = call.client()
        && !(name.is_empty() && client.rare().is_none())
    {
        let before = std::mem::replace(&mut client.rare_mut().name, name.to_vec());
        let held = &mut call.kv.held_by_clients;
        *held = *held + name.len() - before.len();
    }
}

/// The address as it is shown, and whether it is a Unix socket.
fn address(cx: &Context<'_>, client: &Client) -> (String, bool) {
    match cx.peer_address(client.token) {
        Some(Address::Tcp(address)) => (address.to_string(), false),
        Some(Address::Unix(path)) => (format!("{}:0", path.display()), true),
        None => ("?:0".into(), false),
    }
}

/// A line of `CLIENT LIST`: the fields of Redis that mean something here, in its order.
fn describe(text: &mut String, cx: &Context<'_>, kv: &Store, client: &Client) {
    let now_ms = kv.keyspace.now().steady_ms;
    let user = &kv.config.users.user(client.standing).name;
    let (address, is_unix) = address(cx, client);
    let rare = client.rare();
    let channels = rare.map_or(0, |rare| rare.channels.len());
    let patterns = rare.map_or(0, |rare| rare.patterns.len());
    let shard_channels = rare.map_or(0, |rare| rare.shard_channels.len());
    let queued = client.transaction().map_or(-1, |transaction| transaction.len() as i64);
    let flags = [(client.subscriptions() > 0, 'P'), (queued >= 0, 'x'), (is_unix, 'U')];
    let mut flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| flag).collect();
    if flags.is_empty() {
        flags.push('N');
    }
    // A name is ASCII, which was checked.
    let name = String::from_utf8_lossy(client.name());
    let age = now_ms.saturating_sub(client.opened_ms) / 1000;
    let idle = now_ms.saturating_sub(client.active_ms) / 1000;
    let command = client.last.unwrap_or("NULL");
    let output = cx.output_len(client.token);
    // Writing into a string does not fail.
    let _ = writeln!(
        text,
        "id={} addr={address} name={name} age={age} idle={idle} flags={flags} db={} sub={channels} \
         psub={patterns} ssub={shard_channels} multi={queued} omem={output} cmd={command} \
         user={user} resp={}",
        client.id, client.database, client.version as u8,
    );
}
