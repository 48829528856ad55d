//! The commands that are about keys, whatever they hold.

use super::call::Call;
use super::connection::parse_database;
use super::database::{End, Now};
use super::fault::{Fault, Flow, Outcome, c_string};
use super::glob::{PASS_WORK, Pattern, TEXT_WORK};
use super::list::Head;
use super::slices;
use super::strings::{Unit, invalid_expire_time};
use super::work::TURN_MAX;
use crate::codec::resp::{Arguments, Decimal, parse_integer};

pub(super) fn del(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.charge_keys()?;
    let mut count = 0;
    for key in &mut call.arguments {
        if let Some(found) = call.kv.keyspace.find(key) {
            call.kv.keyspace.remove(found);
            count += 1;
        }
    }
    call.answer(count)
}

pub(super) fn exists(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.charge_keys()?;
    let keyspace = &mut call.kv.keyspace;
    let count = call.arguments.by_ref().filter(|key| keyspace.read(key).is_some()).count();
    call.answer(count as i64)
}

pub(super) fn rename(call: &mut Call<'_, '_, '_>) -> Outcome {
    move_to_name(call, true)?;
    call.ok()
}

pub(super) fn renamenx(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_moved = move_to_name(call, false)?;
    call.answer(i64::from(is_moved))
}

pub(super) fn copy(call: &mut Call<'_, '_, '_>) -> Outcome {
    let from = call.argument();
    let to = call.argument();
    let here = call.kv.keyspace.selected();
    let CopyOptions { replaces, database } = CopyOptions::parse(call, here)?;
    if from == to && database == here {
        return Err(Fault::text("ERR source and destination objects are the same"));
    }
    let kv = &mut *call.kv;
    let Some(found) = kv.keyspace.look_up(from) else { return call.answer(0) };
    let replaced = kv.keyspace.within(database, |keys| keys.find(to).map(|it| keys.cost(it)));
    if replaced.is_some() && !replaces {
        return call.answer(0);
    }
    let needed = kv.keyspace.cost(found) + to.len();
    kv.check_memory(needed.saturating_sub(replaced.unwrap_or(0)))?;
    kv.charge_work(needed)?;
    kv.keyspace.copy(found, database, to);
    call.answer(1)
}

pub(super) fn randomkey(call: &mut Call<'_, '_, '_>) -> Outcome {
    let kv = &mut *call.kv;
    let mut steps = 0;
    match kv.keyspace.random(&mut steps) {
        Some(key) => kv.replies.bulk(key),
        None => kv.replies.null(),
    }
    // The first steps cost no more than other commands do. Many are needed where keys have just ended.
    kv.work.add(steps.saturating_sub(STEPS_FREE) * PASS_WORK);
    Ok(Flow::Next)
}

// ---- OBJECT and MEMORY ----

/// What Redis would make of the value, were it set now: here all are stored alike.
pub(super) fn object_encoding(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let kv = &mut *call.kv;
    let Some(found) = kv.keyspace.look_up(key) else {
        kv.replies.null();
        return Ok(Flow::Next);
    };
    let value = kv.keyspace.value(found);
    let encoding: &[u8] = match value.len() {
        _ if parse_integer(value).is_some() => b"int",
        ..=EMBEDDED_MAX => b"embstr",
        _ => b"raw",
    };
    kv.replies.bulk(encoding);
    Ok(Flow::Next)
}

/// What Redis says unless it evicts the keys that are used least.
pub(super) fn object_freq(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    if call.kv.keyspace.look_up(key).is_some() {
        return Err(Fault::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ));
    }
    call.replies().null();
    Ok(Flow::Next)
}

pub(super) fn object_refcount(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    if call.kv.keyspace.look_up(key).is_some() {
        return call.answer(1);
    }
    call.replies().null();
    Ok(Flow::Next)
}

pub(super) fn memory_usage(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    while let Some(option) = call.arguments.next() {
        if !option.eq_ignore_ascii_case(b"samples") || call.arguments.len() == 0 {
            return Err(Fault::SYNTAX);
        }
        // Nothing is estimated, so the number only has to be one.
        if call.integer()? < 0 {
            return Err(Fault::SYNTAX);
        }
    }
    let keyspace = &mut call.kv.keyspace;
    if let Some(found) = keyspace.find(key) {
        let cost = keyspace.cost(found);
        return call.answer(cost as i64);
    }
    call.replies().null();
    Ok(Flow::Next)
}

pub(super) fn type_of(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let is_there = call.kv.keyspace.look_up(key).is_some();
    call.replies().simple(if is_there { "string" } else { "none" });
    Ok(Flow::Next)
}

pub(super) fn expire(call: &mut Call<'_, '_, '_>) -> Outcome {
    expire_at(call, Unit::Seconds, true)
}

pub(super) fn pexpire(call: &mut Call<'_, '_, '_>) -> Outcome {
    expire_at(call, Unit::Milliseconds, true)
}

pub(super) fn expireat(call: &mut Call<'_, '_, '_>) -> Outcome {
    expire_at(call, Unit::Seconds, false)
}

