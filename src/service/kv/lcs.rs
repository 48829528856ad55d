//! `LCS`: the longest string that is left of both of two values when bytes are taken away.
//!
//! The classic table says for each two beginnings, `i` bytes of the one and `j` of the other, how long
//! their longest common subsequence is, `L(i, j)`. From one place of a row to the next that grows by
//! nothing or by one, so a row is a row of bits, and a row is computed from the one above by adding
//! and masking words (Hyyrö, *Bit-parallel LCS-length computation revisited*, 2004): 64 places at a
//! time, and in 1/32 of the memory. Which of several longest ones is told is what Redis tells.
//!
//! ```text
//!            "" a  b  c           bits of the row, 1 where it does not grow
//!      ""    0  0  0  0           1 1 1
//!      b     0  0  1  1           1 0 1
//!      c     0  0  1  2           1 0 0
//! ```

use super::call::Call;
use super::fault::{Fault, Flow, Outcome};
use crate::codec::resp::Replies;

pub(super) fn lcs(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (key_a, key_b) = (call.argument(), call.argument());
    let keyspace = &mut call.kv.keyspace;
    let (found_a, found_b) = (keyspace.look_up(key_a), keyspace.look_up(key_b));
    let options = Options::parse(call)?;
    let kv = &mut *call.kv;
    let a = found_a.map_or(&[][..], |found| kv.keyspace.value(found));
    let b = found_b.map_or(&[][..], |found| kv.keyspace.value(found));
    // A row is in whole words, so that is what counts.
    let places = a.len().saturating_mul(words_for(b) * 64);
    if places > PLACES_MAX {
        return Err(Fault::of(format!(
            "ERR LCS takes values whose lengths multiply to at most {PLACES_MAX}"
        )));
    }
    let wanted = if options.only_length { Rows::Last } else { Rows::All };
    kv.check_memory(Table::memory(a, b, wanted))?;
    // It takes about as long to go over as many bytes.
    kv.charge_work(places.max(a.len() + b.len()))?;
    let a = found_a.map_or(&[][..], |found| kv.keyspace.value(found));
    let b = found_b.map_or(&[][..], |found| kv.keyspace.value(found));
    let table = Table::new(a, b, wanted);
    match (options.only_length, options.indexes) {
        (true, _) => kv.replies.integer(table.len() as i64),
        (_, true) => table.write_matches(&mut kv.replies, &options),
        _ => kv.replies.bulk(&table.subsequence()),
    }
    Ok(Flow::Next)
}

/// The most places that a table may have: 8 MiB of bits, as much again for the places of bytes, and
/// some ten milliseconds' work at most.
const PLACES_MAX: usize = 64 << 20;

#[derive(Default)]
struct Options {
    indexes: bool,
    only_length: bool,
    with_lengths: bool,
    least: i64,
}

impl Options {
    fn parse(call: &mut Call<'_, '_, '_>) -> Result<Self, Fault> {
        let mut options = Options::default();
        while let Some(option) = call.arguments.next() {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("idx") {
                options.indexes = true;
            } else if is("len") {
                options.only_length = true;
            } else if is("withmatchlen") {
                options.with_lengths = true;
            } else if is("minmatchlen") && call.arguments.len() > 0 {
                options.least = call.integer()?;
            } else {
                return Err(Fault::SYNTAX);
            }
        }
        if options.indexes && options.only_length {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(Fault::text(text));
        }
        Ok(options)
    }
}

/// Which rows of the table are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    All,
    /// Enough for the length.
    Last,
}

/// The table for two values: `a` downwards, `b` to the right.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// One row behind the other, each in whole words.
    rows: Vec<u64>,
}

/// Bytes that stand in the same places of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    start_a: usize,
    start_b: usize,
    len: usize,
}

impl<'a> Table<'a> {
    /// Bytes of memory that it takes to make one.
    fn memory(a: &[u8], b: &[u8], wanted: Rows) -> usize {
        let rows = if wanted == Rows::All { a.len() } else { 1 };
        // The places of each byte that is in `a`, and the rows.
        (a.len().min(256) + rows) * words_for(b) * size_of::<u64>()
    }

    fn new(a: &'a [u8], b: &'a [u8], wanted: Rows) -> Self {
        if a.is_empty() || b.is_empty() {
            return Table { a: &[], b: &[], rows: Vec::new() };
        }
        let width = words_for(b);
        let places = places_of(a, b);
        let mut row = vec![u64::MAX; width];
        let mut rows = Vec::with_capacity(if wanted == Rows::All { a.len() * width } else { 0 });
        for byte in a {
            next_row(&mut row, &places[usize::from(*byte)]);
            if wanted == Rows::All {
                rows.extend_from_slice(&row);
            }
        }
        Table { a, b, rows: if wanted == Rows::All { rows } else { row } }
    }

