//! Who clients are by their tokens, and until when.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::event::Role;
use super::likeness::{Likeness, Mirror};
use super::name::Name;
use crate::service::identity::{Identity, LineError, Tokens};

/// Who a client is by its token.
#[derive(Debug)]
pub(super) struct Badge {
    pub(super) identity: Identity,
    pub(super) name: Name,
    /// In every room that it enters; none, if the room decides.
    pub(super) role: Option<Role>,
    /// What the rooms look like that it may enter; none for any.
    rooms: Option<Vec<[Likeness; 2]>>,
}

impl Badge {
    /// None, where the token says what is no name or role of a chat.
    pub(super) fn new(identity: Identity, mirror: &Mirror) -> Option<Badge> {
        let name = Name::new(&identity.name)?;
        let role = identity.role.as_deref().map(|role| Role::of(role).ok_or(()));
        let rooms = identity.rooms.as_ref().map(|rooms| {
            let names = rooms.iter().filter_map(|room| Name::new(room));
            names.map(|room| mirror.look(&room)).collect()
        });
        Some(Badge { name, role: role.transpose().ok()?, rooms, identity })
    }

    /// Whether it may enter a room that looks like this.
    pub(super) fn opens(&self, looks: [Likeness; 2]) -> bool {
        let is_alike = |room: &[Likeness; 2]| room.iter().any(|likeness| looks.contains(likeness));
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(is_alike))
    }

    /// Whether it may not enter every room.
    pub(super) fn is_bound(&self) -> bool {
        self.rooms.is_some()
    }

    /// How many rooms it names.
    pub(super) fn rooms(&self) -> usize {
        self.rooms.as_ref().map_or(0, Vec::len)
    }
}

/// The clients of a chat that asks for tokens: their badges, and when something is to be done about them.
#[derive(Debug, Default)]
pub(super) struct Badges {
    all: HashMap<u32, Entry>,
    due: BTreeSet<(Instant, u32)>,
}

#[derive(Debug)]
struct Entry {
    badge: Option<Box<Badge>>,
    due: Option<Instant>,
}

/// A point in time by the system's clock is looked at again after so long, as the clock may have been set.
const LOOK: Duration = Duration::from_secs(60 * 60);

impl Badges {
    pub(super) fn get(&self, client: u32) -> Option<&Badge> {
        self.all.get(&client)?.badge.as_deref()
    }

    /// A client has a badge from now on, or is to have one until then.
    pub(super) fn set(&mut self, client: u32, badge: Option<Badge>, due: Option<Instant>) {
        self.remove(client);
        self.due.extend(due.map(|at| (at, client)));
        self.all.insert(client, Entry { badge: badge.map(Box::new), due });
    }

    pub(super) fn remove(&mut self, client: u32) {
        if let Some(Entry { due: Some(at), .. }) = self.all.remove(&client) {
            self.due.remove(&(at, client));
        }
    }

    /// When to look at a client next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A client that is due, and when its token expires, if it has one.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(u32, Option<u64>)> {
        let client = self.due.first().filter(|(at, _)| *at <= now)?.1;
        self.due.pop_first();
        let entry = self.all.get_mut(&client)?;
        entry.due = None;
        Some((client, entry.badge.as_ref().and_then(|badge| badge.identity.expires_ms)))
    }

    /// A client is to be looked at again.
    pub(super) fn put_off(&mut self, client: u32, at: Instant) {
        if let Some(entry) = self.all.get_mut(&client) {
            entry.due = Some(at);
            self.due.insert((at, client));
        }
    }
}

/// When to look whether a token has expired.
pub(super) fn look_at(now: Instant, now_ms: u64, expires_ms: u64) -> Instant {
    now + Duration::from_millis(expires_ms.saturating_sub(now_ms)).min(LOOK)
}

/// Checks that the tokens of a list say what a chat understands: names, roles and rooms as it has them, and
/// no two names that look the same.
///
/// ```
/// use edgeloop::service::{chat, identity::Tokens};
/// let tokens = Tokens::default().with_list("7Kq2mVw0c9TzXfUe1sYbLg anna king")?;
/// let wrong = chat::check_tokens(&tokens).unwrap_err();
/// assert_eq!(wrong.to_string(), "line 1: a role is viewer, speaker or operator, or - for none");
/// # Ok::<(), edgeloop::service::identity::LineError>(())
/// ```
///
/// # Errors
/// The first line with which something is wrong.
pub fn check_tokens(tokens: &Tokens) -> Result<(), LineError> {
    let mirror = Mirror::default();
    let mut names: HashMap<Likeness, String> = HashMap::new();
    tokens.check(|identity| {
        let Identity { name, role, rooms, .. } = identity;
        // A word that is no name may be a token that stands in the wrong place: none is quoted.
        let valid = Name::new(name).ok_or("its name is none of a chat")?;
        if role.as_deref().is_some_and(|role| Role::of(role).is_none()) {
            return Err("a role is viewer, speaker or operator, or - for none".into());
        }
        if rooms.iter().flatten().any(|room| Name::new(room).is_none()) {
            return Err("its list of rooms has something that is no name of a room".into());
        }
        for likeness in mirror.look(&valid) {
            let other = names.entry(likeness).or_insert_with(|| name.clone());
            if other != name {
                return Err(format!("the name {name} looks like {other}"));
            }
        }
        Ok(())
    })
}
