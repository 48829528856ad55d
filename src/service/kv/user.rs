//! Who may come in, and what for: users as Redis has them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::glob::{Pattern, TEXT_WORK};
use super::password::{Password, opens};

/// The users of a [`Kv`](super::Kv). Cheap to clone; they do not change while it runs.
///
/// A connection begins as the user `default`. If that user needs no password, the connection may do what
/// the user may; otherwise nothing but `AUTH`, `HELLO`, `QUIT` and `RESET`.
#[derive(Clone)]
pub struct Users {
    all: Arc<[User]>,
    names: Arc<HashMap<String, u16>>,
}

/// The place of `default` among the users.
const DEFAULT: u16 = 0;
pub(super) const DEFAULT_NAME: &str = "default";
/// As many as a place can tell apart.
#[cfg_attr(not(feature = "identity"), expect(dead_code, reason = "only a file restricts users"))]
pub(super) const USERS_MAX: usize = u16::MAX as usize;

/// A user, and what it may do.
#[derive(Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) is_on: bool,
    /// Any password will do.
    pub(super) is_open: bool,
    pub(super) passwords: Vec<Password>,
    pub(super) commands: Commands,
    pub(super) keys: Patterns,
    pub(super) channels: Patterns,
}

/// Commands that a user may have carried out, subcommands included, by their full names.
#[derive(Clone)]
#[cfg_attr(not(feature = "identity"), expect(dead_code, reason = "only a file restricts users"))]
pub(super) enum Commands {
    All,
    Some(BTreeSet<&'static str>),
}

/// Keys or channels that a user may use.
#[derive(Clone)]
#[cfg_attr(not(feature = "identity"), expect(dead_code, reason = "only a file restricts users"))]
pub(super) enum Patterns {
    All,
    Some(Vec<(Access, Box<[u8]>)>),
}

/// What is done with a key: it is read, it is written, both, or neither, where it is only looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    pub(super) const NONE: Access = Access(0);
    pub(super) const READ: Access = Access(1);
    pub(super) const WRITE: Access = Access(2);
    pub(super) const BOTH: Access = Access(3);

    fn covers(self, needed: Access) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// What a connection may do: whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    user: u16,
    /// It may do what its user may.
    pub(super) is_in: bool,
    /// It may do everything.
    pub(super) is_free: bool,
}

impl Users {
    /// Only the user `default`, who may do everything, for whoever has the password.
    #[cfg(feature = "identity")]
    pub fn with_password(password: &[u8]) -> Self {
        let mut user = User::free(DEFAULT_NAME);
        user.is_open = false;
        user.passwords.push(Password::of(password));
        Users::of(vec![user])
    }

    /// The first of them is the default user.
    pub(super) fn of(all: Vec<User>) -> Self {
        let names = all.iter().enumerate().map(|(at, user)| (user.name.clone(), at as u16));
        Users { names: Arc::new(names.collect()), all: all.into() }
    }

    /// Whether the default user needs no password, if it may come in at all.
    pub(super) fn default_is_open(&self) -> bool {
        self.of_place(DEFAULT).is_open
    }

    /// Whether a connection may begin without a password.
    pub fn let_anybody_in(&self) -> bool {
        self.newcomer().is_in
    }

    /// As what a connection begins.
    pub(super) fn newcomer(&self) -> Standing {
        let user = self.of_place(DEFAULT);
        self.standing(DEFAULT, user.is_on && user.is_open)
    }

    /// The user of that name, if the password is one of its own. A name that nobody has takes as long.
    pub(super) fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Standing> {
        let place = self.place(name);
        let user = place.map(|place| self.of_place(place));
        let is_right = opens(user.map_or(&[], |user| &user.passwords), password);
        let may = |user: &User| user.is_on && (user.is_open || is_right);
        place.filter(|_| user.is_some_and(may)).map(|place| self.standing(place, true))
    }

    fn standing(&self, user: u16, is_in: bool) -> Standing {
        Standing { user, is_in, is_free: is_in && self.of_place(user).is_free() }
    }

    /// Whose a connection is.
    pub(super) fn user(&self, standing: Standing) -> &User {
        self.of_place(standing.user)
    }

    /// In the order of their names.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.all.iter().map(|user| user.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// A user's place, for [`Standing::is_of`].
    pub(super) fn place(&self, name: &[u8]) -> Option<u16> {
        self.names.get(str::from_utf8(name).ok()?).copied()
    }

    fn of_place(&self, place: u16) -> &User {
        &self.all[usize::from(place)]
    }
}

impl Standing {
    pub(super) fn is_of(self, user: u16) -> bool {
        self.user == user
    }

    pub(super) fn is_same_user(self, other: Standing) -> bool {
        self.user == other.user
    }
}

impl User {
    /// A user who may do everything, and needs no password.
    pub(super) fn free(name: &str) -> Self {
        User {
            name: name.into(),
            is_on: true,
            is_open: true,
            passwords: Vec::new(),
            commands: Commands::All,
            keys: Patterns::All,
            channels: Patterns::All,
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.commands, Commands::All)
            && matches!(self.keys, Patterns::All)
            && matches!(self.channels, Patterns::All)
    }

    /// With how many patterns a name is compared at most.
    pub(super) fn patterns(&self) -> usize {
        self.keys.len().max(self.channels.len())
    }

    pub(super) fn may_run(&self, command: &'static str) -> bool {
        match &self.commands {
            Commands::All => true,
            Commands::Some(names) => names.contains(command),
        }
    }
}

impl Patterns {
    /// Whether one of the patterns describes the text, and gives such access to it. Takes the work off
    /// `left`, of which something was left before.
    pub(super) fn describe(&self, text: &[u8], needed: Access, left: &mut usize) -> bool {
        let Patterns::Some(patterns) = self else { return true };
        patterns.iter().filter(|(access, _)| access.covers(needed)).any(|(_, pattern)| {
            let mut pattern = Pattern::new(pattern);
            let is_match = *left > 0 && pattern.matches(text);
            *left = left.saturating_sub(TEXT_WORK + pattern.work);
            is_match
        })
    }

    /// Whether the text is one of the patterns itself.
    pub(super) fn have(&self, text: &[u8], left: &mut usize) -> bool {
        let Patterns::Some(patterns) = self else { return true };
        patterns.iter().any(|(_, pattern)| {
            let is_same = *left > 0 && **pattern == *text;
            *left = left.saturating_sub(TEXT_WORK);
            is_same
        })
    }

    fn len(&self) -> usize {
        match self {
            Patterns::All => 0,
            Patterns::Some(patterns) => patterns.len(),
        }
    }
}

impl Default for Users {
    /// Only the user `default`, who may do everything and needs no password.
    fn default() -> Self {
        Users::of(vec![User::free(DEFAULT_NAME)])
    }
}

/// Names, and no passwords.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({:?})", self.names())
    }
}
