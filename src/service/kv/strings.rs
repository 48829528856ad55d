//! The commands that read and write values.

use std::ops::Range;

use super::call::Call;
use super::database::{End, Now};
use super::extended::Extended;
use super::fault::{Fault, Flow, Outcome};
use super::keyspace::{Found, Keyspace};
use super::store::Store;
use crate::codec::resp::{Arguments, Decimal, parse_integer};

pub(super) fn get(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    answer_value(call.kv, key);
    Ok(Flow::Next)
}

pub(super) fn mget(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.charge_keys()?;
    let kv = &mut *call.kv;
    kv.replies.array(call.arguments.len());
    call.arguments.by_ref().for_each(|key| answer_value(kv, key));
    Ok(Flow::Next)
}

pub(super) fn getdel(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let kv = &mut *call.kv;
    match kv.keyspace.look_up(key) {
        Some(found) => {
            kv.replies.bulk(kv.keyspace.value(found));
            kv.keyspace.remove(found);
        }
        None => kv.replies.null(),
    }
    Ok(Flow::Next)
}

pub(super) fn getex(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let change = EndChange::parse(&mut call.arguments)?;
    let kv = &mut *call.kv;
    let Some(found) = kv.keyspace.look_up(key) else {
        kv.replies.null();
        return Ok(Flow::Next);
    };
    let now = kv.keyspace.now();
    let end = match &change {
        EndChange::At(expiry) => Some(expiry.end(call.name, now)?),
        EndChange::Stay | EndChange::Persist => None,
    };
    kv.replies.bulk(kv.keyspace.value(found));
    match end {
        Some(end) if now.left_ms(end) == 0 => kv.keyspace.remove(found),
        Some(end) => kv.keyspace.expire(found, end),
        None if matches!(change, EndChange::Persist) => drop(kv.keyspace.persist(found)),
        None => {}
    }
    Ok(Flow::Next)
}

pub(super) fn getset(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let value = call.argument();
    answer_value(call.kv, key);
    call.kv.keyspace.set(key, value);
    Ok(Flow::Next)
}

pub(super) fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let value = call.argument();
    if call.arguments.len() == 0 {
        call.kv.keyspace.set(key, value);
        return call.ok();
    }
    let options = SetOptions::parse(&mut call.arguments)?;
    let (name, now) = (call.name, call.kv.keyspace.now());
    let end = options.expiry.as_ref().map(|expiry| expiry.end(name, now)).transpose()?;
    if options.get {
        answer_value(call.kv, key);
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
    call.charge_keys()?;
    set_pairs(call);
    call.ok()
}