    /// How long the longest common subsequence is.
    fn len(&self) -> usize {
        let width = words_for(self.b);
        let last = &self.rows[self.rows.len().saturating_sub(width)..];
        // No bit behind the end of `b` is ever 0.
        last.iter().map(|word| word.count_zeros() as usize).sum()
    }

    /// Every run of bytes that belong to it, from the end to the beginning, as Redis walks.
    fn matches(&self) -> impl Iterator<Item = Match> {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 && self.a[i - 1] != self.b[j - 1] {
                if self.grows_at(i, j) { i -= 1 } else { j -= 1 }
            }
            let rest = self.a[..i].iter().rev().zip(self.b[..j].iter().rev());
            let len = rest.take_while(|(a, b)| a == b).count();
            (i, j) = (i - len, j - len);
            (len > 0).then_some(Match { start_a: i, start_b: j, len })
        })
    }

    fn subsequence(&self) -> Vec<u8> {
        let runs: Vec<Match> = self.matches().collect();
        let bytes = runs.iter().rev().map(|run| &self.a[run.start_a..run.start_a + run.len]);
        bytes.collect::<Vec<_>>().concat()
    }

    fn write_matches(&self, replies: &mut Replies, options: &Options) {
        replies.map(2);
        replies.bulk(b"matches");
        let array = replies.open_array();
        let mut count = 0;
        for run in self.matches().filter(|run| run.len as i64 >= options.least) {
            replies.array(2 + usize::from(options.with_lengths));
            for start in [run.start_a, run.start_b] {
                replies.array(2);
                replies.integer(start as i64);
                replies.integer((start + run.len - 1) as i64);
            }
            if options.with_lengths {
                replies.integer(run.len as i64);
            }
            count += 1;
        }
        replies.close_array(array, count);
        replies.bulk(b"len");
        replies.integer(self.len() as i64);
    }

    /// Whether `L(i, j)` is more than `L(i, j - 1)`.
    fn grows_at(&self, i: usize, j: usize) -> bool {
        let row = (i - 1) * words_for(self.b);
        self.rows[row + (j - 1) / 64] >> ((j - 1) % 64) & 1 == 0
    }
}

fn words_for(b: &[u8]) -> usize {
    b.len().div_ceil(64)
}

/// Where each byte of `a` stands in `b`, as bits.
fn places_of(a: &[u8], b: &[u8]) -> Vec<Vec<u64>> {
    let mut places = vec![Vec::new(); 256];
    for byte in a.iter().map(|byte| usize::from(*byte)) {
        if places[byte].is_empty() {
            places[byte] = vec![0; words_for(b)];
        }
    }
    for (at, byte) in b.iter().enumerate() {
        if let Some(word) = places[usize::from(*byte)].get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
    places
}

/// Makes the next row out of this one, for a byte that stands in these places.
fn next_row(row: &mut [u64], places: &[u64]) {
    let mut carry = false;
    for (word, places) in row.iter_mut().zip(places) {
        let (sum, over) = word.overflowing_add(*word & places);
        let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
        carry = over || over_by_carry;
        *word = sum | (*word & !places);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table as numbers, and the way back through it.
    fn model(a: &[u8], b: &[u8]) -> (usize, Vec<u8>) {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut found) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                found.push(a[i - 1]);
                (i, j) = (i - 1, j - 1);
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        found.reverse();
        (table[a.len()][b.len()], found)
    }

    proptest! {
        #[test]
        fn rows_of_bits_say_what_a_table_of_numbers_says(
            a in proptest::collection::vec(0u8..4, 0..200),
            b in proptest::collection::vec(0u8..5, 0..200),
        ) {
            let (len, subsequence) = model(&a, &b);
            prop_assert_eq!(Table::new(&a, &b, Rows::Last).len(), len);
            let table = Table::new(&a, &b, Rows::All);
            prop_assert_eq!(table.len(), len);
            prop_assert_eq!(table.subsequence(), subsequence);
            let mut behind = (a.len(), b.len());
            for Match { start_a, start_b, len } in table.matches() {
                prop_assert!(start_a + len <= behind.0 && start_b + len <= behind.1);
                prop_assert_eq!(&a[start_a..start_a + len], &b[start_b..start_b + len]);
                behind = (start_a, start_b);
            }
        }
    }

    #[test]
    fn longest_subsequence_of_long_values_is_found_within_the_memory_that_was_said() {
        let a = vec![b'x'; 8 << 10];
        let table = Table::new(&a, &a, Rows::All);
        assert_eq!(
            table.matches().collect::<Vec<_>>(),
            [Match { start_a: 0, start_b: 0, len: a.len() }]
        );
        assert_eq!(a.len() * a.len(), PLACES_MAX);
        assert!(table.rows.capacity() * 8 <= Table::memory(&a, &a, Rows::All));
        assert!(Table::memory(&a, &a, Rows::All) < 9 << 20);
    }
}
