//! The commands that read and write values.

use super::call::{Call, Fault, Flow, Outcome};
use super::database::{End, Now};
use super::keyspace::{Found, Keyspace};
use crate::codec::resp::{Arguments, Decimal, parse_integer};

pub(super) fn get(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let kv = &mut *call.kv;
    match kv.keyspace.read(key) {
        Some(value) => kv.replies.bulk(value),
        None => kv.replies.null(),
    }
    Ok(Flow::Next)
}

pub(super) fn mget(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    kv.replies.array(call.arguments.len());
    for key in &mut call.arguments {
        match kv.keyspace.read(key) {
            Some(value) => kv.replies.bulk(value),
            None => kv.replies.null(),
        }
    }
    Ok(Flow::Next)
}

pub(super) fn getdel(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let kv = &mut *call.kv;
    match kv.keyspace.find(key) {
        Some(found) => {
            kv.replies.bulk(kv.keyspace.value(found));
            kv.keyspace.remove(found);
        }
        None => kv.replies.null(),
    }
    Ok(Flow::Next)
}

pub(super) fn getset(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let value = call.argument();
    get_of(call, key);
    call.kv.keyspace.set(key, value);
    Ok(Flow::Next)
}

pub(super) fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let value = call.argument();
    let options = SetOptions::parse(&mut call.arguments)?;
    let end = options.end(call.command.name, call.kv.keyspace.now())?;
    if options.get {
        get_of(call, key);
    }
    let kv = &mut *call.kv;
    let found = kv.keyspace.find(key);
    if found.is_some() && options.only_new || found.is_none() && options.only_existing {
        if !options.get {
            kv.replies.null();
        }
        return Ok(Flow::Next);
    }
    let found = match found {
        Some(found) => {
            if !options.keep_ttl {
                kv.keyspace.persist(found);
            }
            kv.keyspace.set_value(found, value);
            found
        }
        None => kv.keyspace.insert(key, value),
    };
    if let Some(end) = end {
        kv.keyspace.expire(found, end);
    }
    if options.get { Ok(Flow::Next) } else { call.ok() }
}

pub(super) fn setnx(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let value = call.argument();
    if call.kv.keyspace.find(key).is_some() {
        return call.answer(0);
    }
    call.kv.keyspace.insert(key, value);
    call.answer(1)
}

pub(super) fn setex(call: &mut Call<'_, '_, '_>) -> Outcome {
    set_for(call, Unit::Seconds)
}

pub(super) fn psetex(call: &mut Call<'_, '_, '_>) -> Outcome {
    set_for(call, Unit::Milliseconds)
}

pub(super) fn mset(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_pairs(call)?;
    set_pairs(call);
    call.ok()
}

pub(super) fn msetnx(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_pairs(call)?;
    let mut keys = call.arguments.clone().step_by(2);
    if keys.any(|key| call.kv.keyspace.find(key).is_some()) {
        return call.answer(0);
    }
    set_pairs(call);
    call.answer(1)
}

pub(super) fn incr(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    add(call, key, 1)
}

pub(super) fn decr(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    add(call, key, -1)
}

pub(super) fn incrby(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let by = call.integer()?;
    add(call, key, by)
}

pub(super) fn decrby(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let by = call.integer()?;
    let by = by.checked_neg().ok_or(Fault::text("ERR decrement would overflow"))?;
    add(call, key, by)
}

pub(super) fn append(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let bytes = call.argument();
    let most = call.kv.value_max;
    let keyspace = &mut call.kv.keyspace;
    let found = match keyspace.find(key) {
        Some(found) if keyspace.value(found).len() + bytes.len() > most => {
            return Err(VALUE_TOO_LONG);
        }
        Some(found) => {
            keyspace.append(found, bytes);
            found
        }
        None => keyspace.insert(key, bytes),
    };
    let len = keyspace.value(found).len();
    call.answer(len as i64)
}

pub(super) fn strlen(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let len = call.kv.keyspace.read(key).map_or(0, <[u8]>::len);
    call.answer(len as i64)
}

/// A unit of time as commands have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// What stands behind key and value of `SET`.
#[derive(Default)]
struct SetOptions<'a> {
    only_new: bool,
    only_existing: bool,
    get: bool,
    keep_ttl: bool,
    /// A number, its unit, whether it counts from now; and by which option it was given.
    expiry: Option<(&'a [u8], Unit, bool)>,
}

