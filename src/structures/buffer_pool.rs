//! Storage for ring buffers, lent for as long as a ring holds a byte.
//!
//! Blocks come in powers of two and return to a stack for their size, so that the next lease is the
//! block that was used last and is still in the processor's cache. In steady state nothing is
//! allocated: one turn's blocks serve the next.

use std::fmt;

use super::block::Block;

/// Lends blocks to [`RingBuffer`](crate::RingBuffer)s, and counts the bytes that are lent.
///
/// A lease never fails. Whether there is room for more bytes is asked before bytes are read
/// ([`leased`](Self::leased)); bytes that exist already must be kept somewhere.
pub struct BufferPool {
    #[expect(clippy::vec_box, reason = "a ring holds the box; unboxing here would move the block")]
    classes: [Vec<Box<Block>>; CLASSES],
    leased: usize,
    free: usize,
    free_max: usize,
}

/// The smallest block: a cache line, enough for a short rest of a message.
const SMALLEST: usize = 64;
/// From 64 bytes to 8 GiB: no limit of the configuration needs more.
const CLASSES: usize = 28;

impl BufferPool {
    /// A pool that keeps at most `free_max` bytes of returned blocks for reuse; the rest goes back
    /// to the allocator.
    pub fn new(free_max: usize) -> Self {
        BufferPool { classes: Default::default(), leased: 0, free: 0, free_max }
    }

    /// The capacity of the block that holds `len` bytes.
    pub fn capacity_for(len: usize) -> usize {
        len.max(SMALLEST).next_power_of_two()
    }

    /// Bytes of storage that rings hold now.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// Bytes of returned blocks kept for reuse.
    pub fn free(&self) -> usize {
        self.free
    }

    pub(crate) fn lease(&mut self, len: usize) -> Box<Block> {
        let capacity = Self::capacity_for(len);
        self.leased += capacity;
        match self.classes[Self::class(capacity)].pop() {
            Some(block) => {
                self.free -= capacity;
                block
            }
            None => Block::new(capacity),
        }
    }

    pub(crate) fn give(&mut self, mut block: Box<Block>) {
        let capacity = block.capacity();
        // A ring of another pool may come back here through a handler; it must not upset the count.
        self.leased = self.leased.saturating_sub(capacity);
        if self.free + capacity <= self.free_max {
            block.clear();
            self.free += capacity;
            self.classes[Self::class(capacity)].push(block);
        }
    }

    /// Gives all free blocks back to the allocator.
    pub(crate) fn drop_free(&mut self) {
        self.classes = Default::default();
        self.free = 0;
    }

    fn class(capacity: usize) -> usize {
        (capacity / SMALLEST).trailing_zeros() as usize
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} leased, {} free of {})", self.leased, self.free, self.free_max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring_buffer::RingBuffer;
    use super::*;

    #[test]
    fn last_block_returned_is_the_next_one_lent() {
        let mut pool = BufferPool::new(1 << 20);
        let (first, second) = (pool.lease(1000), pool.lease(1000));
        let address = std::ptr::from_ref(&*first);
        pool.give(second);
        pool.give(first);
        assert_eq!(std::ptr::from_ref(&*pool.lease(700)), address);
    }

    #[test]
    fn keeps_no_more_than_its_reserve() {
        let mut pool = BufferPool::new(100_000);
        let mut rings: Vec<RingBuffer> = (0..10).map(|_| RingBuffer::new()).collect();
        for ring in &mut rings {
            ring.extend(&[1; 40_000], &mut pool);
        }
        assert_eq!((pool.leased(), pool.free()), (655_360, 0));
        for ring in &mut rings {
            ring.release(&mut pool);
        }
        assert_eq!((pool.leased(), pool.free()), (0, 65_536));
    }

    #[test]
    fn capacities_are_powers_of_two_that_hold_the_bytes() {
        for (len, capacity) in
            [(0, 64), (1, 64), (64, 64), (65, 128), (65_536, 65_536), (65_537, 131_072)]
        {
            assert_eq!(BufferPool::capacity_for(len), capacity);
        }
    }
}
