//! Somebody who has proved who it is.

/// Who somebody is, as a token says, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name that nobody else comes in by. No white space is in it, and it is not empty.
    pub name: String,
    /// What it may do, in a word of the service: for a chat `viewer`, `speaker` or `operator`. None, if the
    /// service decides.
    pub role: Option<String>,
    /// The rooms that it may enter; none for any.
    pub rooms: Option<Vec<String>>,
    /// When it ceases to be valid, in milliseconds since 1970; none for a token that stays.
    pub expires_ms: Option<u64>,
}

impl Identity {
    /// Whether it says the same, perhaps until another time.
    pub fn is_same(&self, other: &Identity) -> bool {
        (&self.name, &self.role, &self.rooms) == (&other.name, &other.role, &other.rooms)
    }
}

/// Why a token is not taken. Which of several things is wrong with one that is not of ours, nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// There is none.
    Missing,
    /// There are several in one request.
    Several,
    /// It is none of those in the list, and not signed with a key of ours, or not as it has to be.
    Unknown,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    Early,
}

impl TokenError {
    /// What is wrong, in a sentence without its end.
    pub const fn text(self) -> &'static str {
        match self {
            TokenError::Missing => "a token is needed",
            TokenError::Several => "there is more than one token",
            TokenError::Unknown => "the token is not valid",
            TokenError::Expired => "the token has expired",
            TokenError::Early => "the token is not valid yet",
        }
    }
}