pub(super) fn msetnx(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_pairs(call)?;
    call.charge_keys()?;
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

/// The sum is that of Redis, which adds numbers of the 80-bit format of x86.
pub(super) fn incrbyfloat(call: &mut Call<'_, '_, '_>) -> Outcome {
    const NOT_A_FLOAT: Fault = Fault::text("ERR value is not a valid float");
    const NO_SUM: Fault = Fault::text("ERR increment would produce NaN or Infinity");
    let key = call.argument();
    let by = call.argument();
    let found = call.kv.keyspace.find(key);
    let value_work = found.map_or(0, |found| Extended::work(call.kv.keyspace.value(found)));
    call.kv.charge_work(1 + Extended::work(by) + value_work)?;
    let keyspace = &call.kv.keyspace;
    let before = found.map_or(b"0".as_slice(), |found| keyspace.value(found));
    let before = Extended::parse(before).ok_or(NOT_A_FLOAT)?;
    let by = Extended::parse(by).ok_or(NOT_A_FLOAT)?;
    let sum = before.add(by).ok_or(NO_SUM)?.to_string();
    call.kv.work.add(Extended::work(sum.as_bytes()));
    call.kv.check_memory(call.kv.keyspace.growth(found, key, sum.len()))?;
    store(&mut call.kv.keyspace, found, key, sum.as_bytes());
    call.replies().bulk(sum.as_bytes());
    Ok(Flow::Next)
}

pub(super) fn append(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let bytes = call.argument();
    let keyspace = &mut call.kv.keyspace;
    let len = keyspace.find(key).map_or(0, |found| keyspace.value(found).len());
    write(call, key, len, bytes)?;
    call.answer((len + bytes.len()) as i64)
}

pub(super) fn getrange(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let (start, end) = (call.integer()?, call.integer()?);
    let kv = &mut *call.kv;
    let value = kv.keyspace.read(key).unwrap_or_default();
    let range = Span::new(start, end).map_or(0..0, |span| span.clamp(value.len()));
    kv.replies.bulk(&value[range]);
    Ok(Flow::Next)
}

pub(super) fn setrange(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let offset = usize::try_from(call.integer()?);
    let offset = offset.map_err(|_| Fault::text("ERR offset is out of range"))?;
    let bytes = call.argument();
    if !bytes.is_empty() {
        write(call, key, offset, bytes)?;
    }
    let keyspace = &mut call.kv.keyspace;
    let len = keyspace.find(key).map_or(0, |found| keyspace.value(found).len());
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

/// `EX`, `PX`, `EXAT` or `PXAT`, with the number behind it.
struct Expiry<'a> {
    number: &'a [u8],
    unit: Unit,
    from_now: bool,
}

impl<'a> Expiry<'a> {
    /// None if the option is another one.
    fn parse(option: &[u8], arguments: &mut Arguments<'a>) -> Result<Option<Self>, Fault> {
        let (unit, from_now) = match option.to_ascii_lowercase().as_slice() {
            b"ex" => (Unit::Seconds, true),
            b"px" => (Unit::Milliseconds, true),
            b"exat" => (Unit::Seconds, false),
            b"pxat" => (Unit::Milliseconds, false),
            _ => return Ok(None),
        };
        let number = arguments.next().ok_or(Fault::SYNTAX)?;
        Ok(Some(Expiry { number, unit, from_now }))
    }

    /// Whether both are the same option, which may be repeated: the last counts, as in Redis.
    fn repeats(&self, other: &Expiry<'_>) -> bool {
        (self.unit, self.from_now) == (other.unit, other.from_now)
    }

    /// When the key is to end.
    fn end(&self, command: &str, now: Now) -> Result<End, Fault> {
        let number = parse_integer(self.number).ok_or(Fault::NOT_AN_INTEGER)?;
        end_of(number, self.unit, self.from_now, now).ok_or_else(|| invalid_expire_time(command))
    }
}

/// What stands behind key and value of `SET`.
#[derive(Default)]
struct SetOptions<'a> {
    only_new: bool,
    only_existing: bool,
    get: bool,
    keep_ttl: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    fn parse(arguments: &mut Arguments<'a>) -> Result<Self, Fault> {
        let mut options = SetOptions::default();
        while let Some(option) = arguments.next() {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if let Some(expiry) = Expiry::parse(option, arguments)? {
                let before = &options.expiry;
                if options.keep_ttl || before.as_ref().is_some_and(|it| !expiry.repeats(it)) {
                    return Err(Fault::SYNTAX);
                }
                options.expiry = Some(expiry);
            } else if is("nx") && !options.only_existing {
                options.only_new = true;
            } else if is("xx") && !options.only_new {
                options.only_existing = true;
            } else if is("get") {
                options.get = true;
            } else if is("keepttl") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// What `GETEX` does to the time at which a key ends.
enum EndChange<'a> {
    Stay,
    Persist,
    At(Expiry<'a>),
}

impl<'a> EndChange<'a> {
    fn parse(arguments: &mut Arguments<'a>) -> Result<Self, Fault> {
        let mut change = EndChange::Stay;
        while let Some(option) = arguments.next() {
            change = match (Expiry::parse(option, arguments)?, change) {
                (Some(expiry), EndChange::Stay) => EndChange::At(expiry),
                (Some(expiry), EndChange::At(before)) if expiry.repeats(&before) => {
                    EndChange::At(expiry)
                }
                (None, EndChange::Stay | EndChange::Persist)
                    if option.eq_ignore_ascii_case(b"persist") =>
                {
                    EndChange::Persist
                }
                _ => return Err(Fault::SYNTAX),
            };
        }
        Ok(change)
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
        .ok_or_else(|| invalid_expire_time(call.name))?;
    let found = call.kv.keyspace.set(key, value);
    call.kv.keyspace.expire(found, end);
    call.ok()
}

#[inline]
fn answer_value(kv: &mut Store, key: &[u8]) {
    match kv.keyspace.read(key) {
        Some(value) => kv.replies.bulk(value),
        None => kv.replies.null(),
    }
}

fn check_pairs(call: &Call<'_, '_, '_>) -> Result<(), Fault> {
    if call.arguments.len().is_multiple_of(2) {
        return Ok(());
    }
    let name = call.name;
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

/// Writes into the value of a key from a place on. A key that is not there comes to be, and memory is
/// asked for before any is taken.
pub(super) fn write(
    call: &mut Call<'_, '_, '_>,
    key: &[u8],
    at: usize,
    bytes: &[u8],
) -> Result<(), Fault> {
    let kv = &mut *call.kv;
    let end = at.checked_add(bytes.len()).filter(|end| *end <= kv.value_max);
    let end = end.ok_or(VALUE_TOO_LONG)?;
    let found = kv.keyspace.find(key);
    let len = found.map_or(0, |found| kv.keyspace.value(found).len());
    let growth = kv.keyspace.growth(found, key, end);
    kv.check_memory(growth)?;
    kv.charge_work(growth.max(at.saturating_sub(len)))?;
    let found = found.unwrap_or_else(|| kv.keyspace.insert(key, b""));
    kv.keyspace.write(found, at, bytes);
    Ok(())
}

/// Places in a value, from one to another, which counts too; negative ones count from its end.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Span {
    /// None for a span that is empty however long the value is. Redis asks that before places in front of
    /// the value's beginning are moved to the beginning.
    pub(super) fn new(start: i64, end: i64) -> Option<Self> {
        let is_empty = start < 0 && end < 0 && start > end;
        (!is_empty).then_some(Span { start, end })
    }

    /// The places within the span, of a value that has `len` places.
    pub(super) fn clamp(self, len: usize) -> Range<usize> {
        let len = len as i64;
        let place = |index: i64| if index < 0 { (len + index).max(0) } else { index };
        let (start, end) = (place(self.start), place(self.end).min(len - 1));
        if start > end { 0..0 } else { start as usize..end as usize + 1 }
    }
}

/// The text of Redis, which calls the limit of a bulk string so.
const VALUE_TOO_LONG: Fault =
    Fault::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