impl<'a> SetOptions<'a> {
    fn parse(arguments: &mut Arguments<'a>) -> Result<Self, Fault> {
        let mut options = SetOptions::default();
        while let Some(option) = arguments.next() {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            let kind = if is("ex") {
                Some((Unit::Seconds, true))
            } else if is("px") {
                Some((Unit::Milliseconds, true))
            } else if is("exat") {
                Some((Unit::Seconds, false))
            } else if is("pxat") {
                Some((Unit::Milliseconds, false))
            } else {
                None
            };
            let expires = options.expiry.map(|(_, unit, from_now)| (unit, from_now));
            if let Some((unit, from_now)) = kind {
                // The same option may be repeated, and the last one counts; as in Redis.
                if options.keep_ttl || expires.is_some_and(|before| before != (unit, from_now)) {
                    return Err(Fault::SYNTAX);
                }
                let number = arguments.next().ok_or(Fault::SYNTAX)?;
                options.expiry = Some((number, unit, from_now));
            } else if is("nx") && !options.only_existing {
                options.only_new = true;
            } else if is("xx") && !options.only_new {
                options.only_existing = true;
            } else if is("get") {
                options.get = true;
            } else if is("keepttl") && expires.is_none() {
                options.keep_ttl = true;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }

    /// When the key is to end.
    fn end(&self, command: &str, now: Now) -> Result<Option<End>, Fault> {
        let Some((number, unit, from_now)) = self.expiry else { return Ok(None) };
        let number = parse_integer(number).ok_or(Fault::NOT_AN_INTEGER)?;
        end_of(number, unit, from_now, now).ok_or_else(|| invalid_expire_time(command)).map(Some)
    }
}

/// The end after a time that a value is to last, or at a point in time; either must be positive.
pub(super) fn end_of(number: i64, unit: Unit, from_now: bool, now: Now) -> Option<End> {
    let scale = if unit == Unit::Seconds { 1000 } else { 1 };
    let number = number.checked_mul(scale).filter(|number| *number > 0)?;
    if !from_now {
        return Some(End::Wall(number.unsigned_abs()));
    }
    // As in Redis, which keeps points in time only.
    number.checked_add_unsigned(now.wall_ms)?;
    Some(now.after_ms(number.unsigned_abs()))
}

pub(super) fn invalid_expire_time(command: &str) -> Fault {
    Fault::of(format!("ERR invalid expire time in '{command}' command"))
}

fn set_for(call: &mut Call<'_, '_, '_>, unit: Unit) -> Outcome {
    let key = call.argument();
    let number = call.integer()?;
    let value = call.argument();
    let end = end_of(number, unit, true, call.kv.keyspace.now())
        .ok_or_else(|| invalid_expire_time(call.command.name))?;
    let found = call.kv.keyspace.set(key, value);
    call.kv.keyspace.expire(found, end);
    call.ok()
}

fn get_of(call: &mut Call<'_, '_, '_>, key: &[u8]) {
    let kv = &mut *call.kv;
    match kv.keyspace.read(key) {
        Some(value) => kv.replies.bulk(value),
        None => kv.replies.null(),
    }
}

fn check_pairs(call: &Call<'_, '_, '_>) -> Result<(), Fault> {
    if call.arguments.len().is_multiple_of(2) {
        return Ok(());
    }
    let name = call.command.name;
    Err(Fault::of(format!("ERR wrong number of arguments for '{name}' command")))
}

fn set_pairs(call: &mut Call<'_, '_, '_>) {
    while let (Some(key), Some(value)) = (call.arguments.next(), call.arguments.next()) {
        call.kv.keyspace.set(key, value);
    }
}

fn add(call: &mut Call<'_, '_, '_>, key: &[u8], by: i64) -> Outcome {
    let keyspace = &mut call.kv.keyspace;
    let found = keyspace.find(key);
    let before = found.map_or(Some(0), |found| parse_integer(keyspace.value(found)));
    let before = before.ok_or(Fault::NOT_AN_INTEGER)?;
    let overflow = Fault::text("ERR increment or decrement would overflow");
    let sum = before.checked_add(by).ok_or(overflow)?;
    store(keyspace, found, key, Decimal::new(sum).as_bytes());
    call.answer(sum)
}

/// A number keeps the end that it had.
fn store(keyspace: &mut Keyspace, found: Option<Found>, key: &[u8], value: &[u8]) {
    match found {
        Some(found) => keyspace.set_value(found, value),
        None => drop(keyspace.insert(key, value)),
    }
}

/// The text of Redis, which calls the limit of a bulk string so.
const VALUE_TOO_LONG: Fault =
    Fault::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
