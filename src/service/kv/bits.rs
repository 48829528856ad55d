//! The commands that take a value for a row of bits, of which the first is the highest of its first
//! byte.

use std::ops::Range;

use super::call::Call;
use super::fault::{Fault, Outcome};
use super::strings::{Span, write};
use crate::codec::resp::parse_integer;

pub(super) fn getbit(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let place = bit_place(call)?;
    let value = call.kv.keyspace.read(key).unwrap_or_default();
    let byte = value.get(place / 8).copied().unwrap_or(0);
    call.answer(i64::from(byte & bit_mask(place) != 0))
}

pub(super) fn setbit(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let place = bit_place(call)?;
    let bit = call.argument();
    let is_set = match bit {
        b"0" => false,
        b"1" => true,
        _ => return Err(Fault::text("ERR bit is not an integer or out of range")),
    };
    let (at, mask) = (place / 8, bit_mask(place));
    let keyspace = &mut call.kv.keyspace;
    let before = keyspace.find(key).and_then(|found| keyspace.value(found).get(at).copied());
    let byte = before.unwrap_or(0);
    let after = if is_set { byte | mask } else { byte & !mask };
    // Where nothing would be different nothing is written, and who watches the key is not told.
    if before != Some(after) {
        write(call, key, at, &[after])?;
    }
    call.answer(i64::from(byte & mask != 0))
}

pub(super) fn bitcount(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    // As in Redis, what stands behind a key that is not there does not matter.
    let Some(found) = call.kv.keyspace.look_up(key) else { return call.answer(0) };
    call.kv.charge_work(call.kv.keyspace.value(found).len())?;
    let value = call.kv.keyspace.value(found);
    let count = match call.arguments.len() {
        0 => ones(value),
        2 | 3 => {
            let mut next = || call.arguments.next();
            let (start, end) = (integer(next())?, integer(next())?);
            let unit = Unit::parse(next());
            match Span::new(start, end) {
                Some(span) => {
                    let unit = unit?;
                    ones_within(value, unit.bits(span.clamp(unit.count(value))))
                }
                None => 0,
            }
        }
        _ => return Err(Fault::SYNTAX),
    };
    call.answer(count as i64)
}

pub(super) fn bitpos(call: &mut Call<'_, '_, '_>) -> Outcome {
    let key = call.argument();
    let bit = match call.integer()? {
        0 => false,
        1 => true,
        _ => return Err(Fault::text("ERR The bit argument must be 1 or 0.")),
    };
    // A key that is not there is a row of zeros without an end.
    let Some(found) = call.kv.keyspace.look_up(key) else { return call.answer(-i64::from(bit)) };
    call.kv.charge_work(call.kv.keyspace.value(found).len())?;
    let has_end = call.arguments.len() > 1;
    if call.arguments.len() > 3 {
        return Err(Fault::SYNTAX);
    }
    let mut next = || call.arguments.next();
    let (start, end, unit) = (next().unwrap_or(b"0"), next().unwrap_or(b"-1"), next());
    let start = integer(Some(start))?;
    let unit = Unit::parse(unit)?;
    let span = Span { start, end: integer(Some(end))? };
    let value = call.kv.keyspace.value(found);
    let range = unit.bits(span.clamp(unit.count(value)));
    let place = first_within(value, range.clone(), bit);
    // Behind the end, where none was given, there are zeros.
    let zeros = (!bit && !has_end && !range.is_empty()).then_some(range.end);
    call.answer(place.or(zeros).map_or(-1, |place| place as i64))
}

pub(super) fn bitop(call: &mut Call<'_, '_, '_>) -> Outcome {
    let operation = Operation::parse(call.argument())?;
    let target = call.argument();
    if operation == Operation::Not && call.arguments.len() != 1 {
        return Err(Fault::text("ERR BITOP NOT must be called with a single source key."));
    }
    let keyspace = &mut call.kv.keyspace;
    let sources: Vec<_> = call.arguments.by_ref().map(|key| keyspace.look_up(key)).collect();
    let values = sources.iter().map(|found| found.map_or(&[][..], |it| keyspace.value(it)));
    let len = values.clone().map(<[u8]>::len).max().unwrap_or(0);
    if sources.len().saturating_mul(len) > BITOP_MAX {
        return Err(Fault::of(format!("ERR BITOP takes at most {BITOP_MAX} bytes in all keys")));
    }
    call.kv.charge_work(sources.len() * len)?;
    let found = call.kv.keyspace.find(target);
    call.kv.check_memory(call.kv.keyspace.growth(found, target, len))?;
    let keyspace = &mut call.kv.keyspace;
    let values = sources.iter().map(|found| found.map_or(&[][..], |it| keyspace.value(it)));
    let result = operation.apply(values, len);
    match found {
        Some(found) if len == 0 => keyspace.remove(found),
        None if len == 0 => {}
        _ => drop(keyspace.set(target, &result)),
    }
    call.answer(len as i64)
}

/// Bytes of all values that `BITOP` goes over, each of them as long as the longest: some ten
/// milliseconds' work.
const BITOP_MAX: usize = 64 << 20;

