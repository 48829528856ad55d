//! The storage of a ring buffer.

/// Storage of a ring with its indices. They live behind the pointer, not beside it, so that a ring
/// without storage is eight bytes.
pub(crate) struct Block {
    pub(super) head: usize,
    pub(super) len: usize,
    pub(super) bytes: Box<[u8]>,
}

impl Block {
    /// `capacity` must be a power of two. The bytes are initialised once, here, and never again.
    pub(super) fn new(capacity: usize) -> Box<Self> {
        debug_assert!(capacity.is_power_of_two());
        Box::new(Block { head: 0, len: 0, bytes: vec![0; capacity].into_boxed_slice() })
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        (self.head, self.len) = (0, 0);
    }

    pub(super) fn mask(&self) -> usize {
        self.bytes.len() - 1
    }
}
