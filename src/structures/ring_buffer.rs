//! A byte queue that owns no memory while it is empty.
//!
//! ```text
//!        head            head + len (wraps)
//!          v                 v
//!  +-------+-----------------+--------------+
//!  | vacant|  len bytes      |    vacant    |   capacity: a power of two
//!  +-------+-----------------+--------------+
//!
//!  0 <= head < capacity      0 <= len <= capacity      byte i is at (head + i) & (capacity - 1)
//! ```
//!
//! Head and length, not head and tail: full and empty are different states. The storage is a
//! [`Block`] leased from a [`BufferPool`]; an empty ring that gave its block back is one null
//! pointer, which is what an idle connection holds.

use std::fmt;

use super::block::Block;
use super::buffer_pool::BufferPool;

/// A growable ring of bytes on pooled storage.
///
/// Bytes go in at the end ([`extend`](Self::extend), or the reactor's reads) and come out at the
/// front ([`consume`](Self::consume)). Nothing here ever drops or overwrites a byte: a ring that is
/// full grows.
///
/// ```
/// use edgeloop::{BufferPool, RingBuffer};
///
/// let mut pool = BufferPool::new(1 << 20);
/// let mut ring = RingBuffer::new();
/// ring.extend(b"one\ntwo\nthr", &mut pool);
/// assert_eq!(ring.contiguous(), b"one\ntwo\nthr");
/// ring.consume(8);
/// assert_eq!(ring.contiguous(), b"thr");
/// ring.consume(3);
/// ring.release(&mut pool);
/// assert_eq!((ring.capacity(), pool.leased()), (0, 0));
/// ```
#[derive(Default)]
pub struct RingBuffer {
    block: Option<Box<Block>>,
}

impl RingBuffer {
    /// An empty ring without storage.
    pub const fn new() -> Self {
        RingBuffer { block: None }
    }

    /// Appends `bytes`, leasing a larger block when they do not fit.
    pub fn extend(&mut self, bytes: &[u8], pool: &mut BufferPool) {
        if bytes.is_empty() {
            return;
        }
        self.reserve(bytes.len(), pool);
        let mut rest = bytes;
        while !rest.is_empty() {
            let vacant = self.vacant();
            let n = vacant.len().min(rest.len());
            vacant[..n].copy_from_slice(&rest[..n]);
            self.commit(n);
            rest = &rest[n..];
        }
    }

    /// Drops the first `n` bytes, or all when there are fewer.
    pub fn consume(&mut self, n: usize) {
        let Some(block) = &mut self.block else { return };
        if n >= block.len {
            // Back to the start, so that the next bytes lie in one piece.
            (block.head, block.len) = (0, 0);
        } else {
            block.head = (block.head + n) & block.mask();
            block.len -= n;
        }
    }

    /// Drops every byte. The storage stays until [`release`](Self::release).
    pub fn clear(&mut self) {
        self.consume(usize::MAX);
    }

    /// All bytes as one slice. Moves them only when they wrap around the end of the storage, which
    /// a ring that is emptied between reads never does.
    pub fn contiguous(&mut self) -> &mut [u8] {
        let Some(block) = &mut self.block else { return &mut [] };
        if block.head + block.len > block.bytes.len() {
            block.bytes.rotate_left(block.head);
            block.head = 0;
        }
        &mut block.bytes[block.head..block.head + block.len]
    }

    /// All bytes, in order, in at most two pieces.
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.range(0, self.len())
    }

    /// `len` bytes from `offset` on, in at most two pieces. Beyond the end there is nothing.
    pub fn range(&self, offset: usize, len: usize) -> (&[u8], &[u8]) {
        let Some(block) = &self.block else { return (&[], &[]) };
        let offset = offset.min(block.len);
        let len = len.min(block.len - offset);
        let start = (block.head + offset) & block.mask();
        let (wrapped, straight) = block.bytes.split_at(start);
        match straight.get(..len) {
            Some(whole) => (whole, &[]),
            None => (straight, &wrapped[..len - straight.len()]),
        }
    }

    /// Moves every byte of `other` to the end of this ring. An empty ring takes over the storage of
    /// `other` instead of copying: an echo copies nothing in user space.
    pub fn append(&mut self, other: &mut RingBuffer, pool: &mut BufferPool) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            let (first, second) = other.as_slices();
            self.extend(first, pool);
            self.extend(second, pool);
            other.clear();
        }
    }

    /// Makes room for `additional` bytes, moving to a larger block when there is not enough.
    pub fn reserve(&mut self, additional: usize, pool: &mut BufferPool) {
        let needed = self.len() + additional;
        if needed > self.capacity() {
            self.relocate(needed, pool);
        }
    }

    /// As [`reserve`](Self::reserve), with the room in one piece, so that one read can fill it.
    pub(crate) fn reserve_contiguous(&mut self, additional: usize, pool: &mut BufferPool) {
        let Some(block) = &mut self.block else {
            self.block = Some(pool.lease(additional));
            return;
        };
        let needed = block.len + additional;
        if needed > block.bytes.len() {
            return self.relocate(needed, pool);
        }
        let end = block.head + block.len;
        if end > block.bytes.len() {
            block.bytes.rotate_left(block.head);
            block.head = 0;
        } else if end + additional > block.bytes.len() {
            block.bytes.copy_within(block.head..end, 0);
            block.head = 0;
        }
    }

    /// Moves the bytes into a smaller block when they fill less than a quarter of this one, and gives an
    /// empty ring's block back. So a remainder that has to wait does not keep the large block that it was
    /// read into. A quarter, so that a message which grows byte by byte is not moved up and down.
    pub fn shrink(&mut self, pool: &mut BufferPool) {
        if self.is_empty() {
            self.release(pool);
        } else if BufferPool::capacity_for(self.len()) <= self.capacity() / 4 {
            self.relocate(self.len(), pool);
        }
    }

    /// Gives the block back to the pool. The bytes that it holds are dropped.
    pub fn release(&mut self, pool: &mut BufferPool) {
        if let Some(block) = self.block.take() {
            pool.give(block);
        }
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.len)
    }

    /// Whether no byte is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of storage leased; 0 or a power of two.
    pub fn capacity(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.bytes.len())
    }

    /// The vacant bytes behind the last one, as far as they lie in one piece. Empty only when the
    /// ring is full.
    pub(crate) fn vacant(&mut self) -> &mut [u8] {
        let Some(block) = &mut self.block else { return &mut [] };
        let tail = (block.head + block.len) & block.mask();
        if block.len == block.bytes.len() {
            &mut []
        } else if tail >= block.head {
            &mut block.bytes[tail..]
        } else {
            &mut block.bytes[tail..block.head]
        }
    }

    /// Declares the first `n` vacant bytes filled.
    pub(crate) fn commit(&mut self, n: usize) {
        if let Some(block) = &mut self.block {
            debug_assert!(block.len + n <= block.bytes.len());
            block.len += n;
        }
    }

    fn relocate(&mut self, capacity: usize, pool: &mut BufferPool) {
        let mut block = pool.lease(capacity);
        if let Some(old) = self.block.take() {
            let first = old.len.min(old.bytes.len() - old.head);
            block.len = old.len;
            block.bytes[..first].copy_from_slice(&old.bytes[old.head..old.head + first]);
            block.bytes[first..old.len].copy_from_slice(&old.bytes[..old.len - first]);
            pool.give(old);
        }
        self.block = Some(block);
    }
}