/// What the places in a range count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(name: Option<&[u8]>) -> Result<Self, Fault> {
        match name {
            None => Ok(Unit::Byte),
            Some(unit) if unit.eq_ignore_ascii_case(b"byte") => Ok(Unit::Byte),
            Some(unit) if unit.eq_ignore_ascii_case(b"bit") => Ok(Unit::Bit),
            Some(_) => Err(Fault::SYNTAX),
        }
    }

    /// How many of them a value has.
    fn count(self, value: &[u8]) -> usize {
        value.len() * if self == Unit::Bit { 8 } else { 1 }
    }

    /// A range of them, in bits.
    fn bits(self, range: Range<usize>) -> Range<usize> {
        let scale = if self == Unit::Byte { 8 } else { 1 };
        range.start * scale..range.end * scale
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(name: &[u8]) -> Result<Self, Fault> {
        match name.to_ascii_lowercase().as_slice() {
            b"and" => Ok(Operation::And),
            b"or" => Ok(Operation::Or),
            b"xor" => Ok(Operation::Xor),
            b"not" => Ok(Operation::Not),
            _ => Err(Fault::SYNTAX),
        }
    }

    /// To each value as many zeros are added as it is shorter than the longest.
    fn apply<'a>(self, mut values: impl Iterator<Item = &'a [u8]>, len: usize) -> Vec<u8> {
        let mut result = values.next().unwrap_or_default().to_vec();
        result.resize(len, 0);
        if self == Operation::Not {
            result.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for value in values {
            let (both, behind) = result.split_at_mut(value.len());
            let pairs = both.iter_mut().zip(value);
            match self {
                Operation::And => {
                    pairs.for_each(|(byte, other)| *byte &= other);
                    behind.fill(0);
                }
                Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
                Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
                Operation::Not => {}
            }
        }
        result
    }
}

/// The number of a bit, in a value that may be so long.
fn bit_place(call: &mut Call<'_, '_, '_>) -> Result<usize, Fault> {
    const INVALID: Fault = Fault::text("ERR bit offset is not an integer or out of range");
    let place = call.integer().map_err(|_| INVALID)?;
    let place = usize::try_from(place).map_err(|_| INVALID)?;
    if place / 8 < call.kv.value_max { Ok(place) } else { Err(INVALID) }
}

fn integer(text: Option<&[u8]>) -> Result<i64, Fault> {
    text.and_then(parse_integer).ok_or(Fault::NOT_AN_INTEGER)
}

fn bit_mask(place: usize) -> u8 {
    0x80 >> (place % 8)
}

/// Bits that are set.
fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let of_words: u64 =
        words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    of_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Bits that are set in a range of bits.
fn ones_within(bytes: &[u8], range: Range<usize>) -> u64 {
    // The bytes that the range touches, less what it leaves out of the first and the last.
    let touched = &bytes[range.start / 8..range.end.div_ceil(8)];
    let (Some(first), Some(last)) = (touched.first(), touched.last()) else { return 0 };
    let before = first & !bits_from(range.start);
    let behind = if range.end.is_multiple_of(8) { 0 } else { last & bits_from(range.end) };
    ones(touched) - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

/// The first bit of a kind in a range of bits.
fn first_within(bytes: &[u8], range: Range<usize>, bit: bool) -> Option<usize> {
    // A byte that has none of the kind.
    let without = if bit { 0 } else { 0xff };
    let start = range.start / 8;
    let (first, rest) = bytes[start..range.end.div_ceil(8)].split_first()?;
    let first = (first ^ without) & bits_from(range.start);
    let place_in = |at: usize, found: u8| at * 8 + found.leading_zeros() as usize;
    let place = if first != 0 {
        Some(place_in(start, first))
    } else {
        let (words, _) = rest.as_chunks();
        let passed = words.iter().take_while(|word| **word == [without; 8]).count() * 8;
        let at = passed + rest[passed..].iter().position(|byte| *byte != without)?;
        Some(place_in(start + 1 + at, rest[at] ^ without))
    };
    place.filter(|place| range.contains(place))
}

/// Those bits of a byte that do not stand before a place.
fn bits_from(place: usize) -> u8 {
    0xff >> (place % 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_of_bits_are_counted_and_searched_as_one_bit_after_the_other(
            bytes in proptest::collection::vec(
                proptest::sample::select([0, 0, 0xff, 0xff, 0x80, 0x01, 0x5a].as_slice()), 0..40),
            start in 0usize..330,
            len in 0usize..330,
        ) {
            let total = bytes.len() * 8;
            let range = start.min(total)..(start + len).min(total);
            let bits: Vec<bool> =
                (0..total).map(|place| bytes[place / 8] & bit_mask(place) != 0).collect();
            let within = &bits[range.clone()];
            let count = within.iter().filter(|bit| **bit).count();
            prop_assert_eq!(ones_within(&bytes, range.clone()), count as u64);
            for kind in [false, true] {
                let place = within.iter().position(|bit| *bit == kind);
                let place = place.map(|place| place + range.start);
                prop_assert_eq!(first_within(&bytes, range.clone(), kind), place);
            }
        }

        #[test]
        fn operations_take_values_of_different_lengths_as_ending_in_zeros(
            values in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..20), 1..5),
        ) {
            let len = values.iter().map(Vec::len).max().unwrap_or(0);
            let byte = |value: &Vec<u8>, at: usize| value.get(at).copied().unwrap_or(0);
            for (operation, fold) in [
                (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
            ] {
                let bytes = (0..len).map(|at| values.iter().map(|it| byte(it, at)).reduce(fold));
                let expected: Vec<u8> = bytes.flatten().collect();
                prop_assert_eq!(operation.apply(values.iter().map(Vec::as_slice), len), expected);
            }
            let turned: Vec<u8> = values[0].iter().map(|byte| !byte).collect();
            let result = Operation::Not.apply(values[..1].iter().map(Vec::as_slice), values[0].len());
            prop_assert_eq!(result, turned);
        }
    }
}
