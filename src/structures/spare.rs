//! Tables that give back the room which a burst needed.

use std::collections::VecDeque;
use std::hint::black_box;

use slab::Slab;

/// Something that may have room for more than it holds.
pub(crate) trait Spare {
    /// Gives most of the room back when less than a quarter of it is used.
    fn give_back(&mut self);
}

/// Whether less than a quarter of a table's places are used, and it is not a small one.
pub(crate) fn is_spacious(used: usize, places: usize) -> bool {
    places > PLACES_MIN && used < places / 4
}

// A new place, and for small tables, too: one that has grown in a burst lies behind all that the burst
// took, and the heap can be given back no further than to there.
impl<T> Spare for Vec<T> {
    fn give_back(&mut self) {
        if self.len() < self.capacity() / 4 {
            let mut moved = Vec::with_capacity(2 * self.len());
            moved.append(self);
            *self = moved;
        }
    }
}

impl<T> Spare for VecDeque<T> {
    fn give_back(&mut self) {
        if self.len() < self.capacity() / 4 {
            let mut moved = VecDeque::with_capacity(2 * self.len());
            moved.append(self);
            *self = moved;
        }
    }
}

impl<T> Spare for Slab<T> {
    /// The places behind the last one that is used: the others keep their keys.
    fn give_back(&mut self) {
        if is_spacious(self.len(), self.capacity()) {
            self.shrink_to_fit();
        }
    }
}

/// Lets the system's allocator give the free end of its heap back, which glibc does only while it
/// frees a large piece. It also keeps some small pieces of each size at hand, wherever they lie: one
/// at the end would hold all that is free before it. So others take their place, that lie lower.
pub(crate) fn let_the_heap_shrink() {
    for size in (8..SMALL_MAX).step_by(SMALL_STEP) {
        let mut pieces = black_box([(); SMALL_PIECES].map(|()| Vec::<u8>::with_capacity(size)));
        pieces.sort_unstable_by_key(|piece| piece.as_ptr());
        // In this order, so that the lowest are kept at hand.
        pieces.into_iter().for_each(drop);
    }
    drop(black_box(Vec::<u8>::with_capacity(HEAP_PIECE)));
}

/// Tables of so many places are not worth a look.
const PLACES_MIN: usize = 1024;
/// From 64 KiB on glibc merges what is free and trims its heap; from 128 KiB on it may take a
/// piece from elsewhere.
const HEAP_PIECE: usize = 96 << 10;
/// Sizes of which some pieces are kept at hand, up to 1032 bytes: seven of each. So many are taken that
/// the small holes between large ones are used up, and some lie far below.
const SMALL_MAX: usize = 1040;
const SMALL_STEP: usize = 16;
const SMALL_PIECES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_little_of_it_is_used_and_stays_otherwise() {
        let mut list: Vec<u32> = (0..100_000).collect();
        let mut table: Slab<u32> = list.clone().into_iter().enumerate().collect();
        let mut queue: VecDeque<u32> = list.iter().copied().collect();
        let room = (list.capacity(), table.capacity(), queue.capacity());
        list.truncate(50_000);
        table.retain(|key, _| key < 50_000);
        queue.truncate(50_000);
        list.give_back();
        table.give_back();
        queue.give_back();
        assert_eq!((list.capacity(), table.capacity(), queue.capacity()), room);
        list.truncate(10);
        table.retain(|key, _| key < 10);
        queue.truncate(10);
        list.give_back();
        table.give_back();
        queue.give_back();
        for (name, room) in
            [("list", list.capacity()), ("table", table.capacity()), ("queue", queue.capacity())]
        {
            assert!((10..100).contains(&room), "the {name} has room for {room}");
        }
        assert!(list.iter().eq(queue.iter()) && table.iter().all(|(key, it)| key as u32 == *it));
        assert_eq!(table.insert(7), 10, "keys go on where they were");
    }
}
