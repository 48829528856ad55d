//! A list of tokens: each is a secret by itself, and its line says whom it stands for.
//!
//! ```text
//!   # token                           name   role      rooms
//!   7Kq2mVw0c9TzXfUe1sYbLg            anna   operator  *
//!   nE4hJp8rD3vQyBt6kWxZ0A            bob    speaker   lobby,den
//!   iM5oGa1uF7sLcPz2jRdN9C            carla
//! ```

use std::collections::HashMap;

use super::identity::Identity;
use super::line_error::LineError;
use super::secret::SecretDigest;

/// Whom tokens stand for, by their digests. Where a digest stands in the table follows from a key of this
/// process, so that the time of a look-up tells nothing of the tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenList {
    entries: HashMap<[u8; 32], Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    identity: Identity,
}

/// The shortest token: 95 bits, where each letter was drawn from 62.
const TOKEN_MIN: usize = 16;
/// The longest token, signed ones included: a request line and a line of a chat have room for it.
pub(super) const TOKEN_MAX: usize = 2048;
/// The most tokens of a list.
const TOKENS_MAX: usize = 100_000;
/// The most rooms of one token.
pub(super) const ROOMS_MAX: usize = 64;
/// The longest name, role or room, in bytes.
const WORD_MAX: usize = 128;

impl TokenList {
    pub(super) fn parse(text: &str) -> Result<TokenList, LineError> {
        let mut list = TokenList::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            list.add(line, text).map_err(|text| LineError::new(line, text))?;
        }
        if list.entries.is_empty() {
            return Err(LineError::new(1, "there is no token"));
        }
        Ok(list)
    }

    fn add(&mut self, line: usize, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace();
        let token = words.next().unwrap_or_default();
        check_token(token)?;
        let name = words.next().ok_or("a token needs a name behind it")?;
        let role = words.next().filter(|role| *role != "-").map(str::to_owned);
        let rooms = words.next().filter(|rooms| *rooms != "*");
        if words.next().is_some() {
            return Err("there is more than token, name, role and rooms; rooms have commas".into());
        }
        let rooms: Option<Vec<String>> =
            rooms.map(|rooms| rooms.split(',').map(str::to_owned).collect());
        if rooms.as_ref().is_some_and(|rooms| rooms.len() > ROOMS_MAX) {
            return Err(format!("a token has at most {ROOMS_MAX} rooms"));
        }
        let identity = Identity { name: name.into(), role, rooms, expires_ms: None };
        // A word may be a token that stands in the wrong place: none is quoted.
        if let Some((what, _)) = words_of(&identity).find(|(_, word)| !is_word(word)) {
            return Err(format!("its {what} is empty, too long, or has control characters"));
        }
        let before = self
            .entries
            .insert(SecretDigest::of(token.as_bytes()).bytes(), Entry { line, identity });
        if let Some(before) = before {
            return Err(format!("its token stands in line {} already", before.line));
        }
        if self.entries.len() > TOKENS_MAX {
            return Err(format!("there are more than {TOKENS_MAX} tokens"));
        }
        Ok(())
    }

    pub(super) fn find(&self, token: &str) -> Option<&Identity> {
        let digest = SecretDigest::of(token.as_bytes());
        let (found, entry) = self.entries.get_key_value(&digest.bytes())?;
        // The table compares as tables do.
        digest.is_any_of(&[SecretDigest::of_bytes(*found)]).then_some(&entry.identity)
    }

    /// Whom tokens stand for, each with its line.
    pub(super) fn identities(&self) -> impl Iterator<Item = (usize, &Identity)> {
        self.entries.values().map(|entry| (entry.line, &entry.identity))
    }
}

/// Each word, with what it is.
fn words_of(identity: &Identity) -> impl Iterator<Item = (&'static str, &str)> {
    let name = [("name", identity.name.as_str())];
    let role = identity.role.as_deref().map(|role| ("role", role));
    let rooms = identity.rooms.iter().flatten().map(|room| ("list of rooms", room.as_str()));
    name.into_iter().chain(role).chain(rooms)
}

/// What goes unchanged through a header, a cookie, a query and a line.
fn check_token(token: &str) -> Result<(), String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match token.len() {
        _ if !token.bytes().all(is_part) => {
            Err("its token has more than letters of ASCII, digits and - . _ ~".into())
        }
        len if !(TOKEN_MIN..=TOKEN_MAX).contains(&len) => {
            Err(format!("its token has {len} characters; it must have {TOKEN_MIN} to {TOKEN_MAX}"))
        }
        _ => Ok(()),
    }
}

/// Whether this may be a name, a role or a room.
pub(super) fn is_word(text: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control();
    (1..=WORD_MAX).contains(&text.len()) && text.chars().all(is_part)
}