impl fmt::Debug for RingBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingBuffer({} of {})", self.len(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Extend(usize),
        Consume(usize),
        Contiguous,
        Shrink,
        AppendTo(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..300).prop_map(Step::Extend),
            4 => (0usize..300).prop_map(Step::Consume),
            1 => Just(Step::Contiguous),
            1 => Just(Step::Shrink),
            1 => (0usize..100).prop_map(Step::AppendTo),
        ]
    }

    fn contents(ring: &RingBuffer) -> Vec<u8> {
        let (first, second) = ring.as_slices();
        [first, second].concat()
    }

    proptest! {
        #[test]
        fn behaves_like_a_vec_deque(steps in proptest::collection::vec(step(), 1..200)) {
            let mut pool = BufferPool::new(1 << 16);
            let mut ring = RingBuffer::new();
            let mut model = VecDeque::new();
            let mut next = 0u8;
            let mut bytes = |n: usize| -> Vec<u8> {
                (0..n).map(|_| { next = next.wrapping_add(1); next }).collect()
            };
            for step in steps {
                match step {
                    Step::Extend(n) => {
                        let new = bytes(n);
                        ring.extend(&new, &mut pool);
                        model.extend(new);
                    }
                    Step::Consume(n) => {
                        ring.consume(n);
                        model.drain(..n.min(model.len()));
                    }
                    Step::Contiguous => prop_assert_eq!(ring.contiguous(), model.make_contiguous()),
                    Step::Shrink => {
                        ring.shrink(&mut pool);
                        let least = if model.is_empty() { 0 } else { BufferPool::capacity_for(model.len()) };
                        prop_assert!(ring.capacity() <= 2 * least);
                    }
                    Step::AppendTo(n) => {
                        let mut front = RingBuffer::new();
                        let new = bytes(n);
                        front.extend(&new, &mut pool);
                        front.append(&mut ring, &mut pool);
                        ring.release(&mut pool);
                        ring = front;
                        new.iter().rev().for_each(|byte| model.push_front(*byte));
                    }
                }
                prop_assert_eq!(ring.len(), model.len());
                prop_assert_eq!(contents(&ring), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(pool.leased(), ring.capacity());
            }
        }

        #[test]
        fn range_is_a_cut_of_the_whole(head in 0usize..64, len in 0usize..=64, offset in 0usize..80, cut in 0usize..80) {
            let mut pool = BufferPool::new(0);
            let mut ring = RingBuffer::new();
            ring.extend(&vec![0; head], &mut pool);
            ring.extend(&[1], &mut pool);
            ring.consume(head);
            ring.extend(&(0..len as u8).collect::<Vec<_>>(), &mut pool);
            ring.consume(1);
            let whole = contents(&ring);
            let (first, second) = ring.range(offset, cut);
            let expected = whole.iter().skip(offset).take(cut).copied().collect::<Vec<_>>();
            prop_assert_eq!([first, second].concat(), expected);
        }
    }

    #[test]
    fn full_ring_has_no_vacant_byte_and_loses_none() {
        let mut pool = BufferPool::new(0);
        let mut ring = RingBuffer::new();
        ring.extend(&[7; 64], &mut pool);
        assert_eq!((ring.len(), ring.capacity(), ring.vacant().len()), (64, 64, 0));
        ring.consume(10);
        assert_eq!(ring.vacant().len(), 10);
    }

    #[test]
    fn empty_ring_takes_over_storage_without_copying() {
        let mut pool = BufferPool::new(0);
        let (mut from, mut to) = (RingBuffer::new(), RingBuffer::new());
        from.extend(b"moved", &mut pool);
        let address = from.contiguous().as_ptr();
        to.append(&mut from, &mut pool);
        assert_eq!(to.contiguous().as_ptr(), address);
        assert_eq!(from.capacity(), 0);
    }
}
