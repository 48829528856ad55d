//! Where a client is: its memberships.

use std::ops::{Deref, DerefMut};

/// A client's memberships, in the order in which it joined: text without a room goes to the last.
/// Most clients have one, which needs no memory of its own.
#[derive(Clone, Debug)]
pub(super) enum Places {
    One(Place),
    /// None, or several.
    Many(Box<[Place]>),
}

/// A membership: the room, and the position among its members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) room: u32,
    pub(super) position: u32,
}

impl Places {
    pub(super) fn add(&mut self, place: Place) {
        *self = self.iter().copied().chain([place]).collect();
    }

    pub(super) fn remove(&mut self, room: u32) -> Option<Place> {
        let place = self.iter().copied().find(|place| place.room == room)?;
        *self = self.iter().copied().filter(|other| other.room != room).collect();
        Some(place)
    }
}

impl Deref for Places {
    type Target = [Place];

    fn deref(&self) -> &[Place] {
        match self {
            Places::One(place) => std::slice::from_ref(place),
            Places::Many(places) => places,
        }
    }
}

impl DerefMut for Places {
    fn deref_mut(&mut self) -> &mut [Place] {
        match self {
            Places::One(place) => std::slice::from_mut(place),
            Places::Many(places) => places,
        }
    }
}

impl FromIterator<Place> for Places {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Self {
        let mut places = places.into_iter();
        match (places.next(), places.next()) {
            (Some(only), None) => Places::One(only),
            (first, second) => {
                Places::Many(first.into_iter().chain(second).chain(places).collect())
            }
        }
    }
}