pub(super) fn pexpireat(call: &mut Call<'_, '_, '_>) -> Outcome {
    expire_at(call, Unit::Milliseconds, false)
}

pub(super) fn ttl(call: &mut Call<'_, '_, '_>) -> Outcome {
    // Rounded to the nearest second, as in Redis.
    answer_end(call, |now, end| (now.left_ms(end) + 500) / 1000)
}

pub(super) fn pttl(call: &mut Call<'_, '_, '_>) -> Outcome {
    answer_end(call, Now::left_ms)
}

pub(super) fn expiretime(call: &mut Call<'_, '_, '_>) -> Outcome {
    answer_end(call, |now, end| (now.wall_ms_at(end) + 500) / 1000)
}

pub(super) fn pexpiretime(call: &mut Call<'_, '_, '_>) -> Outcome {
    answer_end(call, Now::wall_ms_at)
}

pub(super) fn persist(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let keyspace = &mut call.kv.keyspace;
    let persisted = keyspace.find(key).is_some_and(|found| keyspace.persist(found));
    call.answer(i64::from(persisted))
}

pub(super) fn keys(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut pattern = Pattern::new(call.pattern()?);
    slices::reply(call, Head::Array, |kv, _, list, left| {
        // A walk that is over does not go on, so that 0 is its beginning.
        let from = if list.at == 0 { u32::MAX } else { list.at as u32 };
        let next = kv.keyspace.walk(from, |key| {
            let Some(key) = key else {
                *left = left.saturating_sub(PASS_WORK);
                return *left > 0;
            };
            let before = pattern.work;
            if pattern.matches(key) {
                list.bulk(key);
            }
            *left = left.saturating_sub(KEY_WORK + key.len() + pattern.work - before);
            *left > 0 && list.has_room()
        });
        list.at = next as usize;
        next == 0
    })
}

pub(super) fn scan(call: &mut Call<'_, '_, '_>) -> Outcome {
    let cursor = parse_cursor(c_string(call.argument()))?;
    let options = ScanOptions::parse(call)?;
    let kv = &mut *call.kv;
    let (mut keys, mut next) = (Vec::new(), 0);
    // What is no cursor of ours is behind the last key.
    if let Ok(cursor) = u32::try_from(cursor) {
        let count = options.count.min(SCAN_COUNT_MAX);
        let mut pattern = options.pattern.map(Pattern::new);
        kv.charge_work(count.min(kv.keyspace.places()) * TEXT_WORK)?;
        let (mut looked_at, mut size, mut passed, mut compared) = (0, 0, 0, 0);
        next = kv.keyspace.walk(if cursor == 0 { u32::MAX } else { cursor }, |key| {
            let Some(key) = key else {
                passed += 1;
                return passed < SCAN_PASSED_MAX;
            };
            // Keys that do not match count as well: to compare them is the work.
            (looked_at, size) = (looked_at + 1, size + key.len());
            let is_match = pattern.as_mut().is_none_or(|it| it.matches(key));
            compared = pattern.as_ref().map_or(0, |pattern| pattern.work);
            if is_match && options.wants_strings {
                keys.push(key.to_vec());
            }
            looked_at < count && size < SCAN_SIZE && compared < SCAN_WORK_MAX
        });
        kv.work.add(passed * PASS_WORK + compared);
    }
    kv.replies.array(2);
    kv.replies.bulk(Decimal::new(i64::from(next)).as_bytes());
    kv.replies.array(keys.len());
    keys.iter().for_each(|key| kv.replies.bulk(key));
    Ok(Flow::Next)
}

/// Renames a key. Returns whether that was done: not, if another key has the name and must not be
/// replaced.
fn move_to_name(call: &mut Call<'_, '_, '_>, replaces: bool) -> Result<bool, Fault> {
    let from = call.argument();
    let to = call.argument();
    let kv = &mut *call.kv;
    let found = kv.keyspace.find(from).ok_or(Fault::text("ERR no such key"))?;
    if from == to || !replaces && kv.keyspace.find(to).is_some() {
        return Ok(from == to && replaces);
    }
    kv.check_memory(to.len().saturating_sub(from.len()))?;
    kv.charge_work(kv.keyspace.value(found).len())?;
    kv.keyspace.rename(found, to);
    Ok(true)
}

/// What stands behind the two keys of `COPY`.
struct CopyOptions {
    /// Whether a key that is there may be replaced.
    replaces: bool,
    /// Where the copy goes.
    database: usize,
}

impl CopyOptions {
    fn parse(call: &mut Call<'_, '_, '_>, here: usize) -> Result<Self, Fault> {
        let mut options = CopyOptions { replaces: false, database: here };
        while let Some(option) = call.arguments.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                options.replaces = true;
            } else if option.eq_ignore_ascii_case(b"db") && call.arguments.len() > 0 {
                options.database = parse_database(call)?;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// The longest value that Redis keeps in one piece with its header.
const EMBEDDED_MAX: usize = 44;
/// So many places at which a random key is looked for are not counted as work.
const STEPS_FREE: usize = 4;
/// The most keys that one `SCAN` looks at, whatever its `COUNT`: a millisecond's work.
const SCAN_COUNT_MAX: usize = 10_000;
/// The most places without a key that one `SCAN` passes by, in a table that had more of them: a tenth
/// of a millisecond's work, so that few calls return nothing.
const SCAN_PASSED_MAX: usize = 64 << 10;
/// The work to come to a key, which may lie anywhere in memory, and to write it down.
const KEY_WORK: usize = 2 * TEXT_WORK;
/// The most work to compare keys with the pattern of one `SCAN`, a quarter of a millisecond, after
/// which it ends early.
const SCAN_WORK_MAX: usize = TURN_MAX / 16;
/// Bytes of keys looked at after which it ends early; one key more, however long, fits into any reply.
const SCAN_SIZE: usize = 64 << 10;

struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    /// There is no other type.
    wants_strings: bool,
}

impl<'a> ScanOptions<'a> {
    fn parse(call: &mut Call<'a, '_, '_>) -> Result<Self, Fault> {
        let mut options = ScanOptions { pattern: None, count: 10, wants_strings: true };
        while let Some(option) = call.arguments.next() {
            if call.arguments.len() == 0 {
                return Err(Fault::SYNTAX);
            } else if option.eq_ignore_ascii_case(b"count") {
                let count = call.integer()?;
                options.count = usize::try_from(count).unwrap_or(0);
                if options.count == 0 {
                    return Err(Fault::SYNTAX);
                }
            } else if option.eq_ignore_ascii_case(b"match") {
                options.pattern = Some(call.pattern()?);
            } else if option.eq_ignore_ascii_case(b"type") {
                options.wants_strings = call.argument().eq_ignore_ascii_case(b"string");
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// Reads a cursor as generously as Redis, which uses `strtoul`.
fn parse_cursor(text: &[u8]) -> Result<u64, Fault> {
    let invalid = Fault::text("ERR invalid cursor");
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() && !text.is_empty() {
        return Err(invalid);
    }
    let digit = |value: Option<u64>, digit: &u8| match digit {
        b'0'..=b'9' => value?.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    let value = digits.iter().fold(Some(0u64), digit).ok_or(invalid)?;
    Ok(if is_negative { value.wrapping_neg() } else { value })
}

/// When `EXPIRE` and its like apply.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Fault> {
        let mut conditions = Conditions::default();
        for option in arguments {
            let place = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut conditions.nx,
                b"xx" => &mut conditions.xx,
                b"gt" => &mut conditions.gt,
                b"lt" => &mut conditions.lt,
                _ => return Err(Fault::quoting("ERR Unsupported option {}", option)),
            };
            *place = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(Fault::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(Fault::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without an end counts as if its end never came.
    fn permit(&self, before: Option<u64>, end: i64) -> bool {
        let end = u64::try_from(end).unwrap_or(0);
        let is_refused = self.nx && before.is_some()
            || self.xx && before.is_none()
            || self.gt && before.is_none_or(|before| end <= before)
            || self.lt && before.is_some_and(|before| end >= before);
        !is_refused
    }
}

fn expire_at(call: &mut Call<'_, '_, '_>, unit: Unit, from_now: bool) -> Outcome {
    let key = call.argument();
    let number = call.argument();
    let conditions = Conditions::parse(&mut call.arguments)?;
    let number = parse_integer(number).ok_or(Fault::NOT_AN_INTEGER)?;
    let keyspace = &mut call.kv.keyspace;
    let now = keyspace.now();
    let scale = if unit == Unit::Seconds { 1000 } else { 1 };
    let span = number.checked_mul(scale);
    // The point in time, also where the key is to end by the steady clock.
    let at_ms = span.and_then(|it| it.checked_add_unsigned(if from_now { now.wall_ms } else { 0 }));
    let at_ms = at_ms.ok_or_else(|| invalid_expire_time(call.name))?;
    let Some(found) = keyspace.find(key) else { return call.answer(0) };
    let before = keyspace.end_of(found).map(|end| now.wall_ms_at(end));
    if !conditions.permit(before, at_ms) {
        return call.answer(0);
    }
    match u64::try_from(at_ms) {
        Ok(at_ms) if at_ms > now.wall_ms && from_now => {
            keyspace.expire(found, now.after_ms(at_ms - now.wall_ms));
        }
        Ok(at_ms) if at_ms > now.wall_ms => keyspace.expire(found, End::Wall(at_ms)),
        _ => keyspace.remove(found),
    }
    call.answer(1)
}

/// Answers with the end of a key, in some form; with -1 for a key that stays, with -2 where no key is.
fn answer_end(call: &mut Call<'_, '_, '_>, form: impl FnOnce(Now, End) -> u64) -> Outcome {
    let key = call.argument();
    let keyspace = &mut call.kv.keyspace;
    let answer = match keyspace.look_up(key) {
        None => -2,
        Some(found) => {
            let now = keyspace.now();
            keyspace.end_of(found).map_or(-1, |end| form(now, end) as i64)
        }
    };
    call.answer(answer)
}
